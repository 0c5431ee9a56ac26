"""Training epochs: kitbox against a plain ArcFace loop and the trainers of two libraries.

    python benchmarks/peers/training.py --data HUMPBACK [--peers PYTHON] [--busy 2]

All train the same network on the same photographs at the same size, with the same batches, loss
head, optimiser and augmentation, in alternating rounds, each as a process of its own. The second of
two epochs is compared, by the clock and by the processor time of the process that computes: readers
have processes of their own, which the clock and the whole process's seconds contain. PYTHON is of
the folder that `environment.py` made; without it the trainers are run in this Python if it has
them. `--busy N` runs N endless loops beside, as other programs of the same user would.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rounds

SCALE, MARGIN, RATE = 24.0, 0.3, 1e-3
PEERS = {
    "plain loop": "torch",
    "wildlife-tools": "wildlife_tools",
    "pytorch-metric-learning": "pytorch_metric_learning",
}


class Stopwatch:
    """Times the second epoch; called at the end of each."""

    def __init__(self) -> None:
        self.ends = [(time.perf_counter(), time.process_time())]

    def __call__(self, *_: Any, **__: Any) -> None:
        self.ends.append((time.perf_counter(), time.process_time()))

    def print(self, images: int) -> None:
        (began, worked), (ended, work) = self.ends[1:3]
        figures = {
            "images": images,
            "epoch_seconds": ended - began,
            "processor_ms_per_image": (work - worked) / images * 1e3,
        }
        print(json.dumps(figures))


def augmentation(size: tuple[int, int]) -> Any:
    """Return the pipeline that kitbox calls "light"."""
    import albumentations as alb
    import cv2

    height, width = size
    return alb.Compose(
        [
            alb.Affine(
                scale=(0.85, 1.15), translate_percent=(-0.06, 0.06), rotate=(-12, 12),
                shear=(-8, 8), keep_ratio=False, border_mode=cv2.BORDER_REPLICATE, p=0.9,
            ),
            alb.RandomBrightnessContrast(0.25, 0.25, p=0.6),
            alb.ToGray(p=0.25),
            alb.OneOf([alb.GaussianBlur((3, 5)), alb.MotionBlur((3, 5))], p=0.1),
            alb.CoarseDropout(
                num_holes_range=(1, 2), hole_height_range=(max(height // 8, 1), height // 3),
                hole_width_range=(max(width // 16, 1), width // 6), p=0.3,
            ),
        ]
    )  # fmt: skip


def photographs(given: argparse.Namespace) -> Any:
    """Return the names and the labels of the first photographs of known individuals."""
    lines = (given.data / "train.csv").read_text().splitlines()[1:]
    named = [line.split(",")[:2] for line in lines if not line.endswith(",new_whale")]
    return zip(*named[: given.count], strict=True)


def files_of(given: argparse.Namespace) -> Any:
    """Return a torch dataset of (pixels (3, h, w), label row), read from the files."""
    import numpy as np
    import torch
    from PIL import Image

    names, labels = photographs(given)
    rows = np.unique(labels, return_inverse=True)[1].tolist()
    height, width = given.size

    class Files(torch.utils.data.Dataset):
        labels = rows
        num_classes = max(rows) + 1
        augment: Any = None

        def __len__(self) -> int:
            return len(names)

        def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
            image = Image.open(given.data / "train" / names[row]).convert("RGB")
            pixels = np.array(image.resize((width, height), Image.Resampling.BICUBIC))
            if self.augment is None:  # in the process that reads
                self.augment = augmentation((height, width))
            changed = self.augment(image=pixels)["image"]
            return torch.from_numpy(changed).permute(2, 0, 1).float() / 127.5 - 1, rows[row]

    return Files()


def train_plainly(given: argparse.Namespace) -> None:
    import timm
    import torch
    from pytorch_metric_learning.losses import ArcFaceLoss

    data = files_of(given)
    model = timm.create_model(given.backbone, num_classes=512).train()
    loss = ArcFaceLoss(data.num_classes, 512, margin=MARGIN * 57.29578, scale=SCALE)
    optimizer = torch.optim.AdamW([*model.parameters(), *loss.parameters()], RATE)
    loader = torch.utils.data.DataLoader(
        data, given.batch, shuffle=True, num_workers=given.workers, persistent_workers=True
    )
    done = Stopwatch()
    for _ in range(2):
        for pixels, labels in loader:
            optimizer.zero_grad()
            loss(model(pixels), labels).backward()
            optimizer.step()
        done()
    done.print(len(data))


def train_with_wildlife_tools(given: argparse.Namespace) -> None:
    import timm
    import torch
    from wildlife_tools.train import ArcFaceLoss, BasicTrainer

    data = files_of(given)
    model = timm.create_model(given.backbone, num_classes=512)
    loss = ArcFaceLoss(data.num_classes, embedding_size=512, margin=MARGIN, scale=SCALE)
    done = Stopwatch()
    BasicTrainer(
        dataset=data, model=model, objective=loss,
        optimizer=torch.optim.AdamW([*model.parameters(), *loss.parameters()], RATE),
        epochs=2, device="cpu", batch_size=given.batch, num_workers=given.workers,
        epoch_callback=done,
    ).train()  # fmt: skip
    done.print(len(data))


def train_with_metric_learning(given: argparse.Namespace) -> None:
    import timm
    import torch
    from pytorch_metric_learning import losses, trainers

    data = files_of(given)
    trunk = timm.create_model(given.backbone, num_classes=512)
    loss = losses.ArcFaceLoss(data.num_classes, 512, margin=MARGIN * 57.29578, scale=SCALE)
    done = Stopwatch()
    trainers.MetricLossOnly(
        models={"trunk": trunk},
        optimizers={
            "trunk_optimizer": torch.optim.AdamW(trunk.parameters(), RATE),
            "metric_loss_optimizer": torch.optim.AdamW(loss.parameters(), RATE),
        },
        batch_size=given.batch, loss_funcs={"metric_loss": loss}, dataset=data,
        data_device=torch.device("cpu"), dataloader_num_workers=given.workers,
        end_of_epoch_hook=done,
    ).train(num_epochs=2)  # fmt: skip
    done.print(len(data))


def train_with_kitbox(given: argparse.Namespace) -> None:
    """Train in a workspace that is made and prepared before the clock starts."""
    import dataclasses
    import tempfile

    import numpy as np
    from stage_results import finish

    from kitbox.competition import presets
    from kitbox.dataset.collection import collect
    from kitbox.images import pixel_cache_writer
    from kitbox.images.preprocessing import InputSpec
    from kitbox.network.backbone import input_config
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.plugin.plugin import ArcFace, Plugin
    from kitbox.training import events, trainer
    from kitbox.training.context import TrainOptions, TrainSetup
    from kitbox.workspace import Workspace

    plugin = Plugin(
        backbone=given.backbone, image_size=tuple(given.size), weights="none", embedding_dim=512,
        losses=(ArcFace(margin=MARGIN, scale=SCALE),), crop=False, epochs=2, learning_rate=RATE,
        batch_size=given.batch,
    )  # fmt: skip
    done = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        competition = presets.init(workspace, "humpback", given.data)
        collection = finish(collect(workspace, competition))
        names, _ = photographs(given)
        few = collection.labelled.take(np.isin(collection.labelled.image_ids, names))
        collection = dataclasses.replace(collection, labelled=few)
        spec = InputSpec(plugin.height_width, input_config(plugin).interpolation, None)
        finish(
            pixel_cache_writer.fill(pixel_cache_writer.plan(workspace, [few], [spec]), workspace)
        )
        options = TrainOptions(on="all", device="cpu", precision=given.precision)
        setup = TrainSetup(collection, competition, workspace, options)
        for event in trainer.train(NamedPlugin("benchmark", plugin, None, "benchmark"), setup):
            if isinstance(event, events.EpochDone):
                done()
    done.print(len(few))


TRAINERS = {
    "kitbox": train_with_kitbox,
    "plain loop": train_plainly,
    "wildlife-tools": train_with_wildlife_tools,
    "pytorch-metric-learning": train_with_metric_learning,
}


def sides(given: argparse.Namespace) -> list[rounds.Side]:
    command = [__file__, *sys.argv[1:], "--only"]
    found = [rounds.kitbox_side("kitbox", [*command, "kitbox"])]
    for name, module in PEERS.items():
        if given.peers or importlib.util.find_spec(module):
            found.append(rounds.peer_side(name, given.peers, [*command, name]))
    return [side for side in found if given.sides is None or side.name in given.sides]


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Keep `count` endless loops running."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()


def epoch_seconds(taken: rounds.Taken) -> float:
    return float(taken.figures["epoch_seconds"])


def work_per_image(taken: rounds.Taken) -> float:
    return float(taken.figures["processor_ms_per_image"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="train.csv and train/")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, nargs=2, default=(96, 192))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--count", type=int, default=640, help="train on the first photographs")
    parser.add_argument("--workers", type=int, default=2, help="readers of the peers")
    parser.add_argument("--precision", default="32", help="of kitbox; the peers compute in 32")
    parser.add_argument("--busy", type=int, default=0, help="endless loops that run beside")
    parser.add_argument("--sides", nargs="+", help="compare these alone")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    rounds.add_options(parser, rounds=3)
    given = parser.parse_args()
    if given.only:
        TRAINERS[given.only](given)
        return
    line = rounds.machine(given.peers)
    with neighbours(given.busy):
        taken = rounds.alternate(sides(given), given.rounds, quiet=given.json)
    notes: dict[str, Any] = {"busy neighbours": given.busy}
    for name in taken[0]:
        clock = rounds.Spread.of([epoch_seconds(each[name]) for each in taken])
        work = rounds.Spread.of([work_per_image(each[name]) for each in taken])
        notes[f"{name}, second epoch"] = f"{clock} s, {work} ms of processor an image"
        if name != "kitbox":
            by_clock = rounds.against(taken, "kitbox", [name], epoch_seconds)
            by_work = rounds.against(taken, "kitbox", [name], work_per_image)
            notes[f"kitbox against {name}"] = f"{by_clock} times, {by_work} by processor time"
    rounds.show(given, line, taken, notes=notes)


if __name__ == "__main__":
    main()
