"""Folders of photographs under one root: a workspace's images from anywhere on the machine.

The lists of a workspace name images by paths in one folder, `[images] root`. A catalogue lies in
one place and each season's photographs in another, perhaps on another disk. So the workspace of a
catalogue has a folder of its own as root, with a link to each folder of photographs: the image
`season-2024/DSC_0012.jpg` is the file DSC_0012.jpg of the folder that the link `season-2024` leads
to. Of a folder that the workspace itself lies in, the folders and single files with photographs are
linked. Nothing of the user's folders is moved or written to.
"""

import filecmp
import os
import re
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.competition.folder_scan import IMAGE_SUFFIXES
from kitbox.competition.image_files import photograph_of
from kitbox.errors import KitboxError, readable
from kitbox.files import atomic_file, create_folder, sync_folder

# Characters of a link's name: those that no system, list or spreadsheet takes for something else.
_ODD = re.compile(r"[^\w.-]+")
# The same for the folder of an individual, whose name is read from it again: blanks stay.
_ODD_FOR_FOLDERS = re.compile(r"[^\w. -]+")


def link(root: Path, folder: Path, name: str = "") -> str:
    """Return the name, under `root`, of a folder of photographs; it is linked where it is new.

    The name is that of the link or, of a folder inside one that has a link, "link/folder". A new
    link is called `name`, by default as the folder is, with a number where that is taken. Raises
    KitboxError for a missing folder and where the system makes no link.
    """
    real = _real(folder)
    if not real.is_dir():
        raise KitboxError(f"there is no folder {folder}", fix="correct its name")
    target = root.resolve()
    if real == target or target in real.parents:
        return real.relative_to(target).as_posix()
    known = _known_name(root, real)
    if known is not None:
        return known
    if real in target.parents:
        raise KitboxError(
            f"the workspace's folder {root} lies inside {folder}, whose photographs it would name "
            "a second time",
            fix="give a workspace outside the photographs",
        )
    create_folder(root)
    path = _free(root, name or real.name)
    _symlink(path, real)
    return path.name


def link_files(root: Path, folder: Path, files: Iterable[Path]) -> None:
    """Link the files of a folder: the folder or, where the workspace lies in it, what is in it.

    These are the outermost folders on the way to the files in which the workspace is not, and the
    files beside them. Raises KitboxError as `link` does.
    """
    real, target = _real(folder), root.resolve()
    if real not in target.parents:
        link(root, folder)
        return
    start, known = folder.absolute(), _by_target(root)
    for file in files:
        path = real / file.absolute().relative_to(start)
        if _name(known, path) is not None:
            continue
        way = [path, *path.parents]
        outermost = next(each for each in reversed(way) if each not in (target, *target.parents))
        create_folder(root)
        made = _free(root, outermost.name)
        _symlink(made, outermost)
        known |= {outermost: made.name, _real(outermost): made.name}


def names_of(root: Path, folder: Path, files: Iterable[Path]) -> list[str]:
    """Return the image names of files in a folder that is linked, in their order.

    A file in two linked folders has the name that it got first.
    """
    start, real, known = folder.absolute(), _real(folder), _by_target(root)
    names = []
    for file in files:
        name = _name(known, real / file.absolute().relative_to(start))
        if name is None:
            raise KitboxError(f"{file} is in no linked folder of {root}", fix="link its folder")
        names.append(readable(name))
    return names


def linked(root: Path) -> dict[str, Path]:
    """Return link → the folder or file it leads to, of the links in `root`.

    Without those that lead nowhere now, as to a disk that is not plugged in.
    """
    return {path.name: _real(path) for path in _links(root) if path.exists()}


def lost_target(root: Path, image: str) -> Path | None:
    """Return where an image's link leads to if nothing is there now, else None."""
    link = root / Path(image).parts[0]
    return Path(os.readlink(link)) if link.is_symlink() and not link.exists() else None


class Copied(NamedTuple):
    """The rows of copies of photographs, and how many of the copies were there before."""

    rows: list[CatalogueRow]
    there: int


