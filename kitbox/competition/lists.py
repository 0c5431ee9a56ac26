"""Lists of a competition read into image sets: labelled images, test images, an index."""

from collections.abc import Collection, Iterable
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np

from kitbox import tables
from kitbox.competition import boxes, folder_scan, list_entries, settings
from kitbox.competition.findings import DataFinding, FindingCollector
from kitbox.competition.image_files import photograph_of
from kitbox.competition.list_entries import ListEntry
from kitbox.competition.settings import Competition, ImageSettings
from kitbox.decisions import decision_file
from kitbox.decisions.decision import PAIR_KINDS, Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.decisions.image_links import NO_LINKS, Links
from kitbox.errors import KitboxError, counted, did_you_mean, more
from kitbox.records import Corners, ImageSet, LabelledImages, rows_of, strings
from kitbox.workspace import Workspace

AnyImages = TypeVar("AnyImages", bound=ImageSet)


@dataclass(frozen=True)
class ListedImages:
    """The images that the lists name, and the findings on rows left out.

    `settled` are images without a file whose rows a decision leaves out, `links` the images that
    decisions call the same individual or different ones. `gone` are images and labels that no list
    names any more, of decisions that a page wrote.
    """

    labelled: LabelledImages
    _: KW_ONLY
    test: ImageSet | None = None
    index: ImageSet | None = None
    findings: tuple[DataFinding, ...] = ()
    settled: frozenset[str] = frozenset()
    links: Links = NO_LINKS
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class ListSurvey:
    """The images that the lists name, as far as they can be read, and all findings.

    `places` maps an image to its list and line, or to its file where no list names it.
    `named_files` are the files of all rows, those of faulty rows included; `settled` is that of
    `ListedImages`. `rows` counts the rows read of each list.
    """

    labelled: LabelledImages | None
    test: ImageSet | None
    index: ImageSet | None
    findings: tuple[DataFinding, ...]
    places: dict[str, str]
    named_files: frozenset[Path]
    settled: frozenset[str]
    rows: dict[str, int]

    @property
    def sets(self) -> tuple[ImageSet | None, ImageSet | None, ImageSet | None]:
        """The labelled, test and index images."""
        return self.labelled, self.test, self.index


def read(
    competition: Competition, boxes_file: Path | None = None, decisions: Decisions | None = None
) -> ListedImages:
    """Return the labelled, test and index images.

    They keep the order of the lists, test images that of the sample submission. `boxes_file` is
    the workspace's list of boxes, which may be missing. `decisions` are not applied here, see
    `apply_decisions`; but an image with an empty label or with two is read where one of them
    settles it. Raises KitboxError for the first faulty row where `images.broken` is "stop";
    otherwise faulty rows are left out and returned as findings.
    """
    collector = FindingCollector(competition, decisions=decisions or Decisions())
    found = _read(collector, boxes_file)
    assert found.labelled is not None  # noqa: S101  else the collector has raised
    return ListedImages(
        found.labelled,
        test=found.test,
        index=found.index,
        findings=found.findings,
        settled=found.settled,
    )


def survey(
    competition: Competition, boxes_file: Path | None = None, decisions: Decisions | None = None
) -> ListSurvey:
    """Return the images that the lists name with all findings, none of which stops the reading."""
    collector = FindingCollector(competition, lenient=True, decisions=decisions or Decisions())
    return _read(collector, boxes_file)


