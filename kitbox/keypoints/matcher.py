"""Matchers: how keypoints of photographs are found and compared."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from kitbox.images.preprocessing import Box, Pixels
from kitbox.keypoints.local_features import LocalFeatures
from kitbox.keypoints.match_settings import ClassicalSettings, LearnedSettings, MatchSettings


@dataclass(frozen=True, slots=True)
class MatchCounts:
    """How many keypoints two photographs share.

    `matches`: pairs of keypoints that the matcher found. `inliers`: those that agree with one
    homography, 0 where they are fewer than the settings ask for. `confident`: matches that a
    learned matcher is sure of; of others the inliers, however few. `ratio`: confident per match,
    in [0, 1].
    """

    matches: float = 0.0
    inliers: float = 0.0
    confident: float = 0.0
    ratio: float = 0.0


class Matcher(ABC):
    """A local matcher; it holds no state that changes, and may be used by several threads."""

    # The count by which pairs are ranked: inliers, confident or matches.
    ranked_by = "inliers"
    # Whether the order of two photographs cannot matter much; else both orders are measured.
    symmetric = True
    # Whether it runs in a thread for each core; else in one.
    single_threaded = True

    def __init__(self, settings: MatchSettings) -> None:
        self.settings = settings

    @property
    def extraction(self) -> dict[str, Any]:
        """What determines the features of an image, beside its bytes and box."""
        return self.settings.extraction

    @property
    def causes(self) -> dict[str, Any]:
        """What determines the counts of a pair, beside its two images."""
        return self.settings.causes

    @property
    def sources(self) -> dict[str, str]:
        """What a receipt tells of it beside its settings: releases, and digests of weights."""
        return {}

    def one_thread_each(self) -> AbstractContextManager[object]:
        """Return a context in which its library uses one thread for each call."""
        return nullcontext()

    @abstractmethod
    def extract(self, pixels: Pixels, box: Box | None) -> LocalFeatures:
        """Return the features of a picture (h, w, 3) uint8 RGB.

        Keypoints are found in all of it; those outside of `box`, in its pixels, are then dropped.
        """

    @abstractmethod
    def match(self, a: LocalFeatures, b: LocalFeatures) -> MatchCounts:
        """Return how many keypoints two photographs share; both have some."""


def matcher_sources(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the `sources` of the matchers that have some, by their settings.

    Raises KitboxError for one whose library or weights are not there.
    """
    found = {text: matcher_of(MatchSettings.parse(text), "cpu").sources for text in texts}
    return {text: sources for text, sources in found.items() if sources}


def matcher_of(settings: MatchSettings, device: str = "auto") -> Matcher:
    """Return the matcher that settings name; the networks of a learned one run on a device.

    Raises KitboxError for one whose library or weights are not there.
    """
    if isinstance(settings, LearnedSettings):
        from kitbox.keypoints import learned_matchers  # torch

        return learned_matchers.learned_matcher(settings, device)
    from kitbox.keypoints import classical_matchers  # OpenCV

    assert isinstance(settings, ClassicalSettings)  # noqa: S101  there are no others
    return classical_matchers.MATCHERS[settings.kind](settings)
