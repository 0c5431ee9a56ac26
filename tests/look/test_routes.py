"""What the server answers: images by id alone, bad input with a sentence, names as they are."""

import io
from typing import Any

import pytest
from PIL import Image

from kitbox.competition import decisions
from kitbox.competition.decisions import Decision
from kitbox.look.cases import Table
from tests.look.tables import EVIL, NASTY, Browser


def test_the_overview_counts_what_is_there(page: Browser) -> None:
    told = page.get("/api/overview").json
    assert told["images"] == 24 + 5 + 8
    assert told["sides"] == ["labelled", "test"]
    assert told["duplicates"]["open"] == told["duplicates"]["all"] >= 3
    assert told["decisions"] == 0


@pytest.mark.parametrize("name", ["0_0.png", "t_0.png", NASTY])
def test_a_picture_is_asked_for_by_its_image_id(page: Browser, name: str) -> None:
    found = page.get("/picture", {"id": name, "size": 200})
    assert (found.status_code, found.mimetype) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(found.get_data())).size == (96, 64)


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
        "nobody knows",
    ],
)
def test_nothing_but_listed_images_is_served(page: Browser, name: str) -> None:
    for path in ("/picture", "/api/image", "/api/side-by-side"):
        found = page.get(path, {"id": name, "size": 200})
        assert found.status_code == 404
        assert found.json == {"error": "there is no such image in the lists"}


@pytest.mark.parametrize(
    "path",
    [
        "/static/../pages.py",
        "/static/%2e%2e/pages.py",
        "/static/..%2f..%2fcli/app.py",
        "/static//etc/passwd",
        "/look.html",
        "/decisions.csv",
        "/kitbox.toml",
        "/api/",
    ],
)
def test_no_file_is_served_by_its_path(page: Browser, path: str) -> None:
    assert page.get(path).status_code in (404, 308)
    assert b"import" not in page.get(path).get_data()


def test_an_unreadable_image_tells_its_problem(page: Browser) -> None:
    assert page.get("/picture", {"id": "broken.png", "size": 200}).status_code == 404
    told = page.get("/api/image", {"id": "broken.png"}).json
    assert "broken.png is not an image; replace or remove it" in told["problem"]
    assert told["nearest"] == []


def test_an_image_is_told_with_its_individual_and_its_neighbours(page: Browser) -> None:
    told = page.get("/api/image", {"id": "0_1.png"}).json
    assert (told["width"], told["height"], told["label"]) == (96, 64, "w_0")
    assert told["box"] == [10, 12, 80, 60]
    assert {other["id"] for other in told["same"]} == {"0_0.png", "0_2.png", "0_3.png", "copy.png"}
    assert told["photographs"] == 5
    similarity = [other["similarity"] for other in told["nearest"]]
    assert similarity == sorted(similarity, reverse=True)
    assert "0_1.png" not in {other["id"] for other in told["nearest"]}


def test_names_travel_as_they_are_and_never_as_markup(page: Browser) -> None:
    found = page.get("/api/image", {"id": NASTY})
    assert found.mimetype == "application/json"
    assert (found.json["id"], found.json["label"]) == (NASTY, EVIL)
    assert [EVIL, 1] in page.get("/api/labels").json["known"]
    page.decide("merge", EVIL, "w_0")
    told = page.get("/api/labels").json
    assert told["merged"] == {EVIL: "w_0"}
    assert EVIL not in {label for label, _ in told["known"]}
    [row] = page.get("/api/decisions").json
    assert row["subject"] == EVIL
    assert [image["id"] for image in row["images"]] == [NASTY]


def test_the_name_of_a_competition_is_escaped(table: Table) -> None:
    from dataclasses import replace

    html = Browser(replace(table, name="</title><script>alert(1)</script>")).html
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_decisions_are_taken_listed_undone_and_taken_back(page: Browser, table: Table) -> None:
    rows = [
        {"kind": "merge", "subject": "w_1", "value": "w_0", "note": "same notch"},
        {"kind": "drop", "subject": "copy.png"},
    ]
    told = page.post("/api/decide", {"decisions": rows}).json
    assert told["decisions"] == 2
    assert [row["kind"] for row in told["written"]] == ["merge", "drop"]
    assert page.post("/api/decide", {"decisions": rows}).json["written"] == []
    assert decisions.load(table.desk.path).rows == (
        Decision("merge", "w_1", "w_0", "same notch"),
        Decision("drop", "copy.png"),
    )
    listed = page.get("/api/decisions").json
    assert [row["kind"] for row in listed] == ["drop", "merge"]
    back = {key: listed[0][key] for key in ("kind", "subject", "value", "note")}
    assert page.post("/api/take-back", {"decision": back}).json["decisions"] == 1
    told = page.post("/api/undo", {}).json
    assert told["decisions"] == 0
    assert told["undone"] == [rows[0]]
    assert "nothing was decided" in page.post("/api/undo", {}).json["error"]


