"""Finds what is wrong with images and lists, and says what is done about it."""

import re
import unicodedata
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from kitbox.competition import check_rules, decisions, image_files, lists
from kitbox.competition.check_rules import Action, Side
from kitbox.competition.decisions import Decisions
from kitbox.competition.findings import FindingCollector, ListFinding, nothing_left_message
from kitbox.competition.lists import ListedImages, ListSurvey
from kitbox.competition.settings import Competition
from kitbox.dataset import image_checks, near_duplicates
from kitbox.images import file_index
from kitbox.images.file_index import Inspection, Signatures
from kitbox.records import ImageSet, Progress, Strings, strings
from kitbox.tables import write_rows
from kitbox.workspace import Workspace

_MARK = b"\xef\xbb\xbf"
# In no file name of Windows, or read as something else by a CSV, a shell or a page.
_STUMBLED_OVER = set("<>:\"|?*\\,;`'")
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
# Control, format, private and unassigned characters, symbols as emoji, separators of lines.
_ODD_CATEGORIES = {"Cc", "Cf", "Co", "Cn", "Cs", "So", "Sk", "Zl", "Zp"}


def list_format_findings(
    competition: Competition, drawn: Path | None = None
) -> Iterator[ListFinding]:
    """Find byte-order marks and CRLF in the lists that kitbox reads; `drawn` is of boxes."""
    images, collector = competition.images, FindingCollector(competition)
    listed = (images.train_list, images.test_list, images.boxes, competition.submission.sample)
    for name in dict.fromkeys((*listed, competition.task.scenarios, drawn)):
        path = images.root / (name or "")  # a whole path stays what it is
        if not path.is_file():
            continue
        data = path.read_bytes()
        found = {
            "byte-order-mark": ("begins with a byte-order mark", data.startswith(_MARK)),
            "crlf": ("ends its lines in CRLF", b"\r\n" in data),
        }
        for kind, (what, there) in found.items():
            if there:
                does = collector.action(kind, "labelled")
                yield ListFinding(f"{name} line 1", f"the list {what}", "", kind, does)


def name_findings(
    sets: Iterable[ImageSet | None], competition: Competition, places: dict[str, str]
) -> Iterator[ListFinding]:
    """Find names with odd characters, and names that only small and capital letters tell apart."""
    collector = FindingCollector(competition)
    task, form = competition.task, competition.submission
    joined = form.layout == "joined" and task.answers in ("images", "matches")
    seen: dict[str, str] = {}
    for images in sets:
        for image_id in () if images is None else images.image_ids.tolist():
            odd = _odd_characters(image_id, blanks=joined)
            where = places[image_id]
            if odd:
                what = f"the name of image '{image_id}' has {', '.join(odd)}"
                does = collector.action("odd-name", "labelled")
                yield ListFinding(where, what, image_id, "odd-name", does)
            # a path that a file system without cases takes for the same
            plain = unicodedata.normalize("NFC", image_id).casefold()
            other = seen.setdefault(plain, image_id)
            if other != image_id:
                what = f"only letters' cases or accents tell image '{image_id}' from '{other}'"
                does = collector.action("names-alike", "labelled")
                yield ListFinding(where, what, image_id, "names-alike", does)


def _odd_characters(name: str, *, blanks: bool) -> list[str]:
    """Return the odd characters of a name as a person can read them, each once."""
    if _PLAIN.fullmatch(name):
        return []
    found = []
    for letter in dict.fromkeys(name):
        category = unicodedata.category(letter)
        if category in _ODD_CATEGORIES or (letter.isspace() and letter != " "):
            shown = letter if category == "So" else f"U+{ord(letter):04X}"
            found.append(f"'{shown}'")
        elif letter in _STUMBLED_OVER:
            found.append(f"'{letter}'")
        elif letter == " " and blanks:
            found.append("a blank, which separates answers")
    if name != name.strip(" "):
        found.append("a blank at its end")
    return found


def unlisted_files(survey: ListSurvey, competition: Competition) -> list[Path]:
    """Return the images in the folders that no row names.

    A folder whose list cannot be read is left out: all its images would be named.
    """
    images = competition.images
    sides: list[tuple[ImageSet | None, str]] = [(survey.labelled, images.train_folder)]
    if images.test_folder is not None:
        sides.append((survey.test, images.test_folder))
    used = {
        path for part in survey.sets if part is not None for path in part.paths
    } | survey.named_files
    found: dict[Path, None] = {}
    for part, name in sides:
        folder = images.root / name
        if part is not None and folder.is_dir():
            found |= dict.fromkeys(
                file for file in image_files.list_images(folder) if file not in used
            )
    return list(found)


