"""Groups of images that are copies, near-duplicates, or neighbours by a network's embeddings."""

from collections.abc import Collection as Container
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from kitbox.competition import lists
from kitbox.competition.settings import Competition
from kitbox.dataset import near_duplicates
from kitbox.dataset.collection import Collection
from kitbox.dataset.near_duplicates import Pairs
from kitbox.decisions.decision import Decision
from kitbox.images import file_index
from kitbox.images.file_index import Signatures, concatenate_signatures
from kitbox.records import (
    ImageSet,
    LabelledImages,
    Progress,
    Strings,
    concatenate,
    rows_of,
    strings,
)
from kitbox.workspace import Workspace

# From the most to the least certain; a group has the kind of its least certain link. Neighbours
# form groups of their own, since no image is dropped for similarity alone.
LinkKind = Literal["copies", "near-duplicates", "neighbours"]
LINK_KINDS: tuple[LinkKind, ...] = ("copies", "near-duplicates", "neighbours")


@dataclass(frozen=True)
class ImagePool:
    """All readable images of a competition, including those that decisions leave out.

    `images` have labels after decisions, '' where there is none. `sides (n,)` are "train" and
    "query" (of the holdout), "test", "index", and "left out". `parts` are the image sets that are
    embedded to compare the images; they include unreadable test images.
    """

    images: LabelledImages
    signatures: Signatures
    sides: Strings
    parts: tuple[ImageSet, ...]

    @property
    def labels(self) -> Strings:
        """The labels (n,) after decisions, '' where there is none."""
        return self.images.labels


@dataclass(frozen=True, kw_only=True)
class DuplicateGroup:
    """Images that belong together, with the label ('' if none) and the side of each.

    It is `undecided` if two linked images are in use and no row of decisions.csv calls them fine.
    """

    kind: LinkKind
    images: tuple[str, ...]
    labels: tuple[str, ...]
    sides: tuple[str, ...]
    undecided: bool

    @property
    def conflict(self) -> bool:
        """Whether images in use have two labels: one photograph of two individuals."""
        used = zip(self.labels, self.sides, strict=True)
        return len({label for label, side in used if label and side != "left out"}) > 1

    @property
    def leaks(self) -> tuple[str, ...]:
        """The splits across which it leaks: "train/test", "holdout", both or none."""
        sides = set(self.sides)
        found = []
        if "test" in sides and sides & {"train", "query"}:
            found.append("train/test")
        if {"train", "query"} <= sides:
            found.append("holdout")
        return tuple(found)


def gather_pool(
    workspace: Workspace, competition: Competition, collection: Collection
) -> Generator[Progress, None, ImagePool]:
    """Return all readable images of a competition; yields Progress.

    Decisions about boxes are applied; no other decision changes the embeddings of these images.
    """
    decided = collection.decisions
    listed = lists.apply_decisions(
        lists.read(competition, workspace.boxes, decided), decided.only("box")
    )
    parts: list[ImageSet] = []
    images: list[ImageSet] = []
    signatures: list[Signatures] = []
    sides: list[Strings] = []
    for part, found in (
        ("labelled", listed.labelled),
        ("test", listed.test),
        ("index", listed.index),
    ):
        # the queries of scenarios are labelled images, which are there already
        if found is None or (parts and np.isin(found.image_ids, parts[0].image_ids).any()):
            continue
        inspection = yield from file_index.inspect(
            found, workspace, keep_truncated=competition.check.keep_truncated
        )
        readable = ~np.isin(found.image_ids, list(inspection.problems))
        images.append(inspection.images.take(readable))
        signatures.append(inspection.signatures.take(readable))
        sides.append(_sides(part, images[-1].image_ids, collection))
        # unreadable images are embedded as grey ones, except labelled images
        parts.append(images[-1] if part == "labelled" else inspection.images)
    joined = images[0].labelled
    for other in images[1:]:
        joined = concatenate(joined, other)
    return ImagePool(
        _with_decided_labels(joined, collection),
        concatenate_signatures(signatures),
        np.concatenate(sides),
        tuple(parts),
    )


def copy_pairs(pool: ImagePool) -> Pairs:
    """Return pairs (p, 2) of exact copies: the first image of a file, and each later one."""
    _, first, code = np.unique(pool.images.file_digests, return_index=True, return_inverse=True)
    pairs = np.stack([first[code], np.arange(len(code))], axis=1)
    return pairs[pairs[:, 0] < pairs[:, 1]].astype(np.int64)


def near_duplicate_pairs(pool: ImagePool, bits: int) -> Pairs:
    """Return pairs (p, 2) of near-duplicate files; see `near_duplicates.find_pairs`."""
    _, first = np.unique(pool.images.file_digests, return_index=True)
    first = np.sort(first)
    pairs: Pairs = first[near_duplicates.find_pairs(pool.signatures.take(first), bits)]
    return pairs


