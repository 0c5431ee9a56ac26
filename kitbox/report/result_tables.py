"""The queries as the page's scripts read them, and the cards of pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition
from kitbox.records import LabelledImages, Scores, Strings, rows_of
from kitbox.report import plots
from kitbox.report.plots import Plot
from kitbox.report.query_results import RIGHT, UNSCORED, ConfusedPair, QueryResults
from kitbox.scoring import comparison, local_score
from kitbox.scoring.local_score import LocalScore

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


def threshold_text(score: LocalScore) -> str:
    """Return sentences about the thresholds and what they do, as 'kitbox score' says them."""
    return " ".join(
        f"{told[0].upper()}{told[1:]}." for told in local_score.threshold_sentences(score)
    )


def similarity_plots(queries: QueryResults, score: LocalScore, scale: str) -> list[Plot]:
    """Return the histogram of the first answers' similarity, and precision against recall.

    `scale` is what answers are ranked by: similarity, closeness, probability or chance.
    """
    found = [similarity_histogram(queries, score, scale)]
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


def similarity_histogram(queries: QueryResults, score: LocalScore, scale: str) -> Plot:
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
    queries: QueryResults,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return precision and recall (n,) of the best answer as its similarity falls.

    One point for each similarity that occurs, equal ones together. A query of an unknown
    individual has no right answer. None where no query is of a known individual.
    """
    asked = np.isfinite(queries.first) & ((queries.outcome != UNSCORED) | ~queries.known)
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


def share_right(queries: QueryResults) -> tuple[int, int]:
    """Return how many queries were answered rightly, and how many were scored."""
    return int((queries.outcome == RIGHT).sum()), int((queries.outcome != UNSCORED).sum())


# Values this close are equal: the same queries, summed in another order.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class MemberResult:
    """What one member scores by itself; `value (q,)` is of each query, NaN where not scored."""

    name: str
    weight: float
    score: LocalScore
    value: NDArray[np.float64]


def member_tables(
    alone: Sequence[MemberResult], together: LocalScore, queries: QueryResults, metric: str
) -> dict[str, Any]:
    """Return the tables that compare members: a row each, and a row for each pair."""
    if not alone:
        return {"members_told": "", "member_heads": (), "member_rows": (), "duels": ()}
    shown = list(together.scores.by_metric)[:4]
    rows = [("together", "", *_scores(together, shown), "")]
    rows += [
        (
            one.name,
            f"{one.weight:g}",
            *_scores(one.score, shown),
            str(int((one.value > queries.value + _ROUNDING).sum())),
        )
        for one in alone
    ]
    return {
        "members_told": f"Each member alone on the same queries, and for how many of them it has "
        f"a better {queries.metric} than the ensemble. The order of the queries above can follow a "
        "member's gain over the others.",
        "member_heads": ("", "weight", *shown, "better than together"),
        "member_rows": rows,
        "duels": [_duel(a, b, metric) for a, b in combinations(alone, 2)],
    }


def _scores(score: LocalScore, shown: Sequence[str]) -> list[str]:
    found = score.scores.by_metric
    return [f"{found[name].value:.4f}" if name in found else "" for name in shown]


def _duel(a: MemberResult, b: MemberResult, metric: str) -> tuple[str, ...]:
    """Return on how many queries each of two is better, and the difference with its interval."""
    change = b.value - a.value
    change = change[~np.isnan(change)]
    found = comparison.compare(
        a.score.outcomes[metric], b.score.outcomes[metric], a.score.individuals, (a.name, b.name)
    )
    return (
        f"{a.name}, {b.name}",
        str(int((change < -_ROUNDING).sum())),
        str(int((np.abs(change) <= _ROUNDING).sum())),
        str(int((change > _ROUNDING).sum())),
        f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]",
    )


# Queries whose neighbours are in one pack, which is read when one of them is looked at.
_ROWS = 500
# Numbers are kept as whole ten-thousandths: half as long as decimals.
_WHOLE = 10_000
_CLUSTERS = (
    " What is scored are the clusters, all together; '{}' of a query is of its nearest images."
)


