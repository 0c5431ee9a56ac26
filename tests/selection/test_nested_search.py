"""The search: what it chooses, and that its gain is out of sample."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from kitbox.ensemble.ensemble import Ensemble, EnsembleOptions
from kitbox.errors import KitboxError
from kitbox.retrieval.rerankers import parse_step
from kitbox.scoring.outcomes import Mean
from kitbox.selection import nested_search, recipe_search
from kitbox.selection.candidate import Candidate
from kitbox.selection.evaluator import Evaluator
from kitbox.selection.search_result import LEVELS, SearchResult, SearchSettings
from kitbox.selection.search_space import StepChoice
from kitbox.workspace import Workspace
from tests.photographs import finish
from tests.selection.drawn import DrawnMember, ensemble, record_matches, unit


def searched(fold: Ensemble, **settings: Any) -> SearchResult:
    """Return the result of a search among the members of an ensemble."""
    chosen = SearchSettings(**{"trials": 0, "parts": 3, "bags": 4, "metric": "map_at_5"} | settings)
    evaluator, space = finish(recipe_search.prepare([fold], kept=[chosen.metric]))[1]
    base = Candidate.of_members(fold.members, fold.options)
    found: SearchResult = finish(nested_search.search(evaluator, space, base, chosen))[1]
    return found


def test_members_that_help_are_joined_and_noise_gets_no_place(workspace: Workspace) -> None:
    noise = {"a": 1.0, "b": 1.0, "noise 1": 50.0, "noise 2": 50.0}
    found = searched(ensemble(workspace, noise, individuals=80))
    members = found.level("members")
    assert set(members.candidate.names) == {"a", "b"}
    assert members.gain is not None
    assert members.gain.low > 0
    assert members.gain.value > 0.05
    assert found.chosen.level == "members"
    assert found.choice.apart == ("members",) * 3  # so that its score is that of the level
    assert found.choice.out_of_sample == members.out_of_sample
    assert found.choice.gain.value == members.gain.value
    equal = found.level("equal")
    assert members.over_equal is not None
    assert members.over_equal.value == pytest.approx(
        members.out_of_sample - equal.out_of_sample, abs=1e-12
    )
    assert found.sentences[0] == "chosen: members by forward selection"
    assert found.sentences[1].startswith(f"out of sample: map_at_5 {members.gain.value:+.4f} [")
    assert found.sentences[1].endswith("] over the best plugin whitened")


def test_no_member_helps_is_an_answer(workspace: Workspace) -> None:
    found = searched(ensemble(workspace, {"good": 0.5, "noise 1": 50.0, "noise 2": 50.0}))
    assert found.level("members").candidate.names == ("good",)
    assert found.chosen.level == "single"
    assert found.chosen.candidate.names == ("good",)
    assert found.sentences[0] == "no member helps: forward selection leaves good alone"
    assert found.sentences[1].startswith("nothing pays: ")


def test_a_copy_of_a_member_adds_nothing(workspace: Workspace) -> None:
    fold = ensemble(workspace, {"a": 1.0, "b": 1.0})
    copy = DrawnMember(1.0, known_as="a copy", vectors=fold.members[0].vectors)  # type: ignore[attr-defined]
    with_copy = ensemble(workspace, {"a": 1.0, "b": 1.0})
    with_copy.members.append(copy)  # type: ignore[attr-defined]
    plain, copied = searched(fold), searched(with_copy)
    assert copied.level("members").candidate.key == plain.level("members").candidate.key
    assert copied.level("members").out_of_sample == plain.level("members").out_of_sample


def test_a_gain_by_chance_is_not_reported(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # members that know nothing, and a choice that believes in the best of all their pairs
    fold = ensemble(workspace, {f"n{i}": 1e6 for i in range(20)}, individuals=24, each=4)

    def believe(scorer: Any, space: Any, base: Candidate, *rest: Any, **_: Any) -> Any:
        score = scorer.under(rest[1])
        mixed = [base.weighted({a: 1, b: 1}) for a, b in combinations(base.names, 2)]
        best = yield from nested_search._best(mixed, score)
        single = yield from nested_search._best([base.weighted({n: 1}) for n in base.names], score)
        return dict.fromkeys(LEVELS, best) | {"single": single, "whitened": single, "equal": base}

    with monkeypatch.context() as patch:
        patch.setattr(nested_search, "_levels", believe)
        found = searched(fold, metric="recall_at_1")
    level = found.level("tuned")
    equal = found.level("equal")
    assert level.in_sample >= equal.in_sample + 0.1  # what it would report with leakage
    assert level.over_equal is not None
    assert level.out_of_sample <= level.in_sample - 0.05
    assert level.over_equal.low <= 0 <= level.over_equal.high
    assert found.chosen.level == "single"
    # the search itself does not even believe it on the queries that chose
    honest = searched(fold, trials=20, metric="recall_at_1")
    assert honest.chosen.level == "single"
    assert honest.sentences[-1].startswith("nothing pays: ")


def test_each_part_is_answered_by_what_was_chosen_without_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = ensemble(workspace, {"a": 1.0, "b": 1.0, "c": 2.0}, individuals=12)
    inside: list[np.ndarray] = []
    levels = nested_search._levels

    def choose(*arguments: Any, **options: Any) -> Any:
        inside.append(arguments[4])
        yield from ()
        base = arguments[2]
        chosen = base.weighted({"abc"[len(inside) % 3]: 1.0})
        return dict.fromkeys(LEVELS, chosen) | {"equal": base}

    monkeypatch.setattr(nested_search, "_levels", choose)
    found = searched(fold)
    monkeypatch.setattr(nested_search, "_levels", levels)
    assert inside[0].tolist() == [1.0] * 12
    assert np.sum(inside[1:], axis=0).tolist() == [2.0] * 12  # each query is left out once
    evaluator, _ = finish(recipe_search.prepare([fold]))[1]
    base = Candidate.of_members(fold.members, fold.options)
    expected = np.zeros(12)
    for place, weights in enumerate(inside[1:], 2):
        one = base.weighted({"abc"[place % 3]: 1.0})
        outcome = finish(evaluator.evaluate(one))[1]["map_at_5"]
        assert isinstance(outcome, Mean)
        expected[weights == 0] = outcome.values[weights == 0]
    assert found.level("members").out_of_sample == pytest.approx(expected.mean(), abs=1e-12)


def test_a_search_is_the_same_for_a_seed(workspace: Workspace) -> None:
    noise = {"a": 1.0, "b": 1.2, "c": 1.5}
    fold = ensemble(workspace, noise)
    one, two = (searched(fold, trials=12, seed=3) for _ in range(2))
    assert one.as_json() == two.as_json()
    other = searched(fold, trials=12, seed=4)
    assert other.as_json() != one.as_json()


def test_trials_find_weights_that_selection_starts_from(workspace: Workspace) -> None:
    fold = ensemble(workspace, {"a": 0.8, "b": 1.6}, individuals=60)
    found = searched(fold, trials=25)
    tuned = found.level("tuned")
    assert tuned.in_sample > found.level("single").in_sample
    evaluator, _ = finish(recipe_search.prepare([fold]))[1]
    again = finish(evaluator.evaluate(tuned.candidate))[1]["map_at_5"]
    assert again.value == pytest.approx(tuned.in_sample, abs=1e-12)


def unevenly(fold: Ensemble) -> Ensemble:
    """Return an ensemble whose first member gains by whitening.

    What differs most in its vectors says nothing of the individual.
    """
    first = fold.members[0]
    assert isinstance(first, DrawnMember)
    generator = np.random.default_rng(1)
    vectors = first.vectors.vectors.copy()
    vectors[:, :2] += generator.normal(size=(len(vectors), 2)) * 3
    drawn = replace(first, vectors=unit(first.vectors.image_ids.tolist(), vectors))
    return replace(fold, members=[drawn, *fold.members[1:]])


def test_nothing_pays_beyond_whitening_is_an_answer(workspace: Workspace) -> None:
    fold = unevenly(ensemble(workspace, {"a": 0.4, "b": 50.0}, individuals=60))
    found = searched(fold)
    single, whitened, members = map(found.level, ("single", "whitened", "members"))
    assert [(m.name, m.whiten) for m in single.candidate.members] == [("a", None)]
    for level in (whitened, members):
        assert [(m.name, m.whiten) for m in level.candidate.members] == [("a", 16)]
        assert level.gain is not None
        assert level.gain.low > 0
        assert level.gain.value == pytest.approx(
            level.out_of_sample - single.out_of_sample, abs=1e-12
        )
    # the gain of the members over the plugin as it is given is that of its whitening
    assert members.over_whitened is not None
    assert members.over_whitened.value == 0
    assert whitened.over_whitened is None
    assert found.chosen is whitened
    assert found.sentences[:2] == [
        "no member helps: forward selection leaves a alone",
        "nothing pays beyond whitening a to 16, which is the recipe",
    ]
    assert found.sentences[2].startswith(
        f"out of sample: map_at_5 {found.choice.gain.value:+.4f} ["
    )
    assert found.sentences[2].endswith("] over the best plugin alone")


def test_members_have_to_be_better_than_the_best_one_whitened(workspace: Workspace) -> None:
    fold = unevenly(ensemble(workspace, {"a": 0.8, "b": 1.0}, individuals=80))
    found = searched(fold)
    members, whitened = found.level("members"), found.level("whitened")
    assert set(members.candidate.names) == {"a", "b"}
    assert members.over_whitened is not None
    assert members.over_whitened.value == pytest.approx(
        members.out_of_sample - whitened.out_of_sample, abs=1e-12
    )
    assert members.over_whitened.low > 0
    assert found.chosen is members


def test_steps_that_help_are_found_and_those_that_do_not_fit_are_told(
    workspace: Workspace,
) -> None:
    fold = ensemble(workspace, {"a": 1.5, "b": 50.0}, individuals=40, each=10, dim=32)
    tuned = searched(fold, trials=10).level("tuned")
    [step] = tuned.candidate.options.rerank
    assert step == str(parse_step(step))
    assert tuned.gain is not None
    assert tuned.gain.low > 0
    # labelled images are the gallery here, so that none of them surely shows another individual
    settings = SearchSettings(trials=4, parts=2, bags=1, metric="map_at_5")
    evaluator, space = finish(recipe_search.prepare([fold], kept=["map_at_5"]))[1]
    foreign = StepChoice(default="score_normalisation:beta=1,k=3", ranges={})
    space = replace(space, steps={"re-ranking": (foreign,)})
    base = Candidate.of_members(fold.members, fold.options)
    told, found = finish(nested_search.search(evaluator, space, base, settings))
    notices = [event.notice for event in told if "is left out of the search" in event.notice]
    assert len(notices) == 1
    assert notices[0].startswith("score_normalisation is left out of the search: the re-ranking")
    assert found.level("tuned").candidate.options.rerank == ()


def test_steps_that_a_competition_cannot_have_are_not_searched(workspace: Workspace) -> None:
    task = {"label_similarity": "centre"}
    centred = ensemble(workspace, {"a": 1.0, "b": 1.0}, answers="labels", task=task)
    _, space = finish(recipe_search.prepare([centred]))[1]
    names = [choice.name for part in space.steps.values() for choice in part]
    assert "query_expansion" in names
    assert "k_reciprocal" not in names


def test_clusters_are_scored_out_of_sample_too(workspace: Workspace) -> None:
    fold = ensemble(
        workspace,
        {"a": 1.0, "b": 1.0},
        gallery="test",
        answers="clusters",
        task={"metric": "ari"},
    )
    holdout = fold.collection.holdout
    clustered = type(holdout)(holdout.query, holdout.train, holdout.train, holdout.train.labels)
    fold = replace(fold, collection=replace(fold.collection, holdout=clustered))
    found = searched(fold, metric=fold.competition.metric)
    members = found.level("members")
    assert members.gain is not None
    assert members.gain.p is None
    assert found.queries == 60


def test_mistakes_are_one_sentence(workspace: Workspace) -> None:
    with pytest.raises(KitboxError, match="a search combines plugins, and a is the only one"):
        searched(ensemble(workspace, {"a": 1.0}))
    with pytest.raises(KitboxError, match="queries show 3 individuals; a search needs 4 or more"):
        searched(ensemble(workspace, {"a": 1.0, "b": 1.0}, individuals=3))
    with pytest.raises(KitboxError, match="no metric map_at_4; did you mean map_at_5"):
        searched(ensemble(workspace, {"a": 1.0, "b": 1.0}), metric="map_at_4")
    for settings, message in (
        ({"trials": -1}, "--trials -1: give 0 or more"),
        ({"seconds": 0.0}, "--seconds 0: give a number above 0"),
        ({"parts": 1}, "--parts 1: give 2 or more"),
    ):
        with pytest.raises(KitboxError, match=message):
            SearchSettings(**settings)  # type: ignore[arg-type]


def test_time_ends_the_trials(workspace: Workspace) -> None:
    fold = ensemble(workspace, {"a": 1.0, "b": 1.0})
    found = searched(fold, trials=100_000, seconds=0.5)
    assert found.evaluations < 2_000


def test_the_cost_is_told_before(workspace: Workspace) -> None:
    fold = ensemble(workspace, {"a": 1.0, "b": 1.0})
    settings = SearchSettings(trials=3, parts=3, bags=2, metric="map_at_5")
    evaluator, space = finish(recipe_search.prepare([fold], kept=["map_at_5"]))[1]
    base = Candidate.of_members(fold.members, fold.options)
    told, _ = finish(nested_search.search(evaluator, space, base, settings))
    notices = [event.notice for event in told if event.notice]
    assert notices[0].startswith("about ")  # all steps can be tried here
    assert "the search runs 4 times, once without each of 3 parts" in notices[0]
    last = [event for event in told if event.unit == "candidates"][-1]
    assert last.done <= last.total


def test_pairs_are_matched_for_the_plugins_and_at_the_end_for_what_is_chosen(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = record_matches(monkeypatch)
    fold = ensemble(workspace, {"a": 1.0, "b": 1.2}, individuals=24)
    fold = replace(fold, options=EnsembleOptions(match=("sift:shortlist=2",)))
    settings = SearchSettings(trials=6, parts=2, bags=2, metric="map_at_5")
    evaluator, space = finish(recipe_search.prepare([fold], kept=["map_at_5"]))[1]
    base = Candidate.of_members(fold.members, fold.options)
    told, found = finish(nested_search.search(evaluator, space, base, settings))
    # both together, and each alone and whitened to 16 dimensions
    first = [base, *(base.weighted({name: 1.0}) for name in "ab")]
    first += [replace(one, members=(replace(one.members[0], whiten=16),)) for one in first[1:]]
    asked = len(calls)
    ahead = finish(Evaluator([fold]).match_ahead(first))[0]
    assert ahead[0].unit == "candidates"
    assert calls[asked] == calls[0]
    # then one call has all pairs of what was chosen; before it, no candidate has others
    last = next(number for number, pairs in enumerate(calls) if not pairs <= calls[0])
    assert all(pairs <= calls[0] | calls[last] for pairs in calls[last:asked])
    [notice] = [event.notice for event in told if event.notice.startswith("about ")]
    # 3 runs choose members and steps, 48 pairs each
    assert notice.endswith(
        "; at the end what it chose is matched in full, at most 288 pairs, most of them matched by "
        "then"
    )
    # a level scores what its recipe does
    for level in found.levels:
        alone = finish(Evaluator([fold]).evaluate(level.candidate))[1]["map_at_5"]
        assert level.in_sample == alone.value
