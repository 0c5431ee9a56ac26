"""Turns bytes of RGB into the numbers that a backbone was trained on."""

from typing import cast

import torch
from torch import Tensor, nn

from kitbox.network.backbone import PixelForm


class Normalisation(nn.Module):
    """From pixels (n, h, w, 3) uint8 to (n, 3, h, w) float32; keeps nothing in a checkpoint."""

    def __init__(self, form: PixelForm) -> None:
        """Take mean, standard deviation, scale and channel order from a backbone's form."""
        super().__init__()
        self.blue_first = form.blue_first
        # uint8 · gain + offset = (pixel · scale / 255 − mean) / std
        mean, std = torch.tensor(form.mean), torch.tensor(form.std)
        self.register_buffer("gain", (form.scale / 255 / std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("offset", (-mean / std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the normalised pixels; NHWC bytes seen as NCHW are channels_last already."""
        if self.blue_first:
            pixels = pixels.flip(3)
        gain, offset = cast(Tensor, self.gain), cast(Tensor, self.offset)
        return torch.addcmul(offset, pixels.permute(0, 3, 1, 2).float(), gain)
