"""The members of an ensemble: plugins with the checkpoints that a purpose calls for."""

from collections.abc import Sequence

from kitbox.ensemble.assembly import Member
from kitbox.errors import KitboxError
from kitbox.images.collection import Collection
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint
from kitbox.training import runs
from kitbox.workspace import Workspace


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


def for_looking(
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
