"""Drawn vectors of individuals that are met again: a catalogue without photographs."""

from dataclasses import dataclass

import numpy as np

from kitbox.identification.identity_model import Signals
from kitbox.identification.individual_evidence import Gallery, evidence_blocks
from kitbox.records import Floats, Integers, Strings

DIM = 24


@dataclass(frozen=True)
class DrawnCatalogue:
    """Unit `vectors (n, 24)` of `individuals (n,)` at `encounters (n,)`, around `centres`."""

    vectors: Floats
    individuals: Strings
    encounters: Integers
    centres: Floats

    @property
    def gallery(self) -> Gallery:
        return Gallery.of(self.vectors, self.individuals, self.encounters)

    @property
    def own(self) -> Integers:
        return np.searchsorted(self.gallery.individuals, self.individuals).astype(np.int64)

    @property
    def signals(self) -> Signals:
        """Each photograph against those of other encounters."""
        return signals_of(self.vectors, self.gallery, self.encounters)


def signals_of(vectors: Floats, gallery: Gallery, encounters: Integers | None = None) -> Signals:
    blocks = list(evidence_blocks(vectors, gallery, encounters))
    return Signals(
        similarity=np.concatenate([block.similarity for block in blocks]),
        photographs=np.concatenate([block.photographs for block in blocks]),
    )


def draw(individuals: int = 60, *, seed: int = 0, noise: float = 1.0) -> DrawnCatalogue:
    """Draw individuals with one to five encounters of one or two photographs each."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(individuals, DIM))
    vectors, labels, encounters = [], [], []
    for individual in range(individuals):
        for _ in range(generator.integers(1, 6)):
            animal = centres[individual] + noise * generator.normal(size=DIM)
            encounter = encounters[-1] + 1 if encounters else 0
            for _ in range(generator.integers(1, 3)):
                vectors.append(animal + 0.3 * generator.normal(size=DIM))
                labels.append(f"w{individual:03d}")
                encounters.append(encounter)
    return DrawnCatalogue(unit(np.array(vectors)), np.array(labels), np.array(encounters), centres)


def draw_noise(counts: list[int], *, dim: int = DIM, seed: int = 0) -> DrawnCatalogue:
    """Draw vectors that say nothing of their individuals, each at an encounter of its own."""
    vectors = np.random.default_rng(seed).normal(size=(sum(counts), dim))
    names = np.repeat([f"w{number:03d}" for number in range(len(counts))], counts)
    return DrawnCatalogue(unit(vectors), names, np.arange(len(names)), np.zeros((len(counts), dim)))


def draw_queries(
    catalogue: DrawnCatalogue, count: int, *, new_share: float, seed: int = 1, noise: float = 1.0
) -> tuple[Floats, Strings]:
    """Draw new photographs (count, 24) and their individuals, '' where it is a new one.

    Known individuals are met as often as in the catalogue.
    """
    generator = np.random.default_rng(seed)
    names = generator.choice(catalogue.individuals, size=count)
    shown = np.array([int(name[1:]) for name in names])
    new = generator.random(count) < new_share
    centres = np.where(new[:, None], generator.normal(size=(count, DIM)), catalogue.centres[shown])
    found = centres + np.sqrt(noise**2 + 0.3**2) * generator.normal(size=(count, DIM))
    return unit(found), np.where(new, "", names)


def draw_similarities(
    count: int, shape: str, *, new_share: float = 0.0, seed: int = 0, individuals: int = 40
) -> tuple[Signals, Integers]:
    """Draw similarities of queries, and the column of each one's individual, -1 for a new one.

    To others they are normal, N(0, 1). To its own they are such that the log-odds are `straight`
    in similarity, `bent up` (half of all photographs look alike, as those of one side of an
    animal) or `bent down`.
    """
    generator = np.random.default_rng(seed)
    similarity = generator.normal(size=(count, individuals))
    own = generator.integers(individuals, size=count)
    alike = {
        "straight": generator.normal(2.5, 1, size=count),
        "bent up": np.where(
            generator.random(count) < 0.5,
            generator.normal(0.3, 1, size=count),
            generator.normal(3, 0.5, size=count),
        ),
        "bent down": np.log(generator.gamma(3, size=count)) + 1,
    }[shape]
    known = np.flatnonzero(generator.random(count) >= new_share)
    similarity[known, own[known]] = alike[known]
    found = np.full(count, -1, dtype=np.int64)
    found[known] = own[known]
    signals = Signals(
        similarity=similarity.astype(np.float32),
        photographs=np.ones(similarity.shape, dtype=np.int64),
    )
    return signals, found


def unit(vectors: np.ndarray) -> Floats:
    scaled: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled
