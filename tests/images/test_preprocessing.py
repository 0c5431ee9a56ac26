"""Preprocessing: odd files are decoded correctly, or refused by name."""

import logging
import os
import struct
import sys
import warnings
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from kitbox.images import image_stats, preprocessing
from kitbox.images.preprocessing import UnreadableImageError
from tests.photographs import picture


def halves(size: tuple[int, int] = (80, 40)) -> Image.Image:
    """Return an image whose left half is red and whose right half is blue."""
    image = Image.new("RGB", size, (250, 0, 0))
    image.paste((0, 0, 250), (size[0] // 2, 0, *size))
    return image


def is_red(pixel: np.ndarray) -> bool:
    return bool(pixel[0] > 180 and pixel[2] < 70)


def is_blue(pixel: np.ndarray) -> bool:
    return bool(pixel[2] > 180 and pixel[0] < 70)


def test_an_image_is_resized_to_height_and_width(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.png")
    pixels = preprocessing.read(tmp_path / "a.png", (16, 24))
    assert pixels.shape == (16, 24, 3)
    assert pixels.dtype == np.uint8
    assert is_red(pixels[8, 2])
    assert is_blue(pixels[8, 21])


def test_an_exif_rotation_is_applied_and_boxes_refer_to_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: red ends up above blue
    halves().save(tmp_path / "turned.jpg", exif=exif, quality=95)
    whole = preprocessing.read(tmp_path / "turned.jpg", (40, 20))
    assert is_red(whole[4, 10])
    assert is_blue(whole[35, 10])
    upper = preprocessing.read(tmp_path / "turned.jpg", (16, 16), box=(0, 0, 40, 36))
    assert is_red(upper[14, 8])


@pytest.mark.parametrize("size", [(240, 160), (100, 400)])  # Pillow begins with rows, columns
@pytest.mark.parametrize("orientation", range(1, 9))
def test_of_a_turned_image_only_the_rows_of_its_boxes_are_turned_with_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], orientation: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[preprocessing.EXIF_ORIENTATION] = orientation
    Image.fromarray(noise).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        upright = ImageOps.exif_transpose(image)
    boxes = [(3.3, 60.1, 40.7, 90.3), (20.0, 70.0, 44.0, 78.0)]
    crops = [
        preprocessing.Crop((20, 24), box, interpolation=name)
        for box in boxes
        for name in ("bilinear", "bicubic", "lanczos")
    ]
    turned = []
    transpose = Image.Image.transpose

    def record(image: Image.Image, method: Image.Transpose) -> Image.Image:
        turned.append(image.width * image.height)
        return transpose(image, method)

    monkeypatch.setattr(Image.Image, "transpose", record)
    found = preprocessing.read_crops(tmp_path / "a.jpg", crops)
    for crop, pixels in zip(crops, found, strict=True):
        filter_ = preprocessing.INTERPOLATIONS[crop.interpolation]
        assert (pixels == np.asarray(upright.resize((24, 20), filter_, box=crop.box))).all()
    is_narrow = upright.height > 2 * upright.width
    assert turned == [] if orientation == 1 else len(turned) == 1
    if not is_narrow:
        assert all(
            count <= upright.width * 42 for count in turned
        )  # 30 rows and their surroundings


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    halves().convert(mode).save(tmp_path / f"a.{suffix}")
    assert preprocessing.read(tmp_path / f"a.{suffix}", (16, 16)).shape == (16, 16, 3)


def test_a_cmyk_jpeg_keeps_its_colours(tmp_path: Path) -> None:
    halves().convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    pixels = preprocessing.read(tmp_path / "a.jpg", (16, 16))
    assert is_red(pixels[8, 2])
    assert is_blue(pixels[8, 13])


def test_sixteen_bits_keep_their_upper_byte(tmp_path: Path) -> None:
    values = np.full((20, 20), 200 * 257, dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.abs(preprocessing.read(tmp_path / "a.png", (16, 16)).astype(int) - 200).max() <= 1


def test_png_bytes_under_a_jpg_name_are_read(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert is_red(preprocessing.read(tmp_path / "a.jpg", (16, 16))[8, 2])


def test_a_box_outside_the_image_is_replaced_by_the_whole_image(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.png")
    whole = preprocessing.read(tmp_path / "a.png", (16, 16))
    outside = preprocessing.read(tmp_path / "a.png", (16, 16), box=(500, 500, 600, 600))
    assert (whole == outside).all()


def test_a_margin_widens_the_box_and_stops_at_the_edge(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.png")
    box = (42, 10, 78, 30)  # blue alone
    assert is_blue(preprocessing.read(tmp_path / "a.png", (16, 16), box=box)[8, 0])
    assert is_red(preprocessing.read(tmp_path / "a.png", (16, 16), box=box, margin=1.0)[8, 0])


def test_a_large_jpeg_decoded_at_reduced_scale_has_nearly_the_same_pixels(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 255, (30, 75, 3), dtype=np.uint8)
    large = Image.fromarray(coarse).resize((3000, 1200), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=92)
    large.save(tmp_path / "large.png")
    reduced = preprocessing.read(tmp_path / "large.jpg", (96, 192)).astype(int)
    full = preprocessing.read(tmp_path / "large.png", (96, 192)).astype(int)
    assert np.abs(reduced - full).mean() < 1.5


def truncate(path: Path) -> None:
    picture(path, 1, 1, size=(400, 300))
    path.write_bytes(path.read_bytes()[:-400])


def write_bomb(path: Path) -> None:
    """Write a PNG whose header promises 30000 x 30000 pixels."""
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    rows = b"IDAT" + zlib.compress(bytes(1000))
    data += struct.pack(">I", len(rows) - 4) + rows + struct.pack(">I", zlib.crc32(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


@pytest.mark.parametrize(
    ("damage", "name", "message"),
    [
        (truncate, "a.jpg", "a.jpg is truncated; replace or remove it"),
        (lambda path: path.write_bytes(b""), "a.jpg", "a.jpg is empty; replace or remove it"),
        (lambda path: path.write_text("words"), "a.jpg", "a.jpg is not an image; replace"),
        (
            lambda path: path.write_text("\ufeff\n<!DOCTYPE html><html>404</html>"),
            "a.jpg",
            "a.jpg is not an image but a web page; replace",
        ),
        (write_bomb, "a.png", "a.png is too large"),
        (lambda path: path.unlink(missing_ok=True), "a.jpg", "there is no image"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(
    tmp_path: Path, damage, name: str, message: str
) -> None:
    damage(tmp_path / name)
    with pytest.raises(UnreadableImageError, match=message):
        image_stats.summarise(tmp_path / name)
    if damage is not truncate:
        with pytest.raises(UnreadableImageError, match=message):
            preprocessing.read(tmp_path / name, (16, 16))


def cut(path: Path, share: float, size: tuple[int, int] = (400, 300), **options: object) -> Path:
    """Save a photograph and leave only a share of its bytes."""
    noise = np.random.default_rng(0).integers(0, 250, (9, 12, 3)).astype(np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR).save(path, **options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


@pytest.mark.parametrize("share", [0.99, 0.6])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"II*\0rubbish"}])
@pytest.mark.parametrize("target", [(300, 400), (30, 40)])  # the latter decodes at reduced scale
def test_what_there_is_of_a_truncated_jpeg_is_read_as_pillow_would(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
    options: dict[str, object],
    target: tuple[int, int],
) -> None:
    path = cut(tmp_path / "a.jpg", share, (1600, 1200), **options)
    with pytest.raises(UnreadableImageError, match="is truncated") as caught:
        image_stats.summarise(path)
    assert caught.value.kind == "truncated"
    pixels = preprocessing.read(path, target)
    assert (preprocessing.read(path, target) == pixels).all()
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    with Image.open(path) as image:
        image.draft("RGB", (target[1] * 2, target[0] * 2))
        expected = image.convert("RGB").resize(target[::-1], Image.Resampling.BICUBIC)
    assert (pixels == np.asarray(expected)).all()
    if share < 0.9 and not options:
        assert (np.abs(pixels[-1].astype(int) - 128) <= 1).all()  # grey


@pytest.mark.skipif(sys.platform == "win32", reason="the library is a part of Pillow there")
def test_of_a_damaged_tiff_the_library_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, pixels = tmp_path / "a.tif", np.random.default_rng(0).integers(0, 255, (64, 64, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    data[200:400] = b"\xff" * 200
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match=r"a\.tif"):
        preprocessing.read(path, (32, 32))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.tif", "a.bmp"])
def test_what_there_is_of_other_truncated_files_is_read(tmp_path: Path, name: str) -> None:
    path = cut(tmp_path / name, 0.6)
    pixels = preprocessing.read(path, (30, 40))
    assert pixels.std() > 0
    assert (preprocessing.read(path, (30, 40)) == pixels).all()
    assert image_stats.summarise(path, partial=True).stats.width == 400
    assert preprocessing.upright_size(path) == (400, 300)


def png_block(name: bytes, content: bytes, *, whole: bool = True) -> bytes:
    checksum = zlib.crc32(name + content) ^ (not whole)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


TIFF_OF_EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # turned


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("block", "orientation"),
    [
        (png_block(b"eXIf", b"rubbish"), 0),
        (png_block(b"eXIf", b""), 1),
        (png_block(b"eXIf", b"MM\0*\xff\xff\xff\xff"), 1),
        (png_block(b"eXIf", TIFF_OF_EXIF[:-8]), 1),
        (png_block(b"eXIf", TIFF_OF_EXIF, whole=False), 0),
        (png_block(b"eXIf", TIFF_OF_EXIF), 6),
        (png_block(b"pHYs", b"short"), 1),
        (png_block(b"tEXt", b"text", whole=False), 1),
        (png_block(b"zTXt", b"a\0\0rubbish"), 1),
        (png_block(b"iCCP", b"a\0\0rubbish"), 1),
        (png_block(b"pHYs", b"short") + png_block(b"eXIf", TIFF_OF_EXIF), 6),
    ],
)
def test_a_png_with_damaged_blocks_beside_its_pixels_is_read(
    tmp_path: Path, block: bytes, orientation: int, after: bool
) -> None:
    halves().save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    at = data.index(b"IEND") - 4 if after else data.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(data[:at] + block + data[at:])
    summary = image_stats.summarise(tmp_path / "a.png")
    if not after:  # Pillow does not look at all blocks behind the pixels
        assert summary.stats.orientation == orientation
    assert summary.taken is None
    turned = summary.stats.orientation == 6
    assert preprocessing.upright_size(tmp_path / "a.png") == ((40, 80) if turned else (80, 40))
    pixels = preprocessing.read(tmp_path / "a.png", (16, 16))
    assert is_red(pixels[2, 8] if turned else pixels[8, 2])
    assert is_blue(pixels[13, 8] if turned else pixels[8, 13])


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_an_image_whose_exif_is_rubbish_is_read(tmp_path: Path, suffix: str) -> None:
    halves().save(tmp_path / f"a.{suffix}", exif=b"Exif\0\0rubbish that is no TIFF")
    assert image_stats.summarise(tmp_path / f"a.{suffix}").stats.orientation in (0, 1)
    assert is_red(preprocessing.read(tmp_path / f"a.{suffix}", (16, 16))[8, 2])


EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"


def no_program(*command: object, **_: object) -> None:
    raise AssertionError(f"started {command}")


def test_no_file_starts_an_external_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_text(EPS)
    monkeypatch.setattr("subprocess.Popen", no_program)
    for read in (
        image_stats.summarise,
        preprocessing.upright_size,
        lambda path: preprocessing.read(path, (16, 16)),
    ):
        with pytest.raises(UnreadableImageError) as caught:
            read(tmp_path / "a.jpg")
        assert str(caught.value) == (
            f"image {tmp_path / 'a.jpg'} is in the format EPS, which kitbox does not read; "
            "save it as PNG, or remove it"
        )


def save_heic(path: Path, exif: Image.Exif | None = None) -> None:
    """Save `halves` as telephones do."""
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener(thumbnails=False)
    halves().save(path, format="HEIF", quality=90, exif=exif and exif.tobytes())


@pytest.mark.parametrize("name", ["a.HEIC", "a.jpg"])
def test_a_photograph_of_a_telephone_is_read(tmp_path: Path, name: str) -> None:
    save_heic(tmp_path / name)
    assert preprocessing.upright_size(tmp_path / name) == halves().size
    assert is_red(preprocessing.read(tmp_path / name, (16, 16))[8, 2])
    assert image_stats.summarise(tmp_path / name).stats.format == "HEIF"


def test_a_turned_photograph_of_a_telephone_is_turned_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2022:05:31 14:05:09"
    save_heic(tmp_path / "a.heic", exif)
    width, height = halves().size
    assert preprocessing.upright_size(tmp_path / "a.heic") == (height, width)
    assert is_red(preprocessing.read(tmp_path / "a.heic", (16, 16))[2, 8])  # left becomes top
    taken = image_stats.summarise(tmp_path / "a.heic").taken
    assert taken == datetime(2022, 5, 31, 14, 5, 9, tzinfo=UTC).timestamp()


def test_without_its_reader_a_photograph_of_a_telephone_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_heic(tmp_path / "a.heic")
    monkeypatch.setattr(preprocessing, "_register_heif", tuple)
    with pytest.raises(UnreadableImageError) as caught:
        preprocessing.upright_size(tmp_path / "a.heic")
    assert str(caught.value) == (
        f"image {tmp_path / 'a.heic'} is in the format HEIF; pip install 'kitbox[heic]' "
        "to have it read, or save it as JPEG"
    )
    assert not caught.value.lasting


def test_a_damaged_photograph_of_a_telephone_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400))
    with pytest.raises(UnreadableImageError, match="is a damaged HEIF file; replace or remove it"):
        preprocessing.upright_size(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.NEF", "a.dng"])
def test_the_preview_in_a_raw_camera_file_is_not_taken_for_the_photograph(
    tmp_path: Path, name: str
) -> None:
    halves().save(tmp_path / name, format="TIFF")
    with pytest.raises(UnreadableImageError, match=r"is a raw camera file, .* JPEG or TIFF, or"):
        preprocessing.upright_size(tmp_path / name)


def test_what_pillow_logs_of_a_damaged_file_is_not_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a command, without pytest's
    logging.getLogger("another").error("printed")
    logging.getLogger("PIL.TiffImagePlugin").error("More samples per pixel than can be decoded")
    assert capsys.readouterr().err == "printed\n"


@pytest.mark.parametrize(
    "format_", ["JPEG", "MPO", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000"]
)
def test_every_format_of_photographs_is_read_under_any_name(tmp_path: Path, format_: str) -> None:
    halves().save(tmp_path / "a.jpg", format=format_)
    assert is_red(preprocessing.read(tmp_path / "a.jpg", (16, 16))[8, 2])


def write_tiff_without_width(path: Path) -> None:
    """Write a TIFF whose header has no width."""
    halves().save(path, format="TIFF")
    data = bytearray(path.read_bytes())
    entries = struct.unpack("<I", data[4:8])[0] + 2
    assert struct.unpack("<H", data[entries : entries + 2]) == (256,)
    data[entries] = 255
    data[entries + 1] = 255
    path.write_bytes(bytes(data))


def write_unknown_dds(path: Path) -> None:
    """Write a DDS of a pixel format that Pillow does not know."""
    path.write_bytes(b"DDS " + struct.pack("<31I", 124, 0, 8, 8, *[0] * 27) + bytes(99))


@pytest.mark.parametrize("damage", [write_tiff_without_width, write_unknown_dds])
def test_a_file_is_named_whatever_error_its_header_causes(tmp_path: Path, damage) -> None:
    damage(tmp_path / "a.jpg")
    for read in (
        image_stats.summarise,
        preprocessing.upright_size,
        lambda path: preprocessing.read(path, (16, 16)),
    ):
        with pytest.raises(UnreadableImageError, match=r"a\.jpg .*; (replace|save)"):
            read(tmp_path / "a.jpg")


def test_a_file_is_named_whatever_error_its_pixels_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise NotImplementedError("Unknown compression")

    halves().save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(UnreadableImageError) as caught:
        preprocessing.read(tmp_path / "a.png", (16, 16))
    assert str(caught.value) == (
        f"image {tmp_path / 'a.png'} cannot be decoded (Unknown compression); replace or remove it"
    )


def test_a_file_that_the_system_cannot_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.symlink_to("/proc/self/mem")  # its first byte cannot be read, as of a bad sector
    with pytest.raises(UnreadableImageError) as caught:
        preprocessing.upright_size(path)
    assert str(caught.value) == (
        f"image {path} cannot be read (Input/output error); replace or remove it"
    )


def test_an_unreadable_file_is_closed(tmp_path: Path) -> None:
    messages = {"sector": "cannot be read", "text": "is not an image", "cut": "is truncated"}
    (tmp_path / "sector").symlink_to("/proc/self/mem")
    (tmp_path / "text").write_text("no image", encoding="utf-8")
    halves().save(tmp_path / "whole.png")
    (tmp_path / "cut").write_bytes((tmp_path / "whole.png").read_bytes()[:-60])
    before = os.listdir("/proc/self/fd")
    for name, message in messages.items():
        with pytest.raises(UnreadableImageError, match=message):
            image_stats.summarise(tmp_path / name)
        assert os.listdir("/proc/self/fd") == before
    preprocessing.read(tmp_path / "cut", (16, 16))
    assert os.listdir("/proc/self/fd") == before


def thumbnail(path: Path) -> np.ndarray:
    grey = np.frombuffer(image_stats.summarise(path).thumbnail, dtype=np.uint8)
    return grey.reshape(16, 16).astype(int)


def test_a_thumbnail_is_the_grey_image_resized_to_sixteen_pixels(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.png")
    found = thumbnail(tmp_path / "a.png")
    red, blue = round(0.299 * 250), round(0.114 * 250)  # their grey by ITU-R 601
    assert np.abs(found[:, :8] - red).max() <= 1
    assert np.abs(found[:, 8:] - blue).max() <= 1


def test_a_summary_is_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    halves((320, 160)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    ImageOps.exif_transpose(Image.open(tmp_path / "turned.jpg")).save(tmp_path / "upright.png")
    upright = thumbnail(tmp_path / "upright.png")
    assert np.abs(thumbnail(tmp_path / "turned.jpg") - upright).max() <= 6
    assert upright[0, 0] > upright[15, 0]


def test_a_hash_has_64_bits(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1, 1)
    assert len(image_stats.summarise(tmp_path / "a.png").hash) == 8


def taken(path: Path, text: str | bytes | None) -> float | None:
    exif = Image.Exif()
    exif[0x0112] = 1
    if text is not None:
        exif.get_ifd(0x8769)[0x9003] = text
    halves().save(path, exif=exif)
    return image_stats.summarise(path).taken


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_time_of_a_photograph_is_that_of_its_camera(tmp_path: Path, suffix: str) -> None:
    moment = datetime(2019, 5, 6, 7, 8, 9, tzinfo=UTC).timestamp()
    assert taken(tmp_path / f"a.{suffix}", "2019:05:06 07:08:09") == moment


@pytest.mark.parametrize(
    "text", [None, "", "0000:00:00 00:00:00", "yesterday", "    :  :     :  :"]
)
def test_a_time_that_the_camera_did_not_set_is_none(tmp_path: Path, text: str | None) -> None:
    assert taken(tmp_path / "a.jpg", text) is None


def test_odd_exif_causes_no_error_and_no_warning(tmp_path: Path) -> None:
    taken(tmp_path / "a.jpg", "2019:05:06 07:08:09")
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    at = data.index(b"Exif\0\0") + 6
    data[at + 8 : at + 10] = b"\xff\xff"  # more entries than there are bytes
    (tmp_path / "a.jpg").write_bytes(bytes(data))
    assert image_stats.summarise(tmp_path / "a.jpg").hash  # warnings are errors here
    assert preprocessing.read(tmp_path / "a.jpg", (16, 16)).shape == (16, 16, 3)


def test_images_that_are_open_in_several_threads_leave_warnings_as_they_were(
    tmp_path: Path,
) -> None:
    path = tmp_path / "image.png"
    Image.new("RGB", (8, 8)).save(path)
    first, second = preprocessing.open_image(path), preprocessing.open_image(path)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    with pytest.warns(UserWarning, match="of mine"):
        warnings.warn("of mine", stacklevel=1)
    assert ("ignore", None, Warning, None, 0) not in warnings.filters


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_photograph_of_200_million_pixels_is_no_bomb(tmp_path: Path, name: str) -> None:
    """Telephones make them; Pillow's own limit is 179 million pixels."""
    Image.new("L", (16320, 12240), 128).save(tmp_path / name, compress_level=1)
    with preprocessing.open_image(tmp_path / name) as image:
        assert image.size == (16320, 12240)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_file_of_very_many_pixels_is_reduced_in_stripes_to_nearly_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, orientation: int
) -> None:
    ramp = np.linspace(0, 255, 640)[None] * np.linspace(0.2, 1, 480)[:, None]
    if mode == "I;16":
        image = Image.fromarray((ramp * 257).astype(np.uint16))
    else:
        image = Image.fromarray(ramp.astype(np.uint8)).convert(mode)
    exif = Image.Exif()
    exif[preprocessing.EXIF_ORIENTATION] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    crops = [preprocessing.Crop((40, 40)), preprocessing.Crop((400, 400), (9.0, 9.0, 300.0, 400.0))]
    plain = preprocessing.read_crops(tmp_path / "a.png", crops)
    monkeypatch.setattr(preprocessing, "_MANY_PIXELS", 640 * 480 - 1)
    monkeypatch.setattr(preprocessing, "_STRIPE_PIXELS", 640 * 25)
    reduced = preprocessing.read_crops(tmp_path / "a.png", crops)
    for one, other, crop in zip(plain, reduced, crops, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 4
        alone = preprocessing.read_crops(tmp_path / "a.png", [crop])[0]
        assert (alone == other).all()
    assert (plain[1] == reduced[1]).all()  # its region has few pixels more than are asked for
