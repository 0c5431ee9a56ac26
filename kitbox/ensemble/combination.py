"""The methods by which the members of an ensemble answer together."""

from collections.abc import Generator, Iterable, Iterator, Sequence

import numpy as np

from kitbox.clusters.decided_pairs import link_labels, rank_linked
from kitbox.competition.settings import Competition
from kitbox.decisions.image_links import NO_LINKS, Links
from kitbox.ensemble.ensemble import Ensemble
from kitbox.ensemble.meta_embedding import MetaEmbedding
from kitbox.errors import counted
from kitbox.fusion.label_blend import LabelBlend, cross_fit_blend
from kitbox.fusion.pair_signals import METADATA, SignalSources
from kitbox.keypoints.pair_scores import MatchOptions
from kitbox.network.inference import resolve_device
from kitbox.records import (
    Embeddings,
    Floats,
    ImageSet,
    Integers,
    LabelledImages,
    Progress,
    Ranking,
    Search,
    Strings,
    rows_of,
)
from kitbox.retrieval import balance, ranking
from kitbox.retrieval.balance import BalancedLabels
from kitbox.retrieval.label_similarity import LabelSimilarities
from kitbox.retrieval.neighbour_graph import Block, NeighbourGraph, Reranker, neighbour_graphs
from kitbox.retrieval.ranking import known_images, measure_labels
from kitbox.scoring.ground_truth import GroundTruth

# The unit of progress of balance, whose notices are given once.
BALANCED = "balanced queries"


def rank(
    ensemble: Ensemble,
    meta: MetaEmbedding,
    graphs: Sequence[NeighbourGraph],
    labelled: LabelledImages,
    k: int | None = None,
    blend: LabelBlend | None = None,
    links: Links = NO_LINKS,
) -> Generator[Progress, None, Ranking]:
    """Return the k best answers of each query, not yet cut at a threshold; yields Progress.

    `graphs` are those of the searches under the meta-embeddings. Labels are those of `labelled`,
    on which a classifier is fitted; `blend` joins its probabilities with those of the graphs.
    `links` have the last word.
    """
    options, competition = ensemble.options, ensemble.competition
    width = k or competition.task.k
    if options.combine == "embeddings" and options.balance is None:
        return rank_linked(graphs, labelled, competition, width, links)
    searches = [graph.search for graph in graphs]
    measured: Iterator[LabelSimilarities]
    if options.combine == "embeddings":
        measured = (measure_labels(graph, labelled, competition) for graph in graphs)
    elif options.combine == "labels":
        rerank = options.reranker(labelled, competition)
        by_member = (
            measure_members(meta.blocks, search, labelled, competition, rerank)
            for search in searches
        )
        measured = (mean_similarity(members, meta.weights) for members in by_member)
    else:
        measured = yield from _classify(ensemble, meta, searches, labelled)
        if blend is not None:
            near = (measure_labels(graph, labelled, competition) for graph in graphs)
            measured = map(blend.blended, measured, near)
    return (yield from _rank_balanced(ensemble, measured, searches, labelled, width, links))


def _rank_balanced(
    ensemble: Ensemble,
    measured: Iterable[LabelSimilarities],
    searches: Sequence[Search],
    labelled: LabelledImages,
    width: int,
    links: Links = NO_LINKS,
) -> Generator[Progress, None, Ranking]:
    """Return the best labels by the similarities of each search, after the options' balance.

    Links come before balance, so that linked queries have their places, and after it.
    """
    text = ensemble.options.balance
    linked = (
        link_labels(each, search, links) for each, search in zip(measured, searches, strict=True)
    )
    if text is None:
        return ranking.rank_labels(linked, width)
    method, balanced = balance.parse_balance(text), []
    for each, search in zip(linked, searches, strict=True):
        shown = known_images(search, labelled, ensemble.competition).labels
        balanced.append(balance.apply_balance(each, method, _counts_of(each.labels, shown)))
    yield _balance_notice(text, balanced)
    again = [
        link_labels(each.measured, search, links)
        for each, search in zip(balanced, searches, strict=True)
    ]
    return ranking.rank_labels(again, width)


