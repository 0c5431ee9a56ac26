"""A folder as it is on a read-only file system, which binds root too."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def forbid_writing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let every call that would change something below a folder raise EROFS."""

    def refuse(path: Any) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            whole = Path(os.path.abspath(os.fsdecode(path)))
            if whole == folder or folder in whole.parents:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def guarded(
        original: Callable[..., Any], writes: Callable[..., bool] = lambda *_, **__: True
    ) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if writes(*given, **named):
                refuse(given[0])
            return original(*given, **named)

        return call

    may = os.access
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK and may(path, mode))
    monkeypatch.setattr(
        "os.open", guarded(os.open, lambda _, flags, *__, **___: bool(flags & _WRITES))
    )
    monkeypatch.setattr(
        "io.open", guarded(io.open, lambda _, mode="r", *__, **___: not set(mode) <= set("rbt"))
    )
    monkeypatch.setattr(
        "os.mkdir", guarded(os.mkdir, lambda path, *_, **__: not Path(path).is_dir())
    )
    for name in ("replace", "rename", "unlink", "rmdir", "chmod", "utime", "link", "symlink"):
        monkeypatch.setattr(f"os.{name}", guarded(getattr(os, name)))
