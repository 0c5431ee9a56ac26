"""Methods of fusion, and their text form: logit, mean, boost:weight=0.5, vote:k=5 and others."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from kitbox.errors import KitboxError, did_you_mean

FusionName = Literal["logit", "mean", "boost", "rank_sum", "vote", "classifier"]

# The method where local matches are given and no method.
DEFAULT = "logit"
# Photographs of a query that are fused where neither the method nor a matcher gives a number.
SHORTLIST = 50
_NAMES: tuple[FusionName, ...] = get_args(FusionName)
# The settings that each method has of its own, and their values unless given.
_OWN: dict[str, dict[str, float]] = {"boost": {"weight": 1.0}, "vote": {"k": 5}}


@dataclass(frozen=True, kw_only=True)
class FusionMethod:
    """How the calibrated signals of a pair become one probability.

    "logit": the sum of their logits, by weights of at least 0 that are fitted. "mean": the mean of
    their probabilities (WildFusion, Cermak et al., 2024). "boost": s + weight·l·(1 − s) of the
    global similarity s and each local matcher's l. "rank_sum": the mean place in the query's lists.
    "vote": the lists that have the photograph among their `k` best. "classifier": gradient boosting
    on features of the pair.

    `shortlist` photographs of each query are fused, None for as many as matchers look at.
    `blend` is the share of a classifier of labels in the probability of a label, None without one.
    """

    name: FusionName = "logit"
    weight: float | None = None
    k: int | None = None
    shortlist: int | None = None
    blend: float | None = None

    def __str__(self) -> str:
        """Return the text form, which `parse_fusion` reads back."""
        settings = {
            "weight": self.weight,
            "k": self.k,
            "shortlist": self.shortlist,
            "blend": self.blend,
        }
        given = [f"{name}={value:g}" for name, value in settings.items() if value is not None]
        return f"{self.name}:{','.join(given)}" if given else self.name


def parse_fusion(text: str) -> FusionMethod:
    """Return the method of a text such as logit, boost:weight=0.5 or vote:k=5,shortlist=30.

    Raises KitboxError for a method or a setting that there is not, and for a value out of range.
    """
    name, _, rest = text.strip().partition(":")
    if name not in _NAMES:
        near = did_you_mean(name, _NAMES) or f"; there are {', '.join(_NAMES)}"
        raise KitboxError(f"there is no method '{name}'{near}", where="--fusion")
    own = _OWN.get(name, {})
    known = (*own, "shortlist", "blend")
    given: dict[str, float] = dict(own)
    seen: set[str] = set()
    for part in rest.split(",") if rest else []:
        setting, _, value = (piece.strip() for piece in part.partition("="))
        if setting not in known:
            near = did_you_mean(setting, known) or f"; it has {', '.join(known)}"
            raise KitboxError(f"{name} has no setting '{setting}'{near}", where="--fusion")
        if setting in seen:
            raise KitboxError(f"{setting} is given twice in '{text}'", where="--fusion")
        seen.add(setting)
        given[setting] = _number(setting, value)
    return FusionMethod(
        name=name,
        weight=given.get("weight"),
        k=_whole(given, "k"),
        shortlist=_whole(given, "shortlist"),
        blend=given.get("blend"),
    )


# The least and the largest value of each setting.
_RANGES: dict[str, tuple[float, float]] = {
    "weight": (0.0, 1.0),
    "k": (1, 10_000),
    "shortlist": (1, 10_000),
    "blend": (0.0, 1.0),
}


def _number(setting: str, text: str) -> float:
    least, most = _RANGES[setting]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    whole = setting in ("k", "shortlist")
    if not least <= value <= most or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise KitboxError(
            f"{setting}={text} should be {kind} from {least:g} to {most:g}", where="--fusion"
        )
    return value


def _whole(given: dict[str, float], setting: str) -> int | None:
    return int(given[setting]) if setting in given else None
