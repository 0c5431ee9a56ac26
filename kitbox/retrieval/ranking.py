"""Ranks the answers of every search of a competition, and decides where they end."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, more
from kitbox.records import (
    Embeddings,
    LabelledImages,
    Ranking,
    Search,
    Strings,
    rows_of,
    strings,
)
from kitbox.retrieval import clusters, label_similarity
from kitbox.retrieval.label_similarity import LabelSimilarities

# Group (or scenario) → the similarity below which an answer is no answer; '' for all groups.
Thresholds = Mapping[str, float]
# Tells how similar query images are to the labels of gallery images.
LabelMeasure = Callable[[Strings, LabelledImages], LabelSimilarities]


def rank(
    embeddings: Embeddings,
    searches: Sequence[Search],
    labelled: LabelledImages,
    competition: Competition,
    k: int | None = None,
) -> Ranking:
    """Return the best answers of each query of all searches, not yet cut at a threshold.

    Images of the galleries, or labels of `labelled` images that are in them; images of the
    unknown label or of none answer nothing. Rows with fewer than k answers end in '' and -inf.
    Raises KitboxError where images are asked for and there are none to find.
    """
    width = k or competition.task.k
    if competition.task.answers not in ("labels", "label"):
        found = rank_images(embeddings, searches, width)
        if not competition.task.with_itself:
            return found
        own = np.concatenate([search.query_images for search in searches])
        return label_similarity.prepend_itself(found, own)
    return rank_labels(by_cosine(embeddings, competition), searches, labelled, competition, width)


def rank_labels(
    tell: LabelMeasure,
    searches: Sequence[Search],
    labelled: LabelledImages,
    competition: Competition,
    k: int,
) -> Ranking:
    """Return the best labels of each query of all searches, as something tells their similarity.

    Asked are labels of `labelled` images that are in the search's gallery, the unknown label and
    '' left out.
    """
    parts = []
    for search in searches:
        told = tell(search.query_images, known_images(search, labelled, competition))
        parts.append(label_similarity.top_labels(search.query_ids, told, k))
    return _joined(parts)


def by_cosine(embeddings: Embeddings, competition: Competition) -> LabelMeasure:
    """Return what tells the similarity of labels as the competition's task measures it."""
    task = competition.task

    def tell(query_images: Strings, known: LabelledImages) -> LabelSimilarities:
        query, gallery = embeddings.of(query_images), embeddings.of(known.image_ids)
        how = (task.label_similarity, task.label_images)
        return label_similarity.similarities(query, gallery, known.labels, *how)

    return tell


def known_images(
    search: Search, labelled: LabelledImages, competition: Competition
) -> LabelledImages:
    """Return the images of known individuals in a search's gallery."""
    nobody = ["", competition.images.unknown_label or ""]
    named = labelled.take(~np.isin(labelled.labels, nobody))
    return named.take(np.isin(named.image_ids, search.gallery_images))


def rank_images(embeddings: Embeddings, searches: Sequence[Search], k: int) -> Ranking:
    """Return the k most similar images of each query of all searches.

    A search without gallery finds nothing; raises KitboxError where none has one.
    """
    if not any(len(search.gallery_images) for search in searches):
        raise KitboxError("the gallery is empty")
    return _joined([_images(embeddings, search, k) for search in searches])


def apply_thresholds(
    ranking: Ranking, limits: NDArray[np.float64], competition: Competition
) -> Ranking:
    """Return a ranking with the answers of each query cut at its limit (n,).

    Below it labels give way to the unknown label, and matches end.
    """
    if not competition.uses_threshold:
        return ranking
    task, unknown = competition.task, competition.images.unknown_label
    if task.answers == "matches":
        return label_similarity.drop_below(ranking, limits, task.min_answers)
    assert unknown is not None  # noqa: S101  a competition that decides labels has one
    return label_similarity.insert_unknown(ranking, unknown, limits)


def query_thresholds(thresholds: Thresholds, names: Strings) -> NDArray[np.float64]:
    """Return the threshold of each query (n,) by the name of its group.

    A group without one, which the holdout does not have, takes that of all groups, else the
    median of the others. Raises KitboxError where there is no threshold at all.
    """
    if not thresholds:
        raise KitboxError("there is no threshold; set threshold.rule in kitbox.toml")
    middle = float(np.median(list(thresholds.values())))
    unique, codes = np.unique(names, return_inverse=True)
    limits = [thresholds.get(str(name), thresholds.get("", middle)) for name in unique]
    return np.array(limits, dtype=np.float64)[codes]


def cluster_trees(
    embeddings: Embeddings, searches: Sequence[Search]
) -> dict[str, clusters.ClusterTree]:
    """Return for each search the tree in which its queries join into clusters."""
    return {search.name: clusters.link(embeddings.of(search.query_images)) for search in searches}


def cut_trees(
    found: Mapping[str, clusters.ClusterTree], searches: Sequence[Search], thresholds: Thresholds
) -> Ranking:
    """Return each query's cluster as its only answer: `cluster_<group>_<number>`."""
    names: list[str] = []
    limits: list[float] = []
    for search in searches:
        limit = float(query_thresholds(thresholds, strings([search.name]))[0])
        prefix = f"cluster_{search.name}_" if search.name else "cluster_"
        numbers = found[search.name].cut(limit)
        names += [f"{prefix}{number}" for number in numbers]
        limits += [limit] * len(numbers)
    return Ranking(
        np.concatenate([search.query_ids for search in searches]),
        strings(names)[:, None],
        np.array(limits, dtype=np.float32)[:, None],
    )


def reorder(ranking: Ranking, query_ids: Strings) -> Ranking:
    """Return the rows of the given queries, in their order.

    Raises KitboxError for a query that was not ranked.
    """
    rows = rows_of(query_ids, ranking.query_ids)
    missing = query_ids[rows < 0]
    if len(missing):
        raise KitboxError(f"query '{missing[0]}' was not ranked{more(len(missing) - 1)}")
    return Ranking(query_ids, ranking.answers[rows], ranking.similarity[rows])


def _images(embeddings: Embeddings, search: Search, k: int) -> Ranking:
    ids = search.query_ids
    if not len(search.gallery_images):
        nothing = np.full((len(ids), k), -np.inf, dtype=np.float32)
        return Ranking(ids, np.full((len(ids), k), "", dtype=np.str_), nothing)
    query, gallery = (embeddings.of(i) for i in (search.query_images, search.gallery_images))
    found = label_similarity.images(query, gallery, k)
    return Ranking(ids, found.answers, found.similarity)


def _joined(parts: Sequence[Ranking]) -> Ranking:
    return Ranking(
        np.concatenate([part.query_ids for part in parts]),
        np.concatenate([part.answers for part in parts]),
        np.concatenate([part.similarity for part in parts]),
    )
