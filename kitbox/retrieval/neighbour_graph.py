"""The neighbour graph of a search: how similar its queries are to its gallery images.

Images, labels, matches and clusters are all ranked from it, so that a re-ranking step, which takes
a graph and returns one, moves them all.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError, format_duration
from kitbox.records import (
    Embeddings,
    Floats,
    Integers,
    Neighbours,
    Progress,
    Search,
    Strings,
    rows_of,
)
from kitbox.retrieval import knn

# The unit of progress of what indexes find, whose notices are given once.
INDEXED = "indexed searches"

# Rows of some queries, and their similarities (rows, n).
Block = tuple[slice, Floats]
# Rows (p,) and larger rows (p,) of pairs of images, and their similarities (p,).
Pairs = tuple[Integers, Integers, Floats]

# Similarities held at a time: 64 MB of float32.
_BLOCK_SIZE = 16_000_000
# Pairs of a shortlist that are kept for the next question: 100 MB.
_MOST_KEPT = 8_000_000
# Queries compared with all queries at a time: of 20,000, 20 MB of float32.
_ROWS = 256
# Seconds of an exact search from which on an index is named.
_LONG = 60
# Beyond its knots a curve is at its bound so far away.
_FAR = 1e300
_NONE = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Shortlist:
    """Some gallery images of each query, and their similarities.

    `rows (q, s)` count the images of the search's gallery from 0, -1 where a query has fewer than
    s of them; `similarity (q, s) float32`.
    """

    rows: Integers
    similarity: Floats

    def __post_init__(self) -> None:
        if self.rows.shape != self.similarity.shape:
            raise KitboxError(
                f"a shortlist of {self.rows.shape} rows but {self.similarity.shape} similarities"
            )
        lost = int((np.isnan(self.similarity) & (self.rows >= 0)).sum())
        if lost:
            raise KitboxError(f"{lost} similarities of a shortlist are no numbers")


@dataclass(frozen=True, eq=False)
class SimilarityMap:
    """What becomes of the cosines of pairs that are in no shortlist.

    `curve(cosine + of_query[q] + of_gallery[g])`: `of_query (q,)` and `of_gallery (g,)` are 0
    unless given. The curve is linear between the knots `x` and `y`, and continues beyond them as
    between the last two, but never leaves what is `between` two numbers, where these are given. It
    rises everywhere, so that it changes no order. Without knots it is the identity. The curve of
    `last`, if any, follows it.

    Raises KitboxError for knots that do not rise, fewer than two, or numbers that are not finite,
    and for `y` that are not between both numbers.
    """

    of_query: Floats | None = None
    of_gallery: Floats | None = None
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    between: tuple[float, float] | None = None
    last: "SimilarityMap | None" = None

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or len(self.x) == 1:
            raise KitboxError(
                f"a curve of similarities has as many x as y, two or more, not {len(self.x)} "
                f"and {len(self.y)}"
            )
        for name, knots in (("x", self.x), ("y", self.y)):
            if not np.isfinite(knots).all() or (np.diff(knots) <= 0).any():
                raise KitboxError(f"the knots {name} of a curve of similarities have to rise")
        low, high = self.between or (-np.inf, np.inf)
        if self.y and not low <= self.y[0] < self.y[-1] <= high:
            raise KitboxError("the knots y of a curve of similarities are not within its bounds")
        for name in ("of_query", "of_gallery"):
            offsets = getattr(self, name)
            if offsets is not None and not np.isfinite(offsets).all():
                raise KitboxError(f"offsets {name} of similarities are no numbers")

    @classmethod
    def linear(cls, slope: float, intercept: float = 0.0) -> "SimilarityMap":
        """Return the map to slope · cosine + intercept."""
        return cls(x=(0.0, 1.0), y=(intercept, intercept + slope))

    @property
    def identity(self) -> bool:
        """Whether a cosine stays what it is."""
        no_offsets = self.of_query is None and self.of_gallery is None
        return no_offsets and not self.x and self.last is None

    def curve(self, values: Floats) -> Floats:
        """Return the curve's value of each cosine and its offsets."""
        if self.last is not None:
            return self.last.curve(replace(self, last=None).curve(values))
        if not self.x:
            return values
        if self.between is not None:
            found = curve_values(values, self.x, self.y, self.between)
            # what a list lacks stays behind all that is in it
            return np.where(np.isneginf(values), values, inside(found, self.between))
        if len(self.x) > 2:
            return curve_values(values, self.x, self.y).astype(np.float32)
        slope = (self.y[1] - self.y[0]) / (self.x[1] - self.x[0])
        line: Floats = np.float32(slope) * values + np.float32(self.y[0] - slope * self.x[0])
        return line

    def then(
        self, x: Sequence[float], y: Sequence[float], between: tuple[float, float] | None = None
    ) -> "SimilarityMap":
        """Return the map whose curve is followed by another one of knots `x` and `y`.

        Raises KitboxError where this one ends with a curve that is `between` two numbers.
        """
        if self.between is not None or self.last is not None:
            raise KitboxError("no curve of similarities follows one that has bounds")
        other = SimilarityMap(x=tuple(x), y=tuple(y), between=between)
        if between is not None:  # it is nowhere a line beyond its knots
            return replace(self, last=other)
        if not (self.x and other.x):
            return replace(self, x=self.x or other.x, y=self.y or other.y)
        # the knots of the other curve, as this one reaches them
        back = curve_values(np.array(other.x), self.y, self.x)
        knots = np.unique(np.concatenate([np.array(self.x), back]))
        values = curve_values(curve_values(knots, self.x, self.y), other.x, other.y)
        rising = np.append(True, np.diff(np.maximum.accumulate(values)) > 0)  # but for rounding
        return replace(self, x=tuple(knots[rising].tolist()), y=tuple(values[rising].tolist()))

    def minus(self, of_query: Floats) -> "SimilarityMap":
        """Return the map to similarities that are lower by `of_query (q,)` than those of this one.

        Raises KitboxError for a curve of more than one slope.
        """
        if len(self.x) > 2 or self.last is not None:
            raise KitboxError("offsets of queries come before a curve of similarities, not after")
        slope = (self.y[1] - self.y[0]) / (self.x[1] - self.x[0]) if self.x else 1.0
        offsets = -of_query.astype(np.float64) / slope
        total = offsets if self.of_query is None else self.of_query + offsets
        return replace(self, of_query=total.astype(np.float32))


