"""Scores candidates on the holdout: blocks are read once, and a candidate is scored once."""

from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.embedding.embedder import EmbedOptions
from kitbox.ensemble import answers, combination
from kitbox.ensemble.ensemble import Ensemble
from kitbox.ensemble.members import Member
from kitbox.ensemble.meta_embedding import whiten_block
from kitbox.errors import KitboxError, did_you_mean
from kitbox.fusion.pair_set import PairSet, joined_pairs
from kitbox.keypoints import pair_scores
from kitbox.records import Embeddings, ImageSet, Progress
from kitbox.scoring import local_score, outcomes
from kitbox.scoring.outcomes import Outcome
from kitbox.selection.candidate import Candidate
from kitbox.workspace import Workspace

# Bytes of whitened blocks that are kept. All others stay: those of one view are on disk.
MEMORY = 2_000_000_000


@dataclass(frozen=True)
class HeldMember(Member):
    """A member whose embeddings have been read, and whitened where they are to be."""

    source: Member
    block: Embeddings

    @property
    def name(self) -> str:
        """The name of the member."""
        return self.source.name

    @property
    def full_name(self) -> str:
        """The full name of the member."""
        return self.source.full_name

    @property
    def digest(self) -> str:
        """The digest of the member."""
        return self.source.digest

    @property
    def on(self) -> str:
        """What the member learned from."""
        return self.source.on

    @property
    def trained_on(self) -> str:
        """What the member learned from, in words."""
        return self.source.trained_on

    @property
    def crop_margin(self) -> float | None:
        """The margin around the boxes that the member crops to."""
        return self.source.crop_margin

    def embed(
        self,
        images: ImageSet,
        workspace: Workspace,
        unreadable: frozenset[str],
        options: EmbedOptions,
        *,
        homogeneous: bool = False,
    ) -> Generator[Progress, None, Embeddings]:
        """Return the embeddings of images, in their order; yields nothing."""
        del workspace, unreadable, options, homogeneous
        yield from ()
        if np.array_equal(images.image_ids, self.block.image_ids):
            return self.block
        return self.block.of(images.image_ids)

    def as_json(self, dim: int) -> dict[str, Any]:
        """Return the member as a receipt records it."""
        return self.source.as_json(dim)


