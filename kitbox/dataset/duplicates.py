"""Groups images that are copies of each other, near-duplicates, or neighbours of a network."""

from collections.abc import Collection as Container
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from kitbox.competition import lists
from kitbox.competition.decisions import Decision
from kitbox.competition.settings import Competition
from kitbox.dataset import near_duplicates
from kitbox.dataset.collection import Collection
from kitbox.dataset.near_duplicates import Pairs
from kitbox.images import file_index
from kitbox.images.file_index import Signatures
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

# From the surest to the least sure; a group is called by its least sure link. Neighbours make
# groups of their own, as nothing can be dropped for likeness alone.
LinkKind = Literal["copies", "near-duplicates", "neighbours"]
LINK_KINDS: tuple[LinkKind, ...] = ("copies", "near-duplicates", "neighbours")


@dataclass(frozen=True)
class ImagePool:
    """Every readable image of a competition, also those that decisions leave out.

    `images` have labels as decided, '' where there is none. `sides (n,)` are "train" and "query"
    (of the holdout), "test", "index", and "left out". `parts` are the image sets of which all this
    was taken, unreadable test images among them, as embeddings of them are cached.
    """

    images: LabelledImages
    signatures: Signatures
    sides: Strings
    parts: tuple[ImageSet, ...]

    @property
    def labels(self) -> Strings:
        """The labels (n,) as decided, '' where there is none."""
        return self.images.labels


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that belong together, with the label ('' where none) and the side of each.

    `open` says that there is something left to decide: two of its images are in use and no row of
    decisions.csv finds them fine.
    """

    kind: LinkKind
    images: tuple[str, ...]
    labels: tuple[str, ...]
    sides: tuple[str, ...]
    undecided: bool

    @property
    def conflict(self) -> bool:
        """Whether images in use bear two labels: one picture, two individuals."""
        used = zip(self.labels, self.sides, strict=True)
        return len({label for label, side in used if label and side != "left out"}) > 1

    @property
    def leaks(self) -> tuple[str, ...]:
        """Between which sides it leaks: "train/test", "holdout", both or none."""
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
    """Return every readable image of a competition; yields Progress.

    Boxes are those decided, so that embeddings of these images serve through all other decisions.
    """
    decided = collection.decisions
    listed = lists.apply_decisions(
        lists.read(competition, workspace.boxes, decided), decided.only("box")
    )
    parts: list[ImageSet] = []
    images: list[ImageSet] = []
    looks: list[Signatures] = []
    sides: list[Strings] = []
    for part, found in (
        ("labelled", listed.labelled),
        ("test", listed.test),
        ("index", listed.index),
    ):
        # the test images of scenarios are labelled ones once more
        if found is None or (parts and np.isin(found.image_ids, parts[0].image_ids).any()):
            continue
        seen = yield from file_index.inspect(found, workspace)
        readable = ~np.isin(found.image_ids, list(seen.problems))
        images.append(seen.images.take(readable))
        looks.append(seen.signatures.take(readable))
        sides.append(_sides(part, images[-1].image_ids, collection))
        # a labelled image that cannot be read is never embedded, another as a grey one
        parts.append(images[-1] if part == "labelled" else seen.images)
    joined = images[0].labelled
    for other in images[1:]:
        joined = concatenate(joined, other)
    every = Signatures(
        np.concatenate([of.hashes for of in looks]), np.concatenate([of.thumbnails for of in looks])
    )
    named = _as_decided(joined, collection)
    return ImagePool(named, every, np.concatenate(sides), tuple(parts))


def copy_pairs(pool: ImagePool) -> Pairs:
    """Return for each file that repeats an earlier one the pair (p, 2) of first and copy."""
    _, first, code = np.unique(pool.images.file_digests, return_index=True, return_inverse=True)
    pairs = np.stack([first[code], np.arange(len(code))], axis=1)
    return pairs[pairs[:, 0] < pairs[:, 1]].astype(np.int64)


def near_duplicate_pairs(pool: ImagePool, bits: int) -> Pairs:
    """Return pairs (p, 2) of near-duplicates of different bytes; see `likeness`."""
    _, first = np.unique(pool.images.file_digests, return_index=True)
    first = np.sort(first)
    pairs: Pairs = first[near_duplicates.find_pairs(pool.signatures.take(first), bits)]
    return pairs


def informative_links(links: Mapping[LinkKind, Pairs], count: int) -> dict[LinkKind, Pairs]:
    """Return links of `count` images without neighbours that surer links connect already."""
    number = _connected(_together(links[kind] for kind in links if kind != "neighbours"), count)
    return {
        kind: of[number[of[:, 0]] != number[of[:, 1]]] if kind == "neighbours" else of
        for kind, of in links.items()
    }


def group_images(
    pool: ImagePool, links: Mapping[LinkKind, Pairs], fine: Container[frozenset[str]] = ()
) -> list[DuplicateGroup]:
    """Return the groups that links (kind → pairs of rows) make, in the order of the images.

    Neighbours change no group of copies and near-duplicates: where they are more than that, they
    are a group as well, which may have some of the same images. A link is decided where one of its
    images is left out, or where `fine` has the pair.
    """
    told = informative_links(links, len(pool.images))
    found: list[tuple[int, DuplicateGroup]] = []
    for sure in (True, False):
        part = {kind: of for kind, of in told.items() if (kind != "neighbours") == sure}
        found.extend(_groups(pool, part, fine))
    return [group for _, group in sorted(found, key=lambda one: one[0])]


def _groups(
    pool: ImagePool, links: Mapping[LinkKind, Pairs], fine: Container[frozenset[str]]
) -> Iterator[tuple[int, DuplicateGroup]]:
    """Yield the groups that links connect, each with the row of its first image."""
    count, pairs = len(pool.images), _together(links.values())
    kinds = np.repeat(
        [LINK_KINDS.index(kind) for kind in links], [len(of) for of in links.values()]
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
                    LINK_KINDS[kind_of[number[rows[0]]]],
                    tuple(pool.images.image_ids[rows].tolist()),
                    tuple(pool.labels[rows].tolist()),
                    tuple(pool.sides[rows].tolist()),
                    int(number[rows[0]]) in undecided,
                ),
            )


def _together(links: Iterable[Pairs]) -> Pairs:
    return np.concatenate([np.empty((0, 2), dtype=np.int64), *links])


def _connected(pairs: Pairs, count: int) -> NDArray[np.int32]:
    """Return for each of `count` rows the number of the group that pairs connect it to."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    number: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return number


