"""Strangers: the nearest of the own and of another individual, and pairs beyond what they reach."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.dataset import label_errors
from kitbox.records import Embeddings, strings
from tests.circle import at_angles, cosine, placed

NAMES = st.sampled_from(["Ahab", "Boo", "Cleo", "new_whale", ""])


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Embeddings, np.ndarray]:
    """Draw points in four dimensions, and labels of some of them."""
    labels = draw(st.lists(NAMES, max_size=25))
    vectors = np.random.default_rng(draw(st.integers(0, 2**32))).normal(size=(len(labels), 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = strings([str(i) for i in range(len(labels))])
    return Embeddings(ids, vectors.astype(np.float32)), strings(labels)


@given(crowds(), st.integers(1, 7), st.integers(1, 3))
def test_the_nearest_are_those_that_a_search_of_all_pairs_finds(
    crowd: tuple[Embeddings, np.ndarray], rows_at_a_time: int, several: int
) -> None:
    embeddings, labels = crowd
    group = [str(row % several) for row in range(len(labels))]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(label_errors, "_ROWS", rows_at_a_time)
        found = label_errors.nearest(embeddings, labels, "new_whale", strings(group))
    cosines = embeddings.vectors @ embeddings.vectors.T
    known = [row for row, label in enumerate(labels) if label not in ("", "new_whale")]
    assert sorted(found.rows.tolist()) == known
    for at, row in enumerate(found.rows.tolist()):
        own = [cosines[row, j] for j in known if labels[j] == labels[row] and j != row]
        there = [j for j in known if labels[j] != labels[row] and group[j] == group[row]]
        other = [cosines[row, j] for j in there]
        assert found.own[at] == pytest.approx(max(own, default=-np.inf), abs=1e-6)
        assert found.other[at] == pytest.approx(max(other, default=-np.inf), abs=1e-6)
        assert (found.place[at] >= 0) == bool(other)
        if other:
            best = int(found.rows[found.place[at]])
            assert best in there
            assert cosines[row, best] == pytest.approx(max(other), abs=1e-6)


@given(crowds(), st.floats(-1, 1), st.integers(1, 7))
def test_pairs_above_a_limit_are_found_and_nothing_else(
    crowd: tuple[Embeddings, np.ndarray], limit: float, rows_at_a_time: int
) -> None:
    embeddings, _ = crowd
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(label_errors, "_ROWS", rows_at_a_time)
        found = label_errors.similar_pairs(embeddings, limit)
    cosines = embeddings.vectors @ embeddings.vectors.T
    pairs = [(i, j) for i in range(len(cosines)) for j in range(i + 1, len(cosines))]
    sure = [pair for pair in pairs if abs(cosines[pair] - limit) > 1e-5]
    assert {tuple(p) for p in found.tolist()} & {*sure} == {p for p in sure if cosines[p] > limit}


def test_pairs_of_two_groups_are_not_compared() -> None:
    groups = strings(["newt", "turtle", "newt", "turtle"])
    found = label_errors.similar_pairs(at_angles(0, 1, 2, 3), cosine(0, 10), groups)
    assert found.tolist() == [[0, 2], [1, 3]]


def test_of_a_burst_each_image_has_so_many_neighbours_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(label_errors, "_MOST", 2)
    found = label_errors.similar_pairs(at_angles(0, 1, 2, 3, 4, 90), cosine(0, 10))
    assert found.tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3], [2, 4], [3, 4]]


def test_the_level_is_what_strangers_usually_reach() -> None:
    embeddings = at_angles(0, 5, 90, 95, 200)
    labels = strings(["A", "A", "B", "B", "C"])
    found = label_errors.nearest(embeddings, labels, None)
    nearest = [cosine(0, 90), cosine(5, 90), cosine(90, 5), cosine(95, 5), cosine(200, 95)]
    assert found.level == pytest.approx(np.median(nearest), abs=1e-6)


def test_the_limit_is_what_one_stranger_in_all_would_reach() -> None:
    generator = np.random.default_rng(0)
    similarity = generator.normal(0.5, 0.1, 2000).astype(np.float32)
    rows = np.arange(2000)
    found = label_errors.NearestImages(rows, similarity, similarity, rows)
    expected = 0.5 + 0.1 * NormalDist().inv_cdf(1 - 1 / 2000)
    assert found.limit == pytest.approx(expected, abs=0.02)
    wrong = similarity.copy()
    wrong[:60] = 0.99  # three in a hundred bear a wrong label
    assert label_errors.NearestImages(rows, wrong, wrong, rows).limit == pytest.approx(
        expected, abs=0.05
    )


@pytest.mark.parametrize("labels", [["A", "A"], ["", ""], ["A", ""]])
def test_without_strangers_nothing_is_beyond_them(labels: list[str]) -> None:
    found = label_errors.nearest(placed({"a": 0, "b": 1}), strings(labels), None)
    assert (found.level, found.limit) == (1.0, 1.0)
