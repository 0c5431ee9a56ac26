"""Late fusion: how similar labels are to a query in the mean over an ensemble's members."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.ensemble.meta_embedding import MetaEmbedding
from kitbox.errors import KitboxError
from kitbox.network import inference
from kitbox.records import (
    Embeddings,
    Floats,
    LabelledImages,
    Progress,
    Ranking,
    Search,
    Strings,
)
from kitbox.retrieval import ranking
from kitbox.retrieval.label_similarity import LabelSimilarities
from kitbox.retrieval.ranking import LabelMeasure

# Rows of queries, and the similarities (rows, l) of the labels by each member.
Each = Iterator[tuple[slice, tuple[Floats, ...]]]


def mean(
    blocks: Sequence[Embeddings], weights: Sequence[float], competition: Competition
) -> LabelMeasure:
    """Return what tells the weighted mean over members of each label's similarity.

    A meta-embedding takes the mean of cosines, image by image; here each member first measures a
    label by all its images (the task's `label_similarity`), so that members may disagree about
    which image is best, and a similarity need not be a cosine.
    """
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)

    def tell(query_images: Strings, known: LabelledImages) -> LabelSimilarities:
        names, each = of_each(blocks, query_images, known, competition)
        return names, ((rows, _weighted(found, shares)) for rows, found in each)

    return tell


def of_each(
    blocks: Sequence[Embeddings],
    query_images: Strings,
    known: LabelledImages,
    competition: Competition,
) -> tuple[Strings, Each]:
    """Return the labels (l,) of known images, and their similarities by each member."""
    told = [ranking.by_cosine(block, competition)(query_images, known) for block in blocks]
    names = told[0][0]
    together = zip(*(found for _, found in told), strict=True)
    return names, ((parts[0][0], tuple(part[1] for part in parts)) for parts in together)


def _weighted(found: Sequence[Floats], shares: np.ndarray) -> Floats:
    total = sum(share * of_member for share, of_member in zip(shares, found, strict=True))
    return np.asarray(total, dtype=np.float32)


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
    assembled: MetaEmbedding,
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
            return ranking.rank(assembled.embeddings, searches, labelled, competition, width)
        case "labels":
            tell = mean(assembled.blocks, assembled.weights, competition)
        case "classifier":
            from kitbox.ensemble import dense_classifier  # torch

            tell = yield from dense_classifier.fit(
                assembled.embeddings,
                labelled,
                competition,
                way.dims,
                inference.resolve_device(device),
            )
    return ranking.rank_labels(tell, searches, labelled, competition, width)
