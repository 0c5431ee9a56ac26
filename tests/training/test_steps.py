"""Steps of a training: accumulated gradients, frozen phases, averages and collapses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kitbox import PK, Ema, Hardness, Phase, Swa, Triplet
from kitbox.network.network import Network
from kitbox.training import evaluation
from kitbox.training.events import EpochDone, HoldoutScored, TrainingStarted, TrainingWarning
from tests.photographs import finish, tiny
from tests.trainings import (
    Place,
    embeddings_of,
    interrupt,
    place_of,
    recorded_inputs,
    run_of,
    tensors_of,
    train,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place_of(tmp_path_factory.mktemp("steps"))


def state_of(place: Place, epoch: int) -> dict[str, torch.Tensor]:
    """Return the weights after an epoch of the only interrupted training."""
    (file,) = place.workspace.runs.glob("*/*/state.pt")
    state = torch.load(file, weights_only=True)
    assert state["epoch"] == epoch
    return state["trained"]


def is_statistic(name: str) -> bool:
    return "running" in name or "tracked" in name


@pytest.mark.parametrize("accumulated", ["two", "all"])
def test_accumulated_batches_equal_one_large_batch(place: Place, accumulated: str) -> None:
    """Their gradients are averaged, also in a last group of fewer batches."""
    images = int((place.train_images.labels != "new_whale").sum())
    small = next(small for small in (3, 4, 5, 6) if images % (2 * small) < small)
    times = 2 if accumulated == "two" else images // small
    plain = {
        "epochs": 2,
        "frozen_batchnorm": True,
        "neck": "none",
        "optimizer": "sgd",
        "learning_rate": 0.02,
        "gradient_clip": None,
        "score_every": 2,
    }
    once = tiny(**plain, batch_size=times * small)
    added = tiny(**plain, batch_size=small, accumulate=2 if accumulated == "two" else 100)
    (first, one), (second, other) = finish(train(place, once)), finish(train(place, added))
    tensors = tensors_of(other)
    for name, tensor in tensors_of(one).items():
        torch.testing.assert_close(tensors[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    ends = [
        [r.learning_rate for r in events if isinstance(r, EpochDone)] for events in (first, second)
    ]
    assert ends[0] == ends[1]


def test_a_frozen_phase_leaves_the_backbone_alone_and_has_its_own_image_size(place: Place) -> None:
    phases = [Phase(epochs=1, frozen_backbone=True, image_size=(16, 48)), Phase(epochs=1)]
    plugin = tiny(phases=phases, learning_rate=1e-2, drop_path=0.3)
    _, first = finish(train(place, tiny(epochs=0), "first"))
    with recorded_inputs() as inputs:
        interrupt(place, plugin, 2)
    begin, frozen = tensors_of(first), state_of(place, 1)
    with recorded_inputs() as after:
        _, checkpoint = finish(train(place, plugin))
    end = tensors_of(checkpoint)
    sizes = [tuple(pixels.shape[1:3]) for pixels in inputs.pixels[:-1] + after.pixels]
    assert set(sizes[: len(sizes) // 2]) == {(16, 48)}
    assert set(sizes[len(sizes) // 2 :]) == {(32, 32)}
    backbone = [name for name in begin if name.startswith("network.backbone.")]
    statistics = [name for name in backbone if is_statistic(name)]
    assert statistics
    assert all(torch.equal(begin[name], frozen[name]) for name in backbone)
    assert not torch.equal(begin["network.neck.0.weight"], frozen["network.neck.0.weight"])
    assert all(not torch.equal(end[name], begin[name]) for name in statistics)
    moved = [not torch.equal(end[name], begin[name]) for name in backbone]
    assert np.mean(moved) > 0.9


def test_a_frozen_backbone_runs_once_over_images_that_stay_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training is the same as with a backbone that runs in every epoch."""
    plugin = tiny(
        epochs=3,
        phases=[Phase(epochs=3, frozen_backbone=True)],
        averaging=Ema(),
        optimizer="sgd",  # Adam makes whole steps of rounding where a gradient is 0
        learning_rate=0.02,
        score_every=3,
    )
    runs: dict[str, list[int]] = {"once": [], "each epoch": []}
    ends, notes = {}, {}
    pool = Network.pool
    for how, images in runs.items():
        if how == "each epoch":
            monkeypatch.setattr(evaluation, "why_pooled_each_epoch", lambda *_: "a test says so")

        def counted(self: Network, pixels: torch.Tensor, images: list[int] = images):
            if self.training:  # not where the holdout is scored
                images.append(len(pixels))
            return pool(self, pixels)

        monkeypatch.setattr(Network, "pool", counted)
        events, checkpoint = finish(train(place, plugin, fresh=True))
        (started,) = (event for event in events if isinstance(event, TrainingStarted))
        ends[how], notes[how] = tensors_of(checkpoint), started.notes
    for name, tensor in ends["each epoch"].items():
        torch.testing.assert_close(ends["once"][name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    known = int((place.train_images.labels != "new_whale").sum())
    assert runs["once"] == [known]
    assert runs["each epoch"] == 3 * (known // 8) * [8]
    assert "the frozen backbone runs once over the images for epochs 1 to 3" in notes["once"]
    assert "the frozen backbone runs in every epoch, because a test says so" in notes["each epoch"]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"augmentation": "light"}, "augmentation = 'light' changes the images"),
        ({"box_choice": "random"}, "box_choice = 'random' changes the images"),
        ({"flip_identities": True}, "flip_identities mirrors the images"),
        ({"pooling": "gem_learned"}, "its pooling is trained"),
    ],
)
def test_a_frozen_backbone_runs_in_every_epoch_where_its_inputs_change(
    place: Place, settings: dict[str, object], why: str
) -> None:
    plugin = tiny(epochs=2, phases=[Phase(epochs=2, frozen_backbone=True)], **settings)
    training = train(place, plugin)
    started = next(event for event in training if isinstance(event, TrainingStarted))
    training.close()
    assert f"the frozen backbone runs in every epoch, because {why}" in started.notes


