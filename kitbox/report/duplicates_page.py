"""The page about duplicates and suspect labels: pictures side by side, and what would decide."""

import csv
import io
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from kitbox.competition.decisions import Decision
from kitbox.dataset.duplicates import LINK_KINDS, DuplicateGroup, ImagePool
from kitbox.dataset.label_errors import LabelSuspect
from kitbox.records import Progress, strings
from kitbox.report import page
from kitbox.report.page import Page, WrittenPage
from kitbox.tables import write_rows
from kitbox.workspace import Workspace


def count_undecided(
    groups: Sequence[DuplicateGroup], suspects: Sequence[LabelSuspect]
) -> dict[str, int]:
    """Return how many open groups there are of each kind, and what is wrong with them."""
    left = [group for group in groups if group.undecided]
    kinds = Counter(group.kind for group in left)
    leaks = Counter(leak for group in left for leak in group.leaks)
    return {
        **{kind: kinds[kind] for kind in LINK_KINDS},
        "label conflicts": sum(group.conflict for group in left),
        "across train and test": leaks["train/test"],
        "across the holdout": leaks["holdout"],
        "decided": len(groups) - len(left),
        "look-alikes of two labels": sum(suspect.kind == "mutual" for suspect in suspects),
        "labels in two clusters": sum(suspect.kind == "split" for suspect in suspects),
    }


def by_urgency(groups: Iterable[DuplicateGroup]) -> list[DuplicateGroup]:
    """Return the open groups: conflicts first, then leaks, the surest kinds before others."""
    left = [group for group in groups if group.undecided]
    return sorted(
        left, key=lambda group: (not group.conflict, not group.leaks, LINK_KINDS.index(group.kind))
    )


def group_suggestions(group: DuplicateGroup, unknown: str | None) -> list[Decision]:
    """Return the rows that a person might decide about a group, were they to agree.

    In a conflict the label that most images bear, an individual's before `unknown`; else nothing
    but the first of several pictures that are the same. Neighbours of one label may stay as they
    are: the real test has them too.
    """
    used = [
        (image_id, label)
        for image_id, label, side in zip(group.images, group.labels, group.sides, strict=True)
        if side in ("train", "query")
    ]
    if group.conflict:
        names = Counter(label for _, label in used if label != unknown)
        [(most, _)] = names.most_common(1)
        return [Decision("label", i, most) for i, label in used if label != most]
    if group.kind == "neighbours":
        return []
    return [Decision("drop", image_id) for image_id, _ in used[1:]]


def suspect_suggestions(suspect: LabelSuspect, images_of: Counter[str]) -> list[Decision]:
    """Return the rows that a person might decide about a suspect, were they to agree.

    `images_of` counts the images of each label. An individual of one image is merged into the
    other; else the odd image gets the other's label, and the lesser side a label of its own.
    """
    if suspect.kind == "split":
        [label] = suspect.labels
        name = next(new for number in count(2) if (new := f"{label}_{number}") not in images_of)
        apart = suspect.images[suspect.first_count :]
        return [Decision("label", image_id, name) for image_id in apart]
    one, other = suspect.labels
    if images_of[one] == 1:
        return [Decision("merge", one, other)]
    if images_of[other] == 1:
        return [Decision("merge", other, one)]
    return [Decision("label", suspect.images[0], other)]


def fine_decision(suspect: LabelSuspect) -> Decision:
    """Return the row that says that a suspect is as it should be."""
    if suspect.kind == "split":
        return Decision("fine", suspect.labels[0])
    return Decision("fine", *suspect.images)


def format_decision(decision: Decision) -> str:
    """Return a decision as it stands in decisions.csv."""
    cells = [decision.kind, decision.subject, *([decision.value] if decision.value else [])]
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def to_json(
    groups: Sequence[DuplicateGroup],
    suspects: Sequence[LabelSuspect] | None,
    images_of: Counter[str],
    unknown: str | None,
) -> dict[str, Any]:
    """Return all groups and suspects as figures, None for suspects that nobody looked for."""
    return {
        "counts": count_undecided(groups, suspects or ()),
        "groups": [_group_as_json(group, unknown) for group in groups],
        "suspects": None
        if suspects is None
        else [_suspect_as_json(suspect, images_of) for suspect in suspects],
    }


def _group_as_json(group: DuplicateGroup, unknown: str | None) -> dict[str, Any]:
    return {
        **vars(group),
        "conflict": group.conflict,
        "leaks": group.leaks,
        "decisions": [format_decision(decision) for decision in group_suggestions(group, unknown)],
    }


def _suspect_as_json(suspect: LabelSuspect, images_of: Counter[str]) -> dict[str, Any]:
    return {
        **vars(suspect),
        "similarity": round(suspect.similarity, 4),
        "evidence": round(suspect.evidence, 4),
        "decisions": [
            format_decision(decision) for decision in suspect_suggestions(suspect, images_of)
        ],
        "fine": format_decision(fine_decision(suspect)),
    }


