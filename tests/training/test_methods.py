"""Every training method: it trains, resumes to the same weights, and its network embeds."""

import numpy as np
import pytest

from kitbox import (
    PK,
    ArcFace,
    Balanced,
    BinaryCrossEntropy,
    Contrastive,
    CosFace,
    CrossEntropy,
    Divide,
    Ema,
    Focal,
    Hardness,
    Margin,
    MultiSimilarity,
    Multistep,
    Phase,
    PowerMargin,
    Ramp,
    RarityMargin,
    Restarts,
    Swa,
    Triplet,
)
from kitbox.records import Checkpoint
from kitbox.training.events import EpochDone, TrainingStarted
from tests.photographs import finish, tiny
from tests.trainings import (
    Place,
    embeddings_of,
    interrupt,
    place_of,
    run_of,
    train,
    write_pseudo_labels,
)

PAIRS = {"sampler": PK(images_per_label=2)}
SEQUENCE = {"losses": [Triplet(mining="sequence")], "batch_size": 6}
METHODS: dict[str, dict[str, object]] = {
    "divide": {
        **PAIRS,
        "losses": [Margin(learn_beta="per_label"), CrossEntropy()],
        "divide": Divide(learners=2, every=2, whole_from=3, undivided_from=4),
    },
    "divide throughout": {
        "divide": Divide(learners=2, every=1),
        "losses": [ArcFace(centers=2)],
        "dropout": 0.2,
    },
    "hardness on current": {**SEQUENCE, "sampler": Hardness(cycles=2)},
    "hardness on frozen": {**SEQUENCE, "sampler": Hardness(mined_on="frozen", passes=2)},
    "ema": {"averaging": Ema(decay=0.9)},
    "swa": {"averaging": Swa(from_epoch=2)},
    "phases": {
        "phases": [
            Phase(epochs=1, frozen_backbone=True, image_size=(16, 32)),
            Phase(epochs=1, frozen_backbone=True, min_images_per_label=3),
            Phase(epochs=2, rate=0.1),
        ],
        "averaging": Ema(decay=0.9),
        "drop_path": 0.2,
    },
    "frozen epochs": {"phases": [Phase(epochs=3, frozen_backbone=True), Phase(epochs=1)]},
    "accumulate": {"accumulate": 3, "batch_size": 4, "schedule": Restarts(cycles=2)},
    "multistep": {"schedule": Multistep(milestones=(2, 3)), "optimizer": "sgd"},
    "flips": {"flip_identities": True, "losses": [ArcFace(margin=PowerMargin())]},
    "unknowns": {"unknown_share": 0.25, "losses": [BinaryCrossEntropy()]},
    "unknowns in pairs": {**PAIRS, "unknown_share": 0.25, "losses": [Triplet(), CosFace()]},
    "random boxes": {"box_choice": "random", "augmentation": "light"},
    "mixup": {"embedding_mixup": 0.4, "losses": [CrossEntropy(label_smoothing=0.1), Focal()]},
    "learned beta": {**PAIRS, "losses": [Margin(learn_beta="all", mining="closest")]},
    "learned pooling": {"pooling": "gem_learned", "pooled_maps": (2, 3), "neck": "layernorm"},
    "sub-centres": {
        "losses": [ArcFace(centers=3, margin=RarityMargin(), ramp=Ramp(epochs=2.5))],
        "sampler": Balanced(),
        "layer_decay": 0.8,
    },
    "pseudo-labels": {"pseudo_labels": True},
    "mining": {
        **PAIRS,
        "losses": [
            Triplet(mining="distance_weighted", margin="soft"),
            MultiSimilarity(),
            Contrastive(),
        ],
        "frozen_batchnorm": True,
    },
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = place_of(tmp_path_factory.mktemp("methods"))
    write_pseudo_labels(made, {"t_0.png": "w_0", "t_1.png": "w_1"})
    return made


@pytest.mark.slow  # all of them together
@pytest.mark.parametrize("method", METHODS)
def test_a_training_interrupted_in_every_epoch_ends_with_the_same_weights(
    place: Place, method: str
) -> None:
    plugin = tiny(**({"epochs": 4, "score_every": 2} | METHODS[method]))
    events, checkpoint = finish(train(place, plugin))
    done = [event for event in events if isinstance(event, EpochDone)]
    assert [event.epoch for event in done] == [1, 2, 3, 4]
    assert np.isfinite([event.loss for event in done]).all()
    scores = scores_of(checkpoint)
    vectors = embeddings_of(checkpoint, place.train_images)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors.std(axis=0).max() > 1e-3
    interrupt(place, plugin, 2, fresh=True)
    interrupt(place, plugin, 3)
    interrupt(place, plugin, 4)
    events, again = finish(train(place, plugin))
    assert next(event for event in events if isinstance(event, TrainingStarted)).epoch == 3
    assert again.digest == checkpoint.digest
    assert scores_of(again) == scores


def scores_of(checkpoint: Checkpoint) -> list[object]:
    return [entry for entry in run_of(checkpoint).events() if entry["event"] == "score"]
