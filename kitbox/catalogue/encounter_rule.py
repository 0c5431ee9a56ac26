"""The rule by which photographs of one individual are of one encounter."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads its parts when they are first used
from numpy.typing import NDArray

from kitbox.errors import counted
from kitbox.records import Integers, Strings, strings

# An ISO date that is exact to the day, or more.
_DAY = re.compile(r"\d{4}-\d\d-\d\d(?!\d)")


@dataclass(frozen=True, kw_only=True)
class Encounters:
    """The encounter `codes (n,)` of photographs, and by what they are known.

    `by_name`, `by_day` and `alone` count photographs whose list names the encounter, those of a
    known day, and others, each of which is an encounter of its own. `joined` counts the
    photographs that another one nearly equals, which are of one encounter whatever the list says.
    """

    codes: Integers
    by_name: int
    by_day: int
    alone: int
    joined: int

    @property
    def count(self) -> int:
        """The number of encounters."""
        return len(np.unique(self.codes))

    @property
    def sentence(self) -> str:
        """Which rule was used, for how many photographs."""
        parts = [
            f"{counted(number, 'photograph')} {rule}"
            for number, rule in (
                (self.by_name, "by the encounter in catalogue.csv"),
                (self.by_day, "by individual, day and place"),
                (self.alone, "without date, each on its own"),
            )
            if number
        ]
        if self.joined:
            parts.append(f"{counted(self.joined, 'near-duplicate')} joined with another")
        return f"{counted(self.count, 'encounter')}: {', '.join(parts)}"


def encounters_of(
    individuals: Strings,
    names: Strings,
    dates: Strings,
    near: NDArray[np.int64],
    *,
    places: Strings | None = None,
) -> Encounters:
    """Return the encounters of photographs of `individuals (n,)`.

    Those of one individual are of one encounter if their `names (n,)` of it are the same. One
    without a name is of one with all of the same day, by its ISO `dates (n,)`, and place, with a
    name or without; where a place is '', it may be any. A year or a month is no day. Any others
    are of one encounter if they are among the pairs `near (p, 2)` of rows that are copies or
    near-duplicates. Two individuals that are met together have an encounter each: a photograph of
    the other one may well be searched.
    """
    count = len(individuals)
    where = [""] * count if places is None else places.tolist()
    days = np.array([_DAY.match(date) is not None for date in dates.tolist()], dtype=np.bool_)
    named, dated = names != "", (names == "") & days
    same_name: dict[tuple[str, str], list[int]] = {}
    same_day: dict[tuple[str, str], list[int]] = {}
    for row, individual in enumerate(individuals.tolist()):
        if individual and named[row]:
            same_name.setdefault((individual, str(names[row])), []).append(row)
        if individual and days[row]:
            same_day.setdefault((individual, str(dates[row])[:10]), []).append(row)
    groups = list(same_name.values())
    for rows in same_day.values():
        groups += [
            [row for row in rows if not place or where[row] in ("", place)]
            for place in {where[row] for row in rows if not named[row]}
        ]
    alone = ~named & ~dated
    ends = np.array(
        [*near.tolist(), *((group[0], row) for group in groups for row in group[1:])],
        dtype=np.int64,
    ).reshape(-1, 2)
    sparse = scipy.sparse
    graph = sparse.coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    codes = sparse.csgraph.connected_components(graph, directed=False)[1]
    return Encounters(
        codes=np.asarray(codes, dtype=np.int64),
        by_name=int(named.sum()),
        by_day=int(dated.sum()),
        alone=int(alone.sum()),
        joined=len(np.unique(near)),
    )


@dataclass(frozen=True, kw_only=True)
class EncounterNames:
    """The encounters of photographs by name, '' for those that have none.

    `counted (n)` are those that lists and exports count: the list's own, else the individual with
    its day and place. `together (n)` are the same for all photographs of an individual that may be
    of one encounter, which no holdout takes apart.
    """

    counted: tuple[str, ...]
    together: tuple[str, ...]


def names_of(
    individuals: Sequence[str], names: Sequence[str], dates: Sequence[str], places: Sequence[str]
) -> EncounterNames:
    """Return the names of the encounters of `encounters_of`, each argument of length n.

    A photograph without a name, of an individual and day with a single named encounter, is of that
    one. A photograph of a year or a month alone is of none: nobody knows how many there were.
    """
    no_pairs = np.empty((0, 2), dtype=np.int64)
    codes = encounters_of(
        strings(individuals), strings(names), strings(dates), no_pairs, places=strings(places)
    ).codes.tolist()
    listed: dict[int, dict[str, None]] = {}
    places_of: dict[tuple[int, str], dict[str, None]] = {}
    for code, name, date, place in zip(codes, names, dates, places, strict=True):
        if name:
            listed.setdefault(code, {})[name] = None
        elif place:
            places_of.setdefault((code, date[:10]), {})[place] = None
    found: list[str] = []
    together: list[str] = []
    for code, individual, name, date in zip(codes, individuals, names, dates, strict=True):
        own = list(listed.get(code, ()))
        day = " ".join([date[:10], *sorted(places_of.get((code, date[:10]), ()))])
        unnamed = f"{individual} {day}" if _DAY.match(date) else ""
        found.append(name or (own[0] if len(own) == 1 else unnamed))
        together.append(min(own) if own else day if unnamed else "")
    return EncounterNames(counted=tuple(found), together=tuple(together))
