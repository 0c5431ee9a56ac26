"""Thumbnails: of the right part and shape, drawn once, and again after a change."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kitbox.errors import KitboxError
from kitbox.files import digest_of_file
from kitbox.images import thumbnails
from kitbox.images.thumbnails import Thumbnails
from kitbox.records import ImageSet, strings
from kitbox.workspace import Workspace
from tests.photographs import finish, picture


def image_set(*paths: Path, boxes: list[list[float]] | None = None) -> ImageSet:
    return ImageSet(
        strings([path.name for path in paths]),
        paths,
        boxes=None if boxes is None else np.array(boxes, dtype=np.float32),
        digests=strings([digest_of_file(path) for path in paths]),
    )


def draw(images: ImageSet, workspace: Workspace, **options: object) -> tuple[int, Thumbnails]:
    """Return how many thumbnails were drawn, and all of them."""
    steps, found = finish(thumbnails.make(images, workspace, **{"side": 32, **options}))
    return len(steps), found


def shown(found: Thumbnails, row: int = 0) -> Image.Image:
    return Image.open(io.BytesIO(found.load([row])[0]))


def test_a_thumbnail_keeps_the_shape_of_the_image(workspace: Workspace) -> None:
    paths = [
        picture(workspace.root / f"{n}.png", 0, n, size)
        for n, size in enumerate([(96, 64), (30, 120), (10, 8)])
    ]
    count, found = draw(image_set(*paths), workspace)
    assert count == 3
    assert [shown(found, row).size for row in range(3)] == [(32, 21), (8, 32), (10, 8)]
    assert found.sizes.tolist() == [[96, 64], [30, 120], [10, 8]]
    assert {shown(found, row).format for row in range(3)} == {"WEBP"}


def test_an_image_with_a_box_shows_the_box_and_its_margin(workspace: Workspace) -> None:
    pixels = np.zeros((100, 200, 3), dtype=np.uint8)
    pixels[20:60, 100:180] = 255
    path = workspace.root / "a.png"
    Image.fromarray(pixels).save(path)
    images = image_set(path, boxes=[[100, 20, 180, 60]])
    _, cropped = draw(images, workspace, crop_margin=0.0)
    assert shown(cropped).size == (32, 16)
    # WebP turns white corners a little grey
    assert np.asarray(shown(cropped).convert("L")).min() > 200
    assert cropped.regions.tolist() == [[100, 20, 180, 60]]
    _, wider = draw(images, workspace, crop_margin=0.25)
    assert wider.regions.tolist() == [[80, 10, 200, 70]]
    _, whole = draw(images, workspace)
    assert whole.regions.tolist() == [[0, 0, 200, 100]]


def test_a_rotated_photograph_is_shown_upright(workspace: Workspace) -> None:
    path = workspace.root / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40), "red").save(path, exif=exif)
    _, found = draw(image_set(path), workspace)
    assert found.sizes.tolist() == [[40, 80]]
    assert shown(found).size == (16, 32)


def test_thumbnails_are_drawn_once_for_each_content(workspace: Workspace) -> None:
    paths = [picture(workspace.root / f"{n}.png", n, 0) for n in range(4)]
    copy = workspace.root / "copy.png"
    copy.write_bytes(paths[0].read_bytes())
    assert draw(image_set(*paths, copy), workspace)[0] == 4
    assert draw(image_set(copy, *reversed(paths)), workspace)[0] == 0
    picture(paths[1], 9, 9)
    count, found = draw(image_set(*paths), workspace)
    assert count == 1
    assert found.load([0, 3]) == [found.load([0])[0], found.load([3])[0]]
    assert draw(image_set(*paths), workspace, side=16)[0] == 4


def test_an_unreadable_file_has_no_thumbnail(workspace: Workspace) -> None:
    broken = workspace.root / "broken.jpg"
    broken.write_bytes(b"<html>")
    whole = picture(workspace.root / "whole.png", 0, 0)
    _, found = draw(image_set(broken, whole), workspace)
    assert found.load([0]) == [b""]
    assert (found.lengths > 0).tolist() == [False, True]
    assert found.sizes[0].tolist() == [0, 0]


def test_an_empty_image_set_has_no_thumbnails(workspace: Workspace) -> None:
    _, found = draw(image_set(), workspace)
    assert (len(found), found.load([])) == (0, [])


def test_a_damaged_thumbnail_file_is_named(workspace: Workspace) -> None:
    workspace.cache.mkdir()
    workspace.thumbnails.write_bytes(b"no database at all" * 100)
    path = picture(workspace.root / "a.png", 0, 0)
    with pytest.raises(KitboxError, match=r"thumbnails.sqlite is damaged .*; remove it"):
        draw(image_set(path), workspace)
