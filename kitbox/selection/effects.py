"""What each member, view, whitening and step adds to an ensemble: paired differences."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from kitbox.ensemble import gains
from kitbox.errors import KitboxError, did_you_mean
from kitbox.records import Progress
from kitbox.scoring import comparison
from kitbox.scoring.comparison import Difference
from kitbox.scoring.outcomes import Outcome
from kitbox.selection import diversity
from kitbox.selection.candidate import Candidate, CandidateMember, fusion_text
from kitbox.selection.diversity import MemberAgreement
from kitbox.selection.evaluator import Evaluator
from kitbox.selection.search_space import SearchSpace

Kind = Literal["member", "views", "whitening", "re-ranking", "fusion", "balance"]
# The metric by which a query is answered rightly.
HIT = "recall_at_1"


@dataclass(frozen=True)
class Part:
    """A part of an ensemble: the candidates with it and without it.

    `present` says whether the ensemble has it, `name` what it is, `place` where it is added if that
    is not the ensemble itself.
    """

    kind: Kind
    name: str
    present: bool
    with_it: Candidate
    without: Candidate
    place: str = ""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a part adds: metric → the score with it minus that without it, with its interval."""

    kind: Kind
    name: str
    present: bool
    place: str
    differences: Mapping[str, Difference]

    @property
    def main(self) -> Difference:
        """The difference by the first metric."""
        return next(iter(self.differences.values()))

    @property
    def verdict(self) -> Literal["helps", "harms", ""]:
        """Whether the whole interval by the first metric is above or below 0."""
        if self.main.low > 0:
            return "helps"
        return "harms" if self.main.high < 0 else ""

    @property
    def sentence(self) -> str:
        """The part, and by each metric what it adds."""
        where = f" {self.place}" if self.place else ""
        numbers = ", ".join(
            f"{metric} {one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
            for metric, one in self.differences.items()
        )
        return f"{self.kind} {self.name}{where}: {numbers}"

    def as_json(self) -> dict[str, Any]:
        """Return the part, the verdict and the differences by metric."""
        return {
            "kind": self.kind,
            "name": self.name,
            "present": self.present,
            "place": self.place,
            "verdict": self.verdict,
            "differences": {
                metric: {"value": one.value, "low": one.low, "high": one.high, "p": one.p}
                for metric, one in self.differences.items()
            },
        }


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What helps: the scores of an ensemble and of its members alone, and the effects of parts.

    `scores` are by metric, `alone` by member and metric. `left_out` are sentences on parts that
    could not be tried. `any_right` is the share of queries that a member answers rightly at least.
    """

    base: Candidate
    scores: Mapping[str, float]
    alone: Mapping[str, Mapping[str, float]]
    effects: tuple[Effect, ...]
    agreements: tuple[MemberAgreement, ...]
    any_right: float
    queries: int
    left_out: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics, that of the verdicts first."""
        return tuple(self.scores)

    @property
    def advice(self) -> list[str]:
        """Sentences on parts that harm and are there, and on parts that help and are not."""
        found = []
        for effect in self.effects:
            if effect.verdict == "harms" and effect.present:
                found.append(f"{effect.kind} {effect.name} harms: leave it out")
            if effect.verdict == "helps" and not effect.present and not effect.place:
                found.append(f"{effect.kind} {effect.name} helps: add it")
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the scores, effects and agreements."""
        return {
            "members": [vars(member) for member in self.base.members],
            **self.base.options.method_json(),
            "scores": dict(self.scores),
            "alone": {name: dict(values) for name, values in self.alone.items()},
            "effects": [effect.as_json() for effect in self.effects],
            "agreements": [pair.as_json() for pair in self.agreements],
            "any_right": self.any_right,
            "queries": self.queries,
            "left_out": list(self.left_out),
            "advice": self.advice,
        }


def explain(
    evaluator: Evaluator, base: Candidate, space: SearchSpace, metric: str | None = None
) -> Generator[Progress, None, Explanation]:
    """Return what each part adds to an ensemble, and how far its members agree; yields Progress.

    A part that the ensemble has is left out; one that it has not is added: members of `space`,
    other forms of its members, and steps with their default parameters. Each is paired with the
    ensemble on the same queries. Steps that cannot be tried are told in `left_out`.

    Raises KitboxError for a metric that there is not.
    """
    whole = yield from evaluator.evaluate(base)
    metrics = _metrics(metric or evaluator.competition.metric, whole)
    names = [forms.name for forms in space.members]
    plain = replace(base.options, rerank=(), match=(), fusion=None, balance=None)
    alone = {}
    for forms in space.members:
        own = next((m for m in base.members if space.form_of(m) is forms), forms.all[0])
        single = Candidate(members=(replace(own, weight=1.0),), options=plain)
        alone[forms.name] = yield from evaluator.evaluate(single)
    order = sorted(names, key=lambda name: (-alone[name][metrics[0]].value, names.index(name)))
    parts = [*parts_of(base, space, order[0])]
    effects, left_out = [], []
    for number, part in enumerate(parts):
        yield Progress("explain", number, len(parts), unit="parts", note=part.name)
        try:
            after = yield from evaluator.evaluate(part.with_it)
            before = yield from evaluator.evaluate(part.without)
        except KitboxError as error:
            left_out.append(f"{part.kind} {part.name} could not be tried: {error}")
            continue
        effects.append(_effect(part, before, after, metrics, evaluator.individuals))
    hits = {name: found[HIT].per_query for name, found in alone.items() if HIT in found}
    right = {name: values for name, values in hits.items() if values is not None}
    values = {name: found[metrics[0]].per_query for name, found in alone.items()}
    return Explanation(
        base=base,
        scores={name: whole[name].value for name in metrics},
        alone={name: {m: found[m].value for m in metrics} for name, found in alone.items()},
        effects=tuple(effects),
        agreements=tuple(diversity.agreements(right, values)),
        any_right=diversity.any_right(list(right.values())) if right else float("nan"),
        queries=len(whole[metrics[0]].query_ids),
        left_out=tuple(left_out),
    )


def parts_of(base: Candidate, space: SearchSpace, best: str) -> Iterator[Part]:
    """Yield the parts of a candidate, and what could be added to it; `best` is a member's name."""
    yield from _members(base, space, best)
    yield from _views(base, space)
    yield from _whitening(base, space)
    yield from _steps(base, space)


