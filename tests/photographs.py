"""A small competition of plain images on disk, and tiny plugins to run on it."""

import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image

from kitbox.competition import presets
from kitbox.competition.settings import Competition
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.plugin import Plugin
from kitbox.workspace import Workspace

TINY = "test_efficientnet.r160_in1k"


def picture(path: Path, identity: int, number: int, size: tuple[int, int] = (96, 64)) -> Path:
    """Save an image with the colour bands of its identity and noise of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_drawn(identity, number, size, path.suffix.lower()))
    return path


@functools.cache  # most tests draw the same few individuals
def _drawn(identity: int, number: int, size: tuple[int, int], suffix: str) -> bytes:
    """Return the bytes of the file of an image."""
    generator = np.random.default_rng([identity, number])
    bands = np.random.default_rng(identity).integers(0, 255, size=(4, 3, 3))
    coarse = bands + generator.normal(0, 12, size=bands.shape)
    image = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8)).resize(size)
    file = io.BytesIO()
    image.save(file, Image.registered_extensions()[suffix])
    return file.getvalue()


def competition_on_disk(
    root: Path,
    *,
    individuals: int = 6,
    each: int = 4,
    tests: int = 8,
    unknown: int = 1,
    preset_name: str = "humpback",
) -> tuple[Workspace, Competition]:
    """Write images, lists and a workspace; individual i has photographs i_0.png, i_1.png, …

    Test photographs show the individuals and `unknown` further ones in turn.
    """
    data = root / "data"
    rows = ["Image,Id"]
    for identity in range(individuals):
        for number in range(each):
            name = f"{identity}_{number}.png"
            picture(data / "train" / name, identity, number)
            rows.append(f"{name},w_{identity}")
    (data / "train.csv").write_text("\n".join(rows) + "\n")
    sample = ["Image,Id"]
    for number in range(tests):
        name = f"t_{number}.png"
        picture(data / "test" / name, number % (individuals + unknown), 100 + number)
        sample.append(f"{name},new_whale w_0 w_1 w_2 w_3")
    (data / "sample_submission.csv").write_text("\n".join(sample) + "\n")
    workspace = Workspace(root / "workspace")
    return workspace, presets.init(workspace, preset_name, data)


def tiny(**settings: object) -> Plugin:
    """Return a plugin that trains in a second."""
    defaults = {
        "backbone": TINY,
        "image_size": 32,
        "weights": "none",
        "embedding_dim": 16,
        "epochs": 2,
        "batch_size": 8,
        "augmentation": "none",
        "warmup_epochs": 1,
        "score_every": 1,
    }
    return Plugin.model_validate(defaults | settings)


def named(plugin: Plugin, name: str = "tiny") -> NamedPlugin:
    """Return a plugin under a name."""
    return NamedPlugin(name, plugin, None, "test")


def write_plugin(workspace: Workspace, name: str, **settings: object) -> Path:
    """Write a tiny plugin's file into a workspace."""
    values = tiny(**settings).model_dump(mode="json", exclude_defaults=True)
    # pooling is written as it was before None, its default, was a choice by family
    left_out = {"losses"} if "pooling" in settings else {"losses", "pooling"}
    lines = [f"    {key}={value!r}," for key, value in values.items() if key not in left_out]
    text = "from kitbox import Plugin\n\nplugin = Plugin(\n" + "\n".join(lines) + "\n)\n"
    path = workspace.plugins / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def finish(stage):  # type: ignore[no-untyped-def]
    """Run a stage to its end; return what it yielded and its result."""
    yielded = []
    while True:
        try:
            yielded.append(next(stage))
        except StopIteration as end:
            return yielded, end.value
