"""Networks used for the review: those trained before the last decision are named."""

import os
from dataclasses import asdict

import pytest

from kitbox.competition import decisions
from kitbox.competition.decisions import Decision
from kitbox.files import write_json
from kitbox.look import photographs
from kitbox.records import Checkpoint
from kitbox.training.runs import RunKey
from kitbox.workspace import Workspace
from tests.photographs import named, tiny


def test_networks_trained_before_the_last_decision_are_outdated(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tiny()
    monkeypatch.setattr(
        "kitbox.training.runs.read_checkpoint",
        lambda path: Checkpoint(path, "tiny", "", "", epoch=1, on="holdout"),
    )
    key = RunKey(
        plugin="tiny",
        fingerprint=plugin.fingerprint,
        data="data",
        weights="none",
        on="holdout",
        seed=0,
        precision="32",
    )
    run = workspace.runs / "tiny" / "one"
    write_json(run / "run.json", asdict(key))
    (run / "last.safetensors").touch()
    (run / "journal.jsonl").write_text('{"event": "finished"}\n')
    assert photographs.outdated([named(plugin)], workspace) == []
    decisions.add(workspace.decisions, Decision("drop", "a"))
    decided = workspace.decisions.stat().st_mtime
    for trained, behind in ((decided - 5, ["tiny"]), (decided + 5, [])):
        os.utime(run / "journal.jsonl", (trained, trained))
        assert photographs.outdated([named(plugin)], workspace) == behind
