"""Signals of the pairs on shortlists: similarities, local matches, and metadata of the lists."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kitbox.errors import KitboxError
from kitbox.fusion.fusion_method import SHORTLIST, FusionMethod
from kitbox.fusion.pair_set import MatcherPairs, PairSet
from kitbox.fusion.pair_table import WHOLE, PairTable
from kitbox.fusion.probability_curve import Flags, Numbers
from kitbox.keypoints import pair_scores
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.keypoints.pair_scores import MatchOptions, PairMatches
from kitbox.records import (
    Embeddings,
    ImageSet,
    Integers,
    LabelledImages,
    Progress,
    Strings,
    rows_of,
)
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.workspace import Workspace

# Rows of embeddings compared at a time: of 2,048 dimensions 64 MB.
_ROWS = 4096
_SECONDS_OF_DAY = 86_400.0
# The columns of image sets from which features are made.
METADATA = ("boxes", "times", "groups", "encounters")


@dataclass(frozen=True, kw_only=True)
class SignalSources:
    """What signals of pairs are made of.

    `graphs` are those of the searches under the ensemble, `members` their blocks by name, `images`
    all that are searched or searched for, and `known` those whose labels an answer may use.
    `metadata` names the columns of lists that features are made of. `unreadable` images have no
    keypoints. With `match_only` no other pairs are matched.
    """

    graphs: Sequence[NeighbourGraph]
    members: dict[str, Embeddings]
    images: ImageSet
    known: LabelledImages
    workspace: Workspace
    metadata: tuple[str, ...] = METADATA
    match_options: MatchOptions = field(default_factory=MatchOptions)
    unreadable: frozenset[str] = frozenset()
    match_only: PairSet | None = None


@dataclass(frozen=True, kw_only=True)
class SignalPairs:
    """The pairs of some searches: those on shortlists, and as many beyond them.

    `table` has the pairs of all searches; `rows (p,)` are their photographs as rows of the
    search's gallery. `outside_first (n,)` and `outside_second (n,)` are image ids of pairs beyond
    the shortlists, `outside (n,)` their similarities. By matcher, `without_keypoints` are image
    ids, and `over_budget` counts the pairs that were left out.
    """

    table: PairTable
    rows: Integers
    outside_first: Strings
    outside_second: Strings
    outside: Numbers
    without_keypoints: dict[str, tuple[str, ...]]
    over_budget: dict[str, int]


def collect_pairs(
    sources: SignalSources, method: FusionMethod, matchers: Sequence[MatchSettings]
) -> Generator[Progress, None, SignalPairs]:
    """Return the pairs of the searches' shortlists with all their signals; yields Progress.

    A shortlist has as many photographs as the matcher that looks at most, or as the method says.
    Where queries are in their own gallery, a pair on the list of one is on that of the other. The
    similarity of a pair is the mean of both directions. A matcher looks at its own shortlist;
    beyond it, it counts as having found nothing. A pair that it looks at and may not match, by
    `match_only` or beyond its budget, has no value.
    """
    pairs = _shortlisted(sources.graphs, method, matchers)
    names, columns = [WHOLE], [pairs.table.whole]
    if len(sources.members) > 1:
        for name, block in sources.members.items():
            names.append(name)
            columns.append(_cosines(block, pairs.table.first, pairs.table.second))
    extra: dict[str, Numbers] = {}
    without: dict[str, tuple[str, ...]] = {}
    over_budget: dict[str, int] = {}
    methods = [settings.kind for settings in matchers]
    for settings in matchers:
        alone = methods.count(settings.kind) == 1
        name = _distinct_name(settings.kind if alone else str(settings), names)
        found = yield from _match(settings, pairs, sources)
        names.append(name)
        columns.append(found.column(found.matches.score))
        extra[f"{name} matches"] = found.column(found.matches.matches)
        extra[f"{name} inlier ratio"] = found.column(found.matches.ratio)
        if found.matches.without_keypoints:
            without[name] = tuple(sorted(found.matches.without_keypoints))
        if found.matches.over_budget:
            over_budget[name] = found.matches.over_budget
    extra |= _metadata(pairs.table, sources.images, sources.metadata)
    extra |= _of_candidates(pairs.table, sources.known)
    table = replace(
        pairs.table,
        signals=tuple(names),
        values=np.stack(columns, axis=1),
        local=np.arange(len(names)) >= len(names) - len(matchers),
        features=extra,
    )
    return SignalPairs(
        table=table,
        rows=pairs.rows,
        outside_first=pairs.outside_first,
        outside_second=pairs.outside_second,
        outside=pairs.outside,
        without_keypoints=without,
        over_budget=over_budget,
    )


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Pairs with the similarity of the ensemble alone, and the place (p,) of each in its list."""

    table: PairTable
    rows: Integers
    place: Integers
    outside_first: Strings
    outside_second: Strings
    outside: Numbers


def pairs_to_match(
    graphs: Sequence[NeighbourGraph], method: FusionMethod, matchers: Sequence[MatchSettings]
) -> MatcherPairs:
    """Return the pairs that each matcher looks at in `collect_pairs`, without matching any."""
    pairs, found = _shortlisted(graphs, method, matchers), {}
    for settings in matchers:
        rows = _looked_at(settings, pairs)
        found[settings] = (pairs.table.first[rows], pairs.table.second[rows])
    return found


