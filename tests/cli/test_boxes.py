"""Boxes: imported, cropped alike on all sides, and detected."""

import csv
import dataclasses
import json
import re
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from kitbox.boxes.detector import DetectorSettings
from kitbox.cli import box_detection
from kitbox.competition import settings
from kitbox.competition.boxes import Box, read_file, replace
from kitbox.dataset.collection import Collection, collect
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.embedding import embedder
from kitbox.images.loader import ImageDataset
from kitbox.training import trainer
from kitbox.training.context import TrainOptions, TrainSetup
from kitbox.workspace import Workspace
from tests.commands import RUN, run
from tests.photographs import TINY, competition_on_disk, finish, named, tiny


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    found, _ = competition_on_disk(tmp_path)
    monkeypatch.chdir(found.root)
    return found


def drawn(workspace: Workspace, *rows: str) -> str:
    path = workspace.root / "drawn.csv"
    path.write_text("\n".join(["image,x,y,w,h", *rows]) + "\n")
    return str(path)


def collected(workspace: Workspace) -> Collection:
    found: Collection = finish(collect(workspace, settings.load(workspace)))[1]
    return found


def test_boxes_are_imported_counted_and_written(workspace: Workspace) -> None:
    file = drawn(workspace, "0_0,60,30,90,62", "t_1,48,32,90,50", "t_1,50,40,90,60", "z,1,1,2,2")
    shown = run("data", "boxes", "import", file, "--sheet")
    lines = shown.stderr.splitlines()
    assert lines[0] == (
        f"{file}: two corners, though the columns are called x,y,w,h, in pixels "
        "(format gdsc, columns x,y,w,h)"
    )
    assert lines[1] == (
        "several formats are possible; boxes that lie inside their images: 0 as xywh, 3 as gdsc"
    )
    assert lines[2] == (
        'images with several boxes: 1; all are written, and several_boxes = "best" in kitbox.toml '
        "chooses"
    )
    assert lines[3] == ("names no image here: drawn.csv line 5: no image, or more than one, is 'z'")
    assert lines[4] == f"written to {workspace.boxes}: 3 boxes of 'drawn.csv'"
    assert lines[5] == f"look at {workspace.reports / 'boxes.png'}"
    with Image.open(workspace.reports / "boxes.png") as sheet:
        assert sheet.format == "PNG"
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert ["labelled", "24", "1"] in rows
    assert ["test", "8", "1"] in rows
    found = collected(workspace)
    assert found.labelled.boxes is not None
    assert found.test is not None
    assert found.test.boxes is not None
    assert found.labelled.boxes[0].tolist() == [60, 30, 90, 62]
    assert found.test.boxes[1].tolist() == [48, 32, 90, 50]


def test_an_import_is_printed_as_one_json_document(workspace: Workspace) -> None:
    file = drawn(workspace, "0_0,60,30,90,62", "0_1,60,30,130,62", "0_2,0,0,96,64", "z,1,1,2,2")
    found = json.loads(run("data", "boxes", "import", file, "--form", "xyxy", "--json").stdout)
    findings = found.pop("findings")
    assert found == {
        "format": "xyxy",
        "relative": False,
        "inside": {"xyxy": 2},
        "source": "drawn.csv",
        "boxes": 3,
        "images": {
            "labelled": {"images": 24, "with_box": 3},
            "test": {"images": 8, "with_box": 0},
        },
        "cut": 1,
        "whole": 1,
        "repeated": 0,
        "refused": 0,
        "unmatched": 1,
        "unverified": 0,
        "scaled": 0,
        "without": 0,
        "several": 0,
        "categories": {},
        "other_categories": {},
        "threshold": None,
        "below": 0,
        "turned": {"raw": 0, "upright": 0, "followed": 0, "unclear": 0},
        "written": str(workspace.boxes),
        "sheet": None,
    }
    assert findings[0] == {
        "kind": "cut",
        "where": "drawn.csv line 3",
        "image_id": "0_1.png",
        "what": "box 60,30,130,62 reaches 34 pixels out of image '0_1.png', which has 96x64 pixels",
    }


