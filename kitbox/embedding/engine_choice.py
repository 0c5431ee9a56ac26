"""The choice between torch and ONNX Runtime on a CPU, as far as no network is needed for it."""

from dataclasses import dataclass
from importlib.util import find_spec

from kitbox.errors import KitboxError

TORCH, ONNX = "torch", "onnx"
# An export takes as long as some hundred images save, so 'auto' makes none for fewer images.
WORTHWHILE = 256


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


def _is_installed() -> bool:
    return all(find_spec(package) for package in ("onnx", "onnxruntime"))
