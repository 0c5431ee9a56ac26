"""Initial weights from another training: what is loaded, what stays new, what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kitbox import ArcFace, CosFace, CrossEntropy, PowerMargin
from kitbox.errors import KitboxError
from kitbox.network.checkpoint import read_origin
from kitbox.records import Checkpoint
from tests.photographs import finish, tiny, write_plugin
from tests.trainings import Place, interrupt, load_place, place_of, started, tensors_of, train

FIRST = tiny(epochs=1)
WARNING = (
    "warning: it may have seen the holdout: 7 of 7 labels were learned before from other images; "
    "where these are the same photographs, the local score is too good"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = place_of(tmp_path_factory.mktemp("here"))
    write_plugin(made.workspace, "first", epochs=1)
    return made


@pytest.fixture(scope="module")
def first(place: Place) -> Checkpoint:
    """Return a trained network."""
    return finish(train(place, FIRST, "first"))[1]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return another competition, with more individuals."""
    return place_of(tmp_path_factory.mktemp("elsewhere"), individuals=10, each=3)


def other_labels(root: Path) -> Place:
    """Return another competition that shares no label with this one."""
    made = place_of(root)
    listed = made.competition.images.root / "train.csv"
    listed.write_text(listed.read_text().replace("w_", "other_"))
    return load_place(made.workspace)


