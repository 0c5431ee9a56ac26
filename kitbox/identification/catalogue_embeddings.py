"""The networks that a catalogue is searched with, and the vectors that they make."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kitbox.competition import settings
from kitbox.dataset.collection import collect
from kitbox.embedding.embedder import EmbedOptions
from kitbox.embedding.imported_embeddings import ImportedEmbeddings
from kitbox.ensemble import members, meta_embedding
from kitbox.ensemble.members import Member
from kitbox.ensemble.meta_embedding import pca_whiten
from kitbox.ensemble.recipe import SUFFIX, Recipe
from kitbox.errors import KitboxError, counted
from kitbox.identification import network_choice
from kitbox.records import Embeddings, ImageSet, Progress, Strings
from kitbox.workspace import Workspace

# Dimensions to whiten to, each for catalogues of at least four times as many photographs.
_WHITENED = (64, 128, 256)
_PHOTOGRAPHS_PER_DIMENSION = 4
# Photographs that whitening is fitted on: more change nothing.
_FITTED_ON = 5000


def members_of(
    workspace: Workspace, names: Sequence[str]
) -> Generator[Progress | str, None, tuple[list[Member], Strings | None]]:
    """Return the networks named, or the best one if none is; yields sentences on them.

    With them come the photographs that none of them has learned from, None for all.
    """
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


def embed(
    chosen: Sequence[Member],
    sets: Sequence[ImageSet],
    workspace: Workspace,
    options: EmbedOptions,
) -> Generator[Progress | str, None, Embeddings]:
    """Return the joined embeddings of all sets, whitened where a member says so.

    Yields Progress, and a sentence on how many came from the cache.
    """
    blocks = []
    for member in chosen:
        parts, computed = [], 0
        for images in sets:
            part, count = yield from _counted(member.embed(images, workspace, frozenset(), options))
            parts.append(part)
            computed += count
        total = sum(map(len, sets))
        if computed <= total:  # not with several views, of which the embedder tells
            yield (
                f"{member.name}: embeddings of {counted(total, 'photograph')}, "
                f"{total - computed} from the cache and {computed} computed"
            )
        block = Embeddings(
            np.concatenate([part.image_ids for part in parts]),
            np.concatenate([np.asarray(part.vectors) for part in parts]),
        )
        if member.whiten:
            block = whitened(block, member.whiten)
        blocks.append(block)
    return meta_embedding.concatenate(blocks, [member.weight for member in chosen])


def _counted(
    stage: Generator[Progress, None, Embeddings],
) -> Generator[Progress, None, tuple[Embeddings, int]]:
    """Return what a stage returns, and how many images it computed; yields its Progress."""
    done: dict[str, int] = {}
    while True:
        try:
            event = next(stage)
        except StopIteration as end:
            return end.value, sum(done.values())
        if event.stage.startswith("embed"):
            done[event.stage] = max(event.done, done.get(event.stage, 0))
        yield event


def without_large_whitening(
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


def whitenings(chosen: Sequence[Member], count: int, dim: int) -> list[int | None]:
    """Return the dimensions to try: None, and those that a catalogue is large enough for.

    Where a member is whitened by itself, None alone.
    """
    if any(member.whiten for member in chosen):
        return [None]
    fitting = [d for d in _WHITENED if d <= dim and _PHOTOGRAPHS_PER_DIMENSION * d <= count]
    return [None, *fitting]


def whitened(embeddings: Embeddings, dims: int) -> Embeddings:
    """Return vectors whitened by all of them, queries too.

    Photographs that a whitening is fitted on are less like each other than others are. The queries
    would be too like the catalogue, and strangers would get names, if they were left out.
    """
    chosen = embeddings.image_ids
    if len(chosen) > _FITTED_ON:
        chosen = np.random.default_rng(0).choice(chosen, _FITTED_ON, replace=False)
    return pca_whiten(embeddings, chosen, dims)
