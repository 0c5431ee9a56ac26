"""The learning rate at every step: a linear warm-up, then the plugin's schedule."""

import math
import warnings
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, assert_never

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from warmup_scheduler import GradualWarmupScheduler

from kitbox.plugin import curriculum
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.schedules import Cosine, Multistep, Restarts


class LearningRateSchedule:
    """Sets the rate of every parameter group, step by step, relative to the group's peak rate.

    The warm-up is warmup-scheduler's. That library starts at rate 0, so it runs one step ahead;
    its transition to a cosine overshoots the peak, so torch's LambdaLR takes over from there, with
    the closed form. A resumed schedule sets the same rates as an uninterrupted one.
    """

    def __init__(
        self, optimizer: Optimizer, plugin: Plugin, steps: Sequence[int], done: int = 0
    ) -> None:
        """Start after `done` steps of the optimiser; `steps` are the steps of each epoch.

        The optimiser's initial rates are the peaks.
        """
        self._optimizer, self._plugin, self._steps = optimizer, plugin, tuple(steps)
        self._warmup = warmup_steps(plugin, steps)
        self._phase_rates = _phase_rates(plugin)
        self._step = done
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"])
        self._scheduler = self._start_warmup() if done < self._warmup else self._start_decay()
        self._apply_phase_rate()

    def step(self) -> None:
        """Set the next step's rates."""
        self._step += 1
        if self._step == self._warmup:
            self._scheduler = self._start_decay()
        else:
            _advance(self._scheduler)
        self._apply_phase_rate()

    def _start_warmup(self) -> Any:
        scheduler = GradualWarmupScheduler(self._optimizer, multiplier=1, total_epoch=self._warmup)
        for _ in range(self._step + 1):
            _advance(scheduler)
        return scheduler

    def _start_decay(self) -> Any:
        start = self._step
        return LambdaLR(
            self._optimizer, lambda after: _decay(self._plugin, self._steps, start + after)
        )

    def _apply_phase_rate(self) -> None:
        rate = self._phase_rates[_epoch(self._steps, self._step) - 1]
        for group in self._optimizer.param_groups:
            group["lr"] *= rate


def _advance(scheduler: Any) -> None:
    with warnings.catch_warnings():
        # torch expects optimizer.step() first, which a resumed schedule has not called yet
        warnings.filterwarnings("ignore", message="Detected call of")
        scheduler.step()


def rate_factor(plugin: Plugin, steps: Sequence[int], step: int) -> float:
    """Return the learning rate at a step as a share of the peak rate, in closed form.

    Steps count from 0 over all epochs. In the warm-up, step t has (t + 1) / warm-up: the first is
    above 0, the last is the peak. Then follow half cosines, the last of which reaches the final
    rate at the last step; or steps, each `factor` times the rate before, down to the final rate.
    The rate of the phase multiplies all of it.
    """
    warmup = warmup_steps(plugin, steps)
    share = (step + 1) / warmup if step < warmup else _decay(plugin, steps, step)
    return share * _phase_rates(plugin)[_epoch(steps, step) - 1]


def warmup_steps(plugin: Plugin, steps: Sequence[int]) -> int:
    """Return the number of warm-up steps, given the optimiser's `steps` of each epoch.

    If the warm-up ends within an epoch, it takes its share of that epoch's steps, rounded.
    """
    whole = int(plugin.warmup_epochs)
    length = steps[min(whole, len(steps) - 1)]
    # all epochs at this length are rounded together, then corrected by the lengths of the others
    return round(plugin.warmup_epochs * length) + sum(steps[:whole]) - whole * length


def _decay(plugin: Plugin, steps: Sequence[int], step: int) -> float:
    """Return the share of the peak rate at a step after the warm-up, before the phase's rate."""
    final = plugin.final_learning_rate / plugin.learning_rate
    peak = max(warmup_steps(plugin, steps) - 1, 0)  # cosines start at the warm-up's last step
    match plugin.schedule:
        case Cosine():
            return _cosine(step - peak, sum(steps) - peak, 1, final)
        case Restarts(cycles=cycles):
            return _cosine(step - peak, sum(steps) - peak, cycles, final)
        case Multistep(milestones=milestones, factor=factor):
            past = sum(milestone < _epoch(steps, step) for milestone in milestones)
            return max(factor**past, final)
        case _:
            assert_never(plugin.schedule)


def _cosine(step: int, total: int, cycles: int, final: float) -> float:
    """Return half a cosine, from 1 at the first step of each cycle to `final` at its last.

    The cycles share `total` steps; if these do not divide evenly, some have one step more.
    """
    if step >= total:
        return final
    cycle = ((step + 1) * cycles - 1) // total  # the last one that starts at or before the step
    start, end = cycle * total // cycles, (cycle + 1) * total // cycles
    share = (step - start) / max(end - start - 1, 1)
    return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2


def _phase_rates(plugin: Plugin) -> list[float]:
    """Return the factor of each epoch's learning rates that its phase sets."""
    rates = []
    for phase in curriculum.phases(plugin):
        rates += [phase.rate] * (phase.last_epoch - phase.first_epoch + 1)
    return rates


def _epoch(steps: Sequence[int], step: int) -> int:
    """Return the epoch of a step, from 1; the last epoch for any later step."""
    return min(bisect_right(list(accumulate(steps)), step) + 1, len(steps))
