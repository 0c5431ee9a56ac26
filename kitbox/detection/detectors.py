"""The two stages: boxed images to a detector, and images to what it finds, both kept on disk."""

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kitbox.detection import finding, kept, learning
from kitbox.detection.boxed import Boxed
from kitbox.detection.finding import Found
from kitbox.detection.kept import Causes, Kept
from kitbox.detection.network import Detector
from kitbox.detection.recipe import Recipe
from kitbox.network import inference, weights
from kitbox.records import ImageSet, Progress
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Options:
    """Where and how a detector learns and runs; `fresh` learns again what is there already."""

    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    fresh: bool = False


@dataclass(frozen=True)
class Trained:
    """A detector that has learnt, the (height, width) it sees images at, the seconds it took."""

    kept: Kept
    detector: Detector
    height_width: tuple[int, int]
    seconds: float


@dataclass(frozen=True)
class Sought:
    """What was found in each image; of those that had to be read, how many and in which time."""

    found: list[Found]
    read: int
    seconds: float

    @property
    def images_per_second(self) -> float | None:
        """How many images were read and searched in a second, None where none was read."""
        return self.read / self.seconds if self.read else None


def train(
    boxed: Boxed, recipe: Recipe, source: Path | str, workspace: Workspace, options: Options
) -> Generator[Progress, None, Trained]:
    """Return a detector that has learnt the boxes, or the one that did; yields Progress.

    A detector is named by all its causes. Stopped, the same call goes on after the last finished
    epoch. `source` is "hub", "none" or a file, where the backbone's weights are.
    """
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device, training=True)
    causes = Causes(
        recipe.model_dump(mode="json"),
        kept.data_digest(boxed),
        weights.source_digest(source),
        precision,
    )
    place = Kept(workspace.detectors / causes.key)
    if options.fresh or not place.weights.exists():
        with kept.locked(place):
            if options.fresh:
                kept.forget(place)
            detector, seconds = yield from learning.learn(
                boxed,
                recipe,
                source,
                place.state,
                device=device,
                precision=precision,
                workers=options.workers,
            )
            height_width = recipe.height_width(boxed.shape)
            kept.save(place, detector, causes, height_width, seconds)
    detector, height_width, seconds = kept.load(place)
    return Trained(place, detector, height_width, seconds)


def find(trained: Trained, images: ImageSet, options: Options) -> Generator[Progress, None, Sought]:
    """Return what the detector finds in each image, in their order; yields Progress.

    An image that was seen before is not read again; what was found is kept after every batch.
    """
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device)
    assert images.digests is not None  # noqa: S101  images of a collection are inspected
    digests = [str(digest) for digest in images.digests]
    memory = trained.kept.found(precision)
    known = kept.remembered(memory)
    fresh = {
        digest: path
        for digest, path in zip(digests, images.paths, strict=True)
        if digest not in known
    }
    names = list(fresh)
    stage = finding.find(
        trained.detector,
        list(fresh.values()),
        trained.height_width,
        device=device,
        precision=precision,
        workers=options.workers,
    )
    done, began = 0, time.perf_counter()
    with kept.locked(trained.kept), closing(stage):
        for rows, found in stage if names else ():
            batch = {names[row]: each for row, each in zip(rows, found, strict=True)}
            kept.remember(memory, batch)
            known |= batch
            done += len(batch)
            note = f"{done / (time.perf_counter() - began):.0f} images/s"
            yield Progress("find boxes", done, len(names), note=note)
    seconds = time.perf_counter() - began
    return Sought([known[digest] for digest in digests], len(names), seconds)
