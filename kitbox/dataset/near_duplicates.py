"""Finds images that belong together: copies, near-duplicates, pictures of one encounter."""

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from kitbox.competition.settings import HoldoutSettings
from kitbox.images.file_index import Signatures
from kitbox.records import ImageSet, Integers, LabelledImages, Strings

Pairs = NDArray[np.int64]

# Near-duplicates have thumbnails that correlate; on 2,503 humpback flukes without near-duplicates
# a hash alone (at most 6 bits) names 65 pairs, with this bound one.
_LEAST_CORRELATION = 0.97
# Hashes of 64 bits are looked up in 4 parts of 16: of n bits that differ, one part has at most
# n / 4, so that looking that many flips aside in each part misses nothing.
_PARTS, _PART_BITS = 4, 16
# Pairs whose thumbnails are compared at a time: 100 MB of pixels.
_CHUNK = 50_000


def split_units(images: ImageSet, looks: Signatures, shape: HoldoutSettings) -> Integers:
    """Return for each image the number of the unit (n,) that a split must not part.

    Together are files of equal bytes, near-duplicates, and images of one label from one encounter
    or taken within `shape.encounter_minutes` of the next.
    """
    first, codes = _files(images.file_digests)
    rows = np.arange(len(images))
    alike = similar_pairs(looks.take(first), shape.near_duplicate_bits)
    pairs = [np.stack([rows, first[codes]], axis=1), first[alike]]
    if images.encounters is not None:
        pairs.append(_met(images.labelled))
    if shape.encounter_minutes is not None:
        pairs.append(_close_in_time(images.labelled, 60 * shape.encounter_minutes))
    ends = np.concatenate(pairs)
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(images),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def similar_pairs(looks: Signatures, bits: int) -> Pairs:
    """Return pairs (p, 2) of images whose hashes differ in at most `bits` and whose pixels agree.

    The first of a pair is the lesser row. With 0 bits none: equal hashes of different bytes are
    near-duplicates too. A picture of one colour is like no other.
    """
    (rows,) = np.nonzero(np.ptp(looks.thumbnails, axis=1))
    if not bits or not len(rows):
        return np.empty((0, 2), dtype=np.int64)
    hashes = looks.hashes[rows]
    index = faiss.IndexBinaryMultiHash(8 * hashes.shape[1], _PARTS, _PART_BITS)
    index.nflip = bits // _PARTS
    index.add(hashes)
    limits, _, found = index.range_search(hashes, bits + 1)
    asked = np.repeat(np.arange(len(rows)), np.diff(limits).astype(np.int64))
    pairs = np.stack([asked, found], axis=1)
    pairs = rows[np.unique(pairs[asked < found], axis=0)]
    alike: Pairs = pairs[_correlation(looks.thumbnails, pairs) >= _LEAST_CORRELATION]
    return alike


def count_leaks(images: ImageSet, looks: Signatures, asked: NDArray[np.bool_], bits: int) -> int:
    """Return how many asked images have a copy or a near-duplicate among the others."""
    return int(_across(images.file_digests, looks, asked, bits).sum())


def count_repeated(
    images: ImageSet, looks: Signatures, others: ImageSet, other_looks: Signatures, bits: int
) -> int:
    """Return how many of the others have a copy or a near-duplicate among the images."""
    return int(repeated_images(images, looks, others, other_looks, bits).sum())


def repeated_images(
    images: ImageSet, looks: Signatures, others: ImageSet, other_looks: Signatures, bits: int
) -> NDArray[np.bool_]:
    """Return which of the others (o,) are a copy or a near-duplicate of one of the images."""
    both = Signatures(
        np.concatenate([looks.hashes, other_looks.hashes]),
        np.concatenate([looks.thumbnails, other_looks.thumbnails]),
    )
    asked = np.repeat([False, True], [len(images), len(others)])
    return _across(np.concatenate([images.file_digests, others.file_digests]), both, asked, bits)


def _across(
    digests: Strings, looks: Signatures, asked: NDArray[np.bool_], bits: int
) -> NDArray[np.bool_]:
    """Return which of the asked images (a,) have a copy or a near-duplicate among the others."""
    first, codes = _files(digests)
    left = np.zeros(len(first), dtype=np.bool_)
    left[codes[~asked]] = True
    pairs = similar_pairs(looks.take(first), bits)
    leaks = left.copy()
    for one, other in (pairs.T, pairs.T[::-1]):
        leaks[one[left[other]]] = True
    return leaks[codes[asked]]


def _files(digests: Strings) -> tuple[Integers, Integers]:
    """Return the first image (d,) of each distinct file, and each image's file (n,).

    A picture that thousands of images repeat would be near to itself in millions of pairs.
    """
    _, first, codes = np.unique(digests, return_index=True, return_inverse=True)
    return first.astype(np.int64), codes.astype(np.int64)


def _correlation(thumbnails: NDArray[np.uint8], pairs: Pairs) -> NDArray[np.float32]:
    """Return for each pair the correlation (p,) of the two thumbnails' pixels."""
    found = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), _CHUNK):
        part = slice(start, start + _CHUNK)
        one, other = (_standardised(thumbnails[rows]) for rows in pairs[part].T)
        found[part] = np.einsum("pd,pd->p", one, other)
    return found


def _standardised(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = thumbnails.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


def _met(images: LabelledImages) -> Pairs:
    """Return each image with the next of its label and encounter; an empty encounter is none.

    Two individuals who were met together are two questions, so they may be asked apart.
    """
    assert images.encounters is not None  # noqa: S101
    order = np.lexsort((images.encounters, images.labels))
    label, encounter = images.labels[order], images.encounters[order]
    same = (label[1:] == label[:-1]) & (encounter[1:] == encounter[:-1]) & (encounter[1:] != "")
    return np.stack([order[:-1][same], order[1:][same]], axis=1)


def _close_in_time(images: LabelledImages, seconds: float) -> Pairs:
    """Return each image with the next of its label, where less time than `seconds` lies between."""
    times = np.full(len(images), np.nan) if images.times is None else images.times
    order = np.lexsort((times, images.labels))
    label, time = images.labels[order], times[order]
    close = (label[1:] == label[:-1]) & (np.diff(time) <= seconds)  # NaN is never close
    return np.stack([order[:-1][close], order[1:][close]], axis=1)
