"""Trains variants of a plugin under one budget, and compares their scores and costs."""

import shutil
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from kitbox.embedding import embedder
from kitbox.embedding.embedder import EmbedOptions
from kitbox.errors import KitboxError
from kitbox.locks import HeldError
from kitbox.network.network import measure_cost
from kitbox.plugin import derivation, variants
from kitbox.plugin.cost import Cost
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.schedules import Cosine, Ema, Phase
from kitbox.plugin.variants import Budget, Variant
from kitbox.records import Checkpoint, Embeddings, Progress
from kitbox.samplers.planner import build_planner
from kitbox.scoring import comparison, local_score
from kitbox.scoring.comparison import Difference
from kitbox.scoring.local_score import LocalScore
from kitbox.training import trainer, training_set
from kitbox.training.context import TrainSetup
from kitbox.training.events import EpochDone, StepDone, SweepEvent, SweepMessage, TrainingStarted
from kitbox.training.runs import Run

# Images that are embedded just to time it, if the cache has all embeddings already.
_TIMED_IMAGES = 256
# Between two looks at a training of another process.
_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class VariantResult:
    """The score and the cost of a variant, or the `problem` that prevented a score.

    `embedding_seconds` are per 1,000 images, None if too few were embedded to tell; `difference`
    is the variant's score minus the best variant's, on the same queries.
    """

    name: str
    plugin: Plugin
    differs: tuple[str, ...]
    problem: str | None = None
    cost: Cost | None = None
    score: LocalScore | None = None
    training_seconds: float | None = None
    images_per_second: float | None = None
    embedding_seconds: float | None = None
    difference: Difference | None = None

    @property
    def value(self) -> float:
        """The competition's metric; -inf without a score."""
        return -np.inf if self.score is None else self.score.scores.main.value


