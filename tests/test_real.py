"""On the real humpback photographs, where they are: presets, frozen scores, dirty data."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kitbox.cli.app import app
from kitbox.competition import lists, preset
from kitbox.images.collection import collect
from kitbox.workspace import Workspace
from tests.photographs import finish

SHARED = Path(os.environ.get("KITBOX_SHARED", Path(__file__).parents[2] / "shared"))
HUMPBACK = SHARED / "data" / "humpback"
DIRTY = SHARED / "data" / "humpback-dirty"
WEIGHTS = SHARED / "weights"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not (HUMPBACK.is_dir() and WEIGHTS.is_dir()),
        reason=f"the humpback photographs are not in {HUMPBACK}; name their place by KITBOX_SHARED",
    ),
]


def test_the_holdout_imitates_the_real_test(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    competition = preset.init(workspace, "humpback", HUMPBACK)
    _, collection = finish(collect(workspace, competition))
    assert (len(collection.labelled), len(collection.test)) == (2503, 891)
    split = collection.holdout
    assert (split.query_answers == "new_whale").mean() == pytest.approx(0.27, abs=0.01)
    assert len(split.query) == pytest.approx(0.2 * 2431, abs=12)


def test_a_frozen_backbone_finds_whales_and_its_list_passes_lint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path / "w")
    preset.init(workspace, "gdsc2020", HUMPBACK)
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
    # random networks stay below 0.01; whitening adds, most at larger sizes
    assert plain["scores"]["map_at_20"]["value"] > 0.04
    assert report["scores"]["map_at_20"]["value"] > plain["scores"]["map_at_20"]["value"]
    assert runner.invoke(app, ["submission", "lint", report["csv"]]).exit_code == 0


def test_dirty_rows_and_files_are_all_left_out_by_name(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train", "train.csv"):
        (data / name).symlink_to(DIRTY / name)
    (data / "test").mkdir()
    workspace = Workspace(tmp_path / "w")
    competition = preset.init(workspace, "humpback", data, broken="drop")
    _, collection = finish(collect(workspace, competition))
    told = " ".join(str(fault) for fault in collection.faults)
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
        assert part in told, part
    assert "émoji 🐋, <b>.jpg" in collection.labelled.image_ids
    assert lists.read(competition).faults