def curve_values(
    values: NDArray[np.floating],
    x: Sequence[float] | NDArray[np.float64],
    y: Sequence[float] | NDArray[np.float64],
    between: tuple[float, float] | None = None,
) -> NDArray[np.float64]:
    """Return the values of the curve through the knots `x` and `y` in float64.

    Beyond the knots it goes on as between the last two; with `between` it bends there, in the same
    direction at first, towards a bound that it never reaches.
    """
    first, last = (y[1] - y[0]) / (x[1] - x[0]), (y[-1] - y[-2]) / (x[-1] - x[-2])
    below = first * np.maximum(x[0] - values, 0)
    above = last * np.maximum(values - x[-1], 0)
    if between is None:
        return np.asarray(np.interp(values, x, y) - below + above)
    low, high = between
    below, above = _bent(below, y[0] - low), _bent(above, high - y[-1])
    found = np.interp(values, x, y) - below + above
    return np.asarray(np.clip(found, np.nextafter(low, high), np.nextafter(high, low)))


def _bent(beyond: NDArray[np.floating], room: float) -> NDArray[np.float64]:
    """Return how far a line has come that bends, so that it never comes farther than `room`."""
    far = np.minimum(beyond, np.float64(_FAR))
    return np.asarray(far * (room / (room + far + _NONE)))


def inside(values: NDArray[np.floating], between: tuple[float, float]) -> Floats:
    """Return values between two numbers as float32, which might round to either of them."""
    low, high = np.float32(between[0]), np.float32(between[1])
    found = values.astype(np.float32)
    return np.asarray(np.clip(found, np.nextafter(low, high), np.nextafter(high, low)))


