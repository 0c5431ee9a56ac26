"""The evaluator: the same outcomes as a score, each candidate and each block once."""

from dataclasses import replace

import numpy as np
import pytest

from kitbox.ensemble import answers
from kitbox.ensemble.ensemble import EnsembleOptions
from kitbox.errors import KitboxError
from kitbox.selection.candidate import Candidate, CandidateMember
from kitbox.selection.evaluator import Evaluator
from kitbox.workspace import Workspace
from tests.photographs import finish
from tests.selection.drawn import ensemble, record_matches

NOISE = {"near": 0.6, "far": 1.0}


def candidate(*members: tuple[str, float, int | None], **options: object) -> Candidate:
    return Candidate(
        members=tuple(CandidateMember(name=n, weight=w, whiten=d) for n, w, d in members),
        options=EnsembleOptions(**options),  # type: ignore[arg-type]
    )


def test_outcomes_are_those_of_a_score(workspace: Workspace) -> None:
    fold = ensemble(workspace, NOISE)
    found = finish(Evaluator([fold]).evaluate(candidate(("near", 3, 8), ("far", 1, None))))[1]
    near, far = fold.members
    weighted = [replace(near, weight=3.0, whiten=8), replace(far, weight=1.0)]
    scored = finish(answers.score(replace(fold, members=weighted)))[1].score
    assert list(found) == list(scored.outcomes)
    for metric, outcome in scored.outcomes.items():
        assert np.array_equal(found[metric].per_query, outcome.per_query), metric


def test_a_block_is_read_once_and_a_candidate_scored_once(workspace: Workspace) -> None:
    fold = ensemble(workspace, NOISE)
    evaluator = Evaluator([fold])
    for one in (
        candidate(("near", 1, None), ("far", 1, None)),
        candidate(("far", 0.5, None), ("near", 0.5, None)),
        candidate(("near", 1, 4)),
        candidate(("near", 9, 4)),
        candidate(("near", 1, None), ("far", 2, None)),
    ):
        finish(evaluator.evaluate(one))
    assert [member.calls for member in fold.members] == [[90], [90]]  # type: ignore[attr-defined]
    assert evaluator.evaluations == 3


def test_whitened_blocks_are_kept_within_the_memory(workspace: Workspace) -> None:
    fold = ensemble(workspace, NOISE)
    block = 90 * 4 * 4  # bytes of a block in 4 dimensions
    evaluator = Evaluator([fold], memory=2 * block)
    first = finish(evaluator.evaluate(candidate(("near", 1, 4))))[1]
    for dims in (3, 4, 5):
        finish(evaluator.evaluate(candidate(("far", 1, dims))))
    held = [block for key, block in evaluator._blocks.items() if key[2]]
    assert sum(one.vectors.nbytes for one in held) <= 2 * block
    assert ("near", 0) in {key[1:] for key in evaluator._blocks}  # what is on disk stays
    evaluator._found.clear()
    again = finish(evaluator.evaluate(candidate(("near", 1, 4))))[1]
    assert np.array_equal(first["map_at_5"].per_query, again["map_at_5"].per_query)


def test_several_folds_are_pooled_query_by_query(workspace: Workspace) -> None:
    fold = ensemble(workspace, NOISE)
    second = ensemble(workspace, NOISE, individuals=20)
    found = finish(Evaluator([fold, second]).evaluate(candidate(("near", 1, None))))[1]
    assert len(found["map_at_5"].query_ids) == 50
    parts = [
        finish(Evaluator([f]).evaluate(candidate(("near", 1, None))))[1] for f in (fold, second)
    ]
    together = np.concatenate([part["map_at_5"].per_query for part in parts])
    assert found["map_at_5"].value == pytest.approx(together.mean(), abs=1e-12)


def test_a_key_is_that_of_the_shares_of_members_in_any_order() -> None:
    one = candidate(("a", 2, None), ("b", 1, 8))
    assert one.key == candidate(("b", 0.5, 8), ("a", 1, None)).key
    for other in (
        candidate(("a", 2, None), ("b", 1, 4)),
        candidate(("a", 2, None), ("b", 2, 8)),
        candidate(("a", 2, None)),
        candidate(("a", 2, None), ("b", 1, 8), combine="labels"),
    ):
        assert one.key != other.key
    assert one.weighted({"a": 0, "b": 3}).names == ("b",)


def test_a_candidate_is_that_of_an_ensemble_with_its_whitening(workspace: Workspace) -> None:
    near, far = ensemble(workspace, NOISE).members
    members = [replace(near, whiten=4), replace(far, weight=2.0)]
    found = Candidate.of_members(members, EnsembleOptions(whiten=8))
    assert found == candidate(("near", 1, 4), ("far", 2, 8))
    assert found.options.whiten is None
    assert found.summary == "1 near whitened to 4, 2 far whitened to 8"


def test_mistakes_are_one_sentence(workspace: Workspace) -> None:
    fold = ensemble(workspace, NOISE)
    with pytest.raises(KitboxError, match=r"no member nearr here; did you mean near\?"):
        finish(Evaluator([fold]).evaluate(candidate(("nearr", 1, None))))
    with pytest.raises(KitboxError, match=r"no metric map_at_7; did you mean map_at_5\?"):
        finish(Evaluator([fold], kept=["map_at_7"]).evaluate(candidate(("near", 1, None))))
    with pytest.raises(KitboxError, match="plugin a is named twice"):
        candidate(("a", 1, None), ("a", 1, None))
    with pytest.raises(KitboxError, match="an ensemble needs a plugin"):
        candidate()


def test_drafts_match_no_pairs_beyond_those_matched_ahead(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold, calls = ensemble(workspace, NOISE), record_matches(monkeypatch)
    evaluator = Evaluator([fold])
    both = candidate(("near", 1, None), ("far", 1, None), match=("sift:shortlist=2",))
    far = candidate(("far", 1, None), match=("sift:shortlist=2",))
    counts = finish(evaluator.match_ahead([both]))[1]
    assert counts == [60]  # 30 queries, which are in no gallery
    [ahead] = calls
    assert len(ahead) == 60

    draft = finish(evaluator.evaluate(far, draft=True))[1]
    asked = calls.pop()
    assert asked < ahead
    whole = finish(evaluator.evaluate(far))[1]
    assert asked < calls[-1]
    assert len(calls.pop()) == 60
    assert draft["map_at_5"].value != whole["map_at_5"].value
    # the draft is the candidate with those pairs alone; all others keep their global similarity
    held = replace(
        fold, members=fold.members[1:], options=far.options, match_only=evaluator._match_only[0]
    )
    again = finish(answers.score(held))[1].score.outcomes["map_at_5"]
    assert np.array_equal(draft["map_at_5"].per_query, again.per_query)

    # what was matched ahead first has no other draft, and what was matched later has
    finish(evaluator.evaluate(both, draft=True))
    done = evaluator.evaluations
    finish(evaluator.evaluate(both))
    assert evaluator.evaluations == done
    finish(evaluator.match_ahead([far]))
    assert finish(evaluator.evaluate(far, draft=True))[1] is draft


def test_without_matches_a_draft_is_the_candidate(workspace: Workspace) -> None:
    evaluator = Evaluator([ensemble(workspace, NOISE)])
    near = candidate(("near", 1, None))
    assert finish(evaluator.match_ahead([near]))[1] == [0]
    found = finish(evaluator.evaluate(near, draft=True))[1]
    assert finish(evaluator.evaluate(near))[1] is found
