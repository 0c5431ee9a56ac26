"""A drawn competition of whale flukes: photographs, lists, and the truth beside its folder."""

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
from kitbox.synthetic.camera import draw_size, encode_jpeg
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
UNKNOWN_PATTERN = (2, 1, 3, 1, 1)  # photographs of unknown individuals in turn
# second words of seeds, which keep random numbers independent; the plan has 0
WHALE, MOMENT, FILE, SHUFFLE = 1, 2, 3, 4
ALBUM_SIZE = 12  # photographs for which a whale is drawn once
WEB_PAGE = b"<!DOCTYPE html>\n<html><body><h1>404 Not Found</h1></body></html>\n"
MIN_INDIVIDUALS = 4  # a row of the sample submission has new_whale and four labels
MIN_PHOTOGRAPHS = 3  # per individual
MIN_LONG_SIDE = 200  # pixels; nicks are not visible in less


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """The plan of one image file; near-duplicates share the `moment` of their original."""

    image_id: str
    individual: int
    name: str  # of the individual, also if its label is new_whale
    label: str
    moment: int
    test: bool
    kind: Kind


@dataclass(frozen=True)
class DrawnCompetition:
    """A competition on disk; `truth` is outside the folder that a competitor sees."""

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
    """Draw a competition into an empty folder, and truth.csv beside it; yields Progress.

    `individuals` is the number of labelled ones, `photographs` that of all image files, including
    near-duplicates and three broken files, which are in train.csv and not in boxes.csv. `long_side`
    is the width of the largest photograph in pixels. The bytes depend on these numbers and the seed
    alone, not on the number of processes. truth.csv names the individual of every test photograph,
    also of unknown ones.

    Raises KitboxError for a number too small, a folder that is not empty, and an existing
    truth.csv.
    """
    _check_sizes(individuals, photographs, seed, long_side)
    truth = folder.parent / "truth.csv"
    _check_places(folder, truth)
    sightings = plan_sightings(seed, individuals, photographs)
    try:
        for part in ("train", "test"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        place = folder.absolute()  # worker processes keep the current folder that they began in
        jobs = (
            delayed(draw_album)(place, album, seed, long_side) for album in group_albums(sightings)
        )
        boxes: dict[str, Box | None] = {}
        for album in Parallel(n_jobs=-1, return_as="generator")(jobs):
            boxes |= {sighting.image_id: box for sighting, box in album}
            yield Progress("draw photographs", len(boxes), photographs)
        order = np.random.default_rng([seed, SHUFFLE]).permutation(photographs)
        _write_lists(folder, truth, [sightings[row] for row in order], boxes)
    except OSError as error:
        raise KitboxError(
            f"cannot write to {folder}: {error.strerror or error}; give another folder"
        ) from error
    broken = tuple(sorted(one.image_id for one in sightings if one.kind in BROKEN))
    return DrawnCompetition(folder, truth, photographs, broken)


def _check_sizes(individuals: int, photographs: int, seed: int, long_side: int) -> None:
    for name, value, least in (
        ("individuals", individuals, MIN_INDIVIDUALS),
        ("photographs", photographs, MIN_PHOTOGRAPHS * individuals),
        ("seed", seed, 0),
        ("long_side", long_side, MIN_LONG_SIDE),
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


def plan_sightings(seed: int, individuals: int, photographs: int) -> list[Sighting]:
    """Return the plan of every image file; labelled individuals come first, then unknown ones.

    Broken files and near-duplicates belong to individuals with two or more photographs, if there
    are any, so that they change neither which individuals are known nor which are singletons.
    """
    rng = np.random.default_rng([seed, 0])
    test = round(TEST_SHARE * photographs)
    train = photographs - test
    unknown = round(UNKNOWN_SHARE * test)
    new = max(round(NEW_SHARE * train), 1)
    copies = max(round(DUPLICATE_SHARE * train), 1)
    counts = _draw_counts(rng, individuals, train - new - copies - len(BROKEN))

    known = np.repeat(np.arange(individuals), counts)
    # frequent whales have more queries, but fewer than in proportion
    queries = rng.choice(individuals, test - unknown, p=counts**0.5 / np.sum(counts**0.5))
    new_whales = _repeat_unknown(individuals, new)
    unknown_queries = _repeat_unknown(int(new_whales[-1]) + 1, unknown)
    sources = np.flatnonzero(counts[known] > 1)
    sources = sources if sources.size >= copies else np.arange(known.size)
    copied = rng.choice(sources, copies, replace=False)
    broken = known[rng.choice(sources, len(BROKEN))]

    who = np.concatenate([known, new_whales, broken, queries, unknown_queries, known[copied]])
    originals = np.arange(photographs - copies)
    moments = np.concatenate([originals, copied])
    tests = (originals >= train - copies).tolist() + [False] * copies
    kinds: list[Kind] = ["photograph"] * photographs
    kinds[train - copies - len(BROKEN) : train - copies] = BROKEN
    kinds[photographs - copies :] = ["near-duplicate"] * copies
    names = [f"w_{number:07x}" for number in _unique(rng, 16**7, int(who.max()) + 1)]
    image_ids = [f"{number:09x}.jpg" for number in _unique(rng, 16**9, photographs)]
    return [
        Sighting(
            image_id=image_id,
            individual=individual,
            name=names[individual],
            label=names[individual] if individual < individuals else NEW_WHALE,
            moment=moment,
            test=is_test,
            kind=kind,
        )
        for image_id, individual, moment, is_test, kind in zip(
            image_ids, who.tolist(), moments.tolist(), tests, kinds, strict=True
        )
    ]


def _draw_counts(rng: np.random.Generator, individuals: int, total: int) -> Counts:
    """Draw the number of train photographs of each individual: many have one, a few very many."""
    counts = np.ones(individuals, np.int64)
    spare = total - individuals
    frequent = min(individuals - round(SINGLETON_SHARE * individuals), spare)
    if frequent:
        chosen = rng.permutation(individuals)[:frequent]
        weights = rng.lognormal(0, 0.9, frequent)  # a long tail
        counts[chosen] += 1 + rng.multinomial(spare - frequent, weights / weights.sum())
    return counts


def _repeat_unknown(first: int, total: int) -> Counts:
    """Return `total` individuals from `first` on, each repeated for its photographs."""
    pattern = np.resize(UNKNOWN_PATTERN, total)
    return np.repeat(np.arange(first, first + total), pattern)[:total]


def _unique(rng: np.random.Generator, below: int, total: int) -> list[int]:
    numbers: list[int] = rng.choice(below, total, replace=False).tolist()
    return numbers


def group_albums(sightings: list[Sighting]) -> Iterator[list[Sighting]]:
    """Yield the sightings of each individual in groups of at most `ALBUM_SIZE`."""
    by_whale = attrgetter("individual")
    for _, group in groupby(sorted(sightings, key=by_whale), by_whale):
        own = list(group)
        for start in range(0, len(own), ALBUM_SIZE):
            yield own[start : start + ALBUM_SIZE]


def draw_album(
    folder: Path, album: list[Sighting], seed: int, long_side: int
) -> list[tuple[Sighting, Box | None]]:
    """Write the files of one individual; return their boxes, None for broken files."""
    subject = draw_whale(np.random.default_rng([seed, WHALE, album[0].individual]))
    return [(sighting, _draw(folder, subject, sighting, seed, long_side)) for sighting in album]


def _draw(
    folder: Path, subject: Whale, sighting: Sighting, seed: int, long_side: int
) -> Box | None:
    moment = np.random.default_rng([seed, MOMENT, sighting.moment])
    own = np.random.default_rng([seed, FILE, int(Path(sighting.image_id).stem, 16)])
    picture = draw_photograph(moment, subject, *draw_size(moment, long_side))
    if sighting.kind == "near-duplicate":
        picture = draw_near_duplicate(own, picture)
    data = encode_jpeg(picture.pixels, int(own.integers(60, 96)))
    broken = {"truncated": data[: len(data) // 2], "empty": b"", "web page": WEB_PAGE}
    path = folder / ("test" if sighting.test else "train") / sighting.image_id
    path.write_bytes(broken.get(sighting.kind, data))
    return None if sighting.kind in broken else picture.box
