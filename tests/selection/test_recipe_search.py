"""What a search may change: views in the cache, and the recipe of a candidate."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from kitbox.dataset.collection import collect
from kitbox.embedding.embedder import EmbedOptions
from kitbox.ensemble import answers, members
from kitbox.ensemble.ensemble import Ensemble, EnsembleOptions
from kitbox.ensemble.recipe import Recipe, RecipeMember
from kitbox.selection import effects, recipe_search
from kitbox.selection.candidate import Candidate, CandidateMember
from tests.photographs import competition_on_disk, finish, named, tiny


def test_views_in_the_cache_are_forms_of_a_member(tmp_path: Path) -> None:
    workspace, competition = competition_on_disk(tmp_path, individuals=10)
    _, collection = finish(collect(workspace, competition))
    plugin = named(tiny(epochs=0, image_size=64))
    flipped = plugin.with_views(("flip",))

    def fold_of(source: object) -> Ensemble:
        return Ensemble(
            members=members.for_holdout(workspace, [source], None, collection),  # type: ignore[list-item]
            collection=collection,
            competition=competition,
            workspace=workspace,
            embed_options=EmbedOptions(device="cpu", precision="32", workers=0),
        )

    _, space = finish(recipe_search.prepare([fold_of(plugin)]))[1]
    assert space.members[0].views == ("tiny",)  # now the plain view is cached
    finish(answers.score(fold_of(flipped)))
    evaluator, space = finish(recipe_search.prepare([fold_of(plugin)]))[1]
    assert space.members[0].views == ("tiny", "tiny@views=plain+flip")
    assert space.members[0].plain == "tiny"
    _, other = finish(recipe_search.prepare([fold_of(flipped)]))[1]
    assert other.members[0].views == (
        "tiny@views=flip",
        "tiny@views=plain",
        "tiny@views=plain+flip",
    )
    assert other.members[0].plain == "tiny@views=plain"

    both = fold_of(plugin.with_views(("plain", "flip")))
    base = Candidate.of_members(fold_of(plugin).members, EnsembleOptions())
    found = finish(effects.explain(evaluator, base, space))[1]
    [change] = [effect.main for effect in found.effects if effect.kind == "views"]
    scored = [finish(answers.score(fold))[1].score for fold in (fold_of(plugin), both)]
    plain, viewed = (each.outcomes[competition.metric].value for each in scored)
    assert np.isclose(change.value, viewed - plain, atol=1e-12)

    chosen = Candidate(
        members=(CandidateMember(name="tiny@views=plain+flip", weight=0.5, whiten=8),),
        options=replace(EnsembleOptions(), rerank=("dba:k=3,alpha=3",)),
    )
    given = Recipe(members=(RecipeMember(name="tiny"),), threshold="best", checkpoint="best")
    recipe = recipe_search.recipe_of(chosen, evaluator, given)
    assert recipe == Recipe(
        threshold="best",
        checkpoint="best",
        rerank=("dba:k=3,alpha=3",),
        members=(RecipeMember(name="tiny", views=("plain", "flip"), whiten=8),),
    )
