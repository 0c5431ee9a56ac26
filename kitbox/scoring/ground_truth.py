"""The ground truth of a search's queries, and the outcome of a ranking against it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, more
from kitbox.records import (
    Holdout,
    ImageSet,
    Integers,
    LabelledImages,
    Ranking,
    Search,
    Strings,
    rows_of,
    strings,
)
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.scoring import metrics
from kitbox.scoring.outcomes import (
    BalancedAccuracy,
    ClusterAgreement,
    GlobalAveragePrecision,
    Mean,
    MeanOverIndividuals,
    Outcome,
)

# Similarities sorted at a time, with some ten arrays of 8 MB.
_MOST_SORTED = 1_000_000


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """The right answers to queries: all (q,), and the individuals in the gallery.

    `images` are the queries' image ids, `expected` their labels or the unknown label, `identity`
    their labels even where the gallery lacks them, '' where there is none; `groups` are species or
    data sets. `relevant` counts the images of a query's gallery that show its individual, itself
    only where the competition counts it. `label_of` maps every gallery image to its label, '' for
    none. `alternatives (q, m)` are further labels that are right answers too, '' where there are
    fewer. `matches` has the relevant images of each query id where these are listed, instead of
    labels.
    """

    query_ids: Strings
    images: Strings
    expected: Strings
    identity: Strings
    groups: Strings
    relevant: Integers
    label_of: dict[str, str]
    alternatives: Strings | None = None
    matches: dict[str, frozenset[str]] | None = None

    @classmethod
    def of_holdout(
        cls, holdout: Holdout, searches: Sequence[Search], competition: Competition
    ) -> "GroundTruth":
        """Return the ground truth of the holdout's queries, in the order of the searches."""
        return cls.of_searches(
            searches, holdout.query, holdout.query_answers, holdout.gallery, competition
        )

    @classmethod
    def of_searches(
        cls,
        searches: Sequence[Search],
        query: LabelledImages,
        expected: Strings,
        gallery: LabelledImages,
        competition: Competition,
    ) -> "GroundTruth":
        """Return the ground truth of searches; `query` and `gallery` carry the true labels.

        `expected (q,)` are the right answers to the query images.
        """
        unnamed = ["", competition.images.unknown_label or ""]
        labels = np.where(np.isin(gallery.labels, unnamed), "", gallery.labels)
        label_of = dict(zip(gallery.image_ids.tolist(), labels.tolist(), strict=True))
        parts = []
        for search in searches:
            rows = rows_of(search.query_images, query.image_ids)
            missing = search.query_images[rows < 0]
            if len(missing):
                raise KitboxError(f"no label of query '{missing[0]}'{more(len(missing) - 1)}")
            identity = np.where(np.isin(query.labels[rows], unnamed), "", query.labels[rows])
            parts.append(
                cls(
                    query_ids=search.query_ids,
                    images=search.query_images,
                    expected=expected[rows],
                    identity=identity,
                    groups=_groups(search, query, rows),
                    relevant=_relevant(search, identity, label_of, competition),
                    label_of=label_of,
                )
            )
        return cls(
            query_ids=np.concatenate([part.query_ids for part in parts]),
            images=np.concatenate([part.images for part in parts]),
            expected=np.concatenate([part.expected for part in parts]),
            identity=np.concatenate([part.identity for part in parts]),
            groups=np.concatenate([part.groups for part in parts]),
            relevant=np.concatenate([part.relevant for part in parts]),
            label_of=label_of,
        )

    @property
    def individuals(self) -> Strings:
        """The identity (q,); a query without one is an individual of its own."""
        return np.where(self.identity == "", self.query_ids, self.identity)

    @property
    def accepted(self) -> Strings:
        """All labels that are right answers (q, 1 + m), '' where there are fewer."""
        expected = self.expected[:, None]
        if self.alternatives is None:
            return expected
        return np.concatenate([expected, self.alternatives], axis=1)

    @property
    def individual_of(self) -> dict[str, str]:
        """Query id → identity, which intervals are taken over."""
        return dict(zip(self.query_ids.tolist(), self.identity.tolist(), strict=True))

    def take(self, rows: Integers) -> "GroundTruth":
        """Return the ground truth of some queries."""
        return GroundTruth(
            query_ids=self.query_ids[rows],
            images=self.images[rows],
            expected=self.expected[rows],
            identity=self.identity[rows],
            groups=self.groups[rows],
            relevant=self.relevant[rows],
            label_of=self.label_of,
            alternatives=None if self.alternatives is None else self.alternatives[rows],
            matches=self.matches,
        )


