"""Findings on a competition's data: faulty lists, unreadable or odd images, leaks, odd names."""

import re
import unicodedata
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from kitbox import tables
from kitbox.competition import check_rules, folder_scan, lists, protocol
from kitbox.competition.check_rules import Side
from kitbox.competition.findings import DataFinding, FindingCollector, nothing_left_message
from kitbox.competition.lists import ListedImages, ListSurvey
from kitbox.competition.settings import Competition
from kitbox.dataset import image_checks, inventory, label_checks, near_duplicates
from kitbox.decisions import decision_file
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import readable
from kitbox.images import file_index
from kitbox.images.file_index import Inspection, concatenate_signatures
from kitbox.records import ImageSet, Progress, Strings, strings
from kitbox.workspace import Workspace

_HEADER = ("kind", "where", "image", "what", "action")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Not allowed in file names on Windows, or misread by a CSV reader, a shell or a browser.
_RISKY = set("<>:\"|?*\\,;`'")
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
# Control, format, private and unassigned characters, symbols such as emoji, line separators.
_ODD_CATEGORIES = {"Cc", "Cf", "Co", "Cn", "Cs", "So", "Sk", "Zl", "Zp"}


@dataclass(frozen=True)
class DataCheck:
    """All findings, in the order of `check_rules.KINDS`, then of the images.

    `image_count` is the number of files read. `image_sets` are the images of every side, and the
    files that are in no list.
    """

    findings: tuple[DataFinding, ...]
    image_count: int
    image_sets: tuple[ImageSet, ...] = field(default=(), compare=False, repr=False)

    def by_kind(self) -> dict[str, list[DataFinding]]:
        """Return kind → findings, the kinds that stop a run first, then those that drop images."""
        order = ("stop", "drop", "repair", "keep")
        found: dict[str, list[DataFinding]] = {}
        for finding in self.findings:
            found.setdefault(finding.kind, []).append(finding)
        worst = {kind: min(order.index(f.action) for f in part) for kind, part in found.items()}
        return {kind: found[kind] for kind in sorted(found, key=worst.__getitem__)}


def check(workspace: Workspace, competition: Competition) -> Generator[Progress, None, DataCheck]:
    """Read every list and every image to the end and return all findings; yields Progress.

    Decisions are applied first: an image that one drops is not checked. No file is changed, and no
    finding stops the check.
    """
    collector = FindingCollector(competition, lenient=True)
    decided = collector.attempt(partial(decision_file.load, workspace.decisions)) or Decisions()
    survey = lists.survey(competition, workspace.boxes, decided)
    places, root = survey.places, competition.images.root
    listed = collector.attempt(partial(_as_decided, survey, decided, competition)) or survey.sets
    collector.attempt(partial(_refuse_split, listed, competition))
    collector.attempt(partial(_refuse_faulty_pairs, listed, competition))
    findings = [
        *survey.findings,
        *collector.findings,
        *_gone_findings(survey, decided, competition),
        *list_format_findings(competition, workspace.boxes),
        *inventory.names_elsewhere(survey, competition),
        *name_findings(listed, competition, places),
        *_label_findings(listed[0], competition, places, decided),
    ]
    excluded = _image_set(inventory.excluded_files(survey, competition), root)
    sides: tuple[Side, ...] = ("labelled", "test", "index", "unlisted")
    inspections: dict[Side, Inspection] = {}
    read: set[Path] = set()
    for side, images in zip(sides, (*listed, excluded), strict=True):
        if images is not None:
            # the queries of scenarios are labelled images, which have been read already
            new = np.array([path not in read for path in images.paths], dtype=np.bool_)
            read |= set(images.paths)
            inspections[side] = yield from file_index.inspect(
                images.take(new), workspace, keep_truncated=competition.check.keep_truncated
            )
            findings += image_findings(inspections[side], side, competition, places)
            dropped = {found.image_id: found.what for found in findings if found.action == "drop"}
            if (what := nothing_left_message(images.image_ids.tolist(), side, dropped)) is not None:
                findings.append(DataFinding("kitbox.toml", what, kind="list", action="stop"))
    unlisted = yield from file_index.inspect(
        _image_set(inventory.unlisted_files(survey, competition), root), workspace
    )
    findings += _unlisted_findings(unlisted, inspections)
    image_sets = *(inspection.images for inspection in inspections.values()), unlisted.images
    del inspections["unlisted"]
    findings += _folder_findings(competition)
    findings += _similarity_findings(inspections, competition, places)
    order = {kind: place for place, kind in enumerate(check_rules.KINDS)}
    findings.sort(key=lambda finding: order[finding.kind])
    short = [
        replace(found, where=_relative(found.where, root), what=_relative(found.what, root))
        for found in findings
    ]
    return DataCheck(tuple(short), len(read) + len(unlisted.images), image_sets)


