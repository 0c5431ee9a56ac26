"""Balance: labels of queries that are answered together, under numbers of queries of each label.

A ranking answers each query alone. Where it is known how often labels occur among the queries (each
at least once, each once, in shares of their own), answers that contradict it can be corrected. The
first of Kaggle's humpback whales (2019) moved queries to labels without any, where two labels were
almost equally likely.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kitbox.errors import KitboxError
from kitbox.method import Method, parse_method
from kitbox.records import Floats, Integers
from kitbox.retrieval.label_similarity import LabelSimilarities
from kitbox.retrieval.neighbour_graph import Block, row_blocks

# Similarities that are held at once: 400 MB of float32, twice as much for an assignment.
_MOST_SIMILARITIES = 100_000_000
_MOST_COSTS = 50_000_000
# A column sum this close to its size, as a share, is right.
_CONVERGED = 1e-4
_LEAST_SUM = 1e-30

Shares = Literal["equal", "train"]


class BalanceMethod(Method):
    """A rule about the labels of queries; its text has every setting."""

    noun: ClassVar[str] = "balance"

    @staticmethod
    def text_of_value(value: Any) -> str:
        """Return a setting as it is written, a float with its point, as receipts have it."""
        return str(value)


class EachLabel(BalanceMethod):
    """Each label is the first answer of a query, as long as the query loses `within` or less.

    The loss is the similarity of its best label less that of the new one. Labels without a query
    get those that lose least in total; all other queries keep their best label. With fewer queries
    than labels each query has a label of its own.
    """

    kind: ClassVar[str] = "each_label"

    within: float = Field(default=0.1, ge=0)


class Assignment(BalanceMethod):
    """Each label is the first answer of at most `most` queries, at the largest total similarity.

    With more queries than places, those without a place keep their own order.
    """

    kind: ClassVar[str] = "assignment"

    most: int = Field(default=1, ge=1)


class LabelSizes(BalanceMethod):
    """Each label is the first answer of as many queries as its share says.

    Shares are "equal", or those of the labelled photographs ("train"), rounded to whole queries by
    largest remainders, of equal ones the first by name.
    """

    kind: ClassVar[str] = "sizes"

    like: Shares = "train"


class Sinkhorn(BalanceMethod):
    """Offsets of labels, with which the queries' probabilities add up to the labels' shares.

    Probabilities are softmax((similarity + offset) / temperature) over the labels of a query. The
    offsets are found by up to `rounds` scalings of rows and columns (Sinkhorn and Knopp, 1967;
    Cuturi, 2013). Shares as in `LabelSizes`.
    """

    kind: ClassVar[str] = "sinkhorn"

    temperature: float = Field(default=0.05, gt=0)
    rounds: int = Field(default=100, ge=1, le=10_000)
    like: Shares = "train"


METHODS: dict[str, type[BalanceMethod]] = {
    method.kind: method for method in (EachLabel, Assignment, LabelSizes, Sinkhorn)
}


@dataclass(frozen=True)
class BalancedLabels:
    """The similarities after a balance: how many queries have another first label, or no place."""

    measured: LabelSimilarities
    queries: int
    moved: int
    without_place: int


def parse_balance(text: str) -> BalanceMethod:
    """Return the balance of a text such as "sinkhorn:temperature=0.1,like=equal".

    Settings that are left out have their defaults. Raises KitboxError for another name, another
    setting, or a value out of range.
    """
    return parse_method(text, METHODS)


def apply_balance(
    measured: LabelSimilarities, method: BalanceMethod, photographs: Integers | None = None
) -> BalancedLabels:
    """Return the similarities of a search's queries to labels under a balance.

    `photographs (l,)` counts the labelled photographs of each label, which shares of "train" need.
    Where a query gets another first label, that keeps its similarity, and the query's other labels
    lose what it lacked to the best, so that they keep their order. A label of similarity -inf is
    given to no query. Ties are broken by the ids of queries and the names of labels.

    Raises KitboxError for more similarities than memory should hold.
    """
    queries, labels = len(measured.query_ids), len(measured.labels)
    _refuse_large(queries, labels, _MOST_SIMILARITIES)
    similarity = np.full((queries, labels), -np.inf, dtype=np.float32)
    for part, block in measured.blocks:
        similarity[part] = block
    if not queries or not labels:
        return BalancedLabels(measured.with_blocks(iter(())), queries, 0, 0)
    order = np.argsort(measured.query_ids, kind="stable")
    similarity = similarity[order]
    before, without_place = similarity.argmax(axis=1), 0
    match method:
        case Sinkhorn():
            shares = _shares(method.like, labels, photographs)
            similarity += _offsets(similarity, method, shares)
        case EachLabel():
            rows, columns = _covering(similarity, method.within)
            _put_first(similarity, rows, columns)
        case Assignment():
            places = np.full(labels, min(method.most, queries))
            rows, columns = _assigned(similarity, places)
            _put_first(similarity, rows, columns)
            without_place = queries - len(rows)
        case LabelSizes():
            places = whole_sizes(_shares(method.like, labels, photographs), queries)
            rows, columns = _assigned(similarity, places)
            _put_first(similarity, rows, columns)
            without_place = queries - len(rows)
        case _:
            raise TypeError(f"no balance: {method!r}")
    moved = int((similarity.argmax(axis=1) != before).sum())
    found = np.empty_like(similarity)
    found[order] = similarity
    blocks = measured.with_blocks(_blocks(found))
    return BalancedLabels(blocks, queries, moved, without_place)


def whole_sizes(shares: NDArray[np.float64], total: int) -> Integers:
    """Return whole sizes (l,) that sum to the total, by largest remainders of the shares (l,)."""
    exact = shares / shares.sum() * total
    sizes = np.floor(exact).astype(np.int64)
    # rounded, so that equal remainders are equal
    remainders = np.round(exact - sizes, 9)
    sizes[np.argsort(-remainders, kind="stable")[: total - int(sizes.sum())]] += 1
    return np.asarray(sizes, dtype=np.int64)


def _blocks(similarity: Floats) -> Iterator[Block]:
    for rows in row_blocks(*similarity.shape):
        yield rows, similarity[rows]


def _shares(like: Shares, labels: int, photographs: Integers | None) -> NDArray[np.float64]:
    if like == "equal" or photographs is None:
        return np.full(labels, 1 / labels)
    counts = photographs.astype(np.float64)
    return np.asarray(counts / counts.sum())


def _refuse_large(queries: int, labels: int, most: int) -> None:
    if queries * labels > most:
        raise KitboxError(
            f"balance: {queries} queries and {labels} labels are {queries * labels:,} "
            f"similarities, more than {most:,}",
            fix="leave --balance out"
            if most == _MOST_SIMILARITIES
            else "use --balance sinkhorn, or leave it out",
        )


def _covering(similarity: Floats, within: float) -> tuple[Integers, Integers]:
    """Return queries and their labels, a query for each label that one can give up for it."""
    with np.errstate(invalid="ignore"):  # of queries that are similar to no label
        loss = similarity.max(axis=1)[:, None].astype(np.float64) - similarity
    return _matched(loss, loss <= within + 1e-9)


def _assigned(similarity: Floats, places: Integers) -> tuple[Integers, Integers]:
    """Return queries and their labels, as many of each label (l,) as it has places."""
    columns = np.repeat(np.arange(len(places)), places)
    cost = -similarity[:, columns].astype(np.float64)
    rows, chosen = _matched(cost, np.isfinite(cost))
    return rows, columns[chosen]


def _matched(cost: NDArray[np.float64], allowed: NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """Return rows and columns of the most allowed pairs, each in one, at the least total cost."""
    from scipy.optimize import linear_sum_assignment

    _refuse_large(len(cost), cost.shape[1], _MOST_COSTS)
    if not allowed.any():
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    least, most = float(cost[allowed].min()), float(cost[allowed].max())
    # one pair that is not allowed costs more than all that are
    cost = np.where(allowed, cost - least, (most - least + 1) * (min(cost.shape) + 1))
    rows, columns = linear_sum_assignment(cost)
    kept = allowed[rows, columns]
    return rows[kept].astype(np.int64), columns[kept].astype(np.int64)


def _put_first(similarity: Floats, rows: Integers, columns: Integers) -> None:
    """Make the columns the first of their rows, in place."""
    own = similarity[rows, columns]
    gap = similarity[rows].max(axis=1) - own
    below = np.nextafter(own, np.float32(-np.inf), dtype=np.float32)
    similarity[rows] = np.minimum(similarity[rows] - gap[:, None], below[:, None])
    similarity[rows, columns] = own


def _offsets(similarity: Floats, method: Sinkhorn, shares: NDArray[np.float64]) -> Floats:
    """Return the offset (l,) of each label, 0 on average over the shares."""
    there = np.flatnonzero(np.isfinite(similarity).any(axis=1))
    wanted = shares * len(there)
    possible = np.isfinite(similarity[there]).any(axis=0)
    potential, scale = np.zeros(len(shares)), np.float32(method.temperature)
    for _ in range(method.rounds if len(there) else 0):
        sums = np.zeros(len(shares))
        for rows in row_blocks(len(there), len(shares)):
            # float32, whose exponentials are several times as fast
            odds = similarity[there[rows]] / scale
            odds -= potential.astype(np.float32)
            odds -= odds.max(axis=1, keepdims=True)
            np.exp(odds, out=odds)
            sums += (1 / odds.sum(axis=1)) @ odds
        if (np.abs(sums - wanted)[possible] <= _CONVERGED * wanted[possible]).all():
            break
        # a label far from all queries may have a sum of 0 at first
        reached = np.maximum(sums[possible], _LEAST_SUM)
        potential[possible] += np.log(reached / wanted[possible])
    offsets = -method.temperature * potential
    return np.asarray(offsets - shares @ offsets, dtype=np.float32)
