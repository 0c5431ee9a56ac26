"""Trains a detector on drawn boxes, resumes where it stopped, and detects boxes in images."""

import io
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from pickle import PickleError
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from kitbox.boxes import detections, detector_data, detector_store
from kitbox.boxes.detections import Detections
from kitbox.boxes.detector import Detector, DetectorSettings
from kitbox.boxes.detector_data import BoxedImages
from kitbox.boxes.detector_store import DetectorFolder, DetectorKey, TrainedDetector, damaged_error
from kitbox.errors import KitboxError
from kitbox.files import write_bytes
from kitbox.images.loader import default_worker_count
from kitbox.network import acceleration, inference, pretrained_weights
from kitbox.records import Floats, ImageSet, Progress
from kitbox.workspace import Workspace

# Clips the gradients of the first steps, when the heads are random.
_LARGEST_GRADIENT_NORM = 5.0
# Learning rate of the pretrained backbone / that of the new heads.
_BACKBONE_RATE = 0.3


@dataclass(frozen=True)
class DetectorOptions:
    """The device and precision of a detector; `fresh` trains again instead of reusing one."""

    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    fresh: bool = False


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
) -> Generator[Progress, None, TrainedDetector]:
    """Return a detector trained on boxes, or the earlier one with the same key; yields Progress.

    An interrupted training is resumed after its last finished epoch. `source` is where the
    backbone's weights come from: "hub", "none" or a file.
    """
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device, training=True)
    key = DetectorKey(
        settings=settings.model_dump(mode="json"),
        data=detector_store.data_digest(boxed),
        weights=pretrained_weights.source_digest(source),
        precision=precision,
    )
    folder = DetectorFolder(workspace.detectors / key.digest)
    if options.fresh or not folder.weights.exists():
        with detector_store.lock(folder):
            if options.fresh:
                detector_store.delete(folder)
            detector, seconds = yield from train_epochs(
                boxed,
                settings,
                source,
                folder.state,
                device=device,
                precision=precision,
                workers=options.workers,
            )
            height_width = settings.height_width(boxed.shape)
            detector_store.save(folder, detector, key, height_width, seconds)
    return detector_store.load(folder)


def train_epochs(
    boxed: BoxedImages,
    settings: DetectorSettings,
    source: Path | str,
    state: Path,
    *,
    device: str,
    precision: str,
    workers: int | None = None,
) -> Generator[Progress, None, tuple[Detector, float]]:
    """Return a detector trained on boxes, and the seconds of its training; yields Progress.

    The state after each epoch is saved in the file `state`. If that exists, the training resumes
    from it, and ends with the same weights. Raises KitboxError for a loss that is not a finite
    number.
    """
    torch.manual_seed(settings.seed)
    detector = _build_detector(settings, source, device, precision)
    batches = detector_data.EpochBatches(boxed, settings.batch_size, settings.seed)
    optimizer, schedule = _build_optimizer(detector, settings, len(batches))
    done, earlier_seconds = _load_state(state, detector, optimizer, schedule)
    interpolation = detector.pyramid.data_config.interpolation
    loader = detector_data.build_loader(
        detector_data.BoxedDataset(boxed, settings.height_width(boxed.shape), interpolation),
        batches,
        workers=default_worker_count(device, workers),
    )
    start, seconds = time.perf_counter(), earlier_seconds
    for epoch in range(done + 1, settings.epochs + 1):
        batches.epoch = epoch
        for step, (pixels, boxes, _) in enumerate(loader, 1):
            loss = _step(detector.train(), pixels, boxes, optimizer, device, precision)
            if not loss < float("inf"):
                raise KitboxError(
                    f"the loss of the detector became {loss} at epoch {epoch}",
                    fix="try --precision 32, or another --backbone",
                )
            schedule.step()
            steps = (epoch - 1) * len(batches) + step
            images = (steps - done * len(batches)) / len(batches) * len(boxed)
            speed = images / (time.perf_counter() - start)
            note = f"epoch {epoch}/{settings.epochs}, loss {loss:.3f}, {speed:.0f} images/s"
            total = settings.epochs * len(batches)
            yield Progress("train the detector", steps, total, "steps", note)
        seconds = earlier_seconds + time.perf_counter() - start
        _save_state(state, detector, optimizer, schedule, {"epoch": epoch, "seconds": seconds})
    return detector.eval(), seconds


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
    if device == "cpu" and precision == "bf16":
        acceleration.speed_up_depthwise(detector.pyramid.backbone)
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
    schedule = OneCycleLR(
        optimizer,
        max_lr=rates,
        total_steps=settings.epochs * steps,
        pct_start=0.1,
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
    state: Path, detector: Detector, optimizer: Any, schedule: OneCycleLR, position: dict[str, Any]
) -> None:
    buffer = io.BytesIO()
    parts = {"detector": detector, "optimizer": optimizer, "schedule": schedule}
    torch.save({name: p.state_dict() for name, p in parts.items()} | position, buffer)
    write_bytes(state, buffer.getvalue())


def _load_state(
    state: Path, detector: Detector, optimizer: Any, schedule: OneCycleLR
) -> tuple[int, float]:
    """Load the state of an interrupted training, if any; return its epochs and seconds."""
    if not state.exists():
        return 0, 0.0
    try:
        saved = torch.load(state, map_location="cpu", weights_only=True)
        detector.load_state_dict(saved["detector"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        return int(saved["epoch"]), float(saved["seconds"])
    except (OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, PickleError) as e:
        raise damaged_error(state) from e
