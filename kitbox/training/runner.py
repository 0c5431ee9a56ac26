"""The common runner: trains any plugin, scores it on the holdout, and goes on where it stopped."""

from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kitbox.competition.settings import Competition
from kitbox.images import loading
from kitbox.images.collection import Collection
from kitbox.network import checkpoint as checkpoints
from kitbox.network import depthwise, inference, weights
from kitbox.network.checkpoint import Origin
from kitbox.network.heads import TrainedNetwork
from kitbox.network.network import Network
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint, Floats
from kitbox.training import averaging, judging, lessons, preparation, runs, stages, transfer
from kitbox.training.averaging import Averaged
from kitbox.training.batches import Batch
from kitbox.training.collapse import Monitor
from kitbox.training.planning import Asked, planner
from kitbox.training.preparation import Start, Training
from kitbox.training.reports import Begun, EpochDone, Options, Report, Scored, Warned
from kitbox.training.schedule import Schedule
from kitbox.training.stages import Phase
from kitbox.training.state import State
from kitbox.training.steps import Stepper
from kitbox.workspace import Workspace

# Batches from which averaged weights get the statistics of their batch normalisation.
_REFRESHING = 50


def train(
    named: NamedPlugin,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: Options,
) -> Generator[Report, None, Checkpoint]:
    """Train a plugin and return its last checkpoint; yields reports.

    A run is named by all its causes. The same command goes on after the last finished epoch, to
    the same weights as without a stop; a finished run is returned as it is.

    Raises KitboxError for weights that do not fit, images that leave nothing to learn, and a loss
    that is no longer a number.
    """
    plugin = named.plugin
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device, training=True)
    learnt = lessons.gather(collection, competition, plugin, options.on, workspace)
    side = collection.labelled if options.on == "all" else collection.holdout.train
    data = runs.data_digest(side)
    start = _start(named, workspace, options, data)
    causes = runs.Causes(
        named.name,
        plugin.fingerprint,
        data,
        start.digest,
        options.on,
        plugin.seed if options.seed is None else options.seed,
        precision,
        learnt.boxes_digest,
        learnt.pseudo_digest,
    )
    run = runs.Run(workspace.runs / causes.plugin / causes.key)
    if run.finished and not options.fresh:
        return checkpoints.of(run.last)
    fabric = preparation.fabric(device, precision, options, plugin)
    fabric.launch()
    # of several processes the first owns the folder; the others read what it has prepared
    with runs.locked(run) if fabric.is_global_zero else nullcontext():
        if fabric.is_global_zero:
            runs.begin(run, causes, fresh=options.fresh)
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


def _start(named: NamedPlugin, workspace: Workspace, options: Options, data: str) -> Start:
    """Return where the weights come from; those of another training need no backbone's beside."""
    if options.init_from is not None:
        path = transfer.find(options.init_from, workspace, options.on, data)
        return Start("none", path)
    plugin = named.plugin
    return Start(
        weights.source(options.weights or plugin.weights, plugin.backbone, workspace.weights)
    )


