"""Suspects: look-alikes of two names and names of two looks are found, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.dataset import label_errors
from kitbox.dataset.label_errors import LabelSuspect
from kitbox.records import Embeddings, strings
from tests.circle import cosine, placed


def found(angle_of: dict[str, tuple[str, float]], **options: object) -> list[LabelSuspect]:
    """Return the suspects among images that are given as name → (label, angle)."""
    embeddings = placed({name: angle for name, (_, angle) in angle_of.items()})
    labels = strings([label for label, _ in angle_of.values()])
    return label_errors.find_suspects(embeddings, labels, "new_whale", **options)  # type: ignore[arg-type]


# Two whales of two photographs each; Boo has an odd one, beside one of Ahab's.
MISTAKEN = {
    "a1": ("Ahab", 0.0),
    "a2": ("Ahab", 20.0),
    "b1": ("Boo", 1.0),
    "b2": ("Boo", 120.0),
    "c1": ("Cleo", 200.0),
    "c2": ("Cleo", 205.0),
}


def test_each_other_s_nearest_under_two_labels_are_suspect_the_odd_one_first() -> None:
    [only] = found(MISTAKEN)
    assert (only.kind, only.images, only.labels) == ("mutual", ("b1", "a1"), ("Boo", "Ahab"))
    assert only.similarity == pytest.approx(cosine(0, 1), abs=1e-6)
    assert only.evidence == pytest.approx(cosine(0, 1) - cosine(0, 20), abs=1e-6)


def test_what_was_found_fine_is_not_listed_again() -> None:
    assert found(MISTAKEN, fine={frozenset({"a1", "b1"})}) == []
    assert len(found(MISTAKEN, fine={frozenset({"a1", "b2"}), frozenset({"Boo"})})) == 1


def test_images_of_nobody_are_no_look_alikes() -> None:
    unknown = MISTAKEN | {"b1": ("new_whale", 1.0), "b2": ("", 120.0)}
    assert found(unknown) == []


def test_who_is_nearest_to_its_own_is_no_suspect() -> None:
    assert found(MISTAKEN | {"b1": ("Boo", 119.0)}) == []


def test_the_surest_come_first() -> None:
    both = MISTAKEN | {"d": ("Dot", 203.0)}  # near to Cleo, who has one nearly as near
    kinds = [(suspect.images, suspect.evidence) for suspect in found(both)]
    assert [images for images, _ in kinds] == [("b1", "a1"), ("d", "c2")]
    assert kinds[0][1] > kinds[1][1]


def test_images_that_no_search_compares_are_no_suspects() -> None:
    apart = strings(["turtle", "turtle", "newt", "newt", "newt", "newt"])
    assert found(MISTAKEN, groups=apart) == []
    assert found(MISTAKEN, groups=strings(["turtle"] * 6)) == found(MISTAKEN)


def test_a_label_of_two_groups_is_looked_at_in_each() -> None:
    sides = {"s1": ("Sol", 0.0), "s2": ("Sol", 1.0), "s3": ("Sol", 80.0), "s4": ("Sol", 81.0)}
    assert [of.kind for of in found(sides)] == ["split"]
    assert found(sides, groups=strings(["newt", "newt", "turtle", "turtle"])) == []


SPLIT = {
    **{f"a{i}": ("Ahab", float(angle)) for i, angle in enumerate((0, 4, 90, 2, 94))},
    **{f"b{i}": ("Boo", float(angle)) for i, angle in enumerate((180, 184))},
}


def test_one_label_in_two_far_clusters_is_suspect_the_larger_side_first() -> None:
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


def test_one_odd_image_is_no_side() -> None:
    assert found(SPLIT | {"a4": ("Ahab", 3.0)}) == []


def test_an_individual_of_very_many_images_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(label_errors, "_MOST_OF_ONE", 4)
    assert found(SPLIT) == []


@given(st.lists(st.sampled_from("ABCD"), min_size=2, max_size=20), st.integers(0, 2**32))
def test_mutual_neighbours_are_those_of_a_search_of_all_pairs(names: list[str], seed: int) -> None:
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
