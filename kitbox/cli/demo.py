"""The demo command."""


def demo() -> None:
    """Run a whole competition."""
