"""Local features: what is read of a photograph, and which keypoints count."""

import numpy as np
import pytest
from PIL import Image

from kitbox.errors import KitboxError
from kitbox.images.preprocessing import EXIF_ORIENTATION
from kitbox.keypoints.local_features import LocalFeatures, read_picture


def features(points, scores):
    rows = np.arange(len(points), dtype=np.uint8)[:, None]
    return LocalFeatures(
        np.array(points, dtype=np.float32).reshape(-1, 2),
        rows,
        np.array(scores, dtype=np.float32),
        (10, 10),
    )


def test_the_best_have_the_highest_scores_and_equals_are_ordered_by_place():
    found = features([(3, 1), (1, 2), (1, 1), (0, 0)], [2, 2, 2, 1])
    assert found.best(3).points.tolist() == [[1, 1], [1, 2], [3, 1]]
    assert found.best(9).descriptors.ravel().tolist() == [2, 1, 0, 3]


def test_points_on_the_edge_of_the_box_are_inside():
    found = features([(2, 2), (1.9, 3), (5, 6), (5, 6.1)], [1, 1, 1, 1])
    assert found.inside((2, 2, 5, 6)).points.tolist() == [[2, 2], [5, 6]]
    assert found.inside(None) is found


def test_features_read_back_as_they_were_written():
    found = features([(0.5, 1.25), (3, 4)], [0.1, 0.2])
    again = LocalFeatures.from_bytes(found.to_bytes())
    for name in ("points", "descriptors", "scores"):
        one, two = getattr(found, name), getattr(again, name)
        assert one.dtype == two.dtype
        assert one.tolist() == two.tolist()
    assert again.size == (10, 10)


def test_rows_that_do_not_fit_together_are_refused():
    with pytest.raises(KitboxError, match="do not fit together"):
        features([(0, 0)], [1, 2])


def test_the_longer_side_of_a_whole_photograph_has_the_size(tmp_path):
    Image.new("RGB", (80, 40)).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png", None, size=160, margin=0.05)
    assert picture.pixels.shape == (80, 160, 3)
    assert picture.box is None


def test_a_box_has_the_size_with_its_margin_and_pixels_around_it_come_on_top(tmp_path):
    Image.new("RGB", (1000, 800)).save(tmp_path / "a.png")
    # 200 x 100 with a tenth on each side: 240 x 120, read with another tenth: 280 x 140
    picture = read_picture(tmp_path / "a.png", (400, 300, 600, 400), size=480, margin=0.1)
    assert picture.pixels.shape == (280, 560, 3)
    assert picture.box == pytest.approx((40, 20, 520, 260))


def test_a_box_at_the_edge_has_nothing_around_it(tmp_path):
    Image.new("RGB", (1000, 800)).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png", (0, 0, 1000, 800), size=500, margin=0.1)
    assert picture.pixels.shape == (400, 500, 3)
    assert picture.box is None


def test_a_photograph_is_turned_upright_before_its_box_is_cut(tmp_path):
    pixels = np.zeros((40, 80, 3), dtype=np.uint8)
    pixels[:, :40] = 255
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6  # turn a quarter to the right: 40 wide, 80 high, white above
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    picture = read_picture(tmp_path / "a.png", (0, 40, 40, 80), size=40, margin=0)
    upper, lower = picture.pixels[:3].mean(), picture.pixels[10:].mean()
    assert upper > 200  # what lies around the box
    assert lower < 5
    assert picture.box == pytest.approx((0, 4, 40, 44))
