"""A small competition with unknown individuals and several boxes per image, and its trainings."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import kitbox
from kitbox.competition import pseudo_labels, settings
from kitbox.competition.pseudo_labels import PseudoLabel, holdout_digest
from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection, collect
from kitbox.images.loader import ImageDataset
from kitbox.network import inference
from kitbox.network.checkpoint import load_network, read_origin
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin.plugin import Plugin
from kitbox.records import Checkpoint, Floats, ImageSet
from kitbox.training import runs, trainer
from kitbox.training.context import TrainOptions, TrainSetup
from kitbox.training.events import StepDone, TrainingStarted
from kitbox.workspace import Workspace
from tests.photographs import competition_on_disk, finish, named

OPTIONS = TrainOptions(device="cpu", precision="32", workers=0)


@dataclass(frozen=True)
class Place:
    """A workspace, its competition and its images."""

    workspace: Workspace
    competition: Competition
    collection: Collection

    def setup(self, **options: object) -> TrainSetup:
        """Return the setup of a training on the CPU."""
        changed = replace(OPTIONS, **options)  # type: ignore[arg-type]
        return TrainSetup(self.collection, self.competition, self.workspace, changed)

    @property
    def train_images(self) -> ImageSet:
        """The images outside the holdout."""
        return self.collection.holdout.train


def place_of(root: Path, *, individuals: int = 8, each: int = 4) -> Place:
    """Make a competition whose last individual is unknown, with two boxes per image."""
    workspace, competition = competition_on_disk(root, individuals=individuals, each=each)
    data = competition.images.root
    listed = (data / "train.csv").read_text()
    (data / "train.csv").write_text(listed.replace(f"w_{individuals - 1}\n", "new_whale\n"))
    # the images of an individual are near-duplicates here, which a holdout keeps together
    text = workspace.settings.read_text()
    workspace.settings.write_text(text.replace("seed = 0", "seed = 0\nnear_duplicate_bits = 0"))
    names = sorted(path.name for path in (data / "train").iterdir())
    write_boxes(workspace, dict.fromkeys(names, ((0, 0, 60, 40), (10, 10, 96, 64))))
    return load_place(workspace)


def load_place(workspace: Workspace) -> Place:
    """Load a competition again."""
    competition = settings.load(workspace)
    _, collection = finish(collect(workspace, competition))
    return Place(workspace, competition, collection)


def write_boxes(workspace: Workspace, boxes: dict[str, tuple[tuple[int, ...], ...]]) -> None:
    """Write the boxes of images, with falling confidence."""
    rows = ["image,x0,y0,x1,y1,confidence,source"]
    for name, several in boxes.items():
        for rank, box in enumerate(several):
            rows.append(f"{name},{','.join(map(str, box))},{0.9 - rank / 10},detector")
    workspace.boxes.write_text("\n".join(rows) + "\n")


def write_pseudo_labels(place: Place, label_of: dict[str, str], round_: int = 1) -> None:
    """Write pseudo-labels of networks that were not trained on the holdout."""
    holdout = holdout_digest(place.collection.holdout.query.image_ids)
    rows = [
        PseudoLabel(
            image_id=name,
            label=label,
            confidence=0.9,
            gap=None,
            round=round_,
            source="other",
            on="holdout",
            holdout=holdout,
        )
        for name, label in label_of.items()
    ]
    pseudo_labels.save(place.workspace.pseudo_labels, rows)


def write_plugin_file(workspace: Workspace, name: str, plugin: Plugin) -> Path:
    """Write the file of a plugin into a workspace."""
    names = sorted(plugin.model_fields_set)
    arguments = ", ".join(f"{name}={getattr(plugin, name)!r}" for name in names)
    vocabulary = ", ".join(kitbox.__all__)
    path = workspace.plugins / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"from kitbox import {vocabulary}\n\nplugin = Plugin({arguments})\n")
    return path


def train(
    place: Place, plugin: Plugin, name: str = "tiny", **options: object
) -> Generator[Any, None, Checkpoint]:
    """Train a plugin on the CPU."""
    return trainer.train(named(plugin, name), place.setup(**options))


def interrupt(place: Place, plugin: Plugin, epoch: int, **options: object) -> None:
    """Train a plugin and stop within an epoch."""
    training = train(place, plugin, **options)
    next(event for event in training if isinstance(event, StepDone) and event.epoch == epoch)
    training.close()


def run_of(checkpoint: Checkpoint) -> runs.Run:
    """Return the run of a checkpoint."""
    return runs.Run(checkpoint.path.parent)


def tensors_of(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint."""
    from safetensors.torch import load_file

    return load_file(checkpoint.path)


def embeddings_of(checkpoint: Checkpoint, images: ImageSet) -> Floats:
    """Return the embeddings of images by the network of a checkpoint."""
    network = load_network(checkpoint)
    plugin = Plugin.read(read_origin(checkpoint.path).settings)
    view = ImageDataset(images, plugin.height_width, interpolation="bicubic", crop_margin=0.05)
    batch = view.__getitems__(range(len(images)))
    batches = inference.embed_batches(network, [batch], device="cpu", precision="32")
    return np.concatenate([vectors for vectors, _ in batches])


def started(place: Place, plugin: Plugin, **options: object) -> TrainingStarted:
    """Return the first event of a training, and stop it there."""
    training = train(place, plugin, **options)
    event = next(training)
    training.close()
    assert isinstance(event, TrainingStarted)
    return event


@dataclass
class Inputs:
    """Pixels and labels of the training batches, in their order."""

    pixels: list[torch.Tensor]
    labels: list[torch.Tensor]


@contextmanager
def recorded_inputs() -> Iterator[Inputs]:
    """Record the training batches of networks."""
    inputs = Inputs([], [])

    def record(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        if isinstance(module, TrainedNetwork):
            inputs.pixels.append(arguments[0].clone())
            inputs.labels.append(arguments[1].clone())

    hook = torch.nn.modules.module.register_module_forward_pre_hook(record)
    try:
        yield inputs
    finally:
        hook.remove()
