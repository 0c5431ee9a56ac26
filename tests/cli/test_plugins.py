"""Plugins: listed, copied and checked."""

import json

import pytest

from tests.commands import run
from tests.photographs import competition_on_disk, write_plugin


def test_plugins_are_listed_with_their_cost(tmp_path, monkeypatch) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    write_plugin(workspace, "fine")
    monkeypatch.chdir(workspace.root)
    result = run("plugins", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert rows["resnet34_620"]["parameters"] == pytest.approx(21.4e6, rel=0.01)
    assert rows["resnet34_620"]["multiply_adds"] == pytest.approx(28.5e9, rel=0.05)
    assert rows["fine"]["source"] == "workspace"
    assert rows["fine"]["trained_on"] == []
    shown = run("plugins")
    assert "densenet121_480" in shown.stdout


def test_a_new_plugin_is_a_copy_that_must_be_edited(tmp_path, monkeypatch) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    monkeypatch.chdir(workspace.root)
    run("plugins", "new", "mine", "--from", "resnet34_620")
    result = run("train", "mine", code=1)
    assert str(result.exception).startswith(
        "plugins mine and resnet34_620 have equal settings; was one copied"
    )
    assert "have equal settings" in run("plugins", "check", code=1).stderr
