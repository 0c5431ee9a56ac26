"""Two ways to measure similarity, compared on the same queries or pairs of the holdout."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition
from kitbox.records import Holdout, Strings
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.scoring import comparison, local_score
from kitbox.scoring.comparison import Difference

# Metrics that are compared beside the competition's own.
_BESIDE = ("map_at_20", "recall_at_1")


@dataclass(frozen=True, kw_only=True)
class GraphDifference:
    """The scores of two sets of graphs by a metric, and their paired difference."""

    metric: str
    before: float
    after: float
    difference: Difference

    def as_json(self) -> dict[str, Any]:
        """Return the metric, both scores, and the difference."""
        return {
            "metric": self.metric,
            "before": self.before,
            "after": self.after,
            **self.difference.as_json(),
        }


def compare_graphs(
    before: Sequence[NeighbourGraph],
    after: Sequence[NeighbourGraph],
    holdout: Holdout,
    competition: Competition,
    names: tuple[str, str],
    *,
    test_has_groups: bool = True,
) -> tuple[GraphDifference, ...]:
    """Return how much better the queries of a holdout are answered from other graphs.

    Both are graphs of the same searches. By the competition's metric first, whose thresholds are
    fitted anew for each, then by image retrieval. Metrics that count no query are left out.
    """
    scored = [
        local_score.score_answers(
            local_score.answer_queries(
                graphs, holdout, competition, test_has_groups=test_has_groups
            ),
            competition,
        )
        for graphs in (before, after)
    ]
    one, two = scored
    metrics = dict.fromkeys((competition.metric, *_BESIDE))
    return tuple(
        GraphDifference(
            metric=metric,
            before=one.outcomes[metric].value,
            after=two.outcomes[metric].value,
            difference=comparison.compare(
                one.outcomes[metric], two.outcomes[metric], two.individuals, names
            ),
        )
        for metric in metrics
        if metric in one.outcomes and not np.isnan(one.outcomes[metric].value)
    )


@dataclass(frozen=True, kw_only=True)
class PairSeparation:
    """How well two measures tell pairs of one individual from others.

    `same` of the `pairs` show one individual. An area under the ROC curve is the chance that such a
    pair has a higher value than another one; None where all pairs are of one kind.
    """

    pairs: int
    same: int
    auc: float | None
    auc_of_similarity: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return dict(vars(self))


def separate_pairs(
    labels: Strings,
    other_labels: Strings,
    score: NDArray[Any],
    similarity: NDArray[Any],
    unknown: str | None,
) -> PairSeparation:
    """Return how well a score and a similarity (p,) tell pairs apart whose labels are known.

    Pairs without a score (NaN) do not count, and neither does an image with no label or the
    `unknown` one.
    """
    unnamed = ["", unknown or ""]
    counts = ~np.isnan(score) & ~np.isin(labels, unnamed) & ~np.isin(other_labels, unnamed)
    same = labels[counts] == other_labels[counts]
    areas: list[float | None] = [None, None]
    if same.any() and not same.all():
        from sklearn.metrics import roc_auc_score

        areas = [float(roc_auc_score(same, values[counts])) for values in (score, similarity)]
    return PairSeparation(
        pairs=int(counts.sum()), same=int(same.sum()), auc=areas[0], auc_of_similarity=areas[1]
    )
