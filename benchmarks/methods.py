"""Scores of the training methods on real photographs, at equal budget.

    python benchmarks/methods.py WORKSPACE [METHOD...] [--images 19200] [--write docs/methods.md]

WORKSPACE comes from 'kitbox init --preset gdsc2020' on labelled photographs of individuals, and has
a boxes.csv. Every method trains EfficientNet-Lite0 from the same ImageNet weights on the
training side of the holdout; the number of epochs is chosen so that all methods see about as many
images. Each is scored on one holdout with images as answers (mAP@20, recall@1) and with labels as
answers (MAP@5), with 95 % intervals over individuals. For some methods the paired difference from
another one is added. Finished runs are reused, so the script can be stopped and restarted.
"""

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kitbox import (
    PK,
    ArcFace,
    CrossEntropy,
    Divide,
    Ema,
    Hardness,
    Margin,
    Plugin,
    PowerMargin,
    Triplet,
)
from kitbox.cli.terminal import follow
from kitbox.competition import pseudo_labels, settings
from kitbox.competition.settings import TaskSettings, ThresholdSettings
from kitbox.dataset.collection import collect
from kitbox.embedding import embedder
from kitbox.ensemble.ensemble import Ensemble
from kitbox.ensemble.members import NetworkMember
from kitbox.ensemble.pseudo_labelling import PseudoLabelOptions, PseudoLabelRule, label_test_images
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint
from kitbox.samplers.planner import build_planner
from kitbox.scoring import comparison, local_score
from kitbox.scoring.comparison import Difference
from kitbox.scoring.local_score import LocalScore
from kitbox.training import runs, trainer, training_set
from kitbox.training.context import TrainOptions, TrainSetup
from kitbox.workspace import Workspace

BASE: dict[str, Any] = {
    "backbone": "tf_efficientnet_lite0",
    "image_size": (64, 128),
    "weights": "file",
    "pooling": "gem",
    "embedding_dim": 512,
    "dropout": 0.2,
    "augmentation": "light",
    "batch_size": 32,
    "learning_rate": 1e-3,
    "head_learning_rate": 1e-2,
    "weight_decay": 1e-2,
    "warmup_epochs": 0.5,
    "score_every": 1000,
}
# Label test images whose calibrated similarity gives at least this confidence.
PSEUDO = PseudoLabelRule(0.6, 0.0, None)
ARCFACE = ArcFace(margin=0.3, scale=24.0)
# Losses on pairs have no classifier that needs ten times the learning rate. Two photographs of each
# individual: most individuals have one or two, so with four most of a batch would be repeats.
PAIRS: dict[str, Any] = {"sampler": PK(images_per_label=2), "head_learning_rate": 1e-3}


def pairs(loss: Triplet | Margin) -> dict[str, Any]:
    return {"losses": (loss,), **PAIRS}


def sequence(hardness: Hardness) -> dict[str, Any]:
    return {
        "losses": (Triplet(mining="sequence"),),
        "head_learning_rate": 1e-3,
        "sampler": hardness,
        "batch_size": 33,
    }


@dataclass(frozen=True)
class Method:
    """A row of the table: the settings that differ from BASE, and the method to compare with."""

    about: str
    settings: dict[str, Any]
    compared_with: str = ""
    init_from: str = ""  # a method that is trained before this one, on half of the images
    share: float = 1.0
    pseudo: bool = False


