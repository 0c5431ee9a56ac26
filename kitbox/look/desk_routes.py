"""Routes of the matching desk: the queue, its queries, answers, and matched points."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flask import Flask, Response, abort, jsonify, request

from kitbox.decisions.decision import Decision
from kitbox.errors import KitboxError
from kitbox.look import desk, desk_payloads
from kitbox.look.review_items import Review
from kitbox.look.session import ReviewState
from kitbox.workspace import Workspace


def add_desk(
    app: Flask,
    review: Review,
    read_number: Callable[[str], int],
    read_body: Callable[[], dict[str, Any]],
    overview: Callable[[ReviewState], dict[str, Any]],
) -> None:
    """Add the routes to an app; `overview` is what each answer tells of the whole page."""
    shown, session = review.desk, review.session

    @app.get("/api/desk")
    def queue() -> Response:
        return jsonify(desk_payloads.overview(shown, session.state, session.by))

    @app.get("/api/desk/query")
    def one_query() -> Response:
        place = read_number("place")
        return jsonify(desk_payloads.query(shown, place, session.state, session.by))

    @app.get("/api/desk/disagreements")
    def disagreements() -> Response:
        return jsonify(desk_payloads.disagreements(shown, session.state))

    @app.get("/api/desk/points")
    def points() -> Response:
        first, second = (request.args.get(name, "") for name in ("query", "candidate"))
        if not {first, second} <= review.photographs.rows.keys():
            abort(404, "there is no such image in the lists")
        if first == second:
            raise KitboxError(f"'{first}' is compared with itself; choose two images")
        workspace = Workspace(session.path.parent)
        return jsonify(desk_payloads.points(first, second, review, session.state, workspace))

    @app.post("/api/desk/answer")
    def answer() -> Response:
        body = read_body()
        image, shows, kind = (_text(body, name) for name in ("query", "candidate", "answer"))
        seen = body.get("seen")
        if not isinstance(seen, int) or isinstance(seen, bool):
            raise KitboxError("an answer tells how many rows about its query it has seen")
        query = desk.with_new(shown, desk.query_of(shown, image), session.state)
        candidate = desk.candidate_of(query, shows)
        asked = desk.query_images(shown)
        meanwhile: list[Decision] = []

        def choose(state: ReviewState) -> list[Decision]:
            meanwhile[:] = desk.rows_about(image, asked, state)[seen:]
            return desk.answer_rows(kind, query, candidate, state)

        written = session.decide_by(choose)
        state = session.state
        return jsonify(
            overview(state)
            | {
                "written": [asdict(row) for row in written],
                "meanwhile": [desk_payloads.signed(row) for row in meanwhile],
            }
        )


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise KitboxError(f"an answer has a {name}")
    return value
