"""Access control for the review page: its own browser on this computer, and nothing else."""

import hmac
import secrets
from dataclasses import dataclass, field

from flask import Flask, Request, Response, request

# The page loads nothing from elsewhere, and no other site may embed it.
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


class AccessDeniedError(Exception):
    """A request from somewhere other than the user's own page; answered with 403 and a sentence."""


@dataclass(frozen=True)
class AccessControl:
    """Checks every request: only a browser that opened the address with its key is answered.

    `key` opens the page and is then stored in a cookie, so that other users of the computer see
    nothing. `token` is written into the page and sent with every decision. Both are new at each
    start.
    """

    port: int
    key: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    token: str = field(default_factory=lambda: secrets.token_urlsafe(18))

    @property
    def address(self) -> str:
        """The address to open, with the key."""
        return f"http://127.0.0.1:{self.port}/?key={self.key}"

    @property
    def _cookie(self) -> str:
        return f"kitbox_look_{self.port}"  # a browser's cookies are shared by all ports

    def install(self, app: Flask) -> None:
        """Check every request of an app, and add the security headers to every response."""
        app.before_request(self._check)
        app.after_request(self._add_headers)

    def _check(self) -> None:
        self._check_host(request)
        self._check_site(request)
        if not self._has_key(request):
            raise AccessDeniedError("open the address that 'kitbox look' printed, with its key")
        if request.method not in ("GET", "HEAD"):
            self._check_origin(request)
            token = request.headers.get("X-Kitbox-Token", "")
            if not hmac.compare_digest(token.encode(), self.token.encode()):
                raise AccessDeniedError("this page is of an earlier start; open the new address")

    def _check_host(self, received: Request) -> None:
        """Refuse other names of this computer: any domain can be made to point here."""
        if received.headers.get("Host") not in self._hosts():
            raise AccessDeniedError(
                f"this server answers to 127.0.0.1:{self.port} only; "
                "to use it from another computer, forward the same port"
            )

    def _check_site(self, received: Request) -> None:
        """Refuse requests of other sites, except a link that opens the page itself."""
        site = received.headers.get("Sec-Fetch-Site", "none")
        opens = received.method == "GET" and received.headers.get("Sec-Fetch-Mode") == "navigate"
        if site not in ("same-origin", "none") and not (opens and received.path == "/"):
            raise AccessDeniedError("another site requested this; only the page of kitbox look may")

    def _check_origin(self, received: Request) -> None:
        if received.headers.get("Origin") not in {f"http://{host}" for host in self._hosts()}:
            raise AccessDeniedError("decisions are accepted only from the page of kitbox look")

    def _has_key(self, received: Request) -> bool:
        given = received.args.get("key") if received.path == "/" else None
        given = given or received.cookies.get(self._cookie, "")
        return hmac.compare_digest(given.encode(), self.key.encode())

    def _hosts(self) -> set[str]:
        return {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}

    def _add_headers(self, response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers[name] = value
        if request.path == "/" and response.status_code == 200:
            response.set_cookie(self._cookie, self.key, httponly=True, samesite="Strict")
        return response
