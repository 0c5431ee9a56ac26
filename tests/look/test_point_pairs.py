"""Points that two photographs share, in pixels of both."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kitbox.errors import KitboxError
from kitbox.keypoints import match_cache
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.look.point_pairs import pair_points
from kitbox.records import ImageSet, strings
from kitbox.workspace import Workspace

SHIFT = 30


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    """Return a picture of random blocks, the same shifted to the right, and a grey one."""
    blocks = np.random.default_rng(5).integers(0, 255, (24, 40, 1), dtype=np.uint8)
    picture = np.repeat(np.kron(blocks, np.ones((10, 10, 1), dtype=np.uint8)), 3, axis=2)
    shifted = np.roll(picture, SHIFT, axis=1)
    for name, pixels in (("a", picture), ("b", shifted), ("grey", np.full_like(picture, 128))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    names = ["a", "b", "grey", "broken"]
    boxes = np.full((4, 4), np.nan, dtype=np.float32)
    boxes[1] = 20, 20, 380, 220
    return ImageSet(
        strings(names),
        tuple(tmp_path / f"{name}.png" for name in names),
        boxes=boxes,
        digests=strings(names),
    )


def test_matched_points_lie_on_the_same_place_of_both_photographs(
    images: ImageSet, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path)
    found = pair_points(MatchSettings.parse("sift"), images, "a", "b", workspace)
    assert found.agrees.sum() > 20
    shift = (found.second - found.first)[found.agrees]
    assert np.abs(np.median(shift, axis=0) - [SHIFT, 0]).max() < 1
    x, y = found.second[:, 0], found.second[:, 1]
    assert x.min() >= 0  # the box with its margin
    assert x.max() <= 400
    assert y.max() <= 240
    # the keypoints are those of the cache now, and the other order is the same
    with match_cache.open_features(workspace) as store:
        assert store._database.execute("SELECT count(*) FROM features").fetchone() == (2,)
    back = pair_points(MatchSettings.parse("sift"), images, "b", "a", workspace)
    assert len(back.first) == len(found.first)


@pytest.mark.parametrize(
    ("other", "method", "message"),
    [
        ("grey", "sift", "no points can be matched: no keypoints were found in 'grey'"),
        ("broken", "sift", "no points can be matched: .*broken.png is not an image"),
        ("b", "disk+lightglue", "the points of disk.lightglue are not kept.*show the points of si"),
    ],
)
def test_photographs_without_points_are_named(
    images: ImageSet, tmp_path: Path, other: str, method: str, message: str
) -> None:
    with pytest.raises(KitboxError, match=message):
        pair_points(MatchSettings.parse(method), images, "a", other, Workspace(tmp_path))
