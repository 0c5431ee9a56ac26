"""Divide and conquer: clusters, and the batches that are planned from them."""

import json
from collections import Counter
from itertools import permutations, product

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitbox import PK, Divide, Plugin, Shuffled
from kitbox.errors import KitboxError
from kitbox.records import Floats, Integers
from kitbox.samplers.batch_samplers import UNKNOWN, Batch, count_pk_batches, pk_batches
from kitbox.samplers.divide_and_conquer import (
    DividedPlanner,
    cluster_vectors,
    interleave,
    merge_single_label_clusters,
    renumber_clusters,
)
from tests.circle import at_angles


def at(*angles: float) -> Floats:
    """Return points on the unit circle at these angles."""
    vectors: Floats = np.concatenate([at_angles(angle).vectors for angle in angles])
    return vectors


def scattered(count: int, seed: int = 0) -> Floats:
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# Ten labels of four images, five of two and ten of one; WITH_UNKNOWN adds two unknown images.
LABELS = np.array([*np.repeat(np.arange(10), 4), *np.repeat(np.arange(10, 15), 2), *range(15, 25)])
WITH_UNKNOWN = np.array([UNKNOWN, *LABELS, UNKNOWN])


class Undivided:
    """A planner of full coverage of all images, which remembers the epochs that it planned."""

    def __init__(self, labels: Integers, steps: int | None = None) -> None:
        self._labels, self._steps = labels, steps
        self.planned: list[int] = []

    def steps(self, epoch: int) -> int:  # noqa: ARG002
        return self._steps or count_pk_batches(self._labels[self._labels >= 0], 16, 4)

    def required_vectors(self, epoch: int) -> str | None:  # noqa: ARG002
        return None

    def plan(self, epoch: int, vectors: Floats | None) -> list[Batch]:
        assert vectors is None
        self.planned.append(epoch)
        known = np.flatnonzero(self._labels >= 0)
        rows = pk_batches(self._labels[known], 16, 4, np.random.default_rng(epoch))
        return [Batch(known[batch], self._labels[known[batch]]) for batch in rows]

    def metrics(self) -> dict[str, float]:
        return {"planned": float(len(self.planned))}

    def state(self) -> dict[str, object]:
        return {"planned": list(self.planned)}

    def restore(self, state: dict[str, object]) -> None:
        self.planned = list(state["planned"])  # type: ignore[call-overload]


def plugin(divide: Divide, sampler: PK | Shuffled | None = None) -> Plugin:
    return Plugin(
        backbone="resnet10t",
        image_size=32,
        epochs=12,
        embedding_dim=120,  # in 2, 3, 4 or 5 slices
        batch_size=16,
        sampler=sampler or PK(images_per_label=4),
        divide=divide,
    )


def divided(
    divide: Divide,
    labels: Integers = LABELS,
    *,
    steps: int | None = None,
    sampler: PK | Shuffled | None = None,
    seed: int = 0,
) -> DividedPlanner:
    return DividedPlanner(labels, plugin(divide, sampler), seed, Undivided(labels, steps))


def epoch_of(planner: DividedPlanner, epoch: int, *, seed: int | None = None) -> list[Batch]:
    """Plan an epoch, with other vectors in each epoch that requires any."""
    vectors = None
    if planner.required_vectors(epoch):
        vectors = scattered(len(planner._labels), epoch if seed is None else seed)
    return planner.plan(epoch, vectors)


def as_lists(batches: list[Batch]) -> list[tuple[list[int], list[int], int | None]]:
    return [(b.rows.tolist(), b.labels.tolist(), b.learner) for b in batches]


def test_neighbouring_points_form_a_cluster() -> None:
    clusters = cluster_vectors(at(0, 120, 240, 1, 121, 241, 2, 122, 242), 3, 0)
    assert len(set(clusters[:3].tolist())) == 3
    assert clusters.reshape(3, 3).tolist() == [clusters[:3].tolist()] * 3


def test_clusters_are_the_same_for_the_same_seed() -> None:
    vectors = scattered(300)
    np.testing.assert_array_equal(cluster_vectors(vectors, 8, 5), cluster_vectors(vectors, 8, 5))


def test_clustering_restores_the_number_of_threads() -> None:
    before = faiss.omp_get_max_threads()
    cluster_vectors(scattered(30), 2, 0)
    assert faiss.omp_get_max_threads() == before


@pytest.mark.parametrize("distinct", [1, 2, 3])
def test_no_cluster_is_empty_even_if_images_are_duplicates(distinct: int) -> None:
    vectors = at(*[50.0 * (i % distinct) for i in range(9)])
    assert sorted(set(cluster_vectors(vectors, 4, 0).tolist())) == [0, 1, 2, 3]


def test_as_many_clusters_as_images_have_one_image_each() -> None:
    assert sorted(cluster_vectors(at(0, 90, 180), 3, 0).tolist()) == [0, 1, 2]


def test_more_clusters_than_images_are_refused() -> None:
    with pytest.raises(KitboxError, match=r"^divide.learners = 4, but only 3 images show a known"):
        cluster_vectors(at(0, 90, 180), 4, 0)


