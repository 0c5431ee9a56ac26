"""The common runner: trains any plugin, scores it on the holdout, and goes on where it stopped."""

import time
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.errors import KitboxError
from kitbox.images.loader import augmentation_seed
from kitbox.network import acceleration, inference, pretrained_weights
from kitbox.network.checkpoint import read_checkpoint
from kitbox.network.network import Network
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin import curriculum
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint, Floats
from kitbox.samplers.batch_samplers import Batch
from kitbox.samplers.planner import BatchSampler, block_size, build_planner
from kitbox.training import context, evaluation, optimizer, runs, training_set, transfer
from kitbox.training.checkpoints import Keeper, State
from kitbox.training.context import Start, Training, TrainOptions
from kitbox.training.events import EpochDone, StepDone, TrainingEvent, TrainingStarted
from kitbox.training.monitor import TrainingLog
from kitbox.training.optimizer import AveragedWeights
from kitbox.training.schedule import LearningRateSchedule
from kitbox.workspace import Workspace


def build(training: Training) -> tuple[TrainedNetwork, tuple[str, ...]]:
    """Return the network with its first weights, and what there is to say of them.

    They are the same each time, whatever was learnt and drawn before.
    """
    context.seed_everything(training.seed)
    plugin, start, learnt = training.plugin, training.start, training.lessons
    network = Network(plugin, pretrained=start.source == "hub")
    if isinstance(start.source, Path):
        pretrained_weights.load(network.backbone, start.source)
    if training.device == "cpu" and training.precision == "bf16":
        acceleration.speed_up_depthwise(network.backbone)
    # a mirrored image is of an individual of its own, behind all others
    copies = 2 if plugin.flip_identities else 1
    trained = TrainedNetwork(network, plugin, np.tile(learnt.counts, copies))
    notes: tuple[str, ...] = ()
    if start.init_from is not None:
        notes = transfer.load(trained, plugin, learnt.label_map, start.init_from, training.causes)
    trained.to(training.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return trained, notes


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
    schedule: LearningRateSchedule
    steps: Sequence[int]

    def run(
        self, epoch: int, asked: BatchSampler, loader: Any
    ) -> Generator[StepDone, None, EpochDone]:
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
            yield StepDone(
                epoch=epoch,
                epochs=plugin.epochs,
                step=step,
                steps=len(batches),
                loss=value,
                learning_rate=rate,
                images_per_second=speed,
                seconds_left=left,
            )
        count = len(batches)
        mean = float(sums.loss) / count
        self._check(mean, epoch, count)
        seconds = time.perf_counter() - began
        means = {name: float(total) / count for name, total in sums.terms.items()}
        return EpochDone(
            epoch=epoch,
            loss=mean,
            losses=means,
            learning_rate=rate,
            images_per_second=seen / seconds,
            seconds=seconds,
            figures={"spread": float(sums.spread) / count} if self._pairs else {},
        )

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
        projected = self.state.trained.network.last_projection.float()
        return nn.functional.pdist(nn.functional.normalize(projected)).mean()

    def _check(self, value: float, epoch: int, step: int) -> None:
        if value - value != 0:  # NaN and infinity alike
            raise KitboxError(
                f"the loss of {self.training.name} became {value} at epoch {epoch}, step {step}; "
                "lower learning_rate or gradient_clip, or train with --precision 32"
            )


def train(
    named: NamedPlugin,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: TrainOptions,
) -> Generator[TrainingEvent, None, Checkpoint]:
    """Train a plugin and return its last checkpoint; yields reports.

    A run is named by all its causes. The same command goes on after the last finished epoch, to
    the same weights as without a stop; a finished run is returned as it is.

    Raises KitboxError for weights that do not fit, images that leave nothing to learn, batches that
    processes cannot share, and a loss that is no longer a number.
    """
    plugin = named.plugin
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device, training=True)
    block_size(plugin, options.devices * options.nodes)  # refuses what cannot be shared
    learnt = training_set.select(
        collection, competition, plugin, options.on, workspace, options.pseudo
    )
    side = collection.labelled if options.on == "all" else collection.holdout.train
    data = runs.data_digest(side)
    start = _start(named, workspace, options, data)
    causes = runs.RunKey(
        plugin=named.name,
        fingerprint=plugin.fingerprint,
        data=data,
        weights=start.digest,
        on=options.on,
        seed=plugin.seed if options.seed is None else options.seed,
        precision=precision,
        boxes=learnt.boxes_digest,
        pseudo=learnt.pseudo_digest,
    )
    run = runs.Run(workspace.runs / causes.plugin / causes.digest)
    if run.finished and not options.fresh:
        return runs.reuse(run)
    fabric = context.fabric(device, precision, options, plugin)
    fabric.launch()
    # of several processes the first owns the folder; the others read what it has prepared
    with runs.locked(run) if fabric.is_global_zero else nullcontext():
        if fabric.is_global_zero:
            runs.begin(run, causes, learnt.pseudo or (), start.init_from, fresh=options.fresh)
        fabric.barrier()
        training = Training(
            named.name,
            plugin,
            learnt,
            collection,
            competition,
            workspace,
            options,
            causes,
            start,
            run,
            fabric,
        )
        return (yield from _Trainer(training).run_all())


