"""Reliability of local scores: they are compared with the scores on hidden tests.

    python benchmarks/trust.py --workspace DIR PLUGIN [PLUGIN ...] [--whiten 256] [--worlds 16]

The plugins should be frozen (epochs=0), so that they have not been trained on the hidden tests. In
each of the simulated worlds, kitbox's own split hides a test from the labelled images, with the
share of unknown individuals in kitbox.toml. A holdout is split off the rest, and its score is
compared with the score on the hidden test, whose threshold comes from the holdout. Prints the mean
difference and its root mean square for several holdouts.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from kitbox.cli.terminal import follow, open_workspace
from kitbox.competition import holdout, protocol
from kitbox.competition.settings import Competition
from kitbox.dataset.collection import collect
from kitbox.ensemble import members
from kitbox.ensemble.ensemble import Ensemble, EnsembleOptions
from kitbox.ensemble.meta_embedding import assemble
from kitbox.plugin import discovery
from kitbox.records import Embeddings, Holdout
from kitbox.retrieval.neighbour_graph import neighbour_graphs
from kitbox.retrieval.ranking import apply_thresholds, query_thresholds, rank
from kitbox.scoring import thresholds
from kitbox.scoring.ground_truth import GroundTruth, metric_outcome

HIDDEN_SHARE = 0.27  # of the images of known individuals, as in the humpback data
HOLDOUTS: dict[str, dict[str, Any]] = {
    "share 0.2": {},
    "share 0.1": {"share": 0.1},
    "share 0.3": {"share": 0.3},
    "share 0.2, frequency_power 0.5": {"frequency_power": 0.5},
    "share 0.2, frequency_power 2": {"frequency_power": 2.0},
    "share 0.2, no unknown": {"unknown_share": 0.0},
}


def with_holdout(competition: Competition, **changes: Any) -> Competition:
    changed = competition.holdout.model_copy(update=changes)
    return competition.model_copy(update={"holdout": changed})


def scored(
    embeddings: Embeddings,
    split: Holdout,
    competition: Competition,
    fitted: dict[str, float] | None = None,
) -> tuple[float, dict[str, float]]:
    """Return the competition's metric and the thresholds, which are fitted unless given."""
    searches = protocol.searches(split.query, split.gallery, competition)
    known = GroundTruth.of_holdout(split, searches, competition)
    ranking = rank(neighbour_graphs(embeddings, searches), split.train, competition)
    if competition.uses_threshold:
        if fitted is None:
            fitted = thresholds.fit_best(ranking, known, competition)
            limits = thresholds.cross_fit(ranking, known, competition)
        else:
            names = thresholds.groups_of(known.groups, competition)
            limits = query_thresholds(fitted, names)
        ranking = apply_thresholds(ranking, limits, competition)
    return metric_outcome(ranking, known, competition).value, fitted or {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--whiten", type=int)
    parser.add_argument("--worlds", type=int, default=16)
    parser.add_argument(
        "--drawn-by", type=float, default=1.0, help="frequency_power of the hidden test"
    )
    parser.add_argument("plugins", nargs="+")
    given = parser.parse_args()
    workspace, competition = open_workspace(given.workspace)
    collection = follow(collect(workspace, competition))
    plugins = [discovery.load(name, workspace) for name in given.plugins]
    chosen = members.for_holdout(workspace, plugins, None, collection)
    labelled, units = collection.labelled, collection.units
    ensemble = Ensemble(
        members=chosen,
        collection=collection,
        competition=competition,
        workspace=workspace,
        options=EnsembleOptions(whiten=given.whiten),
    )
    embeddings = follow(assemble(ensemble, [labelled], labelled.image_ids)).embeddings
    differences: dict[str, list[float]] = {name: [] for name in HOLDOUTS}
    hidden_scores = []
    for world in range(given.worlds):
        hidden = holdout.split(
            labelled,
            with_holdout(
                competition, share=HIDDEN_SHARE, frequency_power=given.drawn_by, seed=1000 + world
            ),
            units,
        )
        rest = np.isin(labelled.image_ids, hidden.train.image_ids)
        for name, changes in HOLDOUTS.items():
            local = holdout.split(
                hidden.train, with_holdout(competition, seed=world, **changes), units[rest]
            )
            value, fitted = scored(embeddings, local, competition)
            true, _ = scored(embeddings, hidden, competition, fitted)
            differences[name].append(value - true)
            if name == "share 0.2":
                hidden_scores.append(true)
    print(f"{competition.metric} of {given.worlds} hidden tests: {np.mean(hidden_scores):.3f}")
    print("| holdout | local minus hidden | root mean square |")
    print("|---|---|---|")
    for name, found in differences.items():
        rms = float(np.sqrt(np.mean(np.square(found))))
        print(f"| {name} | {np.mean(found):+.3f} | {rms:.3f} |")


if __name__ == "__main__":
    main()
