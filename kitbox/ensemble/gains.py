"""What whitening, views and steps do to a local score: paired differences on the same queries."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kitbox.ensemble import answers, combination
from kitbox.ensemble.answers import EnsembleScore
from kitbox.ensemble.ensemble import Ensemble, EnsembleOptions
from kitbox.ensemble.members import Member, NetworkMember
from kitbox.errors import KitboxError
from kitbox.records import Progress
from kitbox.retrieval.neighbour_graph import INDEXED
from kitbox.scoring import comparison
from kitbox.scoring.comparison import Difference

# Dimensions that are tried where nothing is whitened; a set with room for none has half of its own.
WHITENED_DIMS = (128, 256)
# The metric by which whitening is offered too, where the competition's own shows nothing.
RETRIEVAL = "map_at_20"
# Multiplications of a PCA, images × dimensions × the smaller of both: some ten seconds.
_MOST_WORK = 2e10


@dataclass(frozen=True, kw_only=True)
class Gain:
    """A score by a metric with a setting, and how much better it is than without.

    `kind` is the setting's name: views, whiten, rerank, fusion or balance. `tried` are the values
    of it that were tried; this one scored best. `unmatched`: both scores are without the local
    matches of the ensemble, whose shortlists the setting changes.
    """

    kind: str
    setting: int | tuple[str, ...] | str
    metric: str
    value: float
    difference: Difference
    tried: tuple[int, ...] = ()
    unmatched: bool = False

    @property
    def sentence(self) -> str:
        """The score, the difference with its interval, and for whitening the option."""
        change = self.difference
        numbers = (
            f"{self.metric} {self.value:.4f}, "
            f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"
        )
        beside = ", both without --match" if self.unmatched else ""
        if isinstance(self.setting, tuple):
            return f"views {' + '.join(self.setting)} against plain alone{beside}: {numbers}"
        if isinstance(self.setting, str):
            outcome = (
                "" if self.helps else "; it harms" if change.high < 0 else "; no gain is shown"
            )
            fused = self.kind == "fusion"
            step = f"fusion ({self.setting})" if fused else f"--{self.kind} {self.setting}"
            return (
                f"{step}{beside}: {self.metric} {self.value - change.value:.4f} "
                f"without, {self.value:.4f} with, {change.value:+.4f} "
                f"[{change.low:+.4f}, {change.high:+.4f}]{outcome}"
            )
        tried = f" (the best of {' and '.join(map(str, self.tried))})" if self.tried[1:] else ""
        return f"whitened to {self.setting}{tried}: {numbers}; add --whiten {self.setting}"

    @property
    def helps(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.difference.low > 0

    def as_json(self) -> dict[str, Any]:
        """Return the setting and the numbers."""
        return {
            self.kind: self.setting,
            "metric": self.metric,
            "value": self.value,
            "difference": self.difference.value,
            "low": self.difference.low,
            "high": self.difference.high,
            **({"unmatched": True} if self.unmatched else {}),
        }


def by_whitening(
    folds: Sequence[Ensemble], plain: EnsembleScore, metrics: Sequence[str]
) -> Generator[Progress, None, Gain | None]:
    """Return what whitening gains over the local score `plain` of ensembles that do not whiten.

    That is by the first of the metrics whose interval is above 0, at the dimensions that score
    best by it, unless the first metric falls. None where no metric gains, and where ensembles
    whiten already, answer by something else than joined embeddings, or are too large to try it in
    seconds.
    """
    if any(any(fold.whitening) or not fold.options.plain or fold.options.scale for fold in folds):
        return None
    gallery = [len(fold.collection.holdout.gallery) for fold in folds]
    work = sum(n * dim * min(n, dim) for n in gallery for dim in plain.dims)
    tried = _dims(min(gallery), max(plain.dims))
    if not tried or work * len(tried) > _MOST_WORK:
        return None
    found: dict[int, EnsembleScore] = {}
    for dims in tried:
        options = [replace(fold.options, whiten=dims) for fold in folds]
        whitened = [replace(f, options=o) for f, o in zip(folds, options, strict=True)]
        try:
            found[dims] = yield from _pooled(whitened)
        except KitboxError:  # there is nothing to whiten, as where all embeddings are equal
            return None
    first = plain.score.outcomes[metrics[0]].value
    for metric in metrics:
        best = max(tried, key=lambda dims: found[dims].score.outcomes[metric].value)
        gain = _paired(plain, found[best], metric, "whiten", best)
        falls = found[best].score.outcomes[metrics[0]].value < first
        if gain is not None and gain.helps and not falls:
            return replace(gain, tried=tried)
    return None


def by_views(
    folds: Sequence[Ensemble], viewed: EnsembleScore, metric: str
) -> Generator[Progress, None, Gain | None]:
    """Return what views gain over the plain view; None where no member has another one.

    `viewed` is the local score of the ensembles. Plain embeddings that are not cached are made.
    Ensembles that match are compared without matches: other neighbours are other pairs to match,
    which may take hours.
    """
    views = list(dict.fromkeys(name for member in folds[0].members for name in _views(member)))
    if not views or views == ["plain"]:
        return None
    unmatched = _without_matches(folds)
    if unmatched is not None:
        folds, viewed = unmatched, (yield from _pooled(unmatched))
    plain = [replace(f, members=[_with_plain_view(m) for m in f.members]) for f in folds]
    before = yield from _pooled(plain)
    gain = _paired(before, viewed, metric, "views", tuple(views))
    return None if gain is None else replace(gain, unmatched=unmatched is not None)


def by_steps(
    folds: Sequence[Ensemble], found: EnsembleScore, metrics: Sequence[str]
) -> Generator[Progress, None, list[Gain]]:
    """Return what each step that is off by default gains over the same ensembles without it.

    These are re-ranking, one step at a time; matches with their fusion; and balance. `found` is the
    local score of the ensembles with all of them. Re-ranking is compared without matches, as views
    are.
    """
    gains = []
    unmatched = _without_matches(folds) if folds[0].options.rerank else None
    bare = None if unmatched is None else (yield from _pooled(unmatched))
    for kind, setting, changes in _steps(folds[0].options):
        both, after = folds, found
        if kind == "rerank" and unmatched is not None and bare is not None:
            both, after = unmatched, bare
        without = [replace(fold, options=replace(fold.options, **changes)) for fold in both]
        before = yield from _pooled(without)
        # balance moves labels, not images
        moved = metrics[:1] if kind == "balance" else metrics
        paired = (_paired(before, after, metric, kind, setting) for metric in moved)
        gains += [
            replace(gain, unmatched=after is not found) for gain in paired if gain is not None
        ]
    return gains


def _without_matches(folds: Sequence[Ensemble]) -> list[Ensemble] | None:
    """Return ensembles without their matches, None where they have none, or answer by them alone.

    A classifier of labels answers without the neighbours that steps before the matches move.
    """
    options = folds[0].options
    if not options.match or options.combine == "classifier":
        return None
    without = replace(options, match=(), fusion=None)
    return [replace(fold, options=without) for fold in folds]


def _steps(options: EnsembleOptions) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the steps of options: name, text, and what options without it have in their place."""
    steps: list[tuple[str, str, dict[str, Any]]] = []
    for number, step in enumerate(options.rerank):
        others = options.rerank[:number] + options.rerank[number + 1 :]
        steps.append(("rerank", step, {"rerank": others}))
    if options.match or options.fusion:
        texts = [*options.match, *([options.fusion] if options.fusion else [])]
        steps.append(("fusion", " + ".join(texts), {"match": (), "fusion": None}))
    if options.balance is not None:
        steps.append(("balance", options.balance, {"balance": None}))
    return steps


