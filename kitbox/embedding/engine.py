"""The engine that runs a network on a CPU: torch or ONNX Runtime, whichever is faster there."""

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from kitbox.embedding.onnx_graph import ExportError, OnnxGraph, export
from kitbox.errors import KitboxError
from kitbox.files import (
    atomic_folder,
    digest_of,
    digest_of_file,
    read_json,
    session_digest,
    write_text,
)
from kitbox.network import acceleration
from kitbox.network.network import Network
from kitbox.value import Recorded, check

TORCH, ONNX = "torch", "onnx"
Run = Callable[[Tensor], Tensor]

# Raise it when a graph is made in another way.
_RECIPE = 1
# An export takes as long as some hundred images save, so 'auto' makes none for fewer images.
WORTHWHILE = 256
# The least cosine between the embeddings of both engines.
_AGREEMENT = 0.9999
_PROBE_IMAGES = 8
_PROBE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """What may run a network: the engines to choose from, the one of existing embeddings first.

    `required`: the user named the engine, so there is no other to fall back on.
    """

    engines: tuple[str, ...]
    required: bool = False
    notice: str = ""


def choose(engine: str, device: str, precision: str, images: int) -> EngineChoice:
    """Return the engines that may run a network for a number of images.

    Raises KitboxError where the user asks for an engine that cannot run here.
    """
    if engine not in ("auto", TORCH, ONNX):
        raise KitboxError(f"--engine {engine} is not auto, torch or onnx")
    if engine == TORCH:
        return EngineChoice(engines=(TORCH,), required=True)
    missing = "" if _is_installed() else "install it with 'pip install onnx onnxruntime'"
    if engine == ONNX:
        if device != "cpu":
            raise KitboxError("--engine onnx runs on the CPU; add --device cpu, or leave it out")
        if precision not in ("auto", "32"):
            raise KitboxError(
                f"--engine onnx computes in float32, not in --precision {precision}; leave one out"
            )
        if missing:
            raise KitboxError("--engine onnx needs ONNX Runtime", fix=missing)
        return EngineChoice(engines=(ONNX,), required=True)
    if device != "cpu" or precision not in ("auto", "32"):
        return EngineChoice(engines=(TORCH,))
    if missing:
        notice = f"torch embeds alone, without ONNX Runtime, which is often faster; {missing}"
        return EngineChoice(engines=(TORCH,), notice=notice if images >= WORTHWHILE else "")
    return EngineChoice(engines=(TORCH, ONNX))


