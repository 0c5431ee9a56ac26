"""Images with drawn boxes, and their split."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.boxes import detector_data
from kitbox.competition.settings import HoldoutSettings
from kitbox.errors import KitboxError
from kitbox.records import ImageSet, strings
from kitbox.workspace import Workspace
from tests.boxes.scenes import scene, scenes
from tests.photographs import finish


def test_images_without_a_box_are_left_out(tmp_path: Path) -> None:
    names = ["a.png", "b.png", "c.png"]
    paths = tuple(scene(tmp_path / name, (10, 10, 30, 30), (64, 48)) for name in names)
    images = ImageSet(strings(names), paths)
    drawn = detector_data.with_boxes(
        images, {"c.png": [(1, 2, 3, 4), (5, 6, 7, 8)], "z.png": [(0, 0, 1, 1)]}
    )
    assert drawn.images.image_ids.tolist() == ["c.png"]
    assert drawn.sizes.tolist() == [[64, 48]]
    assert drawn.boxes[0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert drawn.shape == pytest.approx(64 / 48)
    assert len(detector_data.with_boxes(images, {})) == 0


def test_boxes_are_clipped_to_their_images_and_empty_ones_left_out(tmp_path: Path) -> None:
    names = ["a.png", "b.png", "c.png"]
    paths = tuple(scene(tmp_path / name, (10, 10, 30, 30), (64, 48)) for name in names)
    corners = {
        "a.png": [(-5, 2, 70, 30), (64, 0, 80, 20)],
        "b.png": [(0, 50, 10, 60)],
        "c.png": [(0, 0, 64, 48)],
    }
    drawn, changed = detector_data.clip_boxes(
        detector_data.with_boxes(ImageSet(strings(names), paths), corners)
    )
    assert drawn.images.image_ids.tolist() == ["a.png", "c.png"]
    assert [each.tolist() for each in drawn.boxes] == [[[0, 2, 64, 30]], [[0, 0, 64, 48]]]
    assert changed == 3


UNITS = st.lists(st.integers(0, 9), min_size=1, max_size=30)


@given(UNITS, st.floats(0, 0.9), st.integers(0, 5))
def test_a_unit_is_never_split(numbers: list[int], share: float, seed: int) -> None:
    units = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    most, sizes = round(share * len(units)), np.bincount(units)
    if most and (len(sizes) == 1 or most == len(units)):
        return  # see the next test
    training, held = detector_data.split(units, share, seed)
    assert sorted([*training, *held]) == list(range(len(units)))
    assert not set(units[training]) & set(units[held])
    assert len(training)
    if most >= sizes.min():
        assert most - sizes.max() < len(held) <= most
    else:
        assert len(held) == (sizes.min() if most else 0)


def test_images_that_are_all_one_unit_are_refused() -> None:
    with pytest.raises(KitboxError, match=r"the 24 images .* hold none out with --held-out 0"):
        detector_data.split(np.zeros(24, dtype=np.int64), 0.2, 0)
    assert len(detector_data.split(np.zeros(24, dtype=np.int64), 0.0, 0)[0]) == 24


def test_a_unit_larger_than_the_share_is_not_held_out() -> None:
    units = np.repeat(np.arange(5), [20, 1, 1, 1, 1]).astype(np.int64)
    assert [len(detector_data.split(units, 0.1, seed)[1]) for seed in range(5)] == [2] * 5


def test_a_share_of_0_holds_nothing_out() -> None:
    training, held = detector_data.split(np.arange(5), 0.0, 0)
    assert (training.tolist(), held.tolist()) == ([0, 1, 2, 3, 4], [])


def test_copies_are_one_unit(tmp_path: Path) -> None:
    drawn = scenes(tmp_path / "images", 3)
    drawn.images.paths[2].write_bytes(drawn.images.paths[0].read_bytes())
    _, units = finish(detector_data.split_units(drawn, HoldoutSettings(), Workspace(tmp_path)))
    assert units[0] == units[2] != units[1]


def test_too_few_boxes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KitboxError, match="3 images have a drawn box, and a detector needs 20"):
        detector_data.require_enough(scenes(tmp_path, 3))
