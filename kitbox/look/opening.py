"""Opens the page in a browser, with its key in no command line that other users could read."""

import html
import os
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread


@contextmanager
def browser(address: str, folder: Path) -> Iterator[None]:
    """Open a browser where there is a screen; one in the terminal would take it over.

    It is given a file in `folder` that only this user can read, and that leads on to the address;
    the file goes at the end.
    """
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        yield
        return
    descriptor, name = tempfile.mkstemp(".html", "look_", folder)  # of mode 0600
    door = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(_leading_to(address))
        uri = door.resolve().as_uri()
        Thread(target=webbrowser.open, args=(uri,), daemon=True).start()
        yield
    finally:
        door.unlink(missing_ok=True)


def _leading_to(address: str) -> str:
    quoted = html.escape(address)
    return (
        '<!doctype html>\n<meta charset="utf-8">\n<title>kitbox look</title>\n'
        f'<meta http-equiv="refresh" content="0; url={quoted}">\n'
        f'<p><a href="{quoted}">Open kitbox look</a></p>\n'
    )
