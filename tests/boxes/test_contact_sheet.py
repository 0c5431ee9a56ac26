"""The contact sheet: boxes in their places."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kitbox.boxes import contact_sheet
from kitbox.competition.boxes import Box


def photograph(path: Path, size: tuple[int, int] = (720, 480)) -> Path:
    Image.new("RGB", size, (60, 90, 120)).save(path)
    return path


@pytest.mark.parametrize(("confidence", "colour"), [(None, (255, 140, 0)), (0.5, (40, 130, 255))])
def test_drawn_and_detected_boxes_have_their_colours(
    tmp_path: Path, confidence: float | None, colour: tuple[int, int, int]
) -> None:
    paths = {"a": photograph(tmp_path / "a.png")}
    boxes = {"a": [Box("a", (200.0, 100.0, 400.0, 300.0), confidence)]}
    assert contact_sheet.draw(boxes, paths, tmp_path / "reports" / "sheet.png") == 1
    sheet = np.asarray(Image.open(tmp_path / "reports" / "sheet.png"))
    ys, xs = np.nonzero((sheet == colour).all(axis=2))
    # an image of 720 pixels is 360 wide on the sheet, 8 pixels from its edge
    assert (xs.min(), xs.max()) == (8 + 100, 8 + 199)
    assert (ys.min(), ys.max()) == (8 + 50, 8 + 149)


def test_images_are_spread_evenly_and_missing_ones_left_out(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.png", (30, 20))
    names = [f"{number:03}" for number in range(100)]
    boxes = {name: [Box(name, (1.0, 1.0, 9.0, 9.0))] for name in [*names, "gone"]}
    assert (
        contact_sheet.draw(boxes, dict.fromkeys(names, path), tmp_path / "s.png")
        == contact_sheet.MAX_IMAGES
    )


def test_a_sheet_without_images_or_with_an_unreadable_one_is_drawn(tmp_path: Path) -> None:
    assert contact_sheet.draw({}, {}, tmp_path / "s.png") == 0
    (tmp_path / "b.png").write_text("no image")
    name = "a very long name " * 20
    boxes = {name: [Box(name, (1.0, 1.0, 9.0, 9.0))]}
    assert contact_sheet.draw(boxes, {name: tmp_path / "b.png"}, tmp_path / "s.png") == 1