def _shortlisted(
    graphs: Sequence[NeighbourGraph], method: FusionMethod, matchers: Sequence[MatchSettings]
) -> _Pairs:
    """Return the pairs of the searches' shortlists."""
    size = max([method.shortlist or 0, *(each.shortlist for each in matchers)]) or SHORTLIST
    parts, first_query = [], 0
    for graph in graphs:
        parts.append(_pairs_of(graph, size, first_query))
        first_query += len(graph.search.query_ids)
    return _concatenated(parts)


def _looked_at(settings: MatchSettings, pairs: _Pairs) -> Integers:
    """Return the rows of the pairs that a matcher looks at, the best of all lists first."""
    looked = pairs.place < settings.shortlist
    paired = pairs.table.reverse >= 0
    looked |= paired & looked[np.where(paired, pairs.table.reverse, 0)]
    looked &= pairs.table.first != pairs.table.second
    rows = np.flatnonzero(looked)
    return rows[np.argsort(pairs.place[rows], kind="stable")]


def _pairs_of(graph: NeighbourGraph, size: int, first_query: int) -> _Pairs:
    """Return the pairs of a search; its queries count from `first_query`."""
    search = graph.search
    count = max(len(search.gallery_images), 1)
    found = graph.shortlist(2 * size)
    query, place = np.nonzero(found.rows >= 0)
    rows, similarity = found.rows[query, place], found.similarity[query, place].astype(np.float64)
    inside = place < size
    # the pairs in the other direction, of queries that are in their own gallery
    in_gallery = rows_of(search.query_images, search.gallery_images)
    as_query = rows_of(search.gallery_images, search.query_images)
    turned = inside & (in_gallery[query] >= 0) & (as_query[rows] >= 0)
    keys = query[inside] * count + rows[inside]
    back = as_query[rows[turned]] * count + in_gallery[query[turned]]
    every = np.unique(np.concatenate([keys, back]))
    seen = np.concatenate([query * count + rows, back])
    # a pair that only the other direction's lists have takes its similarity from there
    values = np.concatenate([similarity, similarity[turned]])
    places = np.concatenate([place, np.full(len(back), 2 * size)])
    order = np.lexsort((places, seen))
    seen, values, places = seen[order], values[order], places[order]
    at = np.searchsorted(seen, every)
    of_query, of_row = np.divmod(every, count)
    paired = (in_gallery[of_query] >= 0) & (as_query[of_row] >= 0)
    other = np.where(paired, as_query[of_row] * count + in_gallery[of_query], -1)
    spot = np.minimum(np.searchsorted(every, other), max(len(every) - 1, 0))
    reverse = np.where(paired & (every[spot] == other), spot, -1) if len(every) else other
    beyond = ~inside & ~np.isin(query * count + rows, every)
    highest = np.full(len(search.query_ids), -np.inf)
    np.maximum.at(highest, query[beyond], similarity[beyond])
    table = PairTable(
        query=of_query + first_query,
        first=search.query_images[of_query],
        second=search.gallery_images[of_row],
        reverse=reverse,
        signals=(WHOLE,),
        values=values[at][:, None],
        local=np.zeros(1, dtype=np.bool_),
        next_outside=highest[of_query],
    )
    return _Pairs(
        table=table.with_whole(table.of_both_directions(table.whole)),
        rows=of_row,
        place=places[at],
        outside_first=search.query_images[query[beyond]],
        outside_second=search.gallery_images[rows[beyond]],
        outside=similarity[beyond],
    )


def _concatenated(parts: Sequence[_Pairs]) -> _Pairs:
    """Return the pairs of all searches, in their order."""
    tables = [part.table for part in parts]
    starts = np.cumsum([0, *(len(table) for table in tables)])[:-1]
    reverse = [
        np.where(table.reverse >= 0, table.reverse + start, -1)
        for table, start in zip(tables, starts, strict=True)
    ]
    table = PairTable(
        query=np.concatenate([table.query for table in tables]),
        first=np.concatenate([table.first for table in tables]),
        second=np.concatenate([table.second for table in tables]),
        reverse=np.concatenate(reverse).astype(np.int64),
        signals=(WHOLE,),
        values=np.concatenate([table.values for table in tables]),
        local=np.zeros(1, dtype=np.bool_),
        next_outside=np.concatenate([table.next_outside for table in tables]),
    )
    if not len(table):
        raise KitboxError("the gallery is empty, so that there are no pairs to fuse")
    return _Pairs(
        table=table,
        rows=np.concatenate([part.rows for part in parts]),
        place=np.concatenate([part.place for part in parts]),
        outside_first=np.concatenate([part.outside_first for part in parts]),
        outside_second=np.concatenate([part.outside_second for part in parts]),
        outside=np.concatenate([part.outside for part in parts]),
    )


def _distinct_name(name: str, taken: Sequence[str]) -> str:
    """Return the name of a matcher, which a member may have already."""
    return name if name not in taken else f"local {name}"


