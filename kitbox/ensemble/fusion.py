"""Late fusion: how similar labels are to a query in the mean over an ensemble's members."""

from collections.abc import Iterator, Sequence

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.records import Embeddings, Floats, ImageSet, Strings
from kitbox.retrieval import ranking as rankings
from kitbox.retrieval.answers import Told
from kitbox.retrieval.ranking import Teller

# Rows of queries, and the similarities (rows, l) of the labels by each member.
Each = Iterator[tuple[slice, tuple[Floats, ...]]]


def mean(
    blocks: Sequence[Embeddings], weights: Sequence[float], competition: Competition
) -> Teller:
    """Return what tells the weighted mean over members of each label's similarity.

    A meta-embedding takes the mean of cosines, image by image; here each member first measures a
    label by all its images (the task's `label_similarity`), so that members may disagree about
    which image is best, and a similarity need not be a cosine.
    """
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)

    def tell(query_images: Strings, known: ImageSet) -> Told:
        names, each = of_each(blocks, query_images, known, competition)
        return names, ((rows, _weighted(found, shares)) for rows, found in each)

    return tell


def of_each(
    blocks: Sequence[Embeddings], query_images: Strings, known: ImageSet, competition: Competition
) -> tuple[Strings, Each]:
    """Return the labels (l,) of known images, and their similarities by each member."""
    told = [rankings.by_cosine(block, competition)(query_images, known) for block in blocks]
    names = told[0][0]
    together = zip(*(found for _, found in told), strict=True)
    return names, ((parts[0][0], tuple(part[1] for part in parts)) for parts in together)


def _weighted(found: Sequence[Floats], shares: np.ndarray) -> Floats:
    total = sum(share * of_member for share, of_member in zip(shares, found, strict=True))
    return np.asarray(total, dtype=np.float32)
