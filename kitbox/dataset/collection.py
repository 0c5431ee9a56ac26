"""The usable images of a competition: listed, readable, and split for the local score."""

from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np

from kitbox.competition import decisions, lists, protocol
from kitbox.competition.check_rules import Side
from kitbox.competition.decisions import Decisions
from kitbox.competition.findings import ListFinding, how_to_continue, nothing_left_message
from kitbox.competition.holdout import draw_folds, from_folds, save, without_queries
from kitbox.competition.settings import Competition
from kitbox.dataset import data_check, near_duplicates
from kitbox.dataset.data_check import DataFinding
from kitbox.errors import KitboxError, more
from kitbox.images import file_index
from kitbox.images.file_index import Inspection, Signatures
from kitbox.records import Holdout, ImageSet, Integers, LabelledImages, Progress, Search
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Collection:
    """All images of a competition.

    `index` is a gallery that is neither train nor test. `searches` are the leaderboard's.
    `units (n,)` tell which labelled images belong together; `signatures` and `test_signatures` are
    those of labelled and test images. `unreadable` are test images that are answered for as grey
    ones; `findings` are the rows and files left out or mended. Both are empty where kitbox.toml
    says broken = "stop" and [check] nothing else. `decisions` is what people decided of all this,
    obeyed already; `new_labels` are individuals of whom only decisions speak.
    """

    labelled: LabelledImages
    test: ImageSet | None
    index: ImageSet | None
    searches: tuple[Search, ...]
    units: Integers
    signatures: Signatures
    test_signatures: Signatures | None
    holdout: Holdout
    unreadable: frozenset[str]
    findings: tuple[ListFinding, ...]
    decisions: Decisions = field(default_factory=Decisions)
    new_labels: frozenset[str] = frozenset()

    @property
    def test_has_groups(self) -> bool:
        """Whether a list tells the group of each test image, or there is no test."""
        return self.test is None or self.test.groups is not None

    @property
    def answerable(self) -> LabelledImages:
        """The labelled images; labels that no leaderboard knows, since only we do, are empty."""
        labels = self.labelled.labels
        new = np.isin(labels, list(self.new_labels))
        return self.labelled.with_labels(np.where(new, "", labels)) if new.any() else self.labelled


def collect(
    workspace: Workspace, competition: Competition, fold: int = 1
) -> Generator[Progress, None, Collection]:
    """Read the lists, read every new file once, and split off the holdout; yields Progress.

    What decisions.csv says is obeyed. Raises KitboxError for a decision about what no list names,
    for the first faulty row or unreadable image, unless kitbox.toml says broken = "drop", and for
    what its [check] says to stop at.
    """
    decided = decisions.load(workspace.decisions)
    unknown = competition.images.unknown_label
    found = lists.read(competition, workspace.boxes, decided)
    listed = lists.apply_decisions(found, decided, unknown)
    new_labels = np.setdiff1d(listed.labelled.labels, found.labelled.labels)
    seen = yield from file_index.inspect(listed.labelled, workspace)
    tested = (
        None if listed.test is None else (yield from file_index.inspect(listed.test, workspace))
    )
    shown = (
        None if listed.index is None else (yield from file_index.inspect(listed.index, workspace))
    )
    findings = _decisive(seen, tested, shown, competition)
    kept, looks = _kept(seen, "labelled", findings)
    labelled = kept.labelled
    test = None if tested is None else tested.images
    gallery = None if shown is None else _kept(shown, "index", findings)[0]
    units = near_duplicates.split_units(labelled, looks, competition.holdout)
    drawn = draw_folds(
        labelled,
        competition.holdout,
        unknown,
        units,
        by_group=competition.task.within_group,
        never=decided.training_only,
    )
    # photographs that nobody has labelled can still be checked, boxed and looked at
    if drawn.individuals:
        holdout = from_folds(drawn, labelled, competition, fold)
    else:
        holdout = without_queries(labelled)
    save(drawn, labelled, competition, workspace)
    searches = (
        () if test is None else protocol.leaderboard_searches(test, labelled, gallery, competition)
    )
    return Collection(
        labelled,
        test,
        gallery,
        searches,
        units,
        looks,
        None if tested is None else tested.signatures,
        holdout,
        frozenset(() if tested is None else tested.problems),
        (*listed.findings, *map(data_check.as_fault_of_list, findings)),
        decided,
        frozenset(new_labels.tolist()),
    )


def _decisive(
    seen: Inspection, tested: Inspection | None, shown: Inspection | None, competition: Competition
) -> list[DataFinding]:
    """Return why images are left out or answered for as grey; raises KitboxError as `collect`."""
    findings = data_check.image_findings(seen, "labelled", competition, decisive=True)
    if tested is not None:
        findings += data_check.image_findings(tested, "test", competition, decisive=True)
    if shown is not None:
        findings += data_check.image_findings(shown, "index", competition, decisive=True)
    stopping = [finding for finding in findings if finding.action == "stop"]
    if stopping:
        first = stopping[0]
        on = how_to_continue(first.kind, competition)
        raise KitboxError(f"{first.what}{more(len(stopping) - 1)}; or {on}")
    return findings


def _kept(seen: Inspection, side: Side, findings: list[DataFinding]) -> tuple[ImageSet, Signatures]:
    ids = seen.images.image_ids
    dropped = {finding.image_id: finding.what for finding in findings if finding.action == "drop"}
    if (what := nothing_left_message(ids.tolist(), side, dropped)) is not None:
        raise KitboxError(what)
    kept = ~np.isin(ids, list(dropped))
    return seen.images.take(kept), seen.signatures.take(kept)
