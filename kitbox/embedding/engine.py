"""The engine that runs a network on a CPU: torch or ONNX Runtime, whichever is faster there."""

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from kitbox.embedding.engine_choice import ONNX, TORCH, WORTHWHILE, EngineChoice
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
from kitbox.value import Recorded, check

if TYPE_CHECKING:  # timm takes longer to import than torch, and a kept graph needs neither network
    from kitbox.network.network import Network

Run = Callable[[Tensor], Tensor]

# Raise it when a graph is made in another way.
_RECIPE = 2
# The least cosine between the embeddings of both engines.
_AGREEMENT = 0.9999
_PROBE_IMAGES = 8
_PROBE_SECONDS = 2.0
# The engines are timed by turns, since other programs may slow one of them down.
_TURNS = 3
# How many times as fast torch has to be: ONNX Runtime has the digits of float32, and starts sooner.
_LEAD = 1.25
# Of a kept graph: what its images are read for.
_FACTS = "facts.json"


@dataclass(frozen=True, kw_only=True)
class NetworkSource:
    """A network for images of a size (height, width), which is loaded where it has to run.

    `load` returns it in eval mode on the CPU. `digest` is that of its settings and weights,
    `layers` are the names and shapes of its tensors.
    """

    load: Callable[[], "Network"]
    size: tuple[int, int]
    digest: str
    layers: Sequence[tuple[str, Sequence[int]]]


class Facts(NamedTuple):
    """What reading its images needs to know of a network, and the dimension of its embeddings."""

    interpolation: str
    embedding_dim: int