def _start(named: NamedPlugin, workspace: Workspace, options: TrainOptions, data: str) -> Start:
    """Return where the weights come from; those of another training need no backbone's beside."""
    if options.init_from is not None:
        path = transfer.find(options.init_from, workspace, options.on, data)
        return Start("none", path)
    plugin = named.plugin
    return Start(
        pretrained_weights.resolve_source(
            options.weights or plugin.weights, plugin.backbone, workspace.weights
        )
    )


@dataclass
class _Trainer:
    """One training while it runs."""

    training: Training

    def run_all(self) -> Generator[TrainingEvent, None, Checkpoint]:
        """Do every epoch that is not done, and return the last checkpoint."""
        training, run = self.training, self.training.run
        plugin = training.plugin
        trained, notes = build(training)
        state = State(
            trained,
            optimizer.build_optimizer(plugin, trained),
            None if plugin.averaging is None else AveragedWeights(trained, plugin.averaging),
            build_planner(plugin, training.lessons.label_rows, training.seed),
        )
        done = state.restore(run)
        if training.first:
            run.discard_after(done or -1)
        yield self._begun(done, notes)
        keeper = Keeper(training, state)
        if not done and training.options.on == "holdout":
            yield from keeper.score(trained, 0)
        if plugin.epochs:
            yield from self._epochs(state, keeper, done)
        else:
            keeper.save(trained, run.last, 0)
        if training.first:
            run.log("finished", epoch=plugin.epochs)
            run.state.unlink(missing_ok=True)
        training.fabric.barrier()
        return read_checkpoint(run.last)

    def _begun(self, done: int, notes: tuple[str, ...]) -> TrainingStarted:
        training, learnt = self.training, self.training.lessons
        return TrainingStarted(
            plugin=training.name,
            images=len(learnt.images),
            labels=len(learnt.label_map),
            device=training.device,
            precision=training.precision,
            epoch=done,
            weights=str(training.start),
            folder=training.run.folder,
            source=evaluation.view(training, learnt.images).source,
            notes=(*notes, *learnt.notes),
        )

    def _epochs(
        self, state: State, keeper: Keeper, done: int
    ) -> Generator[TrainingEvent, None, None]:
        training, plugin, fabric = self.training, self.training.plugin, self.training.fabric
        stepper = self._stepper(state, done)
        asked = self._asked()
        teller = TrainingLog(training)
        for phase in curriculum.phases(plugin):
            if phase.last_epoch <= done:
                continue
            state.trained.network.freeze_backbone(phase.frozen_backbone)
            loader = training.lesson_loader(phase.image_size, asked)
            for epoch in range(max(phase.first_epoch, done + 1), phase.last_epoch + 1):
                began = time.perf_counter()
                asked.batches = yield from self._planned(state, epoch)
                asked.epoch = epoch
                planned_in = time.perf_counter() - began
                torch.manual_seed(augmentation_seed(training.seed, epoch, "torch"))
                report = yield from stepper.run(epoch, asked, loader)
                report = replace(report, seconds=report.seconds + planned_in)
                yield from teller.epoch(report, state.planner.metrics())
                yield from teller.scores(keeper.after_epoch(asked))
                if training.first:
                    state.save(training.run, epoch)
                fabric.barrier()
        teller.close()

    def _stepper(self, state: State, done: int) -> Stepper:
        """Return what takes the steps of all epochs, of which some are done."""
        training, plugin = self.training, self.training.plugin
        module, optimizer = training.fabric.setup(state.trained, state.optimizer)
        batches = [state.planner.steps(epoch) for epoch in range(1, plugin.epochs + 1)]
        steps = [-(-count // plugin.accumulate) for count in batches]
        schedule = LearningRateSchedule(state.optimizer, plugin, steps, done=sum(steps[:done]))
        return Stepper(training, state, module, optimizer, schedule, batches)

    def _asked(self) -> BatchSampler:
        training, fabric = self.training, self.training.fabric
        return BatchSampler(
            training.lessons.images.image_ids,
            training.seed,
            rank=fabric.global_rank,
            world=fabric.world_size,
            block_size=block_size(training.plugin, fabric.world_size),
        )

    def _planned(self, state: State, epoch: int) -> Generator[TrainingEvent, None, Sequence[Batch]]:
        """Return the batches of an epoch; the first process makes the vectors they need."""
        training = self.training
        needed = state.planner.required_vectors(epoch)
        vectors: Floats | None = None
        if needed is not None:
            if training.first:
                # the backbone as it came is built again, since a training may have gone on
                source = build(training)[0] if needed == "frozen" else state.trained
                vectors = yield from evaluation.vectors(
                    training,
                    source.network,
                    training.lessons.images,
                    "embed training images",
                    pooled=needed != "embedding",
                )
            vectors = training.fabric.broadcast(vectors)
        return state.planner.plan(epoch, vectors)
