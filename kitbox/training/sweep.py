"""Trains variants of a plugin under one budget, and compares what they score and cost."""

import shutil
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.embedding import embedder
from kitbox.errors import KitboxError
from kitbox.network.network import Cost, measure_cost
from kitbox.plugin import variants
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.schedules import Cosine, Ema, Phase
from kitbox.plugin.variants import Budget, Variant, scale_epochs, with_settings
from kitbox.records import Checkpoint, Embeddings, Progress
from kitbox.samplers.planner import build_planner
from kitbox.scoring import comparison, local_score
from kitbox.scoring.comparison import Difference
from kitbox.scoring.local_score import LocalScore
from kitbox.training import runs, trainer, training_set
from kitbox.training.context import TrainOptions
from kitbox.training.events import EpochDone, StepDone, SweepEvent, SweepMessage, TrainingStarted
from kitbox.workspace import Workspace

# The steps between which the clock runs. The first ones load libraries and choose kernels; a GPU
# is waited for at every tenth alone.
_TIMED = {"cpu": (2, 6), "cuda": (10, 30)}


def epoch_seconds(
    named: NamedPlugin,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: TrainOptions,
) -> Generator[Progress, None, float]:
    """Return the seconds of an epoch's steps, the mean over all epochs; yields Progress.

    They are steps of a real training, which is thrown away: of one on all labelled images, since
    that scores nothing. Where its epoch has few, the second epoch is timed. Raises KitboxError as
    a training does.
    """
    plugin = named.plugin if named.plugin.epochs else scale_epochs(named.plugin, 1)
    learnt = training_set.select(collection, competition, plugin, options.on, workspace)
    planned = build_planner(plugin, learnt.label_rows, plugin.seed)
    total, done = 0.0, 0
    for stage in plugin.phases or (Phase(epochs=plugin.epochs),):
        probe = NamedPlugin(f"probe_{named.name}", _short(plugin, stage), None, named.source)
        asked = replace(options, on="all", fresh=True)
        seconds = yield from _step_seconds(probe, collection, competition, workspace, asked)
        epochs = range(done + 1, done + stage.epochs + 1)
        total += seconds * sum(planned.steps(epoch) for epoch in epochs)
        done += stage.epochs
    return total / plugin.epochs


def _short(plugin: Plugin, stage: Phase) -> Plugin:
    """Return a plugin of two epochs that costs for each what the plugin does in a stage."""
    course = {
        "epochs": 2,
        "phases": (stage.model_copy(update={"epochs": 2}),),
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
    options: TrainOptions,
) -> Generator[Progress, None, float]:
    stage = trainer.train(probe, collection, competition, workspace, options)
    folder: Path | None = None
    (begin, end), began, count = _TIMED["cpu"], 0.0, 1
    title = f"time {probe.name.removeprefix('probe_')}"
    try:
        for report in stage:
            match report:
                case TrainingStarted():
                    folder, (begin, end) = report.folder, _TIMED[report.device]
                case Progress():
                    yield report
                case StepDone(epoch=1, step=step, steps=count):
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


# Images that are embedded for the clock alone, where the cache has them all.
_FEW = 256


@dataclass(frozen=True)
class VariantResult:
    """What a variant scores and costs, or the `problem` for which it has no score.

    `embedding_seconds` are per 1,000 images, None where they are too few to tell; `difference` is
    that of the best variant to this one on the same queries.
    """

    name: str
    plugin: Plugin
    differs: tuple[str, ...]
    problem: str | None = None
    price: Cost | None = None
    score: LocalScore | None = None
    training_seconds: float | None = None
    images_per_second: float | None = None
    embedding_seconds: float | None = None
    difference: Difference | None = None

    @property
    def value(self) -> float:
        """The competition's metric; a variant without a score is below all others."""
        return -np.inf if self.score is None else self.score.scores.main.value

    @property
    def whatever_seed(self) -> str:
        """What its variants of other seeds have in common with it."""
        return self.plugin.model_copy(update={"seed": 0}).fingerprint


