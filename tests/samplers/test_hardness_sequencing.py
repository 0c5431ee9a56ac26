"""Hardness sequencing: curves, mining by hand and against a slow oracle, and planned epochs."""

import math
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kitbox import Hardness, Phase, Plugin, Triplet
from kitbox.errors import KitboxError
from kitbox.plugin.samplers import Curve
from kitbox.samplers.batch_samplers import UNKNOWN
from kitbox.samplers.hardness_sequencing import (
    HardnessPlanner,
    MinedTriplets,
    hardness_at,
    mine_triplets,
)


def circle(*angles: float) -> np.ndarray:
    radians = np.radians(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def mined(
    angles: list[float], labels: list[int], hardness: list[float], seed: int = 0
) -> MinedTriplets:
    return mine_triplets(circle(*angles), np.array(labels), np.array(hardness), generator(seed))


def plugin(
    batch_size: int = 6, epochs: int = 3, phases: tuple[Phase, ...] = (), **sampler: Any
) -> Plugin:
    return Plugin(
        backbone="resnet10t",
        image_size=32,
        epochs=epochs,
        batch_size=batch_size,
        phases=phases,
        losses=(Triplet(mining="sequence"),),
        sampler=Hardness(**sampler),
    )


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.042), (500, 0.190), (750, 0.401), (999, 0.848)]
)
def test_the_exponential_curve_is_that_of_the_published_code(step: int, expected: float) -> None:
    hardness = hardness_at(step, 1000, Hardness(curve="exponential", threshold=0.85, growth=3.0))
    assert hardness == pytest.approx(expected, abs=1e-3)
    u = step / 1000
    arg = 3 * (u - 1)
    theirs = 0.85 * ((0.5 / 1 + math.exp(arg)) - 0.5)
    assert hardness == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        # 1/(1+e^6), 1/(1+e^3), 1/2, 1/(1+e^-3)
        ("logistic", (0.0025, 0.0474, 0.5, 0.9526)),
        ("linear", (0, 0.25, 0.5, 0.75)),
        ("sine", (0, math.sin(math.pi / 8), math.sqrt(0.5), math.sin(3 * math.pi / 8))),
        ("tanh", (0, math.tanh(0.75), math.tanh(1.5), math.tanh(2.25))),
        # log of 1, 1.75, 2.5, 3.25 to the base 4
        ("logarithmic", (0, 0.4037, 0.6610, 0.8502)),
        ("constant", (1, 1, 1, 1)),
    ],
)
def test_each_curve_at_the_quarters_of_a_cycle(curve: Curve, expected: tuple[float, ...]) -> None:
    sampler = Hardness(curve=curve, threshold=1.0, growth=3.0)
    assert [hardness_at(step, 4, sampler) for step in range(4)] == pytest.approx(expected, abs=5e-5)


def test_the_logistic_curve_rises_from_near_zero_to_near_the_threshold() -> None:
    sampler = Hardness(curve="logistic", threshold=0.85, growth=3.0)
    assert hardness_at(0, 1000, sampler) < 0.005
    assert hardness_at(999, 1000, sampler) > 0.845


def test_every_cycle_begins_easy() -> None:
    sampler = Hardness(curve="linear", cycles=3, threshold=1.0)
    assert [hardness_at(step, 12, sampler) for step in range(12)] == [0, 0.25, 0.5, 0.75] * 3


def test_cycles_need_not_divide_the_steps() -> None:
    sampler = Hardness(curve="linear", cycles=2, threshold=1.0)
    hardness = [hardness_at(step, 5, sampler) for step in range(5)]
    assert hardness == pytest.approx([0, 0.4, 0.8, 0.2, 0.6])


