"""EXIF orientations, held against the pixels that Pillow turns."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kitbox.boxes import orientation
from kitbox.boxes.orientation import Frame, PhotographSize, TurnedBoxes
from kitbox.images import image_stats, preprocessing

RAW = (11, 19, 37, 43)  # a box on the raw pixels of 80x60


def photograph(path: Path, turned: int, size: tuple[int, int] = (80, 60)) -> Path:
    """Save a photograph that EXIF turns, white in the box RAW of its raw pixels."""
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[RAW[1] : RAW[3], RAW[0] : RAW[2]] = 255
    exif = Image.Exif()
    exif[0x0112] = turned
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_a_box_of_the_raw_pixels_turns_with_the_photograph(
    tmp_path: Path, turned: int, suffix: str
) -> None:
    path = photograph(tmp_path / f"seal.{suffix}", turned)
    size = PhotographSize(*preprocessing.raw_size(path))
    assert (size.raw, size.orientation) == ((80, 60), turned)
    assert size.upright == preprocessing.upright_size(path)
    stats = image_stats.summarise(path).stats
    assert (stats.width, stats.height, stats.orientation) == (*size.upright, turned)
    upright = preprocessing.read(path, size.upright[::-1])
    rows, columns = np.nonzero(upright[..., 0] > 127)
    assert size.turn(RAW) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    # the crop of that box is white; filters look over its edge
    assert preprocessing.read(path, (8, 8), size.turn(RAW)).min() > 200


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_unknown_orientation_turns_nothing(tmp_path: Path, value: int) -> None:
    path = photograph(tmp_path / "seal.png", value)
    assert preprocessing.raw_size(path) == ((80, 60), 1)


def test_a_size_names_the_frames_that_have_it_or_its_shape() -> None:
    quarter, half = PhotographSize((80, 60), 6), PhotographSize((80, 60), 3)
    assert quarter.frames_of_size((80, 60)) == ("raw",)
    assert quarter.frames_of_size((60, 80)) == ("upright",)
    assert quarter.frames_of_size((640, 480)) == ("raw",)
    assert quarter.frames_of_size((500, 500)) == ()
    assert half.frames_of_size((80, 60)) == ("upright", "raw")
    assert PhotographSize((80, 60)).frames_of_size((640, 480)) == ("upright",)


@pytest.mark.parametrize(
    ("evidence", "frames", "counts"),
    [
        (["raw", None], ["raw", "raw"], TurnedBoxes(raw=2, followed=1)),
        (["upright", None], ["upright", "upright"], TurnedBoxes(upright=2, followed=1)),
        (["raw", "upright", None], ["raw", "upright", "upright"], TurnedBoxes(1, 1, 0, 1)),
        ([None, None], ["upright", "upright"], TurnedBoxes(unclear=2)),
        ([], [], TurnedBoxes()),
    ],
)
def test_boxes_without_evidence_follow_the_others_where_these_agree(
    evidence: list[Frame | None], frames: list[Frame], counts: TurnedBoxes
) -> None:
    assert orientation.decide(evidence) == (frames, counts)


def test_turned_boxes_are_told_in_one_sentence() -> None:
    assert str(TurnedBoxes(raw=5, upright=1, followed=0, unclear=2)) == (
        "boxes on photographs that EXIF turns: 5 drawn on the raw pixels, 1 on the upright "
        "photograph, 2 unclear"
    )
    assert "5 drawn on the raw pixels, 0 on the upright photograph (3 of them like" in str(
        TurnedBoxes(raw=5, followed=3)
    )
