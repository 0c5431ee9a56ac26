"""Drawn members: an individual's direction in some of the dimensions, and noise in all of them."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from kitbox.embedding.embedder import EmbedOptions
from kitbox.ensemble.ensemble import Ensemble
from kitbox.ensemble.members import Member
from kitbox.keypoints import pair_scores
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.keypoints.pair_scores import PairMatches
from kitbox.records import Embeddings, Floats, Holdout, ImageSet, Progress, Strings, strings
from kitbox.workspace import Workspace
from tests.circle import competition, image_set
from tests.submission.collected import collection, unlabelled


@dataclass(frozen=True)
class DrawnMember(Member):
    """A member with given vectors of all images; it counts how often it embeds."""

    known_as: str
    vectors: Embeddings
    calls: list[int] = field(default_factory=list, compare=False)

    @property
    def name(self) -> str:
        return self.known_as

    @property
    def digest(self) -> str:
        return self.known_as

    @property
    def on(self) -> str:
        return "holdout"

    @property
    def trained_on(self) -> str:
        return "trained on holdout"

    def embed(
        self,
        images: ImageSet,
        workspace: Workspace,
        unreadable: frozenset[str],
        options: EmbedOptions,
        *,
        homogeneous: bool = False,
    ) -> Generator[Progress, None, Embeddings]:
        del workspace, unreadable, options, homogeneous
        self.calls.append(len(images))
        yield Progress(f"embed {self.name}", len(images), len(images))
        return self.vectors.of(images.image_ids)

    def as_json(self, dim: int) -> dict[str, Any]:
        return {"name": self.name, "dim": dim}


def noisy(ids: list[str], noise: float, seed: int, dim: int = 16) -> Embeddings:
    """Return unit vectors of the images: that of the individual, and noise of this size."""
    individuals = [int(name.split("_")[0]) for name in ids]
    generator = np.random.default_rng([7, seed])
    own = generator.normal(size=(max(individuals) + 1, dim))[individuals]
    return unit(ids, own + noise * generator.normal(size=own.shape))


def unit(ids: list[str], vectors: np.ndarray) -> Embeddings:
    """Return vectors at unit length."""
    scaled: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Embeddings(strings(ids), scaled)


def names_of(individuals: int, each: int) -> list[str]:
    """Return the image ids: image j of individual i is i_j."""
    return [f"{i}_{j}" for i in range(individuals) for j in range(each)]


def ensemble(
    workspace: Workspace,
    noise: Mapping[str, float],
    *,
    individuals: int = 30,
    each: int = 3,
    dim: int = 16,
    **settings: Any,
) -> Ensemble:
    """Return an ensemble of drawn members, name → noise; the same noise twice is drawn twice.

    The first photograph of each individual is a query, the others are the gallery. The competition
    asks for five images, unless told otherwise.
    """
    ids = names_of(individuals, each)
    toy = competition(**{"answers": "images", "unknown_label": None} | settings)
    labelled = image_set({name: f"whale {name.split('_')[0]}" for name in ids})
    is_query = np.array([name.endswith("_0") for name in ids])
    train, query = labelled.take(~is_query), labelled.take(is_query)
    found = collection(toy, labelled, unlabelled("t"))
    return Ensemble(
        members=[
            DrawnMember(1.0, known_as=name, vectors=noisy(ids, size, place, dim))
            for place, (name, size) in enumerate(noise.items())
        ],
        collection=replace(found, holdout=Holdout(train, query, train, query.labels)),
        competition=toy,
        workspace=workspace,
    )


def record_matches(monkeypatch: pytest.MonkeyPatch) -> list[set[tuple[str, str]]]:
    """Replace local matching; return the distinct pairs of each call, in order of their ids.

    Photographs of one individual share 20 keypoints in three of four pairs, others none.
    """
    calls: list[set[tuple[str, str]]] = []

    def measure(
        settings: MatchSettings,
        images: ImageSet,
        first: Strings,
        second: Strings,
        *_: Any,
        **__: Any,
    ) -> Generator[Progress, None, PairMatches]:
        del images
        pairs = [(min(one), max(one)) for one in zip(first.tolist(), second.tolist(), strict=True)]
        calls.append(set(pairs))
        alike = [a.split("_")[0] == b.split("_")[0] and int(a.split("_")[0]) % 4 for a, b in pairs]
        counts = np.where(alike, 20, 0).astype(np.float32)
        yield Progress("match", len(pairs), len(pairs), "pairs")
        return PairMatches(
            settings=settings,
            first=first,
            second=second,
            matches=counts,
            inliers=counts,
            confident=counts,
            ratio=counts / 20,
        )

    monkeypatch.setattr(pair_scores, "measure", measure)
    return calls
