"""The local score: the competition's own task and metric on the holdout."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.clusters.cluster_tree import cut_trees
from kitbox.clusters.constraints import ANCHOR, cuts_of
from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.records import Embeddings, Holdout, LabelledImages, Ranking, Scores, Search, Strings
from kitbox.retrieval.neighbour_graph import NeighbourGraph, neighbour_graphs
from kitbox.retrieval.ranking import (
    apply_thresholds,
    query_thresholds,
    rank,
    rank_images,
)
from kitbox.scoring import bootstrap, metrics, thresholds
from kitbox.scoring.cluster_cuts import fit_cuts
from kitbox.scoring.ground_truth import (
    GroundTruth,
    metric_outcome,
    pair_outcome,
    related_outcomes,
    relevance,
)
from kitbox.scoring.outcomes import BalancedAccuracy, Mean, Outcome

# The rank at which image retrieval is scored beside the competition's own metric.
_IMAGE_K = 20
# Image ids held for R-precision: 4 million of 20 letters are 320 MB.
_MAX_ANSWERS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class LocalScore:
    """Scores on the holdout with the outcomes behind them, and the thresholds for real answers.

    `outcomes` are by metric, the competition's own first. `thresholds` are group → similarity,
    empty where answers need none; by the rule "share" they are those of the holdout, and the test
    makes its own. `evidence` holds how they were fitted and what they do to the holdout.
    `individuals` are query id → individual, '' where there is none.
    """

    scores: Scores
    outcomes: dict[str, Outcome]
    thresholds: dict[str, float]
    evidence: dict[str, Any]
    individuals: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class HoldoutAnswers:
    """The answers to the holdout's queries before scoring, and their ground truth.

    `ranking` holds the answers cut at the threshold, `uncut` those before (of clusters the nearest
    image), and `limits (q,)` the threshold of each query, NaN where there is none.
    """

    graphs: tuple[NeighbourGraph, ...]
    ground_truth: GroundTruth
    ranking: Ranking
    uncut: Ranking
    limits: NDArray[np.float64]
    thresholds: dict[str, float]
    evidence: dict[str, Any]


def evaluate(
    embeddings: Embeddings,
    holdout: Holdout,
    competition: Competition,
    *,
    test_has_groups: bool = True,
) -> LocalScore:
    """Score embeddings on the holdout by the competition's metric, and by image retrieval.

    See `answer_queries` for the thresholds, `score_answers` for the metrics.
    """
    graphs = neighbour_graphs(embeddings, holdout_searches(holdout, competition))
    answers = answer_queries(graphs, holdout, competition, test_has_groups=test_has_groups)
    return score_answers(answers, competition)


def holdout_searches(holdout: Holdout, competition: Competition) -> tuple[Search, ...]:
    """Return the searches of the holdout's queries in the holdout's gallery."""
    return protocol.searches(holdout.query, holdout.gallery, competition)


def answer_queries(
    graphs: Sequence[NeighbourGraph],
    holdout: Holdout,
    competition: Competition,
    *,
    test_has_groups: bool = True,
    uncut: Ranking | None = None,
) -> HoldoutAnswers:
    """Return the answers to the holdout's queries, ranked from the graphs of its searches.

    Where a threshold is fitted on the holdout, each query is cut at one that was fitted without
    it; the thresholds returned are fitted on all. Only clusters, which queries form together, are
    cut where it is best for them. Where the test's list has no groups (`test_has_groups` false), a
    query finds the threshold of its group as a test image does: by the group of its first answer.
    `uncut` has the answers before any threshold where something else than the graphs ranks them.
    """
    searches = [graph.search for graph in graphs]
    ground_truth = GroundTruth.of_holdout(holdout, searches, competition)
    if competition.task.answers == "clusters":
        ranking, fitted, evidence = _cluster(graphs, ground_truth, competition, holdout.train)
        uncut, limits = rank_images(graphs, 1), np.full(len(ground_truth.images), np.nan)
    else:
        if uncut is None:
            uncut = rank(graphs, holdout.train, competition)
        groups = ground_truth.groups
        if competition.threshold.by_group and len(searches) == 1 and not test_has_groups:
            groups = thresholds.groups_of_answers(uncut, holdout.train)
        ranking, limits, fitted, evidence = _cut(uncut, ground_truth, groups, competition)
    return HoldoutAnswers(
        graphs=tuple(graphs),
        ground_truth=ground_truth,
        ranking=ranking,
        uncut=uncut,
        limits=limits,
        thresholds=fitted,
        evidence=evidence,
    )


def score_answers(answers: HoldoutAnswers, competition: Competition) -> LocalScore:
    """Return the scores of answers, the competition's metric first, then of image retrieval.

    Image retrieval counts the queries whose individual is elsewhere in their gallery.
    """
    ground_truth, evidence = answers.ground_truth, dict(answers.evidence)
    outcomes = answer_outcomes(answers, competition)
    if answers.thresholds:
        evidence["score"] = round(outcomes[competition.metric].value, 6)
    individuals = ground_truth.individual_of
    return LocalScore(
        scores=Scores(bootstrap.scores(outcomes, individuals)),
        outcomes=outcomes,
        thresholds=answers.thresholds,
        evidence=evidence,
        individuals=individuals,
    )


def answer_outcomes(answers: HoldoutAnswers, competition: Competition) -> dict[str, Outcome]:
    """Return the outcomes of answers by metric, in the order of `score_answers`.

    Unlike scores they have no intervals, whose resamples take longer than the answers.
    """
    ground_truth = answers.ground_truth
    own: Outcome
    if competition.task.answers == "pairs":
        own = pair_outcome(answers.graphs, ground_truth)
    else:
        own = metric_outcome(answers.ranking, ground_truth, competition)
    outcomes = {competition.metric: own}
    outcomes |= related_outcomes(answers.ranking, ground_truth, competition)
    for name, outcome in _image_outcomes(answers.graphs, ground_truth, competition).items():
        outcomes.setdefault(name, outcome)
    return outcomes


def threshold_sentences(scored: LocalScore) -> list[str]:
    """Return sentences, without capital and full stop, about the thresholds and what they do."""
    evidence = scored.evidence
    folds = evidence.get("folds", [evidence])
    scale = folds[0].get("scale", "similarity")
    sentences = [
        f"{_threshold_name(group)}: {scale} {value:.4f} ({evidence['rule']})"
        for group, value in scored.thresholds.items()
    ]
    if "score_on_the_same_queries" in evidence and evidence["rule"] in ("best", "balanced"):
        sentences.append(
            "each query was scored by a threshold fitted without it; fitted on the same queries "
            f"it would look like {evidence['score_on_the_same_queries']:.4f}"
        )
    if "answered_unknown" in evidence:
        sentences.append(
            f"{evidence['unknown']:.1%} of the queries are unknown, "
            f"{evidence['answered_unknown']:.1%} were answered so"
        )
    if "errors" in evidence:
        sentences.append(_errors_sentence(evidence["errors"], folds[0]))
        if evidence["rule"] == "best" and evidence["errors"]["mean_share"]:
            sentences.append(
                "'best' serves the competition's metric; --threshold balanced takes the least mean "
                "of both shares"
            )
    own = next(iter(scored.outcomes.values()), None)
    if isinstance(own, BalancedAccuracy):
        sentences += [
            f"the holdout{f' of {group}' if group else ''} has no query of {lacks} individuals and "
            "is scored by the others alone; a leaderboard scores such a set 0"
            for group, lacks in own.one_sided_groups.items()
        ]
    sentences += [_unknown_sentence(fold["new_label"]) for fold in folds if "new_label" in fold]
    if any(fold.get("fitted_on_the_same_queries") for fold in folds):
        sentences.append(
            "the clusters were scored at the cut that is best for the same queries: it flatters"
        )
    if "clusters" in evidence:
        anchored = f", {evidence['anchored']} queries anchored" if "anchored" in evidence else ""
        sentences.append(
            f"{evidence['clusters']} clusters of {evidence['individuals']} individuals{anchored}"
        )
    if "agreement" in evidence:
        sentences.append(_agreement_sentence(evidence["agreement"], evidence["rule"]))
    return sentences


def _threshold_name(group: str) -> str:
    kind = "threshold of anchors" if group.startswith(ANCHOR) else "threshold"
    name = group.removeprefix(ANCHOR)
    return f"{kind}{' in' if kind != 'threshold' else ' of'} {name}" if name else kind


def _agreement_sentence(agreement: dict[str, dict[str, float]], rule: str) -> str:
    """Return a sentence about clusters cut by either measure of agreement."""
    used, other = ("ami", "ari") if rule == "ami" else ("ari", "ami")
    numbers = {
        name: f"ARI {values['ari']:.4f} and AMI {values['ami']:.4f}"
        for name, values in agreement.items()
    }
    option = "ami" if other == "ami" else "best"
    return (
        f"cut where {used.upper()} is best: {numbers[used]}; where {other.upper()} is best "
        f"(--threshold {option}): {numbers[other]}"
    )


def _cut(
    uncut: Ranking, ground_truth: GroundTruth, groups: Strings, competition: Competition
) -> tuple[Ranking, NDArray[np.float64], dict[str, float], dict[str, Any]]:
    """Return the answers cut by the rule of thresholds, each query's threshold, and how."""
    if not competition.uses_threshold:
        return uncut, np.full(len(uncut.query_ids), np.nan), {}, {}
    of_query = thresholds.groups_of(groups, competition)
    rule = competition.threshold
    match rule.rule:
        case "best" | "ami" | "balanced":
            fitted = thresholds.fit_best(uncut, ground_truth, competition, groups)
            limits = thresholds.cross_fit(uncut, ground_truth, competition, groups)
        case "share":
            assert rule.share is not None  # noqa: S101  checked with the settings
            fitted = thresholds.fit_share(uncut, groups, rule.share, competition)
            limits = query_thresholds(fitted, of_query)
        case "fixed":
            assert rule.similarity is not None  # noqa: S101  checked with the settings
            fitted = {"": rule.similarity}
            limits = query_thresholds(fitted, of_query)
    ranking = apply_thresholds(uncut, limits, competition)
    flattered = apply_thresholds(uncut, query_thresholds(fitted, of_query), competition)
    on_same_queries = metric_outcome(flattered, ground_truth, competition).value
    evidence = _evidence(competition, fitted, ground_truth)
    evidence |= {"score_on_the_same_queries": round(on_same_queries, 6)}
    first = thresholds.FirstAnswers.of_ranking(uncut, ground_truth, competition)
    evidence |= {"errors": first.errors(limits)}
    return ranking, limits, fitted, evidence | _shares(ranking, ground_truth, competition)


