"""Who is on new photographs: the answers of a catalogue, each with its probability."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from kitbox.catalogue.encounter_rule import Encounters, encounters_of
from kitbox.competition import boxes, settings
from kitbox.competition.image_files import photograph_of
from kitbox.dataset import near_duplicates
from kitbox.dataset.collection import collect
from kitbox.embedding.embedder import EmbedOptions
from kitbox.embedding.imported_embeddings import ImportedEmbeddings
from kitbox.ensemble import members, meta_embedding
from kitbox.ensemble.members import Member
from kitbox.ensemble.meta_embedding import pca_whiten
from kitbox.ensemble.recipe import SUFFIX, Recipe
from kitbox.errors import KitboxError, counted, more
from kitbox.identification import catalogue_calibration, network_choice
from kitbox.identification.catalogue_calibration import (
    LEAST_GAIN,
    CatalogueCalibration,
    Evidence,
    gather,
    with_matches,
)
from kitbox.identification.catalogue_workspace import OpenedCatalogue
from kitbox.identification.identity_model import Identities
from kitbox.images import file_index
from kitbox.images.file_index import Inspection, concatenate_signatures
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
_NEAR_BITS = 6
# Dimensions to whiten to, each for catalogues of at least four times as many photographs.
_WHITENED = (64, 128, 256)
_PHOTOGRAPHS_PER_DIMENSION = 4
# Photographs that whitening is fitted on: more change nothing.
_FITTED_ON = 5000
# Individuals named for each photograph.
NAMED = 3
UNDECIDED, NEW = "undecided", "new?"


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
class SearchedCatalogue:
    """A catalogue with the vectors of its photographs, calibrated.

    `images` are the readable photographs of the catalogue, `individuals (n,)` whom they show.
    `network` names what embedded them, and `networks` each plugin of it. `sentences` are on how.
    """

    opened: OpenedCatalogue
    images: ImageSet
    individuals: Strings
    calibration: CatalogueCalibration
    network: str
    networks: tuple[str, ...]
    crop_margin: float | None
    sentences: tuple[str, ...]


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
    def counts(self) -> dict[str, int]:
        """How many photographs have each kind of verdict, or none."""
        return {
            "identified": sum(answer.is_individual for answer in self.answers),
            NEW: sum(answer.verdict == NEW for answer in self.answers),
            UNDECIDED: sum(answer.verdict == UNDECIDED for answer in self.answers),
            "unreadable": len(self.unreadable),
        }


def search_catalogue(
    opened: OpenedCatalogue, options: IdentifyOptions, queries: ImageSet | None = None
) -> Generator[Progress | str, None, tuple[SearchedCatalogue, Evidence | None]]:
    """Return a catalogue calibrated, and the evidence of queries, None without any.

    Queries are readable photographs whose files have been read. Yields Progress and sentences.
    """
    workspace = opened.workspace
    inspection = yield from file_index.inspect(opened.images, workspace)
    usable = _readable(inspection)
    yield from _lost(inspection.problems, "of the catalogue")
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
    chosen, held_out = yield from _members(workspace, options)
    sets = [images] if queries is None else [images, _with_boxes(queries, workspace)]
    count = len(images)
    chosen = yield from _without_large_whitening(chosen, count)
    vectors = yield from _embed(chosen, sets, workspace, options)
    asked = None
    if held_out is not None:
        asked = np.flatnonzero(np.isin(images.image_ids, held_out) & (individuals != ""))
    whitenings = [None] if _fixed_whitening(chosen) else _whitenings(count, vectors.dim)
    calibration, evidence, used, dims = best_calibration(
        vectors, individuals, encounters, asked, sides=sides, whitenings=whitenings
    )
    networks = tuple(member.full_name for member in chosen)
    sentences = (
        [] if dims is None else [f"whitened to {dims} dimensions, which the calibration prefers"]
    )
    of_queries = None
    if queries is not None:
        shown = strings([opened.known_of(name).side for name in queries.image_ids.tolist()])
        of_queries = gather(used[count:], calibration.gallery, sides=shown)
    matchers = [MatchSettings.parse(text, budget=options.budget) for text in options.match]
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
        network=" + ".join(networks),
        networks=networks,
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
        tried = vectors if dims is None else _whitened(vectors, dims)
        calibration, evidence = catalogue_calibration.calibrate(
            tried.vectors[: len(individuals)], individuals, encounters, asked, sides=sides
        )
        if best is None or calibration.loss < best[0].loss - LEAST_GAIN:
            best = calibration, evidence, tried.vectors, dims
    if best is None:
        raise ValueError("no whitening to try, and not None either")
    return best


def identify(
    opened: OpenedCatalogue, options: IdentifyOptions
) -> Generator[Progress | str, None, Identification]:
    """Return who is on the photographs of an opened catalogue; yields Progress and sentences."""
    workspace, photographs = opened.workspace, opened.queries
    inspection = yield from file_index.inspect(photographs, workspace)
    yield from _lost(inspection.problems, "to identify")
    usable = _readable(inspection)
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
    pairs = near_duplicates.find_pairs(both, _NEAR_BITS)
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
) -> Generator[Progress, None, tuple[CatalogueCalibration, Evidence | None, str]]:
    """Return calibration and evidence with local matches where they help, and a sentence on it."""
    match_options = MatchOptions(workers=options.embed.workers, device=options.embed.device)
    names = ", ".join(settings.kind for settings in matchers)
    signals = yield from with_matches(
        evidence,
        images.image_ids[calibration.rows],
        images.image_ids,
        images,
        matchers,
        workspace,
        match_options,
    )
    with_them = catalogue_calibration.fitted(replace(calibration, signals=signals))
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


def _members(
    workspace: Workspace, options: IdentifyOptions
) -> Generator[Progress | str, None, tuple[list[Member], Strings | None]]:
    """Return the networks that the options name, or the best one; yields sentences on them.

    With them come the photographs that none of them has learned from, None for all.
    """
    names = options.names
    if not names:
        choice = network_choice.choose(workspace)
        names = (choice.name,)
        yield from choice.sentences
    if len(names) == 1 and names[0].endswith(SUFFIX):
        recipe = Recipe.read(Path(names[0]))
        unused = recipe.settings_of_answers()
        if unused:
            yield f"without effect here: {', '.join(unused)} of the recipe"
    else:
        recipe = Recipe.of(names)
    sources = recipe.sources(workspace)
    whitening = recipe.whitening or [recipe.whiten] * len(sources)
    if all(isinstance(one, ImportedEmbeddings) or one.plugin.frozen for one in sources):
        chosen = members.newest(workspace, sources, whitening=whitening)
        return _weighted(chosen, recipe), None
    collection = yield from collect(workspace, settings.load(workspace))
    try:
        chosen = members.for_holdout(
            workspace, sources, recipe.weights, collection, recipe.checkpoint, whitening=whitening
        )
    except KitboxError:  # trained on all photographs, or before the catalogue grew
        chosen = _weighted(members.newest(workspace, sources, whitening=whitening), recipe)
        learned = " and ".join(member.name for member in chosen if member.on in ("holdout", "all"))
        yield (
            f"warning: {learned} may have learned from any photograph of the catalogue, so that "
            f"probabilities are too high; 'kitbox train {chosen[0].name}' trains on the present "
            "catalogue, and keeps a holdout to calibrate on"
        )
        return chosen, None
    held_out = collection.holdout.query.image_ids
    yield (
        f"calibrated on the {counted(len(held_out), 'photograph')} of the holdout, which no "
        "network has learned from"
    )
    return chosen, held_out


def _weighted(chosen: Sequence[Member], recipe: Recipe) -> list[Member]:
    pairs = zip(chosen, recipe.weights, strict=True)
    return [replace(member, weight=weight) for member, weight in pairs]


def _embed(
    chosen: Sequence[Member],
    sets: Sequence[ImageSet],
    workspace: Workspace,
    options: IdentifyOptions,
) -> Generator[Progress, None, Embeddings]:
    """Return the joined embeddings of all sets, whitened where a member says so."""
    blocks = []
    for member in chosen:
        parts = []
        for images in sets:
            part = yield from member.embed(images, workspace, frozenset(), options.embed)
            parts.append(part)
        block = Embeddings(
            np.concatenate([part.image_ids for part in parts]),
            np.concatenate([np.asarray(part.vectors) for part in parts]),
        )
        if member.whiten:
            block = _whitened(block, member.whiten)
        blocks.append(block)
    return meta_embedding.concatenate(blocks, [member.weight for member in chosen])


def _without_large_whitening(
    chosen: Sequence[Member], count: int
) -> Generator[str, None, list[Member]]:
    """Return members without a recipe's whitening that is too much for so many photographs."""
    found = []
    for member in chosen:
        least = _PHOTOGRAPHS_PER_DIMENSION * (member.whiten or 0)
        if least > count:
            yield (
                f"{member.name} is not whitened to {member.whiten} dimensions, which needs a "
                f"catalogue of {least} photographs"
            )
            found.append(replace(member, whiten=None))
        else:
            found.append(member)
    return found


