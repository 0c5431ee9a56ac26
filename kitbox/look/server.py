"""Serves a table on this computer alone, at a port that is free."""

import errno
import html
import os
import socket
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from kitbox.errors import KitboxError
from kitbox.look import routes
from kitbox.look.cases import Table
from kitbox.look.routes import Guard

HOST = "127.0.0.1"
PORT = 8017
# Ports that are tried, from PORT on, where a person asks for none.
_TRIED = 20
_LEAST = 1024


class _Quiet(WSGIRequestHandler):
    """Answers without a line in the terminal for each picture, and without naming its version."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""

    def version_string(self) -> str:
        """Return a name without numbers."""
        return "kitbox"


def bound(port: int | None) -> socket.socket:
    """Return a socket that listens at a port, or at the next free one where none is asked for.

    Raises KitboxError where it is taken, or kept for the system.
    """
    if port and port < _LEAST:
        raise KitboxError(
            f"port {port} is kept for the system; give one from {_LEAST} on, or 0 for any free one"
        )
    tried = range(PORT, PORT + _TRIED) if port is None else [port]
    for number in tried:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, number))
            listening.listen(128)
        except OSError as error:
            listening.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
        else:
            return listening
    taken = f"port {tried[0]}" if port is not None else f"ports {tried[0]} to {tried[-1]}"
    raise KitboxError(f"{taken} cannot be had on {HOST}; give another one with --port N")


def server_of(table: Table, listening: socket.socket) -> tuple[BaseWSGIServer, str]:
    """Return the server of a table at a socket, and the address to open; Ctrl-C ends it."""
    guard = Guard(listening.getsockname()[1])
    server = make_server(
        HOST,
        guard.port,
        routes.app(table, guard),
        threaded=True,
        request_handler=_Quiet,
        fd=listening.fileno(),
    )
    return server, guard.address


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
