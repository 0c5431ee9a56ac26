"""Tables of duplicates and suspects for people, with the rows that would decide them."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from kitbox.competition.decisions import Decision
from kitbox.files import write_table
from kitbox.images.duplicates import KINDS, Group
from kitbox.retrieval.suspects import Suspect
from kitbox.workspace import Workspace


def counts(groups: Sequence[Group], suspects: Sequence[Suspect]) -> dict[str, int]:
    """Return how many open groups there are of each kind, and what is wrong with them."""
    left = [group for group in groups if group.open]
    kinds = Counter(group.kind for group in left)
    leaks = Counter(leak for group in left for leak in group.leaks)
    return {
        **{kind: kinds[kind] for kind in KINDS},
        "label conflicts": sum(group.conflict for group in left),
        "across train and test": leaks["train/test"],
        "across the holdout": leaks["holdout"],
        "decided": len(groups) - len(left),
        "look-alikes of two labels": sum(suspect.kind == "mutual" for suspect in suspects),
        "labels in two clusters": sum(suspect.kind == "split" for suspect in suspects),
    }


def by_urgency(groups: Iterable[Group]) -> list[Group]:
    """Return the open groups: conflicts first, then leaks, the surest kinds before others."""
    left = [group for group in groups if group.open]
    return sorted(
        left, key=lambda group: (not group.conflict, not group.leaks, KINDS.index(group.kind))
    )


def advice(group: Group, unknown: str | None) -> list[Decision]:
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


def advice_of(suspect: Suspect, images_of: Counter[str]) -> list[Decision]:
    """Return the rows that a person might decide about a suspect, were they to agree.

    `images_of` counts the images of each label. An individual of one image is merged into the
    other; else the odd image gets the other's label, and the lesser side a label of its own.
    """
    if suspect.kind == "split":
        [label] = suspect.labels
        name = next(new for number in count(2) if (new := f"{label}_{number}") not in images_of)
        apart = suspect.images[suspect.first :]
        return [Decision("label", image_id, name) for image_id in apart]
    one, other = suspect.labels
    if images_of[one] == 1:
        return [Decision("merge", one, other)]
    if images_of[other] == 1:
        return [Decision("merge", other, one)]
    return [Decision("label", suspect.images[0], other)]


def fine(suspect: Suspect) -> Decision:
    """Return the row that says that a suspect is as it should be."""
    if suspect.kind == "split":
        return Decision("fine", suspect.labels[0])
    return Decision("fine", *suspect.images)


def row(decision: Decision) -> str:
    """Return a decision as it stands in decisions.csv."""
    cells = [decision.kind, decision.subject, *([decision.value] if decision.value else [])]
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def as_json(
    groups: Sequence[Group],
    suspects: Sequence[Suspect] | None,
    images_of: Counter[str],
    unknown: str | None,
) -> dict[str, Any]:
    """Return all groups and suspects as figures, None for suspects that nobody looked for."""
    return {
        "counts": counts(groups, suspects or ()),
        "groups": [_group_as_json(group, unknown) for group in groups],
        "suspects": None
        if suspects is None
        else [_suspect_as_json(suspect, images_of) for suspect in suspects],
    }


def _group_as_json(group: Group, unknown: str | None) -> dict[str, Any]:
    return {
        **vars(group),
        "conflict": group.conflict,
        "leaks": group.leaks,
        "decisions": [row(decision) for decision in advice(group, unknown)],
    }


def _suspect_as_json(suspect: Suspect, images_of: Counter[str]) -> dict[str, Any]:
    return {
        **vars(suspect),
        "similarity": round(suspect.similarity, 4),
        "evidence": round(suspect.evidence, 4),
        "decisions": [row(decision) for decision in advice_of(suspect, images_of)],
        "fine": row(fine(suspect)),
    }


def save(
    workspace: Workspace,
    groups: Sequence[Group],
    suspects: Sequence[Suspect] | None,
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
        rows = {decision.subject: row(decision) for decision in advice(group, unknown)}
        for image_id, label, side in zip(group.images, group.labels, group.sides, strict=True):
            facts = [int(group.conflict), " ".join(group.leaks), int(group.open)]
            decision = rows.get(image_id, "") if group.open else ""
            found.append([number, group.kind, image_id, side, label, *facts, decision])
    path = workspace.reports / "duplicates.csv"
    write_table(path, found)
    if suspects is None:
        return [path]
    listed: list[list[object]] = [
        ["rank", "kind", "first", "second", "labels", "similarity", "evidence", "fine", "decision"]
    ]
    for number, suspect in enumerate(suspects, 1):
        first, second = suspect.images[: suspect.first], suspect.images[suspect.first :]
        rows_of_it = [row(decision) for decision in advice_of(suspect, images_of)]
        listed.append(
            [
                number,
                suspect.kind,
                *("\n".join(names) for names in (first, second, suspect.labels)),
                *(round(value, 4) for value in (suspect.similarity, suspect.evidence)),
                row(fine(suspect)),
                "\n".join(rows_of_it),
            ]
        )
    path_of_suspects = workspace.reports / "suspects.csv"
    write_table(path_of_suspects, listed)
    return [path, path_of_suspects]
