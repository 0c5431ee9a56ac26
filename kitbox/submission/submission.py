"""Answers the leaderboard's queries with an ensemble, in the format of the competition."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.clusters.cluster_tree import ClusterTree, cluster_trees, cut_trees
from kitbox.clusters.constraints import constraints_of, nearest_known
from kitbox.clusters.decided_pairs import link_answers, link_graph, link_limits
from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.ensemble import combination, open_set
from kitbox.ensemble.ensemble import Ensemble, EnsembleOptions
from kitbox.ensemble.meta_embedding import MetaEmbedding, assemble
from kitbox.ensemble.neighbour_table import all_images
from kitbox.ensemble.open_set import UnknownModel
from kitbox.errors import KitboxError, counted
from kitbox.formats import csv_format, lint, lint_findings
from kitbox.fusion.fused_graphs import fuse_test
from kitbox.fusion.fusion_model import FusionModel
from kitbox.records import Progress, Ranking, Search, Strings, rows_of
from kitbox.retrieval.neighbour_graph import MeasuredRecall, NeighbourGraph, graph_stage
from kitbox.retrieval.ranking import (
    apply_thresholds,
    query_thresholds,
    reorder,
)
from kitbox.scoring import pair_similarity, thresholds
from kitbox.scoring.cluster_cuts import fit_cut_share

# Answers of each query that are kept beside the similarities of all pairs.
_BEST_PAIRS = 20


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A submission's CSV, the thresholds that were applied, and sizes.

    `queries` and `gallery` count images, `dims` are the dimensions of each member. `pairs` is how
    similarities of pairs became scores, and how many pairs have that of another pair of their
    query; `notes` are sentences about it. `index_recall` is what an index of each search's gallery
    finds of the nearest, where there is one.
    """

    text: str
    ranking: Ranking
    thresholds: dict[str, float]
    queries: int
    gallery: int
    dims: tuple[int, ...]
    pairs: dict[str, Any] | None = None
    index_recall: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


def check_top_k(options: EnsembleOptions, competition: Competition) -> None:
    """Raise KitboxError for more or fewer answers than a submission may have."""
    task, top_k = competition.task, options.top_k
    if top_k in (None, task.k):
        return
    if task.answers == "pairs":
        raise KitboxError(f"--top-k {top_k}: a submission has all of its pairs; leave it out")
    single = task.answers in ("label", "clusters")
    fewer = "fewer" in competition.submission.accepts
    least, most = (1, 1) if single else (1 if fewer else task.min_answers, task.k)
    if single or not least <= top_k <= most:
        span = f"{most}" if least == most else f"{least} to {most}"
        noun = "answer" if most == 1 else "answers"
        raise KitboxError(f"--top-k {top_k}: a submission has {span} {noun} a query; leave it out")


def unfitted_thresholds(
    options: EnsembleOptions, competition: Competition, missing: str
) -> dict[str, float]:
    """Return the thresholds of a submission without a holdout; by a share, the test gives them.

    `missing` says why there is none.

    Raises KitboxError for a rule that is fitted on the holdout.
    """
    options.check(competition)
    fitted, rule = "", competition.threshold
    if options.unknown == "learned":
        fitted = "--new-label learned"
    elif options.fusion_settings is not None:
        raise KitboxError(
            f"--match and --fusion are fitted on a holdout, and there is none: {missing}",
            fix="leave them out",
        )
    elif competition.uses_threshold and rule.rule not in ("fixed", "share"):
        fitted = f"the threshold '{rule.rule}'"
    if fitted:
        similar = "" if options.combine == "classifier" else "a similarity as --threshold 0.35, or "
        raise KitboxError(
            f"{fitted} is fitted on a holdout, and there is none: {missing}",
            fix=f"give {similar}the share of queries without an answer as --threshold 16.5%",
        )
    if competition.uses_threshold and rule.similarity is not None:
        return {"": rule.similarity}
    return {}