def _cosines(block: Embeddings, first: Strings, second: Strings) -> Numbers:
    """Return the cosines (p,) of pairs of images under a member's embeddings."""
    rows = [rows_of(ids, block.image_ids) for ids in (first, second)]
    found = np.empty(len(first))
    for start in range(0, len(first), _ROWS):
        part = slice(start, start + _ROWS)
        ones, others = (block.vectors[each[part]] for each in rows)
        found[part] = np.einsum("pd,pd->p", ones, others, dtype=np.float64)
    return found


@dataclass(frozen=True, kw_only=True)
class _Matched:
    """The matches of the rows (r,) of a table; of pairs `left_out (l,)` nothing is known."""

    matches: PairMatches
    table: PairTable
    rows: Integers
    left_out: Integers

    def column(self, counts: np.ndarray) -> Numbers:
        """Return log(1 + count) of each pair (p,), 0 beyond the matcher's shortlist.

        It is NaN where a photograph has no keypoints or the budget had ended, and for pairs that
        are left out.
        """
        values = np.zeros(len(self.table))
        values[self.rows] = np.log1p(counts.astype(np.float64))
        absent = np.array(sorted(self.matches.without_keypoints), dtype=np.str_)
        sides = (self.table.first, self.table.second)
        values[np.isin(sides[0], absent) | np.isin(sides[1], absent)] = np.nan
        values[self.left_out] = np.nan
        return values


def _match(
    settings: MatchSettings, pairs: _Pairs, sources: SignalSources
) -> Generator[Progress, None, _Matched]:
    """Return the matches of the pairs that a matcher looks at and may match."""
    rows = _looked_at(settings, pairs)
    sides = (pairs.table.first, pairs.table.second)
    inside = np.ones(len(rows), dtype=np.bool_)
    if sources.match_only is not None:
        inside = sources.match_only.holds(settings, sides[0][rows], sides[1][rows])
    found = yield from pair_scores.measure(
        settings,
        sources.images,
        sides[0][rows[inside]],
        sides[1][rows[inside]],
        sources.workspace,
        sources.match_options,
        unreadable=sources.unreadable,
    )
    return _Matched(matches=found, table=pairs.table, rows=rows[inside], left_out=rows[~inside])


def _metadata(table: PairTable, images: ImageSet, columns: Sequence[str]) -> dict[str, Numbers]:
    """Return what columns of lists say of both photographs of each pair."""
    found: dict[str, Numbers] = {}
    first, second = (rows_of(ids, images.image_ids) for ids in (table.first, table.second))
    if images.times is not None and "times" in columns:
        found["days apart"] = np.abs(images.times[first] - images.times[second]) / _SECONDS_OF_DAY
    if images.boxes is not None and "boxes" in columns:
        boxes = images.boxes.astype(np.float64)
        width = np.maximum(boxes[:, 2] - boxes[:, 0], 1)
        height = np.maximum(boxes[:, 3] - boxes[:, 1], 1)
        area, aspect = np.log(width * height), np.log(width / height)
        found["box size ratio"] = np.abs(area[first] - area[second])
        found["box aspect ratio"] = np.abs(aspect[first] - aspect[second])
    for name in ("groups", "encounters"):
        column = getattr(images, name)
        if column is not None and name in columns:
            present = (column[first] != "") & (column[second] != "")
            equal = (column[first] == column[second]).astype(np.float64)
            found[f"equal {name.removesuffix('s')}"] = np.where(present, equal, np.nan)
    return found


def _of_candidates(table: PairTable, known: LabelledImages) -> dict[str, Numbers]:
    """Return how many photographs there are of each candidate's individual, and its lead.

    The lead is the similarity less that of the query's best photograph of another individual. Both
    are NaN for a photograph of an individual that nobody knows.
    """
    rows = rows_of(table.second, known.image_ids)
    names, code_of_image, sizes = np.unique(known.labels, return_inverse=True, return_counts=True)
    named = names != ""
    if not named.any():
        return {}
    code = np.where(rows >= 0, code_of_image[np.maximum(rows, 0)], -1)
    there: Flags = (code >= 0) & named[np.maximum(code, 0)]
    code = np.where(there, code, -1)
    photographs = np.where(there, sizes[np.maximum(code, 0)], np.nan)
    return {
        "photographs of the candidate": photographs,
        "lead over the next individual": _lead(table, code),
    }


def _lead(table: PairTable, code: Integers) -> Numbers:
    """Return how far each pair is above the query's best pair with another individual."""
    found = np.full(len(table), np.nan)
    order = np.lexsort((-table.whole, table.query))
    starts = np.flatnonzero(np.append(True, np.diff(table.query[order]) != 0))
    for rows in np.split(order, starts[1:]):
        values, codes = table.whole[rows], code[rows]
        known = codes >= 0
        if not known.any():
            continue
        values, codes, rows = values[known], codes[known], rows[known]
        others = np.flatnonzero(codes != codes[0])
        if len(others):
            rival = np.where(codes == codes[0], values[others[0]], values[0])
            found[rows] = values - rival
    return found
