"""What a scorer knows of each query, and the outcome of a ranking held against it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, more
from kitbox.records import (
    Holdout,
    Integers,
    LabelledImages,
    Ranking,
    Search,
    Strings,
    rows_of,
    strings,
)
from kitbox.scoring import metrics
from kitbox.scoring.outcomes import Balanced, Clustering, GlobalPrecision, Mean, Outcome


@dataclass(frozen=True)
class GroundTruth:
    """Each query's image, expected answer, individual and group (q,), and who is in the gallery.

    `expected` is a label, or the unknown label. `relevant (q,)` counts the images of the query's
    gallery that show its individual, and itself only where the competition counts it. `label_of`
    names the individual of every gallery image, '' where it is not known.
    """

    query_ids: Strings
    images: Strings
    expected: Strings
    identity: Strings
    groups: Strings
    relevant: Integers
    label_of: dict[str, str]

    @property
    def individuals(self) -> Strings:
        """The identity (q,); who shows nobody in particular is an individual of its own."""
        return np.where(self.identity == "", self.query_ids, self.identity)

    @property
    def individual_of(self) -> dict[str, str]:
        """Query id → identity, which intervals are taken over."""
        return dict(zip(self.query_ids.tolist(), self.identity.tolist(), strict=True))

    def take(self, rows: Integers) -> "GroundTruth":
        """Return the truth of some queries."""
        return GroundTruth(
            self.query_ids[rows],
            self.images[rows],
            self.expected[rows],
            self.identity[rows],
            self.groups[rows],
            self.relevant[rows],
            self.label_of,
        )


def of_holdout(
    holdout: Holdout, searches: Sequence[Search], competition: Competition
) -> GroundTruth:
    """Return the truth of the holdout's queries, in the order of the searches."""
    return of_searches(searches, holdout.query, holdout.query_answers, holdout.gallery, competition)


def of_searches(
    searches: Sequence[Search],
    query: LabelledImages,
    expected: Strings,
    gallery: LabelledImages,
    competition: Competition,
) -> GroundTruth:
    """Return the truth of searches; `query` and `gallery` carry the true labels."""
    nobody = {"", competition.images.unknown_label or ""}
    labels = np.where(np.isin(gallery.labels, list(nobody)), "", gallery.labels)
    label_of = dict(zip(gallery.image_ids.tolist(), labels.tolist(), strict=True))
    parts = []
    for search in searches:
        rows = rows_of(search.query_images, query.image_ids)
        strangers = search.query_images[rows < 0]
        if len(strangers):
            raise KitboxError(f"no label of query '{strangers[0]}'{more(len(strangers) - 1)}")
        identity = np.where(np.isin(query.labels[rows], list(nobody)), "", query.labels[rows])
        found = strings([label_of.get(str(image), "") for image in search.gallery_images])
        names, counts = np.unique(found, return_counts=True)
        of_label = dict(zip(names.tolist(), counts.tolist(), strict=True))
        total = np.array([of_label.get(label, 0) if label else 0 for label in identity.tolist()])
        total = total - (np.isin(search.query_images, search.gallery_images) & (identity != ""))
        if competition.task.with_itself:  # whether it is in the gallery or not
            total = total + 1
        groups = np.full(len(rows), search.name)
        if not search.name and query.groups is not None:
            groups = query.groups[rows]
        relevant = total.astype(np.int64)
        asked = (search.query_ids, search.query_images)
        parts.append(GroundTruth(*asked, expected[rows], identity, groups, relevant, label_of))
    return GroundTruth(
        np.concatenate([part.query_ids for part in parts]),
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.expected for part in parts]),
        np.concatenate([part.identity for part in parts]),
        np.concatenate([part.groups for part in parts]),
        np.concatenate([part.relevant for part in parts]),
        label_of,
    )


def relevance(ranking: Ranking, truth: GroundTruth, *, with_itself: bool = False) -> metrics.Hits:
    """Return which answers (q, k) show the query's individual.

    An image of unknown label matches nothing, a query never itself unless that counts.
    """
    code_of = {"": -1} | {
        label: code for code, label in enumerate(sorted(set(truth.label_of.values()) - {""}))
    }
    image_code = {image: code_of[label] for image, label in truth.label_of.items()}
    flat = ranking.answers.ravel().tolist()
    found = np.array([image_code.get(image, -1) for image in flat], dtype=np.int64)
    own = np.array([code_of.get(label, -2) for label in truth.identity.tolist()])
    own[truth.identity == ""] = -2
    hits = found.reshape(ranking.answers.shape) == own[:, None]
    itself = ranking.answers == truth.images[:, None]
    return np.asarray(hits | itself if with_itself else hits & ~itself)


def outcome(ranking: Ranking, truth: GroundTruth, competition: Competition) -> Outcome:
    """Return the outcome of the competition's own metric; rows are those of the truth.

    Raises KitboxError where no query can be scored.
    """
    task, ids = competition.task, truth.query_ids
    unknown = competition.images.unknown_label or ""
    match competition.metric.split("_at_")[0]:
        case "map":
            asked = np.flatnonzero(truth.relevant > 0)
            hits = relevance(ranking, truth)[asked]
            values = metrics.average_precision_at_k(hits, truth.relevant[asked], task.k)
            return Mean(ids[asked], values)
        case "label_map":
            return Mean(ids, metrics.label_average_precision_at_k(ranking, truth.expected, task.k))
        case "row_f1":
            hits = relevance(ranking, truth, with_itself=task.with_itself)
            return Mean(ids, metrics.row_f1(ranking.answers, hits, truth.relevant))
        case "gap":
            answerable = ~np.isin(truth.expected, ["", unknown])
            right = (ranking.answers[:, 0] == truth.expected) & answerable
            confidence = np.where(ranking.answers[:, 0] == "", -np.inf, ranking.similarity[:, 0])
            return GlobalPrecision(ids, confidence.astype(np.float64), right, answerable)
        case "baks_baus":
            return balanced(ranking, truth, unknown, "both")
        case _:
            return clustering(ranking, truth, "ari")


def related_outcomes(
    ranking: Ranking, truth: GroundTruth, competition: Competition
) -> dict[str, Outcome]:
    """Return the outcomes that explain the competition's own: the parts of it, and its kin.

    A part that counts none of the queries is left out: BAUS, where no query is of a stranger.
    """
    match competition.metric:
        case "baks_baus":
            unknown = competition.images.unknown_label or ""
            parts = {
                "baks": balanced(ranking, truth, unknown, "baks"),
                "baus": balanced(ranking, truth, unknown, "baus"),
            }
            return {name: part for name, part in parts.items() if not np.isnan(part.value)}
        case "ari":
            return {"nmi": clustering(ranking, truth, "nmi")}
        case _:
            return {}


def balanced(ranking: Ranking, truth: GroundTruth, unknown: str, which: str) -> Balanced:
    """Return BAKS and BAUS of the first answers."""
    known = truth.expected != unknown
    right = ranking.answers[:, 0] == truth.expected
    return Balanced(truth.query_ids, truth.individuals, known, right, truth.groups, which)  # type: ignore[arg-type]


def clustering(ranking: Ranking, truth: GroundTruth, which: str) -> Clustering:
    """Return how far clusters agree with individuals."""
    named = np.flatnonzero(truth.identity != "")
    return Clustering(
        truth.query_ids[named],
        ranking.answers[named, 0],
        truth.identity[named],
        truth.groups[named],
        which,  # type: ignore[arg-type]
    )
