"""What a loader is asked for: seeds of images, and shares of processes."""

from itertools import chain

import numpy as np
import pytest

from kitbox import PK, Divide, Hardness, Plugin, Shuffled, Triplet
from kitbox.errors import KitboxError
from kitbox.images.loader import BatchItem
from kitbox.plugin.samplers import Sampler
from kitbox.records import Strings, strings
from kitbox.samplers.batch_samplers import Batch, SamplerPlanner
from kitbox.samplers.divide_and_conquer import DividedPlanner
from kitbox.samplers.hardness_sequencing import HardnessPlanner
from kitbox.samplers.planner import BatchSampler, block_size, build_planner
from tests.photographs import tiny

# 30 individuals with one to seven photographs.
MIXED = np.repeat(np.arange(30), np.arange(1, 31) % 7 + 1)


def asked_for(
    labels: np.ndarray, sampler: Sampler, ids: Strings | None = None, rank: int = 0, world: int = 1
) -> BatchSampler:
    plugin = tiny(sampler=sampler, batch_size=32)
    names = strings([f"{row}.jpg" for row in range(len(labels))]) if ids is None else ids
    asked = BatchSampler(names, plugin.seed, rank, world)
    asked.batches = build_planner(plugin, labels, plugin.seed).plan(1, None)
    return asked


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("sampler", [PK(images_per_label=4), Shuffled()])
def test_several_processes_share_each_batch(sampler: PK | Shuffled, world: int) -> None:
    alone = asked_for(MIXED, sampler)
    shares = [asked_for(MIXED, sampler, rank=rank, world=world) for rank in range(world)]
    for place, (batch, *parts) in enumerate(zip(alone, *shares, strict=True)):
        assert sorted(chain(*parts)) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        labels = [share.labels(share.batches[place]).tolist() for share in shares]
        assert [[MIXED[item.row] for item in part] for part in parts] == labels


def test_an_image_is_augmented_anew_in_each_epoch_and_each_time_it_is_repeated() -> None:
    # one photograph of each individual: PK repeats it four times in its batch
    asked = asked_for(np.arange(8), PK(images_per_label=4))
    seeds: list[BatchItem] = []
    for asked.epoch in range(3):
        seeds += chain(*asked)
    assert len(seeds) == len(set(seeds)) == 3 * 32


def test_augmentation_belongs_to_the_image_and_not_to_its_row() -> None:
    labels = np.repeat(np.arange(8), 4)
    others = strings([f"other-{row}.jpg" for row in range(32)])
    (one,), (two,) = (asked_for(labels, Shuffled(), ids) for ids in (None, others))
    assert [item.row for item in one] == [item.row for item in two]
    assert not {item.seed for item in one} & {item.seed for item in two}


def test_an_image_is_mirrored_where_its_batch_says_so() -> None:
    asked = BatchSampler(strings(["a", "b"]), 0, 0, 1)
    asked.batches = [Batch(np.array([1, 0]), np.array([3, 0]), np.array([True, False]))]
    assert [(item.row, item.flipped) for item in next(iter(asked))] == [(1, True), (0, False)]


def test_each_plugin_has_its_planner() -> None:
    def kind(plugin: Plugin) -> type:
        return type(build_planner(plugin, MIXED, 0))

    pairs = {"losses": [Triplet()], "sampler": PK(images_per_label=2), "embedding_dim": 8}
    assert kind(tiny()) is SamplerPlanner
    assert kind(tiny(**pairs)) is SamplerPlanner
    assert kind(tiny(**pairs, divide=Divide(learners=2))) is DividedPlanner
    hard = tiny(losses=[Triplet(mining="sequence")], sampler=Hardness(), batch_size=6)
    assert kind(hard) is HardnessPlanner


SEQUENCED = {"losses": [Triplet(mining="sequence")], "sampler": Hardness()}


def shared(plugin: Plugin, labels: np.ndarray, world: int) -> list[list[list[int]]]:
    """Return the labels of each process's share of the batches of an epoch."""
    ids = strings([str(row) for row in range(len(labels))])
    batches = build_planner(plugin, labels, 0).plan(1, np.eye(len(labels), dtype=np.float32))
    shares = []
    for rank in range(world):
        asked = BatchSampler(ids, 0, rank, world, block_size(plugin, world))
        shares.append([asked.labels(batch).tolist() for batch in batches])
    return shares


@pytest.mark.parametrize("world", [1, 2, 4])
def test_each_process_gets_whole_triplets(world: int) -> None:
    plugin = tiny(**SEQUENCED, batch_size=12)
    shares = shared(plugin, MIXED, world)
    for share in shares:
        for labels in share:
            anchors, positives, negatives = np.array(labels).reshape(3, -1)
            assert (anchors == positives).all()
            assert (anchors != negatives).all()
    whole = shared(plugin, MIXED, 1)[0]
    for place, batch in enumerate(whole):
        assert sorted(chain(*(share[place] for share in shares))) == sorted(batch)


@pytest.mark.parametrize("world", [2, 3])
def test_each_process_gets_pairs_where_a_loss_needs_them(world: int) -> None:
    plugin = tiny(losses=[Triplet()], sampler=PK(images_per_label=2), batch_size=12)
    for share in shared(plugin, MIXED, world):
        for labels in share:
            assert set(np.unique(labels, return_counts=True)[1]) == {2}
            assert len(set(labels)) == 6 / world


def test_what_processes_cannot_share_is_refused() -> None:
    with pytest.raises(KitboxError) as caught:
        block_size(tiny(**SEQUENCED, batch_size=12), 3)
    assert str(caught.value) == (
        "batch_size = 12 is 4 triplets, which 3 processes cannot share equally; "
        "make it a multiple of 9, or change --devices"
    )
    pairs = tiny(losses=[Triplet()], sampler=PK(images_per_label=2), batch_size=8)
    assert block_size(pairs, 2) == 2
    with pytest.raises(KitboxError) as caught:
        block_size(pairs, 3)
    assert str(caught.value) == (
        "batch_size = 8 is 4 labels, of which 3 processes cannot have two each; "
        "make it 12 or more, or lower --devices"
    )
    assert block_size(tiny(sampler=PK(images_per_label=2)), 4) == 1