def test_decided_boxes_take_precedence(workspace: Workspace) -> None:
    decision_file.add(workspace.decisions, Decision("drop", "0_0.png"))
    decision_file.add(workspace.decisions, Decision("box", "0_1.png", "5 5 50 50"))
    file = drawn(workspace, "0_0,1,2,30,40", "0_1,1,2,30,40")
    shown = run("data", "boxes", "import", file, "--form", "xyxy", "--json")
    assert json.loads(shown.stdout)["images"]["labelled"] == {"images": 23, "with_box": 1}
    boxes = collected(workspace).labelled.boxes
    assert boxes is not None
    assert boxes[0].tolist() == [5, 5, 50, 50]


def test_boxes_of_the_same_source_are_replaced_and_others_stay(workspace: Workspace) -> None:
    arguments = ("data", "boxes", "import", drawn(workspace, "0_0,1,2,30,40"), "--form", "xyxy")
    run(*arguments, "--source", "me")
    run(*arguments)
    shown = run(*arguments)
    assert "1 box of 'drawn.csv', in place of 1" in shown.stderr
    assert workspace.boxes.read_text().splitlines()[1:] == [
        "0_0.png,1,2,30,40,,me",
        "0_0.png,1,2,30,40,,drawn.csv",
    ]


def test_an_empty_box_stops_the_import_before_anything_is_written(workspace: Workspace) -> None:
    file = drawn(workspace, "0_0,1,2,30,40", "0_1,1,2,30,40", "0_2,9,9,3,3")
    arguments = ("data", "boxes", "import", file, "--form", "gdsc")
    assert "drawn.csv line 4: box 9,9,3,3 is empty, read as gdsc; correct the row; fix it" in str(
        run(*arguments, code=1).exception
    )
    assert not workspace.boxes.exists()
    text = workspace.settings.read_text().replace('broken = "stop"', 'broken = "drop"')
    workspace.settings.write_text(text)
    assert "left out: drawn.csv line 4: box 9,9,3,3 is empty" in run(*arguments).stderr


def test_labels_in_two_folders_of_the_same_name_have_different_sources(
    workspace: Workspace,
) -> None:
    for side, image in (("train", "0_0"), ("test", "t_1")):
        folder = workspace.root / "y" / side / "labels"
        folder.mkdir(parents=True)
        (folder / f"{image}.txt").write_text("0 .5 .5 .5 .5\n")
        run("data", "boxes", "import", str(folder))
    assert workspace.boxes.read_text().splitlines()[1:] == [
        "0_0.png,24,16,72,48,,y/train/labels",
        "t_1.png,24,16,72,48,,y/test/labels",
    ]


def test_the_source_of_a_list_outside_the_workspace_has_its_folder(workspace: Workspace) -> None:
    elsewhere = workspace.root.parent / "labels" / "drawn.csv"
    elsewhere.parent.mkdir()
    elsewhere.write_text("image,x0,y0,x1,y1\n0_0,1,2,30,40\n")
    shown = run("data", "boxes", "import", str(elsewhere))
    assert "1 box of 'labels/drawn.csv'" in shown.stderr


def test_an_import_without_usable_boxes_replaces_nothing(workspace: Workspace) -> None:
    text = workspace.settings.read_text().replace('broken = "stop"', 'broken = "drop"')
    workspace.settings.write_text(text)
    run("data", "boxes", "import", drawn(workspace, "0_0,1,2,30,40"), "--form", "xyxy")
    before = workspace.boxes.read_text()
    file = drawn(workspace, "0_0,1,2,3,4")
    assert str(run("data", "boxes", "import", file, "--form", "xyxy", code=1).exception) == (
        f"{file} has no usable box: drawn.csv line 2: box 1,2,3,4 has only 2x2 pixels in "
        "image '0_0.png', which has 96x64 pixels; correct or remove it"
    )
    assert workspace.boxes.read_text() == before


