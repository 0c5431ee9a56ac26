"""The page and the tables of duplicates and suspect labels, with suggested decisions."""

import io
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from kitbox.dataset.duplicates import LINK_KINDS, DuplicateGroup, ImagePool
from kitbox.dataset.label_errors import LabelSuspect
from kitbox.decisions.decision import Decision
from kitbox.records import Progress, strings
from kitbox.report import page
from kitbox.report.page import Page, WrittenPage
from kitbox.tables import csv_writer, safe_cell, write_rows
from kitbox.workspace import Workspace

# Cards of each kind; the tables beside the page have all.
_MAX_CARDS = 500
# Pictures on a card.
_MAX_PICTURES = 8


def count_undecided(
    groups: Sequence[DuplicateGroup], suspects: Sequence[LabelSuspect]
) -> dict[str, int]:
    """Return the number of undecided groups of each kind and with each problem, and of suspects."""
    undecided = [group for group in groups if group.undecided]
    kinds = Counter(group.kind for group in undecided)
    leaks = Counter(leak for group in undecided for leak in group.leaks)
    return {
        **{kind: kinds[kind] for kind in LINK_KINDS},
        "label conflicts": sum(group.conflict for group in undecided),
        "across train and test": leaks["train/test"],
        "across the holdout": leaks["holdout"],
        "decided": len(groups) - len(undecided),
        "look-alikes of two labels": sum(suspect.kind == "mutual" for suspect in suspects),
        "labels in two clusters": sum(suspect.kind == "split" for suspect in suspects),
    }


def by_urgency(groups: Iterable[DuplicateGroup]) -> list[DuplicateGroup]:
    """Return the undecided groups: conflicts first, then leaks, and the surest kinds first."""
    undecided = [group for group in groups if group.undecided]
    return sorted(
        undecided,
        key=lambda group: (not group.conflict, not group.leaks, LINK_KINDS.index(group.kind)),
    )


def group_suggestions(group: DuplicateGroup, unknown: str | None) -> list[Decision]:
    """Return the suggested decisions on a group of labelled images.

    A conflict is resolved to the label of most images, if possible not `unknown`. Of several equal
    pictures only the first stays. Neighbours of one label may stay: the real test has them too.
    """
    used = [
        (image_id, label)
        for image_id, label, side in zip(group.images, group.labels, group.sides, strict=True)
        if side in ("train", "query")
    ]
    if group.conflict:
        counts = Counter(label for _, label in used if label != unknown)
        [(most, _)] = counts.most_common(1)
        return [Decision("label", i, most) for i, label in used if label != most]
    if group.kind == "neighbours":
        return []
    return [Decision("drop", image_id) for image_id, _ in used[1:]]


def suspect_suggestions(suspect: LabelSuspect, label_counts: Counter[str]) -> list[Decision]:
    """Return the suggested decisions on a suspect; `label_counts` are the images of each label.

    A label with a single image is merged into the other. Otherwise the first image of a mutual pair
    gets the other's label, and the smaller part of a split label gets a new label.
    """
    if suspect.kind == "split":
        [label] = suspect.labels
        new = next(name for n in count(2) if (name := f"{label}_{n}") not in label_counts)
        second_part = suspect.images[suspect.first_count :]
        return [Decision("label", image_id, new) for image_id in second_part]
    one, other = suspect.labels
    if label_counts[one] == 1:
        return [Decision("merge", one, other)]
    if label_counts[other] == 1:
        return [Decision("merge", other, one)]
    return [Decision("label", suspect.images[0], other)]


def fine_decision(suspect: LabelSuspect) -> Decision:
    """Return the decision that a suspect is correct as it is."""
    if suspect.kind == "split":
        return Decision("fine", suspect.labels[0])
    return Decision("fine", *suspect.images)


def format_decision(decision: Decision) -> str:
    """Return a decision as a row of decisions.csv."""
    cells = [decision.kind, decision.subject, *([decision.value] if decision.value else [])]
    text = io.StringIO()
    csv_writer(text).writerow(map(safe_cell, cells))
    return text.getvalue().removesuffix("\n")


def to_json(
    groups: Sequence[DuplicateGroup],
    suspects: Sequence[LabelSuspect] | None,
    label_counts: Counter[str],
    unknown: str | None,
) -> dict[str, Any]:
    """Return all groups and suspects for JSON; suspects are None if no network was used."""
    return {
        "counts": count_undecided(groups, suspects or ()),
        "groups": [_group_json(group, unknown) for group in groups],
        "suspects": None
        if suspects is None
        else [_suspect_json(suspect, label_counts) for suspect in suspects],
    }


