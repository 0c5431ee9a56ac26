"""Routes: images by id alone, errors as sentences, names unchanged."""

import io
from typing import Any

import pytest
from PIL import Image

from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.look.review_items import Review
from tests.look.sample_review import HOSTILE_ID, HOSTILE_LABEL, PageClient


def test_the_overview_counts_images_items_and_decisions(page: PageClient) -> None:
    answer = page.get("/api/overview").json
    assert answer["images"] == 24 + 5 + 8
    assert answer["sides"] == ["labelled", "test"]
    assert answer["duplicates"]["open"] == answer["duplicates"]["all"] >= 3
    assert answer["decisions"] == 0


@pytest.mark.parametrize("name", ["0_0.png", "t_0.png", HOSTILE_ID])
def test_a_picture_is_served_by_its_image_id(page: PageClient, name: str) -> None:
    response = page.get("/picture", {"id": name, "size": 200})
    assert (response.status_code, response.mimetype) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(response.get_data())).size == (96, 64)


@pytest.mark.parametrize(
    "name",
    [
        "../train.csv",
        "../../workspace/kitbox.toml",
        "/etc/passwd",
        "train/0_0.png",
        "./0_0.png",
        "0_0.png\0",
        "",
        "file:///etc/passwd",
        "unlisted.png",
    ],
)
def test_only_listed_images_are_served(page: PageClient, name: str) -> None:
    for path in ("/picture", "/api/image", "/api/side-by-side"):
        response = page.get(path, {"id": name, "size": 200})
        assert response.status_code == 404
        assert response.json == {"error": "there is no such image in the lists"}


@pytest.mark.parametrize(
    "path",
    [
        "/static/../routes.py",
        "/static/%2e%2e/routes.py",
        "/static/..%2f..%2fcli/app.py",
        "/static//etc/passwd",
        "/look.html",
        "/decisions.csv",
        "/kitbox.toml",
        "/api/",
    ],
)
def test_files_are_not_served_by_their_path(page: PageClient, path: str) -> None:
    assert page.get(path).status_code in (404, 308)
    assert b"import" not in page.get(path).get_data()


def test_an_unreadable_image_has_its_problem_in_the_json(page: PageClient) -> None:
    assert page.get("/picture", {"id": "broken.png", "size": 200}).status_code == 404
    answer = page.get("/api/image", {"id": "broken.png"}).json
    assert "broken.png is not an image; replace or remove it" in answer["problem"]
    assert answer["nearest"] == []


def test_an_image_comes_with_its_individual_and_its_neighbours(page: PageClient) -> None:
    answer = page.get("/api/image", {"id": "0_1.png"}).json
    assert (answer["width"], answer["height"], answer["label"]) == (96, 64, "w_0")
    assert answer["box"] == [10, 12, 80, 60]
    assert {other["id"] for other in answer["sameIndividual"]} == {
        "0_0.png",
        "0_2.png",
        "0_3.png",
        "copy.png",
    }
    assert answer["photographCount"] == 5
    similarity = [other["similarity"] for other in answer["nearest"]]
    assert similarity == sorted(similarity, reverse=True)
    assert "0_1.png" not in {other["id"] for other in answer["nearest"]}


def test_hostile_names_are_sent_unchanged_as_json(page: PageClient) -> None:
    response = page.get("/api/image", {"id": HOSTILE_ID})
    assert response.mimetype == "application/json"
    assert (response.json["id"], response.json["label"]) == (HOSTILE_ID, HOSTILE_LABEL)
    assert [HOSTILE_LABEL, 1] in page.get("/api/labels").json["known"]
    page.decide("merge", HOSTILE_LABEL, "w_0")
    answer = page.get("/api/labels").json
    assert answer["merged"] == {HOSTILE_LABEL: "w_0"}
    assert HOSTILE_LABEL not in {label for label, _ in answer["known"]}
    [row] = page.get("/api/decisions").json
    assert row["subject"] == HOSTILE_LABEL
    assert [image["id"] for image in row["images"]] == [HOSTILE_ID]


