"""What parts add: each effect is the difference of two scores, and agreement is counted."""

from dataclasses import replace

import numpy as np
import pytest

from kitbox.ensemble import answers
from kitbox.ensemble.ensemble import Ensemble, EnsembleOptions
from kitbox.ensemble.members import Member
from kitbox.errors import KitboxError
from kitbox.scoring import comparison
from kitbox.selection import diversity, effects, recipe_search
from kitbox.selection.candidate import Candidate, CandidateMember
from kitbox.selection.effects import Effect, Explanation
from kitbox.selection.search_space import MemberForms, SearchSpace
from kitbox.workspace import Workspace
from tests.photographs import finish
from tests.selection.drawn import ensemble

NOISE = {"a": 0.9, "b": 1.4, "noise": 50.0}


def explained(fold: Ensemble, *, base: int | None = None, metric: str | None = None) -> Explanation:
    """Return what parts add to the first `base` members."""
    evaluator, space = finish(recipe_search.prepare([fold]))[1]
    candidate = Candidate.of_members(fold.members[:base], fold.options)
    found: Explanation = finish(effects.explain(evaluator, candidate, space, metric))[1]
    return found


def effect_of(found: Explanation, name: str, place: str = "") -> Effect:
    [effect] = [one for one in found.effects if (one.name, one.place) == (name, place)]
    return effect


def score_of(fold: Ensemble, *members: Member) -> answers.EnsembleScore:
    scored: answers.EnsembleScore = finish(answers.score(replace(fold, members=members)))[1]
    return scored


def test_leaving_a_member_out_is_the_difference_of_two_scores(workspace: Workspace) -> None:
    fold = ensemble(workspace, NOISE, individuals=60)
    found = explained(fold)
    a, b, noise = fold.members
    whole, without = score_of(fold, a, b, noise).score, score_of(fold, a, b).score
    for metric in ("map_at_5", "recall_at_1"):
        expected = comparison.compare(
            without.outcomes[metric], whole.outcomes[metric], whole.individuals
        )
        change = effect_of(found, "noise").differences[metric]
        assert (change.value, change.low, change.high) == (
            expected.value,
            expected.low,
            expected.high,
        )
    assert found.scores == {
        "map_at_5": whole.outcomes["map_at_5"].value,
        "recall_at_1": whole.outcomes["recall_at_1"].value,
    }
    assert effect_of(found, "noise").verdict == "harms"
    assert effect_of(found, "noise").present
    assert effect_of(found, "b").verdict == "helps"
    assert "member noise harms: leave it out" in found.advice


def test_adding_a_member_and_standing_beside_the_best_are_measured(workspace: Workspace) -> None:
    fold = ensemble(workspace, NOISE, individuals=60)
    found = explained(fold, base=1)
    a, b, _ = fold.members
    alone, both = score_of(fold, a).score, score_of(fold, a, b).score
    gain = both.outcomes["map_at_5"].value - alone.outcomes["map_at_5"].value
    assert effect_of(found, "b").main.value == pytest.approx(gain, abs=1e-12)
    assert not effect_of(found, "b").present
    assert effect_of(found, "b", "beside a alone").main.value == pytest.approx(gain, abs=1e-12)
    assert "member b helps: add it" in found.advice
    assert found.alone["b"]["map_at_5"] == score_of(fold, b).score.outcomes["map_at_5"].value


def test_whitening_is_measured_for_each_member_and_for_all(workspace: Workspace) -> None:
    fold = ensemble(workspace, {"a": 1.0, "b": 1.2}, individuals=60)
    found = explained(fold)
    a, b = fold.members
    plain = score_of(fold, a, b).score.outcomes["map_at_5"].value
    for name, members in {
        "a to 16": (replace(a, whiten=16), b),
        "all to 16": (replace(a, whiten=16), replace(b, whiten=16)),
    }.items():
        expected = score_of(fold, *members).score.outcomes["map_at_5"].value - plain
        assert effect_of(found, name).main.value == pytest.approx(expected, abs=1e-12)
    whitened = replace(fold, members=[replace(a, whiten=16), b])
    there = effect_of(explained(whitened), "a to 16")
    assert there.present
    assert there.main.value == pytest.approx(effect_of(found, "a to 16").main.value, abs=1e-12)


def test_steps_are_added_with_their_defaults_and_left_out(workspace: Workspace) -> None:
    fold = ensemble(workspace, {"a": 1.5}, individuals=40, each=10, dim=32)
    found = explained(fold)
    plain = score_of(fold, *fold.members).score.outcomes["map_at_5"].value
    steps = [effect for effect in found.effects if effect.kind == "re-ranking"]
    assert [effect.name.partition(":")[0] for effect in steps] == [
        "query_expansion",
        "dba",
        "k_reciprocal",
        "diffusion",
        "local_scaling",
    ]
    for effect in steps:
        options = EnsembleOptions(rerank=(effect.name,))
        reranked = score_of(replace(fold, options=options), *fold.members).score
        gain = reranked.outcomes["map_at_5"].value - plain
        assert effect.main.value == pytest.approx(gain, abs=1e-12)
    assert effect_of(found, "dba:k=3,alpha=3").verdict == "helps"
    there = explained(replace(fold, options=EnsembleOptions(rerank=("k_reciprocal",))))
    own = effect_of(there, "k_reciprocal:k1=8,k2=2,lambda=0.5")
    assert own.present
    assert own.main.value == pytest.approx(
        effect_of(found, "k_reciprocal:k1=8,k2=2,lambda=0.5").main.value, abs=1e-12
    )
    # an expansion goes before the step that replaces cosines, and another one takes its place
    assert effect_of(there, "dba:k=3,alpha=3").present is False
    name = next(effect.name for effect in there.effects if effect.name.startswith("diffusion"))
    place = "in place of k_reciprocal:k1=8,k2=2,lambda=0.5"
    alone = effect_of(found, name).main.value
    assert effect_of(there, name, place).main.value == pytest.approx(
        alone - own.main.value, abs=1e-12
    )
    assert there.left_out == ()


