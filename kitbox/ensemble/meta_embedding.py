"""Meta-embeddings: weighted concatenation of embeddings, each PCA-whitened first if wanted."""

import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kitbox.ensemble.ensemble import Ensemble
from kitbox.ensemble.members import Member
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Floats, ImageSet, Progress, Strings

# Numbers of a block of rows: 16 MB of float32.
_BLOCK_SIZE = 4_000_000
# Bytes of an array above which it is on disk.
_IN_MEMORY = 1_000_000_000


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

    Blocks of members that are whitened are PCA-whitened on the gallery first.
    """
    if not ensemble.members:
        raise KitboxError("an ensemble needs a plugin")
    blocks = []
    for member, whiten in zip(ensemble.members, ensemble.whitening, strict=True):
        parts = yield from _embed(member, ensemble, image_sets)
        block = _stacked(parts, ensemble.workspace.cache)
        if whiten:
            block = yield from whiten_block(block, gallery_ids, whiten, member.full_name)
        blocks.append(block)
    weights = tuple(member.weight for member in ensemble.members)
    dims = tuple(block.dim for block in blocks)
    joined = concatenate(blocks, weights, ensemble.workspace.cache)
    return MetaEmbedding(joined, dims, tuple(blocks), weights)


def assemble_rows(
    ensemble: Ensemble, image_sets: Sequence[ImageSet], gallery_ids: Strings
) -> Generator[Progress, None, tuple[int, Iterator[Floats]]]:
    """Return the dimensions of the meta-embeddings of `assemble`, and their rows in blocks.

    Without whitening no more than a block is held at a time: embeddings are on disk.
    """
    if any(ensemble.whitening):
        meta = yield from assemble(ensemble, image_sets, gallery_ids)
        whole = meta.embeddings
        return whole.dim, (whole.vectors[rows] for rows in row_slices(len(whole), whole.dim))
    parts = []
    for member in ensemble.members:
        of_member = yield from _embed(member, ensemble, image_sets)
        parts.append(of_member)
    shares = _shares([member.weight for member in ensemble.members])
    dim = sum(of_member[0].dim for of_member in parts)
    return dim, (
        np.concatenate(
            [part.vectors[rows] * share for part, share in zip(of_set, shares, strict=True)], axis=1
        )
        for of_set in zip(*parts, strict=True)
        for rows in row_slices(len(of_set[0]), dim)
    )


def row_slices(rows: int, dim: int) -> Iterator[slice]:
    """Yield slices of rows that have four million numbers at most."""
    step = max(_BLOCK_SIZE // max(dim, 1), 1)
    return (slice(start, start + step) for start in range(0, rows, step))


def _embed(
    member: Member, ensemble: Ensemble, image_sets: Sequence[ImageSet]
) -> Generator[Progress, None, list[Embeddings]]:
    parts = []
    for images in image_sets:
        part = yield from member.embed(
            images, ensemble.workspace, ensemble.collection.unreadable, ensemble.embed_options
        )
        parts.append(part)
    return parts


def _stacked(parts: Sequence[Embeddings], folder: Path) -> Embeddings:
    """Return the rows of all parts, one below the other."""
    if len(parts) == 1:
        return parts[0]
    image_ids = np.concatenate([part.image_ids for part in parts])
    vectors = _array((len(image_ids), parts[0].dim), folder)
    np.concatenate([part.vectors for part in parts], out=vectors)
    return Embeddings(image_ids, vectors)


def _array(shape: tuple[int, int], folder: Path | None) -> Floats:
    """Return an array to be filled, beyond 1 GB in a file of the folder that has no name.

    Its pages leave memory where that is short, and its room is taken before the first row is
    written. Where a file cannot be had, as in a workspace that is only read, it is in memory.
    """
    size = 4 * shape[0] * shape[1]
    if folder is not None and size > _IN_MEMORY and hasattr(os, "posix_fallocate"):
        with suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype=np.float32, mode="r+", shape=shape)
    return np.empty(shape, dtype=np.float32)


def _shares(weights: Sequence[float]) -> list[np.float32]:
    """Return the scale of each block: sqrt(weight_i / sum of weights)."""
    return [*np.sqrt(np.asarray(weights, dtype=np.float64) / np.sum(weights)).astype(np.float32)]


def concatenate(
    blocks: Sequence[Embeddings], weights: Sequence[float], folder: Path | None = None
) -> Embeddings:
    """Return the concatenation of blocks, block i scaled by sqrt(weight_i / sum of weights).

    The cosine of two rows is then the weighted mean of the blocks' cosines, and rows are of unit
    length. Rows are matched by image id, in the order of the first block. The GDSC 2020 solution
    concatenated unscaled embeddings, which weights networks by the length of their outputs.

    Weights are above 0. Many rows lie in `folder` on disk, if it is given. Raises KitboxError for
    blocks of different images.
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
    if len(blocks) == 1:
        return blocks[0]
    joined = _array((len(image_ids), sum(block.dim for block in blocks)), folder)
    column = 0
    for block, share in zip(blocks, _shares(weights), strict=True):
        in_order = block if np.array_equal(block.image_ids, image_ids) else block.of(image_ids)
        np.multiply(in_order.vectors, share, out=joined[:, column : column + block.dim])
        column += block.dim
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
    if (gallery == gallery[0]).all():
        raise KitboxError(
            f"--whiten {dim}: all {gallery.shape[0]} images of the gallery have the same embedding",
            fix="leave the option out",
        )
    from sklearn.decomposition import PCA  # takes a second to load

    pca = PCA(dim, whiten=True, svd_solver="full").fit(gallery.astype(np.float64))
    whitened = pca.transform(embeddings.vectors.astype(np.float64))
    whitened /= np.linalg.norm(whitened, axis=1, keepdims=True)
    return Embeddings(embeddings.image_ids, whitened.astype(np.float32))
