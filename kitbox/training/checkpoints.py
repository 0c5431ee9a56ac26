"""Scores a network where its time has come, and keeps the checkpoints of its run."""

import io
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.optim import Optimizer

from kitbox.files import write_bytes
from kitbox.network.checkpoint import Origin, save_checkpoint
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin import curriculum
from kitbox.records import Progress
from kitbox.samplers.batch_samplers import Planner
from kitbox.samplers.planner import BatchSampler
from kitbox.training import evaluation, optimizer
from kitbox.training.context import Training
from kitbox.training.events import HoldoutScored
from kitbox.training.optimizer import AveragedWeights
from kitbox.training.runs import Run


@dataclass
class State:
    """The parts of a training that change as it goes on; `best` is its best holdout score."""

    trained: TrainedNetwork
    optimizer: Optimizer
    averaged: AveragedWeights | None
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


# Batches from which averaged weights get the statistics of their batch normalisation.
_REFRESHING = 50


@dataclass(frozen=True)
class Keeper:
    """Scores and saves the network of a training, or the average of its weights if it has one."""

    training: Training
    state: State

    def after_epoch(self, asked: BatchSampler) -> Generator[Progress | HoldoutScored, None, None]:
        """Score the network where the plugin says so, and keep it after the last epoch.

        `asked` is what was learnt in the epoch.
        """
        training, state, epoch = self.training, self.state, asked.epoch
        ends = epoch == training.plugin.epochs
        due = epoch % training.plugin.score_every == 0 or ends
        scores = due and training.options.on == "holdout"
        if state.averaged is not None:
            state.averaged.after_epoch(state.trained, epoch)
        if not (scores or ends):
            return
        judged = self._averaged(asked) if training.first else state.trained
        if scores:
            yield from self.score(judged, epoch)
        if ends:
            self.save(judged, training.run.last, epoch)

    def score(
        self, judged: TrainedNetwork, epoch: int
    ) -> Generator[Progress | HoldoutScored, None, None]:
        """Score the holdout in the first process; keep a network that is the best so far."""
        training, state = self.training, self.state
        if training.first:
            scores = yield from evaluation.score(training, judged.network, frozen=epoch == 0)
            better = epoch > 0 and scores.main.value > state.best
            if better:
                state.best = scores.main.value
                self.save(judged, training.run.best, epoch)
            training.run.log("score", epoch=epoch, best=better, scores=scores.as_json())
            yield HoldoutScored(epoch, scores, better)
        training.fabric.barrier()

    def save(self, judged: TrainedNetwork, path: Path, epoch: int) -> None:
        """Write the checkpoint of a network with what it was made of, in the first process."""
        training, causes = self.training, self.training.causes
        if not training.first:
            return
        origin = Origin(
            plugin=training.name,
            settings=training.plugin.model_dump(mode="json"),
            fingerprint=training.plugin.fingerprint,
            labels=tuple(str(label) for label in training.lessons.label_map),
            epoch=epoch,
            on=causes.on,
            data=causes.data,
            weights=causes.weights,
            seed=causes.seed,
            precision=causes.precision,
            pseudo=causes.pseudo,
            pseudo_round=training.lessons.pseudo_round,
            init_from=training.start.plugin,
            earlier=training.start.learned_labels,
        )
        save_checkpoint(path, judged, origin)

    def _averaged(self, asked: BatchSampler) -> TrainedNetwork:
        """Return the network with averaged weights and statistics that belong to them."""
        training, state = self.training, self.state
        model = None if state.averaged is None else state.averaged.model
        if model is None:
            return state.trained
        items = BatchSampler(training.lessons.images.image_ids, training.seed)
        items.batches, items.epoch = asked.batches[:_REFRESHING], asked.epoch
        phase = curriculum.phase_at(training.plugin, asked.epoch)
        model.network.backbone_is_frozen = phase.frozen_backbone  # then its norms are too
        pixels = (pixels for pixels, _ in training.lesson_loader(phase.image_size, items))
        optimizer.refresh_batch_norms(model.network, pixels, training.device, training.precision)
        return model