def _fixed_whitening(chosen: Sequence[Member]) -> bool:
    return any(member.whiten for member in chosen)


def _whitenings(count: int, dim: int) -> list[int | None]:
    """Return the dimensions to try: None, and those that a catalogue is large enough for."""
    fitting = [d for d in _WHITENED if d <= dim and _PHOTOGRAPHS_PER_DIMENSION * d <= count]
    return [None, *fitting]


def _whitened(embeddings: Embeddings, dims: int) -> Embeddings:
    """Return vectors whitened by all of them, queries too.

    Photographs that a whitening is fitted on are less like each other than others are. The queries
    would be too like the catalogue, and strangers would get names, if they were left out.
    """
    chosen = embeddings.image_ids
    if len(chosen) > _FITTED_ON:
        chosen = np.random.default_rng(0).choice(chosen, _FITTED_ON, replace=False)
    return pca_whiten(embeddings, chosen, dims)


def _equal_or_near(images: ImageSet, signatures: file_index.Signatures) -> Integers:
    """Return pairs (p, 2) of rows that are copies of a file or near-duplicates."""
    _, first, code = np.unique(images.file_digests, return_index=True, return_inverse=True)
    copies = np.stack([first[code], np.arange(len(code))], axis=1)
    copies = copies[copies[:, 0] < copies[:, 1]]
    distinct = np.sort(first)
    near = distinct[near_duplicates.find_pairs(signatures.take(distinct), _NEAR_BITS)]
    return np.concatenate([copies, near]).astype(np.int64)


def _readable(inspection: Inspection) -> Integers:
    return np.flatnonzero(~np.isin(inspection.images.image_ids, list(inspection.problems)))


def _lost(problems: dict[str, str], which: str) -> Generator[str, None, None]:
    """Yield a sentence on photographs that cannot be read, if there are some."""
    if problems:
        name, why = next(iter(problems.items()))
        yield (
            f"left out: {counted(len(problems), 'photograph')} {which} cannot be read, "
            f"'{name}': {why}{more(len(problems) - 1)}"
        )


def _with_boxes(images: ImageSet, workspace: Workspace) -> ImageSet:
    """Return images with the boxes of the workspace's boxes.csv."""
    corners = boxes.read_with_animals(settings.load(workspace).images, workspace.boxes)
    if not corners:
        return images
    no_box = (np.nan,) * 4
    found = np.array(
        [corners.get(image_id, no_box) for image_id in images.image_ids.tolist()], dtype=np.float32
    ).reshape(-1, 4)
    return images if np.isnan(found).all() else replace(images, boxes=found)


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
