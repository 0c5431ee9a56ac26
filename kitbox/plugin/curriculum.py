"""The epochs of a training in their stages, and what holds in each."""

from dataclasses import dataclass

from kitbox.plugin.plugin import Plugin
from kitbox.plugin.schedules import Stage, side_lengths


@dataclass(frozen=True)
class Phase:
    """Epochs `first_epoch` to `last_epoch`, counted from 1, and what holds in them.

    `image_size` is (height, width) in pixels; `rate` multiplies the learning rates.
    """

    first_epoch: int
    last_epoch: int
    image_size: tuple[int, int]
    frozen_backbone: bool
    rate: float
    min_images_per_label: int


def phases(plugin: Plugin) -> tuple[Phase, ...]:
    """Return the phases of all epochs in their order: one where a plugin has no stages.

    What a stage does not say is as the plugin says. Without epochs there are no phases.
    """
    found: list[Phase] = []
    last = 0
    for stage in plugin.stages or _whole(plugin):
        first, last = last + 1, last + stage.epochs
        found.append(_phase(plugin, stage, first, last))
    return tuple(found)


def at(plugin: Plugin, epoch: int) -> Phase:
    """Return the phase of an epoch, from 1 to the plugin's last one."""
    (phase,) = [each for each in phases(plugin) if each.first_epoch <= epoch <= each.last_epoch]
    return phase


def _whole(plugin: Plugin) -> tuple[Stage, ...]:
    return (Stage(epochs=plugin.epochs),) if plugin.epochs else ()


def _phase(plugin: Plugin, stage: Stage, first: int, last: int) -> Phase:
    return Phase(
        first,
        last,
        side_lengths(stage.image_size or plugin.image_size),
        stage.frozen_backbone,
        stage.rate,
        stage.min_images_per_label or plugin.min_images_per_label,
    )
