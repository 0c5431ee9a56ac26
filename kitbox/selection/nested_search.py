"""The search for an ensemble, scored out of sample: nested over parts of the individuals."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from kitbox.ensemble.recipe import Recipe
from kitbox.errors import KitboxError, counted, format_duration
from kitbox.records import Integers, Progress
from kitbox.scoring import comparison
from kitbox.scoring.bootstrap import number_individuals
from kitbox.scoring.comparison import Difference
from kitbox.scoring.metrics import Numbers
from kitbox.scoring.outcomes import Outcome, stitch
from kitbox.selection import forward_selection, parameter_search
from kitbox.selection.candidate import Candidate
from kitbox.selection.evaluator import Evaluator
from kitbox.selection.search_space import SearchSpace

Level = Literal["single", "equal", "members", "tuned"]
LEVELS: tuple[Level, ...] = ("single", "equal", "members", "tuned")
# What each level is called in tables.
TITLES: Mapping[Level, str] = {
    "single": "the best plugin alone",
    "equal": "all plugins, equal weights",
    "members": "members by forward selection",
    "tuned": "with weights and steps by search",
}
# Bags of individuals by which a part of a candidate has to prove itself.
_DRAWS = 50
# Each part must have individuals, and its complement several.
_LEAST_INDIVIDUALS = 4


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How long and by what a search looks.

    `trials` are those of each search for parameters, 0 for none; `seconds` end them earlier.
    `parts` are those of the individuals whose scores are out of sample, `bags` the draws of
    individuals that vote on members. `metric` None is the competition's own.

    Raises KitboxError for numbers that are too small.
    """

    metric: str | None = None
    trials: int = 60
    seconds: float | None = None
    seed: int = 0
    parts: int = 5
    bags: int = 10

    def __post_init__(self) -> None:
        for name, least in (("trials", 0), ("seed", 0), ("parts", 2), ("bags", 1)):
            if getattr(self, name) < least:
                raise KitboxError(f"--{name} {getattr(self, name)}: give {least} or more")
        if self.seconds is not None and not 0 < self.seconds < np.inf:
            raise KitboxError(f"--seconds {self.seconds:g}: give a number above 0")


@dataclass(frozen=True, kw_only=True)
class LevelResult:
    """What a search chose with some of its means.

    `candidate` was found on all queries, where it scores `in_sample`. The others are out of sample:
    each part of the individuals is answered by what the search chose without it. `gain` is over the
    best plugin alone, `over_equal` over all plugins with equal weights; both are chosen and scored
    in the same way. None of its own gain.
    """

    level: Level
    candidate: Candidate
    in_sample: float
    out_of_sample: float
    gain: Difference | None
    over_equal: Difference | None

    @property
    def helps(self) -> bool:
        """Whether the gain over the best plugin alone is above 0 with its whole interval."""
        return self.gain is not None and self.gain.low > 0

    def as_json(self) -> dict[str, Any]:
        """Return the level, what was chosen and its scores."""
        return {
            "level": self.level,
            "members": [vars(member) for member in self.candidate.members],
            **self.candidate.options.method_json(),
            "in_sample": self.in_sample,
            "out_of_sample": self.out_of_sample,
            "gain": None if self.gain is None else self.gain.as_json(),
            "over_equal": None if self.over_equal is None else self.over_equal.as_json(),
        }


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The levels of a search, in the order of LEVELS, and which of them pays.

    `recipe` is that of the chosen level, where plugins were searched by their recipe.
    """

    metric: str
    levels: tuple[LevelResult, ...]
    settings: SearchSettings
    parts: int
    individuals: int
    queries: int
    evaluations: int
    recipe: Recipe | None = None

    def level(self, name: Level) -> LevelResult:
        """Return one of the levels."""
        return next(found for found in self.levels if found.level == name)

    @property
    def chosen(self) -> LevelResult:
        """The level that scores best out of sample of those that help, or else the best plugin."""
        best = self.level("single")
        for found in self.levels[1:]:
            if found.helps and found.out_of_sample > best.out_of_sample + 1e-9:
                best = found
        return best

    @property
    def comment(self) -> list[str]:
        """Lines for the head of the recipe: the gain, and how it was measured."""
        measured = (
            f"{self.queries} queries of {self.individuals} individuals of the holdout, scored in "
            f"{self.parts} parts by what was chosen without them; {self.evaluations} candidates, "
            f"seed {self.settings.seed}."
        )
        return [*(f"{line[0].upper()}{line[1:]}." for line in self.sentences), measured]

    @property
    def sentences(self) -> list[str]:
        """What the search found out, without capitals and full stops."""
        chosen, members = self.chosen, self.level("members").candidate
        found = []
        if len(members.members) == 1:
            found.append(f"no member helps: forward selection leaves {members.names[0]} alone")
        if chosen.level == "single":
            found.append(
                "nothing pays: no gain over the best plugin alone has an interval above 0, so the "
                "recipe is that plugin"
            )
        else:
            gain = chosen.gain
            assert gain is not None  # noqa: S101  all levels but the first have one
            found.append(
                f"{TITLES[chosen.level]}: {self.metric} {gain.value:+.4f} "
                f"[{gain.low:+.4f}, {gain.high:+.4f}] out of sample over the best plugin alone"
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the levels and what was chosen."""
        return {
            "metric": self.metric,
            "chosen": self.chosen.level,
            "levels": [level.as_json() for level in self.levels],
            "sentences": self.sentences,
            "seed": self.settings.seed,
            "trials": self.settings.trials,
            "seconds": self.settings.seconds,
            "parts": self.parts,
            "bags": self.settings.bags,
            "individuals": self.individuals,
            "queries": self.queries,
            "candidates": self.evaluations,
        }


