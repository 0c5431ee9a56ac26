"""What can be counted of a holdout and of the test that it imitates, and what to change."""

from dataclasses import dataclass

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.images import likeness
from kitbox.images.collection import Collection
from kitbox.records import Integers
from kitbox.scoring.resemblance import Resemblance

# An estimate of a share whose interval is wider than this says nothing.
_TOO_WIDE = 0.4
# Numbers of photographs that differ by less than this factor are alike.
_ALIKE = 1.15


@dataclass(frozen=True)
class Figure:
    """One thing of the holdout beside the same thing of the test, None where it is not known."""

    name: str
    holdout: float | str | None
    test: float | str | None = None


def counts(collection: Collection, competition: Competition) -> list[Figure]:
    """Return sizes, shares and near-duplicates of the holdout, and of the test where known.

    Raises KitboxError where nobody is known, so that nothing can be asked.
    """
    if not len(collection.holdout.query):
        raise KitboxError(
            "no labelled image shows a known individual; there is nothing to ask about"
        )
    split, labelled, test = collection.holdout, collection.labelled, collection.test
    bits = competition.holdout.near_duplicate_bits
    assert split.query.labels is not None  # noqa: S101  a holdout is made of labelled images
    strange = split.query_answers == (competition.images.unknown_label or "")
    asked = searched = leaks = None
    if test is not None:
        asked = sum(len(search.query_ids) for search in collection.searches)
        galleries = [search.gallery_images for search in collection.searches]
        searched = len(np.unique(np.concatenate(galleries)))
    if test is not None and collection.test_looks is not None:
        leaks = likeness.between(labelled, collection.looks, test, collection.test_looks, bits)
    queries = np.isin(labelled.image_ids, split.query.image_ids)
    across = likeness.across(labelled, collection.looks, queries, bits)
    units = np.bincount(collection.units)
    before, after = _photographs(collection, competition)
    figures = [
        Figure("training images", len(split.train), len(labelled)),
        Figure("training individuals", len(after), len(before)),
        Figure("queries", len(split.query), asked),
        Figure("gallery images", len(split.gallery), searched),
        Figure("queries of unknown individuals", f"{strange.mean():.1%}"),
        Figure("unknown individuals", len(np.unique(split.query.labels[strange]))),
        Figure("images kept together with another", int((units[collection.units] > 1).sum())),
        Figure("near-duplicates of queries in training", across, leaks),
    ]
    known = [after[label] for label in split.query_answers.tolist() if label in after]
    if known:
        # an individual of n photographs is drawn with a chance of n to the power
        chances = np.array(list(before.values()), np.float64) ** competition.holdout.frequency_power
        drawn = np.average(list(before.values()), weights=chances)
        name = "training photographs of an asked individual"
        figures.insert(6, Figure(name, round(float(np.mean(known)), 2), f"{drawn:.2f} if drawn so"))
    return figures


def judgements(seen: Resemblance) -> list[Figure]:
    """Return what a network estimates of the test, beside the same of the holdout."""
    figures = []
    if seen.unknown_share is not None:
        low, high = seen.unknown_share.low, seen.unknown_share.high
        share = f"{seen.unknown_share.value:.1%} [{low:.1%}, {high:.1%}]"
        wide = ", too wide to tell" if high - low > _TOO_WIDE else ""
        name = "unknown individuals, estimated"
        figures.append(Figure(name, f"{seen.holdout_unknown_share:.1%}", share + wide))
    name = "training photographs of the nearest individual"
    return [*figures, Figure(name, round(seen.holdout_photographs, 2), round(seen.photographs, 2))]


def advice(seen: Resemblance, competition: Competition) -> list[str]:
    """Return which lines of kitbox.toml to change, where queries differ from test images."""
    shape, found = competition.holdout, []
    if seen.unknown_share is not None:
        low, high = seen.unknown_share.low, seen.unknown_share.high
        if not low <= seen.holdout_unknown_share <= high and high - low <= _TOO_WIDE:
            found.append(
                f"more like the test: holdout.unknown_share = {seen.unknown_share.value:.2f}, "
                f"where it is {shape.unknown_share:g}"
            )
    ratio = seen.photographs / max(seen.holdout_photographs, 1e-9)
    asks_individuals = competition.task.answers in ("labels", "label")
    if asks_individuals and not 1 / _ALIKE <= ratio <= _ALIKE:
        way = "raise" if ratio > 1 else "lower"
        found.append(
            f"individuals that the test asks about have {ratio:.2f} times the photographs of those "
            f"that the holdout asks about; {way} holdout.frequency_power, "
            f"which is {shape.frequency_power:g}"
        )
    return found


def _photographs(
    collection: Collection, competition: Competition
) -> tuple[dict[str, int], dict[str, int]]:
    """Return label → labelled photographs, and label → those on the training side."""
    counted = []
    for images in (collection.labelled, collection.holdout.train):
        assert images.labels is not None  # noqa: S101  labelled images
        known = images.labels[images.labels != (competition.images.unknown_label or "")]
        names, numbers = np.unique(known, return_counts=True)
        numbers_of: Integers = numbers.astype(np.int64)
        counted.append(dict(zip(names.tolist(), numbers_of.tolist(), strict=True)))
    return counted[0], counted[1]
