"""Trains a detector on drawn boxes until it no longer learns, and detects boxes in images."""

import io
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from pickle import PickleError
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from kitbox.boxes import average_precision, detections, detector_data, detector_store
from kitbox.boxes.detections import Detections
from kitbox.boxes.detector import Detector, DetectorSettings
from kitbox.boxes.detector_data import BoxedImages
from kitbox.boxes.detector_store import DetectorFolder, DetectorKey, TrainedDetector, damaged_error
from kitbox.embedding.engine_choice import WORTHWHILE
from kitbox.errors import KitboxError
from kitbox.files import read_sealed, write_sealed
from kitbox.images.loader import default_worker_count
from kitbox.network import acceleration, inference
from kitbox.records import Floats, ImageSet, Progress
from kitbox.weights import weight_source
from kitbox.workspace import Workspace

# Clips the gradients of the first steps, when the heads are random.
_LARGEST_GRADIENT_NORM = 5.0
# Learning rate of the pretrained backbone / that of the new heads.
_BACKBONE_RATE = 0.3
# Steps, at most an epoch, after which the time is estimated; the first is slower and not counted.
_TIMED_STEPS = 5
# Seconds of a forward pass / those of a training step: a backward pass takes about twice as long.
_FORWARD_SHARE = 1 / 3


@dataclass(frozen=True)
class DetectorOptions:
    """The device and precision of a detector; `fresh` trains again instead of reusing one."""

    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    fresh: bool = False


@dataclass(frozen=True)
class DetectorEstimate:
    """The seconds that a training takes from its first steps on, at most: it may stop early.

    `seconds_per_image` is an estimate for the detection of boxes.
    """

    epochs: int
    images: int
    seconds: float
    seconds_per_image: float


@dataclass(frozen=True)
class DetectorEpoch:
    """An epoch is done: its average precision on held-out images, if there are any.

    `best_epoch` is the best one so far; `stopped` if the training ends before its last epoch.
    """

    epoch: int
    epochs: int
    ap: float | None
    best_epoch: int
    seconds_left: float
    stopped: bool


DetectorEvent = Progress | DetectorEstimate | DetectorEpoch


@dataclass
class _Position:
    """Where a training stands: finished epochs, their seconds, and the best weights so far."""

    epoch: int = 0
    seconds: float = 0.0
    best_ap: float = 0.0
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def add(self, ap: float | None, detector: Detector) -> None:
        """Keep the weights of the best epoch, or, while nothing is detected, of the last one."""
        if ap is None or ap > self.best_ap or self.best_ap == 0:
            self.best_ap, self.best_epoch = ap or 0.0, self.epoch
            if ap is not None:
                state = detector.state_dict()
                self.best_weights = {name: t.detach().clone() for name, t in state.items()}

    def no_longer_learns(self, patience: int) -> bool:
        """Return whether the last `patience` epochs were not better, but something is detected."""
        return bool(patience and self.best_ap and self.epoch - self.best_epoch >= patience)


@dataclass(frozen=True)
class DetectionRun:
    """The detections of each image.

    `images_read` images were read in `seconds`; the detections of the others are from an earlier
    run.
    """

    detections: list[Detections]
    images_read: int
    seconds: float

    @property
    def images_per_second(self) -> float | None:
        """The speed of reading and detecting, None if no image was read."""
        return self.images_read / self.seconds if self.images_read else None


def train(
    boxed: BoxedImages,
    settings: DetectorSettings,
    source: Path | str,
    workspace: Workspace,
    options: DetectorOptions,
    held: BoxedImages | None = None,
) -> Generator[DetectorEvent, None, TrainedDetector]:
    """Return a detector trained on boxes, or the earlier one with the same key; yields events.

    An interrupted training is resumed after its last finished epoch. `source` is where the
    backbone's weights come from: "hub", "none" or a file. If the settings have a patience, the
    `held` boxes are scored after each epoch: they end the training and choose the epoch.
    """
    if not settings.patience or held is None or not len(held):
        held = None
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device, training=True)
    key = DetectorKey(
        settings=settings.model_dump(mode="json"),
        data=detector_store.data_digest(boxed),
        weights=weight_source.source_digest(source),
        precision=precision,
        held="" if held is None else detector_store.data_digest(held),
    )
    folder = DetectorFolder(workspace.detectors / key.digest)
    if options.fresh or not folder.weights.exists():
        with detector_store.lock(folder):
            if options.fresh:
                detector_store.delete(folder)
            detector, position = yield from train_epochs(
                boxed,
                settings,
                source,
                folder.state,
                held=held,
                device=device,
                precision=precision,
                workers=options.workers,
            )
            height_width = settings.height_width(boxed.shape)
            seconds, epoch = position.seconds, position.best_epoch
            detector_store.save(folder, detector, key, height_width, seconds, epoch)
    folder.state.unlink(missing_ok=True)  # a training that was killed at its end has it still
    return detector_store.load(folder)