def _counts_of(labels: Strings, shown: Strings) -> Integers:
    """Return how many photographs (l,) there are of each label, by the labels of all of them."""
    found, counts = np.unique(shown, return_counts=True)
    return np.append(counts, 0)[rows_of(labels, found)].astype(np.int64)


def _balance_notice(text: str, balanced: Sequence[BalancedLabels]) -> Progress:
    queries = sum(each.queries for each in balanced)
    moved = sum(each.moved for each in balanced)
    left = sum(each.without_place for each in balanced)
    notice = f"balance {text}: {moved} of {counted(queries, 'query', 'queries')} have another label"
    if left:
        notice += f"; {left} have no place and keep their own order"
    return Progress("balance", queries, queries, BALANCED, notice=notice)


def rank_blended(
    ensemble: Ensemble,
    meta: MetaEmbedding,
    graphs: Sequence[NeighbourGraph],
    labelled: LabelledImages,
    ground_truth: GroundTruth,
    share: float,
) -> Generator[Progress, None, tuple[Ranking, LabelBlend]]:
    """Return the holdout's best labels by a classifier and the graphs, cross-fitted, and the blend.

    `share` is that of the classifier; queries are those of the ground truth. Yields Progress.
    """
    competition = ensemble.competition
    searches = [graph.search for graph in graphs]
    classified = yield from _classify(ensemble, meta, searches, labelled)
    near = [measure_labels(graph, labelled, competition) for graph in graphs]
    blended, blend = cross_fit_blend(
        share, list(classified), near, ground_truth.expected, ground_truth.individuals
    )
    width = competition.task.k
    ranked = yield from _rank_balanced(ensemble, blended, searches, labelled, width)
    return ranked, blend


def signal_sources(
    ensemble: Ensemble,
    meta: MetaEmbedding,
    graphs: Sequence[NeighbourGraph],
    images: ImageSet,
    labelled: LabelledImages,
) -> SignalSources:
    """Return what the signals of the graphs' pairs are made of; `labelled` are known to answers.

    Of metadata only what all lists of images have counts, so that the test has it too.
    """
    collection = ensemble.collection
    names: list[str] = []
    for member in ensemble.members:
        same = names.count(member.full_name)
        names.append(member.full_name + (f" {same + 1}" if same else ""))
    others = [each for each in (collection.test, collection.index) if each is not None]
    metadata = [
        name for name in METADATA if all(getattr(each, name) is not None for each in others)
    ]
    searched = np.concatenate([graph.search.gallery_images for graph in graphs])
    unnamed = ["", ensemble.competition.images.unknown_label or ""]
    known = ~np.isin(labelled.labels, unnamed) & np.isin(labelled.image_ids, searched)
    return SignalSources(
        graphs=graphs,
        members=dict(zip(names, meta.blocks, strict=True)),
        images=images,
        metadata=tuple(metadata),
        known=labelled.take(known),
        workspace=ensemble.workspace,
        match_options=match_options(ensemble),
        unreadable=collection.unreadable,
        match_only=ensemble.match_only,
    )


def match_options(ensemble: Ensemble) -> MatchOptions:
    """Return how the pairs of an ensemble are matched."""
    return MatchOptions(
        workers=ensemble.embed_options.workers, device=ensemble.embed_options.device
    )


def _classify(
    ensemble: Ensemble, meta: MetaEmbedding, searches: Sequence[Search], labelled: LabelledImages
) -> Generator[Progress, None, Iterator[LabelSimilarities]]:
    """Return the probabilities of labels for each search by a classifier of meta-embeddings."""
    from kitbox.ensemble import dense_classifier  # torch

    competition = ensemble.competition
    device = resolve_device(ensemble.embed_options.device)
    classifier = yield from dense_classifier.fit(
        meta.embeddings, labelled, competition, ensemble.options.dims, device
    )
    return (
        classifier.measure(meta.embeddings, search, known_images(search, labelled, competition))
        for search in searches
    )


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
