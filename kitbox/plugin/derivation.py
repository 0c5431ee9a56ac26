"""Plugins derived from another by changed settings, which their names hold.

"resnet34_620@epochs=2" is the plugin resnet34_620 with a training of two epochs. It needs no file:
its name says all of it, in receipts too. "resnet34_620@views=plain+flip" is the same network, which
looks at each image twice.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from kitbox.errors import KitboxError, did_you_mean
from kitbox.plugin import notation
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.schedules import Multistep, Phase, Swa
from kitbox.value import explain

_SIGN = "@"
# How a changed setting may be written in a name: a number, a word or a size.
_PLAIN = re.compile(r"[\w.+-]+", re.ASCII)
_VIEWS = re.compile(r"[\w.+:-]+", re.ASCII)


def split_name(name: str) -> tuple[str, dict[str, Any]]:
    """Return the base plugin's name and the changed settings of a name.

    Raises KitboxError for what is not written as NAME@setting=value,setting=value.
    """
    base, sign, text = name.partition(_SIGN)
    changes: dict[str, Any] = {}
    for part in text.split(",") if sign else ():
        setting, equals, value = part.partition("=")
        plain = _VIEWS if setting == "views" else _PLAIN
        if not base or not equals or not plain.fullmatch(value) or setting in changes:
            raise KitboxError(
                f"'{name}' is not a plugin's name with changed settings",
                fix="write it as resnet34_620@epochs=2,learning_rate=0.001",
            )
        if setting not in Plugin.model_fields:
            near = did_you_mean(setting, Plugin.model_fields)
            raise KitboxError(f"{name}: '{setting}' is not a setting of Plugin{near}")
        changes[setting] = (
            tuple(value.split("+")) if setting == "views" else notation.parse_value(value)
        )
    return base, changes


def join_name(base: str, changes: Mapping[str, Any]) -> str:
    """Return the name of a derived plugin: its settings in the order of Plugin's."""
    order = [setting for setting in Plugin.model_fields if setting in changes]
    parts = [f"{setting}={_text(changes[setting])}" for setting in order]
    return f"{base}{_SIGN}{','.join(parts)}" if parts else base


def derive(base: Plugin, changes: Mapping[str, Any]) -> Plugin:
    """Return a plugin with changed settings.

    Epochs stretch or shorten the whole training, and the final learning rate keeps its proportion
    to the learning rate. Raises KitboxError where the settings do not fit together.
    """
    settings = {name: value for name, value in changes.items() if name != "epochs"}
    rate = settings.get("learning_rate")
    if isinstance(rate, int | float) and "final_learning_rate" not in settings:
        settings["final_learning_rate"] = base.final_learning_rate * (rate / base.learning_rate)
    plugin = with_settings(base, settings) if settings else base
    epochs = changes.get("epochs", plugin.epochs)
    if isinstance(epochs, int) and epochs > 0:
        return scale_epochs(plugin, epochs)
    return with_settings(plugin, {"epochs": epochs, "warmup_epochs": 0.0})


def with_views(plugin: Plugin, views: Sequence[str]) -> Plugin:
    """Return the plugin with other views; raises KitboxError for one that there is not."""
    return with_settings(plugin, {"views": tuple(views)})


def name_with_views(name: str, views: Sequence[str]) -> str:
    """Return the name under which a plugin is found with these views."""
    return f"{name}{',' if _SIGN in name else _SIGN}views={'+'.join(views)}" if views else name


def _text(setting: Any) -> str:
    if isinstance(setting, tuple):
        return "x".join(map(str, setting))
    return str(setting)


def scale_epochs(plugin: Plugin, epochs: int) -> Plugin:
    """Return the plugin with its training stretched or shortened to a number of epochs.

    Everything that is counted in epochs keeps its share: warm-up, phases, milestones, averaging,
    ramps of margins, the last epochs of divide and conquer. Raises KitboxError if they do not fit.
    """
    if epochs == plugin.epochs:
        return plugin
    share = epochs / plugin.epochs if plugin.epochs else 1.0
    changes: dict[str, Any] = {
        "epochs": epochs,
        "warmup_epochs": min(round(plugin.warmup_epochs * share, 4), epochs),
        "losses": tuple(_scale_ramp(loss, share) for loss in plugin.losses),
    }
    if plugin.phases:
        changes["phases"] = _scale_phases(plugin.phases, epochs)
    if isinstance(plugin.schedule, Multistep):
        changes["schedule"] = _scale_milestones(plugin.schedule, share, epochs)
    if isinstance(plugin.averaging, Swa):
        begin = max(1, round(plugin.averaging.from_epoch * share))
        changes["averaging"] = plugin.averaging.model_copy(update={"from_epoch": begin})
    if plugin.divide is not None:
        late = {
            name: max(2, round(at * share))
            for name in ("whole_from", "undivided_from")
            if (at := getattr(plugin.divide, name)) is not None
        }
        changes["divide"] = plugin.divide.model_copy(update=late)
    return with_settings(plugin, changes)


def with_settings(plugin: Plugin, changes: dict[str, Any]) -> Plugin:
    """Return a plugin with changed settings; raises KitboxError where they are invalid."""
    settings = {name: getattr(plugin, name) for name in Plugin.model_fields}
    try:
        return Plugin.model_validate(settings | changes)
    except ValidationError as error:
        raise KitboxError(explain(error)) from error


def _scale_ramp(loss: Any, share: float) -> Any:
    ramp = getattr(loss, "ramp", None)
    if ramp is None:
        return loss
    return loss.model_copy(
        update={"ramp": ramp.model_copy(update={"epochs": round(ramp.epochs * share, 4)})}
    )


def _scale_phases(phases: tuple[Phase, ...], epochs: int) -> tuple[Phase, ...]:
    """Return the phases scaled to `epochs` in all, each with its share and at least one."""
    if epochs < len(phases):
        raise KitboxError(
            f"{len(phases)} phases do not fit into {epochs} epochs; give it {len(phases)} or more"
        )
    total = sum(phase.epochs for phase in phases)
    ends: list[int] = []
    done = 0
    for number, phase in enumerate(phases, 1):
        done += phase.epochs
        room = epochs - (len(phases) - number)  # leaves an epoch for each later phase
        ends.append(max((ends[-1] if ends else 0) + 1, min(room, round(done * epochs / total))))
    return tuple(
        phase.model_copy(update={"epochs": end - begin})
        for phase, begin, end in zip(phases, [0, *ends], ends, strict=False)
    )


def _scale_milestones(schedule: Multistep, share: float, epochs: int) -> Multistep:
    milestones = tuple(max(1, round(at * share)) for at in schedule.milestones)
    if len({*milestones}) < len(milestones) or milestones[-1] >= epochs:
        raise KitboxError(
            f"milestones = {schedule.milestones} do not fit into {epochs} epochs; "
            "give it more, or another schedule"
        )
    return schedule.model_copy(update={"milestones": milestones})
