"""Meta-embeddings: weighted concatenation of embeddings, each PCA-whitened first if wanted."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from kitbox.ensemble.ensemble import Ensemble
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, ImageSet, Progress, Strings


@dataclass(frozen=True)
class MetaEmbedding:
    """Meta-embeddings of some images, and the blocks that they are concatenated from.

    `dims`, `blocks` and `weights` are those of the members; blocks are of the same images in the
    same order.
    """

    embeddings: Embeddings
    dims: tuple[int, ...]
    blocks: tuple[Embeddings, ...] = ()
    weights: tuple[float, ...] = ()


def assemble(
    ensemble: Ensemble, image_sets: Sequence[ImageSet], gallery_ids: Strings
) -> Generator[Progress, None, MetaEmbedding]:
    """Return the meta-embeddings of all images of `image_sets`; yields Progress.

    Where the ensemble whitens, each member's block is PCA-whitened on the gallery first.
    """
    if not ensemble.members:
        raise KitboxError("an ensemble needs a plugin")
    whiten, blocks = ensemble.options.whiten, []
    for member in ensemble.members:
        parts = []
        for images in image_sets:
            part = yield from member.embed(
                images,
                ensemble.workspace,
                ensemble.collection.unreadable,
                ensemble.embed_options,
            )
            parts.append(part)
        block = Embeddings(
            np.concatenate([part.image_ids for part in parts]),
            np.concatenate([part.vectors for part in parts]),
        )
        if whiten:
            block = yield from whiten_block(block, gallery_ids, whiten, member.full_name)
        blocks.append(block)
    weights = tuple(member.weight for member in ensemble.members)
    dims = tuple(block.dim for block in blocks)
    return MetaEmbedding(concatenate(blocks, weights), dims, tuple(blocks), weights)


def concatenate(blocks: Sequence[Embeddings], weights: Sequence[float]) -> Embeddings:
    """Return the concatenation of blocks, block i scaled by sqrt(weight_i / sum of weights).

    The cosine of two rows is then the weighted mean of the blocks' cosines, and rows are of unit
    length. Rows are matched by image id, in the order of the first block. The GDSC 2020 solution
    concatenated unscaled embeddings, which weights networks by the length of their outputs.

    Weights are above 0. Raises KitboxError for blocks of different images.
    """
    if len(blocks) != len(weights):
        raise KitboxError(f"{len(blocks)} plugins but {len(weights)} weights")
    image_ids = blocks[0].image_ids
    for block in blocks[1:]:
        if len(block) != len(image_ids):
            raise KitboxError(
                f"embeddings of {len(image_ids)} and of {len(block)} images cannot be joined; "
                "embed the same image set with each plugin"
            )
    shares = np.sqrt(np.asarray(weights, dtype=np.float64) / np.sum(weights))
    joined = np.concatenate(
        [
            block.of(image_ids).vectors * np.float32(share)
            for block, share in zip(blocks, shares, strict=True)
        ],
        axis=1,
    )
    return Embeddings(image_ids, joined)


def whiten_block(
    block: Embeddings, gallery_ids: Strings, dim: int, name: str
) -> Generator[Progress, None, Embeddings]:
    """Return the block of the member `name` whitened to `dim` dimensions, or to as many as it can.

    Yields a notice where it has fewer dimensions, or where the gallery does not have more images.
    Then it is half as many as there are images: with as many as images, all are equally far apart.
    """
    images = len(gallery_ids)
    if images > dim or images > block.dim:
        used, why = min(dim, block.dim), f"it has {block.dim}"
    else:
        used, why = max(images // 2, 2), f"half of the {images} images of the gallery"
    if used < dim:
        notice = f"{name}: whitened to {used} dimensions, not to {dim}: {why}"
        yield Progress(f"whiten {name}", 0, 1, unit="blocks", notice=notice)
    return pca_whiten(block, gallery_ids, used)


def pca_whiten(embeddings: Embeddings, gallery_ids: Strings, dim: int) -> Embeddings:
    """Return embeddings PCA-whitened to `dim` dimensions, fitted on gallery images without labels.

    Each direction gets variance 1 over the gallery, so that what all photographs share no longer
    decides which are near (Jégou and Chum, ECCV 2012). Rows are of unit length again.

    Raises KitboxError where the gallery or the embedding has fewer than `dim` dimensions.
    """
    gallery = embeddings.of(gallery_ids).vectors
    most = min(gallery.shape[0] - 1, gallery.shape[1])
    if most < 2:
        raise KitboxError(
            f"--whiten {dim}: a gallery of {gallery.shape[0]} images in {gallery.shape[1]} "
            "dimensions is too small to whiten",
            fix="leave the option out",
        )
    if not 2 <= dim <= most:
        raise KitboxError(
            f"--whiten {dim}: a gallery of {gallery.shape[0]} images in {gallery.shape[1]} "
            f"dimensions can be whitened to 2 to {most} dimensions"
        )
    from sklearn.decomposition import PCA  # takes a second to load

    pca = PCA(dim, whiten=True, svd_solver="full").fit(gallery.astype(np.float64))
    whitened = pca.transform(embeddings.vectors.astype(np.float64))
    whitened /= np.linalg.norm(whitened, axis=1, keepdims=True)
    return Embeddings(embeddings.image_ids, whitened.astype(np.float32))
