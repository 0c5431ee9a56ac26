"""The members of an ensemble: plugins, each with a checkpoint, and imported embeddings."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kitbox.dataset.collection import Collection
from kitbox.embedding import embedder, imported_embeddings
from kitbox.embedding.embedder import EmbedOptions
from kitbox.embedding.imported_embeddings import ImportedEmbeddings
from kitbox.errors import KitboxError, counted, did_you_mean
from kitbox.network.checkpoint import read_origin
from kitbox.plugin import discovery
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint, Embeddings, ImageSet, Progress, Strings
from kitbox.training import runs
from kitbox.workspace import Workspace

AnyImages = TypeVar("AnyImages", bound=ImageSet)
# What a command's NAME means.
MemberSource = NamedPlugin | ImportedEmbeddings
# The dimensions that each of some sources is whitened to, None for those of the ensemble.
Whitening = Sequence[int | None] | None


@dataclass(frozen=True)
class Member(ABC):
    """What an ensemble joins: something that gives images embeddings, with its weight.

    Its block is whitened to `whiten` dimensions, with None to those of the ensemble. Raises
    KitboxError for a weight that is not above 0, or not finite.
    """

    weight: float
    whiten: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 < self.weight < np.inf:
            raise KitboxError(
                f"the weight of {self.name} is {self.weight:g}; give it a finite number above 0"
            )
        if self.whiten is not None and self.whiten < 2:
            raise KitboxError(f"--whiten {self.whiten}: give {self.name} 2 dimensions or more")

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

    def has(self, image_ids: Strings) -> NDArray[np.bool_]:
        """Return which of some images (n,) it can embed."""
        return np.ones(len(image_ids), dtype=np.bool_)

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
            **({"whiten": self.whiten} if self.whiten else {}),
            **({"views": list(views)} if (views := self.named.plugin.views) else {}),
        }


@dataclass(frozen=True)
class ImportedMember(Member):
    """Embeddings that another program computed."""

    embeddings: ImportedEmbeddings

    @property
    def name(self) -> str:
        """The name under which they were imported."""
        return self.embeddings.name

    @property
    def digest(self) -> str:
        """The digest of ids and vectors."""
        return self.embeddings.digest

    @property
    def on(self) -> str:
        """The word "elsewhere", as no training here made them."""
        return "elsewhere"

    @property
    def trained_on(self) -> str:
        """The word "imported"."""
        return "imported"

    @property
    def holdout_warning(self) -> str | None:
        """A sentence where nobody knows what they learned from, else None."""
        if self.embeddings.learned_from != "unknown":
            return None
        return (
            f"warning: nobody knows which images {self.name} learned from; if the holdout is among "
            f"them, its local score is too good; import them again with --replace --learned-from"
        )

    def has(self, image_ids: Strings) -> NDArray[np.bool_]:
        """Return which of some images (n,) have an embedding."""
        return self.embeddings.has(image_ids)

    def embed(
        self,
        images: ImageSet,
        workspace: Workspace,
        unreadable: frozenset[str],
        options: EmbedOptions,
        *,
        homogeneous: bool = False,
    ) -> Generator[Progress, None, Embeddings]:
        """Return the imported embeddings; yields nothing."""
        del workspace, unreadable, options, homogeneous
        yield from ()
        return self.embeddings.of(images)

    def as_json(self, dim: int) -> dict[str, Any]:
        """Return the member as a receipt records it."""
        return {
            "name": self.name,
            "checkpoint": self.digest,
            "weight": self.weight,
            "dim": dim,
            **({"whiten": self.whiten} if self.whiten else {}),
            "imported": self.embeddings.as_json(),
        }


def find(
    names: Sequence[str], workspace: Workspace, views: Sequence[str] = ()
) -> list[MemberSource]:
    """Return the plugins or imported embeddings of these names; raises KitboxError for others.

    Plugins get these views, if any, unless their name has its own.
    """
    return [_find(name, workspace, views) for name in names]


def _find(name: str, workspace: Workspace, views: Sequence[str]) -> MemberSource:
    imported = imported_embeddings.names(workspace)
    if name in imported:
        if name in discovery.plugin_names(workspace):
            raise KitboxError(
                f"{name} is a plugin, and imported embeddings too",
                fix="rename the plugin's file, or import the embeddings under another name",
            )
        return imported_embeddings.load(name, workspace)
    try:
        [named] = discovery.load_with_views([name], workspace, views)
        return named
    except KitboxError as error:
        near = did_you_mean(name, imported)
        if not near or name in discovery.plugin_names(workspace):
            raise
        raise KitboxError(f"no plugin or imported embeddings named {name}{near}") from error


def for_holdout(
    workspace: Workspace,
    sources: Sequence[MemberSource],
    weights: Sequence[float] | None,
    collection: Collection,
    which: str = "last",
    *,
    whitening: Whitening = None,
    fold: int = 1,
) -> list[Member]:
    """Return members for local scores, which have not seen the holdout.

    `weights` and `whitening` are those of the sources, one each. `fold` is that of the collection's
    holdout. Raises KitboxError where there is none, and for embeddings that are known to have
    learned from its queries.
    """
    train = collection.require_holdout().train
    conflict = holdout_conflict(sources, collection)
    if conflict is not None:
        raise KitboxError(
            f"{conflict}, so that the local score would be too good",
            fix="score embeddings of a network that has not seen them; 'kitbox ensemble NAME "
            "--submit' makes a submission without a local score",
        )

    data = cache(lambda: runs.data_digest(train))  # imported embeddings do without it

    def checkpoint(named: NamedPlugin) -> Checkpoint:
        return runs.find(workspace, named, on="holdout", data=data(), which=which, fold=fold)

    return _members(sources, weights, whitening, workspace, checkpoint)


def for_submission(
    workspace: Workspace,
    sources: Sequence[MemberSource],
    weights: Sequence[float] | None,
    collection: Collection,
    which: str = "last",
    *,
    whitening: Whitening = None,
) -> list[Member]:
    """Return members for a submission, refitted on all labelled images where they were."""
    everything = cache(lambda: runs.data_digest(collection.labelled))
    held = cache(lambda: runs.data_digest(collection.holdout.train))

    def checkpoint(named: NamedPlugin) -> Checkpoint:
        try:
            return runs.find(workspace, named, on="all", data=everything())
        except KitboxError:  # not refitted: the receipt tells which network it was
            if collection.absent_holdout is not None:
                raise
            return runs.find(workspace, named, on="holdout", data=held(), which=which)

    return _members(sources, weights, whitening, workspace, checkpoint)


def for_inspection(
    workspace: Workspace,
    sources: Sequence[MemberSource],
    collection: Collection,
    weights: Sequence[float] | None = None,
    which: str = "last",
    *,
    whitening: Whitening = None,
) -> tuple[list[Member], list[str]]:
    """Return members for looking at similar images, and the names of those that are outdated.

    Those for the holdout, or for a submission where there is no holdout; where a decision has
    changed the images since, the newest before it, so that reviewing suspects does not need a
    training after every decision.
    """
    has_holdout = collection.absent_holdout is None
    suitable, on = (for_holdout, "holdout") if has_holdout else (for_submission, "all")
    outdated: list[str] = []

    def checkpoint(named: NamedPlugin) -> Checkpoint:
        try:
            [member] = suitable(workspace, [named], None, collection, which)
            found = member.checkpoint
        except runs.OtherImagesError:
            found = runs.newest(workspace, named, on=on)
            if found is None:
                raise
            outdated.append(named.name)
        assert found is not None  # noqa: S101  a plugin has one
        return found

    return _members(sources, weights, whitening, workspace, checkpoint), outdated


def newest(
    workspace: Workspace, sources: Sequence[MemberSource], *, whitening: Whitening = None
) -> list[Member]:
    """Return members for looking at images, each with its newest checkpoint on any images.

    That of a network which was trained without the holdout comes first: it finds a wrong label more
    easily if it was not trained on it. That of a frozen plugin is built where it has none.
    """

    def checkpoint(named: NamedPlugin) -> Checkpoint:
        found = (runs.newest(workspace, named, on) for on in ("holdout", "all"))
        first = next((one for one in found if one is not None), None)
        if first is None:
            raise KitboxError(f"{named.name} is not trained; run 'kitbox train {named.name}'")
        return first

    return _members(sources, None, whitening, workspace, checkpoint)


def embedded(images: AnyImages, members: Sequence[Member]) -> AnyImages:
    """Return the images that all members can embed."""
    found = [member.has(images.image_ids) for member in members]
    return images if np.all(found) else images.take(np.all(found, axis=0))


def holdout_conflict(sources: Sequence[MemberSource], collection: Collection) -> str | None:
    """Return which embeddings are known to have learned from the holdout's queries, or None."""
    queries = collection.holdout.query.image_ids
    for source in sources:
        seen = source.knows(queries) if isinstance(source, ImportedEmbeddings) else []
        if seen:
            return (
                f"{source.name} learned from {len(seen)} of the {len(queries)} images that the "
                f"holdout asks about, such as '{seen[0]}'"
            )
    return None


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
    sources: Sequence[MemberSource],
    weights: Sequence[float] | None,
    whitening: Whitening,
    workspace: Workspace,
    checkpoint: Callable[[NamedPlugin], Checkpoint],
) -> list[Member]:
    """Return a member of each source; `checkpoint` finds that of a plugin."""
    found: list[Callable[..., Member]] = []
    for source in sources:
        if isinstance(source, ImportedEmbeddings):
            found.append(partial(ImportedMember, embeddings=source))
        else:
            if source.plugin.frozen and not runs.exists(workspace, source):
                from kitbox.training import transfer  # torch

                transfer.build_if_frozen(source, workspace)
            found.append(partial(NetworkMember, named=source, network=checkpoint(source)))
    repeated = next((p.name for i, p in enumerate(sources) if p in sources[:i]), None)
    if repeated is not None:
        raise KitboxError(f"plugin {repeated} is named twice; to count it double use --weights")
    given = [1.0] * len(sources) if weights is None else list(weights)
    if len(given) != len(sources):
        raise KitboxError(f"--weights names {len(given)} weights for {len(sources)} plugins")
    whitens = [None] * len(sources) if whitening is None else list(whitening)
    if len(whitens) != len(sources):
        raise KitboxError(
            f"--whiten names {len(whitens)} dimensions for {counted(len(sources), 'plugin')}"
        )
    return [
        member(weight, whiten=whiten)
        for member, weight, whiten in zip(found, given, whitens, strict=True)
    ]
