"""The stage of fusion: neighbour graphs whose similarities are fused probabilities."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kitbox.errors import KitboxError, counted
from kitbox.fusion import fusion_model
from kitbox.fusion.fusion_method import DEFAULT, Boost, FusionMethod, parse_fusion
from kitbox.fusion.fusion_model import FusionModel
from kitbox.fusion.pair_signals import SignalPairs, SignalSources, collect_pairs
from kitbox.fusion.pair_table import PairTruth
from kitbox.fusion.probability_curve import BOUNDS, Numbers
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.records import Progress, strings
from kitbox.retrieval.neighbour_graph import NeighbourGraph, Shortlist, inside

# Below it a weight is 0.00 in a sentence.
_USELESS = 0.005


@dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """A method of fusion, and the local matchers that it looks at."""

    method: FusionMethod
    matchers: tuple[MatchSettings, ...] = ()

    @classmethod
    def parse(cls, fusion: str | None, match: Sequence[str]) -> "FusionSettings | None":
        """Return the settings of both texts, None without either; matches alone take `logit`.

        Raises KitboxError for a method or a matcher that there is not, and for one that lacks what
        it fuses.
        """
        if fusion is None and not match:
            return None
        method = parse_fusion(fusion or DEFAULT)
        matchers: list[MatchSettings] = []
        for text in match:
            settings = MatchSettings.parse(text)
            if settings in matchers:
                raise KitboxError(f"the matcher '{text}' is given twice; leave one out")
            matchers.append(settings)
        if isinstance(method, Boost) and not matchers:
            raise KitboxError(
                "boost raises similarities by local matches, and there is no matcher; add "
                "--match sift",
                where="--fusion",
            )
        return cls(method=method, matchers=tuple(matchers))


@dataclass(frozen=True, kw_only=True)
class FusedHoldout:
    """The graphs of the holdout's searches with probabilities, and the model of the test.

    Probabilities were fitted without the individuals of a pair, `model` is fitted on all;
    `evidence` has its weights and how right probabilities are.
    """

    graphs: tuple[NeighbourGraph, ...]
    model: FusionModel
    evidence: dict[str, Any]


def fuse_holdout(
    sources: SignalSources,
    settings: FusionSettings,
    label_of: dict[str, str],
    unknown_label: str | None,
) -> Generator[Progress, None, FusedHoldout]:
    """Return the holdout's graphs with cross-fitted probabilities; yields Progress.

    `label_of` maps the holdout's queries and gallery images to their labels. Raises KitboxError
    where no pair is known to show one individual or two.
    """
    pairs = yield from collect_pairs(sources, settings.method, settings.matchers)
    yield Progress("fit the fusion", 0, 1, "fits")
    truth = PairTruth.of_labels(pairs.table, label_of, unknown_label)
    fit = fusion_model.cross_fit(
        settings.method, pairs.table, truth, _outside_truth(pairs, label_of, unknown_label)
    )
    evidence = dict(fit.evidence)
    absent = {name: len(ids) for name, ids in pairs.without_keypoints.items()}
    if absent:
        evidence["without_keypoints"] = absent
    if pairs.over_budget:
        evidence["over_budget"] = pairs.over_budget
    return FusedHoldout(
        graphs=with_probabilities(sources.graphs, pairs, fit.probability, fit.model),
        model=fit.model,
        evidence=evidence,
    )


def fuse_test(
    sources: SignalSources, settings: FusionSettings, model: FusionModel
) -> Generator[Progress, None, tuple[NeighbourGraph, ...]]:
    """Return graphs with the probabilities of a model that the holdout gave; yields Progress."""
    pairs = yield from collect_pairs(sources, settings.method, settings.matchers)
    return with_probabilities(sources.graphs, pairs, model.probability(pairs.table), model)


def with_probabilities(
    graphs: Sequence[NeighbourGraph], pairs: SignalPairs, probability: Numbers, model: FusionModel
) -> tuple[NeighbourGraph, ...]:
    """Return graphs in which pairs (p,) have a probability, and all others that of `outside`."""
    found, first_query = [], 0
    for graph in graphs:
        queries = len(graph.search.query_ids)
        query = pairs.table.query - first_query
        own = np.flatnonzero((query >= 0) & (query < queries))
        first_query += queries
        query = query[own]
        place = np.arange(len(own)) - np.searchsorted(query, query)
        width = int(place.max()) + 1 if len(own) else 0
        rows = np.full((queries, width), -1, dtype=np.int64)
        similarity = np.zeros((queries, width), dtype=np.float32)
        rows[query, place] = pairs.rows[own]
        similarity[query, place] = inside(probability[own], BOUNDS)
        curve = model.outside
        mapped = graph.mapped(curve.x.tolist(), curve.y.tolist(), BOUNDS)
        found.append(mapped.rerank(Shortlist(rows, similarity)))
    return tuple(found)


def fusion_sentences(evidence: dict[str, Any]) -> list[str]:
    """Return sentences, without capital and full stop, about a fusion and how right it is."""
    weights: dict[str, float] | None = evidence.get("weights")
    of = ", ".join(evidence["signals"])
    if weights is not None:
        of = ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())
    sentences = [
        f"fusion by {evidence['method']} of {of}: probabilities are off by "
        f"{evidence['calibration_error']:.3f} on average over {evidence['pairs']:,} pairs, "
        f"{evidence['same']:,} of them of one individual, each by a fit without its individuals"
    ]
    useless = [name for name, weight in (weights or {}).items() if weight < _USELESS]
    if not 0 < evidence["same"] < evidence["pairs"]:
        useless = []  # no weight was fitted
    if useless and weights is not None and len(useless) == len(weights):
        what = "all signals have" if len(useless) > 1 else f"{useless[0]} has"
        sentences.append(
            f"{what} weight 0: on the holdout nothing tells pairs of one individual from others; "
            "leave --fusion and --match out"
        )
    elif useless:
        verb = "has" if len(useless) == 1 else "have"
        sentences.append(f"{' and '.join(useless)} {verb} weight 0: no help to the other signals")
    if evidence["same"] == 0:
        sentences.append(
            "no pair of the shortlists shows one individual, so that fusion keeps the order of the "
            "global similarity"
        )
    elif "fits_without_both_kinds" in evidence:
        sentences.append(
            f"{counted(evidence['fits_without_both_kinds'], 'fit')} of the fusion had pairs of one "
            "kind only, and kept the order of the global similarity; a larger holdout mends that"
        )
    for name, count in evidence.get("without_keypoints", {}).items():
        have = "has" if count == 1 else "have"
        sentences.append(
            f"{counted(count, 'photograph')} {have} no keypoints of {name} and keep"
            f"{'s' if count == 1 else ''} the global similarity"
        )
    for name, count in evidence.get("over_budget", {}).items():
        sentences.append(
            f"the budget of {name} left out {counted(count, 'pair')}, which keep"
            f"{'s' if count == 1 else ''} the global similarity"
        )
    return sentences


def _outside_truth(
    pairs: SignalPairs, label_of: dict[str, str], unknown_label: str | None
) -> tuple[Numbers, np.ndarray]:
    """Return the similarities of pairs beyond the shortlists, and which show one individual.

    Where shortlists leave none, those of the shortlists stand for them.
    """
    unnamed = ("", unknown_label or "")
    table = pairs.table
    sides = (pairs.outside_first, pairs.outside_second)
    if not len(pairs.outside):
        sides = (table.first, table.second)
    labels = [strings([label_of.get(image, "") for image in ids.tolist()]) for ids in sides]
    named = [~np.isin(each, unnamed) for each in labels]
    known = (named[0] & (labels[1] != "")) | (named[1] & (labels[0] != ""))
    values = pairs.outside if len(pairs.outside) else table.whole
    return values[known], (named[0] & named[1] & (labels[0] == labels[1]))[known]
