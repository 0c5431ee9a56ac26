"""The page about what is wrong with images and lists: by kind, with the pictures concerned."""

import csv
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kitbox.competition.check_rules import KINDS
from kitbox.dataset import image_checks
from kitbox.records import ImageSet, Progress, strings
from kitbox.report import page
from kitbox.report.page import Page, WrittenPage
from kitbox.workspace import Workspace

_DOES = {
    "stop": "stops",
    "drop": "leaves it out",
    "repair": "reads it as it is meant",
    "keep": "keeps it",
}
_GREY = "answers for a grey picture"


class CheckFinding(Protocol):
    """One thing that is wrong: its kind, its place, the image, what it is, what kitbox does."""

    @property
    def kind(self) -> str:
        """One of the kinds of `kitbox data check`."""

    @property
    def where(self) -> str:
        """The file, and the line where there is one."""

    @property
    def image_id(self) -> str:
        """The image, '' where it is none's."""

    @property
    def what(self) -> str:
        """A sentence."""

    @property
    def action(self) -> str:
        """What kitbox does: repair, keep, drop or stop."""


def action_text(finding: CheckFinding) -> str:
    """Return what kitbox does about a finding."""
    unreadable = finding.kind in image_checks.UNREADABLE
    return _GREY if unreadable and finding.action == "repair" else _DOES[finding.action]


def actions_text(part: Sequence[CheckFinding]) -> str:
    """Return what kitbox does about findings, each once and how often."""
    counts = Counter(action_text(finding) for finding in part)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{what} ({count})" for what, count in counts.items())


def write(
    findings: Sequence[CheckFinding],
    image_sets: Sequence[ImageSet],
    workspace: Workspace,
    path: Path,
    *,
    checked: int | None = None,
) -> Generator[Progress, None, WrittenPage]:
    """Write the page of findings; yields Progress.

    `image_sets` are where pictures are looked for; what cannot be read has none. `checked` is the
    number of images that were looked at.
    """
    wanted = {finding.image_id for finding in findings}
    parts = [
        images.of(strings([i for i in images.image_ids.tolist() if i in wanted]))
        for images in image_sets
    ]
    parts = [part for part in parts if len(part)]
    made = yield from page.collect_pictures(parts, workspace, None)
    number: dict[str, int] = {}
    ids = (str(image_id) for part in parts for image_id in part.image_ids.tolist())
    for place, image_id in enumerate(ids):
        number.setdefault(image_id, place)  # of two sides that have it, the first
    yield Progress("write the page", 0, 1, "pages")
    content = Page(
        "findings.html", _values(findings, checked), _pack(findings, number), made, ("findings.js",)
    )
    return page.write(content, path)


@dataclass(frozen=True)
class FindingSummary:
    """The findings of one kind as check.csv has them: how many, what is done, the first."""

    name: str
    count: int
    action: str
    first: str


def load_summaries(path: Path) -> list[FindingSummary]:
    """Return the kinds of finding in a table of 'kitbox data check'; none where there is no table.

    A table that cannot be read counts as none: the next check writes it anew.
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
            name,
            len(part),
            ", ".join(dict.fromkeys(row.get("action") or "" for row in part)),
            f"{part[0].get('where') or ''}: {part[0].get('what') or ''}",
        )
        for name, part in by_kind.items()
    ]


def _values(findings: Sequence[CheckFinding], checked: int | None) -> dict[str, Any]:
    kinds = Counter(finding.kind for finding in findings)
    actions = Counter(finding.action for finding in findings)
    looked = "" if checked is None else f" in {checked:,} images and their lists"
    told = f"{len(findings):,} findings{looked}." if findings else f"Nothing is wrong{looked}."
    return {
        "title": "What is wrong with the data",
        "kind": "the data",
        "heading": "What is wrong with images and lists",
        "about": [f"{told} Files are never changed; what kitbox does, it does when it reads them."],
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


def _pack(findings: Sequence[CheckFinding], number: dict[str, int]) -> dict[str, Any]:
    return {
        "findings": [
            [f.kind, f.action, f.where, f.image_id, f.what, number.get(f.image_id, -1)]
            for f in findings
        ]
    }
