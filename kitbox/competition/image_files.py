"""The files of listed images, and the images in a folder without a list."""

import re
import string
from dataclasses import dataclass, field
from pathlib import Path

from kitbox.errors import KitboxError, did_you_mean

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
# At the end of a template: any image suffix.
_ANY_SUFFIX = ".*"
# A column, or one of its letters; attributes and keys would reach into Python objects.
_FIELD = re.compile(r"([^.\[\]]+)(\[\d+\])?")


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

    A file whose name has blanks around it has both.
    """

    file: Path | None
    kind: str = ""
    what: str = ""


@dataclass
class ImageFolder:
    """A folder with the images of a list; `name` is its name in kitbox.toml.

    Raises KitboxError where there is no such folder.
    """

    path: Path
    name: str
    setting: str
    _stems: dict[Path, dict[str, list[str]]] = field(default_factory=dict, init=False)
    _cases: dict[Path, dict[str, str]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        require_folder(self.path, self.setting)

    def file_of(self, template: str | None, image_id: str, row: dict[str, str]) -> FileMatch:
        """Return the file that an image's id or a template names."""
        match = self._match(template, image_id, row)
        if match.kind != "missing":
            return match
        stripped = {column: value.strip() for column, value in row.items()}
        without_blanks = self._match(template, image_id.strip(), stripped)
        if stripped == row or without_blanks.file is None:
            return match
        read_as = without_blanks.file.relative_to(self.path).as_posix()
        what = f"image '{image_id}' has blanks around its name; read as '{read_as}'"
        return FileMatch(without_blanks.file, "blank-in-name", what)

    def _match(self, template: str | None, image_id: str, row: dict[str, str]) -> FileMatch:
        try:
            name = image_id if template is None else template.format_map(row)
        except (LookupError, ValueError) as error:
            what = f"image '{image_id}' has no name by '{template}' ({error}); correct it"
            return FileMatch(None, "missing", what)
        path = Path(name.removesuffix(_ANY_SUFFIX))
        if path.is_absolute() or ".." in path.parts:
            what = f"image '{name}' leaves the folder {self.name}; correct the name"
            return FileMatch(None, "outside", what)
        try:
            return self._match_inside(name, path)
        except OSError as error:  # a name that is too long, a folder that cannot be read
            what = f"image '{name}' is not in {self.name} ({error.strerror}); correct the row"
            return FileMatch(None, "missing", f"{what} or remove it")

    def _match_inside(self, name: str, path: Path) -> FileMatch:
        """Return the file of a name that stays in the folder, or why there is none."""
        if name.endswith(_ANY_SUFFIX):
            files = self._files_by_stem(path.parent).get(path.name, [])
            if len(files) > 1:
                what = f"image '{name}' is {' and '.join(files)}; remove one of them"
                return FileMatch(None, "missing", what)
            path = path.with_name(files[0]) if files else path
        if (self.path / path).is_file():
            return FileMatch(self.path / path)
        other = self._other_case(path)
        if other is not None:
            what = f"image '{name}' is not in {self.name}, but '{other}' is; rename one of them"
            return FileMatch(None, "case", what)
        what = f"image '{name}' is not in {self.name}; correct the row or remove it"
        return FileMatch(None, "missing", what)

    def _other_case(self, path: Path) -> str | None:
        """Return the name of a file that differs from this one in upper and lower case only."""
        folder = self.path / path.parent
        if folder not in self._cases:
            files = sorted(folder.iterdir()) if folder.is_dir() else []
            names = [file.name for file in files if file.is_file()]
            self._cases[folder] = {name.casefold(): name for name in names}
        return self._cases[folder].get(path.name.casefold()) if path.name else None

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


def require_folder(folder: Path, setting: str) -> None:
    """Raise KitboxError where a setting names a missing folder."""
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.glob("*/")] if folder.parent.is_dir() else []
        raise KitboxError(
            f"there is no folder {folder}; correct images.{setting}"
            f"{did_you_mean(folder.name, beside)}"
        )


def display_path(path: Path, root: Path) -> str:
    """Return a file's path relative to the data folder `root`, or the whole path outside it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def list_images(folder: Path) -> list[Path]:
    """Return the image files of a folder and its subfolders, sorted by path."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    )
