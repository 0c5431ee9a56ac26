"""What the server answers: one page, what it asks for, and the decisions it sends."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flask import Flask, Response, abort, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from kitbox.competition.decisions import Decision
from kitbox.errors import KitboxError
from kitbox.images.opening import UnreadableImageError
from kitbox.look import cases, filtering, telling
from kitbox.look.cases import Case
from kitbox.look.filtering import Wish
from kitbox.look.guard import Guard, RefusedError
from kitbox.look.photographs import Photographs
from kitbox.look.pictures import SIZES
from kitbox.look.standing import Standing
from kitbox.look.table import Table

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
        return telling.image(image_id, standing, table.embeddings)

    def side_by_side(standing: Standing) -> Any:
        images = dict.fromkeys(request.args.getlist("id")[:_MOST_SIDE_BY_SIDE])
        shown = [_known(table.photographs, image_id) for image_id in images]
        if not shown:
            raise KitboxError("name the images to see side by side, as ?id=a.jpg&id=b.jpg")
        return telling.case(cases.pair(shown, standing), standing, table.embeddings)

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
        return telling.case(found[place], standing, table.embeddings)

    answer("/api/overview", lambda standing: _overview(table, standing))
    answer("/api/images", lambda standing: filtering.page(_wish(), standing))
    answer("/api/labels", lambda standing: telling.labels(table.photographs, standing))
    answer("/api/decisions", telling.decisions)
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
        "only": filtering.ONLY,
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