@dataclass
class _Scorer:
    """Scores candidates by one metric, and counts those that could not answer."""

    evaluator: Evaluator
    metric: str
    expected: int = 0
    failures: dict[str, int] = field(default_factory=dict)

    def outcome(self, candidate: Candidate) -> Generator[Progress, None, Outcome]:
        """Return the outcome of a candidate; yields Progress where it is a new one."""
        new = not self.evaluator.is_known(candidate)
        found = yield from self.evaluator.evaluate(candidate)
        if new:
            done = self.evaluator.evaluations
            yield Progress("search", done, max(self.expected, done), unit="candidates")
        return found[self.metric]

    def under(self, inside: Numbers) -> Callable[[Candidate], Generator[Progress, None, float]]:
        """Return the score of candidates under weights (n,) of the queries.

        It is NaN for one that cannot answer, such as with a k that is larger than the gallery.
        """

        def score(candidate: Candidate) -> Generator[Progress, None, float]:
            try:
                outcome = yield from self.outcome(candidate)
            except KitboxError as error:
                reason = str(error)
                self.failures[reason] = self.failures.get(reason, 0) + 1
                return float("nan")
            return float(outcome.over(inside[None])[0])

        return score

    def share_under(self, weights: Numbers) -> parameter_search.BagShare:
        """Return the share of some weights (r, n) under which the first of two scores higher."""

        def share(first: Candidate, second: Candidate) -> Generator[Progress, None, float]:
            try:
                one = yield from self.outcome(first)
                two = yield from self.outcome(second)
            except KitboxError:  # what cannot answer is no better, and no simpler
                return 1.0
            higher = one.over(weights) > two.over(weights) + forward_selection.ROUNDING
            return float(higher.mean())

        return share

    def announce(
        self,
        space: SearchSpace,
        settings: SearchSettings,
        parts: int,
        seconds: float,
        whitening: float,
    ) -> Progress:
        """Return how many candidates are to be expected, and how long they take.

        One takes `seconds`, and all whitened blocks together `whitening` seconds more.
        """
        forms = sum(len(one.all) for one in space.members)
        runs = parts + 1
        # a selection tries each member some ten times, and bags try much the same
        self.expected = forms + 10 * len(space.members) + runs * settings.trials
        needed = self.expected * seconds + whitening
        if settings.seconds is not None:
            needed = min(needed, settings.seconds)
        and_whitening = f" and {format_duration(whitening)} of whitening" if whitening >= 1 else ""
        notice = (
            f"about {self.expected} candidates of {seconds:.2f} s each{and_whitening}: "
            f"{format_duration(needed)}; the search runs {runs} times, once without each "
            f"of {parts} parts of the individuals"
        )
        done = self.evaluator.evaluations
        return Progress("search", done, self.expected, unit="candidates", notice=notice)


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
    scorer = _Scorer(evaluator, settings.metric or evaluator.competition.metric)
    base = base.weighted(dict.fromkeys(names, 1.0))
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
    yield scorer.announce(space, settings, parts, seconds, whitening)
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
    return (yield from _result(scorer, chosen, part, settings, count))


def _whitening_seconds(
    scorer: _Scorer, space: SearchSpace, base: Candidate
) -> Generator[Progress, None, float]:
    """Return how long it takes to whiten all members in all their forms, by one of them."""
    whitened = [form for forms in space.members for form in forms.all if form.whiten]
    if not whitened:
        return 0.0
    begin = time.monotonic()
    yield from scorer.outcome(Candidate(members=(whitened[0],), options=base.options))
    return (time.monotonic() - begin) * len(whitened)


def _usable(
    scorer: _Scorer, space: SearchSpace, base: Candidate
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
    scorer: _Scorer,
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
    single = yield from _best([base.weighted({name: 1.0}) for name in base.names], score)
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
    return {"single": single, "equal": base, "members": members, "tuned": tuned}


def _members(
    scorer: _Scorer,
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
    scorer: _Scorer,
    chosen: Sequence[Mapping[Level, Candidate]],
    part: Integers,
    settings: SearchSettings,
    individuals: int,
) -> Generator[Progress, None, SearchResult]:
    """Return the levels: what the first choice found, and what the others score out of sample."""
    on_all, without = chosen[0], chosen[1:]
    outcomes: dict[Level, Outcome] = {}
    for level in LEVELS:
        each = []
        for one in without:
            found = yield from scorer.outcome(one[level])
            each.append(found)
        outcomes[level] = stitch(each, part)
    levels = []
    for level in LEVELS:
        fitted = yield from scorer.outcome(on_all[level])
        levels.append(
            LevelResult(
                level=level,
                candidate=on_all[level],
                in_sample=fitted.value,
                out_of_sample=outcomes[level].value,
                gain=_difference(outcomes, "single", level, scorer.evaluator.individuals),
                over_equal=_difference(outcomes, "equal", level, scorer.evaluator.individuals),
            )
        )
    return SearchResult(
        metric=scorer.metric,
        levels=tuple(levels),
        settings=settings,
        parts=len(without),
        individuals=individuals,
        queries=len(part),
        evaluations=scorer.evaluator.evaluations,
    )


def _difference(
    outcomes: Mapping[Level, Outcome], before: Level, after: Level, individuals: Mapping[str, str]
) -> Difference | None:
    if before == after:
        return None
    names = (TITLES[before], TITLES[after])
    return comparison.compare(outcomes[before], outcomes[after], individuals, names)
