"""The errors that a user can fix."""

from collections.abc import Iterable
from difflib import get_close_matches


class KitboxError(Exception):
    """A mistake that a user can mend: one sentence with what is wrong, where, and what to do."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?' for the known word nearest to `word`, or '' if none is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def more(count: int, noun: str = "more like it") -> str:
    """Return '; N more like it' for findings that one sentence has no room for."""
    return f"; {count} {noun}" if count > 0 else ""
