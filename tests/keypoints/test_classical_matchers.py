"""OpenCV's matchers: mutual matches by hand, inliers of known maps, drawn flukes."""

import cv2
import numpy as np
import pytest
from PIL import Image

from kitbox.errors import KitboxError
from kitbox.keypoints.classical_matchers import count_inliers, mutual_matches
from kitbox.keypoints.local_features import LocalFeatures, read_picture
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.keypoints.matcher import matcher_of
from tests.keypoints.flukes import draw_flukes

HAS_KAZE = hasattr(cv2, "KAZE") or hasattr(getattr(cv2, "xfeatures2d", None), "KAZE")


def matches(distances, ratio=1.0):
    rows, columns = mutual_matches(np.array(distances, dtype=np.float32), ratio)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def test_matches_are_each_others_nearest():
    # row 1 is nearest to column 0, which prefers row 0
    assert matches([[1, 9, 9], [2, 9, 8], [9, 3, 9]]) == [(0, 0), (2, 1)]


def test_a_match_is_clearly_nearer_than_the_second_from_both_sides():
    table = [[1.0, 4, 9], [9, 2, 9], [1.5, 9, 9]]
    assert matches(table) == [(0, 0), (1, 1)]
    # 1 is not below 0.6 of 1.5, the second of column 0; 2 is below 0.6 of 4
    assert matches(table, 0.6) == [(1, 1)]


def test_one_keypoint_has_no_second_to_compare_with():
    assert matches([[1.0]]) == []
    assert matches([[1.0, 2.0]]) == []


def test_repeated_keypoints_are_no_match():
    assert matches([[0.0, 0.0], [5, 6]], 0.9) == []


def test_matches_of_the_transposed_table_are_the_transposed_matches():
    table = np.random.default_rng(0).random((40, 30)).astype(np.float32)
    there, back = mutual_matches(table, 0.9), mutual_matches(table.T, 0.9)
    assert len(there[0]) > 3
    assert sorted(zip(*there, strict=True)) == sorted(zip(*back[::-1], strict=True))


def test_inliers_are_the_points_that_one_homography_maps():
    generator = np.random.default_rng(1)
    first = generator.uniform(0, 400, (60, 2)).astype(np.float32)
    homography = np.array([[0.9, 0.1, 20], [-0.1, 1.1, 5], [1e-4, 2e-4, 1]])
    mapped = np.c_[first, np.ones(60)] @ homography.T
    second = (mapped[:, :2] / mapped[:, 2:]).astype(np.float32)
    second[40:] = generator.uniform(0, 400, (20, 2))
    found = [count_inliers(first, second, 4.0) for _ in range(3)]
    assert found[0] in range(40, 44)  # chance agrees with a few of the 20
    assert len(set(found)) == 1


def test_points_on_a_line_have_no_inliers_by_chance():
    along = np.arange(20, dtype=np.float32)
    line = np.stack([along, along], axis=1)
    assert count_inliers(line, line[::-1].copy(), 2.0) <= 20  # and no error


