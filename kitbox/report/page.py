"""Writes a page: one file that needs nothing else, or with a folder beside it where it is large."""

import base64
import hashlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import kitbox
from kitbox.errors import KitboxError
from kitbox.files import write_bytes
from kitbox.images import thumbnails
from kitbox.images.thumbnails import Thumbnails
from kitbox.records import ImageSet, Progress
from kitbox.workspace import Workspace

# Pictures in a pack: about 200 kB, the least that is read at a time.
PICTURES_PER_CHUNK = 64
# Sides in pixels, from the one that shows nicks in a fluke to the one that shows whether it is one.
_SIDES = (256, 192, 144, 112)
# Bytes of a picture as text, for each pixel of its side squared; measured on whale flukes.
_BYTES = 0.1
# What pictures may take of a page of 15 MB.
_ROOM = 12_000_000


@dataclass(frozen=True)
class PagePictures:
    """The pictures of a page by their numbers; `shapes` are width / height in hundredths."""

    parts: tuple[Thumbnails, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def bytes(self) -> int:
        """How long the packs are, as base64 in JSON."""
        lengths = [4 * ((part.lengths + 2) // 3) + 3 for part in self.parts]
        return int(sum(length.sum() for length in lengths))

    @property
    def shapes(self) -> list[int]:
        """Width / height of each picture in hundredths; 150 where there is no picture."""
        found: list[int] = []
        for part in self.parts:
            x0, y0, x1, y1 = part.regions.T.astype(np.float64)
            there = part.lengths > 0
            shape = np.where(there, (x1 - x0) / np.where(there, y1 - y0, 1), 1.5)
            found += np.clip(np.round(100 * shape), 20, 900).astype(int).tolist()
        return found

    def packs(self) -> Iterator[tuple[str, list[str]]]:
        """Yield (name, pictures in base64), one pack at a time."""
        rows = [(part, row) for part in self.parts for row in range(len(part))]
        for number, start in enumerate(range(0, len(rows), PICTURES_PER_CHUNK)):
            yield f"pictures-{number}", _texts(rows[start : start + PICTURES_PER_CHUNK])


NO_PICTURES = PagePictures(())


def collect_pictures(
    image_sets: Sequence[ImageSet], workspace: Workspace, crop_margin: float | None
) -> Generator[Progress, None, PagePictures]:
    """Return the pictures of images, numbered on from set to set; yields Progress.

    They are as large as a page of 15 MB allows, or where that is too small to see anything, of a
    middling size for a folder beside the page.
    """
    side = picture_side(sum(len(images) for images in image_sets))
    parts = []
    for images in image_sets:
        part = yield from thumbnails.make(images, workspace, side=side, crop_margin=crop_margin)
        parts.append(part)
    return PagePictures(tuple(parts))


def picture_side(count: int) -> int:
    """Return the side in pixels of `count` pictures."""
    fitting = (side for side in _SIDES if count * _BYTES * side**2 <= _ROOM)
    return next(fitting, 144)


def _texts(rows: list[tuple[Thumbnails, int]]) -> list[str]:
    texts: list[str] = []
    for part in {id(part): part for part, _ in rows}.values():
        found = part.load([row for other, row in rows if other is part])
        texts += [base64.b64encode(picture).decode("ascii") for picture in found]
    return texts


# A browser opens this in a second, and a mail takes it.
MAX_BYTES = 15_000_000
# No name in a script may end the script, or begin a comment in it.
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True)
class Page:
    """What a page is made of: a template with its values, packs of data, pictures, scripts.

    `values` has at least title, kind, heading, about and sections.
    """

    template: str
    values: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=dict)
    pictures: PagePictures = NO_PICTURES
    scripts: tuple[str, ...] = ()


@dataclass(frozen=True)
class WrittenPage:
    """A page on disk: its file, the bytes of the file, and the number of files beside it."""

    path: Path
    bytes: int
    beside: int


def write(page: Page, path: Path) -> WrittenPage:
    """Write a page as `path`; what would make it larger than 15 MB goes to a folder beside it.

    The folder is named after the page: `results.html` has `results_files`.
    """
    data = {name: json_text(value) for name, value in page.data.items()}
    # what the rest of a page takes is small beside a hundredth of the limit
    room = MAX_BYTES - MAX_BYTES // 100 - sum(_length(text) for text in data.values())
    if page.pictures.bytes <= room:
        packs = data | {name: json_text(value) for name, value in page.pictures.packs()}
        html = _html(page, packs, "")
        if len(html) <= MAX_BYTES:
            _clear(_folder(path), set())
            write_bytes(path, html)
            return WrittenPage(path, len(html), 0)
    return _beside(page, data, path)


def json_text(value: Any) -> str:
    """Return JSON that may stand in a script block of a page, whatever names it holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escape in _UNSAFE.items():
        text = text.replace(character, escape)
    return text


def _beside(page: Page, data: dict[str, str], path: Path) -> WrittenPage:
    """Write a page whose pictures, and data as far as it must be, are files in a folder."""
    folder, written = _folder(path), set()
    inline: dict[str, str] = {}
    room = MAX_BYTES // 3  # a browser reads this at once, the rest as it is looked at
    for name, text in data.items():
        if _length(text) <= room:
            inline[name], room = text, room - _length(text)
        else:
            written.add(_write_pack(folder, name, text))
    for name, value in page.pictures.packs():
        written.add(_write_pack(folder, name, json_text(value)))
    html = _html(page, inline, folder.name)
    if len(html) > MAX_BYTES:
        raise KitboxError(f"{path} would have {len(html):,} bytes; name fewer plugins or images")
    _clear(folder, written)
    write_bytes(path, html)
    return WrittenPage(path, len(html), len(written))


def _write_pack(folder: Path, name: str, text: str) -> str:
    file = folder / f"{name}.js"
    call = f"kitbox.take({json_text(name)},{text});\n"
    write_bytes(file, call.encode("utf-8", "replace"))
    return file.name


def _folder(path: Path) -> Path:
    return path.with_name(f"{path.stem}_files")


def _clear(folder: Path, kept: set[str]) -> None:
    """Remove the packs of an earlier page of the same name."""
    for file in folder.glob("*.js"):
        if file.name not in kept:
            file.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _html(page: Page, packs: Mapping[str, str], folder: str) -> bytes:
    # a script runs only with this on it; no name in the data can know it beforehand
    nonce = hashlib.sha256("".join(packs.values()).encode("utf-8", "replace")).hexdigest()[:32]
    text = (
        _environment()
        .get_template(page.template)
        .render(
            **page.values,
            packs=[(name, Markup(text)) for name, text in packs.items()],  # noqa: S704  escaped
            scripts=("page.js", *page.scripts),
            folder=folder,
            nonce=nonce,
            per_pack=PICTURES_PER_CHUNK,
            version=kitbox.__version__,
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )
    return text.encode("utf-8", "replace")  # a file's name may be no text at all


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("kitbox.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.globals["source"] = _source
    return environment


def _source(name: str) -> Markup:
    """Return a style sheet or a script of this package."""
    text = (files("kitbox.report") / "templates" / name).read_text("utf-8")
    return Markup(text)  # noqa: S704  our own


def _length(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def non_empty_sections(*found: tuple[str, str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (anchor, name) of the sections that have something to show."""
    return ((anchor, name) for anchor, name, there in found if there)
