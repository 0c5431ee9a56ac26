"""Batch samplers: coverage, shares, repeats, unknown and flipped images."""

from collections import Counter
from hashlib import sha256
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from kitbox import (
    PK,
    ArcFace,
    Balanced,
    BinaryCrossEntropy,
    Hardness,
    Phase,
    Plugin,
    Shuffled,
)
from kitbox.errors import KitboxError
from kitbox.plugin.samplers import Sampler
from kitbox.samplers.batch_samplers import (
    UNKNOWN,
    Batch,
    SamplerPlanner,
    balanced_batches,
    check_shares,
    count_pk_batches,
    draw_batches,
    pk_batches,
    random_pk_batches,
    shuffled_batches,
)
from tests.photographs import tiny

# One individual with 500 photographs and 999 with one each, as in data sets of whales.
LONG_TAILED = np.array([0] * 500 + list(range(1, 1000)))
# 30 individuals with one to seven.
MIXED = np.repeat(np.arange(30), np.arange(1, 31) % 7 + 1)
# The same with 40 photographs of unknown individuals among them.
WITH_UNKNOWN = np.insert(MIXED, np.arange(40) * 2, UNKNOWN)

PK_RANDOM = PK(images_per_label=4, coverage="random")
SAMPLERS: list[Sampler] = [PK(images_per_label=4), PK_RANDOM, Balanced(), Shuffled()]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def plugin_with(sampler: Sampler, batch_size: int = 32, seed: int = 0, **others: Any) -> Plugin:
    settings: dict[str, Any] = {
        "backbone": "resnet10t",
        "image_size": 32,
        "epochs": 3,
        "losses": (BinaryCrossEntropy(),),
        "sampler": sampler,
        "batch_size": batch_size,
        "seed": seed,
    }
    return Plugin.model_validate(settings | others)


def planner_of(labels: np.ndarray, plugin: Plugin) -> SamplerPlanner:
    return SamplerPlanner(labels, plugin, plugin.seed)


def planned(labels: np.ndarray, plugin: Plugin, epoch: int = 1) -> list[Batch]:
    return planner_of(labels, plugin).plan(epoch, None)


def rows_of(batches: list[Batch]) -> list[int]:
    return [*chain(*(batch.rows.tolist() for batch in batches))]


@pytest.mark.parametrize("images_per_label", [2, 4, 8])
def test_pk_shows_every_image_of_a_long_tail_in_every_epoch(images_per_label: int) -> None:
    batches = pk_batches(LONG_TAILED, 32, images_per_label, generator())
    assert set(chain(*(batch.tolist() for batch in batches))) == set(range(1499))
    for batch in batches:
        counts = Counter(LONG_TAILED[batch].tolist())
        assert len(batch) == 32
        assert set(counts.values()) == {images_per_label}


def test_pk_has_no_more_batches_than_a_long_tail_needs() -> None:
    # 125 groups of the many-photographed and 999 of the others, eight to a batch: 140.5
    assert count_pk_batches(LONG_TAILED, 32, 4) == 141
    # 250 groups of the one individual need a batch each, though 1249 / 16 is 78.1
    assert count_pk_batches(LONG_TAILED, 32, 2) == 250


def test_pk_shows_no_image_much_more_often_than_another() -> None:
    # 150 labels of 4 images and one of 40: only the last batches need filling
    labels = np.array([*np.repeat(np.arange(150), 4), *[150] * 40])
    counts = Counter(chain(*(batch.tolist() for batch in pk_batches(labels, 32, 4, generator()))))
    assert max(counts.values()) <= 2
    assert sum(counts.values()) <= len(labels) + 8 * 4


LABELS = st.lists(st.integers(1, 15), min_size=1, max_size=20).map(
    lambda times: np.repeat(np.arange(len(times)), times)
)


@given(LABELS, st.integers(2, 5), st.integers(2, 6), st.integers(0, 99))
def test_pk_covers_everything_with_distinct_labels_in_full_batches(
    labels: np.ndarray, images_per_label: int, p: int, seed: int
) -> None:
    batches = pk_batches(labels, p * images_per_label, images_per_label, generator(seed))
    assert len(batches) == count_pk_batches(labels, p * images_per_label, images_per_label)
    assert set(chain(*(batch.tolist() for batch in batches))) == set(range(len(labels)))
    distinct = min(p, int(labels.max()) + 1)
    for batch in batches:
        counts = Counter(labels[batch].tolist())
        assert len(counts) == distinct
        assert set(counts.values()) == {images_per_label}


