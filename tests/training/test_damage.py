"""Damaged checkpoints and states: each is told with the way on, and changes no result."""

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kitbox import files
from kitbox.errors import KitboxError
from kitbox.files import digest_of_file, read_json, read_sealed
from kitbox.training import runs
from kitbox.training.events import TrainingStarted
from kitbox.training.runs import Run
from kitbox.workspace import Workspace
from tests.photographs import finish, named, tiny
from tests.trainings import Place, interrupt, place_of, train

PLUGIN = tiny(epochs=2, score_every=1)
Damage = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place with a finished training, and the state of one that was interrupted."""
    place = place_of(tmp_path_factory.mktemp("damage"))
    interrupt(place, PLUGIN, 2)
    state = run_of(place).state.read_bytes()
    finish(train(place, PLUGIN))
    (place.workspace.root / "state").write_bytes(state)
    return place


@pytest.fixture
def place(trained: Place, tmp_path: Path) -> Place:
    """The same runs, to be damaged."""
    workspace = Workspace(tmp_path)
    shutil.copytree(trained.workspace.root, tmp_path, dirs_exist_ok=True)
    return replace(trained, workspace=workspace)


def run_of(place: Place) -> Run:
    [key] = place.workspace.runs.glob("tiny/*/run.json")
    return Run(key.parent)


def find(place: Place, which: str = "last") -> str:
    data = runs.data_digest(place.train_images)
    found = runs.find(place.workspace, named(PLUGIN), on="holdout", data=data, which=which)
    return found.digest


def interrupted(place: Place) -> Run:
    """Return the run as it was after its first epoch."""
    run = run_of(place)
    for path in (run.last, run.best):
        path.unlink(missing_ok=True)
    run.journal.write_text("".join(run.journal.read_text().splitlines(keepends=True)[:3]))
    shutil.copy(place.workspace.root / "state", run.state)
    return run


def flip(seed: int) -> Damage:
    def change(data: bytes) -> bytes:
        drawn = np.random.default_rng(seed)
        at, bit = int(drawn.integers(len(data))), int(drawn.integers(8))
        return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]

    return change


def cut(share: float) -> Damage:
    return lambda data: data[: int(len(data) * share)]


def zero(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(min(65536, len(data) - middle)) + data[middle + 65536 :]


DAMAGES = [*map(flip, range(6)), *map(cut, (0, 0.1, 0.5, 0.99)), zero, lambda _: b"another file"]
IDS = [*(f"flip{seed}" for seed in range(6)), "empty", "tenth", "half", "end", "zeros", "foreign"]


def test_a_finished_run_keeps_the_digests_of_its_checkpoints_twice(place: Place) -> None:
    run = run_of(place)
    digests = {path.stem: digest_of_file(path) for path in (run.last, run.best)}
    assert read_json(run.key_file)["checkpoints"] == digests
    assert run.events()[-1] == {"event": "finished", "epoch": 2, "checkpoints": digests}
    assert not run.state.exists()


@pytest.mark.parametrize("damage", DAMAGES, ids=IDS)
def test_a_damaged_checkpoint_is_told_wherever_it_is_read(place: Place, damage: Damage) -> None:
    run = run_of(place)
    for path, which in ((run.last, "last"), (run.best, "best")):
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        command = "kitbox train tiny" + " --fresh" * (which == "best")
        told = f"the checkpoint {path} is damaged; remove it, and run '{command}' to train it again"
        with pytest.raises(KitboxError) as caught:
            find(place, which)
        assert str(caught.value) == told
        if which == "last":
            with pytest.raises(KitboxError) as caught:
                finish(train(place, PLUGIN))
            assert str(caught.value) == told
        path.write_bytes(whole)


def test_a_last_checkpoint_that_is_gone_is_trained_again_to_the_same_bytes(place: Place) -> None:
    run = run_of(place)
    before = digest_of_file(run.last)
    run.last.unlink()
    with pytest.raises(KitboxError) as caught:
        find(place)
    assert str(caught.value) == (
        f"the checkpoint {run.last} is gone; run 'kitbox train tiny' to train it again"
    )
    events, _ = finish(train(place, PLUGIN))
    started = next(event for event in events if isinstance(event, TrainingStarted))
    assert f"the checkpoint {run.last} is gone, so this training begins again" in started.notes
    assert digest_of_file(run.last) == find(place) == before


def test_a_best_checkpoint_that_is_gone_costs_no_last_one(place: Place) -> None:
    run = run_of(place)
    run.best.unlink()
    with pytest.raises(KitboxError) as caught:
        find(place, "best")
    assert str(caught.value) == (
        f"the checkpoint {run.best} is gone; run 'kitbox train tiny --fresh' to train it again"
    )
    written = run.last.stat().st_mtime_ns
    events, _ = finish(train(place, PLUGIN))
    assert not events
    assert run.last.stat().st_mtime_ns == written


def test_a_record_that_is_damaged_does_not_refuse_a_sound_checkpoint(place: Place) -> None:
    run = run_of(place)
    values = read_json(run.key_file)
    files.write_json(run.key_file, values | {"checkpoints": {"last": "0" * 64, "best": "1" * 64}})
    assert find(place) == digest_of_file(run.last)
    del values["checkpoints"]  # of a process that was killed at its end
    files.write_json(run.key_file, values)
    assert find(place) == digest_of_file(run.last)


def test_a_run_of_an_earlier_release_is_read_without_digests(place: Place) -> None:
    run = run_of(place)
    values = read_json(run.key_file)
    del values["checkpoints"]
    files.write_json(run.key_file, values)
    lines = run.journal.read_text().splitlines()[:-1]
    run.journal.write_text("\n".join([*lines, '{"event": "finished", "epoch": 2}']) + "\n")
    assert find(place) == digest_of_file(run.last)
    assert find(place, "best") == digest_of_file(run.best)


@pytest.mark.parametrize("damage", DAMAGES, ids=IDS)
def test_a_damaged_state_is_told_with_the_way_on(place: Place, damage: Damage) -> None:
    run = interrupted(place)
    state = run.state.read_bytes()
    run.state.write_bytes(damage(state))
    with pytest.raises(KitboxError) as caught:
        finish(train(place, PLUGIN))
    assert str(caught.value) == (
        f"the state {run.state} of an interrupted training is damaged, or of another one; remove "
        "it, and train again: that begins with the first epoch"
    )


def test_the_state_of_another_training_is_told(place: Place) -> None:
    run = interrupted(place)
    interrupt(place, tiny(epochs=2, score_every=1, seed=1), 2)
    [other] = {*place.workspace.runs.glob("tiny/*/state.pt")} - {run.state}
    shutil.copy(other, run.state)
    with pytest.raises(KitboxError, match="is damaged, or of another one; remove it"):
        finish(train(place, PLUGIN))


def test_training_again_without_the_state_and_with_it_gives_the_same_bytes(
    place: Place, trained: Place
) -> None:
    expected = digest_of_file(run_of(trained).last)
    run = interrupted(place)
    state = torch.load(io.BytesIO(read_sealed(run.state)), weights_only=True)
    assert state["run"] == run.folder.name
    finish(train(place, PLUGIN))
    assert digest_of_file(run.last) == expected
    run = interrupted(place)
    run.state.unlink()
    finish(train(place, PLUGIN))
    assert digest_of_file(run.last) == expected


def test_the_state_that_a_run_killed_at_its_end_left_is_removed(place: Place) -> None:
    run = run_of(place)
    shutil.copy(place.workspace.root / "state", run.state)
    finish(train(place, PLUGIN))
    assert not run.state.exists()


def test_a_run_killed_before_it_is_recorded_is_recorded_by_the_next_command(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    run = interrupted(place)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_json", die)
        with pytest.raises(KeyboardInterrupt):
            finish(train(place, PLUGIN))
    finish(train(place, PLUGIN))
    digests = {p.stem: digest_of_file(p) for p in (run.last, run.best) if p.exists()}
    assert read_json(run.key_file)["checkpoints"] == digests
    assert [event["event"] for event in run.events()].count("finished") == 1
