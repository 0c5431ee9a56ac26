"""Peak memory of the commands that read photographs, where these are very large.

    python benchmarks/memory.py [--kinds NAME ...] [--commands NAME ...] [--count 4] [--json]
        [--folder DIR]

Each command is a process of its own that has all libraries already, on a workspace with `--count`
photographs of a kind and 24 small ones; `small` is the same without the large ones. Memory is that
of the process and its children but for pages of files, of what they share each its part, read 50
times a second, at its highest. A kind begins with its megapixels.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from growth import check_end, load_libraries, start
from machine import machine
from PIL import Image

from kitbox.competition import presets
from kitbox.workspace import Workspace

PLUGIN = """from kitbox import Plugin

plugin = Plugin(
    backbone="resnet10t", image_size=224, weights="none", epochs=0, losses=(), embedding_dim=None,
    neck="none", batch_size=2,
)
"""
COMMANDS = {
    "check": "data check",
    "prepare": "data prepare frozen",
    "embed": "embed frozen --device cpu --engine torch",
    "embed, 4 workers": "embed frozen --device cpu --engine torch --workers 4",
    "identify": "identify data/train/w_0 --catalogue data/test --individual-level 1 --with frozen "
    "--workspace catalogue --device cpu --engine torch",
    "report": "report",
}


def draw(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Draw blocks of random colours."""
    values = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)
    small = Image.fromarray(values)
    if mode == "I;16":
        grey = np.asarray(small.convert("L"), dtype=np.uint16) * 257
        rows, columns = np.arange(height) * 24 // height, np.arange(width) * 32 // width
        return Image.fromarray(grey[rows][:, columns])
    return small.convert(mode).resize((width, height), Image.Resampling.NEAREST)


def jpeg(path: Path, *, orientation: int = 1, progressive: bool = False) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    draw(16_320, 12_240).save(path, "JPEG", exif=exif, progressive=progressive)


def heif(path: Path) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    draw(12_000, 9_000).save(path, "HEIF", quality=50)


KINDS: dict[str, Callable[[Path], None]] = {
    "200 JPEG": jpeg,
    "200 JPEG, turned": lambda path: jpeg(path, orientation=6),
    "200 JPEG, progressive": lambda path: jpeg(path, progressive=True),
    "100 PNG": lambda path: draw(11_540, 8_660).save(path, "PNG", compress_level=1),
    "250 PNG": lambda path: draw(15_800, 15_800).save(path, "PNG", compress_level=1),
    "200 TIFF": lambda path: draw(16_320, 12_240).save(path, "TIFF", compression="tiff_lzw"),
    "200 TIFF, 16 bits": lambda path: draw(16_320, 12_240, "I;16").save(
        path, "TIFF", compression="tiff_lzw"
    ),
    "108 WebP": lambda path: draw(12_000, 9_000).save(path, "WEBP", quality=50, method=0),
    "108 HEIC": heif,
}


def draw_workspace(folder: Path, kind: str | None, count: int) -> None:
    """Write photographs and the settings; large ones differ by their last bytes."""
    for number in range(24):
        for side in ("train", "test"):
            path = folder / "data" / side / f"w_{number % 4}" / f"{side}_{number:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng([number, len(side)]).integers(0, 255, (120, 160, 3))
            Image.fromarray(noise.astype(np.uint8)).save(path)
    if kind is not None:
        drawn, suffix = folder / "drawn", kind.split()[1].strip(",").lower()
        KINDS[kind](drawn)
        for number in range(count):
            path = folder / "data" / "train" / "w_0" / f"large_{number}.{suffix}"
            # a box of HEIF that is skipped; other readers do not look behind the pixels
            path.write_bytes(drawn.read_bytes() + b"\0\0\0\x0cfree" + bytes([0, 0, 0, number]))
        drawn.unlink()
    workspace = Workspace(folder)
    presets.init(workspace, "folder", folder / "data")
    text = workspace.settings.read_text()
    workspace.settings.write_text(text.replace("seed = 0", "seed = 0\nnear_duplicate_bits = 0"))
    for root in (folder, folder / "catalogue"):
        (root / "plugins").mkdir(parents=True, exist_ok=True)
        (root / "plugins" / "frozen.py").write_text(PLUGIN)


def memory(pid: int) -> float:
    """Return the gigabytes of a process and its children that are no pages of files."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return 0.0
    own = sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon", "Pss_Shmem")))
    return own / 1e6 + sum(memory(int(child)) for child in children)


def run(folder: Path, command: str) -> tuple[float, float]:
    """Return the highest memory of a command in GB, and its seconds."""
    began, peak, ended = time.monotonic(), 0.0, 0
    with tempfile.TemporaryFile("w+") as output:
        process = start(folder, command, output)
        while not ended:
            peak = max(peak, memory(process))
            time.sleep(0.02)
            ended, status = os.waitpid(process, os.WNOHANG)
        check_end(status, command, output)
    return peak, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="NAME")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    load_libraries()
    found: dict[str, dict[str, float]] = {}
    if not given.json:
        print(f"{machine('kitbox', 'Pillow', 'pillow-heif')}; {given.count} photographs\n")
        print(f"| megapixels | {' | '.join(given.commands)} |")
        print("|---" * (len(given.commands) + 1) + "|", flush=True)
    for kind in (None, *given.kinds):
        with tempfile.TemporaryDirectory(dir=given.folder) as name:
            folder = Path(name)
            draw_workspace(folder, kind, given.count)
            row: dict[str, float] = {}
            for command in given.commands:
                for workspace in (folder, folder / "catalogue"):  # so that it reads all itself
                    shutil.rmtree(workspace / ".kitbox", ignore_errors=True)
                row[command], seconds = run(folder, COMMANDS[command])
                print(f"{kind}, {command}: {seconds:.0f} s", file=sys.stderr)
            found[kind or "small"] = row
            if not given.json:
                cells = " | ".join(f"{value:.2f} GB" for value in row.values())
                print(f"| {kind or 'small'} | {cells} |", flush=True)
    if given.json:
        print(json.dumps({"machine": machine("kitbox", "Pillow"), "gigabytes": found}, indent=2))


if __name__ == "__main__":
    main()
