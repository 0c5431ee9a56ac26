from typing import Any

import pytest

from kitbox.competition.settings import Competition
from kitbox.ensemble.ensemble import EnsembleOptions
from kitbox.errors import KitboxError
from tests.circle import competition

IMAGES = competition(answers="images")


@pytest.mark.parametrize(
    ("options", "task", "message"),
    [
        (
            EnsembleOptions(combine="labels"),
            IMAGES,
            "--combine labels ranks labels; toy asks for images, so leave it out",
        ),
        (
            EnsembleOptions(combine="classifier"),
            IMAGES,
            "--combine classifier ranks labels; toy asks for images, ",
        ),
        (
            EnsembleOptions(dims=8),
            competition(),
            "--dims 8 is the classifier's; add --combine classifier",
        ),
        (
            EnsembleOptions(unknown="learned"),
            competition(unknown_label=None),
            "--new-label learned: toy answers no query with an unknown label; leave it out",
        ),
        (
            EnsembleOptions(unknown="learned"),
            IMAGES,
            "--new-label learned: toy answers no query with ",
        ),
        (
            EnsembleOptions(unknown="learned"),
            competition(threshold={"rule": "fixed", "similarity": 0.4}),
            "--new-label learned cuts at a probability, not at a fixed similarity; "
            "add --threshold best, or a share as --threshold 16.5%",
        ),
        (
            EnsembleOptions(combine="classifier"),
            competition(threshold={"rule": "fixed", "similarity": 0.4}),
            "--combine classifier ranks by probability, not by similarity; "
            "add --threshold best, or a share as --threshold 16.5%",
        ),
        (
            EnsembleOptions(combine="classifier", rerank=("dba",)),
            competition(),
            "--rerank changes similarities, and --combine classifier ranks by probability; "
            "leave one of them out",
        ),
        (
            EnsembleOptions(rerank=("dba", "subtraction")),
            competition(),
            "the re-ranking step subtraction needs images that surely show nobody who is searched "
            "for, and the gallery of toy holds the labelled images; leave it out",
        ),
        (
            EnsembleOptions(unknown="learned"),
            competition(answers="label", k=1),
            "--new-label learned cuts at a probability of one half, which is best for the mean "
            "of 1 / rank and not for baks_baus; add --threshold balanced, or a share as ",
        ),
        (
            EnsembleOptions(balance="assignment"),
            IMAGES,
            "--balance assignment:most=1 shares queries out among labels; toy asks for images, so "
            "leave it out",
        ),
        (
            EnsembleOptions(balance="sizes"),
            competition(answers="pairs", gallery="test"),
            "--balance sizes:like=train shares queries out among labels; toy asks for pairs, ",
        ),
        (
            EnsembleOptions(balance="each_label"),
            competition(threshold={"rule": "fixed", "similarity": 0.4}),
            "--balance each_label:within=0.1 changes similarities, for which a fixed threshold was "
            "not meant; add --threshold best, or a share as --threshold 16.5%",
        ),
    ],
)
def test_options_that_do_not_fit_the_competition_are_refused(
    options: EnsembleOptions, task: Competition, message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        options.check(task)
    assert str(caught.value).startswith(message)


FIXED = competition(threshold={"rule": "fixed", "similarity": 0.4})


@pytest.mark.parametrize(
    ("options", "task", "note"),
    [
        (
            EnsembleOptions(rerank=("dba",)),
            FIXED,
            "the fixed threshold 0.4 cuts similarities whose scale dba changes; unless it was "
            "chosen for them, add --threshold best, or a share as --threshold 16.5%",
        ),
        (
            EnsembleOptions(rerank=("dba", "k_reciprocal")),
            FIXED,
            "the fixed threshold 0.4 cuts similarities whose scale dba and k_reciprocal change; "
            "unless it was chosen for them, add --threshold best, or a share as --threshold 16.5%",
        ),
        (
            EnsembleOptions(rerank=("dba",), match=("sift",)),
            FIXED,
            "the fixed threshold 0.4 cuts fused probabilities, not the similarities of embeddings; "
            "unless it was chosen for them, add --threshold best, or a share as --threshold 16.5%",
        ),
        (EnsembleOptions(), FIXED, ""),
        (EnsembleOptions(match=("sift",)), competition(), ""),
        (EnsembleOptions(rerank=("dba",)), IMAGES, ""),
    ],
)
def test_a_fixed_threshold_on_another_scale_is_told(
    options: EnsembleOptions, task: Competition, note: str
) -> None:
    options.check(task)
    assert options.threshold_note(task) == note


@pytest.mark.parametrize("limit", [-0.2, 0.0, 1.0])
def test_a_fixed_threshold_that_no_probability_has_is_refused(limit: float) -> None:
    task = competition(threshold={"rule": "fixed", "similarity": limit})
    with pytest.raises(KitboxError) as caught:
        EnsembleOptions(fusion="logit").check(task)
    assert str(caught.value) == (
        f"a fixed threshold of {limit:g} cuts fused probabilities, which lie between 0 and 1; "
        "add --threshold best, or a share as --threshold 16.5%"
    )
    EnsembleOptions(rerank=("dba",)).check(task)


def test_steps_are_held_with_all_their_settings() -> None:
    options = EnsembleOptions(rerank=("dba", " k_reciprocal:k1=8"))
    assert options.rerank[0] == "dba:k=3,alpha=3"
    assert options.rerank[1].startswith("k_reciprocal:k1=8,k2=")
    assert options == EnsembleOptions(rerank=options.rerank)
    assert EnsembleOptions().method_json() == {
        "combine": "embeddings",
        "dims": None,
        "new_label": "threshold",
    }
    assert options.method_json()["rerank"] == list(options.rerank)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rerank": ("dbx",)}, "there is no re-ranking step 'dbx'; did you mean dba?"),
        ({"rerank": ("dba:k=0",)}, "the re-ranking step 'dba:k=0': k = 0 should be greater "),
        (
            {"rerank": ("k_reciprocal", "dba")},
            "the re-ranking step dba reads cosines, which k_reciprocal replaces; name dba first",
        ),
        ({"whiten": 1}, "--whiten 1: give 2 dimensions or more"),
    ],
)
def test_texts_that_are_no_stage_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        EnsembleOptions(**options)
    assert str(caught.value).startswith(message)


def test_options_that_fit_the_competition_pass() -> None:
    EnsembleOptions().check(IMAGES)
    EnsembleOptions(combine="classifier", dims=8, unknown="learned").check(competition())
    EnsembleOptions(combine="labels").check(competition(unknown_label=None))
    EnsembleOptions(balance="sinkhorn").check(competition())
    shared = {"rule": "share", "share": 0.3}
    EnsembleOptions(combine="classifier", unknown="learned").check(
        competition(answers="label", k=1, threshold=shared)
    )


def test_a_balance_is_kept_with_all_its_settings() -> None:
    options = EnsembleOptions(balance="sinkhorn:like=equal")
    assert options.balance == "sinkhorn:temperature=0.05,rounds=100,like=equal"
    assert options.method_json()["balance"] == options.balance
    assert not options.plain
    with pytest.raises(KitboxError, match="there is no balance 'fair'"):
        EnsembleOptions(balance="fair")
