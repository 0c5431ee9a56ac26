"""Routes of the review page: the page itself, images, JSON for the page, and decisions."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from flask import Flask, Response, abort, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from kitbox.decisions.decision import Decision
from kitbox.errors import KitboxError
from kitbox.images.preprocessing import UnreadableImageError
from kitbox.look import desk_payloads, desk_routes, payloads, review_items
from kitbox.look.access import AccessControl, AccessDeniedError
from kitbox.look.jpeg_cache import SIZES
from kitbox.look.payloads import ImageFilter
from kitbox.look.photographs import Photographs
from kitbox.look.review_items import Review, ReviewItem
from kitbox.look.session import ReviewState

# Bytes of a request; a decision takes a few hundred.
_MAX_REQUEST = 65_536
_MAX_SIDE_BY_SIDE = 12
_MAX_DECISIONS = 500
_FIELDS = ("kind", "subject", "value", "note")


def create_app(review: Review, access: AccessControl) -> Flask:
    """Return the app that serves a review to those whom `access` admits."""
    app = Flask("kitbox.look")
    app.config["MAX_CONTENT_LENGTH"] = _MAX_REQUEST
    app.json.sort_keys = False  # type: ignore[attr-defined]
    access.install(app)
    _add_error_handlers(app)
    _add_page(app, review, access)
    _add_data(app, review)
    _add_decisions(app, review)
    desk_routes.add_desk(app, review, _number, _json_body, partial(_overview, review))
    return app


def _add_error_handlers(app: Flask) -> None:
    def sentence(error: Exception, status: int) -> tuple[Response, int]:
        return jsonify(error=str(error)), status

    def http(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description or error.name), error.code or 500

    app.register_error_handler(KitboxError, lambda error: sentence(error, 400))
    app.register_error_handler(AccessDeniedError, lambda error: sentence(error, 403))
    app.register_error_handler(HTTPException, http)


def _add_page(app: Flask, review: Review, access: AccessControl) -> None:
    @app.get("/")
    def page() -> str:
        return render_template("look.html", name=review.name, token=access.token)

    @app.get("/picture")
    def picture() -> Response:
        image_id = _require_listed(review.photographs, request.args.get("id", ""))
        longest = _number("size")
        if longest not in SIZES:
            raise KitboxError(f"no pictures of size {longest}; there are {SIZES}")
        path = review.photographs.images.paths[review.photographs.rows[image_id]]
        try:
            return Response(review.jpegs.jpeg(path, longest), mimetype="image/jpeg")
        except UnreadableImageError:
            abort(404, "this image cannot be read")  # the page has the reason from its JSON


def _add_data(app: Flask, review: Review) -> None:
    def add(path: str, payload: Callable[[ReviewState], Any]) -> None:
        def view() -> Response:
            return jsonify(payload(review.session.state))

        app.add_url_rule(path, path, view)

    def image(state: ReviewState) -> Any:
        image_id = _require_listed(review.photographs, request.args.get("id", ""))
        return payloads.image(image_id, state, review.embeddings)

    def side_by_side(state: ReviewState) -> Any:
        ids = dict.fromkeys(request.args.getlist("id")[:_MAX_SIDE_BY_SIDE])
        images = [_require_listed(review.photographs, image_id) for image_id in ids]
        if not images:
            raise KitboxError("name the images to see side by side, as ?id=a.jpg&id=b.jpg")
        item = review_items.side_by_side(images, state)
        return payloads.review_item(item, state, review.embeddings)

    def all_items(state: ReviewState) -> Any:
        return [
            {"kind": item.kind, "labels": item.labels, "settled": item.is_settled(state)}
            for item in review.items(request.args.get("list", ""))
        ]

    def one_item(state: ReviewState) -> Any:
        items, place = review.items(request.args.get("list", "")), _number("place")
        if not 0 <= place < len(items):
            raise KitboxError(f"there is no item {place}; there are {len(items)}")
        return payloads.review_item(items[place], state, review.embeddings)

    add("/api/overview", lambda state: _overview(review, state))
    add("/api/images", lambda state: payloads.grid_page(_image_filter(), state))
    add("/api/labels", lambda state: payloads.labels(review.photographs, state))
    add("/api/decisions", payloads.decisions)
    add("/api/image", image)
    add("/api/side-by-side", side_by_side)
    add("/api/items", all_items)
    add("/api/item", one_item)


def _add_decisions(app: Flask, review: Review) -> None:
    @app.post("/api/decide")
    def decide() -> Response:
        rows = _json_body().get("decisions")
        if not isinstance(rows, list) or not 0 < len(rows) <= _MAX_DECISIONS:
            raise KitboxError("send a list of decisions")
        written = review.session.decide([_decision(row) for row in rows])
        overview = _overview(review, review.session.state)
        return jsonify(overview | {"written": [asdict(row) for row in written]})

    @app.post("/api/undo")
    def undo() -> Response:
        undone = [asdict(row) for row in review.session.undo()]
        return jsonify(_overview(review, review.session.state) | {"undone": undone})

    @app.post("/api/take-back")
    def take_back() -> Response:
        signed = _decision(_json_body().get("decision"), (*_FIELDS, "by", "time"))
        review.session.take_back(signed)
        return jsonify(_overview(review, review.session.state))


def _overview(review: Review, state: ReviewState) -> dict[str, Any]:
    def counts(items: list[ReviewItem]) -> dict[str, int]:
        return {"open": sum(not item.is_settled(state) for item in items), "all": len(items)}

    photographs = review.photographs
    return {
        "name": review.name,
        "by": review.by,
        "person": review.session.by,
        "unknown": photographs.unknown,
        "images": len(photographs.images),
        "sides": list(dict.fromkeys(photographs.sides.tolist())),
        "filters": payloads.FILTERS,
        "suspects": counts(review.suspects),
        "duplicates": counts(review.duplicates),
        "desk": desk_payloads.counts(review.desk, state, review.session.by),
        "deskFirst": review.desk.is_first,
        "decisions": len(state.decisions.rows),
        "canUndo": review.session.can_undo,
        "file": str(review.session.path),
        "faultyRows": photographs.faulty_rows,
    }


def _image_filter() -> ImageFilter:
    values = request.args
    texts = {name: values[name] for name in ("text", "label", "side") if name in values}
    return ImageFilter(
        **texts,
        filter=values.get("filter") or "all",
        order=values.get("order") or "listed",
        page=_number("page") if "page" in values else 1,
    )


def _number(name: str) -> int:
    text = request.args.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise KitboxError(f"{name} '{text[:20]}' is not a number")
    return int(text)


def _require_listed(photographs: Photographs, image_id: str) -> str:
    if image_id not in photographs.rows:
        abort(404, "there is no such image in the lists")
    return image_id


def _json_body() -> dict[str, Any]:
    try:
        body = request.get_json(silent=True)
    except RecursionError:  # [[[[…
        body = None
    if not isinstance(body, dict):
        raise KitboxError("send one JSON object")
    return body


def _decision(row: Any, fields: tuple[str, ...] = _FIELDS) -> Decision:
    """Return a decision; who makes a new one, and when, is not for the page to say."""
    if not isinstance(row, dict) or not {"kind", "subject"} <= set(row) <= set(fields):
        raise KitboxError("a decision has a kind, a subject, a value and a note")
    if not all(isinstance(part, str) for part in row.values()):
        raise KitboxError("kind, subject, value and note of a decision are strings")
    return Decision(**row)
