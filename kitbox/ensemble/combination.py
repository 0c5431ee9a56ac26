"""The methods by which the members of an ensemble answer together."""

from collections.abc import Generator, Iterator, Sequence

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.ensemble.ensemble import Ensemble
from kitbox.ensemble.meta_embedding import MetaEmbedding
from kitbox.network.inference import resolve_device
from kitbox.records import Embeddings, Floats, LabelledImages, Progress, Ranking, Search
from kitbox.retrieval import ranking
from kitbox.retrieval.label_similarity import LabelSimilarities
from kitbox.retrieval.neighbour_graph import Block, NeighbourGraph, Reranker, neighbour_graphs
from kitbox.retrieval.ranking import known_images, measure_labels


def rank(
    ensemble: Ensemble,
    meta: MetaEmbedding,
    graphs: Sequence[NeighbourGraph],
    labelled: LabelledImages,
    k: int | None = None,
) -> Generator[Progress, None, Ranking]:
    """Return the k best answers of each query, not yet cut at a threshold; yields Progress.

    `graphs` are those of the searches under the meta-embeddings. Labels are those of `labelled`,
    on which a classifier is fitted.
    """
    options, competition = ensemble.options, ensemble.competition
    width = k or competition.task.k
    if options.combine == "embeddings":
        return ranking.rank(graphs, labelled, competition, width)
    searches = [graph.search for graph in graphs]
    measured: Iterator[LabelSimilarities]
    if options.combine == "labels":
        rerank = options.reranker(labelled, competition)
        by_member = (
            measure_members(meta.blocks, search, labelled, competition, rerank)
            for search in searches
        )
        measured = (mean_similarity(members, meta.weights) for members in by_member)
    else:
        from kitbox.ensemble import dense_classifier  # torch

        device = resolve_device(ensemble.embed_options.device)
        classifier = yield from dense_classifier.fit(
            meta.embeddings, labelled, competition, options.dims, device
        )
        measured = (
            classifier.measure(meta.embeddings, search, known_images(search, labelled, competition))
            for search in searches
        )
    return ranking.rank_labels(measured, width)


def measure_members(
    blocks: Sequence[Embeddings],
    search: Search,
    labelled: LabelledImages,
    competition: Competition,
    rerank: Reranker | None = None,
) -> list[LabelSimilarities]:
    """Return how similar the queries of a search are to labels by each member's block."""
    return [
        measure_labels(graph, labelled, competition)
        for block in blocks
        for graph in neighbour_graphs(block, [search], rerank)
    ]


def mean_similarity(
    members: Sequence[LabelSimilarities], weights: Sequence[float]
) -> LabelSimilarities:
    """Return the weighted mean of the members' similarities to the same labels.

    A meta-embedding takes the mean of cosines, image by image; here each member first measures a
    label by all its images (the task's `label_similarity`), so that members may disagree about
    which image is best, and a similarity need not be a cosine.
    """
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)

    def mean(similarities: Sequence[Floats]) -> Floats:
        total = sum(share * each for share, each in zip(shares, similarities, strict=True))
        return np.asarray(total, dtype=np.float32)

    blocks: Iterator[Block] = (
        (rows, mean(similarities)) for rows, similarities in member_blocks(members)
    )
    return LabelSimilarities(members[0].query_ids, members[0].labels, blocks)


def member_blocks(
    members: Sequence[LabelSimilarities],
) -> Iterator[tuple[slice, tuple[Floats, ...]]]:
    """Yield rows of queries, and their similarities (rows, l) by each member."""
    for blocks in zip(*(member.blocks for member in members), strict=True):
        yield blocks[0][0], tuple(similarity for _, similarity in blocks)
