"""Reads the lists of a competition: labelled images, test images, a gallery."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np

from kitbox import tables
from kitbox.competition import boxes, image_files, list_entries
from kitbox.competition.boxes import Corners
from kitbox.competition.decisions import Decisions
from kitbox.competition.findings import FindingCollector, ListFinding
from kitbox.competition.list_entries import ListEntry
from kitbox.competition.settings import Competition, ImageSettings
from kitbox.errors import KitboxError, did_you_mean, more
from kitbox.records import ImageSet, LabelledImages, rows_of, strings

AnyImages = TypeVar("AnyImages", bound=ImageSet)


@dataclass(frozen=True)
class ListedImages:
    """What the lists name: labelled images, test images, a gallery, and what was left out.

    `settled` are images that no file shows and that a decision leaves out.
    """

    labelled: LabelledImages
    test: ImageSet | None
    index: ImageSet | None
    findings: tuple[ListFinding, ...]
    settled: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ListSurvey:
    """What the lists name as far as they can be read, all their findings, and the images' places.

    `places` tell of each image its list and line, or its file where no list names it; `named` are
    the files of all rows, those with a finding too, and `settled` is that of `ListedImages`.
    """

    labelled: LabelledImages | None
    test: ImageSet | None
    index: ImageSet | None
    findings: tuple[ListFinding, ...]
    places: dict[str, str]
    named: frozenset[Path]
    settled: frozenset[str]

    @property
    def sets(self) -> tuple[ImageSet | None, ImageSet | None, ImageSet | None]:
        """Labelled, test and gallery's images."""
        return self.labelled, self.test, self.index


def read(
    competition: Competition, drawn: Path | None = None, decided: Decisions | None = None
) -> ListedImages:
    """Return the labelled, the test and the gallery's images.

    They stand in the order of the lists, test images in that of the sample submission. `drawn` is
    the workspace's list of boxes, which need not be there. Rows are as the lists have them, but an
    image with no label or with two comes in where it is `decided` whom it shows or that it goes,
    for `obeying.apply` to obey. Raises KitboxError for the first faulty row where `images.broken`
    is "stop"; otherwise faulty rows are left out and returned as findings.
    """
    collector = FindingCollector(competition, decisions=decided or Decisions())
    found = _all(collector, drawn)
    assert found.labelled is not None  # noqa: S101  else the collector has stopped
    return ListedImages(
        found.labelled, found.test, found.index, tuple(collector.findings), found.settled
    )


def survey(
    competition: Competition, drawn: Path | None = None, decided: Decisions | None = None
) -> ListSurvey:
    """Return what the lists name and all their findings, none of which stops this reading."""
    return _all(
        FindingCollector(competition, lenient=True, decisions=decided or Decisions()), drawn
    )


def _all(collector: FindingCollector, drawn: Path | None) -> ListSurvey:
    competition, images = collector.competition, collector.competition.images
    labelled = collector.attempt(partial(list_entries.read_labelled, images, collector))
    test = collector.attempt(partial(list_entries.read_test, images, collector))
    index = collector.attempt(partial(list_entries.read_index, images))
    collector.raise_first()
    corners = collector.attempt(partial(boxes.read, images, drawn)) or {}
    # scenarios without test images are examples that the organisers made of labelled images
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
    collector.attempt(partial(_refuse_shared, sets, examples))
    collector.attempt(partial(_refuse_strange_boxes, sets, images.boxes or str(drawn), corners))
    if collector.lenient:
        _note_strange_boxes(sets, drawn, collector)
    asked = sets["test images"]
    sorted_test = collector.attempt(partial(_as_sample, asked, competition))
    by_list = ((None, index), (list_entries.test_list(images), test), (images.train_list, labelled))
    return ListSurvey(
        None if sets["training images"] is None else sets["training images"].labelled,
        asked if sorted_test is None else sorted_test,
        sets["index"],
        tuple(collector.findings),
        _places(images, by_list) if collector.lenient else {},
        frozenset(collector.named_files),
        frozenset(collector.settled),
    )


def _places(
    images: ImageSettings, parts: Iterable[tuple[str | None, list[ListEntry] | None]]
) -> dict[str, str]:
    """Return image id → its line in its list, or its file where a folder names it."""
    return {
        entry.image_id: f"{listed} line {entry.line}"
        if entry.line
        else image_files.display_path(entry.path, images.root)
        for listed, part in parts
        for entry in part or ()
    }


def _as_sample(test: ImageSet | None, competition: Competition) -> ImageSet | None:
    """Return the test images in the order of the sample submission, where there is one."""
    form = competition.submission
    if test is None or form.sample is None or form.layout == "long" or not form.header:
        return test
    path = competition.images.root / form.sample
    listed = dict.fromkeys(
        image_id for _, (image_id,) in tables.read_columns(path, form.header[:1])
    )
    for image_id in test.image_ids.tolist():
        if image_id not in listed:
            raise KitboxError(f"{path} has no row for test image '{image_id}'; get the whole file")
    known = set(test.image_ids.tolist())
    strangers = [image_id for image_id in listed if image_id not in known]
    if strangers:
        raise KitboxError(
            f"{path} asks for '{strangers[0]}', which is not a test image"
            f"{more(len(strangers) - 1)}; get all test images, or correct submission.sample"
        )
    return test.of(strings(list(listed)))


