"""Splits the labelled images so that local scores imitate the leaderboard."""

import hashlib
import io
import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np

from kitbox.competition.settings import Competition, HoldoutSettings
from kitbox.errors import KitboxError, counted
from kitbox.files import write_text
from kitbox.records import Holdout, Integers, LabelledImages, strings
from kitbox.tables import csv_writer, safe_cell
from kitbox.workspace import Workspace


class TooFewQueriesError(KitboxError):
    """A fold that has no query to score on."""


@dataclass(frozen=True)
class Folds:
    """The fold in which each labelled image is a query, and the individuals unknown to each fold.

    `fold_of (n,)` counts folds from 1; it is 0 for images that are never queries. `unknown` has,
    for each fold, the individuals whose photographs are all its queries. `individuals` is the
    number of labelled individuals, `images` that of their photographs.
    """

    fold_of: Integers
    unknown: tuple[frozenset[str], ...]
    images: int
    individuals: int

    @property
    def emptied(self) -> "Folds":
        """The same folds without any query."""
        nobody = tuple(frozenset[str]() for _ in self.unknown)
        return replace(self, fold_of=np.zeros_like(self.fold_of), unknown=nobody)


def split(
    labelled: LabelledImages, competition: Competition, units: Integers | None = None, fold: int = 1
) -> Holdout:
    """Return the holdout of a competition's labelled images, the `fold`th of several folds.

    Images of one unit (`units (n,)`) stay on one side. Raises KitboxError for too few photographs.
    """
    folds = draw_folds(
        labelled,
        competition.holdout,
        competition.images.unknown_label,
        units,
        by_group=competition.task.within_group,
    )
    return from_folds(folds, labelled, competition, fold)


def draw_folds(
    labelled: LabelledImages,
    settings: HoldoutSettings,
    unknown_label: str | None,
    units: Integers | None = None,
    *,
    by_group: bool = False,
    training_only: Collection[str] = (),
) -> Folds:
    """Return the folds of labelled images.

    A `settings.share` of the images of known individuals become queries or, with several folds,
    every image that can be one. `settings.unknown_share` of the queries are all photographs of
    individuals who are held out whole, so that the training side does not show them. The other
    queries leave at least one photograph of their individual behind, and come in proportion to the
    individual's photographs to the power `settings.frequency_power`. `by_group` holds out
    individuals of each group in proportion to the group's photographs.

    Images of one unit (`units (n,)`: near-duplicates, encounters) are queries of one fold; a unit
    of two individuals, or with an image of `training_only` (ids), is never a query. The draw
    depends on the seed, the image ids, the labels and the units only, not on their order, and a new
    image moves few others.
    """
    builder = _FoldBuilder(
        labelled=labelled,
        settings=settings,
        unknown_label=unknown_label or "",
        units=units,
        by_group=by_group,
        training_only=training_only,
    )
    builder.hold_out_individuals()
    builder.hold_out_photographs()
    unknown = tuple(frozenset(labels) for labels in builder.unknown)
    return Folds(builder.fold_of, unknown, len(builder.known), len(builder.rows_of))


def from_folds(
    folds: Folds, labelled: LabelledImages, competition: Competition, fold: int
) -> Holdout:
    """Return the holdout with the queries of one fold.

    The gallery imitates the leaderboard's: the training side, the queries, or both; with
    `holdout.distractors` always both. Raises KitboxError for a missing fold, TooFewQueriesError for
    fewer than two queries, or none that another image of its individual could answer.
    """
    if not 1 <= fold <= len(folds.unknown):
        raise KitboxError(
            f"there is no fold {fold}: kitbox.toml has holdout.folds = {len(folds.unknown)}"
        )
    is_query, unknown = folds.fold_of == fold, folds.unknown[fold - 1]
    train, query = labelled.take(~is_query), labelled.take(is_query)
    labels, counts = np.unique(query.labels, return_counts=True)
    # queries of unknown individuals match each other, the others match the training side
    least = 2 if competition.holdout.unknown_share == 1 else 1
    matched = {
        label for label in labels[counts >= least].tolist() if least > 1 or label not in unknown
    }
    if not matched or len(query) < 2:
        raise TooFewQueriesError(
            "a holdout needs individuals with two photographs; "
            f"{counted(folds.images, 'labelled image')} of "
            f"{counted(folds.individuals, 'individual')} leave no query"
        )
    sides = {
        "train": ~is_query,
        "test": is_query,
        "index": is_query,
        "train+test": np.ones_like(is_query),
    }
    distractors = competition.holdout.distractors
    gallery = labelled if distractors else labelled.take(sides[competition.task.gallery])
    unknown_label = competition.images.unknown_label or ""
    answers = [unknown_label if label in unknown else label for label in query.labels.tolist()]
    return Holdout(train, query, gallery, strings(answers))


