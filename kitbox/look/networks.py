"""What networks see: embeddings of all photographs by the plugins that a person names."""

from collections.abc import Generator, Sequence

import numpy as np

from kitbox.embedding import embedder
from kitbox.ensemble import meta_embedding
from kitbox.errors import KitboxError
from kitbox.look.photographs import SIDES, Photographs
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint, Embeddings, Progress, strings
from kitbox.training import runs
from kitbox.training.runs import Run
from kitbox.workspace import Workspace


def embed(
    plugins: Sequence[NamedPlugin],
    photographs: Photographs,
    workspace: Workspace,
    *,
    whiten: int | None,
    options: embedder.Options,
) -> Generator[Progress, None, Embeddings]:
    """Return the meta-embeddings of all readable images, through the cache; yields Progress.

    Boxes and labels decided since a training change nothing here: people look by the newest
    finished run of each plugin, whatever it learnt from.
    """
    found = [_newest(workspace, named) for named in plugins]
    sides = [images for side in SIDES if len(images := photographs.part(side))]
    blocks = []
    for named, checkpoint in zip(plugins, found, strict=True):
        parts = []
        for images in sides:
            part = yield from embedder.embed(named, checkpoint, images, workspace, options=options)
            parts.append(part)
        block = Embeddings(
            strings(np.concatenate([part.image_ids for part in parts])),
            np.concatenate([part.vectors for part in parts]),
        )
        if whiten:
            block = meta_embedding.whiten(block, block.image_ids, min(whiten, block.dim))
        blocks.append(block)
    return meta_embedding.concatenate(blocks, [1.0] * len(blocks))


def behind(plugins: Sequence[NamedPlugin], workspace: Workspace) -> list[str]:
    """Return the plugins whose newest network was trained before decisions.csv changed."""
    return [
        named.name
        for named in plugins
        if runs.decided_since(workspace, [Run(_newest(workspace, named).path.parent)])
    ]


def _newest(workspace: Workspace, named: NamedPlugin) -> Checkpoint:
    """Return the newest checkpoint that has not seen the holdout, or else one that has.

    A network that has not learnt a wrong label finds it more easily.
    """
    found = (runs.newest(workspace, named, on) for on in ("holdout", "all"))
    newest = next((checkpoint for checkpoint in found if checkpoint is not None), None)
    if newest is None:
        raise KitboxError(f"{named.name} is not trained; run 'kitbox train {named.name}'")
    return newest
