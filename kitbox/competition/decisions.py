"""Decisions of the user about images and individuals, which every later step applies.

decisions.csv has the columns decision, subject, value and note, and where a page wrote a row also
by (who decided) and time (UTC, as 2026-11-30T12:00:00Z), which change no result. A row is one of

- `merge,LABEL,LABEL`: the first is the same individual as the second, whose name stays
- `drop,IMAGE`: leave it out of the labelled images and of an index; a test image cannot be dropped
- `wrong,IMAGE`: its label cannot be trusted; leave it out of the labelled images
- `label,IMAGE,LABEL`: it shows this individual, perhaps a new one
- `train,IMAGE`: it is never a query of the holdout
- `box,IMAGE,x0 y0 x1 y1`: crop it to this box, in pixels of the upright image
- `fine,IMAGE,IMAGE` or `fine,LABEL`: checked and correct; not shown as a suspect again
- `same,IMAGE,IMAGE` and `different,IMAGE,IMAGE`: both show one individual, or two; see `Links`
- `new,IMAGE`: it shows none of the individuals that have a label: the unknown label is its first
  answer, no labelled image its match, no known individual its cluster. A `same` with a labelled
  image, or a label of its own, ends that: then it is known who it is
- `unsure,IMAGE`: a person cannot tell who it shows, and takes back an own `same` or `new` about it;
  no step does anything else, and the matching desk does not ask that person again
- `poor,IMAGE`: the picture is too poor to tell; as `unsure`, but the matching desk asks nobody
  again and counts it

Of drop, wrong and label the last row of an image counts, of same and different the last row of a
pair in either order; else the last of a kind and a subject. A row of a page (with `by` or `time`)
about an image or a label that is in no list any more is counted and told; one written by hand is
refused, since its name may have a typing error.
"""

import io
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from functools import cached_property
from itertools import count, pairwise
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from kitbox import tables
from kitbox.competition.boxes import Corners
from kitbox.errors import KitboxError, cannot_write, did_you_mean
from kitbox.files import append_line, digest_of, read_text, write_text
from kitbox.locks import lock
from kitbox.records import Integers, Strings

# The meaning of each kind's value; '' for a kind without a value.
_VALUES = {
    "merge": "the label of the same individual",
    "drop": "",
    "wrong": "",
    "label": "the label of the individual",
    "train": "",
    "box": "the corners as 'x0 y0 x1 y1'",
    "fine": "the other image, or nothing for a label",
    "same": "the other image",
    "different": "the other image",
    "new": "",
    "unsure": "",
    "poor": "",
}
# Kinds that decide about the label of an image: the last row of any of them counts.
_LABEL_KINDS = ("drop", "wrong", "label")
# Kinds that decide about a pair of images: the last row of either counts.
PAIR_KINDS = ("same", "different")
# Kinds that say of an image by itself who it shows, or why nobody can tell.
IMAGE_KINDS = ("new", "unsure", "poor")
# Kinds that change nothing: no label, image, box or link.
_WITHOUT_EFFECT = ("fine", "unsure", "poor")


@dataclass(frozen=True)
class Decision:
    """A row: a decision about an image or a label, who made it and when, '' if no page wrote it.

    Raises KitboxError for an unknown kind and for a value that does not fit its kind.
    """

    kind: str
    subject: str
    value: str = ""
    note: str = ""
    by: str = ""
    time: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _VALUES:
            near = did_you_mean(self.kind, _VALUES)
            raise KitboxError(
                f"'{self.kind}' is no decision{near or '; there are ' + ', '.join(_VALUES)}"
            )
        if not self.subject:
            raise KitboxError(f"{self.kind} names no image or label; fill in the column 'subject'")
        meaning = _VALUES[self.kind]
        if self.value and not meaning:
            raise KitboxError(
                f"{self.kind} takes no value, here '{self.value}'; write comments into 'note'"
            )
        if meaning and not self.value and self.kind != "fine":
            raise KitboxError(f"{self.kind} of '{self.subject}' needs a value: {meaning}")
        if self.kind in ("merge", "fine", *PAIR_KINDS) and self.value == self.subject:
            raise KitboxError(f"{self.kind} names '{self.subject}' twice; remove the row")
        if self.kind == "box":
            _corners(self.value)

    @property
    def from_page(self) -> bool:
        """Whether a page wrote the row; one that was typed has neither person nor time."""
        return bool(self.by or self.time)

    @property
    def words(self) -> str:
        """What was decided, as "same a.jpg b.jpg"."""
        return " ".join(part for part in (self.kind, self.subject, self.value) if part)

    @property
    def images(self) -> tuple[str, ...]:
        """The images that the row names, without those of `fine`, which may be labels."""
        if self.kind in ("merge", "fine"):
            return ()
        return (self.subject, self.value) if self.kind in PAIR_KINDS else (self.subject,)

    @property
    def asked(self) -> tuple[str, ...]:
        """The images that the row answers about: the first one, of a typed pair both."""
        return self.images[:1] if self.from_page else self.images