def _cluster(
    graphs: Sequence[NeighbourGraph],
    ground_truth: GroundTruth,
    competition: Competition,
    labelled: LabelledImages,
) -> tuple[Ranking, dict[str, float], dict[str, Any]]:
    """Return the cluster of each query, the similarities at which trees are cut, and how."""
    searches = [graph.search for graph in graphs]
    cuts = fit_cuts(graphs, ground_truth, competition, labelled)
    ranking = cut_trees(cuts.trees, searches, cuts.thresholds)
    individuals = set(ground_truth.identity.tolist()) - {""}
    evidence: dict[str, Any] = {
        "clusters": len(np.unique(ranking.answers[:, 0])),
        "individuals": len(individuals),
    }
    if competition.threshold.rule in ("best", "ami", "balanced"):
        evidence["fitted_on_the_same_queries"] = True
    names = np.concatenate([np.full(len(search.query_ids), search.name) for search in searches])
    first = thresholds.FirstAnswers.of_trees(cuts.trees, searches, ground_truth, competition)
    evidence["errors"] = first.errors(query_thresholds(cuts_of(cuts.thresholds), names))
    evidence |= cuts.evidence
    return (
        ranking,
        cuts.thresholds,
        _evidence(competition, cuts.thresholds, ground_truth) | evidence,
    )


