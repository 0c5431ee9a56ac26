"""The page about the data: sizes, individuals, contact sheets, boxes, and how networks see it."""

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.dataset import duplicates
from kitbox.dataset.collection import Collection
from kitbox.dataset.duplicates import DuplicateGroup, LinkKind
from kitbox.dataset.near_duplicates import Pairs
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import ImageSet, Integers, LabelledImages, Progress
from kitbox.report import check_page, contact_sheets, duplicates_page, page, plots
from kitbox.report.page import Page, PagePictures, WrittenPage
from kitbox.report.plots import Plot
from kitbox.scoring import holdout_realism
from kitbox.workspace import Workspace

_BINS = 36
# Aspects beyond these are drawn at the edge.
_FLATTEST, _TALLEST = 6.0, 0.3


def list_facts(
    collection: Collection, competition: Competition, parts: Mapping[str, ImageSet]
) -> list[tuple[str, str, str]]:
    """Return (name, number, note) of what there is to count."""
    counts = _photographs(collection.labelled, competition)
    unknown = len(collection.labelled) - int(counts.sum())
    boxes = [_boxes(images) for images in parts.values()]
    total = sum(len(images) for images in parts.values())
    found = [
        ("labelled photographs", f"{len(collection.labelled):,}", ""),
        ("individuals", f"{len(counts):,}", f"{int((counts == 1).sum()):,} seen once"),
        *(
            (f"{side} photographs", f"{len(images):,}", "")
            for side, images in parts.items()
            if side != "labelled"
        ),
        ("with a box", f"{sum(boxes):,}", f"of {total:,}"),
    ]
    if unknown:
        found.insert(2, ("of nobody in particular", f"{unknown:,}", "labelled so"))
    if collection.findings:
        lost = sum(finding.action == "drop" for finding in collection.findings)
        found.append(
            ("faulty rows and files", f"{len(collection.findings):,}", f"{lost:,} left out")
        )
    return found


