"""Sizes of images, numbers of photographs, and the counts that a page of the data begins with."""

from collections.abc import Mapping

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.images.collection import Collection
from kitbox.records import ImageSet, Integers
from kitbox.report import plots
from kitbox.report.plots import Plot

_BINS = 36
# Aspects beyond these are drawn at the edge.
_FLATTEST, _TALLEST = 6.0, 0.3


def facts(
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
    if collection.faults:
        lost = sum(fault.action == "drop" for fault in collection.faults)
        found.append(("faulty rows and files", f"{len(collection.faults):,}", f"{lost:,} left out"))
    return found


def plots_of(sizes: Mapping[str, Integers]) -> list[Plot]:
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


def photographs(labelled: ImageSet, competition: Competition) -> Plot | None:
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


def _photographs(labelled: ImageSet, competition: Competition) -> Integers:
    """Return the number of photographs of each individual that has a name."""
    assert labelled.labels is not None  # noqa: S101  labelled images
    nobody = ["", competition.images.unknown_label or ""]
    named = labelled.labels[~np.isin(labelled.labels, nobody)]
    return np.unique(named, return_counts=True)[1].astype(np.int64)


def _boxes(images: ImageSet) -> int:
    return 0 if images.boxes is None else int((~np.isnan(images.boxes).any(axis=1)).sum())


def _round_numbers() -> list[float]:
    return [step * 10.0**power for power in range(6) for step in (1, 2, 5)]
