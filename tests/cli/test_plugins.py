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
    run("plugins", "new", "resnet34_620_mine", "--from", "resnet34_620")
    result = run("train", "resnet34_620_mine", code=1)
    assert str(result.exception).startswith(
        "plugins resnet34_620_mine and resnet34_620 have equal settings; was one copied"
    )
    assert "have equal settings" in run("plugins", "check", code=1).stderr


def test_a_plugin_whose_network_fails_does_not_hide_the_others(tmp_path, monkeypatch) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    write_plugin(workspace, "fine")
    write_plugin(workspace, "tagged", backbone="resnet18.nosuchtag")
    (workspace.plugins / "leaving.py").write_text("import sys\n\nsys.exit('bye')\n")
    monkeypatch.chdir(workspace.root)
    shown = run("plugins", code=1)
    assert "fine" in shown.stdout
    assert "resnet34_620" in shown.stdout
    assert "error: tagged: timm has no weights 'nosuchtag' of resnet18" in shown.stderr
    assert "error: plugins/leaving.py line 3: SystemExit: bye" in shown.stderr
    result = run("train", "fine", "tagged", "--device", "cpu", code=1)
    assert str(result.exception).startswith("tagged: timm has no weights 'nosuchtag'")
    assert not workspace.runs.exists()
    run("train", "fine", "--device", "cpu", "--workers", "0")
    swept = ("sweep", "fine", "--set", "learning_rate=1e-3", "--dry-run")
    assert "fine_learning_rate_0.001" in run(*swept).stdout
    prepared = run("data", "prepare")
    assert "left out: tagged: timm has no weights 'nosuchtag'" in prepared.stderr
    assert "files to decode for 1 plugin;" in prepared.stderr
    assert str(run("data", "prepare", "--drop", code=1).exception).startswith("plugins/leaving.py")


def test_plugins_are_checked_by_name(tmp_path, monkeypatch) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    write_plugin(workspace, "test_efficientnet_32", backbone="test_efficientnet")
    write_plugin(workspace, "mine", backbone="test_efficientnet", epochs=3)
    monkeypatch.chdir(workspace.root)
    assert "1 plugin is valid" in run("plugins", "check", "test_efficientnet_32").stderr
    assert run("plugins", "check", "mine", code=1).stderr.startswith(
        "error: plugin mine should be named test_efficientnet_32 or test_efficientnet_32_<what"
    )
    unknown = run("plugins", "check", "test_efficientnet_3", code=1).stderr
    assert "no plugin named test_efficientnet_3; did you mean test_efficientnet_32?" in unknown


@pytest.mark.parametrize(
    "name", ["mine", "resnet34_96x96", "resnet43_620", "a b", "resnet34_620@epochs=2", "resnet34_0"]
)
def test_a_name_that_check_refuses_is_not_given_to_a_new_plugin(
    tmp_path, monkeypatch, name: str
) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    monkeypatch.chdir(workspace.root)
    result = run("plugins", "new", name, "--from", "resnet34_620", code=1)
    assert "name" in str(result.exception)
    assert not (workspace.plugins / f"{name}.py").exists()


@pytest.mark.parametrize(
    "name", ["resnet34_480", "resnet18.a1_in1k_96x192_mine", "swin_tiny_patch4_window7_224_224"]
)
def test_a_new_plugin_may_have_another_backbone_and_size(tmp_path, monkeypatch, name: str) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    monkeypatch.chdir(workspace.root)
    run("plugins", "new", name, "--from", "resnet34_620")
    assert (workspace.plugins / f"{name}.py").is_file()
