"""Metrics, with their formulas and sources: of each query, or of all queries at once."""

import numpy as np
from numpy.typing import NDArray

from kitbox.records import Integers, Ranking, Similarities, Strings

Hits = NDArray[np.bool_]
PerQuery = NDArray[np.float64]
Numbers = NDArray[np.float64]

# Entropies and numbers of pairs this close, as shares, are equal but for rounding.
_ROUNDING = 1e-12


# Metric without its k → its name in words, and what it measures; {k} is the number in its name.
_WORDS = {
    "label_map": ("MAP@{k}", "1 / rank of the right label among the first {k} answers, on average"),
    "map": ("mAP@{k}", "average precision of the first {k} images"),
    "recall": ("recall@{k}", "share of queries whose individual is among the first {k} images"),
    "r_precision": ("R-precision", "precision of as many images as the individual has"),
    "gap": ("GAP", "global average precision of all answers, the most confident first"),
    "row_f1": ("F1", "F1 of each query's matches, on average"),
    "baks_baus": ("√(BAKS · BAUS)", "both following shares multiplied, the mean over groups"),
    "baks": ("BAKS", "share of known individuals' queries that are right, mean over individuals"),
    "baus": ("BAUS", "share of unknown individuals' queries that are answered as unknown"),
    "ari": ("ARI", "adjusted Rand index: how far clusters and individuals agree on pairs"),
    "identity_balanced_map": (
        "identity-balanced mAP",
        "average precision of each query over all its pairs, the mean over individuals",
    ),
    "nmi": ("NMI", "normalised mutual information of clusters and individuals"),
    "right_answer": ("right answer", "share of queries whose answer is right"),
}


def title(name: str) -> str:
    """Return the name of a metric in words: MAP@5 for label_map_at_5."""
    return _words(name)[0]


def meaning(name: str) -> str:
    """Return what a metric measures, in a few words."""
    return _words(name)[1]


def _words(name: str) -> tuple[str, str]:
    stem, _, k = name.partition("_at_")
    shown, measured = _WORDS.get(stem, (name, ""))
    if stem == "recall" and k == "1":
        measured = "share of queries whose nearest image shows the individual"
    return shown.format(k=k), measured.format(k=k)


def recall_at_k(relevant: Hits, k: int) -> PerQuery:
    """Return for each query 1 if any of its first k answers is relevant, else 0.

    `relevant (q, w)` marks the relevant answers, best first; places beyond w are not relevant.
    This is CMC@k, which the field calls recall@k; it is not the share of relevant images that
    were found.
    """
    return np.asarray(relevant[:, :k].any(axis=1), dtype=np.float64)


def average_precision_at_k(
    relevant: Hits, relevant_total: Integers, k: int, scores: Similarities | None = None
) -> PerQuery:
    """Return each query's average precision at k, divided by min(k, relevant_total).

    `relevant (q, w)` marks the relevant answers, best first; places beyond w are not relevant;
    `relevant_total (q,)` counts the relevant images of the whole gallery and is at least 1. One
    hit at rank 1 of three relevant images, k = 5: (1/1) / min(5, 3) = 0.333. Kaggle's and the
    landmark challenges' denominator; other libraries divide by the hits found (1.0 here), by all
    relevant images, or by k. The order of the answers decides, whatever their similarities.

    With `scores (q, w)`, which fall along a row, it is the average precision of scikit-learn, which
    Where's Whale-do takes: the precision at a hit is that after all answers of an equal score, and
    the row is not cut at k.
    """
    hits = (relevant[:, :k] if scores is None else relevant).astype(np.float64)
    ranks = np.arange(1, hits.shape[1] + 1)
    precision = np.cumsum(hits, axis=1) / ranks
    if scores is not None:
        precision = np.take_along_axis(precision, _last_equal(scores), axis=1)
    total: PerQuery = (precision * hits).sum(axis=1) / np.minimum(relevant_total, k)
    return total


