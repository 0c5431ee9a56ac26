import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.records import Embeddings, Ranking, strings
from kitbox.retrieval import answers
from kitbox.retrieval.search import nearest
from tests.circle import at_angles, cosine, image_set, placed, ranking


def distinct(
    query: Embeddings, gallery: Embeddings, label_of: Mapping[str, str], k: int
) -> list[list[tuple[str, float]]]:
    """The slow oracle: walk over all neighbours and take each label once."""
    rows = []
    for own, vector in zip(query.image_ids.tolist(), query.vectors, strict=True):
        best: dict[str, float] = {}
        for name, other in zip(gallery.image_ids.tolist(), gallery.vectors, strict=True):
            if name != own and label_of.get(name, "") not in ("", "new_whale"):
                label = label_of[name]
                best[label] = max(best.get(label, -2.0), float(vector @ other))
        rows.append(sorted(best.items(), key=lambda item: -item[1])[:k])
    return rows


def rows(found: Ranking) -> list[list[str]]:
    return [[str(answer) for answer in row if answer] for row in found.answers]


def test_image_answers_are_the_neighbours() -> None:
    neighbours = nearest(at_angles(10, prefix="q"), at_angles(0, 90), 3)
    found = answers.images(neighbours)
    assert found.answers.tolist() == [["0", "90", ""]]
    assert found.similarity.tolist() == neighbours.similarity.tolist()


def test_each_label_answers_once_at_its_nearest_image() -> None:
    known = image_set({"0": "Ahab", "5": "Ahab", "30": "Boo", "60": "Ahab", "90": "Cleo"})
    found = answers.labels(at_angles(4, prefix="q"), at_angles(0, 5, 30, 60, 90), known, 3, None)
    assert found.answers.tolist() == [["Ahab", "Boo", "Cleo"]]
    np.testing.assert_allclose(
        found.similarity, [[cosine(4, 5), cosine(4, 30), cosine(4, 90)]], atol=1e-6
    )


def test_images_of_nobody_answer_nothing() -> None:
    known = image_set({"0": "new_whale", "30": "Boo"})
    query, gallery = at_angles(1, prefix="q"), at_angles(0, 30, 20)  # 20 has no label
    assert rows(answers.labels(query, gallery, known, 5, "new_whale")) == [["Boo"]]
    assert rows(answers.labels(query, gallery, known, 5, None)) == [["new_whale", "Boo"]]


def test_images_with_an_empty_label_answer_nothing() -> None:
    known = image_set({"0": "", "30": "Boo"})
    found = answers.labels(at_angles(1, prefix="q"), at_angles(0, 30), known, 5, None)
    assert rows(found) == [["Boo"]]


def test_labels_of_images_outside_the_gallery_answer_nothing() -> None:
    known = image_set({"0": "Ahab", "30": "Boo"})
    found = answers.labels(at_angles(1, prefix="q"), at_angles(30), known, 5, None)
    assert rows(found) == [["Boo"]]


@pytest.mark.parametrize("crowd", [63, 64, 65, 127, 128, 129, 300])
def test_distinct_labels_are_found_behind_a_crowd_of_one(crowd: int) -> None:
    # one label fills the first places; four others stand behind it
    angle_of = {f"a{i:03}": i / 100 for i in range(crowd)} | {f"z{i}": 90 + i for i in range(4)}
    label_of = {name: name[0] if name[0] == "a" else name for name in angle_of}
    found = answers.labels(placed({"q": 0}), placed(angle_of), image_set(label_of), 5, None)
    assert rows(found) == [["a", "z0", "z1", "z2", "z3"]]


def test_a_crowd_before_one_query_does_not_change_another() -> None:
    angle_of = {f"a{i:03}": i / 100 for i in range(100)} | {f"z{i}": 90 + i for i in range(4)}
    label_of = {name: name[0] if name[0] == "a" else name for name in angle_of}
    found = answers.labels(
        placed({"q": 0, "r": 80}), placed(angle_of), image_set(label_of), 3, None
    )
    assert rows(found) == [["a", "z0", "z1"], ["z0", "z1", "z2"]]


# Gallery at whole degrees, queries 0.3 beside them: no two labels are equally near.
@given(
    st.dictionaries(
        st.integers(0, 359), st.sampled_from(["A", "B", "C", "D", "new_whale"]), max_size=100
    ),
    st.lists(st.integers(0, 359), min_size=1, max_size=25, unique=True),
    st.integers(1, 6),
)
def test_labels_equal_those_of_walking_over_all_neighbours(
    label_at: dict[int, str], angles: list[int], k: int
) -> None:
    label_of = {str(angle): label for angle, label in label_at.items()} | {"42.5": "E"}
    gallery = at_angles(*map(float, label_of))
    query = at_angles(*(angle + 0.3 for angle in angles))
    found = answers.labels(query, gallery, image_set(label_of), k, "new_whale")
    wanted = distinct(query, gallery, label_of, k)
    assert rows(found) == [[label for label, _ in row] for row in wanted]
    for given_row, wanted_row in zip(found.similarity, wanted, strict=True):
        padded = [value for _, value in wanted_row] + [-math.inf] * (k - len(wanted_row))
        np.testing.assert_allclose(given_row, padded, atol=1e-6)