def _members(base: Candidate, space: SearchSpace, best: str) -> Iterator[Part]:
    """Yield members left out, those added, and each beside the best one alone."""
    mean = float(np.mean([member.weight for member in base.members]))
    inside = {space.form_of(member).name: member for member in base.members}
    for member in base.members if len(base.members) > 1 else ():
        yield Part("member", member.name, True, base, base.without(member.name))
    first = inside.get(best, CandidateMember(name=best))
    alone = replace(base, members=(replace(first, weight=1.0),))
    for forms in space.members:
        own = inside.get(forms.name)
        if own is None:
            added = replace(forms.all[0], weight=mean)
            with_it = replace(base, members=(*base.members, added))
            yield Part("member", forms.name, False, with_it, base)
        if forms.name != best and len(space.members) > 2:
            beside = replace(own or forms.all[0], weight=1.0)
            with_it = replace(alone, members=(*alone.members, beside))
            yield Part("member", beside.name, False, with_it, alone, f"beside {best} alone")


def _views(base: Candidate, space: SearchSpace) -> Iterator[Part]:
    """Yield the views of each member against the plain one, and others that are in the cache.

    Views with which the ensemble has the plugin already are left out.
    """
    for member in base.members:
        forms = space.form_of(member)
        if member.name != forms.plain:
            if forms.plain not in base.names:
                plain = base.exchanged(member.name, replace(member, name=forms.plain))
                yield Part("views", member.name, True, base, plain)
            continue
        for name in forms.views:
            if name not in base.names:
                viewed = base.exchanged(member.name, replace(member, name=name))
                yield Part("views", name, False, viewed, base)


