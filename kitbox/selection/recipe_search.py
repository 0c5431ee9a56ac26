"""From the recipe of some plugins to a better one, and to what its parts add."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.embedding import embedder
from kitbox.embedding.embedder import EmbedOptions
from kitbox.ensemble import members
from kitbox.ensemble.ensemble import Ensemble
from kitbox.ensemble.members import Member, MemberSource, NetworkMember
from kitbox.ensemble.recipe import Recipe, RecipeMember
from kitbox.errors import KitboxError
from kitbox.records import Progress
from kitbox.selection import effects, nested_search
from kitbox.selection.candidate import Candidate
from kitbox.selection.effects import Explanation
from kitbox.selection.evaluator import Evaluator
from kitbox.selection.search_result import SearchResult, SearchSettings
from kitbox.selection.search_space import MemberForms, SearchSpace, whitening_choices
from kitbox.selection.step_choices import balances, fusion_methods, step_groups
from kitbox.workspace import Workspace


def prepare(
    folds: Sequence[Ensemble], *, kept: Sequence[str] | None = None
) -> Generator[Progress, None, tuple[Evaluator, SearchSpace]]:
    """Return an evaluator of the ensembles' members, and the space of a search; reads all members.

    A member may take the views that are in the cache for all folds. `kept` are the metrics whose
    outcomes are kept, None for all.
    """
    viewed = [[_with_cached_views(member, fold) for member in fold.members] for fold in folds]
    forms: list[list[Member]] = []
    for of_folds in zip(*viewed, strict=True):
        shared = set.intersection(*({one.full_name for one in each} for each in of_folds))
        forms.append([one for one in of_folds[0] if one.full_name in shared])
    every = [one.full_name for each in forms for one in each]
    by_name = [{one.full_name: one for each in of_fold for one in each} for of_fold in viewed]
    evaluator = Evaluator(
        [
            replace(fold, members=[found[name] for name in every])
            for fold, found in zip(folds, by_name, strict=True)
        ],
        kept=kept,
    )
    found = []
    for each in forms:
        name = each[0].full_name
        yield from evaluator.read(name)
        found.append(
            MemberForms(
                views=tuple(one.full_name for one in each),
                whitening=whitening_choices(*evaluator.widths(name)),
                plain=next(one.full_name for one in each if _is_plain(one)),
            )
        )
    fold = folds[0]
    return evaluator, SearchSpace(
        members=tuple(found),
        steps=step_groups(fold.competition),
        methods=fusion_methods(fold.options),
        balances=balances(fold.competition),
    )


@dataclass(frozen=True, kw_only=True)
class HoldoutFolds:
    """What recipes are scored on: the collection of each fold, by its number."""

    collections: Mapping[int, Collection]
    competition: Competition
    workspace: Workspace
    embed_options: EmbedOptions


def search_recipe(
    given: Recipe, sources: Sequence[MemberSource], folds: HoldoutFolds, settings: SearchSettings
) -> Generator[Progress | str, None, SearchResult]:
    """Return what a search among the members of a recipe chooses, with the recipe of its choice.

    The weights given do not count, the other settings are those of every candidate unless the
    search changes them. `sources` are those of the recipe. Raises KitboxError as
    `nested_search.search` does, and for an unknown metric.
    """
    if len(given.members) == 1:
        raise KitboxError(
            f"a search combines plugins, and {given.names[0]} is the only one",
            fix=f"name more of them; 'kitbox explain {given.names[0]}' tells what steps do for it",
        )
    ensembles = yield from ensembles_of(given, sources, folds)
    kept = [settings.metric or folds.competition.metric]
    evaluator, space = yield from prepare(ensembles, kept=kept)
    base = Candidate.of_members(ensembles[0].members, ensembles[0].options)
    found = yield from nested_search.search(evaluator, space, base, settings)
    return replace(found, recipe=recipe_of(found.chosen.candidate, evaluator, given))


def explain_recipe(
    given: Recipe,
    sources: Sequence[MemberSource],
    folds: HoldoutFolds,
    *,
    others: tuple[Recipe, Sequence[MemberSource]] | None = None,
    metric: str | None = None,
) -> Generator[Progress | str, None, Explanation]:
    """Return what the parts of a recipe add, and `others`, members that could be added to it.

    Raises KitboxError for an unknown metric.
    """
    ensembles = yield from ensembles_of(given, sources, folds)
    every = ensembles
    if others is not None:
        more = yield from ensembles_of(*others, folds)
        every = _joined(ensembles, more)
    evaluator, space = yield from prepare(every)
    base = Candidate.of_members(ensembles[0].members, ensembles[0].options)
    return (yield from effects.explain(evaluator, base, space, metric))


def ensembles_of(
    recipe: Recipe, sources: Sequence[MemberSource], folds: HoldoutFolds
) -> Generator[str, None, list[Ensemble]]:
    """Return a recipe's ensemble on each fold; yields warnings about checkpoints."""
    found = []
    for number, collection in folds.collections.items():
        chosen = members.for_holdout(
            folds.workspace,
            sources,
            recipe.weights,
            collection,
            recipe.checkpoint,
            whitening=recipe.whitening,
            fold=number,
        )
        yield from members.checkpoint_warnings(chosen)
        found.append(
            Ensemble(
                members=chosen,
                collection=collection,
                competition=recipe.set_threshold(folds.competition),
                workspace=folds.workspace,
                options=recipe.options(),
                embed_options=folds.embed_options,
            )
        )
    return found


