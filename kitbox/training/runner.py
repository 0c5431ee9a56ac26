"""The common runner: trains any plugin, scores it on the holdout, and goes on where it stopped."""

import io
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from kitbox.competition.settings import Competition
from kitbox.files import write_bytes
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
from kitbox.training.batches import Batch, Planner
from kitbox.training.planning import Asked, planner
from kitbox.training.preparation import Start, Training
from kitbox.training.reports import Begun, EpochDone, Options, Report, Scored
from kitbox.training.schedule import Schedule
from kitbox.training.stages import Phase
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
    best: float = -1.0
    planner: Planner = field(init=False)

    def __post_init__(self) -> None:
        training = self.training
        self.planner = planner(training.plugin, training.lessons.label_rows, training.seed)

    def run_all(self) -> Generator[Report, None, Checkpoint]:
        """Do every epoch that is not done, and return the last checkpoint."""
        training, run = self.training, self.training.run
        plugin = training.plugin
        preparation.seed_everything(training.seed)
        trained, notes = self._build()
        optimizer = preparation.optimizer(plugin, trained)
        averaged = None if plugin.averaging is None else Averaged(trained, plugin.averaging)
        done = self._restore(trained, optimizer, averaged)
        yield self._begun(done, notes)
        if not done and training.options.on == "holdout":
            yield from self._score(trained.network, 0)
        if plugin.epochs:
            yield from self._epochs(trained, optimizer, averaged, done)
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
            notes,
        )

    def _epochs(
        self,
        trained: TrainedNetwork,
        optimizer: Optimizer,
        averaged: Averaged | None,
        done: int,
    ) -> Generator[Report, None, None]:
        training, plugin, fabric = self.training, self.training.plugin, self.training.fabric
        module, wrapped = fabric.setup(trained, optimizer)
        steps = [self.planner.steps(epoch) for epoch in range(1, plugin.epochs + 1)]
        schedule = Schedule(
            optimizer,
            plugin,
            [-(-count // plugin.accumulate) for count in steps],
            done=sum(-(-count // plugin.accumulate) for count in steps[:done]),
        )
        stepper = Stepper(training, trained, module, wrapped, schedule, steps, averaged)
        asked = Asked(
            training.lessons.images.image_ids,
            training.seed,
            fabric.global_rank,
            fabric.world_size,
        )
        writer = _tensorboard(training.run.folder) if training.first else None
        for phase in stages.phases(plugin):
            if phase.last <= done:
                continue
            trained.network.freeze_backbone(phase.frozen_backbone)
            loader = self._loader(phase, asked)
            for epoch in range(max(phase.first, done + 1), phase.last + 1):
                asked.batches = yield from self._planned(trained.network, epoch)
                asked.epoch = epoch
                torch.manual_seed(loading.seed_of(training.seed, epoch, "torch"))
                report = yield from stepper.run(epoch, asked.batches, asked, loader)
                yield from self._tell(report, writer)
                yield from self._judge(trained, averaged, epoch, asked, writer)
                if training.first:
                    self._save_state(trained, optimizer, averaged, epoch)
                fabric.barrier()
        if writer is not None:
            writer.close()

    def _loader(self, phase: Phase, asked: Any) -> Any:
        training, learnt = self.training, self.training.lessons
        view = training.view(
            learnt.images, phase.image_size, training.plugin.augmentation, learnt.any_of
        )
        return training.loader(view, asked)

    def _planned(self, network: Network, epoch: int) -> Generator[Report, None, Sequence[Batch]]:
        """Return the batches of an epoch; the first process makes the vectors they need."""
        training = self.training
        needed = self.planner.needs(epoch)
        vectors: Floats | None = None
        if needed is not None:
            if training.first:
                # the backbone as it came is built again, since a training may have gone on
                asked = self._build()[0].network if needed == "frozen" else network
                vectors = yield from judging.vectors(
                    training,
                    asked,
                    training.lessons.images,
                    "embed training images",
                    pooled=needed != "embedding",
                )
            vectors = training.fabric.broadcast(vectors)
        return self.planner.plan(epoch, vectors)

    def _tell(self, report: EpochDone, writer: Any) -> Generator[Report, None, None]:
        """Report an epoch, and write it down."""
        report = replace(report, told=report.told | self.planner.told())
        yield report
        if self.training.first:
            self.training.run.note("epoch", **vars(report))
            _write_scalars(writer, report)

    def _judge(
        self,
        trained: TrainedNetwork,
        averaged: Averaged | None,
        epoch: int,
        asked: Asked,
        writer: Any,
    ) -> Generator[Report, None, None]:
        """Score the network where its time has come, and save it after the last epoch."""
        training, plugin = self.training, self.training.plugin
        ends = epoch == plugin.epochs
        scores = training.options.on == "holdout" and (epoch % plugin.score_every == 0 or ends)
        if averaged is not None:
            averaged.after_epoch(trained, epoch)
        if not (scores or ends):
            return
        if training.first:
            trained = self._averaged(trained, averaged, asked)
        if scores:
            for scored in self._score(trained.network, epoch, trained):
                yield scored
                if isinstance(scored, Scored) and writer is not None:
                    for metric, score in scored.scores.by_metric.items():
                        writer.add_scalar(f"holdout/{metric}", score.value, epoch)
        if ends and training.first:
            self._save(trained, training.run.last, epoch)

    def _averaged(
        self, trained: TrainedNetwork, averaged: Averaged | None, asked: Asked
    ) -> TrainedNetwork:
        """Return the network with averaged weights and statistics that belong to them."""
        if averaged is None or averaged.model is None:
            return trained
        training = self.training
        items = Asked(training.lessons.images.image_ids, training.seed, 0, 1)
        items.batches, items.epoch = asked.batches[:_REFRESHING], asked.epoch
        phase = stages.at(training.plugin, asked.epoch)
        averaging.refresh(
            averaged.model.network,
            (pixels for pixels, _ in self._loader(phase, items)),
            training.device,
            training.precision,
        )
        return averaged.model

    def _build(self) -> tuple[TrainedNetwork, tuple[str, ...]]:
        """Return the network with its first weights, and what there is to say of them."""
        training, plugin = self.training, self.training.plugin
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
        self, network: Network, epoch: int, trained: TrainedNetwork | None = None
    ) -> Generator[Report, None, None]:
        """Score the holdout in the first process; keep a network that is the best so far."""
        training = self.training
        if training.first:
            scores = yield from judging.score(training, network, frozen=epoch == 0)
            better = trained is not None and scores.main.value > self.best
            if better and trained is not None:
                self.best = scores.main.value
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
        )
        checkpoints.save(path, trained, origin)

    def _save_state(
        self,
        trained: TrainedNetwork,
        optimizer: Optimizer,
        averaged: Averaged | None,
        epoch: int,
    ) -> None:
        state = {
            "trained": trained.state_dict(),
            "optimizer": optimizer.state_dict(),
            "averaged": None if averaged is None else averaged.state_dict(),
            "planner": self.planner.state(),
            "epoch": epoch,
            "best": self.best,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(self.training.run.state, buffer.getvalue())

    def _restore(
        self, trained: TrainedNetwork, optimizer: Optimizer, averaged: Averaged | None
    ) -> int:
        """Load the state of the last finished epoch, if there is one; return that epoch."""
        run = self.training.run
        if not run.state.exists():
            if self.training.first:
                run.forget_after(-1)
            return 0
        state = torch.load(run.state, map_location="cpu", weights_only=True)
        trained.load_state_dict(state["trained"])
        optimizer.load_state_dict(state["optimizer"])
        if averaged is not None:
            averaged.load_state_dict(state["averaged"])
        self.planner.restore(state.get("planner", {}))
        self.best = state["best"]
        if self.training.first:
            run.forget_after(state["epoch"])
        return int(state["epoch"])


def _tensorboard(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder / "tensorboard")


def _write_scalars(writer: Any, report: EpochDone) -> None:
    writer.add_scalar("train/loss", report.loss, report.epoch)
    writer.add_scalar("train/learning_rate", report.learning_rate, report.epoch)
    writer.add_scalar("train/images_per_second", report.images_per_second, report.epoch)
    for name, value in (report.losses | report.told).items():
        writer.add_scalar(f"train/{name}", value, report.epoch)
