from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.errors import KitboxError
from kitbox.plugin.losses import ArcFace, Ramp
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.samplers import Divide
from kitbox.plugin.schedules import Multistep, Phase, Swa
from kitbox.plugin.variants import Budget, scale_epochs


def plugin(**settings: Any) -> Plugin:
    given = {"backbone": "resnet10t", "image_size": 64, "epochs": 10, "embedding_dim": 64}
    return Plugin.model_validate(given | settings)


def test_scaling_to_the_same_epochs_changes_nothing() -> None:
    assert scale_epochs(plugin(), 10) == plugin()


def test_half_the_epochs_halve_every_setting_in_epochs() -> None:
    whole = plugin(
        warmup_epochs=2,
        losses=[ArcFace(ramp=Ramp(epochs=4))],
        schedule=Multistep(milestones=(4, 8)),
        averaging=Swa(from_epoch=6),
        divide=Divide(whole_from=8, undivided_from=10),
    )
    half = scale_epochs(whole, 5)
    assert (half.epochs, half.warmup_epochs) == (5, 1)
    assert half.losses == (ArcFace(ramp=Ramp(epochs=2)),)
    assert half.schedule == Multistep(milestones=(2, 4))
    assert half.averaging == Swa(from_epoch=3)
    assert half.divide == Divide(whole_from=4, undivided_from=5)


def test_a_frozen_plugin_can_be_scaled_to_some_epochs() -> None:
    assert scale_epochs(plugin(epochs=0), 3).warmup_epochs == 1


def test_phases_keep_their_shares() -> None:
    phases = [Phase(epochs=2, frozen_backbone=True), Phase(epochs=8, image_size=96)]
    found = scale_epochs(plugin(phases=phases), 5).phases
    assert found == (Phase(epochs=1, frozen_backbone=True), Phase(epochs=4, image_size=96))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(1, 60))
def test_scaled_phases_are_complete_and_add_up(lengths: list[int], epochs: int) -> None:
    whole = plugin(epochs=sum(lengths), phases=[Phase(epochs=n) for n in lengths], warmup_epochs=0)
    if epochs < len(lengths):
        with pytest.raises(KitboxError, match="phases do not fit into"):
            scale_epochs(whole, epochs)
        return
    found = [phase.epochs for phase in scale_epochs(whole, epochs).phases]
    assert len(found) == len(lengths)
    assert sum(found) == epochs
    assert min(found) >= 1


def test_milestones_that_do_not_fit_are_refused() -> None:
    whole = plugin(schedule=Multistep(milestones=(8, 9)))
    with pytest.raises(KitboxError) as caught:
        scale_epochs(whole, 2)
    assert str(caught.value) == (
        "milestones = (8, 9) do not fit into 2 epochs; give it more, or another schedule"
    )


@pytest.mark.parametrize(
    ("budget", "part", "sentence"),
    [
        (Budget(), None, "Budget: its own epochs"),
        (Budget(epochs=1), "epochs_1", "Budget: 1 epoch"),
        (Budget(epochs=3), "epochs_3", "Budget: 3 epochs"),
        (
            Budget(minutes=10),
            "minutes_10",
            "Budget: as many epochs as fit into 10 minutes, by a few timed steps",
        ),
        (Budget(minutes=0.5), "minutes_0.5", "Budget: as many epochs as fit into 0.5 minutes"),
    ],
)
def test_a_budget_in_names_and_sentences(budget: Budget, part: str | None, sentence: str) -> None:
    assert budget.part == part
    assert budget.sentence.startswith(sentence)
