"""Near-duplicates by perceptual hash, and units of images that a split must keep together."""

import faiss
import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import HoldoutSettings
from kitbox.images.file_index import Signatures, concatenate_signatures
from kitbox.records import ImageSet, Integers, LabelledImages, Strings

Pairs = NDArray[np.int64]

# Thumbnails of near-duplicates correlate. On 2,503 humpback flukes without near-duplicates, hashes
# alone (at most 6 bits apart) give 65 pairs, and one pair with this bound.
_LEAST_CORRELATION = 0.97
# Hashes of 64 bits are looked up in 4 parts of 16 bits: if n bits differ, one part differs in at
# most n / 4 of them, so that flipping that many bits in each part finds every pair.
_PARTS, _PART_BITS = 4, 16
# Pairs whose thumbnails are compared at a time: 100 MB of pixels.
_CHUNK = 50_000


def split_units(images: ImageSet, signatures: Signatures, settings: HoldoutSettings) -> Integers:
    """Return the number of each image's unit (n,); a split must keep a unit together.

    A unit holds copies, near-duplicates, and images of one label from one encounter or taken
    within `settings.encounter_minutes` of the next.
    """
    first, codes = _distinct_files(images.file_digests)
    rows = np.arange(len(images))
    near = find_pairs(signatures.take(first), settings.near_duplicate_bits)
    pairs = [np.stack([rows, first[codes]], axis=1), first[near]]
    if images.encounters is not None:
        pairs.append(_same_encounter(images.labelled, images.encounters))
    if settings.encounter_minutes is not None:
        pairs.append(_close_in_time(images.labelled, 60 * settings.encounter_minutes))
    ends = np.concatenate(pairs)
    ends = ends[ends[:, 0] != ends[:, 1]]
    if not len(ends):
        return rows.astype(np.int64)
    # takes half a second to load, which most commands then spare
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(images),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def find_pairs(signatures: Signatures, bits: int) -> Pairs:
    """Return near-duplicate rows (p, 2): hashes at most `bits` apart and correlated thumbnails.

    The lesser row comes first. With 0 bits there are no pairs: different files can have equal
    hashes. An image of one colour has no near-duplicates.
    """
    (rows,) = np.nonzero(np.ptp(signatures.thumbnails, axis=1))
    if not bits or not len(rows):
        return np.empty((0, 2), dtype=np.int64)
    hashes = signatures.hashes[rows]
    index = faiss.IndexBinaryMultiHash(8 * hashes.shape[1], _PARTS, _PART_BITS)
    index.nflip = bits // _PARTS
    index.add(hashes)
    limits, _, found = index.range_search(hashes, bits + 1)
    queries = np.repeat(np.arange(len(rows)), np.diff(limits).astype(np.int64))
    pairs = np.stack([queries, found], axis=1)
    pairs = rows[np.unique(pairs[queries < found], axis=0)]
    near: Pairs = pairs[_correlation(signatures.thumbnails, pairs) >= _LEAST_CORRELATION]
    return near


def count_leaks(
    images: ImageSet, signatures: Signatures, queries: NDArray[np.bool_], bits: int
) -> int:
    """Return how many of the queries (a mask) have a copy or near-duplicate among the others."""
    return int(_leaks(images.file_digests, signatures, queries, bits).sum())


def repeated_images(
    images: ImageSet,
    signatures: Signatures,
    others: ImageSet,
    other_signatures: Signatures,
    bits: int,
) -> NDArray[np.bool_]:
    """Return which of the others (o,) are a copy or a near-duplicate of one of the images."""
    both = concatenate_signatures([signatures, other_signatures])
    queries = np.repeat([False, True], [len(images), len(others)])
    digests = np.concatenate([images.file_digests, others.file_digests])
    return _leaks(digests, both, queries, bits)


def _leaks(
    digests: Strings, signatures: Signatures, queries: NDArray[np.bool_], bits: int
) -> NDArray[np.bool_]:
    """Return which queries (q,) have a copy or a near-duplicate among the other images."""
    first, codes = _distinct_files(digests)
    other = np.zeros(len(first), dtype=np.bool_)
    other[codes[~queries]] = True
    pairs = find_pairs(signatures.take(first), bits)
    leaks = other.copy()
    for one, two in (pairs.T, pairs.T[::-1]):
        leaks[one[other[two]]] = True
    return leaks[codes[queries]]


def _distinct_files(digests: Strings) -> tuple[Integers, Integers]:
    """Return the first image (d,) of each distinct file, and each image's file (n,), as rows.

    Only distinct files are compared: one that thousands of images repeat would give millions of
    pairs.
    """
    _, first, codes = np.unique(digests, return_index=True, return_inverse=True)
    return first.astype(np.int64), codes.astype(np.int64)


def _correlation(thumbnails: NDArray[np.uint8], pairs: Pairs) -> NDArray[np.float32]:
    """Return the correlation (p,) of the two thumbnails of each pair."""
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


def _same_encounter(images: LabelledImages, encounters: Strings) -> Pairs:
    """Return pairs of each image with the next one of its label and encounter ('' is no encounter).

    Two individuals of one encounter stay two units: each can be a query on its own.
    """
    order = np.lexsort((encounters, images.labels))
    label, encounter = images.labels[order], encounters[order]
    same = (label[1:] == label[:-1]) & (encounter[1:] == encounter[:-1]) & (encounter[1:] != "")
    return np.stack([order[:-1][same], order[1:][same]], axis=1)


def _close_in_time(images: LabelledImages, seconds: float) -> Pairs:
    """Return pairs of each image with the next one of its label, at most `seconds` later."""
    times = np.full(len(images), np.nan) if images.times is None else images.times
    order = np.lexsort((times, images.labels))
    label, time = images.labels[order], times[order]
    close = (label[1:] == label[:-1]) & (np.diff(time) <= seconds)  # NaN is never close
    return np.stack([order[:-1][close], order[1:][close]], axis=1)