@dataclass
class Sweep:
    """The trainings of variants with one setup, on one fold."""

    budget: Budget
    setup: TrainSetup

    def run(
        self, variants: Sequence[Variant]
    ) -> Generator[SweepEvent, None, tuple[VariantResult, ...]]:
        """Write, train and score every variant; return the results, the best first.

        A variant that fails is reported with its problem, and the others are trained all the same.
        Finished trainings are reused.
        """
        results: list[VariantResult] = []
        epochs: dict[str, int] = {}  # by fingerprint without seed: seeds train equally long
        for number, variant in enumerate(variants, 1):
            differs = ", ".join(variant.differs) or "as is"
            yield SweepMessage(f"{number}/{len(variants)} {variant.name}: {differs}")
            result = VariantResult(
                name=variant.name, plugin=variant.plugin, differs=variant.differs
            )
            try:
                named = yield from self._plugin_file(variant, epochs)
                result = replace(result, name=named.name, plugin=named.plugin)
                result = yield from self._train_and_score(result, named)
            except KitboxError as error:
                result = replace(result, problem=str(error))
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                result = replace(
                    result, problem="does not fit into memory; lower batch_size or image_size"
                )
            if result.problem is not None:
                yield SweepMessage(f"{result.name} failed: {result.problem}")
            results.append(result)
        return rank(results)

    def _plugin_file(
        self, variant: Variant, epochs: dict[str, int]
    ) -> Generator[SweepEvent, None, NamedPlugin]:
        """Return the plugin of a variant, whose file is written unless it exists."""
        seedless = _seedless_fingerprint(variant.plugin)
        measure_cost(variant.plugin)  # refuses a backbone that does not exist
        named = variants.find_existing(variant, self.budget, self.setup.workspace)
        if named is None and self.budget.minutes is not None:
            if seedless not in epochs:
                epochs[seedless] = yield from self._epochs_within(self.budget.minutes, variant)
            variant = variants.variant_with_epochs(variant, epochs[seedless])
            named = variants.find_existing(variant, Budget(), self.setup.workspace)
        if named is None:
            for note in variant.notes:
                yield SweepMessage(note)
            named = variants.write_variant(variant, self.budget, self.setup.workspace)
            yield SweepMessage(f"wrote {named.path}")
        epochs.setdefault(seedless, named.plugin.epochs)
        return named

    def _epochs_within(self, minutes: float, variant: Variant) -> Generator[SweepEvent, None, int]:
        """Return how many epochs of a variant fit into some minutes, at least one."""
        named = NamedPlugin(variant.name, variant.plugin, None, "workspace")
        seconds = yield from epoch_seconds(named, self.setup)
        epochs = max(1, int(minutes * 60 / seconds))
        yield SweepMessage(
            f"an epoch of {variant.name} takes {seconds:.1f} s by a few steps: "
            f"{epochs} in {minutes:g} minutes"
        )
        return epochs

    def _train_and_score(
        self, result: VariantResult, named: NamedPlugin
    ) -> Generator[SweepEvent, None, VariantResult]:
        collection = self.setup.collection
        cost = measure_cost(named.plugin)
        checkpoint = yield from self._train(named)
        training_seconds, images_per_second = pace(Run(checkpoint.path.parent))
        embeddings, embedding_seconds = yield from self._embed(named, checkpoint)
        score = local_score.evaluate(
            embeddings,
            collection.holdout,
            self.setup.competition,
            test_has_groups=collection.test_has_groups,
        )
        return replace(
            result,
            cost=cost,
            score=score,
            training_seconds=training_seconds,
            images_per_second=images_per_second,
            embedding_seconds=embedding_seconds,
        )

    def _train(self, named: NamedPlugin) -> Generator[SweepEvent, None, Checkpoint]:
        """Train a variant, or wait for another process that trains it and take its checkpoint."""
        waiting = False
        while True:
            try:
                return (yield from trainer.train(named, self.setup))
            except HeldError as error:
                if not waiting:
                    yield SweepMessage(f"{error}; waiting for it")
                waiting = True
                time.sleep(_POLL_SECONDS)

    def _embed(
        self, named: NamedPlugin, checkpoint: Checkpoint
    ) -> Generator[Progress, None, tuple[Embeddings, float | None]]:
        """Return the embeddings of the labelled images, and the seconds per 1,000 images."""
        collection, workspace = self.setup.collection, self.setup.workspace
        images, unreadable = collection.labelled, collection.unreadable
        given = self.setup.options
        options = EmbedOptions(
            device=given.device, precision=given.precision, workers=given.workers
        )
        stage = embedder.embed(
            named, checkpoint, images, workspace, unreadable=unreadable, options=options
        )
        embeddings, seconds = yield from _timed(stage)
        if seconds is None:
            few = images.take(np.arange(min(len(images), _TIMED_IMAGES)))
            uncached = replace(options, reuse=False)
            stage = embedder.embed(
                named, checkpoint, few, workspace, unreadable=unreadable, options=uncached
            )
            _, seconds = yield from _timed(stage)
        return embeddings, seconds


def rank(results: Sequence[VariantResult]) -> tuple[VariantResult, ...]:
    """Return results, the best first, each with its difference to the best."""
    order = sorted(results, key=lambda result: -result.value)
    best = order[0]
    if best.score is None:
        return tuple(order)
    return tuple(
        result
        if result is best or result.score is None
        else replace(result, difference=_difference(best, result))
        for result in order
    )


def seed_spread(results: Sequence[VariantResult]) -> float | None:
    """Return the largest score difference of variants that differ by their seed alone."""
    values: dict[str, list[float]] = {}
    for result in results:
        if result.score is not None:
            values.setdefault(_seedless_fingerprint(result.plugin), []).append(result.value)
    spreads = [max(group) - min(group) for group in values.values() if len(group) > 1]
    return max(spreads, default=None)


def pace(run: Run) -> tuple[float, float | None]:
    """Return the seconds of a run's epochs, and the images per second, None without epochs."""
    epochs = [event for event in run.events() if event["event"] == "epoch"]
    seconds = sum(event["seconds"] for event in epochs)
    images = sum(event["images_per_second"] * event["seconds"] for event in epochs)
    return seconds, images / seconds if seconds else None


