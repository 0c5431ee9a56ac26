"""Cases: copies, label conflicts and suspects are found, and settled by what is decided of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kitbox.competition.decisions import Decision
from kitbox.dataset import label_errors
from kitbox.look import cases, photographs
from kitbox.look.cases import Case, Table, lay
from kitbox.records import Embeddings, strings
from tests.look.tables import EVIL, NASTY


def found(table: Table) -> list[Case]:
    return cases.duplicate_cases(table.desk.standing, 6)


def of(table: Table, *images: str) -> Case:
    [case] = [case for case in table.duplicates if set(images) <= set(case.images)]
    return case


def test_a_picture_under_two_labels_comes_before_a_copy_under_one(table: Table) -> None:
    kinds = [(case.kind, set(case.images), set(case.labels)) for case in table.duplicates]
    conflicts = [
        ("copies", {"1_0.png", "conflict.png"}, {"w_1", "w_2"}),
        ("copies", {"5_3.png", NASTY}, {"w_5", EVIL}),
    ]
    assert sorted(kinds[:2], key=str) == sorted(conflicts, key=str)
    assert ("copies", {"0_0.png", "copy.png"}, {"w_0"}) in kinds[2:]


SETTLED = {
    "one of the two dropped": [Decision("drop", "conflict.png")],
    "one label not trusted": [Decision("wrong", "1_0.png")],
    "labels merged": [Decision("merge", "w_2", "w_1")],
    "labels merged in another": [Decision("merge", "w_2", "w_4"), Decision("merge", "w_1", "w_4")],
    "another label": [Decision("label", "conflict.png", "w_1")],
    "found fine": [Decision("fine", "conflict.png", "1_0.png")],
}
OPEN = {
    "nothing decided": [],
    "merged with others": [Decision("merge", "w_2", "w_4")],
    "something else fine": [Decision("fine", "conflict.png", "0_0.png")],
    "kept in training": [Decision("train", "conflict.png")],
    "a box": [Decision("box", "conflict.png", "1 1 30 30")],
}


@pytest.mark.parametrize("decided", SETTLED.values(), ids=SETTLED)
def test_a_decided_conflict_is_settled_and_no_conflict_any_more(
    table: Table, decided: list[Decision]
) -> None:
    table.desk.decide(decided)
    assert of(table, "1_0.png", "conflict.png").is_settled(table.desk.standing)
    # at the next start a picture that is there twice under one label may be listed as that
    left = [case for case in found(table) if "conflict.png" in case.images]
    assert all(len(case.labels) == 1 for case in left)
    for _ in decided:
        table.desk.take_back(table.desk.standing.decided.rows[-1])
    assert not of(table, "1_0.png", "conflict.png").is_settled(table.desk.standing)


@pytest.mark.parametrize("decided", OPEN.values(), ids=OPEN)
def test_other_decisions_leave_a_conflict_open(table: Table, decided: list[Decision]) -> None:
    if decided:
        table.desk.decide(decided)
    assert not of(table, "1_0.png", "conflict.png").is_settled(table.desk.standing)
    assert any("conflict.png" in case.images for case in found(table))


def test_a_copy_under_one_label_is_settled_when_one_is_left_or_kept_in_training(
    table: Table,
) -> None:
    case = of(table, "0_0.png", "copy.png")
    for decision in (Decision("drop", "0_0.png"), Decision("train", "copy.png")):
        table.desk.decide([decision])
        assert case.is_settled(table.desk.standing)
        table.desk.undo()
    assert not case.is_settled(table.desk.standing)


def test_what_is_fine_is_said_of_every_link_of_a_group(table: Table) -> None:
    case = of(table, "0_0.png", "copy.png")
    table.desk.decide([Decision("fine", one, other) for one, other in case.pairs])
    assert case.is_settled(table.desk.standing)
    assert case.images not in [other.images for other in found(table)]


def on_a_circle(table: Table, angles: dict[str, float]) -> Embeddings:
    """Return embeddings at these angles in degrees; all other images are far from them."""
    ids = table.photographs.readable.tolist()
    turn = np.radians([angles.get(i, 100 + 0.001 * n) for n, i in enumerate(ids)])
    vectors = np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)
    return Embeddings(strings(ids), vectors)


def suspects_of(table: Table, angles: dict[str, float]) -> list[Case]:
    embeddings, standing = on_a_circle(table, angles), table.desk.standing
    return cases.suspect_cases(embeddings, cases.compared(embeddings, standing), standing)


def test_images_are_compared_once_for_suspects_and_duplicates(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare, seen = label_errors.nearest, []

    def counted(*given: Any) -> label_errors.NearestImages:
        seen.append(given)
        return compare(*given)

    monkeypatch.setattr(label_errors, "nearest", counted)
    lay(table.name, table.desk, 6, ("tiny",), on_a_circle(table, {"0_1.png": 0.0}))
    assert len(seen) == 1


def test_two_labels_that_look_like_one_are_a_suspect_with_its_similarity(table: Table) -> None:
    near = {"0_1.png": 0.0, "3_1.png": 1.0, "0_0.png": 40.0, "3_0.png": -40.0}
    suspects = suspects_of(table, near)
    [case] = [case for case in suspects if case.kind == "mutual" and "0_1.png" in case.images]
    assert set(case.labels) == {"w_0", "w_3"}
    assert case.pairs == (case.images,)
    assert case.similarity == pytest.approx(np.cos(np.radians(1)), abs=1e-6)
    table.desk.decide([Decision("fine", *case.images)])
    assert case.is_settled(table.desk.standing)
    again = suspects_of(table, near)
    assert case.images not in [other.images for other in again]


def test_images_that_have_left_are_no_suspects(table: Table) -> None:
    near = {"0_1.png": 0.0, "3_1.png": 1.0, "0_0.png": 40.0, "3_0.png": -40.0}
    table.desk.decide([Decision("drop", "0_1.png")])
    suspects = suspects_of(table, near)
    assert not any("0_1.png" in case.images for case in suspects)


def test_a_label_given_earlier_hides_no_new_suspect(table: Table) -> None:
    near = {"0_1.png": 0.0, "3_1.png": 1.0, "0_0.png": 40.0, "3_0.png": -40.0, "4_0.png": 80.0}
    table.desk.decide([Decision("label", "0_1.png", "w_4")])
    suspects = suspects_of(table, near)
    [case] = [case for case in suspects if set(case.images) == {"0_1.png", "3_1.png"}]
    assert set(case.labels) == {"w_4", "w_3"}
    table.desk.decide([Decision("label", "0_1.png", "w_new")])
    assert case.is_settled(table.desk.standing)


def test_of_three_pictures_two_labels_are_left_to_decide(table: Table) -> None:
    images = ("1_0.png", "2_0.png", "2_1.png")
    case = Case("copies", images, ("w_1", "w_2"), None, (images[:2], images[1:]))
    table.desk.decide([Decision("drop", "2_0.png")])
    assert not case.is_settled(table.desk.standing)
    table.desk.decide([Decision("label", "2_1.png", "w_1")])
    assert case.is_settled(table.desk.standing)


def test_what_has_left_is_not_shown_again_with_what_is_left(table: Table) -> None:
    table.desk.decide([Decision("drop", "conflict.png")])
    assert not any("conflict.png" in case.images for case in found(table))
    assert any({"0_0.png", "copy.png"} == set(case.images) for case in found(table))


def test_one_label_in_two_groups_is_settled_by_its_label_or_another_one(table: Table) -> None:
    images = ("0_0.png", "0_1.png", "0_2.png", "0_3.png")
    case = Case("split", images, ("w_0",), 0.2, (), 2)
    standing = table.desk.standing
    assert not case.is_settled(standing)
    for decided in (
        [Decision("fine", "w_0")],
        [Decision("label", "0_2.png", "w_new"), Decision("label", "0_3.png", "w_new")],
        [Decision("wrong", "0_3.png")],
    ):
        table.desk.decide(decided)
        assert case.is_settled(table.desk.standing)
        table.desk.undo()


def test_pictures_that_a_network_finds_alike_are_duplicates_too(table: Table) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(len(table.photographs.readable), 64))
    ids = table.photographs.readable.tolist()
    vectors[ids.index("t_3.png")] = vectors[ids.index("4_2.png")] + 0.01
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embeddings = Embeddings(strings(ids), vectors.astype(np.float32))
    limit = cases.compared(embeddings, table.desk.standing).limit
    groups = cases.duplicate_cases(table.desk.standing, 6, embeddings, limit)
    [case] = [case for case in groups if "t_3.png" in case.images]
    assert case.kind == "neighbours"
    assert {"4_2.png", "t_3.png"} <= set(case.images)
    assert ("4_2.png", "t_3.png") in case.pairs


def test_equal_pictures_have_equal_hashes_and_bits_count(table: Table) -> None:
    embeddings = photographs.by_hash(table.photographs)
    assert "broken.png" not in embeddings.image_ids
    (first, similarity), *_ = photographs.nearest(embeddings, "copy.png", 3)
    assert (first, similarity) == ("0_0.png", pytest.approx(1))
    hashes = table.photographs.signatures.hashes
    rows = [table.photographs.rows[i] for i in ("0_0.png", "3_0.png")]
    bits = int(np.unpackbits(hashes[rows[0]] ^ hashes[rows[1]]).sum())
    found = photographs.similarity(embeddings, ("0_0.png", "3_0.png"))
    assert found == pytest.approx(1 - bits / 32, abs=1e-6)
    assert photographs.nearest(embeddings, "broken.png", 3) == []
    assert photographs.similarity(embeddings, ("0_0.png", "broken.png")) is None


def test_a_pair_is_what_a_person_puts_side_by_side(table: Table) -> None:
    case = cases.pair(["0_0.png", "1_0.png"], table.desk.standing)
    assert case == replace(case, kind="pair", labels=("w_0", "w_1"), similarity=None)
    assert case.pairs == (("0_0.png", "1_0.png"),)
