"""Judges image files by what is known of them: which are odd, and in what way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.check_rules import CheckRules
from kitbox.images.file_index import Inspection
from kitbox.records import Integers

Mask = NDArray[np.bool_]

# Kinds of files that cannot be decoded.
UNREADABLE = ("unreadable", "truncated", "empty", "bomb")
_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
_TURNS = {
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "mirrored upside down",
    5: "mirrored and turned",
    6: "turned by 90 degrees clockwise",
    7: "mirrored and turned",
    8: "turned by 90 degrees counterclockwise",
}
# grey levels above which an image of one colour is white, and below which it is black
_WHITE, _BLACK = 240, 16
# a box is drawn to the pixel
_PIXEL = 1.0


@dataclass(frozen=True)
class ImageCheck:
    """A kind of finding: which rows (n,) it is true of, and what to say of one of them."""

    kind: str
    rows: Callable[[], Mask]
    sentence: Callable[[int], str]


def checks(seen: Inspection, check: CheckRules) -> Iterator[ImageCheck]:
    """Yield what images are judged by, each as a kind of `rules.KINDS`."""
    ids = seen.images.image_ids
    kinds = np.array([seen.problem_kinds.get(str(image_id), "") for image_id in ids], dtype=np.str_)
    for kind in UNREADABLE:
        yield ImageCheck(
            kind, partial(np.equal, kinds, kind), lambda row: seen.problems[str(ids[row])]
        )
    for kind, rows in _masks(seen, check).items():
        yield ImageCheck(kind, rows, partial(_sentence, kind, seen))
    yield from _copies(seen)
    yield ImageCheck("box", lambda: _outside(seen), lambda row: _box_sentence(seen, row))


def _masks(seen: Inspection, check: CheckRules) -> dict[str, Callable[[], Mask]]:
    facts = seen.stats
    readable = facts["width"] > 0
    shortest = np.minimum(facts["width"], facts["height"])
    longest = np.maximum(facts["width"], facts["height"])
    tiny = readable & (shortest < check.tiny_below)
    blank = readable & (facts["contrast"] < check.blank_below)
    seen_well = readable & ~blank
    sharpness = facts["sharpness"]
    return {
        "wrong-suffix": lambda: readable & _misnamed(seen),
        "cmyk": lambda: facts["mode"] == "CMYK",
        "16-bit": lambda: facts["bits"] > 8,
        "alpha": lambda: facts["alpha"],
        "palette": lambda: np.isin(facts["mode"], ["P", "PA"]),
        "rotated": lambda: facts["orientation"] > 1,
        "animated": lambda: facts["frames"] > 1,
        "tiny": lambda: tiny,
        "blank": lambda: blank,
        "dark": lambda: seen_well & (facts["high"] < check.dark_below),
        "bright": lambda: seen_well & (facts["low"] > check.bright_above),
        "blurred": lambda: seen_well & ~tiny & (sharpness > 0) & (sharpness < check.blurred_below),
        "odd-aspect": lambda: readable & (longest > check.aspect_above * shortest),
    }


def _misnamed(seen: Inspection) -> Mask:
    wanted = [_FORMATS.get(path.suffix.lower(), "") for path in seen.images.paths]
    expected = np.array(wanted, dtype=np.str_)
    misnamed: Mask = (expected != "") & (expected != seen.stats["format"])
    return misnamed


def _sentence(kind: str, seen: Inspection, row: int) -> str:
    """Return what is odd about the file of an image."""
    name, facts = seen.images.paths[row].name, seen.stats[row]
    width, height = int(facts["width"]), int(facts["height"])
    match kind:
        case "wrong-suffix":
            what = f"is a {facts['format']} file"
        case "cmyk":
            what = "has the colours of print (CMYK); read as RGB"
        case "16-bit":
            what = f"has {facts['bits']} bits a colour; read with 8"
        case "alpha":
            what = "is partly transparent; its colours are read and its transparency is not"
        case "palette":
            what = "has a palette of few colours; read as RGB"
        case "rotated":
            what = f"is to be shown {_TURNS[int(facts['orientation'])]} (EXIF); read so"
        case "animated":
            what = f"has {facts['frames']} frames; the first is read"
        case "tiny":
            what = f"has {width} x {height} pixels"
        case "blank":
            what = f"shows nothing but {_colour(facts)}"
        case "dark":
            what = f"is dark: 95 % of its pixels are at most {facts['high']} of 255"
        case "bright":
            what = f"is nearly white: 95 % of its pixels are above {facts['low']} of 255"
        case "blurred":
            what = f"is blurred: sharpness {facts['sharpness']:.2f}"
        case _:
            what = f"has {width} x {height} pixels, {max(width, height) / min(width, height):.1f}:1"
    return f"image {name} {what}"


def _colour(facts: np.void) -> str:
    if facts["high"] < _BLACK:
        return "black"
    return "white" if facts["low"] > _WHITE else "one colour"


def _copies(seen: Inspection) -> Iterator[ImageCheck]:
    """Yield who has the bytes of an image of this side: all but the first, or all of two labels."""
    labels = seen.images.labels

    @cache  # asked for by whoever wants to know of copies, and by nobody else
    def files() -> tuple[Integers, Integers, Mask, Mask]:
        return _by_bytes(seen)

    def copies() -> Mask:
        first, codes, alike, odds = files()
        later: Mask = first[codes] != np.arange(len(codes))
        return alike & ~odds & later

    def copy(row: int) -> str:
        first, codes, _, _ = files()
        return f"{_named(seen, row)} has the same bytes as {_named(seen, int(first[codes[row]]))}"

    def conflict(row: int) -> str:
        assert labels is not None  # noqa: S101  unlabelled images are not at odds
        _, codes, _, _ = files()
        of = int(np.flatnonzero((codes == codes[row]) & (labels != labels[row]))[0])
        one, other = (f"{_named(seen, at)} of '{labels[at]}'" for at in (row, of))
        return f"{one} has the same bytes as {other}"

    yield ImageCheck("copy", copies, copy)
    yield ImageCheck("copy-conflict", lambda: files()[3], conflict)


def _by_bytes(seen: Inspection) -> tuple[Integers, Integers, Mask, Mask]:
    """Return the first image (d,) of each distinct file, and of each image (n,) which file it is.

    And whether other images are that file, and whether they are so under another label.
    """
    digests, labels = seen.images.file_digests, seen.images.labels
    _, first, codes = np.unique(digests, return_index=True, return_inverse=True)
    alike: Mask = (seen.stats["width"] > 0) & (np.bincount(codes)[codes] > 1)
    odds = np.zeros(len(digests), dtype=np.bool_)
    if labels is not None:
        named = np.stack([codes, np.unique(labels, return_inverse=True)[1]])
        odds = alike & (np.bincount(np.unique(named, axis=1)[0])[codes] > 1)
    return first.astype(np.int64), codes.astype(np.int64), alike, odds


def _named(seen: Inspection, row: int) -> str:
    return f"image '{seen.images.image_ids[row]}'"


def _outside(seen: Inspection) -> Mask:
    """Return where a box reaches beyond the upright image."""
    boxes, facts = seen.images.boxes, seen.stats
    if boxes is None:
        return np.zeros(len(facts), dtype=np.bool_)
    beyond = (boxes[:, :2] < -_PIXEL).any(axis=1)
    beyond |= boxes[:, 2] > facts["width"] + _PIXEL
    beyond |= boxes[:, 3] > facts["height"] + _PIXEL
    return np.asarray((facts["width"] > 0) & beyond)  # a box that is not there is beyond nothing


def _box_sentence(seen: Inspection, row: int) -> str:
    assert seen.images.boxes is not None  # noqa: S101  a box is outside
    box = " ".join(f"{corner:g}" for corner in seen.images.boxes[row])
    facts = seen.stats[row]
    size = f"{facts['width']} x {facts['height']}"
    return f"the box {box} of {_named(seen, row)} reaches beyond its {size} pixels; cut there"
