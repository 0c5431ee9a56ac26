"""What a plugin learns from: labels, unknown individuals, boxes to choose among, pseudo-labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kitbox import BinaryCrossEntropy, Phase, Plugin
from kitbox.competition import pseudo_labels
from kitbox.dataset.collection import Collection
from kitbox.errors import KitboxError
from kitbox.network.checkpoint import read_origin
from kitbox.samplers.batch_samplers import UNKNOWN
from kitbox.training import training_set
from kitbox.training.context import TrainingSet
from kitbox.training.training_set import pseudo_label_candidates
from tests.photographs import finish, tiny
from tests.trainings import (
    Place,
    begun,
    opened,
    place_of,
    run_of,
    tensors_of,
    train,
    watched,
    write_boxes,
    write_pseudo_labels,
)

BOTH = ((0, 0, 60, 40), (10, 10, 96, 64))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_of(tmp_path)


def learnt(place: Place, plugin: Plugin, on: str = "holdout") -> TrainingSet:
    return training_set.select(plugin, place.setup(on=on))


def test_only_a_plugin_that_asks_for_unknown_individuals_learns_from_them(place: Place) -> None:
    names = set(learnt(place, tiny()).images.labels)
    assert "new_whale" not in names
    found = learnt(place, tiny(unknown_share=0.25))
    unknown = found.images.labels == "new_whale"
    assert unknown.any()
    assert (found.label_rows[unknown] == UNKNOWN).all()
    assert (found.label_map[found.label_rows[~unknown]] == found.images.labels[~unknown]).all()
    assert found.counts.sum() == (~unknown).sum()
    assert "new_whale" not in set(found.label_map)


def test_every_batch_has_its_share_of_unknown_images(place: Place) -> None:
    plugin = tiny(epochs=1, unknown_share=0.25, losses=[BinaryCrossEntropy()])
    with watched() as seen:
        finish(train(place, plugin))
    assert [int((labels == UNKNOWN).sum()) for labels in seen.labels] == [2] * len(seen.labels)


def test_a_mirrored_image_is_of_an_individual_of_its_own(place: Place) -> None:
    count = len(learnt(place, tiny()).label_map)
    with watched() as seen:
        _, checkpoint = finish(train(place, tiny(epochs=2, flip_identities=True)))
    assert tensors_of(checkpoint)["heads.0.loss.W"].shape == (16, 2 * count)
    assert len(read_origin(checkpoint.path).labels) == count
    labels = np.concatenate([part.numpy() for part in seen.labels])
    pixels = np.concatenate([part.numpy() for part in seen.pixels])
    own = labels < count
    label_of = dict(zip([image.tobytes() for image in pixels[own]], labels[own], strict=True))
    found = [
        (label_of[image[:, ::-1].tobytes()], label)
        for image, label in zip(pixels[~own], labels[~own], strict=True)
        if image[:, ::-1].tobytes() in label_of
    ]
    assert len(found) > (~own).sum() / 2
    assert all(label == first + count for first, label in found)


def test_any_box_of_an_image_is_learnt_from(place: Place) -> None:
    several = tiny(epochs=6, box_choice="random", score_every=6)
    images = len(learnt(place, several).images)
    assert learnt(place, several).alternative_boxes.keys() == set(
        learnt(place, several).images.image_ids
    )
    distinct = {}
    for plugin in (several, tiny(epochs=6, score_every=6)):
        with watched() as seen:
            finish(train(place, plugin))
        shown = {image.numpy().tobytes() for batch in seen.pixels for image in batch}
        distinct[plugin.box_choice] = len(shown)
    assert distinct["one"] <= images < distinct["random"] <= 2 * images


def test_other_boxes_make_another_run_only_where_they_may_be_seen(place: Place) -> None:
    some = place.learnt.image_ids.tolist()
    plugins = {choice: tiny(box_choice=choice) for choice in ("one", "random")}
    before = {choice: begun(place, plugin).folder for choice, plugin in plugins.items()}
    assert learnt(place, plugins["one"]).boxes_digest is None
    all_images = place.collection.labelled.image_ids.tolist()
    moved = dict.fromkeys(some, (BOTH[0], (12, 12, 90, 60)))
    write_boxes(place.workspace, dict.fromkeys(all_images, BOTH) | moved)
    place = opened(place.workspace)
    after = {choice: begun(place, plugin).folder for choice, plugin in plugins.items()}
    assert before["one"] == after["one"]  # the surest box is what it was
    assert before["random"] != after["random"]


def test_a_label_that_any_stage_learns_is_learnt(place: Place) -> None:
    stages = [Phase(epochs=1, min_images_per_label=4), Phase(epochs=1, min_images_per_label=2)]
    counts = learnt(place, tiny(min_images_per_label=3, phases=stages)).counts
    assert counts.min() >= 2
    assert len(counts) == len(learnt(place, tiny(min_images_per_label=2)).counts)


def test_only_a_plugin_that_says_so_learns_from_pseudo_labels(place: Place) -> None:
    write_pseudo_labels(place, {"t_0.png": "w_0", "t_1.png": "w_1"}, round_=2)
    assert learnt(place, tiny()).pseudo is None
    found = learnt(place, tiny(pseudo_labels=True))
    assert found.images.image_ids[-2:].tolist() == ["t_0.png", "t_1.png"]
    assert found.label_map[found.label_rows[-2:]].tolist() == ["w_0", "w_1"]
    assert found.pseudo_round == 2
    assert found.notes == ("2 of its images are test images with pseudo-labels of round 2",)


def test_copies_of_labelled_images_are_looked_for_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pseudo_labels(place, {"t_0.png": "w_0"})
    searches = []

    def search(collection: Collection, bits: int) -> NDArray[np.bool_]:
        searches.append(bits)
        return pseudo_label_candidates(collection, bits)

    monkeypatch.setattr(training_set, "pseudo_label_candidates", search)
    assert learnt(place, tiny(pseudo_labels=True)).pseudo
    assert len(searches) == 1


def test_pseudo_labels_are_a_cause_of_the_run_and_stand_in_its_checkpoint(place: Place) -> None:
    plugin = tiny(epochs=1, pseudo_labels=True)
    without = begun(place, plugin)
    assert without.notes == ("there are no pseudo-labels for it; it is trained on labels alone",)
    write_pseudo_labels(place, {"t_0.png": "w_0"})
    one = begun(place, plugin)
    write_pseudo_labels(place, {"t_0.png": "w_1"}, round_=3)
    _, checkpoint = finish(train(place, plugin))
    assert len({without.folder, one.folder, checkpoint.path.parent}) == 3
    assert begun(place, tiny(epochs=1)).images == without.images == one.images - 1
    origin = read_origin(checkpoint.path)
    assert origin.pseudo == learnt(place, plugin).pseudo_digest
    assert origin.pseudo_round == 3
    assert pseudo_labels.load(run_of(checkpoint).pseudo_labels) == learnt(place, plugin).pseudo


def test_pseudo_labels_of_networks_that_saw_the_holdout_are_refused(place: Place) -> None:
    write_pseudo_labels(place, {"t_0.png": "w_0"})
    text = place.workspace.pseudo_labels.read_text()
    place.workspace.pseudo_labels.write_text(text.replace("holdout,", "all,", 1))
    with pytest.raises(KitboxError, match="answers of the holdout that this training is scored"):
        learnt(place, tiny(pseudo_labels=True))
    assert learnt(place, tiny(pseudo_labels=True), on="all").pseudo


def test_two_labels_at_least_are_needed(place: Place) -> None:
    one = place.learnt.take(place.learnt.labels == place.learnt.labels[0])
    holdout = replace(place.collection.holdout, train=one)
    alone = replace(place, collection=replace(place.collection, holdout=holdout))
    with pytest.raises(KitboxError, match="1 labels have 1 or more images to train on; lower"):
        learnt(alone, tiny())
