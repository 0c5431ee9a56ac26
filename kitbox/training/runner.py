"""The common runner: trains any plugin, scores it on the holdout, and goes on where it stopped."""

import io
import time
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.files import write_bytes
from kitbox.images import loading
from kitbox.images.collection import Collection
from kitbox.network import checkpoint as checkpoints
from kitbox.network import depthwise, inference, weights
from kitbox.network.checkpoint import Origin
from kitbox.network.heads import TrainedNetwork
from kitbox.network.network import Network
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.settings import Plugin
from kitbox.records import Checkpoint, Embeddings, ImageSet, Integers, Progress
from kitbox.scoring import local
from kitbox.training import preparation, runs
from kitbox.training.reports import Begun, EpochDone, Options, Report, Scored, Step
from kitbox.training.samplers import EpochBatches
from kitbox.training.schedule import Schedule
from kitbox.workspace import Workspace

# Images in a batch when nothing is learnt.
_INFERENCE_BATCH = 64


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
    seed = plugin.seed if options.seed is None else options.seed
    images = preparation.learnable(collection, competition, plugin, options.on)
    source = preparation.weights_source(plugin, options.weights, workspace)
    side = collection.labelled if options.on == "all" else collection.holdout.train
    causes = runs.Causes(
        named.name,
        plugin.fingerprint,
        runs.data_digest(side),
        weights.source_digest(source),
        options.on,
        seed,
        precision,
    )
    run = runs.Run(workspace.runs / causes.plugin / causes.key)
    if run.finished and not options.fresh:
        return checkpoints.of(run.last)
    fabric = preparation.fabric(device, precision, options)
    fabric.launch()
    # of several processes the first owns the folder; the others read what it has prepared
    with runs.locked(run) if fabric.is_global_zero else nullcontext():
        if fabric.is_global_zero:
            runs.begin(run, causes, fresh=options.fresh)
        fabric.barrier()
        trainer = _Trainer(
            named.name,
            plugin,
            images,
            collection,
            competition,
            causes,
            run,
            source,
            options,
            fabric,
            workspace,
        )
        return (yield from trainer.run_all())