def _read(collector: FindingCollector, boxes_file: Path | None) -> ListSurvey:
    competition, images = collector.competition, collector.competition.images
    labelled = collector.attempt(partial(list_entries.read_labelled, images, collector))
    test = collector.attempt(partial(list_entries.read_test, images, collector))
    index = collector.attempt(partial(list_entries.read_index, images))
    collector.raise_first()
    corners = collector.attempt(partial(boxes.read_with_animals, images, boxes_file)) or {}
    # scenarios without test images are examples that the organisers made from labelled images
    examples = test is None and competition.task.scenarios is not None
    parts = {
        "training images": (labelled, True),
        "test images": (labelled if examples else test, False),
        "index": (index, False),
    }
    sets = {
        name: None
        if part is None
        else collector.attempt(
            partial(list_entries.to_image_set, part, images, corners, labels=labels)
        )
        for name, (part, labels) in parts.items()
    }
    if labelled is not None:
        list_entries.add_time_findings(labelled, images, "labelled", collector)
    if test is not None and list_entries.test_list(images) is not None:
        list_entries.add_time_findings(test, images, "test", collector)
    collector.attempt(partial(_refuse_shared_names, sets, examples))
    collector.attempt(
        partial(_refuse_foreign_boxes, sets, images.boxes or str(boxes_file), corners, competition)
    )
    if collector.lenient:
        _add_foreign_boxes(sets, boxes_file, collector)
    test_set = sets["test images"]
    sorted_test = collector.attempt(partial(_in_sample_order, test_set, competition))
    by_list = ((None, index), (list_entries.test_list(images), test), (images.train_list, labelled))
    return ListSurvey(
        labelled=None if sets["training images"] is None else sets["training images"].labelled,
        test=test_set if sorted_test is None else sorted_test,
        index=sets["index"],
        findings=tuple(collector.findings),
        places=_places(images, by_list) if collector.lenient else {},
        named_files=frozenset(collector.named_files),
        settled=frozenset(collector.settled),
        rows=dict(collector.rows),
    )


def _places(
    images: ImageSettings, parts: Iterable[tuple[str | None, list[ListEntry] | None]]
) -> dict[str, str]:
    """Return image id → its list and line, or its file where a folder names it."""
    return {
        entry.image_id: f"{listed} line {entry.line}"
        if entry.line
        else folder_scan.display_path(entry.path, images.root)
        for listed, part in parts
        for entry in part or ()
    }


def _in_sample_order(test: ImageSet | None, competition: Competition) -> ImageSet | None:
    """Return the test images in the order of the sample submission, where there is one."""
    csv_format = competition.submission
    if (
        test is None
        or csv_format.sample is None
        or csv_format.layout in ("long", "pairs")
        or not csv_format.header
    ):
        return test
    path = competition.images.root / csv_format.sample
    listed = dict.fromkeys(
        image_id for _, (image_id,) in tables.read_columns(path, csv_format.header[:1])
    )
    for image_id in test.image_ids.tolist():
        if image_id not in listed:
            raise KitboxError(
                f"{path} has no row for test image '{image_id}'", fix="get the whole file"
            )
    known = set(test.image_ids.tolist())
    foreign = [image_id for image_id in listed if image_id not in known]
    if foreign:
        raise KitboxError(
            f"{path} names '{foreign[0]}', which is not a test image{more(len(foreign) - 1)}",
            fix="get all test images, or correct submission.sample",
        )
    return test.of(strings(list(listed)))


def _refuse_shared_names(sets: dict[str, ImageSet | None], examples: bool) -> None:
    """Raise KitboxError for a name that two images have; examples repeat labelled images."""
    for (name, one), (other_name, other) in combinations(sets.items(), 2):
        if one is None or other is None or (examples and "test images" in (name, other_name)):
            continue
        both = np.intersect1d(one.image_ids, other.image_ids)
        if len(both):
            raise KitboxError(
                f"image '{both[0]}' is in the {name} and in the {other_name}{more(len(both) - 1)}",
                fix="rename it in one of them, or name it with a folder before it",
            )


def _refuse_foreign_boxes(
    sets: dict[str, ImageSet | None],
    list_name: str,
    corners: dict[str, Corners],
    competition: Competition,
) -> None:
    """Raise KitboxError where boxes are given and no image has one."""
    parts = [part for part in sets.values() if part is not None]
    if not parts or any(part.boxes is not None for part in parts):
        return
    foreign = next((name for name in corners if not _is_of_other_season(name, competition)), None)
    if foreign is not None:
        raise KitboxError(
            f"{list_name} has no box for any image: it names '{foreign}', "
            f"but image names look like '{parts[0].image_ids[0]}'",
            fix="correct its names",
        )


