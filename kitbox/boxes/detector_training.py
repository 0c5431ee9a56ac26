"""Teaches a detector from boxed images, epoch by epoch, and goes on where it stopped."""

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
from kitbox.boxes.detector_store import DetectorCauses, DetectorFolder, damaged_error
from kitbox.errors import KitboxError
from kitbox.files import write_bytes
from kitbox.images.loader import default_worker_count
from kitbox.network import acceleration, inference, pretrained_weights
from kitbox.records import Floats, ImageSet, Progress
from kitbox.workspace import Workspace

# Gradients of the first steps, when the heads know nothing, are longer than this.
_LONGEST_GRADIENT = 5.0
# The backbone comes with weights; the heads come with none.
_BACKBONE_RATE = 0.3


def train_epochs(
    boxed: BoxedImages,
    recipe: DetectorSettings,
    source: Path | str,
    state: Path,
    *,
    device: str,
    precision: str,
    workers: int | None = None,
) -> Generator[Progress, None, tuple[Detector, float]]:
    """Return a detector that has learnt the boxes, and the seconds of it; yields Progress.

    After each epoch all that the next one needs is kept in `state`, from where the same call goes
    on to the same weights. Raises KitboxError for a loss that is no longer a number.
    """
    torch.manual_seed(recipe.seed)
    detector = _started(recipe, source, device, precision)
    batches = detector_data.EpochBatches(boxed, recipe.batch_size, recipe.seed)
    optimizer, schedule = _optimizer(detector, recipe, len(batches))
    done, before = _restored(state, detector, optimizer, schedule)
    form = detector.pyramid.data_config
    loader = detector_data.build_loader(
        detector_data.BoxedDataset(boxed, recipe.height_width(boxed.shape), form.interpolation),
        batches,
        workers=default_worker_count(device, workers),
    )
    began, spent = time.perf_counter(), before
    for epoch in range(done + 1, recipe.epochs + 1):
        batches.epoch = epoch
        for step, (pixels, boxes, _) in enumerate(loader, 1):
            loss = _step(detector.train(), pixels, boxes, optimizer, device, precision)
            if not loss < float("inf"):
                raise KitboxError(
                    f"the loss of the detector became {loss} at epoch {epoch}; "
                    "say --precision 32, or another --backbone"
                )
            schedule.step()
            at = (epoch - 1) * len(batches) + step
            new = (at - done * len(batches)) / len(batches) * len(boxed)
            speed = new / (time.perf_counter() - began)
            note = f"epoch {epoch}/{recipe.epochs}, loss {loss:.3f}, {speed:.0f} images/s"
            yield Progress("learn boxes", at, recipe.epochs * len(batches), "steps", note)
        spent = before + time.perf_counter() - began
        _keep(state, detector, optimizer, schedule, {"epoch": epoch, "seconds": spent})
    return detector.eval(), spent


def _started(recipe: DetectorSettings, source: Path | str, device: str, precision: str) -> Detector:
    """Return a detector whose backbone has its weights, ready to learn on a device."""
    detector = Detector(recipe, pretrained=source == "hub")
    if isinstance(source, Path):
        detector.load_weights(source)
    if device == "cpu" and precision == "bf16":
        acceleration.speed_up_depthwise(detector.pyramid.backbone)
    return detector.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _step(
    detector: Detector,
    pixels: Tensor,
    boxes: Sequence[Floats],
    optimizer: Any,
    device: str,
    precision: str,
) -> float:
    """Learn from one batch; return its loss. What is no number changes nothing."""
    with inference.autocast(device, precision):
        said = detector(pixels.to(device, non_blocking=True))
    losses = detector.losses(said, [torch.from_numpy(each).to(device) for each in boxes])
    loss = torch.stack(list(losses.values())).sum()
    value = float(loss.detach())
    if value < float("inf"):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(detector.parameters(), _LONGEST_GRADIENT)
        optimizer.step()
    return value


def _optimizer(detector: Detector, recipe: DetectorSettings, steps: int) -> tuple[Any, OneCycleLR]:
    """Return AdamW and its schedule: a warm-up over a tenth of the steps, then a cosine to zero."""
    backbone = [p for p in detector.pyramid.backbone.parameters() if p.requires_grad]
    own = {id(parameter) for parameter in detector.pyramid.backbone.parameters()}
    heads = [p for p in detector.parameters() if id(p) not in own]
    rates = [recipe.learning_rate * _BACKBONE_RATE, recipe.learning_rate]
    optimizer = torch.optim.AdamW(
        [{"params": backbone}, {"params": heads}], weight_decay=recipe.weight_decay
    )
    schedule = OneCycleLR(
        optimizer,
        max_lr=rates,
        total_steps=recipe.epochs * steps,
        pct_start=0.1,
        cycle_momentum=False,
    )
    return optimizer, schedule