@dataclass
class _Trainer:
    """One training while it runs."""

    name: str
    plugin: Plugin
    images: ImageSet
    collection: Collection
    competition: Competition
    causes: runs.Causes
    run: runs.Run
    source: str | Path
    options: Options
    fabric: Any
    workspace: Workspace
    best: float = field(init=False, default=-1.0)

    def __post_init__(self) -> None:
        assert self.images.labels is not None  # noqa: S101  learnable images have labels
        self.precision, self.seed = self.causes.precision, self.causes.seed
        self.device: str = self.fabric.device.type
        self.label_map, rows = np.unique(self.images.labels, return_inverse=True)
        self.label_rows: Integers = rows.astype(np.int64)

    def run_all(self) -> Generator[Report, None, Checkpoint]:
        """Do every epoch that is not done, and return the last checkpoint."""
        plugin = self.plugin
        preparation.seed_everything(self.seed)
        trained = self._build()
        optimizer = preparation.optimizer(plugin, trained)
        done = self._restore(trained, optimizer)
        yield Begun(
            self.name,
            len(self.images),
            len(self.label_map),
            self.device,
            self.precision,
            done,
            str(self.source),
            self.run.folder,
            self._view(self.images).source,
        )
        if not done and self.options.on == "holdout":
            yield from self._score(trained, 0)
        if plugin.epochs:
            yield from self._epochs(trained, optimizer, done)
        if self._first:
            self._save(trained, self.run.last, plugin.epochs)
            self.run.note("finished", epoch=plugin.epochs)
            self.run.state.unlink(missing_ok=True)
        self.fabric.barrier()
        return checkpoints.of(self.run.last)

    @property
    def _first(self) -> bool:
        return bool(self.fabric.is_global_zero)

    def _epochs(
        self, trained: TrainedNetwork, optimizer: Optimizer, done: int
    ) -> Generator[Report, None, None]:
        plugin = self.plugin
        module, wrapped = self.fabric.setup(trained, optimizer)
        batches = EpochBatches(
            self.images.image_ids,
            self.label_rows,
            plugin,
            self.seed,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
        )
        steps = len(batches)
        schedule = Schedule(
            optimizer,
            total=plugin.epochs * steps,
            warmup=round(plugin.warmup_epochs * steps),
            final=plugin.final_learning_rate / plugin.learning_rate,
            done=done * steps,
        )
        loader = self._loader(self._view(self.images, plugin.augmentation), batches)
        writer = _tensorboard(self.run.folder) if self._first else None
        for epoch in range(done + 1, plugin.epochs + 1):
            batches.epoch = epoch
            torch.manual_seed(loading.seed_of(self.seed, epoch, "torch"))
            report = yield from self._epoch(module, wrapped, schedule, loader, epoch, steps)
            yield report
            if self._first:
                self.run.note("epoch", **vars(report))
                _write_scalars(writer, report)
            if self.options.on == "holdout" and (
                epoch % plugin.score_every == 0 or epoch == plugin.epochs
            ):
                for scored in self._score(trained, epoch):
                    yield scored
                    if isinstance(scored, Scored) and writer is not None:
                        for metric, score in scored.scores.by_metric.items():
                            writer.add_scalar(f"holdout/{metric}", score.value, epoch)
            if self._first:
                self._save_state(trained, optimizer, epoch)
            self.fabric.barrier()
        if writer is not None:
            writer.close()

    def _epoch(
        self,
        module: nn.Module,
        optimizer: Any,
        schedule: Schedule,
        loader: Any,
        epoch: int,
        steps: int,
    ) -> Generator[Report, None, EpochDone]:
        plugin = self.plugin
        module.train()
        began, seen = time.perf_counter(), 0
        sums: dict[str, float] = {}
        total = 0.0
        learning_rate = 0.0
        for step, (pixels, rows) in enumerate(loader, 1):
            labels = torch.from_numpy(self.label_rows)[rows]
            loss, terms = module(
                pixels.to(self.fabric.device, non_blocking=True), labels.to(self.fabric.device)
            )
            value = float(loss.detach())
            if not np.isfinite(value):
                raise KitboxError(
                    f"the loss of {self.name} became {value} at epoch {epoch}, step {step}; lower "
                    "learning_rate or gradient_clip, or train with --precision 32"
                )
            optimizer.zero_grad(set_to_none=True)
            self.fabric.backward(loss)
            if plugin.gradient_clip is not None:
                self.fabric.clip_gradients(
                    module, optimizer, max_norm=plugin.gradient_clip, error_if_nonfinite=False
                )
            learning_rate = optimizer.param_groups[0]["lr"]
            optimizer.step()
            schedule.step()
            total += value
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + float(term.detach())
            seen += len(rows) * self.fabric.world_size
            speed = seen / (time.perf_counter() - began)
            left = (plugin.epochs - epoch + 1) * steps - step
            seconds_left = left * (seen / step) / speed
            yield Step(epoch, plugin.epochs, step, steps, value, learning_rate, speed, seconds_left)
        seconds = time.perf_counter() - began
        means = {name: value / steps for name, value in sums.items()}
        return EpochDone(epoch, total / steps, means, learning_rate, seen / seconds, seconds)

    def _build(self) -> TrainedNetwork:
        plugin = self.plugin
        network = Network(plugin, pretrained=self.source == "hub")
        if isinstance(self.source, Path):
            weights.load(network.backbone, self.source)
        if self.device == "cpu" and self.precision == "bf16":
            depthwise.quicken(network.backbone)
        trained = TrainedNetwork(network, plugin, len(self.label_map))
        trained.to(self.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return trained

    def _view(self, images: ImageSet, augmentation: str = "none") -> loading.View:
        plugin = self.plugin
        return loading.View(
            images,
            plugin.height_width,
            interpolation=self._interpolation,
            crop_margin=plugin.crop_margin if plugin.crop else None,
            augmentation=augmentation,
            workspace=self.workspace,
        )

    def _loader(self, view: loading.View, batches: Any) -> Any:
        workers = loading.workers(view, self.device, self.options.workers)
        return loading.load(view, batches, workers=workers, pinned=self.device == "cuda")

    @property
    def _interpolation(self) -> str:
        from kitbox.network.backbone import pixel_form

        return pixel_form(self.plugin.backbone).interpolation

    def _score(self, trained: TrainedNetwork, epoch: int) -> Generator[Report, None, None]:
        """Score the holdout by the search that everything else uses; the first process does it."""
        if self._first:
            images = self.collection.labelled
            needed = np.isin(
                images.image_ids,
                np.union1d(
                    self.collection.holdout.query.image_ids,
                    self.collection.holdout.gallery.image_ids,
                ),
            )
            images = images.take(needed)
            rows = np.arange(len(images))
            batches = np.split(rows, range(_INFERENCE_BATCH, len(rows), _INFERENCE_BATCH))
            loader = self._loader(
                self._view(images), [[int(row) for row in batch] for batch in batches]
            )
            parts = []
            for vectors, _ in inference.unit_vectors(
                trained.network,
                loader,
                device=self.device,
                precision=self.precision,
                frozen=epoch == 0,
            ):
                parts.append(vectors)
                done = min(len(parts) * _INFERENCE_BATCH, len(images))
                yield Progress("embed holdout", done, len(images))
            embeddings = Embeddings(images.image_ids, np.concatenate(parts))
            found = local.evaluate(
                embeddings,
                self.collection.holdout,
                self.competition,
                test_has_groups=self.collection.test_has_groups,
            )
            better = epoch > 0 and found.scores.main.value > self.best
            if better:
                self.best = found.scores.main.value
                self._save(trained, self.run.best, epoch)
            self.run.note("score", epoch=epoch, best=better, scores=found.scores.as_json())
            yield Scored(epoch, found.scores, better)
        self.fabric.barrier()

    def _save(self, trained: TrainedNetwork, path: Path, epoch: int) -> None:
        origin = Origin(
            self.name,
            self.plugin.model_dump(mode="json"),
            self.plugin.fingerprint,
            tuple(str(label) for label in self.label_map),
            epoch,
            self.options.on,
            self.causes.data,
            self.causes.weights,
            self.seed,
            self.precision,
        )
        checkpoints.save(path, trained, origin)

    def _save_state(self, trained: TrainedNetwork, optimizer: Optimizer, epoch: int) -> None:
        state = {
            "trained": trained.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epoch": epoch,
            "best": self.best,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(self.run.state, buffer.getvalue())

    def _restore(self, trained: TrainedNetwork, optimizer: Optimizer) -> int:
        """Load the state of the last finished epoch, if there is one; return that epoch."""
        if not self.run.state.exists():
            if self._first:
                self.run.forget_after(-1)
            return 0
        state = torch.load(self.run.state, map_location="cpu", weights_only=True)
        trained.load_state_dict(state["trained"])
        optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
        if self._first:
            self.run.forget_after(state["epoch"])
        return int(state["epoch"])


def _tensorboard(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder / "tensorboard")


def _write_scalars(writer: Any, report: EpochDone) -> None:
    writer.add_scalar("train/loss", report.loss, report.epoch)
    writer.add_scalar("train/learning_rate", report.learning_rate, report.epoch)
    writer.add_scalar("train/images_per_second", report.images_per_second, report.epoch)
    for name, value in report.losses.items():
        writer.add_scalar(f"train/{name}", value, report.epoch)
