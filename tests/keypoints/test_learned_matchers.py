"""Learned matchers: keypoints of networks, LightGlue and LoFTR."""

from dataclasses import replace
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from kitbox.errors import KitboxError
from kitbox.files import digest_of_file
from kitbox.images.preprocessing import Pixels
from kitbox.keypoints import learned_features, match_networks, pair_scores
from kitbox.keypoints.learned_matchers import LoftrMatcher, mutual_nearest
from kitbox.keypoints.match_settings import AlikedGlueSettings, MatchSettings
from kitbox.keypoints.matcher import Matcher, matcher_of, matcher_sources
from kitbox.keypoints.pair_scores import PairMatches
from kitbox.records import ImageSet, strings
from kitbox.synthetic.fluke import draw_whale
from kitbox.synthetic.scene import draw_photograph
from kitbox.workspace import Workspace
from tests.keypoints.test_package_weights import needs_weights, randomised
from tests.photographs import finish, picture

INDIVIDUALS, PHOTOGRAPHS = 3, 2


@pytest.fixture(scope="module")
def flukes() -> dict[tuple[int, int], Pixels]:
    """Return drawn photographs of 160 x 240 pixels by individual and number."""
    drawn = {}
    for individual in range(INDIVIDUALS):
        whale = draw_whale(np.random.default_rng([7, individual]))
        for number in range(PHOTOGRAPHS):
            moment = np.random.default_rng([9, individual, number])
            pixels = draw_photograph(moment, whale, 160, 240).pixels
            drawn[individual, number] = np.ascontiguousarray(pixels[:, :, ::-1])
    return drawn


def matcher(text: str) -> Matcher:
    return matcher_of(MatchSettings.parse(text), "cpu")


def write_random(folder: Path, seed: int = 1) -> Path:
    """Write files of random weights of ALIKED-T16 and DISK, in the layouts of their authors."""
    folder.mkdir(parents=True, exist_ok=True)
    features = learned_features.kornia_features()
    torch.manual_seed(seed)
    aliked: nn.Module = features.ALIKED("aliked-t16")
    state = aliked.state_dict()
    del state["dkd.hw_grid"]
    torch.save(state, folder / "aliked-t16.pth")
    torch.save({"extractor": features.DISK().state_dict()}, folder / "disk-depth-save.pth")
    return folder


@pytest.mark.parametrize(
    ("text", "dtype", "dimension"),
    [("aliked:network=t16,points=40", np.float32, 64), ("disk:points=40", np.float32, 128)],
)
def test_the_best_keypoints_within_the_box_are_kept(
    tmp_path: Path,
    flukes: dict[tuple[int, int], Pixels],
    text: str,
    dtype: type,
    dimension: int,
) -> None:
    weights = write_random(tmp_path)
    pixels = flukes[0, 0][20:110, 60:180]  # no multiples of 32
    found = matcher(f"{text},weights=file:{weights}").extract(pixels, None)
    assert len(found) == 40
    assert found.size == (120, 90)
    assert found.descriptors.dtype == dtype
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=1e-3)
    assert found.descriptors.shape == (40, dimension)
    assert np.all(np.diff(found.scores) <= 0)
    assert np.all((found.points >= 0) & (found.points <= (119, 89)))
    box = (30.0, 20.0, 90.0, 70.0)
    within = matcher(f"{text},weights=file:{weights}").extract(pixels, box)
    assert 0 < len(within) <= 40
    assert np.all((within.points >= box[:2]) & (within.points <= box[2:]))
    # they are found in the whole picture: those of both extractions are the same
    assert {*map(tuple, found.inside(box).points)} <= {*map(tuple, within.points)}


def test_settings_of_learned_matchers_are_read_and_checked() -> None:
    text = "aliked+lightglue:points=128,confidence=0.8,network=n32,weights=file:own/weights"
    settings = MatchSettings.parse(text)
    assert str(settings) == text
    assert isinstance(settings, AlikedGlueSettings)
    assert (settings.confidence, settings.network) == (0.8, "n32")
    assert settings.weights == "file:own/weights"
    assert str(MatchSettings.parse("xfeat:cosine=0.82")) == "xfeat"
    for wrong, sentence in {
        # LightGlue was trained for descriptors of 128 numbers, those of t16 have 64
        "aliked+lightglue:network=t16": "network = 't16' should be 'n16', 'n16rot' or 'n32'$",
        "aliked:network=n8": "should be 'n16', 'n16rot', 'n32' or 't16'$",
        "xfeat:weights=own.pt": ": weights = own.pt is neither package:NAME nor file:PATH",
        "xfeat:confidence=0.5": "has no setting 'confidence'",
        "disk:cosine=1.5": "cosine = 1.5 should be less than or equal to 0.999",
    }.items():
        with pytest.raises(KitboxError, match=sentence):
            MatchSettings.parse(wrong)


