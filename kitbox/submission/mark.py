"""Scores a submission by true labels, as a leaderboard would."""

from pathlib import Path

import numpy as np

from kitbox import tables
from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.errors import KitboxError, more
from kitbox.files import read_text
from kitbox.records import ImageSet, LabelledImages, Ranking, Scores, Search, Strings, strings
from kitbox.scoring import metrics
from kitbox.scoring.bootstrap import score
from kitbox.scoring.ground_truth import (
    GroundTruth,
    metric_outcome,
    related_outcomes,
    relevance,
)
from kitbox.scoring.outcomes import Mean, Outcome
from kitbox.submission import csv_format

TRUTH_COLUMNS = ("image", "label", "individual")


def score_submission(
    path: Path, truth: Path, competition: Competition, collection: Collection
) -> Scores:
    """Return the competition's metric of a submission, by the true labels of the test images.

    `truth` is a CSV of image, label, individual: the label that a scorer expects, and the
    individual, of every test image and every image of an index. A query without a row scores 0.
    Raises KitboxError for a submission in another format or with unknown queries, and for a truth
    with missing images.
    """
    test = collection.test
    if test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    for file in (path, truth):
        if not file.is_file():
            raise KitboxError(f"there is no file {file}")
    truth_rows = {row[0]: row[1:] for _, row in tables.read_columns(truth, TRUTH_COLUMNS)}
    unknown = competition.images.unknown_label
    query, expected = _labelled(test, truth_rows, truth, unknown)
    index = collection.index
    if index is not None:
        index, _ = _labelled(index, truth_rows, truth, unknown)
    gallery = protocol.leaderboard_gallery(query, collection.labelled, index, competition).labelled
    ground_truth = GroundTruth.of_searches(
        collection.searches, query, expected, gallery, competition
    )
    ranking = _read(path, competition, ground_truth.query_ids)
    if competition.task.answers in ("images", "matches"):
        ranking = _in_gallery(ranking, collection.searches)
    own = metric_outcome(ranking, ground_truth, competition)
    outcomes: dict[str, Outcome] = {competition.metric: own}
    outcomes |= related_outcomes(ranking, ground_truth, competition)
    if competition.task.answers == "images":
        counted = np.flatnonzero(ground_truth.relevant > 0)
        hits = relevance(ranking, ground_truth)[counted]
        outcomes["recall_at_1"] = Mean(
            ground_truth.query_ids[counted], metrics.recall_at_k(hits, 1)
        )
    return Scores(
        {name: score(outcome, ground_truth.individual_of) for name, outcome in outcomes.items()}
    )


def _in_gallery(ranking: Ranking, searches: tuple[Search, ...]) -> Ranking:
    """Return the ranking without the answers outside of the query's own gallery.

    Their ranks stay empty and count as misses.
    """
    galleries = [frozenset(search.gallery_images.tolist()) for search in searches]
    gallery_of = {
        query: gallery
        for search, gallery in zip(searches, galleries, strict=True)
        for query in search.query_ids.tolist()
    }
    rows = zip(ranking.query_ids.tolist(), ranking.answers.tolist(), strict=True)
    inside = [[answer in gallery_of[query] for answer in answers] for query, answers in rows]
    answers = np.where(np.array(inside, dtype=np.bool_), ranking.answers, "")
    return Ranking(ranking.query_ids, answers, ranking.similarity)


def _read(path: Path, competition: Competition, query_ids: Strings) -> Ranking:
    """Return a submission's answers to the queries; raise KitboxError for unknown queries."""
    try:
        ranking = csv_format.read(read_text(path), competition)
        others = ranking.query_ids[~np.isin(ranking.query_ids, query_ids)].tolist()
        if others:
            raise KitboxError(f"'{others[0]}' is not a query{more(len(others) - 1)}")
        return csv_format.rows_for_queries(ranking, query_ids)
    except KitboxError as error:
        raise KitboxError(
            f"{path}: {error}; 'kitbox submission lint {path}' lists all findings"
        ) from error


def _labelled(
    images: ImageSet, truth_rows: dict[str, list[str]], truth: Path, unknown: str | None
) -> tuple[LabelledImages, Strings]:
    """Return images with the labels of their individuals, and the label that a scorer expects."""
    missing = [image for image in images.image_ids.tolist() if image not in truth_rows]
    if missing:
        raise KitboxError(f"{truth} has no row of image '{missing[0]}'{more(len(missing) - 1)}")
    rows = [truth_rows[image] for image in images.image_ids.tolist()]
    # unknown individuals keep their own names, known ones have the labels of the lists
    names = [own if label in ("", unknown) else label for label, own in rows]
    return images.with_labels(strings(names)), strings([label for label, _ in rows])
