"""The photographs and the truth of a drawn competition, and helpers to change its layout.

Values that a layout adds to the drawing (numbers, dates, species) are derived from hashes of names,
so that the same drawing always gives the same files.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from kitbox import tables
from kitbox.errors import KitboxError
from kitbox.synthetic.whale_competition import NEW_WHALE

Option = TypeVar("Option")

LAST_BYTES = (b"\xff\xd9", b"IEND\xaeB`\x82")  # of a complete JPEG, of a complete PNG
FIRST_DAY, DAYS = datetime(2015, 6, 1), 1500  # all photographs were taken on these days


@dataclass(frozen=True)
class Photograph:
    """An image file and the individual it shows, '' if no list names it."""

    path: Path
    individual: str

    @property
    def name(self) -> str:
        """The file's name as drawn."""
        return self.path.name

    @property
    def hex_id(self) -> str:
        """16 hex digits without a meaning."""
        return hash_words(self.name)[:16]

    @property
    def is_complete(self) -> bool:
        """Whether the file ends like a picture; truncated files and web pages do not."""
        return self.path.read_bytes().endswith(LAST_BYTES)


@dataclass(frozen=True)
class Catalogue:
    """The photographs of a drawn competition in the order of its lists."""

    folder: Path
    train: tuple[Photograph, ...]
    unknown: tuple[Photograph, ...]  # of train, labelled new_whale
    test: tuple[Photograph, ...]

    @property
    def known(self) -> frozenset[str]:
        """The individuals of the labelled photographs."""
        return frozenset(one.individual for one in self.train)

    @property
    def individuals(self) -> list[str]:
        """Every individual of train and test once, sorted."""
        return sorted({one.individual for one in (*self.train, *self.test)})


@dataclass(frozen=True)
class TruthRow:
    """A row of the truth.

    `image` is the id in a submission, `label` the right answer, `individual` the true one, and
    `group` the species or data set if a competition has them.
    """

    image: str
    label: str
    individual: str
    group: str = ""


def read_catalogue(folder: Path, truth: Path) -> Catalogue:
    """Return the photographs of a competition in the humpback layout.

    Raises KitboxError for a missing list or column, an image listed twice, and a test image
    without a row in the truth.
    """
    labelled = _column_pairs(folder / "train.csv", "Id")
    individual_of = dict(_column_pairs(truth, "individual"))
    queries = [name for name, _ in _column_pairs(folder / "sample_submission.csv", "Image")]
    counts = Counter([*(name for name, _ in labelled), *queries])
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise KitboxError(f"image '{twice[0]}' is twice in the lists of {folder}; remove one row")
    missing = [name for name in queries if not individual_of.get(name)]
    if missing:
        raise KitboxError(f"{truth} names no individual for test image '{missing[0]}'; add its row")
    train, test = folder / "train", folder / "test"
    return Catalogue(
        folder,
        tuple(Photograph(train / name, who) for name, who in labelled if who != NEW_WHALE),
        tuple(Photograph(train / name, "") for name, who in labelled if who == NEW_WHALE),
        tuple(Photograph(test / name, individual_of[name]) for name in queries),
    )


def move_photographs(
    photographs: Iterable[Photograph], place: Callable[[Photograph], Path]
) -> None:
    """Rename each photograph to the path that `place` returns for it."""
    for one in photographs:
        path = place(one)
        path.parent.mkdir(parents=True, exist_ok=True)
        one.path.rename(path)


def write_list(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a list with its header."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def group_by_individual(photographs: Iterable[Photograph]) -> dict[str, list[Photograph]]:
    """Return the photographs of each individual, in the order of hashes."""
    groups: dict[str, list[Photograph]] = {}
    for one in sorted(photographs, key=lambda one: hash_words(one.name)):
        groups.setdefault(one.individual, []).append(one)
    return groups


def require_pairs(individuals: Collection[str], drawn: Catalogue) -> None:
    """Raise KitboxError if no individual has two photographs, for a query and its match."""
    if not individuals:
        raise KitboxError(
            f"{drawn.folder} has no two photographs of one individual, for a query and its match; "
            "draw more photographs"
        )


def hash_words(*words: str) -> str:
    """Return 64 hex digits that depend on the words alone."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def pick(options: Sequence[Option], *words: str) -> Option:
    """Return one of the options, the same for the same words."""
    return options[int(hash_words(*words), 16) % len(options)]


def number_names(names: Iterable[str]) -> dict[str, int]:
    """Return a number for each name, from 1 in the order of hashes."""
    return {name: at for at, name in enumerate(sorted(set(names), key=hash_words), 1)}


def random_time(*words: str) -> datetime:
    """Return a time for some words, to the second."""
    return FIRST_DAY + timedelta(seconds=int(hash_words("moment", *words), 16) % (DAYS * 86400))


def _column_pairs(path: Path, column: str) -> list[tuple[str, str]]:
    return [(name, value) for _, (name, value) in tables.read_columns(path, ("Image", column))]
