"""Makes a submission: the ensemble over all images, ranked, in the competition's form."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.embedding import embedder
from kitbox.ensemble import new_label, ways
from kitbox.ensemble.assembly import Assembled, Member, assemble
from kitbox.ensemble.new_label import Judge, Judged
from kitbox.ensemble.ways import Way
from kitbox.errors import KitboxError
from kitbox.images.collection import Collection
from kitbox.records import Embeddings, Progress, Ranking, Scores, Strings, rows_of
from kitbox.retrieval import ranking as rankings
from kitbox.scoring import bootstrap, local, outcomes, thresholds, truth
from kitbox.scoring.local import Answered, LocalScore
from kitbox.submission import form, lint
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Recipe:
    """How embeddings become answers, beside the members."""

    whiten: int | None = None
    top_k: int | None = None  # None: the competition's k
    way: Way = field(default_factory=Way)


@dataclass(frozen=True)
class Answers:
    """What an ensemble answers on the holdout, and what a scorer needs of it.

    `competition` is the one that decides: where new labels are judged, at a chance.
    """

    found: Answered
    embeddings: Embeddings
    dims: tuple[int, ...]
    competition: Competition
    way: Way
    judged: Judged | None = None

    @property
    def scale(self) -> str:
        """What answers are ranked and cut by."""
        return self.way.scale or self.competition.task.scale

    def score(self) -> LocalScore:
        """Return the local score, with how new labels were judged among its evidence."""
        scored = local.of_answers(self.found, self.embeddings, self.competition)
        evidence = dict(scored.evidence)
        if evidence and self.way.scale is not None:
            evidence["scale"] = self.way.scale
        if self.judged is not None:
            evidence["new_label"] = self.judged.evidence
        return replace(scored, evidence=evidence)


@dataclass(frozen=True)
class Locally:
    """A local score, the dimensions of each member's block, and what judges new labels if any."""

    score: LocalScore
    dims: tuple[int, ...]
    judge: Judge | None = None


@dataclass(frozen=True)
class Made:
    """The text of a submission, the thresholds that cut it, and the sizes behind it."""

    text: str
    ranking: Ranking
    thresholds: dict[str, float]
    queries: int
    gallery: int
    dims: tuple[int, ...]


def answered(
    members: Sequence[Member],
    recipe: Recipe,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: embedder.Options,
) -> Generator[Progress, None, Answers]:
    """Return what an ensemble answers on the holdout, which its members have not seen.

    A classifier learns from the holdout's training side alone, and what judges new labels from
    the other queries. Raises KitboxError for a recipe that the competition has no use for.
    """
    recipe.way.check(competition)
    holdout = collection.holdout
    assembled: Assembled = yield from assemble(
        members,
        [collection.labelled],
        holdout.gallery.image_ids,
        collection,
        workspace,
        whiten=recipe.whiten,
        options=options,
    )
    ranking = judged = None
    if recipe.way != Way():
        searches = protocol.searches(holdout.query, holdout.gallery, competition)
        ranking = yield from ways.rank(
            assembled, recipe.way, searches, holdout.train, competition, device=options.device
        )
        if recipe.way.new_label == "learned":
            known = truth.of_holdout(holdout, searches, competition)
            features = new_label.features(assembled.blocks, searches, holdout.train, competition)
            judged = new_label.judged(ranking, features, known, competition)
            ranking, competition = judged.ranking, new_label.deciding(competition)
    found = local.answered(
        assembled.embeddings,
        holdout,
        competition,
        test_has_groups=collection.test_has_groups,
        ranking=ranking,
    )
    return Answers(found, assembled.embeddings, assembled.dims, competition, recipe.way, judged)


def score(
    members: Sequence[Member],
    recipe: Recipe,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: embedder.Options,
) -> Generator[Progress, None, Locally]:
    """Return the local score of an ensemble whose members have not seen the holdout."""
    made = yield from answered(members, recipe, collection, competition, workspace, options)
    return Locally(made.score(), made.dims, None if made.judged is None else made.judged.judge)


def pooled(folds: Sequence[Locally]) -> Locally:
    """Return the score over the queries of several folds; thresholds are the mean of theirs."""
    if len(folds) == 1:
        return folds[0]
    scores = [fold.score for fold in folds]
    shared = [name for name in scores[0].outcomes if all(name in s.outcomes for s in scores)]
    joined = {name: outcomes.pooled([s.outcomes[name] for s in scores]) for name in shared}
    fitted = {
        group: float(np.mean([s.thresholds[group] for s in scores if group in s.thresholds]))
        for group in sorted({group for s in scores for group in s.thresholds})
    }
    evidence: dict[str, Any] = {}
    if fitted:
        evidence = {"rule": scores[0].evidence["rule"], "folds": [s.evidence for s in scores]}
    individuals = {query: who for s in scores for query, who in s.individuals.items()}
    by_metric = {name: bootstrap.score(o, individuals) for name, o in joined.items()}
    found = LocalScore(Scores(by_metric), joined, fitted, evidence, individuals)
    return Locally(found, folds[0].dims)


