"""What the server answers: one page, what it asks for, and the decisions it sends."""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from flask import Flask, Request, Response, abort, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from kitbox.competition.decisions import Decision
from kitbox.errors import KitboxError
from kitbox.images.preprocessing import UnreadableImageError
from kitbox.look import cases, payloads
from kitbox.look.cases import Case, Table
from kitbox.look.payloads import Wish
from kitbox.look.photographs import SIZES, Photographs
from kitbox.look.session import Standing

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


# Of what a browser sends: a decision is a few hundred bytes.
_MOST_SENT = 65_536
_MOST_SIDE_BY_SIDE = 12


def app(table: Table, guard: Guard) -> Flask:
    """Return the server of a table, behind its guard."""
    made = Flask("kitbox.look")
    made.config["MAX_CONTENT_LENGTH"] = _MOST_SENT
    made.json.sort_keys = False  # type: ignore[attr-defined]
    guard.watch(made)
    _refusals(made)
    _page(made, table, guard)
    _answers(made, table)
    _decisions(made, table)
    return made


def _refusals(made: Flask) -> None:
    def sentence(error: Exception, status: int) -> tuple[Response, int]:
        return jsonify(error=str(error)), status

    def http(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description or error.name), error.code or 500

    made.register_error_handler(KitboxError, lambda error: sentence(error, 400))
    made.register_error_handler(RefusedError, lambda error: sentence(error, 403))
    made.register_error_handler(HTTPException, http)


def _page(made: Flask, table: Table, guard: Guard) -> None:
    @made.get("/")
    def page() -> str:
        return render_template("look.html", name=table.name, token=guard.token)

    @made.get("/picture")
    def picture() -> Response:
        image_id = _known(table.photographs, request.args.get("id", ""))
        longest = _number("size")
        if longest not in SIZES:
            raise KitboxError(f"no pictures of size {longest}; there are {SIZES}")
        path = table.photographs.images.paths[table.photographs.rows[image_id]]
        try:
            return Response(table.pictures.jpeg(path, longest), mimetype="image/jpeg")
        except UnreadableImageError:
            abort(404, "this image cannot be read")  # the page tells why in words


def _answers(made: Flask, table: Table) -> None:
    def answer(path: str, tell: Callable[[Standing], Any]) -> None:
        def view() -> Response:
            return jsonify(tell(table.desk.standing))

        made.add_url_rule(path, path, view)

    def image(standing: Standing) -> Any:
        image_id = _known(table.photographs, request.args.get("id", ""))
        return payloads.image(image_id, standing, table.embeddings)

    def side_by_side(standing: Standing) -> Any:
        images = dict.fromkeys(request.args.getlist("id")[:_MOST_SIDE_BY_SIDE])
        shown = [_known(table.photographs, image_id) for image_id in images]
        if not shown:
            raise KitboxError("name the images to see side by side, as ?id=a.jpg&id=b.jpg")
        return payloads.case(cases.pair(shown, standing), standing, table.embeddings)

    def listed(standing: Standing) -> Any:
        found = table.cases(request.args.get("what", ""))
        return [
            {"kind": case.kind, "labels": case.labels, "settled": case.is_settled(standing)}
            for case in found
        ]

    def case(standing: Standing) -> Any:
        found, place = table.cases(request.args.get("what", "")), _number("place")
        if not 0 <= place < len(found):
            raise KitboxError(f"there is no case {place}; there are {len(found)}")
        return payloads.case(found[place], standing, table.embeddings)

    answer("/api/overview", lambda standing: _overview(table, standing))
    answer("/api/images", lambda standing: payloads.page(_wish(), standing))
    answer("/api/labels", lambda standing: payloads.labels(table.photographs, standing))
    answer("/api/decisions", payloads.decisions)
    answer("/api/image", image)
    answer("/api/side-by-side", side_by_side)
    answer("/api/cases", listed)
    answer("/api/case", case)


def _decisions(made: Flask, table: Table) -> None:
    @made.post("/api/decide")
    def decide() -> Response:
        wanted = _sent().get("decisions")
        if not isinstance(wanted, list) or not 0 < len(wanted) <= 500:
            raise KitboxError("send a list of decisions")
        written = table.desk.decide([_decision(row) for row in wanted])
        told = _overview(table, table.desk.standing)
        return jsonify(told | {"written": [asdict(row) for row in written]})

    @made.post("/api/undo")
    def undo() -> Response:
        undone = [asdict(row) for row in table.desk.undo()]
        return jsonify(_overview(table, table.desk.standing) | {"undone": undone})

    @made.post("/api/take-back")
    def take_back() -> Response:
        table.desk.take_back(_decision(_sent().get("decision")))
        return jsonify(_overview(table, table.desk.standing))


def _overview(table: Table, standing: Standing) -> dict[str, Any]:
    def open_cases(found: list[Case]) -> int:
        return sum(not case.is_settled(standing) for case in found)

    photographs = table.photographs
    return {
        "name": table.name,
        "by": table.by,
        "unknown": photographs.unknown,
        "images": len(photographs.images),
        "sides": list(dict.fromkeys(photographs.sides.tolist())),
        "only": payloads.ONLY,
        "suspects": {"open": open_cases(table.suspects), "all": len(table.suspects)},
        "duplicates": {"open": open_cases(table.duplicates), "all": len(table.duplicates)},
        "decisions": len(standing.decided.rows),
        "file": str(table.desk.path),
        "leftOut": photographs.left_out,
    }


def _wish() -> Wish:
    given = request.args
    texts = {name: given[name] for name in ("words", "label", "side") if name in given}
    return Wish(
        **texts,
        only=given.get("only") or "all",
        order=given.get("order") or "listed",
        page=_number("page") if "page" in given else 1,
    )


def _number(name: str) -> int:
    text = request.args.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise KitboxError(f"{name} '{text[:20]}' is not a number")
    return int(text)


def _known(photographs: Photographs, image_id: str) -> str:
    if image_id not in photographs.rows:
        abort(404, "there is no such image in the lists")
    return image_id


def _sent() -> dict[str, Any]:
    try:
        sent = request.get_json(silent=True)
    except RecursionError:  # [[[[…
        sent = None
    if not isinstance(sent, dict):
        raise KitboxError("send one JSON object")
    return sent


def _decision(row: Any) -> Decision:
    fields = {"kind", "subject", "value", "note"}
    if not isinstance(row, dict) or not set(row) <= fields or not {"kind", "subject"} <= set(row):
        raise KitboxError("a decision has a kind, a subject, a value and a note")
    if not all(isinstance(part, str) for part in row.values()):
        raise KitboxError("kind, subject, value and note of a decision are texts")
    return Decision(**row)