def _keep(
    state: Path, detector: Detector, optimizer: Any, schedule: OneCycleLR, at: dict[str, Any]
) -> None:
    buffer = io.BytesIO()
    parts = {"detector": detector, "optimizer": optimizer, "schedule": schedule}
    torch.save({name: p.state_dict() for name, p in parts.items()} | at, buffer)
    write_bytes(state, buffer.getvalue())


def _restored(
    state: Path, detector: Detector, optimizer: Any, schedule: OneCycleLR
) -> tuple[int, float]:
    """Load the state of the last finished epoch, if there is one; return it and its seconds."""
    if not state.exists():
        return 0, 0.0
    try:
        done = torch.load(state, map_location="cpu", weights_only=True)
        detector.load_state_dict(done["detector"])
        optimizer.load_state_dict(done["optimizer"])
        schedule.load_state_dict(done["schedule"])
        return int(done["epoch"]), float(done["seconds"])
    except (OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, PickleError) as e:
        raise damaged_error(state) from e


@dataclass(frozen=True)
class DetectorOptions:
    """Where and how a detector learns and runs; `fresh` learns again what is there already."""

    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    fresh: bool = False


@dataclass(frozen=True)
class TrainedDetector:
    """A detector that has learnt, the (height, width) it sees images at, the seconds it took."""

    kept: DetectorFolder
    detector: Detector
    height_width: tuple[int, int]
    seconds: float


@dataclass(frozen=True)
class DetectionRun:
    """What was found in each image; of those that had to be read, how many and in which time."""

    found: list[Detections]
    read: int
    seconds: float

    @property
    def images_per_second(self) -> float | None:
        """How many images were read and searched in a second, None where none was read."""
        return self.read / self.seconds if self.read else None


def train(
    boxed: BoxedImages,
    recipe: DetectorSettings,
    source: Path | str,
    workspace: Workspace,
    options: DetectorOptions,
) -> Generator[Progress, None, TrainedDetector]:
    """Return a detector that has learnt the boxes, or the one that did; yields Progress.

    A detector is named by all its causes. Stopped, the same call goes on after the last finished
    epoch. `source` is "hub", "none" or a file, where the backbone's weights are.
    """
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device, training=True)
    causes = DetectorCauses(
        recipe.model_dump(mode="json"),
        detector_store.data_digest(boxed),
        pretrained_weights.source_digest(source),
        precision,
    )
    place = DetectorFolder(workspace.detectors / causes.key)
    if options.fresh or not place.weights.exists():
        with detector_store.lock(place):
            if options.fresh:
                detector_store.delete(place)
            detector, seconds = yield from train_epochs(
                boxed,
                recipe,
                source,
                place.state,
                device=device,
                precision=precision,
                workers=options.workers,
            )
            height_width = recipe.height_width(boxed.shape)
            detector_store.save(place, detector, causes, height_width, seconds)
    detector, height_width, seconds = detector_store.load(place)
    return TrainedDetector(place, detector, height_width, seconds)


def detect(
    trained: TrainedDetector, images: ImageSet, options: DetectorOptions
) -> Generator[Progress, None, DetectionRun]:
    """Return what the detector finds in each image, in their order; yields Progress.

    An image that was seen before is not read again; what was found is kept after every batch.
    """
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device)
    digests = [str(digest) for digest in images.file_digests]
    memory = trained.kept.found(precision)
    known = detector_store.load_detections(memory)
    fresh = {
        digest: path
        for digest, path in zip(digests, images.paths, strict=True)
        if digest not in known
    }
    names = list(fresh)
    stage = detections.detect(
        trained.detector,
        list(fresh.values()),
        trained.height_width,
        device=device,
        precision=precision,
        workers=options.workers,
    )
    done, began = 0, time.perf_counter()
    with detector_store.lock(trained.kept), closing(stage):
        for rows, found in stage if names else ():
            batch = {names[row]: each for row, each in zip(rows, found, strict=True)}
            detector_store.append_detections(memory, batch)
            known |= batch
            done += len(batch)
            note = f"{done / (time.perf_counter() - began):.0f} images/s"
            yield Progress("find boxes", done, len(names), note=note)
    seconds = time.perf_counter() - began
    return DetectionRun([known[digest] for digest in digests], len(names), seconds)