@dataclass(frozen=True, eq=False)
class SeparatedImages:
    """Queries (q,) and gallery images (g,), as masks, all pairs of which have one similarity.

    It takes no memory for the pairs, as a shortlist would, and comes after all re-ranking.
    """

    queries: NDArray[np.bool_]
    gallery: NDArray[np.bool_]
    similarity: float


class SearchedGallery(Protocol):
    """An index of a gallery, in which neighbours are looked up in place of exact search."""

    def nearest_rows(self, query: Embeddings, k: int) -> tuple[Integers, Floats]:
        """Return gallery rows (q, k) and their cosines (q, k), as `knn.nearest_rows` does."""

    def moved(self, gallery: Embeddings) -> "SearchedGallery":
        """Return the same index of other vectors of these images."""

    def measure_recall(self, query: Embeddings, search: str) -> "MeasuredRecall":
        """Return the share of neighbours that it finds."""


class MeasuredRecall(Protocol):
    """The share of neighbours that an index finds, compared with exact search."""

    @property
    def sentence(self) -> str:
        """What a user should know about it."""

    def as_json(self) -> dict[str, Any]:
        """Return the figures."""


@dataclass(frozen=True)
class NeighbourGraph:
    """The queries and the gallery images of a search, joined by their similarities.

    A similarity is what `reranked` says, else what `outside` makes of the cosine of two
    `embeddings`. Query vectors that differ from those of the same images in the gallery are in
    `expanded`, in the order of the queries. `others` are ids of images that surely show none of
    the individuals that are searched for, None where there are no such images. `separated` has the
    last word on its pairs of a query and a gallery image. With an `index` neighbours are looked up
    in it while all similarities are cosines. Nothing is computed before it is asked for, and never
    all pairs at once. A query is no neighbour of itself.
    """

    search: Search
    embeddings: Embeddings
    reranked: Shortlist | None = None
    outside: SimilarityMap = field(default_factory=SimilarityMap)
    expanded: Embeddings | None = None
    others: Strings | None = None
    separated: SeparatedImages | None = None
    index: SearchedGallery | None = None
    _found: list[Shortlist] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, offsets, images in (
            ("of_query", self.outside.of_query, self.search.query_images),
            ("of_gallery", self.outside.of_gallery, self.search.gallery_images),
        ):
            if offsets is not None and len(offsets) != len(images):
                raise KitboxError(f"{len(offsets)} offsets {name} of {len(images)} images")

    @property
    def query(self) -> Embeddings:
        """The embeddings of the query images (q, d)."""
        return self.expanded or self.embeddings.of(self.search.query_images)

    @property
    def gallery(self) -> Embeddings:
        """The embeddings of the gallery images (g, d)."""
        return self.embeddings.of(self.search.gallery_images)

    @property
    def plain(self) -> bool:
        """Whether all similarities are cosines of the query and the gallery vectors."""
        return self.reranked is None and self.outside.identity and self.separated is None

    @property
    def searchable(self) -> bool:
        """Whether an exact search among vectors finds the nearest: none was moved or expanded."""
        return self.plain and self.index is None and self.expanded is None

    def nearest(self, k: int) -> Neighbours:
        """Return the k most similar gallery images of each query; equals are ordered by id.

        A row with fewer than k neighbours ends in '' and -inf.
        """
        found = self.shortlist(k)
        # row -1 is the last one
        gallery_ids = np.append(self.search.gallery_images, "")[found.rows]
        return Neighbours(self.search.query_images, gallery_ids, found.similarity)

    def shortlist(self, k: int) -> Shortlist:
        """Return the k nearest as rows of the gallery: what a re-ranking step begins with."""
        gallery_ids = self.search.gallery_images
        if len(gallery_ids) and self.plain and self.index is not None:
            return Shortlist(*self.index.nearest_rows(self.query, k))
        if len(gallery_ids) and self.plain:
            return self._exact_shortlist(k)
        shape = (len(self.search.query_ids), k)
        found, similarity = np.full(shape, -1), np.full(shape, -np.inf, dtype=np.float32)
        if not len(gallery_ids):
            return Shortlist(found, similarity)
        order, width = np.argsort(gallery_ids, kind="stable"), min(k, len(gallery_ids))
        # in the order of ids: of equals the first is taken
        for rows, block in self.blocks(gallery_ids[order]):
            best = knn.best_columns(block, width)
            values = np.take_along_axis(block, best, axis=1)
            found[rows, :width] = np.where(np.isneginf(values), -1, order[best])
            similarity[rows, :width] = values
        return Shortlist(found, similarity)

    def _exact_shortlist(self, k: int) -> Shortlist:
        """Return the k nearest by exact search; of few pairs the last shortlist is kept."""
        if not self._found or self._found[0].rows.shape[1] < k:
            found = Shortlist(*knn.nearest_rows(self.query, self.gallery, k))
            if found.rows.size > _MOST_KEPT:
                return found
            self._found[:] = [found]
        return Shortlist(self._found[0].rows[:, :k], self._found[0].similarity[:, :k])

    @cached_property
    def index_recall(self) -> MeasuredRecall | None:
        """What the index finds of the nearest, None without an index; measured once."""
        if self.index is None:
            return None
        return self.index.measure_recall(self.query, self.search.name)

    def within_gallery(self, k: int) -> tuple[Integers, Floats]:
        """Return the k other gallery images nearest to each (g, k), and their cosines (g, k)."""
        if self.index is not None:
            return self.index.nearest_rows(self.gallery, k)
        return knn.nearest_rows(self.gallery, self.gallery, k)

    def moved(self, embeddings: Embeddings, expanded: Embeddings | None) -> "NeighbourGraph":
        """Return the graph of other vectors of the same images."""
        graph = replace(self, embeddings=embeddings, expanded=expanded)
        if self.index is None or embeddings is self.embeddings:
            return graph
        return replace(graph, index=self.index.moved(graph.gallery))

    def blocks(self, gallery_ids: Strings) -> Iterator[Block]:
        """Yield the similarities (rows, g) of all queries to some gallery images, in their order.

        A query's similarity to itself is -inf.
        """
        queries, vectors = self.query.vectors, self.embeddings.of(gallery_ids).vectors
        own = rows_of(self.search.query_images, gallery_ids)
        reranked, of_query = self.reranked, self.outside.of_query
        columns = None if reranked is None else self._columns(reranked, gallery_ids)
        of_gallery = self._gallery_offsets(gallery_ids)
        if self.separated is not None:
            masked = self.search.gallery_images[self.separated.gallery]
            separated = np.flatnonzero(np.isin(gallery_ids, masked))
        for rows in row_blocks(len(queries), len(gallery_ids)):
            similarity: Floats = queries[rows] @ vectors.T
            similarity = self._outside(
                similarity, None if of_query is None else of_query[rows], of_gallery
            )
            if reranked is not None and columns is not None:
                row, place = np.nonzero(columns[rows] >= 0)
                similarity[row, columns[rows][row, place]] = reranked.similarity[rows][row, place]
            if self.separated is not None:
                apart = np.flatnonzero(self.separated.queries[rows])
                similarity[np.ix_(apart, separated)] = self.separated.similarity
            itself = np.flatnonzero(own[rows] >= 0)
            similarity[itself, own[rows][itself]] = -np.inf
            yield rows, similarity

    def query_pairs(self) -> Pairs | None:
        """Return the re-ranked pairs of queries, None without a shortlist.

        A pair has two similarities, one as each side sees the other, and takes their mean. There
        are pairs where queries are in their own gallery. They are ordered by both rows.
        """
        if self.reranked is None:
            return None
        count = len(self.search.query_images)
        columns = self._columns(self.reranked, self.search.query_images)
        row, place = np.nonzero(columns >= 0)
        other = columns[row, place]
        keys = np.minimum(row, other) * count + np.maximum(row, other)
        pairs, of_pair = np.unique(keys, return_inverse=True)
        first, second = np.divmod(pairs, max(count, 1))
        sides = np.full((2, len(pairs)), np.nan, dtype=np.float32)
        sides[(row > other).astype(np.int64), of_pair] = self.reranked.similarity[row, place]
        for values, ones, others in zip(sides, (first, second), (second, first), strict=True):
            # the side whose shortlist lacks the other sees what is outside of shortlists
            lacks = np.flatnonzero(np.isnan(values))
            values[lacks] = self._seen(ones[lacks], others[lacks])
        return first, second, sides.mean(axis=0, dtype=np.float32)

    def query_blocks(self) -> Iterator[Block]:
        """Yield the similarities (rows, n) of queries to those from the first of these rows on.

        Each pair of queries comes at least once. It has two similarities, one as each side sees
        the other, and takes their mean.
        """
        seeing = self.query.vectors
        seen = seeing if self.expanded is None else self._as_gallery.vectors
        of_query = self.outside.of_query
        of_gallery = self._gallery_offsets(self.search.query_images)
        both = of_query is not None or of_gallery is not None or self.expanded is not None
        pairs = self.query_pairs()
        for start in range(0, len(seeing), _ROWS):
            rows, rest = slice(start, start + _ROWS), slice(start, None)
            similarity: Floats = seeing[rows] @ seen[rest].T
            similarity = self._outside(similarity, _part(of_query, rows), _part(of_gallery, rest))
            if both:
                back: Floats = seeing[rest] @ seen[rows].T
                back = self._outside(back, _part(of_query, rest), _part(of_gallery, rows))
                similarity = (similarity + back.T) * np.float32(0.5)
            if pairs is not None:
                first, second, values = pairs
                own = slice(*np.searchsorted(first, [start, start + _ROWS]))
                row, other = first[own] - start, second[own] - start
                similarity[row, other] = values[own]
                within = np.flatnonzero(other < len(similarity))
                similarity[other[within], row[within]] = values[own][within]
            yield rows, similarity

    def rerank(
        self, shortlist: Shortlist, outside: SimilarityMap | None = None
    ) -> "NeighbourGraph":
        """Return the graph with the similarities of a shortlist in place of its own.

        A query's own image in its shortlist does not count. `outside` takes the place of the
        graph's map, None leaves it. Pairs of an earlier shortlist keep their similarity; `mapped`
        moves those too.
        """
        own = rows_of(self.search.query_images, self.search.gallery_images)
        rows = np.where(shortlist.rows == own[:, None], -1, shortlist.rows)
        reranked = Shortlist(rows, shortlist.similarity)
        if self.reranked is not None:
            reranked = _joined(reranked, self.reranked, len(self.search.gallery_images))
        return replace(self, reranked=reranked, outside=outside or self.outside)

    def mapped(
        self, x: Sequence[float], y: Sequence[float], between: tuple[float, float] | None = None
    ) -> "NeighbourGraph":
        """Return the graph with all its similarities put through a rising curve.

        The knots and bounds are those of a `SimilarityMap`: no query's order changes.
        """
        reranked = self.reranked
        if reranked is not None:
            curve = SimilarityMap(x=tuple(x), y=tuple(y), between=between)
            reranked = Shortlist(reranked.rows, curve.curve(reranked.similarity))
        return replace(self, reranked=reranked, outside=self.outside.then(x, y, between))

    @property
    def _as_gallery(self) -> Embeddings:
        """The query images as others see them."""
        return self.embeddings.of(self.search.query_images)

    def _outside(
        self, cosine: Floats, of_query: Floats | None, of_gallery: Floats | None
    ) -> Floats:
        """Return what the map makes of cosines (q, g) and their offsets (q,) and (g,)."""
        if of_query is not None:
            cosine += of_query[:, None]
        if of_gallery is not None:
            cosine += of_gallery
        return self.outside.curve(cosine)

    def _gallery_offsets(self, image_ids: Strings) -> Floats | None:
        """Return the offset (n,) of images, 0 of those that are not in the gallery."""
        if self.outside.of_gallery is None:
            return None
        rows = rows_of(image_ids, self.search.gallery_images)
        offsets: Floats = np.append(self.outside.of_gallery, np.float32(0))[rows]
        return offsets

    def _seen(self, ones: Integers, others: Integers) -> Floats:
        """Return the similarities (p,) of pairs of queries outside of shortlists, as ones see."""
        seeing = self.query.vectors
        seen = seeing if self.expanded is None else self._as_gallery.vectors
        cosine = np.empty(len(ones), dtype=np.float32)
        for rows in row_blocks(len(ones), seeing.shape[1]):
            cosine[rows] = np.einsum("pd,pd->p", seeing[ones[rows]], seen[others[rows]])
        of_gallery = self._gallery_offsets(self.search.query_images)
        for offsets, rows_seen in ((self.outside.of_query, ones), (of_gallery, others)):
            if offsets is not None:
                cosine += offsets[rows_seen]
        return self.outside.curve(cosine)

    def _columns(self, shortlist: Shortlist, image_ids: Strings) -> Integers:
        """Return where the images (q, s) of a shortlist stand among `image_ids`, -1 if nowhere."""
        place = rows_of(self.search.gallery_images, image_ids)
        return np.append(place, -1)[shortlist.rows]