def make_submission(
    ensemble: Ensemble,
    fitted: dict[str, float],
    unknown_model: UnknownModel | None = None,
    fusion_model: FusionModel | None = None,
) -> Generator[Progress, None, Submission]:
    """Return the submission of an ensemble: its answers to the leaderboard's queries, as a CSV.

    Test images take the same path as the holdout. `fitted` are the thresholds, `unknown_model`
    the model of unknown queries and `fusion_model` that of a fusion, which the holdout gave; a
    classifier is fitted on all labelled images. Raises KitboxError where there are no test images,
    for a number of answers that no submission may have, for options whose model is not given, and
    where its own lint finds something.
    """
    collection, competition = ensemble.collection, ensemble.competition
    test, labelled = collection.test, collection.labelled
    if test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    check_top_k(ensemble.options, competition)
    _check_models(ensemble.options, unknown_model, fusion_model)
    image_sets = [labelled, test, *([] if collection.index is None else [collection.index])]
    gallery = protocol.leaderboard_gallery(test, labelled, collection.index, competition)
    meta: MetaEmbedding = yield from assemble(ensemble, image_sets, gallery.image_ids)
    answered: _AnsweredPairs | None = None
    used: dict[str, float] = {}
    recalls: tuple[MeasuredRecall, ...] = ()
    if competition.task.answers == "pairs":
        answered = yield from _answer_pairs(ensemble, meta, fusion_model)
        ranking, text = answered.ranking, answered.text
    else:
        graphs, recalls = yield from _search(ensemble, meta, collection.searches, fusion_model)
        ranking, used = yield from _answer(
            ensemble, meta, graphs, fitted, unknown_model, fusion_model
        )
        ranking = reorder(ranking, protocol.query_ids(collection.searches, test))
        text = csv_format.write(ranking, competition)
    findings = lint.lint(text.encode(), competition, labelled, test, collection.searches)
    errors = lint_findings.errors(findings)
    if errors:
        raise KitboxError(f"the submission would be refused: {errors[0]}")
    return Submission(
        text=text,
        ranking=ranking,
        thresholds=used,
        queries=len(ranking.query_ids),
        gallery=len(gallery),
        dims=meta.dims,
        pairs=None if answered is None else answered.evidence,
        index_recall=tuple(recall.as_json() for recall in recalls),
        notes=() if answered is None else answered.notes,
    )


def _check_models(
    options: EnsembleOptions, unknown_model: UnknownModel | None, fusion_model: FusionModel | None
) -> None:
    """Raise KitboxError for options that need a model of the holdout which is not given."""
    needed = "--new-label learned" if options.unknown == "learned" else ""
    missing = needed if unknown_model is None else ""
    if options.fusion_settings is not None and fusion_model is None:
        missing = "--match" if options.fusion is None else "--fusion"
    if missing:
        raise KitboxError(
            f"{missing} needs the model that is fitted on the holdout, and there is none here",
            fix="score the ensemble first, on one fold, and give the models of that score",
        )


@dataclass(frozen=True)
class _AnsweredPairs:
    """The scores of pairs as a CSV, the best of each query, and how they were made."""

    text: str
    ranking: Ranking
    evidence: dict[str, Any]
    notes: tuple[str, ...]


def _answer_pairs(
    ensemble: Ensemble, meta: MetaEmbedding, fusion_model: FusionModel | None
) -> Generator[Progress, None, _AnsweredPairs]:
    """Return the similarity of each pair that the competition asks for."""
    competition = ensemble.competition
    pairs = protocol.submitted_pairs(ensemble.collection.searches, competition)
    searched, _ = yield from _search(ensemble, meta, pairs.searches, fusion_model)
    graphs = [link_graph(graph, ensemble.collection.links) for graph in searched]
    yield Progress("similarities of pairs", 0, len(pairs), "pairs")
    similarity = pair_similarity.measure_pairs(graphs, pairs)
    scores: NDArray[np.float64] = similarity.astype(np.float64)
    evidence: dict[str, Any] = {"rows": len(pairs)}
    notes: list[str] = []
    if competition.submission.unit_scores:
        scaled = pair_similarity.unit_scores(similarity, probability=fusion_model is not None)
        scores = scaled.scores
        evidence |= {"scale": scaled.scale, "low": scaled.low, "high": scaled.high}
        notes.append(scaled.sentence)
    # as they are written
    scores = np.round(scores, csv_format.PAIR_DECIMALS)
    evidence["ties"] = pair_similarity.count_ties(pairs.numbered_queries, scores)
    if evidence["ties"]:
        notes.append(
            f"{counted(evidence['ties'], 'pair')} of {len(pairs)} have the similarity of another "
            "pair of their query, and count together"
        )
    queries = sum(len(search.query_ids) for search in pairs.searches)
    silent = queries - len(np.unique(pairs.numbered_queries))
    if silent:
        notes.append(
            f"{counted(silent, 'query', 'queries')} of {queries} are in no pair as a query, and "
            "have no row"
        )
    yield Progress("similarities of pairs", len(pairs), len(pairs), "pairs")
    return _AnsweredPairs(
        csv_format.write_pairs(pairs, scores, competition),
        pair_similarity.best_pairs(pairs, scores, _BEST_PAIRS),
        evidence,
        tuple(notes),
    )


