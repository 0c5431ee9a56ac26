"""The desk: its queue, the candidates of a query, and what several people decide."""

from collections.abc import Iterator
from dataclasses import replace
from math import cos, radians, sin
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kitbox.catalogue import confirmations
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import KitboxError
from kitbox.fusion.probability_curve import fit_curve
from kitbox.identification.photograph_answers import Answer, CandidateIndividual
from kitbox.look import desk, desk_payloads, review_items
from kitbox.look.desk import (
    Desk,
    DeskCandidate,
    DeskQuery,
    LabelledQueries,
    Shown,
    answer_rows,
    opinions,
    prepare_desk,
)
from kitbox.look.photographs import Photographs
from kitbox.look.session import DecisionSession, ReviewState
from kitbox.records import Embeddings, Holdout, strings
from kitbox.workspace import Workspace
from tests.look.sample_desk import angle, circle_embeddings

TESTS = [f"t_{number}.png" for number in range(8)]


W_0 = Shown("w_0", has_label=True)


def state_of(photographs: Photographs, *rows: tuple[str, ...]) -> ReviewState:
    made = tuple(Decision(*row[:3], by=row[3]) for row in rows)
    return ReviewState(photographs, Decisions(made, lines=tuple(range(2, len(made) + 2))))


def desk_of(state: ReviewState, threshold: float | None = None) -> Desk:
    return prepare_desk(circle_embeddings(state.photographs), state, threshold)


def test_queries_are_test_photographs_and_those_of_unknown_individuals(
    session: DecisionSession,
) -> None:
    found = desk_of(session.state)
    assert sorted(query.image for query in found.queries) == [*TESTS, "unknown.png"]
    [first] = [query for query in found.queries if query.image == "t_0.png"]
    assert [one.label for one in first.candidates[:2]] == [
        "w_0",
        "</script><img src=x onerror=alert(2)>",
    ]
    assert len(first.candidates) == 7
    best = first.candidates[0]
    assert best.images == ("0_2.png", "0_1.png", "0_3.png", "copy.png", "0_0.png")
    assert best.similarity == pytest.approx(1)
    # the label is that after decisions, and what is dropped is no candidate
    state = state_of(session.photographs, ("merge", "w_1", "w_0", ""), ("drop", "0_2.png", "", ""))
    [first] = [query for query in desk_of(state).queries if query.image == "t_0.png"]
    assert len(first.candidates) == 6
    assert "0_2.png" not in first.candidates[0].images
    assert len(first.candidates[0].images) == 8


def test_the_least_gap_between_two_individuals_comes_first(session: DecisionSession) -> None:
    found = desk_of(session.state)
    assert found.order == "gap"
    assert [query.image for query in found.queries[:2]] == ["t_1.png", "unknown.png"]
    gap = cos(radians(25.6 - 3)) - cos(radians(50 - 25.6))
    assert found.queries[0].certainty == pytest.approx(gap, abs=1e-5)


def test_the_similarity_nearest_to_the_threshold_comes_first(session: DecisionSession) -> None:
    similarity = cos(radians(angle("unknown.png") - 3))
    found = desk_of(session.state, similarity + 1e-4)
    assert found.order == "threshold"
    assert [query.image for query in found.queries[:2]] == ["unknown.png", "t_1.png"]
    assert found.queries[0].certainty == pytest.approx(1e-4, abs=1e-6)


def holdout_of(photographs: Photographs, answers: dict[str, str]) -> Holdout:
    """Return a holdout of labelled photographs; `answers` are those of its queries."""
    labelled = photographs.part("labelled").labelled
    asked = np.isin(labelled.image_ids, list(answers))
    train, query = labelled.take(~asked), labelled.take(asked)
    return Holdout(train, query, train, strings([answers[i] for i in query.image_ids.tolist()]))


# No photograph of w_1 is left to find; those of w_3, of one encounter, look like w_4.
ANSWERS = {
    "0_0.png": "w_0", "5_0.png": "w_5", "3_0.png": "w_3", "3_1.png": "w_3",
    **{f"1_{number}.png": "new_whale" for number in range(4)},
}  # fmt: skip


