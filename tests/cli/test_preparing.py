"""Preparing images by the command line: what it says, leaves out, adds and drops."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kitbox.cli.app import app
from kitbox.workspace import Workspace
from tests.photographs import competition_on_disk, picture, write_plugin

RUN = ("--device", "cpu", "--precision", "32", "--workers", "0")


def invoke(place: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--workspace", str(place.root)])


def told(place: Workspace, *arguments: str) -> Any:
    """Return the JSON document that a command prints."""
    result = invoke(place, *arguments, "--json")
    assert result.exit_code == 0, result.output + repr(result.exception)
    return json.loads(result.stdout)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    workspace, _ = competition_on_disk(tmp_path)
    write_plugin(workspace, "test_efficientnet_32")
    write_plugin(workspace, "test_efficientnet_48", image_size=48, epochs=0)
    return workspace


def test_every_image_is_prepared_for_the_plugins_of_the_workspace(place: Workspace) -> None:
    done = told(place, "data", "prepare")
    assert done["plugins"] == ["test_efficientnet_32", "test_efficientnet_48"]
    assert (done["files"], done["prepared"], done["left_out"]) == (32, 32, [])
    sizes = [(Path(store["folder"]).name[:5], store["images"]) for store in done["stores"]]
    assert sizes == [("32x32", 32), ("48x48", 32)]
    assert done["stores"][1]["bytes"] == 32 * (48 * 48 * 3 + 16)
    again = invoke(place, "data", "prepare", "test_efficientnet_48")
    assert "0 of 32 files to decode for 1 plugin; takes 0.00 GB of" in again.stderr


def test_training_tells_that_it_reads_prepared_images(place: Workspace) -> None:
    told(place, "data", "prepare", "test_efficientnet_48")
    assert "; images all prepared" in invoke(place, "train", "test_efficientnet_48", *RUN).stderr
    direct = invoke(place, "train", "test_efficientnet_32", *RUN)
    assert "; images from their files" in direct.stderr


def test_a_grey_test_image_is_not_prepared_and_a_new_image_is_added(place: Workspace) -> None:
    data = place.root.parent / "data"
    (data / "test" / "t_0.png").write_text("no image")
    place.settings.write_text(place.settings.read_text().replace('"stop"', '"drop"'))
    assert told(place, "data", "prepare", "test_efficientnet_32")["prepared"] == 31
    picture(data / "train" / "new.png", 1, 77)
    with (data / "train.csv").open("a") as file:
        file.write("new.png,w_1\n")
    done = told(place, "data", "prepare", "test_efficientnet_32")
    assert (done["files"], done["prepared"]) == (32, 1)
    trained = invoke(place, "train", "test_efficientnet_32", *RUN)
    assert "; images all prepared" in trained.stderr
    assert invoke(place, "embed", "test_efficientnet_32", *RUN).exit_code == 0


def test_what_the_named_plugins_do_not_read_is_dropped(place: Workspace) -> None:
    told(place, "data", "prepare")
    [dropped] = told(place, "data", "prepare", "--drop", "test_efficientnet_32")
    assert Path(dropped["folder"]).name.startswith("48x48-")
    assert dropped["bytes"] == 32 * (48 * 48 * 3 + 16)
    assert "nothing to remove" in invoke(place, "data", "prepare", "--drop").stderr


def test_without_plugins_the_names_are_asked_for(tmp_path: Path) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    result = invoke(workspace, "data", "prepare")
    assert "has no plugin and none was trained here; name the plugins" in str(result.exception)