def without_queries(labelled: LabelledImages) -> Holdout:
    """Return the holdout of images that leave no query: all of them are to train on."""
    none = labelled.take(np.zeros(len(labelled), dtype=np.bool_))
    return Holdout(labelled, none, labelled, strings([]))


def save(
    folds: Folds, labelled: LabelledImages, competition: Competition, workspace: Workspace
) -> None:
    """Write the split to `holdout.csv`: image, side, label and the correct answer.

    With several folds a last column has the fold in which the image is a query, if any.
    """
    unknown_label = competition.images.unknown_label or ""
    several = len(folds.unknown) > 1
    rows: list[tuple[int, str, str]] = sorted(
        zip(
            folds.fold_of.tolist(),
            labelled.image_ids.tolist(),
            labelled.labels.tolist(),
            strict=True,
        ),
        key=lambda row: (row[0] or len(folds.unknown) + 1, row[1]),
    )
    text = io.StringIO()
    writer = csv_writer(text)
    writer.writerow(["image", "side", "label", "answer", *(["fold"] if several else [])])
    for fold, image_id, label in rows:
        is_unknown = fold > 0 and label in folds.unknown[fold - 1]
        answer = unknown_label if is_unknown else label
        row = [safe_cell(cell) for cell in (image_id, "query" if fold else "train", label, answer)]
        writer.writerow([*row, *([fold or ""] if several else [])])
    path = workspace.holdout
    if not path.exists() or path.read_text(encoding="utf-8") != text.getvalue():
        write_text(path, text.getvalue())