def test_a_case_is_told_with_what_is_decided_meanwhile(page: Browser, table: Table) -> None:
    listed = page.get("/api/cases", {"what": "duplicates"}).json
    place = next(n for n, case in enumerate(listed) if set(case["labels"]) == {"w_1", "w_2"})
    told = page.get("/api/case", {"what": "duplicates", "place": place}).json
    assert {image["label"] for image in told["images"]} == {"w_1", "w_2"}
    assert not told["settled"]
    page.decide("merge", "w_2", "w_1")
    told = page.get("/api/case", {"what": "duplicates", "place": place}).json
    assert {image["label"] for image in told["images"]} == {"w_1"}
    assert told["settled"]
    assert page.get("/api/cases", {"what": "duplicates"}).json[place]["settled"]


def test_images_are_put_side_by_side(page: Browser) -> None:
    told = page.get("/api/side-by-side", {"id": ["0_0.png", "copy.png", "0_0.png"]}).json
    assert [image["id"] for image in told["images"]] == ["0_0.png", "copy.png"]
    assert told["similarity"] == 1
    assert told["pairs"] == [["0_0.png", "copy.png"]]


GETS: list[tuple[str, dict[str, Any], str]] = [
    ("/picture", {"id": "0_0.png", "size": "huge"}, "size 'huge' is not a number"),
    ("/picture", {"id": "0_0.png", "size": 201}, "no pictures of size 201; there are (200, 480"),
    ("/picture", {"id": "0_0.png", "size": "²"}, "size '²' is not a number"),
    ("/picture", {"id": "0_0.png"}, "size '' is not a number"),
    ("/api/images", {"page": "-1"}, "page '-1' is not a number"),
    ("/api/images", {"page": "0"}, "there is no page 0"),
    ("/api/images", {"only": "blue"}, "no filter 'blue'"),
    ("/api/images", {"side": "nope"}, "no side 'nope'; there are labelled, test, index"),
    ("/api/images", {"order": "<b>"}, "no order '<b>'"),
    ("/api/cases", {"what": "both"}, "there are no cases 'both'"),
    ("/api/cases", {}, "there are no cases ''"),
    ("/api/case", {"what": "suspects", "place": 0}, "there is no case 0; there are 0"),
    ("/api/case", {"what": "duplicates", "place": "9" * 40}, "is not a number"),
    ("/api/side-by-side", {}, "name the images to see side by side"),
]


@pytest.mark.parametrize(("path", "query", "sentence"), GETS)
def test_a_bad_question_gets_a_sentence(
    page: Browser, path: str, query: dict[str, Any], sentence: str
) -> None:
    found = page.get(path, query)
    assert found.status_code == 400
    assert sentence in found.json["error"]


POSTS: list[tuple[Any, str]] = [
    (None, "send one JSON object"),
    ([], "send one JSON object"),
    ({}, "send a list of decisions"),
    ({"decisions": []}, "send a list of decisions"),
    ({"decisions": "drop"}, "send a list of decisions"),
    ({"decisions": ["drop"]}, "a decision has a kind, a subject, a value and a note"),
    ({"decisions": [{"kind": "drop"}]}, "a decision has a kind, a subject"),
    ({"decisions": [{"kind": "drop", "subject": "0_0.png", "by": "me"}]}, "a decision has a kind"),
    ({"decisions": [{"kind": "drop", "subject": 7}]}, "of a decision are texts"),
    ({"decisions": [{"kind": "drop", "subject": None}]}, "of a decision are texts"),
    ({"decisions": [{"kind": "drob", "subject": "0_0.png"}]}, "did you mean drop?"),
    ({"decisions": [{"kind": "drop", "subject": ""}]}, "drop names no image or label"),
    ({"decisions": [{"kind": "label", "subject": "0_0.png"}]}, "needs a value"),
    ({"decisions": [{"kind": "box", "subject": "0_0.png", "value": "1 2"}]}, "not four numbers"),
    ({"decisions": [{"kind": "box", "subject": "0_0.png", "value": "9 9 1e9 1e9"}]}, "96x64"),
]


@pytest.mark.parametrize(("value", "sentence"), POSTS)
def test_a_bad_decision_gets_a_sentence_and_is_not_written(
    page: Browser, table: Table, value: Any, sentence: str
) -> None:
    found = page.post("/api/decide", value)
    assert found.status_code == 400
    assert sentence in found.json["error"]
    assert not table.desk.path.exists()


def test_what_is_no_json_or_far_too_long_is_refused(page: Browser, table: Table) -> None:
    large = b'"' + b"x" * 70_000 + b'"'
    for data, status in ((b"{", 400), (b"\xff\xfe", 400), (b"[" * 60_000, 400), (large, 413)):
        found = page.client.post(
            "/api/decide",
            data=data,
            content_type="application/json",
            headers=page.own
            | {"Origin": "http://127.0.0.1:8017", "X-Kitbox-Token": page.guard.token},
        )
        assert found.status_code == status
        assert found.json["error"]
    assert not table.desk.path.exists()


def test_a_faulty_row_that_a_person_wrote_is_told_on_the_page(page: Browser, table: Table) -> None:
    table.desk.path.write_text("decision,subject,value,note\ndrob,0_0.png,,\n")
    found = page.get("/api/overview")
    assert found.status_code == 400
    assert "decisions.csv line 2: 'drob' is no decision" in found.json["error"]


@pytest.mark.parametrize("method", ["put", "delete", "patch"])
def test_other_methods_are_refused(page: Browser, method: str) -> None:
    found = getattr(page.client, method)("/api/decide", headers=page.own)
    assert found.status_code in (403, 405)
    assert found.json["error"]