def initial_weights(
    place: Place, init_from: str | Path, **settings: object
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Return the initial weights of a plugin, and the notes on them."""
    plugin = tiny(**(settings | {"epochs": 0}))
    events, checkpoint = finish(train(place, plugin, init_from=str(init_from), fresh=True))
    return tensors_of(checkpoint), events[0].notes


def test_all_weights_are_loaded_into_a_network_of_the_same_labels(
    place: Place, first: Checkpoint
) -> None:
    weights, notes = initial_weights(place, "first")
    given = tensors_of(first)
    assert weights.keys() == given.keys()
    assert all(torch.equal(weights[name], given[name]) for name in given)
    assert notes == (f"starts from first ({first.path}): {len(given)} of {len(given)} tensors",)


@pytest.mark.parametrize("given", ["folder", "file"])
def test_the_heads_stay_new_for_a_network_of_another_competition(
    place: Place, first: Checkpoint, elsewhere: Place, given: str
) -> None:
    name = f"{place.workspace.root}/first" if given == "folder" else str(first.path)
    weights, notes = initial_weights(elsewhere, name)
    source = tensors_of(first)
    taken = [key for key in source if not key.startswith("heads.")]
    assert all(torch.equal(weights[key], source[key]) for key in taken)
    own = len(read_origin(first.path).labels)
    here = started(elsewhere, tiny(epochs=2)).labels
    assert weights["heads.0.loss.W"].shape[1] == here > own
    assert notes[0].endswith(f": {len(taken)} of {len(source)} tensors")
    assert notes[1] == f"the heads are new: it has {own} of the {here} labels"


def test_a_neck_of_another_size_stays_new_with_a_note(place: Place, first: Checkpoint) -> None:
    _, notes = initial_weights(place, "first", embedding_dim=8)
    assert notes[1].startswith("new, because no tensor of it fits: network.neck.0.weight, ")
    assert notes[2] == "the heads are new: none of it fits heads.0.loss.W"


@pytest.mark.parametrize("losses", [[CosFace()], [CrossEntropy()], [CrossEntropy(), ArcFace()]])
def test_heads_of_other_losses_stay_new_with_a_note(
    place: Place, first: Checkpoint, losses
) -> None:
    weights, notes = initial_weights(place, "first", losses=losses)
    source = tensors_of(first)
    heads = [name for name in weights if name.startswith("heads.")]
    assert not any(name in source and torch.equal(weights[name], source[name]) for name in heads)
    note, _, tensors = notes[1].partition("none of it fits ")
    assert note == "the heads are new: "
    assert sorted(tensors.split(", ")) == sorted(heads)


def test_margins_and_scale_are_not_loaded(place: Place, first: Checkpoint) -> None:
    weights, notes = initial_weights(
        place, "first", losses=[ArcFace(margin=PowerMargin(), scale=20)]
    )
    source = tensors_of(first)
    assert torch.equal(weights["heads.0.loss.W"], source["heads.0.loss.W"])
    assert len(notes) == 1


def test_another_backbone_is_refused(place: Place, first: Checkpoint) -> None:
    other = tiny(backbone="test_resnet.r160_in1k")
    with pytest.raises(KitboxError) as caught:
        started(place, other, init_from="first")
    assert str(caught.value) == (
        f"--init-from: {first.path} has the backbone {FIRST.backbone}, the plugin "
        "test_resnet.r160_in1k; name a network of the same backbone"
    )


def test_an_untrained_plugin_is_refused(place: Place, elsewhere: Place) -> None:
    write_plugin(elsewhere.workspace, "untrained", epochs=1)
    with pytest.raises(KitboxError) as caught:
        started(place, FIRST, init_from=f"{elsewhere.workspace.root}/untrained")
    assert str(caught.value) == (
        f"--init-from {elsewhere.workspace.root}/untrained: untrained is not trained in "
        f"{elsewhere.workspace.root}; run 'kitbox train untrained' there, or give a checkpoint file"
    )
    with pytest.raises(KitboxError, match="no plugin named fist; did you mean first"):
        started(place, FIRST, init_from="fist")


def test_a_network_that_saw_the_holdout_is_refused(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    write_plugin(place.workspace, "first", epochs=1)
    _, everything = finish(train(place, FIRST, "first", on="all"))
    for given in ("first", str(everything.path)):
        with pytest.raises(KitboxError, match="so it may have seen the holdout; name one trained"):
            started(place, tiny(epochs=2), init_from=given)
    apart = replace(place, workspace=replace(place.workspace, cache_name=".kitbox/reproduced"))
    with pytest.raises(KitboxError, match="so it may have seen the holdout; name one trained"):
        started(apart, tiny(epochs=2), init_from=str(everything.path))
    # by name, a network that has not seen the holdout is preferred
    _, unseen = finish(train(place, FIRST, "first"))
    assert f"({unseen.path})" in started(place, tiny(epochs=2), init_from="first").notes[0]
    refit = started(place, tiny(epochs=2), init_from="first", on="all")
    assert f"({everything.path})" in refit.notes[0]


def test_a_network_trained_on_all_images_elsewhere_is_warned_of(
    tmp_path: Path, place: Place
) -> None:
    other = place_of(tmp_path)
    write_plugin(other.workspace, "first", epochs=1)
    finish(train(other, FIRST, "first", on="all"))
    notes = started(place, tiny(epochs=2), init_from=f"{other.workspace.root}/first").notes
    assert notes[-1] == WARNING
    refit = started(
        place, tiny(epochs=2), init_from=f"{other.workspace.root}/first", on="all"
    ).notes
    assert not any("warning" in note for note in refit)


def test_a_network_that_knew_the_holdout_is_warned_of_and_so_are_its_descendants(
    tmp_path: Path, place: Place
) -> None:
    """It comes from the same competition in other folds, directly or through a third one."""
    beside, third = place_of(tmp_path / "beside", each=5), other_labels(tmp_path / "third")
    write_plugin(beside.workspace, "first", epochs=1)
    write_plugin(third.workspace, "first", epochs=1)
    _, source = finish(train(beside, FIRST, "first"))
    events, middle = finish(train(third, FIRST, "first", init_from=str(source.path)))
    assert not any("warning" in note for note in events[0].notes)
    assert not read_origin(middle.path).may_have_seen_holdout
    for given in (source, middle):
        events, child = finish(train(place, FIRST, "child", init_from=str(given.path)))
        assert events[0].notes[-1] == WARNING
        assert read_origin(child.path).may_have_seen_holdout
    events, grandchild = finish(train(place, FIRST, "grandchild", init_from=str(child.path)))
    assert events[0].notes[-1] == WARNING
    assert read_origin(grandchild.path).may_have_seen_holdout


def test_a_network_of_the_same_images_elsewhere_has_not_seen_the_holdout(
    tmp_path: Path, place: Place, first: Checkpoint
) -> None:
    copied = tmp_path / "copied.safetensors"
    copied.write_bytes(first.path.read_bytes())
    assert len(started(place, tiny(epochs=2), init_from=str(copied)).notes) == 1


def test_initial_weights_are_part_of_the_run_key_and_the_run_resumes(
    place: Place, first: Checkpoint
) -> None:
    plugin = tiny(epochs=2, score_every=2)
    _, other = finish(train(place, FIRST, "other", seed=7))
    new = started(place, plugin).folder
    assert len(
        {new, *(started(place, plugin, init_from=str(c.path)).folder for c in (first, other))}
    )
    _, whole = finish(train(place, plugin, init_from="first"))
    interrupt(place, plugin, 2, init_from="first", fresh=True)
    _, again = finish(train(place, plugin, init_from="first"))
    assert again.digest == whole.digest
    origin = read_origin(again.path)
    assert (origin.init_from, origin.weights) == ("first", first.digest)
