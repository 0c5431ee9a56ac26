"""The page about the data: sizes, individuals, contact sheets, boxes, and how networks see it."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.images import duplicates as finding
from kitbox.images.collection import Collection
from kitbox.images.duplicates import Group, Kind
from kitbox.images.likeness import Pairs
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import ImageSet, Progress
from kitbox.report import (
    augmented,
    duplicates,
    findings,
    lookalikes,
    page,
    pictures,
    shapes,
    sheets,
)
from kitbox.report.page import Page, Written
from kitbox.report.pictures import Pictures
from kitbox.scoring import imitation
from kitbox.workspace import Workspace

# Left-out rows and files that are listed.
_FAULTS = 200
# Groups of duplicates that are shown; 'kitbox data duplicates' shows all.
_GROUPS = 100


def write(
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    path: Path,
    plugins: Sequence[NamedPlugin] = (),
) -> Generator[Progress, None, Written]:
    """Write the page of a competition's images; yields Progress.

    With `plugins` it has samples of what each is shown while it trains.
    """
    parts = {
        side: images
        for side, images in (
            ("labelled", collection.labelled),
            ("test", collection.test),
            ("gallery", collection.index),
        )
        if images is not None
    }
    made = yield from pictures.of(list(parts.values()), workspace, None)
    groups = yield from _groups(collection, competition, workspace)
    samples = []
    for number, named in enumerate(plugins):
        yield Progress("draw augmentations", number, len(plugins), "plugins")
        samples.append(augmented.samples(named, collection.holdout.train))
    yield Progress("write the page", 0, 1, "pages")
    ids = (str(image) for images in parts.values() for image in images.image_ids.tolist())
    places = {image: place for place, image in enumerate(ids)}
    unknown = competition.images.unknown_label
    values = _values(collection, competition, parts, made) | {
        "samples": samples,
        "groups": lookalikes.group_cards(groups[:_GROUPS], places, unknown),
        "groups_left": max(len(groups) - _GROUPS, 0),
        "checked": findings.recorded(workspace.reports / "check.csv"),
    }
    values["sections"] = list(
        page.sections(
            ("counts", "Counts", True),
            ("sizes", "Sizes", True),
            ("photographs", "Individuals", values["photographs"]),
            ("holdout", "Holdout", values["holdout"]),
            ("samples", "Augmentation", samples),
            ("checked", "Findings", values["checked"]),
            ("faults", "Faults", values["faults"]),
            ("duplicates", "Duplicates", groups),
            ("sheets", "Photographs", True),
        )
    )
    data = {"sheets": sheets.pack(parts, made, collection, competition)}
    return page.write(Page("data.html", values, data, made, ("data.js",)), path)


def _groups(
    collection: Collection, competition: Competition, workspace: Workspace
) -> Generator[Progress, None, list[Group]]:
    """Return the open groups of copies and near-duplicates, the most urgent first."""
    pool = yield from finding.pool(workspace, competition, collection)
    links: dict[Kind, Pairs] = {
        "copies": finding.of_bytes(pool),
        "near-duplicates": finding.of_looks(pool, competition.holdout.near_duplicate_bits),
    }
    return duplicates.by_urgency(finding.groups(pool, links, collection.decided.fine))


def _values(
    collection: Collection,
    competition: Competition,
    parts: dict[str, ImageSet],
    made: Pictures,
) -> dict[str, Any]:
    sizes = {
        side: part.sizes[part.lengths > 0] for side, part in zip(parts, made.parts, strict=True)
    }
    # photographs that nobody has labelled yet have no holdout
    asked = len(collection.holdout.query) > 0
    figures = imitation.counts(collection, competition) if asked else []
    return {
        "title": f"{competition.name}: the data",
        "kind": "the data",
        "heading": competition.name,
        "about": [competition.about] if competition.about else [],
        "facts": shapes.facts(collection, competition, parts),
        "size_plots": shapes.plots_of(sizes),
        "photographs": shapes.photographs(collection.labelled, competition),
        "holdout": [
            (figure.name, _shown(figure.holdout), _shown(figure.test)) for figure in figures
        ],
        "faults": [
            (str(fault), "left out" if fault.action == "drop" else "mended")
            for fault in collection.faults[:_FAULTS]
        ],
        "faults_left": max(len(collection.faults) - _FAULTS, 0),
    }


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)