def test_the_averaged_network_is_scored_and_saved(tmp_path: Path) -> None:
    """It has the mean of the weights after both epochs, and batch-norm statistics of its own."""
    place = place_of(tmp_path)
    plain = tiny(epochs=2, learning_rate=1e-2, score_every=2)
    interrupt(place, plain, 2)
    one = state_of(place, 1)
    _, checkpoint = finish(train(place, plain))
    two = tensors_of(checkpoint)
    averaged = tiny(**(plain.model_dump() | {"averaging": Swa(from_epoch=1)}))
    _, saved = finish(train(place, averaged))
    mean = tensors_of(saved)
    for name, tensor in mean.items():
        middle = (one[name] + two[name]) / 2
        if not is_statistic(name):
            torch.testing.assert_close(tensor, middle)
        elif "running_var" in name:
            assert not torch.allclose(tensor, middle, rtol=1e-3), name
    best = tensors_of_file(run_of(saved).best)
    assert all(torch.equal(best[name], tensor) for name, tensor in mean.items())
    assert not np.allclose(
        embeddings_of(saved, place.train_images), embeddings_of(checkpoint, place.train_images)
    )


def tensors_of_file(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def test_an_average_keeps_the_statistics_of_a_frozen_backbone(place: Place) -> None:
    frozen = tiny(
        epochs=1,
        phases=[Phase(epochs=1, frozen_backbone=True)],
        averaging=Ema(),
        learning_rate=1e-2,
    )
    _, first = finish(train(place, tiny(epochs=0), "first"))
    _, last = finish(train(place, frozen))
    begin, end = tensors_of(first), tensors_of(last)
    for name in begin:
        if name.startswith("network.backbone."):
            torch.testing.assert_close(end[name], begin[name], msg=name)
    statistic = "network.neck.1.running_mean"
    assert not torch.allclose(end[statistic], begin[statistic])


def test_a_collapse_is_warned_of_and_logged(place: Place) -> None:
    """Images that are all grey have equal embeddings."""
    everything = frozenset(place.collection.labelled.image_ids.tolist())
    grey = replace(place, collection=replace(place.collection, unreadable=everything))
    plugin = tiny(
        epochs=4,
        losses=[Triplet(margin=0.3)],
        sampler=PK(images_per_label=2),
        score_every=4,
    )
    events, checkpoint = finish(train(grey, plugin))
    yielded = [(event.epoch, event.text) for event in events if isinstance(event, TrainingWarning)]
    warnings = [entry for entry in run_of(checkpoint).events() if entry["event"] == "warning"]
    assert [(event["epoch"], event["text"]) for event in warnings] == yielded
    ((epoch, text),) = yielded
    assert epoch == 3
    assert text.startswith("the embeddings have collapsed: Triplet stands at 0.3 for 3 epochs")
    interrupt(grey, plugin, 4, fresh=True)
    events, _ = finish(train(grey, plugin))  # a warning before the stop is not repeated
    assert not any(isinstance(event, TrainingWarning) for event in events)


def test_a_training_on_all_images_has_no_score(place: Place) -> None:
    plugin = tiny(
        losses=[Triplet(mining="sequence")],
        sampler=Hardness(mined_on="frozen"),
        batch_size=6,
        averaging=Ema(),
        score_every=1,
    )
    events, checkpoint = finish(train(place, plugin, on="all"))
    assert not any(isinstance(event, HoldoutScored) for event in events)
    assert not run_of(checkpoint).best.exists()
    done = [event for event in events if isinstance(event, EpochDone)]
    assert all({"spread", "hardness", "achieved"} <= event.figures.keys() for event in done)


@pytest.mark.parametrize("averaging", [None, Ema()])
def test_without_epochs_the_initial_network_is_saved(place: Place, averaging) -> None:
    plugin = tiny(epochs=0, averaging=averaging, embedding_dim=8)
    events, checkpoint = finish(train(place, plugin))
    assert events == []
    assert (checkpoint.epoch, checkpoint.on) == (0, "none")
    assert embeddings_of(checkpoint, place.train_images).shape[1] == 8