def test_the_name_of_a_competition_is_escaped(review: Review) -> None:
    from dataclasses import replace

    html = PageClient(replace(review, name="</title><script>alert(1)</script>")).html
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_decisions_are_made_listed_undone_and_taken_back(page: PageClient, review: Review) -> None:
    rows = [
        {"kind": "merge", "subject": "w_1", "value": "w_0", "note": "same notch"},
        {"kind": "drop", "subject": "copy.png"},
    ]
    answer = page.post("/api/decide", {"decisions": rows}).json
    assert answer["decisions"] == 2
    assert [row["kind"] for row in answer["written"]] == ["merge", "drop"]
    assert page.post("/api/decide", {"decisions": rows}).json["written"] == []
    assert decision_file.load(review.session.path).rows == (
        Decision("merge", "w_1", "w_0", "same notch"),
        Decision("drop", "copy.png"),
    )
    listed = page.get("/api/decisions").json
    assert [row["kind"] for row in listed] == ["drop", "merge"]
    back = {key: listed[0][key] for key in ("kind", "subject", "value", "note")}
    assert page.post("/api/take-back", {"decision": back}).json["decisions"] == 1
    answer = page.post("/api/undo", {}).json
    assert answer["decisions"] == 0
    assert answer["undone"] == [rows[0] | {"by": "", "time": ""}]
    assert "nothing was decided" in page.post("/api/undo", {}).json["error"]


def test_an_item_reflects_decisions_made_since_the_start(page: PageClient, review: Review) -> None:
    listed = page.get("/api/items", {"list": "duplicates"}).json
    place = next(n for n, item in enumerate(listed) if set(item["labels"]) == {"w_1", "w_2"})
    answer = page.get("/api/item", {"list": "duplicates", "place": place}).json
    assert {image["label"] for image in answer["images"]} == {"w_1", "w_2"}
    assert not answer["settled"]
    page.decide("merge", "w_2", "w_1")
    answer = page.get("/api/item", {"list": "duplicates", "place": place}).json
    assert {image["label"] for image in answer["images"]} == {"w_1"}
    assert answer["settled"]
    assert page.get("/api/items", {"list": "duplicates"}).json[place]["settled"]


def test_images_are_compared_side_by_side(page: PageClient) -> None:
    answer = page.get("/api/side-by-side", {"id": ["0_0.png", "copy.png", "0_0.png"]}).json
    assert [image["id"] for image in answer["images"]] == ["0_0.png", "copy.png"]
    assert answer["similarity"] == 1
    assert answer["pairs"] == [["0_0.png", "copy.png"]]


GETS: list[tuple[str, dict[str, Any], str]] = [
    ("/picture", {"id": "0_0.png", "size": "huge"}, "size 'huge' is not a number"),
    ("/picture", {"id": "0_0.png", "size": 201}, "no pictures of size 201; there are (200, 480"),
    ("/picture", {"id": "0_0.png", "size": "²"}, "size '²' is not a number"),
    ("/picture", {"id": "0_0.png"}, "size '' is not a number"),
    ("/api/images", {"page": "-1"}, "page '-1' is not a number"),
    ("/api/images", {"page": "0"}, "there is no page 0"),
    ("/api/images", {"filter": "blue"}, "no filter 'blue'"),
    ("/api/images", {"side": "nope"}, "no side 'nope'; there are labelled, test, index"),
    ("/api/images", {"order": "<b>"}, "no order '<b>'"),
    ("/api/items", {"list": "both"}, "there are no items 'both'"),
    ("/api/items", {}, "there are no items ''"),
    ("/api/item", {"list": "suspects", "place": 0}, "there is no item 0; there are 0"),
    ("/api/item", {"list": "duplicates", "place": "9" * 40}, "is not a number"),
    ("/api/side-by-side", {}, "name the images to see side by side"),
]