def _is_of_other_season(name: str, competition: Competition) -> bool:
    """Return whether a name is that of a catalogue's photograph that no list has at present."""
    return (
        competition.catalogue.source is not None
        and (competition.images.root / photograph_of(name)).is_file()
    )


def _add_foreign_boxes(
    sets: dict[str, ImageSet | None], boxes_file: Path | None, collector: FindingCollector
) -> None:
    """Add a finding for every box whose image no list names, if the lists could be read."""
    if any(finding.kind == "list" for finding in collector.findings):
        return
    # images of faulty rows are named too
    known = {finding.image_id for finding in collector.findings}
    known.update(*(part.image_ids.tolist() for part in sets.values() if part is not None))
    known |= {photograph_of(name) for name in known}
    for where, name in boxes.read_names(collector.competition.images, boxes_file):
        if name not in known and not _is_of_other_season(name, collector.competition):
            what = f"the box of '{name}' belongs to no image; correct the name or remove the row"
            collector.findings.append(DataFinding(where, what, image_id=name, kind="box"))


def apply_decisions(
    listed: ListedImages, decisions: Decisions, images: ImageSettings | None = None
) -> ListedImages:
    """Return the listed images with decisions applied; `images` name the unknown individuals.

    Raises KitboxError, with file and line, for a decision about an image or label that no list
    names, and for links of images that contradict each other or the labels.
    """
    if not decisions.rows:
        return listed
    gone_of = _gone_names(listed, decisions, images)
    decisions = decisions.where(lambda row: row not in gone_of)
    _refuse_foreign_names(listed, decisions, images)
    dropped = list(decisions.dropped)
    labelled = _relabelled(listed.labelled, decisions, images)
    labelled = labelled.take(~np.isin(labelled.image_ids, [*dropped, *decisions.wrong]))
    if not len(labelled):
        raise KitboxError(
            f"{decisions.path} leaves no labelled image", fix="take back some decisions"
        )
    index = listed.index and listed.index.take(~np.isin(listed.index.image_ids, dropped))
    return replace(
        listed,
        labelled=_with_boxes(labelled, decisions.boxes),
        test=listed.test and _with_boxes(listed.test, decisions.boxes),
        index=index and _with_boxes(index, decisions.boxes),
        links=decisions.link(_known_labels(labelled, images)),
        gone=frozenset(name for names in gone_of.values() for name in names),
    )


def gone_names(
    listed: ListedImages, decisions: Decisions, images: ImageSettings | None = None
) -> frozenset[str]:
    """Return the images and labels of rows of a page that no list names: they were there once."""
    found = _gone_names(listed, decisions, images).values()
    return frozenset(name for names in found for name in names)


def _gone_names(
    listed: ListedImages, decisions: Decisions, settings: ImageSettings | None
) -> dict[Decision, set[str]]:
    """Return row of a page → the images and labels it names and no list does; others are left out.

    A label that only a row about such an image gives is gone too.
    """
    if not any(row.from_page for row in decisions.rows):
        return {}
    here = {finding.image_id for finding in listed.findings} | listed.settled
    for part in (listed.labelled, listed.test, listed.index):
        here |= set() if part is None else set(part.image_ids.tolist())
    labels = set(listed.labelled.labels.tolist())
    labels |= {row.value for row in decisions.rows_of("label") if row.subject in here}
    found: dict[Decision, set[str]] = {}
    for row in decisions.rows:
        names, known = set(row.images), here
        if row.kind == "merge":
            names, known = {row.subject, row.value}, labels
        elif row.kind == "fine":
            names, known = {row.subject, row.value} - {""}, here | labels
            if settings:  # a label that is read as the unknown one by now is none that is gone
                unknown = settings.unknown_label
                names = {name for name in names if settings.read_label(name) != unknown}
        if row.from_page and not names <= known:
            found[row] = names - known
    return found


def gone_sentence(gone: Collection[str]) -> str:
    """Return that decisions about some images and labels do not count while they are gone."""
    return (
        f"decisions about {counted(len(gone), 'photograph or label', 'photographs or labels')} "
        f"that no list names do not count, such as '{min(gone)}'; they stay in decisions.csv"
    )