class Engine(nn.Module):
    """A network from pixels (n, h, w, 3) uint8 to embeddings (n, d), run by the faster engine.

    Which one that is follows from the first batch: some of its images are embedded by both, and
    torch has to be a quarter faster. `used` is its name from then on. The choice is remembered in a
    folder, for networks of one architecture and size, a processor and the versions of the
    libraries; the ONNX graph is kept there for each network and size. Where both are there, the
    network is not loaded.
    """

    def __init__(
        self, source: NetworkSource, choice: EngineChoice, *, device: str, precision: str,
        folder: Path, images: int,
    ) -> None:  # fmt: skip
        """Run a network on a device, in a precision if torch runs it, for a number of images."""
        super().__init__()
        self.used = TORCH
        self._notice = choice.notice
        self._source, self._choice, self._device = source, choice, device
        self._precision, self._folder, self._images = precision, folder, images
        self._network: Network | None = None
        self._graph: OnnxGraph | None = None
        self._is_chosen = self._is_folded = False

    @property
    def network(self) -> "Network":
        """The network, which is loaded once."""
        if self._network is None:
            self._network = self._source.load()
        return self._network

    @cached_property
    def facts(self) -> Facts:
        """How images are resized for the network, and the dimension of its embeddings."""
        is_onnx = self._choice.required or _recall(self._memory) == ONNX
        if self._may_be_onnx and is_onnx and self._graph_folder.exists():
            return _kept(self._graph_folder)[1]
        return Facts(self.network.data_config.interpolation, self.network.embedding_dim)

    @property
    def label(self) -> str:
        """The engine in words, '' for torch."""
        return "" if self.used == TORCH else "ONNX Runtime"

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the embeddings of pixels."""
        if not self._is_chosen:
            with torch.inference_mode(False), torch.no_grad():
                self._graph = self._onnx(pixels[:_PROBE_IMAGES].clone())
            self.used = TORCH if self._graph is None else ONNX
            self._is_chosen = True
        return self._torch()(pixels) if self._graph is None else self._graph(pixels)

    def take_notice(self) -> str:
        """Return what a user should know of the choice, once; '' where there is nothing."""
        notice, self._notice = self._notice, ""
        return notice

    def _torch(self) -> Run:
        """Return the network in torch, on its device, with batch norms folded for speed."""
        from kitbox.network import acceleration

        network = self.network
        if not self._is_folded:
            generator = torch.Generator().manual_seed(0)
            example = torch.randn(1, 3, *self._source.size, generator=generator)
            with (
                torch.inference_mode(False),
                torch.no_grad(),
                torch.autocast("cpu", enabled=False),
            ):
                network.backbone, _ = acceleration.fold_batchnorm(
                    network.backbone, example, network.feature_maps.compute
                )
                network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._is_folded = True
        return network

    @property
    def _may_be_onnx(self) -> bool:
        enough = self._images >= WORTHWHILE or self._choice.required
        return ONNX in self._choice.engines and enough

    def _onnx(self, pixels: Tensor) -> OnnxGraph | None:
        """Return the network in ONNX Runtime, None where torch is to run it."""
        if not self._may_be_onnx:
            return None
        required, memory = self._choice.required, self._memory
        known = _recall(memory)
        if known == TORCH and not required:
            return None
        try:
            graph = self._kept_or_exported(pixels)
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
        speeds = _speeds({TORCH: self._torch(), ONNX: graph}, pixels)
        best = TORCH if speeds[TORCH] >= _LEAD * speeds[ONNX] else ONNX
        _remember(memory, {"engine": best, "images_per_second": speeds})
        return graph if best == ONNX else None

    def _kept_or_exported(self, pixels: Tensor) -> OnnxGraph | None:
        """Return the graph, kept or exported; None where its embeddings differ from torch's.

        Raises ExportError where there is none.
        """
        threads, folder = torch.get_num_threads(), self._graph_folder
        if not folder.exists():
            with atomic_folder(folder) as beside, torch.autocast("cpu", enabled=False):
                export(self.network, self._source.size, beside / "graph.onnx")
                expected = self.network(pixels)
                found = OnnxGraph(beside / "graph.onnx", threads)(pixels)
                cosine = float(nn.functional.cosine_similarity(found, expected, dim=1).min())
                if not cosine >= _AGREEMENT:  # it may be NaN
                    (beside / "graph.onnx").unlink()
                (beside / _FACTS).write_text(json.dumps(self.facts._asdict()) + "\n")
                files = {path.name: digest_of_file(path) for path in beside.iterdir()}
                manifest = {"cosine": str(cosine), "sha256": files}
                (beside / "manifest.json").write_text(json.dumps(manifest) + "\n")
        cosine, _ = _kept(folder)
        if cosine >= _AGREEMENT:
            return OnnxGraph(folder / "graph.onnx", threads)
        reason = f"the embeddings of ONNX Runtime differ from those of torch (cosine {cosine:.5f})"
        if self._choice.required:
            raise KitboxError(reason, fix="leave --engine onnx out")
        self._notice = f"torch embeds, because {reason}"
        return None

    @cached_property
    def _graph_folder(self) -> Path:
        """The folder of the graph of this network for images of its size."""
        causes = ["graph", _RECIPE, self._source.digest, list(self._source.size), _versions()]
        return self._folder / digest_of(causes)[:32]

    @cached_property
    def _memory(self) -> Path:
        """The file of the choice: for the layers and not the weights, and the processor."""
        here = [_processor(), torch.get_num_threads(), self._precision]
        layers = [[name, list(shape)] for name, shape in self._source.layers]
        causes = ["choice", _RECIPE, layers, list(self._source.size), here, _versions()]
        return self._folder / f"{digest_of(causes)[:32]}.json"


def _kept(folder: Path) -> tuple[float, Facts]:
    """Return the agreement of a kept graph with torch, and the facts of its network.

    Raises KitboxError where a file is damaged.
    """
    try:
        manifest = read_json(folder / "manifest.json")
        digests = manifest["sha256"]
        sound = _FACTS in digests and all(
            session_digest(folder / name) == digest for name, digest in digests.items()
        )
        found = float(manifest["cosine"]), Facts(**read_json(folder / _FACTS))
    except (KitboxError, OSError, LookupError, TypeError, ValueError, AttributeError):
        sound = False
    if not sound:
        raise KitboxError(
            f"the graph {folder} of ONNX Runtime is damaged",
            fix="remove that folder; it is made again",
        )
    return found


def _speeds(runs: Mapping[str, Run], pixels: Tensor) -> dict[str, float]:
    """Return the images per second of each engine in its best turn."""
    began, turns = time.perf_counter(), 0
    found = dict.fromkeys(runs, 0.0)
    while not turns or (turns < _TURNS and time.perf_counter() - began < _PROBE_SECONDS):
        found = {each: max(found[each], _speed(run, pixels)) for each, run in runs.items()}
        turns += 1
    return found


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


@cache
def _processor() -> str:
    """Return the processor's name and what torch uses of it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _versions() -> Sequence[str]:
    return [torch.__version__, version("timm"), version("onnxruntime")]