@dataclass
class _Trainer:
    """One training while it runs."""

    training: Training

    def run_all(self) -> Generator[Report, None, Checkpoint]:
        """Do every epoch that is not done, and return the last checkpoint."""
        training, run = self.training, self.training.run
        plugin = training.plugin
        trained, notes = self._build()
        state = State(
            trained,
            preparation.optimizer(plugin, trained),
            None if plugin.averaging is None else Averaged(trained, plugin.averaging),
            planner(plugin, training.lessons.label_rows, training.seed),
        )
        done = state.restore(run)
        if training.first:
            run.forget_after(done or -1)
        yield self._begun(done, notes)
        if not done and training.options.on == "holdout":
            yield from self._score(trained, state, 0)
        if plugin.epochs:
            yield from self._epochs(state, done)
        elif training.first:
            self._save(trained, run.last, 0)
        if training.first:
            run.note("finished", epoch=plugin.epochs)
            run.state.unlink(missing_ok=True)
        training.fabric.barrier()
        return checkpoints.of(run.last)

    def _begun(self, done: int, notes: tuple[str, ...]) -> Begun:
        training, learnt = self.training, self.training.lessons
        return Begun(
            training.name,
            len(learnt.images),
            len(learnt.label_map),
            training.device,
            training.precision,
            done,
            str(training.start),
            training.run.folder,
            judging.view(training, learnt.images).source,
            (*notes, *learnt.notes),
        )

    def _epochs(self, state: State, done: int) -> Generator[Report, None, None]:
        training, plugin, fabric = self.training, self.training.plugin, self.training.fabric
        module, optimizer = fabric.setup(state.trained, state.optimizer)
        batches = [state.planner.steps(epoch) for epoch in range(1, plugin.epochs + 1)]
        steps = [-(-count // plugin.accumulate) for count in batches]
        schedule = Schedule(state.optimizer, plugin, steps, done=sum(steps[:done]))
        stepper = Stepper(training, state, module, optimizer, schedule, batches)
        asked = Asked(
            training.lessons.images.image_ids,
            training.seed,
            fabric.global_rank,
            fabric.world_size,
        )
        writer = _tensorboard(training.run.folder) if training.first else None
        monitor = self._monitor()
        for phase in stages.phases(plugin):
            if phase.last_epoch <= done:
                continue
            self._freeze(state, phase)
            loader = self._loader(phase, asked)
            for epoch in range(max(phase.first_epoch, done + 1), phase.last_epoch + 1):
                asked.batches = yield from self._planned(state, epoch)
                asked.epoch = epoch
                torch.manual_seed(loading.seed_of(training.seed, epoch, "torch"))
                report = yield from stepper.run(epoch, asked, loader)
                yield from self._tell(report, state, monitor, writer)
                yield from self._judge(state, asked, writer)
                if training.first:
                    state.save(training.run, epoch)
                fabric.barrier()
        if writer is not None:
            writer.close()

    def _freeze(self, state: State, phase: Phase) -> None:
        """Freeze the backbone in a phase that says so, else let it learn."""
        state.trained.network.freeze_backbone(phase.frozen_backbone)
        if state.averaged is not None and state.averaged.model is not None:
            state.averaged.model.network.freeze_backbone(phase.frozen_backbone)

    def _loader(self, phase: Phase, asked: Any) -> Any:
        training, learnt = self.training, self.training.lessons
        view = training.view(
            learnt.images, phase.image_size, training.plugin.augmentation, learnt.any_of
        )
        return training.loader(view, asked)

    def _planned(self, state: State, epoch: int) -> Generator[Report, None, Sequence[Batch]]:
        """Return the batches of an epoch; the first process makes the vectors they need."""
        training = self.training
        needed = state.planner.needs(epoch)
        vectors: Floats | None = None
        if needed is not None:
            if training.first:
                # the backbone as it came is built again, since a training may have gone on
                source = self._build()[0] if needed == "frozen" else state.trained
                vectors = yield from judging.vectors(
                    training,
                    source.network,
                    training.lessons.images,
                    "embed training images",
                    pooled=needed != "embedding",
                )
            vectors = training.fabric.broadcast(vectors)
        return state.planner.plan(epoch, vectors)

    def _monitor(self) -> Monitor:
        """Return what watches for a collapse, told of the epochs that are done."""
        monitor = Monitor(self.training.plugin.losses)
        for entry in self.training.run.entries():
            if entry["event"] == "epoch" and "spread" in entry.get("told", {}):
                monitor.warning(entry["losses"], entry["told"]["spread"])
        return monitor

    def _tell(
        self, report: EpochDone, state: State, monitor: Monitor, writer: Any
    ) -> Generator[Report, None, None]:
        """Report an epoch, and what looks wrong in it, and write both down."""
        report = replace(report, told=report.told | state.planner.told())
        spread = report.told.get("spread")
        text = None if spread is None else monitor.warning(report.losses, spread)
        yield report
        if self.training.first:
            self.training.run.note("epoch", **vars(report))
            _write_scalars(writer, report)
        if text is not None:
            yield Warned(report.epoch, text)
            if self.training.first:
                self.training.run.note("warning", epoch=report.epoch, text=text)

    def _judge(self, state: State, asked: Asked, writer: Any) -> Generator[Report, None, None]:
        """Score the network where its time has come, and save it after the last epoch."""
        training, plugin, epoch = self.training, self.training.plugin, asked.epoch
        ends = epoch == plugin.epochs
        scores = training.options.on == "holdout" and (epoch % plugin.score_every == 0 or ends)
        if state.averaged is not None:
            state.averaged.after_epoch(state.trained, epoch)
        if not (scores or ends):
            return
        judged = self._averaged(state, asked) if training.first else state.trained
        if scores:
            for scored in self._score(judged, state, epoch):
                yield scored
                if isinstance(scored, Scored) and writer is not None:
                    for metric, score in scored.scores.by_metric.items():
                        writer.add_scalar(f"holdout/{metric}", score.value, epoch)
        if ends and training.first:
            self._save(judged, training.run.last, epoch)

    def _averaged(self, state: State, asked: Asked) -> TrainedNetwork:
        """Return the network with averaged weights and statistics that belong to them."""
        model = None if state.averaged is None else state.averaged.model
        if model is None:
            return state.trained
        training = self.training
        items = Asked(training.lessons.images.image_ids, training.seed, 0, 1)
        items.batches, items.epoch = asked.batches[:_REFRESHING], asked.epoch
        loader = self._loader(stages.at(training.plugin, asked.epoch), items)
        pixels = (pixels for pixels, _ in loader)
        averaging.refresh(model.network, pixels, training.device, training.precision)
        return model

    def _build(self) -> tuple[TrainedNetwork, tuple[str, ...]]:
        """Return the network with its first weights, and what there is to say of them.

        They are the same each time, whatever was learnt and drawn before.
        """
        training, plugin = self.training, self.training.plugin
        preparation.seed_everything(training.seed)
        source = training.start.source
        network = Network(plugin, pretrained=source == "hub")
        if isinstance(source, Path):
            weights.load(network.backbone, source)
        if training.device == "cpu" and training.precision == "bf16":
            depthwise.quicken(network.backbone)
        learnt = training.lessons
        # a mirrored image is of an individual of its own, behind all others
        copies = 2 if plugin.flip_identities else 1
        trained = TrainedNetwork(network, plugin, np.tile(learnt.counts, copies))
        notes: tuple[str, ...] = ()
        if training.start.init_from is not None:
            notes = transfer.load(trained, learnt.label_map, training.start.init_from)
        trained.to(training.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return trained, notes

    def _score(
        self, trained: TrainedNetwork, state: State, epoch: int
    ) -> Generator[Report, None, None]:
        """Score the holdout in the first process; keep a network that is the best so far."""
        training = self.training
        if training.first:
            scores = yield from judging.score(training, trained.network, frozen=epoch == 0)
            better = epoch > 0 and scores.main.value > state.best
            if better:
                state.best = scores.main.value
                self._save(trained, training.run.best, epoch)
            training.run.note("score", epoch=epoch, best=better, scores=scores.as_json())
            yield Scored(epoch, scores, better)
        training.fabric.barrier()

    def _save(self, trained: TrainedNetwork, path: Path, epoch: int) -> None:
        training, causes = self.training, self.training.causes
        origin = Origin(
            training.name,
            training.plugin.model_dump(mode="json"),
            training.plugin.fingerprint,
            tuple(str(label) for label in training.lessons.label_map),
            epoch,
            causes.on,
            causes.data,
            causes.weights,
            causes.seed,
            causes.precision,
            causes.pseudo,
            training.lessons.pseudo_round,
            training.start.plugin,
        )
        checkpoints.save(path, trained, origin)


def _tensorboard(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder / "tensorboard")


def _write_scalars(writer: Any, report: EpochDone) -> None:
    writer.add_scalar("train/loss", report.loss, report.epoch)
    writer.add_scalar("train/learning_rate", report.learning_rate, report.epoch)
    writer.add_scalar("train/images_per_second", report.images_per_second, report.epoch)
    for name, value in (report.losses | report.told).items():
        writer.add_scalar(f"train/{name}", value, report.epoch)
