"""Embeddings that another program computed, imported under a name: a member like any plugin.

A set is a folder `embeddings/NAME/` of the workspace: the unit rows `vectors.npy`, the ids of their
images `image_ids.json`, what they learned from `learned_from.json`, and `manifest.json`.
"""

import json
import re
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kitbox import tables
from kitbox.competition.image_files import FileNames, path_parts
from kitbox.embedding import vector_rows
from kitbox.embedding.vector_rows import VectorFile
from kitbox.errors import KitboxError, counted, did_you_mean, more
from kitbox.files import (
    atomic_folder,
    digest_of,
    digest_of_file,
    read_json,
    session_digest,
    sync_folder,
    write_text,
)
from kitbox.records import Embeddings, Floats, ImageSet, Progress, Strings, rows_of, strings
from kitbox.value import Recorded, check
from kitbox.workspace import Workspace

# What the network behind embeddings learned from: "nothing" of this competition, every "labelled"
# image, some "images" of it, or nobody knows.
LearnedFrom = Literal["nothing", "labelled", "images", "unknown"]

# A row of smaller length has no direction.
_LEAST_LENGTH = 1e-30
# Behind the name of a hidden folder: of embeddings that are whole, and of those that they replace.
_NEW, _OLD = ".new", ".old"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


class _Manifest(Recorded):
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    shape: list[int] = Field(min_length=2, max_length=2)
    learned_from: LearnedFrom
    files: dict[str, str]


