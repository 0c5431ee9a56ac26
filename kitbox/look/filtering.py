"""Which images a person asks to see: by words, side, and what was decided."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kitbox.errors import KitboxError
from kitbox.look import telling
from kitbox.look.photographs import SIDES
from kitbox.look.standing import Standing

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
        "images": [telling.brief(image_id, standing) for image_id in part],
    }


def _says(image_id: str, words: list[str], standing: Standing) -> bool:
    if not words:
        return True
    text = f"{image_id} {standing.label(image_id)} {standing.photographs.label(image_id)}"
    text = text.casefold()
    return all(word in text for word in words)