def _group_json(group: DuplicateGroup, unknown: str | None) -> dict[str, Any]:
    return {
        "kind": group.kind,
        "images": group.images,
        "labels": group.labels,
        "sides": group.sides,
        "open": group.undecided,
        "conflict": group.conflict,
        "leaks": group.leaks,
        "decisions": [format_decision(decision) for decision in group_suggestions(group, unknown)],
    }


def _suspect_json(suspect: LabelSuspect, label_counts: Counter[str]) -> dict[str, Any]:
    suggestions = suspect_suggestions(suspect, label_counts)
    return {
        "kind": suspect.kind,
        "images": suspect.images,
        "labels": suspect.labels,
        "similarity": round(suspect.similarity, 4),
        "evidence": round(suspect.evidence, 4),
        "first": suspect.first_count,
        "decisions": [format_decision(decision) for decision in suggestions],
        "fine": format_decision(fine_decision(suspect)),
    }


def save(
    workspace: Workspace,
    groups: Sequence[DuplicateGroup],
    suspects: Sequence[LabelSuspect] | None,
    label_counts: Counter[str],
    unknown: str | None,
) -> list[Path]:
    """Write duplicates.csv and, unless suspects are None, suspects.csv; return their paths.

    duplicates.csv has a row for each image, suspects.csv for each suspect. The last columns have
    rows for decisions.csv; several names or rows in a cell are on separate lines.
    """
    paths = [workspace.reports / "duplicates.csv"]
    write_rows(paths[0], _duplicate_rows(groups, unknown))
    if suspects is not None:
        paths.append(workspace.reports / "suspects.csv")
        write_rows(paths[1], _suspect_rows(suspects, label_counts))
    return paths


def _duplicate_rows(groups: Sequence[DuplicateGroup], unknown: str | None) -> list[list[object]]:
    rows: list[list[object]] = [
        ["group", "kind", "image", "side", "label", "conflict", "leaks", "open", "decision"]
    ]
    for number, group in enumerate(groups, 1):
        suggested = {
            decision.subject: format_decision(decision)
            for decision in group_suggestions(group, unknown)
        }
        facts = [int(group.conflict), " ".join(group.leaks), int(group.undecided)]
        for image_id, label, side in zip(group.images, group.labels, group.sides, strict=True):
            decision = suggested.get(image_id, "") if group.undecided else ""
            rows.append([number, group.kind, image_id, side, label, *facts, decision])
    return rows


def _suspect_rows(
    suspects: Sequence[LabelSuspect], label_counts: Counter[str]
) -> list[list[object]]:
    rows: list[list[object]] = [
        [
            *("rank", "kind", "first", "second", "labels"),
            *("similarity_cosine", "evidence", "fine", "decision"),
        ]
    ]
    for number, suspect in enumerate(suspects, 1):
        first, second = suspect.images[: suspect.first_count], suspect.images[suspect.first_count :]
        suggestions = suspect_suggestions(suspect, label_counts)
        rows.append(
            [
                number,
                suspect.kind,
                *("\n".join(names) for names in (first, second, suspect.labels)),
                *(round(value, 4) for value in (suspect.similarity, suspect.evidence)),
                format_decision(fine_decision(suspect)),
                "\n".join(format_decision(decision) for decision in suggestions),
            ]
        )
    return rows


def write(
    groups: Sequence[DuplicateGroup],
    suspects: Sequence[LabelSuspect] | None,
    pool: ImagePool,
    unknown: str | None,
    workspace: Workspace,
    path: Path,
) -> Generator[Progress, None, WrittenPage]:
    """Write the page of undecided groups and of suspects, the most urgent first; yields Progress.

    `suspects` are None if no network was used.
    """
    urgent, suspect_list = by_urgency(groups), list(suspects or ())
    group_ids = (group.images[row] for group in urgent[:_MAX_CARDS] for row in _shown_rows(group))
    ids = dict.fromkeys([*group_ids, *suspect_images(suspect_list[:_MAX_CARDS])])
    images = pool.images.of(strings(list(ids)))
    pictures = yield from page.collect_pictures([images], workspace, None)
    numbers = {str(image): number for number, image in enumerate(images.image_ids.tolist())}
    label_counts = Counter(pool.labels[pool.sides != "left out"].tolist())
    counts = count_undecided(groups, suspect_list)
    values: dict[str, Any] = {
        "title": "Duplicates and suspects",
        "kind": "before training",
        "heading": "Duplicates and suspect labels",
        "about": [
            "Nothing here is decided. If you agree with a suggestion, put its row into "
            "decisions.csv, or decide in 'kitbox look'."
        ],
        "counts": [(name, f"{number:,}", "") for name, number in counts.items()],
        "groups": group_cards(urgent[:_MAX_CARDS], numbers, unknown),
        "groups_left": max(len(urgent) - _MAX_CARDS, 0),
        "suspects": suspect_cards(suspect_list[:_MAX_CARDS], numbers, label_counts),
        "suspects_left": max(len(suspect_list) - _MAX_CARDS, 0),
        "searched": suspects is not None,
        "sections": list(
            page.non_empty_sections(
                ("counts", "Counts", True),
                ("suspects", "Suspects", suspects),
                ("groups", "Duplicates", True),
            )
        ),
    }
    yield Progress("write the page", 0, 1, "pages")
    content = Page(
        template="duplicates.html", values=values, pictures=pictures, scripts=("filter.js",)
    )
    return page.write(content, path)


