"""Similarities of queries to labels, each measured by the images of the label."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.records import Floats, Integers, LabelledImages, Strings, rows_of
from kitbox.retrieval.knn import best_columns
from kitbox.retrieval.neighbour_graph import Block, NeighbourGraph, row_blocks

Similarity = Literal["best", "mean", "sum", "centre", "closeness"]

# Labels of one size from which on their images are compared one of each label at a time.
_MANY = 16
# Images of a query in which its best labels are looked for, and those of all queries: 100 MB.
_NEAREST, _MOST_NEAREST = 100, 8_000_000
# The share of a label's images, the farthest ones, that its centre leaves out at most.
_TRIMMED = 0.25


@dataclass(frozen=True)
class LabelSimilarities:
    """How similar the queries of a search are to labels.

    `query_ids (q,)` as answers name them, `labels (l,)`. `blocks` yields, once, rows of queries
    and their similarities (rows, l): -inf for a label without images other than the query itself.
    `best`, where there is one, finds so many of the most similar labels without all similarities.
    """

    query_ids: Strings
    labels: Strings
    blocks: Iterator[Block]
    best: "Callable[[int], BestLabels] | None" = None

    def with_blocks(self, blocks: Iterator[Block]) -> "LabelSimilarities":
        """Return other similarities of the same queries to the same labels."""
        return LabelSimilarities(self.query_ids, self.labels, blocks)

    def best_labels(self, k: int) -> "BestLabels":
        """Return the k most similar labels of each query; of equals the first one."""
        if self.best is not None:
            return self.best(k)
        found = np.zeros((len(self.query_ids), k), dtype=np.int64)
        similarity = np.full((len(self.query_ids), k), -np.inf, dtype=np.float32)
        for rows, of_labels in self.blocks:
            found[rows] = best_columns(of_labels, k)
            similarity[rows] = np.take_along_axis(of_labels, found[rows], axis=1)
        return found, similarity


# The columns (q, k) of labels, and the similarities (q, k) to them, best first.
BestLabels = tuple[Integers, Floats]


def measure(
    graph: NeighbourGraph, known: LabelledImages, similarity: Similarity = "best", images: int = 1
) -> LabelSimilarities:
    """Return how similar each query is to each label of some images of the graph's gallery.

    The similarity of a label is that of its "best" image, the "mean" or the "sum" of its best
    `images` images (of all, where it has fewer), or that of its "centre", the mean of its images
    without the farthest quarter. "closeness" is `closeness` of the mean distance to all its images.
    A query that is in the gallery does not count for its own label. The happywhale winner took the
    best image, several humpback winners the centre.

    A centre is compared as an image outside of shortlists is: it follows a step that moves
    embeddings, raises what each query sees by one number, or all similarities by a curve.

    Raises KitboxError for the "centre" of a graph whose shortlist or gallery images were moved.
    """
    by_label = np.lexsort((known.image_ids, known.labels))
    labels, starts = np.unique(known.labels[by_label], return_index=True)
    image_ids = known.image_ids[by_label]
    blocks: Iterator[Block] = iter(())
    if similarity == "centre":
        if graph.reranked is not None or graph.outside.of_gallery is not None:
            raise KitboxError(
                "a label's centre is no image, so that re-ranking does not move it; choose another "
                "task.label_similarity"
            )
        blocks = _centre_blocks(graph, image_ids, starts)
    elif similarity == "best" and len(labels):
        blocks = _best_blocks(graph, image_ids, starts)
        few = len(graph.search.query_ids) * _NEAREST <= _MOST_NEAREST
        if few and len(graph.search.gallery_images) > _NEAREST and graph.searchable:
            best = partial(_nearest_labels, graph, image_ids, starts)
            return LabelSimilarities(graph.search.query_ids, labels, blocks, best)
    elif len(labels):
        blocks = (
            (rows, _to_labels(each, starts, similarity, images))
            for rows, each in graph.blocks(image_ids)
        )
    return LabelSimilarities(graph.search.query_ids, labels, blocks)


def closeness(distance: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return 1 / (1 + log(1 + log(1 + d))) of Euclidean distances: 1 at 0, .574 at 2, falling.

    The tenth of Kaggle's humpback whales (Sanakoyeu, Pleskov and Shakhray, 2019) found that it
    makes distances of several networks fit to be averaged, better than softmax and 1 / (1 + d).
    """
    return np.asarray(1 / (1 + np.log1p(np.log1p(distance))))


