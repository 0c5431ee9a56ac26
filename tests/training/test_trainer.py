"""The training loop: it learns, resumes exactly, and refuses what it cannot train on."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kitbox import (
    PK,
    ArcFace,
    CrossEntropy,
    Divide,
    Ema,
    Hardness,
    Margin,
    MultiSimilarity,
    Phase,
    Plugin,
    Triplet,
)
from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection, collect
from kitbox.devices.launch import Processes
from kitbox.errors import KitboxError
from kitbox.files import digest_of_file
from kitbox.images import pixel_cache_writer
from kitbox.images.preprocessing import InputSpec
from kitbox.network.backbone import data_config
from kitbox.network.checkpoint import read_origin
from kitbox.training import runs, trainer
from kitbox.training.context import TrainOptions, TrainSetup
from kitbox.training.events import EpochDone, HoldoutScored, StepDone, TrainingStarted
from kitbox.training.schedule import LearningRateSchedule
from kitbox.workspace import Workspace
from tests.photographs import competition_on_disk, finish, named, picture, tiny
from tests.trainings import write_plugin_file

OPTIONS = TrainOptions(device="cpu", precision="32", workers=0)


@pytest.fixture
def place(tmp_path: Path) -> tuple[Workspace, Competition, Collection]:
    workspace, competition = competition_on_disk(tmp_path)
    _, collection = finish(collect(workspace, competition))
    return workspace, competition, collection


def train(place, plugin: Plugin, options: TrainOptions = OPTIONS):
    workspace, competition, collection = place
    return trainer.train(named(plugin), TrainSetup(collection, competition, workspace, options))


def test_a_training_learns_and_yields_events_and_writes_a_journal(place) -> None:
    plugin = tiny(epochs=4, learning_rate=3e-3, losses=[CrossEntropy()])
    events, checkpoint = finish(train(place, plugin))
    assert isinstance(events[0], TrainingStarted)
    losses = [event.loss for event in events if isinstance(event, EpochDone)]
    assert losses[-1] < losses[0]
    scored = [event.epoch for event in events if isinstance(event, HoldoutScored)]
    assert scored == [0, 1, 2, 3, 4]
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [step.step for step in steps[:2]] == [1, 2]
    run = runs.Run(checkpoint.path.parent)
    journal = [event["event"] for event in run.events()]
    assert journal == ["score", *["epoch", "score"] * 4, "finished"]
    assert run.best.exists()
    assert not run.state.exists()
    assert list((run.folder / "tensorboard").glob("events*"))
    origin = read_origin(checkpoint.path)
    assert origin.labels == tuple(sorted(origin.labels))
    assert len(origin.labels) >= 4


@pytest.mark.parametrize("sampler", ["Shuffled", "PK"])
def test_a_stopped_training_resumes_to_the_same_weights(tmp_path: Path, sampler: str) -> None:
    pk = {"sampler": PK(images_per_label=2), "losses": [Triplet(), CrossEntropy()]}
    plugin = tiny(epochs=3, dropout=0.3, augmentation="light", **(pk if sampler == "PK" else {}))
    digests = []
    for stop_after in (0, 1, 2):
        workspace, competition = competition_on_disk(tmp_path / str(stop_after))
        _, collection = finish(collect(workspace, competition))
        place = (workspace, competition, collection)
        if stop_after:
            training = train(place, plugin)
            for event in training:
                # stop within the next epoch
                if isinstance(event, StepDone) and (event.epoch, event.step) == (
                    stop_after + 1,
                    2,
                ):
                    break
            training.close()
        events, checkpoint = finish(train(place, plugin))
        begun = next(event for event in events if isinstance(event, TrainingStarted))
        assert begun.epoch == stop_after
        digests.append(digest_of_file(checkpoint.path))
        epochs = [
            entry["epoch"]
            for entry in runs.Run(checkpoint.path.parent).events()
            if entry["event"] == "epoch"
        ]
        assert epochs == [1, 2, 3]
    assert len(set(digests)) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_resumes_with_prepared_images_to_the_same_weights(
    tmp_path: Path, workers: int
) -> None:
    plugin = tiny(epochs=2, augmentation="light", score_every=2)
    options = TrainOptions(device="cpu", precision="32", workers=workers)
    runs_of = {}
    for when in ("never", "before", "between"):
        workspace, competition = competition_on_disk(tmp_path / when)
        _, collection = finish(collect(workspace, competition))
        place = (workspace, competition, collection)
        if when == "between":
            training = train(place, plugin, options)
            next(event for event in training if isinstance(event, StepDone) and event.epoch == 2)
            training.close()
        if when != "never":
            spec = InputSpec.from_plugin(plugin, data_config(plugin.backbone).interpolation)
            plan = pixel_cache_writer.plan(workspace, [collection.labelled], [spec])
            finish(pixel_cache_writer.fill(plan, workspace))
            for path in collection.labelled.paths:
                path.unlink()
        events, checkpoint = finish(train(place, plugin, options))
        begun = next(event for event in events if isinstance(event, TrainingStarted))
        assert begun.epoch == (1 if when == "between" else 0)
        assert begun.source == ("from their files" if when == "never" else "all prepared")
        runs_of[when] = (checkpoint.path.parent.name, checkpoint.digest)
    assert runs_of["never"] == runs_of["before"] == runs_of["between"]


def test_a_finished_training_is_reused_unless_fresh(place) -> None:
    _, first = finish(train(place, tiny()))
    events, again = finish(train(place, tiny()))
    assert events == []
    assert again == first
    events, fresh = finish(train(place, tiny(), replace(OPTIONS, fresh=True)))
    assert any(isinstance(event, EpochDone) for event in events)
    assert fresh.digest == first.digest


def test_changed_settings_and_changed_images_make_another_run(place) -> None:
    workspace, _, collection = place
    _, first = finish(train(place, tiny()))
    _, other = finish(train(place, tiny(dropout=0.1)))
    assert first.path.parent != other.path.parent
    data = runs.data_digest(collection.holdout.train)
    assert runs.find(workspace, named(tiny()), on="holdout", data=data) == first
    for plugin, wanted, message in (
        (tiny(dropout=0.7), {"on": "holdout", "data": data}, "trained with other settings"),
        (tiny(), {"on": "holdout", "data": "x"}, "trained on other images, labels or boxes"),
        (
            tiny(),
            {"on": "all", "data": data},
            "not trained on all; run 'kitbox train tiny --on all",
        ),
    ):
        with pytest.raises(KitboxError, match=message):
            runs.find(workspace, named(plugin), **wanted)


def test_the_digest_of_a_run_key_leaves_absent_values_out() -> None:
    key = runs.RunKey(
        plugin="a",
        fingerprint="b",
        data="c",
        weights="d",
        on="holdout",
        seed=0,
        precision="32",
    )
    assert key.digest == "f9af3c086597"
    assert len({key.digest, replace(key, boxes="x").digest, replace(key, pseudo="x").digest}) == 3


def test_the_origin_of_a_plain_checkpoint_has_no_empty_fields(place) -> None:
    from safetensors import safe_open

    _, checkpoint = finish(train(place, tiny(epochs=1)))
    with safe_open(checkpoint.path, framework="pt") as file:
        origin = json.loads(file.metadata()["kitbox"])
    assert sorted(origin) == [
        *("data", "epoch", "fingerprint", "labels", "on", "plugin", "precision", "seed"),
        *("settings", "weights"),
    ]


def test_a_plugin_without_epochs_is_the_frozen_backbone(place) -> None:
    plugin = tiny(epochs=0, losses=[], embedding_dim=None, neck="none")
    events, checkpoint = finish(train(place, plugin))
    assert checkpoint.epoch == 0
    assert not any(isinstance(event, StepDone) for event in events)


def test_training_on_all_uses_every_labelled_image_and_scores_nothing(place) -> None:
    events, checkpoint = finish(train(place, tiny(), replace(OPTIONS, on="all")))
    assert next(r for r in events if isinstance(r, TrainingStarted)).images == 24
    assert not any(isinstance(event, HoldoutScored) for event in events)
    assert checkpoint.on == "all"


def test_a_loss_that_is_not_a_number_stops_with_advice(place) -> None:
    plugin = tiny(
        optimizer="sgd", learning_rate=1e30, epochs=3, warmup_epochs=0, gradient_clip=None
    )
    with pytest.raises(KitboxError, match=r"the loss of tiny became (nan|inf) at epoch .* lower"):
        finish(train(place, plugin))


def test_weights_that_the_last_step_made_nan_are_not_kept(place, monkeypatch) -> None:
    """No holdout would tell of them, and no loss is read after the last step."""
    step = LearningRateSchedule.step

    def poisoned(self: LearningRateSchedule) -> None:
        step(self)
        if self._step == sum(self._steps):
            self._optimizer.param_groups[0]["params"][0].data.fill_(float("nan"))

    monkeypatch.setattr(LearningRateSchedule, "step", poisoned)
    options = replace(OPTIONS, on="all")
    with pytest.raises(KitboxError, match="weights of tiny are no numbers any more after epoch 2"):
        finish(train(place, tiny(epochs=2), options))
    [state] = place[0].runs.glob("tiny/*/state.pt")
    assert torch.load(state, weights_only=True)["epoch"] == 1
    assert not state.with_name("last.safetensors").exists()
    monkeypatch.undo()
    assert finish(train(place, tiny(epochs=2), options))[1].epoch == 2


def test_an_image_that_changes_while_it_is_learned_is_told(place) -> None:
    training = train(place, tiny(epochs=2), replace(OPTIONS, on="all"))
    changed = place[2].labelled.paths[3]
    next(event for event in training if isinstance(event, StepDone) and event.epoch == 2)
    picture(changed, 7, 77)
    with pytest.raises(KitboxError) as caught:
        finish(training)
    assert str(caught.value) == (
        f"image {changed} was changed while tiny was trained; train again; what it learned in "
        "epoch 2 is left out"
    )
    [state] = place[0].runs.glob("tiny/*/state.pt")
    assert torch.load(state, weights_only=True)["epoch"] == 1
    assert not state.with_name("last.safetensors").exists()


def test_too_few_images_of_each_label_are_refused(place) -> None:
    with pytest.raises(KitboxError, match="0 labels have 50 or more images to train on"):
        finish(train(place, tiny(min_images_per_label=50)))


def test_a_second_process_cannot_train_the_same_run(place) -> None:
    training = train(place, tiny())
    for event in training:
        if isinstance(event, StepDone):
            break
    with pytest.raises(KitboxError, match="another process is training tiny"):
        finish(train(place, tiny()))
    training.close()


def test_bfloat16_trains_on_the_cpu(place) -> None:
    options = TrainOptions(device="cpu", precision="bf16", workers=0)
    events, _ = finish(train(place, tiny(epochs=1), options))
    assert next(r for r in events if isinstance(r, TrainingStarted)).precision == "bf16"
    assert any(isinstance(event, EpochDone) for event in events)


SHARED: dict[str, dict[str, object]] = {
    "divided": {
        "augmentation": "light",
        "losses": [Margin(learn_beta="per_label"), CrossEntropy()],
        "sampler": PK(images_per_label=2),
        "divide": Divide(learners=2, every=1, undivided_from=2),
    },
    "frozen_first": {
        "phases": [Phase(epochs=1, frozen_backbone=True), Phase(epochs=1)],
        "averaging": Ema(),
        "accumulate": 2,
    },
}
# Nothing in these depends on how a batch is shared.
ALIKE: dict[str, dict[str, object]] = {
    "frozen_then_not": {
        "epochs": 3,
        "phases": [Phase(epochs=2, frozen_backbone=True), Phase(epochs=1)],
        "accumulate": 2,
        "losses": [CrossEntropy()],
    },
    "mined": {
        "losses": [Triplet(mining="batch_hard"), MultiSimilarity(), ArcFace()],
        "sampler": PK(images_per_label=2),
        "batch_size": 10,  # five for each: neither whole labels nor pairs
    },
    "divided_weights_and_all_norms": {  # of heads that `two_processes` takes for large
        "losses": [ArcFace(), CrossEntropy()],
        "embedding_dim": 64,
        "neck": "batchnorm",
        "frozen_batchnorm": False,
        "synchronised_batchnorm": True,
        "learning_rate": 0.005,  # larger steps make more of a rounding
        "averaging": Ema(),
        "batch_size": 9,
    },
    "sequenced": {
        "losses": [Triplet(mining="sequence")],
        "sampler": Hardness(mined_on="frozen"),
        "batch_size": 9,  # one process has an image more
    },
}
SHARED |= {
    name: {"neck": "none", "frozen_batchnorm": True, "optimizer": "sgd", "learning_rate": 0.02}
    | given
    for name, given in ALIKE.items()
}


def train_in_two(workspace: Workspace, plugins: Mapping[str, Plugin]) -> Any:
    """Train plugins in two processes from the command line; return the result."""
    for name, plugin in plugins.items():
        write_plugin_file(workspace, name, plugin)
    module = "tests.training.two_processes"
    command = [sys.executable, "-m", module, "train", *plugins, "--device", "cpu"]
    return subprocess.run(
        [*command, "--devices", "2", "--precision", "32", "--workers", "0", "--json"],
        cwd=workspace.root,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def in_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainSetup, dict[str, Plugin], Any]:
    """Return plugins that one command has trained in two processes, and what it printed."""
    workspace, competition = competition_on_disk(tmp_path_factory.mktemp("two"))
    plugins = {f"shared_{name}": tiny(**({"epochs": 2} | given)) for name, given in SHARED.items()}
    done = train_in_two(workspace, plugins)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("its class weights are divided among 2 processes") == 1
    _, collection = finish(collect(workspace, competition))
    setup = TrainSetup(collection, competition, workspace, OPTIONS)
    return setup, plugins, json.loads(done.stdout)


@pytest.mark.slow
def test_two_processes_share_every_batch(in_two) -> None:
    setup, plugins, results = in_two
    for (name, plugin), result in zip(plugins.items(), results, strict=True):
        assert (result["name"], result["epoch"]) == (name, plugin.epochs)
        run = runs.Run(Path(result["path"]).parent)
        entries = run.events()
        losses = [entry["loss"] for entry in entries if entry["event"] == "epoch"]
        assert len(losses) == plugin.epochs
        assert np.isfinite(losses).all()
        assert len(losses) == [entry["event"] for entry in entries].count("score") - 1
        # one process then finds the run finished
        events, again = finish(trainer.train(named(plugin, name), setup))
        assert (events, again.path) == ([], run.last)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_have_the_losses_and_weights_of_one(in_two, name: str) -> None:
    """Gradients of the backbone are shared again after a phase in which it was frozen."""
    setup, plugins, results = in_two
    [path] = [Path(each["path"]) for each in results if each["name"] == f"shared_{name}"]
    _, checkpoint = finish(trainer.train(named(plugins[f"shared_{name}"], f"alone_{name}"), setup))
    two, one = (
        [
            [each["loss"], each["figures"].get("spread", 0.0)]
            for each in runs.Run(place.parent).events()
            if each["event"] == "epoch"
        ]
        for place in (path, checkpoint.path)
    )
    np.testing.assert_allclose(two, one, rtol=1e-4)
    two, one = (
        [each["scores"] for each in runs.Run(place.parent).events() if each["event"] == "score"]
        for place in (path, checkpoint.path)
    )
    assert two == one
    found = load_file(path)
    for key, tensor in load_file(checkpoint.path).items():
        torch.testing.assert_close(
            found[key], tensor, rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_batches_that_processes_cannot_share_are_refused_first(place) -> None:
    plugin = tiny(losses=[Triplet(mining="sequence")], sampler=Hardness(), batch_size=3)
    with pytest.raises(
        KitboxError, match="a batch of 3 images is fewer than two for each of 2 processes"
    ):
        finish(train(place, plugin, replace(OPTIONS, processes=Processes(2))))
    assert not place[0].runs.exists()


def test_a_training_set_of_unknown_individuals_alone_is_refused(place) -> None:
    workspace, competition, collection = place
    train_images = collection.holdout.train
    unknown = train_images.with_labels(np.full(len(train_images), "new_whale"))
    holdout = replace(collection.holdout, train=unknown)
    with pytest.raises(KitboxError) as caught:
        finish(train((workspace, competition, replace(collection, holdout=holdout)), tiny()))
    assert str(caught.value) == (
        "no labelled image shows a known individual; there is nothing to train on"
    )
