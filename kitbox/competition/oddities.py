"""Finds what is odd about lists and names though it can be read: bytes, characters, files."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from kitbox.competition import placing
from kitbox.competition.faults import Course, Fault
from kitbox.competition.lists import Survey
from kitbox.competition.settings import Competition
from kitbox.records import ImageSet

_MARK = b"\xef\xbb\xbf"
# In no file name of Windows, or read as something else by a CSV, a shell or a page.
_STUMBLED_OVER = set("<>:\"|?*\\,;`'")
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
# Control, format, private and unassigned characters, symbols as emoji, separators of lines.
_ODD_CATEGORIES = {"Cc", "Cf", "Co", "Cn", "Cs", "So", "Sk", "Zl", "Zp"}


def of_lists(competition: Competition, drawn: Path | None = None) -> Iterator[Fault]:
    """Find byte-order marks and CRLF in the lists that kitbox reads; `drawn` is of boxes."""
    images, course = competition.images, Course(competition)
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
                does = course.action(kind, "labelled")
                yield Fault(f"{name} line 1", f"the list {what}", "", kind, does)


def of_names(
    sets: Iterable[ImageSet | None], competition: Competition, places: dict[str, str]
) -> Iterator[Fault]:
    """Find names with odd characters, and names that only small and capital letters tell apart."""
    course = Course(competition)
    task, form = competition.task, competition.submission
    joined = form.layout == "joined" and task.answers in ("images", "matches")
    seen: dict[str, str] = {}
    for images in sets:
        for image_id in () if images is None else images.image_ids.tolist():
            odd = _odd_characters(image_id, blanks=joined)
            where = places[image_id]
            if odd:
                what = f"the name of image '{image_id}' has {', '.join(odd)}"
                does = course.action("odd-name", "labelled")
                yield Fault(where, what, image_id, "odd-name", does)
            # a path that a file system without cases takes for the same
            plain = unicodedata.normalize("NFC", image_id).casefold()
            other = seen.setdefault(plain, image_id)
            if other != image_id:
                what = f"only letters' cases or accents tell image '{image_id}' from '{other}'"
                does = course.action("names-alike", "labelled")
                yield Fault(where, what, image_id, "names-alike", does)


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


def unlisted(survey: Survey, competition: Competition) -> list[Path]:
    """Return the images in the folders that no row names.

    A folder whose list cannot be read is left out: all its images would be named.
    """
    images = competition.images
    sides = [(survey.labelled, images.train_folder)]
    if images.test_folder is not None:
        sides.append((survey.test, images.test_folder))
    used = {path for part in survey.sets if part is not None for path in part.paths} | survey.named
    found: dict[Path, None] = {}
    for part, name in sides:
        folder = images.root / name
        if part is not None and folder.is_dir():
            found |= dict.fromkeys(file for file in placing.in_folder(folder) if file not in used)
    return list(found)


def unread(survey: Survey, competition: Competition) -> list[Path]:
    """Return the images that kitbox leaves out for their row, or for a list that it cannot read."""
    images = competition.images
    used = {path for part in survey.sets if part is not None for path in part.paths}
    found = set(survey.named)
    sides = ((survey.labelled, images.train_folder), (survey.test, images.test_folder))
    for part, name in sides:
        if part is None and name is not None and (images.root / name).is_dir():
            found |= set(placing.in_folder(images.root / name))
    return sorted(found - used)