def _joined(folds: Sequence[Ensemble], others: Sequence[Ensemble]) -> list[Ensemble]:
    """Return the ensembles of the folds with the members of others that they have not."""
    found = []
    for fold, other in zip(folds, others, strict=True):
        names = {member.full_name for member in fold.members}
        new = [member for member in other.members if member.full_name not in names]
        found.append(replace(fold, members=[*fold.members, *new]))
    return found


def recipe_of(candidate: Candidate, evaluator: Evaluator, given: Recipe) -> Recipe:
    """Return a candidate as a recipe; threshold and checkpoint are those of the `given` one."""
    options, chosen = candidate.options, []
    for member in candidate.members:
        source = evaluator.member(member.name)
        views = source.named.plugin.views if isinstance(source, NetworkMember) else ()
        weight = member.weight if len(candidate.members) > 1 else 1.0
        chosen.append(
            RecipeMember(name=source.name, weight=weight, views=views, whiten=member.whiten)
        )
    return Recipe(
        combine=options.combine,
        dims=options.dims,
        new_label=options.unknown,
        threshold=given.threshold,
        checkpoint=given.checkpoint,
        rerank=options.rerank,
        match=options.match,
        fusion=options.fusion,
        balance=options.balance,
        members=tuple(chosen),
    )


def _with_cached_views(member: Member, fold: Ensemble) -> list[Member]:
    """Return the member as it is given, and with other views that are cached."""
    if not isinstance(member, NetworkMember):
        return [member]
    cached = embedder.cached_views(
        member.named,
        member.network,
        fold.collection.labelled,
        fold.workspace,
        unreadable=fold.collection.unreadable,
        options=fold.embed_options,
    )
    own = member.named.plugin.views or ("plain",)
    others = (
        replace(member, named=member.named.with_views(views))
        for views in _combinations(cached)
        if views != own
    )
    return [member, *others]


def _is_plain(member: Member) -> bool:
    """Whether a member has no view but the plain one."""
    views = member.named.plugin.views if isinstance(member, NetworkMember) else ()
    return views in ((), ("plain",))


def _combinations(cached: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the plain view, cached or not, with each other one, and all of several together."""
    yield ("plain",)
    others = [view for view in cached if view != "plain"]
    if "plain" in cached:
        yield from (("plain", view) for view in others)
    if len(others) > 1 and "plain" in cached:
        yield ("plain", *others)
