"""Inference: device, precision, and the unit vectors of a network over batches of pixels."""

import ctypes
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from kitbox.errors import KitboxError
from kitbox.records import Floats

if TYPE_CHECKING:  # torch and timm take seconds to import, and cached embeddings need neither
    from torch import Tensor, nn

    from kitbox.network.network import Network

Precision = str  # "32", "bf16" or "16"
# The device files of GPUs on Linux: of NVIDIA, of AMD, and of either below Windows.
_GPU_FILES = ("nvidia*", "kfd", "dxg")
# Flags of processors on x86: one that computes in a precision has at least one of its flags.
_FLAGS = {"16": {"avx512_fp16", "avx_ne_convert"}, "bf16": {"avx512_bf16"}}
# Of mallopt in glibc: M_MMAP_THRESHOLD, of which older releases take 32 MB at most, and then
# M_TRIM_THRESHOLD and M_TOP_PAD. Any of them ends glibc's own adjustment of the first.
_MMAP, _MMAP_THRESHOLDS = -3, (2**30, 2**25)
_MALLOPT = {-1: 2**31 - 1, -2: 2**26}


def resolve_device(device: str) -> str:
    """Return "cuda" or "cpu" for auto, cuda or cpu; raises KitboxError for a missing GPU.

    From then on networks on a CPU reuse the memory of earlier batches.
    """
    if device == "auto":
        device = "cuda" if _has_gpu() else "cpu"
    if device == "cuda" and not _has_gpu():
        raise KitboxError("--device cuda: torch sees no GPU here; leave the option out for the CPU")
    if device not in ("cpu", "cuda"):
        raise KitboxError(f"--device {device} is not auto, cpu or cuda")
    if device == "cpu":
        reuse_memory()
    return device


def resolve_precision(precision: str, device: str, *, training: bool = False) -> Precision:
    """Return "32", "bf16" or "16" as requested, or the best one of the device for auto.

    Inference uses float16 where the processor has it: as fast as bfloat16, with eight times finer
    steps. Training uses bfloat16, whose range gradients need. Raises KitboxError for a precision
    that the device does not support.
    """
    if precision == "auto":
        if device == "cuda":
            return "bf16" if training and _gpu_has_bf16() else "16"
        if not training and _computes_in("16"):
            return "16"
        return "bf16" if _computes_in("bf16") else "32"
    if precision not in ("32", "bf16", "16"):
        raise KitboxError(f"--precision {precision} is not auto, 32, bf16 or 16")
    if precision == "16" and device == "cpu" and (training or not _computes_in("16")):
        where = "for training on a CPU" if training else "on this CPU"
        raise KitboxError(f"--precision 16 is not supported {where}; use 32, bf16 or auto")
    return precision


def _has_gpu() -> bool:
    """Return whether torch sees a GPU, without importing it where there is none to see."""
    if _is_pc() and not any(any(Path("/dev").glob(pattern)) for pattern in _GPU_FILES):
        return False
    import torch

    return bool(torch.cuda.is_available())


def _gpu_has_bf16() -> bool:
    import torch

    return bool(torch.cuda.is_bf16_supported())


@cache
def _computes_in(precision: Precision) -> bool:
    """Return whether the processor has "16" or "bf16"; most are known by flags, without torch."""
    flags = _processor_flags() if _is_pc() else None
    if flags is not None and not _FLAGS[precision] & flags:
        return False
    if flags is not None and precision == "bf16":  # torch asks for this flag too
        return True
    import torch

    if precision == "16":
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())


def _is_pc() -> bool:
    """Return whether this is Linux on x86, whose files name the devices and the processor."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def _processor_flags() -> set[str] | None:
    """Return the flags of the first processor, None where the system names none."""
    try:
        with Path("/proc/cpuinfo").open(errors="replace") as lines:
            return set(next(line for line in lines if line.startswith("flags")).split())
    except (OSError, StopIteration):
        return None


@cache
def reuse_memory() -> None:
    """Let the C library keep the memory that a batch frees for the next batch.

    By default glibc returns large buffers to the system, which clears them anew for every batch. It
    has no effect with other C libraries, nor where the user has set glibc's own variables. Worker
    processes that are forked later do the same.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return
    if any(mallopt(_MMAP, threshold) for threshold in _MMAP_THRESHOLDS):
        for parameter, value in _MALLOPT.items():
            mallopt(parameter, value)


def autocast(device: str, precision: Precision) -> AbstractContextManager[object]:
    """Return the autocast context of a precision."""
    if precision == "32":
        return nullcontext()
    import torch

    return torch.autocast(device, torch.bfloat16 if precision == "bf16" else torch.float16)


def embed_batches(
    network: "nn.Module",
    batches: "Iterable[tuple[Tensor, Tensor]]",
    *,
    device: str,
    precision: Precision,
    backbone_only: bool = False,
) -> Iterator[tuple[Floats, np.ndarray[tuple[int], np.dtype[np.int64]]]]:
    """Yield (vectors (n, d) float32 of unit length, rows (n,)) of each batch (pixels, rows).

    `backbone_only` gives the pooled feature maps, before the neck. The network keeps its mode and
    device.
    """
    import torch

    was_training = network.training
    network.eval()
    run: Callable[[Tensor], Tensor] = cast("Network", network).pool if backbone_only else network
    try:
        for pixels, rows in batches:
            with torch.inference_mode(), autocast(device, precision):
                vectors = run(pixels.to(device, non_blocking=True)).float()
            vectors = torch.nn.functional.normalize(vectors, dim=1)
            yield vectors.cpu().numpy(), rows.numpy()
    finally:
        network.train(was_training)
