"""The rule by which photographs of one individual are of one encounter."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from kitbox.errors import counted
from kitbox.records import Integers, Strings

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
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    codes = connected_components(graph, directed=False)[1]
    return Encounters(
        codes=np.asarray(codes, dtype=np.int64),
        by_name=int(named.sum()),
        by_day=int(dated.sum()),
        alone=int(alone.sum()),
        joined=len(np.unique(near)),
    )
