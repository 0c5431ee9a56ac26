"""The local score: the competition's own task, asked of the holdout."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.records import Embeddings, Holdout, Ranking, Scores, Search, Strings, strings
from kitbox.retrieval import ranking as ranking_module
from kitbox.scoring import ground_truth, metrics, thresholds
from kitbox.scoring.bootstrap import score
from kitbox.scoring.ground_truth import GroundTruth
from kitbox.scoring.outcomes import Mean, Outcome

# Ranks at which image retrieval is reported beside the competition's own metric.
_IMAGE_K = 20
# Names of answers held for R-precision: 4 million of 20 letters are 320 MB.
_MOST_ANSWERS = 4_000_000


@dataclass(frozen=True)
class LocalScore:
    """Scores on the holdout with the outcomes behind them, and the thresholds for real answers.

    `outcomes` are by metric, the competition's own first. `thresholds` are group → similarity,
    empty where answers need none; by the rule "share" they are those of the holdout, and the test
    makes its own. `evidence` says how they were found and what they do to the holdout.
    `individuals` are query id → individual, '' for nobody in particular.
    """

    scores: Scores
    outcomes: dict[str, Outcome]
    thresholds: dict[str, float]
    evidence: dict[str, Any]
    individuals: dict[str, str]


@dataclass(frozen=True)
class HoldoutAnswers:
    """The holdout's queries with the answers that are scored, and what a scorer knows of them.

    `ranking` holds the answers after the threshold, `plain` those before it (of clusters the
    nearest image), and `limits (q,)` the threshold of each query, NaN where there is none.
    """

    searches: tuple[Search, ...]
    known: GroundTruth
    ranking: Ranking
    plain: Ranking
    limits: NDArray[np.float64]
    thresholds: dict[str, float]
    evidence: dict[str, Any]


def evaluate(
    embeddings: Embeddings,
    holdout: Holdout,
    competition: Competition,
    *,
    test_has_groups: bool = True,
    ranking: Ranking | None = None,
) -> LocalScore:
    """Score embeddings on the holdout by the competition's metric, and by image retrieval.

    The competition's metric comes first. Where a threshold is fitted on the holdout, each query
    is scored by one that was fitted without it; the thresholds returned are fitted on all. Only
    clusters, which queries make together, are scored at the cut that is best for them. Where the
    test's list has no groups (`test_has_groups` false), a query finds the threshold of its group
    as a test image does: by the group of its first answer.
    Image retrieval counts the queries whose individual is elsewhere in their gallery.
    Where labels are ranked by something else than the embeddings, `ranking` has the answers before
    any threshold, in the order of the competition's searches.
    """
    found = answer_queries(
        embeddings, holdout, competition, test_has_groups=test_has_groups, ranking=ranking
    )
    return score_answers(found, embeddings, competition)


def score_answers(
    found: HoldoutAnswers, embeddings: Embeddings, competition: Competition
) -> LocalScore:
    """Return the scores of answers, and of image retrieval by the embeddings behind them."""
    known, evidence = found.known, dict(found.evidence)
    own = ground_truth.outcome(found.ranking, known, competition)
    outcomes = {competition.metric: own} | ground_truth.related_outcomes(
        found.ranking, known, competition
    )
    if found.thresholds:
        evidence["score"] = round(own.value, 6)
    for name, outcome in _by_image(embeddings, found.searches, known, competition).items():
        outcomes.setdefault(name, outcome)
    individuals = known.individual_of
    scores = Scores({name: score(outcome, individuals) for name, outcome in outcomes.items()})
    return LocalScore(scores, outcomes, found.thresholds, evidence, individuals)


def answer_queries(
    embeddings: Embeddings,
    holdout: Holdout,
    competition: Competition,
    *,
    test_has_groups: bool = True,
    ranking: Ranking | None = None,
) -> HoldoutAnswers:
    """Return the answers to the holdout's queries as `evaluate` scores them."""
    searches = protocol.searches(holdout.query, holdout.gallery, competition)
    known = ground_truth.of_holdout(holdout, searches, competition)
    if competition.task.answers == "clusters":
        cut, found, evidence = _clustered(embeddings, searches, known, competition)
        plain, limits = (
            ranking_module.rank_images(embeddings, searches, 1),
            np.full(len(known.images), np.nan),
        )
        return HoldoutAnswers(searches, known, cut, plain, limits, found, evidence)
    plain = ranking or ranking_module.rank(embeddings, searches, holdout.train, competition)
    groups = known.groups
    if competition.threshold.by_group and len(searches) == 1 and not test_has_groups:
        groups = thresholds.groups_of_answers(plain, holdout.train)
    decided, limits, found, evidence = _decided(plain, known, groups, competition)
    return HoldoutAnswers(searches, known, decided, plain, limits, found, evidence)


def _decided(
    ranking: Ranking, known: GroundTruth, groups: Strings, competition: Competition
) -> tuple[Ranking, NDArray[np.float64], dict[str, float], dict[str, Any]]:
    if not competition.uses_threshold:
        return ranking, np.full(len(ranking.query_ids), np.nan), {}, {}
    names = thresholds.groups_of(groups, competition)
    rule = competition.threshold
    match rule.rule:
        case "best":
            found = thresholds.fit_best(ranking, known, competition, groups)
            limits = thresholds.cross_fit(ranking, known, competition, groups)
        case "share":
            assert rule.share is not None  # noqa: S101  checked with the settings
            found = thresholds.fit_share(ranking, groups, rule.share, competition)
            limits = ranking_module.query_thresholds(found, names)
        case "fixed":
            assert rule.similarity is not None  # noqa: S101  checked with the settings
            found = {"": rule.similarity}
            limits = ranking_module.query_thresholds(found, names)
    decided = ranking_module.apply_thresholds(ranking, limits, competition)
    plain = ranking_module.apply_thresholds(
        ranking, ranking_module.query_thresholds(found, names), competition
    )
    evidence = _evidence(competition, found, known) | {
        "score_on_the_same_queries": round(ground_truth.outcome(plain, known, competition).value, 6)
    }
    return decided, limits, found, evidence | _shares(decided, known, competition)


