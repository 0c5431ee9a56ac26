"""The images or individuals most similar to each image, and tables of them."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.ensemble import members
from kitbox.ensemble.ensemble import Ensemble
from kitbox.ensemble.members import MemberSource, Whitening
from kitbox.ensemble.meta_embedding import assemble
from kitbox.errors import KitboxError, counted
from kitbox.records import (
    Embeddings,
    ImageSet,
    Progress,
    Ranking,
    Strings,
    concatenate,
    rows_of,
)
from kitbox.retrieval.neighbour_graph import NeighbourGraph, Reranker, graph_stage
from kitbox.retrieval.ranking import measure_labels, rank_images, rank_labels, reorder
from kitbox.scoring import local_score

# Some of a competition's images, by name.
Side = Literal["all", "labelled", "test", "index", "holdout"]


@dataclass(frozen=True, kw_only=True)
class AllImages:
    """The usable images that every member of an ensemble can embed, by side, each once.

    `left_out` counts the others. Whitening is fitted on the images `fitted_on`.
    """

    ensemble: Ensemble
    by_side: dict[str, ImageSet]
    left_out: int
    fitted_on: Strings

    @property
    def reranker(self) -> Reranker | None:
        """The re-ranking steps of the ensemble."""
        ensemble = self.ensemble
        return ensemble.options.reranker(ensemble.collection.labelled, ensemble.competition)

    @property
    def images(self) -> ImageSet:
        """All of them in one set."""
        return reduce(concatenate, self.by_side.values())

    def embeddings(self) -> Generator[Progress, None, Embeddings]:
        """Return the meta-embeddings of all of them; yields Progress."""
        meta = yield from assemble(self.ensemble, [*self.by_side.values()], self.fitted_on)
        return meta.embeddings


def open_all(
    setup: Ensemble,
    sources: Sequence[MemberSource],
    weights: Sequence[float] | None = None,
    which: str = "last",
    *,
    whitening: Whitening = None,
    on: Literal["holdout", "all"] = "holdout",
) -> Generator[str, None, AllImages]:
    """Return sources as members for looking at all images; yields what a user should know.

    `setup` has no members yet. `on` names the networks: those that have not seen the holdout, or
    those of a submission.
    """
    workspace, collection = setup.workspace, setup.collection
    if on == "all":
        chosen = members.for_submission(
            workspace, sources, weights, collection, which, whitening=whitening
        )
        fitted_on = collection.labelled
    else:
        chosen, outdated = members.for_inspection(
            workspace, sources, collection, weights, which, whitening=whitening
        )
        if outdated:
            yield f"trained on images, labels or boxes as they were before: {', '.join(outdated)}"
        fitted_on = collection.holdout.gallery
    yield from members.checkpoint_warnings(chosen)
    usable = distinct_sets(collection)
    embedded = {side: members.embedded(images, chosen) for side, images in usable.items()}
    left_out = sum(map(len, usable.values())) - sum(map(len, embedded.values()))
    if left_out:
        yield f"left out: {counted(left_out, 'image')} without imported embedding"
    return AllImages(
        ensemble=replace(setup, members=chosen),
        by_side={side: images for side, images in embedded.items() if len(images)},
        left_out=left_out,
        fitted_on=fitted_on.image_ids,
    )


def distinct_sets(collection: Collection) -> dict[str, ImageSet]:
    """Return the labelled, test and index images by side, each image once."""
    found: dict[str, ImageSet] = {"labelled": collection.labelled}
    for side, images in (("test", collection.test), ("index", collection.index)):
        if images is not None:  # of scenarios, test images may be labelled ones
            new = ~np.isin(images.image_ids, [*chain(*(s.image_ids for s in found.values()))])
            found[side] = images.take(new)
    return found


def all_images(collection: Collection) -> ImageSet:
    """Return the labelled, test and index images in one set, each once."""
    return reduce(concatenate, distinct_sets(collection).values())


def images_of(side: Side, collection: Collection, *, gallery: bool) -> ImageSet:
    """Return the images of a side; of the holdout its gallery or its queries.

    Raises KitboxError for a side without images.
    """
    found: ImageSet | None
    match side:
        case "all":
            found = all_images(collection)
        case "labelled":
            found = collection.labelled
        case "holdout":
            holdout = collection.require_holdout()
            found = holdout.gallery if gallery else holdout.query
        case _:
            found = getattr(collection, side)
    if found is None or not len(found):
        option = "--gallery" if gallery else "--queries"
        raise KitboxError(f"{option} {side}: this competition has no {side} images")
    return found


def nearest_images(
    embeddings: Embeddings,
    query: ImageSet,
    gallery: ImageSet,
    competition: Competition,
    k: int,
    rerank: Reranker | None = None,
) -> Generator[Progress, None, dict[str, NDArray[Any]]]:
    """Return the k gallery images most similar to each query, best first, as columns.

    An image is never its own neighbour, and with task.within_group none of another group. Yields
    Progress.
    """
    searches = protocol.searches(query, gallery, competition)
    width = min(k, len(gallery))
    graphs = yield from graph_stage(embeddings, searches, rerank, of_images=True)
    ranking = rank_images(graphs, width)
    columns = _columns(ranking, query)
    neighbours = columns.pop("answer")
    similarity = columns.pop("similarity")
    return columns | {
        "neighbour": neighbours,
        "neighbour_label": labels_of(gallery)[rows_of(neighbours, gallery.image_ids)],
        "similarity": similarity,
    }


def nearest_individuals(
    embeddings: Embeddings,
    query: ImageSet,
    gallery: ImageSet,
    competition: Competition,
    k: int,
    rerank: Reranker | None = None,
) -> Generator[Progress, None, dict[str, NDArray[Any]]]:
    """Return the k individuals most similar to each query, best first, as columns.

    They are measured as the task says, by the images of the gallery that have a label. Yields
    Progress. Raises KitboxError for an index, which finds images.
    """
    known = gallery.with_labels(labels_of(gallery))
    searches = protocol.searches(query, gallery, competition)
    graphs = yield from graph_stage(embeddings, searches, rerank)
    if any(graph.index is not None for graph in graphs):
        raise KitboxError(
            "an index finds the nearest images, and individuals are ranked by all similarities",
            fix="leave it out",
        )
    width = min(k, len(np.unique(known.labels)))
    ranking = rank_labels((measure_labels(graph, known, competition) for graph in graphs), width)
    columns = _columns(ranking, query)
    individuals, similarity = columns.pop("answer"), columns.pop("similarity")
    return columns | {"individual": individuals, "similarity": similarity}


def search_side(
    ensemble: Ensemble, side: Literal["holdout", "test"]
) -> Generator[Progress, None, tuple[tuple[NeighbourGraph, ...], ImageSet]]:
    """Return the graphs of the holdout's searches or the leaderboard's, and all their images.

    Yields Progress. Raises KitboxError where there are no such queries.
    """
    collection, competition = ensemble.collection, ensemble.competition
    sets = [*distinct_sets(collection).values()]
    if side == "holdout":
        holdout = collection.require_holdout()
        searches = local_score.holdout_searches(holdout, competition)
        gallery_ids, sets = holdout.gallery.image_ids, sets[:1]
    else:
        if collection.test is None:
            raise KitboxError("this competition has no test images; set images.test_folder")
        searches = collection.searches
        gallery_ids = protocol.leaderboard_gallery(
            collection.test, collection.labelled, collection.index, competition
        ).image_ids
    meta = yield from assemble(ensemble, [one for one in sets if len(one)], gallery_ids)
    others = collection.labelled if side == "test" else collection.holdout.train
    rerank = ensemble.options.reranker(others, competition)
    graphs = yield from graph_stage(meta.embeddings, searches, rerank, of_images=True)
    return graphs, reduce(concatenate, sets)


def _columns(ranking: Ranking, query: ImageSet) -> dict[str, NDArray[Any]]:
    """Return a row for each answer: the query, its label, the rank from 1, and the answer."""
    ordered = reorder(ranking, query.image_ids)
    row, place = np.nonzero(ordered.answers != "")
    return {
        "image": query.image_ids[row],
        "label": labels_of(query)[row],
        "rank": place + 1,
        "answer": ordered.answers[row, place],
        "similarity": ordered.similarity[row, place],
    }


def labels_of(images: ImageSet) -> Strings:
    """Return the labels (n,) of images, '' where they have none."""
    return np.full(len(images), "") if images.labels is None else images.labels