def test_a_fusion_is_left_out_and_exchanged(workspace: Workspace) -> None:
    options = EnsembleOptions(match=("orb", "sift"), fusion="mean", balance=None)
    fold = replace(ensemble(workspace, {"a": 1.0, "b": 1.0}), options=options)
    _, space = finish(recipe_search.prepare([fold]))[1]
    base = Candidate.of_members(fold.members, fold.options)
    parts = [part for part in effects.parts_of(base, space, "a") if part.kind == "fusion"]
    found = [(p.name, p.place, p.present, p.with_it.options, p.without.options) for p in parts]
    plain, own = EnsembleOptions(), base.options
    assert found == [
        ("mean of orb + sift", "", True, own, plain),
        ("orb", "", True, own, replace(own, match=("sift",))),
        ("sift", "", True, own, replace(own, match=("orb",))),
        *(
            (f"{name} of orb + sift", "in place of mean", False, replace(own, fusion=name), own)
            for name in ("logit", "boost:weight=1", "rank_sum", "vote:k=5")
        ),
    ]


def test_rules_of_balance_are_explained_where_answers_are_labels(workspace: Workspace) -> None:
    fold = ensemble(workspace, {"a": 1.5}, answers="labels", individuals=20)
    found = explained(fold)
    rules = [effect for effect in found.effects if effect.kind == "balance"]
    assert [rule.name.partition(":")[0] for rule in rules] == [
        "each_label",
        "assignment",
        "sizes",
        "sinkhorn",
    ]
    scores = {}
    for rule in (None, rules[1].name):
        options = EnsembleOptions(balance=rule)
        scored = score_of(replace(fold, options=options), *fold.members).score
        scores[rule] = scored.outcomes["label_map_at_5"].value
    assert rules[1].main.value == pytest.approx(scores[rules[1].name] - scores[None], abs=1e-12)
    base = Candidate.of_members(fold.members, EnsembleOptions(balance="assignment"))
    _, space = finish(recipe_search.prepare([fold]))[1]
    parts = [part for part in effects.parts_of(base, space, "a") if part.kind == "balance"]
    assert [(part.present, part.place) for part in parts] == [
        (True, ""),
        *[(False, "in place of assignment:most=1")] * 3,
    ]


def test_a_plugin_with_and_without_views_has_effects_of_its_own_while_views_are_cached() -> None:
    viewed = "a@views=plain+flip"
    space = SearchSpace(
        members=(
            MemberForms(views=("a", viewed, "a@views=flip"), whitening=(None,), plain="a"),
            MemberForms(views=(viewed, "a", "a@views=flip"), whitening=(None,), plain="a"),
        ),
        steps={},
    )
    members = (CandidateMember(name="a"), CandidateMember(name=viewed))
    assert [space.form_of(member).name for member in members] == ["a", viewed]
    base = Candidate(members=members, options=EnsembleOptions())
    parts = [(p.kind, p.name, p.present) for p in effects.parts_of(base, space, "a")]
    assert parts == [
        ("member", "a", True),
        ("member", viewed, True),
        ("views", "a@views=flip", False),
    ]


def test_a_single_member_has_no_member_effects(workspace: Workspace) -> None:
    found = explained(ensemble(workspace, {"a": 1.0}))
    assert {effect.kind for effect in found.effects} == {"whitening", "re-ranking"}
    assert found.agreements == ()
    assert found.any_right == found.alone["a"]["recall_at_1"]


def test_agreement_counts_right_first_answers() -> None:
    hits = {
        "a": np.array([1.0, 1, 1, 0, 0, 1]),
        "b": np.array([1.0, 0, 1, 1, 0, 1]),
        "c": np.array([1.0, 1, 1, 1, 1, 1]),
    }
    values = {"a": hits["a"] / 2, "b": hits["b"], "c": hits["c"]}
    ab, ac, bc = diversity.agreements(hits, values)
    assert (ab.first, ab.second) == ("a", "b")
    assert (ab.both, ab.first_alone, ab.second_alone, ab.neither) == (3, 1, 1, 1)
    assert ab.q == pytest.approx((3 * 1 - 1 * 1) / (3 * 1 + 1 * 1))
    # cov of (1,1,1,0,0,1) and (1,0,1,1,0,1): 3/6 − (4/6)² = .0556; variances 2/9 each
    assert ab.correlation == pytest.approx(0.25)
    assert ac.q is None
    assert ac.correlation is None
    assert ab.queries == 6
    assert diversity.any_right([hits["a"], hits["b"]]) == pytest.approx(5 / 6)
    assert bc.as_json()["second_alone"] == 2


def test_an_unknown_metric_is_one_sentence(workspace: Workspace) -> None:
    with pytest.raises(KitboxError, match=r"no metric map_at_6; did you mean map_at_5\?"):
        explained(ensemble(workspace, NOISE), metric="map_at_6")