def refuse_top_k(recipe: Recipe, competition: Competition) -> None:
    """Raise KitboxError where a recipe makes more or fewer answers than a list may name."""
    task, top_k = competition.task, recipe.top_k
    if top_k in (None, task.k):
        return
    single = task.answers in ("label", "clusters")
    least, most = (1, 1) if single else (task.fewest, task.k)
    if single or not least <= top_k <= most:
        span = f"{most}" if least == most else f"{least} to {most}"
        noun = "answer" if most == 1 else "answers"
        raise KitboxError(f"--top-k {top_k}: a list names {span} {noun} a query; leave it out")


def make(
    members: Sequence[Member],
    recipe: Recipe,
    fitted: dict[str, float],
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: embedder.Options,
    judge: Judge | None = None,
) -> Generator[Progress, None, Made]:
    """Return the submission of an ensemble; it takes the path of the local score, on test images.

    `fitted` are the thresholds that the holdout gave, `judge` what it taught of new labels. A
    classifier learns from all labelled images. Raises KitboxError where there is no test,
    for a number of answers that no list may have, and where its own lint finds something.
    """
    test, labelled = collection.test, collection.labelled
    if test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    refuse_top_k(recipe, competition)
    image_sets = [labelled, test, *([] if collection.index is None else [collection.index])]
    gallery = protocol.gallery_of(test, labelled, collection.index, competition)
    assembled: Assembled = yield from assemble(
        members,
        image_sets,
        gallery.image_ids,
        collection,
        workspace,
        whiten=recipe.whiten,
        options=options,
    )
    ranking, used = yield from _answered(
        assembled, recipe, fitted, judge, collection, competition, options.device
    )
    ranking = rankings.in_order(ranking, protocol.query_ids(collection.searches, test))
    text = form.text(ranking, competition)
    findings = lint.lint(text.encode(), competition, labelled, test, collection.searches)
    if findings:
        raise KitboxError(f"the submission would be refused: {findings[0]}")
    queries, searched = len(ranking.query_ids), len(gallery)
    return Made(text, ranking, used, queries, searched, assembled.dims)


def _answered(
    assembled: Assembled,
    recipe: Recipe,
    fitted: dict[str, float],
    judge: Judge | None,
    collection: Collection,
    competition: Competition,
    device: str,
) -> Generator[Progress, None, tuple[Ranking, dict[str, float]]]:
    """Return the answers of the leaderboard's queries, and the thresholds that cut them."""
    searches, rule = collection.searches, competition.threshold
    if competition.task.answers == "clusters":
        trees = rankings.trees(assembled.embeddings, searches)
        used = fitted
        if rule.rule == "share" and rule.share is not None:
            used = thresholds.cut_by_share(trees, rule.share, by_group=rule.by_group)
        return rankings.cut(trees, searches, used), used
    labelled = collection.answerable
    ranking = yield from ways.rank(
        assembled, recipe.way, searches, labelled, competition, recipe.top_k, device=device
    )
    if judge is not None:
        features = new_label.features(assembled.blocks, searches, labelled, competition)
        ranking = judge.chances(ranking, judge.unknown(features))
    if not competition.decides:
        return ranking, {}
    groups = np.concatenate([np.full(len(s.query_ids), s.name) for s in searches])
    if competition.threshold.by_group and len(searches) == 1:
        groups = _groups_of_test(ranking, collection)
    used = fitted
    if rule.rule == "share" and rule.share is not None:
        used = thresholds.by_share(ranking, groups, rule.share, competition)
    limits = rankings.of_groups(used, thresholds.groups_of(groups, competition))
    return rankings.decide(ranking, limits, competition), used


def _groups_of_test(ranking: Ranking, collection: Collection) -> Strings:
    """Return the group of each query: of its list, else of its first answer, as on the holdout."""
    test, labelled = collection.test, collection.labelled
    assert test is not None  # noqa: S101  the caller's test images
    if test.groups is not None:
        [search] = collection.searches
        return test.groups[rows_of(search.query_images, test.image_ids)]
    # a test list rarely tells the species; that of the first answer stands for it
    return thresholds.groups_of_answers(ranking, labelled)
