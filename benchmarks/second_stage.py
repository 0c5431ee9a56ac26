"""Gain of the second stages of the tenth-place humpback ensemble over a plain meta-embedding.

    python benchmarks/second_stage.py --workspace DIR PLUGIN PLUGIN [...] [--fold 1]

Every variant is scored on the queries of the holdout. Each line has its paired difference from the
first variant, with a 95 % interval over individuals.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from kitbox.cli.terminal import follow, load_collection, open_workspace
from kitbox.embedding.embedder import EmbedOptions
from kitbox.ensemble import answers, members
from kitbox.ensemble.ensemble import Ensemble, EnsembleOptions
from kitbox.plugin import discovery
from kitbox.scoring import comparison


@dataclass(frozen=True)
class Variant:
    """A line of the table: the label similarity and the settings of the ensemble."""

    name: str
    similarity: str = "best"
    options: EnsembleOptions = EnsembleOptions()  # noqa: RUF009  a frozen value


VARIANTS = (
    Variant("meta-embedding, nearest image of a label"),
    Variant("meta-embedding, closeness", "closeness"),
    Variant("labels, nearest image", options=EnsembleOptions(combine="labels")),
    Variant("labels, closeness", "closeness", options=EnsembleOptions(combine="labels")),
    Variant("classifier", options=EnsembleOptions(combine="classifier")),
    Variant("classifier, 256 dimensions", options=EnsembleOptions(combine="classifier", dims=256)),
    Variant("meta-embedding, learned new label", options=EnsembleOptions(unknown="learned")),
    Variant(
        "labels, learned new label", options=EnsembleOptions(combine="labels", unknown="learned")
    ),
    Variant(
        "classifier, learned new label",
        options=EnsembleOptions(combine="classifier", unknown="learned"),
    ),
    Variant("meta-embedding, whitened to 256", options=EnsembleOptions(whiten=256)),
    Variant("the same, learned new label", options=EnsembleOptions(unknown="learned", whiten=256)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("plugins", nargs="+")
    given = parser.parse_args()
    place, competition = open_workspace(given.workspace)
    collection = load_collection(place, competition, given.fold)
    plugins = [discovery.load(name, place) for name in given.plugins]
    chosen = members.for_holdout(place, plugins, None, collection, fold=given.fold)
    print(f"| variant | {competition.metric} | minus the first | ROC AUC of unknown | seconds |")
    print("|---|---|---|---|---|")
    plain = None
    for variant in VARIANTS:
        task = competition.task.model_copy(update={"label_similarity": variant.similarity})
        changed = competition.model_copy(update={"task": task})
        ensemble = Ensemble(
            members=chosen,
            collection=collection,
            competition=changed,
            workspace=place,
            options=variant.options,
            embed_options=EmbedOptions(workers=0),
        )
        begun = time.perf_counter()
        found = follow(answers.score(ensemble)).score
        seconds = time.perf_counter() - begun
        own = found.outcomes[competition.metric]
        plain = plain or own
        difference = comparison.compare(plain, own, found.individuals)
        main_score, learned = found.scores.main, found.evidence.get("new_label")
        area = "" if learned is None else bracketed(**learned["auc"])
        if learned is not None:
            area += f", by similarity {bracketed(**learned['auc_of_similarity'])}"
        score = bracketed(main_score.value, main_score.low, main_score.high)
        gain = bracketed(difference.value, difference.low, difference.high)
        print(f"| {variant.name} | {score} | {gain} | {area} | {seconds:.1f} |")


def bracketed(value: float, low: float, high: float, **_: object) -> str:
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
