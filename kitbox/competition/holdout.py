"""Splits the labelled images so that local scores imitate the real test."""

import csv
import hashlib
import io
import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from kitbox.competition.settings import Competition, HoldoutSettings
from kitbox.errors import KitboxError
from kitbox.files import write_text
from kitbox.records import Holdout, Integers, LabelledImages, strings
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Folds:
    """Which fold asks about each labelled image, and whom a fold does not know.

    `asked (n,)` counts folds from 1, 0 for images that are never asked about; `strangers` are for
    each fold the individuals that it asks about with all their photographs. `images` of known
    `individuals` were there to draw from.
    """

    asked: Integers
    strangers: tuple[frozenset[str], ...]
    images: int
    individuals: int


def draw_folds(
    labelled: LabelledImages,
    shape: HoldoutSettings,
    unknown: str | None,
    units: Integers | None = None,
    *,
    by_group: bool = False,
    never: Collection[str] = (),
) -> Folds:
    """Return the folds of labelled images.

    Of the images of known individuals `shape.share` are asked about, or with several folds each
    that can be in one of them. `shape.unknown_share` of the queries are all photographs of
    individuals who are held out whole, so that the training side does not show them; the others
    leave at least one photograph of their individual behind, and come in proportion to the
    photographs of their individual to the power `shape.frequency_power`. `by_group` gives each
    group its part of the individuals held out, as large as its part of the photographs.

    Images of one unit (`units (n,)`: near-duplicates, encounters) are asked about in one fold; a
    unit of two individuals never is, nor one with an image of `never`. The draw depends on the
    seed, the image ids, the labels and the units only, not on their order, and a new image moves
    few others.
    """
    folds = _FoldBuilder(labelled, shape, unknown or "", units, by_group, never)
    folds.hold_out_individuals()
    folds.hold_out_photographs()
    strangers = tuple(frozenset(names) for names in folds.strangers)
    return Folds(folds.asked, strangers, len(folds.known), len(folds.rows_of))