def relevance(
    ranking: Ranking, ground_truth: GroundTruth, *, with_itself: bool = False
) -> metrics.Hits:
    """Return which answers (q, k) are images of the query's individual.

    An image without a label matches nothing, and a query matches itself only `with_itself`.
    """
    if ground_truth.matches is not None:
        listed = [ground_truth.matches[query] for query in ranking.query_ids.tolist()]
        rows = zip(ranking.answers.tolist(), listed, strict=True)
        found_in = [[answer in images for answer in answers] for answers, images in rows]
        return np.array(found_in, dtype=np.bool_).reshape(ranking.answers.shape)
    known = sorted(set(ground_truth.label_of.values()) - {""})
    code_of = {"": -1} | {label: code for code, label in enumerate(known)}
    image_code = {image: code_of[label] for image, label in ground_truth.label_of.items()}
    flat = ranking.answers.ravel().tolist()
    found = np.array([image_code.get(image, -1) for image in flat], dtype=np.int64)
    own = np.array([code_of.get(label, -2) for label in ground_truth.identity.tolist()])
    own[ground_truth.identity == ""] = -2
    hits = found.reshape(ranking.answers.shape) == own[:, None]
    itself = ranking.answers == ground_truth.images[:, None]
    return np.asarray(hits | itself if with_itself else hits & ~itself)


