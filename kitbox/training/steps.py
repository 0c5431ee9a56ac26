"""The steps of one epoch: forward, backward, and the optimiser after every few batches."""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kitbox.errors import KitboxError
from kitbox.training.planning import Asked
from kitbox.training.preparation import Training
from kitbox.training.reports import EpochDone, Step
from kitbox.training.schedule import Schedule
from kitbox.training.state import State

# A GPU is asked for the loss after so many steps: asking waits for all that it has still to do.
_ASKED = 10


@dataclass
class Sums:
    """Sums over the steps of an epoch, kept where the network is."""

    loss: Tensor | float = 0.0
    spread: Tensor | float = 0.0
    terms: dict[str, Tensor | float] = field(default_factory=dict)

    def add(self, loss: Tensor, terms: dict[str, Tensor], spread: Tensor | float) -> None:
        """Add what one step said."""
        self.loss = self.loss + loss.detach()
        self.spread = self.spread + spread
        for name, term in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + term.detach()


@dataclass
class Stepper:
    """Steps through the batches of an epoch.

    `module` and `optimizer` are as fabric wraps them, `steps` are the batches of every epoch.
    """

    training: Training
    state: State
    module: nn.Module
    optimizer: Any
    schedule: Schedule
    steps: Sequence[int]

    def run(self, epoch: int, asked: Asked, loader: Any) -> Generator[Step, None, EpochDone]:
        """Learn from each batch once; yield a Step for each and return the epoch's means.

        Raises KitboxError for a loss that is no number.
        """
        plugin, fabric, batches = self.training.plugin, self.training.fabric, asked.batches
        self.module.train()
        began, seen, rate, value = time.perf_counter(), 0, 0.0, 0.0
        sums = Sums()
        for step, (batch, (pixels, _)) in enumerate(zip(batches, loader, strict=True), 1):
            self.state.trained.set_epoch(epoch - 1 + (step - 1) / len(batches))
            last = step % plugin.accumulate == 0 or step == len(batches)
            with fabric.no_backward_sync(self.module, enabled=not last):
                loss, terms = self.module(
                    pixels.to(fabric.device, non_blocking=True),
                    torch.from_numpy(asked.labels(batch)).to(fabric.device),
                    batch.learner,
                )
                fabric.backward(loss / self._together(step, len(batches)))
            sums.add(loss, terms, self._spread())
            if self.training.device == "cpu" or step % _ASKED == 0:
                value = float(loss.detach())
                self._check(value, epoch, step)
            rate = self.optimizer.param_groups[0]["lr"]
            if last:
                self._advance()
            seen += len(batch)
            speed = seen / (time.perf_counter() - began)
            left = (len(batches) - step + sum(self.steps[epoch:])) * (seen / step) / speed
            yield Step(epoch, plugin.epochs, step, len(batches), value, rate, speed, left)
        count = len(batches)
        mean = float(sums.loss) / count
        self._check(mean, epoch, count)
        seconds = time.perf_counter() - began
        means = {name: float(total) / count for name, total in sums.terms.items()}
        told = {"spread": float(sums.spread) / count} if self._pairs else {}
        return EpochDone(epoch, mean, means, rate, seen / seconds, seconds, told)

    def _together(self, step: int, count: int) -> int:
        """Return how many batches the optimiser's step takes to which this batch belongs."""
        size = self.training.plugin.accumulate
        first = (step - 1) // size * size
        return min(size, count - first)

    def _advance(self) -> None:
        plugin, fabric = self.training.plugin, self.training.fabric
        if plugin.gradient_clip is not None:
            fabric.clip_gradients(
                self.module,
                self.optimizer,
                max_norm=plugin.gradient_clip,
                error_if_nonfinite=False,
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        if self.state.averaged is not None:
            self.state.averaged.after_step(self.state.trained)

    @property
    def _pairs(self) -> bool:
        return any(loss.needs_pairs for loss in self.training.plugin.losses)

    def _spread(self) -> Tensor | float:
        """Return the mean distance of two projections of the last batch, at unit length."""
        if not self._pairs:
            return 0.0
        projected = self.state.trained.network.last_projected.float()
        return nn.functional.pdist(nn.functional.normalize(projected)).mean()

    def _check(self, value: float, epoch: int, step: int) -> None:
        if value - value != 0:  # NaN and infinity alike
            raise KitboxError(
                f"the loss of {self.training.name} became {value} at epoch {epoch}, step {step}; "
                "lower learning_rate or gradient_clip, or train with --precision 32"
            )