@dataclass
class Sweep:
    """The trainings of variants, on one fold, with the same options."""

    budget: Budget
    collection: Collection
    competition: Competition
    workspace: Workspace
    options: TrainOptions

    def run(
        self, variants: Sequence[Variant]
    ) -> Generator[SweepEvent, None, tuple[VariantResult, ...]]:
        """Write, train and score every variant; return them, the best first.

        One that cannot be trained is told with its reason, and does not stop the others. What was
        trained before is taken as it is.
        """
        done: list[VariantResult] = []
        epochs: dict[str, int] = {}  # by settings but for the seed: seeds train equally long
        for number, one in enumerate(variants, 1):
            yield SweepMessage(
                f"{number}/{len(variants)} {one.name}: {', '.join(one.differs) or 'as is'}"
            )
            tried = VariantResult(one.name, one.plugin, one.differs)
            try:
                named = yield from self._settled(one, epochs)
                tried = replace(tried, name=named.name, plugin=named.plugin)
                tried = yield from self._tried(tried, named)
            except KitboxError as error:
                tried = replace(tried, problem=str(error))
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                tried = replace(
                    tried, problem="does not fit into memory; lower batch_size or image_size"
                )
            if tried.problem is not None:
                yield SweepMessage(f"{tried.name} failed: {tried.problem}")
            done.append(tried)
        return rank(done)

    def _settled(
        self, one: Variant, epochs: dict[str, int]
    ) -> Generator[SweepEvent, None, NamedPlugin]:
        """Return the plugin of a variant; its file is written where there is none."""
        seedless = one.plugin.model_copy(update={"seed": 0}).fingerprint
        measure_cost(one.plugin)  # refuses a backbone that does not exist before a file names it
        found = variants.find_existing(one, self.budget, self.workspace)
        if found is None and self.budget.minutes is not None:
            if seedless not in epochs:
                epochs[seedless] = yield from self._fitting(one, self.budget.minutes)
            one = variants.variant_with_epochs(one, epochs[seedless])
            found = variants.find_existing(one, Budget(), self.workspace)
        if found is None:
            for note in one.notes:
                yield SweepMessage(note)
            found = variants.write_variant(one, self.budget, self.workspace)
            yield SweepMessage(f"wrote {found.path}")
        epochs.setdefault(seedless, found.plugin.epochs)
        return found

    def _fitting(self, one: Variant, minutes: float) -> Generator[SweepEvent, None, int]:
        """Return how many epochs of a variant fit into some minutes, one at least."""
        named = NamedPlugin(one.name, one.plugin, None, "workspace")
        seconds = yield from epoch_seconds(
            named, self.collection, self.competition, self.workspace, self.options
        )
        epochs = max(1, int(minutes * 60 / seconds))
        yield SweepMessage(
            f"an epoch of {one.name} takes {seconds:.1f} s by a few steps: "
            f"{epochs} in {minutes:g} minutes"
        )
        return epochs

    def _tried(
        self, tried: VariantResult, named: NamedPlugin
    ) -> Generator[SweepEvent, None, VariantResult]:
        tried = replace(tried, price=measure_cost(named.plugin))
        checkpoint = yield from trainer.train(
            named, self.collection, self.competition, self.workspace, self.options
        )
        seconds, speed = pace(runs.Run(checkpoint.path.parent))
        embeddings, embedding = yield from self._embedded(named, checkpoint)
        score = local_score.evaluate(
            embeddings,
            self.collection.holdout,
            self.competition,
            test_has_groups=self.collection.test_has_groups,
        )
        return replace(
            tried,
            score=score,
            training_seconds=seconds,
            images_per_second=speed,
            embedding_seconds=embedding,
        )

    def _embedded(
        self, named: NamedPlugin, checkpoint: Checkpoint
    ) -> Generator[Progress, None, tuple[Embeddings, float | None]]:
        """Return the embeddings of labelled images, and the seconds of 1,000 if known."""
        images, unreadable = self.collection.labelled, self.collection.unreadable
        asked = self.options
        options = embedder.EmbedOptions(asked.device, asked.precision, asked.workers)
        stage = embedder.embed(
            named, checkpoint, images, self.workspace, unreadable=unreadable, options=options
        )
        embeddings, seconds = yield from _timed(stage)
        if seconds is None:
            few = images.take(np.arange(min(len(images), _FEW)))
            anew = replace(options, reuse=False)
            stage = embedder.embed(
                named, checkpoint, few, self.workspace, unreadable=unreadable, options=anew
            )
            _, seconds = yield from _timed(stage)
        return embeddings, seconds


def rank(tried: Sequence[VariantResult]) -> tuple[VariantResult, ...]:
    """Return variants, the best first, each with its difference to that one."""
    order = sorted(tried, key=lambda each: -each.value)
    best = order[0]
    if best.score is None:
        return tuple(order)
    return tuple(
        each
        if each is best or each.score is None
        else replace(each, difference=_difference(best, each))
        for each in order
    )


def seed_spread(tried: Sequence[VariantResult]) -> float | None:
    """Return by how much variants that differ by their seed alone differ at most in score."""
    values: dict[str, list[float]] = {}
    for each in tried:
        if each.score is not None:
            values.setdefault(each.whatever_seed, []).append(each.value)
    spreads = [max(group) - min(group) for group in values.values() if len(group) > 1]
    return max(spreads, default=None)


def pace(run: runs.Run) -> tuple[float, float | None]:
    """Return the seconds of all epochs of a run, and images a second; None without an epoch."""
    epochs = [entry for entry in run.events() if entry["event"] == "epoch"]
    seconds = sum(entry["seconds"] for entry in epochs)
    images = sum(entry["images_per_second"] * entry["seconds"] for entry in epochs)
    return seconds, images / seconds if seconds else None


def _difference(best: VariantResult, other: VariantResult) -> Difference:
    assert best.score is not None and other.score is not None  # noqa: S101, PT018
    metric = next(iter(best.score.outcomes))
    return comparison.compare(
        best.score.outcomes[metric],
        other.score.outcomes[metric],
        best.score.individuals,
        (best.name, other.name),
    )


def _timed(
    stage: Generator[Progress, None, Embeddings],
) -> Generator[Progress, None, tuple[Embeddings, float | None]]:
    """Return embeddings and the seconds of 1,000 images, None below two computed batches.

    The clock runs from the end of the first batch to that of the last: before it the network is
    built.
    """
    marks = []
    while True:
        try:
            report = next(stage)
        except StopIteration as end:
            embeddings: Embeddings = end.value
            break
        marks.append((time.perf_counter(), report.done))
        yield report
    if len(marks) < 2:
        return embeddings, None
    (since, before), (until, after) = marks[0], marks[-1]
    return embeddings, (until - since) / (after - before) * 1000