def excluded_files(survey: ListSurvey, competition: Competition) -> list[Path]:
    """Return the images that kitbox leaves out for their row, or for a list that it cannot read."""
    images = competition.images
    used = {path for part in survey.sets if part is not None for path in part.paths}
    found = set(survey.named_files)
    sides = ((survey.labelled, images.train_folder), (survey.test, images.test_folder))
    for part, name in sides:
        if part is None and name is not None and (images.root / name).is_dir():
            found |= set(image_files.list_images(images.root / name))
    return sorted(found - used)


_HEADER = ("kind", "where", "image", "what", "action")


@dataclass(frozen=True)
class DataFinding:
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
class DataCheck:
    """All findings, in the order of `rules.KINDS`, then of the images; how many files were read.

    `image_sets` are the images of every side and the files that no list names.
    """

    findings: tuple[DataFinding, ...]
    images: int
    image_sets: tuple[ImageSet, ...] = field(default=(), compare=False, repr=False)

    def of_kind(self) -> dict[str, list[DataFinding]]:
        """Return kind → its findings, those that stop a run first, then those that lose images."""
        order = ("stop", "drop", "repair", "keep")
        found: dict[str, list[DataFinding]] = {}
        for finding in self.findings:
            found.setdefault(finding.kind, []).append(finding)
        worst = {kind: min(order.index(f.action) for f in part) for kind, part in found.items()}
        return {kind: found[kind] for kind in sorted(found, key=worst.__getitem__)}


def check(workspace: Workspace, competition: Competition) -> Generator[Progress, None, DataCheck]:
    """Read every list and every image to the end and return what is wrong; yields Progress.

    What decisions.csv says is obeyed: what it drops is not looked at. Originals are never changed.
    Nothing that is wrong stops this reading.
    """
    collector = FindingCollector(competition, lenient=True)
    decided = collector.attempt(partial(decisions.load, workspace.decisions)) or Decisions()
    survey = lists.survey(competition, workspace.boxes, decided)
    places, root = survey.places, competition.images.root
    named = collector.attempt(partial(_decided, survey, decided, competition)) or survey.sets
    listed = (
        *survey.findings,
        *collector.findings,
        *list_format_findings(competition, workspace.boxes),
        *name_findings(named, competition, places),
    )
    findings = [DataFinding(f.kind, f.where, f.image_id, f.what, f.action) for f in listed]
    unread = _of_files(excluded_files(survey, competition), root)
    sides: tuple[Side, ...] = ("labelled", "test", "index", "unlisted")
    read: dict[Side, Inspection] = {}
    taken: set[Path] = set()
    for side, images in zip(sides, (*named, unread), strict=True):
        if images is not None:
            # scenarios ask about labelled images, which are one file each
            new = np.array([path not in taken for path in images.paths], dtype=np.bool_)
            taken |= set(images.paths)
            read[side] = yield from file_index.inspect(images.take(new), workspace)
            findings += image_findings(read[side], side, competition, places)
            dropped = {found.image_id: found.what for found in findings if found.action == "drop"}
            if (what := nothing_left_message(images.image_ids.tolist(), side, dropped)) is not None:
                findings.append(DataFinding("list", "kitbox.toml", "", what, "stop"))
    files = _of_files(unlisted_files(survey, competition), root)
    loose = yield from file_index.inspect(files, workspace)
    findings += _unlisted(loose, read)
    image_sets = *(seen.images for seen in read.values()), loose.images
    del read["unlisted"]
    findings += _alike(read, competition, places)
    order = {kind: place for place, kind in enumerate(check_rules.KINDS)}
    findings.sort(key=lambda finding: order[finding.kind])
    plain = [
        replace(found, where=_short(found.where, root), what=_short(found.what, root))
        for found in findings
    ]
    return DataCheck(tuple(plain), len(taken) + len(files), image_sets)


