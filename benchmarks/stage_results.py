"""The result of a stage of kitbox, whose progress nobody watches."""

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")


def finish(stage: Generator[object, None, Result]) -> Result:
    """Run a stage to its end and return what it returns."""
    while True:
        try:
            next(stage)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