def test_a_label_is_grouped_differently_in_each_epoch() -> None:
    labels = np.repeat(np.arange(4), 8)
    groups = {
        frozenset(batch[labels[batch] == 0].tolist())
        for seed in range(10)
        for batch in pk_batches(labels, 16, 4, generator(seed))
    }
    # two groups of four in each of ten epochs, out of 70 possible ones
    assert len(groups) > 10


def test_a_label_that_is_not_in_every_batch_is_spread_over_the_epoch() -> None:
    # one label in four of six batches, beside 20 labels with one image each
    labels = np.array([0] * 16 + list(range(1, 21)))
    batches = [pk_batches(labels, 16, 4, generator(seed)) for seed in range(20)]
    gaps = [[i for i, batch in enumerate(epoch) if 0 not in labels[batch]] for epoch in batches]
    assert {len(epoch) for epoch in batches} == {6}
    assert any(gap[0] > 0 and gap[1] - gap[0] > 1 and gap[1] < 5 for gap in gaps if len(gap) == 2)


def test_a_label_with_enough_photographs_repeats_none_in_a_batch() -> None:
    labels = np.repeat(np.arange(10), 8)
    for batch in pk_batches(labels, 32, 4, generator()):
        assert len(set(batch.tolist())) == 32


@given(st.integers(1, 100), st.integers(2, 40), st.integers(0, 99))
def test_shuffled_shows_every_image_once_except_a_remainder_smaller_than_a_batch(
    count: int, batch_size: int, seed: int
) -> None:
    batches = shuffled_batches(count, batch_size, generator(seed))
    rows = [*chain(*(batch.tolist() for batch in batches))]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(count))
    if count < batch_size:
        assert [len(batch) for batch in batches] == [count]
    else:
        assert [len(batch) for batch in batches] == [batch_size] * (count // batch_size)


def test_pk_accepts_labels_with_gaps() -> None:
    # a cluster of images has some of the labels only
    batches = pk_batches(MIXED, 32, 4, generator())
    assert count_pk_batches(MIXED * 10 + 3, 32, 4) == len(batches)
    again = pk_batches(MIXED * 10 + 3, 32, 4, generator())
    assert all((one == two).all() for one, two in zip(batches, again, strict=True))


@given(LABELS, st.integers(2, 5), st.integers(2, 6), st.integers(0, 99))
def test_random_pk_draws_distinct_labels_and_repeats_no_image_without_need(
    labels: np.ndarray, images_per_label: int, p: int, seed: int
) -> None:
    batches = random_pk_batches(labels, p * images_per_label, images_per_label, generator(seed))
    distinct = min(p, int(labels.max()) + 1)
    assert len(batches) == -(-len(labels) // (distinct * images_per_label))
    for batch in batches:
        counts = Counter(labels[batch].tolist())
        assert len(counts) == distinct
        assert set(counts.values()) == {images_per_label}
        for label in counts:
            images = batch[labels[batch] == label]
            available = int((labels == label).sum())
            assert len(set(images.tolist())) == min(available, images_per_label)


def test_random_pk_draws_each_label_as_often_as_any_other() -> None:
    batches = [
        batch for seed in range(40) for batch in random_pk_batches(MIXED, 32, 4, generator(seed))
    ]
    counts = np.bincount(MIXED[np.concatenate(batches)]) / 4
    assert chisquare(counts).pvalue > 0.01


@given(LABELS, st.integers(2, 40), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(0, 99))
def test_a_balanced_epoch_draws_each_label_as_often_as_expected_up_to_rounding(
    labels: np.ndarray, batch_size: int, power: float, seed: int
) -> None:
    batches = balanced_batches(labels, batch_size, power, generator(seed))
    size = min(batch_size, len(labels))
    assert [len(batch) for batch in batches] == [size] * (len(labels) // size)
    images = np.concatenate(batches)
    for label in range(int(labels.max()) + 1):
        # every image of the set weighs n^-power, and the label has n of them
        weight = sum((labels == other).sum() ** -power for other in labels)
        available = int((labels == label).sum())
        expected = len(images) * available * available**-power / weight
        counts = np.bincount(images, minlength=len(labels))[labels == label]
        assert abs(counts.sum() - expected) < 1 + 1e-6
        assert max(counts) - min(counts) <= 1


def test_balanced_draws_labels_and_the_images_of_a_label_equally_often() -> None:
    epochs = [
        np.concatenate(balanced_batches(MIXED, 32, 1, generator(seed))) for seed in range(200)
    ]
    counts = np.bincount(np.concatenate(epochs), minlength=len(MIXED))
    expected = counts.sum() / 30 / np.bincount(MIXED)[MIXED]
    assert chisquare(counts, expected).pvalue > 0.01


def test_balanced_with_power_0_is_shuffled() -> None:
    (batch,) = balanced_batches(MIXED, len(MIXED), 0, generator())
    assert sorted(batch.tolist()) == list(range(len(MIXED)))


def test_the_rarest_labels_of_a_long_tail_are_in_every_balanced_epoch() -> None:
    labels = LONG_TAILED[np.concatenate([*balanced_batches(LONG_TAILED, 32, 1, generator())])]
    assert set(labels.tolist()) == set(range(1000))
    assert set(np.bincount(labels).tolist()) == {1, 2}


@pytest.mark.parametrize(
    ("sampler", "labels", "digest"),
    [
        (PK(images_per_label=4), LONG_TAILED, "b58a432433521883"),
        (PK(images_per_label=4), MIXED, "12dbac4154d6ea53"),
        (PK(images_per_label=2), LONG_TAILED, "5d6c2b4212cd50f8"),
        (PK(images_per_label=2), MIXED, "ca1b9158d1a9b1f2"),
        (Shuffled(), LONG_TAILED, "97379a8a2108f895"),
        (Shuffled(), MIXED, "f11d6334d254615a"),
    ],
)
def test_the_batches_of_published_plugins_do_not_change(
    sampler: Sampler, labels: np.ndarray, digest: str
) -> None:
    planner = planner_of(labels, plugin_with(sampler, seed=5))
    batches = [*planner.plan(1, None), *planner.plan(2, None)]
    written = "".join(",".join(map(str, batch.rows.tolist())) + ";" for batch in batches)
    assert sha256(written.encode()).hexdigest()[:16] == digest
    assert all(batch.flipped is None and batch.learner is None for batch in batches)
    assert all((labels[batch.rows] == batch.labels).all() for batch in batches)


def test_every_image_is_drawn_within_several_epochs() -> None:
    planner = planner_of(np.arange(47) % 2, plugin_with(Shuffled(), 32, epochs=10))
    assert {row for epoch in range(1, 11) for row in rows_of(planner.plan(epoch, None))} == {
        *range(47)
    }


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("others", [{}, {"unknown_share": 0.3}, {"flip_identities": True}])
def test_an_epoch_has_the_announced_number_of_batches(
    sampler: Sampler, others: dict[str, Any]
) -> None:
    for labels in (MIXED, MIXED[:5], LONG_TAILED):
        planner = planner_of(np.append(labels, UNKNOWN), plugin_with(sampler, 16, **others))
        assert len(planner.plan(1, None)) == planner.steps(1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_epoch_can_be_planned_again_and_the_next_one_differs(sampler: Sampler) -> None:
    plugin = plugin_with(sampler, unknown_share=0.25, flip_identities=True)
    one, two = (planner_of(WITH_UNKNOWN, plugin) for _ in range(2))
    first = one.plan(1, None)
    assert rows_of(one.plan(2, None)) != rows_of(first)
    two.restore(one.state())
    for planner in (one, two):
        assert planner.required_vectors(1) is None
        for before, batch in zip(first, planner.plan(1, None), strict=True):
            assert (before.rows == batch.rows).all()
            assert (before.labels == batch.labels).all()
            assert before.flipped is not None
            assert batch.flipped is not None
            assert (before.flipped == batch.flipped).all()
    assert rows_of(planned(WITH_UNKNOWN, plugin.model_copy(update={"seed": 1}))) != rows_of(first)


def test_unknown_images_are_not_sampled_without_a_share() -> None:
    for sampler in SAMPLERS:
        batches = planned(WITH_UNKNOWN, plugin_with(sampler))
        assert not set(rows_of(batches)) & set(np.flatnonzero(WITH_UNKNOWN == UNKNOWN).tolist())
        # and known images are drawn as if there were no others
        alone = planned(MIXED, plugin_with(sampler))
        known = np.flatnonzero(WITH_UNKNOWN != UNKNOWN)
        assert rows_of(batches) == known[rows_of(alone)].tolist()


@settings(max_examples=60)
@given(
    LABELS.filter(lambda labels: labels.max() > 0),
    st.integers(1, 30),
    st.floats(0.03, 0.7),
    st.sampled_from(SAMPLERS),
    st.booleans(),
)
def test_each_batch_has_its_share_of_unknown_images(
    labels: np.ndarray, unknown: int, share: float, sampler: Sampler, flip: bool
) -> None:
    labels = np.concatenate([labels, np.full(unknown, UNKNOWN)])
    batches = planned(labels, plugin_with(sampler, 32, unknown_share=share, flip_identities=flip))
    unknown_per_batch = round(share * 32)
    for batch in batches:
        assert int((batch.labels == UNKNOWN).sum()) == unknown_per_batch
        assert len(batch) <= 32
        assert (labels[batch.rows] == UNKNOWN).tolist() == (batch.labels == UNKNOWN).tolist()
        if isinstance(sampler, PK):
            counts = Counter(batch.labels[batch.labels != UNKNOWN].tolist())
            assert set(counts.values()) == {4}
            assert len(counts) <= (32 - unknown_per_batch) // 4
    shown = Counter(row for row in rows_of(batches) if labels[row] == UNKNOWN)
    # drawn in turn: no image is repeated before all others were drawn
    assert max(shown.values()) - (min(shown.values()) if len(shown) == unknown else 0) <= 1
    if sampler == PK(images_per_label=4):
        assert set(np.flatnonzero(labels != UNKNOWN).tolist()) <= set(rows_of(batches))


def test_unknown_images_displace_whole_labels() -> None:
    # 0.3 of 32 images are 10; 22 are left, five labels of four
    batch = planned(WITH_UNKNOWN, plugin_with(PK(images_per_label=4), unknown_share=0.3))[0]
    assert len(batch) == 10 + 20
    batch = planned(WITH_UNKNOWN, plugin_with(Shuffled(), unknown_share=0.3))[0]
    assert len(batch) == 10 + 22


@pytest.mark.parametrize(
    ("labels", "share", "message"),
    [
        (
            MIXED,
            0.25,
            "unknown_share = 0.25, but there are no images of unknown individuals to train on; "
            "set it to 0",
        ),
        (
            WITH_UNKNOWN,
            0.01,
            "unknown_share = 0.01 of batch_size = 32 is less than half an image; raise either",
        ),
        (
            WITH_UNKNOWN,
            0.8,
            "unknown_share = 0.8 of batch_size = 32 leaves no room for two known individuals; "
            "lower unknown_share",
        ),
    ],
)
def test_an_impossible_share_is_refused(labels: np.ndarray, share: float, message: str) -> None:
    with pytest.raises(KitboxError) as refused:
        planner_of(labels, plugin_with(PK(images_per_label=4), unknown_share=share))
    assert str(refused.value) == message


def test_an_epoch_has_every_image_as_it_is_and_flipped_as_another_individual() -> None:
    batches = planned(MIXED, plugin_with(Shuffled(), 2, flip_identities=True))
    shown = set()
    for batch in batches:
        assert batch.flipped is not None
        assert (batch.labels == MIXED[batch.rows] + 30 * batch.flipped).all()
        shown |= set(zip(batch.rows.tolist(), batch.flipped.tolist(), strict=True))
    assert shown == {(row, flipped) for row in range(len(MIXED)) for flipped in (False, True)}
    assert len(batches) == len(MIXED)


def test_pk_covers_every_image_of_a_long_tail_plain_and_flipped() -> None:
    plugin = plugin_with(PK(images_per_label=4), flip_identities=True)
    shown = set()
    for batch in planned(LONG_TAILED, plugin):
        assert batch.flipped is not None
        assert set(Counter(batch.labels.tolist()).values()) == {4}
        assert len(set(batch.labels.tolist())) == 8
        shown |= set(zip(batch.rows.tolist(), batch.flipped.tolist(), strict=True))
    assert len(shown) == 2 * len(LONG_TAILED)


def test_flipped_images_can_have_given_labels() -> None:
    # the first individual is symmetric, the second's flipped image is a third
    planner = SamplerPlanner(
        np.array([0, 1, UNKNOWN]),
        plugin_with(Shuffled(), 4, flip_identities=True),
        0,
        np.array([0, 2, 9]),
    )
    (batch,) = planner.plan(1, None)
    assert batch.flipped is not None
    shown = zip(batch.rows.tolist(), batch.flipped.tolist(), batch.labels.tolist(), strict=True)
    assert set(shown) == {(0, False, 0), (0, True, 0), (1, False, 1), (1, True, 2)}


def test_unknown_images_are_flipped_at_random_and_stay_unknown() -> None:
    plugin = plugin_with(Shuffled(), unknown_share=0.5, flip_identities=True, epochs=20)
    batches = [batch for epoch in range(1, 21) for batch in planned(WITH_UNKNOWN, plugin, epoch)]
    flipped = [
        batch.flipped[batch.labels == UNKNOWN] for batch in batches if batch.flipped is not None
    ]
    share = np.concatenate(flipped)
    assert abs(share.mean() - 0.5) < 3 * 0.5 / np.sqrt(len(share))


CURRICULUM = (
    Phase(epochs=2, min_images_per_label=5),
    Phase(epochs=1),
    Phase(epochs=3, min_images_per_label=1),
)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("flip", [False, True])
def test_a_curriculum_starts_with_the_most_photographed_individuals(
    sampler: Sampler, flip: bool
) -> None:
    plugin = plugin_with(
        sampler, 8, epochs=6, phases=CURRICULUM, min_images_per_label=2, flip_identities=flip
    )
    planner = planner_of(MIXED, plugin)
    counts = np.bincount(MIXED)
    for epoch, least in enumerate([5, 5, 2, 1, 1, 1], 1):
        batches = planner.plan(epoch, None)
        labels = set(chain(*(batch.labels.tolist() for batch in batches)))
        enough = set(np.flatnonzero(counts >= least).tolist())
        assert {label % 30 for label in labels} <= enough
        if sampler == PK(images_per_label=4):
            assert labels == enough | ({label + 30 for label in enough} if flip else set())
        assert planner.steps(epoch) == len(batches)
        assert planner.metrics() == {"labels": len(enough) * (1 + flip)}


def test_a_training_without_a_curriculum_has_no_metrics() -> None:
    planner = planner_of(MIXED, plugin_with(Shuffled()))
    planner.plan(1, None)
    assert planner.metrics() == {}


def test_a_phase_with_one_label_left_is_refused() -> None:
    phases = (Phase(epochs=1), Phase(epochs=2, min_images_per_label=7))
    labels = np.repeat(np.arange(4), [2, 2, 3, 7])
    with pytest.raises(KitboxError) as refused:
        planner_of(labels, plugin_with(Shuffled(), phases=phases))
    assert str(refused.value) == (
        "epoch 2 has only 1 of 4 labels, those with 7 or more images, and needs two; "
        "lower min_images_per_label"
    )
    with pytest.raises(KitboxError, match="epoch 1 has only 0 of 0 labels"):
        planner_of(np.full(9, UNKNOWN), plugin_with(Shuffled(), flip_identities=True))


def test_unknown_images_that_no_loss_uses_are_refused() -> None:
    with pytest.raises(KitboxError, match="but ArcFace leaves unknown images out; add a Binary"):
        planner_of(WITH_UNKNOWN, plugin_with(Shuffled(), unknown_share=0.5, losses=(ArcFace(),)))


def test_triplets_are_not_drawn_without_vectors() -> None:
    with pytest.raises(TypeError, match="Hardness samples triplets by vectors"):
        draw_batches(MIXED, Hardness(), 30, generator())


@pytest.mark.parametrize(
    ("batch_size", "least", "fix"),
    [
        (7, 7, "make batch_size 8 or more, or lower --devices"),
        (32, 7, "run 3 processes at most"),  # as of a small cluster of individuals
        (32, 1, "run 1 process at most"),
    ],
)
def test_a_batch_with_a_single_image_for_a_process_is_refused(
    batch_size: int, least: int, fix: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        check_shares(tiny(batch_size=batch_size), [batch_size, least], 4)
    what = f"a batch of {least} images is fewer than two for each of 4 processes"
    assert str(caught.value) == f"{what}; {fix}"


def test_two_images_for_each_process_are_enough() -> None:
    check_shares(tiny(batch_size=32), [8], 4)
    check_shares(tiny(batch_size=2), [1], 1)
