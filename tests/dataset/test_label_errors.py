"""Label errors: similar images with two labels, and labels whose images fall into two parts."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.dataset import label_errors
from kitbox.dataset.label_errors import LabelSuspect
from kitbox.records import Embeddings, strings
from tests.circle import at_angles, cosine, placed


def found(angle_of: dict[str, tuple[str, float]], **options: object) -> list[LabelSuspect]:
    """Return the suspects among images given as name → (label, angle)."""
    embeddings = placed({name: angle for name, (_, angle) in angle_of.items()})
    labels = strings([label for label, _ in angle_of.values()])
    return label_errors.find_suspects(embeddings, labels, "new_whale", **options)  # type: ignore[arg-type]


# Three whales with two photographs each; one of Boo is next to one of Ahab.
MISTAKEN = {
    "a1": ("Ahab", 0.0),
    "a2": ("Ahab", 20.0),
    "b1": ("Boo", 1.0),
    "b2": ("Boo", 120.0),
    "c1": ("Cleo", 200.0),
    "c2": ("Cleo", 205.0),
}


def test_mutual_nearest_images_of_two_labels_are_suspect_the_odd_one_first() -> None:
    [only] = found(MISTAKEN)
    assert (only.kind, only.images, only.labels) == ("mutual", ("b1", "a1"), ("Boo", "Ahab"))
    assert only.similarity == pytest.approx(cosine(0, 1), abs=1e-6)
    assert only.evidence == pytest.approx(cosine(0, 1) - cosine(0, 20), abs=1e-6)


def test_suspects_that_are_marked_as_fine_are_left_out() -> None:
    assert found(MISTAKEN, fine={frozenset({"a1", "b1"})}) == []
    assert len(found(MISTAKEN, fine={frozenset({"a1", "b2"}), frozenset({"Boo"})})) == 1


def test_images_of_unknown_individuals_are_no_suspects() -> None:
    unknown = MISTAKEN | {"b1": ("new_whale", 1.0), "b2": ("", 120.0)}
    assert found(unknown) == []


def test_an_image_nearest_to_its_own_individual_is_no_suspect() -> None:
    assert found(MISTAKEN | {"b1": ("Boo", 119.0)}) == []


def test_suspects_with_most_evidence_come_first() -> None:
    # d is next to c2 of Cleo, who has c1 nearly as near
    first, second = found(MISTAKEN | {"d": ("Dot", 203.0)})
    assert [first.images, second.images] == [("b1", "a1"), ("d", "c2")]
    assert first.evidence > second.evidence


def test_images_of_different_groups_are_no_suspects() -> None:
    apart = strings(["turtle", "turtle", "newt", "newt", "newt", "newt"])
    assert found(MISTAKEN, groups=apart) == []
    assert found(MISTAKEN, groups=strings(["turtle"] * 6)) == found(MISTAKEN)


def test_a_label_of_two_groups_is_examined_in_each() -> None:
    sides = {"s1": ("Sol", 0.0), "s2": ("Sol", 1.0), "s3": ("Sol", 80.0), "s4": ("Sol", 81.0)}
    assert [suspect.kind for suspect in found(sides)] == ["split"]
    assert found(sides, groups=strings(["newt", "newt", "turtle", "turtle"])) == []


SPLIT = {
    **{f"a{i}": ("Ahab", float(angle)) for i, angle in enumerate((0, 4, 90, 2, 94))},
    **{f"b{i}": ("Boo", float(angle)) for i, angle in enumerate((180, 184))},
}


def test_a_label_of_two_distant_parts_is_suspect_the_larger_part_first() -> None:
    [only] = found(SPLIT)
    assert (only.kind, only.labels, only.first_count) == ("split", ("Ahab",), 3)
    assert only.images == ("a0", "a1", "a3", "a2", "a4")
    across = [cosine(a, b) for a in (0, 4, 2) for b in (90, 94)]
    assert only.similarity == pytest.approx(np.mean(across), abs=1e-6)
    # the looser side is a0 to a3: its last join is the mean of its ends with the middle pair
    joins = (cosine(0, 4) + cosine(2, 4)) / 2, (cosine(0, 2) + cosine(0, 4)) / 2, cosine(90, 94)
    assert min(joins) - max(across) - 1e-6 <= only.evidence <= max(joins) - max(across) + 1e-6
    assert only.key == {"Ahab"}
    assert found(SPLIT, fine={frozenset({"Ahab"})}) == []


def test_one_odd_image_is_no_part() -> None:
    assert found(SPLIT | {"a4": ("Ahab", 3.0)}) == []


def test_an_individual_with_very_many_images_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(label_errors, "_MOST_IMAGES", 4)
    assert found(SPLIT) == []


@given(st.lists(st.sampled_from("ABCD"), min_size=2, max_size=20), st.integers(0, 2**32))
def test_mutual_suspects_agree_with_a_search_of_all_pairs(names: list[str], seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(len(names), 3))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    embeddings = Embeddings(strings([str(i) for i in range(len(names))]), vectors)
    listed = label_errors.find_suspects(embeddings, strings(names), None)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    nearest = cosines.argmax(axis=1)
    pairs = {
        frozenset({str(i), str(j)})
        for i, j in enumerate(nearest)
        if nearest[j] == i and names[i] != names[j]
    }
    assert {suspect.key for suspect in listed if suspect.kind == "mutual"} == pairs
    evidence = [suspect.evidence for suspect in listed]
    assert evidence == sorted(evidence, reverse=True)


NAMES = st.sampled_from(["Ahab", "Boo", "Cleo", "new_whale", ""])


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Embeddings, np.ndarray]:
    """Draw points in four dimensions, and labels for some of them."""
    labels = draw(st.lists(NAMES, max_size=25))
    vectors = np.random.default_rng(draw(st.integers(0, 2**32))).normal(size=(len(labels), 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = strings([str(i) for i in range(len(labels))])
    return Embeddings(ids, vectors.astype(np.float32)), strings(labels)


@given(crowds(), st.integers(1, 7), st.integers(1, 3))
def test_nearest_images_agree_with_a_search_of_all_pairs(
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
def test_pairs_above_a_limit_are_found_and_no_others(
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


def test_an_image_of_a_burst_is_paired_with_its_nearest_later_images_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(label_errors, "_MOST_NEIGHBOURS", 2)
    found = label_errors.similar_pairs(at_angles(0, 1, 2, 3, 4, 90), cosine(0, 10))
    assert found.tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3], [2, 4], [3, 4]]


def test_the_typical_similarity_is_the_median_to_other_individuals() -> None:
    embeddings = at_angles(0, 5, 90, 95, 200)
    labels = strings(["A", "A", "B", "B", "C"])
    found = label_errors.nearest(embeddings, labels, None)
    nearest = [cosine(0, 90), cosine(5, 90), cosine(90, 5), cosine(95, 5), cosine(200, 95)]
    assert found.typical == pytest.approx(np.median(nearest), abs=1e-6)


def test_the_limit_is_the_similarity_that_one_image_is_expected_to_exceed() -> None:
    generator = np.random.default_rng(0)
    similarity = generator.normal(0.5, 0.1, 2000).astype(np.float32)
    rows = np.arange(2000)
    found = label_errors.NearestImages(rows, similarity, similarity, rows)
    expected = 0.5 + 0.1 * NormalDist().inv_cdf(1 - 1 / 2000)
    assert found.limit == pytest.approx(expected, abs=0.02)
    wrong = similarity.copy()
    wrong[:60] = 0.99  # three in a hundred have a wrong label
    assert label_errors.NearestImages(rows, wrong, wrong, rows).limit == pytest.approx(
        expected, abs=0.05
    )


@pytest.mark.parametrize("labels", [["A", "A"], ["", ""], ["A", ""]])
def test_without_other_individuals_the_limit_is_one(labels: list[str]) -> None:
    found = label_errors.nearest(placed({"a": 0, "b": 1}), strings(labels), None)
    assert (found.typical, found.limit) == (1.0, 1.0)
