"""All decisions of a workspace in their order, and their combined effect."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kitbox.decisions.decision import (
    IMAGE_KINDS,
    LABEL_KINDS,
    PAIR_KINDS,
    WITHOUT_EFFECT,
    Decision,
    corners,
)
from kitbox.decisions.image_links import (
    NO_LINKS,
    ContradictionError,
    LinkBuilder,
    Links,
    SoundLinks,
)
from kitbox.files import digest_of
from kitbox.records import Corners


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
        return {row.subject: corners(row.value) for row in self.last("box")}

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
        return LinkBuilder(self.path, self.linked.values(), self.new, labels).build()

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
            if row.kind in WITHOUT_EFFECT:
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
        return _last(row for row in self.rows if row.kind in LABEL_KINDS)


def _last(rows: Iterator[Decision]) -> list[Decision]:
    """Return the last row of each subject, in the order of those rows."""
    last: dict[str, Decision] = {}
    for row in rows:
        last.pop(row.subject, None)
        last[row.subject] = row
    return list(last.values())
