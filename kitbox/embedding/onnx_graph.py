"""A network as an ONNX graph, from pixels to embeddings, which ONNX Runtime runs on a CPU."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_OPSET = 17
_PIXELS, _EMBEDDING = "pixels", "embedding"


class ExportError(Exception):
    """A network cannot be written as an ONNX graph, or ONNX Runtime cannot run it."""


def export(network: nn.Module, height_width: tuple[int, int], file: Path) -> None:
    """Write the graph of a network in eval mode for one image (1, height, width, 3) uint8.

    All sizes are constants of the graph: padding is folded into convolutions, which makes it a
    quarter faster than one for any number of images. The exporter of TorchScript comes first: it
    is the faster one. Raises ExportError with the reasons of all exporters.
    """
    pixels = torch.zeros((1, *height_width, 3), dtype=torch.uint8)
    reasons = []
    # the newer exporter needs a package that most installations lack
    for newer in (False, True) if find_spec("onnxscript") else (False,):
        try:
            with _quiet(), torch.no_grad():
                torch.onnx.export(
                    network,
                    (pixels,),
                    str(file),
                    dynamo=newer,
                    opset_version=None if newer else _OPSET,
                    input_names=[_PIXELS],
                    output_names=[_EMBEDDING],
                )
        except Exception as error:  # exporters raise many kinds
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reasons.append(lines[0].rstrip(".") if lines else type(error).__name__)
        else:
            return
    raise ExportError("; ".join(dict.fromkeys(reasons)))


class OnnxGraph:
    """A graph in ONNX Runtime. Images run one by one, each in one of `threads` threads.

    An embedding therefore depends neither on the batch nor on the number of threads, and no thread
    waits for another within an image.
    """

    def __init__(self, file: Path, threads: int) -> None:
        """Load a graph; raises ExportError for one that ONNX Runtime cannot run."""
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)  # errors alone
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of classes that ONNX Runtime makes as it is built
            raise ExportError(f"ONNX Runtime cannot load it: {_first_line(error)}") from error
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="onnx")

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return embeddings (n, d) float32 of pixels (n, h, w, 3) uint8."""
        images = np.ascontiguousarray(pixels.numpy())
        rows = self._pool.map(self._run, np.split(images, len(images)))
        return torch.from_numpy(np.concatenate(list(rows)))

    def _run(self, image: Any) -> Any:
        [embedding] = self._session.run([_EMBEDDING], {_PIXELS: image})
        return embedding


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence exporters: they warn of constants, and the newer one prints what it does."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
