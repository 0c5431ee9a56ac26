"""Finds the file of a listed image, and the images of a folder that has no list."""

import re
import string
from dataclasses import dataclass, field
from pathlib import Path

from kitbox.errors import KitboxError, did_you_mean

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
# At the end of a template: whatever image suffix is there.
_ANY = ".*"
# A column, or one of its letters; attributes and keys would reach into python.
_FIELD = re.compile(r"([^.\[\]]+)(\[\d+\])?")


def template_columns(template: str | None, setting: str) -> list[str]:
    """Return the columns that a template of file names takes its parts from.

    Raises KitboxError for a template that is none.
    """
    try:
        parts = [
            (name, spec)
            for _, name, spec, _ in string.Formatter().parse(template or "")
            if name is not None
        ]
    except ValueError as error:
        raise KitboxError(f"images.{setting} = '{template}': {error}; correct it") from error
    columns = []
    for name, spec in parts:
        found = _FIELD.fullmatch(name)
        if found is None or "{" in (spec or ""):
            raise KitboxError(
                f"images.{setting} = '{template}': '{{{name}}}' is not a column as {{image}}, "
                "or a letter of one as {image[0]}"
            )
        columns.append(found[1])
    return columns


@dataclass(frozen=True)
class FileMatch:
    """The file of an image; or the kind of finding, one of `rules.KINDS`, and what is wrong."""

    file: Path | None
    kind: str = ""
    what: str = ""


@dataclass
class ImageFolder:
    """A folder that a list names images of; `name` is its name in kitbox.toml.

    Raises KitboxError where there is no such folder.
    """

    path: Path
    name: str
    setting: str
    _stems: dict[Path, dict[str, list[str]]] = field(default_factory=dict, init=False)
    _cases: dict[Path, dict[str, str]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        require_folder(self.path, self.setting)

    def file_of(self, template: str | None, image_id: str, row: dict[str, str]) -> "FileMatch":
        """Return the file that an image's id, or a template, names, or what is wrong with it.

        Where only blanks around the name are wrong, both.
        """
        placed = self._named(template, image_id, row)
        if placed.kind != "missing":
            return placed
        bare = {column: value.strip() for column, value in row.items()}
        without = self._named(template, image_id.strip(), bare)
        if bare == row or without.file is None:
            return placed
        read_as = without.file.relative_to(self.path).as_posix()
        what = f"image '{image_id}' has blanks around its name; read as '{read_as}'"
        return FileMatch(without.file, "blank-in-name", what)

    def _named(self, template: str | None, image_id: str, row: dict[str, str]) -> "FileMatch":
        try:
            name = image_id if template is None else template.format_map(row)
        except (LookupError, ValueError) as error:
            what = f"image '{image_id}' has no name after '{template}' ({error}); correct it"
            return FileMatch(None, "missing", what)
        path = Path(name.removesuffix(_ANY))
        if path.is_absolute() or ".." in path.parts:
            what = f"image '{name}' leaves the folder {self.name}; correct the name"
            return FileMatch(None, "outside", what)
        try:
            return self._there(name, path)
        except OSError as error:  # a name that is too long, a folder that may not be looked into
            what = f"image '{name}' is not in {self.name} ({error.strerror}); correct the row"
            return FileMatch(None, "missing", f"{what} or remove it")

    def _there(self, name: str, path: Path) -> "FileMatch":
        """Return the file of a name that stays in the folder, or why there is none."""
        if name.endswith(_ANY):
            found = self._stems_in(path.parent).get(path.name, [])
            if len(found) > 1:
                what = f"image '{name}' is {' and '.join(found)}; remove one of them"
                return FileMatch(None, "missing", what)
            path = path.with_name(found[0]) if found else path
        if (self.path / path).is_file():
            return FileMatch(self.path / path)
        other = self._other_case(path)
        if other is not None:
            what = f"image '{name}' is not in {self.name}, but '{other}' is; rename one of them"
            return FileMatch(None, "case", what)
        what = f"image '{name}' is not in {self.name}; correct the row or remove it"
        return FileMatch(None, "missing", what)

    def _other_case(self, path: Path) -> str | None:
        """Return the name of a file that only small and capital letters tell from this."""
        inside = self.path / path.parent
        if inside not in self._cases:
            files = sorted(inside.iterdir()) if inside.is_dir() else []
            names = [file.name for file in files if file.is_file()]
            self._cases[inside] = {name.casefold(): name for name in names}
        return self._cases[inside].get(path.name.casefold()) if path.name else None

    def _stems_in(self, inside: Path) -> dict[str, list[str]]:
        """Return name without suffix → names of a folder's images; the folder is listed once."""
        if inside not in self._stems:
            stems: dict[str, list[str]] = {}
            place = self.path / inside
            for file in sorted(place.iterdir()) if place.is_dir() else []:
                if file.suffix.lower() in IMAGE_SUFFIXES:
                    stems.setdefault(file.stem, []).append(file.name)
            self._stems[inside] = stems
        return self._stems[inside]


def require_folder(folder: Path, setting: str) -> None:
    """Raise KitboxError where a setting names a folder that is not there."""
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.glob("*/")] if folder.parent.is_dir() else []
        raise KitboxError(
            f"there is no folder {folder}; correct images.{setting}"
            f"{did_you_mean(folder.name, beside)}"
        )


def display_path(path: Path, root: Path) -> str:
    """Return a file's path from the data folder, in which most files are."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def list_images(folder: Path) -> list[Path]:
    """Return the image files of a folder and its subfolders, in the order of their names."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    )
