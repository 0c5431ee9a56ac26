"""Scores a written list against labels that were kept apart from the competitor."""

import csv
from pathlib import Path

import numpy as np

from kitbox.competition import lists
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import ImageSet, Ranking, Scores, strings
from kitbox.scoring import metrics
from kitbox.scoring.bootstrap import score
from kitbox.scoring.local import relevance


def score_file(
    path: Path, truth: Path, competition: Competition, labelled: ImageSet, test: ImageSet
) -> Scores:
    """Return the competition's metric of a submission, by the true labels of the test images.

    `truth` is a CSV with the columns of the training list; test images that it labels unknown
    (or that only their own row shows) have no match among images.
    """
    images, task = competition.images, competition.task
    columns = (images.image_column, images.label_column)
    label_of = {image_id: label for _, (image_id, label) in lists.rows(truth, columns)}
    missing = [image_id for image_id in test.image_ids if image_id not in label_of]
    if missing:
        raise KitboxError(f"{truth} has no label of test image '{missing[0]}'")
    ranking = read(path, competition)
    true = strings([label_of[str(query_id)] for query_id in ranking.query_ids])
    if task.answers == "labels":
        values = metrics.label_average_precision_at_k(ranking, true, task.k)
        return Scores({competition.metric: score(values)})
    query = test.take(_rows(ranking.query_ids, test)).with_labels(true)
    gallery = _gallery(competition, labelled, query)
    relevant, total = relevance(ranking.answers, query, gallery, images.unknown_label)
    relevant, total = relevant[total > 0], total[total > 0]
    return Scores(
        {
            competition.metric: score(metrics.average_precision_at_k(relevant, total, task.k)),
            "recall_at_1": score(metrics.recall_at_k(relevant, 1)),
        }
    )


def read(path: Path, competition: Competition) -> Ranking:
    """Return the ranking that a submission's CSV holds; similarities are not in it."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    rows = rows[1:] if competition.submission.header else rows
    if competition.submission.layout == "joined":
        rows = [[row[0], *row[1].split(" ")] for row in rows]
    width = max(len(row) for row in rows) - 1
    answers = np.array([row[1:] + [""] * (width + 1 - len(row)) for row in rows], dtype=np.str_)
    similarity = np.zeros(answers.shape, dtype=np.float32)
    return Ranking(strings([row[0] for row in rows]), answers, similarity)


def _rows(image_ids: np.ndarray, images: ImageSet) -> np.ndarray:
    place = {image_id: row for row, image_id in enumerate(images.image_ids)}
    return np.array([place[image_id] for image_id in image_ids], dtype=np.int64)


def _gallery(competition: Competition, labelled: ImageSet, query: ImageSet) -> ImageSet:
    """Return the searched images with all labels, as the scorer knows them."""
    assert labelled.labels is not None and query.labels is not None  # noqa: S101, PT018
    train = (labelled.image_ids, labelled.paths, labelled.labels)
    test = (query.image_ids, query.paths, query.labels)
    parts = {"train": [train], "test": [test], "train+test": [train, test]}
    chosen = parts[competition.task.gallery]
    return ImageSet(
        np.concatenate([part[0] for part in chosen]),
        tuple(path for part in chosen for path in part[1]),
        np.concatenate([part[2] for part in chosen]),
    )
