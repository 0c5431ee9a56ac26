"""Makes a submission: the ensemble over all images, ranked, in the competition's form."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.embedding import embedder
from kitbox.ensemble.assembly import Assembled, Member, assemble
from kitbox.errors import KitboxError
from kitbox.images.collection import Collection
from kitbox.records import Embeddings, Progress, Ranking
from kitbox.retrieval import answers, search
from kitbox.scoring import local
from kitbox.scoring.local import LocalScore
from kitbox.submission import form, lint
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Recipe:
    """How embeddings become answers, beside the members."""

    whiten: int | None = None
    top_k: int | None = None  # None: the competition's k


@dataclass(frozen=True)
class Locally:
    """A local score, and the dimensions of each member's block."""

    score: LocalScore
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Made:
    """The text of a submission, and the sizes behind it."""

    text: str
    ranking: Ranking
    queries: int
    gallery: int
    dims: tuple[int, ...]


def score(
    members: Sequence[Member],
    recipe: Recipe,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: embedder.Options,
) -> Generator[Progress, None, Locally]:
    """Return the local score of an ensemble whose members have not seen the holdout."""
    holdout = collection.holdout
    assembled: Assembled = yield from assemble(
        members,
        [collection.labelled],
        holdout.gallery.image_ids,
        collection,
        workspace,
        whiten=recipe.whiten,
        options=options,
    )
    return Locally(local.evaluate(assembled.embeddings, holdout, competition), assembled.dims)


def make(
    members: Sequence[Member],
    recipe: Recipe,
    threshold: float | None,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: embedder.Options,
) -> Generator[Progress, None, Made]:
    """Return the submission of an ensemble; it takes the path of the local score, on test images.

    Raises KitboxError where there is no test, and where its own lint finds something.
    """
    test, labelled, task = collection.test, collection.labelled, competition.task
    if test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    gallery_ids = {
        "train": labelled.image_ids,
        "test": test.image_ids,
        "train+test": np.concatenate([labelled.image_ids, test.image_ids]),
    }[task.gallery]
    assembled: Assembled = yield from assemble(
        members,
        [labelled, test],
        gallery_ids,
        collection,
        workspace,
        whiten=recipe.whiten,
        options=options,
    )
    query, gallery = assembled.embeddings.of(test.image_ids), assembled.embeddings.of(gallery_ids)
    ranking = rank(query, gallery, recipe, threshold, collection, competition)
    text = form.text(ranking, competition)
    if recipe.top_k in (None, task.k):
        findings = lint.lint(text.encode(), competition, labelled, test)
        if findings:
            raise KitboxError(f"the submission would be refused: {findings[0]}")
    return Made(text, ranking, len(query), len(gallery), assembled.dims)


def rank(
    query: Embeddings,
    gallery: Embeddings,
    recipe: Recipe,
    threshold: float | None,
    collection: Collection,
    competition: Competition,
) -> Ranking:
    """Return the answers of queries as the competition asks for them."""
    task, unknown = competition.task, competition.images.unknown_label
    k = recipe.top_k or task.k
    if task.answers == "images":
        return answers.images(search.nearest(query, gallery, k))
    ranking = answers.labels(query, gallery, collection.labelled, k, unknown)
    if unknown is None or threshold is None:
        return ranking
    return answers.with_unknown(ranking, unknown, threshold)
