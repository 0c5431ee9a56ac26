"""Steps: gradients of several batches, frozen stages, averages, and what a collapse looks like."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kitbox import PK, Ema, Hardness, Phase, Swa, Triplet
from kitbox.training.events import EpochDone, HoldoutScored, TrainingWarning
from tests.photographs import finish, tiny
from tests.trainings import Place, embedded, place_of, run_of, stop, tensors_of, train, watched


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place_of(tmp_path_factory.mktemp("steps"))


def state_of(place: Place, epoch: int) -> dict[str, torch.Tensor]:
    """Return the weights after an epoch of the one training that was stopped."""
    (file,) = place.workspace.runs.glob("*/*/state.pt")
    state = torch.load(file, weights_only=True)
    assert state["epoch"] == epoch
    return state["trained"]


def is_statistic(name: str) -> bool:
    return "running" in name or "tracked" in name


@pytest.mark.parametrize("together", ["two", "all that there are"])
def test_batches_together_are_a_step_of_one_that_is_as_large(place: Place, together: str) -> None:
    """Their gradients are a mean, also where fewer are left than should be together."""
    images = int((place.learnt.labels != "new_whale").sum())
    small = next(small for small in (3, 4, 5, 6) if images % (2 * small) < small)
    times = 2 if together == "two" else images // small
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
    added = tiny(**plain, batch_size=small, accumulate=2 if together == "two" else 100)
    (first, one), (second, other) = finish(train(place, once)), finish(train(place, added))
    tensors = tensors_of(other)
    for name, tensor in tensors_of(one).items():
        torch.testing.assert_close(tensors[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    ends = [[r.learning_rate for r in told if isinstance(r, EpochDone)] for told in (first, second)]
    assert ends[0] == ends[1]


def test_a_frozen_stage_leaves_the_backbone_and_feeds_its_own_image_size(place: Place) -> None:
    stages = [Phase(epochs=1, frozen_backbone=True, image_size=(16, 48)), Phase(epochs=1)]
    plugin = tiny(phases=stages, learning_rate=1e-2, drop_path=0.3)
    _, first = finish(train(place, tiny(epochs=0), "first"))
    with watched() as seen:
        stop(place, plugin, 2)
    begin, frozen = tensors_of(first), state_of(place, 1)
    with watched() as after:
        _, checkpoint = finish(train(place, plugin))
    end = tensors_of(checkpoint)
    sizes = [tuple(pixels.shape[1:3]) for pixels in seen.pixels[:-1] + after.pixels]
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


def test_an_averaged_network_is_what_is_scored_and_saved(tmp_path: Path) -> None:
    """The mean of the weights after both epochs, with statistics of its own."""
    place = place_of(tmp_path)
    plain = tiny(epochs=2, learning_rate=1e-2, score_every=2)
    stop(place, plain, 2)
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
    assert not np.allclose(embedded(saved, place.learnt), embedded(checkpoint, place.learnt))


def tensors_of_file(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def test_an_average_keeps_the_statistics_of_a_backbone_that_is_frozen(place: Place) -> None:
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


def test_a_collapse_is_told_and_written_down(place: Place) -> None:
    """Of photographs that are all grey the embeddings are all the same."""
    everything = frozenset(place.collection.labelled.image_ids.tolist())
    grey = replace(place, collection=replace(place.collection, unreadable=everything))
    plugin = tiny(
        epochs=4,
        losses=[Triplet(margin=0.3)],
        sampler=PK(images_per_label=2),
        score_every=4,
    )
    reports, checkpoint = finish(train(grey, plugin))
    told = [
        (report.epoch, report.text) for report in reports if isinstance(report, TrainingWarning)
    ]
    warnings = [entry for entry in run_of(checkpoint).events() if entry["event"] == "warning"]
    assert [(entry["epoch"], entry["text"]) for entry in warnings] == told
    ((epoch, text),) = told
    assert epoch == 3
    assert text.startswith("the embeddings have collapsed: Triplet stands at 0.3 for 3 epochs")
    stop(grey, plugin, 4, fresh=True)
    reports, _ = finish(train(grey, plugin))  # what was told before the stop is not told again
    assert not any(isinstance(report, TrainingWarning) for report in reports)


def test_all_images_are_learnt_without_a_score(place: Place) -> None:
    plugin = tiny(
        losses=[Triplet(mining="sequence")],
        sampler=Hardness(mined_on="frozen"),
        batch_size=6,
        averaging=Ema(),
        score_every=1,
    )
    reports, checkpoint = finish(train(place, plugin, on="all"))
    assert not any(isinstance(report, HoldoutScored) for report in reports)
    assert not run_of(checkpoint).best.exists()
    done = [report for report in reports if isinstance(report, EpochDone)]
    assert all({"spread", "hardness", "achieved"} <= report.figures.keys() for report in done)


@pytest.mark.parametrize("averaging", [None, Ema()])
def test_without_epochs_the_network_is_scored_and_saved_as_it_came(place: Place, averaging) -> None:
    plugin = tiny(epochs=0, averaging=averaging, embedding_dim=8)
    reports, checkpoint = finish(train(place, plugin))
    assert [report.epoch for report in reports if isinstance(report, HoldoutScored)] == [0]
    assert checkpoint.epoch == 0
    assert embedded(checkpoint, place.learnt).shape[1] == 8
