"""Methods of fusion, and their text form: logit, mean, boost:weight=0.5, vote:k=5 and others."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from kitbox.method import Method, parse_method

# Photographs of a query that are fused where neither the method nor a matcher gives a number.
SHORTLIST = 50


class FusionMethod(Method):
    """How the calibrated signals of a pair become one probability.

    `shortlist` photographs of each query are fused, None for as many as matchers look at.
    `blend` is the share of a classifier of labels in the probability of a label, None without one.
    """

    noun: ClassVar[str] = "method of fusion"
    order: ClassVar[tuple[str, ...]] = ("weight", "k", "shortlist", "blend")

    shortlist: int | None = Field(default=None, ge=1, le=10_000)
    blend: float | None = Field(default=None, ge=0, le=1)


class LogitSum(FusionMethod):
    """The sum of the signals' logits, by weights of at least 0 that are fitted."""

    kind: ClassVar[str] = "logit"


class MeanProbability(FusionMethod):
    """The mean of the signals' probabilities (WildFusion, Cermak et al., 2024)."""

    kind: ClassVar[str] = "mean"


class Boost(FusionMethod):
    """s + weight·l·(1 − s) of the global similarity s and each local matcher's l."""

    kind: ClassVar[str] = "boost"

    weight: float = Field(default=1.0, ge=0, le=1)


class RankSum(FusionMethod):
    """The mean place in the query's lists."""

    kind: ClassVar[str] = "rank_sum"


class Vote(FusionMethod):
    """The lists that have the photograph among their `k` best."""

    kind: ClassVar[str] = "vote"

    k: int = Field(default=5, ge=1, le=10_000)


class BoostedTrees(FusionMethod):
    """Gradient boosting on features of the pair."""

    kind: ClassVar[str] = "classifier"


METHODS: Mapping[str, type[FusionMethod]] = {
    method.kind: method
    for method in (LogitSum, MeanProbability, Boost, RankSum, Vote, BoostedTrees)
}
# The method where local matches are given and no method.
DEFAULT = LogitSum.kind


def parse_fusion(text: str) -> FusionMethod:
    """Return the method of a text such as logit, boost:weight=0.5 or vote:k=5,shortlist=30.

    Raises KitboxError for a method or a setting that there is not, and for a value out of range.
    """
    return parse_method(text, METHODS)
