"""Folders of photographs under one root: a workspace's images from anywhere on the machine.

The lists of a workspace name images by paths in one folder, `[images] root`. A catalogue lies in
one place and each season's photographs in another, perhaps on another disk. So the workspace of a
catalogue has a folder of its own as root, with a link to each folder of photographs: the image
`season-2024/DSC_0012.jpg` is the file DSC_0012.jpg of the folder that the link `season-2024` leads
to. Nothing of the user's folders is moved or written to.
"""

import filecmp
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.competition.image_files import photograph_of
from kitbox.errors import KitboxError, readable
from kitbox.files import atomic_file

# Characters of a link's name: those that no system, list or spreadsheet takes for something else.
_ODD = re.compile(r"[^\w.-]+")


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
    root.mkdir(parents=True, exist_ok=True)
    path = _free(root, name or real.name)
    try:
        path.symlink_to(real, target_is_directory=True)
    except OSError as error:  # Windows without its developer mode; a disk without links
        raise KitboxError(
            f"cannot link {folder} as {path}: {error.strerror or error}",
            fix="turn on the developer mode of Windows, or give a workspace on another disk",
        ) from error
    return path.name


def names_of(root: Path, folder: Path, files: Iterable[Path]) -> list[str]:
    """Return the image names of files in a folder that is linked, in their order.

    A file in two linked folders has the name that it got first.
    """
    start, real = folder.absolute(), _real(folder)
    links = sorted(linked(root).items(), key=lambda pair: -len(pair[1].parts))
    names = []
    for file in files:
        path = real / file.absolute().relative_to(start)
        # the innermost link is the oldest: a folder inside a linked one gets none of its own
        found = next(((name, to) for name, to in links if to in path.parents), None)
        if found is None:
            raise KitboxError(f"{file} is in no linked folder of {root}", fix="link its folder")
        names.append(readable(f"{found[0]}/{path.relative_to(found[1]).as_posix()}"))
    return names


def linked(root: Path) -> dict[str, Path]:
    """Return link → the folder it leads to, of all links in `root`.

    Raises KitboxError for a link whose folder is gone, as that of a disk that is not plugged in.
    """
    found = {}
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if path.is_symlink():
            target = Path(os.readlink(path))
            if not path.is_dir():
                raise KitboxError(
                    f"the photographs in {path.name} are gone: there is no folder {target}",
                    where=str(path),
                    fix="plug in its disk, or make the link anew where the folder lies now",
                )
            found[path.name] = _real(path)
    return found


class Copied(NamedTuple):
    """The rows of copies of photographs, and how many of the copies were there before."""

    rows: list[CatalogueRow]
    there: int


def copy(root: Path, rows: Iterable[CatalogueRow], folder: Path) -> Copied:
    """Copy photographs into folders of individuals in a folder, which is linked; return their rows.

    Nothing is moved or overwritten: a name that another photograph has is followed by a number,
    and a copy that is there already stays. Of several animals in a photograph the catalogue keeps
    the photograph that their boxes are of. Raises KitboxError where a file cannot be read or
    written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    link(root, folder)
    found, there = [], 0
    for row in rows:
        file = root / photograph_of(row.image)
        target = folder.joinpath(*(_plain(part) for part in row.individual.split("/"))) / file.name
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
        copied = names_of(root, folder, [target])[0]
        found.append(replace(row, image=copied) if alone else row)
    return Copied(found, there)


def _known_name(root: Path, real: Path) -> str | None:
    """Return the name of a folder that is linked or lies inside one that is."""
    for name, target in sorted(linked(root).items(), key=lambda pair: -len(pair[1].parts)):
        if target == real:
            return name
        if target in real.parents:
            return f"{name}/{real.relative_to(target).as_posix()}"
    return None


def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))


def _free(root: Path, name: str) -> Path:
    """Return the path of a new link that begins like a name."""
    plain = _plain(name)
    number, path = 1, root / plain
    while os.path.lexists(path):
        number += 1
        path = root / f"{plain}-{number}"
    return path


def _plain(name: str) -> str:
    """Return a name as that of a folder on any system."""
    return _ODD.sub("-", readable(name)).strip("-.") or "photographs"