def save(findings: Iterable[DataFinding], path: Path) -> None:
    """Write findings to a CSV, for spreadsheets: no cell is read as a formula."""
    rows = [(each.kind, each.where, each.image_id, each.what, each.action) for each in findings]
    tables.write_rows(path, [_HEADER, *rows])


def list_format_findings(
    competition: Competition, boxes: Path | None = None
) -> Iterator[DataFinding]:
    """Yield findings on lists with a byte-order mark or CRLF; `boxes` is the workspace's list."""
    images, collector = competition.images, FindingCollector(competition)
    listed = (images.train_list, images.test_list, images.boxes, competition.submission.sample)
    for name in dict.fromkeys((*listed, competition.task.scenarios, competition.task.pairs, boxes)):
        path = images.root / (name or "")  # an absolute path replaces the root
        if not path.is_file() or tables.is_workbook(path):
            continue
        data = path.read_bytes()
        found = {
            "byte-order-mark": ("begins with a byte-order mark", data.startswith(_BYTE_ORDER_MARK)),
            "crlf": ("ends its lines in CRLF", b"\r\n" in data),
        }
        for kind, (what, present) in found.items():
            if present:
                action = collector.action(kind, "labelled")
                yield DataFinding(f"{name} line 1", f"the list {what}", kind=kind, action=action)


def name_findings(
    sets: Iterable[ImageSet | None], competition: Competition, places: dict[str, str]
) -> Iterator[DataFinding]:
    """Yield findings on names with odd characters, and on names that differ in case or accents."""
    collector = FindingCollector(competition)
    task, submission = competition.task, competition.submission
    joined = submission.layout == "joined" and task.finds_images
    first: dict[str, str] = {}
    for images in sets:
        if images is None:
            continue
        for image_id, path in zip(images.image_ids.tolist(), images.paths, strict=True):
            odd = _odd_characters(image_id, blanks=joined)
            if "\\x" in image_id and readable(str(path)) != str(path):
                odd = ["bytes that are not UTF-8"]
            where = places[image_id]
            if odd:
                what = f"the name of image '{image_id}' has {', '.join(odd)}"
                action = collector.action("odd-name", "labelled")
                yield DataFinding(where, what, image_id=image_id, kind="odd-name", action=action)
            # the same file on a case-insensitive file system
            folded = unicodedata.normalize("NFC", image_id).casefold()
            other = first.setdefault(folded, image_id)
            if other != image_id:
                what = (
                    f"the names of images '{image_id}' and '{other}' differ only in case or accents"
                )
                action = collector.action("names-alike", "labelled")
                yield DataFinding(where, what, image_id=image_id, kind="names-alike", action=action)


def image_findings(
    inspection: Inspection,
    side: Side,
    competition: Competition,
    places: dict[str, str] | None = None,
    *,
    decisive: bool = False,
) -> list[DataFinding]:
    """Return the findings on the images of one side, kind by kind in the order of the images.

    `places` maps an image id to its list and line. With `decisive`, only findings that leave an
    image out, make it grey, or stop the run are returned.
    """
    root, collector = competition.images.root, FindingCollector(competition)
    found = []
    for check_ in image_checks.checks(inspection, competition.check):
        action = collector.action(check_.kind, side)
        harmless = action in ("keep", "repair") and check_.kind not in image_checks.UNREADABLE
        if decisive and harmless:
            continue
        for row in np.flatnonzero(check_.mask()).tolist():
            image_id = str(inspection.images.image_ids[row])
            file = folder_scan.display_path(inspection.images.paths[row], root)
            where = (places or {}).get(image_id, file)
            found.append(
                DataFinding(
                    where,
                    check_.message(row),
                    image_id=image_id,
                    kind=check_.kind,
                    action=action,
                )
            )
    return found


