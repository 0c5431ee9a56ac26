"""Where an embedding second and a detector second go, and how far both are from the bare network.

    python benchmarks/breakdown.py --images DIR --weights FILE [--count 200] [--rounds 5]

Milliseconds of processor time an image, in one thread, median (lowest to highest) of rounds that
take the steps in turn: reading from files and from prepared images, the bare network on arrays that
are ready, and the whole of `embedder.embed` and `detections.detect`. Then seconds of start-up. The
detector has its default settings and is not trained: it finds nothing, so that no time is spent on
removing boxes that overlap.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

sys.path.append(str(Path(__file__).parent / "peers"))
import rounds
from stage_results import finish

IMPORTS = {
    "numpy": "import numpy",
    "torch": "import torch",
    "kitbox's embedder": "import kitbox.embedding.embedder",
    "and the network (timm)": "import kitbox.embedding.embedder, timm, kitbox.network.acceleration",
}
Step = Callable[[], object]


def embedding_steps(paths: list[Path], given: argparse.Namespace, folder: Path) -> dict[str, Step]:
    """Return the steps of embedding all images."""
    import embedding
    import torch
    from input import prepare as prepare_images

    from kitbox.embedding import embedder
    from kitbox.embedding.onnx_graph import OnnxGraph
    from kitbox.images import file_index, pixel_cache, preprocessing
    from kitbox.images.preprocessing import InputSpec
    from kitbox.network.checkpoint import read_checkpoint
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.records import ImageSet, strings
    from kitbox.workspace import Workspace

    size = tuple(given.size)
    embedding.make_checkpoint(folder / "w.safetensors", given)
    named = NamedPlugin("frozen", embedding.plugin_of(given), None, "benchmark")
    checkpoint = read_checkpoint(folder / "w.safetensors")
    images = ImageSet(strings([path.name for path in paths]), tuple(paths))
    plain, prepared = Workspace(folder / "plain"), Workspace(folder / "prepared")
    images = finish(file_index.inspect(images, plain)).images
    prepare_images(paths, given, prepared.root)
    cached = pixel_cache.find(prepared, images, InputSpec(size, "bicubic", None))

    def embed(workspace: Workspace) -> None:
        options = embedder.EmbedOptions(device="cpu", engine="onnx", reuse=False)
        finish(embedder.embed(named, checkpoint, images, workspace, options=options))

    embed(plain)
    embed(prepared)
    [graph] = plain.engines.glob("*/graph.onnx")
    run = OnnxGraph(graph, 1)
    ready = torch.from_numpy(np.stack([preprocessing.read(path, size) for path in paths]))

    def decode() -> None:
        for path in paths:
            with preprocessing.open_image(path) as image:
                preprocessing.load(image, partial=True)
                preprocessing.to_rgb(image)

    def read_prepared() -> None:
        pixels = np.empty((*size, 3), dtype=np.uint8)
        for row in range(len(paths)):
            cached.read_into(pixels, row)

    return {
        "decode a file": decode,
        "decode and resize": lambda: [preprocessing.read(path, size) for path in paths],
        "read a prepared image": read_prepared,
        "bare network in ONNX Runtime": lambda: run(ready),
        "kitbox from files": lambda: embed(plain),
        "kitbox from prepared images": lambda: embed(prepared),
    }


def detector_steps(paths: list[Path]) -> dict[str, Step]:
    """Return the steps of detecting in all images."""
    import torch

    from kitbox.boxes import detections
    from kitbox.boxes.detector import Detector, DetectorSettings
    from kitbox.images import preprocessing

    settings = DetectorSettings()
    size = settings.height_width(3 / 2)
    torch.manual_seed(0)
    detector = Detector(settings).eval().to(memory_format=torch.channels_last)
    ready = torch.from_numpy(np.stack([preprocessing.read(path, size) for path in paths]))

    def network() -> None:
        with torch.inference_mode():
            for batch in ready.split(16):
                detector(batch)

    def boxes() -> None:
        with torch.inference_mode():
            for output in outputs:
                detector.boxes(output)

    with torch.inference_mode():
        outputs = [detector(batch) for batch in ready.split(16)]
    graph = detections._HeadGraph(detector, size)

    def in_graph() -> None:
        with torch.inference_mode():
            for batch in ready.split(16):
                graph(batch)

    found = partial(
        detections.detect, detector, paths, size, device="cpu", precision="32", workers=0
    )
    return {
        "decode and resize": lambda: [preprocessing.read(path, size) for path in paths],
        "bare network in torch": network,
        "bare network in ONNX Runtime": in_graph,
        "boxes from its maps": boxes,
        "kitbox in torch, from files": lambda: list(found()),
        "kitbox with its graph, from files": lambda: list(found(graph=True)),
    }


def measure(steps: dict[str, Step], count: int, turns: int) -> dict[str, rounds.Spread]:
    """Return milliseconds of processor time an image."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns):
        for name, step in steps.items():
            began = time.process_time()
            step()
            taken[name].append((time.process_time() - began) / count * 1e3)
    return {name: rounds.Spread.of(values) for name, values in taken.items()}


def import_seconds(code: str, turns: int) -> float:
    side = rounds.kitbox_side("import", ["-c", code])
    return statistics.median(rounds.run(side).processor_seconds for _ in range(turns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, nargs=2, default=(160, 320))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    paths = sorted(given.images.glob("*.jpg"))[: given.count]
    print(rounds.machine())
    with tempfile.TemporaryDirectory() as folder:
        embedded = measure(embedding_steps(paths, given, Path(folder)), len(paths), given.rounds)
    show("an embedding", embedded, len(paths))
    show("a detection", measure(detector_steps(paths), len(paths), given.rounds), len(paths))
    print("start-up: seconds of processor time")
    for name, code in IMPORTS.items():
        print(f"  {name:30s} {import_seconds(code, 3):.2f}", flush=True)


def show(title: str, found: dict[str, rounds.Spread], count: int) -> None:
    print(f"{title}: ms of processor time an image, {count} images")
    for name, spread in found.items():
        print(f"  {name:30s} {spread}", flush=True)


if __name__ == "__main__":
    main()
