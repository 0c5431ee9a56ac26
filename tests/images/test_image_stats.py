"""Image statistics: format, levels and sharpness, measured in one decoding."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps

from kitbox.images import image_stats, preprocessing
from kitbox.images.image_stats import ImageStats
from tests import dirty


def stats_of(path: Path) -> ImageStats:
    return image_stats.summarise(path).stats


def test_the_format_is_that_of_the_file_and_the_size_that_of_the_upright_image(
    tmp_path: Path,
) -> None:
    dirty.save(tmp_path / "a.jpg", dirty.scene(1), exif=dirty.rotated_exif(), quality=95)
    found = stats_of(tmp_path / "a.jpg")
    assert found[:9] == (
        *("JPEG", "RGB", 8, False, 1, 6, 100, 160),
        (tmp_path / "a.jpg").stat().st_size,
    )


def test_sixteen_bits_are_recognised_where_pillow_decodes_eight(tmp_path: Path) -> None:
    import cv2

    deep = np.full((40, 40, 3), 300, dtype=np.uint16)
    assert cv2.imwrite(str(tmp_path / "colour.png"), deep)
    for suffix in ("png", "tif"):
        Image.fromarray(deep[..., 0]).save(tmp_path / f"grey.{suffix}")
    dirty.save(tmp_path / "plain.png", dirty.scene(1))
    names = ("colour.png", "grey.png", "grey.tif", "plain.png")
    assert [stats_of(tmp_path / name).bits for name in names] == [16, 16, 16, 8]


def test_a_length_with_sixteen_in_it_is_no_depth(tmp_path: Path) -> None:
    file = tmp_path / "a.jp2"
    dirty.scene(1, (40, 40)).save(file)
    file.write_bytes(file.read_bytes().ljust(16_000, b"\0"))
    assert stats_of(file).bits == 8


def test_transparency_frames_and_palettes_are_recognised(tmp_path: Path) -> None:
    dirty.save(tmp_path / "a.png", dirty.scene(1).convert("RGBA"))
    dirty.save(tmp_path / "p.png", dirty.scene(1).convert("P"), transparency=0)
    frames = [dirty.scene(1), dirty.scene(2), dirty.scene(3)]
    dirty.save(tmp_path / "g.gif", frames[0], save_all=True, append_images=frames[1:])
    assert stats_of(tmp_path / "a.png").alpha
    assert stats_of(tmp_path / "p.png")[1:4] == ("P", 8, True)
    assert stats_of(tmp_path / "g.gif").frames == 3


@given(st.integers(0, 2**32 - 1), st.integers(3, 60), st.integers(3, 60))
def test_levels_and_sharpness_agree_with_a_slow_count(seed: int, width: int, height: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    found = image_stats.measure_quality(ImageStats(), Image.fromarray(pixels))
    ordered = sorted(pixels.ravel().tolist())
    for level, share in ((found.low, 0.05), (found.high, 0.95)):
        assert sum(value <= level for value in ordered) >= share * len(ordered)
        assert sum(value < level for value in ordered) < share * len(ordered)
    assert found.contrast == pytest.approx(pixels.std(), rel=1e-4)
    grey = pixels.astype(int)
    slopes = [abs(b - a) for rows in (grey, grey.T) for row in rows for a, b in pairwise(row)]
    changes = [
        abs(grey[y - 1, x] + grey[y + 1, x] + grey[y, x - 1] + grey[y, x + 1] - 4 * grey[y, x])
        for y in range(1, height - 1)
        for x in range(1, width - 1)
    ]
    steepest = [sorted(values)[int(0.995 * (len(values) - 1))] for values in (changes, slopes)]
    expected = steepest[0] / steepest[1] if steepest[1] >= 8 else 0.0
    assert found.sharpness == pytest.approx(expected)


def test_blur_lowers_sharpness_at_any_contrast() -> None:
    sharp = dirty.scene(3, (448, 300)).convert("L")
    for picture in (sharp, sharp.point(lambda level: 100 + level // 4)):
        values = [
            image_stats.measure_quality(
                ImageStats(), picture.filter(ImageFilter.GaussianBlur(blur))
            ).sharpness
            for blur in (0, 1, 2, 4)
        ]
        assert values == sorted(values, reverse=True)
        assert values[0] > 1 > values[2]


def test_a_picture_of_one_colour_has_no_sharpness() -> None:
    found = image_stats.measure_quality(ImageStats(), Image.new("L", (300, 200), 77))
    assert (found.low, found.high, found.contrast, found.sharpness) == (77, 77, 0, 0)


def test_columns_are_named_like_the_fields() -> None:
    assert image_stats.DTYPE.names == ImageStats._fields
    table = image_stats.stats_table([ImageStats("JPEG", "CMYK", width=3), ImageStats()])
    assert table["format"].tolist() == ["JPEG", ""]
    assert table["width"].tolist() == [3, 0]


def test_a_large_jpeg_decoded_at_reduced_scale_has_the_same_statistics(tmp_path: Path) -> None:
    large = dirty.scene(5, (2400, 1500))
    large.save(tmp_path / "a.jpg", quality=95)
    large.save(tmp_path / "a.png")
    shrunk, whole = stats_of(tmp_path / "a.jpg"), stats_of(tmp_path / "a.png")
    assert abs(shrunk.low - whole.low) <= 2
    assert abs(shrunk.high - whole.high) <= 2
    assert shrunk.sharpness == pytest.approx(whole.sharpness, rel=0.1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16", "F"])
def test_grey_made_in_stripes_is_that_of_the_whole_image(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    scene = dirty.scene(1).convert("L" if mode in ("I;16", "F") else mode)
    if mode == "I;16":
        scene = Image.fromarray(np.asarray(scene).astype(np.uint16) * 200)
    scene = scene.convert("F") if mode == "F" else scene
    scene.save(path, exif=dirty.rotated_exif())
    with preprocessing.open_image(path) as image:
        preprocessing.load(image)
        whole = preprocessing.to_rgb(image).convert("L")
        expected = np.asarray(ImageOps.exif_transpose(whole))
    converted = []
    convert = Image.Image.convert

    def record(image: Image.Image, *given: object, **named: object) -> Image.Image:
        converted.append(image.width * image.height)
        return convert(image, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(preprocessing, "_STRIPE_PIXELS", 1000)
    monkeypatch.setattr(Image.Image, "convert", record)
    with preprocessing.open_image(path) as image:
        np.testing.assert_array_equal(np.asarray(preprocessing.load_grey(image)), expected)
    assert mode in ("I;16", "F") or max(converted) <= 1000
