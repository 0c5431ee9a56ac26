"""Reading: odd files are read right or refused by name."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kitbox.images import reading
from kitbox.images.reading import UnreadableImageError
from tests.photographs import picture


def halves(size: tuple[int, int] = (80, 40)) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", size, (250, 0, 0))
    image.paste((0, 0, 250), (size[0] // 2, 0, *size))
    return image


def is_red(pixel: np.ndarray) -> bool:
    return bool(pixel[0] > 180 and pixel[2] < 70)


def is_blue(pixel: np.ndarray) -> bool:
    return bool(pixel[2] > 180 and pixel[0] < 70)


def test_an_image_is_squashed_to_height_and_width(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.png")
    pixels = reading.read(tmp_path / "a.png", (16, 24))
    assert pixels.shape == (16, 24, 3)
    assert pixels.dtype == np.uint8
    assert is_red(pixels[8, 2])
    assert is_blue(pixels[8, 21])


def test_an_exif_rotation_is_applied_and_boxes_are_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: red ends up above blue
    halves().save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert reading.check(tmp_path / "turned.jpg") == (40, 80)
    whole = reading.read(tmp_path / "turned.jpg", (40, 20))
    assert is_red(whole[4, 10])
    assert is_blue(whole[35, 10])
    upper = reading.read(tmp_path / "turned.jpg", (16, 16), box=(0, 0, 40, 36))
    assert is_red(upper[14, 8])


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    halves().convert(mode).save(tmp_path / f"a.{suffix}")
    assert reading.read(tmp_path / f"a.{suffix}", (16, 16)).shape == (16, 16, 3)


def test_a_cmyk_jpeg_keeps_its_colours(tmp_path: Path) -> None:
    halves().convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    pixels = reading.read(tmp_path / "a.jpg", (16, 16))
    assert is_red(pixels[8, 2])
    assert is_blue(pixels[8, 13])


def test_sixteen_bits_keep_their_upper_byte(tmp_path: Path) -> None:
    values = np.full((20, 20), 200 * 257, dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.abs(reading.read(tmp_path / "a.png", (16, 16)).astype(int) - 200).max() <= 1


def test_png_bytes_under_a_jpg_name_are_read(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert is_red(reading.read(tmp_path / "a.jpg", (16, 16))[8, 2])


def test_a_box_outside_the_image_means_the_whole_image(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.png")
    whole = reading.read(tmp_path / "a.png", (16, 16))
    outside = reading.read(tmp_path / "a.png", (16, 16), box=(500, 500, 600, 600))
    assert (whole == outside).all()


def test_a_margin_widens_the_box_and_stops_at_the_edge(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.png")
    box = (42, 10, 78, 30)  # blue alone
    assert is_blue(reading.read(tmp_path / "a.png", (16, 16), box=box)[8, 0])
    assert is_red(reading.read(tmp_path / "a.png", (16, 16), box=box, margin=1.0)[8, 0])


def test_a_large_jpeg_decoded_at_reduced_scale_looks_the_same(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 255, (30, 75, 3), dtype=np.uint8)
    large = Image.fromarray(coarse).resize((3000, 1200), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=92)
    large.save(tmp_path / "large.png")
    reduced = reading.read(tmp_path / "large.jpg", (96, 192)).astype(int)
    full = reading.read(tmp_path / "large.png", (96, 192)).astype(int)
    assert np.abs(reduced - full).mean() < 1.5


def truncated(path: Path) -> None:
    picture(path, 1, 1, size=(400, 300))
    path.write_bytes(path.read_bytes()[:-400])


def bomb(path: Path) -> None:
    """A PNG header of 30000 x 30000 pixels."""
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    rows = b"IDAT" + zlib.compress(bytes(1000))
    data += struct.pack(">I", len(rows) - 4) + rows + struct.pack(">I", zlib.crc32(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


@pytest.mark.parametrize(
    ("damage", "name", "message"),
    [
        (truncated, "a.jpg", "a.jpg is truncated; replace or remove it"),
        (lambda path: path.write_bytes(b""), "a.jpg", "a.jpg is empty; replace or remove it"),
        (lambda path: path.write_text("<html>"), "a.jpg", "a.jpg is not an image; replace"),
        (bomb, "a.png", "a.png is too large"),
        (lambda path: path.unlink(missing_ok=True), "a.jpg", "there is no image"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(
    tmp_path: Path, damage, name: str, message: str
) -> None:
    damage(tmp_path / name)
    for read in (reading.check, lambda path: reading.read(path, (16, 16))):
        with pytest.raises(UnreadableImageError, match=message):
            read(tmp_path / name)
