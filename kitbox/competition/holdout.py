"""Splits the labelled images so that local scores imitate the real test."""

import csv
import io

import numpy as np

from kitbox.competition import folds as folding
from kitbox.competition.folds import Folds
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.files import write_text
from kitbox.records import Holdout, ImageSet, Integers, strings
from kitbox.workspace import Workspace


def split(
    labelled: ImageSet, competition: Competition, units: Integers | None = None, fold: int = 1
) -> Holdout:
    """Return the holdout of a competition's labelled images: of several folds the `fold`th.

    `units (n,)` tell which images stay on one side. Raises KitboxError where there are too few
    photographs to ask about.
    """
    drawn = folding.draw(
        labelled,
        competition.holdout,
        competition.images.unknown_label,
        units,
        by_group=competition.task.within_group,
    )
    return of_fold(drawn, labelled, competition, fold)


def of_fold(drawn: Folds, labelled: ImageSet, competition: Competition, fold: int) -> Holdout:
    """Return the holdout that one of the folds asks about.

    The gallery follows the real one: what plays train, what plays test, or both; with
    `holdout.distractors` both. Raises
    KitboxError where there is no such fold, and where there is too little to ask about.
    """
    if not 1 <= fold <= len(drawn.strangers):
        raise KitboxError(
            f"there is no fold {fold}: kitbox.toml has holdout.folds = {len(drawn.strangers)}"
        )
    query, strangers = drawn.asked == fold, drawn.strangers[fold - 1]
    train, asked = labelled.take(~query), labelled.take(query)
    assert asked.labels is not None  # noqa: S101  taken from labelled images
    names, counts = np.unique(asked.labels, return_counts=True)
    # strangers find each other; the others find what their individual left behind
    least = 2 if competition.holdout.unknown_share == 1 else 1
    matched = {
        name for name in names[counts >= least].tolist() if least > 1 or name not in strangers
    }
    if not matched or len(asked) < 2:
        raise KitboxError(
            f"a holdout needs individuals with two photographs; {drawn.images} labelled images "
            f"of {drawn.individuals} individuals leave nothing to ask about"
        )
    sides = {"train": ~query, "test": query, "index": query, "train+test": np.ones_like(query)}
    everyone = competition.holdout.distractors
    gallery = labelled if everyone else labelled.take(sides[competition.task.gallery])
    unknown = competition.images.unknown_label or ""
    answers = strings([unknown if label in strangers else label for label in asked.labels.tolist()])
    return Holdout(train, asked, gallery, answers)


def unasked(labelled: ImageSet) -> Holdout:
    """Return the holdout of images of nobody known: nothing can be asked of them."""
    none = labelled.take(np.zeros(len(labelled), dtype=np.bool_))
    return Holdout(labelled, none, labelled, strings([]))


def write(drawn: Folds, labelled: ImageSet, competition: Competition, workspace: Workspace) -> None:
    """Write the split down as `holdout.csv`: image, side, label and what a scorer would expect.

    Of several folds a last column tells which one asks about the image; none does where it is
    empty.
    """
    assert labelled.labels is not None  # noqa: S101  a holdout is made of labelled images
    unknown = competition.images.unknown_label or ""
    several = len(drawn.strangers) > 1
    rows: list[tuple[int, str, str]] = sorted(
        zip(
            drawn.asked.tolist(), labelled.image_ids.tolist(), labelled.labels.tolist(), strict=True
        ),
        key=lambda row: (row[0] or len(drawn.strangers) + 1, row[1]),
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "side", "label", "answer", *(["fold"] if several else [])])
    for fold, image_id, label in rows:
        strange = fold > 0 and label in drawn.strangers[fold - 1]
        row = [image_id, "query" if fold else "train", label, unknown if strange else label]
        writer.writerow([*row, *([fold or ""] if several else [])])
    path = workspace.holdout
    if not path.exists() or path.read_text(encoding="utf-8") != text.getvalue():
        write_text(path, text.getvalue())
