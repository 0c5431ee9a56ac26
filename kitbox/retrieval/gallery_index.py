"""Indexes of large galleries: neighbours by faiss among compressed vectors, measured beside exact.

An index is a step that comes before all others: what a later step or a ranking asks the graph for
is then looked up in it, and the candidates are ranked by the cosines of their own vectors.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import faiss
import numpy as np
from pydantic import Field

from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Floats, Integers, rows_of
from kitbox.retrieval import knn
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.retrieval.rerank_step import RerankStep

# A byte has so many values, which a smaller gallery cannot teach.
FEWEST = 256
# Neighbours and queries by which an index is held against exact search.
RECALL_AT, RECALL_QUERIES = 20, 200
# Vectors of a list that its centre is learned from; vectors added, and numbers ranked, at a time.
_LEARNED_FROM, _ADDED, _NUMBERS = 64, 65_536, 16_000_000


class GalleryIndex(RerankStep):
    """An inverted file: the gallery in lists around centres, of which a query looks into some.

    `lists` is 4 √n unless given, `probes` how many of them a query looks into, and `candidates`
    how many of its nearest are ranked by exact cosines for each neighbour that is asked for.
    `seed` draws the vectors that centres are learned from.
    """

    keeps_cosines: ClassVar[bool] = True
    order: ClassVar[tuple[str, ...]] = ("probes", "candidates", "lists", "parts", "seed")

    probes: int = Field(default=32, ge=1)
    candidates: int = Field(default=4, ge=1)
    lists: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)

    def apply(self, graph: NeighbourGraph) -> NeighbourGraph:
        """Return the graph whose neighbours are looked up in an index of its gallery."""
        return replace(graph, index=IndexedGallery(self, graph.gallery))

    @abstractmethod
    def codes(self, dim: int) -> str:
        """Return what faiss's `index_factory` calls the codes of vectors of so many dimensions."""

    def lists_of(self, count: int) -> int:
        """Return the number of lists of so many vectors: each has one to learn from at least."""
        return min(self.lists or max(round(4 * count**0.5), 1), count)


class ScalarQuantiser(GalleryIndex):
    """Each number of a vector in a byte: a quarter of the memory, and hardly a neighbour lost."""

    kind: ClassVar[str] = "sq8"

    def codes(self, dim: int) -> str:  # noqa: ARG002, D102
        return "SQ8"