def _refuse_shared(sets: dict[str, ImageSet | None], examples: bool) -> None:
    """Raise KitboxError for a name that two images have; examples are labelled images again."""
    for (name, one), (other_name, other) in combinations(sets.items(), 2):
        if one is None or other is None or (examples and "test images" in (name, other_name)):
            continue
        both = np.intersect1d(one.image_ids, other.image_ids)
        if len(both):
            raise KitboxError(
                f"image '{both[0]}' is in the {name} and in the {other_name}"
                f"{more(len(both) - 1)}; rename it in one of them"
            )


def _refuse_strange_boxes(
    sets: dict[str, ImageSet | None], shown: str, corners: dict[str, Corners]
) -> None:
    parts = [part for part in sets.values() if part is not None]
    if parts and corners and not any(part.boxes is not None for part in parts):
        raise KitboxError(
            f"{shown} has no box of any image: it names '{next(iter(corners))}', "
            f"where images are called as '{parts[0].image_ids[0]}'; correct its names"
        )


def _note_strange_boxes(
    sets: dict[str, ImageSet | None], drawn: Path | None, collector: FindingCollector
) -> None:
    """Note every row of boxes whose image no list names, once the lists could be read."""
    if any(finding.kind == "list" for finding in collector.findings):
        return
    known = {
        finding.image_id for finding in collector.findings
    }  # named, by a row that has a finding
    known.update(*(part.image_ids.tolist() for part in sets.values() if part is not None))
    for where, name in boxes.read_names(collector.competition.images, drawn):
        if name not in known:
            what = f"the box of '{name}' is of no image; correct the name or remove the row"
            collector.findings.append(ListFinding(where, what, name, "box"))


def apply_decisions(
    listed: ListedImages, decided: Decisions, unknown: str | None = None
) -> ListedImages:
    """Return what the lists name as it was decided; `unknown` is the label of no individual.

    Raises KitboxError, with file and line, for an image or a label that no list knows.
    """
    if not decided.rows:
        return listed
    _refuse_strangers(listed, decided, unknown)
    away = list(decided.dropped)
    labelled = _relabelled(listed.labelled, decided)
    labelled = labelled.take(~np.isin(labelled.image_ids, [*away, *decided.wrong]))
    if not len(labelled):
        raise KitboxError(f"{decided.path} leaves no labelled image; take back some decisions")
    index = listed.index and listed.index.take(~np.isin(listed.index.image_ids, away))
    return replace(
        listed,
        labelled=_boxed(labelled, decided.boxes),
        test=listed.test and _boxed(listed.test, decided.boxes),
        index=index and _boxed(index, decided.boxes),
    )


def _relabelled(labelled: LabelledImages, decided: Decisions) -> LabelledImages:
    labels, merged = decided.labels, decided.merged
    now = [
        labels.get(image_id, label)
        for image_id, label in zip(
            labelled.image_ids.tolist(), labelled.labels.tolist(), strict=True
        )
    ]
    return labelled.with_labels(strings([merged.get(label, label) for label in now]))


def _boxed(images: AnyImages, boxes: dict[str, Corners]) -> AnyImages:
    rows = rows_of(strings(list(boxes)), images.image_ids)
    if not (rows >= 0).any():
        return images
    corners = np.full((len(images), 4), np.nan, dtype=np.float32)
    if images.boxes is not None:
        corners[:] = images.boxes
    corners[rows[rows >= 0]] = np.array(list(boxes.values()), dtype=np.float32)[rows >= 0]
    return replace(images, boxes=corners)


def _refuse_strangers(listed: ListedImages, decided: Decisions, unknown: str | None) -> None:
    """Raise KitboxError for the first row about an image or a label that no list knows."""
    faulty = {finding.image_id: finding for finding in listed.findings if finding.image_id}
    left_out = {*faulty, *listed.settled}
    labelled = set(listed.labelled.image_ids.tolist())
    index, test = (
        set() if part is None else set(part.image_ids.tolist())
        for part in (listed.index, listed.test)
    )
    images = labelled | index | test
    # a name that a later row of its image took away again is still one that a person gave
    given = {row.value for row in decided.rows_of("label")}
    labels = {*listed.labelled.labels.tolist(), *given}
    for row, line in zip(decided.rows, decided.lines, strict=True):
        names = [name for name in (row.subject, row.value) if name]
        match row.kind:
            case "merge":
                known, what = labels - {unknown}, "label of an individual"
            case "fine":
                known, what = images | labels | left_out, "image or label"
            case "box":
                names, known, what = names[:1], images, "image"
            case "drop":
                names, known, what = names[:1], labelled | index | left_out, "labelled image"
            case "label":
                names, known, what = names[:1], labelled, "labelled image"
            case _:
                names, known, what = names[:1], labelled | left_out, "labelled image"
        for name in names:
            if name not in known:
                mend = "; correct or remove the row"
                if name in test:
                    aside = f" but a test image{mend}"
                elif name in faulty:
                    aside = f"; see {faulty[name]}"
                else:
                    aside = did_you_mean(name, known)
                raise KitboxError(
                    f"'{name}' is no {what}{aside or mend}", where=f"{decided.path} line {line}"
                )
