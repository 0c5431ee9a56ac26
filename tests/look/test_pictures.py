"""Pictures: upright JPEGs of the wanted size, as many in memory as there is room for."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kitbox.images import preprocessing
from kitbox.images.preprocessing import UnreadableImageError
from kitbox.look.photographs import SIZES, Pictures
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
def test_a_picture_has_the_wanted_size_and_never_more_pixels_than_there_are(
    tmp_path: Path, size: tuple[int, int], longest: int, expected: tuple[int, int]
) -> None:
    path = picture(tmp_path / "a.png", 0, 0, size)
    assert shape(Pictures().jpeg(path, longest)) == expected


def test_a_picture_taken_on_its_side_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (90, 60), "red").save(tmp_path / "a.jpg", exif=exif)
    assert preprocessing.upright_size(tmp_path / "a.jpg") == (60, 90)
    assert shape(Pictures().jpeg(tmp_path / "a.jpg", 200)) == (60, 90)


def test_the_last_pictures_are_kept_and_no_more_than_there_is_room_for(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{n}.png", n, 0, (300, 200)) for n in range(6)]
    one = len(Pictures().jpeg(paths[0], 200))
    pictures = Pictures(most_bytes=3 * one)
    for path in paths:
        pictures.jpeg(path, 200)
        assert pictures.held <= 3 * one
    assert pictures.jpeg(paths[-1], 200) is pictures.jpeg(paths[-1], 200)


def test_a_picture_larger_than_the_room_is_answered_all_the_same(tmp_path: Path) -> None:
    pictures = Pictures(most_bytes=1)
    path = picture(tmp_path / "a.png", 0, 0)
    assert shape(pictures.jpeg(path, 200)) == (96, 64)


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    pictures, path = Pictures(), picture(tmp_path / "a.png", 0, 0)
    pictures.jpeg(path, 200)
    picture(path, 1, 0, (64, 96))
    assert shape(pictures.jpeg(path, 200)) == (64, 96)


def test_several_threads_may_ask_at_once(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{n}.png", n, 0) for n in range(4)]
    pictures = Pictures(most_bytes=4000)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: pictures.jpeg(paths[n % 4], SIZES[n % 2]), range(64)))
    assert len(set(found)) <= 8
    assert pictures.held == sum(len(data) for data in pictures._kept.values())


@pytest.mark.parametrize("data", [b"", b"<html>", b"\xff\xd8\xff\xe0 cut off"])
def test_an_unreadable_file_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match=r"image .*a\.jpg"):
        Pictures().jpeg(path, 200)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="there is no image"):
        Pictures().jpeg(tmp_path / "a.jpg", 200)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "I;16", "P", "1"])
def test_every_kind_of_pixels_can_be_shown(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in ("CMYK", "I;16") else "a.png")
    Image.fromarray(np.zeros((40, 60), dtype=np.uint8)).convert(mode).save(path)
    assert shape(Pictures().jpeg(path, 200)) == (60, 40)
