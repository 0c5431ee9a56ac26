"""The folder of a drawn competition: photographs, lists, and the truth beside it."""

import csv
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from kitbox.drawing.album import albums, draw_album
from kitbox.drawing.photograph import Box
from kitbox.drawing.roster import BROKEN, NEW_WHALE, Sighting, roster
from kitbox.errors import KitboxError

FEWEST_INDIVIDUALS = 4  # a row of the sample submission names new_whale and four labels
FEWEST_PHOTOGRAPHS = 3  # per individual
SMALLEST_SIDE = 200  # pixels; in less no nick can be seen

SHUFFLE = 4  # apart from the random numbers of roster, whales, moments and files


@dataclass(frozen=True)
class DrawnCompetition:
    """Where a drawn competition lies; `truth` stands outside the folder that a competitor sees."""

    folder: Path
    truth: Path
    photographs: int
    broken: tuple[str, ...]


@dataclass(frozen=True)
class Drawn:
    """How many of the image files are on disk."""

    done: int
    total: int


def draw(
    folder: Path,
    *,
    individuals: int = 60,
    photographs: int = 600,
    seed: int = 0,
    long_side: int = 3000,
) -> Generator[Drawn, None, DrawnCompetition]:
    """Draw a competition of whale flukes into an empty folder, and its truth beside the folder.

    `individuals` counts the labelled ones, `photographs` all image files of train and test, with
    near-duplicates and the three broken ones, which stand in train.csv and not in boxes.csv.
    `long_side` is the width of the largest photograph in pixels. The bytes depend on these four
    numbers only, not on how many processes draw. truth.csv names the individual of every test
    photograph, of unknown whales too.

    Raises KitboxError for a number too small, a folder that is not empty, and a truth.csv that is
    already there.
    """
    _check_sizes(individuals, photographs, seed, long_side)
    truth = folder.parent / "truth.csv"
    _check_places(folder, truth)
    sightings = roster(seed, individuals, photographs)
    try:
        for part in ("train", "test"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        jobs = (delayed(draw_album)(folder, album, seed, long_side) for album in albums(sightings))
        boxes: dict[str, Box | None] = {}
        for album in Parallel(n_jobs=-1, return_as="generator")(jobs):
            boxes |= {page.image_id: box for page, box in album}
            yield Drawn(len(boxes), photographs)
        order = np.random.default_rng([seed, SHUFFLE]).permutation(photographs)
        _write_lists(folder, truth, [sightings[at] for at in order], boxes)
    except OSError as error:
        raise KitboxError(
            f"cannot write to {folder}: {error.strerror or error}; give another folder"
        ) from error
    broken = tuple(sorted(page.image_id for page in sightings if page.kind in BROKEN))
    return DrawnCompetition(folder, truth, photographs, broken)


def _check_sizes(individuals: int, photographs: int, seed: int, long_side: int) -> None:
    for name, value, least in (
        ("individuals", individuals, FEWEST_INDIVIDUALS),
        ("photographs", photographs, FEWEST_PHOTOGRAPHS * individuals),
        ("seed", seed, 0),
        ("long_side", long_side, SMALLEST_SIDE),
    ):
        if value < least:
            reason = f" for {individuals} individuals" if name == "photographs" else ""
            raise KitboxError(f"{name}={value} is too small{reason}; give {least} or more")


def _check_places(folder: Path, truth: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KitboxError(f"{folder} is not an empty folder; give one, or a name not yet used")
    if truth.exists():
        raise KitboxError(f"{truth} is already there; move it away, or give a folder elsewhere")


def _write_lists(
    folder: Path, truth: Path, rows: list[Sighting], boxes: dict[str, Box | None]
) -> None:
    train = [row for row in rows if not row.test]
    test = [row for row in rows if row.test]
    answer = " ".join([NEW_WHALE, *sorted({row.label for row in train} - {NEW_WHALE})[:4]])
    _write(folder / "train.csv", ("Image", "Id"), ((row.image_id, row.label) for row in train))
    _write(
        folder / "sample_submission.csv", ("Image", "Id"), ((row.image_id, answer) for row in test)
    )
    _write(
        folder / "boxes.csv",
        ("image", "x0", "y0", "x1", "y1"),
        ((row.image_id, *box) for row in rows if (box := boxes[row.image_id])),
    )
    _write(
        truth,
        ("Image", "Id", "individual"),
        ((row.image_id, row.label, row.name) for row in test),
    )


def _write(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str | int, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
