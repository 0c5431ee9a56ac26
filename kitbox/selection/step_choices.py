"""The re-ranking steps that a search tries, and the ranges of their settings."""

from collections.abc import Mapping

from kitbox.competition.settings import Competition
from kitbox.ensemble.ensemble import EnsembleOptions
from kitbox.errors import KitboxError
from kitbox.fusion.fusion_method import parse_fusion
from kitbox.retrieval import balance, rerankers
from kitbox.selection.search_space import Range, StepChoice

# Groups of steps in the order in which they are applied; a candidate has one of each or none.
# Ranges are about the values that helped on some data set: individuals have few photographs, so
# that many neighbours are of others.
_RANGES: Mapping[str, Mapping[str, Mapping[str, Range]]] = {
    "expansion": {
        "query_expansion": {"k": Range(1, 10), "alpha": Range(0, 4, 0.5)},
        "dba": {"k": Range(1, 10), "alpha": Range(0, 4, 0.5)},
        "subtraction": {"beta": Range(0.05, 1, 0.05), "k": Range(1, 20), "rounds": Range(1, 3)},
    },
    "re-ranking": {
        "k_reciprocal": {"k1": Range(2, 30), "k2": Range(1, 8), "lambda": Range(0.1, 0.9, 0.1)},
        "diffusion": {
            "k": Range(2, 30),
            "alpha": Range(0.5, 0.95, 0.05),
            "gamma": Range(1, 5, 0.5),
            "weight": Range(0.1, 0.9, 0.1),
        },
        "local_scaling": {"k": Range(2, 30)},
        "score_normalisation": {"beta": Range(0.1, 2, 0.1), "k": Range(1, 10)},
    },
}

_METHODS = ("logit", "mean", "boost", "rank_sum", "vote")


def step_groups(competition: Competition) -> dict[str, tuple[StepChoice, ...]]:
    """Return the steps that a competition may have, by their groups.

    Those that need images of surely other individuals are left out where it has none.
    """
    found = {}
    for group, kinds in _RANGES.items():
        choices = [
            StepChoice(default=str(rerankers.STEPS[kind]()), ranges=ranges)
            for kind, ranges in kinds.items()
            if _fits(kind, competition)
        ]
        found[group] = tuple(choices)
    return found


def fusion_methods(options: EnsembleOptions) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Return the matchers of options with each method of fusion, () where nothing is fused.

    The method of the options comes first, with its settings; others have their defaults. The
    gradient-boosted classifier, which takes a hundred times as long, is there if it is given.
    """
    settings = options.fusion_settings
    if settings is None:
        return ()
    names = [name for name in _METHODS if options.match or name != "boost"]
    texts = [str(parse_fusion(name)) for name in names if name != settings.method.kind]
    return tuple((options.match, text) for text in (str(settings.method), *texts))


def balances(competition: Competition) -> tuple[str, ...]:
    """Return the rules about the labels of queries, () where answers are no labels."""
    if competition.task.answers not in ("labels", "label"):
        return ()
    return tuple(str(method()) for method in balance.METHODS.values())


def _fits(kind: str, competition: Competition) -> bool:
    try:
        rerankers.check_steps([rerankers.STEPS[kind]()], competition)
    except KitboxError:
        return False
    return True
