"""Individuals of images that people linked, and the links that contradict each other or labels."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from kitbox.decisions.decision import Decision
from kitbox.errors import KitboxError
from kitbox.records import Integers, Strings


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


class LinkBuilder:
    """Follows links from image to image and through labels, and refuses contradictions."""

    def __init__(
        self,
        path: Path,
        rows: Iterable[tuple[Decision, int]],
        new: frozenset[str],
        labels: Mapping[str, str],
    ) -> None:
        """Take the rows of pairs that count with their lines, and the images that are new."""
        self.path, self.labels = path, labels
        self.rows = list(rows)
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
        self.new = new - set(labels)
        for name in sorted(self.new):  # numbers, and names of new ones, are the same every time
            self.joined.setdefault(("image", name), {})

    def build(self) -> Links:
        """Return the links; raise ContradictionError where rows or labels contradict each other."""
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
