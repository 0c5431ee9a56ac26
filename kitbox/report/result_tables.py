"""Tables, plots and data of the results page: scores, members, and queries for its scripts."""

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
from kitbox.scoring import comparison, local_score, metrics
from kitbox.scoring.local_score import LocalScore

_BINS = 40
# Scores this close are equal: the same queries, summed in another order.
_ROUNDING = 1e-9
# Queries per chunk of neighbours, which a page loads when one of them is shown.
_QUERIES_PER_CHUNK = 500
# Numbers are stored as whole ten-thousandths, half as long as decimals.
_SCALE = 10_000
_CLUSTERS = " The score is of all clusters together; a query's '{}' is that of its nearest images."


def score_rows(scores: Scores) -> list[dict[str, Any]]:
    """Return a row for each metric; `left` and `width` of its interval are clipped to [0, 1]."""
    return [
        {
            "name": name,
            "title": metrics.title(name),
            "meaning": metrics.meaning(name),
            **vars(score),
            "left": min(max(score.low, 0.0), 1.0),
            "width": min(max(score.high, 0.0), 1.0) - min(max(score.low, 0.0), 1.0),
        }
        for name, score in scores.by_metric.items()
    ]


def threshold_text(score: LocalScore) -> str:
    """Return sentences about the thresholds and their effect, as in 'kitbox score'."""
    return " ".join(
        f"{sentence[0].upper()}{sentence[1:]}."
        for sentence in local_score.threshold_sentences(score)
    )


def queries_text(results: QueryResults, competition: Competition) -> str:
    """Return sentences about the queries and how to read their cards."""
    right, scored = count_right(results)
    criterion = {
        "labels": "the first answer is right",
        "label": "the answer is right",
        "matches": "the answers are exactly the right images",
    }.get(competition.task.answers, "the nearest image shows the same individual")
    rest = len(results) - scored
    unscored = f"; {rest} have no match to find and are {unscored_name(results)}" if rest else ""
    return (
        f"{right} of {scored} queries are right: {criterion}{unscored}. Each shows its five "
        f"nearest gallery images, and up to {results.nearest.answers.shape[1]} on demand, as the "
        "score counts them: those of the same individual have an edge and a tick."
        f"{'' if results.clusters is None else _CLUSTERS.format(metrics.title(results.metric))}"
    )


def count_right(results: QueryResults) -> tuple[int, int]:
    """Return the number of queries answered correctly, and the number of scored queries."""
    return int((results.outcomes == RIGHT).sum()), int((results.outcomes != UNSCORED).sum())


def unscored_name(results: QueryResults) -> str:
    """Return the name of queries without an outcome; the score of clusters counts them too."""
    return "not scored" if results.clusters is None else "not ranked"


def similarity_plots(results: QueryResults, score: LocalScore, scale: str) -> list[Plot]:
    """Return the histogram of the first answers' similarity, and precision against recall.

    `scale` names what answers are ranked by: similarity, closeness, probability or chance.
    """
    found = [similarity_histogram(results, score, scale)]
    curve = precision_recall(results)
    if curve is not None:
        precision, recall = curve
        area = average_precision(precision, recall)
        caption = (
            f"As the least {scale} of an answer falls: the share of the answers given that are "
            "right, against the share of the queries of known individuals that are answered "
            f"correctly. Area {area:.3f}; recall ends at {recall[-1]:.3f}."
        )
        series = [("", [0.0, *recall.tolist()], [float(precision[0]), *precision.tolist()])]
        title = "Precision and recall of the first answer"
        found.append(plots.lines(title, caption, series, labels=("recall", "precision"), unit=True))
    return found


