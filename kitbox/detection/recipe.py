"""What a detector of boxes is made of: a value whose fingerprint names it."""

from typing import Literal

from pydantic import Field

from kitbox.value import Value

# Maps of a backbone are finest at a stride of 8 px and coarsest at 32.
STRIDES = (8, 16, 32)


class Recipe(Value):
    """One detector: its backbone, what it sees, how it learns.

    Images are squashed to one size, whose longer side is `image_size` pixels and whose shape is
    that of the median image; a box keeps its place and its IoU with others under that.
    """

    backbone: str = Field(default="mobilenetv2_100", min_length=1)
    image_size: int = Field(default=384, ge=32, le=2048)
    epochs: int = Field(default=16, ge=1, le=1000)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    channels: int = Field(default=96, ge=32, multiple_of=32)  # of the pyramid and its heads
    convolutions: int = Field(default=2, ge=0)  # of each head before its answer
    finest: Literal[8, 16] = 16  # stride of the finest map in pixels
    seed: int = Field(default=0, ge=0)

    def height_width(self, shape: float) -> tuple[int, int]:
        """Return (height, width) in pixels for images of a shape, width / height.

        Both are multiples of the coarsest stride, so that every map has whole cells.
        """
        step = STRIDES[-1]
        long = max(round(self.image_size / step), 1) * step
        short = max(round(self.image_size * min(shape, 1 / shape) / step), 1) * step
        return (short, long) if shape >= 1 else (long, short)
