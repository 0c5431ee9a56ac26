"""Embedding image files: kitbox against wildlife-tools, open-metric-learning and a plain timm loop.

    python benchmarks/peers/embedding.py --images DIR --weights FILE --peers PYTHON

Each side is a whole process: start-up, reading, network and writing. All embed the same files with
the same network. "kitbox first" starts in an empty folder: it indexes the files, exports its graph
and measures its engines; "kitbox" finds those, but no embeddings. The peers have the batch size and
the one loader worker that are defaults of wildlife-tools. The least cosine to the plain loop, which
computes in float32, is printed.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import rounds

PEERS = ("plain timm loop", "wildlife-tools", "open-metric-learning")
OURS = ("kitbox", "kitbox first")


def embed_as_peer(name: str, paths: list[Path], given: argparse.Namespace) -> Any:
    import numpy as np
    import timm
    import torch
    from safetensors.torch import load_file
    from torchvision import transforms

    model = timm.create_model(given.backbone, num_classes=0).eval()
    own = load_file(given.weights)
    model.load_state_dict({k: v for k, v in own.items() if k in model.state_dict()})
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


def make_checkpoint(file: Path, given: argparse.Namespace) -> None:
    """Save the network as kitbox keeps that of a frozen plugin."""
    import numpy as np

    from kitbox.network import pretrained_weights
    from kitbox.network.checkpoint import Origin, save_checkpoint
    from kitbox.network.network import Network
    from kitbox.network.trained_network import TrainedNetwork

    plugin = plugin_of(given)
    network = Network(plugin)
    pretrained_weights.load(network.backbone, given.weights)
    origin = Origin(
        plugin="frozen", settings=plugin.model_dump(mode="json"), fingerprint=plugin.fingerprint,
        labels=(), epoch=0, on="none", data="", weights="", seed=0, precision="32",
    )  # fmt: skip
    save_checkpoint(file, TrainedNetwork(network, plugin, np.zeros(0, np.int64)), origin)


def plugin_of(given: argparse.Namespace) -> Any:
    from kitbox.plugin.plugin import Plugin

    return Plugin(
        backbone=given.backbone, image_size=tuple(given.size), embedding_dim=None, neck="none",
        epochs=0, losses=(), warmup_epochs=0, crop=False,
    )  # fmt: skip


def embed_with_kitbox(paths: list[Path], given: argparse.Namespace) -> Any:
    import numpy as np
    from stage_results import finish

    from kitbox.embedding import embedder
    from kitbox.images import file_index
    from kitbox.network.checkpoint import read_checkpoint
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.records import ImageSet, strings
    from kitbox.workspace import Workspace

    workspace = Workspace(given.workspace)
    images = ImageSet(strings([p.name for p in paths]), tuple(paths))
    images = finish(file_index.inspect(images, workspace)).images
    options = embedder.EmbedOptions(device="cpu", engine=given.engine)
    named = NamedPlugin("frozen", plugin_of(given), None, "benchmark")
    checkpoint = read_checkpoint(given.workspace.parent / "w.safetensors")
    found = finish(embedder.embed(named, checkpoint, images, workspace, options=options))
    return np.array(found.vectors)


def sides(given: argparse.Namespace, folder: Path) -> list[rounds.Side]:
    """Return all sides, each with a folder for its work and its vectors."""
    found = []
    for name in (*OURS, *(PEERS if given.peers else PEERS[:1])):
        own = folder / name.replace(" ", "-")
        own.mkdir()
        command = [
            __file__, *sys.argv[1:], "--only", name, "--workspace", str(own),
        ]  # fmt: skip
        cached = own / ".kitbox"
        if name == "kitbox":
            cached /= "embeddings"

        def forget(cached: Path = cached) -> None:
            shutil.rmtree(cached, ignore_errors=True)

        if name in OURS:
            found.append(rounds.kitbox_side(name, command, prepare=forget))
        else:
            found.append(rounds.peer_side(name, given.peers, command))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, nargs=2, default=(160, 320))
    parser.add_argument("--count", type=int, help="embed the first files only")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--workspace", type=Path, help=argparse.SUPPRESS)
    rounds.add_options(parser, rounds=3)
    given = parser.parse_args()
    paths = sorted(given.images.glob("*.jpg"))[: given.count]
    if not paths:
        raise SystemExit(f"there is no .jpg in {given.images}")
    if given.only:
        import numpy as np

        ours = given.only in OURS
        vectors = (
            embed_with_kitbox(paths, given) if ours else embed_as_peer(given.only, paths, given)
        )
        np.save(given.workspace / "vectors.npy", vectors)
        return
    import numpy as np

    line = rounds.machine(given.peers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_checkpoint(folder / "w.safetensors", given)
        compared = sides(given, folder)
        rounds.run(compared[0])  # so that "kitbox" finds its graph in the first round
        taken = rounds.alternate(compared, given.rounds)
        vectors = {side.name: np.load(Path(side.command[-1]) / "vectors.npy") for side in compared}
    plain = vectors[PEERS[0]]
    least = {name: float((found * plain).sum(axis=1).min()) for name, found in vectors.items()}
    notes = {f"least cosine of {name} to the plain loop": each for name, each in least.items()}
    peers = [side.name for side in compared if side.name not in OURS]
    rounds.show(given, line, taken, peers=peers, count=len(paths), notes=notes)


if __name__ == "__main__":
    main()