def informative_links(links: Mapping[LinkKind, Pairs], count: int) -> dict[LinkKind, Pairs]:
    """Return the links without those neighbours that more certain links already connect.

    Links are kind → pairs (p, 2) of rows among `count` images.
    """
    number = _connected(_concatenated(links[kind] for kind in links if kind != "neighbours"), count)
    return {
        kind: pairs[number[pairs[:, 0]] != number[pairs[:, 1]]] if kind == "neighbours" else pairs
        for kind, pairs in links.items()
    }


def group_images(
    pool: ImagePool, links: Mapping[LinkKind, Pairs], fine: Container[frozenset[str]] = ()
) -> list[DuplicateGroup]:
    """Return the groups that links (kind → pairs of rows) connect, in the order of the images.

    Neighbours do not change groups of copies and near-duplicates: if they link further images they
    form a group of their own, which may share images with those. A link is decided if one of its
    images is left out, or if `fine` has the pair.
    """
    informative = informative_links(links, len(pool.images))
    found: list[tuple[int, DuplicateGroup]] = []
    for certain in (True, False):
        part = {
            kind: pairs for kind, pairs in informative.items() if (kind != "neighbours") == certain
        }
        found.extend(_groups(pool, part, fine))
    return [group for _, group in sorted(found, key=lambda one: one[0])]


def drop_decisions(pool: ImagePool, fine: Container[frozenset[str]] = ()) -> list[Decision]:
    """Return decisions to drop exact copies: all but the first labelled image of a file and label.

    Files with two labels and pairs in `fine` are left for people to decide.
    """
    used = np.isin(pool.sides, ("train", "query"))
    ids, digests = pool.images.image_ids[used].tolist(), pool.images.file_digests[used].tolist()
    labels = pool.labels[used].tolist()
    labels_of: dict[str, set[str]] = {}
    for digest, label in zip(digests, labels, strict=True):
        labels_of.setdefault(digest, set()).add(label)
    first: dict[str, str] = {}
    found = []
    for image_id, digest in zip(ids, digests, strict=True):
        original = first.setdefault(digest, image_id)
        one_label = len(labels_of[digest]) == 1
        if original != image_id and one_label and frozenset({original, image_id}) not in fine:
            found.append(Decision("drop", image_id, note=f"copy of {original}"))
    return found


def _sides(part: str, image_ids: Strings, collection: Collection) -> Strings:
    """Return the side (n,) of each image of the labelled, test or index list."""
    if part == "test":
        return np.full(len(image_ids), "test")
    if part == "index":
        assert collection.index is not None  # noqa: S101  the lists have one
        used = np.isin(image_ids, collection.index.image_ids)
        return np.where(used, "index", "left out")
    train, query = (
        np.isin(image_ids, side.image_ids)
        for side in (collection.holdout.train, collection.holdout.query)
    )
    return np.select([query, train], ["query", "train"], "left out")


def _with_decided_labels(images: LabelledImages, collection: Collection) -> LabelledImages:
    """Return images with the labels that the collection has for those in use."""
    rows = rows_of(images.image_ids, collection.labelled.image_ids)
    decided = collection.labelled.labels[rows].tolist()
    listed = images.labels.tolist()
    labels = [new if row >= 0 else old for row, new, old in zip(rows, decided, listed, strict=True)]
    return images.with_labels(strings(labels))


def _groups(
    pool: ImagePool, links: Mapping[LinkKind, Pairs], fine: Container[frozenset[str]]
) -> Iterator[tuple[int, DuplicateGroup]]:
    """Yield the groups that links connect, each with the row of its first image."""
    count, pairs = len(pool.images), _concatenated(links.values())
    kinds = np.repeat(
        [LINK_KINDS.index(kind) for kind in links], [len(part) for part in links.values()]
    )
    number = _connected(pairs, count)
    kind_of: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
    np.maximum.at(kind_of, number[pairs[:, 0]], kinds.astype(np.int64))
    undecided = set(number[pairs[_undecided(pool, pairs, fine), 0]].tolist())
    order = np.argsort(number, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
        if len(rows) > 1:
            yield (
                int(rows[0]),
                DuplicateGroup(
                    kind=LINK_KINDS[kind_of[number[rows[0]]]],
                    images=tuple(pool.images.image_ids[rows].tolist()),
                    labels=tuple(pool.labels[rows].tolist()),
                    sides=tuple(pool.sides[rows].tolist()),
                    undecided=int(number[rows[0]]) in undecided,
                ),
            )


def _undecided(pool: ImagePool, pairs: Pairs, fine: Container[frozenset[str]]) -> NDArray[np.bool_]:
    """Return which pairs (p,) have both images in use and are not in `fine`."""
    used: NDArray[np.bool_] = (pool.sides[pairs] != "left out").all(axis=1)
    named = pool.images.image_ids[pairs].tolist()
    used &= np.array([frozenset(pair) not in fine for pair in named], dtype=np.bool_)
    return used


def _concatenated(links: Iterable[Pairs]) -> Pairs:
    return np.concatenate([np.empty((0, 2), dtype=np.int64), *links])


def _connected(pairs: Pairs, count: int) -> NDArray[np.int32]:
    """Return the number (n,) of the connected component of each of `count` rows."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    number: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return number