def image_findings(
    seen: Inspection,
    side: Side,
    competition: Competition,
    places: dict[str, str] | None = None,
    *,
    decisive: bool = False,
) -> list[DataFinding]:
    """Return what is wrong with the images of one side, kind by kind in the order of the images.

    `places` tell the list and line of an image. With `decisive` only what is left out, answered for
    as grey, or stops the run.
    """
    root, collector = competition.images.root, FindingCollector(competition)
    found = []
    for judgement in image_checks.checks(seen, competition.check):
        does = collector.action(judgement.kind, side)
        if (
            decisive
            and does in ("keep", "repair")
            and judgement.kind not in image_checks.UNREADABLE
        ):
            continue
        for row in np.flatnonzero(judgement.rows()).tolist():
            image_id = str(seen.images.image_ids[row])
            file = image_files.display_path(seen.images.paths[row], root)
            where = (places or {}).get(image_id, file)
            found.append(
                DataFinding(judgement.kind, where, image_id, judgement.sentence(row), does)
            )
    return found


def as_fault_of_list(finding: DataFinding) -> ListFinding:
    """Return a finding as a fault of a collection."""
    where = "unreadable" if finding.kind in image_checks.UNREADABLE else finding.kind
    return ListFinding(where, finding.what, finding.image_id, finding.kind, finding.action)


def write(findings: tuple[DataFinding, ...], path: Path) -> None:
    """Write findings to a CSV that a spreadsheet reads as text and never as formulas."""
    rows = [(of.kind, of.where, of.image_id, of.what, of.action) for of in findings]
    write_rows(path, [_HEADER, *rows])


def _decided(
    survey: ListSurvey, decided: Decisions, competition: Competition
) -> tuple[ImageSet | None, ImageSet | None, ImageSet | None]:
    """Return labelled, test and index images as people decided of them."""
    if survey.labelled is None:
        return survey.sets
    listed = ListedImages(
        survey.labelled, survey.test, survey.index, survey.findings, survey.settled
    )
    found = lists.apply_decisions(listed, decided, competition.images.unknown_label)
    return found.labelled, found.test, found.index


def _of_files(files: list[Path], root: Path) -> ImageSet:
    """Return files as images that are called by their path in the data folder."""
    return ImageSet(strings([image_files.display_path(file, root) for file in files]), tuple(files))


def _short(text: str, root: Path) -> str:
    """Return a text in which files are named from the data folder."""
    return text.replace(f"{root}/", "")


def _unlisted(loose: Inspection, read: dict[Side, Inspection]) -> Iterator[DataFinding]:
    """Find images that no list names, and say which of them are copies of one that is named."""
    copied: dict[str, str] = {}
    for seen in read.values():
        copied |= dict(
            zip(seen.images.file_digests.tolist(), seen.images.image_ids.tolist(), strict=True)
        )
    for row, file in enumerate(loose.images.image_ids.tolist()):
        other = copied.get(str(loose.images.file_digests[row]))
        also = f"; it has the same bytes as image '{other}'" if other is not None else ""
        also = f"; {loose.problems[file]}" if file in loose.problems else also
        name = loose.images.paths[row].name
        yield DataFinding("unlisted", file, name, f"no row names {file}{also}", "drop")


def _alike(
    read: dict[Side, Inspection], competition: Competition, places: dict[str, str]
) -> Iterator[DataFinding]:
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
    collector = FindingCollector(competition)
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
        does = collector.action(kind, "labelled")
        yield DataFinding(kind, where, str(ids[other]), what, does)


def _labels(images: ImageSet) -> Strings:
    return strings([""] * len(images)) if images.labels is None else images.labels


def _pairs(read: dict[Side, Inspection], sides: Strings, bits: int) -> Iterator[tuple[int, int]]:
    """Yield (earlier row, later row) of all sides' images that look alike or cross sides as copies.

    Copies of one side are findings of their own.
    """
    parts = list(read.values())
    readable = np.flatnonzero(np.concatenate([seen.stats["width"] > 0 for seen in parts]))
    digests = np.concatenate([seen.images.file_digests for seen in parts])[readable]
    looks = Signatures(
        np.concatenate([seen.signatures.hashes for seen in parts]),
        np.concatenate([seen.signatures.thumbnails for seen in parts]),
    )
    _, first, codes = np.unique(digests, return_index=True, return_inverse=True)
    for one, other in zip(readable[first[codes]], readable, strict=True):
        if sides[one] != sides[other]:
            yield int(one), int(other)
    files = readable[np.sort(first)]
    for one, other in files[near_duplicates.similar_pairs(looks.take(files), bits)]:
        yield int(one), int(other)
