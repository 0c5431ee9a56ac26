"""Calibration on the catalogue itself: each photograph asked about without its own encounter."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from kitbox.catalogue.encounter_rule import Encounters
from kitbox.errors import counted
from kitbox.identification import identity_model
from kitbox.identification.identity_model import (
    FEWEST_PAIRS,
    CrossFit,
    IdentityModel,
    Signals,
    cross_fit,
    expected_new_share,
    has_own,
    log_loss,
)
from kitbox.identification.individual_evidence import Gallery, evidence_blocks
from kitbox.keypoints import pair_scores
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.keypoints.pair_scores import MatchOptions
from kitbox.records import Floats, ImageSet, Integers, Progress, Strings
from kitbox.workspace import Workspace

# Pairs of a photograph and an individual that are held at a time; more photographs are drawn from.
_MOST_CELLS = 1_000_000
_FEWEST_QUERIES = 300
# Individuals of each photograph that are kept with the photographs that speak for them.
CANDIDATES = 10
# Photographs of a candidate that are kept.
SHOWN = 3
# Local matches count where they lessen the mean of −log p by this much.
LEAST_GAIN = 0.01


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The signals of queries, and of each the `candidates (q, 10)`, the most similar individuals.

    Candidates are columns of the signals, -1 where there are fewer. `photographs (q, 10, 3)` are
    rows of the catalogue: the candidate's most similar photographs, -1 where there are fewer.
    """

    signals: Signals
    candidates: Integers
    photographs: Integers


@dataclass(frozen=True, kw_only=True)
class CatalogueCalibration:
    """How similarities become probabilities, fitted on a catalogue; without `model` they do not.

    `rows (q,)` are the photographs that were asked about, `own (q,)` the columns of their
    individuals in the signals and `individuals (q,)` their names. `expected_new` is the share of
    new individuals that the catalogue itself suggests. `cross` has their probabilities, each by a
    model fitted without its individual. `too_small` says why there is no model. `gain` is how much
    less surprising local matches make what is right, None where there are none.
    """

    encounters: Encounters
    gallery: Gallery
    rows: Integers
    individuals: Strings
    own: Integers
    signals: Signals
    expected_new: float
    model: IdentityModel | None = None
    cross: CrossFit | None = None
    too_small: str = ""
    matchers: tuple[MatchSettings, ...] = ()
    gain: float | None = None
    sampled_from: int = field(default=0)

    @property
    def pairs(self) -> int:
        """The number of photographs whose individual has a photograph of another encounter."""
        return int(has_own(self.signals, self.own).sum())

    @property
    def loss(self) -> float:
        """The mean of −log of the cross-fitted probability of what is right; inf without any."""
        if self.cross is None:
            return np.inf
        return log_loss(self.cross, self.own, self.expected_new)


def calibrate(
    vectors: Floats,
    individuals: Strings,
    encounters: Encounters,
    asked: Integers | None = None,
    *,
    sides: Strings | None = None,
) -> tuple[CatalogueCalibration, Evidence]:
    """Return the calibration on unit vectors (n, d) of a catalogue, and what it looked at.

    `asked` are the rows that may be asked about, None for all: a network that learned from a
    photograph is too sure of it. Of many, some are drawn, always the same ones. `sides (n,)` are
    those of the animals that they show: a left one never meets a right one.
    """
    gallery = Gallery.of(vectors, individuals, encounters.codes, sides)
    rows = np.flatnonzero(individuals != "") if asked is None else asked
    most = max(_MOST_CELLS // len(gallery.individuals), _FEWEST_QUERIES)
    candidates = len(rows)
    if candidates > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    shown = None if sides is None else sides[rows]
    evidence = gather(vectors[rows], gallery, encounters.codes[rows], shown)
    found = CatalogueCalibration(
        encounters=encounters,
        gallery=gallery,
        rows=rows,
        individuals=individuals[rows],
        own=np.searchsorted(gallery.individuals, individuals[rows]).astype(np.int64),
        signals=evidence.signals,
        expected_new=expected_new_share(
            individuals[individuals != ""], encounters.codes[individuals != ""]
        ),
        sampled_from=candidates,
    )
    return fitted(found), evidence


def fitted(given: CatalogueCalibration) -> CatalogueCalibration:
    """Return a calibration with the model of its signals, or with why there is none."""
    people, pairs = len(given.gallery.individuals), given.pairs
    if people < 2:
        reason = f"the catalogue has one individual, '{given.gallery.individuals[0]}'"
    elif pairs < FEWEST_PAIRS:
        again = counted(pairs, "photograph shows", "photographs show")
        reason = (
            f"{again if pairs else 'no photograph shows'} an individual met at another encounter"
        )
        reason += f", and {FEWEST_PAIRS} are the least"
    elif len(np.unique(given.individuals[has_own(given.signals, given.own)])) < 2:
        reason = "all photographs of several encounters show one individual"
    else:
        model = identity_model.fit(given.signals, given.own)
        cross = cross_fit(given.signals, given.own, given.individuals, given.expected_new)
        return replace(given, model=model, cross=cross)
    return replace(given, too_small=reason)


def gather(
    queries: Floats,
    gallery: Gallery,
    encounters: Integers | None = None,
    sides: Strings | None = None,
) -> Evidence:
    """Return the evidence of query vectors (q, d); see `evidence_blocks`."""
    width = min(CANDIDATES, len(gallery.individuals))
    shape = (len(queries), len(gallery.individuals))
    similarity = np.full(shape, -np.inf, dtype=np.float32)
    photographs = np.zeros(shape, dtype=np.int64)
    candidates = np.full((len(queries), CANDIDATES), -1, dtype=np.int64)
    shown = np.full((len(queries), CANDIDATES, SHOWN), -1, dtype=np.int64)
    for block in evidence_blocks(queries, gallery, encounters, sides):
        similarity[block.rows], photographs[block.rows] = block.similarity, block.photographs
        order = np.argsort(-block.similarity, axis=1, kind="stable")[:, :width]
        for place, row in enumerate(block.rows.tolist()):
            for rank, individual in enumerate(order[place].tolist()):
                if not np.isfinite(block.similarity[place, individual]):
                    break
                best = block.best_photographs(gallery, place, individual, SHOWN)
                candidates[row, rank] = individual
                shown[row, rank, : len(best)] = gallery.rows[best]
    return Evidence(
        signals=Signals(similarity=similarity, photographs=photographs),
        candidates=candidates,
        photographs=shown,
    )


def with_matches(
    evidence: Evidence,
    query_ids: Strings,
    gallery_ids: Strings,
    images: ImageSet,
    matchers: Iterable[MatchSettings],
    workspace: Workspace,
    options: MatchOptions,
) -> Generator[Progress, None, Signals]:
    """Return the signals with local matches of each query and its candidates' photographs.

    `gallery_ids (n,)` are those of the catalogue's rows. Of several matchers the matches are added.
    Yields Progress.
    """
    query, rank, place = np.nonzero(evidence.photographs >= 0)
    rows = evidence.photographs[query, rank, place]
    first, second = query_ids[query], gallery_ids[rows]
    different = first != second
    query, rank, first, second = (part[different] for part in (query, rank, first, second))
    matches = np.zeros(evidence.signals.similarity.shape, dtype=np.float32)
    for settings in matchers:
        found = yield from pair_scores.measure(settings, images, first, second, workspace, options)
        values = np.log1p(np.nan_to_num(found.score))
        of_matcher = np.zeros_like(matches)
        np.maximum.at(of_matcher, (query, evidence.candidates[query, rank]), values)
        matches += of_matcher
    return replace(evidence.signals, matches=matches)