class Engine(nn.Module):
    """A network from pixels (n, h, w, 3) uint8 to embeddings (n, d), run by the faster engine.

    Which one that is follows from the first batch: some of its images are embedded by both. `used`
    is its name from then on. The choice is remembered in a folder, for networks of one
    architecture and size, a processor and the versions of the libraries; the ONNX graph is kept
    there for each network and size.
    """

    def __init__(
        self, network: Network, choice: EngineChoice, *, device: str, digest: str, folder: Path,
        images: int,
    ) -> None:  # fmt: skip
        """Run a network, in eval mode on the CPU, on a device.

        `digest` is that of its weights, `images` the number of images that it will embed.
        """
        super().__init__()
        self.network = network
        self.used = TORCH
        self._notice = choice.notice
        self._choice, self._device, self._digest = choice, device, digest
        self._folder, self._images = folder, images
        self._runs: dict[tuple[int, int], Run] = {}
        self._is_folded = False

    @property
    def label(self) -> str:
        """The engine in words, '' for torch."""
        return "" if self.used == TORCH else "ONNX Runtime"

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the embeddings of pixels."""
        size = (pixels.shape[1], pixels.shape[2])
        if size not in self._runs:
            with torch.inference_mode(False), torch.no_grad():
                graph = self._onnx(pixels[:_PROBE_IMAGES].clone(), size)
                self._runs[size] = self._torch(size) if graph is None else graph
            self.used = TORCH if graph is None else ONNX
        return self._runs[size](pixels)

    def take_notice(self) -> str:
        """Return what a user should know of the choice, once; '' where there is nothing."""
        notice, self._notice = self._notice, ""
        return notice

    def _torch(self, size: tuple[int, int]) -> Run:
        """Return the network in torch, on its device, with batch norms folded for speed."""
        if not self._is_folded:
            generator = torch.Generator().manual_seed(0)
            example = torch.randn(1, 3, *size, generator=generator)
            with torch.autocast("cpu", enabled=False):
                self.network.backbone, _ = acceleration.fold_batchnorm(
                    self.network.backbone, example, self.network.feature_maps.compute
                )
            self.network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._is_folded = True
        return self.network

    def _onnx(self, pixels: Tensor, size: tuple[int, int]) -> Run | None:
        """Return the network in ONNX Runtime, None where torch is to run it."""
        required = self._choice.required
        if ONNX not in self._choice.engines or (self._images < WORTHWHILE and not required):
            return None
        memory = self._folder / f"{self._architecture(size)}.json"
        known = _recall(memory)
        if known == TORCH and not required:
            return None
        try:
            graph = self._graph(pixels, size)
        except ExportError as error:
            if required:
                raise KitboxError(
                    f"ONNX Runtime cannot run this network ({error})", fix="leave --engine onnx out"
                ) from error
            reason = f"torch embeds, because ONNX Runtime cannot run this network ({error})"
            _remember(memory, {"engine": TORCH, "reason": reason})
            self._notice = reason
            return None
        if graph is None or required or known is not None:
            return graph
        speeds = {TORCH: _speed(self._torch(size), pixels), ONNX: _speed(graph, pixels)}
        best = max(speeds, key=lambda each: speeds[each])
        _remember(memory, {"engine": best, "images_per_second": speeds})
        return graph if best == ONNX else None

    def _graph(self, pixels: Tensor, size: tuple[int, int]) -> OnnxGraph | None:
        """Return the graph, kept or exported; None where its embeddings differ from torch's.

        Raises ExportError where there is none.
        """
        threads, folder = torch.get_num_threads(), self._folder / self._key(size)
        if not folder.exists():
            with atomic_folder(folder) as beside, torch.autocast("cpu", enabled=False):
                export(self.network, size, beside / "graph.onnx")
                expected = self.network(pixels)
                found = OnnxGraph(beside / "graph.onnx", threads)(pixels)
                cosine = float(nn.functional.cosine_similarity(found, expected, dim=1).min())
                if not cosine >= _AGREEMENT:  # it may be NaN
                    (beside / "graph.onnx").unlink()
                files = {path.name: digest_of_file(path) for path in beside.iterdir()}
                manifest = {"cosine": str(cosine), "sha256": files}
                (beside / "manifest.json").write_text(json.dumps(manifest) + "\n")
        cosine = _cosine(folder)
        if cosine >= _AGREEMENT:
            return OnnxGraph(folder / "graph.onnx", threads)
        reason = f"the embeddings of ONNX Runtime differ from those of torch (cosine {cosine:.5f})"
        if self._choice.required:
            raise KitboxError(reason, fix="leave --engine onnx out")
        self._notice = f"torch embeds, because {reason}"
        return None

    def _key(self, size: tuple[int, int]) -> str:
        """Return the key of the graph of this network for images of a size."""
        return digest_of(["graph", _RECIPE, self._digest, list(size), _versions()])[:32]

    def _architecture(self, size: tuple[int, int]) -> str:
        """Return the key of the choice: the layers and not the weights, and the processor."""
        layers = [[name, list(tensor.shape)] for name, tensor in self.network.state_dict().items()]
        half = str(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else ""
        here = [_processor(), torch.get_num_threads(), half]
        return digest_of(["choice", _RECIPE, layers, list(size), here, _versions()])[:32]


def _cosine(folder: Path) -> float:
    """Return the agreement of a graph with torch; raises KitboxError where a file is damaged."""
    try:
        manifest = read_json(folder / "manifest.json")
        sound = all(
            session_digest(folder / name) == digest
            for name, digest in manifest.get("sha256", {}).items()
        )
        cosine = float(manifest["cosine"])
    except (KitboxError, OSError, LookupError, TypeError, ValueError, AttributeError):
        sound = False
    if not sound:
        raise KitboxError(
            f"the graph {folder} of ONNX Runtime is damaged",
            fix="remove that folder; it is made again",
        )
    return cosine


def _speed(run: Run, pixels: Tensor) -> float:
    """Return the images per second of the fastest of a few runs, after one for warming up."""
    run(pixels[:1])
    seconds: list[float] = []
    while not seconds or (len(seconds) < 3 and sum(seconds) < _PROBE_SECONDS):
        began = time.perf_counter()
        run(pixels)
        seconds.append(time.perf_counter() - began)
    return len(pixels) / min(seconds)


class _Choice(Recorded):
    engine: Literal["torch", "onnx"]


def _recall(file: Path) -> str | None:
    """Return the engine that was chosen, None where none was, or where that is damaged."""
    try:
        return check(_Choice, read_json(file), where=str(file)).engine if file.exists() else None
    except KitboxError:
        return None  # it is chosen again


def _remember(file: Path, found: dict[str, Any]) -> None:
    write_text(file, json.dumps(found, indent=2) + "\n")


def _is_installed() -> bool:
    return all(find_spec(package) for package in ("onnx", "onnxruntime"))


@cache
def _processor() -> str:
    """Return the processor's name and what torch uses of it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _versions() -> Sequence[str]:
    return [torch.__version__, timm.__version__, version("onnxruntime")]
