"""The files of listed images."""

import re
import string
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from kitbox.competition.folder_scan import IMAGE_SUFFIXES, list_images
from kitbox.errors import KitboxError, did_you_mean, more

PathParts = tuple[str, ...]

# At the end of a template: any image suffix.
_ANY_SUFFIX = ".*"
# The number of an animal behind the name of its photograph, as in "IMG_1.jpg#2".
_ANIMAL = re.compile(r"(.+)#\d+")
# A column, or one of its letters; attributes and keys would reach into Python objects.
_FIELD = re.compile(r"([^.\[\]]+)(\[\d+\])?")


def photograph_of(image_id: str) -> str:
    """Return the name of the photograph of an animal, "IMG_1.jpg" for "IMG_1.jpg#2"."""
    match = _ANIMAL.fullmatch(image_id)
    return match[1] if match else image_id


def template_columns(template: str | None, setting: str) -> list[str]:
    """Return the columns that a template of file names uses.

    Raises KitboxError for an invalid template.
    """
    try:
        parts = [
            (name, spec)
            for _, name, spec, _ in string.Formatter().parse(template or "")
            if name is not None
        ]
    except ValueError as error:
        raise KitboxError(f"images.{setting} = '{template}': {error}", fix="correct it") from error
    columns = []
    for name, spec in parts:
        field_name = _FIELD.fullmatch(name)
        if field_name is None or "{" in (spec or ""):
            raise KitboxError(
                f"images.{setting} = '{template}': '{{{name}}}' is not a column, as {{image}} is, "
                "or a letter of one, as {image[0]} is"
            )
        columns.append(field_name[1])
    return columns


@dataclass(frozen=True)
class FileMatch:
    """The file of an image, or a finding: its kind, one of `check_rules.KINDS`, and what is wrong.

    A file whose name the list writes in another way has both.
    """

    file: Path | None
    kind: str = ""
    what: str = ""


