"""The page of findings on images and lists, by kind, with the images concerned."""

import csv
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kitbox.competition.check_rules import KINDS
from kitbox.competition.findings import DataFinding
from kitbox.dataset import image_checks
from kitbox.records import ImageSet, Progress, strings
from kitbox.report import page
from kitbox.report.page import Page, WrittenPage
from kitbox.workspace import Workspace

_ACTIONS = {
    "stop": "stops",
    "drop": "leaves it out",
    "repair": "repairs it when reading",
    "keep": "keeps it",
}
_GREY = "uses a grey picture instead"


def write(
    findings: Sequence[DataFinding],
    image_sets: Sequence[ImageSet],
    workspace: Workspace,
    path: Path,
    *,
    checked: int | None = None,
) -> Generator[Progress, None, WrittenPage]:
    """Write the page of findings; yields Progress.

    Pictures are taken from `image_sets`; unreadable images have none. `checked` is the number of
    images that were checked.
    """
    concerned = {finding.image_id for finding in findings}
    parts = [
        images.of(strings([i for i in images.image_ids.tolist() if i in concerned]))
        for images in image_sets
    ]
    parts = [part for part in parts if len(part)]
    pictures = yield from page.collect_pictures(parts, workspace, None)
    numbers: dict[str, int] = {}
    ids = (str(image_id) for part in parts for image_id in part.image_ids.tolist())
    for number, image_id in enumerate(ids):
        numbers.setdefault(image_id, number)  # the first of two sides that have the image
    yield Progress("write the page", 0, 1, "pages")
    content = Page(
        template="check.html",
        values=_values(findings, checked),
        data={"findings": _finding_rows(findings, numbers)},
        pictures=pictures,
        scripts=("check.js",),
    )
    return page.write(content, path)


def _values(findings: Sequence[DataFinding], checked: int | None) -> dict[str, Any]:
    kinds = Counter(finding.kind for finding in findings)
    actions = Counter(finding.action for finding in findings)
    scope = "" if checked is None else f" in {checked:,} images and their lists"
    result = f"{len(findings):,} findings{scope}." if findings else f"No findings{scope}."
    return {
        "title": "Findings on the data",
        "kind": "the data",
        "heading": "Findings on images and lists",
        "about": [f"{result} kitbox never changes a file: repairs are made when it is read."],
        "kinds": [
            (
                kind,
                count,
                actions_text([f for f in findings if f.kind == kind]),
                KINDS[kind].advice if kind in KINDS else "",
            )
            for kind, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
        ],
        "actions": sorted(actions),
        "sections": [("kinds", "Kinds"), ("findings", "Findings")],
    }


def _finding_rows(findings: Sequence[DataFinding], numbers: dict[str, int]) -> list[list[Any]]:
    return [
        [f.kind, f.action, f.where, f.image_id, f.what, numbers.get(f.image_id, -1)]
        for f in findings
    ]


def action_text(finding: DataFinding) -> str:
    """Return a description of the action on a finding."""
    unreadable = finding.kind in image_checks.UNREADABLE
    return _GREY if unreadable and finding.action == "repair" else _ACTIONS[finding.action]


def actions_text(findings: Sequence[DataFinding]) -> str:
    """Return the actions on some findings, with their numbers if they differ."""
    counts = Counter(action_text(finding) for finding in findings)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{action} ({count})" for action, count in counts.items())


@dataclass(frozen=True)
class FindingSummary:
    """The findings of one kind in check.csv: their number, the actions taken, and the first."""

    name: str
    count: int
    action: str
    first: str


def load_summaries(path: Path) -> list[FindingSummary]:
    """Return the kinds of finding in check.csv, the table of 'kitbox data check'.

    A missing or unreadable table has none: the next check writes it again.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("kind")]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    by_kind: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], []).append(row)
    return [
        FindingSummary(
            name=name,
            count=len(part),
            action=", ".join(dict.fromkeys(row.get("action") or "" for row in part)),
            first=f"{part[0].get('where') or ''}: {part[0].get('what') or ''}",
        )
        for name, part in by_kind.items()
    ]
