"""Real photographs, if present: presets, scores of frozen networks, dirty data."""

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kitbox.cli.app import app
from kitbox.competition import lists, presets
from kitbox.competition.settings import Competition
from kitbox.dataset import data_check, duplicates
from kitbox.dataset.collection import collect
from kitbox.workspace import Workspace
from tests.photographs import finish

SHARED = Path(os.environ.get("KITBOX_SHARED", Path(__file__).parents[2] / "shared"))
HUMPBACK = SHARED / "data" / "humpback"
SPERMWHALE = SHARED / "data" / "spermwhale"
DIRTY = SHARED / "data" / "humpback-dirty"
WEIGHTS = SHARED / "weights"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not (HUMPBACK.is_dir() and WEIGHTS.is_dir()),
        reason=f"the humpback photographs are not in {HUMPBACK}; name the folder in KITBOX_SHARED",
    ),
]


@pytest.fixture(scope="module")
def humpbacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the photographs as links, and beside them a third in third.csv and third/."""
    data = tmp_path_factory.mktemp("humpback") / "data"
    data.mkdir()
    for path in HUMPBACK.iterdir():
        (data / path.name).symlink_to(path)
    header, *rows = (data / "train.csv").read_text().splitlines(keepends=True)
    label_of = {row: row.strip().partition(",")[2] for row in rows}
    third = set(sorted(set(label_of.values()))[::3])
    listed = header + "".join(row for row in rows if label_of[row] in third)
    (data.parent / "third.csv").write_text(listed)
    (data.parent / "third").mkdir()
    for path in sorted((data / "test").iterdir())[::3]:
        (data.parent / "third" / path.name).symlink_to(path)
    return data


@pytest.fixture(scope="module")
def image_index(tmp_path_factory: pytest.TempPathFactory, humpbacks: Path) -> Path:
    """Return the index of all photographs, which takes 20 s to make."""
    workspace = Workspace(tmp_path_factory.mktemp("real") / "w")
    competition = presets.init(workspace, "humpback", humpbacks)
    finish(collect(workspace, competition))
    return workspace.image_index


@pytest.fixture
def indexed(tmp_path: Path, image_index: Path) -> Workspace:
    """Return a workspace without settings in which the photographs have been read."""
    workspace = Workspace(tmp_path / "w")
    workspace.image_index.parent.mkdir(parents=True)
    shutil.copy(image_index, workspace.image_index)
    return workspace


def test_the_holdout_imitates_the_real_test(indexed: Workspace, humpbacks: Path) -> None:
    workspace = indexed
    competition = presets.init(workspace, "humpback", humpbacks)
    _, collection = finish(collect(workspace, competition))
    assert (len(collection.labelled), len(collection.test)) == (2503, 891)
    split = collection.holdout
    assert (split.query_answers == "new_whale").mean() == pytest.approx(0.27, abs=0.01)
    assert len(split.query) == pytest.approx(0.2 * 2431, abs=12)


def test_a_frozen_backbone_finds_whales_and_its_submission_passes_lint(
    indexed: Workspace, humpbacks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = indexed
    presets.init(workspace, "gdsc2020", humpbacks)
    text = workspace.settings.read_text().replace('"train.csv"', '"../third.csv"')
    workspace.settings.write_text(text.replace('test_folder = "test"', 'test_folder = "../third"'))
    (workspace.plugins / "frozen.py").write_text(
        "from kitbox import Plugin\n\n"
        "plugin = Plugin(backbone='mobilenetv2_100', image_size=(64, 128), weights='file',\n"
        "                embedding_dim=None, neck='none', losses=(), epochs=0, warmup_epochs=0)\n"
    )
    monkeypatch.setenv("KITBOX_WEIGHTS", str(WEIGHTS))
    monkeypatch.chdir(workspace.root)
    runner = CliRunner()
    assert runner.invoke(app, ["train", "frozen"]).exit_code == 0
    plain = json.loads(runner.invoke(app, ["score", "frozen", "--json"]).stdout)
    result = runner.invoke(app, ["ensemble", "frozen", "--whiten", "256", "--submit", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    # a random network scores 0.023 among a third; whitening improves, most at larger sizes
    assert plain["scores"]["map_at_20"]["value"] > 0.1
    assert report["scores"]["map_at_20"]["value"] > plain["scores"]["map_at_20"]["value"]
    assert runner.invoke(app, ["submission", "lint", report["csv"]]).exit_code == 0


def dirty(tmp_path: Path) -> tuple[Workspace, Competition]:
    """Return a workspace and the competition of the dirty photographs."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train", "train.csv"):
        (data / name).symlink_to(DIRTY / name)
    (data / "test").mkdir()
    workspace = Workspace(tmp_path / "w")
    return workspace, presets.init(workspace, "humpback", data, broken="drop")


