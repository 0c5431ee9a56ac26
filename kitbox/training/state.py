"""What a training is between two epochs: all that the next one follows from, kept on disk."""

import io
from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from kitbox.files import write_bytes
from kitbox.network.heads import TrainedNetwork
from kitbox.training.averaging import Averaged
from kitbox.training.batches import Planner
from kitbox.training.runs import Run


@dataclass
class State:
    """The parts of a training that change as it goes on; `best` is its best holdout score."""

    trained: TrainedNetwork
    optimizer: Optimizer
    averaged: Averaged | None
    planner: Planner
    best: float = -1.0

    def save(self, run: Run, epoch: int) -> None:
        """Write the state after an epoch, whole or not at all."""
        state = {
            "trained": self.trained.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "planner": self.planner.state(),
            "epoch": epoch,
            "best": self.best,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(run.state, buffer.getvalue())

    def restore(self, run: Run) -> int:
        """Take back the state of the last finished epoch, if there is one; return that epoch."""
        if not run.state.exists():
            return 0
        state = torch.load(run.state, map_location="cpu", weights_only=True)
        self.trained.load_state_dict(state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.planner.restore(state.get("planner", {}))
        self.best = state["best"]
        return int(state["epoch"])
