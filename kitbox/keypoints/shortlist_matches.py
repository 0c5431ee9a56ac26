"""Local matches of the nearest gallery images of each query."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.keypoints.match_settings import MatchSettings
from kitbox.keypoints.pair_scores import MatchOptions, PairMatches, measure
from kitbox.records import Floats, ImageSet, Progress, Strings, strings
from kitbox.retrieval.neighbour_graph import NeighbourGraph, Shortlist
from kitbox.workspace import Workspace

# Pairs of a shortlist at most: their ids, keys and counts take about 2 GB.
_MOST_PAIRS = 5_000_000


@dataclass(frozen=True, kw_only=True)
class MatchedShortlist:
    """The shortlist of a graph's queries with the counts (q, s) of its pairs.

    A count is NaN where a pair was not measured, see `PairMatches`, and where a query has fewer
    than s neighbours. `score (q, s)` is the count by which the matcher ranks.
    """

    shortlist: Shortlist
    matches: Floats
    inliers: Floats
    confident: Floats
    ratio: Floats
    score: Floats

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which pairs (q, s) have counts."""
        return ~np.isnan(self.inliers)

    def reordered(self) -> Shortlist:
        """Return the shortlist as the score alone orders it; equals keep their order.

        The images that were measured exchange their similarities; a pair without counts keeps its
        own. So all of a shortlist stays in front of the other images.
        """
        measured, place = self.measured, np.arange(self.score.shape[1])
        by_score = np.where(measured, -self.score, np.inf)
        order = np.lexsort((np.broadcast_to(place, by_score.shape), by_score))
        slots = np.argsort(~measured, axis=1, kind="stable")
        similarity = np.empty_like(self.shortlist.similarity)
        exchanged = np.take_along_axis(self.shortlist.similarity, slots, axis=1)
        np.put_along_axis(similarity, order, exchanged, axis=1)
        return Shortlist(self.shortlist.rows, similarity)


@dataclass(frozen=True, kw_only=True)
class ShortlistMatches:
    """The shortlists of some graphs with their counts, and the pairs that these were made of.

    `pairs` has a row for each place of a shortlist: the first places of all queries come first.
    """

    graphs: tuple[NeighbourGraph, ...]
    shortlists: tuple[MatchedShortlist, ...]
    pairs: PairMatches

    def reordered(self) -> tuple[NeighbourGraph, ...]:
        """Return the graphs with shortlists that are ordered by the score alone."""
        return tuple(
            graph.rerank(matched.reordered())
            for graph, matched in zip(self.graphs, self.shortlists, strict=True)
        )

    def columns(self, label_of: dict[str, str]) -> dict[str, NDArray[Any]]:
        """Return a row for each pair of a shortlist, by query and rank: the counts and labels."""
        parts: list[dict[str, NDArray[Any]]] = []
        for graph, matched in zip(self.graphs, self.shortlists, strict=True):
            row, place = np.nonzero(matched.shortlist.rows >= 0)
            query = graph.search.query_images[row]
            found = graph.search.gallery_images[matched.shortlist.rows[row, place]]
            counts = {
                name: getattr(matched, name)[row, place]
                for name in ("matches", "inliers", "confident", "ratio")
            }
            parts.append(
                {
                    "image": query,
                    "label": _labels(query, label_of),
                    "rank": place + 1,
                    "neighbour": found,
                    "neighbour_label": _labels(found, label_of),
                    "similarity": matched.shortlist.similarity[row, place],
                    **counts,
                }
            )
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def match_shortlists(
    settings: MatchSettings,
    graphs: Sequence[NeighbourGraph],
    images: ImageSet,
    workspace: Workspace,
    options: MatchOptions,
    *,
    unreadable: frozenset[str] = frozenset(),
) -> Generator[Progress, None, ShortlistMatches]:
    """Return the local matches of the nearest gallery images of each query of some searches.

    `images` hold all queries and galleries. A budget is spent on the nearest of all queries first.
    A shortlist that is longer than a gallery, or than memory allows, is cut; Progress tells it, and
    all that `pair_scores.measure` tells.
    """
    shortlists = []
    longest = max((_length(graph) for graph in graphs), default=0)
    queries = sum(len(graph.search.query_ids) for graph in graphs)
    length = min(settings.shortlist, longest, max(_MOST_PAIRS // max(queries, 1), 1))
    if length < settings.shortlist:
        why = (
            f"the largest gallery has {longest} other images"
            if length == longest
            else f"{queries:,} queries have room for no more pairs"
        )
        notice = f"{settings.kind}: the shortlist of {settings.shortlist} is cut to {length}: {why}"
        yield Progress(f"match {settings.kind}", 0, 1, "pairs", notice=notice)
    shortlists = [graph.shortlist(length) for graph in graphs]
    cells = [np.nonzero(shortlist.rows >= 0) for shortlist in shortlists]
    first = (
        strings([]),
        *(graph.search.query_images[row] for graph, (row, _) in zip(graphs, cells, strict=True)),
    )
    second = (
        strings([]),
        *(
            graph.search.gallery_images[shortlist.rows[cell]]
            for graph, shortlist, cell in zip(graphs, shortlists, cells, strict=True)
        ),
    )
    ranks = np.concatenate([np.empty(0, dtype=np.int64), *(place for _, place in cells)])
    order = np.argsort(ranks, kind="stable")
    pairs = yield from measure(
        settings,
        images,
        np.concatenate(first)[order],
        np.concatenate(second)[order],
        workspace,
        options,
        unreadable=unreadable,
    )
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    ends = np.cumsum([len(row) for row, _ in cells])
    parts = np.split(back, ends[:-1]) if len(ends) else []
    matched = [
        _matched(shortlist, cell, pairs, of_pair)
        for shortlist, cell, of_pair in zip(shortlists, cells, parts, strict=True)
    ]
    return ShortlistMatches(graphs=tuple(graphs), shortlists=tuple(matched), pairs=pairs)


def _length(graph: NeighbourGraph) -> int:
    """Return how many neighbours the queries of a graph may have."""
    search = graph.search
    alone = np.isin(search.query_images, search.gallery_images).all()
    return len(search.gallery_images) - int(alone and len(search.gallery_images) > 0)


def _matched(
    shortlist: Shortlist, cell: tuple[NDArray[Any], ...], pairs: PairMatches, of_pair: NDArray[Any]
) -> MatchedShortlist:
    """Return a shortlist with the counts of its cells, given the pair of each."""

    def spread(counts: Floats) -> Floats:
        values = np.full(shortlist.rows.shape, np.nan, dtype=np.float32)
        values[cell] = counts[of_pair]
        return values

    return MatchedShortlist(
        shortlist=shortlist,
        matches=spread(pairs.matches),
        inliers=spread(pairs.inliers),
        confident=spread(pairs.confident),
        ratio=spread(pairs.ratio),
        score=spread(pairs.score),
    )


def _labels(image_ids: Strings, label_of: dict[str, str]) -> Strings:
    return strings([label_of.get(image_id, "") for image_id in image_ids.tolist()])
