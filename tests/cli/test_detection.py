"""`kitbox data boxes detect`: from a few drawn boxes to a box for every image."""

import csv
import json
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from kitbox.boxes.detector import DetectorSettings
from kitbox.cli import boxes as boxes_module
from kitbox.cli.app import app
from kitbox.competition import decisions
from kitbox.competition.boxes import Box, read_file, replace
from kitbox.competition.decisions import Decision
from kitbox.workspace import Workspace
from tests.photographs import TINY, competition_on_disk

RUN = ("--device", "cpu", "--precision", "32", "--workers", "0", "--weights", "none")
SMALL = ("--backbone", TINY, "--image-size", "64", "--epochs", "1")


def detect(*arguments: str, code: int = 0) -> Result:
    command = ["data", "boxes", "detect", *SMALL, *RUN, *arguments]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Return a workspace of 24 labelled and 8 test images (96x64), 22 of them with a drawn box."""
    found, _ = competition_on_disk(tmp_path)
    generator = np.random.default_rng(0)
    names = [f"{who}_{n}.png" for who in range(5) for n in range(4)] + ["t_0.png", "t_1.png"]
    rows = []
    for name in names:
        left, top = generator.integers(0, 40, 2)
        corners = (float(left), float(top), float(left + 40), float(top + 20))
        rows.append(Box(name, corners, source="me"))
    replace(found.boxes, "me", rows)
    monkeypatch.chdir(found.root)
    return found


def detected(place: Workspace) -> list[Box]:
    return [box for box in read_file(place.boxes, "") if not box.drawn]


def test_every_image_without_a_drawn_box_is_searched(place: Workspace) -> None:
    figures = json.loads(detect("--threshold", "0", "--json").stdout)
    assert (figures["learnt"], figures["held_out"]["images"], figures["images"]) == (18, 4, 10)
    assert list(figures["held_out"]["scores"]) == ["ap50", "ap", "crop_iou"]
    assert figures["image_size"] == [32, 64]
    assert figures["images_per_second"] > 0
    found = detected(place)
    assert figures["boxes"] == len(found)
    without = {f"5_{n}.png" for n in range(4)} | {f"t_{n}.png" for n in range(2, 8)}
    assert {box.image_id for box in found} <= without
    assert {box.source for box in found} <= {"detector"}
    assert figures["whole"] == 10 - len({box.image_id for box in found})
    for box in found:
        x0, y0, x1, y1 = box.corners
        assert 0 <= x0 < x1 <= 96
        assert 0 <= y0 < y1 <= 64


def test_below_the_threshold_an_image_stays_whole_and_is_listed(place: Workspace) -> None:
    figures = json.loads(detect("--threshold", "1", "--held-out", "0", "--json").stdout)
    assert (figures["boxes"], figures["whole"], figures["doubtful"]) == (0, 10, 10)
    with Path(figures["doubtful_list"]).open() as file:
        assert {row["why"] for row in csv.DictReader(file)} == {"no confident box"}
    assert detected(place) == []
    shown = detect("--threshold", "1", "--held-out", "0")
    assert "100.0% of the 10 images without a drawn box stay whole" in shown.stderr


def test_a_detector_that_finds_nothing_takes_the_place_of_no_boxes(place: Workspace) -> None:
    before = json.loads(detect("--threshold", "0", "--json").stdout)["boxes"]
    written = place.boxes.read_text()
    message = str(detect("--threshold", "1", code=1).exception)
    assert "each of the 4 held-out images stays whole below a confidence of 1 (ap50" in message
    assert place.boxes.read_text() == written
    shown = detect("--threshold", "0")
    assert f"{before} boxes of 'detector', in place of {before}" in shown.stderr
    assert "4 held-out images are few: scores and intervals are rough" in shown.stderr
    assert "ap50" in shown.stdout


def test_what_was_learnt_and_found_is_used_again(place: Workspace) -> None:
    first = json.loads(detect("--threshold", "0", "--json").stdout)
    written = place.boxes.read_text()
    again = json.loads(detect("--threshold", "0", "--json").stdout)
    assert again["detector"] == first["detector"]
    assert again["images_per_second"] is None
    assert again["held_out"] == first["held_out"]
    assert place.boxes.read_text() == written
    fresh = json.loads(detect("--threshold", "0", "--fresh", "--json").stdout)
    assert fresh["images_per_second"] > 0
    assert fresh["held_out"] == first["held_out"]


def test_nothing_held_out_is_nothing_measured(place: Workspace) -> None:
    result = detect("--held-out", "0", "--json")
    figures = json.loads(result.stdout)
    assert figures["learnt"] == 22
    assert "held_out" not in figures
    assert "training on 22 images with drawn boxes; 0 are held out" in result.stderr


def test_a_few_boxes_are_too_few(place: Workspace) -> None:
    place.boxes.write_text("".join(place.boxes.read_text().splitlines(keepends=True)[:4]))
    assert "3 images have a drawn box" in str(detect(code=1).exception)


def test_a_detector_does_not_learn_from_what_detectors_found(place: Workspace) -> None:
    guess = Box("5_0.png", (1.0, 1.0, 50.0, 50.0), 0.9, "another detector")
    replace(place.boxes, "another detector", [guess])
    figures = json.loads(detect("--held-out", "0", "--json").stdout)
    assert (figures["learnt"], figures["images"]) == (22, 10)


def test_a_box_that_was_decided_is_learnt_and_not_found_again(place: Workspace) -> None:
    decisions.add(place.decisions, Decision("box", "5_0.png", "1 1 50 50"))
    decisions.add(place.decisions, Decision("box", "0_0.png", "2 2 40 40"))
    figures = json.loads(detect("--held-out", "0", "--threshold", "0", "--json").stdout)
    assert (figures["learnt"], figures["images"]) == (23, 9)
    assert "5_0.png" not in {box.image_id for box in detected(place)}


def test_what_is_not_said_is_as_in_the_recipe() -> None:
    defaults = {n: p.default for n, p in signature(boxes_module.detect).parameters.items()}
    recipe = DetectorSettings().model_dump()
    assert {n: defaults[n] for n in ("backbone", "image_size", "epochs", "seed")} == {
        n: recipe[n] for n in ("backbone", "image_size", "epochs", "seed")
    }


def test_a_weights_file_that_is_missing_is_named(place: Workspace) -> None:
    assert "there is no file of weights" in str(
        detect("--weights", "nowhere.safetensors", code=1).exception
    )
