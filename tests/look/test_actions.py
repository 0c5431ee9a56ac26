"""Actions on images: what the page offers for each kind of image is exactly what is accepted."""

from collections.abc import Iterator
from dataclasses import replace
from threading import Thread
from typing import Any

import numpy as np
import pytest

from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.look.review_items import Review
from kitbox.look.server import create_server, listen
from kitbox.look.session import DecisionSession
from kitbox.workspace import Workspace
from tests.look.browser_user import BrowserUser
from tests.look.sample_review import HOSTILE_ID, PageClient

LABELLED, TEST, INDEX, UNKNOWN, DROPPED, WRONG, BROKEN = (
    "1_1.png", "t_0.png", "t_7.png", "unknown.png", "1_2.png", "1_3.png", "broken.png",
)  # fmt: skip
KINDS = [LABELLED, TEST, INDEX, UNKNOWN, DROPPED, WRONG, BROKEN, HOSTILE_ID]
NAMES = ["labelled", "test", "index", "unknown", "dropped", "wrong", "broken", "hostile"]
VALUES = {"drop": "", "wrong": "", "label": "w_0", "train": "", "box": "10 10 60 50"}
FULL = {"drop", "wrong", "label", "train", "box"}
OFFERED = {
    LABELLED: FULL,
    TEST: {"box"},
    INDEX: {"drop", "box"},
    UNKNOWN: FULL,
    DROPPED: FULL - {"drop"},
    WRONG: FULL - {"wrong"},
    BROKEN: FULL - {"box"},
    HOSTILE_ID: FULL,
}
KEYS = {"d": "drop", "w": "wrong", "l": "label", "t": "train", "b": "box"}


@pytest.fixture
def every_kind(review: Review) -> Review:
    """Return a review with images of all sides, one of them dropped and one of a wrong label."""
    shown = review.photographs
    sides = np.where(shown.images.image_ids == INDEX, "index", shown.sides)
    path = review.session.path
    decision_file.add(path, Decision("drop", DROPPED), Decision("wrong", WRONG))
    session = DecisionSession(Workspace(path.parent), replace(shown, sides=sides))
    return replace(review, session=session)


@pytest.mark.parametrize("image", KINDS, ids=NAMES)
def test_each_kind_of_image_offers_what_is_accepted_and_written(
    every_kind: Review, image: str
) -> None:
    page = PageClient(every_kind)
    shown = page.get("/api/image", {"id": image}).json
    assert shown is not None
    offered = FULL - set(shown["refused"]) - set(shown["inEffect"])
    assert offered == OFFERED[image]
    for kind, value in VALUES.items():
        answer = page.decide(kind, image, value)
        written = answer.status_code == 200 and bool((answer.json or {})["written"])
        assert written == (kind in offered), (kind, answer.json)
        if answer.status_code != 200 and kind != "box":
            assert answer.json == {"error": shown["refused"][kind]}
        if written:
            assert page.post("/api/undo", {}).status_code == 200


def test_undo_and_taking_back_are_offered_where_they_are_accepted(every_kind: Review) -> None:
    page = PageClient(every_kind)

    def offers_undo() -> bool:
        overview = page.get("/api/overview").json
        assert overview is not None
        offered = bool(overview["canUndo"])
        assert (page.post("/api/undo", {}).status_code == 200) == offered
        return offered

    assert not offers_undo()
    page.decide("train", LABELLED)
    assert offers_undo()
    page.decide("label", LABELLED, "w_new")
    page.decide("merge", "w_new", "w_0")
    rows = page.get("/api/decisions").json
    assert rows is not None
    for row in rows[:2]:
        taken = {name: row[name] for name in ("kind", "subject", "value", "note", "by", "time")}
        if row["kind"] == "label":  # the merge needs its label
            answer = page.post("/api/take-back", {"decision": taken})
            assert answer.status_code == 400
            assert answer.json["error"].startswith("the label 'w_new' exists only by this decisi")


@pytest.fixture
def person(every_kind: Review, browser: Any) -> Iterator[BrowserUser]:
    """Yield a user of a page with images of every kind."""
    with listen(0) as listening:
        server, address = create_server(every_kind, listening)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        browser.get(address)
        yield BrowserUser(browser, every_kind, address)
        browser.get("about:blank")
        server.shutdown()
        thread.join(10)


def offered_keys(person: BrowserUser) -> list[str]:
    enabled = [each for each in person.find_all(".bar button") if each.is_enabled()]
    return [str(each.get_attribute("data-key")) for each in enabled]


def click_all(person: BrowserUser, address: str, until: str) -> set[str]:
    """Click every offered button of a view, undo what it does, and return their keys."""
    person.open(address, until)
    keys = offered_keys(person)
    assert "u" not in keys  # nothing is decided yet
    before = person.rows()
    for key in keys:
        person.open(address, until)
        person.wait(lambda: person.current_address(), "the page is ready")
        [button] = person.find_all(f".bar button[data-key={key}]")
        button.click()
        if key in ("l", "b"):
            person.wait(lambda: person.find_all("dialog[open]"), f"{key} opens a dialog")
            person.press("\ue00c")
            person.wait(lambda: not person.find_all("dialog[open]"))
        elif key == "m" and "/image/" in address:
            person.wait(lambda: len(person.find_all(".cards .card")) == 2)
        else:
            person.wait(lambda: len(person.rows()) > len(before), f"{key} decides")
            person.wait(lambda: person.current_address() and "u" in offered_keys(person))
            person.press("u")
            person.wait(lambda: person.rows() == before, "it is taken back")
        assert not person.find_all("#message.shown.error"), person.text("#message")
    return set(keys)


@pytest.mark.parametrize("image", KINDS[:-1], ids=NAMES[:-1])
def test_every_offered_button_of_a_photograph_works(person: BrowserUser, image: str) -> None:
    keys = click_all(person, f"#/image/{image}", ".photograph .bar, .photograph ~ .bar")
    nearest = set() if image == BROKEN else {"m"}
    assert keys == nearest | {key for key, kind in KEYS.items() if kind in OFFERED[image]}
    person.open(f"#/image/{image}", ".bar")
    person.press("?")
    listed = person.wait(lambda: person.text("dialog[open] dt")).split()
    assert {key for key in KEYS if key in listed} == keys - {"m"}


@pytest.mark.parametrize(
    ("pair", "keys", "why"),
    [
        ((LABELLED, "2_1.png"), "mfdwltb", ""),
        ((LABELLED, "1_0.png"), "fdwltb", "one label already"),
        ((TEST, LABELLED), "fb", "test images have no label"),
        ((LABELLED, TEST), "fdwltb", "test images have no label"),
        ((LABELLED, DROPPED), "fdwltb", "needs two images in use"),
        ((LABELLED, UNKNOWN), "mfdwltb", ""),
        ((TEST, "t_1.png"), "fb", "test images have no label"),
        ((UNKNOWN,), "dwltb", "needs two images in use"),
    ],
)
def test_every_offered_button_of_a_pair_works(
    person: BrowserUser, pair: tuple[str, ...], keys: str, why: str
) -> None:
    address = f"#/pair?{'&'.join(f'id={image}' for image in pair)}"
    assert click_all(person, address, ".bar button") == set(keys)
    person.open(address, ".bar button")
    effect = person.text(".bar button[data-key=m] small")
    assert effect == why or not why


def test_a_refused_key_tells_why_and_sends_nothing(person: BrowserUser) -> None:
    person.open(f"#/image/{TEST}", ".bar")
    before = person.rows()
    person.press("l")
    person.wait(
        lambda: "is one of the test images, which have no labels" in person.text("#message")
    )
    assert person.rows() == before