def _known_labels(labelled: LabelledImages, settings: ImageSettings | None) -> dict[str, str]:
    """Return image id → label of the images of known individuals."""
    unnamed = {"", (settings.unknown_label if settings else None) or ""}
    pairs = zip(labelled.image_ids.tolist(), labelled.labels.tolist(), strict=True)
    return {image: label for image, label in pairs if label not in unnamed}


def _relabelled(
    images: LabelledImages, decisions: Decisions, settings: ImageSettings | None
) -> LabelledImages:
    labels, merged = decisions.labels, decisions.merged
    current = [
        labels.get(image_id, label)
        for image_id, label in zip(images.image_ids.tolist(), images.labels.tolist(), strict=True)
    ]
    found = [merged.get(label, label) for label in current]
    return images.with_labels(strings(list(map(settings.read_label, found)) if settings else found))


def _with_boxes(images: AnyImages, boxes: dict[str, Corners]) -> AnyImages:
    rows = rows_of(strings(list(boxes)), images.image_ids)
    if not (rows >= 0).any():
        return images
    corners = np.full((len(images), 4), np.nan, dtype=np.float32)
    if images.boxes is not None:
        corners[:] = images.boxes
    corners[rows[rows >= 0]] = np.array(list(boxes.values()), dtype=np.float32)[rows >= 0]
    return replace(images, boxes=corners)


def _refuse_foreign_names(
    listed: ListedImages, decisions: Decisions, settings: ImageSettings | None
) -> None:
    """Raise KitboxError for the first decision about an image or label that no list names."""
    unknown = settings.unknown_label if settings else None
    faulty = {finding.image_id: finding for finding in listed.findings if finding.image_id}
    left_out = {*faulty, *listed.settled}
    labelled = set(listed.labelled.image_ids.tolist())
    index, test = (
        set() if part is None else set(part.image_ids.tolist())
        for part in (listed.index, listed.test)
    )
    images = labelled | index | test
    # a label that a later row of the same image replaced is still one that the user gave
    given = {row.value for row in decisions.rows_of("label")}
    labels = {*listed.labelled.labels.tolist(), *given}
    for row, line in zip(decisions.rows, decisions.lines, strict=True):
        names = [name for name in (row.subject, row.value) if name]
        match row.kind:
            case "merge":
                known, what = labels - {unknown}, "label of an individual"
            case "fine":
                known, what = images | labels | left_out, "image or label"
            case "box":
                names, known, what = names[:1], images, "image"
            case "same" | "different" | "new" | "unsure" | "poor":
                known, what = images | left_out, "image"
            case "drop":
                names, known, what = names[:1], labelled | index | left_out, "labelled image"
            case "label":
                names, known, what = names[:1], labelled, "labelled image"
            case _:
                names, known, what = names[:1], labelled | left_out, "labelled image"
        for name in names:
            # a label that the settings have read as the unknown one since it was found to be fine
            if row.kind == "fine" and settings and settings.read_label(name) == unknown:
                continue
            if name not in known:
                fix = "; correct or remove the row"
                if name in test:
                    aside = f" but a test image{fix}"
                elif name in faulty:
                    aside = f"; see {faulty[name]}"
                else:
                    aside = did_you_mean(name, known) or fix
                raise KitboxError(
                    f"'{name}' is no {what}{aside}", where=f"{decisions.path} line {line}"
                )


def settle(workspace: Workspace) -> int:
    """Leave out decisions about images that are not here; return their number.

    Hidden test images are others than those that people looked at.
    """
    decided = decision_file.load(workspace.decisions)
    if not decided.rows:
        return 0
    found = survey(settings.load(workspace), workspace.boxes)
    sides = (found.labelled, found.test, found.index)
    known = {image for side in sides if side is not None for image in side.image_ids.tolist()}
    kept = [
        row
        for row in decided.rows
        if row.kind in ("merge", "fine")
        or (row.subject in known and (row.kind not in PAIR_KINDS or row.value in known))
    ]
    if len(kept) < len(decided.rows):
        workspace.decisions.unlink()
        decision_file.add(workspace.decisions, *kept)
    return len(decided.rows) - len(kept)
