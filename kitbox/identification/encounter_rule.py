"""The rule by which photographs of one individual are of one encounter."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from kitbox.errors import counted
from kitbox.records import Integers, Strings

# An ISO date begins with year, month and day.
_DAY = len("2022-05-31")


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
                (self.by_day, "by individual and day"),
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
) -> Encounters:
    """Return the encounters of photographs of `individuals (n,)`.

    Those of one individual are of one encounter if their `names (n,)` of it are the same, or where
    '' if they are of the same day by their ISO `dates (n,)`; any others if they are among the
    pairs `near (p, 2)` of rows that are copies or near-duplicates. Two individuals that are met
    together have an encounter each: a photograph of the other one may well be searched.
    """
    days = np.array([date[:_DAY] if len(date) >= _DAY else "" for date in dates.tolist()])
    named, dated = names != "", (names == "") & (days != "")
    keys: dict[tuple[str, ...], int] = {}
    codes = np.empty(len(individuals), dtype=np.int64)
    for row, individual in enumerate(individuals.tolist()):
        key: tuple[str, ...] = ("alone", str(row))
        if individual and named[row]:
            key = ("name", individual, str(names[row]))
        elif individual and dated[row]:
            key = ("day", individual, str(days[row]))
        codes[row] = keys.setdefault(key, len(keys))
    alone = ~named & ~dated
    ends = codes[near]
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(keys),) * 2)
    joined = connected_components(graph, directed=False)[1]
    return Encounters(
        codes=np.asarray(joined[codes], dtype=np.int64),
        by_name=int(named.sum()),
        by_day=int(dated.sum()),
        alone=int(alone.sum()),
        joined=len(np.unique(near)),
    )
