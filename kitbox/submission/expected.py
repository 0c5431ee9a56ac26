"""What a submission of a competition has to name: its queries, and the answers each may have."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.records import ImageSet, Search


@dataclass(frozen=True)
class Expected:
    """The queries in their order (query → row), and what may answer them.

    `kind` of answer is "label", "image" or "cluster". `allowed` are the answers of each search,
    `search_of` the search of each query, `image_of` its image.
    """

    kind: str
    place: dict[str, int]
    image_of: dict[str, str]
    search_of: dict[str, int]
    allowed: tuple[frozenset[str], ...]
    least: int
    most: int
    with_itself: bool

    def answers(self, query: str) -> Collection[str]:
        """Return what may answer a query."""
        return self.allowed[self.search_of[query]]

    def own(self, query: str) -> str | None:
        """Return the answer that is the query itself, or None where answers are no images."""
        return self.image_of[query] if self.kind == "image" else None

    def fits(self, answer: str, query: str) -> bool:
        """Return whether an answer may stand in a query's row; any word names a cluster."""
        if self.kind == "cluster":
            return bool(answer.strip())
        if answer not in self.allowed[self.search_of[query]]:
            return False
        return self.with_itself or self.kind == "label" or answer != self.image_of[query]

    def counts(self, query: str) -> tuple[int, int]:
        """Return the least and the largest number of answers of a query."""
        if self.kind == "cluster":
            return 1, 1
        known = self.answers(query)
        there = len(known) - (self.own(query) in known and not self.with_itself)
        return min(self.least, there), min(self.most, there)


def of(
    competition: Competition, labelled: ImageSet, test: ImageSet, searches: tuple[Search, ...]
) -> Expected:
    """Return what a competition expects of a submission."""
    task = competition.task
    # kitbox names task.least matches, but a query that names itself alone is no fault of a list
    least = min(task.fewest, 1) if task.answers == "matches" and task.with_itself else task.fewest
    query_ids = protocol.query_ids(searches, test)
    image_of: dict[str, str] = {}
    search_of: dict[str, int] = {}
    for number, search in enumerate(searches):
        pairs = zip(search.query_ids.tolist(), search.query_images.tolist(), strict=True)
        for query_id, image in pairs:
            image_of[query_id], search_of[query_id] = image, number
    if task.answers in ("labels", "label"):
        kind, allowed = "label", [_labels(search, labelled, competition) for search in searches]
    else:
        kind = "cluster" if task.answers == "clusters" else "image"
        allowed = [frozenset(search.gallery_images.tolist()) for search in searches]
    return Expected(
        kind,
        {query: row for row, query in enumerate(query_ids.tolist())},
        image_of,
        search_of,
        tuple(allowed),
        least,
        task.k,
        task.with_itself,
    )


def _labels(search: Search, labelled: ImageSet, competition: Competition) -> frozenset[str]:
    assert labelled.labels is not None  # noqa: S101  labelled images
    unknown = competition.images.unknown_label
    found = set(labelled.labels[np.isin(labelled.image_ids, search.gallery_images)].tolist())
    if unknown and competition.decides:
        return frozenset(found | {unknown})
    return frozenset(found - {unknown})
