"""Constrained linkage against a slow greedy reference, on all pairs and on sparse ones."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage as scipy_linkage

from kitbox.clusters.linkage import (
    Constraints,
    Linkage,
    Merge,
    SparsePairs,
    merge_all_pairs,
    merge_sparse,
    tree_of,
)
from kitbox.errors import KitboxError

Sets = list[frozenset[int]]


def constraints(
    count: int,
    together: list[tuple[int, ...]] = [],  # noqa: B006
    apart: list[tuple[int, int]] = [],  # noqa: B006
    closed: list[int] = [],  # noqa: B006
) -> Constraints:
    """Return constraints by images: those that start together, and pairs of images apart."""
    first = list(range(count))
    for group in together:
        for image in group:
            first[image] = min(group)
    start = np.unique(first, return_inverse=True)[1]
    marks = np.zeros(start.max() + 1, dtype=np.bool_)
    marks[start[closed]] = True
    return Constraints(start, start[np.array(apart, dtype=np.int64).reshape(-1, 2)], marks)


def greedy(
    similarity: np.ndarray, given_: Constraints, linkage: Linkage
) -> list[tuple[Sets, float]]:
    """Merge the two most similar clusters, again and again: the clusters after each merge."""
    apart = {frozenset(pair) for pair in given_.apart.tolist()}
    clusters = [
        frozenset(np.flatnonzero(given_.start == c).tolist()) for c in range(len(given_.closed))
    ]

    def may_merge(one: frozenset[int], other: frozenset[int]) -> bool:
        starts = [{int(given_.start[image]) for image in side} for side in (one, other)]
        if any(given_.closed[start] for side in starts for start in side):
            return False
        return not any(frozenset({a, b}) in apart for a in starts[0] for b in starts[1])

    def closeness(one: frozenset[int], other: frozenset[int]) -> float:
        values = [float(similarity[a, b]) for a in one for b in other]
        return float(np.mean(values)) if linkage == "average" else max(values)

    found = []
    while True:
        options = [
            (closeness(one, other), one, other)
            for one, other in combinations(clusters, 2)
            if may_merge(one, other)
        ]
        if not options:
            return found
        best, one, other = max(options, key=lambda option: option[0])
        if best == -np.inf:
            return found
        clusters = [each for each in clusters if each not in (one, other)] + [one | other]
        found.append((sorted(clusters, key=min), best))


def steps(merges: list[Merge], count: int, first: Sets) -> list[tuple[Sets, float]]:
    """Return the clusters after each merge of two starting clusters, and their similarity."""
    joins = tree_of(merges, count)
    members = {number: frozenset({number}) for number in range(count)}
    current, found = set(members.values()), []
    for number, (left, right, distance) in enumerate(joins.tolist(), count):
        one, other = members[int(left)], members[int(right)]
        members[number] = one | other
        current = current - {one, other} | {members[number]}
        if distance > -np.inf:
            found.append((sorted(current, key=min), 1 - distance))
        else:
            assert any(members[number] <= start for start in first)
    return found


def random_similarity(seed: int, count: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(-0.5, 1, size=(count, count))
    return (values + values.T) / 2


def condensed(similarity: np.ndarray) -> np.ndarray:
    return np.asarray(1 - similarity[np.triu_indices(len(similarity), 1)])


def random_constraints(seed: int, count: int) -> Constraints:
    draw = np.random.default_rng(seed)
    start = np.unique(draw.integers(0, count, size=count), return_inverse=True)[1]
    clusters = start.max() + 1
    apart = draw.integers(0, clusters, size=(count // 2, 2))
    return Constraints(start, apart[apart[:, 0] != apart[:, 1]], draw.random(clusters) < 0.1)


def all_pairs(similarity: np.ndarray) -> SparsePairs:
    first, second = np.triu_indices(len(similarity), 1)
    values = similarity[first, second]
    return SparsePairs(first, second, values, float(values.min(initial=0)))


def assert_equal_steps(found: list[tuple[Sets, float]], wanted: list[tuple[Sets, float]]) -> None:
    assert [clusters for clusters, _ in found] == [clusters for clusters, _ in wanted]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in wanted], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 14), st.sampled_from(["average", "components"]))
def test_merges_are_those_of_the_greedy_algorithm(seed: int, count: int, linkage: Linkage) -> None:
    similarity, given_ = random_similarity(seed, count), random_constraints(seed, count)
    first = [frozenset(np.flatnonzero(given_.start == c).tolist()) for c in np.unique(given_.start)]
    wanted = greedy(similarity, given_, linkage)
    dense = merge_all_pairs(condensed(similarity), given_, linkage)
    assert_equal_steps(steps(dense, count, first), wanted)
    sparse = merge_sparse(all_pairs(similarity), given_, linkage)
    assert_equal_steps(steps(sparse, count, first), wanted)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.integers(2, 12))
def test_pairs_outside_are_as_similar_as_said(seed: int, count: int) -> None:
    similarity = random_similarity(seed, count)
    first, second = np.triu_indices(count, 1)
    known = similarity[first, second] > 0.3
    filled = np.full((count, count), 0.3)
    filled[first[known], second[known]] = similarity[first[known], second[known]]
    filled = np.maximum(filled, filled.T)
    pairs = SparsePairs(first[known], second[known], filled[first[known], second[known]], 0.3)
    found = steps(merge_sparse(pairs, Constraints.none(count), "average"), count, [])
    wanted = greedy(filled, Constraints.none(count), "average")
    assert_equal_steps(found, wanted[: len(found)])
    # what is left is no more similar than the pairs outside
    np.testing.assert_allclose([s for _, s in wanted[len(found) :]], 0.3, atol=1e-9)


@pytest.mark.parametrize("method", ["average", "single"])
def test_without_constraints_merges_are_those_of_scipy(method: str) -> None:
    distances = condensed(random_similarity(0, 60))
    wanted = scipy_linkage(distances, method=method)
    kind: Linkage = "average" if method == "average" else "components"
    found = tree_of(merge_all_pairs(distances.copy(), Constraints.none(60), kind), 60)
    np.testing.assert_allclose(found, wanted[:, :3], atol=1e-12)


def test_a_pair_apart_is_never_joined_however_similar() -> None:
    similarity = np.ones((3, 3))
    given_ = constraints(3, apart=[(0, 1)])
    joins = tree_of(merge_all_pairs(condensed(similarity), given_, "average"), 3)
    assert joins.tolist() == [[0, 2, 0]]
    joins = tree_of(merge_sparse(all_pairs(similarity), given_, "components"), 3)
    assert joins.tolist() == [[0, 2, 0]]


def test_two_links_chain_images_that_look_different() -> None:
    similarity = np.full((4, 4), -1.0)
    given_ = constraints(4, together=[(0, 1, 3)])
    joins = tree_of(merge_all_pairs(condensed(similarity), given_, "average"), 4)
    assert joins.tolist() == [[0, 1, -np.inf], [3, 4, -np.inf], [2, 5, 2]]


def test_a_closed_cluster_merges_with_no_other() -> None:
    similarity = np.full((4, 4), 0.5)
    given_ = constraints(4, together=[(1, 2)], closed=[1])
    for merges in (
        merge_all_pairs(condensed(similarity), given_, "average"),
        merge_sparse(all_pairs(similarity), given_, "average"),
    ):
        assert tree_of(merges, 4).tolist() == [[1, 2, -np.inf], [0, 3, 0.5]]


@pytest.mark.parametrize("linkage", ["average", "components"])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_equal_similarities_join_all_images_at_that_similarity(
    count: int, linkage: Linkage
) -> None:
    similarity = np.full((count, count), 0.25)
    none = Constraints.none(count)
    for merges in (
        merge_all_pairs(condensed(similarity), none, linkage),
        merge_sparse(all_pairs(similarity), none, linkage),
    ):
        assert [distance for *_, distance in merges] == pytest.approx([0.75] * (count - 1))


def test_components_join_no_pair_outside() -> None:
    pairs = SparsePairs(np.array([0]), np.array([2]), np.array([0.1]), 0.9)
    assert merge_sparse(pairs, Constraints.none(4), "components") == [(0, 2, 0.9)]


def test_a_cluster_apart_from_itself_is_refused() -> None:
    with pytest.raises(KitboxError, match="a cluster cannot stay apart from itself"):
        constraints(3, together=[(0, 1)], apart=[(0, 1)])
