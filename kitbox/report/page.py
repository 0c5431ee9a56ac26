"""Pages for the browser: one self-contained file, or a file with a folder beside it if large."""

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

# Pictures in a chunk: about 200 kB, the least that a page loads at a time.
PICTURES_PER_CHUNK = 64
# Sides in pixels: the largest shows the nicks of a fluke, the smallest just its place.
_SIDES = (256, 192, 144, 112)
# Base64 bytes of a picture per pixel of its side squared; measured on whale flukes.
_BYTES_PER_PIXEL = 0.1
# Bytes for pictures in a page of MAX_BYTES.
_MAX_PICTURE_BYTES = 12_000_000
# A browser opens this in a second, and a mail server accepts it.
MAX_BYTES = 15_000_000
# Escapes that keep a name in JSON from ending the script block or opening a comment in it.
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True)
class PagePictures:
    """The pictures of a page, numbered from 0 through all `parts`."""

    parts: tuple[Thumbnails, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def json_bytes(self) -> int:
        """The length of all chunks: pictures as base64, with the quotes and commas of JSON."""
        lengths = [4 * ((part.lengths + 2) // 3) + 3 for part in self.parts]
        return int(sum(length.sum() for length in lengths))

    @property
    def aspects(self) -> list[int]:
        """Width / height of each picture in hundredths; 150 if there is no picture."""
        aspects: list[int] = []
        for part in self.parts:
            x0, y0, x1, y1 = part.regions.T.astype(np.float64)
            readable = part.lengths > 0
            aspect = np.where(readable, (x1 - x0) / np.where(readable, y1 - y0, 1), 1.5)
            aspects += np.clip(np.round(100 * aspect), 20, 900).astype(int).tolist()
        return aspects

    def chunks(self) -> Iterator[tuple[str, list[str]]]:
        """Yield (name, base64 pictures), one chunk at a time."""
        rows = [(part, row) for part in self.parts for row in range(len(part))]
        for number, start in enumerate(range(0, len(rows), PICTURES_PER_CHUNK)):
            yield f"pictures-{number}", _base64_pictures(rows[start : start + PICTURES_PER_CHUNK])


NO_PICTURES = PagePictures(())


@dataclass(frozen=True, kw_only=True)
class Page:
    """The content of a page: a template with its values, chunks of data, pictures and scripts.

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
    files_beside: int


def collect_pictures(
    image_sets: Sequence[ImageSet], workspace: Workspace, crop_margin: float | None
) -> Generator[Progress, None, PagePictures]:
    """Return the pictures of images, numbered through all sets; yields Progress.

    They are as large as a page of MAX_BYTES allows; if that is too small to recognise anything,
    they have a medium size for a folder beside the page.
    """
    side = picture_side(sum(len(images) for images in image_sets))
    parts = []
    for images in image_sets:
        part = yield from thumbnails.make(images, workspace, side=side, crop_margin=crop_margin)
        parts.append(part)
    return PagePictures(tuple(parts))


def picture_side(count: int) -> int:
    """Return the side in pixels at which a page has room for `count` pictures."""
    fitting = (side for side in _SIDES if count * _BYTES_PER_PIXEL * side**2 <= _MAX_PICTURE_BYTES)
    return next(fitting, 144)


def non_empty_sections(*sections: tuple[str, str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (anchor, name) of the (anchor, name, content) sections that have content."""
    return ((anchor, name) for anchor, name, content in sections if content)


def write(page: Page, path: Path) -> WrittenPage:
    """Write a page to `path`; if it would exceed MAX_BYTES, its data goes to a folder beside it.

    The folder is named after the page: `results.html` has `results_files`.
    """
    data = {name: json_text(value) for name, value in page.data.items()}
    # markup and scripts take less than a hundredth of the limit
    room = MAX_BYTES - MAX_BYTES // 100 - sum(_length(text) for text in data.values())
    if page.pictures.json_bytes <= room:
        chunks = data | {name: json_text(value) for name, value in page.pictures.chunks()}
        html = _render(page, chunks, "")
        if len(html) <= MAX_BYTES:
            _remove_stale_chunks(_folder(path), set())
            write_bytes(path, html)
            return WrittenPage(path, len(html), 0)
    return _write_with_folder(page, data, path)


def json_text(value: Any) -> str:
    """Return JSON that is safe in a script block of a page, whatever names it contains."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escape in _UNSAFE.items():
        text = text.replace(character, escape)
    return text


def _write_with_folder(page: Page, data: dict[str, str], path: Path) -> WrittenPage:
    """Write a page whose pictures, and data that is too large for it, are files in a folder."""
    folder, written = _folder(path), set()
    inline: dict[str, str] = {}
    room = MAX_BYTES // 3  # inline data is read at once, chunks in files when they are needed
    for name, text in data.items():
        if _length(text) <= room:
            inline[name], room = text, room - _length(text)
        else:
            written.add(_write_chunk(folder, name, text))
    for name, value in page.pictures.chunks():
        written.add(_write_chunk(folder, name, json_text(value)))
    html = _render(page, inline, folder.name)
    if len(html) > MAX_BYTES:
        raise KitboxError(f"{path} would have {len(html):,} bytes; name fewer plugins or images")
    _remove_stale_chunks(folder, written)
    write_bytes(path, html)
    return WrittenPage(path, len(html), len(written))


def _write_chunk(folder: Path, name: str, text: str) -> str:
    file = folder / f"{name}.js"
    call = f"kitbox.receive({json_text(name)},{text});\n"
    write_bytes(file, call.encode("utf-8", "replace"))
    return file.name


def _folder(path: Path) -> Path:
    return path.with_name(f"{path.stem}_files")


def _remove_stale_chunks(folder: Path, current: set[str]) -> None:
    """Remove the chunks of an earlier page of the same name."""
    for file in folder.glob("*.js"):
        if file.name not in current:
            file.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _render(page: Page, chunks: Mapping[str, str], folder: str) -> bytes:
    # only scripts with this nonce run, and it depends on all names, so that none can contain it
    nonce = hashlib.sha256("".join(chunks.values()).encode("utf-8", "replace")).hexdigest()[:32]
    text = (
        _environment()
        .get_template(page.template)
        .render(
            **page.values,
            chunks=[(name, Markup(text)) for name, text in chunks.items()],  # noqa: S704  escaped
            scripts=("page.js", *page.scripts),
            folder=folder,
            nonce=nonce,
            pictures_per_chunk=PICTURES_PER_CHUNK,
            version=kitbox.__version__,
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )
    return text.encode("utf-8", "replace")  # a file name may not be valid text


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


def _base64_pictures(rows: list[tuple[Thumbnails, int]]) -> list[str]:
    texts: list[str] = []
    for part in {id(part): part for part, _ in rows}.values():
        pictures = part.load([row for other, row in rows if other is part])
        texts += [base64.b64encode(picture).decode("ascii") for picture in pictures]
    return texts


def _length(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
