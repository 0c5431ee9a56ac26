"""The training loop: trains any plugin, and resumes an interrupted training."""

import time
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kitbox.devices.batch_gather import gather_batch
from kitbox.devices.synchronised_norm import synchronise
from kitbox.errors import KitboxError
from kitbox.images.loader import augmentation_seed
from kitbox.network.checkpoint import read_checkpoint
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin import curriculum
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint, Floats, Progress
from kitbox.samplers.batch_samplers import Batch, check_shares
from kitbox.samplers.planner import BatchSampler
from kitbox.training import checkpoints, evaluation, runs, transfer
from kitbox.training.checkpoints import TrainState
from kitbox.training.context import Training, TrainSetup
from kitbox.training.events import EpochDone, StepDone, TrainingEvent, TrainingStarted
from kitbox.training.monitor import TrainingLog
from kitbox.training.schedule import LearningRateSchedule

# Steps between two readings of the loss on a GPU: a reading waits until the GPU has caught up.
_LOSS_EVERY = 10


def train(named: NamedPlugin, setup: TrainSetup) -> Generator[TrainingEvent, None, Checkpoint]:
    """Train a plugin and return its last checkpoint; yields events.

    A run's folder is named by everything that determines its result. The same command resumes it
    after the last finished epoch, to the same weights as without an interruption; the checkpoint
    of a finished run is returned at once, and trained again where it is gone.

    Raises KitboxError for weights that do not fit, an empty training set, batches that processes
    cannot share, a damaged checkpoint or state, and a loss that is no longer a number.
    """
    prepared = transfer.prepare(named, setup)
    if isinstance(prepared, Checkpoint):
        return prepared
    return (yield from train_prepared(prepared))


def train_prepared(training: Training) -> Generator[TrainingEvent, None, Checkpoint]:
    """Train as `train` does, what `transfer.prepare` has returned."""
    plugin, options, run = training.plugin, training.setup.options, training.run
    gone = run.gone if run.finished and not options.fresh else None
    fabric = training.fabric
    fabric.launch()
    # of several processes the first owns the run's folder; the others read what it has written
    with runs.lock(run) if training.first else nullcontext():
        if training.first:
            pseudo = training.training_set.pseudo or ()
            runs.begin(
                run,
                training.key,
                pseudo,
                training.weights.init_from,
                plugin=plugin,
                fresh=options.fresh or gone is not None,
                decided=training.setup.collection.decisions,
            )
        fabric.barrier()
        state, notes = checkpoints.resume(training)
        if state.epoch == 0:
            notes += tuple(runs.unfinished(training.setup.workspace, training.key, plugin))
        if gone is not None:
            notes += (f"the checkpoint {gone} is gone, so this training begins again",)
        notes += evaluation.notes_on_frozen(training, state.trained.network)
        yield _started(training, state, notes)
        if state.epoch == 0 and options.on == "holdout":
            yield from checkpoints.score(training, state, state.trained)
        if plugin.epochs == 0:
            checkpoints.save(training, state, state.trained, run.last)
        else:
            loop = _Loop.build(training, state)
            log = TrainingLog(training)
            for phase in curriculum.phases(plugin):
                if phase.last_epoch <= state.epoch:
                    continue
                state.trained.network.freeze_backbone(phase.frozen_backbone)
                loader = yield from evaluation.inputs(
                    training, state.trained.network, phase, loop.sampler
                )
                for epoch in range(max(phase.first_epoch, state.epoch + 1), phase.last_epoch + 1):
                    done = yield from _train_epoch(loop, epoch, loader)
                    _check_files(training, loop.sizes_and_times, epoch)
                    yield from log.epoch(done)
                    yield from log.scores(checkpoints.score_and_save(training, state, loop.sampler))
                    with state.whole():
                        if training.first:
                            state.save(run)
                    fabric.barrier()
            log.close()
        if training.first:
            runs.finish(run, plugin.epochs)
        fabric.barrier()
    return read_checkpoint(run.last)


