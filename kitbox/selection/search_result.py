"""What a search found: its levels out of sample, and the simplest one that none surpasses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kitbox.ensemble.recipe import Recipe
from kitbox.errors import KitboxError
from kitbox.records import Integers
from kitbox.scoring.bootstrap import bootstrap_interval, number_individuals
from kitbox.scoring.comparison import Difference
from kitbox.scoring.outcomes import Outcome, stitch, take
from kitbox.selection.candidate import Candidate
from kitbox.selection.forward_selection import ROUNDING

Level = Literal["single", "whitened", "viewed", "members", "equal", "tuned"]
# The simplest first: one plugin before several, selected ones before all, searched steps last.
LEVELS: tuple[Level, ...] = ("single", "whitened", "viewed", "members", "equal", "tuned")
# What each level is called in tables.
TITLES: Mapping[Level, str] = {
    "single": "the best plugin alone",
    "whitened": "the best plugin, whitened",
    "viewed": "the best plugin, whitened, with views",
    "members": "members by forward selection",
    "equal": "all plugins, equal weights",
    "tuned": "with weights and steps by search",
}


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
    best plugin alone, `over_whitened` over the best plugin in its best whitening, `over_equal` over
    all plugins with equal weights; all are chosen and scored in the same way. None of a level over
    itself, and of the best plugin alone over the whitened one.
    """

    level: Level
    candidate: Candidate
    in_sample: float
    out_of_sample: float
    gain: Difference | None
    over_whitened: Difference | None
    over_equal: Difference | None

    def as_json(self) -> dict[str, Any]:
        """Return the level, what was chosen and its scores."""
        return {
            "level": self.level,
            "members": [vars(member) for member in self.candidate.members],
            **self.candidate.options.method_json(),
            "in_sample": self.in_sample,
            "out_of_sample": self.out_of_sample,
            "gain": _json(self.gain),
            "over_whitened": _json(self.over_whitened),
            "over_equal": _json(self.over_equal),
        }


@dataclass(frozen=True, kw_only=True)
class LevelChoice:
    """The level that is written, and what choosing a level is worth out of sample.

    `level` was chosen on all queries, `apart` without each part of the individuals. The scores are
    of the choice itself: a part is answered by the level that was chosen without it, so that the
    level is not chosen by the scores that are reported.
    """

    level: Level
    apart: tuple[Level, ...]
    out_of_sample: float
    gain: Difference
    over_whitened: Difference

    def as_json(self) -> dict[str, Any]:
        """Return the levels and the scores of the choice."""
        return {
            "level": self.level,
            "apart": list(self.apart),
            "out_of_sample": self.out_of_sample,
            "gain": _json(self.gain),
            "over_whitened": _json(self.over_whitened),
        }


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The levels of a search, in the order of LEVELS, and the choice of one of them.

    `recipe` is that of the chosen level, where plugins were searched by their recipe.
    """

    metric: str
    levels: tuple[LevelResult, ...]
    choice: LevelChoice
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
        """The level that is written."""
        return self.level(self.choice.level)

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
        members, found = self.level("members").candidate, []
        if len(members.members) == 1:
            found.append(f"no member helps: forward selection leaves {members.names[0]} alone")
        over_plugin = f"{_numbers(self.choice.gain)} over the best plugin alone"
        over_whitened = f"{_numbers(self.choice.over_whitened)} over the best plugin whitened"
        match self.chosen.level:
            case "single":
                found.append(
                    "nothing pays: nothing is shown to be better than the best plugin alone, so "
                    "the recipe is that plugin"
                )
            case "whitened" | "viewed":
                found.append(f"nothing pays beyond {self._form}, which is the recipe")
                found.append(f"out of sample: {self.metric} {over_plugin}")
            case level:
                found.append(f"chosen: {TITLES[level]}")
                found.append(f"out of sample: {self.metric} {over_plugin}, {over_whitened}")
                gains = {"alone": self.choice.gain, "whitened": self.choice.over_whitened}
                unsure = " or ".join(name for name, gain in gains.items() if gain.low <= 0)
                if unsure:
                    found.append(
                        "not sure: where the choice is made out of sample, it is not shown to be "
                        f"better than the best plugin {unsure}"
                    )
        return found

    @property
    def _form(self) -> str:
        """The form of the one plugin that is chosen."""
        [member] = self.chosen.candidate.members
        if member.whiten is None:
            return f"{member.name} alone"
        if self.chosen.level == "whitened":
            return f"whitening {member.name} to {member.whiten}"
        return f"{member.name} whitened to {member.whiten}"

    def as_json(self) -> dict[str, Any]:
        """Return the levels and what was chosen."""
        return {
            "metric": self.metric,
            "chosen": self.chosen.level,
            "choice": self.choice.as_json(),
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


def simplest(outcomes: Mapping[Level, Outcome], individuals: Mapping[str, str]) -> Level:
    """Return the first level, in the order of LEVELS, that no other is shown to be better than.

    Shown means that the paired 95 % interval of the difference is above 0. There is always one:
    nothing is better than the level that scores best.
    """
    best_first = sorted(outcomes, key=lambda level: -outcomes[level].value)
    in_order = [level for level in LEVELS if level in outcomes]
    return next(
        level
        for level in in_order
        if not any(
            _shown_better(outcomes[other], outcomes[level], individuals) for other in best_first
        )
    )


def choose_apart(
    answers: Mapping[Level, Sequence[Outcome]], part: Integers, individuals: Mapping[str, str]
) -> tuple[tuple[Level, ...], Outcome]:
    """Return the level that is chosen without each part, and the outcome of these choices.

    `answers` have by level the outcome of what was chosen without each part, in their order;
    `part (n,)` is that of each query. The level of a part is the simplest by the queries of all
    other parts, each of which is answered by what was chosen without it.
    """
    chosen: list[Level] = []
    numbers = range(len(next(iter(answers.values()))))
    for number in numbers:
        others = [other for other in numbers if other != number]
        stitched = {level: _of_parts(each, part, others) for level, each in answers.items()}
        chosen.append(simplest(stitched, individuals))
    outcome = stitch([answers[level][number] for number, level in enumerate(chosen)], part)
    return tuple(chosen), outcome


def _of_parts(answers: Sequence[Outcome], part: Integers, numbers: Sequence[int]) -> Outcome:
    """Return the outcome of the queries of some parts, each answered without its own part."""
    rows = np.flatnonzero(np.isin(part, numbers))
    number_of = np.searchsorted(np.array(numbers), part[rows])
    return stitch([take(answers[number], rows) for number in numbers], number_of)


def _shown_better(better: Outcome, worse: Outcome, individuals: Mapping[str, str]) -> bool:
    """Whether the interval of the first outcome less the second is above 0."""
    value = better.value - worse.value
    if not value > ROUNDING:
        return False
    low, _ = bootstrap_interval(
        value,
        lambda weights: better.over(weights) - worse.over(weights),
        number_individuals(better.query_ids, individuals),
        with_replacement=better.with_replacement,
    )
    return low > 0


def _numbers(difference: Difference) -> str:
    return f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def _json(difference: Difference | None) -> dict[str, Any] | None:
    return None if difference is None else difference.as_json()
