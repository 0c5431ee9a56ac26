"""Scan of a folder of photographs: the images in it, and what is left alone, with the reason."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kitbox.errors import more, readable
from kitbox.workspace import SETTINGS

if TYPE_CHECKING:
    from kitbox.competition.settings import ImageSettings

# Suffix → format, as Pillow names it. Not asked from Pillow: what counts as a photograph must not
# depend on the release, and a file that this one cannot decode has to be named.
FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"), "JPEG2000"),
    **dict.fromkeys((".heic", ".heif", ".hif", ".heics", ".heifs"), "HEIF"),
    **dict.fromkeys((".avif", ".avifs"), "AVIF"),
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WEBP",
}
IMAGE_SUFFIXES = frozenset(FORMATS)
# Sensor data of cameras. Some can be opened as a TIFF, but that is a preview of a few pixels.
RAW_SUFFIXES = frozenset((
    ".3fr", ".ari", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".drf",
    ".eip", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mdc", ".mef", ".mos", ".mrw", ".nef",
    ".nrw", ".orf", ".pef", ".ptx", ".pxn", ".raf", ".raw", ".rw2", ".rwl", ".rwz", ".sr2", ".srf",
    ".srw", ".x3f",
))  # fmt: skip
# Folders that network storage, archives and systems make; their thumbnails are no photographs.
_SYSTEM_FOLDERS = frozenset(
    (
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),
        *("__macosx", "$recycle.bin", "recycler", "system volume information", "lost+found"),
    )
)
_SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
_SYSTEM_NAMES = _SYSTEM_FOLDERS | _SYSTEM_FILES
# The cache of a workspace that is among the photographs.
CACHE = ".kitbox"
# Lists, notes and programs beside photographs: nobody expects an image in them.
_DOCUMENTS = frozenset((
    ".csv", ".tsv", ".txt", ".json", ".xml", ".md", ".pdf", ".xls", ".xlsx", ".ods", ".doc",
    ".docx", ".odt", ".htm", ".html", ".toml", ".yaml", ".yml", ".py", ".ipynb", ".r", ".log",
))  # fmt: skip
_NOTES = frozenset(("readme", "license", "licence", "copying", "makefile", "md5sums", "sha256sums"))
INSTALL_HEIF = "pip install 'kitbox[heic]'"


class Reason(NamedTuple):
    """Why something is left alone: what it is, one and many of them, and what to do.

    With `each` every one is named by its path, else they are counted by suffix and folder.
    """

    one: str
    many: str
    advice: str
    each: bool = False


REASONS = {
    "no-access": Reason(
        "folder that may not be read",
        "folders that may not be read",
        "allow it",
        each=True,
    ),
    "dangling": Reason("link to nothing", "links to nothing", "mend or remove it", each=True),
    "loop": Reason(
        "link to a folder above it", "links to folders above them", "remove it", each=True
    ),
    "raw": Reason("raw camera file", "raw camera files", "save as JPEG or TIFF to have them read"),
    "loose": Reason(
        "photograph beside the individuals' folders",
        "photographs beside the individuals' folders",
        "move each into the folder of its individual",
    ),
    "outside": Reason(
        "photograph outside the folders that kitbox.toml names",
        "photographs outside the folders that kitbox.toml names",
        "move into one of these what should be read",
    ),
    "empty": Reason(
        "individual's folder without a photograph",
        "individuals' folders without a photograph",
        "add photographs, or remove it",
        each=True,
    ),
    "other": Reason(
        "file that is no photograph",
        "files that are no photographs",
        "save as JPEG or PNG what shows an individual",
    ),
    "system": Reason(
        "hidden picture or thumbnail of the system",
        "hidden pictures or thumbnails of the system",
        "nothing to do, unless you hid photographs there",
    ),
    "document": Reason("list or note", "lists or notes", "nothing to do"),
}
# Names and counts in one line of a summary.
_SHOWN = 3
# Names of folders inside an individual's: dates and numbers of encounters, and sides of its body.
_DATE = re.compile(
    r"(?:\d{8}|(?:19|20)\d\d(?:[-_. ]\d\d?){0,2}|\d\d?[-_.]\d\d?[-_.](?:19|20)?\d\d"
    r"|(?:(?:(?:19|20)\d\d[-_. ]*)?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
    r"|(?:encounter|sighting|session|survey|season|visit|trip|day|event|burst|year|month)s?"
    r")(?:[-_. ]*\d+)*)",
    re.IGNORECASE,
)
_SIDE = re.compile(
    r"(?:left|right|front|back|top|bottom|side|dorsal|ventral|lateral|head|face|tail|fluke|fin|flank"
    r"|flukes|fins|flanks|body|best|other|others|new|old|crops?)(?:[-_. ]*\d+)*",
    re.IGNORECASE,
)
# Eight digits that are no day, and a month with a number but no year: these may name an animal.
_CODE = re.compile(
    r"(?!(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))\d{8}"
    r"|(?!.*(?:19|20)\d\d)(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec).*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class LeftAlone:
    """A file or folder that is not taken; `reason` is one of REASONS."""

    path: Path
    reason: str

    @property
    def suffix(self) -> str:
        """The file's suffix in lower case; its name where it has none."""
        return readable(self.path.suffix.lower() or self.path.name)


