"""Toy geometry: embeddings are points on the unit circle, named by their angle in degrees."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.records import Embeddings, LabelledImages, Ranking, Search, strings
from kitbox.retrieval.neighbour_graph import NeighbourGraph, Shortlist


def placed(angle_of: Mapping[str, float]) -> Embeddings:
    """Return points of the given names at the given angles; their cosine is cos(a − b)."""
    radians = np.radians(list(angle_of.values()))
    vectors = np.stack([np.cos(radians), np.sin(radians)], axis=1)
    return Embeddings(strings(list(angle_of)), vectors.reshape(-1, 2).astype(np.float32))


def at_angles(*angles: float, prefix: str = "") -> Embeddings:
    """Return points named by their angle: `at_angles(0, 90)` holds '0' and '90'."""
    return placed({f"{prefix}{angle:g}": angle for angle in angles})


def cosine(a: float, b: float) -> float:
    """Return the cosine of the angle between two points."""
    return math.cos(math.radians(a - b))


def image_set(
    label_of: Mapping[str, str], group_of: Mapping[str, str] | None = None
) -> LabelledImages:
    """Return labelled images, of groups where these are given; their files need not exist."""
    return LabelledImages(
        strings(list(label_of)),
        tuple(Path(name) for name in label_of),
        strings(list(label_of.values())),
        groups=None if group_of is None else strings([group_of[name] for name in label_of]),
    )


def graph_of(query: Embeddings, gallery: Embeddings) -> NeighbourGraph:
    """Return the graph of a search; a query that is in the gallery too has its name there."""
    new = ~np.isin(query.image_ids, gallery.image_ids)
    embeddings = Embeddings(
        np.concatenate([gallery.image_ids, query.image_ids[new]]),
        np.concatenate([gallery.vectors, query.vectors[new]]),
    )
    search = Search("", query.image_ids, query.image_ids, gallery.image_ids)
    return NeighbourGraph(search, embeddings)


def reverse_nearest(graph: NeighbourGraph) -> NeighbourGraph:
    """Reverse the order of the three nearest images of each query: a toy re-ranking step."""
    shortlist = graph.shortlist(3)
    return graph.rerank(Shortlist(shortlist.rows, shortlist.similarity[:, ::-1]))


def ranking_of(rows: Mapping[str, Sequence[tuple[str, float]]]) -> Ranking:
    """Return a ranking from query → (answer, similarity), best first; k is the longest row."""
    k = max(len(row) for row in rows.values())
    padded = [[*row, *[("", -math.inf)] * (k - len(row))] for row in rows.values()]
    return Ranking(
        strings(list(rows)),
        strings([answer for row in padded for answer, _ in row]).reshape(len(rows), k),
        np.array([[similarity for _, similarity in row] for row in padded], dtype=np.float32),
    )


def competition(
    *,
    gallery: str = "train",
    answers: str = "labels",
    k: int = 5,
    unknown_label: str | None = "new_whale",
    root: Path = Path(),
    images: Mapping[str, Any] | None = None,
    form: Mapping[str, Any] | None = None,
    holdout: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    threshold: Mapping[str, Any] | None = None,
) -> Competition:
    """Return a competition that asks for five labels per photograph, changed by the given settings.

    Settings by group come with a column of groups, GAP and pairs with their layouts.
    """
    by_group = (task or {}).get("within_group") or (threshold or {}).get("by_group")
    scored = (task or {}).get("metric") == "gap"
    pairs = answers == "pairs"
    header = ("query", "image", "similarity") if pairs else ("Image", "Id")
    if pairs and (task or {}).get("pairs") and "pair_columns" not in (task or {}):
        header = ("row_id", "similarity")
    return Competition.model_validate(
        {
            "name": "toy",
            "images": {
                "root": root,
                "train_folder": "train",
                "test_folder": "test",
                "unknown_label": unknown_label,
                "group_column": "species" if by_group else None,
                **(images or {}),
            },
            "task": {
                "gallery": gallery,
                "answers": answers,
                **({} if pairs else {"k": k}),
                **(task or {}),
            },
            "threshold": threshold or {},
            "submission": {
                "header": header,
                "layout": "pairs" if pairs else "scored" if scored else "joined",
                **(form or {}),
            },
            "holdout": holdout or {},
        }
    )
