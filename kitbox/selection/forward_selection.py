"""Greedy forward selection of members with replacement, bagged over individuals."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

import numpy as np

from kitbox.records import Integers, Progress
from kitbox.scoring.metrics import Numbers

# How often each member was chosen.
Counts = Mapping[str, int]
# Returns the score of members that were chosen so often.
CountsScore = Callable[[Counts], Generator[Progress, None, float]]

# A selection starts from at most so many of the members that score best alone.
_FIRST = 5
# Choices after the start: a weight is one of so many parts of the whole.
_STEPS = 20
# Scores this close are equal: the same queries, summed in another order.
ROUNDING = 1e-9
# Shares of the bags that have to choose a member, and the steps of its weight.
_SHARE = 0.5
_GRID = 0.05


def select(names: Sequence[str], score: CountsScore) -> Generator[Progress, None, dict[str, int]]:
    """Return how often each member is chosen; members that never are, are left out.

    It starts from the best, and those of the next few that gain beside it, then adds the member
    that gains most, again and again; one that is in may be added again, which raises its weight. It
    stops where no member gains (Caruana, Niculescu-Mizil, Crew and Ksikes, Ensemble selection from
    libraries of models, ICML 2004). Of equals it prefers one that is in already, then the first.
    """
    alone = {}
    for name in names:
        alone[name] = yield from score({name: 1})
    order = sorted(names, key=lambda name: (-_defined(alone[name]), names.index(name)))
    chosen, best = {order[0]: 1}, _defined(alone[order[0]])
    for name in order[1:_FIRST]:
        value = yield from score(chosen | {name: 1})
        if value > best + ROUNDING:
            chosen, best = chosen | {name: 1}, value
    for _ in range(_STEPS):
        found = []
        for place, name in enumerate(names):
            value = yield from score(chosen | {name: chosen.get(name, 0) + 1})
            found.append((-round(_defined(value), 9), name not in chosen, place))
        value, _, place = min(found)
        if -value <= best + ROUNDING:
            break
        chosen[names[place]] = chosen.get(names[place], 0) + 1
        best = -value
    return chosen


def bag_weights(
    individuals: Integers, inside: Numbers, bags: int, seed: Sequence[int], *, replacement: bool
) -> Iterator[Numbers]:
    """Yield the weights (n,) of the queries in each bag of individuals (n,), numbered from 0.

    Individuals of queries whose weight `inside (n,)` is above 0 are drawn with replacement, as many
    as there are; without `replacement` a random half of them is drawn instead.
    """
    generator = np.random.default_rng(seed)
    present = np.unique(individuals[inside > 0])
    for _ in range(bags):
        if replacement:
            drawn = generator.choice(present, len(present))
        else:
            drawn = generator.choice(present, max(len(present) // 2, 1), replace=False)
        counts = np.bincount(drawn, minlength=int(individuals.max()) + 1)
        yield counts[individuals] * inside


def vote(selections: Sequence[Counts], names: Sequence[str]) -> dict[str, float]:
    """Return the weights of members that at least half of the selections have.

    A weight is the mean share in the selections, the largest is 1; it is rounded to twentieths.
    Where no member has half of the selections, the one with the largest share stays alone.
    """
    shares = np.array([_shares(selection, names) for selection in selections])
    mean, often = shares.mean(axis=0), (shares > 0).mean(axis=0)
    kept = often >= _SHARE
    if not kept.any():
        kept = np.arange(len(names)) == mean.argmax()
    largest = mean[kept].max()
    weights = np.maximum(np.round(mean / largest / _GRID), 1) * _GRID
    return {
        name: round(float(weight), 2)
        for name, weight, stays in zip(names, weights, kept, strict=True)
        if stays
    }


def _shares(selection: Counts, names: Sequence[str]) -> list[float]:
    total = sum(selection.values())
    return [selection.get(name, 0) / total for name in names]


def _defined(value: float) -> float:
    """Return a score, -inf where none of the queries counts."""
    return -np.inf if np.isnan(value) else value
