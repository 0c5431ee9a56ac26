"""How many epochs of a plugin fit into some minutes here: by the clock, over a few steps."""

import shutil
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from kitbox.competition.settings import Competition
from kitbox.images.collection import Collection
from kitbox.plugin.budget import lasting, with_settings
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.phases import Cosine, Ema, Stage
from kitbox.plugin.settings import Plugin
from kitbox.records import Progress
from kitbox.training import lessons, runner
from kitbox.training.planning import planner
from kitbox.training.reports import Begun, EpochDone, Options, Step
from kitbox.workspace import Workspace

# The steps between which the clock runs. The first ones load libraries and choose kernels; a GPU
# is waited for at every tenth alone.
_TIMED = {"cpu": (2, 6), "cuda": (10, 30)}


def epoch_seconds(
    named: NamedPlugin,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: Options,
) -> Generator[Progress, None, float]:
    """Return the seconds of an epoch's steps, the mean over all epochs; yields Progress.

    They are steps of a real training, which is thrown away: of one on all labelled images, since
    that scores nothing. Where its epoch has few, the second epoch is timed. Raises KitboxError as
    a training does.
    """
    plugin = named.plugin if named.plugin.epochs else lasting(named.plugin, 1)
    learnt = lessons.gather(collection, competition, plugin, options.on, workspace)
    planned = planner(plugin, learnt.label_rows, plugin.seed)
    total, done = 0.0, 0
    for stage in plugin.stages or (Stage(epochs=plugin.epochs),):
        probe = NamedPlugin(f"probe_{named.name}", _short(plugin, stage), None, named.source)
        asked = replace(options, on="all", fresh=True)
        seconds = yield from _step_seconds(probe, collection, competition, workspace, asked)
        epochs = range(done + 1, done + stage.epochs + 1)
        total += seconds * sum(planned.steps(epoch) for epoch in epochs)
        done += stage.epochs
    return total / plugin.epochs


def _short(plugin: Plugin, stage: Stage) -> Plugin:
    """Return a plugin of two epochs that costs for each what the plugin does in a stage."""
    course = {
        "epochs": 2,
        "stages": (stage.model_copy(update={"epochs": 2}),),
        "warmup_epochs": 0.0,
        "schedule": Cosine(),
        # the mean after each epoch takes no time of a step
        "averaging": plugin.averaging if isinstance(plugin.averaging, Ema) else None,
    }
    return with_settings(plugin, course)


def _step_seconds(
    probe: NamedPlugin,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: Options,
) -> Generator[Progress, None, float]:
    stage = runner.train(probe, collection, competition, workspace, options)
    folder: Path | None = None
    (begin, end), began, count = _TIMED["cpu"], 0.0, 1
    title = f"time {probe.name.removeprefix('probe_')}"
    try:
        for report in stage:
            match report:
                case Begun():
                    folder, (begin, end) = report.folder, _TIMED[report.device]
                case Progress():
                    yield report
                case Step(epoch=1, step=step, steps=count):
                    if count <= end:
                        continue
                    yield Progress(title, min(step, end), end, "steps")
                    if step == begin:
                        began = time.perf_counter()
                    if step == end:
                        return (time.perf_counter() - began) / (end - begin)
                case EpochDone(epoch=2, seconds=seconds):
                    return seconds / count
    finally:
        stage.close()
        if folder is not None:
            shutil.rmtree(folder.parent, ignore_errors=True)
    raise AssertionError("two epochs ended without a report")