def test_a_query_in_the_gallery_does_not_answer_itself() -> None:
    known = image_set({"0": "Ahab", "20": "Boo", "60": "Ahab"})
    everything = at_angles(0, 20, 60)
    found = answers.labels(everything, everything, known, 2, None)
    assert rows(found) == [["Boo", "Ahab"], ["Ahab"], ["Boo", "Ahab"]]


def test_equally_near_labels_come_by_the_id_of_their_image() -> None:
    known = image_set({"b": "Ahab", "a": "Zoe", "c": "Boo"})
    for order in (["a", "b", "c"], ["c", "b", "a"]):
        gallery = placed(dict.fromkeys(order, 30.0))
        assert rows(answers.labels(placed({"q": 0}), gallery, known, 3, None)) == [
            ["Zoe", "Ahab", "Boo"]
        ]


@pytest.mark.parametrize("gallery", [10, 100])
def test_no_query_has_no_answers(gallery: int) -> None:
    known = {str(angle): f"w{angle % 3}" for angle in range(gallery)}
    found = answers.labels(at_angles(), at_angles(*range(gallery)), image_set(known), 5, None)
    assert found.answers.shape == (0, 5)


ROW = {"q": [("Ahab", 0.9), ("Boo", 0.6), ("Cleo", 0.3)]}


@pytest.mark.parametrize(
    ("threshold", "wanted", "similarity"),
    [
        (0.95, ["new_whale", "Ahab", "Boo"], [0.95, 0.9, 0.6]),
        (0.7, ["Ahab", "new_whale", "Boo"], [0.9, 0.7, 0.6]),
        (0.6, ["Ahab", "Boo", "new_whale"], [0.9, 0.6, 0.6]),
        (0.5, ["Ahab", "Boo", "new_whale"], [0.9, 0.6, 0.5]),
        (0.3, ["Ahab", "Boo", "Cleo"], [0.9, 0.6, 0.3]),
        (-1.0, ["Ahab", "Boo", "Cleo"], [0.9, 0.6, 0.3]),
    ],
)
def test_the_unknown_stands_before_the_first_answer_below_the_threshold(
    threshold: float, wanted: list[str], similarity: list[float]
) -> None:
    # 0.6 and 0.3 as float32, which is what similarities are
    found = answers.with_unknown(ranking(ROW), "new_whale", float(np.float32(threshold)))
    assert found.answers.tolist() == [wanted]
    np.testing.assert_allclose(found.similarity, [similarity], atol=1e-7)
    assert found.similarity.dtype == np.float32


def test_where_answers_end_the_unknown_is_the_last() -> None:
    rows_ = {"q": [("A", 0.9), ("B", 0.6), ("C", 0.3)], "r": [("A", 0.9)]}
    found = answers.with_unknown(ranking(rows_), "new_whale", 0.1)
    assert found.answers.tolist() == [["A", "B", "C"], ["A", "new_whale", ""]]
    assert found.similarity[1].tolist() == pytest.approx([0.9, 0.1, -math.inf])


def place_unknown(row: Sequence[tuple[str, float]], threshold: float) -> list[str]:
    above = [answer for answer, similarity in row if similarity >= threshold]
    below = [answer for answer, similarity in row if similarity < threshold]
    return [*above, "new_whale", *below][: len(row)]


@given(
    st.lists(st.lists(st.integers(-50, 50), min_size=4, max_size=4), min_size=1, max_size=10),
    st.integers(-60, 60),
)
def test_the_unknown_is_placed_as_by_hand(values: list[list[int]], threshold: int) -> None:
    given_rows = {
        f"q{i}": [
            (f"w{j}", value / 64) for j, value in enumerate(sorted(row, reverse=True))
        ]  # 64ths are exact in float32
        for i, row in enumerate(values)
    }
    found = answers.with_unknown(ranking(given_rows), "new_whale", threshold / 64)
    assert found.answers.tolist() == [
        place_unknown(row, threshold / 64) for row in given_rows.values()
    ]


def test_a_long_name_of_the_unknown_is_kept_whole() -> None:
    short = Ranking(strings(["q"]), np.array([["A"]]), np.array([[0.5]], np.float32))
    assert answers.with_unknown(short, "new_individual", 0.9).answers.tolist() == [
        ["new_individual"]
    ]
