"""Checks of image files by their statistics: unreadable, odd or repeated ones, and wrong boxes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.check_rules import CheckRules
from kitbox.competition.folder_scan import FORMATS
from kitbox.images.file_index import Inspection
from kitbox.images.preprocessing import SWAPPED
from kitbox.records import Integers

Mask = NDArray[np.bool_]

# Kinds of files that cannot be decoded.
UNREADABLE = ("unreadable", "truncated", "empty", "bomb")
_TURNS = {
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "mirrored upside down",
    5: "mirrored and turned",
    6: "turned by 90 degrees clockwise",
    7: "mirrored and turned",
    8: "turned by 90 degrees counterclockwise",
}
# Grey levels above which an image of one colour is white, and below which it is black.
_WHITE, _BLACK = 240, 16
# In pixels, since boxes are drawn to the pixel.
_BOX_TOLERANCE = 1.0


@dataclass(frozen=True)
class ImageCheck:
    """A kind of finding: `mask` returns which images (n,) have it, `message` a row's sentence."""

    kind: str
    mask: Callable[[], Mask]
    message: Callable[[int], str]


def checks(inspection: Inspection, rules: CheckRules) -> Iterator[ImageCheck]:
    """Yield the checks of inspected images, each of a kind in `check_rules.KINDS`."""
    ids = inspection.images.image_ids
    found = inspection.problem_kinds | dict.fromkeys(inspection.truncated, "truncated")
    messages = inspection.problems | inspection.truncated
    kinds = np.array([found.get(str(image_id), "") for image_id in ids], dtype=np.str_)
    for kind in UNREADABLE:
        yield ImageCheck(kind, partial(np.equal, kinds, kind), lambda row: messages[str(ids[row])])
    for kind, mask in _masks(inspection, rules).items():
        yield ImageCheck(kind, mask, partial(_message, kind, inspection))
    yield from _copy_checks(inspection)
    yield ImageCheck("box", lambda: _outside(inspection), lambda row: _box_message(inspection, row))


def _masks(inspection: Inspection, rules: CheckRules) -> dict[str, Callable[[], Mask]]:
    stats = inspection.stats
    readable = stats["width"] > 0
    shortest = np.minimum(stats["width"], stats["height"])
    longest = np.maximum(stats["width"], stats["height"])
    tiny = readable & (shortest < rules.tiny_below)
    blank = readable & (stats["contrast"] < rules.blank_below)
    shows = readable & ~blank
    sharpness = stats["sharpness"]
    return {
        "wrong-suffix": lambda: readable & _misnamed(inspection),
        "cmyk": lambda: stats["mode"] == "CMYK",
        "16-bit": lambda: stats["bits"] > 8,
        "alpha": lambda: stats["alpha"],
        "palette": lambda: np.isin(stats["mode"], ["P", "PA"]),
        "rotated": lambda: stats["orientation"] > 1,
        "exif": lambda: readable & (stats["orientation"] == 0),
        "animated": lambda: stats["frames"] > 1,
        "tiny": lambda: tiny,
        "blank": lambda: blank,
        "dark": lambda: shows & (stats["high"] < rules.dark_below),
        "bright": lambda: shows & (stats["low"] > rules.bright_above),
        "blurred": lambda: shows & ~tiny & (sharpness > 0) & (sharpness < rules.blurred_below),
        "odd-aspect": lambda: readable & (longest > rules.aspect_above * shortest),
    }


def _misnamed(inspection: Inspection) -> Mask:
    by_suffix = [FORMATS.get(path.suffix.lower(), "") for path in inspection.images.paths]
    expected = np.array(by_suffix, dtype=np.str_)
    misnamed: Mask = (expected != "") & (expected != inspection.stats["format"])
    return misnamed


def _message(kind: str, inspection: Inspection, row: int) -> str:
    """Return the sentence of a finding of this kind."""
    name, stats = inspection.images.paths[row].name, inspection.stats[row]
    width, height = int(stats["width"]), int(stats["height"])
    match kind:
        case "wrong-suffix":
            what = f"is a {stats['format']} file"
        case "cmyk":
            what = "has the colours of print (CMYK); read as RGB"
        case "16-bit":
            what = f"has {stats['bits']} bits a colour; read with 8"
        case "alpha":
            what = "is partly transparent; its colours are read and its transparency is not"
        case "palette":
            what = "has a palette of few colours; read as RGB"
        case "rotated":
            what = f"is to be shown {_TURNS[int(stats['orientation'])]} (EXIF); read upright"
        case "exif":
            what = "has damaged EXIF, so nothing tells when it was taken and whether it is upright"
        case "animated":
            what = f"has {stats['frames']} frames; the first is read"
        case "tiny":
            what = f"has {width} x {height} pixels"
        case "blank":
            what = f"shows nothing but {_colour(stats)}"
        case "dark":
            what = f"is dark: 95 % of its pixels are at most {stats['high']} of 255"
        case "bright":
            what = f"is nearly white: 95 % of its pixels are above {stats['low']} of 255"
        case "blurred":
            what = f"is blurred: sharpness {stats['sharpness']:.2f}"
        case _:
            what = f"has {width} x {height} pixels, {max(width, height) / min(width, height):.1f}:1"
    return f"image {name} {what}"