@dataclass
class FolderScan:
    """The images of a folder and of all folders in it, sorted by path, and what is left alone.

    Links to folders and files are followed, unless they lead back to a folder above them.
    """

    folder: Path
    _: KW_ONLY
    images: list[Path] = field(default_factory=list)
    left_alone: list[LeftAlone] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._walk(self.folder, (os.path.realpath(self.folder),), hidden=False)
        self.left_alone.sort(key=lambda found: found.path)

    def _walk(self, folder: Path, real: tuple[str, ...], *, hidden: bool) -> None:
        """Add what is in a folder; `real` are its real path and those of the folders above it."""
        try:
            with os.scandir(folder) as found:
                # images come in the order of their paths, which are slow to compare
                entries = sorted(found, key=lambda entry: os.path.normcase(entry.name))
        except OSError:
            self._leave(folder, "no-access")
            return
        for entry in entries:
            path, unseen = folder / entry.name, hidden or is_hidden(entry.name)
            match _kind_of(entry):
                case "link" if not unseen:
                    target = os.path.realpath(path)
                    if any(one == target or one.startswith(target + os.sep) for one in real):
                        self._leave(path, "loop")
                    else:
                        self._walk(path, (target, *real), hidden=False)
                case "folder" if entry.name != CACHE:
                    inner = os.path.join(real[0], entry.name)
                    self._walk(path, (inner, *real), hidden=unseen)
                case "file":
                    self._add(path, hidden=unseen)
                case "dangling" | "no-access" as reason if not unseen:
                    self._leave(path, reason)

    def _add(self, path: Path, *, hidden: bool) -> None:
        suffix = path.suffix.lower()
        if hidden:
            if suffix in IMAGE_SUFFIXES | RAW_SUFFIXES:
                self._leave(path, "system")
        elif suffix in IMAGE_SUFFIXES:
            self.images.append(path)
        elif suffix in RAW_SUFFIXES:
            self._leave(path, "raw")
        else:
            note = suffix in _DOCUMENTS or path.name.lower() in _NOTES
            self._leave(path, "document" if note else "other")

    def _leave(self, path: Path, reason: str) -> None:
        self.left_alone.append(LeftAlone(path, reason))


def _kind_of(entry: "os.DirEntry[str]") -> str:
    """Return folder, link (to a folder), file, dangling or no-access."""
    try:
        if entry.is_dir():
            return "link" if entry.is_symlink() else "folder"
        if entry.is_file():
            return "file"
        return "dangling" if entry.is_symlink() else "file"
    except OSError:  # a link to itself, a folder whose entries may be named but not looked at
        return "dangling" if entry.is_symlink() else "no-access"


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or made by a system and not by a person."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def is_part(name: str) -> bool:
    """Return whether a folder is named like a date, an encounter or a side of a body."""
    return _DATE.fullmatch(name) is not None or _SIDE.fullmatch(name) is not None


def is_date(name: str) -> bool:
    """Return whether a folder is named like a date or a numbered encounter."""
    dated = _DATE.fullmatch(name) is not None and any(letter.isdigit() for letter in name)
    return dated and _CODE.fullmatch(name) is None


def label_of(individual: Path) -> str:
    """Return the label of an individual's folder: its path, without folders of dates above it.

    An individual has one label in all seasons: that of 2019/A12 and of 2020/A12 is A12.
    """
    above = [part for part in individual.parts[:-1] if not is_date(part)]
    return readable("/".join([*above, individual.name]))


def list_images(folder: Path) -> list[Path]:
    """Return the image files of a folder and its subfolders, sorted by path."""
    return FolderScan(folder).images