def _part(offsets: Floats | None, rows: slice) -> Floats | None:
    return None if offsets is None else offsets[rows]


# A re-ranking step: from a graph to the same one with other similarities in its shortlists.
Reranker = Callable[[NeighbourGraph], NeighbourGraph]


def neighbour_graphs(
    embeddings: Embeddings, searches: Sequence[Search], rerank: Reranker | None = None
) -> tuple[NeighbourGraph, ...]:
    """Return the graph of each search, re-ranked if a step is given."""
    graphs = [NeighbourGraph(search, embeddings) for search in searches]
    return tuple(graphs if rerank is None else [rerank(graph) for graph in graphs])


def graph_stage(
    embeddings: Embeddings,
    searches: Sequence[Search],
    rerank: Reranker | None = None,
    *,
    of_images: bool = False,
) -> Generator[Progress, None, tuple[NeighbourGraph, ...]]:
    """Return what `neighbour_graphs` does; yields Progress where there is something to re-rank.

    Where the nearest are asked for `of_images`, and exact search of them takes minutes, it tells
    how long, and what is faster.
    """
    graphs: list[NeighbourGraph] = []
    for number, search in enumerate(searches):
        if rerank is not None:
            yield Progress("re-rank", number, len(searches), unit="searches", note=search.name)
        graphs += neighbour_graphs(embeddings, [search], rerank)
        recall = graphs[-1].index_recall
        if recall is not None:
            yield Progress("re-rank", number + 1, len(searches), INDEXED, notice=recall.sentence)
    exact = [graph for graph in graphs if of_images and graph.index is None]
    notice = _long_search(exact)
    if notice:
        yield Progress("search", 0, len(exact), INDEXED, notice=notice)
    return tuple(graphs)


def _long_search(graphs: Sequence[NeighbourGraph]) -> str:
    """Return how long exact search takes, if that is a minute or more, and what is faster."""
    seconds = sum(knn.expected_seconds(graph.query, graph.gallery) for graph in graphs)
    if seconds < _LONG:
        return ""
    queries = sum(len(graph.search.query_images) for graph in graphs)
    return (
        f"exact search of {queries} queries in {max(len(g.gallery) for g in graphs)} images takes "
        f"about {format_duration(seconds)} here; with --rerank sq8 they are looked up in an index, "
        "and what it loses is measured"
    )


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yield slices of rows, each of which times the columns is 16 million numbers at most."""
    step = max(_BLOCK_SIZE // max(columns, 1), 1)
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _joined(first: Shortlist, second: Shortlist, gallery_size: int) -> Shortlist:
    """Return both shortlists side by side, without the images of the second that the first has."""
    offset = gallery_size * np.arange(len(first.rows))[:, None]
    keys = (first.rows + offset)[first.rows >= 0]
    rows = np.where(np.isin(second.rows + offset, keys), -1, second.rows)
    return Shortlist(
        np.concatenate([first.rows, rows], axis=1),
        np.concatenate([first.similarity, second.similarity], axis=1),
    )