@dataclass(frozen=True)
class ImportedEmbeddings:
    """Embeddings of images under a name, with the digest of their bytes.

    `learned_from` says what the network behind them was trained on; `files` are the names and
    digests of the files that they were imported from.
    """

    name: str
    folder: Path
    digest: str
    shape: tuple[int, int]
    learned_from: LearnedFrom
    files: Mapping[str, str]

    @property
    def dim(self) -> int:
        """The number of dimensions."""
        return self.shape[1]

    @cached_property
    def image_ids(self) -> Strings:
        """The ids (n,) of the images; raises KitboxError where their file is damaged."""
        try:
            return strings(check(list[str], read_json(self.folder / "image_ids.json")))
        except KitboxError as error:
            raise self._damaged from error

    @cached_property
    def learned_images(self) -> frozenset[str]:
        """The ids of the images that they learned from, where these are known."""
        path = self.folder / "learned_from.json"
        found = check(list[str], read_json(path), where=str(path)) if path.is_file() else ()
        return frozenset(found)

    def has(self, image_ids: Strings) -> NDArray[np.bool_]:
        """Return which of some images (n,) have an embedding."""
        return rows_of(image_ids, self.image_ids) >= 0

    def of(self, images: ImageSet) -> Embeddings:
        """Return the embeddings of images, in their order.

        Raises KitboxError for an image without one, and for a damaged folder.
        """
        self._check()
        rows = rows_of(images.image_ids, self.image_ids)
        missing = images.image_ids[rows < 0]
        if len(missing):
            raise KitboxError(
                f"{self.name} has no embedding of {len(missing)} of {len(images)} images, such as "
                f"'{missing[0]}'",
                fix=f"import a file that has them: 'kitbox embeddings import FILE --name "
                f"{self.name} --replace'",
            )
        try:
            vectors = np.load(self.folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
            in_order = len(rows) and (np.diff(rows) == 1).all()
            taken = vectors[rows[0] : rows[-1] + 1] if in_order else vectors[rows]
        except (OSError, ValueError, IndexError) as error:
            raise self._damaged from error
        if vectors.shape != self.shape:
            raise self._damaged
        return Embeddings(images.image_ids, np.asarray(taken))

    def _check(self) -> None:
        """Raise KitboxError where ids or vectors are not those that were imported."""
        try:
            vectors = session_digest(self.folder / "vectors.npy")
            if vectors in self._sound:
                return
            found = digest_of({"image_ids": self.image_ids.tolist(), "vectors": vectors})
        except (KitboxError, OSError, TypeError, ValueError) as error:
            raise self._damaged from error
        if found != self.digest:
            raise self._damaged
        self._sound.add(vectors)

    @cached_property
    def _sound(self) -> set[str]:
        """The digests of vectors that belong to the ids: one, once they have been checked."""
        return set()

    def knows(self, query_ids: Strings) -> list[str]:
        """Return those of some images that they are known to have learned from."""
        if self.learned_from == "labelled":
            return [str(image) for image in query_ids]
        return [image for image in query_ids.tolist() if image in self.learned_images]

    @property
    def _damaged(self) -> KitboxError:
        return KitboxError(
            f"the imported embeddings {self.folder} are damaged",
            fix=f"import them again with --name {self.name} --replace",
        )

    def as_json(self) -> dict[str, Any]:
        """Return what is recorded of them."""
        return {
            "imported": True,
            "digest": self.digest,
            "images": self.shape[0],
            "dim": self.dim,
            "learned_from": self.learned_from,
            "files": dict(self.files),
        }


@dataclass(frozen=True)
class NamedImages:
    """The images of a competition, found by the names that other programs give them.

    That is an image's id, or its path: with or without folders, suffix, capitals and Unicode form,
    as in lists.
    """

    images: Sequence[ImageSet]
    root: Path
    _found: dict[str, str] = field(default_factory=dict, init=False)

    @cached_property
    def ids(self) -> frozenset[str]:
        """The ids of all images."""
        return frozenset(i for part in self.images for i in part.image_ids.tolist())

    @cached_property
    def _files(self) -> dict[tuple[str, ...], str]:
        """The path of each file in the data folder → the id of its image."""
        start = len(self.root.parts)
        return {
            path.parts[start:] if path.is_relative_to(self.root) else path.parts[1:]: image_id
            for part in self.images
            for image_id, path in zip(part.image_ids.tolist(), part.paths, strict=True)
        }

    @cached_property
    def _names(self) -> FileNames:
        return FileNames(list(self._files))

    def matches(self, name: str) -> list[str]:
        """Return the ids of the images that a name may mean: one, none or several."""
        if name in self.ids:
            return [name]
        parts = path_parts(name.strip())
        if not parts:
            return []
        found = self._names.fitting(parts)
        if not found and len(parts) > 1:  # folders of another computer
            found = self._names.fitting(parts[-1:])
        return list(dict.fromkeys(self._files[file] for file in found))


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What was imported, and what of the files was not: names of `foreign` images.

    `missing` are sides without an embedding of any image.
    """

    embeddings: ImportedEmbeddings
    rows: int
    foreign: tuple[str, ...]
    missing: tuple[str, ...]


def names(workspace: Workspace) -> list[str]:
    """Return the names of all imported embeddings, sorted."""
    for old in workspace.imported.glob(f".*{_OLD}"):
        with suppress(OSError):  # another process does it, or the folder cannot be written to
            _replace(old.name[1 : -len(_OLD)], workspace)
    return sorted(path.parent.name for path in workspace.imported.glob("[!.]*/manifest.json"))


def load(name: str, workspace: Workspace) -> ImportedEmbeddings:
    """Return the imported embeddings of a name.

    Raises KitboxError where there are none, and where their file of vectors does not begin as one.
    """
    embeddings = load_record(name, workspace)
    try:
        vectors = np.load(embeddings.folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy raises whatever it meets
        raise embeddings._damaged from error
    if vectors.shape != embeddings.shape:
        raise embeddings._damaged
    return embeddings


def load_all(workspace: Workspace) -> tuple[list[ImportedEmbeddings], list[KitboxError]]:
    """Return all imported embeddings by name, and the errors of those that are damaged."""
    found, mistakes = list[ImportedEmbeddings](), list[KitboxError]()
    for name in names(workspace):
        try:
            found.append(load(name, workspace))
        except KitboxError as error:
            mistakes.append(error)
    return found, mistakes


def load_record(name: str, workspace: Workspace) -> ImportedEmbeddings:
    """Return what is recorded of the imported embeddings of a name, without their vectors.

    Raises KitboxError where there are none.
    """
    folder = workspace.imported / name
    if name not in names(workspace):
        known = names(workspace)
        raise KitboxError(
            f"no imported embeddings named {name}{did_you_mean(name, known)}"
            + ("" if did_you_mean(name, known) else f"; there are {', '.join(known) or 'none'}")
        )
    path = folder / "manifest.json"
    found = check(
        _Manifest, read_json(path), where=str(path), fix="import the file again with --replace"
    )
    rows, dim = found.shape
    return ImportedEmbeddings(
        name, folder, found.digest, (rows, dim), found.learned_from, found.files
    )


def check_name(name: str, plugins: Sequence[str], workspace: Workspace, *, replace: bool) -> None:
    """Raise KitboxError for a name that is none, or that is taken."""
    if not _NAME.fullmatch(name):
        raise KitboxError(
            f"--name {name}: a name of embeddings has letters, digits, _, - and . alone"
        )
    if name in plugins:
        raise KitboxError(f"--name {name} is the name of a plugin", fix="choose another")
    if name in names(workspace) and not replace:
        raise KitboxError(
            f"there are imported embeddings named {name}",
            fix="choose another --name, or put these in their place with --replace",
        )


def remove(name: str, workspace: Workspace) -> ImportedEmbeddings:
    """Remove imported embeddings, damaged ones too, and return their record.

    Raises KitboxError for others.
    """
    found = load_record(name, workspace)
    shutil.rmtree(found.folder)
    return found


def learned_images(path: Path, known: NamedImages) -> tuple[frozenset[str], list[str]]:
    """Return the images that a list names as learned from, and the names that are none here.

    A name is that of an image or of an individual. Of a list with a column `side`, such as
    holdout.csv, the rows of the side "train" count. Raises KitboxError where no name is known, and
    for a name that is several images.
    """
    images_of: dict[str, list[str]] = {}
    for part in known.images:
        if part.labels is not None:
            for image_id, label in zip(part.image_ids.tolist(), part.labels.tolist(), strict=True):
                images_of.setdefault(label, []).append(image_id)
    found: set[str] = set()
    foreign: list[str] = []
    listed = _learned_names(path)
    for name in listed:
        matches = known.matches(name)
        if len(matches) > 1:
            raise _ambiguous(name, matches, str(path))
        individual = images_of.get(name.strip(), []) if not matches and name.strip() else []
        found.update(matches or individual)
        if not matches and not individual:
            foreign.append(name)
    if not found:
        what = f"'{foreign[0]}' is" if foreign else "it names"
        raise KitboxError(
            f"--learned-from {path}: {what} no image or individual of this competition"
            f"{more(len(foreign) - 1)}",
            fix="correct the list, or give --learned-from nothing",
        )
    return frozenset(found), foreign


def _learned_names(path: Path) -> list[str]:
    if path.is_file() and path.suffix.lower() in (".csv", ".tsv"):
        header = tables.read_header(path)
        if "side" in header and "image" in header:
            rows = tables.read_columns(path, ("image", "side"))
            return [image for _, (image, side) in rows if side == "train"]
    return vector_rows.read_names(path)


def _ambiguous(name: str, images: Sequence[str], where: str) -> KitboxError:
    others = f" and {len(images) - 2} more" if len(images) > 2 else ""
    return KitboxError(
        f"'{name}' may be image '{images[0]}' or '{images[1]}'{others}",
        where=where,
        fix="write its folder before it, or the id that the lists give it",
    )


def save(
    name: str,
    files: Sequence[VectorFile],
    known: NamedImages,
    needed: Mapping[str, Strings],
    learned_from: LearnedFrom,
    learned: frozenset[str],
    workspace: Workspace,
) -> Generator[Progress, None, ImportReport]:
    """Import the rows of files under a name, scaled to unit length; yields Progress.

    `needed` are the ids of the images of each side ("labelled", "test", "index"): those of a side
    must all be there, or of test and index none. Rows of other images are left out. Nothing is
    written unless every row is sound.

    Raises KitboxError for an image without row or with two, a name that is several images, a row of
    zeros or with NaN, and files of different dimensions.
    """
    dim = files[0].dim
    for file in files[1:]:
        if file.dim != dim:
            raise KitboxError(
                f"{file.path} has {file.dim} dimensions and {files[0].path} {dim}",
                fix="import files of one network under one name",
            )
    if dim < 2:
        raise KitboxError(
            f"{files[0].path} has {counted(dim, 'number')} for each image; an embedding has several"
        )
    target = workspace.imported / name
    beside, replaced = (workspace.imported / f".{name}{state}" for state in (_NEW, _OLD))
    for left in (beside, replaced):
        shutil.rmtree(left, ignore_errors=True)
    _ignore_folder(workspace)
    try:
        with atomic_folder(beside) as folder:
            rows = _Rows(known, dim)
            with (folder / "vectors.npy").open("wb") as out:
                _write_header(out, 0, dim)
                for file in files:
                    rows.begin = rows.read
                    for given, block in file.blocks:
                        out.write(rows.add(given, block, file.path).tobytes())
                        total = max(rows.read, len(known.ids))
                        yield Progress("import rows", rows.read, total, "rows")
                rows.check(needed, files[0].path)
                out.seek(0)
                _write_header(out, len(rows.image_ids), dim)
            (folder / "image_ids.json").write_text(json.dumps(rows.image_ids), encoding="utf-8")
            if learned:
                text = json.dumps(sorted(learned))
                (folder / "learned_from.json").write_text(text, encoding="utf-8")
            vectors = digest_of_file(folder / "vectors.npy")
            manifest = {
                "digest": digest_of({"image_ids": rows.image_ids, "vectors": vectors}),
                "shape": [len(rows.image_ids), dim],
                "learned_from": learned_from,
                "files": _file_digests([file.path for file in files]),
            }
            text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
            (folder / "manifest.json").write_text(text, encoding="utf-8")
        if target.exists():  # it stays whole until the new one can take its place
            target.rename(replaced)
            _replace(name, workspace)
        else:
            beside.rename(target)
            sync_folder(workspace.imported)
    finally:
        if target.exists() or not replaced.exists():
            shutil.rmtree(beside, ignore_errors=True)
    return ImportReport(
        embeddings=load(name, workspace),
        rows=rows.read,
        foreign=tuple(rows.foreign),
        missing=tuple(side for side, ids in needed.items() if not rows.places.keys() & {*ids}),
    )


def _replace(name: str, workspace: Workspace) -> None:
    """Put new embeddings in the place of the old ones, which have left it.

    Where a process ends before it has done so, the next one that asks for names does.
    """
    target = workspace.imported / name
    beside, replaced = (workspace.imported / f".{name}{state}" for state in (_NEW, _OLD))
    if not target.exists():
        beside.rename(target)
        sync_folder(workspace.imported)
    shutil.rmtree(replaced)


def _file_digests(paths: Sequence[Path]) -> dict[str, str]:
    """Return name → digest of files, with the folder of those whose names are equal."""
    alike = [path.name for path in paths]
    return {
        path.name if alike.count(path.name) == 1 else f"{path.parent.name}/{path.name}":
        digest_of_file(path)
        for path in paths
    }  # fmt: skip


def _ignore_folder(workspace: Workspace) -> None:
    """Keep imported embeddings, which are large, out of version control."""
    ignored = workspace.imported / ".gitignore"
    if not ignored.exists():
        write_text(ignored, "*\n")


def _write_header(out: Any, rows: int, dim: int) -> None:
    """Write the head of a .npy of float32 rows, which is of one length for any number of rows."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)}
    text = repr(header).ljust(117) + "\n"
    out.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())


