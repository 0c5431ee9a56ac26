"""Finds what is wrong with images and lists, and says what is done about it."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from kitbox.competition import decision_file, lists, obeying, oddities, placing, rules
from kitbox.competition.decisions import Decisions
from kitbox.competition.faults import Course, Fault, nothing_left
from kitbox.competition.lists import Listed, Survey
from kitbox.competition.rules import Action, Side
from kitbox.competition.settings import Competition
from kitbox.files import write_table
from kitbox.images import index, judging, likeness
from kitbox.images.index import Inspected, Looks
from kitbox.records import ImageSet, Progress, Strings, strings
from kitbox.workspace import Workspace

_HEADER = ("kind", "where", "image", "what", "action")


@dataclass(frozen=True)
class Finding:
    """Something wrong: of which kind of `rules.KINDS`, where, and what kitbox does about it.

    `where` names a list and its line, or a file. `action` is what `collection.collect` does:
    "repair" reads it as it is meant, "keep" takes it as it is, "drop" leaves the image out of the
    labelled images and the index, "stop" refuses to go on.
    """

    kind: str
    where: str
    image_id: str
    what: str
    action: Action


@dataclass(frozen=True)
class Checked:
    """All findings, in the order of `rules.KINDS`, then of the images; how many files were read.

    `image_sets` are the images of every side and the files that no list names.
    """

    findings: tuple[Finding, ...]
    images: int
    image_sets: tuple[ImageSet, ...] = field(default=(), compare=False, repr=False)

    def of_kind(self) -> dict[str, list[Finding]]:
        """Return kind → its findings, those that stop a run first, then those that lose images."""
        order = ("stop", "drop", "repair", "keep")
        found: dict[str, list[Finding]] = {}
        for finding in self.findings:
            found.setdefault(finding.kind, []).append(finding)
        worst = {kind: min(order.index(f.action) for f in part) for kind, part in found.items()}
        return {kind: found[kind] for kind in sorted(found, key=worst.__getitem__)}


def check(workspace: Workspace, competition: Competition) -> Generator[Progress, None, Checked]:
    """Read every list and every image to the end and return what is wrong; yields Progress.

    What decisions.csv says is obeyed: what it drops is not looked at. Originals are never changed.
    Nothing that is wrong stops this reading.
    """
    course = Course(competition, patient=True)
    decided = course.tried(partial(decision_file.read, workspace.decisions)) or Decisions()
    survey = lists.survey(competition, workspace.boxes, decided)
    places, root = survey.places, competition.images.root
    named = course.tried(partial(_decided, survey, decided, competition)) or survey.sets
    faults = (
        *survey.faults,
        *course.faults,
        *oddities.of_lists(competition, workspace.boxes),
        *oddities.of_names(named, competition, places),
    )
    findings = [Finding(f.kind, f.where, f.image_id, f.what, f.action) for f in faults]
    unread = _of_files(oddities.unread(survey, competition), root)
    sides: tuple[Side, ...] = ("labelled", "test", "index", "unlisted")
    read: dict[Side, Inspected] = {}
    taken: set[Path] = set()
    for side, images in zip(sides, (*named, unread), strict=True):
        if images is not None:
            # scenarios ask about labelled images, which are one file each
            new = np.array([path not in taken for path in images.paths], dtype=np.bool_)
            taken |= set(images.paths)
            read[side] = yield from index.inspect(images.take(new), workspace)
            findings += of_images(read[side], side, competition, places)
            dropped = {found.image_id: found.what for found in findings if found.action == "drop"}
            if (what := nothing_left(images.image_ids.tolist(), side, dropped)) is not None:
                findings.append(Finding("list", "kitbox.toml", "", what, "stop"))
    files = _of_files(oddities.unlisted(survey, competition), root)
    loose = yield from index.inspect(files, workspace)
    findings += _unlisted(loose, read)
    image_sets = *(seen.images for seen in read.values()), loose.images
    del read["unlisted"]
    findings += _alike(read, competition, places)
    order = {kind: place for place, kind in enumerate(rules.KINDS)}
    findings.sort(key=lambda finding: order[finding.kind])
    plain = [
        replace(found, where=_short(found.where, root), what=_short(found.what, root))
        for found in findings
    ]
    return Checked(tuple(plain), len(taken) + len(files), image_sets)


def of_images(
    seen: Inspected,
    side: Side,
    competition: Competition,
    places: dict[str, str] | None = None,
    *,
    decisive: bool = False,
) -> list[Finding]:
    """Return what is wrong with the images of one side, kind by kind in the order of the images.

    `places` tell the list and line of an image. With `decisive` only what is left out, answered for
    as grey, or stops the run.
    """
    root, course = competition.images.root, Course(competition)
    found = []
    for judgement in judging.judgements(seen, competition.check):
        does = course.action(judgement.kind, side)
        if decisive and does in ("keep", "repair") and judgement.kind not in judging.UNREADABLE:
            continue
        for row in np.flatnonzero(judgement.rows()).tolist():
            image_id = str(seen.images.image_ids[row])
            file = placing.shown(seen.images.paths[row], root)
            where = (places or {}).get(image_id, file)
            found.append(Finding(judgement.kind, where, image_id, judgement.sentence(row), does))
    return found


def as_fault(finding: Finding) -> Fault:
    """Return a finding as a fault of a collection."""
    where = "unreadable" if finding.kind in judging.UNREADABLE else finding.kind
    return Fault(where, finding.what, finding.image_id, finding.kind, finding.action)


def write(findings: tuple[Finding, ...], path: Path) -> None:
    """Write findings to a CSV that a spreadsheet reads as text and never as formulas."""
    rows = [(of.kind, of.where, of.image_id, of.what, of.action) for of in findings]
    write_table(path, [_HEADER, *rows])


def _decided(
    survey: Survey, decided: Decisions, competition: Competition
) -> tuple[ImageSet | None, ImageSet | None, ImageSet | None]:
    """Return labelled, test and index images as people decided of them."""
    if survey.labelled is None:
        return survey.sets
    listed = Listed(survey.labelled, survey.test, survey.index, survey.faults, survey.settled)
    found = obeying.apply(listed, decided, competition.images.unknown_label)
    return found.labelled, found.test, found.index


def _of_files(files: list[Path], root: Path) -> ImageSet:
    """Return files as images that are called by their path in the data folder."""
    return ImageSet(strings([placing.shown(file, root) for file in files]), tuple(files))


def _short(text: str, root: Path) -> str:
    """Return a text in which files are named from the data folder."""
    return text.replace(f"{root}/", "")


def _unlisted(loose: Inspected, read: dict[Side, Inspected]) -> Iterator[Finding]:
    """Find images that no list names, and say which of them are copies of one that is named."""
    copied: dict[str, str] = {}
    for seen in read.values():
        assert seen.images.digests is not None  # noqa: S101  inspected images have digests
        copied |= dict(
            zip(seen.images.digests.tolist(), seen.images.image_ids.tolist(), strict=True)
        )
    assert loose.images.digests is not None  # noqa: S101  as above
    for row, file in enumerate(loose.images.image_ids.tolist()):
        other = copied.get(str(loose.images.digests[row]))
        also = f"; it has the same bytes as image '{other}'" if other is not None else ""
        also = f"; {loose.problems[file]}" if file in loose.problems else also
        name = loose.images.paths[row].name
        yield Finding("unlisted", file, name, f"no row names {file}{also}", "drop")


def _alike(
    read: dict[Side, Inspected], competition: Competition, places: dict[str, str]
) -> Iterator[Finding]:
    """Find images that look like an earlier one, and copies of images of another side."""
    if not read:
        return
    ids = np.concatenate([seen.images.image_ids for seen in read.values()])
    labels = np.concatenate([_labels(seen.images) for seen in read.values()])
    sides = np.repeat(list(read), [len(seen.images) for seen in read.values()])
    chosen: dict[int, int] = {}
    for one, other in _pairs(read, sides, competition.holdout.near_duplicate_bits):
        odds = labels[one] != labels[other]
        if other not in chosen or (odds and labels[chosen[other]] == labels[other]):
            chosen[other] = one
    course = Course(competition)
    for other, one in sorted(chosen.items()):
        if (sides[one] == "test") != (sides[other] == "test"):
            kind = "leak"
        else:
            odds = labels[one] != labels[other] and "" not in (labels[one], labels[other])
            kind = "near-conflict" if odds else "near-copy"
        named = [
            f"image '{ids[row]}'" + (f" of '{labels[row]}'" if labels[row] else "")
            for row in (other, one)
        ]
        where, beside = (places[str(ids[row])] for row in (other, one))
        what = f"{named[0]} looks like {named[1]} ({beside})"
        does = course.action(kind, "labelled")
        yield Finding(kind, where, str(ids[other]), what, does)


def _labels(images: ImageSet) -> Strings:
    return strings([""] * len(images)) if images.labels is None else images.labels


def _pairs(read: dict[Side, Inspected], sides: Strings, bits: int) -> Iterator[tuple[int, int]]:
    """Yield (earlier row, later row) of all sides' images that look alike or cross sides as copies.

    Copies of one side are findings of their own.
    """
    parts = list(read.values())
    readable = np.flatnonzero(np.concatenate([seen.facts["width"] > 0 for seen in parts]))
    digests = np.concatenate([seen.images.digests for seen in parts])[readable]
    looks = Looks(
        np.concatenate([seen.looks.hashes for seen in parts]),
        np.concatenate([seen.looks.thumbnails for seen in parts]),
    )
    _, first, codes = np.unique(digests, return_index=True, return_inverse=True)
    for one, other in zip(readable[first[codes]], readable, strict=True):
        if sides[one] != sides[other]:
            yield int(one), int(other)
    files = readable[np.sort(first)]
    for one, other in files[likeness.near_duplicates(looks.take(files), bits)]:
        yield int(one), int(other)
