"""Who is photographed how often, and which photographs the competitor gets to see.

A plan without pixels, so that a drawing can be checked, split and repeated.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Kind = Literal["photograph", "near-duplicate", "truncated", "empty", "web page"]

NEW_WHALE = "new_whale"
BROKEN: tuple[Kind, ...] = ("truncated", "empty", "web page")

TEST_SHARE = 0.22
UNKNOWN_SHARE = 0.27  # of the test photographs, as in the humpback competition of 2018
NEW_SHARE = 0.08  # of the train photographs, labelled new_whale
DUPLICATE_SHARE = 0.02  # of the train photographs
SINGLETON_SHARE = 0.3  # of the labelled individuals
STRANGER_PHOTOGRAPHS = (2, 1, 3, 1, 1)  # of unknown individuals in turn: some often, most once


@dataclass(frozen=True)
class Sighting:
    """One image file to be drawn; near-duplicates share the `moment` of their original."""

    image_id: str
    individual: int
    name: str  # of the individual, which an unknown one's label does not tell
    label: str
    moment: int
    test: bool
    kind: Kind


def roster(seed: int, individuals: int, photographs: int) -> list[Sighting]:
    """Plan every image file; labelled individuals come first, unknown ones follow.

    Broken files and near-duplicates fall on individuals with two or more photographs, where there
    are any, so that they change neither who is known nor who is seen once.
    """
    rng = np.random.default_rng([seed, 0])
    test = round(TEST_SHARE * photographs)
    train = photographs - test
    unknown = round(UNKNOWN_SHARE * test)
    new = max(round(NEW_SHARE * train), 1)
    copies = max(round(DUPLICATE_SHARE * train), 1)
    counts = _counts(rng, individuals, train - new - copies - len(BROKEN))

    known = np.repeat(np.arange(individuals), counts)
    # everyone may be asked about, an often seen whale more often, but less than in proportion
    asked = rng.choice(individuals, test - unknown, p=counts**0.5 / np.sum(counts**0.5))
    strangers = _strangers(individuals, new)
    others = _strangers(int(strangers[-1]) + 1, unknown)
    sources = np.flatnonzero(counts[known] > 1)
    sources = sources if sources.size >= copies else np.arange(known.size)
    copied = rng.choice(sources, copies, replace=False)
    hurt = known[rng.choice(sources, len(BROKEN))]

    whos = np.concatenate([known, strangers, hurt, asked, others, known[copied]])
    originals = np.arange(photographs - copies)
    moments = np.concatenate([originals, copied])
    tests = (originals >= train - copies).tolist() + [False] * copies
    kinds: list[Kind] = ["photograph"] * photographs
    kinds[train - copies - len(BROKEN) : train - copies] = BROKEN
    kinds[photographs - copies :] = ["near-duplicate"] * copies
    names = [f"w_{number:07x}" for number in _unique(rng, 16**7, int(whos.max()) + 1)]
    image_ids = [f"{number:09x}.jpg" for number in _unique(rng, 16**9, photographs)]
    return [
        Sighting(image_id, who, names[who], names[who] if who < individuals else NEW_WHALE, *rest)
        for image_id, who, *rest in zip(
            image_ids, whos.tolist(), moments.tolist(), tests, kinds, strict=True
        )
    ]


def _counts(rng: np.random.Generator, individuals: int, total: int) -> Counts:
    """Count the train photographs of each individual: many are seen once, a few very often."""
    counts = np.ones(individuals, np.int64)
    spare = total - individuals
    often = min(individuals - round(SINGLETON_SHARE * individuals), spare)
    if often:
        chosen = rng.permutation(individuals)[:often]
        weights = rng.lognormal(0, 0.9, often)  # the long tail
        counts[chosen] += 1 + rng.multinomial(spare - often, weights / weights.sum())
    return counts


def _strangers(first: int, total: int) -> Counts:
    """Repeat individuals from `first` on, each as often as it is photographed."""
    pattern = np.resize(STRANGER_PHOTOGRAPHS, total)
    return np.repeat(np.arange(first, first + total), pattern)[:total]


def _unique(rng: np.random.Generator, below: int, total: int) -> list[int]:
    numbers: list[int] = rng.choice(below, total, replace=False).tolist()
    return numbers