def test_a_cycle_of_three_renumbered_clusters_is_undone() -> None:
    # 0 -> 1 -> 2 -> 0; applied in the wrong direction none of them would be right
    old = np.array([0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(renumber_clusters(old, np.array([1, 1, 2, 2, 0, 0]), 3), old)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_every_renumbering_of_clusters_is_undone(count: int) -> None:
    old = np.repeat(np.arange(count), np.arange(1, count + 1))
    for renumbering in permutations(range(count)):
        np.testing.assert_array_equal(
            renumber_clusters(old, np.array(renumbering)[old], count), old
        )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_no_renumbering_keeps_more_images_in_their_cluster(pairs: list[tuple[int, int]]) -> None:
    old, new = (np.array(side) for side in zip(*pairs, strict=True))
    most = max(int((np.array(order)[new] == old).sum()) for order in permutations(range(4)))
    assert int((renumber_clusters(old, new, 4) == old).sum()) == most


def test_a_cluster_of_one_label_is_merged_into_the_nearest() -> None:
    vectors = at(0, 1, 50, 51, 180, 181)
    clusters = merge_single_label_clusters(
        vectors, np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 2, 2, 3, 4])
    )
    assert clusters.tolist() == [0, 0, 0, 0, 2, 2]


def test_clusters_of_one_label_are_merged_until_there_are_two_labels() -> None:
    clusters = merge_single_label_clusters(
        at(0, 1, 90, 91, 92), np.array([0, 0, 1, 1, 1]), np.array([3, 3, 8, 8, 8])
    )
    assert clusters.tolist() == [1] * 5


def test_images_of_a_single_label_end_in_one_cluster() -> None:
    one_label = np.zeros(3, np.int64)
    clusters = merge_single_label_clusters(at(0, 90, 180), np.arange(3), one_label)
    assert len(set(clusters.tolist())) == 1


def test_groups_are_interleaved_in_proportion_to_their_sizes() -> None:
    assert interleave([1, 0, 3]) == [(2, 0), (0, 0), (2, 1), (2, 2)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_a_group_stays_near_its_share_at_every_length(sizes: list[int]) -> None:
    items = interleave(sizes)
    assert sorted(items) == [
        (group, index) for group in range(len(sizes)) for index in range(sizes[group])
    ]
    for length, (group, size) in product(range(len(items) + 1), enumerate(sizes)):
        count = sum(1 for other, _ in items[:length] if other == group)
        # a half of its own, and its share of a half of every group
        assert abs(count - size * length / sum(sizes)) <= (1 + len(sizes)) / 2


def test_vectors_are_required_in_every_second_epoch() -> None:
    planner = divided(Divide(learners=3, every=2, whole_from=4, undivided_from=7))
    required = []
    for epoch in range(1, 9):
        required.append(planner.required_vectors(epoch))
        epoch_of(planner, epoch)
    assert required == ["pooled", None, "pooled", None, "pooled", None, None, None]


def test_a_batch_comes_from_one_cluster_and_trains_its_slice() -> None:
    planner = divided(Divide(learners=3))
    vectors = scattered(len(LABELS))
    learners_of: dict[int, set[int | None]] = {row: set() for row in range(len(LABELS))}
    for batch in [*planner.plan(1, vectors), *planner.plan(2, None)]:
        np.testing.assert_array_equal(batch.labels, LABELS[batch.rows])
        assert set(Counter(batch.labels.tolist()).values()) == {4}
        for row in batch.rows.tolist():
            learners_of[row].add(batch.learner)
    assert {len(learners) for learners in learners_of.values()} == {1}
    assert set().union(*learners_of.values()) == {0, 1, 2}


def test_the_whole_embedding_is_trained_on_clusters_and_then_on_all_images() -> None:
    planner = divided(Divide(learners=3, whole_from=2, undivided_from=3))
    sliced, whole = epoch_of(planner, 1), epoch_of(planner, 2)
    assert {batch.learner for batch in sliced} == {0, 1, 2}
    assert {batch.learner for batch in whole} == {None}
    cluster_of = {row: batch.learner for batch in sliced for row in batch.rows.tolist()}
    for batch in whole:
        assert len({cluster_of.get(row) for row in batch.rows.tolist()} - {None}) <= 1
    undivided = epoch_of(planner, 3)
    assert as_lists(undivided) == as_lists(Undivided(LABELS).plan(3, None))
    assert planner.metrics() == {"planned": 1.0}


def test_an_epoch_has_as_many_batches_as_an_undivided_one() -> None:
    planner = divided(Divide(learners=3), WITH_UNKNOWN)
    assert [planner.steps(epoch) for epoch in range(1, 9)] == [7] * 8
    assert [len(epoch_of(planner, epoch)) for epoch in range(1, 9)] == [7] * 8


def test_unknown_images_are_in_no_batch() -> None:
    planner = divided(Divide(learners=3), WITH_UNKNOWN, steps=40)
    shown = {row for batch in epoch_of(planner, 1) for row in batch.rows.tolist()}
    assert shown == set(range(1, 61))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 7), min_size=2, max_size=15),
    st.integers(2, 5),
    st.booleans(),
    st.integers(0, 99),
)
def test_every_image_is_in_every_pass(
    times: list[int], learners: int, pairs: bool, seed: int
) -> None:
    labels = np.repeat(np.arange(len(times)), times)
    divide = Divide(learners=min(learners, len(labels)), every=20)
    sampler = PK(images_per_label=4) if pairs else Shuffled()
    planner = divided(divide, labels, steps=1, sampler=sampler, seed=seed)
    shown: set[int] = set()
    passes = 0
    for epoch in range(1, 121):
        (batch,) = epoch_of(planner, epoch)
        shown |= set(batch.rows.tolist())
        if not planner._unseen.any():  # the pass has ended
            assert shown == set(range(len(labels)))
            shown, passes = set(), passes + 1
    assert passes


