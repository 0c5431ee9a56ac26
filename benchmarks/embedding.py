"""Embedding from image files: kitbox compared with a plain fp32 timm loop and a DataLoader.

    python benchmarks/embedding.py --images DIR --weights FILE

Both read the same files in one run, alternating. Prints images per second of each, their ratio, and
the cosine between the two embeddings of each image.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from kitbox.embedding import embedder
from kitbox.images import file_index
from kitbox.network import pretrained_weights
from kitbox.network.checkpoint import Origin, save_checkpoint
from kitbox.network.network import Network
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.plugin import Plugin
from kitbox.records import Checkpoint, ImageSet, strings
from kitbox.workspace import Workspace

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # as the console script does


class PlainFiles(Dataset):
    """Decodes whole image files, resizes and normalises them one by one, as most scripts do."""

    def __init__(self, paths: list[Path], size: tuple[int, int], cfg: dict) -> None:
        self.paths, self.size = paths, size
        self.mean = torch.tensor(cfg["mean"]).view(3, 1, 1)
        self.std = torch.tensor(cfg["std"]).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        image = Image.open(self.paths[row]).convert("RGB")
        image = image.resize((self.size[1], self.size[0]), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (pixels - self.mean) / self.std


def embed_plainly(paths: list[Path], size: tuple[int, int], model: torch.nn.Module) -> np.ndarray:
    loader = DataLoader(PlainFiles(paths, size, model.pretrained_cfg), 32, num_workers=2)
    with torch.no_grad():
        found = [torch.nn.functional.normalize(model(batch)) for batch in loader]
    return torch.cat(found).numpy()


def embed_with_kitbox(
    images: ImageSet, named: NamedPlugin, checkpoint: Checkpoint, workspace: Workspace
) -> np.ndarray:
    stage = embedder.embed(
        named, checkpoint, images, workspace, options=embedder.EmbedOptions(reuse=False)
    )
    while True:
        try:
            next(stage)
        except StopIteration as end:
            return end.value.vectors


def timed(run: Callable[[], np.ndarray], count: int) -> tuple[np.ndarray, float]:
    """Return the vectors of `count` images, and images per second."""
    began = time.perf_counter()
    vectors = run()
    return vectors, count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, nargs=2, default=(160, 320))
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    size = tuple(given.size)
    paths = sorted(given.images.glob("*.jpg"))[: given.count]
    plugin = Plugin(
        backbone=given.backbone, image_size=size, embedding_dim=None, neck="none", epochs=0,
        losses=(), warmup_epochs=0, crop=False,
    )  # fmt: skip
    named = NamedPlugin("frozen", plugin, None, "benchmark")
    network = Network(plugin)
    pretrained_weights.load(network.backbone, given.weights)
    model = timm.create_model(given.backbone, num_classes=0).eval()
    pretrained_weights.load(model, given.weights)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        settings = plugin.model_dump(mode="json")
        origin = Origin(
            plugin="frozen",
            settings=settings,
            fingerprint=plugin.fingerprint,
            labels=(),
            epoch=0,
            on="all",
            data="",
            weights="",
            seed=0,
            precision="32",
        )
        checkpoint = save_checkpoint(
            workspace.root / "w.safetensors",
            TrainedNetwork(network, plugin, np.zeros(0, np.int64)),
            origin,
        )
        stage = file_index.inspect(
            ImageSet(strings([p.name for p in paths]), tuple(paths)), workspace
        )
        while True:
            try:
                next(stage)
            except StopIteration as end:
                images = end.value.images
                break
        speeds: list[tuple[float, float]] = []
        for _ in range(given.rounds):
            ours, our_speed = timed(
                lambda: embed_with_kitbox(images, named, checkpoint, workspace), len(paths)
            )
            theirs, their_speed = timed(lambda: embed_plainly(paths, size, model), len(paths))
            speeds.append((our_speed, their_speed))
            print(f"kitbox {our_speed:.1f}, plain {their_speed:.1f} images/s", flush=True)
    cosine = (ours * theirs).sum(axis=1)
    ratios = sorted(a / b for a, b in speeds)
    print(f"ratio: median {ratios[len(ratios) // 2]:.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}")
    print(f"cosine: mean {cosine.mean():.5f}, minimum {cosine.min():.5f}")


if __name__ == "__main__":
    main()
