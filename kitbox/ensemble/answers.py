"""Split."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.embedding import embedder
from kitbox.ensemble import fusion, open_set
from kitbox.ensemble.fusion import Way
from kitbox.ensemble.members import Member
from kitbox.ensemble.meta_embedding import MetaEmbedding, assemble
from kitbox.ensemble.open_set import UnknownFit, UnknownModel
from kitbox.records import Embeddings, Progress, Scores
from kitbox.retrieval.neighbour_graph import neighbour_graphs
from kitbox.scoring import bootstrap, local_score, outcomes
from kitbox.scoring.ground_truth import GroundTruth
from kitbox.scoring.local_score import HoldoutAnswers, LocalScore
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class EnsembleOptions:
    """How embeddings become answers, beside the members."""

    whiten: int | None = None
    top_k: int | None = None  # None: the competition's k
    way: Way = field(default_factory=Way)


@dataclass(frozen=True)
class EnsembleAnswers:
    """What an ensemble answers on the holdout, and what a scorer needs of it.

    `competition` is the one that decides: where new labels are judged, at a chance.
    """

    found: HoldoutAnswers
    embeddings: Embeddings
    dims: tuple[int, ...]
    competition: Competition
    way: Way
    judged: UnknownFit | None = None

    @property
    def scale(self) -> str:
        """What answers are ranked and cut by."""
        return self.way.scale or self.competition.task.similarity_name

    def score(self) -> LocalScore:
        """Return the local score, with how new labels were judged among its evidence."""
        scored = local_score.score_answers(self.found, self.competition)
        evidence = dict(scored.evidence)
        if evidence and self.way.scale is not None:
            evidence["scale"] = self.way.scale
        if self.judged is not None:
            evidence["new_label"] = self.judged.evidence
        return replace(scored, evidence=evidence)


@dataclass(frozen=True)
class EnsembleScore:
    """A local score, the dimensions of each member's block, and what judges new labels if any."""

    score: LocalScore
    dims: tuple[int, ...]
    judge: UnknownModel | None = None


def answer_holdout(
    members: Sequence[Member],
    recipe: EnsembleOptions,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: embedder.EmbedOptions,
) -> Generator[Progress, None, EnsembleAnswers]:
    """Return what an ensemble answers on the holdout, which its members have not seen.

    A classifier learns from the holdout's training side alone, and what judges new labels from
    the other queries. Raises KitboxError for a recipe that the competition has no use for.
    """
    recipe.way.check(competition)
    holdout = collection.holdout
    assembled: MetaEmbedding = yield from assemble(
        members,
        [collection.labelled],
        holdout.gallery.image_ids,
        collection,
        workspace,
        whiten=recipe.whiten,
        options=options,
    )
    uncut = judged = None
    searches = local_score.holdout_searches(holdout, competition)
    if recipe.way != Way():
        uncut = yield from fusion.rank(
            assembled, recipe.way, searches, holdout.train, competition, device=options.device
        )
        if recipe.way.new_label == "learned":
            ground_truth = GroundTruth.of_holdout(holdout, searches, competition)
            features = open_set.query_features(
                assembled.blocks, searches, holdout.train, competition
            )
            judged = open_set.cross_fit(uncut, features, ground_truth, competition)
            uncut, competition = judged.ranking, open_set.at_even_odds(competition)
    found = local_score.answer_queries(
        neighbour_graphs(assembled.embeddings, searches),
        holdout,
        competition,
        test_has_groups=collection.test_has_groups,
        uncut=uncut,
    )
    return EnsembleAnswers(
        found, assembled.embeddings, assembled.dims, competition, recipe.way, judged
    )


def score(
    members: Sequence[Member],
    recipe: EnsembleOptions,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: embedder.EmbedOptions,
) -> Generator[Progress, None, EnsembleScore]:
    """Return the local score of an ensemble whose members have not seen the holdout."""
    made = yield from answer_holdout(members, recipe, collection, competition, workspace, options)
    return EnsembleScore(
        made.score(), made.dims, None if made.judged is None else made.judged.model
    )


def pool_folds(folds: Sequence[EnsembleScore]) -> EnsembleScore:
    """Return the score over the queries of several folds; thresholds are the mean of theirs."""
    if len(folds) == 1:
        return folds[0]
    scores = [fold.score for fold in folds]
    shared = [name for name in scores[0].outcomes if all(name in s.outcomes for s in scores)]
    joined = {name: outcomes.pool([s.outcomes[name] for s in scores]) for name in shared}
    fitted = {
        group: float(np.mean([s.thresholds[group] for s in scores if group in s.thresholds]))
        for group in sorted({group for s in scores for group in s.thresholds})
    }
    evidence: dict[str, Any] = {}
    if fitted:
        evidence = {"rule": scores[0].evidence["rule"], "folds": [s.evidence for s in scores]}
    individuals = {query: who for s in scores for query, who in s.individuals.items()}
    by_metric = {name: bootstrap.score(o, individuals) for name, o in joined.items()}
    found = LocalScore(
        scores=Scores(by_metric),
        outcomes=joined,
        thresholds=fitted,
        evidence=evidence,
        individuals=individuals,
    )
    return EnsembleScore(found, folds[0].dims)
