"""Pairs of images that people decided: links have the last word on similarities and answers.

They are applied to the graph, or to similarities of labels, after all that ranks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition
from kitbox.decisions.image_links import Links
from kitbox.records import Integers, LabelledImages, Ranking, Search, Strings
from kitbox.retrieval.label_similarity import LabelSimilarities
from kitbox.retrieval.neighbour_graph import Block, NeighbourGraph, SeparatedImages, Shortlist
from kitbox.retrieval.ranking import measure_labels, rank, rank_labels


def rank_linked(
    graphs: Sequence[NeighbourGraph],
    labelled: LabelledImages,
    competition: Competition,
    k: int,
    links: Links,
) -> Ranking:
    """Return the k best answers of each query as `ranking.rank` does, with links in force."""
    if competition.task.answers in ("labels", "label"):
        measured = (
            link_labels(measure_labels(graph, labelled, competition), graph.search, links)
            for graph in graphs
        )
        return rank_labels(measured, k)
    return rank([link_graph(graph, links) for graph in graphs], labelled, competition, k)


def link_graph(graph: NeighbourGraph, links: Links) -> NeighbourGraph:
    """Return the graph in which linked pairs of queries and gallery images have the last word.

    Images of one individual are as similar as no others of the graph are, those of two individuals
    as little: 1 and -1 where similarities are cosines. A new one is none of those with a label.
    """
    search = graph.search
    queries = links.individuals(search.query_images)
    linked = np.flatnonzero(queries >= 0)
    gallery = links.individuals(search.gallery_images)
    named = np.flatnonzero(np.isin(search.gallery_images, list(links.named)))
    if not len(linked) or ((gallery < 0).all() and not len(named)):
        return graph
    apart = _apart(links, queries, gallery)
    members = [np.flatnonzero(gallery == number) for number in range(int(gallery.max()) + 1)]
    low, high = _ends(graph)
    rows: list[Integers] = []
    similarity: list[NDArray[np.float32]] = []
    for number in queries[linked].tolist():
        own = members[number] if number < len(members) else named[:0]
        others = [members[other] for other in sorted(apart.get(number, ()))]
        rows.append(np.concatenate([own, *others]))
        values = np.full(len(rows[-1]), low, dtype=np.float32)
        values[: len(own)] = high
        similarity.append(values)
    width = max(map(len, rows))
    new = np.isin(queries, list(links.new))
    if len(named) and new.any():
        mask = np.zeros(len(gallery), dtype=np.bool_)
        mask[named] = True
        graph = replace(graph, separated=SeparatedImages(new, mask, low))
    if not width:
        return graph
    shortlist = Shortlist(
        np.full((len(queries), width), -1, dtype=np.int64),
        np.full((len(queries), width), -np.inf, dtype=np.float32),
    )
    for row, of_row, values in zip(linked.tolist(), rows, similarity, strict=True):
        shortlist.rows[row, : len(of_row)] = of_row
        shortlist.similarity[row, : len(of_row)] = values
    return graph.rerank(shortlist)


def link_labels(measured: LabelSimilarities, search: Search, links: Links) -> LabelSimilarities:
    """Return similarities of labels in which links of the search's queries have the last word.

    The label of a query's individual is more similar than all others, that of another individual
    less. All labels are less similar to a new one, in their order.
    """
    queries = links.individuals(search.query_images)
    number_of = {label: number for number, label in links.label_of.items()}
    columns = np.array([number_of.get(label, -1) for label in measured.labels.tolist()])
    new = np.isin(queries, list(links.new))
    if (queries < 0).all() or not len(columns) or ((columns < 0).all() and not new.any()):
        return measured
    apart = _apart(links, queries, columns)

    def linked() -> Iterator[Block]:
        for rows, similarity in measured.blocks:
            own = queries[rows]
            if (own >= 0).any():
                similarity = similarity.copy()
            for row in np.flatnonzero(own >= 0):
                values = similarity[row]
                known = values > -np.inf
                if int(own[row]) in links.new and known.any():
                    low = min(-1.0, float(values[known].min()))
                    values[known] += np.float32(low - float(values[known].max()))
                same = known & (columns == own[row])
                others = known & np.isin(columns, list(apart.get(int(own[row]), ())))
                if same.any():
                    high = np.float32(max(1.0, values[known].max()))
                    np.minimum(values, np.nextafter(high, np.float32(-1)), out=values)
                    values[same] = high
                if others.any():
                    values[others] = min(-1.0, values[known].min())
            yield rows, similarity

    return measured.with_blocks(linked())


def link_answers(
    ranking: Ranking,
    searches: Sequence[Search],
    links: Links,
    labels: Strings,
    unknown: str | None = None,
) -> Ranking:
    """Return the ranking of labels in which a linked query's own label comes first.

    Only if it is one of the `labels` that answers may have. The `unknown` label, where answers may
    have it, comes first for a new individual.
    """
    queries = np.concatenate([links.individuals(search.query_images) for search in searches])
    possible = {*labels.tolist(), unknown} - {"", None}
    answers, similarity = ranking.answers.copy(), ranking.similarity.copy()
    for row, number in enumerate(queries.tolist()):
        label = unknown if number in links.new else links.label_of.get(number)
        if label is None or label not in possible or answers[row, 0] == label:
            continue
        place = np.flatnonzero(answers[row] == label)
        last = int(place[0]) if len(place) else ranking.k - 1
        answers[row, 1 : last + 1] = answers[row, :last].copy()
        similarity[row, 1 : last + 1] = similarity[row, :last].copy()
        answers[row, 0] = label
        similarity[row, 0] = max(1.0, float(similarity[row, 0]))
    return Ranking(ranking.query_ids, answers, similarity)


def link_limits(
    limits: NDArray[np.float64],
    ranking: Ranking,
    searches: Sequence[Search],
    links: Links,
    *,
    with_itself: bool = False,
) -> NDArray[np.float64]:
    """Return the thresholds (q,) of queries, none of which cuts a linked image or label.

    `ranking` has the answers with links in force, so that what is linked comes first, after the
    query itself where that is an answer.
    """
    if not links.individual_of or ranking.k <= int(with_itself):
        return limits
    found = limits.copy()
    queries = np.concatenate([links.individuals(search.query_images) for search in searches])
    for row in np.flatnonzero(queries >= 0).tolist():
        answer, number = str(ranking.answers[row, int(with_itself)]), int(queries[row])
        if links.label_of.get(number) == answer or links.individual_of.get(answer) == number:
            found[row] = min(found[row], float(ranking.similarity[row, int(with_itself)]))
    return found


def _apart(links: Links, queries: Integers, gallery: Integers) -> dict[int, set[int]]:
    """Return individual of a query → the individuals of the gallery that are different."""
    here = set(gallery.tolist()) - {-1}
    found: dict[int, set[int]] = {number: set() for number in queries.tolist() if number >= 0}
    for one, other in links.different:
        for own, further in ((one, other), (other, one)):
            if own in found and further in here:
                found[own].add(further)
    labelled = set(links.label_of) & here
    for number, others in found.items():
        if number in links.label_of:
            others |= labelled - {number}
    return found


def _ends(graph: NeighbourGraph) -> tuple[float, float]:
    """Return the least and the largest similarity that a pair of the graph may have."""
    outside, ends = graph.outside, []
    for end, extreme in ((-1.0, np.min), (1.0, np.max)):
        offsets = (outside.of_query, outside.of_gallery)
        total = end + sum(
            float(extreme(each)) for each in offsets if each is not None and len(each)
        )
        ends.append(float(outside.curve(np.array([total], dtype=np.float32))[0]))
    if graph.reranked is not None:
        listed = graph.reranked.similarity[graph.reranked.rows >= 0]
        listed = listed[np.isfinite(listed)]
        ends += [float(listed.min(initial=ends[0])), float(listed.max(initial=ends[1]))]
    return min(ends), max(ends)
