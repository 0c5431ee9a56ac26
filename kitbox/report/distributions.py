"""Scores with their intervals, and how similarity tells the known from the unknown."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.records import Scores
from kitbox.report import plots
from kitbox.report.plots import Plot
from kitbox.report.queries import OPEN, RIGHT, Queries
from kitbox.scoring import telling
from kitbox.scoring.local import LocalScore

_BINS = 40


def score_rows(scores: Scores) -> list[dict[str, Any]]:
    """Return a row for each metric; `left` and `width` of the interval are cut to [0, 1]."""
    return [
        {
            "name": name,
            **vars(score),
            "left": min(max(score.low, 0.0), 1.0),
            "width": min(max(score.high, 0.0), 1.0) - min(max(score.low, 0.0), 1.0),
        }
        for name, score in scores.by_metric.items()
    ]


def threshold_told(score: LocalScore) -> str:
    """Return sentences about the thresholds and what they do, as 'kitbox score' says them."""
    return " ".join(f"{told[0].upper()}{told[1:]}." for told in telling.threshold(score))


def plots_of(queries: Queries, score: LocalScore, scale: str) -> list[Plot]:
    """Return the histogram of the first answers' similarity, and precision against recall.

    `scale` is what answers are ranked by: similarity, closeness, probability or chance.
    """
    found = [similarity(queries, score, scale)]
    curve = precision_recall(queries)
    if curve is not None:
        precision, recall = curve
        area = average_precision(precision, recall)
        caption = (
            f"As the {scale} that an answer must reach falls: the share of the answers given "
            "that are right, against the share of the queries of known individuals that are "
            f"answered rightly. Area {area:.3f}; recall ends at {recall[-1]:.3f}."
        )
        series = [("", [0.0, *recall.tolist()], [float(precision[0]), *precision.tolist()])]
        title = "Precision and recall of the first answer"
        found.append(plots.lines(title, caption, series, labels=("recall", "precision"), unit=True))
    return found


def similarity(queries: Queries, score: LocalScore, scale: str) -> Plot:
    """Return histograms of how similar the first answers are, of known and unknown individuals."""
    finite = np.isfinite(queries.first)
    known, unknown = (queries.first[finite & side] for side in (queries.known, ~queries.known))
    mark = next(iter(score.thresholds.values())) if len(score.thresholds) == 1 else None
    both = queries.first[finite]
    low, high = (both.min(), both.max()) if len(both) else (0.0, 1.0)
    bins = np.linspace(low, max(high, low + 1e-3), _BINS + 1)
    parts = [
        f"{name} individuals: {len(values)}, median {np.median(values):.3f}"
        for name, values in (("known", known), ("unknown", unknown))
        if len(values)
    ]
    where = "" if mark is None else f" The line is the threshold, {mark:.3f}."
    return plots.histogram(
        f"{scale.capitalize()} of the first answer",
        f"Queries of {'; of '.join(parts)}.{where}",
        [("known to the gallery", known), ("unknown to it", unknown)],
        label=scale,
        bins=bins.astype(np.float64),
        mark=mark,
    )


def precision_recall(
    queries: Queries,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return precision and recall (n,) of the best answer as its similarity falls.

    One point for each similarity that occurs, equal ones together. A query of an unknown
    individual has no right answer. None where no query is of a known individual.
    """
    asked = np.isfinite(queries.first) & ((queries.outcome != OPEN) | ~queries.known)
    total = int((asked & queries.known).sum())
    if not total:
        return None
    right = queries.first_right[asked]
    order = np.argsort(-queries.first[asked], kind="stable")
    falling = queries.first[asked][order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    found = np.cumsum(right[order])[last]
    return found / (last + 1), found / total


def average_precision(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    """Return the area under the steps of a precision-recall curve."""
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def share_right(queries: Queries) -> tuple[int, int]:
    """Return how many queries were answered rightly, and how many were scored."""
    return int((queries.outcome == RIGHT).sum()), int((queries.outcome != OPEN).sum())
