"""How similar photographs are to each individual of a catalogue, without their own encounter."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.records import Floats, Integers, Strings

# Similarities that are held at a time: 64 MB of float32.
_BLOCK_SIZE = 16_000_000


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Unit `vectors (n, d)` of photographs, sorted by individual.

    `rows (n,)` are their rows in the catalogue, `individuals (m,)` the names in order; photographs
    of the i-th begin at `starts[i]` of `starts (m,)`. `encounters (n,)` are their encounter codes,
    `sides (n,)` the sides of the animal that they show, '' where not known; None where none is.
    """

    vectors: Floats
    rows: Integers
    individuals: Strings
    starts: Integers
    encounters: Integers
    sides: Strings | None = None

    @classmethod
    def of(
        cls,
        vectors: Floats,
        individuals: Strings,
        encounters: Integers,
        sides: Strings | None = None,
    ) -> "Gallery":
        """Return the gallery of photographs in any order; raises KitboxError if there is none.

        Photographs whose individual is not known ('') are left out.
        """
        known = np.flatnonzero(individuals != "")
        if not len(known):
            raise KitboxError(
                "no photograph of the catalogue has an individual", fix="name the individuals"
            )
        names, codes = np.unique(individuals[known], return_inverse=True)
        order = np.argsort(codes, kind="stable")
        rows = known[order]
        return cls(
            vectors=np.ascontiguousarray(vectors[rows]),
            rows=rows,
            individuals=names,
            starts=np.searchsorted(codes[order], np.arange(len(names))).astype(np.int64),
            encounters=encounters[rows],
            sides=None if sides is None else sides[rows],
        )

    @property
    def counts(self) -> Integers:
        """The number (m,) of photographs of each individual."""
        return np.diff(self._ends)

    def photographs_of(self, individual: int) -> slice:
        """Return where the photographs of the i-th individual are."""
        return slice(int(self._ends[individual]), int(self._ends[individual + 1]))

    @cached_property
    def _ends(self) -> Integers:
        """Where the photographs of each individual begin, and where the last ones end."""
        return np.append(self.starts, len(self.rows))


@dataclass(frozen=True, kw_only=True)
class EvidenceBlock:
    """Queries `rows (b,)` and what the gallery shows of each individual.

    `of_photographs (b, n)` are the similarities to the photographs in the order of the gallery,
    `similarity (b, m)` to the most similar one of each individual: -inf where none is left.
    `photographs (b, m)` counts all that an individual has, also those that a query is not compared
    with: a count without them would tell which individual the query's own is.
    """

    rows: Integers
    of_photographs: Floats
    similarity: Floats
    photographs: Integers

    def best_photographs(self, gallery: Gallery, row: int, individual: int, k: int) -> Integers:
        """Return the k photographs of an individual most similar to a query, best first.

        They are places in the gallery; those of the query's own encounter are left out.
        """
        part = gallery.photographs_of(individual)
        values = self.of_photographs[row, part]
        order = np.argsort(-values, kind="stable")[:k]
        found: Integers = part.start + order[np.isfinite(values[order])]
        return found


def evidence_blocks(
    queries: Floats,
    gallery: Gallery,
    encounters: Integers | None = None,
    sides: Strings | None = None,
) -> Iterator[EvidenceBlock]:
    """Yield the evidence of query vectors (q, d) in blocks of bounded memory.

    `encounters (q,)` are those of queries that are photographs of the catalogue themselves: a
    query is compared with photographs of other encounters alone. Of `sides (q,)` a left one is not
    compared with a right one: they may look like two animals.
    """
    step = max(_BLOCK_SIZE // max(len(gallery.rows), 1), 1)
    places = {} if encounters is None else _places(gallery.encounters)
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)), dtype=np.int64)
        found = np.asarray(queries[rows] @ gallery.vectors.T, dtype=np.float32)
        if encounters is not None:
            for row, code in enumerate(encounters[rows].tolist()):
                found[row, places.get(code, _NONE)] = -np.inf
        if sides is not None and gallery.sides is not None:
            found[opposite(sides[rows], gallery.sides)] = -np.inf
        yield EvidenceBlock(
            rows=rows,
            of_photographs=found,
            similarity=np.maximum.reduceat(found, gallery.starts, axis=1),
            photographs=np.tile(gallery.counts, (len(rows), 1)),
        )


def opposite(sides: Strings, others: Strings) -> NDArray[np.bool_]:
    """Return where (q, n) a left side meets a right one; any other side is compared with all."""
    left, right = sides == "left", sides == "right"
    return np.asarray(
        (left[:, None] & (others == "right")) | (right[:, None] & (others == "left")),
        dtype=np.bool_,
    )


_NONE: NDArray[np.int64] = np.empty(0, dtype=np.int64)


def _places(encounters: Integers) -> dict[int, Integers]:
    """Return encounter code → the places of its photographs."""
    order = np.argsort(encounters, kind="stable")
    codes, starts = np.unique(encounters[order], return_index=True)
    return dict(zip(codes.tolist(), np.split(order, starts[1:]), strict=True))