def encounter_embeddings(photographs: Photographs) -> Embeddings:
    """Return embeddings on the circle, where two photographs of w_3 lie beside one of w_4."""
    embeddings = circle_embeddings(photographs)
    vectors = embeddings.vectors.copy()
    for image, degrees in (("3_0.png", 200.8), ("3_1.png", 200.9)):
        row = embeddings.image_ids.tolist().index(image)
        vectors[row] = cos(radians(degrees)), sin(radians(degrees))
    return Embeddings(embeddings.image_ids, vectors)


def test_a_probability_is_fitted_to_what_the_holdout_s_training_side_answers(
    session: DecisionSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = session.photographs
    embeddings, state = encounter_embeddings(photographs), state_of(photographs)
    holdout = holdout_of(photographs, ANSWERS)
    # two right ones are too few
    assert prepare_desk(embeddings, state, None, holdout).order == "gap"
    monkeypatch.setattr(desk, "_FEWEST", 2)
    found = prepare_desk(embeddings, state, None, holdout)
    assert found.order == "probability"
    # 0_0 to its copy, 5_0 to 5_1; 3_0 and 3_1 to 4_1; w_1 to 0_3 and to 2_0
    degrees = np.array([0.5, 1, 0.2, 0.1, 47, 48, 48, 47])
    right = np.array([True, True, *[False] * 6])
    curve = fit_curve(np.cos(np.radians(degrees)), right)
    [first] = [query for query in found.queries if query.image == "t_0.png"]
    [expected] = curve.probability(np.array([1.0])).tolist()
    assert first.probability == pytest.approx(expected, abs=1e-3)
    uncertain = [query.certainty for query in found.queries]
    assert uncertain == sorted(uncertain)
    # the networks have seen it in training
    [seen] = [query for query in found.queries if query.image == "unknown.png"]
    assert seen.probability is None


def test_there_is_no_probability_of_photographs_that_networks_may_have_trained_on(
    session: DecisionSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "_FEWEST", 2)
    photographs = session.photographs
    embeddings, holdout = encounter_embeddings(photographs), holdout_of(photographs, ANSWERS)
    # no network of the embeddings is known to have left the holdout out
    assert prepare_desk(embeddings, state_of(photographs), None).order == "gap"
    sides = np.where(photographs.sides == "test", "index", photographs.sides)
    without_test = state_of(replace(photographs, sides=sides))
    found = prepare_desk(embeddings, without_test, None, holdout)
    assert found.order == "gap"
    assert all(query.probability is None for query in found.queries)


def test_without_test_photographs_each_labelled_one_is_compared_with_the_rest(
    session: DecisionSession,
) -> None:
    photographs = session.photographs
    sides = np.where(photographs.sides == "test", "index", photographs.sides)
    found = desk_of(state_of(replace(photographs, sides=sides)))
    assert len(found) == 28  # with the copy, the conflict, the hostile and the unknown one
    [query] = [query for query in found.queries if query.image == "5_0.png"]
    assert query.candidates[0].label == "w_5"
    assert "5_0.png" not in query.candidates[0].images
    [single] = [query for query in found.queries if angle(query.image) == 330]
    assert all(single.image not in one.images for one in single.candidates)


def test_within_groups_only_individuals_of_the_group_are_candidates(
    session: DecisionSession,
) -> None:
    photographs = session.photographs
    ids = photographs.images.image_ids
    groups = np.where(np.isin(ids, ["t_0.png", "1_0.png", "2_0.png"]), "north", "south")
    images = replace(photographs.images, groups=groups)
    found = desk_of(state_of(replace(photographs, images=images, within_group=True)))
    [query] = [query for query in found.queries if query.image == "t_0.png"]
    assert [one.images for one in query.candidates] == [("1_0.png",), ("2_0.png",)]


def test_labelled_queries_are_found_while_the_labelled_are_compared(
    session: DecisionSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = session.photographs
    sides = np.where(photographs.sides == "test", "index", photographs.sides)
    state = state_of(replace(photographs, sides=sides))
    embeddings = circle_embeddings(photographs)
    alone = desk_of(state)
    labelled = LabelledQueries(embeddings, state)
    review_items.nearest_labelled(embeddings, state, labelled)
    compared: list[str] = []
    compare = desk._with_candidates

    def noted(asked: list[str], *given: Any) -> Iterator[DeskQuery]:
        compared.extend(asked)
        return compare(asked, *given)

    monkeypatch.setattr(desk, "_with_candidates", noted)
    found = prepare_desk(embeddings, state, None, labelled=labelled)
    assert compared == ["unknown.png"]
    for one, other in zip(found.queries, alone.queries, strict=True):
        assert one.image == other.image
        assert [(c.label, c.images) for c in one.candidates] == [
            (c.label, c.images) for c in other.candidates
        ]


def answer_of(
    image: str, new: float, *, notes: tuple[str, ...] = (), **individuals: float
) -> Answer:
    """Return an answer of identify: the probability of a new individual and of known ones."""
    candidates = tuple(
        CandidateIndividual(
            individual=name, similarity=0.5, probability=p, photographs=(f"{name[2:]}_2.png",)
        )
        for name, p in individuals.items()
    )
    return Answer(
        image=image,
        path=Path(image),
        verdict="undecided",
        new_probability=new,
        candidates=candidates[:3],
        others=candidates[3:],
        notes=notes,
    )


def test_answers_of_identify_are_shown_and_the_least_certain_comes_first(
    session: DecisionSession,
) -> None:
    state = state_of(session.photographs)
    answers = [
        answer_of("t_0.png", 0.05, w_0=0.9, w_1=0.02),
        answer_of("t_1.png", 0.4, w_1=0.3, w_0=0.2, w_2=0.04, w_3=0.02, notes=("a copy",)),
        answer_of("t_2.png", 0.7, w_2=0.2),
        answer_of("gone.png", 0.5, w_2=0.2),
    ]
    found = prepare_desk(circle_embeddings(session.photographs), state, 0.9, answers=answers)
    assert found.order == "identified"
    assert [query.image for query in found.queries[:3]] == ["t_1.png", "t_2.png", "t_0.png"]
    first = found.queries[0]
    assert (first.new_probability, first.notes) == (0.4, ("a copy",))
    assert [(one.label, one.probability) for one in first.candidates] == [
        ("w_1", 0.3), ("w_0", 0.2), ("w_2", 0.04), ("w_3", 0.02)
    ]  # fmt: skip
    # the photograph that speaks for it comes first, then others of the individual
    assert first.candidates[0].images == ("1_2.png", "1_0.png", "1_1.png", "1_3.png")
    # what identify was not asked about is still there, by similarity
    left = found.queries[3:]
    assert {query.image for query in left} == {*TESTS[3:], "unknown.png"}
    assert all(query.new_probability is None and query.candidates for query in left)


def test_answers_without_calibration_are_in_order_of_the_gap(session: DecisionSession) -> None:
    state = state_of(session.photographs)
    answer = replace(answer_of("t_0.png", 0.0, w_1=0.0, w_0=0.0), new_probability=None)
    found = prepare_desk(circle_embeddings(session.photographs), state, None, answers=[answer])
    assert found.order == "gap"
    assert [one.label for one in desk.query_of(found, "t_0.png").candidates] == ["w_1", "w_0"]


def test_a_query_is_answered_through_decisions_about_others(session: DecisionSession) -> None:
    found = desk_of(state_of(session.photographs))
    rows = [
        ("same", "t_1.png", "t_0.png", "Anna"), ("same", "t_3.png", "t_2.png", "Anna"),
        ("same", "t_5.png", "t_4.png", "Anna"),
    ]  # fmt: skip
    assert desk.reached(found, state_of(session.photographs, *rows)) == {}
    rows += [("same", "t_1.png", "0_0.png", "Ben"), ("new", "t_3.png", "", "Ben")]
    state = state_of(session.photographs, *rows)
    assert desk.reached(found, state) == {"t_0.png": W_0, "t_2.png": Shown("t_3.png", False)}
    assert desk_payloads.counts(found, state, "Anna") == {"open": 9 - 5, "all": 9}
    # who decided about it themselves is counted there
    state = state_of(session.photographs, *rows, ("new", "t_2.png", "", "Ben"))
    assert desk.reached(found, state) == {"t_0.png": W_0}


def test_an_empty_desk_tells_why(session: DecisionSession) -> None:
    assert "name plugins: kitbox look NAME" in Desk().empty
    sides = np.where(session.photographs.sides == "labelled", "index", session.photographs.sides)
    found = desk_of(state_of(replace(session.photographs, sides=sides)))
    assert (len(found), found.empty) == (0, "No labelled photograph is here to compare with.")


def test_each_person_has_an_opinion_and_contradictions_are_found(session: DecisionSession) -> None:
    state = state_of(
        session.photographs,
        ("same", "t_0.png", "0_0.png", "Anna"), ("different", "t_0.png", "1_0.png", "Anna"),
        ("same", "0_1.png", "t_0.png", "Ben"),  # another photograph of the same individual
        ("new", "t_1.png", "", "Anna"), ("unsure", "t_1.png", "", "Ben"),
        ("same", "t_2.png", "2_0.png", "Anna"), ("different", "t_2.png", "2_1.png", "Ben"),
        ("same", "t_3.png", "3_0.png", "Anna"), ("new", "t_3.png", "", "Ben"),
        ("same", "t_4.png", "4_0.png", "Anna"), ("same", "t_4.png", "5_0.png", "Ben"),
        ("poor", "t_5.png", "", "Ben"),
    )  # fmt: skip
    found = desk_of(state_of(session.photographs))
    given = opinions(found, state)
    assert given["t_0.png"]["Anna"].same == {W_0} == given["t_0.png"]["Ben"].same
    assert given["t_0.png"]["Ben"].answer == "same"
    assert desk.disagreements(given) == ["t_2.png", "t_3.png", "t_4.png"]
    settled = [image for image in TESTS if desk.is_settled(given.get(image, {}), "Anna")]
    assert settled == ["t_0.png", "t_1.png", "t_2.png", "t_3.png", "t_4.png", "t_5.png"]
    settled = [image for image in TESTS if desk.is_settled(given.get(image, {}), "Ben")]
    assert settled == ["t_0.png", "t_1.png", "t_3.png", "t_4.png", "t_5.png"]
    assert not desk.is_settled({}, "Anna")


def test_a_change_of_mind_replaces_what_a_person_thought(session: DecisionSession) -> None:
    rows = [("same", "t_0.png", "0_0.png", "Anna"), ("different", "t_0.png", "0_0.png", "Anna")]
    found = desk_of(state_of(session.photographs))
    one = opinions(found, state_of(session.photographs, *rows))["t_0.png"]["Anna"]
    assert (one.answer, one.same, one.different) == ("", set(), {W_0})
    rows += [("new", "t_0.png", "", "Anna"), ("same", "t_0.png", "0_1.png", "Anna")]
    one = opinions(found, state_of(session.photographs, *rows))["t_0.png"]["Anna"]
    assert (one.answer, one.same, one.different, one.new) == ("same", {W_0}, set(), False)


def about(image: str, **shown: str) -> tuple[DeskQuery, *tuple[DeskCandidate, ...]]:
    """Return a query and its candidates, by the names of their photographs."""
    found = [DeskCandidate(label, tuple(names.split()), 0.9) for label, names in shown.items()]
    return DeskQuery(image, tuple(found)), *found


def test_an_answer_ends_an_earlier_one_that_it_contradicts(session: DecisionSession) -> None:
    query, w_0, w_1 = about("t_0.png", w_0="0_1.png 0_2.png", w_1="1_0.png")
    linked = state_of(
        session.photographs,
        ("same", "t_0.png", "0_0.png", "Anna"), ("same", "t_0.png", "t_1.png", "Anna"),
    )  # fmt: skip
    assert answer_rows("same", query, w_1, linked) == [
        Decision("different", "t_0.png", "0_0.png"), Decision("same", "t_0.png", "1_0.png")
    ]  # fmt: skip
    assert answer_rows("same", query, w_0, linked) == [Decision("same", "t_0.png", "0_1.png")]
    assert answer_rows("different", query, w_0, linked) == [
        Decision("different", "t_0.png", "0_0.png"), Decision("different", "t_0.png", "0_1.png")
    ]  # fmt: skip
    assert answer_rows("new", query, None, linked) == [
        Decision("different", "t_0.png", "0_0.png"), Decision("new", "t_0.png")
    ]  # fmt: skip
    assert answer_rows("unsure", query, w_0, linked) == [Decision("unsure", "t_0.png")]
    with pytest.raises(KitboxError, match="no answer 'drop'; there are same, different, new, uns"):
        answer_rows("drop", query, w_0, linked)


def test_an_answer_names_a_photograph_that_is_in_use(session: DecisionSession) -> None:
    query, w_0, w_1 = about("t_0.png", w_0="0_2.png 0_1.png 0_3.png 0_0.png", w_1="1_0.png")
    rows = [("drop", "0_2.png", "", ""), ("wrong", "0_1.png", "", ""),
            ("label", "0_3.png", "w_4", ""), ("drop", "1_0.png", "", "")]  # fmt: skip
    state = state_of(session.photographs, *rows)
    for answer in ("same", "different"):
        assert answer_rows(answer, query, w_0, state) == [Decision(answer, "t_0.png", "0_0.png")]
        with pytest.raises(KitboxError, match="no photograph of w_1 is in use any more; start kit"):
            answer_rows(answer, query, w_1, state)
    # after a merge the label is another one
    merged = state_of(session.photographs, ("merge", "w_0", "w_5", ""))
    assert answer_rows("same", query, w_0, merged) == [Decision("same", "t_0.png", "0_2.png")]


def test_answers_that_a_label_contradicts_are_refused_beforehand(session: DecisionSession) -> None:
    query, w_0, w_1 = about("0_0.png", w_0="0_2.png", w_1="1_0.png")
    state = session.state
    already = "it is w_0 already; Enter merges or relabels"
    assert desk.refusals(query, w_1, state) == {"new": already, "same": already}
    assert desk.refusals(query, w_0, state) == {"new": already, "different": already}
    with pytest.raises(KitboxError, match=f"^{already}$"):
        answer_rows("same", query, w_1, state)
    # those that agree with it, and those of an unknown individual, are not
    assert answer_rows("same", query, w_0, state) == [Decision("same", "0_0.png", "0_2.png")]
    assert answer_rows("different", query, w_1, state)[0].kind == "different"
    unknown, w_0 = about("unknown.png", w_0="0_2.png")
    assert desk.refusals(unknown, w_0, state) == {}
    dropped = state_of(session.photographs, ("drop", "unknown.png", "", ""))
    assert set(desk.refusals(unknown, w_0, dropped)) == {"same", "different", "new"}
    assert set(desk.refusals(unknown, None, state)) == {"same", "different"}


def test_two_people_may_answer_differently_one_after_the_other(session: DecisionSession) -> None:
    workspace = Workspace(session.path.parent)
    query, w_0, w_1 = about("t_0.png", w_0="0_0.png", w_1="1_0.png")
    for name, shown in (("Anna", w_0), ("Ben", w_1)):
        person = DecisionSession(workspace, session.photographs, name)
        person.decide_by(lambda state, shown=shown: answer_rows("same", query, shown, state))
    rows = decision_file.load(session.path).rows
    assert [(row.kind, row.value, row.by) for row in rows] == [
        ("same", "0_0.png", "Anna"), ("different", "0_0.png", "Ben"), ("same", "1_0.png", "Ben")
    ]  # fmt: skip
    given = opinions(desk_of(session.state), session.state)
    assert desk.disagreements(given) == ["t_0.png"]


def test_images_that_no_list_names_are_counted(session: DecisionSession) -> None:
    state = state_of(
        session.photographs, ("same", "t_0.png", "gone.png", "Anna"), ("new", "lost.png", "", ""),
        ("drop", "away.png", "", ""),
    )  # fmt: skip
    assert desk.gone(state) == ["gone.png", "lost.png"]


def test_a_label_that_is_written_as_an_image_id_is_a_label(session: DecisionSession) -> None:
    state = state_of(
        session.photographs,
        ("label", "0_0.png", "0_0.png", ""), ("same", "t_0.png", "0_0.png", "Anna"),
    )  # fmt: skip
    assert desk.individual("0_0.png", state) == Shown("0_0.png", has_label=True)
    assert desk.individual("t_0.png", state) == Shown("t_0.png", has_label=False)
    found = desk_of(state)
    query = desk.query_of(found, "t_0.png")
    assert "0_0.png" in {one.label for query in found.queries for one in query.candidates}
    assert answer_rows("new", query, None, state)[0] == Decision("different", "t_0.png", "0_0.png")


def test_new_individuals_that_were_found_are_candidates_of_later_queries(
    session: DecisionSession,
) -> None:
    workspace, photographs = Workspace(session.path.parent), session.photographs
    found = desk_of(session.state)
    anna = DecisionSession(workspace, photographs, "Anna")

    def candidates(image: str) -> DeskQuery:
        return desk.with_new(found, desk.query_of(found, image), anna.state)

    def answer(kind: str, image: str, shown: str = "") -> None:
        query = candidates(image)
        candidate = desk.candidate_of(query, shown)
        anna.decide_by(lambda state: answer_rows(kind, query, candidate, state))

    assert not any(one.is_new for one in candidates("unknown.png").candidates)
    answer("new", "t_1.png")
    answer("new", "t_4.png")
    # likelier than the first known individual: at 25 degrees, w_0 at 3 and t_1 at 25.6
    first = candidates("unknown.png").candidates[0]
    assert (first.is_new, first.label, first.images) == (True, "t_1.png", ("t_1.png",))
    assert first.similarity == pytest.approx(cos(radians(0.6)))
    last = candidates("t_3.png").candidates[-2:]
    assert [(one.is_new, one.label) for one in last] == [(True, "t_4.png"), (True, "t_1.png")]
    assert [one.label for one in candidates("t_1.png").candidates if one.is_new] == ["t_4.png"]
    answer("same", "unknown.png", "t_1.png")
    answer("different", "t_5.png", "t_4.png")
    answer("same", "t_5.png", "unknown.png")
    state = anna.state
    assert state.decisions.new == {"t_1.png", "t_4.png"}
    given = opinions(found, state)
    assert given["t_5.png"]["Anna"].same == {Shown("t_1.png", has_label=False)}
    assert given["t_5.png"]["Anna"].different == {Shown("t_4.png", has_label=False)}
    assert desk_payloads.overview(found, state, "Anna")["results"] == {
        "same": 0, "new": 4, "unsure": 0, "poor": 0, "individuals": 0
    }  # fmt: skip
    added = confirmations.decided(state.decisions, ())
    groups: dict[str, list[str]] = {}
    for one in added.rows:
        groups.setdefault(one.group, []).append(one.image)
    assert sorted(map(sorted, groups.values())) == [
        ["t_1.png", "t_5.png", "unknown.png"], ["t_4.png"]
    ]  # fmt: skip
    # a later answer about one of them alone: the others stay one new individual, or follow
    answer("new", "unknown.png")
    assert anna.state.decisions.new == {"t_1.png", "t_4.png", "unknown.png"}
    answer("same", "t_1.png", "1_0.png")
    state = anna.state
    assert state.links.label_of[state.links.individual_of["t_1.png"]] == "w_1"
    answer("new", "t_6.png")
    answer("same", "unknown.png", "t_6.png")
    answer("same", "unknown.png", "2_0.png")  # the last answer counts, and is not about t_6
    state = anna.state
    assert state.links.label_of[state.links.individual_of["unknown.png"]] == "w_2"
    assert state.links.individual_of["t_6.png"] in state.links.new


def test_a_new_individual_leads_where_the_query_is_likelier_new_than_known(
    session: DecisionSession,
) -> None:
    photographs = session.photographs
    state = state_of(photographs, ("new", "t_1.png", "", "Anna"))
    answers = [answer_of("t_0.png", 0.5, w_0=0.4), answer_of("t_2.png", 0.3, w_2=0.4)]
    found = prepare_desk(circle_embeddings(photographs), state, None, answers=answers)
    for image, labels in (("t_0.png", ["t_1.png", "w_0"]), ("t_2.png", ["w_2", "t_1.png"])):
        query = desk.with_new(found, desk.query_of(found, image), state)
        assert [one.label for one in query.candidates] == labels
    gone = query.candidates[-1]
    known = state_of(photographs, ("same", "t_1.png", "0_0.png", "Anna"))
    with pytest.raises(KitboxError, match=r"t_1.png shows no new individual any more; reload"):
        answer_rows("same", query, gone, known)


def test_of_two_animals_in_a_photograph_neither_is_a_candidate_of_the_other(
    session: DecisionSession,
) -> None:
    photographs = session.photographs
    state = state_of(photographs, ("new", "t_1.png", "", "Anna"))
    names = {"t_0.png": "t_1.png#2"}
    ids = [names.get(image, image) for image in photographs.images.image_ids.tolist()]
    both = replace(photographs, images=replace(photographs.images, image_ids=strings(ids)))
    found = replace(desk_of(state), embeddings=circle_embeddings(photographs))
    assert found.embeddings is not None
    ids = [names.get(image, image) for image in found.embeddings.image_ids.tolist()]
    found = replace(found, embeddings=Embeddings(strings(ids), found.embeddings.vectors))
    query = desk.with_new(found, DeskQuery("t_1.png#2", ()), state_of(both, *ROWS_NEW))
    assert query.candidates == ()


ROWS_NEW = (("new", "t_1.png", "", "Anna"),)
