"""What a search may choose from: forms of the members, steps after them, and their parameters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kitbox.retrieval import rerankers
from kitbox.selection.candidate import Candidate, CandidateMember, fusion_text

# Dimensions of whitening that are tried; a gallery without room for any has half of its images.
_WHITENED_DIMS = (64, 128, 256, 512)
# Weights are drawn in steps of this.
_GRID = 0.05


@dataclass(frozen=True)
class Range:
    """The values of a parameter, from `low` to `high` in steps; whole numbers for a whole step."""

    low: float
    high: float
    step: float = 1

    def draw(self, trial: Any, name: str) -> float:
        """Return a value that an optuna trial suggests."""
        if isinstance(self.step, int):
            return int(trial.suggest_int(name, int(self.low), int(self.high), step=self.step))
        return float(trial.suggest_float(name, self.low, self.high, step=self.step))

    def number(self, text: str) -> float:
        """Return a value of a step's text."""
        return int(text) if isinstance(self.step, int) else float(text)


@dataclass(frozen=True, kw_only=True)
class StepChoice:
    """A step by the text of its default, and the ranges of its parameters."""

    default: str
    ranges: Mapping[str, Range]

    @property
    def name(self) -> str:
        """The name of the step."""
        return self.default.partition(":")[0]

    def draw(self, trial: Any, place: str) -> str:
        """Return the text of the step with parameters that an optuna trial suggests."""
        drawn = [
            f"{name}={values.draw(trial, f'{place} {self.name} {name}'):g}"
            for name, values in self.ranges.items()
        ]
        text = f"{self.name}:{','.join(drawn)}" if drawn else self.name
        return str(rerankers.parse_step(text))

    def parameters(self, place: str) -> dict[str, float]:
        """Return the parameters of a trial that would draw the default."""
        given = dict(part.split("=") for part in self.default.partition(":")[2].split(",") if part)
        return {
            f"{place} {self.name} {name}": values.number(given[name])
            for name, values in self.ranges.items()
            if name in given
        }


@dataclass(frozen=True, kw_only=True)
class MemberForms:
    """The forms of a member: its full names by views, the first as it was given, and whitening.

    `plain` is its full name with the plain view alone.
    """

    views: tuple[str, ...]
    whitening: tuple[int | None, ...]
    plain: str

    @property
    def name(self) -> str:
        """The full name as it was given."""
        return self.views[0]

    @property
    def all(self) -> list[CandidateMember]:
        """Every form, the one that was given first."""
        return [
            CandidateMember(name=name, whiten=dims)
            for name in self.views
            for dims in self.whitening
        ]


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Members in all their forms, and groups of steps of which each candidate has one or none.

    `steps` has by the name of a group its choices, in the order in which groups are applied;
    `methods` are pairs of matchers and the fusion of their matches, () for none. `balances` are
    rules that are explained and not searched: the holdout says little of how often labels occur in
    the test.
    """

    members: tuple[MemberForms, ...]
    steps: Mapping[str, tuple[StepChoice, ...]]
    methods: tuple[tuple[tuple[str, ...], str], ...] = ()
    balances: tuple[str, ...] = ()

    def of(self, names: Sequence[str]) -> "SearchSpace":
        """Return the space of some members, by the names as they were given."""
        return replace(self, members=tuple(m for m in self.members if m.name in names))

    def form_of(self, member: CandidateMember) -> MemberForms:
        """Return the forms of which a member has one: its own, else those that have its views."""
        own = (forms for forms in self.members if member.name == forms.name)
        return next(own, None) or next(f for f in self.members if member.name in f.views)

    def group_of(self, step: str) -> str | None:
        """Return the group of a step by its text, None for one of no group."""
        name = step.partition(":")[0]
        found = (group for group, part in self.steps.items() if name in (c.name for c in part))
        return next(found, None)

    def in_order(self, steps: Sequence[str]) -> tuple[str, ...]:
        """Return steps by their groups; those of one group, or of none, stay as they are.

        An index of the gallery, which no search chooses, stays first.
        """
        groups = [*self.steps, None]
        place = {step: groups.index(self.group_of(step)) for step in steps}
        indexes = {step for step in steps if rerankers.is_index(step)}
        return tuple(sorted(steps, key=lambda step: (step not in indexes, place[step])))

    def draw(self, trial: Any, base: Candidate) -> Candidate | None:
        """Return the candidate of an optuna trial, None for one without a member.

        What the space does not choose is that of `base`.
        """
        members = []
        for forms in self.members:
            weight = round(trial.suggest_float(f"weight {forms.name}", 0, 1, step=_GRID), 2)
            if not weight:
                continue
            name = _one_of(trial, f"views {forms.name}", forms.views, str)
            dims = _one_of(trial, f"whitening {forms.name}", forms.whitening, _dims_text)
            members.append(CandidateMember(name=name, weight=weight, whiten=dims))
        options = base.options
        if self.steps:
            rerank = []
            for group, choices in self.steps.items():
                texts = ["none", *(choice.name for choice in choices)]
                picked = trial.suggest_categorical(group, texts)
                rerank += [c.draw(trial, group) for c in choices if c.name == picked]
            options = replace(options, rerank=tuple(rerank))
        if self.methods:
            every = [((), None), *self.methods]
            match, fusion = _one_of(trial, "fusion", every, lambda method: fusion_text(*method))
            options = replace(options, match=match, fusion=fusion)
        return Candidate(members=tuple(members), options=options) if members else None

    def parameters(self, candidate: Candidate) -> dict[str, Any]:
        """Return the parameters of a trial that would draw these members, without any step."""
        found: dict[str, Any] = {}
        largest = max(member.weight for member in candidate.members)
        by_given = {self.form_of(member).name: member for member in candidate.members}
        for forms in self.members:
            member = by_given.get(forms.name)
            if member is None:
                found[f"weight {forms.name}"] = 0.0
                continue
            steps = max(round(member.weight / largest / _GRID), 1)
            found[f"weight {forms.name}"] = round(steps * _GRID, 2)
            if len(forms.views) > 1:
                found[f"views {forms.name}"] = member.name
            if len(forms.whitening) > 1 and member.whiten in forms.whitening:
                found[f"whitening {forms.name}"] = _dims_text(member.whiten)
        found |= dict.fromkeys(self.steps, "none")
        own = (candidate.options.match, candidate.options.fusion)
        return found | ({"fusion": fusion_text(*own)} if own in self.methods else {})


def whitening_choices(dims: int, gallery: int) -> tuple[int | None, ...]:
    """Return None and the dimensions that a block may be whitened to, on so many images."""
    most = min(dims, gallery // 2)
    usual = tuple(each for each in _WHITENED_DIMS if each <= most)
    return (None, *(usual or ((most,) if most >= 2 else ())))


def _one_of(trial: Any, name: str, values: Sequence[Any], text: Callable[[Any], str]) -> Any:
    """Return one of several values, which a trial knows by their texts."""
    if len(values) == 1:
        return values[0]
    texts = [text(value) for value in values]
    return values[texts.index(trial.suggest_categorical(name, texts))]


def _dims_text(dims: int | None) -> str:
    return "none" if dims is None else str(dims)
