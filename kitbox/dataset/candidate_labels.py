"""The individuals that photographs may show, by their most similar labelled photographs."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kitbox.records import Floats, Strings
from kitbox.retrieval import knn


class CandidateLabel(NamedTuple):
    """A label, its photographs most similar to a query, best first, and the best similarity."""

    label: str
    images: tuple[str, ...]
    similarity: float


class CandidateSearch:
    """The labels that queries may have, by blocks of their similarities to labelled photographs.

    The similarities have a column for each of `image_ids (n,)`, which are sorted by label.
    """

    def __init__(self, image_ids: Strings, labels: Strings, groups: Strings | None = None) -> None:
        """Sort the labelled photographs (n,); equal labels stay in their order.

        With `groups (n,)` queries are compared only within their group.
        """
        order = np.argsort(labels, kind="stable")
        self.image_ids = image_ids[order]
        self._groups = None if groups is None else groups[order]
        self._labels, self._starts = np.unique(labels[order], return_index=True)
        self._ends = np.append(self._starts[1:], len(order))

    def candidates(
        self,
        similarity: Floats,
        labels: int,
        photographs: int,
        groups: Strings | None = None,
    ) -> Iterator[tuple[CandidateLabel, ...]]:
        """Yield for each query the best labels, best first, with so many photographs at most.

        `similarity (b, n)` is -inf where a photograph is none; `groups (b,)` are the queries'.
        """
        if groups is not None and self._groups is not None:
            similarity = np.where(groups[:, None] != self._groups, -np.inf, similarity)
        best = np.maximum.reduceat(similarity, self._starts, axis=1)
        columns = knn.best_columns(best, min(labels, len(self._labels)))
        for row, values in enumerate(similarity):
            yield tuple(
                self._candidate(column, values, photographs)
                for column in columns[row].tolist()
                if best[row, column] > -np.inf
            )

    def _candidate(self, column: int, values: Floats, photographs: int) -> CandidateLabel:
        start, end = self._starts[column], self._ends[column]
        own, images = values[start:end], self.image_ids[start:end]
        order = np.argsort(-own, kind="stable")[:photographs]
        shown = tuple(str(images[place]) for place in order if own[place] > -np.inf)
        return CandidateLabel(str(self._labels[column]), shown, float(own[order[0]]))
