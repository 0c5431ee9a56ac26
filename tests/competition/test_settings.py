from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kitbox.competition import settings
from kitbox.competition.settings import Competition, HoldoutShape, Images
from kitbox.errors import KitboxError
from kitbox.value import explain
from kitbox.workspace import Workspace
from tests.circle import competition

TEXT = """\
name = "whales"
[images]
root = "data"
train_folder = "train"
test_folder = "test"
[task]
gallery = "train"
answers = "labels"
k = 5
[submission]
header = ["Image", "Id"]
layout = "joined"
[holdout]
"""


def write(workspace: Workspace, text: str = TEXT, *, folder: str = "data") -> Path:
    (workspace.root / folder).mkdir(exist_ok=True)
    workspace.settings.write_text(text, encoding="utf-8")
    return workspace.settings


def test_a_data_folder_is_relative_to_the_workspace(workspace: Workspace) -> None:
    write(workspace)
    assert settings.read(workspace).images.root == workspace.root.resolve() / "data"


def test_the_data_folder_can_be_named_from_outside(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace, folder="elsewhere")
    monkeypatch.setenv("KITBOX_DATA", str(workspace.root / "elsewhere"))
    assert settings.read(workspace).images.root == workspace.root.resolve() / "elsewhere"


def test_a_missing_data_folder_is_named_with_the_setting(workspace: Workspace) -> None:
    path = write(workspace, folder="elsewhere")
    with pytest.raises(KitboxError) as caught:
        settings.read(workspace)
    assert str(caught.value) == (
        f"{path}: the data folder {workspace.root.resolve() / 'data'} does not exist; "
        "correct images.root or set KITBOX_DATA"
    )


def test_a_byte_order_mark_does_no_harm(workspace: Workspace) -> None:
    path = write(workspace)
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert settings.read(workspace).name == "whales"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("k = 5", "k = five", "Invalid value (at line 9, column 5)"),
        ("k = 5", "k = 0", "task.k = 0 should be greater than or equal to 1"),
        ("k = 5", "k = 1001", "task.k = 1001 should be less than or equal to 1000"),
        ("k = 5\n", "", "task.k is missing"),
        ("k = 5", "K = 5", "'K' is not a setting of Task"),
        ('"joined"', '"join"', "submission.layout = 'join' should be 'joined' or 'columns'"),
        (
            "test_folder",
            "test_foldr",
            "'test_foldr' is not a setting of Images; did you mean test_folder?",
        ),
        (
            'gallery = "train"',
            'gallery = "test"',
            "answers = 'labels' needs labelled images in the gallery",
        ),
        (
            'test_folder = "test"\n[task]\ngallery = "train"',
            '[task]\ngallery = "train+test"',
            "gallery = 'train+test' needs images.test_folder",
        ),
        (
            "[holdout]",
            "[holdout]\nshare = 1.0",
            "holdout.share = 1.0 should be less than 1",
        ),
        (
            "[holdout]",
            "[holdout]\nunknown_share = -0.1",
            "holdout.unknown_share = -0.1 should be greater than or equal to 0",
        ),
        ("[holdout]\n", "", "holdout is missing"),
        (
            'train_folder = "train"',
            'train_folder = "train"\nbroken = "ignore"',
            "images.broken = 'ignore' should be 'stop' or 'drop'",
        ),
    ],
)
def test_a_mistake_in_kitbox_toml_is_one_sentence(
    workspace: Workspace, old: str, new: str, message: str
) -> None:
    assert old in TEXT
    path = write(workspace, TEXT.replace(old, new))
    with pytest.raises(KitboxError) as caught:
        settings.read(workspace)
    assert str(caught.value) == f"{path}: {message}"


def test_settings_that_are_not_utf_8_are_named(workspace: Workspace) -> None:
    path = write(workspace)
    path.write_bytes(b'name = "\xff"\n')
    with pytest.raises(KitboxError) as caught:
        settings.read(workspace)
    assert str(caught.value).startswith(f"{path}: 'utf-8' codec can't decode byte 0xff")


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ({"answers": "labels", "k": 5}, "label_map_at_5"),
        ({"answers": "images", "k": 20}, "map_at_20"),
    ],
)
def test_a_metric_is_named_after_what_is_asked(task: dict[str, Any], metric: str) -> None:
    assert competition(**task).metric == metric


def test_a_competition_without_test_images_can_search_train_only() -> None:
    given = competition().model_dump()
    given["images"]["test_folder"] = None
    assert Competition.model_validate(given).images.test_folder is None
    given["task"] = {"gallery": "test", "answers": "images", "k": 1}
    with pytest.raises(ValidationError) as caught:
        Competition.model_validate(given)
    assert explain(caught.value) == "gallery = 'test' needs images.test_folder"


def test_a_run_stops_at_broken_images_unless_told_otherwise() -> None:
    assert Images(root=Path(), train_folder="train").broken == "stop"
    assert HoldoutShape() == HoldoutShape(share=0.2, unknown_share=0.0, seed=0)