def test_features_are_shared_with_and_without_lightglue_and_depend_on_the_weights(
    tmp_path: Path,
) -> None:
    first = write_random(tmp_path / "a", 1)
    same = write_random(tmp_path / "b", 1)
    other = write_random(tmp_path / "c", 2)
    glue = randomised(match_networks.build_lightglue("disk"), 3)
    for folder in (first, same, other):
        torch.save(glue, folder / "disk_lightglue.pth")
    plain = matcher(f"disk:weights=file:{first}")
    assert plain.extraction["kornia"] == metadata.version("kornia")
    assert "opencv" not in plain.extraction
    assert plain.causes["opencv"] == cv2.__version__  # its homographies count inliers
    assert matcher(f"disk:weights=file:{same}").extraction == plain.extraction
    assert matcher(f"disk:weights=file:{other}").extraction != plain.extraction
    glued = matcher(f"disk+lightglue:weights=file:{first}")
    assert glued.extraction == plain.extraction
    assert glued.causes != plain.causes
    torch.save(glue | {"log_assignment.0.r": torch.ones(1)}, first / "disk_lightglue.pth")
    again = matcher(f"disk+lightglue:weights=file:{first}")
    assert again.extraction == glued.extraction
    assert again.causes != glued.causes


def test_a_receipt_tells_the_weights_of_learned_matchers(tmp_path: Path) -> None:
    weights = write_random(tmp_path)
    torch.save(
        randomised(match_networks.build_lightglue("disk"), 3), weights / "disk_lightglue.pth"
    )
    texts = [f"disk:weights=file:{weights}", f"disk+lightglue:weights=file:{weights}"]
    of_keypoints = digest_of_file(weights / "disk-depth-save.pth")
    opencv = {"opencv": cv2.__version__}
    own = opencv | {"kornia": metadata.version("kornia"), "weights": of_keypoints}
    assert matcher_sources(["sift", *texts]) == {
        "sift": opencv,
        texts[0]: own,
        texts[1]: own | {"lightglue": digest_of_file(weights / "disk_lightglue.pth")},
    }
    with pytest.raises(KitboxError, match=r"there is no file of weights .*disk-depth-save\.pth"):
        matcher_sources([f"disk:weights=file:{tmp_path / 'away' / 'disk-depth-save.pth'}"])


def test_mutual_nearest_neighbours_are_worked_out_by_hand() -> None:
    cosines = np.array(
        [[0.9, 0.2, 0.1], [0.95, 0.3, 0.2], [0.1, 0.85, 0.86], [0.0, 0.5, 0.4]], dtype=np.float32
    )
    # row 0 prefers column 0, which prefers row 1; row 3 prefers column 1, which prefers row 2
    assert [each.tolist() for each in mutual_nearest(cosines, 0.0)] == [[1, 2], [0, 2]]
    assert [each.tolist() for each in mutual_nearest(cosines, 0.9)] == [[1], [0]]
    assert [each.tolist() for each in mutual_nearest(cosines, 0.95)] == [[], []]


