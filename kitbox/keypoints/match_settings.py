"""Settings of local matching, written as "sift:shortlist=50,points=500"."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

from kitbox.errors import did_you_mean
from kitbox.files import digest_of

# Incremented when the same photographs give other counts.
RECIPE_VERSION = 1


class _Range(NamedTuple):
    """The numbers that a setting takes, and what it counts."""

    kind: type
    least: float
    most: float


_RANGES = {
    "shortlist": _Range(int, 1, math.inf),
    "points": _Range(int, 4, 100_000),
    "size": _Range(int, 32, 8192),
    "margin": _Range(float, 0, 1),
    "ratio": _Range(float, 0.01, 1),
    "threshold": _Range(float, 0.1, 1000),
    "fewest": _Range(int, 4, 100_000),
    "cosine": _Range(float, 0, 0.999),
    "confidence": _Range(float, 0, 0.999),
}
# The variants of ALIKED. LightGlue takes descriptors of 128 numbers; those of t16 have 64.
_NETWORKS = ("n16", "n16rot", "n32", "t16")
# Where weights are: see `package_weights.find`.
_WEIGHTS = re.compile(r"package:[\w.-]+|file:.+")
# What all learned matchers have.
_LEARNED = {"size": 448, "weights": None, "threshold": 8.0, "fewest": 8}
# The matchers, and the settings that each takes beside `shortlist` and `margin`, with defaults.
# Of SIFT and ORB those that told pairs of real flukes apart best. Ratios are nearer to 1 than usual
# (.75 to .85), because both sides must pass the test.
METHODS: Mapping[str, Mapping[str, Any]] = {
    "sift": {"points": 500, "size": 448, "ratio": 0.95, "threshold": 12.0, "fewest": 8},
    "orb": {"points": 1024, "size": 768, "ratio": 0.9, "threshold": 8.0, "fewest": 8},
    "kaze": {"points": 500, "size": 448, "ratio": 0.95, "threshold": 12.0, "fewest": 8},
    "xfeat": _LEARNED | {"points": 500, "cosine": 0.82},
    "aliked": _LEARNED | {"points": 256, "network": "n16", "cosine": 0.5},
    "disk": _LEARNED | {"points": 256, "cosine": 0.5},
    "xfeat+lightglue": _LEARNED | {"points": 500, "confidence": 0.5},
    "aliked+lightglue": _LEARNED | {"points": 256, "network": "n16", "confidence": 0.5},
    "disk+lightglue": _LEARNED | {"points": 256, "confidence": 0.5},
    "loftr": _LEARNED | {"points": 1000, "confidence": 0.5},
}
# What decides which pairs are matched, and how features are compared, but not the features.
_OF_SHORTLIST = frozenset({"method", "shortlist"})
_OF_MATCHING = frozenset({"ratio", "threshold", "fewest", "cosine", "confidence"})
# A matcher has a digest of the file in its place.
_OF_MACHINE = frozenset({"weights"})


@dataclass(frozen=True, kw_only=True)
class MatchSettings:
    """A local matcher and its settings; one that the matcher does not have is None.

    `shortlist`: gallery images of each query that are matched. `points`: keypoints of an image at
    most. `size`: pixels of the longer side of the box, or of a photograph without one. `margin`:
    what of the surroundings of a box counts, as a share of its width and height. `ratio`: the
    distance of a match must be below this share of that of the second best (Lowe, 2004).
    `threshold`: pixels, at that size, by which a match may miss the homography. `fewest`: fewer
    inliers count as 0.

    Of learned matchers: `cosine` of two descriptors that match at least; `confidence` above which
    a match of LightGlue or LoFTR is counted as confident; `network`, the variant of ALIKED;
    `weights`, "package:NAME" or "file:PATH" where they are not in their usual package. LoFTR finds
    no keypoints: `points` are its matches of a pair at most.
    """

    method: str
    shortlist: int = 20
    points: int
    size: int
    margin: float = 0.05
    ratio: float | None = None
    threshold: float | None = None
    fewest: int | None = None
    cosine: float | None = None
    confidence: float | None = None
    network: str | None = None
    weights: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the settings of a text such as "sift:shortlist=50,points=500".

        What is left out has the matcher's default. Raises ValueError with one sentence for a
        matcher or a setting that there is not, and for a value out of its range.
        """
        method, colon, rest = text.strip().partition(":")
        if method not in METHODS:
            near = did_you_mean(method, METHODS) or f"; there are {', '.join(METHODS)}"
            raise ValueError(f"there is no matcher '{method}'{near}")
        given: dict[str, Any] = {}
        for part in rest.split(",") if colon else []:
            name, equals, value = (word.strip() for word in part.partition("="))
            if not equals:
                raise ValueError(
                    f"'{part}' is no setting of the matcher {method}; write it as points=500"
                )
            if name in given:
                raise ValueError(f"the setting {name} of the matcher {method} is given twice")
            given[name] = _value(method, name, value)
        return cls.of(method, **given)

    @classmethod
    def of(cls, method: str, **given: Any) -> Self:
        """Return the settings of a matcher, with its defaults for what is not given."""
        return cls(**{"method": method, **METHODS[method], **given})

    def __str__(self) -> str:
        """Return the text that `parse` reads: the matcher, and what is not its default."""
        plain = type(self).of(self.method)
        return self._text(
            {n: value for n, value in self._own().items() if value != getattr(plain, n)}
        )

    @property
    def full(self) -> str:
        """The text with all settings, which has the same meaning when a default changes."""
        return self._text(self._own())

    def _text(self, settings: dict[str, Any]) -> str:
        written = ",".join(f"{name}={_written(value)}" for name, value in settings.items())
        return f"{self.method}:{written}" if written else self.method

    @property
    def learned(self) -> bool:
        """Whether networks of kornia match, whose weights are needed."""
        return "weights" in METHODS[self.method]

    @property
    def extraction(self) -> dict[str, Any]:
        """What determines the features of an image, beside its bytes and box."""
        own, omitted = self._own().items(), _OF_SHORTLIST | _OF_MATCHING | _OF_MACHINE
        return {
            "recipe": RECIPE_VERSION,
            "method": self.method,
            **{name: value for name, value in own if name not in omitted},
        }

    @property
    def causes(self) -> dict[str, Any]:
        """What determines the counts of a pair, beside its two images."""
        matching = {name: value for name, value in self._own().items() if name in _OF_MATCHING}
        return self.extraction | matching

    @property
    def key(self) -> str:
        """The digest of `causes`."""
        return digest_of(self.causes)[:32]

    def _own(self) -> dict[str, Any]:
        """Return the settings that the matcher has, in the order of the fields."""
        names = [field.name for field in fields(self) if field.name != "method"]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def _value(method: str, name: str, text: str) -> float | int | str:
    """Return the value of a setting; raises ValueError for one that the matcher does not take."""
    names = ("shortlist", "margin", *METHODS[method])
    if name not in names:
        near = did_you_mean(name, names) or f"; it has {', '.join(names)}"
        raise ValueError(f"the matcher {method} has no setting '{name}'{near}")
    if name == "weights":
        if not _WEIGHTS.fullmatch(text):
            raise ValueError(
                f"weights={text} of the matcher {method} is neither package:NAME nor file:PATH"
            )
        return text
    if name == "network":
        known = [each for each in _NETWORKS if each != "t16" or "+" not in method]
        if text not in known:
            raise ValueError(
                f"network={text} of the matcher {method} is none of {', '.join(known)}"
            )
        return text
    kind, least, most = _RANGES[name]
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        what = "a whole number" if kind is int else "a number"
        span = f"from {least:g} to {most:g}" if most < math.inf else f"of at least {least:g}"
        raise ValueError(f"{name}={text} of the matcher {method} is not {what} {span}")
    return value  # type: ignore[no-any-return]


def _written(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
