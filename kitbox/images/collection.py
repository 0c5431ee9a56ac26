"""The usable images of a competition: listed, readable, and split for the local score."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from kitbox.competition import holdout as holdouts
from kitbox.competition import lists
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, more
from kitbox.images import index
from kitbox.records import Holdout, ImageSet, Progress
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Collection:
    """All images of a competition.

    `blank` are unreadable test images, which are answered for as grey ones; `faults` are the rows
    and files left out. Both are empty where kitbox.toml says broken = "stop".
    """

    labelled: ImageSet
    test: ImageSet | None
    holdout: Holdout
    blank: frozenset[str]
    faults: tuple[lists.Fault, ...]


def collect(
    workspace: Workspace, competition: Competition
) -> Generator[Progress, None, Collection]:
    """Read the lists, read every new file once, and split off the holdout; yields Progress.

    Raises KitboxError for the first faulty row or unreadable image, unless kitbox.toml says
    broken = "drop".
    """
    listed = lists.read(competition)
    labelled, unreadable = yield from index.inspect(listed.labelled, workspace)
    test: ImageSet | None = None
    blank: dict[str, str] = {}
    if listed.test is not None:
        test, blank = yield from index.inspect(listed.test, workspace)
    problems = [
        lists.Fault("unreadable", problem, image_id)
        for image_id, problem in (unreadable | blank).items()
    ]
    if problems and competition.images.broken == "stop":
        raise KitboxError(
            f"{problems[0].what}{more(len(problems) - 1)}; "
            'or set broken = "drop" in kitbox.toml to go on without'
        )
    labelled = labelled.take(~np.isin(labelled.image_ids, list(unreadable)))
    holdout = holdouts.split(labelled, competition)
    holdouts.write(holdout, workspace)
    return Collection(labelled, test, holdout, frozenset(blank), (*listed.faults, *problems))
