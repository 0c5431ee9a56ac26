"""The members of an ensemble: plugins, each with a checkpoint for a purpose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kitbox.dataset.collection import Collection
from kitbox.errors import KitboxError
from kitbox.network.checkpoint import read_origin
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint
from kitbox.training import runs, transfer
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Member:
    """A plugin of an ensemble with its checkpoint and its weight.

    Raises KitboxError for a weight that is not above 0, or not finite.
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
        """Return the member as a receipt records it."""
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
    """Return members for local scores, whose networks have not seen the holdout.

    `fold` is that of the collection's holdout. Raises KitboxError where there is none.
    """
    data = runs.data_digest(collection.require_holdout().train)
    checkpoints = []
    for named in plugins:
        transfer.build_if_frozen(named, workspace)
        checkpoints.append(
            runs.find(workspace, named, on="holdout", data=data, which=which, fold=fold)
        )
    return _members(plugins, checkpoints, weights)


def for_submission(
    workspace: Workspace,
    plugins: Sequence[NamedPlugin],
    weights: Sequence[float] | None,
    collection: Collection,
    which: str = "last",
) -> list[Member]:
    """Return members for a submission, refitted on all labelled images where they were."""
    everything = runs.data_digest(collection.labelled)
    held = runs.data_digest(collection.holdout.train)
    checkpoints = []
    for named in plugins:
        transfer.build_if_frozen(named, workspace)
        try:
            checkpoints.append(runs.find(workspace, named, on="all", data=everything))
        except KitboxError:  # not refitted: the receipt tells which network it was
            if collection.absent_holdout is not None:
                raise
            checkpoints.append(runs.find(workspace, named, on="holdout", data=held, which=which))
    return _members(plugins, checkpoints, weights)


def for_inspection(
    workspace: Workspace, plugins: Sequence[NamedPlugin], collection: Collection
) -> tuple[list[Member], list[str]]:
    """Return members for looking at similar images, and the names of those that are outdated.

    Those for the holdout, or for a submission where there is no holdout; where a decision has
    changed the images since, the newest before it, so that reviewing suspects does not need a
    training after every decision.
    """
    has_holdout = collection.absent_holdout is None
    suitable, on = (for_holdout, "holdout") if has_holdout else (for_submission, "all")
    checkpoints, outdated = [], []
    for named in plugins:
        try:
            [member] = suitable(workspace, [named], None, collection)
            checkpoints.append(member.checkpoint)
        except runs.OtherImagesError:
            older = runs.newest(workspace, named, on=on)
            if older is None:
                raise
            checkpoints.append(older)
            outdated.append(named.name)
    return _members(plugins, checkpoints, None), outdated


def checkpoint_warnings(members: Sequence[Member]) -> list[str]:
    """Return sentences on ambiguous checkpoints, and on networks that may have seen the holdout."""
    sentences = []
    for member in members:
        ambiguity = runs.ambiguity(member.checkpoint)
        if ambiguity is not None:
            sentences.append(ambiguity)
        if read_origin(member.checkpoint.path).may_have_seen_holdout:
            sentences.append(
                f"warning: {member.named.name} may have seen the holdout elsewhere; its local "
                "score may be too good"
            )
    return list(dict.fromkeys(sentences))


def refit_advice(members: Sequence[Member]) -> list[str]:
    """Return sentences on how to refit the members that were trained without the holdout."""
    return [
        f"{member.named.name} was trained without the holdout; "
        f"'kitbox train {member.named.name} --on all' refits it on every label"
        for member in members
        if member.checkpoint.on == "holdout"
    ]


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
