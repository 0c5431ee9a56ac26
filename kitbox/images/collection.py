"""The usable images of a competition: listed, readable, and split for the local score."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from kitbox.competition import folds, lists, protocol
from kitbox.competition import holdout as holdouts
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, more
from kitbox.images import index, likeness
from kitbox.images.index import Inspected, Looks
from kitbox.records import Holdout, ImageSet, Integers, Progress, Search
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Collection:
    """All images of a competition.

    `index` is a gallery that is neither train nor test. `searches` are the leaderboard's.
    `units (n,)` tell which labelled images belong together; `looks` and `test_looks` are how
    labelled and test images look. `blank` are unreadable test and gallery images, which are
    answered for as grey ones; `faults` are the rows and files left out. Both are empty where
    kitbox.toml says broken = "stop".
    """

    labelled: ImageSet
    test: ImageSet | None
    index: ImageSet | None
    searches: tuple[Search, ...]
    units: Integers
    looks: Looks
    test_looks: Looks | None
    holdout: Holdout
    blank: frozenset[str]
    faults: tuple[lists.Fault, ...]

    @property
    def test_has_groups(self) -> bool:
        """Whether a list tells the group of each test image, or there is no test."""
        return self.test is None or self.test.groups is not None


def collect(
    workspace: Workspace, competition: Competition, fold: int = 1
) -> Generator[Progress, None, Collection]:
    """Read the lists, read every new file once, and split off the holdout; yields Progress.

    Raises KitboxError for the first faulty row or unreadable image, unless kitbox.toml says
    broken = "drop".
    """
    listed = lists.read(competition)
    seen = yield from index.inspect(listed.labelled, workspace)
    others: list[Inspected | None] = []
    blank: dict[str, str] = {}
    for images in (listed.test, listed.index):
        found = None if images is None else (yield from index.inspect(images, workspace))
        others.append(found)
        blank |= {} if found is None else found.problems
    problems = [
        lists.Fault("unreadable", problem, image_id)
        for image_id, problem in (seen.problems | blank).items()
    ]
    if problems and competition.images.broken == "stop":
        raise KitboxError(
            f"{problems[0].what}{more(len(problems) - 1)}; "
            'or set broken = "drop" in kitbox.toml to go on without'
        )
    readable = ~np.isin(seen.images.image_ids, list(seen.problems))
    labelled, looks = seen.images.take(readable), seen.looks.take(readable)
    test, gallery = (None if other is None else other.images for other in others)
    units = likeness.units(labelled, looks, competition.holdout)
    drawn = folds.draw(
        labelled,
        competition.holdout,
        competition.images.unknown_label,
        units,
        by_group=competition.task.within_group,
    )
    holdout = holdouts.of_fold(drawn, labelled, competition, fold)
    holdouts.write(drawn, labelled, competition, workspace)
    searches = () if test is None else protocol.of_test(test, labelled, gallery, competition)
    return Collection(
        labelled,
        test,
        gallery,
        searches,
        units,
        looks,
        None if others[0] is None else others[0].looks,
        holdout,
        frozenset(blank),
        (*listed.faults, *problems),
    )