@dataclass(frozen=True)
class Links:
    """The individuals of images that people linked, followed through chains of links and labels.

    `individual_of` numbers the individual of each image from 0: of linked images, and of all
    labelled images of an individual that has one of them. `label_of` is the label of an individual
    that has one. `different` are pairs of individuals, the smaller number first, that are not one;
    individuals of two labels are not one either. `new` are individuals that are none of those with
    a label; where there are some, `named` are the images that have one. `pairs` are the rows of
    pairs that count.
    """

    individual_of: Mapping[str, int] = field(default_factory=dict)
    label_of: Mapping[int, str] = field(default_factory=dict)
    different: frozenset[tuple[int, int]] = frozenset()
    pairs: tuple[Decision, ...] = ()
    new: frozenset[int] = frozenset()
    named: frozenset[str] = frozenset()

    def individuals(self, image_ids: Strings) -> Integers:
        """Return the individual (n,) of each image, -1 where nothing is decided."""
        known = self.individual_of
        return np.array([known.get(name, -1) for name in image_ids.tolist()], dtype=np.int64)

    def apart(self, individuals: Integers) -> Integers:
        """Return the pairs (p, 2) of some individuals that are different, the smaller first."""
        present = set(individuals.tolist()) - {-1}
        labelled = sorted(present & set(self.label_of))
        found = {pair for pair in self.different if present.issuperset(pair)}
        found |= {(one, other) for one in labelled for other in labelled if one < other}
        for one in present & self.new:
            found |= {(min(one, other), max(one, other)) for other in labelled}
        return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)

    def count_of(self, image_ids: Strings) -> int:
        """Return the number of rows that name at least one of some images."""
        named = set(image_ids.tolist())
        return sum(not named.isdisjoint((row.subject, row.value)) for row in self.pairs)


NO_LINKS = Links()


class SoundLinks(NamedTuple):
    """Links of images, sentences on the rows that contradict each other, and the lines of these."""

    links: Links
    contradictions: tuple[str, ...]
    aside: frozenset[int]