def suspect_cards(
    suspects: Sequence[LabelSuspect], numbers: Mapping[str, int], label_counts: Counter[str]
) -> list[dict[str, Any]]:
    """Return the cards of suspects; `numbers` maps image ids to the page's pictures."""
    return [_suspect_card(suspect, numbers, label_counts) for suspect in suspects]


def group_cards(
    groups: Sequence[DuplicateGroup], numbers: Mapping[str, int], unknown: str | None
) -> list[dict[str, Any]]:
    """Return the cards of groups; an image without a number is named without a picture."""
    return [_group_card(group, numbers, unknown) for group in groups]


def suspect_images(suspects: Sequence[LabelSuspect]) -> Iterator[str]:
    """Yield the images that the cards of suspects show."""
    return (image for suspect in suspects for image in _shown_images(suspect))


def _suspect_card(
    suspect: LabelSuspect, numbers: Mapping[str, int], label_counts: Counter[str]
) -> dict[str, Any]:
    if suspect.kind == "mutual":
        title = f"{suspect.labels[0]} and {suspect.labels[1]}"
        reason = (
            f"Each other's nearest, similarity {suspect.similarity:.3f}: {suspect.evidence:.3f} "
            "more than their labels explain."
        )
        captions = {
            image: f"{image}, {label}"
            for image, label in zip(suspect.images, suspect.labels, strict=True)
        }
    else:
        title = f"{suspect.labels[0]} in two parts"
        sizes = suspect.first_count, len(suspect.images) - suspect.first_count
        reason = (
            f"{sizes[0]} and {sizes[1]} photographs, similarity across {suspect.similarity:.3f}."
        )
        captions = {
            image: f"{image}, {'first' if place < suspect.first_count else 'second'} part"
            for place, image in enumerate(suspect.images)
        }
    shown = _shown_images(suspect)
    suggestions = suspect_suggestions(suspect, label_counts)
    return {
        "kind": suspect.kind,
        "title": title,
        "pictures": [(numbers[image], captions[image]) for image in shown],
        "lines": [reason, *_more_photographs(len(suspect.images) - len(shown))],
        "rows": [format_decision(decision) for decision in suggestions],
        "fine": format_decision(fine_decision(suspect)),
        "find": [],
    }


def _shown_images(suspect: LabelSuspect) -> list[str]:
    """Return the images on a suspect's card: some of both parts of a split label."""
    if suspect.kind == "mutual":
        return list(suspect.images)
    half = _MAX_PICTURES // 2
    first, second = suspect.images[: suspect.first_count], suspect.images[suspect.first_count :]
    return [*first[:half], *second[:half]]


def _group_card(
    group: DuplicateGroup, numbers: Mapping[str, int], unknown: str | None
) -> dict[str, Any]:
    labels = list(dict.fromkeys(label for label in group.labels if label))
    problems = ["two labels for one picture"] if group.conflict else []
    problems += [f"leaks across {'the ' * (leak == 'holdout')}{leak}" for leak in group.leaks]
    return {
        "kind": group.kind,
        "title": f"{group.kind}: {', '.join(labels[:3]) or 'no label'}",
        "pictures": [
            (
                numbers.get(group.images[row], -1),
                ", ".join(filter(None, (group.images[row], group.labels[row], group.sides[row]))),
            )
            for row in _shown_rows(group)
        ],
        "lines": [
            *([f"{'; '.join(problems)}."] if problems else []),
            *_more_photographs(len(group.images) - _MAX_PICTURES),
        ],
        "rows": [format_decision(decision) for decision in group_suggestions(group, unknown)],
        "fine": "",
        "find": [],
    }


def _shown_rows(group: DuplicateGroup) -> list[int]:
    """Return the rows of the images on a group's card: one of each side and label first."""
    first: dict[tuple[str, str], int] = {}
    for row, side_and_label in enumerate(zip(group.sides, group.labels, strict=True)):
        first.setdefault(side_and_label, row)
    rest = [row for row in range(len(group.images)) if row not in first.values()]
    return [*first.values(), *rest][:_MAX_PICTURES]


def _more_photographs(number: int) -> list[str]:
    return [f"{number} more photographs."] if number > 0 else []