def train_epochs(
    boxed: BoxedImages,
    settings: DetectorSettings,
    source: Path | str,
    state: Path,
    *,
    held: BoxedImages | None = None,
    device: str,
    precision: str,
    workers: int | None = None,
) -> Generator[DetectorEvent, None, tuple[Detector, _Position]]:
    """Return a detector trained on boxes, and where its training ended; yields events.

    The state after each epoch is saved in the file `state`. If that exists, the training resumes
    from it, and ends with the same weights. Raises KitboxError for a loss that is not a finite
    number.
    """
    torch.manual_seed(settings.seed)
    detector = _build_detector(settings, source, device, precision)
    batches = detector_data.EpochBatches(boxed, settings.batch_size, settings.seed)
    optimizer, schedule = _build_optimizer(detector, settings, len(batches))
    position = _load_state(state, detector, optimizer, schedule)
    height_width = settings.height_width(boxed.shape)
    interpolation = detector.pyramid.data_config.interpolation
    loader = detector_data.build_loader(
        detector_data.BoxedDataset(boxed, height_width, interpolation),
        batches,
        workers=default_worker_count(device, workers),
    )
    earlier, earlier_seconds = position.epoch, position.seconds
    total = settings.epochs * len(batches)
    start = first_step = time.perf_counter()
    while position.epoch < settings.epochs and not position.no_longer_learns(settings.patience):
        batches.epoch = epoch = position.epoch + 1
        for step, (pixels, boxes, _) in enumerate(loader, 1):
            loss = _step(detector.train(), pixels, boxes, optimizer, device, precision)
            if not loss < float("inf"):
                raise KitboxError(
                    f"the loss of the detector became {loss} at epoch {epoch}",
                    fix="try --precision 32, or another --backbone",
                )
            schedule.step()
            now, steps = time.perf_counter(), (epoch - 1) * len(batches) + step
            done = steps - earlier * len(batches)
            first_step = now if done == 1 else first_step
            if done == min(_TIMED_STEPS, len(batches)):
                per_step = (now - first_step) / (done - 1) if done > 1 else now - start
                per_image = per_step * len(batches) / len(boxed) * _FORWARD_SHARE
                scoring = per_image * len(held) * (settings.epochs - earlier) if held else 0.0
                seconds = per_step * (total - steps) + scoring
                yield DetectorEstimate(settings.epochs, len(boxed), seconds, per_image)
            speed = done / len(batches) * len(boxed) / (now - start)
            note = f"epoch {epoch}/{settings.epochs}, loss {loss:.3f}, {speed:.0f} images/s"
            yield Progress("train the detector", steps, total, "steps", note)
        position.epoch = epoch
        ap = (
            None
            if held is None
            else _score(detector, held, height_width, device, precision, workers)
        )
        position.add(ap, detector)
        position.seconds = earlier_seconds + time.perf_counter() - start
        _save_state(state, detector, optimizer, schedule, position)
        yield DetectorEpoch(
            epoch=epoch,
            epochs=settings.epochs,
            ap=ap,
            best_epoch=position.best_epoch,
            seconds_left=(time.perf_counter() - start)
            / (epoch - earlier)
            * (settings.epochs - epoch),
            stopped=epoch < settings.epochs and position.no_longer_learns(settings.patience),
        )
    if position.best_weights:
        detector.load_state_dict(position.best_weights)
    return detector.eval(), position


def _score(
    detector: Detector,
    held: BoxedImages,
    height_width: tuple[int, int],
    device: str,
    precision: str,
    workers: int | None,
) -> float:
    """Return the average precision of a detector over IoUs of .5 to .95 on held-out images."""
    found: dict[int, Detections] = {}
    for rows, of_rows in detections.detect(
        detector,
        list(held.images.paths),
        height_width,
        device=device,
        precision=precision,
        workers=workers,
    ):
        found |= dict(zip(rows, of_rows, strict=True))
    matches = average_precision.match_boxes(held.boxes, [found[row] for row in range(len(held))])
    return float(matches.average_precision(np.ones((1, len(held)))).mean())