def similarity_histogram(results: QueryResults, score: LocalScore, scale: str) -> Plot:
    """Return histograms of the first answers' similarity, of known and of unknown individuals."""
    similarity, known = results.first_similarity, results.known
    finite = np.isfinite(similarity)
    threshold = next(iter(score.thresholds.values())) if len(score.thresholds) == 1 else None
    both = similarity[finite].astype(np.float64)  # steps of float32 near 1 are not equal
    low, high = (both.min(), both.max()) if len(both) else (0.0, 1.0)
    bins = np.linspace(low, max(high, low + 1e-3), _BINS + 1)
    sides = {"known": similarity[finite & known], "unknown": similarity[finite & ~known]}
    medians = [
        f"{name} individuals: {len(values)}, median {np.median(values):.3f}"
        for name, values in sides.items()
        if len(values)
    ]
    line = "" if threshold is None else f" The line is the threshold, {threshold:.3f}."
    return plots.histogram(
        f"{scale.capitalize()} of the first answer",
        f"Queries of {'; of '.join(medians)}.{line}",
        [("in the gallery", sides["known"]), ("not in the gallery", sides["unknown"])],
        label=scale,
        bins=bins,
        vertical=threshold,
    )


def precision_recall(
    results: QueryResults,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return precision and recall (n,) of the first answers as the threshold falls.

    There is one point for each similarity that occurs. A query of an unknown individual has no
    right answer. None if no query is of a known individual.
    """
    similarity = results.first_similarity
    counted = np.isfinite(similarity) & ((results.outcomes != UNSCORED) | ~results.known)
    total = int((counted & results.known).sum())
    if not total:
        return None
    right = results.first_is_right[counted]
    order = np.argsort(-similarity[counted], kind="stable")
    falling = similarity[counted][order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    hits = np.cumsum(right[order])[last]
    return hits / (last + 1), hits / total


def average_precision(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    """Return the area under the steps of a precision-recall curve."""
    return float((np.diff(recall, prepend=0.0) * precision).sum())


@dataclass(frozen=True)
class MemberResult:
    """The score of one member alone; `values (q,)` are those of the queries, NaN if not scored."""

    name: str
    weight: float
    score: LocalScore
    values: NDArray[np.float64]


def member_tables(
    members: Sequence[MemberResult], ensemble: LocalScore, results: QueryResults, metric: str
) -> dict[str, Any]:
    """Return the tables that compare members: a row for each, and a row for each pair."""
    if not members:
        return {"members_text": "", "member_heads": (), "member_rows": (), "member_pairs": ()}
    names = list(ensemble.scores.by_metric)[:4]
    rows = [("ensemble", "", *_format_scores(ensemble, names), "")]
    rows += [
        (
            one.name,
            f"{one.weight:g}",
            *_format_scores(one.score, names),
            str(int((one.values > results.values + _ROUNDING).sum())),
        )
        for one in members
    ]
    return {
        "members_text": "Each member alone on the same queries, and the number of queries on which "
        f"its {metrics.title(results.metric)} is better than the ensemble's. "
        "The queries above can be ordered by a member's gain over the others.",
        "member_heads": ("", "weight", *map(metrics.title, names), "better than the ensemble"),
        "member_rows": rows,
        "member_pairs": [_compare_members(a, b, metric) for a, b in combinations(members, 2)],
    }


def _format_scores(score: LocalScore, names: Sequence[str]) -> list[str]:
    by_metric = score.scores.by_metric
    return [f"{by_metric[name].value:.4f}" if name in by_metric else "" for name in names]


def _compare_members(a: MemberResult, b: MemberResult, metric: str) -> tuple[str, ...]:
    """Return on how many queries each of two is better, and the difference with its interval."""
    change = b.values - a.values
    change = change[~np.isnan(change)]
    difference = comparison.compare(
        a.score.outcomes[metric], b.score.outcomes[metric], a.score.individuals, (a.name, b.name)
    )
    return (
        f"{a.name}, {b.name}",
        str(int((change < -_ROUNDING).sum())),
        str(int((np.abs(change) <= _ROUNDING).sum())),
        str(int((change > _ROUNDING).sum())),
        f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]",
    )


def pair_card(pair: ConfusedPair, results: QueryResults, numbers: dict[str, int]) -> dict[str, Any]:
    """Return the card of a confused pair: its most similar mistake, side by side.

    `numbers` maps image ids to the page's pictures.
    """
    first = pair.rows[0]
    query, nearest = str(results.images[first]), str(results.nearest.answers[first, 0])
    count = "one query" if len(pair.rows) == 1 else f"{len(pair.rows)} queries"
    return {
        "title": " and ".join(pair.labels),
        "pictures": [
            (numbers[query], f"query {query}, {results.labels[first]}"),
            (numbers[nearest], f"its nearest, {nearest}, {results.nearest_labels[first, 0]}"),
        ],
        "lines": [f"{count}, similarity {pair.similarity:.3f}"],
        "kind": "",
        "rows": [],
        "fine": "",
        "find": sorted({str(results.labels[row]) for row in pair.rows}),
    }


def query_chunks(
    results: QueryResults,
    images: LabelledImages,
    aspects: list[int],
    competition: Competition,
    members: Sequence[MemberResult],
) -> dict[str, Any]:
    """Return the chunks of data: all queries with their answers, and their nearest images.

    Images are given by their rows in `images`, labels by theirs in the list `labels`, -1 for none.
    """
    unknown = ["", competition.images.unknown_label or ""]
    image_labels = np.where(np.isin(images.labels, unknown), "", images.labels)
    given = [image_labels, results.labels, results.expected, results.nearest_labels.ravel()]
    if results.answers is not None:
        given.append(results.answers.ravel())
    labels = np.unique(np.concatenate([np.asarray(part, dtype=np.str_) for part in given]))
    labels = labels[labels != ""]
    chunks: dict[str, Any] = {
        "queries": {
            "perChunk": _QUERIES_PER_CHUNK,
            "answersAreImages": results.answers is None,
            "labels": labels.tolist(),
            "images": {
                "id": images.image_ids.tolist(),
                "label": rows_of(image_labels, labels).tolist(),
                "aspect": aspects,
            },
            "queries": _query_columns(results, images, labels),
            "members": [{"name": one.name, "value": _scaled(one.values)} for one in members],
        }
    }
    marks = results.hits.astype(int)
    if results.clusters is not None:
        marks += 2 * results.clusters.has_nearest
    near = rows_of(results.nearest.answers.ravel(), images.image_ids).reshape(results.hits.shape)
    for start in range(0, len(results), _QUERIES_PER_CHUNK):
        part = slice(start, start + _QUERIES_PER_CHUNK)
        chunks[f"near-{start // _QUERIES_PER_CHUNK}"] = [
            _nearest_images(*row)
            for row in zip(near[part], results.nearest.similarity[part], marks[part], strict=True)
        ]
    return chunks


def _query_columns(
    results: QueryResults, images: LabelledImages, labels: Strings
) -> dict[str, Any]:
    clusters = results.clusters
    return {
        "metric": metrics.title(results.metric),
        "unscored": unscored_name(results),
        "id": results.query_ids.tolist(),
        "image": rows_of(results.images, images.image_ids).tolist(),
        "label": rows_of(results.labels, labels).tolist(),
        "expected": rows_of(results.expected, labels).tolist(),
        "known": results.known.astype(int).tolist(),
        "relevant": results.relevant.tolist(),
        "outcome": results.outcomes.tolist(),
        "value": _scaled(results.values),
        "firstSimilarity": _scaled(results.first_similarity),
        "threshold": _scaled(results.thresholds),
        "answerCount": results.answer_counts.tolist(),
        "cluster": None
        if clusters is None
        else [clusters.size.tolist(), clusters.same_individual.tolist()],
        "answers": None if results.answers is None else _label_rows(results.answers, labels),
    }


def _nearest_images(
    images: Any, similarity: Any, marks: Any
) -> tuple[list[int], list[int | None], str]:
    """Return rows of images, similarities, and a digit each: 1 a hit, 2 in the cluster, 3 both."""
    present = images >= 0
    return (
        images[present].tolist(),
        _scaled(similarity[present]),
        "".join(map(str, marks[present])),
    )


def _label_rows(answers: Strings, labels: Strings) -> list[list[int]]:
    rows = rows_of(answers.ravel(), labels).reshape(answers.shape)
    return [row[row >= 0].tolist() for row in rows]


def _scaled(values: Any) -> list[int | None]:
    return [round(_SCALE * value) if math.isfinite(value) else None for value in values.tolist()]
