"""Fusion in other forms of answers: matches, clusters, and images in several searches."""

import json
import shutil
from pathlib import Path

import pytest

from kitbox.competition import settings
from kitbox.synthetic import layouts
from kitbox.workspace import Workspace
from tests.commands import RUN, run
from tests.photographs import write_plugin
from tests.test_every_preset import drawn

SIFT = "sift:shortlist=5,points=60,size=128,fewest=4"
# Clusters in groups, matches, and images in scenarios.
FORMS = ("animalclef-2026", "shopee", "whale-do")

__all__ = ["drawn"]  # the fixture


@pytest.mark.parametrize("name", FORMS)
def test_a_fusion_answers_in_the_form_of_a_competition_and_is_reproduced(
    name: str, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    layouts.arrange(tmp_path / "data", tmp_path / "truth.csv", name)
    run("init", str(tmp_path / "w"), "--preset", name, "--data", str(tmp_path / "data"))
    workspace = Workspace(tmp_path / "w")
    text = workspace.settings.read_text()
    workspace.settings.write_text(text.replace("share = 0.1 ", "share = 0.3 "))
    write_plugin(workspace, "plain", epochs=0)
    monkeypatch.chdir(workspace.root)
    run("train", "plain", *RUN)
    report = json.loads(
        run("ensemble", "plain", "--match", SIFT, "--submit", *RUN, "--json").stdout
    )
    assert next(iter(report["scores"])) == settings.load(workspace).metric
    [evidence] = report["fusion"]
    assert evidence["signals"] == ["similarity", "sift"]
    assert evidence["pairs"] >= evidence["same"] > 0
    assert "no findings" in run("submission", "lint", report["csv"]).stderr
    told = run("reproduce", report["submission"], "--device", "cpu").stderr
    assert "the submission is the same, byte for byte" in told
