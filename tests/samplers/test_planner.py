"""Planners of plugins, augmentation seeds, and the shares of several processes."""

from itertools import chain

import numpy as np
import pytest

from kitbox import PK, Divide, Hardness, Plugin, Shuffled, Triplet
from kitbox.images.loader import BatchItem
from kitbox.plugin.samplers import Sampler
from kitbox.records import Strings, strings
from kitbox.samplers.batch_samplers import Batch, SamplerPlanner
from kitbox.samplers.divide_and_conquer import DividedPlanner
from kitbox.samplers.hardness_sequencing import HardnessPlanner
from kitbox.samplers.planner import BatchSampler, build_planner
from tests.photographs import tiny

# 30 individuals with one to seven photographs.
MIXED = np.repeat(np.arange(30), np.arange(1, 31) % 7 + 1)


def batch_sampler(
    labels: np.ndarray, sampler: Sampler, ids: Strings | None = None, rank: int = 0, world: int = 1
) -> BatchSampler:
    """Return a batch sampler with the batches of the first epoch."""
    plugin = tiny(sampler=sampler, batch_size=32)
    names = strings([f"{row}.jpg" for row in range(len(labels))]) if ids is None else ids
    batches = BatchSampler(names, plugin.seed, rank=rank, world=world)
    batches.batches = build_planner(plugin, labels, plugin.seed).plan(1, None)
    return batches


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("sampler", [PK(images_per_label=4), Shuffled()])
def test_several_processes_share_each_batch(sampler: PK | Shuffled, world: int) -> None:
    alone = batch_sampler(MIXED, sampler)
    shares = [batch_sampler(MIXED, sampler, rank=rank, world=world) for rank in range(world)]
    for batch, *parts in zip(alone, *shares, strict=True):
        assert sorted(chain(*parts)) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        # as they are gathered: image i of a batch is that of process i mod world
        assert [parts[i % world][i // world] for i in range(len(batch))] == batch


def test_an_image_has_another_augmentation_in_each_epoch_and_for_each_repeat() -> None:
    # one photograph of each individual: PK repeats it four times in its batch
    sampler = batch_sampler(np.arange(8), PK(images_per_label=4))
    items: list[BatchItem] = []
    for sampler.epoch in range(3):
        items += chain(*sampler)
    assert len(items) == len(set(items)) == 3 * 32


def test_augmentation_seeds_follow_image_ids_and_not_rows() -> None:
    labels = np.repeat(np.arange(8), 4)
    others = strings([f"other-{row}.jpg" for row in range(32)])
    (one,), (two,) = (batch_sampler(labels, Shuffled(), ids) for ids in (None, others))
    assert [item.row for item in one] == [item.row for item in two]
    assert not {item.seed for item in one} & {item.seed for item in two}


def test_images_are_flipped_where_the_batch_flips_them() -> None:
    sampler = BatchSampler(strings(["a", "b"]), 0)
    sampler.batches = [Batch(np.array([1, 0]), np.array([3, 0]), np.array([True, False]))]
    assert [(item.row, item.flipped) for item in next(iter(sampler))] == [(1, True), (0, False)]


def test_each_plugin_has_its_planner() -> None:
    def kind(plugin: Plugin) -> type:
        return type(build_planner(plugin, MIXED, 0))

    pairs = {"losses": [Triplet()], "sampler": PK(images_per_label=2), "embedding_dim": 8}
    assert kind(tiny()) is SamplerPlanner
    assert kind(tiny(**pairs)) is SamplerPlanner
    assert kind(tiny(**pairs, divide=Divide(learners=2))) is DividedPlanner
    hard = tiny(losses=[Triplet(mining="sequence")], sampler=Hardness(), batch_size=6)
    assert kind(hard) is HardnessPlanner