@dataclass(frozen=True)
class Decisions:
    """All rows in their order with their line numbers, and their combined effect."""

    rows: tuple[Decision, ...] = ()
    path: Path = Path("decisions.csv")
    lines: tuple[int, ...] = ()

    @property
    def dropped(self) -> frozenset[str]:
        """Images that are left out of the labelled images and the index."""
        return frozenset(row.subject for row in self._label_rows if row.kind == "drop")

    @property
    def wrong(self) -> frozenset[str]:
        """Images that leave the labelled images because their label cannot be trusted."""
        return frozenset(row.subject for row in self._label_rows if row.kind == "wrong")

    @property
    def left_out(self) -> frozenset[str]:
        """Images that are dropped or wrong."""
        return self.dropped | self.wrong

    @property
    def settled(self) -> frozenset[str]:
        """Images whose label is decided, or that are dropped or wrong."""
        return frozenset(row.subject for row in self._label_rows)

    @property
    def labels(self) -> dict[str, str]:
        """Image id → its decided label, before labels are merged."""
        return {row.subject: row.value for row in self._label_rows if row.kind == "label"}

    @cached_property
    def merged(self) -> dict[str, str]:
        """Label → the label that stays, through all merges; only labels that change.

        Where merges form a circle, the last one decides which label stays.
        """
        name: dict[str, str] = {}
        for row in self.last("merge"):
            one, other = (name.get(label, label) for label in (row.subject, row.value))
            stays = row.value if one == other else other
            same = {label for label, now in name.items() if now in (one, other)}
            name |= dict.fromkeys(same | {row.subject, row.value}, stays)
        return {label: stays for label, stays in name.items() if label != stays}

    @property
    def training_only(self) -> frozenset[str]:
        """Images that are never queries of the holdout."""
        return frozenset(row.subject for row in self.last("train"))

    @property
    def boxes(self) -> dict[str, Corners]:
        """Image id → (x0, y0, x1, y1) in pixels of the upright image."""
        return {row.subject: _corners(row.value) for row in self.last("box")}

    @cached_property
    def fine(self) -> frozenset[frozenset[str]]:
        """Pairs of images, and single labels, that were checked and are correct."""
        rows = self.rows_of("fine")
        return frozenset(frozenset({row.subject, row.value} - {""}) for row in rows)

    @cached_property
    def withdrawn(self) -> frozenset[int]:
        """Places of rows that their person took back by a later answer about the same image.

        `unsure` and `poor` end the person's own `same` and `new`; in rows of a page `new` and
        `same` end each other. Their earlier rows about such a pair do not come back either. A page
        asks about the first image of a pair: an answer about the other one, which may be new,
        stays, and ends no answer about the first.
        """
        of_pair: dict[tuple[str, frozenset[str]], list[int]] = {}
        pairs_of: dict[tuple[str, str], set[frozenset[str]]] = {}
        new: dict[tuple[str, str], list[int]] = {}
        found: set[int] = set()
        for place, row in enumerate(self.rows):
            if row.kind in PAIR_KINDS:
                pair = frozenset(row.images)
                of_pair.setdefault((row.by, pair), []).append(place)
                for image in row.asked:
                    pairs_of.setdefault((row.by, image), set()).add(pair)
                if row.kind == "same" and row.from_page:
                    found.update(new.pop((row.by, row.subject), ()))
            elif row.kind in IMAGE_KINDS:
                own = row.by, row.subject
                if row.kind != "new" or row.from_page:
                    for pair in pairs_of.pop(own, ()):
                        rows = of_pair.get((row.by, pair), [])
                        if rows and self.rows[rows[-1]].kind == "same":
                            found.update(of_pair.pop((row.by, pair)))
                if row.kind == "new":
                    new.setdefault(own, []).append(place)
                else:
                    found.update(new.pop(own, ()))
        return frozenset(found)

    @cached_property
    def _standing(self) -> tuple[tuple[Decision, int], ...]:
        """The rows that nobody withdrew, and their lines."""
        numbered = zip(self.rows, self.lines or (0,) * len(self.rows), strict=True)
        return tuple(one for place, one in enumerate(numbered) if place not in self.withdrawn)

    @cached_property
    def new(self) -> frozenset[str]:
        """Images that somebody calls new; see `Links.new` for those that still are."""
        return frozenset(row.subject for row, _ in self._standing if row.kind == "new")

    @cached_property
    def poor(self) -> frozenset[str]:
        """Images that somebody finds too poor to tell who they show."""
        return frozenset(image for (_, image), kind in self.answers.items() if kind == "poor")

    @cached_property
    def answers(self) -> dict[tuple[str, str], str]:
        """Who decided and an image → their last answer: "same", "new", "unsure" or "poor".

        A `different` leaves room for another answer, and is none.
        """
        rows = (row for row in self.rows if row.kind in ("same", *IMAGE_KINDS))
        return {(row.by, image): row.kind for row in rows for image in row.asked}

    @cached_property
    def linked(self) -> dict[frozenset[str], tuple[Decision, int]]:
        """Pair of images → its last row of `same` or `different`, and the line of that row."""
        found: dict[frozenset[str], tuple[Decision, int]] = {}
        for row, line in self._standing:
            if row.kind in PAIR_KINDS:
                pair = frozenset({row.subject, row.value})
                found.pop(pair, None)
                found[pair] = row, line
        return found

    def link(self, labels: Mapping[str, str]) -> Links:
        """Return the links of images; `labels` are the labels of images of known individuals.

        Raises KitboxError, with all rows of the chain, where links make two labels one individual,
        and where images are different that labels or other links make the same. It names who
        decided, or the line of a row that was typed.
        """
        if not (self.linked or self.new):
            return NO_LINKS
        return _LinkBuilder(self, labels).build()

    def link_sound(self, labels: Mapping[str, str]) -> SoundLinks:
        """Return the links of images without the rows that contradict each other or the labels."""
        sentences, aside = list[str](), frozenset[int]()
        while True:
            try:
                return SoundLinks(self.without(aside).link(labels), tuple(sentences), aside)
            except ContradictionError as error:
                sentences.append(str(error))
                if aside.issuperset(error.lines):
                    return SoundLinks(NO_LINKS, tuple(sentences), aside)
                aside = aside.union(error.lines)

    def without(self, lines: frozenset[int]) -> "Decisions":
        """Return the decisions without the rows on some lines."""
        if not lines:
            return self
        kept = [each for each in zip(self.rows, self.lines, strict=True) if each[1] not in lines]
        return Decisions(tuple(row for row, _ in kept), self.path, tuple(line for _, line in kept))

    @cached_property
    def effective(self) -> tuple[Decision, ...]:
        """The rows that change labels, images, boxes, links or the holdout.

        So all but `fine`, `unsure` and `poor`, but rows that were withdrawn, and but those of a
        page that agree with what is decided about a pair, or an image that is new, already.
        """
        found: list[Decision] = []
        decided: dict[frozenset[str], str] = {}
        for row, _ in self._standing:
            if row.kind in _WITHOUT_EFFECT:
                continue
            if row.kind in (*PAIR_KINDS, "new"):
                images = frozenset(row.images)
                if row.from_page and decided.get(images) == row.kind:
                    continue
                decided[images] = row.kind
            found.append(row)
        return tuple(found)

    @property
    def digest(self) -> str:
        """The sha256 of the effective rows without their notes, who made them, and when."""
        return digest_of([[row.kind, row.subject, row.value] for row in self.effective])

    @property
    def training_digest(self) -> str:
        """The sha256 of the rows that a training reads: those of labels, images and boxes."""
        read = [row for row in self.effective if row.kind not in (*PAIR_KINDS, *IMAGE_KINDS)]
        return digest_of([[row.kind, row.subject, row.value] for row in read])

    def only(self, kind: str) -> "Decisions":
        """Return the decisions of one kind."""
        return self.where(lambda row: row.kind == kind)

    def where(self, keeps: Callable[[Decision], bool]) -> "Decisions":
        """Return the decisions whose rows a function keeps."""
        numbered = zip(self.rows, self.lines or (0,) * len(self.rows), strict=True)
        pairs = [pair for pair in numbered if keeps(pair[0])]
        rows, lines = (tuple(row for row, _ in pairs), tuple(line for _, line in pairs))
        return Decisions(rows, self.path, lines)

    def rows_of(self, kind: str) -> Iterator[Decision]:
        """Yield all rows of a kind."""
        return (row for row in self.rows if row.kind == kind)

    def last(self, kind: str) -> list[Decision]:
        """Return the last row of each subject of a kind, in the order of those rows."""
        return _last(self.rows_of(kind))

    @cached_property
    def _label_rows(self) -> list[Decision]:
        return _last(row for row in self.rows if row.kind in _LABEL_KINDS)


