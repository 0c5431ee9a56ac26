"""The folder of a drawn competition: photographs, lists, and the truth beside it."""

import csv
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Literal

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.records import Progress
from kitbox.synthetic.fields import draw_size, encode_jpeg
from kitbox.synthetic.fluke import Whale, draw_whale
from kitbox.synthetic.scene import Box, draw_near_duplicate, draw_photograph

Counts = NDArray[np.int64]
Kind = Literal["photograph", "near-duplicate", "truncated", "empty", "web page"]

NEW_WHALE = "new_whale"
BROKEN: tuple[Kind, ...] = ("truncated", "empty", "web page")

TEST_SHARE = 0.22
UNKNOWN_SHARE = 0.27  # of the test photographs, as in the humpback competition of 2018
NEW_SHARE = 0.08  # of the train photographs, labelled new_whale
DUPLICATE_SHARE = 0.02  # of the train photographs
SINGLETON_SHARE = 0.3  # of the labelled individuals
STRANGER_PHOTOGRAPHS = (2, 1, 3, 1, 1)  # of unknown individuals in turn: some often, most once


@dataclass(frozen=True)
class Sighting:
    """One image file to be drawn; near-duplicates share the `moment` of their original."""

    image_id: str
    individual: int
    name: str  # of the individual, which an unknown one's label does not tell
    label: str
    moment: int
    test: bool
    kind: Kind


def plan_sightings(seed: int, individuals: int, photographs: int) -> list[Sighting]:
    """Plan every image file; labelled individuals come first, unknown ones follow.

    Broken files and near-duplicates fall on individuals with two or more photographs, where there
    are any, so that they change neither who is known nor who is seen once.
    """
    rng = np.random.default_rng([seed, 0])
    test = round(TEST_SHARE * photographs)
    train = photographs - test
    unknown = round(UNKNOWN_SHARE * test)
    new = max(round(NEW_SHARE * train), 1)
    copies = max(round(DUPLICATE_SHARE * train), 1)
    counts = _counts(rng, individuals, train - new - copies - len(BROKEN))

    known = np.repeat(np.arange(individuals), counts)
    # everyone may be asked about, an often seen whale more often, but less than in proportion
    asked = rng.choice(individuals, test - unknown, p=counts**0.5 / np.sum(counts**0.5))
    strangers = _strangers(individuals, new)
    others = _strangers(int(strangers[-1]) + 1, unknown)
    sources = np.flatnonzero(counts[known] > 1)
    sources = sources if sources.size >= copies else np.arange(known.size)
    copied = rng.choice(sources, copies, replace=False)
    hurt = known[rng.choice(sources, len(BROKEN))]

    whos = np.concatenate([known, strangers, hurt, asked, others, known[copied]])
    originals = np.arange(photographs - copies)
    moments = np.concatenate([originals, copied])
    tests = (originals >= train - copies).tolist() + [False] * copies
    kinds: list[Kind] = ["photograph"] * photographs
    kinds[train - copies - len(BROKEN) : train - copies] = BROKEN
    kinds[photographs - copies :] = ["near-duplicate"] * copies
    names = [f"w_{number:07x}" for number in _unique(rng, 16**7, int(whos.max()) + 1)]
    image_ids = [f"{number:09x}.jpg" for number in _unique(rng, 16**9, photographs)]
    return [
        Sighting(image_id, who, names[who], names[who] if who < individuals else NEW_WHALE, *rest)
        for image_id, who, *rest in zip(
            image_ids, whos.tolist(), moments.tolist(), tests, kinds, strict=True
        )
    ]


def _counts(rng: np.random.Generator, individuals: int, total: int) -> Counts:
    """Count the train photographs of each individual: many are seen once, a few very often."""
    counts = np.ones(individuals, np.int64)
    spare = total - individuals
    often = min(individuals - round(SINGLETON_SHARE * individuals), spare)
    if often:
        chosen = rng.permutation(individuals)[:often]
        weights = rng.lognormal(0, 0.9, often)  # the long tail
        counts[chosen] += 1 + rng.multinomial(spare - often, weights / weights.sum())
    return counts


def _strangers(first: int, total: int) -> Counts:
    """Repeat individuals from `first` on, each as often as it is photographed."""
    pattern = np.resize(STRANGER_PHOTOGRAPHS, total)
    return np.repeat(np.arange(first, first + total), pattern)[:total]


def _unique(rng: np.random.Generator, below: int, total: int) -> list[int]:
    numbers: list[int] = rng.choice(below, total, replace=False).tolist()
    return numbers


PAGES = 12  # photographs in an album: its whale is drawn once for them all
WEB_PAGE = b"<!DOCTYPE html>\n<html><body><h1>404 Not Found</h1></body></html>\n"

# the first word after the seed keeps the random numbers of different things apart; 0 is the roster
WHALE, MOMENT, FILE = 1, 2, 3


def group_albums(sightings: list[Sighting]) -> Iterator[list[Sighting]]:
    """Group sightings by individual, at most `PAGES` in a group."""
    by_whale = attrgetter("individual")
    for _, group in groupby(sorted(sightings, key=by_whale), by_whale):
        whole = list(group)
        yield from (whole[at : at + PAGES] for at in range(0, len(whole), PAGES))


def draw_album(
    folder: Path, album: list[Sighting], seed: int, long_side: int
) -> list[tuple[Sighting, Box | None]]:
    """Write the files of one individual; a broken file has no box."""
    subject = draw_whale(np.random.default_rng([seed, WHALE, album[0].individual]))
    return [(page, _draw(folder, subject, page, seed, long_side)) for page in album]


def _draw(folder: Path, subject: Whale, page: Sighting, seed: int, long_side: int) -> Box | None:
    moment = np.random.default_rng([seed, MOMENT, page.moment])
    own = np.random.default_rng([seed, FILE, int(Path(page.image_id).stem, 16)])
    picture = draw_photograph(moment, subject, *draw_size(moment, long_side))
    if page.kind == "near-duplicate":
        picture = draw_near_duplicate(own, picture)
    data = encode_jpeg(picture.pixels, int(own.integers(60, 96)))
    broken = {"truncated": data[: len(data) // 2], "empty": b"", "web page": WEB_PAGE}
    path = folder / ("test" if page.test else "train") / page.image_id
    path.write_bytes(broken.get(page.kind, data))
    return None if page.kind in broken else picture.box


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


def draw(
    folder: Path,
    *,
    individuals: int = 60,
    photographs: int = 600,
    seed: int = 0,
    long_side: int = 3000,
) -> Generator[Progress, None, DrawnCompetition]:
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
    sightings = plan_sightings(seed, individuals, photographs)
    try:
        for part in ("train", "test"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        jobs = (
            delayed(draw_album)(folder, album, seed, long_side) for album in group_albums(sightings)
        )
        boxes: dict[str, Box | None] = {}
        for album in Parallel(n_jobs=-1, return_as="generator")(jobs):
            boxes |= {page.image_id: box for page, box in album}
            yield Progress("draw photographs", len(boxes), photographs)
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