def query_chunks(
    queries: QueryResults,
    shown: LabelledImages,
    shapes: list[int],
    competition: Competition,
    alone: Sequence[MemberResult],
) -> dict[str, Any]:
    """Return the packs of data: all queries with their answers, and their nearest images.

    Images are named by their places in `shown`, labels by theirs in `labels`, -1 for none.
    """
    nobody = ["", competition.images.unknown_label or ""]
    named = np.where(np.isin(shown.labels, nobody), "", shown.labels)
    given = [named, queries.identity, queries.expected, queries.near_labels.ravel()]
    if queries.answers is not None:
        given.append(queries.answers.ravel())
    labels = np.unique(np.concatenate([np.asarray(part, dtype=np.str_) for part in given]))
    labels = labels[labels != ""]
    images = rows_of(queries.images, shown.image_ids)
    found: dict[str, Any] = {
        "queries": {
            "perRows": _ROWS,
            "cut": queries.answers is None,
            "labels": labels.tolist(),
            "images": {
                "id": shown.image_ids.tolist(),
                "label": rows_of(named, labels).tolist(),
                "shape": shapes,
            },
            "queries": {
                "told": queries.metric.replace("_at_", "@"),
                "open": unscored_name(queries),
                "id": queries.query_ids.tolist(),
                "image": images.tolist(),
                "who": rows_of(queries.identity, labels).tolist(),
                "expected": rows_of(queries.expected, labels).tolist(),
                "known": queries.known.astype(int).tolist(),
                "relevant": queries.relevant.tolist(),
                "outcome": queries.outcome.tolist(),
                "value": _wholes(queries.value),
                "first": _wholes(queries.first),
                "limit": _wholes(queries.limits),
                "kept": queries.kept.tolist(),
                "cluster": None
                if queries.clusters is None
                else [queries.clusters.size.tolist(), queries.clusters.alike.tolist()],
                "answers": None if queries.answers is None else _by_row(queries.answers, labels),
            },
            "members": [{"name": one.name, "value": _wholes(one.value)} for one in alone],
        }
    }
    marks = queries.hits.astype(int)
    if queries.clusters is not None:
        marks += 2 * queries.clusters.together
    near = rows_of(queries.near.answers.ravel(), shown.image_ids).reshape(queries.hits.shape)
    for start in range(0, len(queries), _ROWS):
        part = slice(start, start + _ROWS)
        found[f"near-{start // _ROWS}"] = [
            _nearest(*row)
            for row in zip(near[part], queries.near.similarity[part], marks[part], strict=True)
        ]
    return found


def unscored_name(queries: QueryResults) -> str:
    """Return what queries are called that have no outcome: clusters count those too."""
    return "not scored" if queries.clusters is None else "not ranked"


def queries_text(queries: QueryResults, competition: Competition) -> str:
    """Return a sentence about the queries and how to read their cards."""
    right, scored = share_right(queries)
    what = {
        "labels": "the first answer is right",
        "label": "the answer is right",
        "matches": "exactly the right images are answered",
    }.get(competition.task.answers, "the nearest image shows the same individual")
    rest = len(queries) - scored
    open_ = f"; {rest} have no match to find and are {unscored_name(queries)}" if rest else ""
    return (
        f"{right} of {scored} queries are right: {what}{open_}. Each has its "
        f"{queries.near.answers.shape[1]} nearest gallery images, as the score counts them: those "
        "of the same individual have an edge and a tick."
        f"{'' if queries.clusters is None else _CLUSTERS.format(queries.metric)}"
    )


def pair_card(found: ConfusedPair, queries: QueryResults, number: dict[str, int]) -> dict[str, Any]:
    """Return the card of a confused pair: its most similar mistake, side by side."""
    first = found.rows[0]
    one, other = str(queries.images[first]), str(queries.near.answers[first, 0])
    times = "one query" if len(found.rows) == 1 else f"{len(found.rows)} queries"
    return {
        "title": " and ".join(found.labels),
        "pictures": [
            (number[one], f"query {one}, {queries.identity[first]}"),
            (number[other], f"its nearest, {other}, {queries.near_labels[first, 0]}"),
        ],
        "lines": [f"{times}, similarity {found.similarity:.3f}"],
        "kind": "",
        "rows": [],
        "fine": "",
        "find": str(queries.identity[first]),
    }


def _nearest(images: Any, similarity: Any, marks: Any) -> tuple[list[int], list[int | None], str]:
    there = images >= 0
    return images[there].tolist(), _wholes(similarity[there]), "".join(map(str, marks[there]))


def _by_row(answers: Strings, labels: Strings) -> list[list[int]]:
    places = rows_of(answers.ravel(), labels).reshape(answers.shape)
    return [row[row >= 0].tolist() for row in places]


def _wholes(values: Any) -> list[int | None]:
    return [round(_WHOLE * value) if math.isfinite(value) else None for value in values.tolist()]
