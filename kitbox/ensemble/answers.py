"""Answers of an ensemble on the holdout, and their local score."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.ensemble import combination, members, open_set
from kitbox.ensemble.ensemble import Ensemble, EnsembleOptions
from kitbox.ensemble.members import Member, MemberSource, Whitening
from kitbox.ensemble.meta_embedding import MetaEmbedding, assemble
from kitbox.ensemble.open_set import UnknownFit, UnknownModel
from kitbox.errors import counted
from kitbox.fusion import pair_signals
from kitbox.fusion.fused_graphs import FusedHoldout, fuse_holdout
from kitbox.fusion.fusion_model import FusionModel
from kitbox.fusion.pair_set import MatcherPairs
from kitbox.records import Holdout, Progress, Scores
from kitbox.retrieval.neighbour_graph import NeighbourGraph, graph_stage
from kitbox.scoring import bootstrap, local_score, outcomes
from kitbox.scoring.ground_truth import GroundTruth
from kitbox.scoring.local_score import HoldoutAnswers, LocalScore
from kitbox.scoring.thresholds import pool_errors


@dataclass(frozen=True, kw_only=True)
class EnsembleAnswers:
    """An ensemble's answers to the holdout's queries.

    `competition` has the threshold that cut them: a probability of one half where unknown queries
    are learned (`unknown_fit`). `fused` has the model of a fusion, and how right it is.
    """

    answers: HoldoutAnswers
    meta_embedding: MetaEmbedding
    competition: Competition
    options: EnsembleOptions
    unknown_fit: UnknownFit | None = None
    fused: FusedHoldout | None = None

    @property
    def scale(self) -> str:
        """The name of what answers are ranked and cut by."""
        return self.options.scale or self.competition.task.similarity_name

    def score(self) -> LocalScore:
        """Return the local score; its evidence has how well unknown queries are recognised."""
        scored = local_score.score_answers(self.answers, self.competition)
        evidence = dict(scored.evidence)
        if evidence and self.options.scale is not None:
            evidence["scale"] = self.options.scale
        if self.unknown_fit is not None:
            evidence["new_label"] = self.unknown_fit.evidence
        return replace(scored, evidence=evidence)


@dataclass(frozen=True)
class EnsembleScore:
    """A local score, the dimensions of each member's block, and the models that were fitted.

    Those are of unknown queries, and of a fusion. `fusions` say of each fold how right its fused
    probabilities are.
    """

    score: LocalScore
    dims: tuple[int, ...]
    unknown_model: UnknownModel | None = None
    fusion_model: FusionModel | None = None
    fusions: tuple[dict[str, Any], ...] = ()


def score(ensemble: Ensemble) -> Generator[Progress, None, EnsembleScore]:
    """Return the local score of an ensemble whose members have not seen the holdout."""
    answered = yield from answer_holdout(ensemble)
    fit, fused = answered.unknown_fit, answered.fused
    return EnsembleScore(
        answered.score(),
        answered.meta_embedding.dims,
        None if fit is None else fit.model,
        None if fused is None else fused.model,
        () if fused is None else (fused.evidence,),
    )


def score_plugins(
    setup: Ensemble,
    sources: Sequence[MemberSource],
    weights: Sequence[float] | None = None,
    which: str = "last",
    *,
    whitening: Whitening = None,
    fold: int = 1,
) -> Generator[Progress | str, None, tuple[list[Member], EnsembleScore]]:
    """Return plugins as members that have not seen the holdout, and their local score.

    `setup` has no members yet; `fold` is that of its collection. Yields warnings about checkpoints,
    and about a fixed threshold.
    """
    chosen = members.for_holdout(
        setup.workspace,
        sources,
        weights,
        setup.collection,
        which,
        whitening=whitening,
        fold=fold,
    )
    yield from members.checkpoint_warnings(chosen)
    setup.options.check(setup.competition)
    if note := setup.options.threshold_note(setup.competition):
        yield note
    found = yield from score(replace(setup, members=chosen))
    return chosen, found


def answer_holdout(ensemble: Ensemble) -> Generator[Progress, None, EnsembleAnswers]:
    """Return the answers of an ensemble whose members have not seen the holdout.

    A classifier is fitted on the holdout's training side alone, a model of unknown queries on the
    other queries, and a fusion on pairs of other individuals. Raises KitboxError for options that
    do not fit the competition.
    """
    options, competition = ensemble.options, ensemble.competition
    options.check(competition)
    collection, holdout = ensemble.collection, ensemble.collection.require_holdout()
    meta, graphs = yield from _search_holdout(ensemble)
    searches = [graph.search for graph in graphs]
    rerank = options.reranker(holdout.train, competition)
    uncut = unknown_fit = fused = None
    settings = options.fusion_settings
    if settings is not None:
        sources = combination.signal_sources(
            ensemble, meta, graphs, collection.labelled, holdout.train
        )
        fused = yield from fuse_holdout(
            sources, settings, _labels_of(holdout), competition.images.unknown_label
        )
        graphs = fused.graphs
    if settings is not None and fused is not None and settings.method.blend is not None:
        ground_truth = GroundTruth.of_holdout(holdout, searches, competition)
        uncut, blend = yield from combination.rank_blended(
            ensemble, meta, graphs, holdout.train, ground_truth, settings.method.blend
        )
        fused = replace(fused, model=replace(fused.model, blend=blend))
    elif not options.plain:
        uncut = yield from combination.rank(ensemble, meta, graphs, holdout.train)
    yield from _balance_trust(options, holdout, competition)
    if uncut is not None and options.unknown == "learned":
        ground_truth = GroundTruth.of_holdout(holdout, searches, competition)
        features = open_set.query_features(
            meta.blocks, searches, holdout.train, competition, rerank
        )
        unknown_fit = open_set.cross_fit(uncut, features, ground_truth, competition)
        uncut, competition = unknown_fit.ranking, open_set.at_even_odds(competition)
    answers = local_score.answer_queries(
        graphs, holdout, competition, test_has_groups=collection.test_has_groups, uncut=uncut
    )
    return EnsembleAnswers(
        answers=answers,
        meta_embedding=meta,
        competition=competition,
        options=options,
        unknown_fit=unknown_fit,
        fused=fused,
    )


def pairs_to_match(ensemble: Ensemble) -> Generator[Progress, None, MatcherPairs]:
    """Return the holdout's pairs that each matcher of an ensemble looks at, without matching any.

    Raises KitboxError for options that do not fit the competition.
    """
    settings = ensemble.options.fusion_settings
    if settings is None or not settings.matchers:
        return {}
    ensemble.options.check(ensemble.competition)
    _, graphs = yield from _search_holdout(ensemble)
    return pair_signals.pairs_to_match(graphs, settings.method, settings.matchers)


def _search_holdout(
    ensemble: Ensemble,
) -> Generator[Progress, None, tuple[MetaEmbedding, tuple[NeighbourGraph, ...]]]:
    """Return the meta-embeddings of the labelled images, and the holdout's graphs, re-ranked."""
    collection, holdout = ensemble.collection, ensemble.collection.require_holdout()
    meta = yield from assemble(ensemble, [collection.labelled], holdout.gallery.image_ids)
    searches = local_score.holdout_searches(holdout, ensemble.competition)
    rerank = ensemble.options.reranker(holdout.train, ensemble.competition)
    graphs = yield from graph_stage(
        meta.embeddings, searches, rerank, of_images=ensemble.competition.task.finds_images
    )
    return meta, graphs


