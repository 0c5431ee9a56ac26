"""Re-identification: which of these photographs show the same individual."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kitbox.plugin.losses import (
        ArcFace,
        BinaryCrossEntropy,
        Contrastive,
        CosFace,
        CrossEntropy,
        Custom,
        Focal,
        Margin,
        MultiSimilarity,
        PowerMargin,
        Ramp,
        RarityMargin,
        Triplet,
    )
    from kitbox.plugin.plugin import Plugin
    from kitbox.plugin.samplers import (
        PK,
        Balanced,
        Divide,
        Hardness,
        Shuffled,
    )
    from kitbox.plugin.schedules import (
        Cosine,
        Ema,
        Multistep,
        Phase,
        Restarts,
        Swa,
    )
    from kitbox.project import identify
    from kitbox.project import open_project as open  # noqa: A004

__version__ = "0.1.0"
__all__ = [
    "PK",
    "ArcFace",
    "Balanced",
    "BinaryCrossEntropy",
    "Contrastive",
    "CosFace",
    "Cosine",
    "CrossEntropy",
    "Custom",
    "Divide",
    "Ema",
    "Focal",
    "Hardness",
    "Margin",
    "MultiSimilarity",
    "Multistep",
    "Phase",
    "Plugin",
    "PowerMargin",
    "Ramp",
    "RarityMargin",
    "Restarts",
    "Shuffled",
    "Swa",
    "Triplet",
    "__version__",
    "identify",
    "open",
]
_MODULES = ("losses", "schedules", "samplers", "plugin")


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import kitbox` stays fast."""
    if name in ("identify", "open"):
        return getattr(import_module("kitbox.project"), {"open": "open_project"}.get(name, name))
    if name in __all__:
        modules = [import_module(f"kitbox.plugin.{module}") for module in _MODULES]
        return next(getattr(module, name) for module in modules if hasattr(module, name))
    raise AttributeError(f"module 'kitbox' has no attribute '{name}'")


def __dir__() -> list[str]:
    """Return the public names, which are imported only when they are used."""
    return sorted(__all__)