def _refuse_split(
    listed: tuple[ImageSet | None, ImageSet | None, ImageSet | None], competition: Competition
) -> None:
    """Raise KitboxError for answers that the format of a submission cannot hold."""
    labelled, test, index = listed
    if labelled is not None and test is not None:
        answers = protocol.possible_answers(labelled.labelled, test, index, competition)
        protocol.refuse_split(answers, competition)


def _refuse_faulty_pairs(
    listed: tuple[ImageSet | None, ImageSet | None, ImageSet | None], competition: Competition
) -> None:
    """Raise KitboxError for a list of pairs with a fault."""
    labelled, test, index = listed
    asked = competition.task.answers == "pairs" and competition.task.pairs is not None
    if asked and labelled is not None and test is not None:
        searches = protocol.leaderboard_searches(test, labelled.labelled, index, competition)
        protocol.submitted_pairs(searches, competition)


def _as_decided(
    survey: ListSurvey, decided: Decisions, competition: Competition
) -> tuple[ImageSet | None, ImageSet | None, ImageSet | None]:
    """Return labelled, test and index images after decisions."""
    listed = _listed(survey)
    if listed is None:
        return survey.sets
    found = lists.apply_decisions(listed, decided, competition.images)
    return found.labelled, found.test, found.index


def _gone_findings(
    survey: ListSurvey, decided: Decisions, competition: Competition
) -> list[DataFinding]:
    """Return the finding that decisions are about names that no list has any more."""
    listed = _listed(survey)
    settings = competition.images
    gone = lists.gone_names(listed, decided, settings) if listed else frozenset()
    sentence = [lists.gone_sentence(gone)] if gone else []
    return [DataFinding(str(decided.path), what, kind="gone", action="keep") for what in sentence]


def _listed(survey: ListSurvey) -> ListedImages | None:
    if survey.labelled is None:
        return None
    return ListedImages(
        survey.labelled,
        test=survey.test,
        index=survey.index,
        findings=survey.findings,
        settled=survey.settled,
    )


def _image_set(files: list[Path], root: Path) -> ImageSet:
    """Return files as images named by their path in the data folder."""
    return ImageSet(strings([folder_scan.display_path(file, root) for file in files]), tuple(files))


def _relative(text: str, root: Path) -> str:
    """Return a text in which paths are relative to the data folder."""
    return text.replace(f"{root}/", "")


def _odd_characters(name: str, *, blanks: bool) -> list[str]:
    """Return descriptions of the odd characters of a name, each once; with `blanks` also blanks."""
    if _PLAIN.fullmatch(name):
        return []
    found = []
    for letter in dict.fromkeys(name):
        category = unicodedata.category(letter)
        if category in _ODD_CATEGORIES or (letter.isspace() and letter != " "):
            shown = letter if category == "So" else f"U+{ord(letter):04X}"
            found.append(f"'{shown}'")
        elif letter in _RISKY:
            found.append(f"'{letter}'")
        elif letter == " " and blanks:
            found.append("a blank, which separates answers")
    if name != name.strip(" "):
        found.append("a blank at its end")
    return found