@dataclass
class _FoldBuilder:
    """Which fold asks about which image while the folds are filled: 0 for none."""

    labelled: LabelledImages
    shape: HoldoutSettings
    unknown: str
    units: Integers | None
    by_group: bool
    never: Collection[str]
    asked: Integers = field(init=False)

    def __post_init__(self) -> None:
        labels = self.labelled.labels
        self.asked = np.zeros(len(labels), dtype=np.int64)
        self.known = np.flatnonzero(labels != self.unknown)
        self.rows_of: dict[str, list[int]] = {}
        for row in self.known.tolist():
            self.rows_of.setdefault(str(labels[row]), []).append(row)
        units = np.arange(len(labels)) if self.units is None else self.units
        self.unit: list[int] = units.tolist()
        self.of_unit: dict[int, list[int]] = {}
        for row, unit in enumerate(self.unit):
            self.of_unit.setdefault(unit, []).append(row)
        # a unit of two individuals, or of one and an unknown, asks a question without an answer
        self.bound = {
            unit
            for unit, rows in self.of_unit.items()
            if len(rows) > 1 and len({str(labels[row]) for row in rows}) > 1
        }
        kept = np.flatnonzero(np.isin(self.labelled.image_ids, list(self.never)))
        self.bound |= {self.unit[row] for row in kept.tolist()}
        folds = self.shape.folds
        share = self.shape.share if folds == 1 else 1 / folds
        self.wanted = round(share * len(self.known))
        self.strangers: list[set[str]] = [set() for _ in range(folds)]

    def hold_out_individuals(self) -> None:
        """Give whole individuals to the folds, until each has its share of unknown queries."""
        for names, most in self._groups():
            taken = [0] * self.shape.folds
            askable = self._askable(names)
            for label in sorted(names, key=lambda label: self._draw("label", label)):
                rows = self.rows_of[label]
                units = {self.unit[row] for row in rows}
                if self.bound & units:
                    continue
                fold = int(np.argmin(taken))
                # only as a stranger can an individual of one unit be asked about
                added = len(rows) if len(units) == 1 else 0
                if taken[fold] + len(rows) <= self._room(askable + added, most):
                    self.asked[rows] = fold + 1
                    self.strangers[fold].add(label)
                    taken[fold] += len(rows)
                    askable += added

    def _askable(self, names: list[str]) -> int:
        """Count the photographs of individuals that folds ask about, were nobody held out."""
        return sum(
            sum(self.unit[row] not in self.bound for row in self.rows_of[name])
            for name in names
            if len({self.unit[row] for row in self.rows_of[name]}) > 1
        )

    def _room(self, askable: int, most: int) -> int:
        """Return how many photographs of strangers a fold may ask about.

        Several folds ask about whatever they can, one holdout or strangers alone about `most`.
        """
        folds, share = self.shape.folds, self.shape.unknown_share
        return most if folds == 1 or share == 1 else round(share * askable / folds)

    def hold_out_photographs(self) -> None:
        """Fill the folds with photographs whose individual keeps another one in training."""
        if self.shape.unknown_share == 1:
            return
        taken: Counter[tuple[str, int]] = Counter()  # (label, fold) → units asked about
        units_of = {
            label: len({self.unit[row] for row in of}) for label, of in self.rows_of.items()
        }
        counts = np.bincount(self.asked, minlength=self.shape.folds + 1)[1:]
        # one holdout is full at its share; several folds take whatever can be asked about
        full = self.wanted if self.shape.folds == 1 else len(self.known)
        for row in sorted(self.known.tolist(), key=self._turn):
            label, rows = self._label(row), self.of_unit[self.unit[row]]
            if self.asked[row] or self.unit[row] in self.bound:
                continue
            open_folds = [
                fold
                for fold in range(self.shape.folds)
                if counts[fold] + len(rows) <= full and taken[label, fold] + 1 < units_of[label]
            ]
            if open_folds:
                fold = min(open_folds, key=lambda fold: counts[fold])
                self.asked[rows] = fold + 1
                counts[fold] += len(rows)
                taken[label, fold] += 1

    def _groups(self) -> list[tuple[list[str], int]]:
        """Return the individuals of each group, and how many unknown queries a fold takes there.

        An individual of several groups is in the first by name.
        """
        groups = self.labelled.groups if self.by_group else None
        names_of: dict[str, list[str]] = {}
        for label, rows in self.rows_of.items():
            group = "" if groups is None else min(str(groups[row]) for row in rows)
            names_of.setdefault(group, []).append(label)
        found, seen, taken = [], 0, 0
        for _, names in sorted(names_of.items()):
            seen += sum(len(self.rows_of[name]) for name in names)
            # of the sum so far, so that the rounded parts add up
            upto = round(self.shape.unknown_share * self.wanted * seen / len(self.known))
            found.append((names, upto - taken))
            taken = upto
        return found

    def _label(self, row: int) -> str:
        return str(self.labelled.labels[row])

    def _turn(self, row: int) -> tuple[float, bytes]:
        """Return a key by which photographs come in the order of a weighted draw.

        Keys −log(u) / weight are exponential, so that the least are a weighted sample without
        replacement (Efraimidis and Spirakis, 2006).
        """
        draw = self._draw("image", str(self.labelled.image_ids[row]))
        # 52 bits, so that half a step beside 0 and 1 is still a double
        uniform = 1 - ((int.from_bytes(draw[:8], "big") >> 12) + 0.5) / 2**52
        weight = len(self.rows_of[self._label(row)]) ** (self.shape.frequency_power - 1)
        return -math.log(uniform) / weight, draw

    def _draw(self, kind: str, name: str) -> bytes:
        """Return a number drawn for a name: the order of these is the order of the draw."""
        return hashlib.sha256(f"{self.shape.seed}:{kind}:{name}".encode()).digest()


def split(
    labelled: LabelledImages, competition: Competition, units: Integers | None = None, fold: int = 1
) -> Holdout:
    """Return the holdout of a competition's labelled images: of several folds the `fold`th.

    `units (n,)` tell which images stay on one side. Raises KitboxError where there are too few
    photographs to ask about.
    """
    drawn = draw_folds(
        labelled,
        competition.holdout,
        competition.images.unknown_label,
        units,
        by_group=competition.task.within_group,
    )
    return from_folds(drawn, labelled, competition, fold)


def from_folds(
    drawn: Folds, labelled: LabelledImages, competition: Competition, fold: int
) -> Holdout:
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


def without_queries(labelled: LabelledImages) -> Holdout:
    """Return the holdout of images of nobody known: nothing can be asked of them."""
    none = labelled.take(np.zeros(len(labelled), dtype=np.bool_))
    return Holdout(labelled, none, labelled, strings([]))


def save(
    drawn: Folds, labelled: LabelledImages, competition: Competition, workspace: Workspace
) -> None:
    """Write the split down as `holdout.csv`: image, side, label and what a scorer would expect.

    Of several folds a last column tells which one asks about the image; none does where it is
    empty.
    """
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