def _search(
    ensemble: Ensemble,
    meta: MetaEmbedding,
    searches: Sequence[Search],
    fusion_model: FusionModel | None,
) -> Generator[Progress, None, tuple[tuple[NeighbourGraph, ...], tuple[MeasuredRecall, ...]]]:
    """Return the graphs of searches, re-ranked and fused, and what their indexes find."""
    collection, competition, options = ensemble.collection, ensemble.competition, ensemble.options
    rerank = options.reranker(collection.labelled, competition)
    graphs = yield from graph_stage(
        meta.embeddings, searches, rerank, of_images=competition.task.finds_images
    )
    recalls = tuple(recall for graph in graphs if (recall := graph.index_recall) is not None)
    settings = options.fusion_settings
    if settings is None or fusion_model is None:  # both or none: see _check_models
        return graphs, recalls
    sources = combination.signal_sources(
        ensemble, meta, graphs, all_images(collection), collection.answerable
    )
    fused = yield from fuse_test(sources, settings, fusion_model)
    return fused, recalls


def _answer(
    ensemble: Ensemble,
    meta: MetaEmbedding,
    graphs: Sequence[NeighbourGraph],
    fitted: dict[str, float],
    unknown_model: UnknownModel | None,
    fusion_model: FusionModel | None,
) -> Generator[Progress, None, tuple[Ranking, dict[str, float]]]:
    """Return the answers to the leaderboard's queries, and the thresholds that cut them."""
    collection, competition, options = ensemble.collection, ensemble.competition, ensemble.options
    searches, rule = collection.searches, competition.threshold
    labelled, used = collection.answerable, fitted
    if competition.task.answers == "clusters":
        trees = _linked_trees(graphs, collection, competition, fitted)
        if rule.rule == "share" and rule.share is not None:
            used = fit_cut_share(trees, rule.share, by_group=rule.by_group)
        return cut_trees(trees, searches, used, competition.submission.cluster_prefix), used
    blend = None if fusion_model is None else fusion_model.blend
    links = collection.links
    ranking = yield from combination.rank(
        ensemble, meta, graphs, labelled, options.top_k, blend, links
    )
    if unknown_model is not None:
        rerank = options.reranker(collection.labelled, competition)
        features = open_set.query_features(meta.blocks, searches, labelled, competition, rerank)
        ranking = unknown_model.with_probabilities(ranking, unknown_model.probability(features))
    if not competition.uses_threshold:
        return ranking, {}
    groups = np.concatenate([np.full(len(s.query_ids), s.name) for s in searches])
    if rule.by_group and len(searches) == 1:
        groups = _query_groups(ranking, searches[0], collection)
    if rule.rule == "share" and rule.share is not None:
        used = thresholds.fit_share(ranking, groups, rule.share, competition)
    limits = query_thresholds(used, thresholds.groups_of(groups, competition))
    itself = competition.task.with_itself
    limits = link_limits(limits, ranking, searches, links, with_itself=itself)
    ranking = apply_thresholds(ranking, limits, competition)
    if competition.task.answers != "matches":
        unknown = competition.images.unknown_label
        ranking = link_answers(ranking, searches, links, np.unique(labelled.labels), unknown)
    return ranking, used


def _linked_trees(
    graphs: Sequence[NeighbourGraph],
    collection: Collection,
    competition: Competition,
    fitted: Mapping[str, float],
) -> dict[str, ClusterTree]:
    """Return the trees of the queries of each search within links and anchors."""
    searches, links, task = [graph.search for graph in graphs], collection.links, competition.task
    anchors = None
    if task.anchors:
        anchors = nearest_known(graphs, collection.labelled, competition, links)
    constraints = constraints_of(searches, links, anchors, fitted)
    return cluster_trees(graphs, task.linkage, constraints)


def _query_groups(ranking: Ranking, search: Search, collection: Collection) -> Strings:
    """Return the group of each query: that of its image, or else of its first answer.

    Test lists rarely have groups; thresholds of the holdout were fitted in the same way.
    """
    test = collection.test
    if test is not None and test.groups is not None:
        return test.groups[rows_of(search.query_images, test.image_ids)]
    return thresholds.groups_of_answers(ranking, collection.labelled)