def test_the_source_of_predicted_boxes_cannot_be_imported(workspace: Workspace) -> None:
    arguments = ("data", "boxes", "import", drawn(workspace, "0_0,1,2,3,4"), "--source", "detector")
    assert str(run(*arguments, code=1).exception) == (
        "'detector' is the source of predicted boxes; name yours with --source NAME"
    )


def test_more_than_three_findings_of_a_kind_are_counted(workspace: Workspace) -> None:
    rows = [f"z{number},1,2,30,40" for number in range(5)]
    file = drawn(workspace, "0_0,1,2,30,40", *rows)
    shown = run("data", "boxes", "import", file, "--form", "xyxy").stderr
    assert "names no image here: 2 more; --json lists all" in shown


def test_an_import_can_be_limited_to_one_folder(workspace: Workspace) -> None:
    data = settings.load(workspace).images.root
    arguments = ("data", "boxes", "import", drawn(workspace, "0_0,1,2,30,40", "t_1,1,2,30,40"))
    shown = run(*arguments, "--form", "xyxy", "--images", str(data / "test"), "--json")
    assert json.loads(shown.stdout)["unmatched"] == 1
    assert workspace.boxes.read_text().splitlines()[1:] == ["t_1.png,1,2,30,40,,drawn.csv"]


def test_train_and_test_are_cropped_alike(workspace: Workspace) -> None:
    """Put one fluke into a training and a test image with different backgrounds."""
    data = settings.load(workspace).images.root
    fluke = Image.open(data / "train" / "3_0.png").resize((60, 40))
    for name, sea in (("train/0_0.png", (0, 0, 90)), ("test/t_0.png", (90, 200, 90))):
        image = Image.new("RGB", (96, 64), sea)
        image.paste(fluke, (20, 15))  # wider than the box: filters look over its edge
        image.save(data / name)
    file = drawn(workspace, "0_0,30,25,40,20", "t_0,30,25,40,20")
    run("data", "boxes", "import", file, "--form", "xywh")
    found = collected(workspace)
    assert found.test is not None
    plugin = tiny(epochs=0, losses=[], crop_margin=0.0)
    views = [
        ImageDataset(images, (32, 32), interpolation="bicubic", crop_margin=0.0)
        for images in (found.labelled, found.test)
    ]
    np.testing.assert_array_equal(views[0][0][0], views[1][0][0])
    options = TrainOptions(device="cpu", precision="32", workers=0)
    setup = TrainSetup(found, settings.load(workspace), workspace, options)
    _, checkpoint = finish(trainer.train(named(plugin), setup))

    def embedded(images):  # type: ignore[no-untyped-def]
        stage = embedder.embed(
            named(plugin),
            checkpoint,
            images,
            workspace,
            options=embedder.EmbedOptions(device="cpu", precision="32", workers=0),
        )
        return finish(stage)[1].vectors[0]

    np.testing.assert_allclose(embedded(found.labelled), embedded(found.test), atol=1e-6)
    whole = dataclasses.replace(found.test, boxes=None)
    assert not np.allclose(embedded(found.labelled), embedded(whole), atol=1e-3)
    causes = [
        embedder.key_parts(named(plugin), checkpoint, images, frozenset(), "32")
        for images in (found.test, whole)
    ]
    assert causes[0]["images"] != causes[1]["images"]


