"""All listed photographs, dropped ones included, and the similarity of their embeddings."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from kitbox import tables
from kitbox.competition import lists
from kitbox.competition.settings import Competition
from kitbox.dataset import collection
from kitbox.decisions import decision_file
from kitbox.errors import KitboxError
from kitbox.images import file_index
from kitbox.images.file_index import Inspection, Signatures
from kitbox.records import Embeddings, Holdout, ImageSet, Progress, Strings, concatenate, strings
from kitbox.retrieval import knn
from kitbox.training import runs
from kitbox.training.runs import Run
from kitbox.workspace import Workspace

if TYPE_CHECKING:
    from kitbox.embedding.embedder import EmbedOptions
    from kitbox.ensemble.members import MemberSource, Whitening

SIDES = ("labelled", "test", "index")


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """Labelled, test and index images in one set; a label is '' if no list gives one.

    `sides (n,)` are "labelled", "test" or "index". `problems` maps the id of an image that cannot
    be shown to the reason. `queries` are the ids of the holdout's queries, if a holdout is written.
    `faulty_rows` counts rows of the lists that could not be used. With `within_group` images are
    compared only within their group.
    """

    images: ImageSet
    sides: Strings
    signatures: Signatures
    problems: dict[str, str]
    queries: frozenset[str]
    unknown: str | None
    faulty_rows: int
    within_group: bool = False

    @cached_property
    def rows(self) -> dict[str, int]:
        """Image id → row."""
        return {image_id: row for row, image_id in enumerate(self.images.image_ids.tolist())}

    @cached_property
    def labels(self) -> Strings:
        """The listed labels (n,)."""
        none = np.full(len(self.images), "", dtype=np.str_)
        return none if self.images.labels is None else self.images.labels

    @cached_property
    def label_set(self) -> frozenset[str]:
        """The listed labels, among them that of unknown individuals."""
        return frozenset(self.labels.tolist()) - {""}

    @cached_property
    def readable(self) -> Strings:
        """The ids of images that can be shown."""
        return strings([i for i in self.images.image_ids.tolist() if i not in self.problems])

    @cached_property
    def readable_digests(self) -> dict[str, str]:
        """Each image that can be shown → the digest of its file."""
        pairs = zip(self.images.image_ids.tolist(), self.images.file_digests.tolist(), strict=True)
        return {image: digest for image, digest in pairs if image not in self.problems}

    def side(self, image_id: str) -> str:
        """Return the side of an image."""
        return str(self.sides[self.rows[image_id]])

    def label(self, image_id: str) -> str:
        """Return the listed label of an image, '' if there is none."""
        return str(self.labels[self.rows[image_id]])

    def groups(self, image_ids: Strings) -> Strings | None:
        """Return the groups within which images are compared, None if all are compared."""
        return self.images.of(image_ids).groups if self.within_group else None

    def part(self, side: str) -> ImageSet:
        """Return the readable images of one side."""
        shown = np.isin(self.images.image_ids, self.readable)
        part = self.images.take((self.sides == side) & shown)
        return part if side == "labelled" else part.without_labels()


def load(workspace: Workspace, competition: Competition) -> Generator[Progress, None, Photographs]:
    """Return every listed image, with faulty rows counted and problems noted; yields Progress.

    Decisions are not applied: a dropped image must stay visible so that its drop can be taken back.
    They only settle images with no label or with two, which could not be loaded otherwise.
    """
    decided = decision_file.load(workspace.decisions)
    images = competition.images.model_copy(update={"broken": "drop"})
    listed = lists.read(competition.model_copy(update={"images": images}), workspace.boxes, decided)
    parts: dict[str, ImageSet] = {SIDES[0]: listed.labelled}
    for side, others in zip(SIDES[1:], (listed.test, listed.index), strict=True):
        if others is not None:  # in some competitions the queries are labelled images
            parts[side] = others.take(~np.isin(others.image_ids, listed.labelled.image_ids))
    inspections: dict[str, Inspection] = {}
    for side, part in parts.items():
        if len(part):
            inspections[side] = yield from file_index.inspect(
                part, workspace, keep_truncated=competition.check.keep_truncated
            )
    return _combine(inspections, competition, _holdout_queries(workspace), len(listed.findings))


def _combine(
    inspections: dict[str, Inspection],
    competition: Competition,
    queries: frozenset[str],
    faulty_rows: int,
) -> Photographs:
    images, *rest = (inspection.images for inspection in inspections.values())
    for part in rest:
        images = concatenate(images, part)
    signatures = [inspection.signatures for inspection in inspections.values()]
    counts = [len(inspection.images) for inspection in inspections.values()]
    return Photographs(
        images=images,
        sides=strings(np.repeat(list(inspections), counts)),
        signatures=Signatures(
            np.concatenate([signature.hashes for signature in signatures]),
            np.concatenate([signature.thumbnails for signature in signatures]),
        ),
        problems={
            image_id: problem
            for inspection in inspections.values()
            for image_id, problem in inspection.problems.items()
        },
        queries=queries,
        unknown=competition.images.unknown_label,
        faulty_rows=faulty_rows,
        within_group=competition.task.within_group,
    )


def _holdout_queries(workspace: Workspace) -> frozenset[str]:
    if not workspace.holdout.exists():
        return frozenset()
    rows = tables.read_columns(workspace.holdout, ("image", "side"))
    return frozenset(image_id for _, (image_id, side) in rows if side == "query")


def hash_embeddings(photographs: Photographs) -> Embeddings:
    """Return the bits of perceptual hashes as vectors of readable images.

    The cosine of two of them is 1 − (bits that differ) / 32.
    """
    shown = np.isin(photographs.images.image_ids, photographs.readable)
    bits = np.unpackbits(photographs.signatures.hashes[shown], axis=1)
    vectors = (bits.astype(np.float32) * 2 - 1) / np.sqrt(np.float32(bits.shape[1]))
    return Embeddings(photographs.readable, vectors)


def nearest(embeddings: Embeddings, image_id: str, k: int) -> list[tuple[str, float]]:
    """Return the k images most similar to one and their similarity, best first.

    An unreadable image has none.
    """
    query = strings([image_id])
    if not np.isin(query, embeddings.image_ids).all():
        return []
    found = knn.nearest(embeddings.of(query), embeddings, k)
    pairs = zip(found.gallery_ids[0].tolist(), found.similarity[0].tolist(), strict=True)
    return [(other, similarity) for other, similarity in pairs if other]


def least_similarity(embeddings: Embeddings, images: Sequence[str]) -> float | None:
    """Return the least similarity of any two images, None if one of them has no embedding."""
    ids = strings(list(images))
    if len(ids) < 2 or not np.isin(ids, embeddings.image_ids).all():
        return None
    vectors = embeddings.of(ids).vectors
    return float((vectors @ vectors.T).min())


def embed(
    sources: "Sequence[MemberSource]",
    photographs: Photographs,
    workspace: Workspace,
    *,
    whitening: "Whitening",
    options: "EmbedOptions",
) -> Generator[Progress, None, Embeddings]:
    """Return the meta-embeddings of all readable images, through the cache; yields Progress.

    Each plugin's newest finished run is used, even if boxes or labels were decided after it. Images
    that imported embeddings lack are left out.
    """
    # torch takes seconds to load, and a page without plugins needs none
    from kitbox.ensemble import members, meta_embedding

    chosen = members.newest(workspace, sources, whitening=whitening)
    sides = [members.embedded(photographs.part(side), chosen) for side in SIDES]
    sides = [images for images in sides if len(images)]
    blocks = []
    for member in chosen:
        parts = []
        for images in sides:
            part = yield from member.embed(images, workspace, frozenset(), options)
            parts.append(part)
        block = Embeddings(
            strings(np.concatenate([part.image_ids for part in parts])),
            np.concatenate([part.vectors for part in parts]),
        )
        if member.whiten:
            block = yield from meta_embedding.whiten_block(
                block, block.image_ids, member.whiten, member.full_name
            )
        blocks.append(block)
    return meta_embedding.concatenate(blocks, [1.0] * len(blocks))


def unseen_holdout(
    sources: "Sequence[MemberSource]", workspace: Workspace, competition: Competition
) -> Generator[Progress, None, Holdout]:
    """Return the holdout, of which the networks that `embed` uses have seen no query.

    Yields Progress. Raises KitboxError with the reason where there is none, or where one of the
    networks or imported embeddings has, or may have, seen its queries.
    """
    from kitbox.ensemble import members

    collected = yield from collection.collect(workspace, competition)
    used = members.newest(workspace, sources)
    for member in used:
        if member.on == "all":
            raise KitboxError(f"{member.name} was trained on all labelled photographs")
        if member.holdout_warning is not None:
            raise KitboxError(member.holdout_warning.removeprefix("warning: "))
    for member, unseeing in zip(
        used, members.for_holdout(workspace, sources, None, collected), strict=True
    ):
        if member.digest != unseeing.digest:
            raise KitboxError(f"the newest network of {member.name} was trained on another holdout")
    return collected.holdout


def outdated(sources: "Sequence[MemberSource]", workspace: Workspace) -> list[str]:
    """Return the plugins whose newest network was trained before decisions.csv changed."""
    from kitbox.ensemble import members

    networks = {one.name: one.checkpoint for one in members.newest(workspace, sources)}
    return [
        name
        for name, checkpoint in networks.items()
        if checkpoint is not None
        and checkpoint.on != "none"
        and runs.decisions_changed_since(workspace, [Run(checkpoint.path.parent)])
    ]