def _evidence(
    competition: Competition, fitted: dict[str, float], ground_truth: GroundTruth
) -> dict[str, Any]:
    scale = competition.task.similarity_name
    return ({} if scale == "similarity" else {"scale": scale}) | {
        "rule": competition.threshold.rule,
        "thresholds": {name: round(value, 6) for name, value in fitted.items()},
        "queries": len(ground_truth.query_ids),
    }


def _shares(
    ranking: Ranking, ground_truth: GroundTruth, competition: Competition
) -> dict[str, float]:
    """Return the shares of queries that are unknown, and that were answered so.

    Of matches, the share of queries that have as few as the competition allows.
    """
    if competition.task.answers == "matches":
        fewest = max(competition.task.min_answers, int(competition.task.with_itself))
        alone = (ranking.answers != "").sum(axis=1) <= fewest
        return {"with_fewest_matches": round(float(alone.mean()), 4)}
    unknown = competition.images.unknown_label
    return {
        "unknown": round(float((ground_truth.expected == unknown).mean()), 4),
        "answered_unknown": round(float((ranking.answers[:, 0] == unknown).mean()), 4),
    }


def _image_outcomes(
    graphs: Sequence[NeighbourGraph], ground_truth: GroundTruth, competition: Competition
) -> dict[str, Outcome]:
    """Return image metrics of the queries whose individual occurs elsewhere in the gallery."""
    task = competition.task
    ranks = {_IMAGE_K, task.k} if task.answers == "images" else {_IMAGE_K}
    relevant = ground_truth.relevant - (1 if task.with_itself else 0)
    answerable = np.flatnonzero(relevant > 0)
    if not len(answerable):
        return {}
    most = int(relevant.max())
    # R-precision looks at as many answers as there are relevant images
    whole = most <= _MAX_ANSWERS // len(ground_truth.query_ids)
    ranking = rank_images(graphs, max(most if whole else 1, *ranks))
    hits, relevant = relevance(ranking, ground_truth)[answerable], relevant[answerable]
    ids = ground_truth.query_ids[answerable]
    recalls = sorted({1, 5, *ranks})
    values = {
        f"map_at_{n}": metrics.average_precision_at_k(hits, relevant, n) for n in sorted(ranks)
    }
    values |= {f"recall_at_{n}": metrics.recall_at_k(hits, n) for n in recalls}
    if whole:
        values["r_precision"] = metrics.r_precision(hits, relevant)
    return {name: Mean(ids, value) for name, value in values.items()}


