"""Settings of local matching, written as "sift:shortlist=50,points=500"."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from kitbox.files import digest_of
from kitbox.method import Method, parse_method

# Incremented when the same photographs give other counts.
RECIPE_VERSION = 1
# Where weights are: see `package_weights.find`.
_WEIGHTS = re.compile(r"package:[\w.-]+|file:.+")
# What decides which pairs are matched, and how features are compared, but not the features.
_OF_SHORTLIST = frozenset({"shortlist", "budget"})
_OF_MATCHING = frozenset({"ratio", "threshold", "fewest", "cosine", "confidence"})
# A matcher has a digest of the file in its place.
_OF_MACHINE = frozenset({"weights"})


def _found_somewhere(weights: str) -> str:
    if not _WEIGHTS.fullmatch(weights):
        raise ValueError(f"weights = {weights} is neither package:NAME nor file:PATH")
    return weights


_Points = Annotated[int, Field(ge=4, le=100_000)]
_Size = Annotated[int, Field(ge=32, le=8192)]
_Pixels = Annotated[float, Field(ge=0.1, le=1000)]
_Ratio = Annotated[float, Field(ge=0.01, le=1)]
_Share = Annotated[float, Field(ge=0, le=0.999)]
_Weights = Annotated[str, AfterValidator(_found_somewhere)]


class MatchSettings(Method):
    """A local matcher and its settings.

    `shortlist`: gallery images of each query that are matched. `budget`: pairs that are matched at
    most, None for all of the shortlists. `points`: keypoints of an image at most. `size`: pixels of
    the longer side of the box, or of a photograph without one. `margin`: what of the surroundings
    of a box counts, as a share of its width and height. `threshold`: pixels, at that size, by which
    a match may miss the homography. `fewest`: fewer inliers count as 0.
    """

    noun: ClassVar[str] = "matcher"
    order: ClassVar[tuple[str, ...]] = (
        *("shortlist", "budget", "points", "size", "margin", "ratio", "threshold", "fewest"),
        *("cosine", "confidence", "network", "weights"),
    )

    shortlist: int = Field(default=20, ge=1)
    budget: int | None = Field(default=None, ge=1)
    points: _Points = 500
    size: _Size = 448
    margin: float = Field(default=0.05, ge=0, le=1)
    threshold: _Pixels = 8.0
    fewest: _Points = 8

    @classmethod
    def parse(
        cls, text: str, *, shortlist: int | None = None, budget: int | None = None
    ) -> "MatchSettings":
        """Return the settings of a text such as "sift:shortlist=50,points=500".

        What is left out is `shortlist` or `budget`, where these are given, or has the matcher's
        default. Raises KitboxError with one sentence for a matcher or a setting that there is not,
        and for a value out of its range.
        """
        found = parse_method(text, METHODS)
        own = {name: v for name, v in found.settings.items() if name in found.model_fields_set}
        given = {"shortlist": shortlist, "budget": budget}
        added = {name: v for name, v in given.items() if v is not None and name not in own}
        return parse_method(found.text_of(own | added), METHODS) if added else found

    def __str__(self) -> str:
        """Return the text that `parse` reads: the matcher, and what is not its default."""
        plain = type(self)().settings
        return self.text_of(
            {name: value for name, value in self.settings.items() if value != plain.get(name)}
        )

    @property
    def full(self) -> str:
        """The text with all settings, which has the same meaning when a default changes."""
        return self.text_of(self.settings)

    @property
    def extraction(self) -> dict[str, Any]:
        """What determines the features of an image, beside its bytes and box."""
        omitted = _OF_SHORTLIST | _OF_MATCHING | _OF_MACHINE
        own = {name: value for name, value in self.settings.items() if name not in omitted}
        return {"recipe": RECIPE_VERSION, "method": self.kind, **own}

    @property
    def causes(self) -> dict[str, Any]:
        """What determines the counts of a pair, beside its two images."""
        own = self.settings.items()
        return self.extraction | {name: value for name, value in own if name in _OF_MATCHING}

    @property
    def key(self) -> str:
        """The digest of `causes`."""
        return digest_of(self.causes)[:32]


class ClassicalSettings(MatchSettings):
    """A matcher of OpenCV and its settings.

    `ratio`: the distance of a match must be below this share of that of the second best (Lowe,
    2004). It is nearer to 1 than usual (.75 to .85), because both sides must pass the test.
    """

    ratio: _Ratio = 0.95


# Of SIFT and ORB the settings that told pairs of real flukes apart best.
class SiftSettings(ClassicalSettings):
    """RootSIFT."""

    kind: ClassVar[str] = "sift"

    threshold: _Pixels = 12.0


class OrbSettings(ClassicalSettings):
    """ORB."""

    kind: ClassVar[str] = "orb"

    points: _Points = 1024
    size: _Size = 768
    ratio: _Ratio = 0.9


class KazeSettings(ClassicalSettings):
    """KAZE."""

    kind: ClassVar[str] = "kaze"

    threshold: _Pixels = 12.0


class LearnedSettings(MatchSettings):
    """A matcher of networks; `weights`, "package:NAME" or "file:PATH", None in their package."""

    weights: _Weights | None = None

    @property
    def variant(self) -> str | None:
        """The variant of the network that finds keypoints, None where there is one alone."""
        return None


class DescriptorSettings(LearnedSettings):
    """A network of keypoints; above this `cosine` two descriptors match."""

    cosine: _Share = 0.5


class PairNetworkSettings(LearnedSettings):
    """A network that sees both photographs; above this `confidence` a match is confident."""

    confidence: _Share = 0.5


class XfeatSettings(DescriptorSettings):
    """XFeat."""

    kind: ClassVar[str] = "xfeat"

    cosine: _Share = 0.82


class AlikedSettings(DescriptorSettings):
    """ALIKED; `network` is its variant."""

    kind: ClassVar[str] = "aliked"

    points: _Points = 256
    network: Literal["n16", "n16rot", "n32", "t16"] = "n16"

    @property
    def variant(self) -> str:
        """The variant of ALIKED."""
        return self.network


class DiskSettings(DescriptorSettings):
    """DISK."""

    kind: ClassVar[str] = "disk"

    points: _Points = 256


class XfeatGlueSettings(PairNetworkSettings):
    """XFeat, matched by LightGlue."""

    kind: ClassVar[str] = "xfeat+lightglue"


class AlikedGlueSettings(PairNetworkSettings):
    """ALIKED, matched by LightGlue, for which the 64 numbers of a descriptor of t16 are too few."""

    kind: ClassVar[str] = "aliked+lightglue"

    points: _Points = 256
    network: Literal["n16", "n16rot", "n32"] = "n16"

    @property
    def variant(self) -> str:
        """The variant of ALIKED."""
        return self.network


class DiskGlueSettings(PairNetworkSettings):
    """DISK, matched by LightGlue."""

    kind: ClassVar[str] = "disk+lightglue"

    points: _Points = 256


class LoftrSettings(PairNetworkSettings):
    """LoFTR, which finds no keypoints: `points` are its matches of a pair at most."""

    kind: ClassVar[str] = "loftr"

    points: _Points = 1000


METHODS: Mapping[str, type[MatchSettings]] = {
    settings.kind: settings
    for settings in (
        SiftSettings,
        OrbSettings,
        KazeSettings,
        XfeatSettings,
        AlikedSettings,
        DiskSettings,
        XfeatGlueSettings,
        AlikedGlueSettings,
        DiskGlueSettings,
        LoftrSettings,
    )
}
