"""Similarities of listed pairs of a query and a gallery image, and their scores from 0 to 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.protocol import PairList
from kitbox.errors import KitboxError, more
from kitbox.records import Floats, Integers, Ranking, Similarities
from kitbox.retrieval.neighbour_graph import NeighbourGraph

# Cosines of unit rows of float32 leave [-1, 1] by less.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class PairScores:
    """Scores (p,) of pairs in [0, 1], and the scale by which similarities became scores.

    `scale` is "probability" (as they were), "cosine": (1 + s) / 2, or "linear":
    (s - low) / (high - low). All three keep the order of similarities, and equal ones equal.
    """

    scores: NDArray[np.float64]
    scale: Literal["probability", "cosine", "linear"]
    low: float
    high: float

    @property
    def sentence(self) -> str:
        """What the scores are, for the user."""
        match self.scale:
            case "probability":
                return "the similarities in the CSV are probabilities of one individual"
            case "cosine":
                return "the similarities in the CSV are (1 + cosine) / 2, from 0 to 1"
            case _:
                return (
                    "the similarities in the CSV go linearly from 0 to 1, their least, "
                    f"{self.low:.4g}, to their largest, {self.high:.4g}"
                )


def measure_pairs(graphs: Sequence[NeighbourGraph], pairs: PairList) -> Floats:
    """Return the similarity (p,) of each pair by the graph of its search.

    Takes the memory of one block of similarities beside the pairs. Raises KitboxError for
    similarities that are no numbers.
    """
    found = np.empty(len(pairs), dtype=np.float32)
    for number, graph in enumerate(graphs):
        own = np.flatnonzero(pairs.search == number)
        own = own[np.argsort(pairs.query[own], kind="stable")]
        query = pairs.query[own]
        for rows, similarity in graph.blocks(graph.search.gallery_images):
            begin, end = np.searchsorted(query, [rows.start, rows.start + len(similarity)])
            block = own[begin:end]
            found[block] = similarity[query[begin:end] - rows.start, pairs.gallery[block]]
    wrong = np.flatnonzero(~np.isfinite(found))
    if len(wrong):
        first = wrong[0]
        raise KitboxError(
            f"the similarity of '{pairs.query_ids[first]}' and '{pairs.gallery_images[first]}' is "
            f"{found[first]}{more(len(wrong) - 1)}; did the training diverge?"
        )
    return found


def unit_scores(similarity: Floats, *, probability: bool = False) -> PairScores:
    """Return scores in [0, 1] that rise strictly with the similarity (p,).

    A `probability` is taken as it is. Cosines become (1 + s) / 2. Similarities of another range,
    which some re-ranking steps give, are mapped linearly from their least and largest.
    """
    wide = similarity.astype(np.float64)
    low, high = float(wide.min(initial=np.inf)), float(wide.max(initial=-np.inf))
    if probability and low >= 0 and high <= 1:
        return PairScores(wide, "probability", 0.0, 1.0)
    if low >= -1 - _ROUNDING and high <= 1 + _ROUNDING:
        return PairScores(np.clip((1 + wide) / 2, 0, 1), "cosine", -1.0, 1.0)
    width = high - low if high > low else 1.0
    return PairScores((wide - low) / width, "linear", low, high)


def count_ties(query: Integers, scores: Similarities) -> int:
    """Return how many pairs have the score of another pair of their query; both are (p,)."""
    order = np.lexsort((scores, query))
    equal = (np.diff(query[order]) == 0) & (np.diff(scores[order]) == 0)
    tied = np.zeros(len(order), dtype=np.bool_)
    tied[:-1] |= equal
    tied[1:] |= equal
    return int(tied.sum())


def best_pairs(pairs: PairList, scores: NDArray[Any], k: int) -> Ranking:
    """Return the k gallery images of each query in the pairs' scores (p,), best first.

    Of equal scores the pair that is listed first comes first. Queries without a pair have none.
    """
    count = sum(len(search.query_ids) for search in pairs.searches)
    query = pairs.numbered_queries
    order = np.lexsort((np.arange(len(query)), -scores, query))
    starts = np.searchsorted(query[order], np.arange(count))
    rank = np.arange(len(order)) - starts[query[order]]
    chosen = order[rank < k]
    place = (query[chosen], rank[rank < k])
    gallery = pairs.gallery_images
    answers = np.full((count, k), "", dtype=gallery.dtype)
    similarity = np.full((count, k), -np.inf)
    answers[place], similarity[place] = gallery[chosen], scores[chosen]
    query_ids = np.concatenate([search.query_ids for search in pairs.searches])
    return Ranking(query_ids, answers, similarity)