def _errors_sentence(errors: dict[str, Any], evidence: dict[str, Any]) -> str:
    """Return a sentence about both errors of a threshold, in the words of the task's answers."""
    if "clusters" in evidence:
        kinds = ("photographs with others of their individual", "without others")
        wrong = ("stay alone", "join others")
    elif "with_fewest_matches" in evidence:
        kinds, wrong = ("queries with a match", "without one"), ("get none", "get one")
    else:
        kinds = ("queries of known individuals", "of unknown ones")
        wrong = ("are answered as unknown", "as known")
    known, unknown = errors["known_queries"], errors["unknown_queries"]
    first = _share_of(errors["known_answered_unknown"], known)
    second = _share_of(errors["unknown_answered_known"], unknown)
    sentence = f"of {known} {kinds[0]} {first} {wrong[0]}"
    if not unknown:
        return f"{sentence}; there are none {kinds[1]}"
    return f"{sentence}, of {unknown} {kinds[1]} {second} {wrong[1]}"


def _share_of(count: int, total: int) -> str:
    return f"{count} ({count / total:.1%})" if total else str(count)


def _unknown_sentence(evidence: dict[str, Any]) -> str:
    return (
        "unknown individuals are distinguished from known ones with an area under the ROC curve of "
        f"{_with_interval(evidence['auc'])}, by the first similarity alone of "
        f"{_with_interval(evidence['auc_of_similarity'])}"
    )


def _with_interval(score: dict[str, Any]) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