class ProductQuantiser(GalleryIndex):
    """Parts of a vector in four bits each (Jégou et al., 2011; André, Kermarrec and Le Scouarnec).

    `parts` divides the number of dimensions; unless given it is the largest divisor that leaves
    each part two dimensions or more: a sixteenth of the memory where dimensions are even.
    """

    kind: ClassVar[str] = "ivf_pq"

    candidates: int = Field(default=10, ge=1)
    parts: int | None = Field(default=None, ge=1)

    def codes(self, dim: int) -> str:  # noqa: D102
        parts = self.parts or next(
            size for size in range(max(dim // 2, 1), 0, -1) if dim % size == 0
        )
        if dim % parts:
            raise KitboxError(
                f"ivf_pq: {dim} dimensions have no {parts} equal parts",
                fix="choose parts that divide them, or leave parts out",
            )
        return f"PQ{parts}x4fs"


@dataclass(frozen=True, kw_only=True)
class IndexRecall:
    """The share of the `k` nearest of `gallery` images that an index finds, by `queries`.

    A gallery too small for an index is searched exactly: its share is 1, by no query.
    """

    step: str
    search: str
    gallery: int
    k: int
    queries: int
    recall: float

    @property
    def sentence(self) -> str:
        """What a user should know: how many neighbours are lost."""
        place = f" of {self.search}" if self.search else ""
        if self.gallery < FEWEST:
            return (
                f"{self.step}: the {self.gallery} gallery images{place} are searched exactly; an "
                f"index needs {FEWEST}"
            )
        return (
            f"{self.step}: finds {self.recall:.1%} of the {self.k} nearest of {self.gallery} "
            f"images{place} that exact search finds, by {self.queries} queries"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the fields; the share has 4 decimals, and an unnamed search no name."""
        fields = {"step": self.step, "search": self.search, "gallery": self.gallery}
        fields |= {"k": self.k, "queries": self.queries, "recall": round(self.recall, 4)}
        return fields if self.search else {n: v for n, v in fields.items() if n != "search"}


class IndexedGallery:
    """The index of a gallery, in memory; its vectors stay where they are.

    A gallery of fewer vectors than an index needs is searched exactly, as `measure_recall` says.
    """

    def __init__(self, method: GalleryIndex, gallery: Embeddings) -> None:
        """Learn the centres and add all vectors, block by block."""
        self.method, self.gallery = method, gallery
        self.index = None if len(gallery) < FEWEST else self._built()

    def _built(self) -> Any:
        method, gallery = self.method, self.gallery
        count, lists = len(gallery), method.lists_of(len(gallery))
        index: Any = faiss.index_factory(
            gallery.dim, f"IVF{lists},{method.codes(gallery.dim)}", faiss.METRIC_INNER_PRODUCT
        )
        index.cp.seed = method.seed
        index.cp.min_points_per_centroid = (
            1  # which silences faiss where it has fewer than it likes
        )
        if hasattr(index, "pq"):
            index.pq.cp.min_points_per_centroid = 1
        index.nprobe = method.probes
        most = max(_LEARNED_FROM * lists, 65_536)
        generator = np.random.default_rng(method.seed)
        drawn = np.arange(count)
        if count > most:
            drawn = np.sort(generator.choice(count, most, replace=False))
        index.train(np.ascontiguousarray(gallery.vectors[drawn]))
        for start in range(0, count, _ADDED):
            index.add(np.ascontiguousarray(gallery.vectors[start : start + _ADDED]))
        return index

    def nearest_rows(self, query: Embeddings, k: int) -> tuple[Integers, Floats]:
        """Return gallery rows (q, k) and cosines (q, k) as `knn.nearest_rows` does, of candidates.

        Rows of a query that finds fewer than k end in -1 and -inf.
        """
        if self.index is None:
            return knn.nearest_rows(query, self.gallery, k)
        wanted = min(self.method.candidates * k + 1, len(self.gallery))
        own = rows_of(query.image_ids, self.gallery.image_ids)
        found = np.full((len(query), k), -1, dtype=np.int64)
        similarity = np.full((len(query), k), -np.inf, dtype=np.float32)
        step = max(_NUMBERS // (wanted * query.dim), 1)
        for start in range(0, len(query), step):
            rows = slice(start, start + step)
            vectors = np.ascontiguousarray(query.vectors[rows])
            _, places = self.index.search(vectors, wanted)
            cosine = np.einsum("qd,qcd->qc", vectors, self.gallery.vectors[places])
            cosine = np.where((places < 0) | (places == own[rows, None]), -np.inf, cosine)
            order = np.lexsort((self._rank[places], -cosine), axis=1)[:, :k]  # of equals the first
            best = np.take_along_axis(cosine, order, axis=1).astype(np.float32)
            width = best.shape[1]
            places = np.take_along_axis(places, order, axis=1)
            found[rows, :width] = np.where(np.isneginf(best), -1, places)
            similarity[rows, :width] = best
        return found, similarity

    def moved(self, gallery: Embeddings) -> "IndexedGallery":
        """Return the index of other vectors of the same images."""
        return IndexedGallery(self.method, gallery)

    def measure_recall(self, query: Embeddings, search: str = "") -> IndexRecall:
        """Return the share of the 20 nearest that the index finds.

        It is measured by 200 drawn queries, or all, which exact search answers too.
        """
        size, k = len(self.gallery), min(RECALL_AT, len(self.gallery))
        count = 0 if self.index is None else min(RECALL_QUERIES, len(query))
        share = 1.0
        if count:
            generator = np.random.default_rng(self.method.seed)
            drawn = np.sort(generator.choice(len(query), count, replace=False))
            sample = query.of(query.image_ids[drawn])
            exact, _ = knn.nearest_rows(sample, self.gallery, k)
            found, _ = self.nearest_rows(sample, k)
            hits = (exact[:, :, None] == found[:, None, :]).any(axis=2) & (exact >= 0)
            share = float(hits.sum() / (exact >= 0).sum())
        step = str(self.method)
        return IndexRecall(step=step, search=search, gallery=size, k=k, queries=count, recall=share)

    @cached_property
    def _rank(self) -> Integers:
        rank = np.empty(len(self.gallery), dtype=np.int64)
        rank[np.argsort(self.gallery.image_ids, kind="stable")] = np.arange(len(rank))
        return rank
