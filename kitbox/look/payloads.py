"""Values of images, items and decisions that the page receives as JSON."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from kitbox.errors import KitboxError, readable
from kitbox.images import preprocessing
from kitbox.images.preprocessing import UnreadableImageError
from kitbox.look import photographs
from kitbox.look.photographs import SIDES, Photographs
from kitbox.look.review_items import ReviewItem
from kitbox.look.session import ReviewState, in_effect, refusals
from kitbox.records import Embeddings

# Photographs of the same individual beside an image, and its nearest neighbours.
_SAME, _NEAREST = 40, 12
# Photographs of the same individual below each image of an item.
_SAME_IN_ITEM = 8

PAGE_SIZE = 60
ORDERS = ("listed", "individual", "photographs")
_FILTERS: dict[str, Callable[[str, ReviewState], bool]] = {
    "all": lambda image_id, state: image_id in state.photographs.rows,
    "decided": lambda image_id, state: bool(state.tags(image_id)),
    "dropped": lambda image_id, state: state.is_excluded(image_id),
    "without box": lambda image_id, state: state.box(image_id) is None,
    "with box": lambda image_id, state: state.box(image_id) is not None,
    "queries of the holdout": lambda image_id, state: image_id in state.photographs.queries,
    "unreadable": lambda image_id, state: image_id in state.photographs.problems,
}
FILTERS = tuple(_FILTERS)


def tile(image_id: str, state: ReviewState) -> dict[str, Any]:
    """Return the content of a small tile."""
    photographs = state.photographs
    return {
        "id": image_id,
        "side": photographs.side(image_id),
        "label": state.label(image_id),
        "listed": photographs.label(image_id),
        "tags": state.tags(image_id),
        "excluded": state.is_excluded(image_id),
        "box": state.box(image_id),
        "query": image_id in photographs.queries,
        "problem": photographs.problems.get(image_id, ""),
    }


def large_image(image_id: str, state: ReviewState) -> dict[str, Any]:
    """Return the content of a tile, the image's upright size in pixels, and what it refuses.

    `refused` maps kinds of decisions to the reason; those `inEffect` would change nothing.
    """
    content = tile(image_id, state) | {
        "refused": refusals(image_id, state),
        "inEffect": in_effect(image_id, state),
    }
    if not content["problem"]:
        photographs = state.photographs
        path = photographs.images.paths[photographs.rows[image_id]]
        try:
            content["width"], content["height"] = preprocessing.upright_size(path)
        except UnreadableImageError as error:  # it was readable at the start
            content["problem"] = str(error)
    return content


def image(image_id: str, state: ReviewState, embeddings: Embeddings) -> dict[str, Any]:
    """Return an image with its individual's other photographs, neighbours and decisions."""
    near = photographs.nearest(embeddings, image_id, _NEAREST)
    rows = [row for row in state.decisions.rows if image_id in (row.subject, row.value)]
    return large_image(image_id, state) | {
        "file": readable(state.photographs.images.paths[state.photographs.rows[image_id]].name),
        "sameIndividual": _same_individual(image_id, state, _SAME),
        "photographCount": _photograph_count(image_id, state),
        "nearest": [tile(i, state) | {"similarity": round(s, 4)} for i, s in near],
        "decisions": [asdict(row) for row in rows],
    }


def review_item(item: ReviewItem, state: ReviewState, embeddings: Embeddings) -> dict[str, Any]:
    """Return an item with the current state of its images."""
    images = [
        large_image(image_id, state)
        | {
            "sameIndividual": _same_individual(image_id, state, _SAME_IN_ITEM, item.images),
            "photographCount": _photograph_count(image_id, state),
        }
        for image_id in item.images
    ]
    similarity = item.similarity
    if similarity is None:
        similarity = photographs.least_similarity(embeddings, item.images)
    return {
        "kind": item.kind,
        "similarity": None if similarity is None else round(similarity, 4),
        "pairs": item.pairs,
        "first": item.first,
        "labels": item.labels,
        "settled": item.is_settled(state),
        "settledFine": item.is_fine(state),
        "images": images,
    }


