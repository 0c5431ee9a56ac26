"""Detectors on disk: a folder for each set of causes, its weights, and what it has found."""

import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from kitbox import files
from kitbox.boxes.detections import Detections
from kitbox.boxes.detector import Detector, DetectorSettings
from kitbox.boxes.detector_data import BoxedImages
from kitbox.errors import KitboxError
from kitbox.files import digest_of, read_json, write_bytes, write_json

# Counts up when the way from boxes to a detector, or from a detector to boxes, changes.
_VERSION = 1


@dataclass(frozen=True)
class DetectorCauses:
    """All that decides what a detector learns."""

    recipe: dict[str, Any]
    data: str  # images and boxes it learns from
    weights: str  # where the backbone starts
    precision: str
    version: int = _VERSION

    @property
    def key(self) -> str:
        """Twelve hex digits that name the detector."""
        return digest_of(asdict(self))[:12]


@dataclass(frozen=True)
class DetectorFolder:
    """The folder of one detector."""

    folder: Path

    @property
    def weights(self) -> Path:
        """The finished detector."""
        return self.folder / "detector.safetensors"

    @property
    def about(self) -> Path:
        """What it was made of, at which size it sees images, and how long it learnt."""
        return self.folder / "detector.json"

    @property
    def state(self) -> Path:
        """All that the next epoch needs; gone when the detector is finished."""
        return self.folder / "state.pt"

    def found(self, precision: str) -> Path:
        """Return the file of what was found in images: one JSON object a line."""
        return self.folder / f"found-{precision}.jsonl"


def data_digest(boxed: BoxedImages) -> str:
    """Return the digest of what a detector learns from: pixels and boxes."""
    return digest_of(
        [
            [str(digest), boxes.tolist()]
            for digest, boxes in zip(boxed.images.file_digests, boxed.boxes, strict=True)
        ]
    )


def save(
    kept: DetectorFolder,
    detector: Detector,
    causes: DetectorCauses,
    height_width: tuple[int, int],
    seconds: float,
) -> None:
    """Write a finished detector, and forget the state of its training."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in detector.state_dict().items()}
    about = {"causes": asdict(causes), "height_width": height_width, "seconds": seconds}
    write_json(kept.about, about)
    write_bytes(kept.weights, to_bytes(tensors))
    kept.state.unlink(missing_ok=True)


def delete(kept: DetectorFolder) -> None:
    """Remove a detector, what was done of it, and what it found."""
    for path in (kept.weights, kept.state, *kept.folder.glob("found-*.jsonl")):
        path.unlink(missing_ok=True)


def load(kept: DetectorFolder) -> tuple[Detector, tuple[int, int], float]:
    """Return a finished detector, the (height, width) it sees images at, the seconds it learnt.

    Raises KitboxError for a damaged one.
    """
    try:
        about = read_json(kept.about)
        recipe = DetectorSettings.model_validate(about["causes"]["recipe"])
        height, width = about["height_width"]
        seconds = float(about["seconds"])
    except (KitboxError, KeyError, TypeError, ValueError) as error:
        raise damaged_error(kept.about) from error
    detector = Detector(recipe)
    try:
        detector.load_state_dict(load_file(kept.weights))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise damaged_error(kept.weights) from error
    return detector.eval(), (height, width), seconds


def damaged_error(path: Path) -> KitboxError:
    """Return the error of a file of a detector that cannot be read."""
    return KitboxError(f"{path} is damaged; learn anew with --fresh")


def load_detections(path: Path) -> dict[str, Detections]:
    """Return what was found before, by the digest of the image; a line cut off is left out.

    Raises KitboxError for a line that is something else.
    """
    found: dict[str, Detections] = {}
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        try:
            boxes = np.array(row["boxes"], dtype=np.float32).reshape(-1, 4)
            confidences = np.array(row["confidences"], dtype=np.float32)
            width, height = row["size"]
            found[str(row["image"])] = Detections((int(width), int(height)), boxes, confidences)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged_error(path) from error
    return found


def append_detections(path: Path, found: dict[str, Detections]) -> None:
    """Add what was found in images, by their digests."""
    rows = [
        {
            "image": digest,
            "size": each.size,
            "boxes": each.boxes.tolist(),
            "confidences": each.confidences.tolist(),
        }
        for digest, each in found.items()
    ]
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * _cut_off(path) + "".join(json.dumps(row) + "\n" for row in rows))


def lock(kept: DetectorFolder) -> AbstractContextManager[None]:
    """Keep other processes from the same detector meanwhile."""
    return files.lock(
        kept.folder, f"another process is at work on the detector {kept.folder}; wait for its end"
    )


def _cut_off(path: Path) -> bool:
    """Return whether a file ends within a line."""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() != b"\n"
