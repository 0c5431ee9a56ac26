"""Routes of the matching desk: queries, answers, disagreements and matched points."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.look.desk import prepare_desk
from kitbox.look.session import DecisionSession
from kitbox.records import strings
from kitbox.workspace import Workspace
from tests.look.sample_desk import at_desk
from tests.look.sample_review import HOSTILE_LABEL, PageClient
from tests.look.test_desk import answer_of


def client(session: DecisionSession, by: str) -> PageClient:
    """Return the page of one person, with a server of its own."""
    workspace = Workspace(session.path.parent)
    return PageClient(at_desk(DecisionSession(workspace, session.photographs, by)))


@pytest.fixture
def anna(session: DecisionSession) -> PageClient:
    return client(session, "Anna")


@pytest.fixture
def ben(session: DecisionSession) -> PageClient:
    return client(session, "Ben")


def answer(page: PageClient, kind: str, image: str = "0_2.png", query: str = "t_0.png",
           seen: int = 0) -> Any:  # fmt: skip
    body = {"query": query, "candidate": image, "answer": kind, "seen": seen}
    response = page.post("/api/desk/answer", body)
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.json


def shown(page: PageClient, image: str = "t_0.png") -> Any:
    """Return what the page shows of a query."""
    count = len(page.get("/api/desk").json["settled"])
    queries = (page.get("/api/desk/query", {"place": place}).json for place in range(count))
    return next(query for query in queries if query["image"]["id"] == image)


def test_a_query_is_shown_with_its_candidates(anna: PageClient) -> None:
    queue = anna.get("/api/desk").json
    assert queue["settled"] == [0] * 9
    assert (queue["person"], queue["order"], queue["decided"], queue["gone"]) == (
        "Anna",
        "gap",
        0,
        [],
    )
    query = shown(anna)
    assert (query["seen"], query["settled"], query["answers"]) == (0, False, [])
    best, second, *_ = query["candidates"]
    assert (best["label"], best["photographCount"]) == ("w_0", 5)
    assert [image["id"] for image in best["images"]][:2] == ["0_2.png", "0_1.png"]
    assert best["images"][0]["width"] == 96
    assert second["label"] == HOSTILE_LABEL
    assert anna.get("/api/overview").json["desk"] == {"open": 9, "all": 9}


def test_an_answer_is_on_disk_with_name_and_time_and_can_be_undone(
    anna: PageClient, session: DecisionSession
) -> None:
    told = answer(anna, "same")
    assert told["meanwhile"] == []
    assert told["desk"] == {"open": 8, "all": 9}
    [row] = decision_file.load(session.path).rows
    assert (row.kind, row.subject, row.value, row.by) == ("same", "t_0.png", "0_2.png", "Anna")
    assert row.time.endswith("Z")
    query = shown(anna)
    assert query["settled"]
    assert query["candidates"][0]["answers"] == [
        {"kind": "same", "value": "0_2.png", "by": "Anna", "time": row.time}
    ]
    assert anna.post("/api/undo", {}).json["desk"]["open"] == 9
    assert decision_file.load(session.path).rows == ()


def test_each_person_sees_their_own_progress(anna: PageClient, ben: PageClient) -> None:
    answer(anna, "same")
    answer(anna, "unsure", query="t_1.png")
    answer(anna, "poor", query="t_2.png")
    answer(anna, "different", "3_3.png", query="t_3.png")  # another candidate may be right
    of_anna, of_ben = (page.get("/api/desk").json for page in (anna, ben))
    assert (of_anna["decided"], sum(of_anna["settled"])) == (3, 3)
    assert (of_ben["decided"], sum(of_ben["settled"]), of_ben["poor"]) == (0, 1, 1)
    assert of_ben["people"] == [{"name": "Anna", "decided": 3}, {"name": "Ben", "decided": 0}]


def test_disagreements_are_listed_with_both_names_and_the_last_answer_counts(
    anna: PageClient, ben: PageClient, session: DecisionSession
) -> None:
    answer(anna, "same")
    answer(ben, "new", seen=1)
    [found] = ben.get("/api/desk/disagreements").json
    assert (found["image"]["id"], ben.get("/api/desk").json["disagreements"]) == ("t_0.png", 1)
    assert [(one["by"], one["answer"], one["same"]) for one in found["answers"]] == [
        ("Anna", "same", ["w_0"]), ("Ben", "new", [])
    ]  # fmt: skip
    assert shown(anna)["disagree"]
    assert session.state.decisions.linked[frozenset({"t_0.png", "0_2.png"})][0].kind == "different"
    answer(anna, "new", seen=3)
    assert ben.get("/api/desk/disagreements").json == []


def test_of_two_that_decide_at_once_the_second_is_told_and_nothing_is_lost(
    anna: PageClient, ben: PageClient, session: DecisionSession
) -> None:
    seen = shown(ben)["seen"]
    answer(anna, "same", seen=seen)
    told = answer(ben, "different", seen=seen)
    [meanwhile] = told["meanwhile"]
    assert (meanwhile["by"], meanwhile["kind"], meanwhile["value"]) == ("Anna", "same", "0_2.png")
    rows = decision_file.load(session.path).rows
    assert [(row.kind, row.by) for row in rows] == [("same", "Anna"), ("different", "Ben")]
    # two windows of one person: the same answer is not written twice
    again = client(session, "Ben")
    told = answer(again, "different", seen=seen)
    assert (len(told["written"]), len(told["meanwhile"])) == (0, 2)


def test_a_decision_about_a_photograph_that_is_gone_stays_and_is_told(
    anna: PageClient, session: DecisionSession
) -> None:
    decision_file.add(session.path, Decision("same", "t_0.png", "gone.png", by="Ben"))
    answer(anna, "same", seen=1)
    assert anna.get("/api/desk").json["gone"] == ["gone.png"]
    assert len(decision_file.load(session.path).rows) == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "an answer has a query"),
        ({"query": "t_0.png", "candidate": 3, "answer": "same"}, "an answer has a candidate"),
        ({"query": "t_0.png", "candidate": "0_0.png", "answer": "same"}, "how many rows"),
        (
            {"query": "0_0.png", "candidate": "1_0.png", "answer": "same", "seen": 0},
            "'0_0.png' is no query of the desk; reload the page",
        ),
        (
            {"query": "t_0.png", "candidate": "no.png", "answer": "same", "seen": 0},
            "'no.png' shows no candidate of 't_0.png'; reload the page",
        ),
        (
            {"query": "t_0.png", "candidate": "0_0.png", "answer": "drop", "seen": 0},
            "no answer 'drop'; there are same, different, new, unsure, poor",
        ),
    ],
)
def test_a_faulty_answer_is_refused(
    anna: PageClient, session: DecisionSession, body: dict[str, Any], message: str
) -> None:
    response = anna.post("/api/desk/answer", body)
    assert response.status_code == 400
    assert message in response.json["error"]
    assert not session.path.exists()


def test_a_query_that_there_is_not_is_refused(anna: PageClient) -> None:
    response = anna.get("/api/desk/query", {"place": 9})
    assert (response.status_code, response.json["error"]) == (
        400,
        "there is no query 10; there are 9",
    )


def test_the_desk_without_plugins_tells_what_it_needs(page: PageClient) -> None:
    assert "name plugins" in page.get("/api/desk").json["empty"]
    assert page.get("/api/overview").json["desk"] == {"open": 0, "all": 0}


def test_an_answer_needs_the_token_of_the_page(anna: PageClient) -> None:
    body = {"query": "t_0.png", "candidate": "0_0.png", "answer": "same", "seen": 0}
    refused = anna.post("/api/desk/answer", body, **{"X-Kitbox-Token": "wrong"})
    assert refused.status_code == 403


def test_an_answer_about_a_photograph_that_was_dropped_since_names_another(
    anna: PageClient, session: DecisionSession
) -> None:
    anna.decide("drop", "0_2.png")
    written = answer(anna, "same")["written"]
    assert [(row["kind"], row["subject"], row["value"]) for row in written] == [
        ("same", "t_0.png", "0_1.png")
    ]


def test_what_a_query_and_a_candidate_refuse_is_told_with_them(anna: PageClient) -> None:
    anna.decide("label", "unknown.png", "w_0")
    query = shown(anna, "unknown.png")
    already = "it is w_0 already; Enter merges or relabels"
    assert query["refused"]["new"] == already
    refused = {one["label"]: one["refused"] for one in query["candidates"]}
    assert refused["w_0"] == {"new": already, "different": already}
    assert refused["w_1"] == {"new": already, "same": already}
    assert shown(anna)["candidates"][0]["refused"] == {}


def with_texture(session: DecisionSession, folder: Path) -> DecisionSession:
    """Return a session where 2_0 shows random blocks, and 2_1 the same 30 pixels to the right."""
    blocks = np.random.default_rng(5).integers(0, 255, (24, 40, 1), dtype=np.uint8)
    picture = np.repeat(np.kron(blocks, np.ones((10, 10, 1), dtype=np.uint8)), 3, axis=2)
    images = session.photographs.images
    paths, digests = list(images.paths), images.file_digests.tolist()
    for name, pixels in (("2_0.png", picture), ("2_1.png", np.roll(picture, 30, axis=1))):
        row = session.photographs.rows[name]
        paths[row], digests[row] = folder / name, f"texture {name}"
        Image.fromarray(pixels).save(paths[row])
    drawn = replace(images, paths=tuple(paths), digests=strings(digests))
    photographs = replace(session.photographs, images=drawn)
    return DecisionSession(Workspace(session.path.parent), photographs, "Anna")


def test_matched_points_lie_in_both_pictures(session: DecisionSession, tmp_path: Path) -> None:
    page = PageClient(at_desk(with_texture(session, tmp_path)))
    found = page.get("/api/desk/points", {"query": "2_0.png", "candidate": "2_1.png"})
    assert found.status_code == 200, found.json
    pairs = found.json["pairs"]
    agreeing = [pair for pair in pairs if pair[4]]
    assert len(agreeing) > 20
    assert all(0 <= x <= 400 and 0 <= y <= 240 for *ends, _ in pairs
               for x, y in (ends[:2], ends[2:]))  # fmt: skip
    assert np.median([pair[2] - pair[0] for pair in agreeing]) == pytest.approx(30, abs=1)
    assert found.json["note"] == (
        f"SIFT matches {len(pairs)} points, {len(agreeing)} of them on one surface"
    )


def test_points_of_pictures_that_have_none_are_refused(anna: PageClient) -> None:
    itself = anna.get("/api/desk/points", {"query": "0_0.png", "candidate": "0_0.png"})
    assert "is compared with itself" in itself.json["error"]
    lost = anna.get("/api/desk/points", {"query": "0_0.png", "candidate": "no.png"})
    assert lost.status_code == 404
    broken = anna.get("/api/desk/points", {"query": "0_0.png", "candidate": "broken.png"})
    assert "no points can be matched: " in broken.json["error"]


def test_probabilities_of_identify_have_the_digits_of_its_table(session: DecisionSession) -> None:
    review = at_desk(session)
    answers = [answer_of("t_0.png", 0.12345, w_0=0.87654, notes=("a copy",))]
    found = prepare_desk(review.embeddings, session.state, None, answers=answers)
    page = PageClient(replace(review, desk=replace(found, unused="", then="kitbox catalogue add")))
    query = page.get("/api/desk/query", {"place": 0}).json
    assert (query["image"]["id"], query["newProbability"]) == ("t_0.png", 0.123)
    assert query["candidates"][0]["probability"] == 0.877
    assert query["notes"] == ["a copy"]
    assert page.get("/api/desk").json["then"] == "kitbox catalogue add"


def test_the_results_of_a_person_are_counted(anna: PageClient) -> None:
    answer(anna, "same")
    answer(anna, "same", "1_0.png", "t_1.png")
    answer(anna, "same", "0_2.png", "t_2.png")
    answer(anna, "new", "", "t_3.png")
    answer(anna, "poor", "", "t_4.png")
    answer(anna, "different", "5_0.png", "t_5.png")
    assert anna.get("/api/desk").json["results"] == {
        "same": 3, "new": 1, "unsure": 0, "poor": 1, "individuals": 2
    }  # fmt: skip


def test_a_new_individual_is_a_candidate_of_the_next_query_of_another_person(
    anna: PageClient, ben: PageClient, session: DecisionSession
) -> None:
    answer(anna, "new", "", "t_1.png")
    place = next(
        place
        for place in range(9)
        if ben.get("/api/desk/query", {"place": place}).json["image"]["id"] == "unknown.png"
    )
    query = ben.get("/api/desk/query", {"place": place}).json
    best = query["candidates"][0]
    assert (best["label"], best["isNew"], best["photographCount"]) == ("t_1.png", True, 1)
    assert not any(one["isNew"] for one in query["candidates"][1:])
    written = answer(ben, "same", "t_1.png", "unknown.png")["written"]
    assert [(row["kind"], row["subject"], row["value"]) for row in written] == [
        ("same", "unknown.png", "t_1.png")
    ]
    query = ben.get("/api/desk/query", {"place": place}).json
    assert [(row["by"], row["kind"]) for row in query["candidates"][0]["answers"]] == [
        ("Ben", "same")
    ]
    assert ben.get("/api/desk").json["results"]["new"] == 1
    assert ben.get("/api/desk").json["disagreements"] == 0
    assert session.state.new_individuals == {
        session.state.links.individual_of["unknown.png"]: "t_1.png"
    }


def test_rows_that_contradict_each_other_are_told_and_stop_nobody(
    anna: PageClient, session: DecisionSession
) -> None:
    assert anna.get("/api/desk").json["contradictions"] == []
    decision_file.add(session.path, Decision("same", "0_0.png", "1_0.png"))
    [sentence] = anna.get("/api/desk").json["contradictions"]
    assert "'0_0.png' of 'w_0' and '1_0.png' of 'w_1' are the same individual" in sentence
    assert answer(anna, "same")["written"]
    assert anna.post("/api/undo", {}).status_code == 200
