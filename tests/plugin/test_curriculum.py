"""Phases: the epochs they cover and their settings."""

import pytest

from kitbox.plugin.curriculum import CurriculumPhase, phase_at, phases
from kitbox.plugin.schedules import Phase
from tests.photographs import tiny

PHASED = tiny(
    image_size=(32, 64),
    epochs=6,
    min_images_per_label=2,
    phases=(
        Phase(epochs=1, image_size=(16, 32), frozen_backbone=True, min_images_per_label=10),
        Phase(epochs=3, image_size=24, min_images_per_label=1),
        Phase(epochs=2, rate=0.1),
    ),
)


def test_phases_follow_each_other_and_inherit_from_the_plugin() -> None:
    first, second, third = phases(PHASED)
    assert first == CurriculumPhase(
        first_epoch=1,
        last_epoch=1,
        image_size=(16, 32),
        frozen_backbone=True,
        rate=1.0,
        min_images_per_label=10,
    )
    assert second == CurriculumPhase(
        first_epoch=2,
        last_epoch=4,
        image_size=(24, 24),
        frozen_backbone=False,
        rate=1.0,
        min_images_per_label=1,
    )
    assert third == CurriculumPhase(
        first_epoch=5,
        last_epoch=6,
        image_size=(32, 64),
        frozen_backbone=False,
        rate=0.1,
        min_images_per_label=2,
    )


def test_a_plugin_without_phases_has_one_phase() -> None:
    [only] = phases(tiny(image_size=48, epochs=5, min_images_per_label=3))
    assert only == CurriculumPhase(
        first_epoch=1,
        last_epoch=5,
        image_size=(48, 48),
        frozen_backbone=False,
        rate=1.0,
        min_images_per_label=3,
    )


def test_a_plugin_without_epochs_has_no_phase() -> None:
    assert phases(tiny(epochs=0, warmup_epochs=0)) == ()


@pytest.mark.parametrize(("epoch", "number"), [(1, 0), (2, 1), (4, 1), (5, 2), (6, 2)])
def test_an_epoch_is_in_the_phase_that_covers_it(epoch: int, number: int) -> None:
    assert phase_at(PHASED, epoch) == phases(PHASED)[number]


@pytest.mark.parametrize("epoch", [0, 7])
def test_an_epoch_outside_the_training_has_no_phase(epoch: int) -> None:
    with pytest.raises(ValueError, match="unpack"):
        phase_at(PHASED, epoch)