def display_path(path: Path, root: Path) -> str:
    """Return a file's path relative to the data folder `root`, or the whole path outside it."""
    inside = path.is_relative_to(root)
    return readable(path.relative_to(root).as_posix() if inside else str(path))


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder that may hold photographs, sorted; hidden ones do not."""
    try:
        return sorted(path for path in folder.glob("*/") if not is_hidden(path.name))
    except OSError:
        return []


def sentences(
    found: Iterable[LeftAlone], root: Path, *, by_folder: bool = False
) -> Iterator[tuple[LeftAlone, str]]:
    """Yield the first file or folder and a sentence on all that are left alone for one reason.

    The sentence counts them by suffix and names their folders, relative to `root`. With `by_folder`
    there is one for each reason and folder.
    """
    parts: dict[tuple[str, Path | None], list[LeftAlone]] = {}
    for each in found:
        folder = each.path if REASONS[each.reason].each else each.path.parent
        parts.setdefault((each.reason, folder if by_folder else None), []).append(each)
    order = list(REASONS)
    for key in sorted(parts, key=lambda key: order.index(key[0])):
        yield parts[key][0], _sentence(REASONS[key[0]], parts[key], root)


def _sentence(reason: Reason, part: list[LeftAlone], root: Path) -> str:
    count = f"{len(part):,} {reason.one if len(part) == 1 else reason.many}"
    paths = [each.path if reason.each else each.path.parent for each in part]
    places = list(dict.fromkeys(display_path(path, root) for path in paths))
    where = ", ".join(places[:_SHOWN]) + more(len(places) - _SHOWN, "more")
    if reason.each:
        return f"{count}: {where}; {reason.advice}"
    suffixes = Counter(each.suffix for each in part).most_common()
    counts = ", ".join(f"{suffix} {number:,}" for suffix, number in suffixes[:_SHOWN])
    counts += more(len(suffixes) - _SHOWN, "other suffixes", "other suffix")
    return f"{count} ({counts}) in {where}; {reason.advice}"


def left_alone(images: "ImageSettings") -> list[LeftAlone]:
    """Return what is left alone in the folders of labelled, test and index images.

    Photographs in other folders of the data folder are left alone too.
    """
    names = (images.train_folder, images.test_folder, images.index_folder)
    folders = dict.fromkeys(images.root / name for name in names if name)
    found: dict[Path, LeftAlone] = {}
    if not folders.keys() & {images.root, *images.root.parents}:
        for file in list_images(images.root):
            if not folders.keys() & set(file.parents):
                found[file] = LeftAlone(file, "outside")
    for folder in folders:
        if folder.is_dir():
            found |= {each.path: each for each in FolderScan(folder).left_alone}
    if images.train_list is None and not images.unlabelled:
        found |= {each.path: each for each in _without_individual(images)}
    read = {
        images.root / (name or "") for name in (images.train_list, images.test_list, images.boxes)
    }
    return [each for path, each in found.items() if path not in read]


def individuals(images: "ImageSettings") -> list[tuple[Path | None, Path]]:
    """Return (individual's folder, image) for each image in the train folder, sorted by path.

    The folders are relative to the train folder and `individual_level` below it. An image that lies
    beside them has none.
    """
    folder, level = images.root / images.train_folder, images.individual_level
    others = _other_folders(images)
    files = [file for file in list_images(folder) if not others & set(file.parents)]
    parts = [file.relative_to(folder).parts[:-1] for file in files]
    return [
        (Path(*above[:level]) if len(above) >= level else None, file)
        for above, file in zip(parts, files, strict=True)
    ]


def doubt_about_individuals(images: "ImageSettings") -> tuple[str, str] | None:
    """Return why the train folder's folders may not be individuals, and the options; else None.

    They may be species, or a catalogue beside a season's photographs, if they hold no photographs
    but folders of them, and these are not named like dates, encounters or sides of a body. They may
    be dates if all are named so.
    """
    top = images.root / images.train_folder
    first_level = images.model_copy(update={"individual_level": 1})
    inner: dict[str, list[str]] = {}
    for folder, file in individuals(first_level):
        if folder is not None:
            below = file.relative_to(top / folder).parts
            inner.setdefault(folder.name, []).append(below[0] if len(below) > 1 else "")
    flat = [name for name, parts in inner.items() if "" in parts]
    doubtful = {
        name: list(dict.fromkeys(parts))
        for name, parts in inner.items()
        if name not in flat and not all(is_part(part) for part in parts)
    }
    if not doubtful:
        return _doubt_about_dates(sorted(inner))
    outer, parts = next(iter(doubtful.items()))
    if flat:
        what = (
            f"'{outer}' has folders of photographs ('{parts[0]}'{more(len(parts) - 1, 'more')}), "
            f"and '{flat[0]}' has photographs"
        )
        catalogue, season = (
            shlex.quote(display_path(top / name, images.root)) for name in (outer, flat[0])
        )
        options = (
            f"give --train-folder {catalogue} --test-folder {season} if '{outer}' is a catalogue "
            "of individuals, or --individual-level 1 if both are individuals"
        )
        return what, options
    options = (
        f"give --individual-level 2 if '{parts[0]}' is an individual, "
        f"or --individual-level 1 if '{outer}' is one"
    )
    if len(inner) == 1:
        options += f", or --data {shlex.quote(readable(str(top / outer)))} if it holds everything"
    return f"the photographs are two folders deep, as in '{outer}/{parts[0]}'", options


def _doubt_about_dates(names: list[str]) -> tuple[str, str] | None:
    """Return why folders of photographs may be dates and not individuals, and the options."""
    if len(names) < 2 or not all(map(is_date, names)):
        return None
    return (
        f"the folders of photographs are named like dates, as '{readable(names[0])}' and "
        f"'{readable(names[1])}'",
        "sort the photographs into folders of individuals, or move all into one folder to have "
        f"them read without; give --individual-level 1 if '{readable(names[0])}' is an individual",
    )


def _other_folders(images: "ImageSettings") -> set[Path]:
    """Return the folders of test and index images, which may lie among those of individuals."""
    return {images.root / name for name in (images.test_folder, images.index_folder) if name}


def _without_individual(images: "ImageSettings") -> Iterator[LeftAlone]:
    """Yield the images in no individual's folder, and the folders of individuals without one."""
    found = individuals(images)
    yield from (LeftAlone(file, "loose") for folder, file in found if folder is None)
    top, used, others = (
        images.root / images.train_folder,
        {f for f, _ in found},
        _other_folders(images),
    )
    level = [top]
    for _ in range(images.individual_level):
        level = [inner for outer in level for inner in subfolders(outer) if inner not in others]
    for path in level:
        if path.relative_to(top) not in used and not (path / SETTINGS).exists():  # a workspace
            yield LeftAlone(path, "empty")


def _nested(images: "ImageSettings") -> Iterator[str]:
    """Yield a line on the folders inside those of individuals, which have the same label."""
    top = images.root / images.train_folder
    inside = {
        display_path(file.parent, top): None
        for folder, file in individuals(images)
        if folder is not None and file.parent != top / folder
    }
    if inside:
        example = next(iter(inside))
        label = label_of(Path(*Path(example).parts[: images.individual_level]))
        rest = more(
            len(inside) - 1,
            "more folders inside those of individuals",
            "more folder inside those of individuals",
        )
        yield f"photographs in {example} show '{label}'{rest}"


def _dated(images: "ImageSettings") -> Iterator[str]:
    """Yield a line on folders of dates above those of individuals, which are no part of labels."""
    folders = {folder for folder, _ in individuals(images) if folder is not None}
    dated = sorted(folder for folder in folders if label_of(folder) != readable(folder.as_posix()))
    if dated:
        shown = readable(dated[0].as_posix())
        yield (
            "folders of dates are no part of a label: "
            f"photographs in {shown} show '{label_of(dated[0])}'"
        )


def lines(images: "ImageSettings") -> Iterator[str]:
    """Yield lines on the files in the image folders that are not read, or not yet."""
    for _, sentence in sentences(left_alone(images), images.root):
        yield f"left alone: {sentence}"
    if images.train_list is None and not images.unlabelled:
        yield from _dated(images)
        yield from _nested(images)
    if find_spec("pillow_heif") is None:
        folders = (images.train_folder, images.test_folder, images.index_folder)
        inside = [images.root / name for name in folders if name and (images.root / name).is_dir()]
        files = {file for folder in inside for file in list_images(folder)}
        count = sum(FORMATS[file.suffix.lower()] == "HEIF" for file in files)
        if count:
            are, them = ("photograph is", "it") if count == 1 else ("photographs are", "them")
            yield f"{count:,} {are} HEIC; to have {them} read: {INSTALL_HEIF}"
