"""An ensemble from plugin names to its embeddings: members, their checkpoints, one vector each."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kitbox.embedding import embedder
from kitbox.ensemble import meta_embedding
from kitbox.errors import KitboxError
from kitbox.images.collection import Collection
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint, Embeddings, ImageSet, Progress, Strings
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Member:
    """A plugin of an ensemble: its checkpoint for this purpose, and its weight.

    Raises KitboxError for a weight that is none: not above 0, or not finite.
    """

    named: NamedPlugin
    checkpoint: Checkpoint
    weight: float

    def __post_init__(self) -> None:
        if not 0 < self.weight < np.inf:
            raise KitboxError(
                f"the weight of {self.named.name} is {self.weight:g}; "
                "give it a finite number above 0"
            )

    def as_json(self, dim: int) -> dict[str, Any]:
        """Return what a receipt says of a member."""
        return {
            "name": self.named.name,
            "fingerprint": self.named.plugin.fingerprint,
            "checkpoint": self.checkpoint.digest,
            "weight": self.weight,
            "dim": dim,
        }


@dataclass(frozen=True)
class Assembled:
    """Meta-embeddings of some images, and each member's block: its dimensions, itself, its weight.

    Blocks are of the same images in the same order.
    """

    embeddings: Embeddings
    dims: tuple[int, ...]
    blocks: tuple[Embeddings, ...] = ()
    weights: tuple[float, ...] = ()


def assemble(
    members: Sequence[Member],
    image_sets: Sequence[ImageSet],
    gallery_ids: Strings,
    collection: Collection,
    workspace: Workspace,
    *,
    whiten: int | None,
    options: embedder.Options,
) -> Generator[Progress, None, Assembled]:
    """Return the meta-embeddings of all images of `image_sets`; yields Progress.

    With `whiten` each member's block is PCA-whitened on the gallery first.
    """
    if not members:
        raise KitboxError("an ensemble needs a plugin")
    blocks = []
    for member in members:
        parts = []
        for images in image_sets:
            part = yield from embedder.embed(
                member.named,
                member.checkpoint,
                images,
                workspace,
                blank=collection.blank,
                options=options,
            )
            parts.append(part)
        block = Embeddings(
            np.concatenate([part.image_ids for part in parts]),
            np.concatenate([part.vectors for part in parts]),
        )
        blocks.append(
            meta_embedding.whiten(block, gallery_ids, min(whiten, block.dim)) if whiten else block
        )
    weights = tuple(member.weight for member in members)
    joined = meta_embedding.concatenate(blocks, weights)
    return Assembled(joined, tuple(block.dim for block in blocks), tuple(blocks), weights)