class _Rows:
    """The rows that are taken from files, and what is wrong with others."""

    def __init__(self, known: NamedImages, dim: int) -> None:
        self.known, self.dim, self.read, self.begin = known, dim, 0, 0
        self.image_ids: list[str] = []
        self.places: dict[str, str] = {}
        self.foreign: list[str] = []
        self.faults: dict[str, list[str]] = {}

    def add(self, given: list[str], block: NDArray[Any], path: Path) -> Floats:
        """Take the rows of known images, and return them at unit length."""
        taken = []
        for row, name in enumerate(given):
            matches = self.known.matches(name)
            place = f"{path.name} row {self.read - self.begin + row + 1}"
            if len(matches) > 1:
                raise _ambiguous(name, matches, place)
            if not matches:
                self.foreign.append(name)
            elif matches[0] in self.places:
                first = self.places[matches[0]]
                self._fault("double", f"image '{matches[0]}' is in {first} and in {place}")
            else:
                self.places[matches[0]] = place
                self.image_ids.append(matches[0])
                taken.append(row)
        self.read += len(given)
        with np.errstate(over="ignore", invalid="ignore"):
            rows = block[taken].astype(np.float64)
            largest = np.abs(rows).max(axis=1, initial=0)
            scaled = rows / np.where(largest > 0, largest, 1)[:, None]
            lengths = np.linalg.norm(scaled, axis=1)
            unit = (scaled / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)
        for row in np.flatnonzero(~np.isfinite(largest)).tolist():
            self._fault("number", f"{self._at(given[taken[row]])} has NaN or infinite numbers")
        for row in np.flatnonzero(largest < _LEAST_LENGTH).tolist():
            self._fault("zero", f"{self._at(given[taken[row]])} has a row of zeros")
        return unit

    def _at(self, name: str) -> str:
        [image] = self.known.matches(name)
        return f"{self.places[image]}: image '{image}'"

    def _fault(self, kind: str, what: str) -> None:
        self.faults.setdefault(kind, []).append(what)

    def check(self, needed: Mapping[str, Strings], path: Path) -> None:
        """Raise KitboxError for the first fault of any row, and for missing images."""
        fixes = {
            "double": "keep one of the rows",
            "number": "embed these images again",
            "zero": "embed these images again; zeros have no direction",
        }
        for kind, found in self.faults.items():
            raise KitboxError(f"{found[0]}{more(len(found) - 1)}", fix=fixes[kind])
        if not self.image_ids:
            foreign = self.foreign[0] if self.foreign else ""
            example = next(iter(sorted(self.known.ids)), "")
            raise KitboxError(
                f"{path} has no image of this competition: it names '{foreign}', but images are "
                f"named as '{example}'"
                if foreign
                else f"{path} has no row",
                fix="name the array or column of image names with --ids",
            )
        for side, ids in needed.items():
            missing = [image for image in ids.tolist() if image not in self.places]
            if missing and (side == "labelled" or len(missing) < len(ids)):
                raise KitboxError(
                    f"{len(missing)} of {len(ids)} {side} images have no row in {path.name}, such "
                    f"as '{missing[0]}'",
                    fix="embed them too; several files are imported together"
                    + ("" if side == "labelled" else f", or leave out all {side} images"),
                )
