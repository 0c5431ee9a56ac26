"""A local HTTP server for the review page, reachable from this computer alone."""

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
from kitbox.look.access import AccessControl
from kitbox.look.review_items import Review

HOST = "127.0.0.1"
PORT = 8017
# Number of ports tried, from PORT on, if the user names none.
_PORTS_TRIED = 20
_FIRST_USER_PORT = 1024


def listen(port: int | None) -> socket.socket:
    """Return a socket that listens at `port`, or at the first free port from PORT on.

    Raises KitboxError if the port is taken or reserved for the system.
    """
    if port and port < _FIRST_USER_PORT:
        raise KitboxError(
            f"port {port} is reserved for the system; "
            f"use one from {_FIRST_USER_PORT} on, or 0 for any free one"
        )
    ports = range(PORT, PORT + _PORTS_TRIED) if port is None else [port]
    for number in ports:
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
    taken = f"port {port} is" if port is not None else f"ports {ports[0]} to {ports[-1]} are"
    raise KitboxError(f"{taken} not available on {HOST}; choose another one with --port N")


def create_server(review: Review, listening: socket.socket) -> tuple[BaseWSGIServer, str]:
    """Return the server of a review at a listening socket, and the address to open."""
    access = AccessControl(listening.getsockname()[1])
    server = make_server(
        HOST,
        access.port,
        routes.create_app(review, access),
        threaded=True,
        request_handler=_QuietHandler,
        fd=listening.fileno(),
    )
    return server, access.address


@contextmanager
def open_browser(address: str, folder: Path) -> Iterator[None]:
    """Open a browser if there is a screen; a text browser would take over the terminal.

    The browser is given a file in `folder` that only this user can read and that redirects to the
    address: other users see the command lines of processes, and the address has the key. The file
    is deleted at the end.
    """
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        yield
        return
    descriptor, name = tempfile.mkstemp(".html", "look_", folder)  # mode 0600
    redirect = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(_redirect_page(address))
        uri = redirect.resolve().as_uri()
        Thread(target=webbrowser.open, args=(uri,), daemon=True).start()
        yield
    finally:
        redirect.unlink(missing_ok=True)


def _redirect_page(address: str) -> str:
    quoted = html.escape(address)
    return (
        '<!doctype html>\n<meta charset="utf-8">\n<title>kitbox look</title>\n'
        f'<meta http-equiv="refresh" content="0; url={quoted}">\n'
        f'<p><a href="{quoted}">Open kitbox look</a></p>\n'
    )


class _QuietHandler(WSGIRequestHandler):
    """Request handler without a line in the terminal per request, and without version numbers."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing."""

    def version_string(self) -> str:
        """Return the server's name without its version."""
        return "kitbox"
