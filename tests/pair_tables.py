"""Drawn pairs of photographs with signals, for the tests of fusion."""

from collections.abc import Sequence

import numpy as np

from kitbox.fusion.pair_table import PairTable, PairTruth
from kitbox.records import strings


def table_of(
    columns: Sequence[Sequence[float]],
    *,
    queries: Sequence[int] | None = None,
    local: int = 0,
    reverse: Sequence[int] | None = None,
) -> PairTable:
    """Return pairs with the given signals, the last `local` of them of local matchers."""
    values = np.array(columns, dtype=np.float64).T.reshape(-1, len(columns))
    count = len(values)
    query = np.arange(count) if queries is None else np.array(queries)
    return PairTable(
        query=query,
        first=strings([f"q{number}" for number in query]),
        second=strings([f"g{row}" for row in range(count)]),
        reverse=np.full(count, -1) if reverse is None else np.array(reverse),
        signals=("similarity", *(f"signal {number}" for number in range(1, len(columns)))),
        values=values,
        local=np.arange(len(columns)) >= len(columns) - local,
        next_outside=np.full(count, -np.inf),
    )


def truth_of(same: Sequence[bool], parts: Sequence[int] | None = None) -> PairTruth:
    """Return the truth of pairs whose photographs are all of one part, the pairs' own."""
    own = np.arange(len(same)) % 5 if parts is None else np.array(parts)
    flags = np.array(same, dtype=np.bool_)
    return PairTruth(flags, np.ones(len(flags), dtype=np.bool_), own, own)


def drawn(
    queries: int = 200, each: int = 20, *, seed: int = 0, useless: bool = False
) -> tuple[PairTable, PairTruth]:
    """Return lists with one true pair each: similarity and matches tell it, each in its way.

    With `useless` a third signal is drawn without regard to the truth.
    """
    rng = np.random.default_rng(seed)
    same = np.tile(np.arange(each) == 0, queries)
    similarity = rng.normal(0.3 + 0.15 * same, 0.1)
    found = same & (rng.random(len(same)) < 0.6)
    matches = np.log1p(np.where(found, rng.poisson(25, len(same)), rng.poisson(0.4, len(same))))
    columns = [similarity, *([rng.normal(size=len(same))] if useless else []), matches]
    query = np.repeat(np.arange(queries), each)
    return (
        table_of(columns, queries=query.tolist(), local=1),
        truth_of(same.tolist(), (query % 5).tolist()),
    )