@given(
    st.integers(1, 400),
    st.integers(1, 12),
    st.floats(0, 1),
    st.floats(1e-6, 1e6),
    st.sampled_from(get_args(Curve)),
)
@example(2, 1, 1.0, 1e308, "logistic")
@example(2, 1, 1.0, 5e-324, "logarithmic")
def test_hardness_never_falls_in_a_cycle_nor_leaves_its_range(
    total: int, cycles: int, threshold: float, growth: float, curve: Curve
) -> None:
    sampler = Hardness(curve=curve, cycles=cycles, threshold=threshold, growth=growth)
    hardness = [hardness_at(step, total, sampler) for step in range(total)]
    assert all(0 <= value <= threshold for value in hardness)
    cycle_of = [step * cycles // total for step in range(total)]
    for step in range(1, total):
        if cycle_of[step] == cycle_of[step - 1]:
            assert hardness[step] >= hardness[step - 1] - 1e-12


# Two photographs of one whale at 0°, one each of others at 20°, 60°, 120° and 180°.
ANGLES, LABELS = [0.0, 0.0, 20.0, 60.0, 120.0, 180.0], [0, 0, 1, 2, 3, UNKNOWN]


@pytest.mark.parametrize(
    ("hardness", "negative"),
    [
        (0.0, 180),
        # chords: 20° .347, 60° 1, 120° 1.732, 180° 2. Half of them: 2 − 1.653/2 = 1.174
        (0.5, 120),
        (0.7, 60),  # at least .843
        (0.6, 120),  # at least 1.008
        (0.99, 60),  # at least .364
        (1.0, 20),
    ],
)
def test_the_negative_is_the_nearest_that_is_far_enough(hardness: float, negative: int) -> None:
    triplets = mined(ANGLES, LABELS, [hardness])
    assert ANGLES[triplets.negatives[0]] == negative
    chord = 2 * np.sin(np.radians(negative) / 2)
    nearest = 2 * np.sin(np.radians(10))
    assert triplets.achieved_hardness[0] == pytest.approx((2 - chord) / (2 - nearest), abs=1e-5)


def test_an_anchor_and_its_positive_are_two_images_of_a_label() -> None:
    pairs = [mined(ANGLES, LABELS, [0.0], seed) for seed in range(20)]
    assert {(int(p.anchors[0]), int(p.positives[0])) for p in pairs} == {(0, 1), (1, 0)}


def test_any_two_images_of_a_label_may_be_a_pair() -> None:
    pairs = [mined([0, 5, 10, 90], [3, 3, 3, 1], [0.5], seed) for seed in range(100)]
    assert len({(int(p.anchors[0]), int(p.positives[0])) for p in pairs}) == 6


def test_a_negative_equal_to_the_anchor_can_be_mined() -> None:
    triplets = mined([37.3, 80, 37.3, 200], [0, 0, 1, 1], [1.0, 1.0])
    by_anchor = dict(zip(triplets.anchors.tolist(), triplets.negatives.tolist(), strict=True))
    assert all(by_anchor.get(row, other) == other for row, other in [(0, 2), (2, 0)])


def test_the_hardness_is_achieved_where_all_negatives_are_equally_far() -> None:
    triplets = mined([0, 0, 90], [0, 0, 1], [0.3])
    assert triplets.achieved_hardness[0] == pytest.approx(0.3)


def test_negatives_do_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, hardness = np.repeat(np.arange(9), 3), np.linspace(0, 1, 9)
    vectors = circle(*np.arange(27) * 13.0)
    whole = mine_triplets(vectors, labels, hardness, generator())
    monkeypatch.setattr("kitbox.samplers.hardness_sequencing._CELLS", 54)  # two anchors at a time
    parts = mine_triplets(vectors, labels, hardness, generator())
    assert parts.negatives.tolist() == whole.negatives.tolist()
    assert parts.achieved_hardness.tolist() == whole.achieved_hardness.tolist()


TENTHS = st.integers(0, 3590)  # of a degree
# An individual with two images and another one are always there, else there is nothing to mine.
LISTS = st.builds(
    lambda one, two, other, rest: [(one, 0), *rest, (other, 1), (two, 0)],
    TENTHS,
    TENTHS,
    TENTHS,
    st.lists(st.tuples(TENTHS, st.integers(UNKNOWN, 5)), max_size=21),
)


@given(LISTS, st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(0, 99))
def test_mining_agrees_with_a_slow_oracle(
    images: list[tuple[int, int]], requested: list[float], seed: int
) -> None:
    vectors = circle(*(angle / 10 for angle, _ in images))
    labels = np.array([label for _, label in images])
    triplets = mine_triplets(vectors, labels, np.array(requested), generator(seed))
    rows = (triplets.anchors, triplets.positives, triplets.negatives)
    wide = vectors.astype(np.float64)
    for anchor, positive, negative, achieved, hardness in zip(
        *rows, triplets.achieved_hardness, requested, strict=True
    ):
        assert labels[anchor] == labels[positive] >= 0
        assert anchor != positive
        others = [row for row in range(len(labels)) if labels[row] != labels[anchor]]
        far = {row: float(np.linalg.norm(wide[row] - wide[anchor])) for row in others}
        nearest, furthest = min(far.values()), max(far.values())
        least = max(nearest, furthest * (1 - hardness) + nearest * hardness)
        if 0 < hardness < 1:  # float32 may round a distance at the boundary to either side
            assume(all(abs(distance - least) > 1e-3 for distance in far.values()))
        expected = min(distance for distance in far.values() if distance > least - 1e-6)
        assert negative in far
        assert far[negative] == pytest.approx(expected, abs=1e-3)
        width = furthest - nearest
        if width > 0.1:
            assert achieved == pytest.approx((furthest - expected) / width, abs=0.01)


@given(
    st.lists(st.integers(1, 5), min_size=3, max_size=20).filter(lambda n: max(n) > 1),
    st.integers(1, 3),
    st.sampled_from([3, 6, 12, 30]),
    st.integers(0, 9),
)
def test_every_label_with_two_images_is_an_anchor_once_a_pass(
    times: list[int], passes: int, batch_size: int, seed: int
) -> None:
    labels = np.array([*np.repeat(np.arange(len(times)), times), UNKNOWN, UNKNOWN])
    planner = HardnessPlanner(labels, plugin(batch_size, passes=passes), seed)
    vectors = circle(*generator(seed).uniform(0, 360, len(labels)))
    batches = planner.plan(2, vectors)
    anchors_of = {label for label, count in enumerate(times) if count > 1}
    third = batch_size // 3
    assert len(batches) == planner.steps(2) == -(-len(anchors_of) * passes // third)
    sequence = np.concatenate([batch.labels[:third] for batch in batches]).tolist()
    for first in range(0, passes * len(anchors_of), len(anchors_of)):
        assert sorted(sequence[first : first + len(anchors_of)]) == sorted(anchors_of)
    for batch in batches:
        assert len(batch) == batch_size
        assert batch.labels.tolist() == labels[batch.rows].tolist()
        anchors, positives, negatives = np.split(batch.rows, 3)
        assert (labels[anchors] == labels[positives]).all()
        assert (anchors != positives).all()
        assert (labels[anchors] != labels[negatives]).all()


def test_hardness_rises_step_by_step_over_the_whole_training() -> None:
    labels = np.repeat(np.arange(8), 2)
    vectors = circle(*np.arange(16) * 22.5)
    planner = HardnessPlanner(
        labels, plugin(batch_size=6, epochs=4, curve="linear", threshold=1.0), 0
    )
    means = []
    for epoch in range(1, 5):
        assert len(planner.plan(epoch, vectors)) == 4
        means.append(planner.metrics()["hardness"])
    # 16 steps in all; the first epoch has hardness 0, 1/16, 2/16, 3/16
    assert means == pytest.approx([1.5 / 16, 5.5 / 16, 9.5 / 16, 13.5 / 16])


def test_later_batches_of_a_training_have_nearer_negatives() -> None:
    labels = np.repeat(np.arange(40), 2)
    vectors = circle(*generator().uniform(0, 360, 80))
    planner = HardnessPlanner(labels, plugin(batch_size=30, epochs=5), 0)
    batches = [batch for epoch in range(1, 6) for batch in planner.plan(epoch, vectors)]
    far = []
    for batch in batches:
        anchors, _, negatives = np.split(vectors[batch.rows], 3)
        far.append(np.linalg.norm(anchors - negatives, axis=1).mean())
    assert far[0] > 1.95
    assert far[-1] < 0.6
    assert (np.diff(far) < 0).all()


def test_an_epoch_reports_the_achieved_hardness_beside_the_requested_one() -> None:
    labels = np.repeat(np.arange(30), 3)
    vectors = circle(*generator().uniform(0, 360, 90))
    planner = HardnessPlanner(labels, plugin(30, curve="constant", threshold=0.5), 0)
    assert planner.metrics() == {}
    planner.plan(1, vectors)
    assert planner.metrics() == {"hardness": 0.5, "achieved": pytest.approx(0.5, abs=0.05)}
    assert planner.metrics()["achieved"] <= 0.5


def test_an_epoch_is_the_same_after_a_resume() -> None:
    labels = np.repeat(np.arange(10), 3)
    vectors = circle(*generator().uniform(0, 360, 30))
    through, resumed = (HardnessPlanner(labels, plugin(), 7) for _ in range(2))
    through.plan(1, vectors)
    resumed.restore(through.state())
    for one, other in zip(through.plan(2, vectors), resumed.plan(2, vectors), strict=True):
        assert one.rows.tolist() == other.rows.tolist()
    first, second = (through.plan(epoch, vectors)[0].rows.tolist() for epoch in (1, 2))
    assert first != second


def test_vectors_of_the_current_network_are_required_in_every_epoch() -> None:
    planner = HardnessPlanner(np.array([0, 0, 1, 1]), plugin(), 0)
    planner.plan(1, circle(0, 10, 90, 100))
    assert [planner.required_vectors(epoch) for epoch in (1, 2, 3)] == ["embedding"] * 3


def test_frozen_vectors_are_required_once_in_a_process() -> None:
    planner = HardnessPlanner(np.array([0, 0, 1, 1]), plugin(mined_on="frozen"), 0)
    assert planner.required_vectors(2) == "frozen"
    first = planner.plan(2, circle(0, 10, 90, 100))
    assert planner.required_vectors(3) is None
    again = planner.plan(2, None)
    assert [b.rows.tolist() for b in first] == [b.rows.tolist() for b in again]


def test_a_curriculum_leaves_out_individuals_with_few_photographs() -> None:
    labels = np.array([0] * 4 + [1] * 3 + [2] * 2 + [3] + [UNKNOWN])
    phases = (Phase(epochs=1, min_images_per_label=3), Phase(epochs=2))
    planner = HardnessPlanner(labels, plugin(3, phases=phases), 0)
    vectors = circle(*generator().uniform(0, 360, 11))
    assert [planner.steps(epoch) for epoch in (1, 2, 3)] == [2, 3, 3]
    shown = {int(label) for batch in planner.plan(1, vectors) for label in batch.labels}
    assert shown <= {0, 1, UNKNOWN}
    assert {int(batch.labels[0]) for batch in planner.plan(2, vectors)} == {0, 1, 2}


@pytest.mark.parametrize("labels", [[0, 1, 2], [UNKNOWN, UNKNOWN, 0]])
def test_labels_with_one_photograph_each_are_refused(labels: list[int]) -> None:
    with pytest.raises(KitboxError, match="needs an individual with two photographs and a photo"):
        HardnessPlanner(np.array(labels), plugin(), 0)


def test_a_single_individual_is_refused() -> None:
    planner = HardnessPlanner(np.array([0, 0, 0]), plugin(), 0)
    with pytest.raises(KitboxError, match="two photographs and a photograph of another one"):
        planner.plan(1, circle(0, 10, 20))


def test_more_cycles_than_a_short_training_has_steps_for_are_refused() -> None:
    labels = np.repeat(np.arange(4), 2)  # 2 steps an epoch, 6 in all
    HardnessPlanner(labels, plugin(cycles=3), 0)
    with pytest.raises(KitboxError, match="training of 6 steps; set cycles to 3 or less"):
        HardnessPlanner(labels, plugin(cycles=4), 0)


def test_the_hardness_of_a_training_follows_its_curve() -> None:
    labels = np.repeat(np.arange(4), 2)
    planner = HardnessPlanner(labels, plugin(batch_size=12, epochs=6, cycles=2), 0)
    vectors = circle(*np.arange(8) * 45.0)
    for epoch in range(1, 7):
        planner.plan(epoch, vectors)
        expected = hardness_at(epoch - 1, 6, Hardness(cycles=2))
        assert planner.metrics()["hardness"] == pytest.approx(expected)
