"""Retrieval metrics, per query, so that means and intervals are taken over queries."""

import numpy as np
from numpy.typing import NDArray

from kitbox.records import Integers, Ranking, Strings

Hits = NDArray[np.bool_]
PerQuery = NDArray[np.float64]


def recall_at_k(relevant: Hits, k: int) -> PerQuery:
    """Return for each query 1 if any of its first k answers is relevant, else 0.

    `relevant (q, ≥k)` marks the relevant answers, best first. This is CMC@k, which the field
    calls recall@k; it is not the share of relevant images that were found.
    """
    return np.asarray(relevant[:, :k].any(axis=1), dtype=np.float64)


def average_precision_at_k(relevant: Hits, relevant_total: Integers, k: int) -> PerQuery:
    """Return each query's average precision at k, divided by min(k, relevant_total).

    `relevant (q, ≥k)` marks the relevant answers, best first; `relevant_total (q,)` counts the
    relevant images of the whole gallery and is at least 1. One hit at rank 1 of three relevant
    images, k = 5: (1/1) / min(5, 3) = 0.333. Kaggle's and the landmark challenges' denominator;
    other libraries divide by the hits found (1.0 here) or by all relevant images.
    """
    hits = relevant[:, :k].astype(np.float64)
    ranks = np.arange(1, hits.shape[1] + 1)
    precision = np.cumsum(hits, axis=1) / ranks
    total: PerQuery = (precision * hits).sum(axis=1) / np.minimum(relevant_total, k)
    return total


def label_average_precision_at_k(ranking: Ranking, truth: Strings, k: int) -> PerQuery:
    """Return 1 / rank of the true label among each query's first k answers, 0 if it is absent.

    The mean is the MAP@k of Kaggle's humpback competitions: one label is true, so the average
    precision is the reciprocal rank. `truth (q,)`; an unknown individual is a label like others.
    """
    hits = (ranking.answers[:, :k] == truth[:, None]) & (truth != "")[:, None]
    return np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1), 0.0)
