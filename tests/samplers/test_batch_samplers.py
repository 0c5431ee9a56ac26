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
    Triplet,
)
from kitbox.errors import KitboxError
from kitbox.plugin.samplers import Sampler
from kitbox.samplers.batch_samplers import (
    UNKNOWN,
    Batch,
    SamplerPlanner,
    balanced_batches,
    count_pk_batches,
    draw_batches,
    pk_batches,
    random_pk_batches,
    shuffled_batches,
)

# One individual with 500 photographs and 999 with one each, as lists of whales are.
LONG_TAILED = np.array([0] * 500 + list(range(1, 1000)))
# 30 individuals with one to seven.
MIXED = np.repeat(np.arange(30), np.arange(1, 31) % 7 + 1)
# The same and 40 photographs of nobody known, among them.
WITH_UNKNOWN = np.insert(MIXED, np.arange(40) * 2, UNKNOWN)

PK_RANDOM = PK(images_per_label=4, coverage="random")
SAMPLERS: list[Sampler] = [PK(images_per_label=4), PK_RANDOM, Balanced(), Shuffled()]


def drawn(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def plugin(sampler: Sampler, batch_size: int = 32, seed: int = 0, **others: Any) -> Plugin:
    given = {"sampler": sampler, "batch_size": batch_size, "seed": seed, "epochs": 3, **others}
    given = {"losses": (BinaryCrossEntropy(),), **given}
    return Plugin.model_validate({"backbone": "resnet10t", "image_size": 32, **given})


def sampled(labels: np.ndarray, asked: Plugin) -> SamplerPlanner:
    return SamplerPlanner(labels, asked, asked.seed)


def planned(labels: np.ndarray, asked: Plugin, epoch: int = 1) -> list[Batch]:
    return sampled(labels, asked).plan(epoch, None)


def rows_of(batches: list[Batch]) -> list[int]:
    return [*chain(*(batch.rows.tolist() for batch in batches))]


@pytest.mark.parametrize("images_per_label", [2, 4, 8])
def test_pk_shows_every_image_of_a_long_tail_in_every_epoch(images_per_label: int) -> None:
    batches = pk_batches(LONG_TAILED, 32, images_per_label, drawn())
    assert set(chain(*(batch.tolist() for batch in batches))) == set(range(1499))
    for batch in batches:
        counts = Counter(LONG_TAILED[batch].tolist())
        assert len(batch) == 32
        assert set(counts.values()) == {images_per_label}


def test_pk_of_a_long_tail_is_no_longer_than_it_must_be() -> None:
    # 125 groups of the many-photographed and 999 of the others, eight to a batch: 140.5
    assert count_pk_batches(LONG_TAILED, 32, 4) == 141
    # 250 groups of the one individual need a batch each, though 1249 / 16 is 78.1
    assert count_pk_batches(LONG_TAILED, 32, 2) == 250


def test_pk_shows_no_image_much_more_often_than_another() -> None:
    # 150 labels of 4 images and one of 40: everything fits, but for the last batches' filling
    labels = np.array([*np.repeat(np.arange(150), 4), *[150] * 40])
    counts = Counter(chain(*(batch.tolist() for batch in pk_batches(labels, 32, 4, drawn()))))
    assert max(counts.values()) <= 2
    assert sum(counts.values()) <= len(labels) + 8 * 4


LABELS = st.lists(st.integers(1, 15), min_size=1, max_size=20).map(
    lambda times: np.repeat(np.arange(len(times)), times)
)


@given(LABELS, st.integers(2, 5), st.integers(2, 6), st.integers(0, 99))
def test_pk_covers_everything_with_distinct_labels_in_full_batches(
    labels: np.ndarray, images_per_label: int, p: int, seed: int
) -> None:
    batches = pk_batches(labels, p * images_per_label, images_per_label, drawn(seed))
    assert len(batches) == count_pk_batches(labels, p * images_per_label, images_per_label)
    assert set(chain(*(batch.tolist() for batch in batches))) == set(range(len(labels)))
    distinct = min(p, int(labels.max()) + 1)
    for batch in batches:
        counts = Counter(labels[batch].tolist())
        assert len(counts) == distinct
        assert set(counts.values()) == {images_per_label}


def test_a_label_meets_itself_in_other_groups_in_each_epoch() -> None:
    labels = np.repeat(np.arange(4), 8)
    groups = {
        frozenset(batch[labels[batch] == 0].tolist())
        for seed in range(10)
        for batch in pk_batches(labels, 16, 4, drawn(seed))
    }
    # two groups of four in each of ten epochs, out of 70 that there are
    assert len(groups) > 10


def test_a_label_that_is_not_in_every_batch_is_spread_over_the_epoch() -> None:
    # one label in four of six batches, beside 20 labels with one image each
    labels = np.array([0] * 16 + list(range(1, 21)))
    batches = [pk_batches(labels, 16, 4, drawn(seed)) for seed in range(20)]
    gaps = [[i for i, batch in enumerate(epoch) if 0 not in labels[batch]] for epoch in batches]
    assert {len(epoch) for epoch in batches} == {6}
    assert any(gap[0] > 0 and gap[1] - gap[0] > 1 and gap[1] < 5 for gap in gaps if len(gap) == 2)


def test_a_label_with_photographs_enough_repeats_none_in_a_batch() -> None:
    labels = np.repeat(np.arange(10), 8)
    for batch in pk_batches(labels, 32, 4, drawn()):
        assert len(set(batch.tolist())) == 32


@given(st.integers(1, 100), st.integers(2, 40), st.integers(0, 99))
def test_shuffled_shows_every_image_once_but_for_a_rest_smaller_than_a_batch(
    count: int, batch_size: int, seed: int
) -> None:
    batches = shuffled_batches(count, batch_size, drawn(seed))
    rows = [*chain(*(batch.tolist() for batch in batches))]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(count))
    if count < batch_size:
        assert [len(batch) for batch in batches] == [count]
    else:
        assert [len(batch) for batch in batches] == [batch_size] * (count // batch_size)


def test_pk_takes_labels_as_they_are_named() -> None:
    # a cluster of images has some of the labels only
    batches = pk_batches(MIXED, 32, 4, drawn())
    assert count_pk_batches(MIXED * 10 + 3, 32, 4) == len(batches)
    again = pk_batches(MIXED * 10 + 3, 32, 4, drawn())
    assert all((one == two).all() for one, two in zip(batches, again, strict=True))


@given(LABELS, st.integers(2, 5), st.integers(2, 6), st.integers(0, 99))
def test_random_pk_draws_distinct_labels_and_repeats_no_image_that_it_need_not(
    labels: np.ndarray, images_per_label: int, p: int, seed: int
) -> None:
    batches = random_pk_batches(labels, p * images_per_label, images_per_label, drawn(seed))
    distinct = min(p, int(labels.max()) + 1)
    assert len(batches) == -(-len(labels) // (distinct * images_per_label))
    for batch in batches:
        counts = Counter(labels[batch].tolist())
        assert len(counts) == distinct
        assert set(counts.values()) == {images_per_label}
        for label in counts:
            images = batch[labels[batch] == label]
            there = int((labels == label).sum())
            assert len(set(images.tolist())) == min(there, images_per_label)


def test_random_pk_draws_each_label_as_often_as_any_other() -> None:
    batches = [
        batch for seed in range(40) for batch in random_pk_batches(MIXED, 32, 4, drawn(seed))
    ]
    counts = np.bincount(MIXED[np.concatenate(batches)]) / 4
    assert chisquare(counts).pvalue > 0.01


@given(LABELS, st.integers(2, 40), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(0, 99))
def test_a_balanced_epoch_has_each_label_as_often_as_it_is_due_but_for_less_than_one(
    labels: np.ndarray, batch_size: int, power: float, seed: int
) -> None:
    batches = balanced_batches(labels, batch_size, power, drawn(seed))
    size = min(batch_size, len(labels))
    assert [len(batch) for batch in batches] == [size] * (len(labels) // size)
    images = np.concatenate(batches)
    for label in range(int(labels.max()) + 1):
        # every image of the set weighs n^-power, and the label has n of them
        weight = sum((labels == other).sum() ** -power for other in labels)
        there = int((labels == label).sum())
        due = len(images) * there * there**-power / weight
        counts = np.bincount(images, minlength=len(labels))[labels == label]
        assert abs(counts.sum() - due) < 1 + 1e-6
        assert max(counts) - min(counts) <= 1


def test_balanced_draws_labels_and_the_images_of_a_label_equally_often() -> None:
    epochs = [np.concatenate(balanced_batches(MIXED, 32, 1, drawn(seed))) for seed in range(200)]
    counts = np.bincount(np.concatenate(epochs), minlength=len(MIXED))
    due = counts.sum() / 30 / np.bincount(MIXED)[MIXED]
    assert chisquare(counts, due).pvalue > 0.01


def test_balanced_with_power_0_is_shuffled() -> None:
    (batch,) = balanced_batches(MIXED, len(MIXED), 0, drawn())
    assert sorted(batch.tolist()) == list(range(len(MIXED)))


def test_the_rarest_labels_of_a_long_tail_are_in_every_balanced_epoch() -> None:
    labels = LONG_TAILED[np.concatenate([*balanced_batches(LONG_TAILED, 32, 1, drawn())])]
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
def test_the_batches_of_published_plugins_stay_as_they_were(
    sampler: Sampler, labels: np.ndarray, digest: str
) -> None:
    planner = sampled(labels, plugin(sampler, seed=5))
    batches = [*planner.plan(1, None), *planner.plan(2, None)]
    written = "".join(",".join(map(str, batch.rows.tolist())) + ";" for batch in batches)
    assert sha256(written.encode()).hexdigest()[:16] == digest
    assert all(batch.flipped is None and batch.learner is None for batch in batches)
    assert all((labels[batch.rows] == batch.labels).all() for batch in batches)


def test_every_image_has_its_turn_over_several_epochs() -> None:
    planner = sampled(np.arange(47) % 2, plugin(Shuffled(), 32, epochs=10))
    assert {row for epoch in range(1, 11) for row in rows_of(planner.plan(epoch, None))} == {
        *range(47)
    }


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("others", [{}, {"unknown_share": 0.3}, {"flip_identities": True}])
def test_an_epoch_is_as_long_as_it_says(sampler: Sampler, others: dict[str, Any]) -> None:
    for labels in (MIXED, MIXED[:5], LONG_TAILED):
        planner = sampled(np.append(labels, UNKNOWN), plugin(sampler, 16, **others))
        assert len(planner.plan(1, None)) == planner.steps(1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_epoch_can_be_planned_again_and_the_next_is_another(sampler: Sampler) -> None:
    asked = plugin(sampler, unknown_share=0.25, flip_identities=True)
    one, two = (sampled(WITH_UNKNOWN, asked) for _ in range(2))
    first = one.plan(1, None)
    assert rows_of(one.plan(2, None)) != rows_of(first)
    two.restore(one.state())
    for planner in (one, two):
        assert planner.required_vectors(1) is None
        for was, batch in zip(first, planner.plan(1, None), strict=True):
            assert (was.rows == batch.rows).all()
            assert (was.labels == batch.labels).all()
            assert was.flipped is not None
            assert batch.flipped is not None
            assert (was.flipped == batch.flipped).all()
    assert rows_of(planned(WITH_UNKNOWN, asked.model_copy(update={"seed": 1}))) != rows_of(first)


def test_unknown_images_are_not_sampled_unless_asked_for() -> None:
    for sampler in SAMPLERS:
        batches = planned(WITH_UNKNOWN, plugin(sampler))
        assert not set(rows_of(batches)) & set(np.flatnonzero(WITH_UNKNOWN == UNKNOWN).tolist())
        # and known ones are as if the others were not there
        alone = planned(MIXED, plugin(sampler))
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
    batches = planned(labels, plugin(sampler, 32, unknown_share=share, flip_identities=flip))
    strangers = round(share * 32)
    for batch in batches:
        assert int((batch.labels == UNKNOWN).sum()) == strangers
        assert len(batch) <= 32
        assert (labels[batch.rows] == UNKNOWN).tolist() == (batch.labels == UNKNOWN).tolist()
        if isinstance(sampler, PK):
            counts = Counter(batch.labels[batch.labels != UNKNOWN].tolist())
            assert set(counts.values()) == {4}
            assert len(counts) <= (32 - strangers) // 4
    shown = Counter(row for row in rows_of(batches) if labels[row] == UNKNOWN)
    # each comes in its turn: none twice more than another
    assert max(shown.values()) - (min(shown.values()) if len(shown) == unknown else 0) <= 1
    if sampler == PK(images_per_label=4):
        assert set(np.flatnonzero(labels != UNKNOWN).tolist()) <= set(rows_of(batches))


def test_a_share_of_unknown_images_makes_room_in_whole_labels() -> None:
    # of 32 images .3 are 10; 22 are left, five labels of four
    batch = planned(WITH_UNKNOWN, plugin(PK(images_per_label=4), unknown_share=0.3))[0]
    assert len(batch) == 10 + 20
    batch = planned(WITH_UNKNOWN, plugin(Shuffled(), unknown_share=0.3))[0]
    assert len(batch) == 10 + 22


@pytest.mark.parametrize(
    ("labels", "share", "message"),
    [
        (
            MIXED,
            0.25,
            "unknown_share = 0.25, but there are no images of unknown individuals to learn from; "
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
def test_a_share_that_cannot_be_is_refused(labels: np.ndarray, share: float, message: str) -> None:
    with pytest.raises(KitboxError) as refused:
        sampled(labels, plugin(PK(images_per_label=4), unknown_share=share))
    assert str(refused.value) == message


def test_an_epoch_has_every_image_as_it_is_and_flipped_as_another_individual() -> None:
    batches = planned(MIXED, plugin(Shuffled(), 2, flip_identities=True))
    seen = set()
    for batch in batches:
        assert batch.flipped is not None
        assert (batch.labels == MIXED[batch.rows] + 30 * batch.flipped).all()
        seen |= set(zip(batch.rows.tolist(), batch.flipped.tolist(), strict=True))
    assert seen == {(row, flipped) for row in range(len(MIXED)) for flipped in (False, True)}
    assert len(batches) == len(MIXED)


def test_pk_covers_every_image_of_a_long_tail_both_ways() -> None:
    asked = plugin(PK(images_per_label=4), flip_identities=True)
    seen = set()
    for batch in planned(LONG_TAILED, asked):
        assert batch.flipped is not None
        assert set(Counter(batch.labels.tolist()).values()) == {4}
        assert len(set(batch.labels.tolist())) == 8
        seen |= set(zip(batch.rows.tolist(), batch.flipped.tolist(), strict=True))
    assert len(seen) == 2 * len(LONG_TAILED)


def test_flipped_images_may_be_given_labels() -> None:
    # the first individual is symmetric, the second's flipped image is a third
    planner = SamplerPlanner(
        np.array([0, 1, UNKNOWN]),
        plugin(Shuffled(), 4, flip_identities=True),
        0,
        np.array([0, 2, 9]),
    )
    (batch,) = planner.plan(1, None)
    assert batch.flipped is not None
    shown = zip(batch.rows.tolist(), batch.flipped.tolist(), batch.labels.tolist(), strict=True)
    assert set(shown) == {(0, False, 0), (0, True, 0), (1, False, 1), (1, True, 2)}


def test_unknown_images_are_flipped_by_chance_and_stay_unknown() -> None:
    asked = plugin(Shuffled(), unknown_share=0.5, flip_identities=True, epochs=20)
    batches = [batch for epoch in range(1, 21) for batch in planned(WITH_UNKNOWN, asked, epoch)]
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
def test_a_curriculum_goes_from_the_most_photographed_to_all(sampler: Sampler, flip: bool) -> None:
    asked = plugin(
        sampler, 8, epochs=6, phases=CURRICULUM, min_images_per_label=2, flip_identities=flip
    )
    planner = sampled(MIXED, asked)
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


def test_a_training_without_a_curriculum_tells_nothing() -> None:
    planner = sampled(MIXED, plugin(Shuffled()))
    planner.plan(1, None)
    assert planner.metrics() == {}


def test_a_stage_with_one_label_left_is_refused() -> None:
    stages = (Phase(epochs=1), Phase(epochs=2, min_images_per_label=7))
    labels = np.repeat(np.arange(4), [2, 2, 3, 7])
    with pytest.raises(KitboxError) as refused:
        sampled(labels, plugin(Shuffled(), phases=stages))
    assert str(refused.value) == (
        "epoch 2 has 1 of 4 labels to learn, those with 7 or more images; "
        "lower min_images_per_label"
    )
    with pytest.raises(KitboxError, match="epoch 1 has 0 of 0 labels to learn"):
        sampled(np.full(9, UNKNOWN), plugin(Shuffled(), flip_identities=True))


def test_unknown_images_that_no_loss_looks_at_are_refused() -> None:
    with pytest.raises(KitboxError, match="but ArcFace leaves unknown images out; add a Binary"):
        sampled(WITH_UNKNOWN, plugin(Shuffled(), unknown_share=0.5, losses=(ArcFace(),)))


def test_a_sequence_of_triplets_is_not_drawn_by_chance() -> None:
    asked = plugin(Hardness(), 30, losses=(Triplet(mining="sequence"),))
    with pytest.raises(TypeError, match="Hardness is a sequence of triplets"):
        draw_batches(MIXED, asked.sampler, 30, drawn())
