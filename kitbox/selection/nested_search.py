"""The search for an ensemble, scored out of sample: nested over parts of the individuals."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from kitbox.errors import KitboxError, counted
from kitbox.records import Integers, Progress
from kitbox.scoring import comparison
from kitbox.scoring.bootstrap import number_individuals
from kitbox.scoring.comparison import Difference
from kitbox.scoring.metrics import Numbers
from kitbox.scoring.outcomes import Outcome, stitch
from kitbox.selection import forward_selection, parameter_search, search_result
from kitbox.selection.candidate import Candidate
from kitbox.selection.candidate_scorer import CandidateScorer
from kitbox.selection.evaluator import Evaluator
from kitbox.selection.search_result import (
    LEVELS,
    TITLES,
    Level,
    LevelChoice,
    LevelResult,
    SearchResult,
    SearchSettings,
)
from kitbox.selection.search_space import SearchSpace

# Bags of individuals by which a part of a candidate has to prove itself.
_DRAWS = 50
# Each part must have individuals, and its complement several.
_LEAST_INDIVIDUALS = 4


def search(
    evaluator: Evaluator, space: SearchSpace, base: Candidate, settings: SearchSettings
) -> Generator[Progress, None, SearchResult]:
    """Return what a search chooses, and what its choices gain out of sample; yields Progress.

    It chooses on all queries, and once more without each part of the individuals, whose queries are
    then answered by that choice. So the gain is not that of the best of many candidates on the
    queries which chose it. `base` has the members as they are given, and the options of every
    candidate; `space` says what may differ.

    Thresholds and a fusion are fitted across all queries, each query without its own individual, as
    for 'kitbox score'; only the choice between candidates is nested.

    Raises KitboxError for fewer than two members, and for fewer than four individuals.
    """
    names = [forms.name for forms in space.members]
    if len(names) < 2:
        raise KitboxError(
            f"a search combines plugins, and {names[0]} is the only one",
            fix=f"name more of them; 'kitbox explain {names[0]}' tells what steps do for one",
        )
    scorer = CandidateScorer(evaluator, settings.metric or evaluator.competition.metric)
    base = base.weighted(dict.fromkeys(names, 1.0))
    pairs = yield from _match_baselines(evaluator, space, base)
    for name in names:  # reads all blocks
        yield from scorer.outcome(base.weighted({name: 1.0}))
    begin = time.monotonic()
    first = yield from scorer.outcome(base)
    seconds = time.monotonic() - begin
    individuals = number_individuals(first.query_ids, evaluator.individuals)
    count = int(individuals.max()) + 1
    if count < _LEAST_INDIVIDUALS:
        raise KitboxError(
            f"the holdout's queries show {counted(count, 'individual')}; a search needs "
            f"{_LEAST_INDIVIDUALS} or more",
            fix="hold out more with holdout.share in kitbox.toml",
        )
    parts = min(settings.parts, count // 2)
    space = yield from _usable(scorer, space, base)
    whitening = yield from _whitening_seconds(scorer, space, base)
    yield scorer.announce(space, settings, parts, seconds, whitening, pairs)
    order = np.random.default_rng(settings.seed).permutation(count)
    part = (order % parts)[individuals]
    everything = np.ones(len(individuals))
    chosen = []
    for run, inside in enumerate([everything, *((part != one) * 1.0 for one in range(parts))]):
        until = None
        if settings.seconds is not None:
            until = begin + settings.seconds * (run + 1) / (parts + 1)
        found = yield from _levels(
            scorer, space, base, individuals, inside, settings, run=run, until=until
        )
        chosen.append(found)
    for reason, times in scorer.failures.items():
        notice = f"{counted(times, 'candidate')} could not answer: {reason}"
        yield Progress("search", evaluator.evaluations, evaluator.evaluations, notice=notice)
    if pairs:
        every = {one.key: one for levels in chosen for one in levels.values()}
        yield from evaluator.match_ahead([*every.values()])
    return (yield from _result(scorer, chosen, part, settings, count))


def _match_baselines(
    evaluator: Evaluator, space: SearchSpace, base: Candidate
) -> Generator[Progress, None, int]:
    """Match the pairs of all plugins together and of each one alone; return those of the first.

    Each is matched whitened, too. All other candidates are chosen by these pairs, whose cost is
    told before.
    """
    if not base.options.match:
        return 0
    every = {one.key: one for one in [base, *_of_one_plugin(space, base)["whitened"]]}
    counts = yield from evaluator.match_ahead([*every.values()])
    return counts[0]


def _whitening_seconds(
    scorer: CandidateScorer, space: SearchSpace, base: Candidate
) -> Generator[Progress, None, float]:
    """Return how long it takes to whiten all members in all their forms, by one of them."""
    whitened = [form for forms in space.members for form in forms.all if form.whiten]
    if not whitened:
        return 0.0
    begin = time.monotonic()
    yield from scorer.outcome(Candidate(members=(whitened[0],), options=base.options))
    return (time.monotonic() - begin) * len(whitened)


def _usable(
    scorer: CandidateScorer, space: SearchSpace, base: Candidate
) -> Generator[Progress, None, SearchSpace]:
    """Return the space without steps that cannot answer here; yields a notice for each of them.

    Steps of the base are part of every candidate, and none are searched beside them.
    """
    if base.options.rerank:
        return replace(space, steps={})
    steps = {}
    for group, choices in space.steps.items():
        fitting = []
        for choice in choices:
            try:
                options = replace(base.options, rerank=(choice.default,))
                yield from scorer.outcome(replace(base, options=options))
                fitting.append(choice)
            except KitboxError as error:
                notice = f"{choice.name} is left out of the search: {error}"
                yield Progress("search", 0, 1, unit="candidates", notice=notice)
        if fitting:
            steps[group] = tuple(fitting)
    return replace(space, steps=steps)


def _levels(
    scorer: CandidateScorer,
    space: SearchSpace,
    base: Candidate,
    individuals: Integers,
    inside: Numbers,
    settings: SearchSettings,
    *,
    run: int,
    until: float | None,
) -> Generator[Progress, None, dict[Level, Candidate]]:
    """Return what is chosen at each level under weights `inside (n,)` of the queries."""
    score = scorer.under(inside)
    found: dict[Level, Candidate] = {}
    for level, candidates in _of_one_plugin(space, base).items():
        found[level] = yield from _best(candidates, score)
    members = yield from _members(
        scorer, space, base, individuals, inside, settings, run=run, until=until
    )
    tuned = members
    if settings.trials:
        outcome = yield from scorer.outcome(members)
        tuned = yield from parameter_search.optimise(
            space.of([space.form_of(member).name for member in members.members]),
            members,
            score,
            scorer.share_under(_draws(individuals, inside, settings, run, outcome)),
            trials=settings.trials,
            seed=int(np.random.SeedSequence([settings.seed, run]).generate_state(1)[0]),
            until=until,
        )
    return {**found, "members": members, "equal": base, "tuned": tuned}


def _of_one_plugin(space: SearchSpace, base: Candidate) -> dict[Level, list[Candidate]]:
    """Return the candidates of the levels that have one plugin, with what is simpler first.

    The level of views is left out where none are in the cache.
    """
    given = [base.weighted({name: 1.0}) for name in base.names]
    forms = [form for member in space.members for form in member.all]
    alone = [(form, Candidate(members=(form,), options=base.options)) for form in forms]
    whitened = [*given, *(one for form, one in alone if form.name in base.names)]
    found: dict[Level, list[Candidate]] = {"single": given, "whitened": whitened}
    if any(len(member.views) > 1 for member in space.members):
        found["viewed"] = [*whitened, *(one for form, one in alone if form.name not in base.names)]
    return found


def _members(
    scorer: CandidateScorer,
    space: SearchSpace,
    base: Candidate,
    individuals: Integers,
    inside: Numbers,
    settings: SearchSettings,
    *,
    run: int,
    until: float | None,
) -> Generator[Progress, None, Candidate]:
    """Return the members that a vote of bags selects, each in the form that scores best alone.

    Members that do not surely help beside the others are dropped. It is the best of them alone
    where that scores no less.
    """
    score, options = scorer.under(inside), base.options
    alone = []
    for forms in space.members:
        each = [Candidate(members=(form,), options=options) for form in forms.all]
        alone.append((yield from _best(each, score)))
    best = yield from _best(alone, score)
    template = Candidate(members=tuple(one.members[0] for one in alone), options=options)
    outcome = yield from scorer.outcome(best)
    bags = forward_selection.bag_weights(
        individuals,
        inside,
        settings.bags,
        [settings.seed, run],
        replacement=outcome.with_replacement,
    )
    selections: list[forward_selection.Counts] = []
    for bag in bags:
        if selections and until is not None and time.monotonic() >= until:
            break
        of_counts = _of_counts(template, scorer.under(bag))
        selections.append((yield from forward_selection.select(template.names, of_counts)))
    voted = template.weighted(forward_selection.vote(selections, template.names))
    share = scorer.share_under(_draws(individuals, inside, settings, run, outcome))
    sure = yield from parameter_search.only_sure_members(voted, share)
    return (yield from _best([best, sure], score))


def _draws(
    individuals: Integers, inside: Numbers, settings: SearchSettings, run: int, outcome: Outcome
) -> Numbers:
    """Return the weights (r, n) of the bags by which parts of a candidate prove themselves."""
    bags = forward_selection.bag_weights(
        individuals,
        inside,
        _DRAWS,
        [settings.seed, run, 1],
        replacement=outcome.with_replacement,
    )
    return np.array([*bags])


def _of_counts(
    template: Candidate, score: Callable[[Candidate], Generator[Progress, None, float]]
) -> forward_selection.CountsScore:
    def score_counts(counts: forward_selection.Counts) -> Generator[Progress, None, float]:
        return score(template.weighted(counts))

    return score_counts


def _best(
    candidates: Sequence[Candidate],
    score: Callable[[Candidate], Generator[Progress, None, float]],
) -> Generator[Progress, None, Candidate]:
    """Return the candidate of the highest score, of equals the first."""
    best, highest = candidates[0], -np.inf
    for candidate in candidates:
        value = yield from score(candidate)
        if value > highest + forward_selection.ROUNDING:
            best, highest = candidate, value
    return best


def _result(
    scorer: CandidateScorer,
    chosen: Sequence[Mapping[Level, Candidate]],
    part: Integers,
    settings: SearchSettings,
    individuals: int,
) -> Generator[Progress, None, SearchResult]:
    """Return the levels: what the first choice found, and what the others score out of sample."""
    on_all, without = chosen[0], chosen[1:]
    answers: dict[Level, list[Outcome]] = {}
    fitted: dict[Level, Outcome] = {}
    for level in (level for level in LEVELS if level in on_all):
        answers[level] = []
        for one in without:
            found = yield from scorer.outcome(one[level], draft=False)
            answers[level].append(found)
        fitted[level] = yield from scorer.outcome(on_all[level], draft=False)
    outcomes = {level: stitch(each, part) for level, each in answers.items()}
    of_query = scorer.evaluator.individuals

    def over(before: Level, after: Level) -> Difference | None:
        if before == after:
            return None
        names = (TITLES[before], TITLES[after])
        return comparison.compare(outcomes[before], outcomes[after], of_query, names)

    levels = [
        LevelResult(
            level=level,
            candidate=on_all[level],
            in_sample=fitted[level].value,
            out_of_sample=outcome.value,
            gain=over("single", level),
            over_whitened=None if level == "single" else over("whitened", level),
            over_equal=over("equal", level),
        )
        for level, outcome in outcomes.items()
    ]
    apart, of_choice = search_result.choose_apart(answers, part, of_query)
    gains = [
        comparison.compare(outcomes[level], of_choice, of_query, (TITLES[level], "the choice"))
        for level in ("single", "whitened")
    ]
    return SearchResult(
        metric=scorer.metric,
        levels=tuple(levels),
        choice=LevelChoice(
            level=search_result.simplest(outcomes, of_query),
            apart=apart,
            out_of_sample=of_choice.value,
            gain=gains[0],
            over_whitened=gains[1],
        ),
        settings=settings,
        parts=len(without),
        individuals=individuals,
        queries=len(part),
        evaluations=scorer.evaluator.evaluations,
    )