# An image or a label, which a chain of links goes through.
_Node = tuple[str, str]


class ContradictionError(KitboxError):
    """Links of images that contradict each other or labels, with the lines of their rows."""

    lines: tuple[int, ...] = ()

    @classmethod
    def of(cls, what: str, path: Path, line: int, fix: str, lines: Sequence[int]) -> Self:
        """Return the error at a line of a file."""
        error = cls(what, where=f"{path} line {line}", fix=fix)
        error.lines = tuple(lines)
        return error


class _LinkBuilder:
    """Follows links from image to image and through labels, and refuses contradictions."""

    def __init__(self, decisions: Decisions, labels: Mapping[str, str]) -> None:
        self.path, self.labels = decisions.path, labels
        self.rows = list(decisions.linked.values())
        # the line that joins two nodes, 0 for an image with its label
        self.joined: dict[_Node, dict[_Node, int]] = {}
        for row, line in self.rows:
            nodes = [("image", name) for name in (row.subject, row.value)]
            for node in nodes:
                if node not in self.joined and node[1] in labels:
                    self._join(node, ("label", labels[node[1]]), 0)
                self.joined.setdefault(node, {})
            if row.kind == "same":
                self._join(nodes[0], nodes[1], line)
        self.new = decisions.new - set(labels)
        for name in sorted(self.new):  # numbers, and names of new ones, are the same every time
            self.joined.setdefault(("image", name), {})

    def build(self) -> Links:
        individual_of: dict[_Node, int] = {}
        label_of: dict[int, str] = {}
        numbers = count()
        for start in self.joined:
            if start in individual_of:
                continue
            number = next(numbers)
            reached = self._from(start)
            individual_of |= dict.fromkeys(reached, number)
            names = [name for kind, name in reached if kind == "label"]
            if len(names) > 1:
                raise self._two_labels(names[0], names[1])
            if names:
                label_of[number] = names[0]
        different = set()
        for row, line in self.rows:
            if row.kind == "different":
                one, other = (("image", name) for name in (row.subject, row.value))
                if individual_of[one] == individual_of[other]:
                    raise self._not_different(row, line)
                pair = sorted((individual_of[one], individual_of[other]))
                different.add((pair[0], pair[1]))
        number_of = {name: number for number, name in label_of.items()}
        images = {name: number for (kind, name), number in individual_of.items() if kind == "image"}
        images |= {
            image: number_of[label] for image, label in self.labels.items() if label in number_of
        }
        new = {individual_of["image", name] for name in self.new} - set(label_of)
        return Links(
            images,
            label_of,
            frozenset(different),
            tuple(row for row, _ in self.rows),
            frozenset(new),
            frozenset(self.labels if new else ()),
        )

    def _join(self, one: _Node, other: _Node, line: int) -> None:
        self.joined.setdefault(one, {})[other] = line
        self.joined.setdefault(other, {})[one] = line

    def _from(self, start: _Node) -> dict[_Node, _Node]:
        """Return every node that a chain reaches, and the one before it, the nearest first."""
        before, waiting = {start: start}, deque([start])
        while waiting:
            node = waiting.popleft()
            for other in self.joined[node]:
                if other not in before:
                    before[other] = node
                    waiting.append(other)
        return before

    def _chain(self, start: _Node, end: _Node) -> list[_Node]:
        """Return the shortest chain of nodes from one to another."""
        before, chain = self._from(start), [end]
        while chain[-1] != start:
            chain.append(before[chain[-1]])
        return chain[::-1]

    def _lines(self, chain: list[_Node]) -> list[int]:
        return sorted({self.joined[one][other] for one, other in pairwise(chain)} - {0})

    def _words(self, lines: Sequence[int]) -> str:
        """Return the rows on these lines in words: who decided what, or the line of a typed row."""
        row_of = {line: row for row, line in self.rows}
        signed = [f"{row.by}'s '{row.words}'" for row in (row_of[line] for line in lines) if row.by]
        typed = [str(line) for line in lines if not row_of[line].by]
        if typed:
            signed.insert(0, f"{'line' if len(typed) == 1 else 'lines'} {_joined(typed)}")
        return _joined(signed)

    def _two_labels(self, label: str, other: str) -> KitboxError:
        chain = self._chain(("label", label), ("label", other))
        lines = self._lines(chain)
        return ContradictionError.of(
            f"'{chain[1][1]}' of '{label}' and '{chain[-2][1]}' of '{other}' are the same "
            f"individual by {self._words(lines)}",
            self.path,
            lines[-1],
            "correct or remove a row, or merge the labels",
            lines,
        )

    def _not_different(self, row: Decision, line: int) -> KitboxError:
        chain = self._chain(("image", row.subject), ("image", row.value))
        reasons = [self._words(self._lines(chain))] if self._lines(chain) else []
        reasons += [f"the label '{name}'" for kind, name in chain if kind == "label"]
        return ContradictionError.of(
            f"'{row.subject}' and '{row.value}' are different, but the same individual by "
            f"{' and '.join(reasons)}",
            self.path,
            line,
            "correct or remove a row",
            [line, *self._lines(chain)],
        )


