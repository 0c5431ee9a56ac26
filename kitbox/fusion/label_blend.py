"""A blend of two probabilities of a label: of a classifier, and of the nearest photographs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kitbox.fusion.probability_curve import Flags, Numbers, ProbabilityCurve, fit_curve
from kitbox.records import Floats, Integers, Strings
from kitbox.retrieval.knn import best_columns
from kitbox.retrieval.label_similarity import LabelSimilarities
from kitbox.retrieval.neighbour_graph import Block
from kitbox.scoring.thresholds import PARTS, parts_of

# Labels of each query that curves are fitted to: those that an answer may name.
_TOP = 5


@dataclass(frozen=True)
class LabelBlend:
    """Curves of a classifier's probabilities and of similarities to labels, and the mean of both.

    `share` is that of the classifier. The first of happywhale took the mean of logits and of
    neighbours' cosines; here both are probabilities first.
    """

    share: float
    classifier: ProbabilityCurve
    neighbours: ProbabilityCurve

    def blended(
        self, classifier: LabelSimilarities, neighbours: LabelSimilarities
    ) -> LabelSimilarities:
        """Return the blend of two similarities of the same queries to the same labels."""
        whole = _whole(classifier)

        def blocks() -> Iterator[Block]:
            for rows, near in neighbours.blocks:
                yield rows, self.of_values(whole[rows], near)

        return LabelSimilarities(neighbours.query_ids, neighbours.labels, blocks())

    def of_values(self, classifier: Floats, neighbours: Floats) -> Floats:
        """Return the blend of two arrays of one shape; -inf, no image of the label, stays."""
        there = np.isfinite(neighbours)
        near = self.neighbours.probability(np.where(there, neighbours, 0))
        mixed = self.share * self.classifier.probability(classifier) + (1 - self.share) * near
        return np.where(there, mixed, -np.inf).astype(np.float32)


def cross_fit_blend(
    share: float,
    classifier: Sequence[LabelSimilarities],
    neighbours: Sequence[LabelSimilarities],
    expected: Strings,
    individuals: Strings,
) -> tuple[list[LabelSimilarities], LabelBlend]:
    """Return the blend for each search of the holdout, and the one fitted on all queries.

    `expected (q,)` are the right labels and `individuals (q,)` the identities of all queries, in
    the order of the searches. The queries of an individual are in one of five parts together; each
    part is blended by curves fitted on the others.
    """
    parts = parts_of(individuals)
    values = [(_whole(one), _whole(two)) for one, two in zip(classifier, neighbours, strict=True)]
    starts = np.cumsum([0, *(len(near) for _, near in values)])
    places = [np.arange(low, high) for low, high in pairwise(starts)]
    best = [
        _best_labels(
            [pair[side] for pair in values], [each.labels for each in neighbours], places, expected
        )
        for side in (0, 1)
    ]

    def fitted(queries: Flags) -> LabelBlend:
        curves = []
        for found, right, query in best:
            kept = queries[query]
            curves.append(fit_curve(found[kept], right[kept]))
        return LabelBlend(share, curves[0], curves[1])

    by_part = {number: fitted(parts != number) for number in np.unique(parts).tolist()}
    blended = []
    for (classes, near), each, own in zip(values, neighbours, places, strict=True):
        mixed = np.empty(near.shape, dtype=np.float32)
        for number in range(PARTS):
            rows = np.flatnonzero(parts[own] == number)
            if len(rows):
                mixed[rows] = by_part[number].of_values(classes[rows], near[rows])
        block: Iterator[Block] = iter([(slice(None), mixed)])
        blended.append(LabelSimilarities(each.query_ids, each.labels, block))
    return blended, fitted(np.ones(len(parts), dtype=np.bool_))


def _whole(measured: LabelSimilarities) -> Floats:
    """Return the similarities (q, l) of all queries."""
    found = np.full((len(measured.query_ids), len(measured.labels)), -np.inf, dtype=np.float32)
    for rows, block in measured.blocks:
        found[rows] = block
    return found


def _best_labels(
    values: Sequence[Floats],
    labels: Sequence[Strings],
    places: Sequence[Integers],
    expected: Strings,
) -> tuple[Numbers, Flags, Integers]:
    """Return the best labels of each query: their values (n,), whether right, and the query."""
    found, right, query = [], [], []
    for each, names, own in zip(values, labels, places, strict=True):
        columns = best_columns(each, min(_TOP, each.shape[1]))
        top = np.take_along_axis(each, columns, axis=1)
        finite = np.isfinite(top)
        found.append(top[finite].astype(np.float64))
        right.append((names[columns] == expected[own][:, None])[finite])
        query.append(np.broadcast_to(own[:, None], top.shape)[finite])
    return np.concatenate(found), np.concatenate(right), np.concatenate(query)
