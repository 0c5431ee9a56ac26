"""Findings to review: images that are copies of each other, and labels that look wrong."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from threading import Lock
from typing import TYPE_CHECKING

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
from kitbox.dataset.label_errors import LabelSuspect, NearestImages
from kitbox.dataset.near_duplicates import Pairs
from kitbox.errors import KitboxError
from kitbox.look import photographs
from kitbox.look.desk import Desk, LabelledQueries, prepare_desk
from kitbox.look.jpeg_cache import JpegCache
from kitbox.look.photographs import Photographs
from kitbox.look.session import DecisionSession, ReviewState
from kitbox.records import Embeddings, Holdout, Strings, strings

if TYPE_CHECKING:
    from kitbox.identification.photograph_answers import Answer

# Images shown of one item; the others of a large group are reached by their label.
_MAX_IMAGES = 24


@dataclass(frozen=True, kw_only=True)
class ReviewItem:
    """Images to compare side by side, and the reason.

    `kind` is "copies", "near-duplicates", "neighbours" (by embeddings), "mutual" (each other's
    nearest image, under two labels), "split" (one label in two distant groups, of which the first
    has the `first` images) or "pair" (chosen by the user). `labels` and `assigned` (image id → the
    label that a user gave it) are those at the start. `similarity` is None if none was measured.
    `pairs` are the pairs of images that a decision
    "fine" confirms.
    """

    kind: str
    images: tuple[str, ...]
    labels: tuple[str, ...]
    similarity: float | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    first: int = 0
    assigned: Mapping[str, str] = field(default_factory=dict)

    def is_fine(self, state: ReviewState) -> bool:
        """Return whether a decision "fine" confirms all of it already."""
        kinds = [frozenset(pair) for pair in self.pairs]
        if self.kind == "split":
            kinds = [frozenset({label}) for label in self.labels]
        return all(confirmed in state.decisions.fine for confirmed in kinds)

    def is_settled(self, state: ReviewState) -> bool:
        """Return whether decisions since the start leave nothing to decide."""
        fine, in_use = state.decisions.fine, state.in_use(self.images)
        relabelled = any(state.assigned.get(i) != self.assigned.get(i) for i in self.images)
        if self.kind == "split":
            return relabelled or len(in_use) < len(self.images) or frozenset(self.labels) in fine
        pairs = [pair for pair in self.pairs if set(pair) <= set(in_use)]
        if len(in_use) < 2 or (pairs and all(frozenset(pair) in fine for pair in pairs)):
            return True
        if len(self.labels) > 1:  # a user may have relabelled one of two images
            return len(_labels(in_use, state)) < 2 or (relabelled and len(self.images) == 2)
        return any(image_id in state.training for image_id in self.images)


@dataclass(frozen=True, kw_only=True)
class Review:
    """The content of the page of one competition.

    `by` are the plugins whose embeddings are compared; with none, `embeddings` are perceptual
    hashes. `matching` is held while points of two images are matched.
    """

    name: str
    by: tuple[str, ...]
    embeddings: Embeddings
    suspects: list[ReviewItem]
    duplicates: list[ReviewItem]
    session: DecisionSession
    desk: Desk = field(default_factory=Desk)
    jpegs: JpegCache = field(default_factory=JpegCache)
    matching: Lock = field(default_factory=Lock)

    @property
    def photographs(self) -> Photographs:
        """All photographs."""
        return self.session.photographs

    def items(self, kind: str) -> list[ReviewItem]:
        """Return the suspects or the duplicates; raises KitboxError for any other kind."""
        if kind not in ("suspects", "duplicates"):
            raise KitboxError(f"there are no items '{kind}'; choose suspects or duplicates")
        return self.suspects if kind == "suspects" else self.duplicates


def prepare(
    name: str,
    session: DecisionSession,
    bits: int,
    by: tuple[str, ...] = (),
    embeddings: Embeddings | None = None,
    threshold: float | None = None,
    holdout: Holdout | None = None,
    answers: "Sequence[Answer]" = (),
) -> Review:
    """Return the review of a competition with the items that are not settled yet.

    `embeddings` are those by the plugins `by`. Without them perceptual hashes are compared; these
    recognise no individual, so there are no suspects and no matching desk. Hashes of
    near-duplicates differ in at most `bits`. `threshold` is the similarity at which an individual
    is taken for known, None where it is not set. `holdout` is one whose queries no network of the
    plugins has seen, None where there is none. `answers` are those of 'kitbox identify' that hold.
    The labelled photographs are compared with each other once, for all that is shown.
    """
    state = session.state
    suspects: list[ReviewItem] = []
    desk = Desk()
    if embeddings is None:
        embeddings = photographs.hash_embeddings(session.photographs)
        duplicates = find_duplicates(state, bits)
    else:
        labelled = LabelledQueries(embeddings, state)
        near = nearest_labelled(embeddings, state, labelled)
        suspects = find_suspects(embeddings, near, state)
        duplicates = find_duplicates(state, bits, embeddings, near.limit)
        desk = prepare_desk(
            embeddings, state, threshold, holdout, labelled=labelled, answers=answers
        )
    return Review(
        name=name,
        by=by,
        embeddings=embeddings,
        suspects=suspects,
        duplicates=duplicates,
        session=session,
        desk=desk,
    )


def side_by_side(images: Iterable[str], state: ReviewState) -> ReviewItem:
    """Return an item of images that the user wants to see side by side."""
    shown = tuple(images)
    return ReviewItem(
        kind="pair",
        images=shown,
        labels=_labels(shown, state),
        pairs=tuple(combinations(shown, 2)),
        assigned=_assigned(shown, state),
    )


def nearest_labelled(
    embeddings: Embeddings, state: ReviewState, queries: LabelledQueries | None = None
) -> NearestImages:
    """Return the nearest images of each labelled image in use; takes n² time.

    `queries` of the desk are found on the way, by the same similarities.
    """
    part, labels = _labelled_in_use(embeddings, state)
    images = state.photographs
    search = label_errors.NearestSearch(part, labels, images.unknown, images.groups(part.image_ids))
    for start, cosines in search.blocks():
        if queries is not None:
            queries.add(start, cosines)
        search.add(start, cosines)
    return search.found


def find_suspects(
    embeddings: Embeddings, near: NearestImages, state: ReviewState
) -> list[ReviewItem]:
    """Return unsettled labels that look wrong by embeddings, the most suspicious first.

    `near` is the result of `nearest_labelled`.
    """
    part, labels = _labelled_in_use(embeddings, state)
    images = state.photographs
    suspects = label_errors.find_suspects(
        part,
        labels,
        images.unknown,
        fine=state.decisions.fine,
        near=near,
        groups=images.groups(part.image_ids),
    )
    items = [_suspect_item(suspect, state) for suspect in suspects]
    return [item for item in items if not item.is_settled(state)]


def _labelled_in_use(embeddings: Embeddings, state: ReviewState) -> tuple[Embeddings, Strings]:
    """Return the embeddings of the labelled images in use, and their current labels."""
    ids = [i for i in embeddings.image_ids.tolist() if state.photographs.side(i) == "labelled"]
    in_use = strings(state.in_use(ids))
    return embeddings.of(in_use), strings([state.label(image_id) for image_id in in_use.tolist()])


def _suspect_item(suspect: LabelSuspect, state: ReviewState) -> ReviewItem:
    images, first, pairs = suspect.images, 0, [suspect.images[:2]]
    if suspect.kind == "split":
        most = _MAX_IMAGES // 2
        left, right = images[: suspect.first_count][:most], images[suspect.first_count :][:most]
        images, first, pairs = left + right, len(left), []  # "fine" confirms its label
    return ReviewItem(
        kind=suspect.kind,
        images=images,
        labels=suspect.labels,
        similarity=suspect.similarity,
        pairs=tuple((one, two) for one, two in pairs),
        first=first,
        assigned=_assigned(images, state),
    )


def find_duplicates(
    state: ReviewState, bits: int, embeddings: Embeddings | None = None, limit: float = 1.0
) -> list[ReviewItem]:
    """Return unsettled groups of images that show one picture.

    They are sorted: label conflicts, groups of test and labelled images, copies, near-duplicates
    (hashes that differ in at most `bits`), and neighbours whose similarity by `embeddings` exceeds
    `limit`.
    """
    pool = _image_pool(state)
    links: dict[LinkKind, Pairs] = {
        "copies": copy_pairs(pool),
        "near-duplicates": near_duplicate_pairs(pool, bits),
    }
    if embeddings is not None:
        ids = pool.images.image_ids
        links["neighbours"] = label_errors.similar_pairs(
            embeddings.of(ids), limit, state.photographs.groups(ids)
        )
    linked: dict[tuple[bool, str], list[tuple[str, str]]] = {}
    for kind, rows in informative_links(links, len(pool.images)).items():
        for one, other in pool.images.image_ids[rows].tolist():
            linked.setdefault((kind == "neighbours", one), []).append((one, other))
    items = []
    for group in sorted(group_images(pool, links, state.decisions.fine), key=_urgency):
        shown = tuple(state.in_use(group.images)[:_MAX_IMAGES])
        near = group.kind == "neighbours"
        items.append(
            ReviewItem(
                kind=group.kind,
                images=shown,
                labels=_labels(shown, state),
                pairs=tuple(
                    pair
                    for image_id in shown
                    for pair in linked.get((near, image_id), [])
                    if pair[1] in shown
                ),
                assigned=_assigned(shown, state),
            )
        )
    return [item for item in items if not item.is_settled(state)]


def _image_pool(state: ReviewState) -> ImagePool:
    """Return all readable images under their current labels, with the side of each."""
    photographs = state.photographs
    rows = np.flatnonzero(np.isin(photographs.images.image_ids, photographs.readable))
    images = photographs.images.take(rows)
    ids = images.image_ids.tolist()
    labels = strings([state.label(image_id) for image_id in ids])
    sides = strings([_side(image_id, state) for image_id in ids])
    return ImagePool(images.with_labels(labels), photographs.signatures.take(rows), sides, ())


def _side(image_id: str, state: ReviewState) -> str:
    if state.is_excluded(image_id):
        return "left out"
    side = state.photographs.side(image_id)
    if side != "labelled":
        return side
    return "query" if image_id in state.photographs.queries else "train"


def _urgency(group: DuplicateGroup) -> tuple[bool, bool, int]:
    """Return a sort key: conflicts first, then leaks, then the surest kind."""
    return not group.conflict, not group.leaks, LINK_KINDS.index(group.kind)


def _assigned(images: Iterable[str], state: ReviewState) -> dict[str, str]:
    return {i: state.assigned[i] for i in images if i in state.assigned}


def _labels(images: Iterable[str], state: ReviewState) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for i in images if (label := state.label(i))))