@dataclass(kw_only=True)
class _FoldBuilder:
    """Fills the folds; `fold_of (n,)` is 0 for images that are not queries so far."""

    labelled: LabelledImages
    settings: HoldoutSettings
    unknown_label: str
    units: Integers | None
    by_group: bool
    training_only: Collection[str]
    fold_of: Integers = field(init=False)

    def __post_init__(self) -> None:
        labels: list[str] = self.labelled.labels.tolist()
        self.fold_of = np.zeros(len(labels), dtype=np.int64)
        self.known = np.flatnonzero(self.labelled.labels != self.unknown_label)
        self.rows_of: dict[str, list[int]] = {}
        for row in self.known.tolist():
            self.rows_of.setdefault(labels[row], []).append(row)
        units = np.arange(len(labels)) if self.units is None else self.units
        self.unit: list[int] = units.tolist()
        self.rows_of_unit: dict[int, list[int]] = {}
        for row, unit in enumerate(self.unit):
            self.rows_of_unit.setdefault(unit, []).append(row)
        # a query needs one answer: no unit of two individuals, or of one and an unknown
        self.blocked = {
            unit
            for unit, rows in self.rows_of_unit.items()
            if len(rows) > 1 and len({labels[row] for row in rows}) > 1
        }
        never = np.isin(self.labelled.image_ids, list(self.training_only))
        self.blocked |= {self.unit[row] for row in np.flatnonzero(never).tolist()}
        folds = self.settings.folds
        share = self.settings.share if folds == 1 else 1 / folds
        self.fold_size = round(share * len(self.known))
        self.unknown: list[set[str]] = [set() for _ in range(folds)]

    def hold_out_individuals(self) -> None:
        """Give whole individuals to the folds, until each has its share of unknown queries."""
        for labels, most in self._groups():
            taken = [0] * self.settings.folds
            available = self._available(labels)
            for label in sorted(labels, key=lambda label: self._digest("label", label)):
                rows = self.rows_of[label]
                units = {self.unit[row] for row in rows}
                if self.blocked & units:
                    continue
                fold = int(np.argmin(taken))
                # an individual of one unit can only be a query if it is unknown
                added = len(rows) if len(units) == 1 else 0
                if taken[fold] + len(rows) <= self._room(available + added, most):
                    self.fold_of[rows] = fold + 1
                    self.unknown[fold].add(label)
                    taken[fold] += len(rows)
                    available += added

    def hold_out_photographs(self) -> None:
        """Fill the folds with photographs whose individual keeps another one in training."""
        if self.settings.unknown_share == 1:
            return
        taken: Counter[tuple[str, int]] = Counter()  # (label, fold) → units that are queries
        units_of = {
            label: len({self.unit[row] for row in rows}) for label, rows in self.rows_of.items()
        }
        counts = np.bincount(self.fold_of, minlength=self.settings.folds + 1)[1:]
        # one holdout is full at its share; several folds take every image that can be a query
        capacity = self.fold_size if self.settings.folds == 1 else len(self.known)
        for row in sorted(self.known.tolist(), key=self._sample_key):
            label, rows = self._label(row), self.rows_of_unit[self.unit[row]]
            if self.fold_of[row] or self.unit[row] in self.blocked:
                continue
            open_folds = [
                fold
                for fold in range(self.settings.folds)
                if counts[fold] + len(rows) <= capacity and taken[label, fold] + 1 < units_of[label]
            ]
            if open_folds:
                fold = min(open_folds, key=lambda fold: counts[fold])
                self.fold_of[rows] = fold + 1
                counts[fold] += len(rows)
                taken[label, fold] += 1

    def _available(self, labels: list[str]) -> int:
        """Count the photographs that could be queries if no individual were held out whole."""
        return sum(
            sum(self.unit[row] not in self.blocked for row in self.rows_of[label])
            for label in labels
            if len({self.unit[row] for row in self.rows_of[label]}) > 1
        )

    def _room(self, available: int, most: int) -> int:
        """Return how many photographs of unknown individuals a fold may take.

        One holdout, or one of unknown individuals only, takes `most`; several folds take their
        share of the available photographs.
        """
        folds, share = self.settings.folds, self.settings.unknown_share
        return most if folds == 1 or share == 1 else round(share * available / folds)

    def _groups(self) -> list[tuple[list[str], int]]:
        """Return the individuals of each group, and how many unknown queries a fold takes there.

        An individual in several groups counts in the first by name.
        """
        groups = self.labelled.groups if self.by_group else None
        labels_of: dict[str, list[str]] = {}
        for label, rows in self.rows_of.items():
            group = "" if groups is None else min(str(groups[row]) for row in rows)
            labels_of.setdefault(group, []).append(label)
        parts, images, taken = [], 0, 0
        for _, labels in sorted(labels_of.items()):
            images += sum(len(self.rows_of[label]) for label in labels)
            # rounded sums so far, so that the parts add up
            total = round(self.settings.unknown_share * self.fold_size * images / len(self.known))
            parts.append((labels, total - taken))
            taken = total
        return parts

    def _label(self, row: int) -> str:
        return str(self.labelled.labels[row])

    def _sample_key(self, row: int) -> tuple[float, bytes]:
        """Return a sort key that puts photographs into the order of a weighted draw.

        Keys −log(u) / weight are exponential, so that the least are a weighted sample without
        replacement (Efraimidis and Spirakis, 2006).
        """
        digest = self._digest("image", str(self.labelled.image_ids[row]))
        # 52 bits, so that half a step beside 0 and 1 is still a double
        uniform = 1 - ((int.from_bytes(digest[:8], "big") >> 12) + 0.5) / 2**52
        weight = len(self.rows_of[self._label(row)]) ** (self.settings.frequency_power - 1)
        return -math.log(uniform) / weight, digest

    def _digest(self, kind: str, name: str) -> bytes:
        """Return a pseudo-random digest of a name; digests sort names in the order of the draw."""
        return hashlib.sha256(f"{self.settings.seed}:{kind}:{name}".encode()).digest()