def _seedless_fingerprint(plugin: Plugin) -> str:
    return plugin.model_copy(update={"seed": 0}).fingerprint


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
    """Return embeddings and the seconds per 1,000 images, None for less than two batches.

    The clock runs from the end of the first batch to that of the last; before the first one the
    network is built.
    """
    marks = []
    while True:
        try:
            progress = next(stage)
        except StopIteration as end:
            embeddings: Embeddings = end.value
            break
        marks.append((time.perf_counter(), progress.done))
        yield progress
    if len(marks) < 2:
        return embeddings, None
    (since, before), (until, after) = marks[0], marks[-1]
    return embeddings, (until - since) / (after - before) * 1000


# The steps between which the clock runs. The first ones load libraries and choose kernels; on a
# GPU only every tenth step waits until it is done.
_TIMED_STEPS = {"cpu": (2, 6), "cuda": (10, 30)}


def epoch_seconds(named: NamedPlugin, setup: TrainSetup) -> Generator[Progress, None, float]:
    """Return the seconds of an epoch's steps, averaged over all epochs; yields Progress.

    Times the steps of a training that is thrown away; it runs on all labelled images, so that
    nothing is scored. If an epoch has few steps, the second epoch is timed. The one pass of a
    backbone that is frozen for several epochs is no step and not counted. Raises KitboxError as
    `trainer.train` does.
    """
    plugin = named.plugin if named.plugin.epochs else derivation.scale_epochs(named.plugin, 1)
    label_rows = training_set.select(plugin, setup).label_rows
    planner = build_planner(plugin, label_rows, plugin.seed)
    on_all = replace(setup, options=replace(setup.options, on="all", fresh=True))
    total, done = 0.0, 0
    for phase in plugin.phases or (Phase(epochs=plugin.epochs),):
        probe = NamedPlugin(f"probe_{named.name}", _short(plugin, phase), None, named.source)
        seconds = yield from _step_seconds(probe, on_all)
        epochs = range(done + 1, done + phase.epochs + 1)
        total += seconds * sum(planner.steps(epoch) for epoch in epochs)
        done += phase.epochs
    return total / plugin.epochs


def _short(plugin: Plugin, phase: Phase) -> Plugin:
    """Return a plugin of two epochs whose steps cost as much as those of a phase."""
    # two phases of one epoch: a backbone that is frozen for two runs once, outside of the steps
    once = phase.model_copy(update={"epochs": 1})
    phases = (once, once) if phase.epochs == 1 else (phase.model_copy(update={"epochs": 2}),)
    changes = {
        "epochs": 2,
        "phases": phases,
        "warmup_epochs": 0.0,
        "schedule": Cosine(),
        # a mean that is updated after each epoch adds nothing to a step
        "averaging": plugin.averaging if isinstance(plugin.averaging, Ema) else None,
    }
    return derivation.with_settings(plugin, changes)


def _step_seconds(probe: NamedPlugin, setup: TrainSetup) -> Generator[Progress, None, float]:
    """Train until enough steps are timed; return the seconds of one, and remove the run."""
    training = trainer.train(probe, setup)
    folder: Path | None = None
    (first, last), began, count = _TIMED_STEPS["cpu"], 0.0, 1
    title = f"time {probe.name.removeprefix('probe_')}"
    try:
        for event in training:
            match event:
                case TrainingStarted():
                    folder, (first, last) = event.folder, _TIMED_STEPS[event.device]
                case Progress():
                    yield event
                case StepDone(epoch=1, step=step, steps=count):
                    if count <= last:
                        continue
                    yield Progress(title, min(step, last), last, "steps")
                    if step == first:
                        began = time.perf_counter()
                    if step == last:
                        return (time.perf_counter() - began) / (last - first)
                case EpochDone(epoch=2, seconds=seconds):
                    return seconds / count
    finally:
        training.close()
        if folder is not None:
            shutil.rmtree(folder.parent, ignore_errors=True)
    raise AssertionError("two epochs ended without a time")
