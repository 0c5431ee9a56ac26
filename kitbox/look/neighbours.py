"""The nearest photographs, by whatever vectors they are compared; by perceptual hash where none."""

from collections.abc import Sequence

import numpy as np

from kitbox.look.photographs import Photographs
from kitbox.records import Embeddings, strings
from kitbox.retrieval import search


def by_hash(photographs: Photographs) -> Embeddings:
    """Return the bits of perceptual hashes as vectors: their cosine is 1 − (bits that differ) / 32.

    Unreadable images have none.
    """
    shown = np.isin(photographs.images.image_ids, photographs.readable)
    bits = np.unpackbits(photographs.looks.hashes[shown], axis=1)
    vectors = (bits.astype(np.float32) * 2 - 1) / np.sqrt(np.float32(bits.shape[1]))
    return Embeddings(photographs.readable, vectors)


def nearest(embeddings: Embeddings, image_id: str, k: int) -> list[tuple[str, float]]:
    """Return the k images most similar to one, with their similarity, best first."""
    asked = strings([image_id])
    if not np.isin(asked, embeddings.image_ids).all():
        return []  # it cannot be read
    found = search.nearest(embeddings.of(asked), embeddings, k)
    pairs = zip(found.gallery_ids[0].tolist(), found.similarity[0].tolist(), strict=True)
    return [(other, similarity) for other, similarity in pairs if other]


def similarity(embeddings: Embeddings, images: Sequence[str]) -> float | None:
    """Return the least similarity of any two of these images, None where one has no embedding."""
    asked = strings(list(images))
    if len(asked) < 2 or not np.isin(asked, embeddings.image_ids).all():
        return None
    vectors = embeddings.of(asked).vectors
    return float((vectors @ vectors.T).min())
