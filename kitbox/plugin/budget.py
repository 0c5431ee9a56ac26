"""The same budget for different plugins: epochs, or minutes of training."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from kitbox.errors import KitboxError
from kitbox.plugin.phases import Multistep, Stage, Swa
from kitbox.plugin.settings import Plugin
from kitbox.plugin.wording import as_name
from kitbox.value import explain


@dataclass(frozen=True)
class Budget:
    """How long each plugin trains: `epochs`, or as many as fit into `minutes`; or its own."""

    epochs: int | None = None
    minutes: float | None = None

    @property
    def part(self) -> str | None:
        """What a plugin's name says of it."""
        if self.minutes is not None:
            return f"minutes_{as_name(float(self.minutes))}"
        return None if self.epochs is None else f"epochs_{self.epochs}"

    @property
    def sentence(self) -> str:
        """What a plugin's docstring says of it."""
        if self.minutes is not None:
            minutes = as_name(float(self.minutes))
            return f"Budget: as many epochs as fit into {minutes} minutes, by a few timed steps"
        if self.epochs is None:
            return "Budget: its own epochs"
        return f"Budget: {self.epochs} epoch{'s' if self.epochs > 1 else ''}"


def lasting(plugin: Plugin, epochs: int) -> Plugin:
    """Return a plugin whose course is drawn out, or pressed together, to so many epochs.

    Whatever counts in epochs keeps its share: warm-up, stages, milestones, averaging, ramps of
    margins, the last phases of divide and conquer. Raises KitboxError where it has no room.
    """
    if epochs == plugin.epochs:
        return plugin
    share = epochs / plugin.epochs if plugin.epochs else 1.0
    changes: dict[str, Any] = {
        "epochs": epochs,
        "warmup_epochs": min(round(plugin.warmup_epochs * share, 4), epochs),
        "losses": tuple(_ramped(loss, share) for loss in plugin.losses),
    }
    if plugin.stages:
        changes["stages"] = _stages(plugin.stages, epochs)
    if isinstance(plugin.schedule, Multistep):
        changes["schedule"] = _multistep(plugin.schedule, share, epochs)
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
    """Return a plugin with other settings, checked; raises KitboxError that explains a mistake."""
    settings = {name: getattr(plugin, name) for name in Plugin.model_fields}
    try:
        return Plugin.model_validate(settings | changes)
    except ValidationError as error:
        raise KitboxError(explain(error)) from error


def _ramped(loss: Any, share: float) -> Any:
    ramp = getattr(loss, "ramp", None)
    if ramp is None:
        return loss
    return loss.model_copy(
        update={"ramp": ramp.model_copy(update={"epochs": round(ramp.epochs * share, 4)})}
    )


def _stages(stages: tuple[Stage, ...], epochs: int) -> tuple[Stage, ...]:
    """Return stages of so many epochs in all, each with its share and at least one."""
    if epochs < len(stages):
        raise KitboxError(
            f"{len(stages)} stages do not fit into {epochs} epochs; give it {len(stages)} or more"
        )
    total = sum(stage.epochs for stage in stages)
    ends: list[int] = []
    done = 0
    for number, stage in enumerate(stages, 1):
        done += stage.epochs
        room = epochs - (len(stages) - number)  # an epoch for each that is to come
        ends.append(max((ends[-1] if ends else 0) + 1, min(room, round(done * epochs / total))))
    return tuple(
        stage.model_copy(update={"epochs": end - begin})
        for stage, begin, end in zip(stages, [0, *ends], ends, strict=False)
    )


def _multistep(schedule: Multistep, share: float, epochs: int) -> Multistep:
    milestones = tuple(max(1, round(at * share)) for at in schedule.milestones)
    if len({*milestones}) < len(milestones) or milestones[-1] >= epochs:
        raise KitboxError(
            f"milestones = {schedule.milestones} do not fit into {epochs} epochs; "
            "give it more, or another schedule"
        )
    return schedule.model_copy(update={"milestones": milestones})
