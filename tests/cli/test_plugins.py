"""Plugins: listed, copied and checked."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kitbox.network import network
from kitbox.plugin import cost, discovery
from kitbox.plugin.cost import Cost
from tests.commands import run
from tests.photographs import TINY, competition_on_disk, write_plugin


@pytest.fixture(autouse=True)
def _few_plugins(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ship two plugins alone; tests/plugin/test_shipped.py builds the networks of all."""
    folder = tmp_path_factory.mktemp("shipped")
    for name in ("resnet34_620", "tf_efficientnet_lite0_96x192"):
        shutil.copy(discovery.plugin_files(None)[name][0], folder)
    monkeypatch.setattr(discovery, "shipped_folder", lambda: folder)


def test_plugins_are_listed_with_their_cost_and_the_licence_of_their_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    write_plugin(workspace, "fine")
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = run("plugins", "--json")
    assert "measuring 3 networks, which is done once" in first.stderr
    listed = first.stdout
    rows = {row["name"]: row for row in json.loads(listed)}
    assert rows["resnet34_620"]["parameters"] == pytest.approx(21.4e6, rel=0.01)
    assert rows["resnet34_620"]["multiply_adds"] == pytest.approx(28.5e9, rel=0.05)
    assert rows["resnet34_620"]["pooling"] == "average"  # what the plugin leaves to its family
    assert rows["resnet34_620"]["licence"] == "Apache-2.0"
    assert rows["resnet34_620"]["weights"].startswith("resnet34.a1_in1k")
    assert rows["fine"]["source"] == "workspace"
    assert rows["fine"]["trained_on"] == []
    assert rows["fine"]["licence"] == ""
    built = []
    measure = network.measure_cost
    monkeypatch.setattr(network, "measure_cost", lambda p: built.append(p.backbone) or measure(p))
    again = run("plugins")
    assert again.stderr == ""
    shown = again.stdout.splitlines()
    assert "licence of weights" in shown[0]
    assert any("resnet34_620" in line and "Apache-2.0" in line for line in shown)
    assert any("fine" in line and "not stated" in line for line in shown)
    assert built == []  # a network is built once
    next(cost.folder().iterdir()).write_text("{")
    assert run("plugins", "--json").stdout == listed
    assert len(built) == 1  # that of the damaged file
    write_plugin(workspace, "fine", image_size=48)
    run("plugins", "--json")
    assert built[1:] == [TINY]  # that of the edited plugin


def test_listing_known_plugins_imports_no_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    known = Cost(
        parameters=1,
        multiply_adds=1,
        checkpoint_bytes=4,
        embedding_dim=1,
        pooling="cls",
        interpolation="bicubic",
    )
    for named in discovery.load_all(None)[0]:
        cost.store(named.plugin, known)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from typer.testing import CliRunner\n"
        "from kitbox.cli.app import app\n"
        "from kitbox.plugin import discovery\n"
        f"discovery.shipped_folder = lambda: Path({str(discovery.shipped_folder())!r})\n"
        "result = CliRunner().invoke(app, ['plugins'])\n"
        "assert 'resnet34_620' in result.stdout, result.output\n"
        "print({'torch', 'timm', 'pandas', 'pretrainedmodels'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_a_new_plugin_is_a_copy_that_must_be_edited(tmp_path, monkeypatch) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    monkeypatch.chdir(workspace.root)
    run("plugins", "new", "resnet34_620_mine", "--from", "resnet34_620")
    result = run("train", "resnet34_620_mine", code=1)
    assert str(result.exception).startswith(
        "plugins resnet34_620_mine and resnet34_620 have equal settings; was one copied"
    )
    checked = run("plugins", "check", "resnet34_620_mine", code=1).stderr
    assert checked.count("have equal settings") == 1


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
    assert shown.stderr.count("error: plugins/leaving.py line 3: SystemExit: bye; mend the") == 1
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


def test_a_copy_of_a_plugin_named_by_its_model_keeps_that_name(tmp_path, monkeypatch) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    shutil.copy(discovery.plugin_files(None)["resnet34_620"][0], workspace.root)
    workspace.plugins.mkdir(exist_ok=True)
    file = (workspace.root / "resnet34_620.py").rename(workspace.plugins / "whalenet_620.py")
    file.write_text(file.read_text("utf-8").replace("epochs=70", "epochs=71"))
    monkeypatch.chdir(workspace.root)
    assert "1 plugin is valid" in run("plugins", "check", "whalenet_620").stderr
    run("plugins", "new", "whalenet_480", "--from", "whalenet_620")
    assert (workspace.plugins / "whalenet_480.py").is_file()
    assert "name" in str(
        run("plugins", "new", "wolfnet_480", "--from", "whalenet_620", code=1).exception
    )
