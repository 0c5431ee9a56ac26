"""Who is on new photographs: the answers of a catalogue, each with its probability."""

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kitbox.competition.image_files import photograph_of
from kitbox.dataset import near_duplicates
from kitbox.errors import KitboxError, counted
from kitbox.identification.catalogue_calibration import Evidence
from kitbox.identification.catalogue_search import (
    NEAR_BITS,
    IdentifyOptions,
    SearchedCatalogue,
    left_out,
    readable_rows,
    search_catalogue,
)
from kitbox.identification.catalogue_workspace import OpenedCatalogue
from kitbox.identification.identity_model import Identities
from kitbox.images import file_index
from kitbox.images.file_index import Inspection, concatenate_signatures
from kitbox.records import ImageSet, Integers, Progress
from kitbox.workspace import Workspace

# Individuals named for each photograph.
NAMED = 3
UNDECIDED, NEW = "undecided", "new?"


@dataclass(frozen=True, kw_only=True)
class CandidateIndividual:
    """An individual that a photograph may show, and the photographs that speak for it.

    `probability` is None where the catalogue is too small to calibrate.
    """

    individual: str
    similarity: float
    probability: float | None
    photographs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Who a photograph shows: `verdict` is an individual, "new?" or "undecided".

    The `candidates` are the likeliest individuals, best first, and `others` those after them.
    `new_probability` is that of an individual which is not in the catalogue.
    """

    image: str
    path: Path
    verdict: str
    new_probability: float | None
    candidates: tuple[CandidateIndividual, ...]
    notes: tuple[str, ...] = ()
    others: tuple[CandidateIndividual, ...] = ()

    @property
    def is_individual(self) -> bool:
        """Whether the verdict names an individual."""
        return self.verdict not in (UNDECIDED, NEW)

    @property
    def certainty(self) -> float:
        """The probability of the likeliest of all answers, NaN without calibration."""
        if self.new_probability is None:
            return np.nan
        return max(self.new_probability, *(c.probability or 0.0 for c in self.candidates[:1]))


@dataclass(frozen=True, kw_only=True)
class Identification:
    """The answers to photographs, in their order, and what was left out.

    `unreadable` maps photographs to why they cannot be read. `new_share` is the share of new
    individuals that probabilities assume, None without calibration.
    """

    catalogue: SearchedCatalogue
    answers: tuple[Answer, ...]
    queries: ImageSet
    unreadable: dict[str, str]
    new_share: float | None
    seconds: float = field(default=0.0)

    @property
    def workspace(self) -> Workspace:
        """The workspace of the catalogue."""
        return self.catalogue.opened.workspace

    @property
    def groups(self) -> dict[str, list[Answer]]:
        """The answers in the order in which to look at them: undecided, new, and identified ones.

        Of the undecided come first those whose likeliest individual has a probability near one
        half, as at the desk of `kitbox look`, and without probabilities the most similar; new ones
        from the least certain, and the identified by individual.
        """
        undecided = [answer for answer in self.answers if answer.verdict == UNDECIDED]
        new = [answer for answer in self.answers if answer.verdict == NEW]
        identified = [answer for answer in self.answers if answer.is_individual]
        return {
            UNDECIDED: sorted(undecided, key=_worth_deciding),
            NEW: sorted(new, key=lambda answer: answer.certainty),
            "identified": sorted(identified, key=lambda answer: (answer.verdict, answer.image)),
        }

    @property
    def counts(self) -> dict[str, int]:
        """How many photographs have each kind of verdict, or none."""
        return {
            "identified": sum(answer.is_individual for answer in self.answers),
            NEW: sum(answer.verdict == NEW for answer in self.answers),
            UNDECIDED: sum(answer.verdict == UNDECIDED for answer in self.answers),
            "unreadable": len(self.unreadable),
        }


def identify(
    opened: OpenedCatalogue, options: IdentifyOptions
) -> Generator[Progress | str, None, Identification]:
    """Return who is on the photographs of an opened catalogue; yields Progress and sentences."""
    workspace, photographs = opened.workspace, opened.queries
    inspection = yield from file_index.inspect(photographs, workspace)
    yield from left_out(inspection.problems, "to identify")
    usable = readable_rows(inspection)
    queries = inspection.images.take(usable)
    if not len(queries):
        raise KitboxError(
            f"none of the {len(photographs)} photographs to identify can be read",
            fix="open one of them in a viewer",
        )
    found, evidence = yield from search_catalogue(opened, options, queries)
    assert evidence is not None  # noqa: S101  there are queries
    calibration = found.calibration
    identities, share = None, None
    if calibration.model is not None:
        share = options.new_share or calibration.expected_new
        identities = calibration.model.identities(evidence.signals, share)
    notes = yield from _notes(found, queries, inspection, usable)
    return Identification(
        catalogue=found,
        answers=tuple(
            _answer(found, queries, row, evidence, identities, options.certain, notes[row])
            for row in range(len(queries))
        ),
        queries=queries,
        unreadable=inspection.problems,
        new_share=share,
    )


def _worth_deciding(answer: Answer) -> float:
    """Return a sort key: an even chance first; where all chances are small, a look finds little."""
    if not answer.candidates:
        return np.inf
    probability = answer.candidates[0].probability
    return -answer.candidates[0].similarity if probability is None else abs(probability - 0.5)


def _answer(
    found: SearchedCatalogue,
    queries: ImageSet,
    row: int,
    evidence: Evidence,
    identities: Identities | None,
    certain: float,
    notes: "_Notes",
) -> Answer:
    columns = evidence.candidates[row]
    columns = columns[columns >= 0]
    if identities is not None:
        columns = columns[np.argsort(-identities.probability[row, columns], kind="stable")]
    names = found.calibration.gallery.individuals
    candidates = []
    for column in columns.tolist():
        rank = int(np.flatnonzero(evidence.candidates[row] == column)[0])
        shown = evidence.photographs[row, rank]
        probability = None if identities is None else float(identities.probability[row, column])
        candidates.append(
            CandidateIndividual(
                individual=str(names[column]),
                similarity=float(evidence.signals.similarity[row, column]),
                probability=probability,
                photographs=tuple(found.images.image_ids[shown[shown >= 0]].tolist()),
            )
        )
    new = None if identities is None else float(identities.new[row])
    verdict = notes.verdict or UNDECIDED
    if verdict == UNDECIDED and new is not None:
        if candidates and (candidates[0].probability or 0.0) >= certain:
            verdict = candidates[0].individual
        elif new >= certain:
            verdict = NEW
    return Answer(
        image=str(queries.image_ids[row]),
        path=queries.paths[row],
        verdict=verdict,
        new_probability=new,
        candidates=tuple(candidates[:NAMED]),
        notes=notes.sentences,
        others=tuple(candidates[NAMED:]),
    )


@dataclass(frozen=True)
class _Notes:
    """Sentences about a photograph, and its verdict where its file is in the catalogue."""

    sentences: tuple[str, ...] = ()
    verdict: str = ""


def _notes(
    found: SearchedCatalogue, queries: ImageSet, inspection: Inspection, usable: Integers
) -> Generator[Progress, None, list[_Notes]]:
    """Return the notes on queries that are copies or near-duplicates; yields Progress."""
    gallery = yield from file_index.inspect(found.images, found.opened.workspace)
    of_digest: dict[str, int] = {}
    for row, digest in enumerate(gallery.images.file_digests.tolist()):
        of_digest.setdefault(digest, row)
    both = concatenate_signatures([gallery.signatures, inspection.signatures.take(usable)])
    count = len(found.images)
    pairs = near_duplicates.find_pairs(both, NEAR_BITS)
    near: dict[int, list[int]] = {}
    for one, other in pairs.tolist():
        if other >= count:
            near.setdefault(other - count, []).append(one)
    first: dict[str, int] = {}
    notes = []
    for row, digest in enumerate(queries.file_digests.tolist()):
        sentences, verdict = [], ""
        # another animal in the same photograph is no copy
        alone = photograph_of(str(queries.image_ids[row])) == queries.image_ids[row]
        known = of_digest.get(digest) if alone else None
        if known is not None:
            verdict = str(found.individuals[known])
            sentences.append(f"in the catalogue already, as {found.images.image_ids[known]}")
        if alone and digest in first:
            sentences.append(f"the same file as {queries.image_ids[first[digest]]}")
        for other in near.get(row, ()) if alone else ():
            if other < count and known is None:
                sentences.append(
                    f"nearly the same picture as {found.images.image_ids[other]} of "
                    f"{found.individuals[other] or 'the catalogue'}"
                )
            elif other >= count and queries.file_digests[other - count] != digest:
                sentences.append(f"nearly the same picture as {queries.image_ids[other - count]}")
        first.setdefault(digest, row)
        notes.append(_Notes(tuple(sentences[:3]), verdict))
    return notes


def sentences(found: Identification) -> list[str]:
    """Return sentences on how the answers were calibrated."""
    calibration = found.catalogue.calibration
    if calibration.model is None:
        return [
            "not calibrated, so that answers have a similarity and no verdict: "
            f"{calibration.too_small}"
        ]
    return [
        f"calibrated on {counted(calibration.pairs, 'photograph')} of individuals met at another "
        f"encounter; {found.new_share:.0%} of the photographs are taken to show new individuals, "
        "which --new-share changes"
    ]
