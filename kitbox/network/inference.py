"""Runs a network over batches of pixels: unit vectors out."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from kitbox.errors import KitboxError
from kitbox.network.network import Network
from kitbox.records import Floats

Precision = str  # "32", "bf16" or "16"


def resolve_device(asked: str) -> str:
    """Return "cuda" or "cpu" for auto, cpu or cuda; a GPU that is not there is refused."""
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cuda" and not torch.cuda.is_available():
        raise KitboxError("--device cuda: torch sees no GPU here; leave the option out for the CPU")
    if asked not in ("cpu", "cuda"):
        raise KitboxError(f"--device {asked} is not auto, cpu or cuda")
    return asked


def resolve_precision(asked: str, device: str, *, training: bool = False) -> Precision:
    """Return "32", "bf16" or "16" for what was asked, or for auto what suits the device best.

    Networks run in float16 where a processor has it: as fast as bfloat16, with eight times finer
    steps. They learn in bfloat16, whose range gradients need.
    """
    half = device == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    if asked == "auto":
        if device == "cuda":
            return "bf16" if training and torch.cuda.is_bf16_supported() else "16"
        if half and not training:
            return "16"
        return "bf16" if torch.cpu._is_avx512_bf16_supported() else "32"
    if asked not in ("32", "bf16", "16"):
        raise KitboxError(f"--precision {asked} is not auto, 32, bf16 or 16")
    if asked == "16" and device == "cpu" and (training or not half):
        raise KitboxError("--precision 16: this CPU cannot; say 32, bf16 or auto")
    return asked


def autocast(device: str, precision: Precision) -> AbstractContextManager[object]:
    """Return the autocast context of a precision."""
    if precision == "32":
        return nullcontext()
    return torch.autocast(device, torch.bfloat16 if precision == "bf16" else torch.float16)


def embed_batches(
    network: Network,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    device: str,
    precision: Precision,
    backbone_only: bool = False,
) -> Iterator[tuple[Floats, np.ndarray[tuple[int], np.dtype[np.int64]]]]:
    """Yield (vectors (n, d) float32 of unit length, rows (n,)) of each batch (pixels, rows).

    `frozen` gives what the backbone alone says, before the neck. The network is left in the mode
    and on the device in which it came.
    """
    was_training = network.training
    network.eval()
    run: Callable[[Tensor], Tensor] = network.pool if backbone_only else network
    try:
        for pixels, rows in batches:
            with torch.inference_mode(), autocast(device, precision):
                vectors = run(pixels.to(device, non_blocking=True)).float()
            vectors = torch.nn.functional.normalize(vectors, dim=1)
            yield vectors.cpu().numpy(), rows.numpy()
    finally:
        network.train(was_training)
