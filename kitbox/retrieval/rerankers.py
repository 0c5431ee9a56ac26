"""Re-ranking steps by their text, one after the other."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.method import parse_method
from kitbox.records import LabelledImages, Search, Strings
from kitbox.retrieval.diffusion import Diffusion
from kitbox.retrieval.expansion import (
    DatabaseAugmentation,
    LocalScaling,
    QueryExpansion,
    ScoreNormalisation,
    Subtraction,
)
from kitbox.retrieval.gallery_index import GalleryIndex, ProductQuantiser, ScalarQuantiser
from kitbox.retrieval.k_reciprocal import KReciprocal
from kitbox.retrieval.neighbour_graph import NeighbourGraph, Reranker
from kitbox.retrieval.rerank_step import RerankStep

STEPS: dict[str, type[RerankStep]] = {
    step.kind: step
    for step in (
        QueryExpansion,
        DatabaseAugmentation,
        Subtraction,
        KReciprocal,
        Diffusion,
        LocalScaling,
        ScoreNormalisation,
        ScalarQuantiser,
        ProductQuantiser,
    )
}


def parse_step(text: str) -> RerankStep:
    """Return the step of a text such as "dba", or "dba:k=3,alpha=1".

    Settings that are left out have their defaults; `str` of the step writes them all. Raises
    KitboxError for a step or a setting that there is not, or a value that it cannot have.
    """
    return parse_method(text, STEPS)


def is_index(text: str) -> bool:
    """Return whether the step of a text is an index, which comes before all others."""
    return isinstance(parse_step(text), GalleryIndex)


def parse_steps(texts: Sequence[str]) -> tuple[RerankStep, ...]:
    """Return the steps of several texts, in their order.

    Raises KitboxError as `parse_step` does, and for a step that reads cosines after one that
    replaces them, and for an index that is not the first step.
    """
    steps = tuple(parse_step(text) for text in texts)
    for place, step in enumerate(steps):
        if place and isinstance(step, GalleryIndex):
            raise KitboxError(
                f"{step.kind} is an index of the gallery, and steps before it would search without",
                fix=f"name {step.kind} first",
            )
        earlier = [other for other in steps[:place] if not other.keeps_cosines]
        if earlier and step.reads_cosines:
            raise KitboxError(
                f"the re-ranking step {step.kind} reads cosines, which {earlier[0].kind} replaces",
                fix=f"name {step.kind} first, or leave one out",
            )
    return steps


def rerank(graph: NeighbourGraph, steps: Sequence[RerankStep]) -> NeighbourGraph:
    """Return the graph after all steps, one after the other; each raises what it raises."""
    return reduce(lambda reranked, step: step(reranked), steps, graph)


def reranker(
    texts: Sequence[str],
    labelled: LabelledImages | None = None,
    competition: Competition | None = None,
) -> Reranker | None:
    """Return the steps of several texts as one step, None without any.

    `labelled` are the labelled images that the queries may be compared with: the training side of
    the holdout, or all of them for the leaderboard; steps that need others find them there.

    Raises KitboxError as `parse_steps` and `check_steps` do.
    """
    steps = parse_steps(texts)
    if not steps:
        return None
    needing = [step for step in steps if step.needs_others]
    if competition is not None:
        check_steps(steps, competition)

    def reranked(graph: NeighbourGraph) -> NeighbourGraph:
        if needing and labelled is not None and competition is not None:
            others = known_others(graph.search, labelled, competition)
            graph = replace(graph, others=others)
        return rerank(graph, steps)

    return reranked


def check_steps(steps: Sequence[RerankStep], competition: Competition) -> None:
    """Raise KitboxError for steps that do not fit a competition.

    Centres of labels are no images: they follow a step that moves vectors, and none that changes
    similarities pair by pair. Others are labelled images, which show nobody who is searched for
    only where the gallery does not hold them and the individuals of the test are all new
    (`holdout.unknown_share` = 1).
    """
    task = competition.task
    pairwise = next((s.kind for s in steps if s.reads_cosines and not s.keeps_cosines), None)
    if pairwise and task.answers in ("labels", "label") and task.label_similarity == "centre":
        raise KitboxError(
            f"the re-ranking step {pairwise} compares images, and task.label_similarity is "
            '"centre"',
            fix='choose "best" or another, or leave the step out',
        )
    index = next((step.kind for step in steps if isinstance(step, GalleryIndex)), None)
    if index and not task.finds_images:
        raise KitboxError(
            f"the index {index} finds the nearest images, and answers of {competition.name} are "
            f"{task.answers}, for which all similarities are computed",
            fix="leave it out",
        )
    needing = next((step.kind for step in steps if step.needs_others), None)
    if needing is None:
        return
    needs = (
        f"the re-ranking step {needing} needs images that surely show nobody who is searched for"
    )
    if task.gallery not in ("test", "index"):
        raise KitboxError(
            f"{needs}, and the gallery of {competition.name} holds the labelled images",
            fix="leave it out",
        )
    if competition.holdout.unknown_share != 1:
        raise KitboxError(
            f"{needs}, and the labelled images may show individuals of the test: "
            f"holdout.unknown_share is {competition.holdout.unknown_share:g}, not 1",
            fix="leave it out",
        )
    if competition.holdout.distractors:
        raise KitboxError(
            f"{needs}, and with holdout.distractors the labelled images are in the holdout's "
            "gallery, where it would flatter",
            fix="leave it out, or set holdout.distractors = false",
        )


def known_others(search: Search, labelled: LabelledImages, competition: Competition) -> Strings:
    """Return the ids of labelled images that surely show nobody who is searched for.

    See `check_steps` for the competitions that have such images. The holdout of such a competition
    holds whole individuals out, so that its training side shows none of them, as the labelled
    images show none of the test: no label of a query is looked at. Images of an unknown individual
    are left out, and with task.within_group those of other groups than the search's.

    Raises KitboxError where the search has labelled images among its own, or there are no others.
    """
    own = np.isin(labelled.image_ids, np.concatenate([search.query_images, search.gallery_images]))
    if own.any():
        raise KitboxError(
            f"image '{labelled.image_ids[own][0]}' is labelled and takes part in the search, so "
            "that labelled images cannot stand for individuals who do not",
            fix="leave out subtraction and score_normalisation",
        )
    known = ~np.isin(labelled.labels, ["", competition.images.unknown_label or ""])
    if competition.task.within_group and labelled.groups is not None:
        known &= labelled.groups == search.name
    others = labelled.image_ids[known]
    if not len(others):
        place = f" of {search.name}" if search.name else ""
        raise KitboxError(
            f"no labelled image{place} is left to compare with",
            fix="leave out subtraction and score_normalisation",
        )
    return others
