"""Splits the labelled images so that local scores imitate the real test."""

import csv
import hashlib
import io

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.files import write_text
from kitbox.records import Holdout, ImageSet, strings
from kitbox.workspace import Workspace


def split(labelled: ImageSet, competition: Competition) -> Holdout:
    """Return the holdout of a competition's labelled images.

    Of the images of known individuals, `holdout.share` become queries. `holdout.unknown_share` of
    the queries are all photographs of individuals who are held out whole, so that the training
    side does not show them; the others leave at least one photograph of their individual behind.
    The gallery follows the real one: what plays train, what plays test, or both. The choice
    depends on the seed, the image ids and the labels only, not on their order, and a new image
    moves few others.

    Raises KitboxError where there are too few photographs to ask about.
    """
    assert labelled.labels is not None  # noqa: S101  read from a list with labels
    shape, unknown = competition.holdout, competition.images.unknown_label
    known = np.flatnonzero(labelled.labels != (unknown or ""))
    wanted = round(shape.share * len(known))
    query = np.zeros(len(labelled), dtype=np.bool_)
    rows_of: dict[str, list[int]] = {}
    for known_row in known:
        rows_of.setdefault(str(labelled.labels[known_row]), []).append(int(known_row))
    left = {label: len(rows) for label, rows in rows_of.items()}

    room = round(shape.unknown_share * wanted)
    for label in sorted(rows_of, key=lambda label: _draw(shape.seed, "label", label)):
        if 0 < left[label] <= room:
            query[rows_of[label]] = True
            room -= left[label]
            left[label] = 0
    held_out = {label for label, count in left.items() if count == 0}

    images = [int(row) for row in known if not query[row]]
    images.sort(key=lambda row: _draw(shape.seed, "image", str(labelled.image_ids[row])))
    for row in images:
        label = str(labelled.labels[row])
        if query.sum() < wanted and left[label] > 1:
            query[row] = True
            left[label] -= 1
    asked_labels = set(labelled.labels[query].tolist())
    if asked_labels <= held_out or query.sum() < 2:
        raise KitboxError(
            f"a holdout needs individuals with two photographs; {len(known)} labelled images of "
            f"{len(rows_of)} individuals leave nothing to ask about"
        )
    train, asked = labelled.take(~query), labelled.take(query)
    assert asked.labels is not None  # noqa: S101  taken from labelled images
    answers = strings(
        [str(unknown or "") if label in held_out else str(label) for label in asked.labels]
    )
    gallery = {"train": ~query, "test": query, "train+test": np.ones_like(query)}
    return Holdout(train, asked, labelled.take(gallery[competition.task.gallery]), answers)


def write(holdout: Holdout, workspace: Workspace) -> None:
    """Write the split down as `holdout.csv`: image, side, label and what a scorer would expect."""
    answers = dict(zip(holdout.query.image_ids, holdout.query_answers, strict=True))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "side", "label", "answer"])
    for side, images in (("query", holdout.query), ("train", holdout.train)):
        assert images.labels is not None  # noqa: S101  a holdout is made of labelled images
        for image_id, label in sorted(zip(images.image_ids, images.labels, strict=True)):
            writer.writerow([image_id, side, label, answers.get(image_id, label)])
    path = workspace.holdout
    if not path.exists() or path.read_text(encoding="utf-8") != text.getvalue():
        write_text(path, text.getvalue())


def _draw(seed: int, kind: str, name: str) -> bytes:
    """Return a number drawn for a name: the order of these is the order of the draw."""
    return hashlib.sha256(f"{seed}:{kind}:{name}".encode()).digest()