def detect(
    trained: TrainedDetector, images: ImageSet, options: DetectorOptions
) -> Generator[Progress, None, DetectionRun]:
    """Return the detections of each image, in the order of the images; yields Progress.

    Detections are saved after every batch; an image with earlier detections is not read again.
    """
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device)
    digests = [str(digest) for digest in images.file_digests]
    file = trained.folder.detections(precision)
    known = detector_store.load_detections(file)
    paths = {
        digest: path
        for digest, path in zip(digests, images.paths, strict=True)
        if digest not in known
    }
    new = list(paths)
    stage = detections.detect(
        trained.detector,
        list(paths.values()),
        trained.height_width,
        device=device,
        precision=precision,
        workers=options.workers,
        graph=len(images) >= WORTHWHILE,
    )
    done, start = 0, time.perf_counter()
    with detector_store.lock(trained.folder), closing(stage):
        for rows, of_rows in stage if new else ():
            batch = {new[row]: each for row, each in zip(rows, of_rows, strict=True)}
            detector_store.append_detections(file, batch)
            known |= batch
            done += len(batch)
            note = f"{done / (time.perf_counter() - start):.0f} images/s"
            yield Progress("detect boxes", done, len(new), note=note)
    seconds = time.perf_counter() - start
    return DetectionRun([known[digest] for digest in digests], len(new), seconds)


def _build_detector(
    settings: DetectorSettings, source: Path | str, device: str, precision: str
) -> Detector:
    """Return a detector on a device, with the backbone's initial weights."""
    detector = Detector(settings, pretrained=source == "hub")
    if isinstance(source, Path):
        detector.load_weights(source)
    if device == "cpu":
        acceleration.avoid_torch_crashes(detector.pyramid.backbone)
        if precision == "bf16":
            acceleration.speed_up_training(detector.pyramid.backbone)
    return detector.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _build_optimizer(
    detector: Detector, settings: DetectorSettings, steps: int
) -> tuple[Any, OneCycleLR]:
    """Return AdamW and its schedule: a warm-up over a tenth of the steps, then a cosine to zero."""
    backbone = [p for p in detector.pyramid.backbone.parameters() if p.requires_grad]
    backbone_ids = {id(parameter) for parameter in detector.pyramid.backbone.parameters()}
    heads = [p for p in detector.parameters() if id(p) not in backbone_ids]
    rates = [settings.learning_rate * _BACKBONE_RATE, settings.learning_rate]
    optimizer = torch.optim.AdamW(
        [{"params": backbone}, {"params": heads}], weight_decay=settings.weight_decay
    )
    total = settings.epochs * steps
    schedule = OneCycleLR(
        optimizer,
        max_lr=rates,
        total_steps=total,
        pct_start=0.2 if total == 10 else 0.1,  # torch divides by zero for one step of warm-up
        cycle_momentum=False,
    )
    return optimizer, schedule


def _step(
    detector: Detector,
    pixels: Tensor,
    boxes: Sequence[Floats],
    optimizer: Any,
    device: str,
    precision: str,
) -> float:
    """Train on one batch and return its loss; the weights stay if it is not finite."""
    with inference.autocast(device, precision):
        outputs = detector(pixels.to(device, non_blocking=True))
    losses = detector.losses(outputs, [torch.from_numpy(each).to(device) for each in boxes])
    loss = torch.stack(list(losses.values())).sum()
    value = float(loss.detach())
    if value < float("inf"):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(detector.parameters(), _LARGEST_GRADIENT_NORM)
        optimizer.step()
    return value


def _save_state(
    state: Path, detector: Detector, optimizer: Any, schedule: OneCycleLR, position: _Position
) -> None:
    buffer = io.BytesIO()
    parts = {"detector": detector, "optimizer": optimizer, "schedule": schedule}
    torch.save({name: p.state_dict() for name, p in parts.items()} | vars(position), buffer)
    write_sealed(state, buffer.getvalue())


def _load_state(state: Path, detector: Detector, optimizer: Any, schedule: OneCycleLR) -> _Position:
    """Load the state of an interrupted training, if any; return where it stood."""
    if not state.exists():
        return _Position()
    try:
        data = io.BytesIO(read_sealed(state))
        saved = torch.load(data, map_location="cpu", weights_only=True)
        detector.load_state_dict(saved["detector"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        epoch = int(saved["epoch"])
        return _Position(
            epoch=epoch,
            seconds=float(saved["seconds"]),
            best_ap=float(saved.get("best_ap", 0.0)),
            best_epoch=int(saved.get("best_epoch", epoch)),
            best_weights=saved.get("best_weights", {}),
        )
    except (OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, PickleError) as e:
        raise damaged_error(state) from e
