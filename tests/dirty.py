"""A small competition on disk with every kind of finding once, beside clean images."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from kitbox.competition.settings import Competition
from kitbox.workspace import Workspace
from tests.circle import competition

CLEAN = [f"clean_{number}.png" for number in range(8)]


def scene(seed: int, size: tuple[int, int] = (160, 100)) -> Image.Image:
    """Draw hard-edged blocks and a little noise: sharp, neither dark nor bright."""
    generator = np.random.default_rng(seed)
    # more blocks across than down, so that no two scenes have similar hashes
    blocks = generator.integers(30, 220, (5, 9, 3)).astype(np.uint8)
    coarse = np.asarray(Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST))
    noisy = coarse + generator.normal(0, 4, (size[1], size[0], 1))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def save(path: Path, image: Image.Image, **options: object) -> None:
    """Save an image in the format of its suffix, or in `format`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def rotated_exif() -> Image.Exif:
    """Return EXIF data of an image that is to be rotated by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def write_bomb(path: Path) -> None:
    """Write a PNG whose header promises 30000 x 30000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    rows = b"IDAT" + zlib.compress(bytes(1000))
    parts = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (header, rows)
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def write_odd_files(train: Path) -> dict[str, str]:
    """Write one odd file of each kind, and return image → kind."""
    save(train / "a.png", scene(100))
    cut = (train / "a.png").read_bytes()[:-3000]
    (train / "truncated.png").write_bytes(cut)
    (train / "empty.jpg").touch()
    (train / "page.jpg").write_text("<html>404</html>")
    write_bomb(train / "bomb.png")
    save(train / "suffix.jpg", scene(101), format="PNG")
    save(train / "cmyk.jpg", scene(102).convert("CMYK"), quality=95)
    deep = np.asarray(scene(103).convert("L")).astype(np.uint16) * 257
    save(train / "deep.png", Image.fromarray(deep))
    save(train / "alpha.png", scene(104).convert("RGBA"))
    save(train / "palette.png", scene(105).convert("P"))
    save(train / "exif.png", scene(120), exif=rotated_exif())
    (train / "exif.png").write_bytes((train / "exif.png").read_bytes().replace(b"MM", b"XX", 1))
    save(train / "rotated.jpg", scene(106), exif=rotated_exif(), quality=95)
    frames = [scene(107), scene(108)]
    save(train / "animated.webp", frames[0], save_all=True, append_images=frames[1:], lossless=True)
    save(train / "tiny.png", scene(109, (40, 24)))
    save(train / "blank.png", Image.new("RGB", (160, 100), (90, 90, 90)))
    save(train / "dark.png", scene(110).point(lambda level: level // 5))
    save(train / "bright.png", scene(111).point(lambda level: 200 + level // 5))
    save(train / "blurred.png", scene(112).filter(ImageFilter.GaussianBlur(4)))
    save(train / "aspect.png", scene(113, (420, 60)))
    save(train / "original.png", scene(114))
    (train / "copy.png").write_bytes((train / "original.png").read_bytes())
    save(train / "one.png", scene(115))
    (train / "other.png").write_bytes((train / "one.png").read_bytes())
    save(train / "near.png", scene(116))
    save(train / "near.jpg", scene(116), quality=90)
    (train / "a.png").unlink()
    return {
        "truncated.png": "truncated",
        "empty.jpg": "empty",
        "page.jpg": "unreadable",
        "bomb.png": "bomb",
        "suffix.jpg": "wrong-suffix",
        "cmyk.jpg": "cmyk",
        "deep.png": "16-bit",
        "alpha.png": "alpha",
        "palette.png": "palette",
        "exif.png": "exif",
        "rotated.jpg": "rotated",
        "animated.webp": "animated",
        "tiny.png": "tiny",
        "blank.png": "blank",
        "dark.png": "dark",
        "bright.png": "bright",
        "blurred.png": "blurred",
        "aspect.png": "odd-aspect",
        "copy.png": "copy",
        "one.png": "copy-conflict",
        "other.png": "copy-conflict",
        "near.jpg": "near-copy",
    }


# Rows of train.csv → the kind and the image of their finding.
ROWS = {
    "missing.png,Ahab": ("missing", "missing.png"),
    "Cased.PNG,Ahab": ("case", "Cased.PNG"),
    "../outside.png,Ahab": ("outside", "../outside.png"),
    ",Ahab": ("no-name", ""),
    "unlabelled.png,": ("no-label", "unlabelled.png"),
    "clean_1.png,Boo": ("two-labels", "clean_1.png"),
    "clean_2.png,Ahab": ("repeated", "clean_2.png"),
    "blank_after.png ,Ahab": ("blank-in-name", "blank_after.png"),
    "spaced.png,Ahab ": ("blank-in-label", "spaced.png"),
}


def write_list(root: Path, rows: list[str], **check: object) -> tuple[Workspace, Competition]:
    """Write a list of the given rows; return a workspace and the competition."""
    (root / "data" / "train.csv").write_text("\n".join(["Image,Id", *rows]) + "\n")
    workspace = Workspace(root / "workspace")
    workspace.root.mkdir(exist_ok=True)
    return workspace, competition_in(root, **check)


def competition_in(root: Path, *, broken: str = "drop", **check: object) -> Competition:
    """Return the competition on disk under these rules of [check]."""
    images = {"train_list": "train.csv", "broken": broken}
    base = competition(root=root / "data", images=images, holdout={"unknown_share": 0.0})
    return Competition.model_validate({**base.model_dump(), "check": check})


def write_everything(root: Path) -> tuple[Workspace, Competition, dict[str, str]]:
    """Write a competition with every kind of finding once; return image → kind too."""
    train = root / "data" / "train"
    odd = write_odd_files(train)
    for number, name in enumerate(
        [*CLEAN, "unlabelled.png", "blank_after.png", "spaced.png", "cased.png"]
    ):
        save(train / name, scene(number))
    save(train / "loose.png", scene(50))
    save(train / "clean_3.PNG", scene(51))
    save(train / "<b>.png", scene(52))
    save(root / "data" / "test" / "query.png", scene(60))
    save(root / "data" / "test" / "tiny_query.png", scene(61, (20, 20)))
    (root / "data" / "test" / "broken_query.png").write_bytes(b"")
    (root / "data" / "test" / "leak.png").write_bytes((train / "clean_4.png").read_bytes())
    named = [*CLEAN, "original.png", "near.png", *odd, "clean_3.PNG", "<b>.png"]
    rows = [f"{name},{'Boo' if name == 'other.png' else 'Ahab'}" for name in named]
    workspace, found = write_list(root, [*rows, *ROWS])
    return workspace, found, odd
