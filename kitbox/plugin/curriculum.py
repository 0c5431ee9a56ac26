"""The phases of a training with their epochs and all their settings filled in."""

from dataclasses import dataclass

from kitbox.plugin.plugin import Plugin
from kitbox.plugin.schedules import Phase, side_lengths


@dataclass(frozen=True, kw_only=True)
class CurriculumPhase:
    """A phase of epochs `first_epoch` to `last_epoch`, counted from 1, with its settings.

    `image_size` is (height, width) in pixels. `rate` multiplies the learning rates.
    """

    first_epoch: int
    last_epoch: int
    image_size: tuple[int, int]
    frozen_backbone: bool
    rate: float
    min_images_per_label: int


def phases(plugin: Plugin) -> tuple[CurriculumPhase, ...]:
    """Return the phases in order; settings that a phase leaves out are the plugin's.

    A plugin without phases has one phase of all its epochs; without epochs it has none.
    """
    found: list[CurriculumPhase] = []
    last = 0
    for phase in plugin.phases or _single_phase(plugin):
        first, last = last + 1, last + phase.epochs
        found.append(_with_plugin_settings(phase, plugin, first, last))
    return tuple(found)


def phase_at(plugin: Plugin, epoch: int) -> CurriculumPhase:
    """Return the phase that an epoch belongs to; epochs count from 1."""
    (phase,) = [each for each in phases(plugin) if each.first_epoch <= epoch <= each.last_epoch]
    return phase


def _single_phase(plugin: Plugin) -> tuple[Phase, ...]:
    return (Phase(epochs=plugin.epochs),) if plugin.epochs else ()


def _with_plugin_settings(phase: Phase, plugin: Plugin, first: int, last: int) -> CurriculumPhase:
    return CurriculumPhase(
        first_epoch=first,
        last_epoch=last,
        image_size=side_lengths(phase.image_size or plugin.image_size),
        frozen_backbone=phase.frozen_backbone,
        rate=phase.rate,
        min_images_per_label=phase.min_images_per_label or plugin.min_images_per_label,
    )
