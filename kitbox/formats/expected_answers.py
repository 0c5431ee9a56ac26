"""The queries of a leaderboard in their order, and the answers that it may be given."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kitbox.competition import protocol
from kitbox.competition.settings import Accepted, Competition
from kitbox.records import ImageSet, LabelledImages, Search


@dataclass(frozen=True, kw_only=True)
class ExpectedAnswers:
    """The queries in their order (query → row), and their possible answers.

    `kind` of answer is "label", "image" or "cluster". `allowed` are the answers of each search,
    `search_of` the search of each query, and `image_of` its image. `accepts` is what the
    leaderboard takes, and `prefixes` are what the clusters of each search must begin with, if any.
    """

    kind: str
    row_of: dict[str, int]
    image_of: dict[str, str]
    search_of: dict[str, int]
    allowed: tuple[frozenset[str], ...]
    least: int
    most: int
    with_itself: bool
    accepts: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def level(self, fault: Accepted) -> Literal["error", "warning"]:
        """Return the level of a finding that the leaderboard may take."""
        return "warning" if fault in self.accepts else "error"

    def answers(self, query: str) -> Collection[str]:
        """Return the possible answers to a query."""
        return self.allowed[self.search_of[query]]

    def own(self, query: str) -> str | None:
        """Return the answer that is the query itself, or None where answers are not images."""
        return self.image_of[query] if self.kind == "image" else None

    def allows(self, answer: str, query: str) -> bool:
        """Return whether an answer is possible for a query; a cluster may have any name."""
        if self.kind == "cluster":
            return bool(answer.strip())
        if answer not in self.allowed[self.search_of[query]]:
            return False
        return self.with_itself or self.kind == "label" or answer != self.image_of[query]

    def counts(self, query: str) -> tuple[int, int]:
        """Return the least and the largest number of answers to a query."""
        if self.kind == "cluster":
            return 1, 1
        answers = self.answers(query)
        possible = len(answers) - (self.own(query) in answers and not self.with_itself)
        return min(self.least, possible), min(self.most, possible)


def expected_answers(
    competition: Competition, labelled: LabelledImages, test: ImageSet, searches: tuple[Search, ...]
) -> ExpectedAnswers:
    """Return the queries and answers that a competition expects."""
    task = competition.task
    # kitbox writes at least task.least matches, but a query that names only itself is accepted
    least = (
        min(task.min_answers, 1)
        if task.answers == "matches" and task.with_itself
        else task.min_answers
    )
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
    prefix = competition.submission.cluster_prefix
    return ExpectedAnswers(
        kind=kind,
        row_of={query: row for row, query in enumerate(query_ids.tolist())},
        image_of=image_of,
        search_of=search_of,
        allowed=tuple(allowed),
        least=least,
        most=task.k,
        with_itself=task.with_itself,
        accepts=frozenset(competition.submission.accepts),
        prefixes=()
        if prefix is None
        else tuple(prefix.replace("{group}", search.name) for search in searches),
    )


def _labels(search: Search, labelled: LabelledImages, competition: Competition) -> frozenset[str]:
    unknown = competition.images.unknown_label
    found = set(labelled.labels[np.isin(labelled.image_ids, search.gallery_images)].tolist())
    if unknown and competition.uses_threshold:
        return frozenset(found | {unknown})
    return frozenset(found - {unknown})
