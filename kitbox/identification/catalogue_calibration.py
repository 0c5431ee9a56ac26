"""Calibration on the catalogue itself: each photograph asked about without its own encounter."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

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
    part_models,
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
# Catalogues that are drawn in which each individual was met once.
_DRAWS = 4
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
class MetOnce:
    """Photographs of a catalogue asked about as if each individual had been met once before.

    Individuals met once cannot be asked about, and they are harder to find. So of each individual
    one encounter is drawn, `_DRAWS` times, and photographs of all others are asked about. `rows`,
    `own` and `individuals (q,)` are theirs as those of CatalogueCalibration; one photograph may be
    in several draws.
    """

    rows: Integers
    own: Integers
    individuals: Strings
    evidence: Evidence


@dataclass(frozen=True, kw_only=True)
class CatalogueCalibration:
    """How similarities become probabilities, fitted on a catalogue; without `model` they do not.

    `rows (q,)` are the photographs that were asked about, `own (q,)` the columns of their
    individuals in the signals and `individuals (q,)` their names. `expected_new` is the share of
    new individuals that the catalogue itself suggests. `cross` has their probabilities, each by a
    model fitted without its individual, and `cross_once` those of the queries of `once`. Both are
    None where the model needs what `once` lacks. `too_small` says why there is no model. `gain` is
    how much less surprising local matches make what is right, None where there are none.
    """

    encounters: Encounters
    gallery: Gallery
    rows: Integers
    individuals: Strings
    own: Integers
    signals: Signals
    expected_new: float
    once: MetOnce | None = None
    model: IdentityModel | None = None
    cross: CrossFit | None = None
    cross_once: CrossFit | None = None
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
    once = _met_once(vectors, individuals, encounters.codes, rows, most, sides)
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
        once=once,
        sampled_from=candidates,
    )
    return fitted(found), evidence


def _met_once(
    vectors: Floats,
    individuals: Strings,
    encounters: Integers,
    rows: Integers,
    most: int,
    sides: Strings | None,
) -> MetOnce:
    """Return what is asked about some rows as if each individual had been met once before.

    At most `most` photographs are, of all draws together.
    """
    generator = np.random.default_rng(0)
    asked_of_each, parts = [], []
    for _ in range(_DRAWS):
        left = _one_encounter_each(individuals, encounters, generator)
        asked = rows[~left[rows]]
        if len(asked) > most // _DRAWS:
            asked = np.sort(generator.choice(asked, most // _DRAWS, replace=False))
        gallery = Gallery.of(vectors, np.where(left, individuals, ""), encounters, sides)
        shown = None if sides is None else sides[asked]
        asked_of_each.append(asked)
        parts.append(gather(vectors[asked], gallery, sides=shown))
    evidence = Evidence(
        signals=Signals(
            similarity=np.concatenate([part.signals.similarity for part in parts]),
            photographs=np.concatenate([part.signals.photographs for part in parts]),
        ),
        candidates=np.concatenate([part.candidates for part in parts]),
        photographs=np.concatenate([part.photographs for part in parts]),
    )
    asked = np.concatenate(asked_of_each)
    names = np.unique(individuals[individuals != ""])
    return MetOnce(
        rows=asked,
        own=np.searchsorted(names, individuals[asked]).astype(np.int64),
        individuals=individuals[asked],
        evidence=evidence,
    )


def _one_encounter_each(
    individuals: Strings, encounters: Integers, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Return the photographs (n,) of one encounter of each individual, drawn by a generator."""
    names, codes = np.unique(individuals, return_inverse=True)
    lots = generator.random(int(encounters.max(initial=0)) + 1)[encounters]
    lowest = np.ones(len(names))
    np.minimum.at(lowest, codes, lots)
    return np.asarray((lots == lowest[codes]) & (individuals != ""), dtype=np.bool_)


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
        models = part_models(given.signals, given.own, given.individuals)
        share, once = given.expected_new, given.once
        return replace(
            given,
            model=identity_model.fit(given.signals, given.own),
            cross=cross_fit(models, given.signals, given.own, given.individuals, share),
            cross_once=None
            if once is None
            else cross_fit(models, once.evidence.signals, once.own, once.individuals, share),
        )
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
