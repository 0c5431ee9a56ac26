"""Search of weights, whitening, views and steps by a Tree-structured Parzen estimator (optuna)."""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from kitbox.records import Progress
from kitbox.selection.candidate import Candidate
from kitbox.selection.forward_selection import ROUNDING
from kitbox.selection.search_space import SearchSpace

# Returns the score of a candidate, NaN where it cannot answer.
CandidateScore = Callable[[Candidate], Generator[Progress, None, float]]
# Returns in which share of the bags of individuals the first candidate scores higher.
BagShare = Callable[[Candidate, Candidate], Generator[Progress, None, float]]
# A part of a candidate stays if it helps in so many of the bags.
_SURE = 0.8
# The value of a trial without an answer: below every score.
_WORST = -1.0


def optimise(
    space: SearchSpace,
    start: Candidate,
    score: CandidateScore,
    share: BagShare,
    *,
    trials: int,
    seed: int,
    until: float | None = None,
) -> Generator[Progress, None, Candidate]:
    """Return the best candidate of some trials, or `start` where none is better.

    The first trials are the start, and the start with each step at its default; the others are
    drawn by the Tree-structured Parzen estimator (Bergstra and others, NeurIPS 2011). Of the best,
    only what helps in four of five bags of individuals stays: each member, step, whitening and
    other view, and weights that differ. The same seed gives the same candidate, unless the clock
    (`until`, in seconds of `time.monotonic`) ends the trials earlier.
    """
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it prints every trial
    try:
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed)
        )
    finally:
        optuna.logging.set_verbosity(before)
    for parameters in _first_trials(space, start):
        study.enqueue_trial(parameters)
    best, highest = start, (yield from score(start))
    for _ in range(trials):
        if until is not None and time.monotonic() >= until:
            break
        trial = study.ask()
        candidate, value = space.draw(trial, start), _WORST
        if candidate is not None:
            value = yield from _score(candidate, score)
        study.tell(trial, value)
        if candidate is not None and value > highest + ROUNDING:
            best, highest = candidate, value
    if best != start:
        sure = yield from share(best, start)
        best = best if sure >= _SURE else start
    return (yield from _simplified(best, lambda each: _simpler(each, space), share))


def only_sure_members(
    candidate: Candidate, share: BagShare
) -> Generator[Progress, None, Candidate]:
    """Return the candidate without the members that do not help in four of five bags."""

    def without(given: Candidate) -> Iterator[Candidate]:
        lightest_first = sorted(given.members, key=lambda member: member.weight)
        return (given.without(one.name) for one in lightest_first if len(given.members) > 1)

    return _simplified(candidate, without, share)


def _first_trials(space: SearchSpace, start: Candidate) -> Iterator[dict[str, Any]]:
    """Yield the parameters of the start, and of the start with each step."""
    parameters = space.parameters(start)
    yield parameters
    for group, choices in space.steps.items():
        for choice in choices:
            yield parameters | {group: choice.name} | choice.parameters(group)


def _score(candidate: Candidate, score: CandidateScore) -> Generator[Progress, None, float]:
    """Return the score of a candidate, the worst one where it is not defined."""
    value = yield from score(candidate)
    return _WORST if np.isnan(value) else value


def _simplified(
    candidate: Candidate,
    simpler_ones: Callable[[Candidate], Iterator[Candidate]],
    share: BagShare,
) -> Generator[Progress, None, Candidate]:
    """Return the candidate without the parts that do not surely help."""
    while True:
        for simpler in simpler_ones(candidate):
            sure = yield from share(candidate, simpler)
            if sure < _SURE:
                candidate = simpler
                break
        else:
            return candidate


def _simpler(candidate: Candidate, space: SearchSpace) -> Iterator[Candidate]:
    """Yield the candidate without each of its parts."""
    members, options = candidate.members, candidate.options
    if options.fusion is not None and space.methods:
        yield replace(candidate, options=replace(options, fusion=None, match=()))
    for step in options.rerank if space.steps else ():
        rest = tuple(other for other in options.rerank if other != step)
        yield replace(candidate, options=replace(options, rerank=rest))
    if len(members) > 1:
        for member in members:
            yield candidate.without(member.name)
    for member in members:
        forms = space.form_of(member)
        if member.name != forms.name:
            yield candidate.exchanged(member.name, replace(member, name=forms.name))
        if member.whiten is not None and None in forms.whitening:
            yield candidate.exchanged(member.name, replace(member, whiten=None))
    if len({member.weight for member in members}) > 1:
        yield candidate.weighted(dict.fromkeys(candidate.names, 1.0))