def drop_decisions(pool: ImagePool, fine: Container[frozenset[str]] = ()) -> list[Decision]:
    """Return decisions that drop all but the first labelled image of equal bytes and one label.

    A picture under two labels is left to people, and so is a pair found fine.
    """
    used = np.isin(pool.sides, ("train", "query"))
    ids, digests = pool.images.image_ids[used].tolist(), pool.images.file_digests[used].tolist()
    labels = pool.labels[used].tolist()
    named: dict[str, set[str]] = {}
    for digest, label in zip(digests, labels, strict=True):
        named.setdefault(digest, set()).add(label)
    first: dict[str, str] = {}
    found = []
    for image_id, digest in zip(ids, digests, strict=True):
        kept = first.setdefault(digest, image_id)
        if kept != image_id and len(named[digest]) == 1 and frozenset({kept, image_id}) not in fine:
            found.append(Decision("drop", image_id, note=f"copy of {kept}"))
    return found


def _sides(part: str, image_ids: Strings, collection: Collection) -> Strings:
    if part == "test":
        return np.full(len(image_ids), "test")
    if part == "index":
        assert collection.index is not None  # noqa: S101  the lists have one
        there = np.isin(image_ids, collection.index.image_ids)
        return np.where(there, "index", "left out")
    train, query = (
        np.isin(image_ids, side.image_ids)
        for side in (collection.holdout.train, collection.holdout.query)
    )
    return np.select([query, train], ["query", "train"], "left out")


def _as_decided(images: LabelledImages, collection: Collection) -> LabelledImages:
    """Return images under the labels that decisions gave those in use."""
    rows = rows_of(images.image_ids, collection.labelled.image_ids)
    decided = collection.labelled.labels[rows].tolist()
    kept = images.labels.tolist()
    labels = [now if row >= 0 else was for row, now, was in zip(rows, decided, kept, strict=True)]
    return images.with_labels(strings(labels))


def _undecided(pool: ImagePool, pairs: Pairs, fine: Container[frozenset[str]]) -> NDArray[np.bool_]:
    used: NDArray[np.bool_] = (pool.sides[pairs] != "left out").all(axis=1)
    named = pool.images.image_ids[pairs].tolist()
    used &= np.array([frozenset(pair) not in fine for pair in named], dtype=np.bool_)
    return used