def copy(
    root: Path,
    rows: Sequence[CatalogueRow],
    folder: Path,
    individuals: Iterable[str] = (),
) -> Copied:
    """Copy photographs into folders of individuals in a folder, which is linked; return their rows.

    Nothing is moved or overwritten: a name that another photograph has is followed by a number,
    and a copy that is there already stays. Of several animals in a photograph the catalogue keeps
    the photograph that their boxes are of. Raises KitboxError where a file cannot be read or
    written, and, before anything is copied, where an individual's folder would be that of another
    one: of the rows or of the other `individuals`.
    """
    _refuse_shared_folders({row.individual for row in rows}, individuals)
    create_folder(folder)
    found, there = [], 0
    for row in rows:
        file = root / photograph_of(row.image)
        target = folder.joinpath(*_folder_names(row.individual)) / file.name
        number = 1
        while target.exists() and not filecmp.cmp(file, target, shallow=False):
            number += 1
            target = target.with_name(f"{file.stem}-{number}{file.suffix}")
        if target.exists():
            there += 1
        else:
            with atomic_file(target) as temporary:
                shutil.copy2(file, temporary)
        alone = photograph_of(row.image) == row.image
        link_files(root, folder, [target])
        copied = names_of(root, folder, [target])[0]
        found.append(replace(row, image=copied) if alone else row)
    return Copied(found, there)


def _refuse_shared_folders(copied: Collection[str], individuals: Iterable[str]) -> None:
    """Raise KitboxError for two names of one folder, also where a disk knows no capitals."""
    name_of: dict[tuple[str, ...], str] = {}
    for name in sorted({*copied, *individuals}):
        key = tuple(part.casefold() for part in _folder_names(name))
        other = name_of.setdefault(key, name)
        if other != name and not {other, name}.isdisjoint(copied):
            raise KitboxError(
                f"the folder of '{name}' would be that of '{other}', "
                f"'{'/'.join(_folder_names(name))}'",
                fix="rename one of them, or add without --copy-to",
            )


def _folder_names(individual: str) -> list[str]:
    """Return the folders of an individual, one in the other, for any system."""
    parts = [_ODD_FOR_FOLDERS.sub("-", readable(part)) for part in individual.split("/")]
    return [part.strip("-. ") or "photographs" for part in parts]


def _known_name(root: Path, real: Path) -> str | None:
    """Return the name of a folder that is linked or lies inside one that is."""
    return _name(_by_target(root), real)


def _by_target(root: Path) -> dict[Path, str]:
    """Return where links lead to, as they say and in truth → their names."""
    found: dict[Path, str] = {}
    for path in _links(root):
        if path.exists():
            found.setdefault(Path(os.readlink(path)), path.name)
            found.setdefault(_real(path), path.name)
    return found


def _name(known: Mapping[Path, str], path: Path) -> str | None:
    """Return the name of a file or folder, by what links lead to, or None."""
    for each in (path, _real(path)):
        # the innermost link is the oldest: a folder inside a linked one gets none of its own
        for target in (each, *each.parents):
            if target in known:
                return (Path(known[target]) / each.relative_to(target)).as_posix()
    return None


def _links(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_symlink()) if root.is_dir() else []


def _symlink(path: Path, target: Path) -> None:
    try:
        path.symlink_to(target, target_is_directory=target.is_dir())
        sync_folder(path.parent)
    except OSError as error:  # Windows without its developer mode; a disk without links
        raise KitboxError(
            f"cannot link {target} as {path}: {error.strerror or error}",
            fix="turn on the developer mode of Windows, or give a workspace on another disk",
        ) from error


def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))


def _free(root: Path, name: str) -> Path:
    """Return the path of a new link that begins like a name."""
    plain = Path(_plain(name))
    # that of a file keeps its suffix, by which photographs are known
    suffix = plain.suffix if plain.suffix.lower() in IMAGE_SUFFIXES else ""
    number, path = 1, root / plain
    while os.path.lexists(path):
        number += 1
        path = root / f"{plain.name.removesuffix(suffix)}-{number}{suffix}"
    return path


def _plain(name: str) -> str:
    """Return a name as that of a folder on any system."""
    return _ODD.sub("-", readable(name)).strip("-.") or "photographs"