def _whitening(base: Candidate, space: SearchSpace) -> Iterator[Part]:
    """Yield the whitening of each member, and of all of them."""
    for member in base.members:
        if member.whiten is not None:
            bare = base.exchanged(member.name, replace(member, whiten=None))
            yield Part("whitening", f"{member.name} to {member.whiten}", True, base, bare)
            continue
        for dims in space.form_of(member).whitening:
            if dims is not None:
                whitened = base.exchanged(member.name, replace(member, whiten=dims))
                yield Part("whitening", f"{member.name} to {dims}", False, whitened, base)
    if len(base.members) == 1 or any(member.whiten for member in base.members):
        return
    shared = set.intersection(*({*space.form_of(m).whitening} for m in base.members)) - {None}
    for dims in sorted(dims for dims in shared if dims is not None):
        every = tuple(replace(member, whiten=dims) for member in base.members)
        yield Part("whitening", f"all to {dims}", False, replace(base, members=every), base)


def _steps(base: Candidate, space: SearchSpace) -> Iterator[Part]:
    """Yield re-ranking steps, matchers with their fusion, and balance."""
    options = base.options

    def changed(**given: Any) -> Candidate:
        return replace(base, options=replace(options, **given))

    for step in options.rerank:
        rest = tuple(other for other in options.rerank if other != step)
        yield Part("re-ranking", step, True, base, changed(rerank=rest))
    for group, choices in space.steps.items():
        own = [step for step in options.rerank if space.group_of(step) == group]
        place = f"in place of {' and '.join(own)}" if own else ""
        others = tuple(step for step in options.rerank if step not in own)
        for choice in choices:
            if choice.name not in [step.partition(":")[0] for step in own]:
                with_it = changed(rerank=space.in_order((*others, choice.default)))
                yield Part("re-ranking", choice.default, False, with_it, base, place)
    if options.fusion is not None:
        name = fusion_text(options.match, options.fusion)
        yield Part("fusion", name, True, base, changed(match=(), fusion=None))
    for matcher in options.match if len(options.match) > 1 else ():
        rest = tuple(other for other in options.match if other != matcher)
        yield Part("fusion", matcher, True, base, changed(match=rest))
    for match, fusion in space.methods:
        if fusion != options.fusion:
            with_it = changed(match=match, fusion=fusion)
            place = f"in place of {options.fusion}"
            yield Part("fusion", fusion_text(match, fusion), False, with_it, base, place)
    if options.balance is not None:
        yield Part("balance", options.balance, True, base, changed(balance=None))
    place = f"in place of {options.balance}" if options.balance is not None else ""
    kind = (options.balance or "").partition(":")[0]
    for rule in space.balances:
        if rule.partition(":")[0] != kind:
            yield Part("balance", rule, False, changed(balance=rule), base, place)


def _metrics(metric: str, whole: Mapping[str, Outcome]) -> tuple[str, ...]:
    """Return the metrics to show: the given one, and the share of right first answers."""
    if metric not in whole:
        near = did_you_mean(metric, whole)
        raise KitboxError(f"no metric {metric}{near}; there are {', '.join(whole)}")
    other = gains.RETRIEVAL if metric == HIT else HIT
    return (metric, other) if other in whole else (metric,)


def _effect(
    part: Part,
    before: Mapping[str, Outcome],
    after: Mapping[str, Outcome],
    metrics: Sequence[str],
    individuals: Mapping[str, str],
) -> Effect:
    names = (f"without {part.name}", f"with {part.name}")
    differences = {
        metric: comparison.compare(before[metric], after[metric], individuals, names)
        for metric in metrics
    }
    return Effect(
        kind=part.kind,
        name=part.name,
        present=part.present,
        place=part.place,
        differences=differences,
    )
