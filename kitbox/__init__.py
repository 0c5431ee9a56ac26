"""kitbox: from photographs of individuals to a leaderboard."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kitbox.plugin.settings import (
        PK as PK,
    )
    from kitbox.plugin.settings import (
        ArcFace as ArcFace,
    )
    from kitbox.plugin.settings import (
        CrossEntropy as CrossEntropy,
    )
    from kitbox.plugin.settings import (
        Plugin as Plugin,
    )
    from kitbox.plugin.settings import (
        Shuffled as Shuffled,
    )
    from kitbox.plugin.settings import (
        Triplet as Triplet,
    )

__version__ = "0.1.0"
__all__ = ["PK", "ArcFace", "CrossEntropy", "Plugin", "Shuffled", "Triplet", "__version__"]


def __getattr__(name: str) -> Any:
    """Load the plugin vocabulary when it is first asked for, so that --help stays quick."""
    if name in __all__:
        from kitbox.plugin import settings

        return getattr(settings, name)
    raise AttributeError(f"module 'kitbox' has no attribute '{name}'")