def _colour(stats: np.void) -> str:
    if stats["high"] < _BLACK:
        return "black"
    return "white" if stats["low"] > _WHITE else "one colour"


def _copy_checks(inspection: Inspection) -> Iterator[ImageCheck]:
    """Yield the checks for exact copies: all but the first of a file, or all under two labels."""
    labels = inspection.images.labels

    @cache  # computed only if one of the two checks is run
    def files() -> tuple[Integers, Integers, Mask, Mask]:
        return _by_bytes(inspection)

    def copies() -> Mask:
        first, codes, repeated, conflicting = files()
        later: Mask = first[codes] != np.arange(len(codes))
        return repeated & ~conflicting & later

    def copy_message(row: int) -> str:
        first, codes, _, _ = files()
        original = int(first[codes[row]])
        return f"{_named(inspection, row)} has the same bytes as {_named(inspection, original)}"

    def conflict_message(row: int) -> str:
        assert labels is not None  # noqa: S101  images without labels have no conflicts
        _, codes, _, _ = files()
        conflicting = int(np.flatnonzero((codes == codes[row]) & (labels != labels[row]))[0])
        one, other = (f"{_named(inspection, at)} of '{labels[at]}'" for at in (row, conflicting))
        return f"{one} has the same bytes as {other}"

    yield ImageCheck("copy", copies, copy_message)
    yield ImageCheck("copy-conflict", lambda: files()[3], conflict_message)


def _by_bytes(inspection: Inspection) -> tuple[Integers, Integers, Mask, Mask]:
    """Return the first image (d,) of each distinct file, and each image's file (n,), as rows.

    Also return which images (n,) share their file, and which share it with an image of another
    label.
    """
    digests, labels = inspection.images.file_digests, inspection.images.labels
    _, first, codes = np.unique(digests, return_index=True, return_inverse=True)
    repeated: Mask = (inspection.stats["width"] > 0) & (np.bincount(codes)[codes] > 1)
    conflicting = np.zeros(len(digests), dtype=np.bool_)
    if labels is not None:
        named = np.stack([codes, np.unique(labels, return_inverse=True)[1]])
        conflicting = repeated & (np.bincount(np.unique(named, axis=1)[0])[codes] > 1)
    return first.astype(np.int64), codes.astype(np.int64), repeated, conflicting


def _named(inspection: Inspection, row: int) -> str:
    return f"image '{inspection.images.image_ids[row]}'"


def _outside(inspection: Inspection) -> Mask:
    """Return which boxes (n,) reach beyond the upright image."""
    boxes, stats = inspection.images.boxes, inspection.stats
    if boxes is None:
        return np.zeros(len(stats), dtype=np.bool_)
    beyond = (boxes[:, :2] < -_BOX_TOLERANCE).any(axis=1)
    beyond |= boxes[:, 2] > stats["width"] + _BOX_TOLERANCE
    beyond |= boxes[:, 3] > stats["height"] + _BOX_TOLERANCE
    return np.asarray((stats["width"] > 0) & beyond)  # NaN, for no box, compares as False


def _box_message(inspection: Inspection, row: int) -> str:
    assert inspection.images.boxes is not None  # noqa: S101  a box is outside
    box = " ".join(f"{corner:g}" for corner in inspection.images.boxes[row])
    stats = inspection.stats[row]
    size = f"{stats['width']} x {stats['height']}"
    name = _named(inspection, row)
    what = f"the box {box} of {name} reaches beyond its {size} pixels; cut there"
    x1, y1 = inspection.images.boxes[row, 2:] - _BOX_TOLERANCE
    if stats["orientation"] in SWAPPED and x1 <= stats["height"] and y1 <= stats["width"]:
        return (
            f"{what}; it fits the raw pixels, which EXIF turns: if it was drawn on them, import "
            "its list by 'kitbox data boxes import FILE --raw'"
        )
    return what