def _unlisted_findings(
    unlisted: Inspection, inspections: dict[Side, Inspection]
) -> Iterator[DataFinding]:
    """Yield findings on images that are in no list; a copy of a listed image names that one."""
    listed: dict[str, str] = {}
    for part in inspections.values():
        listed |= dict(
            zip(part.images.file_digests.tolist(), part.images.image_ids.tolist(), strict=True)
        )
    for row, file in enumerate(unlisted.images.image_ids.tolist()):
        other = listed.get(str(unlisted.images.file_digests[row]))
        also = f"; it has the same bytes as image '{other}'" if other is not None else ""
        also = f"; {unlisted.problems[file]}" if file in unlisted.problems else also
        name = unlisted.images.paths[row].name
        yield DataFinding(
            file, f"no row names {file}{also}", image_id=name, kind="unlisted", action="drop"
        )


def _folder_findings(competition: Competition) -> Iterator[DataFinding]:
    """Yield a finding for each folder and each reason why files in it are not read.

    Also find folders that may not be those of individuals.
    """
    images, root = competition.images, competition.images.root
    from_folders = images.train_list is None and not images.unlabelled
    if from_folders and "individual_level" not in images.model_fields_set:
        doubt = folder_scan.doubt_about_individuals(images)
        if doubt is not None:
            yield DataFinding(images.train_folder, doubt[0], kind="individual-level", action="keep")
    found = folder_scan.left_alone(images)
    odd = [each for each in found if each.reason != "document"]
    for first, sentence in folder_scan.sentences(odd, root, by_folder=True):
        where = folder_scan.display_path(first.path, root)
        yield DataFinding(where, sentence, kind="left-alone", action="drop")


def _similarity_findings(
    inspections: dict[Side, Inspection], competition: Competition, places: dict[str, str]
) -> Iterator[DataFinding]:
    """Yield findings on near-duplicates of an earlier image, and on copies of another side."""
    if not inspections:
        return
    parts = list(inspections.values())
    ids = np.concatenate([part.images.image_ids for part in parts])
    labels = np.concatenate([_labels(part.images) for part in parts])
    sides = np.repeat(list(inspections), [len(part.images) for part in parts])
    original: dict[int, int] = {}  # later row → the earlier row that its finding names
    for one, other in _similar_rows(parts, sides, competition.holdout.near_duplicate_bits):
        differ = labels[one] != labels[other]
        if other not in original or (differ and labels[original[other]] == labels[other]):
            original[other] = one
    collector = FindingCollector(competition)
    for other, one in sorted(original.items()):
        if (sides[one] == "test") != (sides[other] == "test"):
            kind = "leak"
        else:
            conflict = labels[one] != labels[other] and "" not in (labels[one], labels[other])
            kind = "near-conflict" if conflict else "near-copy"
        later, earlier = (
            f"image '{ids[row]}'" + (f" of '{labels[row]}'" if labels[row] else "")
            for row in (other, one)
        )
        where, earlier_place = (places[str(ids[row])] for row in (other, one))
        what = f"{later} looks like {earlier} ({earlier_place})"
        action = collector.action(kind, "labelled")
        yield DataFinding(where, what, image_id=str(ids[other]), kind=kind, action=action)


def _label_findings(
    images: ImageSet | None, competition: Competition, places: dict[str, str], decided: Decisions
) -> Iterator[DataFinding]:
    if images is not None:
        yield from label_checks.label_findings(images.labelled, competition, places, decided)


def _labels(images: ImageSet) -> Strings:
    return strings([""] * len(images)) if images.labels is None else images.labels


def _similar_rows(parts: list[Inspection], sides: Strings, bits: int) -> Iterator[tuple[int, int]]:
    """Yield (earlier, later) rows that are near-duplicates, or copies on two sides.

    `image_checks` finds copies within one side.
    """
    readable = np.flatnonzero(np.concatenate([part.stats["width"] > 0 for part in parts]))
    digests = np.concatenate([part.images.file_digests for part in parts])[readable]
    signatures = concatenate_signatures([part.signatures for part in parts])
    _, first, codes = np.unique(digests, return_index=True, return_inverse=True)
    for one, other in zip(readable[first[codes]], readable, strict=True):
        if sides[one] != sides[other]:
            yield int(one), int(other)
    files = readable[np.sort(first)]
    for one, other in files[near_duplicates.find_pairs(signatures.take(files), bits)]:
        yield int(one), int(other)