def save(
    workspace: Workspace,
    groups: Sequence[DuplicateGroup],
    suspects: Sequence[LabelSuspect] | None,
    images_of: Counter[str],
    unknown: str | None,
) -> list[Path]:
    """Write duplicates.csv, a row an image, and suspects.csv where any were looked for.

    Return the paths. Their last column holds rows for decisions.csv; several names or rows in a
    cell stand on lines of their own.
    """
    found: list[list[object]] = [
        ["group", "kind", "image", "side", "label", "conflict", "leaks", "open", "decision"]
    ]
    for number, group in enumerate(groups, 1):
        rows = {
            decision.subject: format_decision(decision)
            for decision in group_suggestions(group, unknown)
        }
        for image_id, label, side in zip(group.images, group.labels, group.sides, strict=True):
            facts = [int(group.conflict), " ".join(group.leaks), int(group.undecided)]
            decision = rows.get(image_id, "") if group.undecided else ""
            found.append([number, group.kind, image_id, side, label, *facts, decision])
    path = workspace.reports / "duplicates.csv"
    write_rows(path, found)
    if suspects is None:
        return [path]
    listed: list[list[object]] = [
        ["rank", "kind", "first", "second", "labels", "similarity", "evidence", "fine", "decision"]
    ]
    for number, suspect in enumerate(suspects, 1):
        first, second = suspect.images[: suspect.first_count], suspect.images[suspect.first_count :]
        rows_of_it = [
            format_decision(decision) for decision in suspect_suggestions(suspect, images_of)
        ]
        listed.append(
            [
                number,
                suspect.kind,
                *("\n".join(names) for names in (first, second, suspect.labels)),
                *(round(value, 4) for value in (suspect.similarity, suspect.evidence)),
                format_decision(fine_decision(suspect)),
                "\n".join(rows_of_it),
            ]
        )
    path_of_suspects = workspace.reports / "suspects.csv"
    write_rows(path_of_suspects, listed)
    return [path, path_of_suspects]


# Cards of each kind; the tables beside the page have all.
_MOST = 500
# Pictures on a card.
_PICTURES = 8


def write(
    groups: Sequence[DuplicateGroup],
    suspects: Sequence[LabelSuspect] | None,
    pool: ImagePool,
    unknown: str | None,
    workspace: Workspace,
    path: Path,
) -> Generator[Progress, None, WrittenPage]:
    """Write the page of open groups and of suspects, the most urgent first; yields Progress.

    `suspects` are None where no network has looked for any.
    """
    urgent = by_urgency(groups)
    doubtful = list(suspects or ())
    on_groups = (group.images[row] for group in urgent[:_MOST] for row in _telling(group))
    ids = dict.fromkeys([*on_groups, *suspect_images(doubtful[:_MOST])])
    images = pool.images.of(strings(list(ids)))
    made = yield from page.collect_pictures([images], workspace, None)
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
            (name, f"{count:,}", "") for name, count in count_undecided(groups, doubtful).items()
        ],
        "groups": group_cards(urgent[:_MOST], number, unknown),
        "groups_left": max(len(urgent) - _MOST, 0),
        "suspects": suspect_cards(doubtful[:_MOST], number, used),
        "suspects_left": max(len(doubtful) - _MOST, 0),
        "looked": suspects is not None,
        "sections": list(
            page.non_empty_sections(
                ("counts", "Counts", True),
                ("suspects", "Suspects", suspects),
                ("groups", "Duplicates", True),
            )
        ),
    }
    yield Progress("write the page", 0, 1, "pages")
    content = Page("lookalikes.html", values, {}, made, ("filter.js",))
    return page.write(content, path)


def suspect_cards(
    suspects: Sequence[LabelSuspect], number: Mapping[str, int], images_of: Counter[str]
) -> list[dict[str, Any]]:
    """Return the cards of suspects; `number` are the page's pictures, by image id."""
    return [_suspect(suspect, number, images_of) for suspect in suspects]


def group_cards(
    groups: Sequence[DuplicateGroup], number: Mapping[str, int], unknown: str | None
) -> list[dict[str, Any]]:
    """Return the cards of groups; an image without a number on the page is named alone."""
    return [_group(group, number, unknown) for group in groups]


def suspect_images(suspects: Sequence[LabelSuspect]) -> Iterator[str]:
    """Yield the images that the cards of suspects show."""
    return (image for suspect in suspects for image in _shown(suspect))


def _suspect(
    suspect: LabelSuspect, number: Mapping[str, int], images_of: Counter[str]
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
        sizes = suspect.first_count, len(suspect.images) - suspect.first_count
        told = f"{sizes[0]} and {sizes[1]} photographs, similarity across {suspect.similarity:.3f}."
        names = [
            f"{image}, {'first' if place < suspect.first_count else 'second'} part"
            for place, image in enumerate(suspect.images)
        ]
    rows = [format_decision(decision) for decision in suspect_suggestions(suspect, images_of)]
    name_of = dict(zip(suspect.images, names, strict=True))
    return {
        "kind": suspect.kind,
        "title": title,
        "pictures": [(number[image], name_of[image]) for image in _shown(suspect)],
        "lines": [told, *_more(len(suspect.images) - len(_shown(suspect)))],
        "rows": rows,
        "fine": format_decision(fine_decision(suspect)),
        "find": "",
    }


def _shown(suspect: LabelSuspect) -> list[str]:
    """Return the images on a suspect's card: of a split some of either part."""
    if suspect.kind == "mutual":
        return list(suspect.images)
    half = _PICTURES // 2
    first, second = suspect.images[: suspect.first_count], suspect.images[suspect.first_count :]
    return [*first[:half], *second[:half]]


def _group(group: DuplicateGroup, number: Mapping[str, int], unknown: str | None) -> dict[str, Any]:
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
        "rows": [format_decision(decision) for decision in group_suggestions(group, unknown)],
        "fine": "",
        "find": "",
    }


def _telling(group: DuplicateGroup) -> list[int]:
    """Return the rows of a group's pictures: one of each side and label first."""
    first: dict[tuple[str, str], int] = {}
    for row, kind in enumerate(zip(group.sides, group.labels, strict=True)):
        first.setdefault(kind, row)
    rest = [row for row in range(len(group.images)) if row not in first.values()]
    return [*first.values(), *rest][:_PICTURES]


def _more(count: int) -> list[str]:
    return [f"{count} more photographs."] if count > 0 else []
