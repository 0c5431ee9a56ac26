"""What a network is given of each image for a view: the whole of it, a part, mirrored or larger."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kitbox.errors import KitboxError
from kitbox.images.preprocessing import Box
from kitbox.plugin.views import View
from kitbox.records import ImageSet

if TYPE_CHECKING:
    from torch import nn

    from kitbox.network.network import Network

# The share of width and height that each of five crops has.
_CROP_SHARE = 0.875
# Networks halve an image five times.
_STRIDE = 32


@dataclass(frozen=True, kw_only=True)
class ViewInput:
    """How every image is read once: cropped to its box if `cropped`, a `part` of that, mirrored."""

    cropped: bool
    part: Box | None = None
    flipped: bool = False


def view_inputs(view: View, images: ImageSet, *, crop: bool) -> tuple[ViewInput, ...]:
    """Return the inputs of a view, for a plugin that crops images to their boxes or does not.

    Raises KitboxError for boxes of images that have none.
    """
    match view.name:
        case "flip":
            return (ViewInput(cropped=crop, flipped=True),)
        case "five_crops":
            return tuple(ViewInput(cropped=crop, part=part) for part in _five_crops())
        case "boxes":
            if images.boxes is None or np.isnan(images.boxes).any(axis=1).all():
                raise KitboxError(
                    f"the view boxes: none of the {len(images)} images has a box",
                    fix="run 'kitbox data boxes import FILE' or 'kitbox data boxes detect', "
                    "or leave the view out",
                )
            return ViewInput(cropped=False), ViewInput(cropped=True)
        case _:
            return (ViewInput(cropped=crop),)


def scale_network(
    network: "Network", height_width: tuple[int, int], scale: float, name: str
) -> tuple[int, int]:
    """Let a network take images at `scale` times its size; return that size.

    Both sides are rounded to a multiple of 32 pixels, or of the side of a patch that does not
    divide 32. Raises KitboxError for a network that takes one size alone.
    """
    import torch

    size = _scaled_size(height_width, scale, _patch_side(network.backbone))
    own, other = ("x".join(map(str, each)) for each in (height_width, size))
    if size == height_width:
        raise KitboxError(
            f"the view scale:{scale:g} of {name} has {own} pixels, as the view plain",
            fix="take a factor further from 1",
        )
    try:
        resize = getattr(network.backbone, "set_input_size", None)
        if resize is not None:  # position embeddings, windows
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's advice to timm
                resize(img_size=size)
        with torch.inference_mode():
            network(torch.zeros((1, *size, 3), dtype=torch.uint8))
    except (KitboxError, MemoryError):
        raise
    except Exception as error:  # networks raise many kinds
        raise KitboxError(
            f"the view scale:{scale:g}: {name} takes images of {own} pixels alone, not of {other}",
            fix="leave that view out, or take five_crops, which has the network's own size",
        ) from error
    return size


def _scaled_size(height_width: tuple[int, int], scale: float, patch: int) -> tuple[int, int]:
    step = patch if _STRIDE % patch else _STRIDE
    height, width = (max(int(side * scale / step + 0.5), 1) * step for side in height_width)
    return height, width


def _patch_side(backbone: "nn.Module") -> int:
    """Return the side of the patches that a network cuts an image into, 1 for one without."""
    size = getattr(getattr(backbone, "patch_embed", None), "patch_size", 1)
    return int(max(size)) if isinstance(size, tuple | list) else int(size or 1)


def _five_crops() -> tuple[Box, ...]:
    """Return centre and corners as shares of width and height."""
    size, rest = _CROP_SHARE, 1 - _CROP_SHARE
    corners = [(rest / 2, rest / 2), (0.0, 0.0), (rest, 0.0), (0.0, rest), (rest, rest)]
    return tuple((left, top, left + size, top + size) for left, top in corners)
