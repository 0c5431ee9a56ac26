"""Who is taken for whom, and how well each individual is found."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from kitbox.records import Integers
from kitbox.report.queries import OPEN, RIGHT, Queries


@dataclass(frozen=True)
class Pair:
    """Two individuals of whom one was asked about and the other came first.

    `rows` are the queries, the most similar mistake first; `similarity` is that of the first.
    """

    labels: tuple[str, str]
    rows: tuple[int, ...]
    similarity: float


@dataclass(frozen=True)
class Identity:
    """One individual: its gallery images, queries, right answers and mean value.

    `value` is None where the metric counts none of its queries; `confused` names the individual
    that most often came first instead, '' for nobody.
    """

    name: str
    gallery: int
    queries: int
    right: int
    value: float | None
    confused: str


def pairs(queries: Queries) -> list[Pair]:
    """Return the confused pairs, those with the most queries first, then the most similar."""
    rows_of_pair: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in _mistaken(queries).tolist():
        one, other = sorted((str(queries.identity[row]), str(queries.near_labels[row, 0])))
        rows_of_pair[one, other].append(row)
    similarity = queries.near.similarity[:, 0]
    found = []
    for labels, rows in rows_of_pair.items():
        rows.sort(key=lambda row: -similarity[row])
        found.append(Pair(labels, tuple(rows), float(similarity[rows[0]])))
    return sorted(found, key=lambda pair: (-len(pair.rows), -pair.similarity, pair.labels))


def identities(queries: Queries) -> list[Identity]:
    """Return every individual that was asked about, the worst first."""
    mistaken = set(_mistaken(queries).tolist())
    rows_of_name: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(queries.identity.tolist()):
        if name:
            rows_of_name[name].append(row)
    found = []
    for name, rows in rows_of_name.items():
        values = queries.value[rows]
        counted = values[~np.isnan(values)]
        others = [str(queries.near_labels[row, 0]) for row in rows if row in mistaken]
        found.append(
            Identity(
                name,
                int(queries.relevant[rows].max()),
                int((queries.outcome[rows] != OPEN).sum()),
                int((queries.outcome[rows] == RIGHT).sum()),
                float(counted.mean()) if len(counted) else None,
                max(sorted(set(others)), key=others.count, default=""),
            )
        )
    return sorted(found, key=lambda one: (_rank(one.value), -one.queries, one.name))


def _rank(value: float | None) -> float:
    return np.inf if value is None else value


def _mistaken(queries: Queries) -> Integers:
    """Return the queries of someone whose nearest image shows someone else."""
    nearest = queries.near_labels[:, 0]
    named = (queries.identity != "") & (nearest != "")
    return np.flatnonzero(named & (nearest != queries.identity))