def test_dirty_rows_and_files_are_left_out_by_name(tmp_path: Path) -> None:
    workspace, competition = dirty(tmp_path)
    _, collection = finish(collect(workspace, competition))
    sentences = " ".join(str(finding) for finding in collection.findings)
    for part in (
        "is truncated",
        "is empty",
        "is not an image",
        "is too large",
        "leaves the folder",
        "has an empty label",
        "is on line 2 already",
        "here as 'w_0c6dbbe'",
        "'missing.jpg' is not in train",
    ):
        assert part in sentences, part
    assert "émoji 🐋, <b>.jpg" in collection.labelled.image_ids
    assert lists.read(competition).findings


# The defects of the dirty photographs: kind → lines of train.csv.
PLANTED = {
    "unreadable": [22],  # a web page
    "truncated": [64],
    "empty": [7],
    "bomb": [31],
    "missing": [68],
    "outside": [46],
    "no-label": [27],
    "two-labels": [32],
    "repeated": [17, 50],
    "blank-in-name": [43],
    "wrong-suffix": [76],
    "cmyk": [52],
    "alpha": [69],
    "rotated": [25],
    "tiny": [73],
    "blank": [13, 51],  # white and black
    "copy": [38, 45, 56, 65, 77],
    "copy-conflict": [11, 30],
    "near-copy": [62, 69],
    "odd-name": [3],
    "byte-order-mark": [1],
    "crlf": [1],
}


def test_every_planted_defect_is_named_and_no_clean_photograph(tmp_path: Path) -> None:
    _, checked = finish(data_check.check(*dirty(tmp_path)))
    found: dict[str, list[int]] = {}
    for finding in checked.findings:
        listed, _, line = finding.where.partition(" line ")
        if line:
            assert listed == "train.csv"
            found.setdefault(finding.kind, []).append(int(line))
        else:
            assert finding.where == "train/not in the list.jpg"
            assert finding.kind == "unlisted"
            assert finding.what.endswith("has the same bytes as image '69b334006.jpg'")
    assert found == PLANTED


def test_only_truly_odd_real_photographs_are_found(indexed: Workspace, humpbacks: Path) -> None:
    workspace = indexed
    competition = presets.init(workspace, "humpback", humpbacks)
    _, checked = finish(data_check.check(workspace, competition))
    named: dict[str, set[str]] = {}
    for finding in checked.findings:
        named.setdefault(finding.kind, set()).add(finding.image_id.removesuffix(".jpg"))
    assert checked.image_count == 3394
    assert named["blurred"] == {"3bc79c78e", "245741a4a"}  # out of focus, smeared
    assert named["bright"] == {"6e28af577", "ef66bb05c", "3d266de87"}  # faded scans
    assert named["near-copy"] == {"750371c04"}  # one photograph at two contrasts
    assert len(named["odd-aspect"]) == 12  # flukes 6 to 8 times as wide as high
    assert set(named) == {"blurred", "bright", "near-copy", "odd-aspect", "crlf"}


@pytest.mark.parametrize(
    ("name", "data", "boxes"), [("humpback", HUMPBACK, 581), ("folder", SPERMWHALE, 440)]
)
def test_hand_drawn_boxes_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: Path, boxes: int
) -> None:
    workspace = Workspace(tmp_path / "w")
    presets.init(workspace, name, data)
    monkeypatch.chdir(workspace.root)
    arguments = ["data", "boxes", "import", str(data / "boxes.csv"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["boxes"], found["findings"]) == (boxes, [])
    assert sum(side["with_box"] for side in found["images"].values()) == boxes


def test_planted_copies_are_found_and_nothing_else(tmp_path: Path) -> None:
    workspace, competition = dirty(tmp_path)
    _, collection = finish(collect(workspace, competition))
    _, pool = finish(duplicates.gather_pool(workspace, competition, collection))
    copies, near = duplicates.copy_pairs(pool), duplicates.near_duplicate_pairs(pool, 6)
    groups = duplicates.group_images(pool, {"copies": copies, "near-duplicates": near})
    assert {(group.kind, *sorted(group.images)) for group in groups} == {
        ("copies", "1155989fb.jpg", "conflict.jpg"),
        ("copies", "69b334006.jpg", "émoji 🐋, <b>.jpg"),
        ("copies", "775c2ddae.jpg", "exact_copy.jpg"),
        *(("copies", f"near{n}a.jpg", f"near{n}b.jpg") for n in range(3)),
        ("near-duplicates", "35a9471b0.jpg", "near_copy.jpg"),
        ("near-duplicates", "768d79982.jpg", "rgba.png"),
    }
    assert [group.images for group in groups if group.conflict] == [
        ("1155989fb.jpg", "conflict.jpg")
    ]