def _clustered(
    embeddings: Embeddings,
    searches: tuple[Search, ...],
    known: GroundTruth,
    competition: Competition,
) -> tuple[Ranking, dict[str, float], dict[str, Any]]:
    trees = ranking_module.cluster_trees(embeddings, searches)
    rule = competition.threshold
    match rule.rule:
        case "best":
            found = thresholds.fit_best_cut(trees, searches, known, competition)
        case "share":
            assert rule.share is not None  # noqa: S101  checked with the settings
            found = thresholds.fit_cut_share(trees, rule.share, by_group=rule.by_group)
        case "fixed":
            assert rule.similarity is not None  # noqa: S101  checked with the settings
            found = {"": rule.similarity}
    ranking = ranking_module.cut_trees(trees, searches, found)
    clusters = len(np.unique(ranking.answers[:, 0]))
    evidence = {"clusters": clusters, "individuals": len(set(known.identity.tolist()) - {""})}
    if rule.rule == "best":
        evidence["fitted_on_the_same_queries"] = True
    return ranking, found, _evidence(competition, found, known) | evidence


def _evidence(
    competition: Competition, found: dict[str, float], known: GroundTruth
) -> dict[str, Any]:
    scale = competition.task.similarity_name
    return ({} if scale == "similarity" else {"scale": scale}) | {
        "rule": competition.threshold.rule,
        "thresholds": {name: round(value, 6) for name, value in found.items()},
        "queries": len(known.query_ids),
    }


def _shares(decided: Ranking, known: GroundTruth, competition: Competition) -> dict[str, float]:
    """Return the shares of queries that are unknown, and that were answered so.

    Of matches, the share of queries that have as few as the competition allows.
    """
    if competition.task.answers == "matches":
        fewest = max(competition.task.min_answers, int(competition.task.with_itself))
        alone = (decided.answers != "").sum(axis=1) <= fewest
        return {"with_fewest_matches": round(float(alone.mean()), 4)}
    unknown = competition.images.unknown_label
    return {
        "unknown": round(float((known.expected == unknown).mean()), 4),
        "answered_unknown": round(float((decided.answers[:, 0] == unknown).mean()), 4),
    }


def _by_image(
    embeddings: Embeddings,
    searches: tuple[Search, ...],
    known: GroundTruth,
    competition: Competition,
) -> dict[str, Outcome]:
    """Return image metrics of the queries whose individual occurs elsewhere in the gallery."""
    task = competition.task
    ranks = {_IMAGE_K, task.k} if task.answers == "images" else {_IMAGE_K}
    relevant = known.relevant - (1 if task.with_itself else 0)
    asked = np.flatnonzero(relevant > 0)
    if not len(asked):
        return {}
    most = int(relevant.max())
    whole = most <= _MOST_ANSWERS // len(known.query_ids)  # R-precision looks at that many
    ranking = ranking_module.rank_images(embeddings, searches, max(most if whole else 1, *ranks))
    hits, relevant = ground_truth.relevance(ranking, known)[asked], relevant[asked]
    ids: Strings = strings(known.query_ids[asked])
    recalls = sorted({1, 5, *ranks})
    values = {
        f"map_at_{n}": metrics.average_precision_at_k(hits, relevant, n) for n in sorted(ranks)
    }
    values |= {f"recall_at_{n}": metrics.recall_at_k(hits, n) for n in recalls}
    if whole:
        values["r_precision"] = metrics.r_precision(hits, relevant)
    return {name: Mean(ids, value) for name, value in values.items()}


def threshold_sentences(found: LocalScore) -> list[str]:
    """Return sentences, without capital and full stop, about the thresholds and what they do."""
    evidence = found.evidence
    folds = evidence.get("folds", [evidence])
    scale = folds[0].get("scale", "similarity")
    told = [
        f"threshold{f' of {group}' if group else ''}: {scale} {value:.4f} ({evidence['rule']})"
        for group, value in found.thresholds.items()
    ]
    if "score_on_the_same_queries" in evidence and evidence["rule"] == "best":
        told.append(
            "each query was scored by a threshold fitted without it; fitted on the same queries "
            f"it would look like {evidence['score_on_the_same_queries']:.4f}"
        )
    if "answered_unknown" in evidence:
        told.append(
            f"{evidence['unknown']:.1%} of the queries are unknown, "
            f"{evidence['answered_unknown']:.1%} were answered so"
        )
    told += [_of_new_labels(fold["new_label"]) for fold in folds if "new_label" in fold]
    if any(e.get("fitted_on_the_same_queries") for e in folds):
        told.append(
            "the clusters were scored at the cut that is best for the same queries: it flatters"
        )
    if "clusters" in evidence:
        told.append(f"{evidence['clusters']} clusters of {evidence['individuals']} individuals")
    return told


def _of_new_labels(learned: dict[str, Any]) -> str:
    return (
        "unknown individuals are told from known ones with an area under the ROC curve of "
        f"{_with_interval(learned['auc'])}, by the first similarity alone of "
        f"{_with_interval(learned['auc_of_similarity'])}"
    )


def _with_interval(score: dict[str, Any]) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
