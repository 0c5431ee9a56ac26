"""Toy collections of images without files."""

from collections.abc import Mapping

import numpy as np

from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.images.file_index import Signatures
from kitbox.records import Holdout, ImageSet, Search
from tests.circle import image_set


def unlabelled(*names: str) -> ImageSet:
    """Return images without labels."""
    return image_set(dict.fromkeys(names, "")).without_labels()


def collection(
    competition: Competition,
    labelled: Mapping[str, str] | ImageSet,
    test: ImageSet | None,
    index: ImageSet | None = None,
    searches: tuple[Search, ...] | None = None,
) -> Collection:
    """Return a collection whose first labelled image is the only query of the holdout."""
    known = labelled if isinstance(labelled, ImageSet) else image_set(labelled)
    first = np.arange(len(known)) == 0
    train, query = known.take(~first), known.take(first)
    assert query.labels is not None
    if searches is None:
        searches = (
            () if test is None else protocol.leaderboard_searches(test, known, index, competition)
        )
    count = len(known)
    return Collection(
        labelled=known,
        test=test,
        index=index,
        searches=searches,
        units=np.arange(count),
        signatures=Signatures(np.zeros((count, 8), np.uint8), np.zeros((count, 256), np.uint8)),
        test_signatures=None,
        holdout=Holdout(train, query, train, query.labels),
        unreadable=frozenset(),
        findings=(),
    )