METHODS: dict[str, Method] = {
    "frozen": Method(
        "the pretrained backbone", {"losses": (), "embedding_dim": None, "neck": "none"}
    ),
    "cross-entropy": Method("CrossEntropy", {"losses": (CrossEntropy(),)}),
    "triplet, random": Method("Triplet, random triplets", pairs(Triplet(mining="random"))),
    "triplet, hard": Method(
        "Triplet, batch-hard", pairs(Triplet(mining="batch_hard")), "triplet, random"
    ),
    "triplet, semi-hard": Method(
        "Triplet, semi-hard", pairs(Triplet(mining="semi_hard")), "triplet, random"
    ),
    "triplet, distance-weighted": Method(
        "Triplet, distance-weighted", pairs(Triplet(mining="distance_weighted")), "triplet, random"
    ),
    "triplet, easy positive": Method(
        "Triplet, easy positive", pairs(Triplet(mining="easy_positive")), "triplet, random"
    ),
    "triplet, easiest negatives": Method(
        "Hardness(constant 0)",
        sequence(Hardness(curve="constant", threshold=0.0)),
        "triplet, sigmoid hardness",
    ),
    "triplet, hardest negatives": Method(
        "Hardness(constant 1)",
        sequence(Hardness(curve="constant", threshold=1.0)),
        "triplet, sigmoid hardness",
    ),
    "triplet, sigmoid hardness": Method(
        "Hardness(logistic), 1 cycle", sequence(Hardness(cycles=1)), "triplet, random"
    ),
    "triplet, sigmoid hardness, frozen": Method(
        "as sigmoid hardness, mined on the pretrained backbone, as in the source",
        sequence(Hardness(cycles=1, mined_on="frozen")),
        "triplet, sigmoid hardness",
    ),
    "triplet, sigmoid hardness, no neck": Method(
        "as sigmoid hardness, neck none",
        sequence(Hardness(cycles=1)) | {"neck": "none"},
        "triplet, sigmoid hardness",
    ),
    "triplet, sigmoid hardness, slow": Method(
        "as sigmoid hardness, neck none, backbone at a fifth of the rate",
        sequence(Hardness(cycles=1)) | {"neck": "none", "learning_rate": 2e-4},
        "triplet, sigmoid hardness",
    ),
    "triplet, cyclic hardness": Method(
        "Hardness(logistic), 4 cycles", sequence(Hardness(cycles=4)), "triplet, sigmoid hardness"
    ),
    "margin": Method("Margin, distance-weighted", pairs(Margin())),
    "margin, closest": Method(
        "Margin with the mining of divide and conquer",
        pairs(Margin(mining="closest")),
    ),
    # whole and undivided after the same shares of the epochs as in the source, .4 and .95
    "divide and conquer": Method(
        "4 slices, clustered every 2 epochs; whole embedding from epoch 4, undivided in epoch 7",
        pairs(Margin(mining="closest"))
        | {"divide": Divide(learners=4, every=2, whole_from=4, undivided_from=7)},
        "margin, closest",
    ),
    "divide and conquer, slices alone": Method(
        "as divide and conquer, in slices to the end",
        pairs(Margin(mining="closest")) | {"divide": Divide(learners=4, every=2)},
        "margin, closest",
    ),
    "ArcFace": Method("ArcFace(.3, 24)", {"losses": (ARCFACE,)}),
    "ArcFace + cross-entropy": Method(
        "both losses, as in GDSC 2020", {"losses": (ARCFACE, CrossEntropy())}, "ArcFace"
    ),
    "sub-centre, per-class margin": Method(
        "2 centres, margin .27·n^-.36 + .05",
        {"losses": (ArcFace(margin=PowerMargin(), scale=24.0, centers=2),)},
        "ArcFace",
    ),
    "ArcFace without boxes": Method(
        "whole images", {"losses": (ARCFACE,), "crop": False}, "ArcFace"
    ),
    "ArcFace, heavy augmentation": Method(
        "augmentation gdsc2020", {"losses": (ARCFACE,), "augmentation": "gdsc2020"}, "ArcFace"
    ),
    "ArcFace without singletons": Method(
        "min_images_per_label=2", {"losses": (ARCFACE,), "min_images_per_label": 2}, "ArcFace"
    ),
    "ArcFace, flip identities": Method(
        "mirrored images are other individuals",
        {"losses": (ARCFACE,), "flip_identities": True},
        "ArcFace",
    ),
    "ArcFace, EMA": Method(
        "decay .99", {"losses": (ARCFACE,), "averaging": Ema(decay=0.99)}, "ArcFace"
    ),
    "half triplet": Method(
        "(the first half of the next row)", pairs(Triplet(mining="batch_hard")), share=0.5
    ),
    "ArcFace after triplet": Method(
        "half of the images with Triplet, then half with ArcFace from its weights",
        {"losses": (ARCFACE,)},
        "ArcFace",
        init_from="half triplet",
        share=0.5,
    ),
    "ArcFace, pseudo-labels": Method(
        "with test images labelled by ArcFace", {"losses": (ARCFACE,)}, "ArcFace", pseudo=True
    ),
}


@dataclass(frozen=True)
class Row:
    """The scores of a method."""

    name: str
    epochs: int
    images: int
    seconds: float
    scores: dict[str, tuple[float, float, float]]
    difference: Difference | None  # in mAP@20, from the method to compare with
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        difference = None if self.difference is None else self.difference.as_json()
        return vars(self) | {"difference": difference}


