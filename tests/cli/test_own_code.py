"""A user's own code from the plugin file to the receipt, and a stranger's in a receipt."""

import json
import shutil
from pathlib import Path

import pytest

from kitbox.plugin import source_code
from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, invoke, json_of, kitbox
from tests.photographs import competition_on_disk

PLUGIN = """\
from kitbox import Custom, Plugin

plugin = Plugin(
    backbone="own.net:build",
    image_size=32,
    weights="none",
    embedding_dim=16,
    losses=(Custom("own.loss:Centers", settings={"scale": 8}),),
    augmentation="own.change:build",
    epochs=1,
    batch_size=8,
    warmup_epochs=1,
)
"""
NET = """\
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU())
"""
LOSS = """\
from torch import nn

class Centers(nn.Module):
    def __init__(self, embedding_dim, label_count, scale):
        super().__init__()
        self.scale = scale
        self.linear = nn.Linear(embedding_dim, label_count)

    def forward(self, embeddings, labels):
        return nn.functional.cross_entropy(self.scale * self.linear(embeddings), labels)
"""
CHANGE = """\
import numpy as np
from own import sizes

def build(height, width):
    def change(pixels):
        assert pixels.shape == (height, width, 3)
        return np.roll(pixels, np.random.randint(sizes.MOST), axis=1)
    return change
"""
FILES = {
    "plugins/own_32.py": PLUGIN,
    "own/loss.py": LOSS,
    "own/change.py": CHANGE,
    "own/net.py": NET,
    "own/sizes.py": "MOST = 4\n",
}
CODE = ["own/change.py", "own/loss.py", "own/net.py", "own/sizes.py"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace with a submission of a plugin of own code."""
    workspace, _ = competition_on_disk(tmp_path_factory.mktemp("own"), individuals=5, each=3)
    for name, text in FILES.items():
        path = workspace.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    kitbox(workspace, "train", "own_32", *RUN[:4], "--workers", "1")
    json_of(workspace, "ensemble", "own_32", "--submit")
    return workspace


@pytest.fixture
def elsewhere(home: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Return a copy of the workspace without the plugin and its code, on another machine."""
    monkeypatch.setattr(source_code, "_files", {})
    monkeypatch.setattr(source_code, "_references", set())
    copy = Workspace(tmp_path / "elsewhere")
    shutil.copytree(home.root, copy.root)
    for name in FILES:
        (copy.root / name).unlink()
    return copy


def submission_of(workspace: Workspace) -> Path:
    (folder,) = workspace.submissions.glob("2*")
    return folder


def test_the_receipt_holds_the_source_of_the_code(home: Workspace) -> None:
    receipt = json.loads((submission_of(home) / "receipt.json").read_text())
    assert receipt["code"] == {name: FILES[name] for name in CODE}
    assert list(receipt["plugins"][0]["settings"]["code"]) == CODE


def test_a_submission_of_own_code_is_reproduced(home: Workspace) -> None:
    again = kitbox(home, "reproduce", str(submission_of(home)), "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr


def test_an_edited_file_is_another_network(home: Workspace) -> None:
    path = home.root / "own/sizes.py"
    path.write_text("MOST = 5\n")
    try:
        assert error_of(home, "embed", "own_32", *RUN) == (
            "own_32 was trained with another own/sizes.py than there is now; "
            "run 'kitbox train own_32'"
        )
    finally:
        path.write_text(FILES["own/sizes.py"])


def test_a_strangers_code_is_run_only_if_it_is_trusted(elsewhere: Workspace) -> None:
    folder = submission_of(elsewhere)
    error = error_of(elsewhere, "reproduce", str(folder), "--device", "cpu")
    assert error.startswith(f"{folder}: the receipt runs code of somebody else: own/change.py (sha")
    assert error.endswith(
        f'read it under "code" in the receipt; --trust writes it to {elsewhere.root} and runs it'
    )
    assert not (elsewhere.root / "own/loss.py").exists()
    again = kitbox(elsewhere, "reproduce", str(folder), "--device", "cpu", "--trust")
    assert f"wrote {elsewhere.root}/own/loss.py, as the receipt has it" in again.stderr
    assert "the submission is the same, byte for byte" in again.stderr
    assert {name: (elsewhere.root / name).read_text() for name in CODE} == {
        name: FILES[name] for name in CODE
    }


@pytest.mark.parametrize(
    ("changes", "there", "message"),
    [
        ({"own/loss.py": "1 / 0\n"}, {}, "the source of own/loss.py (sha256"),
        ({}, {"own/loss.py": "MINE = 1\n"}, "own/loss.py is another file than own/loss.py (sha256"),
    ],
)
def test_a_trusted_receipt_writes_only_what_it_records(
    elsewhere: Workspace, changes: dict[str, str], there: dict[str, str], message: str
) -> None:
    file = submission_of(elsewhere) / "receipt.json"
    receipt = json.loads(file.read_text())
    receipt["code"] |= changes
    file.write_text(json.dumps(receipt))
    for name, text in there.items():
        (elsewhere.root / name).write_text(text)
    assert message in error_of(elsewhere, "reproduce", str(file), "--trust", "--device", "cpu")
    assert [name for name in CODE if (elsewhere.root / name).exists()] == list(there)


def test_a_receipt_cannot_run_what_is_no_code_of_its_own(elsewhere: Workspace) -> None:
    file = submission_of(elsewhere) / "receipt.json"
    receipt = json.loads(file.read_text())
    receipt["plugins"][0]["settings"] |= {
        "backbone": "resnet10t",
        "losses": [],
        "augmentation": "os:system",
        "code": {},
        "epochs": 0,
        "warmup_epochs": 0,
    }
    file.write_text(json.dumps(receipt))
    command = ("reproduce", str(file), "--device", "cpu")
    assert "os:system (no plugin here names it)" in error_of(elsewhere, *command)
    assert error_of(elsewhere, *command, "--trust") == (
        "nothing tells which file or package os:system is of"
    )
    receipt["plugins"][0]["settings"] |= {"code": {"../x.py": "0"}}
    file.write_text(json.dumps(receipt))
    assert error_of(elsewhere, *command, "--trust") == (
        f"the receipt {file}: own_32: code has '../x.py', which is the name of no file or package"
    )


def test_a_bundle_takes_the_code_along(home: Workspace, tmp_path: Path) -> None:
    json_of_bundle = ("bundle", "--out", str(tmp_path / "b"), "--json")
    json.loads(kitbox(home, *json_of_bundle).stdout)
    packed = tmp_path / "b/workspace"
    assert {name: (packed / name).read_text() for name in FILES} == FILES


def test_a_check_tries_losses_and_augmentations(home: Workspace) -> None:
    names = ("plugins", "check", "own_32")
    kitbox(home, *names)
    mistakes = {
        "own/net.py": (
            NET.replace("nn.ReLU", "nn.Relu"),
            "own_32: own/net.py line 4: AttributeError: module 'torch.nn' has no attribute 'Relu'",
        ),
        "own/loss.py": (
            LOSS.replace("labels)\n", "labels, reduction='none')\n"),
            "own_32: own.loss:Centers: its loss of a batch is a Tensor of shape (8,); return one",
        ),
        "own/change.py": (
            CHANGE.replace("np.roll", "1 + np.roll").replace("axis=1)", "axis=1).astype(int)"),
            "own_32: own.change:build: an image of 32x32 became a ndarray of int64, of shape (32,",
        ),
    }
    for name, (text, message) in mistakes.items():
        (home.root / name).write_text(text)
        try:
            assert f"error: {message}" in " ".join(invoke(home, *names).stderr.split())
        finally:
            (home.root / name).write_text(FILES[name])
