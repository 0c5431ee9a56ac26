"""The ways in which the members of an ensemble answer together."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.ensemble.meta_embedding import MetaEmbedding
from kitbox.errors import KitboxError
from kitbox.network.inference import resolve_device
from kitbox.records import (
    Embeddings,
    Floats,
    LabelledImages,
    Progress,
    Ranking,
    Search,
)
from kitbox.retrieval import ranking
from kitbox.retrieval.label_similarity import LabelSimilarities
from kitbox.retrieval.neighbour_graph import neighbour_graphs
from kitbox.retrieval.ranking import known_images, measure_labels

Combine = Literal["embeddings", "labels", "classifier"]
NewLabel = Literal["threshold", "learned"]


@dataclass(frozen=True)
class Way:
    """How members answer together, and what puts the unknown label among their answers.

    "embeddings" are joined and searched; "labels" are ranked by the mean of the members'
    similarities; a "classifier" of the joined embeddings, cut down to `dims`, ranks them by
    probability. The unknown label stands below a "threshold", or where a "learned" chance puts it.
    """

    combine: Combine = "embeddings"
    dims: int | None = None
    new_label: NewLabel = "threshold"

    def check(self, competition: Competition) -> None:
        """Raise KitboxError for a way that does not fit itself or the competition."""
        labels = competition.task.answers in ("labels", "label")
        if self.combine != "embeddings" and not labels:
            raise KitboxError(
                f"--combine {self.combine} ranks labels; {competition.name} asks for "
                f"{competition.task.answers}, so leave it out"
            )
        if self.dims is not None and self.combine != "classifier":
            raise KitboxError(f"--dims {self.dims} is the classifier's; add --combine classifier")
        fixed = competition.uses_threshold and competition.threshold.rule == "fixed"
        if self.combine == "classifier" and fixed:
            raise KitboxError(
                "--combine classifier ranks by probability, not by similarity; "
                "add --threshold best, or a share as --threshold 16.5%"
            )
        if self.new_label != "learned":
            return
        if not (labels and competition.uses_threshold):
            raise KitboxError(
                f"--new-label learned: {competition.name} answers no query with an unknown label; "
                "leave it out"
            )
        if fixed:
            raise KitboxError(
                "--new-label learned judges by chances, not at a fixed similarity; "
                "add --threshold best, or a share as --threshold 16.5%"
            )

        if (
            competition.task.leaderboard_metric == "baks_baus"
            and competition.threshold.rule != "share"
        ):
            raise KitboxError(
                "--new-label learned cuts at a chance of one half, which is best for the mean of "
                "1 / rank and not for baks_baus; add a share as --threshold 16.5%"
            )

    @property
    def scale(self) -> str | None:
        """What answers are cut by, None where that is the task's similarity."""
        if self.new_label == "learned":
            return "chance"
        return "probability" if self.combine == "classifier" else None

    def as_json(self) -> dict[str, Any]:
        """Return what a receipt says of the way."""
        return asdict(self)


def rank(
    meta: MetaEmbedding,
    way: Way,
    searches: Sequence[Search],
    labelled: LabelledImages,
    competition: Competition,
    k: int | None = None,
    *,
    device: str = "auto",
) -> Generator[Progress, None, Ranking]:
    """Return the best answers of each query, not yet cut at a threshold; yields Progress.

    Labels are those of `labelled`, which is also what a classifier learns from.
    """
    width = k or competition.task.k
    match way.combine:
        case "embeddings":
            graphs = neighbour_graphs(meta.embeddings, searches)
            return ranking.rank(graphs, labelled, competition, width)
        case "labels":
            measured = (
                mean_similarity(
                    measure_members(meta.blocks, search, labelled, competition), meta.weights
                )
                for search in searches
            )
            return ranking.rank_labels(measured, width)
        case "classifier":
            from kitbox.ensemble import dense_classifier  # torch

            classifier = yield from dense_classifier.fit(
                meta.embeddings, labelled, competition, way.dims, resolve_device(device)
            )
            measured = (
                classifier.measure(
                    meta.embeddings, search, known_images(search, labelled, competition)
                )
                for search in searches
            )
            return ranking.rank_labels(measured, width)


def measure_members(
    blocks: Sequence[Embeddings],
    search: Search,
    labelled: LabelledImages,
    competition: Competition,
) -> list[LabelSimilarities]:
    """Return how similar the queries of a search are to labels by the block of each member."""
    return [
        measure_labels(graph, labelled, competition)
        for block in blocks
        for graph in neighbour_graphs(block, [search])
    ]


def mean_similarity(
    members: Sequence[LabelSimilarities], weights: Sequence[float]
) -> LabelSimilarities:
    """Return the weighted mean of the members' similarities to the same labels.

    A meta-embedding takes the mean of cosines, image by image; here each member first measures a
    label by all its images (the task's `label_similarity`), so that members may disagree about
    which image is best, and a similarity need not be a cosine.
    """
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)

    def mean(similarities: Sequence[Floats]) -> Floats:
        total = sum(share * each for share, each in zip(shares, similarities, strict=True))
        return np.asarray(total, dtype=np.float32)

    blocks = ((rows, mean(similarities)) for rows, similarities in member_blocks(members))
    return LabelSimilarities(members[0].query_ids, members[0].labels, blocks)


def member_blocks(
    members: Sequence[LabelSimilarities],
) -> Iterator[tuple[slice, tuple[Floats, ...]]]:
    """Yield rows of queries, and the similarities (rows, l) by each member."""
    for blocks in zip(*(member.blocks for member in members), strict=True):
        yield blocks[0][0], tuple(similarity for _, similarity in blocks)