def _to_labels(each: Floats, starts: Integers, similarity: Similarity, images: int) -> Floats:
    """Return the similarity (q, l) of labels by those of their images `each (q, g)`.

    `starts (l,)` is where the images of each label begin.
    """
    if similarity == "closeness":
        return _closeness_to_all(each, starts)
    return _combined(each, starts, images, mean=similarity == "mean")


def _best_blocks(graph: NeighbourGraph, image_ids: Strings, starts: Integers) -> Iterator[Block]:
    """Yield the similarities (rows, l) to the best image of each label.

    `image_ids` are sorted by label, `starts (l,)` is where the images of each label begin. Labels
    of one size are searched together, the first images of all of them before the second ones:
    their maximum is then taken of whole rows, ten times as fast as label by label.
    """
    sizes = np.diff(starts, append=len(image_ids))
    labels = [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
    images = [starts[some][:, None] + np.arange(sizes[some[0]]) for some in labels]
    order = [(each.T if len(each) >= _MANY else each).ravel() for each in images]
    place = np.argsort(np.concatenate(labels))
    for rows, each in graph.blocks(image_ids[np.concatenate(order)]):
        found = np.empty((len(each), len(starts)), dtype=np.float32)
        image = label = 0
        for some in images:
            count, size = some.shape
            part, best = each[:, image : image + some.size], found[:, label : label + count]
            if count >= _MANY:
                part.reshape(-1, size, count).max(axis=1, out=best)
            else:
                part.reshape(-1, count, size).max(axis=2, out=best)
            image, label = image + some.size, label + count
        yield rows, found[:, place]


def _nearest_labels(
    graph: NeighbourGraph, image_ids: Strings, starts: Integers, k: int
) -> BestLabels:
    """Return the k best labels of each query by its nearest images, where these tell.

    They do where the k-th label is nearer than the last of those images. Other queries, near to
    labels of many images, are compared with all images.
    """
    search = graph.search
    if 2 * k * len(image_ids) <= _NEAREST * len(starts):
        near = graph.shortlist(_NEAREST)
        label_of = np.full(len(search.gallery_images) + 1, -1)  # row -1 is none
        sizes = np.diff(starts, append=len(image_ids))
        in_gallery = rows_of(image_ids, search.gallery_images)
        label_of[in_gallery] = np.repeat(np.arange(len(sizes)), sizes)
        found, similarity = _first_labels(label_of[near.rows], near.similarity, k)
        left = np.flatnonzero(similarity[:, -1] <= near.similarity[:, -1])
    else:
        found = np.zeros((len(search.query_ids), k), dtype=np.int64)
        similarity = np.empty(found.shape, dtype=np.float32)
        left = np.arange(len(found))
    if not len(left):
        return found, similarity
    queries = {name: getattr(search, name)[left] for name in ("query_ids", "query_images")}
    others = replace(graph, search=replace(search, **queries))
    for rows, each in _best_blocks(others, image_ids, starts):
        found[left[rows]] = best = best_columns(each, k)
        similarity[left[rows]] = np.take_along_axis(each, best, axis=1)
    return found, similarity


def _first_labels(labels: Integers, similarity: Floats, k: int) -> BestLabels:
    """Return the first k labels of rows of images (q, w), best first; of equals the lesser one."""
    by_label = np.argsort(labels, axis=1, kind="stable")
    labels = np.take_along_axis(labels, by_label, axis=1)
    similarity = np.take_along_axis(similarity, by_label, axis=1)
    first = np.diff(labels, axis=1, prepend=-1) > 0
    similarity = np.where(first, similarity, np.float32(-np.inf))
    best = best_columns(similarity, k)
    return np.take_along_axis(labels, best, axis=1), np.take_along_axis(similarity, best, axis=1)


def _combined(each: Floats, starts: Integers, images: int, *, mean: bool) -> Floats:
    """Return the sum or mean (q, labels) of the best `images` similarities of each label."""
    sizes = np.diff(starts, append=each.shape[1])
    found = np.empty((len(each), len(starts)), dtype=np.float32)
    for size in np.unique(sizes).tolist():  # labels of one size at a time
        labels = np.flatnonzero(sizes == size)
        best = each[:, starts[labels][:, None] + np.arange(size)]
        if size > images:
            best = np.partition(best, size - images, axis=2)[:, :, -images:]
        others = best > -np.inf  # all but the query itself
        count = others.sum(axis=2)
        # in float64 the order of the terms makes no difference, so that equals stay equal
        total = np.where(others, best, 0).sum(axis=2, dtype=np.float64)
        total /= np.maximum(count, 1) if mean else 1
        found[:, labels] = np.where(count > 0, total, -np.inf)
    return found


def _closeness_to_all(each: Floats, starts: Integers) -> Floats:
    """Return the closeness (q, labels) by the mean distance to all images of each label."""
    others = each > -np.inf  # all but the query itself, which adds no distance
    count = np.add.reduceat(others, starts, axis=1, dtype=np.int64)
    # of unit rows d² = 2 − 2 cos, right to 3e-4 even between copies
    distance = np.sqrt(np.maximum(2 - 2 * np.where(others, each, 1), 0))
    total = np.add.reduceat(distance, starts, axis=1, dtype=np.float64)
    found = closeness(total / np.maximum(count, 1))
    return np.where(count > 0, found, -np.inf).astype(np.float32)


def _centre_blocks(graph: NeighbourGraph, image_ids: Strings, starts: Integers) -> Iterator[Block]:
    """Yield the similarities (rows, l) to the centre of each label, without the query itself.

    `image_ids` are sorted by label, `starts (l,)` is where the images of each label begin.
    """
    queries, vectors = graph.query.vectors, graph.embeddings.of(image_ids).vectors
    own, centres = rows_of(graph.search.query_images, image_ids), _centres(vectors, starts)
    ends = np.append(starts, len(vectors))
    outside = graph.outside
    for rows in row_blocks(len(queries) if len(starts) else 0, len(vectors)):
        found: Floats = queries[rows] @ centres.T
        for row in np.flatnonzero(own[rows] >= 0):
            itself = own[rows][row]
            label = int(np.searchsorted(starts, itself, side="right")) - 1
            images = np.arange(*ends[label : label + 2])
            others = vectors[images[images != itself]]
            centre = _centres(others, np.zeros(min(len(others), 1), dtype=np.int64))
            found[row, label] = queries[rows][row] @ centre[0] if len(others) else -np.inf
        if outside.of_query is not None:
            found += outside.of_query[rows, None]
        yield rows, outside.curve(found)


def _centres(vectors: Floats, starts: Integers) -> Floats:
    """Return the unit centre of each label: the mean of its rows without the farthest quarter."""
    sizes = np.diff(starts, append=len(vectors))
    label_of = np.repeat(np.arange(len(starts)), sizes)
    means = _unit(np.add.reduceat(vectors, starts, axis=0))
    near = np.einsum("nd,nd->n", vectors, means[label_of])
    by_label = np.lexsort((-near, label_of))
    place = np.arange(len(vectors)) - np.repeat(starts, sizes)
    within = np.zeros(len(vectors), dtype=np.bool_)
    within[by_label] = place < np.repeat(sizes - np.floor(_TRIMMED * sizes).astype(int), sizes)
    return _unit(np.add.reduceat(np.where(within[:, None], vectors, 0), starts, axis=0))


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
