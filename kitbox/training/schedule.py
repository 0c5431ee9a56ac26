"""The learning rate at every step: linear warm-up, then what the plugin's schedule says."""

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


def warmup_steps(plugin: Plugin, steps: Sequence[int]) -> int:
    """Return how many steps the warm-up has, given the optimiser's `steps` of each epoch.

    Of the epoch in whose midst it ends, its share of the steps, rounded.
    """
    whole = int(plugin.warmup_epochs)
    length = steps[min(whole, len(steps) - 1)]
    # first as if all epochs were as long as that one: rounded so, epochs of one length have
    # the steps that they always had
    return round(plugin.warmup_epochs * length) + sum(steps[:whole]) - whole * length


def rate_factor(plugin: Plugin, steps: Sequence[int], step: int) -> float:
    """Return the rate at a step as a share of the peak rate: the closed form.

    Steps count from 0, through all epochs. Step t < warm-up has (t + 1) / warm-up, so the first is
    above 0 and the last of the warm-up is the peak. After it come half cosines, the last of which
    ends with the final rate at the last step; or the peak times `factor` for each milestone that is
    past, not below the final rate. The rate of the stage of the step's epoch multiplies it.
    """
    warmup = warmup_steps(plugin, steps)
    share = (step + 1) / warmup if step < warmup else _falling(plugin, steps, step)
    return share * _stage_rates(plugin)[_epoch(steps, step) - 1]


def _falling(plugin: Plugin, steps: Sequence[int], step: int) -> float:
    """Return the share of the peak rate at a step after the warm-up, whatever the stage."""
    final = plugin.final_learning_rate / plugin.learning_rate
    peak = max(warmup_steps(plugin, steps) - 1, 0)  # cosines fall from the warm-up's last step
    match plugin.schedule:
        case Cosine():
            return _cosines(step - peak, sum(steps) - peak, 1, final)
        case Restarts(cycles=cycles):
            return _cosines(step - peak, sum(steps) - peak, cycles, final)
        case Multistep(milestones=milestones, factor=fall):
            past = sum(milestone < _epoch(steps, step) for milestone in milestones)
            return max(fall**past, final)
        case _:
            assert_never(plugin.schedule)


def _stage_rates(plugin: Plugin) -> list[float]:
    """Return by what the stages multiply the learning rates in each epoch."""
    found = []
    for phase in curriculum.phases(plugin):
        found += [phase.rate] * (phase.last_epoch - phase.first_epoch + 1)
    return found


def _epoch(steps: Sequence[int], step: int) -> int:
    """Return the epoch of a step, from 1; the last one for the steps after it."""
    return min(bisect_right(list(accumulate(steps)), step) + 1, len(steps))


def _cosines(step: int, total: int, cycles: int, final: float) -> float:
    """Return half a cosine, from 1 at the first step of each cycle to `final` at its last one.

    The cycles share `total` steps; where these do not divide, some have one more than others.
    """
    if step >= total:
        return final
    cycle = ((step + 1) * cycles - 1) // total  # the last that begins at or before the step
    begin, end = cycle * total // cycles, (cycle + 1) * total // cycles
    share = (step - begin) / max(end - begin - 1, 1)
    return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2


class LearningRateSchedule:
    """Sets every parameter group's rate, step by step, from the group's peak rate.

    The warm-up is warmup-scheduler's. That library starts at rate 0, so it is set one step ahead;
    and its hand-over to a cosine overshoots the peak, so what follows is torch's LambdaLR over
    the closed form. A resumed schedule has the rates of one that was never left.
    """

    def __init__(
        self, optimizer: Optimizer, plugin: Plugin, steps: Sequence[int], done: int = 0
    ) -> None:
        """Begin after `done` steps of the optimiser, of the `steps` that each epoch has of them.

        The optimizer's rates are the peaks.
        """
        self._optimizer, self._plugin, self._steps = optimizer, plugin, tuple(steps)
        self._warmup = warmup_steps(plugin, steps)
        self._stage_rates = _stage_rates(plugin)
        self._step = done
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"])
        self._scheduler = self._warm_up() if done < self._warmup else self._fall()
        self._obey_stage()

    def step(self) -> None:
        """Go on to the next step's rates."""
        self._step += 1
        if self._step == self._warmup:
            self._scheduler = self._fall()
        else:
            _advance(self._scheduler)
        self._obey_stage()

    def _warm_up(self) -> Any:
        scheduler = GradualWarmupScheduler(self._optimizer, multiplier=1, total_epoch=self._warmup)
        for _ in range(self._step + 1):
            _advance(scheduler)
        return scheduler

    def _fall(self) -> Any:
        begun = self._step
        return LambdaLR(
            self._optimizer, lambda after: _falling(self._plugin, self._steps, begun + after)
        )

    def _obey_stage(self) -> None:
        rate = self._stage_rates[_epoch(self._steps, self._step) - 1]
        for group in self._optimizer.param_groups:
            group["lr"] *= rate


def _advance(scheduler: Any) -> None:
    with warnings.catch_warnings():
        # torch wants optimizer.step() first; a resumed schedule has none to replay
        warnings.filterwarnings("ignore", message="Detected call of")
        scheduler.step()
