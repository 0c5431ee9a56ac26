"""Errors that a user can fix, warnings, and the words of messages."""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

_LONGEST_WORD = 200
# A disk without room, and a user's share of one.
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
# The characters of a message: those at its start and end that stay of a longer one.
_LONGEST, _START, _END = 1500, 1000, 400
# What ends a line, steers a terminal, or turns the direction of what follows.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class KitboxError(Exception):
    """A mistake that a user can fix: what is wrong and, where known, its place and the fix.

    Its text is one sentence, "where: what; fix". `where` is a file and a line, as in
    "train.csv line 3".
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = one_line(what), one_line(where), one_line(fix)
        super().__init__(self.what)

    # not `message`: torch raises errors of worker processes again, with such a keyword argument
    @property
    def explanation(self) -> str:
        """What is wrong and the fix, without the place."""
        return "; ".join(part for part in (self.what, self.fix) if part)

    def __str__(self) -> str:
        return f"{self.where}: {self.explanation}" if self.where else self.explanation


class PeerError(KitboxError):
    """The end of a process of a command after another one has failed, which says why."""


def cannot_write(path: Path, error: OSError) -> KitboxError:
    """Return the error of a file or folder that could not be written; of a full disk with the fix.

    A file in a temporary folder is named by its place beside that folder, which is gone by then.
    """
    places = (path, *path.absolute().parents)
    folder = next(each for each in places if each.is_dir() and each.suffix != ".partial")
    if any(each.suffix == ".partial" for each in path.parents):
        path = folder / path.name
    return KitboxError(
        f"cannot write {path}: {error.strerror or error}",
        fix=f"make room on the disk of {folder}, and run it again" if error.errno in _FULL else "",
    )


class KitboxWarning(UserWarning):
    """Something that a user should know and that stops nothing."""


def readable(text: str) -> str:
    r"""Return a text that every file can hold: a byte that is not UTF-8 becomes \xf1."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character, which names on Windows may have
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str) -> str:
    r"""Return a text for a message: readable, in one line and not without end.

    A line end in the name of a file is shown as \n, what would steer a terminal as \x1b.
    """
    text = _CONTROL.sub(lambda found: repr(found[0])[1:-1], readable(text))
    return text if len(text) <= _LONGEST else f"{text[:_START]} … {text[-_END:]}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?' for the known word nearest to `word`, or '' if none is near."""
    if len(word) > _LONGEST_WORD:  # the time grows with the square of the length
        return ""
    near = get_close_matches(word, [w for w in known if len(w) <= _LONGEST_WORD], n=1, cutoff=0.6)
    if not near:
        return ""
    # quotation marks show the blanks around a word
    return f"; did you mean {near[0] if near[0] == near[0].strip() else repr(near[0])}?"


def more(count: int, noun: str = "more like it", one: str = "") -> str:
    """Return '; N more like it', or '' for a count of 0: a message names only the first mistake.

    `one` is the noun for a count of 1, where it differs.
    """
    return f"; {count} {one or noun if count == 1 else noun}" if count > 0 else ""


def counted(count: int, one: str, many: str = "") -> str:
    """Return '1 box' or '2 boxes'; `many` is what is counted, by default `one` with an s."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def format_duration(seconds: float) -> str:
    """Return seconds as '43 s', '12 min' or '3.4 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
