"""Views: the ways in which a network looks at an image; the vectors of several are averaged."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kitbox.errors import counted, did_you_mean

# Vectors of an image that make the vector of a view.
_INPUTS = {"plain": 1, "flip": 1, "five_crops": 5, "boxes": 2}
_SCALE = "scale"
_KNOWN = (*_INPUTS, "scale:1.25")
# Beyond these an image has too few pixels, or a network too much to do.
_LEAST_SCALE, _MOST_SCALE = 0.25, 4.0


@dataclass(frozen=True)
class View:
    """One way to look at an image; the vector of a view is the mean of its `inputs` vectors.

    "plain": the image, or its box, at the plugin's size. "flip": the same, mirrored. "scale:F":
    the same at F times the size. "five_crops": the centre and the four corners of it, each of 7/8
    of its width and height. "boxes": the whole image and its box, whatever the plugin crops to.
    """

    name: str
    inputs: int = 1
    scale: float = 1.0

    @property
    def time(self) -> float:
        """The time that a network needs, in units of a plain view."""
        return self.inputs * self.scale**2


PLAIN = View("plain")


def parse_view(text: str) -> View:
    """Return the view of this name; raises ValueError for one that there is not."""
    kind, _, factor = text.partition(":")
    if kind != _SCALE:
        if text not in _INPUTS:
            near = did_you_mean(text, _KNOWN) or f"; there are {', '.join(_KNOWN)}"
            raise ValueError(f"there is no view '{text}'{near}")
        return View(text, _INPUTS[text])
    try:
        scale = float(factor)
    except ValueError:
        scale = math.nan
    if not _LEAST_SCALE <= scale <= _MOST_SCALE:
        raise ValueError(
            f"the view '{text}' needs a factor from {_LEAST_SCALE:g} to {_MOST_SCALE:g}, "
            "written as scale:1.25"
        )
    if scale == 1:
        raise ValueError(f"the view '{text}' is the view plain; name that")
    return View(f"{_SCALE}:{scale:g}", scale=scale)


def is_view(text: str) -> bool:
    """Return whether a text names a view."""
    try:
        parse_view(text)
    except ValueError:
        return False
    return True


def parse_views(texts: Iterable[str]) -> tuple[View, ...]:
    """Return the views of these names; raises ValueError for one that is named twice."""
    views: list[View] = []
    for text in texts:
        view = parse_view(text.strip())
        if view in views:
            raise ValueError(f"the view '{view.name}' is named twice; leave one out")
        views.append(view)
    return tuple(views)


def views_of(names: Sequence[str]) -> tuple[View, ...]:
    """Return the views of a plugin's setting; () is the plain view alone."""
    return parse_views(names) or (PLAIN,)


def cost(wanted: Sequence[View], missing: Sequence[View], images: int) -> str:
    """Return what the views of some images cost, as a sentence; `missing` are not cached yet."""
    names = ", ".join(view.name for view in wanted)
    inputs = sum(view.inputs for view in missing)
    time = sum(view.time for view in missing)
    scaled = f", {time:.1f} × the time of a plain view" if time != inputs else ""
    cached = [view.name for view in wanted if view not in missing]
    verb = "is" if len(cached) == 1 else "are"
    kept = f"; {' and '.join(cached)} {verb} in the cache" if cached else ""
    return (
        f"{counted(len(wanted), 'view')} ({names}): {inputs} × {images:,} images to embed"
        f"{scaled}{kept}"
    )
