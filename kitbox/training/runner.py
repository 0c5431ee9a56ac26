"""The common runner: trains any plugin, scores it on the holdout, and goes on where it stopped."""

import time
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch

from kitbox.competition.settings import Competition
from kitbox.images import loading
from kitbox.images.collection import Collection
from kitbox.network import checkpoint as checkpoints
from kitbox.network import inference, weights
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint, Floats
from kitbox.training import (
    building,
    judging,
    lessons,
    planning,
    preparation,
    runs,
    stages,
    transfer,
)
from kitbox.training.averaging import Averaged
from kitbox.training.batches import Batch
from kitbox.training.keeping import Keeper
from kitbox.training.planning import Asked
from kitbox.training.preparation import Start, Training
from kitbox.training.reports import Begun, Options, Report
from kitbox.training.schedule import Schedule
from kitbox.training.state import State
from kitbox.training.steps import Stepper
from kitbox.training.telling import Teller
from kitbox.workspace import Workspace


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

    Raises KitboxError for weights that do not fit, images that leave nothing to learn, batches that
    processes cannot share, and a loss that is no longer a number.
    """
    plugin = named.plugin
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device, training=True)
    planning.together(plugin, options.devices * options.nodes)  # refuses what cannot be shared
    learnt = lessons.gather(collection, competition, plugin, options.on, workspace, options.pseudo)
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
        return runs.take(run)
    fabric = preparation.fabric(device, precision, options, plugin)
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
        trained, notes = building.build(training)
        state = State(
            trained,
            preparation.optimizer(plugin, trained),
            None if plugin.averaging is None else Averaged(trained, plugin.averaging),
            planning.planner(plugin, training.lessons.label_rows, training.seed),
        )
        done = state.restore(run)
        if training.first:
            run.forget_after(done or -1)
        yield self._begun(done, notes)
        keeper = Keeper(training, state)
        if not done and training.options.on == "holdout":
            yield from keeper.score(trained, 0)
        if plugin.epochs:
            yield from self._epochs(state, keeper, done)
        else:
            keeper.save(trained, run.last, 0)
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

    def _epochs(self, state: State, keeper: Keeper, done: int) -> Generator[Report, None, None]:
        training, plugin, fabric = self.training, self.training.plugin, self.training.fabric
        stepper = self._stepper(state, done)
        asked = self._asked()
        teller = Teller(training)
        for phase in stages.phases(plugin):
            if phase.last_epoch <= done:
                continue
            state.trained.network.freeze_backbone(phase.frozen_backbone)
            loader = training.lesson_loader(phase.image_size, asked)
            for epoch in range(max(phase.first_epoch, done + 1), phase.last_epoch + 1):
                began = time.perf_counter()
                asked.batches = yield from self._planned(state, epoch)
                asked.epoch = epoch
                planned_in = time.perf_counter() - began
                torch.manual_seed(loading.seed_of(training.seed, epoch, "torch"))
                report = yield from stepper.run(epoch, asked, loader)
                report = replace(report, seconds=report.seconds + planned_in)
                yield from teller.epoch(report, state.planner.told())
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
        schedule = Schedule(state.optimizer, plugin, steps, done=sum(steps[:done]))
        return Stepper(training, state, module, optimizer, schedule, batches)

    def _asked(self) -> Asked:
        training, fabric = self.training, self.training.fabric
        return Asked(
            training.lessons.images.image_ids,
            training.seed,
            fabric.global_rank,
            fabric.world_size,
            planning.together(training.plugin, fabric.world_size),
        )

    def _planned(self, state: State, epoch: int) -> Generator[Report, None, Sequence[Batch]]:
        """Return the batches of an epoch; the first process makes the vectors they need."""
        training = self.training
        needed = state.planner.needs(epoch)
        vectors: Floats | None = None
        if needed is not None:
            if training.first:
                # the backbone as it came is built again, since a training may have gone on
                source = building.build(training)[0] if needed == "frozen" else state.trained
                vectors = yield from judging.vectors(
                    training,
                    source.network,
                    training.lessons.images,
                    "embed training images",
                    pooled=needed != "embedding",
                )
            vectors = training.fabric.broadcast(vectors)
        return state.planner.plan(epoch, vectors)