@pytest.mark.parametrize(("path", "query", "sentence"), GETS)
def test_an_invalid_request_gets_an_error_sentence(
    page: PageClient, path: str, query: dict[str, Any], sentence: str
) -> None:
    response = page.get(path, query)
    assert response.status_code == 400
    assert sentence in response.json["error"]


POSTS: list[tuple[Any, str]] = [
    (None, "send one JSON object"),
    ([], "send one JSON object"),
    ({}, "send a list of decisions"),
    ({"decisions": []}, "send a list of decisions"),
    ({"decisions": "drop"}, "send a list of decisions"),
    ({"decisions": ["drop"]}, "a decision has a kind, a subject, a value and a note"),
    ({"decisions": [{"kind": "drop"}]}, "a decision has a kind, a subject"),
    ({"decisions": [{"kind": "drop", "subject": "0_0.png", "by": "me"}]}, "a decision has a kind"),
    ({"decisions": [{"kind": "drop", "subject": 7}]}, "of a decision are strings"),
    ({"decisions": [{"kind": "drop", "subject": None}]}, "of a decision are strings"),
    ({"decisions": [{"kind": "drob", "subject": "0_0.png"}]}, "did you mean drop?"),
    ({"decisions": [{"kind": "drop", "subject": ""}]}, "drop names no image or label"),
    ({"decisions": [{"kind": "label", "subject": "0_0.png"}]}, "needs a value"),
    ({"decisions": [{"kind": "box", "subject": "0_0.png", "value": "1 2"}]}, "not four numbers"),
    ({"decisions": [{"kind": "box", "subject": "0_0.png", "value": "9 9 1e9 1e9"}]}, "96x64"),
]


@pytest.mark.parametrize(("value", "sentence"), POSTS)
def test_an_invalid_decision_gets_an_error_sentence_and_is_not_written(
    page: PageClient, review: Review, value: Any, sentence: str
) -> None:
    response = page.post("/api/decide", value)
    assert response.status_code == 400
    assert sentence in response.json["error"]
    assert not review.session.path.exists()


def test_invalid_json_and_oversized_requests_are_refused(page: PageClient, review: Review) -> None:
    large = b'"' + b"x" * 70_000 + b'"'
    for data, status in ((b"{", 400), (b"\xff\xfe", 400), (b"[" * 60_000, 400), (large, 413)):
        response = page.client.post(
            "/api/decide",
            data=data,
            content_type="application/json",
            headers=page.own
            | {"Origin": "http://127.0.0.1:8017", "X-Kitbox-Token": page.access.token},
        )
        assert response.status_code == status
        assert response.json["error"]
    assert not review.session.path.exists()


def test_a_faulty_row_in_the_file_is_reported_on_the_page(page: PageClient, review: Review) -> None:
    review.session.path.write_text("decision,subject,value,note\ndrob,0_0.png,,\n")
    response = page.get("/api/overview")
    assert response.status_code == 400
    assert "decisions.csv line 2: 'drob' is no decision" in response.json["error"]


@pytest.mark.parametrize("method", ["put", "delete", "patch"])
def test_other_methods_are_refused(page: PageClient, method: str) -> None:
    response = getattr(page.client, method)("/api/decide", headers=page.own)
    assert response.status_code in (403, 405)
    assert response.json["error"]


def test_the_page_cannot_say_who_decided(page: PageClient, review: Review) -> None:
    row = {"kind": "drop", "subject": "copy.png", "by": "Anna"}
    refused = page.post("/api/decide", {"decisions": [row]})
    assert refused.status_code == 400
    assert "a decision has a kind, a subject, a value and a note" in refused.json["error"]
    decision_file.add(review.session.path, Decision("drop", "copy.png", by="Anna", time="t"))
    assert page.post("/api/take-back", {"decision": row}).status_code == 400  # another time
    signed = row | {"time": "t"}
    assert page.post("/api/take-back", {"decision": signed}).json["decisions"] == 0
