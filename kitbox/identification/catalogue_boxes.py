"""Boxes of the animals in a catalogue's photographs, read for one run of `identify`."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np

from kitbox.boxes import box_import
from kitbox.boxes.box_import import BoxImport, ImportFindingKind
from kitbox.competition import boxes, lists, settings
from kitbox.competition.image_files import photograph_of
from kitbox.competition.settings import Competition
from kitbox.decisions import decision_file
from kitbox.errors import counted, more
from kitbox.identification import catalogue_workspace
from kitbox.identification.catalogue_workspace import OpenedCatalogue
from kitbox.records import Progress

# Findings of an import that are told; the command `kitbox data boxes import` tells all.
_TOLD: dict[ImportFindingKind, str] = {
    "refused": "left out",
    "unmatched": "names no photograph here",
}
# Shares of photographs with a box that differ by more are worth a word.
_UNLIKE = 0.2


def with_boxes(opened: OpenedCatalogue, file: Path) -> Generator[Progress, None, OpenedCatalogue]:
    """Write the boxes of a list into boxes.csv; return the catalogue with an image per animal.

    The list is one that `kitbox data boxes import` reads; boxes of the same list are replaced, and
    those of others stay. Yields Progress. Raises KitboxError as `box_import.import_boxes` does.
    """
    workspace = opened.workspace
    competition = settings.load(workspace)
    decided = decision_file.load(workspace.decisions)
    name = box_import.source_name(file.resolve(), workspace)
    found = yield from box_import.import_boxes(
        file,
        lists.read(competition, workspace.boxes, decided),
        source=name,
        broken=competition.images.broken,
    )
    boxes.replace(workspace.boxes, name, list(found.boxes))
    again = catalogue_workspace.with_new_boxes(opened)
    return replace(again, notes=(*again.notes, *_notes(again, competition, found, file)))


def _notes(
    opened: OpenedCatalogue, competition: Competition, found: BoxImport, file: Path
) -> list[str]:
    """Return sentences on what was read, what was left out, and photographs without a box."""
    notes = [f"boxes of {file}: {counted(len(found.boxes), 'box', 'boxes')}"]
    notes += found.selection.notes()
    if found.turned.total:
        notes.append(str(found.turned))
    for kind, words in _TOLD.items():
        findings = found.of_kind(kind)
        if findings:
            notes.append(f"{words}: {findings[0]}{more(len(findings) - 1)}")
    boxed = boxes.read_all(competition.images, opened.workspace.boxes)
    sides = {"catalogue": opened.images.image_ids.tolist()}
    if opened.photographs is not None:
        sides["photographs to identify"] = opened.queries.image_ids.tolist()
    share = {
        side: np.mean([photograph_of(image) in boxed for image in images])
        for side, images in sides.items()
    }
    texts = [f"{value:.0%} of the {side}" for side, value in share.items()]
    sentence = f"with a box: {' and '.join(texts)}"
    if max(share.values()) - min(share.values()) > _UNLIKE:
        sentence += (
            "; whole photographs are compared with cropped ones, which are less alike: boxes of "
            "all are better"
        )
    return [*notes, sentence]
