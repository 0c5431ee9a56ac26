"""The search of a catalogue: its photographs embedded, calibrated and matched, and the queries."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kitbox.catalogue.encounter_rule import Encounters, encounters_of
from kitbox.competition import boxes, settings
from kitbox.dataset import near_duplicates
from kitbox.decisions import decision_file
from kitbox.embedding.embedder import EmbedOptions
from kitbox.errors import KitboxError, counted, more
from kitbox.identification import catalogue_calibration, catalogue_embeddings
from kitbox.identification.catalogue_calibration import (
    LEAST_GAIN,
    CatalogueCalibration,
    Evidence,
    gather,
    with_matches,
)
from kitbox.identification.catalogue_embeddings import whitened
from kitbox.identification.catalogue_workspace import OpenedCatalogue
from kitbox.images import file_index
from kitbox.images.file_index import Inspection
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.keypoints.pair_scores import MatchOptions
from kitbox.records import (
    Embeddings,
    Floats,
    ImageSet,
    Integers,
    Progress,
    Strings,
    concatenate,
    rows_of,
    strings,
)
from kitbox.workspace import Workspace

# Hashes of near-duplicates differ in at most so many bits, as in a holdout.
NEAR_BITS = 6


@dataclass(frozen=True, kw_only=True)
class IdentifyOptions:
    """How photographs are identified.

    `names` are plugins or one recipe, () for the best network that is there. `match` are local
    matchers. `certain` is the least probability of a verdict. `new_share` is the share of the
    photographs that show individuals that are not in the catalogue, None to estimate it.
    """

    names: tuple[str, ...] = ()
    match: tuple[str, ...] = ()
    certain: float = 0.8
    new_share: float | None = None
    embed: EmbedOptions = field(default_factory=EmbedOptions)
    budget: int | None = None

    def __post_init__(self) -> None:
        if not 0.5 <= self.certain < 1:
            raise KitboxError(
                f"--certain {self.certain:g} is no probability from 0.5 to below 1",
                fix="0.8 is usual",
            )
        if self.new_share is not None and not 0 < self.new_share < 1:
            raise KitboxError(
                f"--new-share {self.new_share:g} is not between 0 and 1",
                fix="write 0.25 for a quarter",
            )
        self.matchers  # noqa: B018  refuses what is no matcher before anything is read

    @property
    def matchers(self) -> list[MatchSettings]:
        """The settings of the local matchers."""
        return [MatchSettings.parse(text, budget=self.budget) for text in self.match]


@dataclass(frozen=True, kw_only=True)
class SearchedCatalogue:
    """A catalogue with the vectors of its photographs, calibrated.

    `images` are the readable photographs of the catalogue, `individuals (n,)` whom they show.
    `networks` are the members that embedded them, by their names. `sentences` are on how.
    """

    opened: OpenedCatalogue
    images: ImageSet
    individuals: Strings
    calibration: CatalogueCalibration
    networks: tuple[str, ...]
    crop_margin: float | None
    sentences: tuple[str, ...]

    @property
    def network(self) -> str:
        """The networks as one text."""
        return " + ".join(self.networks)


def search_catalogue(
    opened: OpenedCatalogue, options: IdentifyOptions, queries: ImageSet | None = None
) -> Generator[Progress | str, None, tuple[SearchedCatalogue, Evidence | None]]:
    """Return a catalogue calibrated, and the evidence of queries, None without any.

    Queries are readable photographs whose files have been read. Yields Progress and sentences.
    """
    workspace = opened.workspace
    inspection = yield from file_index.inspect(opened.images, workspace)
    usable = readable_rows(inspection)
    yield from left_out(inspection.problems, "of the catalogue")
    if not len(usable):
        raise KitboxError(
            f"none of the {len(opened.images)} photographs of the catalogue can be read",
            fix="open one of them in a viewer",
        )
    images = _with_boxes(inspection.images.take(usable), workspace)
    rows = rows_of(images.image_ids, opened.images.image_ids)
    individuals, names, dates, places, sides = (
        column[rows]
        for column in (
            opened.individuals,
            opened.encounters,
            opened.dates,
            opened.places,
            opened.sides,
        )
    )
    signatures = inspection.signatures.take(usable)
    encounters = encounters_of(
        individuals, names, dates, _equal_or_near(images, signatures), places=places
    )
    chosen, held_out = yield from catalogue_embeddings.members_of(workspace, options.names)
    sets = [images] if queries is None else [images, _with_boxes(queries, workspace)]
    count = len(images)
    chosen = yield from catalogue_embeddings.without_large_whitening(chosen, count)
    vectors = yield from catalogue_embeddings.embed(chosen, sets, workspace, options.embed)
    asked = None
    if held_out is not None:
        asked = np.flatnonzero(np.isin(images.image_ids, held_out) & (individuals != ""))
    calibration, evidence, used, dims = best_calibration(
        vectors,
        individuals,
        encounters,
        asked,
        sides=sides,
        whitenings=catalogue_embeddings.whitenings(chosen, count, vectors.dim),
    )
    sentences = (
        [] if dims is None else [f"whitened to {dims} dimensions, which the calibration prefers"]
    )
    of_queries = None
    if queries is not None:
        shown = strings([opened.known_of(name).side for name in queries.image_ids.tolist()])
        of_queries = gather(used[count:], calibration.gallery, sides=shown)
    matchers = options.matchers
    if matchers and calibration.model is not None:
        everything = images if queries is None else concatenate(images, sets[1])
        calibration, of_queries, sentence = yield from _matched(
            calibration,
            evidence,
            of_queries,
            images,
            queries,
            everything,
            matchers,
            workspace,
            options,
        )
        sentences.append(sentence)
    elif matchers:
        sentences.append("without local matches: there is no calibration to fuse them by")
    found = SearchedCatalogue(
        opened=opened,
        images=images,
        individuals=individuals,
        calibration=calibration,
        networks=tuple(member.full_name for member in chosen),
        crop_margin=next((m.crop_margin for m in chosen if m.crop_margin is not None), None),
        sentences=(calibration.encounters.sentence, *sentences),
    )
    return found, of_queries


def best_calibration(
    vectors: Embeddings,
    individuals: Strings,
    encounters: Encounters,
    asked: Integers | None = None,
    *,
    sides: Strings | None = None,
    whitenings: Sequence[int | None],
) -> tuple[CatalogueCalibration, Evidence, Floats, int | None]:
    """Return the best calibration, its evidence, the vectors (n + q, d) and dimensions it is on.

    `vectors` are those of the n photographs of `individuals (n,)`, then those of q queries.
    """
    best: tuple[CatalogueCalibration, Evidence, Floats, int | None] | None = None
    for dims in whitenings:
        tried = vectors if dims is None else whitened(vectors, dims)
        calibration, evidence = catalogue_calibration.calibrate(
            tried.vectors[: len(individuals)], individuals, encounters, asked, sides=sides
        )
        if best is None or calibration.loss < best[0].loss - LEAST_GAIN:
            best = calibration, evidence, tried.vectors, dims
    if best is None:
        raise ValueError("no whitening to try, and not None either")
    return best


def _matched(
    calibration: CatalogueCalibration,
    evidence: Evidence,
    of_queries: Evidence | None,
    images: ImageSet,
    queries: ImageSet | None,
    everything: ImageSet,
    matchers: Sequence[MatchSettings],
    workspace: Workspace,
    options: IdentifyOptions,
) -> Generator[Progress | str, None, tuple[CatalogueCalibration, Evidence | None, str]]:
    """Return calibration and evidence with local matches where they help, and a sentence on it."""
    match_options = MatchOptions(workers=options.embed.workers, device=options.embed.device)
    names = ", ".join(settings.kind for settings in matchers)
    # only an audit tells how individuals met once are found, and looks at their pairs
    asked_once = calibration.once if queries is None else None
    once = () if asked_once is None else (asked_once.evidence,)
    yield (
        f"{names}: {_pairs_of(evidence, *once)} pairs of the catalogue, to see "
        "whether matches help here"
        + (
            ""
            if of_queries is None
            else f"; if they do, {_pairs_of(of_queries)} pairs of the new photographs"
        )
    )
    signals = yield from with_matches(
        evidence,
        images.image_ids[calibration.rows],
        images.image_ids,
        images,
        matchers,
        workspace,
        match_options,
    )
    if asked_once is not None:
        of_once = yield from with_matches(
            asked_once.evidence,
            images.image_ids[asked_once.rows],
            images.image_ids,
            images,
            matchers,
            workspace,
            match_options,
        )
        evidence_once = replace(asked_once.evidence, signals=of_once)
        asked_once = replace(asked_once, evidence=evidence_once)
    with_them = catalogue_calibration.fitted(
        replace(calibration, signals=signals, once=asked_once, cross_once=None)
    )
    gain = calibration.loss - with_them.loss
    if gain < LEAST_GAIN:
        sentence = f"local matches of {names} do not help on this catalogue, and are left out"
        return replace(calibration, gain=gain), of_queries, sentence
    if of_queries is not None and queries is not None:
        signals = yield from with_matches(
            of_queries,
            queries.image_ids,
            images.image_ids,
            everything,
            matchers,
            workspace,
            match_options,
        )
        of_queries = replace(of_queries, signals=signals)
    sentence = (
        f"local matches of {names} are fused: what is right is {np.exp(gain):.2f} times as probable"
    )
    return replace(with_them, matchers=tuple(matchers), gain=gain), of_queries, sentence


def _pairs_of(*evidence: Evidence) -> str:
    """Return how many pairs of photographs local matching takes at most."""
    return f"{sum(int((part.photographs >= 0).sum()) for part in evidence):,}"


def _equal_or_near(images: ImageSet, signatures: file_index.Signatures) -> Integers:
    """Return pairs (p, 2) of rows that are copies of a file or near-duplicates."""
    _, first, code = np.unique(images.file_digests, return_index=True, return_inverse=True)
    copies = np.stack([first[code], np.arange(len(code))], axis=1)
    copies = copies[copies[:, 0] < copies[:, 1]]
    distinct = np.sort(first)
    near = distinct[near_duplicates.find_pairs(signatures.take(distinct), NEAR_BITS)]
    return np.concatenate([copies, near]).astype(np.int64)


def readable_rows(inspection: Inspection) -> Integers:
    """Return the rows of the photographs that can be read."""
    return np.flatnonzero(~np.isin(inspection.images.image_ids, list(inspection.problems)))


def left_out(problems: dict[str, str], which: str) -> Generator[str, None, None]:
    """Yield a sentence on photographs that cannot be read, if there are some."""
    if problems:
        name, why = next(iter(problems.items()))
        yield (
            f"left out: {counted(len(problems), 'photograph')} {which} cannot be read, "
            f"'{name}': {why}{more(len(problems) - 1)}"
        )


def _with_boxes(images: ImageSet, workspace: Workspace) -> ImageSet:
    """Return images with the boxes of the workspace's boxes.csv, or of decisions.csv."""
    corners = boxes.read_with_animals(settings.load(workspace).images, workspace.boxes)
    corners |= decision_file.load(workspace.decisions).boxes
    if not corners:
        return images
    no_box = (np.nan,) * 4
    found = np.array(
        [corners.get(image_id, no_box) for image_id in images.image_ids.tolist()], dtype=np.float32
    ).reshape(-1, 4)
    return images if np.isnan(found).all() else replace(images, boxes=found)
