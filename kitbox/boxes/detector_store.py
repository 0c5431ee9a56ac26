"""Detectors on disk: a folder for each key, with weights and detections."""

import json
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from kitbox import locks
from kitbox.boxes.detections import Detections
from kitbox.boxes.detector import Detector, DetectorSettings
from kitbox.boxes.detector_data import BoxedImages
from kitbox.errors import KitboxError, KitboxWarning, counted
from kitbox.files import (
    digest_of,
    parse_json,
    read_json,
    session_digest,
    write_bytes,
    write_json,
)
from kitbox.value import Recorded, check

_Corners = Annotated[list[float], Field(min_length=4, max_length=4)]
# Increase when training or detection changes, so that earlier detectors are not reused.
_VERSION = 1
# The field of a line of detections with eight digits of the digest of the others.
_CHECKSUM = "checksum"


@dataclass(frozen=True, kw_only=True)
class DetectorKey:
    """What determines a trained detector: settings, data, initial weights, precision.

    `held` is the digest of the held-out images and boxes that end its training, if any do.
    """

    settings: dict[str, Any]
    data: str  # digest of the training images and boxes
    weights: str  # digest of the backbone's initial weights
    precision: str
    version: int = _VERSION
    held: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the key as it is written to detector.json."""
        held = {"held": self.held} if self.held else {}  # earlier detectors keep their digest
        return held | {
            "recipe": self.settings,
            "data": self.data,
            "weights": self.weights,
            "precision": self.precision,
            "version": self.version,
        }

    @property
    def digest(self) -> str:
        """Twelve hex digits that name the detector."""
        return digest_of(self.as_json())[:12]


@dataclass(frozen=True)
class DetectorFolder:
    """The folder of one detector."""

    path: Path

    @property
    def weights(self) -> Path:
        """The weights of the finished detector."""
        return self.path / "detector.safetensors"

    @property
    def metadata(self) -> Path:
        """The key of the detector, its input size, and the seconds of its training."""
        return self.path / "detector.json"

    @property
    def state(self) -> Path:
        """The state of an unfinished training, from which the next epoch resumes."""
        return self.path / "state.pt"

    def detections(self, precision: str) -> Path:
        """Return the file of detections, with a line of JSON for each image."""
        return self.path / f"found-{precision}.jsonl"


@dataclass(frozen=True)
class TrainedDetector:
    """A detector, its folder, its input (height, width), and the seconds of its training.

    `epoch` is the one whose weights it has, the last one unless held-out images chose another.
    """

    folder: DetectorFolder
    detector: Detector
    height_width: tuple[int, int]
    seconds: float
    epoch: int


def data_digest(boxed: BoxedImages) -> str:
    """Return the digest of the pixels and boxes that a detector is trained on."""
    return digest_of(
        [
            [str(digest), boxes.tolist()]
            for digest, boxes in zip(boxed.images.file_digests, boxed.boxes, strict=True)
        ]
    )


class _Causes(Recorded):
    recipe: DetectorSettings


class _Metadata(Recorded):
    causes: _Causes
    height_width: list[Annotated[int, Field(gt=0)]] = Field(min_length=2, max_length=2)
    seconds: float
    epoch: int | None = None
    weights_sha256: str | None = None


class _Found(Recorded):
    """Detections in an image, by its digest; `size` is its width and height."""

    image: str
    size: list[int] = Field(min_length=2, max_length=2)
    boxes: list[_Corners]
    confidences: list[float]


def save(
    folder: DetectorFolder,
    detector: Detector,
    key: DetectorKey,
    height_width: tuple[int, int],
    seconds: float,
    epoch: int,
) -> None:
    """Save a finished detector, and remove the state of its training."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in detector.state_dict().items()}
    metadata = {
        "causes": key.as_json(),
        "height_width": height_width,
        "seconds": seconds,
        "epoch": epoch,
    }
    weights = to_bytes(tensors)
    metadata["weights_sha256"] = sha256(weights).hexdigest()
    write_json(folder.metadata, metadata)
    write_bytes(folder.weights, weights)
    folder.state.unlink(missing_ok=True)


def delete(folder: DetectorFolder) -> None:
    """Remove a detector, the state of its training, and its detections."""
    for path in (folder.weights, folder.state, *folder.path.glob("found-*.jsonl")):
        path.unlink(missing_ok=True)


def load(folder: DetectorFolder) -> TrainedDetector:
    """Return the finished detector of a folder; raises KitboxError for a damaged file.

    Its weights are checked by their digest, which those of earlier releases do not have.
    """
    try:
        found = check(_Metadata, read_json(folder.metadata), where=str(folder.metadata))
    except KitboxError as error:
        raise damaged_error(folder.metadata) from error
    settings = found.causes.recipe
    height, width = found.height_width
    epoch = settings.epochs if found.epoch is None else found.epoch
    detector = Detector(settings)
    try:
        if found.weights_sha256 not in (None, session_digest(folder.weights)):
            raise damaged_error(folder.weights)
        detector.load_state_dict(load_file(folder.weights))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise damaged_error(folder.weights) from error
    return TrainedDetector(folder, detector.eval(), (height, width), found.seconds, epoch)


def damaged_error(path: Path) -> KitboxError:
    """Return the error for a damaged file of a detector."""
    return KitboxError(f"{path} is damaged", fix="train again with --fresh")


def load_detections(path: Path) -> dict[str, Detections]:
    """Return image digest → earlier detections; an incomplete line is left out.

    So is one whose checksum is wrong, with a KitboxWarning. Raises KitboxError for an invalid line.
    """
    detections: dict[str, Detections] = {}
    changed = 0
    if not path.exists():
        return detections
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = parse_json(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.pop(_CHECKSUM, None) not in (None, _checksum(row)):
            changed += 1
            continue
        try:
            found = check(_Found, row, where=str(path))
        except KitboxError as error:
            raise damaged_error(path) from error
        if len(found.boxes) != len(found.confidences):
            raise damaged_error(path)
        boxes = np.array(found.boxes, dtype=np.float32).reshape(-1, 4)
        confidences = np.array(found.confidences, dtype=np.float32)
        width, height = found.size
        detections[found.image] = Detections.of((width, height), boxes, confidences)
    if changed:
        what = f"{path} is damaged in {counted(changed, 'line')}"
        warnings.warn(f"{what}; boxes are detected there again", KitboxWarning, stacklevel=2)
    return detections


def append_detections(path: Path, detections: dict[str, Detections]) -> None:
    """Append detections; the keys are the digests of their images."""
    rows = [
        {
            "image": digest,
            "size": list(each.size),
            "boxes": each.boxes.tolist(),
            "confidences": each.confidences.tolist(),
        }
        for digest, each in detections.items()
    ]
    rows = [row | {_CHECKSUM: _checksum(row)} for row in rows]
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * _cut_off(path) + "".join(json.dumps(row) + "\n" for row in rows))


def _checksum(row: dict[str, Any]) -> str:
    return digest_of(row)[:8]


def lock(folder: DetectorFolder) -> AbstractContextManager[None]:
    """Lock a detector against other processes."""
    return locks.lock(
        folder.path / "lock", f"another process uses the detector {folder.path}; wait until it ends"
    )


def _cut_off(path: Path) -> bool:
    """Return whether a file ends in the middle of a line."""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() != b"\n"