def test_images_without_labels_can_have_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "sea"
    for number in range(3):
        (data / "photos").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 40), (number, 0, 0)).save(data / "photos" / f"IMG ({number}).JPG")
    (data / "boxes.csv").write_text("image,cx,cy,w,h\nIMG (1).JPG,.5,.5,.5,.5\n")
    made = run("init", str(tmp_path / "w"), "--preset", "folder", "--data", str(data))
    assert f"{data / 'boxes.csv'} has no columns image,x0,y0,x1,y1; 'kitbox data b" in made.stderr
    monkeypatch.chdir(tmp_path / "w")
    run("data", "boxes", "import", str(data / "boxes.csv"))
    found = collected(Workspace(tmp_path / "w"))
    assert found.labelled.boxes is not None
    assert found.labelled.boxes[1].tolist() == [20, 10, 60, 30]
    assert len(found.holdout.query) == 0
    result = run("data", "holdout", code=1)
    assert "no labelled image shows a known individual" in str(result.exception)


SMALL = ("--backbone", TINY, "--image-size", "64", "--epochs", "1", "--weights", "none")


def detect(*arguments: str, code: int = 0) -> Result:
    return run("data", "boxes", "detect", *SMALL, *RUN, *arguments, code=code)


@pytest.fixture
def drawn_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
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


def detected(drawn_workspace: Workspace) -> list[Box]:
    return [box for box in read_file(drawn_workspace.boxes, "") if not box.drawn]


def test_boxes_are_detected_in_every_image_without_a_drawn_box(drawn_workspace: Workspace) -> None:
    figures = json.loads(detect("--threshold", "0", "--json").stdout)
    assert (figures["trained_on"], figures["held_out"]["images"], figures["images"]) == (18, 4, 10)
    assert list(figures["held_out"]["scores"]) == ["ap50", "ap", "crop_iou"]
    assert figures["image_size"] == [32, 64]
    assert figures["images_per_second"] > 0
    found = detected(drawn_workspace)
    assert figures["boxes"] == len(found)
    without = {f"5_{n}.png" for n in range(4)} | {f"t_{n}.png" for n in range(2, 8)}
    assert {box.image_id for box in found} <= without
    assert {box.source for box in found} <= {"detector"}
    assert figures["whole"] == 10 - len({box.image_id for box in found})
    for box in found:
        x0, y0, x1, y1 = box.corners
        assert 0 <= x0 < x1 <= 96
        assert 0 <= y0 < y1 <= 64


def test_an_image_below_the_threshold_is_not_cropped_and_is_listed(
    drawn_workspace: Workspace,
) -> None:
    figures = json.loads(detect("--threshold", "1", "--held-out", "0", "--json").stdout)
    assert (figures["boxes"], figures["whole"], figures["suspicious"]) == (0, 10, 10)
    with Path(figures["suspicious_list"]).open() as file:
        assert {row["reason"] for row in csv.DictReader(file)} == {"no confident box"}
    assert detected(drawn_workspace) == []
    shown = detect("--threshold", "1", "--held-out", "0")
    assert "100.0% of the 10 images without a drawn box stay whole" in shown.stderr


def test_a_detector_without_detections_replaces_no_boxes(
    drawn_workspace: Workspace,
) -> None:
    before = json.loads(detect("--threshold", "0", "--json").stdout)["boxes"]
    written = drawn_workspace.boxes.read_text()
    message = str(detect("--threshold", "1", code=1).exception)
    assert "each of the 4 held-out images stays whole below a confidence of 1 (ap50" in message
    assert drawn_workspace.boxes.read_text() == written
    shown = detect("--threshold", "0")
    assert f"{before} boxes of 'detector', in place of {before}" in shown.stderr
    assert "4 held-out images are few: scores and intervals are rough" in shown.stderr
    assert "ap50" in shown.stdout


def test_an_earlier_detector_and_its_boxes_are_used_again(drawn_workspace: Workspace) -> None:
    first = json.loads(detect("--threshold", "0", "--json").stdout)
    written = drawn_workspace.boxes.read_text()
    again = json.loads(detect("--threshold", "0", "--json").stdout)
    assert again["detector"] == first["detector"]
    assert again["images_per_second"] is None
    assert again["held_out"] == first["held_out"]
    assert drawn_workspace.boxes.read_text() == written
    fresh = json.loads(detect("--threshold", "0", "--fresh", "--json").stdout)
    assert fresh["images_per_second"] > 0
    assert fresh["held_out"] == first["held_out"]