def _train_epoch(
    loop: "_Loop", epoch: int, loader: Any
) -> Generator[StepDone | Progress, None, EpochDone]:
    """Plan the batches of an epoch and train on each once; return the epoch's means.

    Raises KitboxError for a loss or weights that are not numbers.
    """
    training, state, sampler = loop.training, loop.state, loop.sampler
    plugin, fabric = training.plugin, training.fabric
    module, optimizer = loop.module, loop.optimizer
    began = time.perf_counter()
    sampler.batches = yield from _plan_batches(training, state, epoch)
    sampler.epoch = epoch
    check_shares(plugin, map(len, sampler.batches), fabric.world_size)
    torch.manual_seed(augmentation_seed(training.seed, epoch, "torch"))
    module.train()
    steps_began = time.perf_counter()
    count, images, loss_read, rate, sums = len(sampler.batches), 0, 0.0, 0.0, _Sums()
    for step, (batch, (pixels, _)) in enumerate(zip(sampler.batches, loader, strict=True), 1):
        state.trained.set_epoch(epoch - 1 + (step - 1) / count)
        # gradients of `accumulate` batches are averaged; the last group may be smaller
        group = min(plugin.accumulate, count - (step - 1) // plugin.accumulate * plugin.accumulate)
        ends_group = step % plugin.accumulate == 0 or step == count
        with fabric.no_backward_sync(module, enabled=not ends_group):
            loss, terms = module(
                pixels.to(fabric.device, non_blocking=True),
                torch.from_numpy(batch.labels).to(fabric.device),
                batch.learner,
            )
            fabric.backward(loss / group)
        sums.add(loss, terms, _spread(training, state, len(batch)))
        if training.device == "cpu" or step % _LOSS_EVERY == 0:
            loss_read = float(loss.detach())
            _check(loss_read, training, epoch, step)
        rate = optimizer.param_groups[0]["lr"]
        if ends_group:
            if plugin.gradient_clip is not None and state.divided is not None:
                state.divided.clip(module.parameters(), plugin.gradient_clip)
            elif plugin.gradient_clip is not None:
                fabric.clip_gradients(
                    module, optimizer, max_norm=plugin.gradient_clip, error_if_nonfinite=False
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loop.schedule.step()
            if state.averaged is not None:
                state.averaged.after_step(state.trained)
        images += len(batch)
        speed = images / (time.perf_counter() - steps_began)
        batches_left = count - step + sum(loop.batches[epoch:])
        yield StepDone(
            epoch=epoch,
            epochs=plugin.epochs,
            step=step,
            steps=count,
            loss=loss_read,
            learning_rate=rate,
            images_per_second=speed,
            seconds_left=batches_left * (images / step) / speed,
        )
    mean = float(sums.loss) / count
    _check(mean, training, epoch, count)
    _check_weights(training, state.trained, epoch)
    state.epoch, ended = epoch, time.perf_counter()
    spread = {"spread": float(sums.spread) / count} if _compares_pairs(training) else {}
    return EpochDone(
        epoch=epoch,
        loss=mean,
        losses={name: float(total) / count for name, total in sums.terms.items()},
        learning_rate=rate,
        images_per_second=images / (ended - steps_began),
        seconds=ended - began,
        figures=spread | state.planner.metrics(),
    )


@dataclass(frozen=True, kw_only=True)
class _Loop:
    """What every step needs; `module` and `optimizer` are wrapped by lightning-fabric.

    `batches` are the number of batches of each epoch; `sampler` deals them to processes.
    `sizes_and_times` are those of the files of the training images as it began.
    """

    training: Training
    state: TrainState
    module: nn.Module
    optimizer: Any
    schedule: LearningRateSchedule
    sampler: BatchSampler
    batches: Sequence[int]
    sizes_and_times: Sequence[tuple[int, int] | None]

    @classmethod
    def build(cls, training: Training, state: TrainState) -> "_Loop":
        plugin, fabric = training.plugin, training.fabric
        if plugin.synchronised_batchnorm and fabric.world_size > 1:
            synchronise(state.trained)
        if state.divided is not None:  # each process has the gradients of its own labels
            ignore: Any = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
            ignore(state.trained, state.divided.names)
        module, optimizer = fabric.setup(state.trained, state.optimizer)
        batches = [state.planner.steps(epoch) for epoch in range(1, plugin.epochs + 1)]
        steps = [-(-count // plugin.accumulate) for count in batches]
        done = sum(steps[: state.epoch])
        return cls(
            training=training,
            state=state,
            module=module,
            optimizer=optimizer,
            schedule=LearningRateSchedule(state.optimizer, plugin, steps, done),
            sampler=BatchSampler(
                training.training_set.images.image_ids,
                training.seed,
                rank=fabric.global_rank,
                world=fabric.world_size,
            ),
            batches=batches,
            sizes_and_times=_sizes_and_times(training),
        )


def _plan_batches(
    training: Training, state: TrainState, epoch: int
) -> Generator[Progress, None, Sequence[Batch]]:
    """Return the batches of an epoch; embeds the images if the planner asks."""
    kind = state.planner.required_vectors(epoch)
    vectors: Floats | None = None
    if kind is not None:
        # "frozen" is the network before training, which is built again
        source = transfer.build(training)[0] if kind == "frozen" else state.trained
        vectors = yield from evaluation.embed(
            training,
            source.network,
            training.training_set.images,
            "embed training images",
            backbone_only=kind != "embedding",
        )
        vectors = training.fabric.broadcast(vectors)
    return state.planner.plan(epoch, vectors)


@dataclass
class _Sums:
    """Sums over the steps of an epoch, kept on the device of the network."""

    loss: Tensor | float = 0.0
    spread: Tensor | float = 0.0
    terms: dict[str, Tensor | float] = field(default_factory=dict)

    def add(self, loss: Tensor, terms: dict[str, Tensor], spread: Tensor | float) -> None:
        self.loss = self.loss + loss.detach()
        self.spread = self.spread + spread
        for name, term in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + term.detach()


def _spread(training: Training, state: TrainState, count: int) -> Tensor | float:
    """Return the mean distance between the projections of the last `count` images, at unit length.

    They are those of all processes.
    """
    if not _compares_pairs(training):
        return 0.0
    projected = gather_batch(state.trained.network.last_projection.float(), count)
    return nn.functional.pdist(nn.functional.normalize(projected)).mean()


def _compares_pairs(training: Training) -> bool:
    return any(loss.needs_pairs for loss in training.plugin.losses)


def _check(loss: float, training: Training, epoch: int, step: int) -> None:
    if loss - loss != 0:  # NaN or infinite
        raise KitboxError(
            f"the loss of {training.named.name} became {loss} at epoch {epoch}, step {step}; "
            "lower learning_rate or gradient_clip, or train with --precision 32"
        )


def _check_weights(training: Training, trained: TrainedNetwork, epoch: int) -> None:
    """Raise KitboxError for weights that the last step, whose loss is read before, made NaN."""
    tensors = [tensor for tensor in trained.state_dict().values() if tensor.is_floating_point()]
    if not bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all()):
        raise KitboxError(
            f"weights of {training.named.name} are no numbers any more after epoch {epoch}; lower "
            "learning_rate or gradient_clip, or train with --precision 32"
        )


def _check_files(training: Training, began: Sequence[tuple[int, int] | None], epoch: int) -> None:
    """Raise KitboxError where a file was changed: the run is named by the bytes that it had."""
    paths = training.training_set.images.paths
    for path, before, now in zip(paths, began, _sizes_and_times(training), strict=True):
        if before != now and before is not None and now is not None:
            raise KitboxError(
                f"image {path} was changed while {training.named.name} was trained",
                fix=f"train again; what it learned in epoch {epoch} is left out",
            )


def _sizes_and_times(training: Training) -> list[tuple[int, int] | None]:
    """Return size and mtime of the files of training images, None where they cannot be had."""
    found: list[tuple[int, int] | None] = []
    for path in training.training_set.images.paths:
        try:
            status = path.stat()
            found.append((status.st_size, status.st_mtime_ns))
        except OSError:  # it may be prepared, and its disk unplugged
            found.append(None)
    return found


def _started(training: Training, state: TrainState, notes: tuple[str, ...]) -> TrainingStarted:
    selected = training.training_set
    return TrainingStarted(
        plugin=training.named.name,
        images=len(selected.images),
        labels=len(selected.label_map),
        device=training.device,
        precision=training.precision,
        epoch=state.epoch,
        weights=str(training.weights),
        folder=training.run.folder,
        source=evaluation.dataset(training, selected.images).source,
        notes=(*notes, *selected.notes),
    )