@dataclass
class ImageFolder:
    """A folder with the images of a list; `name` is its name in kitbox.toml.

    A name in a list may lack leading folders, and may have others, other capitals, another Unicode
    form, backslashes or no suffix, as long as one file fits; "IMG_1.jpg#2" is the second animal in
    a photograph. `listed` are all names of the list, which tell whether leading folders may be left
    out. Files in the folders `apart` are found only by their path. A template says the folder
    itself. Raises KitboxError where there is no such folder.
    """

    path: Path
    name: str
    setting: str
    listed: Collection[str] = ()
    apart: Collection[Path] = ()
    _stems: dict[Path, dict[str, list[str]]] = field(default_factory=dict, init=False)
    _folded: dict[Path, dict[str, list[str]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        require_folder(self.path, self.setting)

    def file_of(self, template: str | None, image_id: str, row: dict[str, str]) -> FileMatch:
        """Return the file that an image's id or a template names."""
        match = self._match(template, image_id, row)
        if match.kind != "missing":
            return match
        if (shown := self._photograph(template, image_id, row)) is not None:
            return shown
        stripped = {column: value.strip() for column, value in row.items()}
        without_blanks = self._match(template, image_id.strip(), stripped)
        if (image_id.strip(), stripped) == (image_id, row) or without_blanks.file is None:
            return match
        read_as = without_blanks.file.relative_to(self.path).as_posix()
        what = f"image '{image_id}' has blanks around its name; read as '{read_as}'"
        return FileMatch(without_blanks.file, "blank-in-name", what)

    def _photograph(
        self, template: str | None, image_id: str, row: dict[str, str]
    ) -> FileMatch | None:
        """Return the file of the photograph that an animal is in, None where it names none."""
        photograph = photograph_of(image_id)
        if photograph == image_id:
            return None
        parts = {
            column: photograph if value == image_id else value for column, value in row.items()
        }
        found = self._match(template, photograph, parts)
        return None if found.file is None else found

    def _match(self, template: str | None, image_id: str, row: dict[str, str]) -> FileMatch:
        try:
            name = image_id if template is None else template.format_map(row)
        except (LookupError, ValueError) as error:
            what = f"image '{image_id}' has no name by '{template}' ({error}); correct it"
            return FileMatch(None, "missing", what)
        try:
            return self._match_listed(name) if template is None else self._match_built(name)
        except OSError as error:  # a name that is too long, a folder that cannot be read
            return self._no_file(name, f" ({error.strerror})")

    def _match_built(self, name: str) -> FileMatch:
        """Return the file of a name that a template built."""
        path = Path(name.removesuffix(_ANY_SUFFIX))
        if not _is_inside(path):
            return self._no_file(name)
        if name.endswith(_ANY_SUFFIX):
            files = self._files_by_stem(path.parent).get(path.name, [])
            if len(files) > 1:
                what = f"image '{name}' is {' and '.join(files)}; remove one of them"
                return FileMatch(None, "missing", what)
            path = path.with_name(files[0]) if files else path
        if (self.path / path).is_file():
            return FileMatch(self.path / path)
        alike = [path.with_name(file).parts for file in self._files_alike(path)]
        if len(alike) == 1:
            return self._read_as(name, alike[0], "case")
        return _ambiguous(name, alike) if alike else self._no_file(name)

    def _match_listed(self, name: str) -> FileMatch:
        """Return the file of a name in a list, wherever in the folder it lies."""
        if len(bearing := self._index.bearing(name)) == 1:
            return FileMatch(self._files[bearing[0]])
        path, parts = Path(name), path_parts(name)
        exact = _is_inside(path) and path.name != "" and (self.path / path).is_file()
        if exact and len(path.parts) > 1:
            return FileMatch(self.path / path)
        fitting = self._index.fitting(parts) if parts else []
        # links to a file or its folder are the same photograph
        if len({self.path.joinpath(*file).resolve() for file in fitting}) > 1:
            return _ambiguous(name, fitting)
        if exact:
            return FileMatch(self.path / path)
        if not fitting or not self._may_leave_out(parts, fitting[0]):
            others = fitting or self._index.resembling(parts)
            hint = f", but '{'/'.join(others[0])}' is{more(len(others) - 1)}" if others else ""
            return self._no_file(name, hint)
        file = fitting[0]
        if "/".join(file[-len(parts) :]) == name:
            return FileMatch(self.path.joinpath(*file))
        return self._read_as(name, file, "case" if fold(name) == fold("/".join(file)) else "path")

    def _may_leave_out(self, parts: PathParts, file: PathParts) -> bool:
        """Return whether the leading folders of a name that its file lacks may be left out.

        They may if they are those of this folder; if no two names of the list differ in folders
        only; or if all names of files beside this one have the same.
        """
        extra = _leading(parts, file)
        own = {_fold_parts(path.parts[1:]) for path in (self.path, self.path.resolve())}
        if not extra or extra in own or extra[-1] == fold(self.path.resolve().name):
            return True
        return self._names_differ or self._leading_folders.get(file[:-1]) == {extra}

    @cached_property
    def _names_differ(self) -> bool:
        """Whether the names of the list differ without their folders."""
        listed = [parts for name in set(self.listed) if (parts := path_parts(name))]
        return len({fold(parts[-1]) for parts in listed}) == len(listed)

    @cached_property
    def _leading_folders(self) -> dict[PathParts, set[PathParts]]:
        """Folder → the leading folders that names of its files have in the list."""
        found: dict[PathParts, set[PathParts]] = {}
        for name in set(self.listed):
            parts = path_parts(name)
            fitting = self._index.fitting(parts) if parts else []
            extra = _leading(parts, fitting[0]) if len(fitting) == 1 else ()
            # without any, a name with its folder is as good, one without could mean another folder
            if len(fitting) == 1 and (extra or len(fitting[0]) == 1):
                found.setdefault(fitting[0][:-1], set()).add(extra)
        return found

    @cached_property
    def _files(self) -> dict[PathParts, Path]:
        """The path of each image in the folder → the whole path."""
        start, apart = len(self.path.parts), [path.parts for path in self.apart]
        return {
            parts[start:]: file
            for file in list_images(self.path)
            for parts in (file.parts,)
            if not any(parts[: len(one)] == one for one in apart)
        }

    @cached_property
    def _index(self) -> "FileNames":
        return FileNames(list(self._files))

    def _read_as(self, name: str, file: PathParts, kind: str) -> FileMatch:
        what = f"image '{name}' is read as '{'/'.join(file)}'"
        return FileMatch(self.path.joinpath(*file), kind, what)

    def _no_file(self, name: str, hint: str = "") -> FileMatch:
        folder = "the data folder" if self.name == "." else f"the folder {self.name}"
        if not _is_inside(Path(name)):
            inside = f"{hint} in it" if hint else ""
            what = f"image '{name}' leaves {folder}{inside}; correct the name"
            return FileMatch(None, "outside", what)
        folder = folder if self.name == "." else self.name
        what = f"image '{name}' is not in {folder}{hint}; correct the row or remove it"
        return FileMatch(None, "missing", what)

    def _files_alike(self, path: Path) -> list[str]:
        """Return the files beside a path whose names differ in capitals or Unicode form only."""
        folder = self.path / path.parent
        if folder not in self._folded:
            alike: dict[str, list[str]] = {}
            for file in sorted(folder.iterdir()) if folder.is_dir() else []:
                if file.is_file():
                    alike.setdefault(fold(file.name), []).append(file.name)
            self._folded[folder] = alike
        return self._folded[folder].get(fold(path.name), []) if path.name else []

    def _files_by_stem(self, subfolder: Path) -> dict[str, list[str]]:
        """Return name without suffix → names of a subfolder's images; it is listed once."""
        if subfolder not in self._stems:
            stems: dict[str, list[str]] = {}
            folder = self.path / subfolder
            for file in sorted(folder.iterdir()) if folder.is_dir() else []:
                if file.suffix.lower() in IMAGE_SUFFIXES:
                    stems.setdefault(file.stem, []).append(file.name)
            self._stems[subfolder] = stems
        return self._stems[subfolder]


class FileNames:
    """The paths of image files, found by names that lists write in another way."""

    def __init__(self, files: list[PathParts]) -> None:
        self._files = files
        self._as_written = self._by(lambda name: name)

    def _by(self, key: Callable[[str], str]) -> dict[str, list[PathParts]]:
        """Return a key of the name → the files that have it."""
        found: dict[str, list[PathParts]] = {}
        for file in self._files:
            found.setdefault(key(file[-1]), []).append(file)
        return found

    @cached_property
    def _by_name(self) -> dict[str, list[PathParts]]:
        return self._by(fold)

    @cached_property
    def _by_stem(self) -> dict[str, list[PathParts]]:
        return self._by(lambda name: fold(Path(name).stem))

    @cached_property
    def _by_letters(self) -> dict[str, list[PathParts]]:
        return self._by(_letters)

    def bearing(self, name: str) -> list[PathParts]:
        """Return the files of exactly this name, in any folder."""
        return self._as_written.get(name, [])

    def fitting(self, parts: PathParts) -> list[PathParts]:
        """Return the files whose path ends with a name's, or is the end of it.

        Those that agree in more folders come before others, then those that are written alike.
        """
        whole = Path(parts[-1]).suffix.lower() in IMAGE_SUFFIXES
        files = self._by_name.get(fold(parts[-1]), [])
        if not files and not whole:
            files = self._by_stem.get(fold(parts[-1]), [])
            parts, endings = (*parts[:-1], ""), [(*file[:-1], "") for file in files]
        else:
            endings = files
        agreement = [_agreement(ending, parts) for ending in endings]
        best = [
            (file, ending)
            for file, ending, agreed in zip(files, endings, agreement, strict=True)
            if agreed and agreed == max(agreement)
        ]
        for form in (str, _composed):
            written = [file for file, ending in best if _ends_alike(ending, parts, form)]
            if written:
                return written
        return [file for file, _ in best]

    def resembling(self, parts: PathParts) -> list[PathParts]:
        """Return the files with a name's letters and numbers, in any folder, of any suffix."""
        return self._by_letters.get(_letters(parts[-1]), []) if parts else []


# Bytes of file names that are not UTF-8, as the letters that they are in Latin-1.
_AS_LATIN_1 = {0xDC00 + byte: byte for byte in range(0x80, 0x100)}


def fold(text: str) -> str:
    """Return a text without differences in capitals and Unicode form."""
    if text.isascii():
        return text.lower()
    return _composed(_composed(text.translate(_AS_LATIN_1)).casefold())


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _fold_parts(parts: PathParts) -> PathParts:
    return tuple(map(fold, parts))


def path_parts(name: str) -> PathParts:
    """Return the folders and the name in a path of any system."""
    return tuple(part for part in re.split(r"[/\\]+", name) if part not in ("", "."))


def _is_inside(path: Path) -> bool:
    """Return whether a path stays in the folder that it begins in."""
    return not path.is_absolute() and ".." not in path.parts


def _leading(parts: PathParts, file: PathParts) -> PathParts:
    """Return the leading folders of a name that its file lacks, folded."""
    return _fold_parts(parts[: max(0, len(parts) - len(file))])


def _ends_alike(file: PathParts, parts: PathParts, form: Callable[[str], str]) -> bool:
    """Return whether the shorter path is the end of the other one, both in a form."""
    pairs = zip(reversed(file), reversed(parts), strict=False)
    return all(form(one) == form(other) for one, other in pairs)


def _agreement(file: PathParts, parts: PathParts) -> int:
    """Return how many parts two paths share at their ends, or 0 where a folder differs."""
    return min(len(file), len(parts)) if _ends_alike(file, parts, fold) else 0


def _letters(name: str) -> str:
    """Return the letters and numbers of a name, without its suffix and leading zeros."""
    stem = fold(name)
    if Path(stem).suffix in IMAGE_SUFFIXES:
        stem = Path(stem).stem
    return "-".join(word.lstrip("0") or "0" for word in re.findall(r"[^\W\d_]+|\d+", stem))


def _ambiguous(name: str, files: list[PathParts]) -> FileMatch:
    named = " and ".join("/".join(file) for file in files[:2])
    if len({file[:-1] for file in files}) == 1:
        fix = "write the name of the file, or remove one of them"
    else:
        fix = "write its folder before it, or name the column of folders in images.folder_column"
    others = f" and {len(files) - 2} more" if len(files) > 2 else ""
    what = f"image '{name}' is {named}{others}; {fix}"
    return FileMatch(None, "ambiguous", what)


def require_folder(folder: Path, setting: str) -> None:
    """Raise KitboxError where a setting names a missing folder."""
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.glob("*/")] if folder.parent.is_dir() else []
        raise KitboxError(
            f"there is no folder {folder}; correct images.{setting}"
            f"{did_you_mean(folder.name, beside)}"
        )
