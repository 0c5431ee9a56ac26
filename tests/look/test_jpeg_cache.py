"""The JPEG cache: upright JPEGs of the requested size, within a limit of bytes."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kitbox.images import preprocessing
from kitbox.images.preprocessing import UnreadableImageError
from kitbox.look.jpeg_cache import SIZES, JpegCache
from tests.photographs import picture


def shape(data: bytes) -> tuple[int, int]:
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    assert not image.getexif()
    return image.size


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [((400, 300), 200, (200, 150)), ((120, 480), 200, (50, 200)), ((96, 64), 1200, (96, 64))],
)
def test_a_jpeg_has_the_requested_size_and_is_never_enlarged(
    tmp_path: Path, size: tuple[int, int], longest: int, expected: tuple[int, int]
) -> None:
    path = picture(tmp_path / "a.png", 0, 0, size)
    assert shape(JpegCache().jpeg(path, longest)) == expected


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (90, 60), "red").save(tmp_path / "a.jpg", exif=exif)
    assert preprocessing.upright_size(tmp_path / "a.jpg") == (60, 90)
    assert shape(JpegCache().jpeg(tmp_path / "a.jpg", 200)) == (60, 90)


def test_the_latest_jpegs_are_kept_within_the_limit_of_bytes(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{n}.png", n, 0, (300, 200)) for n in range(6)]
    one = len(JpegCache().jpeg(paths[0], 200))
    pictures = JpegCache(max_bytes=3 * one)
    for path in paths:
        pictures.jpeg(path, 200)
        assert pictures.size <= 3 * one
    assert pictures.jpeg(paths[-1], 200) is pictures.jpeg(paths[-1], 200)


def test_a_jpeg_larger_than_the_limit_is_still_returned(tmp_path: Path) -> None:
    pictures = JpegCache(max_bytes=1)
    path = picture(tmp_path / "a.png", 0, 0)
    assert shape(pictures.jpeg(path, 200)) == (96, 64)


def test_a_changed_file_is_encoded_again(tmp_path: Path) -> None:
    pictures, path = JpegCache(), picture(tmp_path / "a.png", 0, 0)
    pictures.jpeg(path, 200)
    picture(path, 1, 0, (64, 96))
    assert shape(pictures.jpeg(path, 200)) == (64, 96)


def test_several_threads_can_use_the_cache_at_once(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{n}.png", n, 0) for n in range(4)]
    pictures = JpegCache(max_bytes=4000)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: pictures.jpeg(paths[n % 4], SIZES[n % 2]), range(64)))
    assert len(set(found)) <= 8
    assert pictures.size == sum(len(data) for data in pictures._jpegs.values())


@pytest.mark.parametrize("data", [b"", b"<html>", b"\xff\xd8\xff\xe0 cut off"])
def test_the_error_names_an_unreadable_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match=r"image .*a\.jpg"):
        JpegCache().jpeg(path, 200)


def test_the_error_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="there is no image"):
        JpegCache().jpeg(tmp_path / "a.jpg", 200)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "I;16", "P", "1"])
def test_images_of_every_pixel_mode_are_encoded(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in ("CMYK", "I;16") else "a.png")
    Image.fromarray(np.zeros((40, 60), dtype=np.uint8)).convert(mode).save(path)
    assert shape(JpegCache().jpeg(path, 200)) == (60, 40)