class Evaluator:
    """Scores candidates on the holdout of one fold, or on those of several folds together.

    `folds` are ensembles with all members that candidates may name, in the same order in each fold;
    their weights and options do not count. Every candidate takes the path of 'kitbox score'
    (`answers.answer_holdout`) on blocks that are read once, so that its outcomes are the same.
    `individuals` are query id → individual, known once a candidate has been evaluated;
    `evaluations` counts the candidates that were. `kept` are the metrics whose outcomes stay, None
    for all.

    Candidates with local matches have shortlists of their own. After `match_ahead` they can be
    evaluated as drafts, which match no pairs beyond those of the candidates that were matched ahead
    first: all other pairs keep their global similarity. What a draft says depends on no cache.

    Raises KitboxError for a fold without holdout.
    """

    def __init__(
        self,
        folds: Sequence[Ensemble],
        *,
        kept: Sequence[str] | None = None,
        memory: int = MEMORY,
    ) -> None:
        self.folds = tuple(folds)
        for fold in self.folds:
            fold.collection.require_holdout()
        self.names = tuple(member.full_name for member in self.folds[0].members)
        self.individuals: dict[str, str] = {}
        self.evaluations = 0
        self._kept, self._memory = kept, memory
        self._blocks: OrderedDict[tuple[int, str, int], Embeddings] = OrderedDict()
        self._found: dict[tuple[str, bool], dict[str, Outcome]] = {}
        self._match_only: list[PairSet] = []
        self._in_full: set[str] = set()

    @property
    def competition(self) -> Competition:
        """The competition that candidates answer for."""
        return self.folds[0].competition

    def evaluate(
        self, candidate: Candidate, *, draft: bool = False
    ) -> Generator[Progress, None, dict[str, Outcome]]:
        """Return the outcomes of a candidate by metric, the competition's own first.

        Yields Progress while embeddings are made. Raises KitboxError for a member that is not
        there, and for options that do not fit the competition.
        """
        key = self._key(candidate, draft=draft)
        if key not in self._found:
            parts = []
            for number in range(len(self.folds)):
                ensemble = yield from self._ensemble(candidate, number)
                if key[1]:
                    ensemble = replace(ensemble, match_only=self._match_only[number])
                answered = yield from answers.answer_holdout(ensemble)
                parts.append(local_score.answer_outcomes(answered.answers, answered.competition))
                self.individuals |= answered.answers.ground_truth.individual_of
            self._found[key] = self._pooled(parts)
            self.evaluations += 1
        return self._found[key]

    def match_ahead(self, candidates: Sequence[Candidate]) -> Generator[Progress, None, list[int]]:
        """Match all pairs that candidates look at; return how many pairs each of them has.

        Yields Progress, with a notice of the pairs and minutes before they are spent. The pairs of
        the first call are those that drafts may look at.
        """
        counts, every = [0] * len(candidates), []
        for number, fold in enumerate(self.folds):
            images, found = fold.collection.labelled, []
            for place, candidate in enumerate(candidates):
                stage = "list pairs to match"
                yield Progress(stage, place, len(candidates), unit="candidates")
                ensemble = yield from self._ensemble(candidate, number)
                pairs = yield from answers.pairs_to_match(ensemble)
                own = PairSet.of(images.image_ids, pairs)
                counts[place] += sum(len(codes) for codes in own.codes.values())
                found.append(pairs)
            joined = joined_pairs(found)
            for settings, (first, second) in joined.items():
                yield from pair_scores.measure(
                    settings,
                    images,
                    first,
                    second,
                    fold.workspace,
                    combination.match_options(fold),
                    unreadable=fold.collection.unreadable,
                )
            every.append(PairSet.of(images.image_ids, joined))
        if not self._match_only:
            self._match_only = every
            self._in_full = {candidate.key for candidate in candidates}
        return counts

    def member(self, name: str) -> Member:
        """Return a member of the first fold by its full name."""
        return self.folds[0].members[self._place(name)]

    def is_known(self, candidate: Candidate, *, draft: bool = False) -> bool:
        """Whether a candidate has been evaluated."""
        return self._key(candidate, draft=draft) in self._found

    def read(self, name: str) -> Generator[Progress, None, None]:
        """Read the embeddings of a member, or make them where they are not cached."""
        for number in range(len(self.folds)):
            yield from self._block(number, name, 0)

    def widths(self, name: str) -> tuple[int, int]:
        """Return the dimensions of a member that has been read, and the images of the gallery.

        Of several folds the least of both.
        """
        dims = [self._blocks[number, name, 0].dim for number in range(len(self.folds))]
        return min(dims), min(len(fold.collection.holdout.gallery) for fold in self.folds)

    def _key(self, candidate: Candidate, *, draft: bool) -> tuple[str, bool]:
        """Return the key of a candidate, and whether its draft differs from the candidate."""
        differs = bool(candidate.options.match and self._match_only)
        return candidate.key, draft and differs and candidate.key not in self._in_full

    def _ensemble(self, candidate: Candidate, number: int) -> Generator[Progress, None, Ensemble]:
        fold, held = self.folds[number], []
        for member in candidate.members:
            block = yield from self._block(number, member.name, member.whiten or 0)
            source = fold.members[self._place(member.name)]
            held.append(HeldMember(member.weight, source=source, block=block))
        return replace(fold, members=held, options=candidate.options)

    def _place(self, name: str) -> int:
        if name not in self.names:
            near = did_you_mean(name, self.names) or f"; there are {', '.join(self.names)}"
            raise KitboxError(f"no member {name} here{near}")
        return self.names.index(name)

    def _block(self, number: int, name: str, dims: int) -> Generator[Progress, None, Embeddings]:
        """Return a member's embeddings of a fold's labelled images, whitened unless `dims` is 0."""
        key, fold = (number, name, dims), self.folds[number]
        if key not in self._blocks:
            if dims:
                plain = yield from self._block(number, name, 0)
                gallery_ids = fold.collection.holdout.gallery.image_ids
                block = yield from whiten_block(plain, gallery_ids, dims, name)
            else:
                block = yield from fold.members[self._place(name)].embed(
                    fold.collection.labelled,
                    fold.workspace,
                    fold.collection.unreadable,
                    fold.embed_options,
                )
            self._blocks[key] = block
            self._forget(key)
        self._blocks.move_to_end(key)
        return self._blocks[key]

    def _forget(self, newest: tuple[int, str, int]) -> None:
        """Drop the whitened blocks that were used least recently, beyond the memory."""
        whitened = [key for key in self._blocks if key[2]]
        held = sum(self._blocks[key].vectors.nbytes for key in whitened)
        for key in whitened:
            if held > self._memory and key != newest:
                held -= self._blocks.pop(key).vectors.nbytes

    def _pooled(self, parts: Sequence[dict[str, Outcome]]) -> dict[str, Outcome]:
        shared = [name for name in parts[0] if all(name in part for part in parts)]
        if self._kept is not None:
            missing = next((name for name in self._kept if name not in shared), None)
            if missing is not None:
                near = did_you_mean(missing, shared)
                raise KitboxError(f"no metric {missing}{near}; there are {', '.join(shared)}")
            shared = list(self._kept)
        if len(parts) == 1:
            return {name: parts[0][name] for name in shared}
        return {name: outcomes.pool([part[name] for part in parts]) for name in shared}