@pytest.mark.parametrize(("text", "kind"), [("sift", np.uint8), ("orb", np.uint8)])
def test_true_pairs_of_drawn_flukes_have_more_inliers_than_wrong_ones(tmp_path, text, kind):
    settings = MatchSettings.parse(text)
    matcher = matcher_of(settings)
    found = []
    for path in draw_flukes(tmp_path):
        picture = read_picture(path, None, size=settings.size, margin=0)
        found.append(matcher.extract(picture.pixels, picture.box))
    assert all(0 < len(one) <= settings.points for one in found)
    assert {one.descriptors.dtype for one in found} == {np.dtype(kind)}
    inliers = {
        (a, b): matcher.match(found[a], found[b]).inliers for a in range(8) for b in range(a)
    }
    true = [count for (a, b), count in inliers.items() if a // 2 == b // 2]
    wrong = [count for (a, b), count in inliers.items() if a // 2 != b // 2]
    assert sorted(true)[-2] > 20 > max(wrong)
    assert np.median(wrong) == 0  # fewer than 8 count as none


@pytest.mark.skipif(HAS_KAZE, reason="this OpenCV has KAZE")
def test_a_matcher_that_this_opencv_lacks_is_one_sentence():
    with pytest.raises(KitboxError) as error:
        matcher_of(MatchSettings.parse("kaze"))
    assert str(error.value) == (
        f"the matcher kaze is not in OpenCV {cv2.__version__} without its extra modules; install "
        "opencv-contrib-python-headless of that version over opencv-python-headless, or match with "
        "sift"
    )


@pytest.mark.skipif(not HAS_KAZE, reason="this OpenCV has no KAZE")
def test_kaze_keeps_the_signs_of_its_descriptors(tmp_path):
    matcher = matcher_of(MatchSettings.parse("kaze"))
    one, two = (
        matcher.extract(read_picture(path, None, size=448, margin=0).pixels, None)
        for path in draw_flukes(tmp_path, individuals=1)
    )
    assert (one.descriptors < 0).any()
    assert matcher.match(one, two).inliers >= 8


def test_keypoints_outside_the_box_are_dropped_after_they_were_found(tmp_path):
    [path] = draw_flukes(tmp_path, individuals=1, views=1)
    matcher = matcher_of(MatchSettings.parse("sift:points=5000"))
    pixels = read_picture(path, None, size=448, margin=0).pixels
    whole, part = matcher.extract(pixels, None), matcher.extract(pixels, (100, 50, 300, 200))
    assert 0 < len(part) < len(whole)
    assert part.points.tolist() == whole.inside((100, 50, 300, 200)).points.tolist()
    assert {*map(bytes, part.descriptors)} <= {*map(bytes, whole.descriptors)}


@pytest.mark.parametrize("size", [(1, 1), (448, 1), (3, 448), (20, 30)])
@pytest.mark.parametrize("text", ["sift", "orb"])
def test_a_picture_of_few_pixels_has_no_keypoints(text, size):
    width, height = size
    pixels = np.asarray(Image.new("RGB", (width, height), (90, 120, 200)))
    found = matcher_of(MatchSettings.parse(text)).extract(pixels, None)
    assert len(found) == 0
    assert found.points.shape == (0, 2)


def test_descriptors_of_rootsift_have_the_length_512(tmp_path):
    [path] = draw_flukes(tmp_path, individuals=1, views=1)
    matcher = matcher_of(MatchSettings.parse("sift"))
    found = matcher.extract(read_picture(path, None, size=448, margin=0).pixels, None)
    lengths = np.linalg.norm(found.descriptors.astype(float), axis=1)
    # whole numbers below 256: the root of the sum of the shares is 1
    assert np.median(lengths) == pytest.approx(512, abs=2)
    assert lengths.min() > 450


def test_fewer_inliers_than_asked_for_count_as_none():
    along = np.random.default_rng(2).uniform(0, 400, (12, 2)).astype(np.float32)
    bits = np.random.default_rng(3).integers(0, 256, (12, 32)).astype(np.uint8)
    one = LocalFeatures(along, bits, np.ones(12, dtype=np.float32), (448, 448))
    counts = {
        fewest: matcher_of(MatchSettings.parse(f"orb:fewest={fewest}")).match(one, one)
        for fewest in (12, 13)
    }
    assert (counts[12].matches, counts[12].inliers, counts[12].ratio) == (12, 12, 1)
    assert (counts[13].matches, counts[13].inliers) == (12, 0)


def test_the_version_of_opencv_is_a_cause_of_features_and_counts():
    sift = matcher_of(MatchSettings.parse("sift"))
    assert sift.sources == {"opencv": cv2.__version__}
    assert sift.extraction["opencv"] == sift.causes["opencv"] == cv2.__version__


def test_four_pairs_of_points_have_no_inliers():
    corners = np.array([[0, 0], [9, 0], [0, 9], [9, 9]], dtype=np.float32)
    assert count_inliers(corners, corners, 3.0) == 0
