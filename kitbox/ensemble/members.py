"""The members of an ensemble: plugins with the checkpoints that a purpose calls for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kitbox.dataset.collection import Collection
from kitbox.errors import KitboxError
from kitbox.network.checkpoint import read_origin
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint
from kitbox.training import runs
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Member:
    """A plugin of an ensemble: its checkpoint for this purpose, and its weight.

    Raises KitboxError for a weight that is none: not above 0, or not finite.
    """

    named: NamedPlugin
    checkpoint: Checkpoint
    weight: float

    def __post_init__(self) -> None:
        if not 0 < self.weight < np.inf:
            raise KitboxError(
                f"the weight of {self.named.name} is {self.weight:g}; "
                "give it a finite number above 0"
            )

    def as_json(self, dim: int) -> dict[str, Any]:
        """Return what a receipt says of a member."""
        return {
            "name": self.named.name,
            "fingerprint": self.named.plugin.fingerprint,
            "checkpoint": self.checkpoint.digest,
            "weight": self.weight,
            "dim": dim,
        }


def for_holdout(
    workspace: Workspace,
    plugins: Sequence[NamedPlugin],
    weights: Sequence[float] | None,
    collection: Collection,
    which: str = "last",
    *,
    fold: int = 1,
) -> list[Member]:
    """Return members whose networks have not seen the holdout: for local scores.

    `fold` is that of the collection's holdout.
    """
    data = runs.data_digest(collection.holdout.train)
    checkpoints = [
        runs.find(workspace, named, on="holdout", data=data, which=which, fold=fold)
        for named in plugins
    ]
    return _members(plugins, checkpoints, weights)


def for_submission(
    workspace: Workspace,
    plugins: Sequence[NamedPlugin],
    weights: Sequence[float] | None,
    collection: Collection,
    which: str = "last",
) -> list[Member]:
    """Return members refitted on all labelled images, or on the holdout's share where not."""
    everything = runs.data_digest(collection.labelled)
    held = runs.data_digest(collection.holdout.train)
    checkpoints = []
    for named in plugins:
        try:
            checkpoints.append(runs.find(workspace, named, on="all", data=everything))
        except KitboxError:  # not refitted: the holdout's network serves, and the receipt says so
            checkpoints.append(runs.find(workspace, named, on="holdout", data=held, which=which))
    return _members(plugins, checkpoints, weights)


def for_inspection(
    workspace: Workspace, plugins: Sequence[NamedPlugin], collection: Collection
) -> tuple[list[Member], list[str]]:
    """Return members that show which images are alike and are not scored by it, and the older ones.

    Those of the holdout; where a decision has changed the images since, the newest ones before it,
    whose names come second, so that going through suspects asks for no training at every step.
    """
    checkpoints, behind = [], []
    for named in plugins:
        try:
            [member] = for_holdout(workspace, [named], None, collection)
            checkpoints.append(member.checkpoint)
        except runs.OtherImagesError:
            older = runs.newest(workspace, named, on="holdout")
            if older is None:
                raise
            checkpoints.append(older)
            behind.append(named.name)
    return _members(plugins, checkpoints, None), behind


def _members(
    plugins: Sequence[NamedPlugin],
    checkpoints: Sequence[Checkpoint],
    weights: Sequence[float] | None,
) -> list[Member]:
    repeated = next((p.name for i, p in enumerate(plugins) if p in plugins[:i]), None)
    if repeated is not None:
        raise KitboxError(f"plugin {repeated} is named twice; to count it double use --weights")
    given = [1.0] * len(plugins) if weights is None else list(weights)
    if len(given) != len(plugins):
        raise KitboxError(f"--weights names {len(given)} weights for {len(plugins)} plugins")
    return [
        Member(named, checkpoint, weight)
        for named, checkpoint, weight in zip(plugins, checkpoints, given, strict=True)
    ]


def checkpoint_warnings(members: Sequence[Member]) -> list[str]:
    """Return sentences on which of several trainings are taken, and on local scores to doubt."""
    said = []
    for member in members:
        choice = runs.ambiguity(member.checkpoint)
        if choice is not None:
            said.append(choice)
        if read_origin(member.checkpoint.path).may_have_seen_holdout:
            said.append(
                f"warning: {member.named.name} may have seen the holdout elsewhere; its local "
                "score may be too good"
            )
    return list(dict.fromkeys(said))
