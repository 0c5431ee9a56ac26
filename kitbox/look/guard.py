"""Keeps everyone but the person at this computer out, and every other page in their browser."""

import hmac
import secrets
from dataclasses import dataclass, field

from flask import Flask, Request, Response, request

# A page of this server needs nothing from elsewhere, and nothing elsewhere may show it.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class RefusedError(Exception):
    """A request that is not the person's own: answered by 403 and a sentence."""


@dataclass(frozen=True)
class Guard:
    """Who may ask: a browser that was given the address with its key, on this port.

    `key` opens the page and stays in a cookie, so that other users of the computer see nothing;
    `token` is in the page and comes with every decision. Both are new at every start.
    """

    port: int
    key: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    token: str = field(default_factory=lambda: secrets.token_urlsafe(18))

    @property
    def address(self) -> str:
        """The address to open."""
        return f"http://127.0.0.1:{self.port}/?key={self.key}"

    @property
    def _cookie(self) -> str:
        return f"kitbox_look_{self.port}"  # a browser's cookies are shared by all ports

    def watch(self, app: Flask) -> None:
        """Check every request of an app before it is answered, and seal every answer."""
        app.before_request(self._check)
        app.after_request(self._seal)

    def _check(self) -> None:
        self._refuse_host(request)
        self._refuse_other_sites(request)
        if not self._has_key(request):
            raise RefusedError("open the address that 'kitbox look' printed, with its key")
        if request.method not in ("GET", "HEAD"):
            self._refuse_origin(request)
            given = request.headers.get("X-Kitbox-Token", "")
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                raise RefusedError("this page is of an earlier start; open the new address")

    def _refuse_host(self, asked: Request) -> None:
        """Refuse other names of this computer: a foreign name may be made to point here."""
        if asked.headers.get("Host") not in self._hosts():
            raise RefusedError(
                f"this server answers to 127.0.0.1:{self.port} only; "
                "forward the same port where you look from another computer"
            )

    def _refuse_other_sites(self, asked: Request) -> None:
        """Refuse what other pages load from here; a link may still open the page itself."""
        site = asked.headers.get("Sec-Fetch-Site", "none")
        opens = asked.method == "GET" and asked.headers.get("Sec-Fetch-Mode") == "navigate"
        if site not in ("same-origin", "none") and not (opens and asked.path == "/"):
            raise RefusedError("another site asked for this; only the page of kitbox look may")

    def _refuse_origin(self, asked: Request) -> None:
        if asked.headers.get("Origin") not in {f"http://{host}" for host in self._hosts()}:
            raise RefusedError("decisions are taken from the page of kitbox look only")

    def _has_key(self, asked: Request) -> bool:
        given = asked.args.get("key") if asked.path == "/" else None
        given = given or asked.cookies.get(self._cookie, "")
        return hmac.compare_digest(given.encode(), self.key.encode())

    def _hosts(self) -> set[str]:
        return {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}

    def _seal(self, response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers[name] = value
        if request.path == "/" and response.status_code == 200:
            response.set_cookie(self._cookie, self.key, httponly=True, samesite="Strict")
        return response