def image_set(folder: Path, count: int) -> ImageSet:
    paths = tuple(picture(folder / f"{n}.png", n // 2, n) for n in range(count))
    digests = strings([digest_of_file(path) for path in paths])
    return ImageSet(strings([path.name for path in paths]), paths, digests=digests)


def measure(text: str, images: ImageSet, workspace: Workspace) -> PairMatches:
    settings = MatchSettings.parse(text)
    options = pair_scores.MatchOptions(device="cpu")
    first, second = images.image_ids[[0, 0, 2]], images.image_ids[[1, 2, 3]]
    _, found = finish(pair_scores.measure(settings, images, first, second, workspace, options))
    return found


def test_pairs_are_cached_until_the_weights_change(tmp_path: Path) -> None:
    weights = write_random(tmp_path / "weights")
    images, workspace = image_set(tmp_path / "images", 4), Workspace(tmp_path)
    text = f"aliked:network=t16,points=50,size=96,cosine=0,weights=file:{weights}"
    threads = torch.get_num_threads()
    first = measure(text, images, workspace)
    assert torch.get_num_threads() == threads
    assert (first.computed, first.cached) == (3, 0)
    assert first.matches.min() > 0
    again = measure(text, images, workspace)
    assert (again.computed, again.cached) == (0, 3)
    np.testing.assert_array_equal(again.matches, first.matches)
    fresh = measure(text, images, Workspace(tmp_path / "other"))
    np.testing.assert_array_equal(fresh.matches, first.matches)
    np.testing.assert_array_equal(fresh.inliers, first.inliers)
    write_random(weights, seed=2)
    assert measure(text, images, workspace).computed == 3


@needs_weights
def test_lightglue_is_surest_of_photographs_of_one_individual(
    flukes: dict[tuple[int, int], Pixels],
) -> None:
    text = "aliked+lightglue:points=96"
    found, again = matcher(text), matcher(text)
    features = {key: found.extract(pixels, None) for key, pixels in flukes.items()}
    same = [found.match(features[i, 0], features[i, 1]).confident for i in range(INDIVIDUALS)]
    others = [
        found.match(features[i, 0], features[j, 1]).confident
        for i in range(INDIVIDUALS)
        for j in range(INDIVIDUALS)
        if i != j
    ]
    assert min(same) > max(others)
    repeated = again.extract(flukes[0, 0], None)
    assert repeated.to_bytes() == features[0, 0].to_bytes()
    pair, swapped = (
        again.match(a, b) for a, b in ((repeated, features[0, 1]), (features[0, 1], repeated))
    )
    assert pair.confident == same[0]
    # LightGlue is symmetric; only the homography that is fitted afterwards is not
    assert replace(pair, inliers=0) == replace(swapped, inliers=0)
    assert pair.confident <= pair.matches <= 96
    assert pair.ratio == pytest.approx(pair.confident / pair.matches)


@needs_weights
@pytest.mark.parametrize("text", ["xfeat", "disk+lightglue:points=96", "xfeat+lightglue"])
def test_a_photograph_matches_its_own_individual_best(
    flukes: dict[tuple[int, int], Pixels], text: str
) -> None:
    found = matcher(text)
    a, b, other = (found.extract(flukes[key], None) for key in ((2, 0), (2, 1), (0, 0)))
    if text.startswith("xfeat"):
        assert a.descriptors.dtype == np.float16
    name = found.ranked_by
    assert getattr(found.match(a, b), name) > getattr(found.match(a, other), name)


@needs_weights
def test_a_blank_photograph_has_no_keypoints_of_xfeat() -> None:
    assert len(matcher("xfeat").extract(np.full((96, 96, 3), 127, np.uint8), None)) == 0


def test_loftr_matches_the_grey_pictures_of_the_boxes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = learned_features.kornia_features().LoFTR(pretrained=None)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "loftr_outdoor.ckpt")
    loftr = matcher(f"loftr:weights=file:{tmp_path},points=8,confidence=0,fewest=4")
    assert isinstance(loftr, LoftrMatcher)
    assert not loftr.symmetric
    coarse = np.random.default_rng(0).integers(0, 255, (30, 40)).astype(np.uint8)
    grey = np.array(Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC))
    boxes = ((40.0, 32.0, 168.0, 128.0), (56.0, 40.0, 184.0, 136.0))
    a, b = (loftr.extract(np.stack([grey] * 3, axis=2), box) for box in boxes)
    assert (a.descriptors.shape, a.descriptors.dtype, a.size) == ((96, 128), np.uint8, (128, 96))
    np.testing.assert_array_equal(a.descriptors[8:, 16:], b.descriptors[:-8, :-16])
    assert loftr.match(a, b).matches == 0  # random weights are not sure of any match
    loftr._network._network.coarse_matching.thr = 0.0
    found = loftr._network.match(a.descriptors, b.descriptors)
    shift = np.median(found.first - found.second, axis=0)
    np.testing.assert_allclose(shift, (16, 8), atol=4)  # half a cell of the coarse map
    assert len(found.first) > 8
    counts = loftr.match(a, b)
    assert (counts.matches, counts.confident) == (8, 8)  # the surest
    assert counts.inliers > 0


def test_loftr_without_weights_is_one_sentence() -> None:
    with pytest.raises(KitboxError, match=r"loftr_outdoor\.ckpt; name their file with weights="):
        matcher("loftr")