def _views(member: Member) -> tuple[str, ...]:
    return member.named.plugin.views if isinstance(member, NetworkMember) else ()


def _with_plain_view(member: Member) -> Member:
    if isinstance(member, NetworkMember) and member.named.plugin.views:
        return replace(member, named=member.named.with_views(("plain",)))
    return member


def _dims(gallery: int, dims: int) -> tuple[int, ...]:
    """Return the dimensions to try for so many images of so many dimensions."""
    most = min(gallery // 2, dims)
    return tuple(each for each in WHITENED_DIMS if each <= most) or ((most,) if most >= 2 else ())


def _pooled(folds: Sequence[Ensemble]) -> Generator[Progress, None, EnsembleScore]:
    found = []
    for fold in folds:
        one = yield from _quiet(answers.score(fold))
        found.append(one)
    return answers.pool_folds(found)


def _paired(
    before: EnsembleScore,
    after: EnsembleScore,
    metric: str,
    kind: str,
    setting: int | tuple[str, ...] | str,
) -> Gain | None:
    """Return the gain of one score over another, None where no query counts."""
    one, two = before.score.outcomes[metric], after.score.outcomes[metric]
    if np.isnan(two.value - one.value):
        return None
    difference = comparison.compare(one, two, after.score.individuals, ("plain", kind))
    return Gain(kind=kind, setting=setting, metric=metric, value=two.value, difference=difference)


def _quiet(
    stage: Generator[Progress, None, EnsembleScore],
) -> Generator[Progress, None, EnsembleScore]:
    """Follow a stage without notices on whitening, balance and indexes.

    The first score gave them, and these are of ensembles that are only tried.
    """
    while True:
        try:
            progress = next(stage)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if not (progress.notice and progress.unit in ("blocks", combination.BALANCED, INDEXED)):
            yield progress