class Benchmark:
    """Trains and scores methods in one workspace, all with the same budget of images."""

    def __init__(self, folder: Path, images: int) -> None:
        self.workspace = Workspace(folder.resolve())
        self.competition = settings.load(self.workspace)
        self.collection = follow(collect(self.workspace, self.competition))
        self.images = images
        self._trained: dict[str, tuple[NamedPlugin, Checkpoint, int]] = {}
        self._scored: dict[str, tuple[LocalScore, LocalScore]] = {}
        task = TaskSettings(gallery="train", answers="labels", k=5)
        self.as_labels = self.competition.model_copy(
            update={"task": task, "threshold": ThresholdSettings()}
        )

    def setup(self, **options: str) -> TrainSetup:
        return TrainSetup(
            self.collection, self.competition, self.workspace, TrainOptions(**options)
        )

    def plugin(self, method: Method) -> tuple[Plugin, int]:
        """Return a method's plugin with the epochs of its budget, and the number of images seen."""
        values = BASE | method.settings | {"pseudo_labels": method.pseudo}
        if not values["losses"]:
            return Plugin(**values | {"epochs": 0, "warmup_epochs": 0}), 0
        single_epoch = Plugin(**values | {"epochs": 1})
        selected = training_set.select(single_epoch, self.setup())
        steps = build_planner(single_epoch, selected.label_rows, 0).steps(1)
        per_epoch = steps * single_epoch.batch_size
        epochs = max(round(method.share * self.images / per_epoch), 1)
        return Plugin(**values | {"epochs": epochs}), epochs * per_epoch

    def trained(self, name: str) -> tuple[NamedPlugin, Checkpoint, int]:
        """Train a method unless that is done; also return the number of images that it sees."""
        if name not in self._trained:
            self._trained[name] = self._train(name)
        return self._trained[name]

    def _train(self, name: str) -> tuple[NamedPlugin, Checkpoint, int]:
        method = METHODS[name]
        if method.pseudo:
            self.pseudo_label("ArcFace")
        plugin, seen = self.plugin(method)
        named = NamedPlugin("method_" + _slug(name), plugin, None, "benchmark")
        setup = self.setup()
        if method.init_from:
            path = self.trained(method.init_from)[1].path
            setup = self.setup(init_from=str(path))
        training = trainer.train(named, setup)
        return named, follow(training), seen

    def pseudo_label(self, name: str) -> None:
        """Label test images with a trained method and write pseudo.csv of the workspace."""
        named, checkpoint, _ = self.trained(name)
        ensemble = Ensemble(
            members=[NetworkMember(1.0, named, checkpoint)],
            collection=self.collection,
            competition=self.competition,
            workspace=self.workspace,
        )
        options = PseudoLabelOptions("holdout", "similarity", PSEUDO)
        labelled = follow(label_test_images(ensemble, ensemble.members, options))
        pseudo_labels.save(self.workspace.pseudo_labels, labelled.rows)
        print(f"{len(labelled.rows)} pseudo-labels; precision on the holdout: {labelled.precision}")

    def row(self, name: str) -> Row:
        """Train and score a method."""
        named, checkpoint, seen = self.trained(name)
        method = METHODS[name]
        events = runs.Run(checkpoint.path.parent).events()
        seconds = sum(event["seconds"] for event in events if event["event"] == "epoch")
        notes = [event["text"] for event in events if event["event"] == "warning"]
        if method.init_from:
            before = self.row(method.init_from)
            seconds, seen = seconds + before.seconds, seen + before.images
        as_images, as_labels = self.scored(name)
        found = {}
        for local, metric in (
            (as_images, "map_at_20"),
            (as_images, "recall_at_1"),
            (as_labels, "label_map_at_5"),
        ):
            score = local.scores.by_metric[metric]
            found[metric] = score.value, score.low, score.high
        difference = None
        if method.compared_with:
            other = self.scored(method.compared_with)[0]
            difference = comparison.compare(
                other.outcomes["map_at_20"], as_images.outcomes["map_at_20"], as_images.individuals
            )
        return Row(name, named.plugin.epochs, seen, seconds, found, difference, notes)

    def scored(self, name: str) -> tuple[LocalScore, LocalScore]:
        """Return a method's holdout scores with images and with labels as answers."""
        if name not in self._scored:
            named, checkpoint, _ = self.trained(name)
            images = self.collection.labelled
            embeddings = follow(embedder.embed(named, checkpoint, images, self.workspace))
            as_images, as_labels = (
                local_score.evaluate(embeddings, self.collection.holdout, competition)
                for competition in (self.competition, self.as_labels)
            )
            self._scored[name] = as_images, as_labels
        return self._scored[name]


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name.lower())


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| method | | mAP@20 | recall@1 | MAP@5 | epochs | images | seconds | mAP@20, difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in row.scores.values()]
        lines.append(
            f"| {row.name} | {METHODS[row.name].about} | {' | '.join(cells)} | {row.epochs} "
            f"| {row.images} | {row.seconds:.0f} | {_difference_text(row)} |"
        )
    return "\n".join(lines)


def _difference_text(row: Row) -> str:
    if row.difference is None:
        return ""
    value, low, high = row.difference.value, row.difference.low, row.difference.high
    return f"{METHODS[row.name].compared_with}: {value:+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("methods", nargs="*", help="default: all")
    parser.add_argument("--images", type=int, default=19200, help="images that each method sees")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help="replace the table in this page")
    given = parser.parse_args()
    benchmark = Benchmark(given.workspace, given.images)
    rows = []
    for name in given.methods or [name for name in METHODS if name != "half triplet"]:
        began = time.perf_counter()
        rows.append(benchmark.row(name))
        print(table(rows[-1:]).splitlines()[-1], f"{time.perf_counter() - began:.0f} s", flush=True)
    if given.json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
    else:
        print("\n" + table(rows))
    if given.write:
        begin, end = "<!-- table -->\n", "\n<!-- end of table -->"
        text = given.write.read_text(encoding="utf-8")
        before, rest = text.split(begin)
        given.write.write_text(
            before + begin + table(rows) + end + rest.split(end)[1], encoding="utf-8"
        )


if __name__ == "__main__":
    main()