def _labels_of(holdout: Holdout) -> dict[str, str]:
    """Return the label of each image of the holdout's gallery and queries."""
    sides = (holdout.gallery, holdout.query)
    return {
        image: label
        for side in sides
        for image, label in zip(side.image_ids.tolist(), side.labels.tolist(), strict=True)
    }


def _balance_trust(
    options: EnsembleOptions, holdout: Holdout, competition: Competition
) -> Generator[Progress, None, None]:
    """Tell how many labels have a query on the holdout, which decides what its score is worth."""
    if options.balance is None:
        return
    unnamed = ["", competition.images.unknown_label or ""]
    labels = np.setdiff1d(holdout.train.labels, unnamed)
    asked = int(np.isin(labels, holdout.query_answers).sum())
    if asked < len(labels):
        unknown = int(np.isin(holdout.query_answers, unnamed).sum())
        notice = (
            f"on the holdout {asked} of {counted(len(labels), 'label')} have a query, and "
            f"{unknown} of {len(holdout.query)} queries show an unknown individual; if the test "
            "differs in this, the score says little about the balance"
        )
        yield Progress("balance", asked, len(labels), combination.BALANCED, notice=notice)


def pool_folds(folds: Sequence[EnsembleScore]) -> EnsembleScore:
    """Return the score over the queries of several folds; thresholds are the mean of theirs."""
    if len(folds) == 1:
        return folds[0]
    scores = [fold.score for fold in folds]
    shared = [name for name in scores[0].outcomes if all(name in s.outcomes for s in scores)]
    pooled = {name: outcomes.pool([s.outcomes[name] for s in scores]) for name in shared}
    thresholds = {
        group: float(np.mean([s.thresholds[group] for s in scores if group in s.thresholds]))
        for group in sorted({group for s in scores for group in s.thresholds})
    }
    evidence: dict[str, Any] = {}
    if thresholds:
        evidence = {"rule": scores[0].evidence["rule"], "folds": [s.evidence for s in scores]}
        errors = [fold.evidence["errors"] for fold in scores if "errors" in fold.evidence]
        evidence |= {"errors": pool_errors(errors)} if len(errors) == len(scores) else {}
    individuals = {query: label for s in scores for query, label in s.individuals.items()}
    score = LocalScore(
        scores=Scores(bootstrap.scores(pooled, individuals)),
        outcomes=pooled,
        thresholds=thresholds,
        evidence=evidence,
        individuals=individuals,
    )
    fusions = tuple(evidence for fold in folds for evidence in fold.fusions)
    return EnsembleScore(score, folds[0].dims, fusions=fusions)
