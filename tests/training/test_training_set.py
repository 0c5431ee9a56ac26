"""The training set: labels, unknown individuals, alternative boxes, pseudo-labels."""

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
    load_place,
    place_of,
    recorded_inputs,
    run_of,
    started,
    tensors_of,
    train,
    write_boxes,
    write_pseudo_labels,
)

BOTH = ((0, 0, 60, 40), (10, 10, 96, 64))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_of(tmp_path)


def selected(place: Place, plugin: Plugin, on: str = "holdout") -> TrainingSet:
    return training_set.select(plugin, place.setup(on=on))


def test_unknown_individuals_are_selected_only_with_unknown_share(place: Place) -> None:
    names = set(selected(place, tiny()).images.labels)
    assert "new_whale" not in names
    chosen = selected(place, tiny(unknown_share=0.25))
    unknown = chosen.images.labels == "new_whale"
    assert unknown.any()
    assert (chosen.label_rows[unknown] == UNKNOWN).all()
    assert (chosen.label_map[chosen.label_rows[~unknown]] == chosen.images.labels[~unknown]).all()
    assert chosen.counts.sum() == (~unknown).sum()
    assert "new_whale" not in set(chosen.label_map)


def test_every_batch_has_its_share_of_unknown_images(place: Place) -> None:
    plugin = tiny(epochs=1, unknown_share=0.25, losses=[BinaryCrossEntropy()])
    with recorded_inputs() as inputs:
        finish(train(place, plugin))
    assert [int((labels == UNKNOWN).sum()) for labels in inputs.labels] == [2] * len(inputs.labels)


def test_a_mirrored_image_is_an_individual_of_its_own(place: Place) -> None:
    count = len(selected(place, tiny()).label_map)
    with recorded_inputs() as inputs:
        _, checkpoint = finish(train(place, tiny(epochs=2, flip_identities=True)))
    assert tensors_of(checkpoint)["heads.0.loss.W"].shape == (16, 2 * count)
    assert len(read_origin(checkpoint.path).labels) == count
    labels = np.concatenate([part.numpy() for part in inputs.labels])
    pixels = np.concatenate([part.numpy() for part in inputs.pixels])
    own = labels < count
    label_of = dict(zip([image.tobytes() for image in pixels[own]], labels[own], strict=True))
    pairs = [
        (label_of[image[:, ::-1].tobytes()], label)
        for image, label in zip(pixels[~own], labels[~own], strict=True)
        if image[:, ::-1].tobytes() in label_of
    ]
    assert len(pairs) > (~own).sum() / 2
    assert all(label == first + count for first, label in pairs)


def test_any_box_of_an_image_may_be_drawn(place: Place) -> None:
    several = tiny(epochs=6, box_choice="random", score_every=6)
    images = len(selected(place, several).images)
    assert selected(place, several).alternative_boxes.keys() == set(
        selected(place, several).images.image_ids
    )
    distinct = {}
    for plugin in (several, tiny(epochs=6, score_every=6)):
        with recorded_inputs() as inputs:
            finish(train(place, plugin))
        shown = {image.numpy().tobytes() for batch in inputs.pixels for image in batch}
        distinct[plugin.box_choice] = len(shown)
    assert distinct["one"] <= images < distinct["random"] <= 2 * images


def test_other_boxes_make_another_run_only_if_they_may_be_drawn(place: Place) -> None:
    some = place.train_images.image_ids.tolist()
    plugins = {choice: tiny(box_choice=choice) for choice in ("one", "random")}
    before = {choice: started(place, plugin).folder for choice, plugin in plugins.items()}
    assert selected(place, plugins["one"]).boxes_digest is None
    all_images = place.collection.labelled.image_ids.tolist()
    moved = dict.fromkeys(some, (BOTH[0], (12, 12, 90, 60)))
    write_boxes(place.workspace, dict.fromkeys(all_images, BOTH) | moved)
    place = load_place(place.workspace)
    after = {choice: started(place, plugin).folder for choice, plugin in plugins.items()}
    assert before["one"] == after["one"]  # the most confident box has not moved
    assert before["random"] != after["random"]


def test_a_label_with_enough_images_for_any_phase_is_selected(place: Place) -> None:
    phases = [Phase(epochs=1, min_images_per_label=4), Phase(epochs=1, min_images_per_label=2)]
    counts = selected(place, tiny(min_images_per_label=3, phases=phases)).counts
    assert counts.min() >= 2
    assert len(counts) == len(selected(place, tiny(min_images_per_label=2)).counts)


def test_pseudo_labels_are_used_only_if_the_plugin_says_so(place: Place) -> None:
    write_pseudo_labels(place, {"t_0.png": "w_0", "t_1.png": "w_1"}, round_=2)
    assert selected(place, tiny()).pseudo is None
    chosen = selected(place, tiny(pseudo_labels=True))
    assert chosen.images.image_ids[-2:].tolist() == ["t_0.png", "t_1.png"]
    assert chosen.label_map[chosen.label_rows[-2:]].tolist() == ["w_0", "w_1"]
    assert chosen.pseudo_round == 2
    assert chosen.notes == ("2 of its images are test images with pseudo-labels of round 2",)


def test_copies_of_labelled_images_are_searched_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pseudo_labels(place, {"t_0.png": "w_0"})
    searches = []

    def search(collection: Collection, bits: int) -> NDArray[np.bool_]:
        searches.append(bits)
        return pseudo_label_candidates(collection, bits)

    monkeypatch.setattr(training_set, "pseudo_label_candidates", search)
    assert selected(place, tiny(pseudo_labels=True)).pseudo
    assert len(searches) == 1


def test_pseudo_labels_are_part_of_the_run_key_and_of_the_checkpoint(place: Place) -> None:
    plugin = tiny(epochs=1, pseudo_labels=True)
    without = started(place, plugin)
    assert without.notes == ("there are no pseudo-labels for it; it is trained on labels alone",)
    write_pseudo_labels(place, {"t_0.png": "w_0"})
    one = started(place, plugin)
    write_pseudo_labels(place, {"t_0.png": "w_1"}, round_=3)
    _, checkpoint = finish(train(place, plugin))
    assert len({without.folder, one.folder, checkpoint.path.parent}) == 3
    assert started(place, tiny(epochs=1)).images == without.images == one.images - 1
    origin = read_origin(checkpoint.path)
    assert origin.pseudo == selected(place, plugin).pseudo_digest
    assert origin.pseudo_round == 3
    assert pseudo_labels.load(run_of(checkpoint).pseudo_labels) == selected(place, plugin).pseudo


def test_pseudo_labels_of_networks_that_saw_the_holdout_are_refused(place: Place) -> None:
    write_pseudo_labels(place, {"t_0.png": "w_0"})
    text = place.workspace.pseudo_labels.read_text()
    place.workspace.pseudo_labels.write_text(text.replace("holdout,", "all,", 1))
    with pytest.raises(KitboxError, match="answers of the holdout that this training is scored"):
        selected(place, tiny(pseudo_labels=True))
    assert selected(place, tiny(pseudo_labels=True), on="all").pseudo


def test_at_least_two_labels_are_needed(place: Place) -> None:
    one = place.train_images.take(place.train_images.labels == place.train_images.labels[0])
    holdout = replace(place.collection.holdout, train=one)
    alone = replace(place, collection=replace(place.collection, holdout=holdout))
    with pytest.raises(KitboxError, match="every labelled image shows one individual, 'w_0'"):
        selected(alone, tiny())