def _joined(words: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _last(rows: Iterator[Decision]) -> list[Decision]:
    """Return the last row of each subject, in the order of those rows."""
    last: dict[str, Decision] = {}
    for row in rows:
        last.pop(row.subject, None)
        last[row.subject] = row
    return list(last.values())


def _corners(text: str) -> Corners:
    try:
        x0, y0, x1, y1 = (float(corner) for corner in text.split())
    except ValueError as error:
        raise KitboxError(f"box '{text}' is not four numbers; write 'x0 y0 x1 y1'") from error
    if not (-math.inf < x0 < x1 < math.inf and -math.inf < y0 < y1 < math.inf):
        raise KitboxError(f"box '{text}' is empty; write 'x0 y0 x1 y1' with x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


COLUMNS = ("decision", "subject", "value", "note", "by", "time")
# Columns of a file in which no row has the others.
_PLAIN = COLUMNS[:4]


def load(path: Path) -> Decisions:
    """Return the decisions in a file; a missing or empty file has none.

    Raises KitboxError with file and line for a row that is no decision.
    """
    if not path.is_file() or not read_text(path).strip():
        return Decisions((), path)
    rows, lines = [], []
    for line, row in tables.read_rows(path, COLUMNS[:3]):
        if not any(cell.strip() for cell in row.values()):
            continue
        kind, subject, value = (row[name].strip() for name in COLUMNS[:3])
        try:
            by, time = (row.get(name, "").strip() for name in COLUMNS[4:])
            rows.append(Decision(kind, subject, value, row.get("note", ""), by, time))
        except KitboxError as error:
            raise KitboxError(str(error), where=f"{path} line {line}") from error
        lines.append(line)
    return Decisions(tuple(rows), path, tuple(lines))


def add(path: Path, *decisions: Decision) -> None:
    """Append decisions durably: all of them are on disk when this returns.

    The file keeps its order of columns and everything written by hand; columns `by` and `time` are
    added where a decision has them. Several processes may add at once. Raises KitboxError for a
    file that is no list of decisions or cannot be written, and for an image with blanks around its
    name.
    """
    if decisions:
        with _locked(path):
            _append(path, decisions)


def add_chosen(
    path: Path, choose: Callable[[Decisions], Sequence[Decision]]
) -> tuple[Decision, ...]:
    """Append the decisions that a function chooses, given those in the file; return them.

    No other process adds a decision between the two. Raises KitboxError as `load` and `add` do.
    """
    with _locked(path):
        chosen = tuple(choose(load(path)))
        if chosen:
            _append(path, chosen)
        return chosen


def _append(path: Path, decisions: Sequence[Decision]) -> None:
    for image in (image for decision in decisions for image in decision.images):
        tables.check_name(image, path)
    signed = any(decision.by or decision.time for decision in decisions)
    empty = not path.exists() or not read_text(path).strip()
    if empty:
        path.write_bytes(b"")
        names = list(COLUMNS if signed else _PLAIN)
    else:
        next(tables.read_rows(path, COLUMNS[:3]), None)  # raises where a column is missing
        names = tables.read_header(path)
        separator = tables.separator_of(path)
        if separator != ",":
            raise KitboxError(
                f"the separator is {separator!r} and must be ',' to add a decision",
                where=f"{path} line 1",
                fix="save it with commas",
            )
        missing = [name for name in COLUMNS[4:] if signed and name not in names]
        if missing:
            _widen(path, missing)
            names += missing
    rows = [_row([_cells(decision).get(name, "") for name in names]) for decision in decisions]
    append_line(path, "".join([*([_row(names)] if empty else []), *rows]).encode())


def _widen(path: Path, names: Sequence[str]) -> None:
    """Add columns to the header; the rows below are shorter, which lists may be."""
    lines = list(io.StringIO(path.read_bytes().decode("utf-8"), newline=""))
    place = next(line for line, cells in tables.read_cells(path) if any(map(str.strip, cells))) - 1
    header = lines[place].rstrip("\r\n")
    lines[place] = f"{header},{','.join(names)}{lines[place][len(header) :] or chr(10)}"
    _rewrite(path, "".join(lines))


def remove(path: Path, decision: Decision) -> bool:
    """Remove the last row equal to this decision, note and person included; return if there was."""
    if not path.exists():
        return False
    with _locked(path):
        old = load(path)
        equal = [line for row, line in zip(old.rows, old.lines, strict=True) if row == decision]
        if not equal:
            return False
        lines = list(io.StringIO(path.read_bytes().decode("utf-8"), newline=""))
        # a cell may have line breaks; the number of a row is that of its last line
        ends = [0, *(line for line, _ in tables.read_cells(path))]
        del lines[max(end for end in ends if end < equal[-1]) : equal[-1]]
        _rewrite(path, "".join(lines))
        return True


def _rewrite(path: Path, text: str) -> None:
    target = path.resolve()  # a link stays a link
    mode = target.stat().st_mode
    write_text(target, text)
    target.chmod(mode)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from changing the file, by whatever link they know it."""
    file = path.resolve()
    try:
        with lock(file.parent / ".kitbox" / f"{file.name}.lock"):
            yield
    except OSError as error:
        raise cannot_write(path, error) from error


def _cells(decision: Decision) -> dict[str, str]:
    return dict(zip(COLUMNS, astuple(decision), strict=True))


def _row(cells: Sequence[str]) -> str:
    text = io.StringIO()
    tables.csv_writer(text).writerow(map(tables.safe_cell, cells))
    return text.getvalue()
