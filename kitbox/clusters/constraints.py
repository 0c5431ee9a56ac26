"""Constraints on clusters: links that people decided, and anchors to known individuals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kitbox.clusters.decided_pairs import link_labels
from kitbox.clusters.linkage import Constraints
from kitbox.competition.settings import Competition
from kitbox.decisions.image_links import NO_LINKS, Links
from kitbox.records import Integers, LabelledImages, Search, Similarities, Strings
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.retrieval.ranking import measure_labels, rank_labels

# Thresholds of anchors are under this and their group.
ANCHOR = "anchor:"


@dataclass(frozen=True)
class Anchors:
    """The known individual nearest to each query (q,), '' for none, and its similarity (q,)."""

    labels: Strings
    similarity: Similarities


def nearest_known(
    graphs: Sequence[NeighbourGraph],
    labelled: LabelledImages,
    competition: Competition,
    links: Links = NO_LINKS,
) -> dict[str, Anchors]:
    """Return the known individual nearest to each query of each search, by its name.

    How similar an individual is is measured as the task's `label_similarity` says.
    """
    found = {}
    for graph in graphs:
        measured = measure_labels(graph, labelled, competition)
        ranking = rank_labels([link_labels(measured, graph.search, links)], 1)
        found[graph.search.name] = Anchors(ranking.answers[:, 0], ranking.similarity[:, 0])
    return found


def constraints_of(
    searches: Sequence[Search],
    links: Links = NO_LINKS,
    anchors: Mapping[str, Anchors] | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> dict[str, Constraints]:
    """Return the constraints on the clusters of each search's queries, by its name.

    `thresholds` are group → similarity; those of anchors are under `anchor:` and the group. A
    group without one takes that of all groups, else the median of the others, else the similarity
    at which clusters are cut.
    """
    limits = thresholds or {}
    return {
        search.name: constrain(
            search, links, (anchors or {}).get(search.name), _limit(limits, search.name)
        )
        for search in searches
    }


def cuts_of(thresholds: Mapping[str, float]) -> dict[str, float]:
    """Return the thresholds at which clusters are cut, without those of anchors."""
    return {name: value for name, value in thresholds.items() if not name.startswith(ANCHOR)}


def _limit(thresholds: Mapping[str, float], group: str) -> float:
    own = {
        name.removeprefix(ANCHOR): value
        for name, value in thresholds.items()
        if name.startswith(ANCHOR)
    } or thresholds
    if not own:
        return np.inf
    return float(own.get(group, own.get("", np.median(list(own.values())))))


def constrain(
    search: Search, links: Links, anchors: Anchors | None = None, limit: float = np.inf
) -> Constraints:
    """Return the constraints on clusters of a search's queries.

    Queries of one individual start in one cluster. A cluster whose query is as similar to a known
    individual as `limit` is anchored: it starts together with all that are anchored to that
    individual, unless a link keeps them apart, and merges with no other. The most similar comes
    first, and a link to a labelled image before all.
    """
    individuals = links.individuals(search.query_images)
    keys = np.where(individuals >= 0, individuals, -1 - np.arange(len(individuals)))
    _, first, start = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    start = rank[start]
    number_of = {int(individuals[row]): int(start[row]) for row in np.flatnonzero(individuals >= 0)}
    pairs = links.apart(individuals).ravel().tolist()
    apart = np.array([number_of[one] for one in pairs], dtype=np.int64).reshape(-1, 2)
    closed = np.zeros(len(first), dtype=np.bool_)
    if anchors is None:
        return Constraints(start, apart, closed)
    labels = _anchored(search, start, apart, links, anchors, limit)
    merged = np.arange(len(first))
    of_label: dict[str, int] = {}
    for cluster, label in sorted(labels.items()):
        merged[cluster] = of_label.setdefault(label, cluster)
    closed[list(of_label.values())] = True
    kept, numbers = np.unique(merged, return_inverse=True)
    return Constraints(numbers[start], np.unique(numbers[apart], axis=0), closed[kept])


def _anchored(
    search: Search,
    start: Integers,
    apart: Integers,
    links: Links,
    anchors: Anchors,
    limit: float,
) -> dict[int, str]:
    """Return starting cluster → the label that it is anchored to."""
    individuals = links.individuals(search.query_images)
    strength = np.asarray(anchors.similarity, dtype=np.float64).copy()
    labels = anchors.labels.tolist()
    for row, number in enumerate(individuals.tolist()):
        if number in links.label_of:
            labels[row], strength[row] = links.label_of[number], np.inf
    enemies: dict[int, set[int]] = {}
    for one, other in apart.tolist():
        enemies.setdefault(one, set()).add(other)
        enemies.setdefault(other, set()).add(one)
    found: dict[int, str] = {}
    reaching = np.flatnonzero((strength >= limit) & (strength > -np.inf))
    for row in reaching[np.argsort(-strength[reaching], kind="stable")].tolist():
        cluster, label = int(start[row]), labels[row]
        taken = {found.get(enemy) for enemy in enemies.get(cluster, ())}
        if label and cluster not in found and label not in taken:
            found[cluster] = label
    return found
