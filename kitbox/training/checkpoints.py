"""Evaluates on the holdout when due, saves checkpoints, and resumes an interrupted training."""

import io
from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from pickle import PickleError

import torch
from torch.optim import Optimizer

from kitbox.devices.class_shards import DividedWeights, is_divisible
from kitbox.errors import KitboxError
from kitbox.files import read_sealed, write_sealed
from kitbox.network.checkpoint import Origin, save_checkpoint
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin import curriculum
from kitbox.records import Progress
from kitbox.samplers.batch_samplers import Planner
from kitbox.samplers.planner import BatchSampler, build_planner
from kitbox.training import evaluation, transfer
from kitbox.training.context import Training
from kitbox.training.events import HoldoutScored
from kitbox.training.optimizer import AveragedWeights, build_optimizer, refresh_batch_norms
from kitbox.training.runs import Run

# Batches from which the batch norms of averaged weights get their statistics.
_REFRESH_BATCHES = 50
# What torch and its modules raise for bytes that are no state, or not that of this network.
_UNREADABLE = (
    *(OSError, EOFError, LookupError, RuntimeError),
    *(TypeError, ValueError, AttributeError, PickleError),
)


@dataclass(kw_only=True)
class TrainState:
    """What changes during a training; `epoch` is the last finished one, `best` its best score.

    `divided` are the class weights that several processes divide.
    """

    trained: TrainedNetwork
    optimizer: Optimizer
    averaged: AveragedWeights | None
    planner: Planner
    epoch: int = 0
    best: float = -1.0
    divided: DividedWeights | None = None

    def whole(self) -> AbstractContextManager[None]:
        """Give the first process all weights for the body, to which all processes have to come."""
        return nullcontext() if self.divided is None else self.divided.whole()

    def save(self, run: Run) -> None:
        """Write the state after an epoch, atomically, with a digest."""
        state = {
            "run": run.folder.name,
            "trained": self.trained.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "planner": self.planner.state(),
            "epoch": self.epoch,
            "best": self.best,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_sealed(run.state, buffer.getvalue())

    def restore(self, run: Run) -> None:
        """Restore the state after the last finished epoch, if there is one.

        Raises KitboxError where it is damaged or that of another training.
        """
        if not run.state.exists():
            return
        try:
            data = io.BytesIO(read_sealed(run.state))
            state = torch.load(data, map_location="cpu", weights_only=True)
            if state.get("run", run.folder.name) != run.folder.name:
                raise ValueError("it is of another training")
            self.trained.load_state_dict(state["trained"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.averaged is not None:
                self.averaged.load_state_dict(state["averaged"])
            self.planner.restore(state["planner"])
            self.epoch, self.best = int(state["epoch"]), float(state["best"])
        except _UNREADABLE as error:
            raise KitboxError(
                f"the state {run.state} of an interrupted training is damaged, or of another one",
                fix="remove it, and train again: that begins with the first epoch",
            ) from error


def resume(training: Training) -> tuple[TrainState, tuple[str, ...]]:
    """Return the state after the last finished epoch, and sentences about the initial weights.

    The network, its optimiser, averaged weights and planner are built anew, then restored. The
    journal's lines about later epochs are dropped.
    """
    trained, notes = transfer.build(training)
    plugin = training.plugin
    state = TrainState(
        trained=trained,
        optimizer=build_optimizer(plugin, trained),
        averaged=None if plugin.averaging is None else AveragedWeights(trained, plugin.averaging),
        planner=build_planner(plugin, training.training_set.label_rows, training.seed),
    )
    state.restore(training.run)
    if training.first:
        training.run.discard_after(state.epoch or -1)
    world = training.fabric.world_size
    if world > 1 and plugin.epochs and _divides(training, trained):
        networks = [trained] + ([] if state.averaged is None else [state.averaged.network])
        state.divided = DividedWeights(networks, state.optimizer)
        notes += (f"its class weights are divided among {world} processes",)
    return state, notes


def _divides(training: Training, trained: TrainedNetwork) -> bool:
    """Return whether processes divide class weights: all have to compute the same otherwise.

    Dropout and mixup draw their own numbers in each process, and the scale of losses of 16 bits
    falls in those where a gradient overflows.
    """
    plugin = training.plugin
    drawn = plugin.dropout or plugin.embedding_mixup
    return not drawn and training.precision != "16" and is_divisible(trained)


def score_and_save(
    training: Training, state: TrainState, sampler: BatchSampler
) -> Generator[Progress | HoldoutScored, None, None]:
    """Score the holdout if the plugin asks for it after this epoch; save the last network.

    Averaged weights, where there are any, are what is scored and saved. `sampler` holds the
    epoch's batches, from which their batch norms are refreshed.
    """
    plugin, epoch = training.plugin, state.epoch
    last = epoch == plugin.epochs
    due = epoch % plugin.score_every == 0 or last
    scored = due and training.setup.options.on == "holdout"
    if state.averaged is not None:
        state.averaged.after_epoch(state.trained, epoch)
    if not (scored or last):
        return
    network = _averaged(training, state, sampler)
    if scored:
        yield from score(training, state, network)
    if last:
        save(training, state, network, training.run.last)


def score(
    training: Training, state: TrainState, network: TrainedNetwork
) -> Generator[Progress | HoldoutScored, None, None]:
    """Embed the holdout, and score it in the first process; save the best network so far.

    Epoch 0 is scored before the neck, and is not saved.
    """
    epoch, best = state.epoch, False
    scores = yield from evaluation.score(training, network.network, backbone_only=epoch == 0)
    if scores is not None:
        best = epoch > 0 and scores.main.value > state.best
        state.best = scores.main.value if best else state.best
    if training.fabric.broadcast(best):
        save(training, state, network, training.run.best)
    if scores is not None:
        training.run.log("score", epoch=epoch, best=best, scores=scores.as_json(6))
        yield HoldoutScored(epoch, scores, best)
    training.fabric.barrier()


def save(training: Training, state: TrainState, network: TrainedNetwork, path: Path) -> None:
    """Write the checkpoint of a network with its origin, in the first process of all that call."""
    key, training_set = training.key, training.training_set
    origin = Origin(
        plugin=key.plugin,
        settings=training.plugin.recorded,
        fingerprint=key.fingerprint,
        labels=tuple(str(label) for label in training_set.label_map),
        epoch=state.epoch,
        on=key.on,
        data=key.data,
        weights=key.weights,
        seed=key.seed,
        precision=key.precision,
        pseudo=key.pseudo,
        pseudo_round=training_set.pseudo_round,
        init_from=training.weights.plugin,
        earlier=training.weights.earlier_labels,
    )
    with state.whole():
        if training.first:
            save_checkpoint(path, network, origin)


def _averaged(training: Training, state: TrainState, sampler: BatchSampler) -> TrainedNetwork:
    """Return the network with averaged weights and with batch-norm statistics of its own.

    Of several processes the first computes the statistics, which the others get as they embed.
    """
    averaged = None if state.averaged is None else state.averaged.model
    if averaged is None:
        return state.trained
    if not training.first:
        return averaged
    whole = BatchSampler(training.training_set.images.image_ids, training.seed)  # no shares
    whole.batches, whole.epoch = sampler.batches[:_REFRESH_BATCHES], sampler.epoch
    phase = curriculum.phase_at(training.plugin, sampler.epoch)
    averaged.network.backbone_is_frozen = phase.frozen_backbone  # and with it its batch norms
    pixels = (pixels for pixels, _ in training.training_loader(phase.image_size, whole))
    refresh_batch_norms(averaged.network, pixels, training.device, training.precision)
    return averaged