def test_without_held_out_boxes_there_are_no_scores(drawn_workspace: Workspace) -> None:
    result = detect("--held-out", "0", "--json")
    figures = json.loads(result.stdout)
    assert figures["trained_on"] == 22
    assert "held_out" not in figures
    assert "training on 22 images with drawn boxes; 0 are held out" in result.stderr


def test_too_few_drawn_boxes_are_an_error(drawn_workspace: Workspace) -> None:
    drawn_workspace.boxes.write_text(
        "".join(drawn_workspace.boxes.read_text().splitlines(keepends=True)[:4])
    )
    assert "3 images have a drawn box" in str(detect(code=1).exception)


def test_a_detector_is_not_trained_on_detected_boxes(drawn_workspace: Workspace) -> None:
    guess = Box("5_0.png", (1.0, 1.0, 50.0, 50.0), 0.9, "another detector")
    replace(drawn_workspace.boxes, "another detector", [guess])
    figures = json.loads(detect("--held-out", "0", "--json").stdout)
    assert (figures["trained_on"], figures["images"]) == (22, 10)


def test_a_decided_box_is_trained_on_and_not_detected_again(drawn_workspace: Workspace) -> None:
    decision_file.add(drawn_workspace.decisions, Decision("box", "5_0.png", "1 1 50 50"))
    decision_file.add(drawn_workspace.decisions, Decision("box", "0_0.png", "2 2 40 40"))
    figures = json.loads(detect("--held-out", "0", "--threshold", "0", "--json").stdout)
    assert (figures["trained_on"], figures["images"]) == (23, 9)
    assert "5_0.png" not in {box.image_id for box in detected(drawn_workspace)}


def test_the_defaults_of_the_command_are_those_of_the_settings() -> None:
    defaults = {n: p.default for n, p in signature(box_detection.detect).parameters.items()}
    recipe = DetectorSettings().model_dump()
    assert {n: defaults[n] for n in ("backbone", "image_size", "seed")} == {
        n: recipe[n] for n in ("backbone", "image_size", "seed")
    }
    assert (recipe["image_size"], recipe["epochs"]) == (256, 6)


def test_the_time_of_a_detector_is_told_at_the_start_and_after_each_epoch(
    drawn_workspace: Workspace,
) -> None:
    shown = detect("--epochs", "2", "--threshold", "0").stderr
    assert re.search(
        r"^training takes about \d+ s, at most 2 epochs of 18 images; the boxes of 10 other images "
        r"about \d+ s more$",
        shown,
        re.MULTILINE,
    )
    assert re.search(
        r"^epoch 1/2, ap 0\.\d{3} on the held-out images, best: epoch 1, about \d+ s left$",
        shown,
        re.MULTILINE,
    )
    assert shown.index("training takes") < shown.index("epoch 1/2")
    assert re.search(r"^epoch 2/2, ap 0\.\d{3} on .*, best: epoch \d$", shown, re.MULTILINE)
    unmeasured = detect("--epochs", "2", "--threshold", "0", "--held-out", "0").stderr
    assert re.search(r"^epoch 1/2, about \d+ s left$", unmeasured, re.MULTILINE)


def test_few_boxes_take_more_epochs_and_patience_ends_them(drawn_workspace: Workspace) -> None:
    arguments = ["data", "boxes", "detect", *SMALL, *RUN, "--threshold", "0", "--json"]
    del arguments[(at := arguments.index("--epochs")) : at + 2]
    figures = json.loads(run(*arguments, "--patience", "1").stdout)
    assert figures["epochs"] == 130  # of 18 images
    assert figures["best_epoch"] < 130


def test_a_missing_weights_file_is_an_error(drawn_workspace: Workspace) -> None:
    assert "there is no file of weights" in str(
        detect("--weights", "nowhere.safetensors", code=1).exception
    )
