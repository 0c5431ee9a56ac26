"""The page about the data: sizes, individuals, contact sheets, boxes and augmentations."""

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
# Width / height; images beyond these are counted in the first or the last bin.
_MAX_ASPECT, _MIN_ASPECT = 6.0, 0.3
# Findings about the lists that are shown.
_MAX_FINDINGS = 200
# Groups of duplicates that are shown; 'kitbox data duplicates' shows all.
_MAX_GROUPS = 100


def write(
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    path: Path,
    plugins: Sequence[NamedPlugin] = (),
) -> Generator[Progress, None, WrittenPage]:
    """Write the page about a competition's images; yields Progress.

    For each of `plugins` it has samples of the augmented images that the plugin trains on.
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
    pictures = yield from page.collect_pictures(list(parts.values()), workspace, None)
    groups = yield from _undecided_groups(collection, competition, workspace)
    samples = []
    for number, named in enumerate(plugins):
        yield Progress("draw augmentations", number, len(plugins), "plugins")
        samples.append(contact_sheets.augmentation_samples(named, collection.holdout.train))
    yield Progress("write the page", 0, 1, "pages")
    ids = (str(image) for images in parts.values() for image in images.image_ids.tolist())
    numbers = {image: number for number, image in enumerate(ids)}
    unknown = competition.images.unknown_label
    values = _values(collection, competition, parts, pictures) | {
        "samples": samples,
        "groups": duplicates_page.group_cards(groups[:_MAX_GROUPS], numbers, unknown),
        "groups_left": max(len(groups) - _MAX_GROUPS, 0),
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
            ("lists", "Lists", values["list_findings"]),
            ("duplicates", "Duplicates", groups),
            ("sheets", "Photographs", True),
        )
    )
    content = Page(
        template="data.html",
        values=values,
        data={"sheets": contact_sheets.sheets_data(parts, pictures, collection, competition)},
        pictures=pictures,
        scripts=("data.js",),
    )
    return page.write(content, path)


def _undecided_groups(
    collection: Collection, competition: Competition, workspace: Workspace
) -> Generator[Progress, None, list[DuplicateGroup]]:
    """Return the undecided groups of copies and near-duplicates, the most urgent first."""
    pool = yield from duplicates.gather_pool(workspace, competition, collection)
    links: dict[LinkKind, Pairs] = {
        "copies": duplicates.copy_pairs(pool),
        "near-duplicates": duplicates.near_duplicate_pairs(
            pool, competition.holdout.near_duplicate_bits
        ),
    }
    groups = duplicates.group_images(pool, links, collection.decisions.fine)
    return duplicates_page.by_urgency(groups)


def _values(
    collection: Collection,
    competition: Competition,
    parts: dict[str, ImageSet],
    pictures: PagePictures,
) -> dict[str, Any]:
    sizes = {
        side: part.sizes[part.lengths > 0] for side, part in zip(parts, pictures.parts, strict=True)
    }
    has_holdout = collection.absent_holdout is None
    figures = holdout_realism.count_rows(collection, competition) if has_holdout else []
    return {
        "title": f"{competition.name}: the data",
        "kind": "the data",
        "heading": competition.name,
        "about": [competition.about] if competition.about else [],
        "facts": list_facts(collection, competition, parts),
        "size_plots": size_plots(sizes),
        "photographs": photographs_plot(collection.labelled, competition),
        "holdout": [
            (figure.name, _format_figure(figure.holdout), _format_figure(figure.test))
            for figure in figures
        ],
        "list_findings": [
            (str(finding), "left out" if finding.action == "drop" else "repaired")
            for finding in collection.findings[:_MAX_FINDINGS]
        ],
        "list_findings_left": max(len(collection.findings) - _MAX_FINDINGS, 0),
    }


def list_facts(
    collection: Collection, competition: Competition, parts: Mapping[str, ImageSet]
) -> list[tuple[str, str, str]]:
    """Return (name, count, note) rows about the data."""
    counts = _photograph_counts(collection.labelled, competition)
    unknown = len(collection.labelled) - int(counts.sum())
    boxes = [_box_count(images) for images in parts.values()]
    total = sum(len(images) for images in parts.values())
    facts = [
        ("labelled photographs", f"{len(collection.labelled):,}", ""),
        ("individuals", f"{len(counts):,}", f"{int((counts == 1).sum()):,} with one photograph"),
        *(
            (f"{side} photographs", f"{len(images):,}", "")
            for side, images in parts.items()
            if side != "labelled"
        ),
        ("with a box", f"{sum(boxes):,}", f"of {total:,}"),
    ]
    if unknown:
        facts.insert(2, ("of unknown individuals", f"{unknown:,}", "by their label"))
    if collection.absent_holdout is not None:
        facts.append(("holdout queries", "0", collection.absent_holdout.reason))
    if collection.findings:
        lost = sum(finding.action == "drop" for finding in collection.findings)
        facts.append(
            ("faulty rows and files", f"{len(collection.findings):,}", f"{lost:,} left out")
        )
    return facts


def size_plots(sizes: Mapping[str, Integers]) -> list[Plot]:
    """Return histograms of the longer side and of the aspect, one series for each side of the data.

    `sizes` are width and height (n, 2) of the upright images.
    """
    sizes = {side: part for side, part in sizes.items() if len(part)}
    if not sizes:
        return []
    longest = {side: part.max(axis=1) for side, part in sizes.items()}
    aspects = {
        side: np.clip(part[:, 0] / part[:, 1], _MIN_ASPECT, _MAX_ASPECT)
        for side, part in sizes.items()
    }
    every = np.concatenate(list(longest.values()))
    # wider than the extremes, so that bins have a width even if all images have one size
    bins = np.geomspace(0.98 * every.min(), 1.02 * every.max(), _BINS + 1)
    ticks = [tick for tick in _round_numbers() if bins[0] <= tick <= bins[-1]]
    ranges = "; ".join(
        f"{side}: {int(part.min())} to {int(part.max())}, median {np.median(part):.0f}"
        for side, part in longest.items()
    )
    medians = "; ".join(f"{side}: median {np.median(part):.2f}" for side, part in aspects.items())
    return [
        plots.histogram(
            "Long side",
            f"Pixels of the longer side. {ranges}.",
            list(longest.items()),
            label="pixels",
            bins=bins,
            ticks=ticks or [float(round(bins[_BINS // 2]))],
        ),
        plots.histogram(
            "Shape",
            f"Width divided by height. {medians}.",
            list(aspects.items()),
            label="width / height",
            bins=np.geomspace(_MIN_ASPECT, _MAX_ASPECT, _BINS + 1),
            ticks=[0.5, 1, 2, 4],
        ),
    ]


def photographs_plot(labelled: LabelledImages, competition: Competition) -> Plot | None:
    """Return a histogram of photographs per individual, None if there are no individuals."""
    counts = _photograph_counts(labelled, competition)
    if not len(counts):
        return None
    largest = int(counts.max())
    bins = np.unique(np.round(np.geomspace(1, largest + 1, min(_BINS, largest + 1)))) - 0.5
    bins = bins if len(bins) > 1 else np.array([0.5, 1.5])
    several = int((counts > 1).sum())
    return plots.histogram(
        "Photographs of an individual",
        f"{len(counts):,} individuals: {several:,} have two or more photographs, the most has "
        f"{largest:,}, the median {np.median(counts):.0f}.",
        [("individuals", counts)],
        label="photographs",
        bins=bins,
        shares=False,
        ticks=[tick for tick in _round_numbers() if tick <= largest],
    )


def _photograph_counts(labelled: LabelledImages, competition: Competition) -> Integers:
    """Return the number of photographs of each known individual."""
    unknown = ["", competition.images.unknown_label or ""]
    known = labelled.labels[~np.isin(labelled.labels, unknown)]
    return np.unique(known, return_counts=True)[1].astype(np.int64)


def _box_count(images: ImageSet) -> int:
    return 0 if images.boxes is None else int((~np.isnan(images.boxes).any(axis=1)).sum())


def _round_numbers() -> list[float]:
    return [step * 10.0**power for power in range(6) for step in (1, 2, 5)]


def _format_figure(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)
