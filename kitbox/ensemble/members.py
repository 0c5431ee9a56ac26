"""The members of an ensemble: plugins, each with a checkpoint for a purpose."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kitbox.dataset.collection import Collection
from kitbox.embedding import embedder
from kitbox.embedding.embedder import EmbedOptions
from kitbox.errors import KitboxError
from kitbox.network.checkpoint import read_origin
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint, Embeddings, ImageSet, Progress
from kitbox.training import runs, transfer
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Member(ABC):
    """What an ensemble joins: something that gives images embeddings, with its weight.

    Raises KitboxError for a weight that is not above 0, or not finite.
    """

    weight: float

    def __post_init__(self) -> None:
        if not 0 < self.weight < np.inf:
            raise KitboxError(
                f"the weight of {self.name} is {self.weight:g}; give it a finite number above 0"
            )

    @property
    @abstractmethod
    def name(self) -> str:
        """The name by which commands know it."""

    @property
    def full_name(self) -> str:
        """The name with all that sets it apart from other members, such as views."""
        return self.name

    @property
    @abstractmethod
    def digest(self) -> str:
        """The digest of what determines its embeddings of an image."""

    @property
    @abstractmethod
    def on(self) -> str:
        """What it learned from: "holdout", "all", "none" or, of embeddings, "elsewhere"."""

    @property
    @abstractmethod
    def trained_on(self) -> str:
        """What it learned from, in words."""

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint of its network, None where it has none."""
        return None

    @property
    def crop_margin(self) -> float | None:
        """The margin around the boxes that images are cropped to, None where they stay whole."""
        return None

    @property
    def holdout_warning(self) -> str | None:
        """A sentence if its local score may be too good, else None."""
        return None

    @abstractmethod
    def embed(
        self,
        images: ImageSet,
        workspace: Workspace,
        unreadable: frozenset[str],
        options: EmbedOptions,
        *,
        homogeneous: bool = False,
    ) -> Generator[Progress, None, Embeddings]:
        """Return the unit embeddings of images, in their order; yields Progress."""

    @abstractmethod
    def as_json(self, dim: int) -> dict[str, Any]:
        """Return the member as a receipt records it."""


@dataclass(frozen=True)
class NetworkMember(Member):
    """A plugin with its checkpoint."""

    named: NamedPlugin
    network: Checkpoint

    @property
    def name(self) -> str:
        """The name of the plugin."""
        return self.named.name

    @property
    def full_name(self) -> str:
        """The name of the plugin, with its views."""
        return self.named.full_name

    @property
    def digest(self) -> str:
        """The digest of the checkpoint."""
        return self.network.digest

    @property
    def on(self) -> str:
        """What the network was trained on: "holdout", "all" or "none"."""
        return self.network.on

    @property
    def trained_on(self) -> str:
        """What the network was trained on, in words."""
        return self.network.trained_on

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint."""
        return self.network

    @property
    def crop_margin(self) -> float | None:
        """The plugin's margin, where it crops."""
        return self.named.plugin.crop_margin if self.named.plugin.crop else None

    @property
    def holdout_warning(self) -> str | None:
        """A sentence if the network may have seen the holdout, else None."""
        if not read_origin(self.network.path).may_have_seen_holdout:
            return None
        return (
            f"warning: {self.name} may have seen the holdout elsewhere; its local score may be too "
            "good"
        )

    def embed(
        self,
        images: ImageSet,
        workspace: Workspace,
        unreadable: frozenset[str],
        options: EmbedOptions,
        *,
        homogeneous: bool = False,
    ) -> Generator[Progress, None, Embeddings]:
        """Return the embeddings by the network, through the cache; yields Progress."""
        return (
            yield from embedder.embed(
                self.named,
                self.network,
                images,
                workspace,
                unreadable=unreadable,
                options=options,
                homogeneous=homogeneous,
            )
        )

    def as_json(self, dim: int) -> dict[str, Any]:
        """Return the member as a receipt records it."""
        return {
            "name": self.name,
            "fingerprint": self.named.plugin.fingerprint,
            "checkpoint": self.digest,
            "weight": self.weight,
            "dim": dim,
            **({"views": list(views)} if (views := self.named.plugin.views) else {}),
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
    chosen, outdated = list[Member](), []
    for named in plugins:
        try:
            [member] = suitable(workspace, [named], None, collection)
            chosen.append(member)
        except runs.OtherImagesError:
            older = runs.newest(workspace, named, on=on)
            if older is None:
                raise
            chosen += _members([named], [older], None)
            outdated.append(named.name)
    return chosen, outdated


def checkpoint_warnings(members: Sequence[Member]) -> list[str]:
    """Return sentences on ambiguous checkpoints, and on networks that may have seen the holdout."""
    sentences = []
    for member in members:
        ambiguity = None if member.checkpoint is None else runs.ambiguity(member.checkpoint)
        sentences += [each for each in (ambiguity, member.holdout_warning) if each is not None]
    return list(dict.fromkeys(sentences))


def refit_advice(members: Sequence[Member]) -> list[str]:
    """Return sentences on how to refit the members that were trained without the holdout."""
    return [
        f"{member.name} was trained without the holdout; "
        f"'kitbox train {member.name} --on all' refits it on every label"
        for member in members
        if member.on == "holdout"
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
        NetworkMember(weight, named, checkpoint)
        for named, checkpoint, weight in zip(plugins, checkpoints, given, strict=True)
    ]