def size_plots(sizes: Mapping[str, Integers]) -> list[Plot]:
    """Return histograms of the long side and of the aspect, of each side of the data.

    `sizes` are width and height (n, 2) of the upright images.
    """
    there = {side: found for side, found in sizes.items() if len(found)}
    if not there:
        return []
    longest = {side: found.max(axis=1) for side, found in there.items()}
    aspects = {
        side: np.clip(found[:, 0] / found[:, 1], _TALLEST, _FLATTEST)
        for side, found in there.items()
    }
    every = np.concatenate(list(longest.values()))
    # on either side of the extremes, also where all images are of one size
    bins = np.geomspace(0.98 * every.min(), 1.02 * every.max(), _BINS + 1)
    ticks = [tick for tick in _round_numbers() if bins[0] <= tick <= bins[-1]]
    told = "; ".join(
        f"{side}: {int(found.min())} to {int(found.max())}, median {np.median(found):.0f}"
        for side, found in longest.items()
    )
    shape = "; ".join(f"{side}: median {np.median(found):.2f}" for side, found in aspects.items())
    return [
        plots.histogram(
            "Long side",
            f"Pixels of the longer side. {told}.",
            list(longest.items()),
            label="pixels",
            bins=bins,
            ticks=ticks or [float(round(bins[_BINS // 2]))],
        ),
        plots.histogram(
            "Shape",
            f"Width divided by height. {shape}.",
            list(aspects.items()),
            label="width / height",
            bins=np.geomspace(_TALLEST, _FLATTEST, _BINS + 1),
            ticks=[0.5, 1, 2, 4],
        ),
    ]


def photographs_plot(labelled: LabelledImages, competition: Competition) -> Plot | None:
    """Return a histogram of how many photographs each individual has, None where nobody is."""
    counts = _photographs(labelled, competition)
    if not len(counts):
        return None
    largest = int(counts.max())
    bins = np.unique(np.round(np.geomspace(1, largest + 1, min(_BINS, largest + 1)))) - 0.5
    bins = bins if len(bins) > 1 else np.array([0.5, 1.5])
    several = int((counts > 1).sum())
    return plots.histogram(
        "Photographs of an individual",
        f"{len(counts):,} individuals: {several:,} have two photographs or more, the most has "
        f"{largest:,}, the median {np.median(counts):.0f}.",
        [("individuals", counts)],
        label="photographs",
        bins=bins,
        shares=False,
        ticks=[tick for tick in _round_numbers() if tick <= largest],
    )


def _photographs(labelled: LabelledImages, competition: Competition) -> Integers:
    """Return the number of photographs of each individual that has a name."""
    nobody = ["", competition.images.unknown_label or ""]
    named = labelled.labels[~np.isin(labelled.labels, nobody)]
    return np.unique(named, return_counts=True)[1].astype(np.int64)


def _boxes(images: ImageSet) -> int:
    return 0 if images.boxes is None else int((~np.isnan(images.boxes).any(axis=1)).sum())


def _round_numbers() -> list[float]:
    return [step * 10.0**power for power in range(6) for step in (1, 2, 5)]


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
) -> Generator[Progress, None, WrittenPage]:
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
    made = yield from page.collect_pictures(list(parts.values()), workspace, None)
    groups = yield from _groups(collection, competition, workspace)
    samples = []
    for number, named in enumerate(plugins):
        yield Progress("draw augmentations", number, len(plugins), "plugins")
        samples.append(contact_sheets.augmentation_samples(named, collection.holdout.train))
    yield Progress("write the page", 0, 1, "pages")
    ids = (str(image) for images in parts.values() for image in images.image_ids.tolist())
    places = {image: place for place, image in enumerate(ids)}
    unknown = competition.images.unknown_label
    values = _values(collection, competition, parts, made) | {
        "samples": samples,
        "groups": duplicates_page.group_cards(groups[:_GROUPS], places, unknown),
        "groups_left": max(len(groups) - _GROUPS, 0),
        "checked": check_page.load_summaries(workspace.reports / "check.csv"),
    }
    values["sections"] = list(
        page.non_empty_sections(
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
    data = {"sheets": contact_sheets.sheets_data(parts, made, collection, competition)}
    return page.write(Page("data.html", values, data, made, ("data.js",)), path)


def _groups(
    collection: Collection, competition: Competition, workspace: Workspace
) -> Generator[Progress, None, list[DuplicateGroup]]:
    """Return the open groups of copies and near-duplicates, the most urgent first."""
    pool = yield from duplicates.gather_pool(workspace, competition, collection)
    links: dict[LinkKind, Pairs] = {
        "copies": duplicates.copy_pairs(pool),
        "near-duplicates": duplicates.near_duplicate_pairs(
            pool, competition.holdout.near_duplicate_bits
        ),
    }
    return duplicates_page.by_urgency(
        duplicates.group_images(pool, links, collection.decisions.fine)
    )


def _values(
    collection: Collection,
    competition: Competition,
    parts: dict[str, ImageSet],
    made: PagePictures,
) -> dict[str, Any]:
    sizes = {
        side: part.sizes[part.lengths > 0] for side, part in zip(parts, made.parts, strict=True)
    }
    # photographs that nobody has labelled yet have no holdout
    asked = len(collection.holdout.query) > 0
    figures = holdout_realism.count_rows(collection, competition) if asked else []
    return {
        "title": f"{competition.name}: the data",
        "kind": "the data",
        "heading": competition.name,
        "about": [competition.about] if competition.about else [],
        "facts": list_facts(collection, competition, parts),
        "size_plots": size_plots(sizes),
        "photographs": photographs_plot(collection.labelled, competition),
        "holdout": [
            (figure.name, _shown(figure.holdout), _shown(figure.test)) for figure in figures
        ],
        "faults": [
            (str(finding), "left out" if finding.action == "drop" else "mended")
            for finding in collection.findings[:_FAULTS]
        ],
        "faults_left": max(len(collection.findings) - _FAULTS, 0),
    }


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)
