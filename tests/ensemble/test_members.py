import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.ensemble import members
from kitbox.errors import KitboxError
from kitbox.files import write_json
from kitbox.plugin.plugin import Plugin
from kitbox.records import strings
from kitbox.training import runs
from kitbox.training.runs import RunKey
from kitbox.workspace import Workspace
from tests.circle import competition, image_set
from tests.photographs import named, tiny
from tests.submission.collected import collection


def key_of(
    plugin: Plugin, name: str = "tiny", *, data: str = "other", on: str = "holdout"
) -> RunKey:
    """Return the key of a run on other images."""
    return RunKey(
        plugin=name,
        fingerprint=plugin.fingerprint,
        data=data,
        weights="none",
        on=on,
        seed=0,
        precision="32",
    )


@pytest.mark.parametrize(("fold", "asked"), [(1, ""), (3, " --fold 3")])
def test_a_network_of_another_fold_is_refused_with_the_command_to_train(
    workspace: Workspace, fold: int, asked: str
) -> None:
    write_json(workspace.runs / "tiny" / "one" / "run.json", asdict(key_of(tiny())))
    labelled = replace(image_set({"a": "Ahab", "b": "Boo"}), digests=strings(["1", "2"]))
    images = collection(competition(), labelled, None)
    with pytest.raises(KitboxError) as caught:
        members.for_holdout(workspace, [named(tiny())], None, images, fold=fold)
    assert str(caught.value) == (
        "tiny was trained on other images, labels or boxes than there are now; "
        f"run 'kitbox train tiny{asked}'"
    )


@pytest.mark.parametrize("later", [True, False])
def test_decisions_after_the_training_are_named_as_the_reason(
    workspace: Workspace, later: bool
) -> None:
    run = workspace.runs / "tiny" / "one" / "run.json"
    write_json(run, asdict(key_of(tiny())))
    decision_file.add(workspace.decisions, Decision("drop", "c"))
    trained = workspace.decisions.stat().st_mtime + (-5 if later else 5)
    os.utime(run, (trained, trained))
    labelled = replace(image_set({"a": "Ahab", "b": "Boo"}), digests=strings(["1", "2"]))
    with pytest.raises(KitboxError) as caught:
        members.for_holdout(
            workspace, [named(tiny())], None, collection(competition(), labelled, None)
        )
    why = ": decisions.csv has changed since" if later else ""
    assert str(caught.value) == (
        f"tiny was trained on other images, labels or boxes than there are now{why}; "
        "run 'kitbox train tiny'"
    )


def a_run(workspace: Workspace, name: str, plugin: Plugin, **given: str) -> Path:
    """Save a finished run of a plugin on other images."""
    folder = workspace.runs / name / "one"
    write_json(folder / "run.json", asdict(key_of(plugin, name, **given)))
    (folder / "journal.jsonl").write_text('{"event": "finished", "epoch": 1}\n')
    (folder / "last.safetensors").touch()
    return folder / "last.safetensors"


def test_an_outdated_network_serves_for_inspection_and_is_named(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = a_run(workspace, "tiny", tiny())
    monkeypatch.setattr("kitbox.network.checkpoint.read_checkpoint", lambda path: path)
    labelled = replace(image_set({"a": "Ahab", "b": "Boo"}), digests=strings(["1", "2"]))
    images = collection(competition(), labelled, None)
    [member], behind = members.for_inspection(workspace, [named(tiny())], images)
    assert (member.checkpoint, behind) == (older, ["tiny"])
    here = runs.data_digest(images.holdout.train)
    a_run(workspace, "tiny", tiny(), data=here)
    assert members.for_inspection(workspace, [named(tiny())], images)[1] == []


def test_an_unfinished_training_is_refused_also_where_an_outdated_network_exists(
    workspace: Workspace,
) -> None:
    labelled = replace(image_set({"a": "Ahab", "b": "Boo"}), digests=strings(["1", "2"]))
    images = collection(competition(), labelled, None)
    run = a_run(workspace, "tiny", tiny(), data=runs.data_digest(images.holdout.train)).parent
    run.rename(run.with_name("two"))
    (run.with_name("two") / "journal.jsonl").unlink()
    a_run(workspace, "tiny", tiny())
    with pytest.raises(KitboxError, match="the training of tiny is not finished"):
        members.for_inspection(workspace, [named(tiny())], images)


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf"])
def test_a_weight_that_is_not_above_zero_or_not_finite_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, weight: str
) -> None:
    monkeypatch.setattr("kitbox.network.checkpoint.read_checkpoint", lambda path: path)
    labelled = replace(image_set({"a": "Ahab", "b": "Boo"}), digests=strings(["1", "2"]))
    images = collection(competition(), labelled, None)
    a_run(workspace, "tiny", tiny(), data=runs.data_digest(images.holdout.train))
    with pytest.raises(KitboxError) as caught:
        members.for_holdout(workspace, [named(tiny())], [float(weight)], images)
    assert str(caught.value) == f"the weight of tiny is {weight}; give it a finite number above 0"
