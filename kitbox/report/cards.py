"""The queries as the page's scripts read them, and the cards of pairs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.records import ImageSet, Strings, rows_of
from kitbox.report.confusion import Pair
from kitbox.report.distributions import share_right
from kitbox.report.members import Alone
from kitbox.report.queries import Queries

# Queries whose neighbours are in one pack, which is read when one of them is looked at.
_ROWS = 500
# Numbers are kept as whole ten-thousandths: half as long as decimals.
_WHOLE = 10_000
_CLUSTERS = (
    " What is scored are the clusters, all together; '{}' of a query is of its nearest images."
)


def packs(
    queries: Queries,
    shown: ImageSet,
    shapes: list[int],
    competition: Competition,
    alone: Sequence[Alone],
) -> dict[str, Any]:
    """Return the packs of data: all queries with their answers, and their nearest images.

    Images are named by their places in `shown`, labels by theirs in `labels`, -1 for none.
    """
    assert shown.labels is not None  # noqa: S101  labelled images
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
                "open": left_open(queries),
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


def left_open(queries: Queries) -> str:
    """Return what queries are called that have no outcome: clusters count those too."""
    return "not scored" if queries.clusters is None else "not ranked"


def told(queries: Queries, competition: Competition) -> str:
    """Return a sentence about the queries and how to read their cards."""
    right, scored = share_right(queries)
    what = {
        "labels": "the first answer is right",
        "label": "the answer is right",
        "matches": "exactly the right images are answered",
    }.get(competition.task.answers, "the nearest image shows the same individual")
    rest = len(queries) - scored
    open_ = f"; {rest} have no match to find and are {left_open(queries)}" if rest else ""
    return (
        f"{right} of {scored} queries are right: {what}{open_}. Each has its "
        f"{queries.near.answers.shape[1]} nearest gallery images, as the score counts them: those "
        "of the same individual have an edge and a tick."
        f"{'' if queries.clusters is None else _CLUSTERS.format(queries.metric)}"
    )


def pair(found: Pair, queries: Queries, number: dict[str, int]) -> dict[str, Any]:
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
