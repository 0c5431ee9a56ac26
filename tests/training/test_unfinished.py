"""A training with changed settings tells which unfinished one it leaves behind."""

import json
from pathlib import Path
from typing import Any

import pytest

from kitbox import CrossEntropy
from kitbox.training.events import TrainingStarted
from tests.photographs import finish, tiny
from tests.trainings import Place, interrupt, place_of, train


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a place with a training that was interrupted in its second epoch of three."""
    place = place_of(tmp_path_factory.mktemp("unfinished"))
    interrupt(place, tiny(epochs=3, score_every=3), 2)
    return place


def notes(place: Place, changes: dict[str, Any], **options: object) -> list[str]:
    """Return what the start of a changed training says about earlier ones."""
    plugin = tiny(**({"epochs": 3, "score_every": 3} | changes))
    training = train(place, plugin, **options)
    started = next(event for event in training if isinstance(event, TrainingStarted))
    training.close()
    return [note for note in started.notes if "unfinished" in note]


def left(place: Place) -> Path:
    """Return the folder of the interrupted run."""
    return next(place.workspace.runs.glob("tiny/*/state.pt")).parent


@pytest.mark.parametrize(
    ("changes", "options", "difference"),
    [
        ({"batch_size": 16}, {}, "it had batch_size = 8, now 16"),
        ({"epochs": 4}, {}, "it had epochs = 3, now 4"),
        ({"losses": [CrossEntropy()]}, {}, "it had another value of losses"),
        (
            {"batch_size": 4, "epochs": 2, "dropout": 0.1, "embedding_dim": 8},
            {},
            "it had batch_size = 8, now 4; it had dropout = 0.0, now 0.1; it had "
            "embedding_dim = 16, now 8; other values of epochs",
        ),
        ({}, {"seed": 3}, "it had --seed 0"),
        ({}, {"on": "all"}, "it was --on holdout"),
        ({}, {"precision": "bf16"}, "it had --precision 32"),
    ],
)
def test_a_changed_training_tells_what_it_leaves_behind(
    interrupted: Place, changes: dict[str, Any], options: dict[str, Any], difference: str
) -> None:
    assert notes(interrupted, changes, **options) == [
        f"an earlier training of tiny stays unfinished, 1 of 3 epochs done: {difference}; set that "
        f"back and train again to continue it, or delete {left(interrupted)}"
    ]


def test_the_same_training_continues_and_leaves_nothing_behind(interrupted: Place) -> None:
    training = train(interrupted, tiny(epochs=3, score_every=3))
    started = next(event for event in training if isinstance(event, TrainingStarted))
    training.close()
    assert started.epoch == 1
    assert not [note for note in started.notes if "unfinished" in note]


def test_another_plugin_or_a_run_without_an_epoch_is_not_told(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    interrupt(place, tiny(epochs=2), 1)
    assert notes(place, {"batch_size": 16}) == []
    finish(train(place, tiny(epochs=1), "other"))
    assert notes(place, {"batch_size": 4}) == []


def test_a_run_of_an_earlier_release_has_other_settings(interrupted: Place) -> None:
    file = left(interrupted) / "run.json"
    text = file.read_text()
    values = json.loads(text)
    del values["settings"]
    file.write_text(json.dumps(values))
    try:
        [told] = notes(interrupted, {"batch_size": 16})
    finally:
        file.write_text(text)
    assert "1 epochs done: it had other settings of the plugin; set that back" in told
