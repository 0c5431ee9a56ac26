from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox import PK, Plugin, Shuffled
from kitbox.records import strings
from kitbox.training.samplers import EpochBatches, pk, pk_batches, shuffled

# One individual with 500 photographs and 999 with one each, as lists of whales are.
LONG_TAILED = np.array([0] * 500 + list(range(1, 1000)))


def drawn(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def plugin(sampler: PK | Shuffled, batch_size: int = 32, seed: int = 0) -> Plugin:
    return Plugin(
        backbone="resnet10t",
        image_size=32,
        epochs=3,
        sampler=sampler,
        batch_size=batch_size,
        seed=seed,
    )


def epochs_of(labels: np.ndarray, asked: Plugin, *, rank: int = 0, world: int = 1) -> EpochBatches:
    ids = strings([f"{row}.jpg" for row in range(len(labels))])
    return EpochBatches(ids, labels, asked, asked.seed, rank=rank, world=world)


@pytest.mark.parametrize("images_per_label", [2, 4, 8])
def test_pk_shows_every_image_of_a_long_tail_in_every_epoch(images_per_label: int) -> None:
    batches = pk(LONG_TAILED, 32, images_per_label, drawn())
    assert set(chain(*(batch.tolist() for batch in batches))) == set(range(1499))
    for batch in batches:
        counts = Counter(LONG_TAILED[batch].tolist())
        assert len(batch) == 32
        assert set(counts.values()) == {images_per_label}


def test_pk_of_a_long_tail_is_no_longer_than_it_must_be() -> None:
    # 125 groups of the many-photographed and 999 of the others, eight to a batch: 140.5
    assert pk_batches(LONG_TAILED, 32, 4) == 141
    # 250 groups of the one individual need a batch each, though 1249 / 16 is 78.1
    assert pk_batches(LONG_TAILED, 32, 2) == 250


def test_pk_shows_no_image_much_more_often_than_another() -> None:
    # 150 labels of 4 images and one of 40: everything fits, but for the last batches' filling
    labels = np.array([*np.repeat(np.arange(150), 4), *[150] * 40])
    counts = Counter(chain(*(batch.tolist() for batch in pk(labels, 32, 4, drawn()))))
    assert max(counts.values()) <= 2
    assert sum(counts.values()) <= len(labels) + 8 * 4


LABELS = st.lists(st.integers(1, 15), min_size=1, max_size=20).map(
    lambda times: np.repeat(np.arange(len(times)), times)
)


@given(LABELS, st.integers(2, 5), st.integers(2, 6), st.integers(0, 99))
def test_pk_covers_everything_with_distinct_labels_in_full_batches(
    labels: np.ndarray, images_per_label: int, p: int, seed: int
) -> None:
    batches = pk(labels, p * images_per_label, images_per_label, drawn(seed))
    assert len(batches) == pk_batches(labels, p * images_per_label, images_per_label)
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
        for batch in pk(labels, 16, 4, drawn(seed))
    }
    # two groups of four in each of ten epochs, out of 70 that there are
    assert len(groups) > 10


def test_a_label_that_is_not_in_every_batch_is_spread_over_the_epoch() -> None:
    # one label in four of six batches, beside 20 labels with one image each
    labels = np.array([0] * 16 + list(range(1, 21)))
    batches = [pk(labels, 16, 4, drawn(seed)) for seed in range(20)]
    gaps = [[i for i, batch in enumerate(epoch) if 0 not in labels[batch]] for epoch in batches]
    assert {len(epoch) for epoch in batches} == {6}
    assert any(gap[0] > 0 and gap[1] - gap[0] > 1 and gap[1] < 5 for gap in gaps if len(gap) == 2)


def test_a_label_with_photographs_enough_repeats_none_in_a_batch() -> None:
    labels = np.repeat(np.arange(10), 8)
    for batch in pk(labels, 32, 4, drawn()):
        assert len(set(batch.tolist())) == 32


@given(st.integers(1, 100), st.integers(2, 40), st.integers(0, 99))
def test_shuffled_shows_every_image_once_but_for_a_rest_smaller_than_a_batch(
    count: int, batch_size: int, seed: int
) -> None:
    batches = shuffled(count, batch_size, drawn(seed))
    rows = [*chain(*(batch.tolist() for batch in batches))]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(count))
    if count < batch_size:
        assert [len(batch) for batch in batches] == [count]
    else:
        assert [len(batch) for batch in batches] == [batch_size] * (count // batch_size)


def test_every_image_has_its_turn_over_several_epochs() -> None:
    batches = epochs_of(np.zeros(47, dtype=np.int64), plugin(Shuffled(), 32))
    seen = set()
    for batches.epoch in range(10):
        seen |= {row for batch in batches for row, _ in batch}
    assert seen == set(range(47))


MIXED = np.repeat(np.arange(30), np.arange(1, 31) % 7 + 1)


@pytest.mark.parametrize("sampler", [PK(images_per_label=4), Shuffled()])
def test_an_epoch_is_as_long_as_it_says(sampler: PK | Shuffled) -> None:
    for labels in (MIXED, MIXED[:5], LONG_TAILED):
        batches = epochs_of(labels, plugin(sampler, 16))
        assert len(list(batches)) == len(batches)


@pytest.mark.parametrize("sampler", [PK(images_per_label=4), Shuffled()])
def test_an_epoch_can_be_drawn_again_and_the_next_is_another(sampler: PK | Shuffled) -> None:
    one, two = (epochs_of(MIXED, plugin(sampler)) for _ in range(2))
    first = list(one)
    assert first == list(one) == list(two)
    one.epoch = 1
    assert [[row for row, _ in batch] for batch in one] != [
        [row for row, _ in batch] for batch in first
    ]
    assert list(epochs_of(MIXED, plugin(sampler, seed=1))) != first


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("sampler", [PK(images_per_label=4), Shuffled()])
def test_several_processes_share_each_batch(sampler: PK | Shuffled, world: int) -> None:
    alone = list(epochs_of(MIXED, plugin(sampler)))
    shares = [
        list(epochs_of(MIXED, plugin(sampler), rank=rank, world=world)) for rank in range(world)
    ]
    assert {len(share) for share in shares} == {len(alone)}
    for place, batch in enumerate(alone):
        parts = [share[place] for share in shares]
        assert sorted(chain(*parts)) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_an_image_is_augmented_anew_in_each_epoch_and_each_time_it_is_repeated() -> None:
    # one photograph of each individual: PK repeats it four times in its batch
    batches = epochs_of(np.arange(8), plugin(PK(images_per_label=4), 32))
    seeds: list[tuple[int, int]] = []
    for batches.epoch in range(3):
        seeds += chain(*batches)
    assert len(seeds) == len(set(seeds)) == 3 * 32


def test_augmentation_belongs_to_the_image_and_not_to_its_row() -> None:
    labels = np.zeros(32, dtype=np.int64)
    ids = strings([f"{row}.jpg" for row in range(32)])
    others = strings([f"other-{row}.jpg" for row in range(32)])
    asked = plugin(Shuffled())
    (one,), (two,) = (
        list(EpochBatches(names, labels, asked, asked.seed)) for names in (ids, others)
    )
    assert [row for row, _ in one] == [row for row, _ in two]
    assert not {seed for _, seed in one} & {seed for _, seed in two}
