"""The learning rate at every step: linear warm-up, then half a cosine down to the final rate."""

import math
import warnings
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from warmup_scheduler import GradualWarmupScheduler


def factor(step: int, total: int, warmup: int, final: float) -> float:
    """Return the rate at a step as a share of the peak rate: the closed form.

    Steps count from 0. Step t < warmup has (t + 1) / warmup, so the first is above 0 and step
    warmup − 1 is the peak; the last step, total − 1, has `final`.
    """
    if step < warmup:
        return (step + 1) / warmup
    peak = max(warmup - 1, 0)
    share = (step - peak) / max(total - 1 - peak, 1)
    return final + (1 - final) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


class Schedule:
    """Sets every parameter group's rate, step by step, from the group's peak rate.

    The warm-up is warmup-scheduler's. That library starts at rate 0, so it is set one step ahead;
    and its hand-over to a cosine overshoots the peak, so the cosine is torch's LambdaLR over the
    closed form. A resumed schedule is rebuilt and stepped to where it was.
    """

    def __init__(
        self, optimizer: Optimizer, *, total: int, warmup: int, final: float, done: int = 0
    ) -> None:
        """Begin at step `done` of `total`; the optimizer's rates are the peaks."""
        self._optimizer, self._total = optimizer, total
        self._warmup, self._final = min(warmup, total), final
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"] = group.get("initial_lr", group["lr"])
        self._step = 0
        self._scheduler: Any = None
        self._begin()
        for _ in range(done):
            self.step()

    def step(self) -> None:
        """Go on to the next step's rates."""
        self._step += 1
        with warnings.catch_warnings():
            # torch wants optimizer.step() first; a resumed schedule has none to replay
            warnings.filterwarnings("ignore", message="Detected call of")
            if self._step == self._warmup:
                self._begin_cosine()
            self._scheduler.step()

    def _begin(self) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected call of")
            if self._warmup:
                self._scheduler = GradualWarmupScheduler(
                    self._optimizer, multiplier=1, total_epoch=self._warmup
                )
                self._scheduler.step()
            else:
                self._begin_cosine()
                self._scheduler.step()

    def _begin_cosine(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        begun = self._step
        self._scheduler = LambdaLR(
            self._optimizer,
            lambda epoch: (
                factor(begun + epoch - 1, self._total, self._warmup, self._final) if epoch else 1.0
            ),
        )