def pair_average_precision(query: Integers, scores: Numbers, hits: Hits) -> PerQuery:
    """Return the average precision (n,) of queries 0 to n − 1 over pairs, NaN without a hit.

    `query (p,)` is the query of each pair, `scores (p,)` its similarity, `hits (p,)` whether both
    images show one individual. Pairs of equal scores count together: the precision at a hit is
    that after all pairs of its score, as in scikit-learn, so the order of the rows makes no
    difference. Source: the metric of Kaggle's jaguar competitions averages it over the queries of
    each individual, then over individuals.
    """
    count = int(query.max(initial=-1)) + 1
    order = np.lexsort((-scores, query))
    of_query, right = query[order], hits[order].astype(np.float64)
    starts = np.searchsorted(of_query, np.arange(count))
    # the last place of each group of equal scores of one query
    ends = np.ones(len(order), dtype=np.bool_)
    ends[:-1] = (of_query[1:] != of_query[:-1]) | (scores[order][1:] != scores[order][:-1])
    last = np.flatnonzero(ends)[np.cumsum(ends) - ends]
    found = np.cumsum(right)
    before = np.append(0.0, found)[starts][of_query]
    precision = (found[last] - before) / (last - starts[of_query] + 1)
    total = np.bincount(of_query, right, count).astype(np.float64)
    return quotient(np.bincount(of_query, precision * right, count).astype(np.float64), total)


def _last_equal(scores: Similarities) -> Integers:
    """Return the last column (q, w) whose score equals that of each place, in falling rows."""
    width = scores.shape[1]
    last = np.ones(scores.shape, dtype=np.bool_)
    last[:, :-1] = scores[:, :-1] != scores[:, 1:]
    columns = np.where(last, np.arange(width), width)
    return np.asarray(np.minimum.accumulate(columns[:, ::-1], axis=1)[:, ::-1], dtype=np.int64)


def label_average_precision_at_k(ranking: Ranking, expected: Strings, k: int) -> PerQuery:
    """Return 1 / rank of the expected label among each query's first k answers, 0 if it is absent.

    The mean is the MAP@k of Kaggle's humpback competitions: one label is true, so the average
    precision is the reciprocal rank. `expected (q,)`; the unknown label is one like others.
    With `expected (q, m)` several labels of a query are true, '' where there are fewer, and it is
    their average precision at k.
    """
    true = expected[:, None] if expected.ndim == 1 else expected
    hits = (ranking.answers[:, :k, None] == true[:, None, :]) & (true != "")[:, None, :]
    total = np.maximum((true != "").sum(axis=1), 1)
    return average_precision_at_k(hits.any(axis=2), total, k)


def r_precision(relevant: Hits, relevant_total: Integers) -> PerQuery:
    """Return the share of relevant answers among each query's first R, R = relevant_total.

    `relevant (q, w)`, `relevant_total (q,)` at least 1. The divisor stays R where w is smaller:
    places that were not answered are not relevant. Source: Manning, Raghavan and Schütze,
    Introduction to Information Retrieval, 8.4; in metric learning Musgrave et al. (2020).
    """
    among_first = np.arange(relevant.shape[1]) < relevant_total[:, None]
    found: PerQuery = (relevant & among_first).sum(axis=1) / relevant_total
    return found


def row_f1(answers: Strings, relevant: Hits, relevant_total: Integers) -> PerQuery:
    """Return each query's 2|A ∩ B| / (|A| + |B|), A its answers and B its relevant images.

    `answers (q, w)` are distinct, '' where there is none; `relevant (q, w)` marks those in B;
    `relevant_total (q,)` is |B|. The query's own image is in B where the competition wants it
    among the answers (Shopee product matching). No answer where nothing is relevant scores 1.
    """
    answered = answers != ""
    both = (relevant & answered).sum(axis=1)
    sizes = answered.sum(axis=1) + relevant_total
    return np.where(sizes > 0, 2.0 * both / np.maximum(sizes, 1), 1.0)


def global_average_precision(
    confidence: Numbers, correct: Hits, answerable: Hits, weights: Numbers | None = None
) -> Numbers:
    """Return the global average precision GAP = 1/M Σᵢ P(i)·rel(i), one number per weighting.

    The first answers of all queries are sorted by falling confidence; P(i) is the precision of the
    first i, rel(i) whether answer i is correct, M the number of `answerable` queries. A query of
    confidence -inf has no answer; an answer to a query that is not answerable is false. Of equal
    confidences the earlier query comes first. All are (n,). `weights (..., n)` count a query as so
    many copies of one confidence, with the precision after the last of them; the result has shape
    (...), NaN where nothing is answerable.
    Source: Perronnin, Liu and Renders (2009), the metric of Google Landmark Recognition.
    """
    weights = np.ones(len(confidence)) if weights is None else weights
    order = np.argsort(-confidence, kind="stable")
    order = order[confidence[order] > -np.inf]
    right = (correct & answerable)[order]
    drawn = weights[..., order]
    hits = drawn[..., right]
    answered = np.cumsum(drawn, axis=-1)[..., right]
    # without answers there are no hits, so that any divisor will do
    precision = np.cumsum(hits, axis=-1) / np.where(answered > 0, answered, 1.0)
    return quotient((hits * precision).sum(axis=-1), weights @ answerable.astype(np.float64))


