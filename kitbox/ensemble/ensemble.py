"""An ensemble: its members, how they answer together, and the data that they are used on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.embedding.embedder import EmbedOptions
from kitbox.ensemble.members import Member
from kitbox.errors import KitboxError
from kitbox.records import LabelledImages
from kitbox.retrieval.neighbour_graph import Reranker
from kitbox.retrieval.rerankers import check_steps, parse_steps, reranker
from kitbox.workspace import Workspace

Combine = Literal["embeddings", "labels", "classifier"]
UnknownRule = Literal["threshold", "learned"]


@dataclass(frozen=True, kw_only=True)
class EnsembleOptions:
    """How the embeddings of members become answers.

    Each member's block is PCA-whitened to `whiten` dimensions, unless the member has its own, or
    with None left as it is. `combine`: "embeddings" are joined and searched; "labels" are ranked by
    the mean of the members' similarities; a "classifier" of the meta-embeddings, cut down to
    `dims`, ranks them by probability. `unknown`: the unknown label stands below a "threshold", or
    where a "learned" probability puts it. `top_k` answers are given to each query of a submission,
    None for the competition's k.

    Stages between the search and the ranking are texts, as receipts and recipes have them: the
    steps of `rerank` in their order (see `retrieval.rerankers`), then the matchers of `match` on a
    shortlist and the `fusion` of their matches with the similarity, then `balance` of the answers.

    Raises KitboxError for a text that is none.
    """

    whiten: int | None = None
    combine: Combine = "embeddings"
    dims: int | None = None
    unknown: UnknownRule = "threshold"
    rerank: tuple[str, ...] = ()
    match: tuple[str, ...] = ()
    fusion: str | None = None
    balance: str | None = None
    top_k: int | None = None

    def __post_init__(self) -> None:
        if self.whiten is not None and self.whiten < 2:
            raise KitboxError(f"--whiten {self.whiten}: give 2 dimensions or more")
        # with all settings, so that a receipt keeps its meaning when a default changes
        object.__setattr__(self, "rerank", tuple(map(str, parse_steps(self.rerank))))

    def check(self, competition: Competition) -> None:
        """Raise KitboxError for options that contradict each other or the competition."""
        asks_labels = competition.task.answers in ("labels", "label")
        for option, given in (
            ("--match", self.match),
            ("--fusion", self.fusion),
            ("--balance", self.balance),
        ):
            if given:
                raise KitboxError(f"{option} is not there yet; leave it out")
        fixed = competition.uses_threshold and competition.threshold.rule == "fixed"
        if self.combine != "embeddings" and not asks_labels:
            raise KitboxError(
                f"--combine {self.combine} ranks labels; {competition.name} asks for "
                f"{competition.task.answers}, so leave it out"
            )
        if self.dims is not None and self.combine != "classifier":
            raise KitboxError(f"--dims {self.dims} is the classifier's; add --combine classifier")
        if self.combine == "classifier" and self.rerank:
            raise KitboxError(
                "--rerank changes similarities, and --combine classifier ranks by probability; "
                "leave one of them out"
            )
        check_steps(parse_steps(self.rerank), competition)
        if self.combine == "classifier" and fixed:
            raise KitboxError(
                "--combine classifier ranks by probability, not by similarity; "
                "add --threshold best, or a share as --threshold 16.5%"
            )
        if self.unknown == "threshold":
            return
        if not (asks_labels and competition.uses_threshold):
            raise KitboxError(
                f"--new-label learned: {competition.name} answers no query with an unknown label; "
                "leave it out"
            )
        if fixed:
            raise KitboxError(
                "--new-label learned cuts at a probability, not at a fixed similarity; "
                "add --threshold best, or a share as --threshold 16.5%"
            )
        balanced = competition.task.leaderboard_metric == "baks_baus"
        if balanced and competition.threshold.rule not in ("share", "balanced"):
            raise KitboxError(
                "--new-label learned cuts at a probability of one half, which is best for the mean "
                "of 1 / rank and not for baks_baus; add --threshold balanced, or a share as "
                "--threshold 16.5%"
            )

    def reranker(self, labelled: LabelledImages, competition: Competition) -> Reranker | None:
        """Return the steps of `rerank` as one, None where there are none.

        `labelled` are the labelled images that queries may be compared with.
        """
        return reranker(self.rerank, labelled, competition)

    @property
    def plain(self) -> bool:
        """Whether the neighbour graph of meta-embeddings ranks answers, and no other model."""
        return self.combine == "embeddings" and self.unknown == "threshold"

    @property
    def scale(self) -> str | None:
        """The name of what answers are cut by, None where it is the task's similarity."""
        if self.unknown == "learned":
            return "chance"
        return "probability" if self.combine == "classifier" else None

    def method_json(self) -> dict[str, Any]:
        """Return the method of answering as receipts record it."""
        stages = {
            "rerank": list(self.rerank),
            "match": list(self.match),
            "fusion": self.fusion,
            "balance": self.balance,
        }
        return {"combine": self.combine, "dims": self.dims, "new_label": self.unknown} | {
            name: given for name, given in stages.items() if given
        }


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Members with their options, and the collection and the competition that they answer for."""

    members: Sequence[Member] = ()
    collection: Collection
    competition: Competition
    workspace: Workspace
    options: EnsembleOptions = EnsembleOptions()
    embed_options: EmbedOptions = field(default_factory=EmbedOptions)

    @property
    def whitening(self) -> tuple[int | None, ...]:
        """The dimensions that each member is whitened to: its own, or else the options'."""
        return tuple(member.whiten or self.options.whiten for member in self.members)
