"""Training steps: kitbox compared with a plain fp32 loop with the same settings.

    python benchmarks/training.py --data HUMPBACK

Both use the same images, image size, batch size, loss head and optimiser, and alternate. Prints
images per second of each, after warm-up steps, and their ratio.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import albumentations as alb
import numpy as np
import timm
import torch
from PIL import Image
from pytorch_metric_learning.losses import ArcFaceLoss
from torch.utils.data import DataLoader, Dataset

from kitbox.competition import presets
from kitbox.dataset.collection import collect
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.plugin import ArcFace, Plugin
from kitbox.training import events, trainer
from kitbox.training.context import TrainOptions, TrainSetup
from kitbox.workspace import Workspace

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # as the console script does


WARM_UP, STEPS = 4, 20


class PlainFiles(Dataset):
    def __init__(self, images, size: tuple[int, int]) -> None:
        self.images, self.size = images, size
        self.labels = np.unique(images.labels, return_inverse=True)[1]
        self.augment = alb.Compose(
            [alb.Affine(rotate=(-12, 12), shear=(-8, 8)), alb.RandomBrightnessContrast()]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        image = Image.open(self.images.paths[row]).convert("RGB")
        image = image.resize((self.size[1], self.size[0]), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(self.augment(image=np.array(image))["image"]).permute(2, 0, 1)
        return pixels.float() / 127.5 - 1, int(self.labels[row])


def train_plainly(images, plugin: Plugin) -> float:
    model = timm.create_model(plugin.backbone, num_classes=plugin.embedding_dim).train()
    data = PlainFiles(images, plugin.height_width)
    loss = ArcFaceLoss(int(data.labels.max()) + 1, plugin.embedding_dim, margin=17.2, scale=24)
    optimizer = torch.optim.AdamW([*model.parameters(), *loss.parameters()], 1e-3)
    loader = DataLoader(data, plugin.batch_size, shuffle=True, num_workers=2, drop_last=True)
    for step, (pixels, labels) in enumerate(loader):
        if step == WARM_UP:
            began = time.perf_counter()
        if step == WARM_UP + STEPS:
            break
        optimizer.zero_grad()
        loss(model(pixels), labels).backward()
        optimizer.step()
    return STEPS * plugin.batch_size / (time.perf_counter() - began)


def train_with_kitbox(plugin: Plugin, collection, competition, workspace: Workspace) -> float:
    named = NamedPlugin("benchmark", plugin, None, "benchmark")
    options = TrainOptions(on="all", fresh=True)
    stage = trainer.train(named, TrainSetup(collection, competition, workspace, options))
    for event in stage:
        if isinstance(event, events.StepDone):
            if event.step == WARM_UP:
                began = time.perf_counter()
            if event.step == WARM_UP + STEPS:
                break
    stage.close()
    return STEPS * plugin.batch_size / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, nargs=2, default=(96, 192))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    plugin = Plugin(
        backbone=given.backbone, image_size=tuple(given.size), weights="none", embedding_dim=512,
        losses=(ArcFace(margin=0.3, scale=24.0),), crop=False, epochs=1, learning_rate=1e-3,
    )  # fmt: skip
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        competition = presets.init(workspace, "humpback", given.data)
        stage = collect(workspace, competition)
        while True:
            try:
                next(stage)
            except StopIteration as end:
                collection = end.value
                break
        for _ in range(given.rounds):
            ours = train_with_kitbox(plugin, collection, competition, workspace)
            theirs = train_plainly(collection.labelled, plugin)
            ratios.append(ours / theirs)
            print(f"kitbox {ours:.1f}, plain {theirs:.1f} images/s", flush=True)
    ratios.sort()
    print(f"ratio: median {ratios[len(ratios) // 2]:.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}")


if __name__ == "__main__":
    main()