def adjusted_rand_index(
    both: Numbers, clusters: Numbers, identities: Numbers, pairs: Numbers
) -> Numbers:
    """Return the adjusted Rand index from numbers of pairs, of all shapes that numpy broadcasts.

    `both` counts pairs in one cluster and of one identity, `clusters` and `identities` those in
    one of either, `pairs` all. (both − E) / (½ (clusters + identities) − E), E = clusters ·
    identities / pairs: 1 if equal, 0 on average by chance, at least −0.5. Equal partitions score 1
    also where chance has no room (one part, or parts of one). Source: Hubert and Arabie (1985);
    AnimalCLEF 2026 takes the mean over data sets.
    """
    expected = clusters * identities / np.where(pairs > 0, pairs, 1.0)
    room = (clusters + identities) / 2 - expected
    trivial = room <= _ROUNDING * (clusters + identities)
    return np.where(trivial, 1.0, (both - expected) / np.where(trivial, 1.0, room))


def normalised_mutual_information(both: Numbers, clusters: Numbers, identities: Numbers) -> Numbers:
    """Return the normalised mutual information from entropies.

    `both` is the joint entropy of clusters and identities. 2 I / (H(clusters) + H(identities)), in
    [0, 1]: divided by the arithmetic mean of the entropies, as in scikit-learn; other libraries
    take the geometric mean. Partitions of one part each, which have no entropy, score 1.
    """
    entropy = clusters + identities
    trivial = entropy <= _ROUNDING
    found = 2 * (entropy - both) / np.where(trivial, 1.0, entropy)
    return np.where(trivial, 1.0, np.where(found < _ROUNDING, 0.0, np.minimum(found, 1.0)))


def adjusted_mutual_information(
    both: Numbers, clusters: Numbers, identities: Numbers, expected: Numbers
) -> Numbers:
    """Return the adjusted mutual information from entropies and the information by chance.

    `both` is the joint entropy of clusters and identities. (I − E) / (½ (H(clusters) +
    H(identities)) − E), E the mutual information of random partitions with parts of these sizes
    (`ExpectedInformation`): 1 if equal, 0 on average by chance. Equal partitions score 1 also where
    chance has no room. Source: Vinh, Epps and Bailey (2010); the arithmetic mean as in
    scikit-learn.
    """
    room = (clusters + identities) / 2 - expected
    trivial = np.abs(room) <= _ROUNDING * np.maximum(clusters + identities, 1.0)
    gained = clusters + identities - both - expected
    return np.where(trivial, 1.0, gained / np.where(trivial, 1.0, room))


class ExpectedInformation:
    """The mutual information that random partitions have on average with a given one.

    `sizes (i,)` are its parts. It is a sum over the parts of the other one, whose numbers in each
    part are hypergeometric (Vinh, Epps and Bailey, 2010).
    """

    def __init__(self, sizes: Integers) -> None:
        from scipy.special import gammaln

        self.total = int(sizes.sum())
        self.sizes, self.counts = np.unique(sizes, return_counts=True)
        self.log_factorial = gammaln(np.arange(self.total + 2) + 1.0)
        self.found: dict[int, float] = {}

    def of(self, size: int) -> float:
        """Return what a part of this size adds."""
        if size not in self.found:
            self.found[size] = self._of(size) if size and self.total else 0.0
        return self.found[size]

    def _of(self, size: int) -> float:
        total, log = self.total, self.log_factorial
        sizes = self.sizes[:, None]
        shared = np.arange(1, min(size, int(self.sizes.max())) + 1)[None, :]
        possible = (shared <= sizes) & (shared >= size + sizes - total)
        part, other = np.where(possible, shared, 0), np.where(possible, sizes, 0)
        rest = np.where(possible, total - size - sizes + shared, 0)
        chance = (
            log[size] + log[sizes] + log[total - size] + log[total - sizes] - log[total]
            - log[part] - log[size - part] - log[other - part] - log[rest]
        )  # fmt: skip
        information = shared / total * np.log(total * shared / (size * sizes))
        terms = np.where(possible, information * np.exp(np.where(possible, chance, 0.0)), 0.0)
        return float((terms.sum(axis=1) * self.counts).sum())


def quotient(part: Numbers, whole: Numbers) -> Numbers:
    """Return part / whole, NaN where whole is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)