def test_with_room_for_a_pass_every_image_is_in_every_epoch() -> None:
    # the rest of the last pass and a whole one have about 12 batches each
    planner = divided(Divide(learners=3, every=1), steps=30)
    for epoch in range(1, 6):
        counts = Counter(row for batch in epoch_of(planner, epoch) for row in batch.rows.tolist())
        assert set(counts) == set(range(len(LABELS)))


def test_images_are_shown_within_two_passes_even_if_clusters_change() -> None:
    planner = divided(Divide(learners=3, every=1))
    last = np.zeros(len(LABELS), dtype=np.int64)
    for epoch in range(1, 31):
        for batch in epoch_of(planner, epoch):
            last[batch.rows] = epoch
        # an epoch has 7 batches, a pass about 12: two epochs and new batches of unseen images
        assert epoch - last.min() <= 5


def test_the_only_image_of_its_label_in_a_cluster_is_trained_on() -> None:
    labels = np.array([0, 0, 0, 0, 1, 0, 1, 1, 1, 1])
    vectors = at(0, 1, 2, 3, 4, 180, 181, 182, 183, 184)
    planner = divided(Divide(learners=2), labels, steps=2)
    batches = planner.plan(1, vectors)
    assert sorted(set(np.concatenate([batch.rows for batch in batches]).tolist())) == [*range(10)]
    for batch in batches:
        assert Counter(batch.labels.tolist()) == {0: 4, 1: 4}


def test_clusters_alternate_in_proportion_to_their_batches() -> None:
    # 6 and 30 labels of 4 images at two places: 2 batches and 8 in a pass of 10
    labels = np.repeat(np.arange(36), 4)
    vectors = at(*[0.0 if label < 6 else 180.0 for label in labels])
    planner = divided(Divide(learners=2), labels, steps=30)
    learners = [batch.learner for batch in planner.plan(1, vectors)]
    few = min(set(learners), key=learners.count)
    assert Counter(learners) == {few: 6, 1 - (few or 0): 24}
    for begin in range(0, 30, 5):
        assert learners[begin : begin + 5].count(few) == 1


def test_clusters_keep_their_numbers_and_moved_images_are_counted() -> None:
    angles = [180.0 * (label % 2) + copy for label in range(9) for copy in range(4)]
    labels = np.repeat(np.arange(9), 4)
    planner = divided(Divide(learners=2, every=1), labels, steps=9)
    home: dict[int, int | None] = {}
    for epoch in range(1, 8):
        for batch in planner.plan(epoch, at(*angles)):
            for row in batch.rows.tolist():
                assert home.setdefault(row, batch.learner) == batch.learner
        assert planner.metrics() == ({} if epoch == 1 else {"clusters moved": 0.0})
    angles[:4] = [180.0] * 4  # 4 of 36 images go elsewhere
    planner.plan(8, at(*angles))
    assert planner.metrics() == {"clusters moved": pytest.approx(4 / 36)}


@pytest.mark.parametrize("done", [1, 2, 3, 5, 8])
def test_a_resumed_training_continues_with_the_same_batches(done: int) -> None:
    divide = Divide(learners=3, every=2, whole_from=5, undivided_from=8)
    through = divided(divide)
    epochs = [as_lists(epoch_of(through, epoch)) for epoch in range(1, 11)]
    stopped = divided(divide)
    for epoch in range(1, done + 1):
        epoch_of(stopped, epoch)
    resumed = divided(divide)
    resumed.restore(json.loads(json.dumps(stopped.state())))
    rest = [as_lists(epoch_of(resumed, epoch)) for epoch in range(done + 1, 11)]
    assert rest == epochs[done:]
    assert resumed.state() == through.state()


def test_a_state_from_before_the_first_epoch_can_be_restored() -> None:
    planner = divided(Divide(learners=3))
    planner.restore(planner.state())
    assert planner.required_vectors(1) == "pooled"


def test_another_seed_gives_other_batches() -> None:
    divide = Divide(learners=3)
    one, other = (epoch_of(divided(divide, seed=seed), 1) for seed in (0, 1))
    assert as_lists(one) != as_lists(other)
