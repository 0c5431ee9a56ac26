"""The usable images of a competition: listed, readable, and split for the local score."""

from collections.abc import Generator
from dataclasses import dataclass, field, replace

import numpy as np

from kitbox.competition import lists, protocol
from kitbox.competition.check_rules import Side
from kitbox.competition.findings import DataFinding, how_to_continue, nothing_left_message
from kitbox.competition.holdout import (
    TooFewQueriesError,
    draw_folds,
    from_folds,
    save,
    without_queries,
)
from kitbox.competition.settings import Competition
from kitbox.dataset import data_check, image_checks, near_duplicates
from kitbox.dataset.absent_holdout import AbsentHoldout
from kitbox.dataset.collection_snapshot import CollectionReading, CollectionSnapshot
from kitbox.decisions import decision_file
from kitbox.decisions.decision_list import Decisions
from kitbox.decisions.image_links import NO_LINKS, Links
from kitbox.errors import KitboxError, counted, more
from kitbox.images import file_index
from kitbox.images.file_index import Inspection, Signatures
from kitbox.records import Holdout, ImageSet, Integers, LabelledImages, Progress, Search
from kitbox.workspace import Workspace

# Findings that the notes name; all of them are in 'kitbox data check'.
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Collection:
    """All usable images of a competition, after decisions.

    `index` is a gallery that is neither train nor test. `searches` are the leaderboard's. `units
    (n,)` are the numbers of the labelled images' units, which a split keeps together. `unreadable`
    are test images, which are replaced by grey ones; `findings` are on rows and files that were
    left out or repaired. Both are empty if kitbox.toml has broken = "stop" and no rules in [check].
    `new_labels` are the labels that only decisions.csv contains. `links` are the images that it
    calls the same individual or different ones: they count for the leaderboard's queries, never for
    the holdout's, whose score they would flatter. `absent_holdout` says why the holdout has no
    queries, None where it has some.
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
    findings: tuple[DataFinding, ...]
    decisions: Decisions = field(default_factory=Decisions)
    new_labels: frozenset[str] = frozenset()
    links: Links = NO_LINKS
    gone: frozenset[str] = frozenset()
    absent_holdout: AbsentHoldout | None = None

    @property
    def notes(self) -> list[str]:
        """Sentences on what was left out, repaired or decided."""
        # what is lost comes first
        ordered = sorted(self.findings, key=lambda finding: finding.action != "drop")
        sentences = []
        for finding in ordered[:_NAMED]:
            action = {"drop": "left out", "keep": "kept"}.get(finding.action, "repaired")
            if finding.image_id in self.unreadable:
                action = "answered as grey"
            sentences.append(f"{action}: {finding}")
        if len(ordered) > _NAMED:
            left = len(ordered) - _NAMED
            sentences.append(f"{left} more like it; 'kitbox data check' lists them")
        if self.decisions.effective:
            rows = counted(len(self.decisions.effective), "row")
            new = sorted(self.new_labels)
            # a typing error makes one too
            also = f"; new individual '{new[0]}'{more(len(new) - 1)}" if new else ""
            sentences.append(f"decided: {rows} of decisions.csv{also}")
        if self.gone:
            sentences.append(lists.gone_sentence(self.gone))
        ignored = self.links.count_of(self.holdout.query.image_ids)
        if ignored:
            sentences.append(
                f"the local score ignores {counted(ignored, 'link')} of holdout queries, which "
                "would flatter it"
            )
        return sentences

    def require_holdout(self) -> Holdout:
        """Return the holdout; raises KitboxError with reason and fix where there is none."""
        if self.absent_holdout is not None:
            raise self.absent_holdout.error
        return self.holdout

    @property
    def test_has_groups(self) -> bool:
        """Whether a list gives the group of each test image, or there is no test."""
        return self.test is None or self.test.groups is not None

    @property
    def answerable(self) -> LabelledImages:
        """The labelled images with '' for new labels, which no leaderboard accepts."""
        labels = self.labelled.labels
        new = np.isin(labels, list(self.new_labels))
        return self.labelled.with_labels(np.where(new, "", labels)) if new.any() else self.labelled


def collect(
    workspace: Workspace, competition: Competition, fold: int = 1
) -> Generator[Progress, None, Collection]:
    """Read the lists, apply decisions, read every new file and split off a fold; yields Progress.

    Raises KitboxError for a decision about an image that is in no list, for a finding of a kind
    that stops a run by [check] in kitbox.toml, and, unless it has broken = "drop", for the first
    faulty row or unreadable image.
    """
    decided = decision_file.load(workspace.decisions)
    snapshot = CollectionSnapshot(workspace, competition, decided)
    kept = snapshot.load()
    as_listed = kept.listed if kept else lists.read(competition, workspace.boxes, decided)
    listed = lists.apply_decisions(as_listed, decided, competition.images)
    new_labels = np.setdiff1d(listed.labelled.labels, as_listed.labelled.labels)
    inspections: dict[Side, Inspection] = {}
    sides: tuple[tuple[Side, ImageSet | None], ...]
    sides = (("labelled", listed.labelled), ("test", listed.test), ("index", listed.index))
    for side, images in sides:
        if images is not None and kept:
            inspections[side] = kept.inspection(side, images)
        elif images is not None:
            inspections[side] = yield from file_index.inspect(
                images, workspace, keep_truncated=competition.check.keep_truncated
            )
    findings = _decisive_findings(inspections, competition)
    usable, signatures = _usable(inspections["labelled"], "labelled", findings)
    labelled = usable.labelled
    test = inspections.get("test")
    index = None
    if "index" in inspections:
        index, _ = _usable(inspections["index"], "index", findings)
    if test is not None:  # before anything is trained for answers that no file can hold
        answered = labelled.with_labels(
            np.where(np.isin(labelled.labels, new_labels), "", labelled.labels)
        )
        answers = protocol.possible_answers(answered, test.images, index, competition)
        protocol.refuse_split(answers, competition)
    if kept:
        units, folds = kept.units, kept.folds
    else:
        units = near_duplicates.split_units(labelled, signatures, competition.holdout)
        folds = draw_folds(
            labelled,
            competition.holdout,
            competition.images.unknown_label,
            units,
            by_group=competition.task.within_group,
            training_only=decided.training_only,
        )
    drawn = folds
    missing = None
    try:
        holdout = from_folds(folds, labelled, competition, fold)
    except TooFewQueriesError:
        # images without a holdout can still be checked, boxed, viewed and trained on
        holdout = without_queries(labelled)
        missing = AbsentHoldout(labelled, signatures, competition, decided.training_only)
        folds = folds if competition.holdout.folds > 1 else folds.emptied
    if not (kept and kept.wrote(workspace.holdout)):
        save(folds, labelled, competition, workspace)
        snapshot.save(
            CollectionReading(listed=as_listed, inspections=inspections, units=units, folds=drawn)
        )
    return Collection(
        labelled=labelled,
        test=None if test is None else test.images,
        index=index,
        searches=()
        if test is None
        else protocol.leaderboard_searches(test.images, labelled, index, competition),
        units=units,
        signatures=signatures,
        test_signatures=None if test is None else test.signatures,
        holdout=holdout,
        unreadable=frozenset(() if test is None else test.problems),
        findings=(*listed.findings, *map(_headed_by_kind, findings)),
        decisions=decided,
        new_labels=frozenset(new_labels.tolist()),
        links=listed.links,
        gone=listed.gone,
        absent_holdout=missing,
    )


def _decisive_findings(
    inspections: dict[Side, Inspection], competition: Competition
) -> list[DataFinding]:
    """Return the findings that leave an image out or make it grey.

    Raises KitboxError for one that stops the run.
    """
    findings = [
        finding
        for side, inspection in inspections.items()
        for finding in data_check.image_findings(inspection, side, competition, decisive=True)
    ]
    stopping = [finding for finding in findings if finding.action == "stop"]
    if stopping:
        first = stopping[0]
        advice = how_to_continue(first.kind, competition)
        raise KitboxError(f"{first.what}{more(len(stopping) - 1)}", fix=f"or {advice}")
    return findings


def _usable(
    inspection: Inspection, side: Side, findings: list[DataFinding]
) -> tuple[ImageSet, Signatures]:
    """Return the images of a side that no finding drops; raises KitboxError if there are none."""
    ids = inspection.images.image_ids
    dropped = {finding.image_id: finding.what for finding in findings if finding.action == "drop"}
    if (what := nothing_left_message(ids.tolist(), side, dropped)) is not None:
        raise KitboxError(what)
    usable = ~np.isin(ids, list(dropped))
    return inspection.images.take(usable), inspection.signatures.take(usable)


def _headed_by_kind(finding: DataFinding) -> DataFinding:
    """Return a finding on a file with its kind in place of the file, which its message names."""
    kind = "unreadable" if finding.kind in image_checks.UNREADABLE else finding.kind
    return replace(finding, where=kind)
