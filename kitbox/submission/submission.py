"""Makes a submission: the ensemble over all images, ranked, in the competition's form."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.embedding import embedder
from kitbox.ensemble import fusion, open_set
from kitbox.ensemble.answers import EnsembleOptions
from kitbox.ensemble.members import Member
from kitbox.ensemble.meta_embedding import MetaEmbedding, assemble
from kitbox.ensemble.open_set import UnknownModel
from kitbox.errors import KitboxError
from kitbox.records import Progress, Ranking, Strings, rows_of
from kitbox.retrieval.neighbour_graph import neighbour_graphs
from kitbox.retrieval.ranking import (
    apply_thresholds,
    cluster_trees,
    cut_trees,
    query_thresholds,
    reorder,
)
from kitbox.scoring import thresholds
from kitbox.submission import csv_format, lint
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Submission:
    """The text of a submission, the thresholds that cut it, and the sizes behind it."""

    text: str
    ranking: Ranking
    thresholds: dict[str, float]
    queries: int
    gallery: int
    dims: tuple[int, ...]


def check_top_k(recipe: EnsembleOptions, competition: Competition) -> None:
    """Raise KitboxError where a recipe makes more or fewer answers than a list may name."""
    task, top_k = competition.task, recipe.top_k
    if top_k in (None, task.k):
        return
    single = task.answers in ("label", "clusters")
    least, most = (1, 1) if single else (task.min_answers, task.k)
    if single or not least <= top_k <= most:
        span = f"{most}" if least == most else f"{least} to {most}"
        noun = "answer" if most == 1 else "answers"
        raise KitboxError(f"--top-k {top_k}: a list names {span} {noun} a query; leave it out")


def make_submission(
    members: Sequence[Member],
    recipe: EnsembleOptions,
    fitted: dict[str, float],
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: embedder.EmbedOptions,
    judge: UnknownModel | None = None,
) -> Generator[Progress, None, Submission]:
    """Return the submission of an ensemble; it takes the path of the local score, on test images.

    `fitted` are the thresholds that the holdout gave, `judge` what it taught of new labels. A
    classifier learns from all labelled images. Raises KitboxError where there is no test,
    for a number of answers that no list may have, and where its own lint finds something.
    """
    test, labelled = collection.test, collection.labelled
    if test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    check_top_k(recipe, competition)
    image_sets = [labelled, test, *([] if collection.index is None else [collection.index])]
    gallery = protocol.leaderboard_gallery(test, labelled, collection.index, competition)
    assembled: MetaEmbedding = yield from assemble(
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
    ranking = reorder(ranking, protocol.query_ids(collection.searches, test))
    text = csv_format.write(ranking, competition)
    findings = lint.lint(text.encode(), competition, labelled, test, collection.searches)
    if findings:
        raise KitboxError(f"the submission would be refused: {findings[0]}")
    queries, searched = len(ranking.query_ids), len(gallery)
    return Submission(text, ranking, used, queries, searched, assembled.dims)


def _answered(
    assembled: MetaEmbedding,
    recipe: EnsembleOptions,
    fitted: dict[str, float],
    judge: UnknownModel | None,
    collection: Collection,
    competition: Competition,
    device: str,
) -> Generator[Progress, None, tuple[Ranking, dict[str, float]]]:
    """Return the answers of the leaderboard's queries, and the thresholds that cut them."""
    searches, rule = collection.searches, competition.threshold
    if competition.task.answers == "clusters":
        trees = cluster_trees(neighbour_graphs(assembled.embeddings, searches))
        used = fitted
        if rule.rule == "share" and rule.share is not None:
            used = thresholds.fit_cut_share(trees, rule.share, by_group=rule.by_group)
        return cut_trees(trees, searches, used), used
    labelled = collection.answerable
    ranking = yield from fusion.rank(
        assembled, recipe.way, searches, labelled, competition, recipe.top_k, device=device
    )
    if judge is not None:
        features = open_set.query_features(assembled.blocks, searches, labelled, competition)
        ranking = judge.with_probabilities(ranking, judge.probability(features))
    if not competition.uses_threshold:
        return ranking, {}
    groups = np.concatenate([np.full(len(s.query_ids), s.name) for s in searches])
    if competition.threshold.by_group and len(searches) == 1:
        groups = _groups_of_test(ranking, collection)
    used = fitted
    if rule.rule == "share" and rule.share is not None:
        used = thresholds.fit_share(ranking, groups, rule.share, competition)
    limits = query_thresholds(used, thresholds.groups_of(groups, competition))
    return apply_thresholds(ranking, limits, competition), used


def _groups_of_test(ranking: Ranking, collection: Collection) -> Strings:
    """Return the group of each query: of its list, else of its first answer, as on the holdout."""
    test, labelled = collection.test, collection.labelled
    assert test is not None  # noqa: S101  the caller's test images
    if test.groups is not None:
        [search] = collection.searches
        return test.groups[rows_of(search.query_images, test.image_ids)]
    # a test list rarely tells the species; that of the first answer stands for it
    return thresholds.groups_of_answers(ranking, labelled)