def pair_outcome(
    graphs: Sequence[NeighbourGraph], ground_truth: GroundTruth
) -> MeanOverIndividuals:
    """Return the identity-balanced mAP of all pairs of the graphs' queries and galleries.

    A query's average precision is over all images of its gallery but itself; queries whose
    individual no other image shows are left out. Equal similarities count together, see
    `metrics.average_precision_at_k` with scores. Similarities are taken block by block.
    """
    codes = {label: code for code, label in enumerate(sorted({*ground_truth.label_of.values()}))}
    own = np.array([codes.get(label, -1) for label in ground_truth.identity.tolist()])
    own[ground_truth.identity == ""] = -1
    values, start = np.full(len(own), np.nan), 0
    for graph in graphs:
        images = graph.search.gallery_images
        shown = np.array([codes[ground_truth.label_of[image]] for image in images.tolist()])
        queries = np.arange(start, start + len(graph.search.query_ids))
        step = max(_MOST_SORTED // max(len(images), 1), 1)
        for rows, block in graph.blocks(images):
            for begin in range(0, len(block), step):
                asked, similarity = queries[rows][begin : begin + step], block[begin : begin + step]
                order = np.argsort(-similarity, axis=1, kind="stable")
                scores = np.take_along_axis(similarity, order, axis=1)
                # the query itself, at -inf, is no pair
                hits = (shown[order] == own[asked][:, None]) & ~np.isneginf(scores)
                relevant = hits.sum(axis=1)
                values[asked] = np.where(
                    relevant > 0,
                    metrics.average_precision_at_k(
                        hits, np.maximum(relevant, 1), len(images), scores
                    ),
                    np.nan,
                )
        start += len(queries)
    counted = np.flatnonzero(~np.isnan(values))
    return MeanOverIndividuals(
        query_ids=ground_truth.query_ids[counted],
        values=values[counted],
        identity=ground_truth.identity[counted],
    )


def metric_outcome(
    ranking: Ranking, ground_truth: GroundTruth, competition: Competition
) -> Outcome:
    """Return the outcome of the competition's own metric; rows are the same queries in both."""
    task, ids = competition.task, ground_truth.query_ids
    unknown = competition.images.unknown_label or ""
    match competition.metric.split("_at_")[0]:
        case "map":
            answerable = np.flatnonzero(ground_truth.relevant > 0)
            hits = relevance(ranking, ground_truth)[answerable]
            relevant = ground_truth.relevant[answerable]
            return Mean(ids[answerable], metrics.average_precision_at_k(hits, relevant, task.k))
        case "label_map":
            accepted = ground_truth.accepted
            return Mean(ids, metrics.label_average_precision_at_k(ranking, accepted, task.k))
        case "row_f1":
            hits = relevance(ranking, ground_truth, with_itself=task.with_itself)
            return Mean(ids, metrics.row_f1(ranking.answers, hits, ground_truth.relevant))
        case "gap":
            known = ~np.isin(ground_truth.expected, ["", unknown])
            right = (ranking.answers[:, :1] == ground_truth.accepted).any(axis=1) & known
            confidence = np.where(ranking.answers[:, 0] == "", -np.inf, ranking.similarity[:, 0])
            return GlobalAveragePrecision(ids, confidence.astype(np.float64), right, known)
        case "baks_baus":
            return _balanced(ranking, ground_truth, unknown, "both")
        case _:
            return _clustering(ranking, ground_truth, "ari")


def related_outcomes(
    ranking: Ranking, ground_truth: GroundTruth, competition: Competition
) -> dict[str, Outcome]:
    """Return metric → the outcomes that explain that of the competition's own metric.

    One that counts none of the queries is left out, as BAUS is where no query is unknown.
    """
    match competition.metric:
        case "baks_baus":
            unknown = competition.images.unknown_label or ""
            parts = {
                "baks": _balanced(ranking, ground_truth, unknown, "baks"),
                "baus": _balanced(ranking, ground_truth, unknown, "baus"),
            }
            return {name: part for name, part in parts.items() if not np.isnan(part.value)}
        case "ari":
            return {"nmi": _clustering(ranking, ground_truth, "nmi")}
        case _:
            return {}


def _balanced(
    ranking: Ranking,
    ground_truth: GroundTruth,
    unknown: str,
    which: Literal["both", "baks", "baus"],
) -> BalancedAccuracy:
    """Return BAKS and BAUS of the first answers."""
    return BalancedAccuracy(
        query_ids=ground_truth.query_ids,
        identity=ground_truth.individuals,
        known=ground_truth.expected != unknown,
        correct=ranking.answers[:, 0] == ground_truth.expected,
        group=ground_truth.groups,
        which=which,
    )


def _clustering(
    ranking: Ranking, ground_truth: GroundTruth, which: Literal["ari", "nmi"]
) -> ClusterAgreement:
    """Return how far clusters agree with individuals."""
    named = np.flatnonzero(ground_truth.identity != "")
    return ClusterAgreement(
        query_ids=ground_truth.query_ids[named],
        cluster=ranking.answers[named, 0],
        identity=ground_truth.identity[named],
        group=ground_truth.groups[named],
        which=which,
    )


def _groups(search: Search, query: ImageSet, rows: Integers) -> Strings:
    if search.name or query.groups is None:
        return np.full(len(rows), search.name)
    return query.groups[rows]


def _relevant(
    search: Search, identity: Strings, label_of: dict[str, str], competition: Competition
) -> Integers:
    """Return how many gallery images (q,) show the individual of each query."""
    shown = strings([label_of.get(str(image), "") for image in search.gallery_images])
    labels, counts = np.unique(shown, return_counts=True)
    count_of = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    total = np.array([count_of.get(label, 0) if label else 0 for label in identity.tolist()])
    total = total - (np.isin(search.query_images, search.gallery_images) & (identity != ""))
    if competition.task.with_itself:  # whether it is in the gallery or not
        total = total + 1
    return np.asarray(total, dtype=np.int64)
