"""Cases to decide: photographs that are copies of each other, and labels that look wrong."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from kitbox.dataset import label_errors
from kitbox.dataset.duplicates import (
    LINK_KINDS,
    DuplicateGroup,
    ImagePool,
    LinkKind,
    copy_pairs,
    group_images,
    informative_links,
    near_duplicate_pairs,
)
from kitbox.dataset.label_errors import NearestImages
from kitbox.dataset.near_duplicates import Pairs
from kitbox.errors import KitboxError
from kitbox.look import photographs
from kitbox.look.photographs import Photographs, Pictures
from kitbox.look.session import Desk, Standing
from kitbox.records import Embeddings, Strings, strings

# Of a group of hundreds the first ones are shown; the others are reached by their label.
_MOST_IMAGES = 24


@dataclass(frozen=True)
class Case:
    """Images to look at side by side, and why.

    `kind` is "copies", "near-duplicates", "neighbours" (of a network), "mutual" (each the other's
    nearest under two labels), "split" (one label in two far groups, of which the first has the
    `first` images) or "pair" (a person's choice). `labels` are those at the start; `similarity` is
    None where none was taken. `pairs` are those that "fine" is said of; `given` is image id → the
    label that a person had given at the start.
    """

    kind: str
    images: tuple[str, ...]
    labels: tuple[str, ...]
    similarity: float | None
    pairs: tuple[tuple[str, str], ...]
    first: int = 0
    given: Mapping[str, str] = field(default_factory=dict)

    def is_settled(self, standing: Standing) -> bool:
        """Return whether decisions since the start leave nothing to decide."""
        fine, left = standing.decided.fine, standing.left(self.images)
        renamed = any(standing.given.get(i) != self.given.get(i) for i in self.images)
        if self.kind == "split":
            return renamed or len(left) < len(self.images) or frozenset(self.labels) in fine
        kept = [pair for pair in self.pairs if set(pair) <= set(left)]
        if len(left) < 2 or (kept and all(frozenset(pair) in fine for pair in kept)):
            return True
        if len(self.labels) > 1:  # two images may bear two labels, now that a person gave one
            return len(_labels(left, standing)) < 2 or (renamed and len(self.images) == 2)
        return any(image_id in standing.training for image_id in self.images)


def pair(images: Iterable[str], standing: Standing) -> Case:
    """Return a case of images that a person wants to see side by side."""
    shown = tuple(images)
    pairs, given = tuple(combinations(shown, 2)), _given(shown, standing)
    return Case("pair", shown, _labels(shown, standing), None, pairs, given=given)


def compared(embeddings: Embeddings, standing: Standing) -> NearestImages:
    """Return what is nearest to each labelled image that is still in; takes n² time."""
    used, labels = _used(embeddings, standing)
    seen = standing.photographs
    return label_errors.nearest(used, labels, seen.unknown, seen.groups(used.image_ids))


def suspect_cases(embeddings: Embeddings, near: NearestImages, standing: Standing) -> list[Case]:
    """Return labels that look wrong by embeddings, the most suspicious first; settled ones not.

    `near` is what `compared` returned.
    """
    part, labels = _used(embeddings, standing)
    seen, fine = standing.photographs, standing.decided.fine
    groups = seen.groups(part.image_ids)
    suspected = label_errors.find_suspects(part, labels, seen.unknown, fine, near, groups=groups)
    found = [_case(suspect, standing) for suspect in suspected]
    return [case for case in found if not case.is_settled(standing)]


def _used(embeddings: Embeddings, standing: Standing) -> tuple[Embeddings, Strings]:
    """Return the embeddings of the labelled images that are still in, and their labels now."""
    ids = [i for i in embeddings.image_ids.tolist() if standing.photographs.side(i) == "labelled"]
    left = strings(standing.left(ids))
    return embeddings.of(left), strings([standing.label(image_id) for image_id in left.tolist()])


def _case(suspect: label_errors.LabelSuspect, standing: Standing) -> Case:
    images, first, pairs = suspect.images, 0, [suspect.images[:2]]
    if suspect.kind == "split":
        most = _MOST_IMAGES // 2
        left, right = images[: suspect.first_count][:most], images[suspect.first_count :][:most]
        images, first, pairs = left + right, len(left), []  # it is fine by its label
    return Case(
        suspect.kind,
        images,
        suspect.labels,
        suspect.similarity,
        tuple((one, two) for one, two in pairs),
        first,
        _given(images, standing),
    )


def duplicate_cases(
    standing: Standing, bits: int, embeddings: Embeddings | None = None, limit: float = 1.0
) -> list[Case]:
    """Return groups of images that show one picture and are not settled; label conflicts first.

    Then come groups of test and labelled images, then copies, near-duplicates, and neighbours that
    are more alike by `embeddings` than `limit`. `bits` are those in which hashes of
    near-duplicates may differ.
    """
    pool = _pool(standing)
    links: dict[LinkKind, Pairs] = {
        "copies": copy_pairs(pool),
        "near-duplicates": near_duplicate_pairs(pool, bits),
    }
    if embeddings is not None:
        ids = pool.images.image_ids
        links["neighbours"] = label_errors.similar_pairs(
            embeddings.of(ids), limit, standing.photographs.groups(ids)
        )
    linked: dict[tuple[bool, str], list[tuple[str, str]]] = {}
    for kind, rows in informative_links(links, len(pool.images)).items():
        for one, other in pool.images.image_ids[rows].tolist():
            linked.setdefault((kind == "neighbours", one), []).append((one, other))
    groups = group_images(pool, links, standing.decided.fine)
    found = []
    for group in sorted(groups, key=_urgency):
        shown = tuple(standing.left(group.images)[:_MOST_IMAGES])
        near = group.kind == "neighbours"
        pairs = tuple(
            pair for one in shown for pair in linked.get((near, one), []) if pair[1] in shown
        )
        labels, given = _labels(shown, standing), _given(shown, standing)
        found.append(Case(group.kind, shown, labels, None, pairs, given=given))
    return [case for case in found if not case.is_settled(standing)]


def _pool(standing: Standing) -> ImagePool:
    """Return all readable images as they are labelled now, with the side that each is on."""
    photographs = standing.photographs
    rows = np.flatnonzero(np.isin(photographs.images.image_ids, photographs.readable))
    images = photographs.images.take(rows)
    ids = images.image_ids.tolist()
    labels = strings([standing.label(image_id) for image_id in ids])
    sides = strings([_side(image_id, standing) for image_id in ids])
    return ImagePool(images.with_labels(labels), photographs.signatures.take(rows), sides, ())


def _side(image_id: str, standing: Standing) -> str:
    if standing.is_out(image_id):
        return "left out"
    side = standing.photographs.side(image_id)
    if side != "labelled":
        return side
    return "query" if image_id in standing.photographs.asked else "train"


def _urgency(group: DuplicateGroup) -> tuple[bool, bool, int]:
    """Return a key that sorts by urgency: conflicts, leaks, and the surest kind."""
    return not group.conflict, not group.leaks, LINK_KINDS.index(group.kind)


def _given(images: Iterable[str], standing: Standing) -> dict[str, str]:
    return {i: standing.given[i] for i in images if i in standing.given}


def _labels(images: Iterable[str], standing: Standing) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for i in images if (label := standing.label(i))))


@dataclass(frozen=True)
class Table:
    """What a person looks at: of which competition, compared `by` which plugins (none: by hash)."""

    name: str
    by: tuple[str, ...]
    embeddings: Embeddings
    suspects: list[Case]
    duplicates: list[Case]
    desk: Desk
    pictures: Pictures = field(default_factory=Pictures)

    @property
    def photographs(self) -> Photographs:
        """All photographs."""
        return self.desk.photographs

    def cases(self, what: str) -> list[Case]:
        """Return the suspects or the duplicates; raises KitboxError for what is neither."""
        if what not in ("suspects", "duplicates"):
            raise KitboxError(f"there are no cases '{what}'; ask for suspects or duplicates")
        return self.suspects if what == "suspects" else self.duplicates


def lay(
    name: str, desk: Desk, bits: int, by: tuple[str, ...] = (), seen: Embeddings | None = None
) -> Table:
    """Return the table of a competition, with what is not yet decided.

    `seen` are the embeddings by the plugins `by`; without them perceptual hashes are compared, by
    which no individual is known, so that there are no suspects. Hashes of near-duplicates differ
    in at most `bits`.
    """
    standing = desk.standing
    if seen is None:
        seen, suspects = photographs.by_hash(desk.photographs), []
        duplicates = duplicate_cases(standing, bits)
    else:
        near = compared(seen, standing)
        suspects = suspect_cases(seen, near, standing)
        duplicates = duplicate_cases(standing, bits, seen, near.limit)
    return Table(name, by, seen, suspects, duplicates, desk)
