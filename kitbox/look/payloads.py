"""What the page is told of images, cases and decisions, as values that become JSON."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from kitbox.errors import KitboxError
from kitbox.images import preprocessing
from kitbox.images.preprocessing import UnreadableImageError
from kitbox.look import photographs
from kitbox.look.cases import Case
from kitbox.look.photographs import SIDES, Photographs
from kitbox.look.session import Standing
from kitbox.records import Embeddings

# Photographs of the same individual beside an image, and its nearest neighbours.
_SAME, _NEAREST = 40, 12
# Beside an image of a case only a glimpse of its individual.
_GLIMPSE = 8


def brief(image_id: str, standing: Standing) -> dict[str, Any]:
    """Return what a tile shows of an image."""
    photographs = standing.photographs
    return {
        "id": image_id,
        "side": photographs.side(image_id),
        "label": standing.label(image_id),
        "listed": photographs.label(image_id),
        "decided": standing.words(image_id),
        "out": standing.is_out(image_id),
        "box": standing.box(image_id),
        "asked": image_id in photographs.asked,
        "problem": photographs.problems.get(image_id, ""),
    }


def shown(image_id: str, standing: Standing) -> dict[str, Any]:
    """Return what a large picture needs besides: its size in pixels, upright."""
    told = brief(image_id, standing)
    if not told["problem"]:
        photographs = standing.photographs
        path = photographs.images.paths[photographs.rows[image_id]]
        try:
            told["width"], told["height"] = preprocessing.upright_size(path)
        except UnreadableImageError as error:  # since the start
            told["problem"] = str(error)
    return told


def image(image_id: str, standing: Standing, embeddings: Embeddings) -> dict[str, Any]:
    """Return all about one image: its individual's others and its nearest neighbours."""
    near = photographs.nearest(embeddings, image_id, _NEAREST)
    rows = [row for row in standing.decided.rows if image_id in (row.subject, row.value)]
    return shown(image_id, standing) | {
        "file": standing.photographs.images.paths[standing.photographs.rows[image_id]].name,
        "same": _same(image_id, standing, _SAME),
        "photographs": _count(image_id, standing),
        "nearest": [brief(i, standing) | {"similarity": round(s, 4)} for i, s in near],
        "decisions": [asdict(row) for row in rows],
    }


def case(found: Case, standing: Standing, embeddings: Embeddings) -> dict[str, Any]:
    """Return a case with its images as they stand now."""
    images = [
        shown(i, standing)
        | {"same": _same(i, standing, _GLIMPSE, found.images), "photographs": _count(i, standing)}
        for i in found.images
    ]
    similarity = found.similarity
    if similarity is None:
        similarity = photographs.similarity(embeddings, found.images)
    return {
        "kind": found.kind,
        "similarity": None if similarity is None else round(similarity, 4),
        "pairs": found.pairs,
        "first": found.first,
        "labels": found.labels,
        "settled": found.is_settled(standing),
        "images": images,
    }


def decisions(standing: Standing) -> list[dict[str, Any]]:
    """Return the rows of decisions.csv, the last one first, with the images to show of each."""
    told = []
    for row in reversed(standing.decided.rows):
        named = [i for i in (row.subject, row.value) if i in standing.photographs.rows]
        if row.kind == "merge":
            named = _examples(row.subject, standing)
        told.append(asdict(row) | {"images": [brief(i, standing) for i in named]})
    return told


def labels(photographs: Photographs, standing: Standing) -> dict[str, Any]:
    """Return every individual with its number of photographs, the most photographed first.

    Beside it stand the labels that were merged, each with the one that stays.
    """
    counts = {
        label: len(images)
        for label, images in standing.members.items()
        if label != photographs.unknown
    }
    known = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {"known": known, "merged": standing.decided.merged}


def _same(
    image_id: str, standing: Standing, most: int, without: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    label = standing.label(image_id)
    if label in ("", standing.photographs.unknown):
        return []
    seen = {image_id, *without}
    others = [other for other in standing.members.get(label, []) if other not in seen]
    return [brief(other, standing) for other in others[:most]]


def _count(image_id: str, standing: Standing) -> int:
    return len(standing.members.get(standing.label(image_id), []))


def _examples(label: str, standing: Standing) -> list[str]:
    """Return two images that were listed under a label."""
    photographs = standing.photographs
    rows = (photographs.labels == label).nonzero()[0][:2]
    return [str(image_id) for image_id in photographs.images.image_ids[rows]]


PAGE = 60
ORDERS = ("listed", "individual", "photographs")
_ONLY: dict[str, Callable[[str, Standing], bool]] = {
    "all": lambda image_id, standing: image_id in standing.photographs.rows,
    "decided": lambda image_id, standing: bool(standing.words(image_id)),
    "dropped": lambda image_id, standing: standing.is_out(image_id),
    "without box": lambda image_id, standing: standing.box(image_id) is None,
    "with box": lambda image_id, standing: standing.box(image_id) is not None,
    "asked in the holdout": lambda image_id, standing: image_id in standing.photographs.asked,
    "unreadable": lambda image_id, standing: image_id in standing.photographs.problems,
}
ONLY = tuple(_ONLY)


@dataclass(frozen=True)
class Wish:
    """What to show: `words` are in the image id or the label, `label` is the whole label."""

    words: str = ""
    label: str = ""
    side: str = ""
    only: str = "all"
    order: str = "listed"
    page: int = 1

    def __post_init__(self) -> None:
        if self.side and self.side not in SIDES:
            raise KitboxError(f"no side '{self.side}'; there are {', '.join(SIDES)}")
        if self.only not in _ONLY:
            raise KitboxError(f"no filter '{self.only}'; there are {', '.join(_ONLY)}")
        if self.order not in ORDERS:
            raise KitboxError(f"no order '{self.order}'; there are {', '.join(ORDERS)}")
        if self.page < 1:
            raise KitboxError(f"there is no page {self.page}; pages count from 1")


def find(wish: Wish, standing: Standing) -> list[str]:
    """Return the ids of the images that are wished for, in the wished order."""
    words, keeps = wish.words.casefold().split(), _ONLY[wish.only]
    found = [
        image_id
        for image_id, side in zip(
            standing.photographs.rows, standing.photographs.sides.tolist(), strict=True
        )
        if (not wish.side or side == wish.side)
        and (not wish.label or wish.label == standing.label(image_id))
        and keeps(image_id, standing)
        and _says(image_id, words, standing)
    ]
    if wish.order == "listed":
        return found
    named = standing.members if wish.order == "photographs" else {}

    def place(image_id: str) -> tuple[bool, int, str]:
        label = standing.label(image_id)
        nobody = label in ("", standing.photographs.unknown)
        return nobody, -len(named.get(label, [])), label

    return sorted(found, key=place)


def page(wish: Wish, standing: Standing) -> dict[str, Any]:
    """Return one page of the images that are wished for; past the end, the last one."""
    found = find(wish, standing)
    pages = max(1, -(-len(found) // PAGE))
    number = min(wish.page, pages)
    part = found[(number - 1) * PAGE : number * PAGE]
    return {
        "total": len(found),
        "page": number,
        "pages": pages,
        "images": [brief(image_id, standing) for image_id in part],
    }


def _says(image_id: str, words: list[str], standing: Standing) -> bool:
    if not words:
        return True
    text = f"{image_id} {standing.label(image_id)} {standing.photographs.label(image_id)}"
    text = text.casefold()
    return all(word in text for word in words)
