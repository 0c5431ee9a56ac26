"""Embedding image files: kitbox against wildlife-tools, open-metric-learning and a plain timm loop.

    python benchmarks/embedding.py --images DIR --weights FILE [--peers PYTHON]

All embed the same files with the same network in one run, in alternating rounds, each as a process
of its own: start-up, reading, network and writing. PYTHON has wildlife-tools and
open-metric-learning installed; without it only the plain loop is compared. The first round of
kitbox exports its graph and measures its engines; `--engine torch` leaves that out. Prints images
per second by the clock and by processor time, the ratio to the best peer of a round, and the least
cosine to the plain loop, which computes in float32.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PEERS = ("plain", "wildlife-tools", "open-metric-learning")


def model_of(given: argparse.Namespace) -> Any:
    import timm
    import torch
    from safetensors.torch import load_file

    model = timm.create_model(given.backbone, num_classes=0).eval()
    own = load_file(given.weights)
    model.load_state_dict({k: v for k, v in own.items() if k in model.state_dict()})
    torch.manual_seed(0)
    return model


def embed_as_peer(name: str, paths: list[Path], given: argparse.Namespace) -> Any:
    import numpy as np
    import torch
    from torchvision import transforms

    model = model_of(given)
    config = model.pretrained_cfg
    transform = transforms.Compose(
        [
            transforms.Resize(tuple(given.size), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(config["mean"], config["std"]),
        ]
    )
    if name == "wildlife-tools":
        import pandas as pd
        from wildlife_tools.data import WildlifeDataset
        from wildlife_tools.features import DeepFeatures

        table = pd.DataFrame({"path": [str(p) for p in paths], "identity": "whale"})
        dataset = WildlifeDataset(table, transform=transform)
        vectors = DeepFeatures(model, batch_size=given.batch, num_workers=given.workers)(dataset)
    elif name == "open-metric-learning":
        from oml.datasets import ImageBaseDataset
        from oml.inference import inference

        dataset = ImageBaseDataset(paths, transform=transform)
        vectors = inference(
            model, dataset, batch_size=given.batch, num_workers=given.workers
        ).numpy()
    else:
        from PIL import Image

        class Files(torch.utils.data.Dataset):
            def __len__(self) -> int:
                return len(paths)

            def __getitem__(self, row: int) -> torch.Tensor:
                return transform(Image.open(paths[row]).convert("RGB"))

        loader = torch.utils.data.DataLoader(Files(), given.batch, num_workers=given.workers)
        with torch.no_grad():
            vectors = torch.cat([model(batch) for batch in loader]).numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embed_with_kitbox(paths: list[Path], given: argparse.Namespace) -> Any:
    import numpy as np

    from kitbox.embedding import embedder
    from kitbox.images import file_index
    from kitbox.network import pretrained_weights
    from kitbox.network.checkpoint import Origin, read_checkpoint, save_checkpoint
    from kitbox.network.network import Network
    from kitbox.network.trained_network import TrainedNetwork
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.plugin.plugin import Plugin
    from kitbox.records import ImageSet, strings
    from kitbox.workspace import Workspace

    def finish(stage: Any) -> Any:
        while True:
            try:
                next(stage)
            except StopIteration as end:
                return end.value

    plugin = Plugin(
        backbone=given.backbone, image_size=tuple(given.size), embedding_dim=None, neck="none",
        epochs=0, losses=(), warmup_epochs=0, crop=False,
    )  # fmt: skip
    workspace = Workspace(given.workspace)
    file = workspace.root / "w.safetensors"
    if not file.exists():
        network = Network(plugin)
        pretrained_weights.load(network.backbone, given.weights)
        origin = Origin(
            plugin="frozen", settings=plugin.model_dump(mode="json"),
            fingerprint=plugin.fingerprint, labels=(), epoch=0, on="none", data="", weights="",
            seed=0, precision="32",
        )  # fmt: skip
        save_checkpoint(file, TrainedNetwork(network, plugin, np.zeros(0, np.int64)), origin)
    images = ImageSet(strings([p.name for p in paths]), tuple(paths))
    images = finish(file_index.inspect(images, workspace)).images
    options = embedder.EmbedOptions(device="cpu", engine=given.engine)
    named = NamedPlugin("frozen", plugin, None, "benchmark")
    found = finish(embedder.embed(named, read_checkpoint(file), images, workspace, options=options))
    return np.array(found.vectors)


def timed(name: str, given: argparse.Namespace, workspace: Path) -> tuple[Any, float, float]:
    """Run this script for one name; return its vectors, seconds and processor seconds."""
    import numpy as np

    python = sys.executable if name in ("kitbox", "plain") else str(given.peers)
    out = workspace / f"{name}.npy"
    command = [python, __file__, *sys.argv[1:], "--only", name, "--out", str(out)]
    environment = dict(os.environ)
    if name == "kitbox":
        environment["GOMP_SPINCOUNT"] = "0"  # as the console script does
    else:
        environment.pop("PYTHONPATH", None)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [*command, "--workspace", str(workspace)], env=environment, check=True, capture_output=True
    )
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return np.load(out), seconds, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, nargs=2, default=(160, 320))
    parser.add_argument("--count", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)  # the default of wildlife-tools
    parser.add_argument("--workers", type=int, default=1)  # as well
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workspace", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    paths = sorted(given.images.glob("*.jpg"))[: given.count]
    if given.only:
        import numpy as np

        kitbox = given.only == "kitbox"
        np.save(
            given.out,
            embed_with_kitbox(paths, given) if kitbox else embed_as_peer(given.only, paths, given),
        )
        return
    import shutil

    names = ["kitbox", *(PEERS if given.peers else PEERS[:1])]
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds):
            shutil.rmtree(Path(folder) / ".kitbox" / "embeddings", ignore_errors=True)
            found, speeds, work = {}, {}, {}
            for name in names:
                found[name], seconds, used = timed(name, given, Path(folder))
                speeds[name], work[name] = len(paths) / seconds, len(paths) / used
                print(
                    f"round {number + 1}: {name} {seconds:.1f} s, {speeds[name]:.1f} images/s, "
                    f"{work[name]:.1f} per processor second",
                    flush=True,
                )
            by_clock = speeds["kitbox"] / max(speeds[name] for name in names[1:])
            by_work = work["kitbox"] / max(work[name] for name in names[1:])
            ratios.append(by_clock)
            cosine = (found["kitbox"] * found["plain"]).sum(axis=1)
            print(
                f"round {number + 1}: {by_clock:.2f} times the best peer, by processor time "
                f"{by_work:.2f}; cosine to plain at least {cosine.min():.6f}"
            )
    ratios.sort()
    print(f"ratio: median {ratios[len(ratios) // 2]:.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}")


if __name__ == "__main__":
    main()
