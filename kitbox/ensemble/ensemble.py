"""An ensemble: its members, how they answer together, and the data that they are used on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.embedding.embedder import EmbedOptions
from kitbox.ensemble.members import Member
from kitbox.errors import KitboxError
from kitbox.fusion.fused_graphs import FusionSettings
from kitbox.fusion.pair_set import PairSet
from kitbox.records import LabelledImages
from kitbox.retrieval.balance import parse_balance
from kitbox.retrieval.neighbour_graph import Reranker
from kitbox.retrieval.rerankers import check_steps, parse_steps, reranker
from kitbox.workspace import Workspace

Combine = Literal["embeddings", "labels", "classifier"]
UnknownRule = Literal["threshold", "learned"]
# What to do about a fixed threshold that was meant for other similarities.
_FITTED = "add --threshold best, or a share as --threshold 16.5%"


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
        settings = self.fusion_settings
        if settings is not None:
            object.__setattr__(self, "match", tuple(map(str, settings.matchers)))
            if self.fusion is not None:
                object.__setattr__(self, "fusion", str(settings.method))
        if self.balance is not None:
            object.__setattr__(self, "balance", str(parse_balance(self.balance)))

    def check(self, competition: Competition) -> None:
        """Raise KitboxError for options that contradict each other or the competition."""
        asks_labels = competition.task.answers in ("labels", "label")
        fixed = competition.uses_threshold and competition.threshold.rule == "fixed"
        self._check_fusion(competition)
        if self.combine != "embeddings" and not asks_labels:
            raise KitboxError(
                f"--combine {self.combine} ranks labels; {competition.name} asks for "
                f"{competition.task.answers}, so leave it out"
            )
        if self.dims is not None and self.combine != "classifier":
            raise KitboxError(f"--dims {self.dims} is the classifier's; add --combine classifier")
        if self.combine == "classifier" and self.rerank and self.fusion_settings is None:
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
        if self.balance is not None and not asks_labels:
            raise KitboxError(
                f"--balance {self.balance} shares queries out among labels; {competition.name} "
                f"asks for {competition.task.answers}, so leave it out"
            )
        if self.balance is not None and fixed:
            raise KitboxError(
                f"--balance {self.balance} changes similarities, for which a fixed threshold was "
                "not meant; add --threshold best, or a share as --threshold 16.5%"
            )
        limit = competition.threshold.similarity
        if fixed and limit is not None and self.fusion_settings is not None and not 0 < limit < 1:
            raise KitboxError(
                f"a fixed threshold of {limit:g} cuts fused probabilities, which lie between 0 and "
                f"1; {_FITTED}"
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

    def threshold_note(self, competition: Competition) -> str:
        """Return a sentence about a fixed threshold on another scale than cosines, '' if none."""
        limit = competition.threshold.similarity
        fixed = competition.uses_threshold and competition.threshold.rule == "fixed"
        if not fixed or limit is None or not (self.rerank or self.fusion_settings):
            return ""
        if self.fusion_settings is not None:
            what = "fused probabilities, not the similarities of embeddings"
        else:
            steps = " and ".join(step.kind for step in parse_steps(self.rerank))
            verb = "change" if len(self.rerank) > 1 else "changes"
            what = f"similarities whose scale {steps} {verb}"
        return (
            f"the fixed threshold {limit:g} cuts {what}; unless it was chosen for them, {_FITTED}"
        )

    def reranker(self, labelled: LabelledImages, competition: Competition) -> Reranker | None:
        """Return the steps of `rerank` as one, None where there are none.

        `labelled` are the labelled images that queries may be compared with.
        """
        return reranker(self.rerank, labelled, competition)

    @property
    def fusion_settings(self) -> FusionSettings | None:
        """The method of fusion and its matchers, None where nothing is fused."""
        return FusionSettings.parse(self.fusion, self.match)

    def _check_fusion(self, competition: Competition) -> None:
        """Raise KitboxError for a fusion that the other options leave nothing to do."""
        settings = self.fusion_settings
        if settings is None:
            return
        option = "--match" if self.fusion is None else "--fusion"
        blend = settings.method.blend is not None
        if self.combine == "labels":
            raise KitboxError(
                f"--combine labels averages similarities of labels, and {option} those of pairs of "
                "photographs; leave one of them out"
            )
        if self.combine == "classifier" and not blend:
            raise KitboxError(
                f"--combine classifier ranks labels without {option}; blend both, as "
                f"--fusion {settings.method.kind}:blend=0.5"
            )
        if blend and self.combine != "classifier":
            raise KitboxError(
                f"blend={settings.method.blend:g} is the share of a classifier of labels; add "
                "--combine classifier, or leave it out"
            )
        if competition.task.label_similarity == "centre" and not blend:
            raise KitboxError(
                f"a label's centre is no image, so that {option} does not move it; choose another "
                "task.label_similarity"
            )

    @property
    def plain(self) -> bool:
        """Whether the neighbour graph of meta-embeddings ranks answers, and no other model."""
        alone = self.combine == "embeddings" and self.balance is None
        return alone and self.unknown == "threshold"

    @property
    def scale(self) -> str | None:
        """The name of what answers are cut by, None where it is the task's similarity."""
        if self.unknown == "learned":
            return "chance"
        fused = self.fusion is not None or self.match
        return "probability" if self.combine == "classifier" or fused else None

    def method_json(self) -> dict[str, Any]:
        """Return the method of answering as receipts record it, with all settings."""
        settings = self.fusion_settings
        stages = {
            "rerank": list(self.rerank),
            "match": [] if settings is None else [each.full for each in settings.matchers],
            "fusion": self.fusion,
            "balance": self.balance,
        }
        return {"combine": self.combine, "dims": self.dims, "new_label": self.unknown} | {
            name: given for name, given in stages.items() if given
        }


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Members with their options, and the collection and the competition that they answer for.

    With `match_only` no other pairs of the holdout are matched: those keep their global similarity.
    """

    members: Sequence[Member] = ()
    collection: Collection
    competition: Competition
    workspace: Workspace
    options: EnsembleOptions = EnsembleOptions()
    embed_options: EmbedOptions = field(default_factory=EmbedOptions)
    match_only: PairSet | None = None

    @property
    def whitening(self) -> tuple[int | None, ...]:
        """The dimensions that each member is whitened to: its own, or else the options'."""
        return tuple(member.whiten or self.options.whiten for member in self.members)
