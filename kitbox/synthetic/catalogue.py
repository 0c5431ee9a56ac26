"""A drawn competition read back from its lists, and the steps that lay it out anew.

Whatever a form needs and the drawing does not tell (numbers, dates, species) comes out of hashes of
names, so that the same drawing always gives the same files.
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

LAST_BYTES = (b"\xff\xd9", b"IEND\xaeB`\x82")  # of a whole JPEG, of a whole PNG
FIRST_DAY, DAYS = datetime(2015, 6, 1), 1500  # the years in which all photographs were taken


@dataclass(frozen=True)
class Photograph:
    """An image file, and whom it shows: the true individual, or '' where no list tells."""

    path: Path
    individual: str

    @property
    def name(self) -> str:
        """Return the file's name as drawn."""
        return self.path.name

    @property
    def hex_id(self) -> str:
        """Return 16 hex digits that tell nothing."""
        return hash_words(self.name)[:16]

    @property
    def whole(self) -> bool:
        """Say whether the file ends as a picture does; truncated ones and web pages do not."""
        return self.path.read_bytes().endswith(LAST_BYTES)


@dataclass(frozen=True)
class Catalogue:
    """The photographs of a drawn competition in the order of its lists."""

    folder: Path
    train: tuple[Photograph, ...]
    strangers: tuple[Photograph, ...]  # of train, labelled new_whale
    test: tuple[Photograph, ...]

    @property
    def known(self) -> frozenset[str]:
        """Return the individuals that the labelled photographs name."""
        return frozenset(one.individual for one in self.train)

    @property
    def individuals(self) -> list[str]:
        """Return every individual of train and test once."""
        return sorted({one.individual for one in (*self.train, *self.test)})


@dataclass(frozen=True)
class TruthRow:
    """A row of the truth.

    `image` as a submission calls it, `label` as a scorer expects it, the true `individual`, and
    the species or data set as `group`, where a competition has one.
    """

    image: str
    label: str
    individual: str
    group: str = ""


def read_catalogue(folder: Path, truth: Path) -> Catalogue:
    """Return the photographs of a competition in the humpback form.

    Raises KitboxError for a missing list or column, an image listed twice, and a test image
    without a row in the truth.
    """
    labelled = _column_pairs(folder / "train.csv", "Id")
    told = dict(_column_pairs(truth, "individual"))
    asked = [name for name, _ in _column_pairs(folder / "sample_submission.csv", "Image")]
    times = Counter([*(name for name, _ in labelled), *asked])
    twice = [name for name, count in times.items() if count > 1]
    if twice:
        raise KitboxError(f"image '{twice[0]}' is twice in the lists of {folder}; remove one row")
    missing = [name for name in asked if not told.get(name)]
    if missing:
        raise KitboxError(f"{truth} names no individual for test image '{missing[0]}'; add its row")
    train, test = folder / "train", folder / "test"
    return Catalogue(
        folder,
        tuple(Photograph(train / name, who) for name, who in labelled if who != NEW_WHALE),
        tuple(Photograph(train / name, "") for name, who in labelled if who == NEW_WHALE),
        tuple(Photograph(test / name, told[name]) for name in asked),
    )


def move_photographs(
    photographs: Iterable[Photograph], place: Callable[[Photograph], Path]
) -> None:
    """Rename each photograph to where `place` says."""
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
    """Raise KitboxError where no individual has two photographs for query and gallery."""
    if not individuals:
        raise KitboxError(
            f"{drawn.folder} has no two photographs of one individual that could be asked about; "
            "draw more photographs"
        )


def hash_words(*words: str) -> str:
    """Return 64 hex digits that depend on the words alone."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def pick(options: Sequence[Option], *words: str) -> Option:
    """Return one of the options, the same for the same words."""
    return options[int(hash_words(*words), 16) % len(options)]


def number_names(names: Iterable[str]) -> dict[str, int]:
    """Give each name a number of its own, from 1 in the order of hashes."""
    return {name: at for at, name in enumerate(sorted(set(names), key=hash_words), 1)}


def random_time(*words: str) -> datetime:
    """Return when something was photographed, to the second."""
    return FIRST_DAY + timedelta(seconds=int(hash_words("moment", *words), 16) % (DAYS * 86400))


def _column_pairs(path: Path, column: str) -> list[tuple[str, str]]:
    return [(name, value) for _, (name, value) in tables.read_columns(path, ("Image", column))]
