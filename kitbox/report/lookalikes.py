"""The page about duplicates and suspect labels: pictures side by side, and what would decide."""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kitbox.images.duplicates import Group, Pool
from kitbox.records import Progress, strings
from kitbox.report import duplicates as tables
from kitbox.report import page, pictures
from kitbox.report.page import Page, Written
from kitbox.retrieval.suspects import Suspect
from kitbox.workspace import Workspace

# Cards of each kind; the tables beside the page have all.
_MOST = 500
# Pictures on a card.
_PICTURES = 8


def write(
    groups: Sequence[Group],
    suspects: Sequence[Suspect] | None,
    pool: Pool,
    unknown: str | None,
    workspace: Workspace,
    path: Path,
) -> Generator[Progress, None, Written]:
    """Write the page of open groups and of suspects, the most urgent first; yields Progress.

    `suspects` are None where no network has looked for any.
    """
    urgent = tables.by_urgency(groups)
    doubtful = list(suspects or ())
    on_groups = (group.images[row] for group in urgent[:_MOST] for row in _telling(group))
    ids = dict.fromkeys([*on_groups, *pictured(doubtful[:_MOST])])
    images = pool.images.of(strings(list(ids)))
    made = yield from pictures.of([images], workspace, None)
    number = {str(image): place for place, image in enumerate(images.image_ids.tolist())}
    used = Counter(pool.labels[pool.sides != "left out"].tolist())
    values: dict[str, Any] = {
        "title": "Duplicates and suspects",
        "kind": "before training",
        "heading": "Duplicates and suspect labels",
        "about": [
            "Nothing here is decided. Where you agree, put the row into decisions.csv, or decide "
            "in 'kitbox look'."
        ],
        "counts": [
            (name, f"{count:,}", "") for name, count in tables.counts(groups, doubtful).items()
        ],
        "groups": group_cards(urgent[:_MOST], number, unknown),
        "groups_left": max(len(urgent) - _MOST, 0),
        "suspects": cards(doubtful[:_MOST], number, used),
        "suspects_left": max(len(doubtful) - _MOST, 0),
        "looked": suspects is not None,
        "sections": list(
            page.sections(
                ("counts", "Counts", True),
                ("suspects", "Suspects", suspects),
                ("groups", "Duplicates", True),
            )
        ),
    }
    yield Progress("write the page", 0, 1, "pages")
    content = Page("lookalikes.html", values, {}, made, ("filter.js",))
    return page.write(content, path)


def cards(
    suspects: Sequence[Suspect], number: Mapping[str, int], images_of: Counter[str]
) -> list[dict[str, Any]]:
    """Return the cards of suspects; `number` are the page's pictures, by image id."""
    return [_suspect(suspect, number, images_of) for suspect in suspects]


def group_cards(
    groups: Sequence[Group], number: Mapping[str, int], unknown: str | None
) -> list[dict[str, Any]]:
    """Return the cards of groups; an image without a number on the page is named alone."""
    return [_group(group, number, unknown) for group in groups]


def pictured(suspects: Sequence[Suspect]) -> Iterator[str]:
    """Yield the images that the cards of suspects show."""
    return (image for suspect in suspects for image in _shown(suspect))


def _suspect(
    suspect: Suspect, number: Mapping[str, int], images_of: Counter[str]
) -> dict[str, Any]:
    if suspect.kind == "mutual":
        title = f"{suspect.labels[0]} and {suspect.labels[1]}"
        told = (
            f"Each other's nearest, similarity {suspect.similarity:.3f}: {suspect.evidence:.3f} "
            "more than their labels explain."
        )
        names = [f"{i}, {label}" for i, label in zip(suspect.images, suspect.labels, strict=True)]
    else:
        title = f"{suspect.labels[0]} in two parts"
        sizes = suspect.first, len(suspect.images) - suspect.first
        told = f"{sizes[0]} and {sizes[1]} photographs, similarity across {suspect.similarity:.3f}."
        names = [
            f"{image}, {'first' if place < suspect.first else 'second'} part"
            for place, image in enumerate(suspect.images)
        ]
    rows = [tables.row(decision) for decision in tables.advice_of(suspect, images_of)]
    name_of = dict(zip(suspect.images, names, strict=True))
    return {
        "kind": suspect.kind,
        "title": title,
        "pictures": [(number[image], name_of[image]) for image in _shown(suspect)],
        "lines": [told, *_more(len(suspect.images) - len(_shown(suspect)))],
        "rows": rows,
        "fine": tables.row(tables.fine(suspect)),
        "find": "",
    }


def _shown(suspect: Suspect) -> list[str]:
    """Return the images on a suspect's card: of a split some of either part."""
    if suspect.kind == "mutual":
        return list(suspect.images)
    half = _PICTURES // 2
    first, second = suspect.images[: suspect.first], suspect.images[suspect.first :]
    return [*first[:half], *second[:half]]


def _group(group: Group, number: Mapping[str, int], unknown: str | None) -> dict[str, Any]:
    labels = list(dict.fromkeys(label for label in group.labels if label))
    told = [*(["two labels for one picture"] if group.conflict else [])]
    told += [f"leaks across {'the ' * (leak == 'holdout')}{leak}" for leak in group.leaks]
    return {
        "kind": group.kind,
        "title": f"{group.kind}: {', '.join(labels[:3]) or 'no label'}",
        "pictures": [
            (
                number.get(group.images[row], -1),
                ", ".join(filter(None, (group.images[row], group.labels[row], group.sides[row]))),
            )
            for row in _telling(group)
        ],
        "lines": [
            *([f"{'; '.join(told)}."] if told else []),
            *_more(len(group.images) - _PICTURES),
        ],
        "rows": [tables.row(decision) for decision in tables.advice(group, unknown)],
        "fine": "",
        "find": "",
    }


def _telling(group: Group) -> list[int]:
    """Return the rows of a group's pictures: one of each side and label first."""
    first: dict[tuple[str, str], int] = {}
    for row, kind in enumerate(zip(group.sides, group.labels, strict=True)):
        first.setdefault(kind, row)
    rest = [row for row in range(len(group.images)) if row not in first.values()]
    return [*first.values(), *rest][:_PICTURES]


def _more(count: int) -> list[str]:
    return [f"{count} more photographs."] if count > 0 else []