def decisions(state: ReviewState) -> list[dict[str, Any]]:
    """Return the rows of decisions.csv, the last one first, each with the images it is about.

    Whether a row can be taken back is checked when that is asked for: it takes a look at all rows.
    """
    rows = []
    for row in reversed(state.decisions.rows):
        images = [i for i in (row.subject, row.value) if i in state.photographs.rows]
        if row.kind == "merge":
            images = _examples(row.subject, state)
        rows.append(asdict(row) | {"images": [tile(i, state) for i in images]})
    return rows


def labels(photographs: Photographs, state: ReviewState) -> dict[str, Any]:
    """Return known individuals and their number of photographs, most photographed first.

    `merged` maps each label that was merged to the one that stays.
    """
    counts = {
        label: len(images)
        for label, images in state.members.items()
        if label != photographs.unknown
    }
    known = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {"known": known, "merged": state.decisions.merged}


def _same_individual(
    image_id: str, state: ReviewState, most: int, without: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    label = state.label(image_id)
    if label in ("", state.photographs.unknown):
        return []
    shown = {image_id, *without}
    others = [other for other in state.members.get(label, []) if other not in shown]
    return [tile(other, state) for other in others[:most]]


def _photograph_count(image_id: str, state: ReviewState) -> int:
    return len(state.members.get(state.label(image_id), []))


def _examples(label: str, state: ReviewState) -> list[str]:
    """Return two images that the lists have under a label."""
    photographs = state.photographs
    rows = (photographs.labels == label).nonzero()[0][:2]
    return [str(image_id) for image_id in photographs.images.image_ids[rows]]


@dataclass(frozen=True, kw_only=True)
class ImageFilter:
    """A selection of images for the grid, their order, and the page.

    The image id or the label must contain all words of `text`; `label` is a whole label.
    """

    text: str = ""
    label: str = ""
    side: str = ""
    filter: str = "all"
    order: str = "listed"
    page: int = 1

    def __post_init__(self) -> None:
        if self.side and self.side not in SIDES:
            raise KitboxError(f"no side '{self.side}'; there are {', '.join(SIDES)}")
        if self.filter not in _FILTERS:
            raise KitboxError(f"no filter '{self.filter}'; there are {', '.join(_FILTERS)}")
        if self.order not in ORDERS:
            raise KitboxError(f"no order '{self.order}'; there are {', '.join(ORDERS)}")
        if self.page < 1:
            raise KitboxError(f"there is no page {self.page}; pages count from 1")


def grid_page(image_filter: ImageFilter, state: ReviewState) -> dict[str, Any]:
    """Return one page of the images that pass a filter; past the end, the last one."""
    ids = filtered_ids(image_filter, state)
    pages = max(1, -(-len(ids) // PAGE_SIZE))
    number = min(image_filter.page, pages)
    part = ids[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return {
        "total": len(ids),
        "page": number,
        "pages": pages,
        "images": [tile(image_id, state) for image_id in part],
    }


def filtered_ids(image_filter: ImageFilter, state: ReviewState) -> list[str]:
    """Return the ids of all images that pass a filter, in its order."""
    words, passes = image_filter.text.casefold().split(), _FILTERS[image_filter.filter]
    ids = [
        image_id
        for image_id, side in zip(
            state.photographs.rows, state.photographs.sides.tolist(), strict=True
        )
        if (not image_filter.side or side == image_filter.side)
        and (not image_filter.label or image_filter.label == state.label(image_id))
        and passes(image_id, state)
        and _has_words(image_id, words, state)
    ]
    if image_filter.order == "listed":
        return ids
    members = state.members if image_filter.order == "photographs" else {}

    def rank(image_id: str) -> tuple[bool, int, str]:
        label = state.label(image_id)
        is_unknown = label in ("", state.photographs.unknown)
        return is_unknown, -len(members.get(label, [])), label

    return sorted(ids, key=rank)


def _has_words(image_id: str, words: list[str], state: ReviewState) -> bool:
    if not words:
        return True
    text = f"{image_id} {state.label(image_id)} {state.photographs.label(image_id)}"
    text = text.casefold()
    return all(word in text for word in words)
