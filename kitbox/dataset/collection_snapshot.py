"""The collection as it was read last, to be used again while nothing that it follows from changes.

Lists, the file of each row, the index, copies and the draw of the holdout follow from the settings,
the bytes of the lists, and the names, sizes and times of all files in the image folders. A file
`collection.safetensors` in the cache has what was read under a digest of these; the folders are
looked through for it each time. Whatever differs, all is read as if there were no such file.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

import kitbox
from kitbox.competition.check_rules import Side
from kitbox.competition.findings import DataFinding
from kitbox.competition.folder_scan import CACHE
from kitbox.competition.holdout import Folds
from kitbox.competition.lists import ListedImages
from kitbox.competition.settings import Competition
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import KitboxError, KitboxWarning
from kitbox.files import digest_of, digest_of_file, read_sealed, write_sealed
from kitbox.images.file_index import Inspection, Signatures
from kitbox.images.image_stats import DTYPE
from kitbox.records import ImageSet, Integers, Strings, strings
from kitbox.workspace import Workspace

# Raise it when the same lists and files give another collection.
_VERSION = 1
_SIDES: tuple[Side, ...] = ("labelled", "test", "index")
# Settings that lists, files and the holdout are read by.
_SETTINGS = ("images", "check", "task", "submission", "holdout", "catalogue")
# Columns of texts, and columns of numbers, that lists give.
_TEXTS, _NUMBERS = ("labels", "groups", "encounters"), ("boxes", "times")
# The array of all that is no column, as JSON.
_RECORD = "record"

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class CollectionReading:
    """What was read: the images as the lists name them, the inspection of each side, and the split.

    Inspections are of the images after decisions, `units (n,)` and `folds` of the usable labelled
    ones.
    """

    listed: ListedImages
    inspections: dict[Side, Inspection]
    units: Integers
    folds: Folds


class KeptReading:
    """A reading from the file of a snapshot, whose bytes are those that were written."""

    def __init__(self, arrays: Arrays) -> None:
        """Take the arrays of the file."""
        self._arrays = arrays
        self._record: dict[str, Any] = json.loads(arrays[_RECORD].tobytes())

    @property
    def causes(self) -> str:
        """The digest of all that the reading follows from."""
        return str(self._record["causes"])

    @property
    def listed(self) -> ListedImages:
        """The images as the lists name them, before decisions."""
        labelled, test, index = (self._listed_side(side) for side in _SIDES)
        assert labelled is not None  # noqa: S101  a reading has labelled images
        return ListedImages(
            labelled.labelled,
            test=test,
            index=index,
            findings=tuple(DataFinding(**each) for each in self._record["findings"]),
            settled=frozenset(self._record["settled"]),
        )

    def _listed_side(self, side: Side) -> ImageSet | None:
        def column(name: str) -> Any:
            array = self._arrays.get(f"{side}.{name}")
            return array if array is None or name in _NUMBERS else _texts(array)

        ids = column("image_ids")
        if ids is None:
            return None
        paths = tuple(map(Path, column("paths").tolist()))
        return ImageSet(ids, paths, **{name: column(name) for name in (*_TEXTS, *_NUMBERS)})

    def inspection(self, side: Side, images: ImageSet) -> Inspection:
        """Return the inspection of a side's images after decisions."""
        found = {
            name: self._arrays[f"{side}.inspected.{name}"]
            for name in ("digests", "times", "hashes", "thumbnails", "stats")
        }
        columns = {name: getattr(images, name) for name in (*_TEXTS, "boxes")}
        columns |= {"digests": _texts(found["digests"]), "times": found["times"]}
        return Inspection(
            images=type(images)(images.image_ids, images.paths, **columns),
            signatures=Signatures(found["hashes"], found["thumbnails"]),
            stats=found["stats"].view(DTYPE).reshape(-1),
            **self._record["inspected"][side],
        )

    @property
    def units(self) -> Integers:
        """The unit (n,) of each usable labelled image."""
        return self._arrays["units"]

    @property
    def folds(self) -> Folds:
        """The folds of the usable labelled images."""
        record = self._record["folds"]
        unknown = tuple(map(frozenset[str], record["unknown"]))
        return Folds(self._arrays["fold_of"], unknown, record["images"], record["individuals"])

    def wrote(self, holdout: Path) -> bool:
        """Return whether the list of the holdout is as it was after the reading."""
        return self._record["holdout"] is not None and self._record["holdout"] == _digest(holdout)


@dataclass(frozen=True)
class CollectionSnapshot:
    """The file with a workspace's collection as it was read last, by settings and decisions."""

    workspace: Workspace
    competition: Competition
    decisions: Decisions

    @property
    def path(self) -> Path:
        """The file; there is one, which the next reading replaces."""
        return self.workspace.cache / "collection.safetensors"

    @cached_property
    def causes(self) -> str:
        """The digest of all that the reading follows from, taken before it."""
        return self._causes_now()

    def load(self) -> KeptReading | None:
        """Return what was read last, None where something it follows from is not as it was.

        A damaged file is told by a KitboxWarning, and replaced by the next reading.
        """
        causes = self.causes
        try:
            kept = KeptReading(load(read_sealed(self.path)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, SafetensorError):
            what = f"{self.path} is damaged; the lists are read again, and it is made again"
            warnings.warn(what, KitboxWarning, stacklevel=2)
            return None
        return kept if kept.causes == causes else None

    def save(self, reading: CollectionReading) -> None:
        """Keep a reading, unless something it follows from has changed since it began.

        It saves nothing but time, so that a cache that cannot be written to stops nobody. A file
        that the system could not read is tried again each time.
        """
        lasting = all(each.lasting for each in reading.inspections.values())
        if not lasting or _needs_other_files(reading.listed, self.workspace, self.competition):
            return
        if self._causes_now() != self.causes:
            return
        with suppress(KitboxError):
            write_sealed(self.path, save(_arrays(reading, self.causes, self.workspace.holdout)))

    def _causes_now(self) -> str:
        workspace, images = self.workspace, self.competition.images
        sample = self.competition.submission.sample
        lists = (images.train_list, images.test_list, images.boxes, sample)
        paths = [images.root / name for name in lists if name]
        names = (images.train_folder, images.test_folder, images.index_folder)
        folders = dict.fromkeys(str(images.root / name) for name in names if name)
        settings = {name: getattr(self.competition, name) for name in _SETTINGS}
        return digest_of(
            {
                "version": [kitbox.__version__, _VERSION],
                "settings": {name: each.model_dump(mode="json") for name, each in settings.items()},
                # links of images are followed each time
                "decisions": self.decisions.training_digest,
                "lists": [_digest(path) for path in (workspace.boxes, *paths)],
                "folders": [_digest_of_folder(folder) for folder in folders],
            }
        )


def _needs_other_files(
    listed: ListedImages, workspace: Workspace, competition: Competition
) -> bool:
    """Return whether boxes name no image of the lists: photographs of other seasons are looked up.

    They lie outside of the folders that are looked through.
    """
    parts = (listed.labelled, listed.test, listed.index)
    boxed = any(part is not None and part.boxes is not None for part in parts)
    has_list = competition.images.boxes is not None or workspace.boxes.is_file()
    return competition.catalogue.source is not None and has_list and not boxed


def _digest(path: Path) -> str | None:
    """Return the digest of a list, None where it cannot be read."""
    try:
        return digest_of_file(path)
    except OSError:
        return None


def _digest_of_folder(folder: str) -> str:
    """Return the digest of the names, sizes and times of all files in a folder and those below."""
    real = os.path.realpath(folder)
    lines = "\0".join([real, *_lines(folder, (real,))])
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()


def _lines(folder: str, real: tuple[str, ...]) -> Iterator[str]:
    """Yield a line of each file of a folder and of those below it, in the order of their names.

    `real` are its real path and those of the folders above it. No name has the separators of a
    line, a slash and a zero. Links are followed, also hidden ones, unless they lead back.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield f"/{error.errno}"
        return
    yield f"/{len(entries)}"
    for entry in entries:
        try:
            target = os.path.realpath(entry.path) if entry.is_symlink() else ""
            if not entry.is_dir():
                status = os.stat(entry.path)  # an entry's own is old on some systems
                times = f"{status.st_size}/{status.st_mtime_ns}/{status.st_ctime_ns}"
                yield f"{entry.name}/{times}/{target}"
                continue
        except OSError as error:  # a link to nothing, a folder that may not be looked into
            yield f"{entry.name}/{error.errno}"
            continue
        yield f"{entry.name}//{target}"
        inner = target or os.path.join(real[0], entry.name)
        leads_back = target and any(
            one == target or one.startswith(target + os.sep) for one in real
        )
        if entry.name != CACHE and not leads_back:
            yield from _lines(entry.path, (inner, *real))


def _arrays(reading: CollectionReading, causes: str, holdout: Path) -> Arrays:
    """Return the arrays of a snapshot's file."""
    listed, folds = reading.listed, reading.folds
    arrays: Arrays = {"units": reading.units, "fold_of": folds.fold_of}
    for side, images in zip(_SIDES, (listed.labelled, listed.test, listed.index), strict=True):
        if images is not None:
            arrays[f"{side}.image_ids"] = _codes(images.image_ids)
            arrays[f"{side}.paths"] = _codes(strings([str(path) for path in images.paths]))
            for name in _TEXTS:
                if (texts := getattr(images, name)) is not None:
                    arrays[f"{side}.{name}"] = _codes(texts)
            for name in _NUMBERS:
                if (numbers := getattr(images, name)) is not None:
                    arrays[f"{side}.{name}"] = numbers
    for side, inspection in reading.inspections.items():
        times = inspection.images.times
        assert times is not None  # noqa: S101  inspected images have them
        arrays |= {
            f"{side}.inspected.digests": _codes(inspection.images.file_digests),
            f"{side}.inspected.times": times,
            f"{side}.inspected.hashes": inspection.signatures.hashes,
            f"{side}.inspected.thumbnails": inspection.signatures.thumbnails,
            f"{side}.inspected.stats": inspection.stats.view(np.uint8).reshape(-1, DTYPE.itemsize),
        }
    record = {
        "causes": causes,
        "findings": [vars(finding) for finding in listed.findings],
        "settled": sorted(listed.settled),
        "inspected": {
            side: {
                name: getattr(inspection, name)
                for name in ("problems", "problem_kinds", "truncated")
            }
            for side, inspection in reading.inspections.items()
        },
        "folds": {
            "unknown": [sorted(labels) for labels in folds.unknown],
            "images": folds.images,
            "individuals": folds.individuals,
        },
        "holdout": _digest(holdout),
    }
    arrays[_RECORD] = np.frombuffer(json.dumps(record).encode(), dtype=np.uint8)
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _codes(texts: Strings) -> NDArray[Any]:
    """Return the letters (n, width) of texts as numbers of as few bytes as they need."""
    width = texts.dtype.itemsize // 4
    letters = np.ascontiguousarray(texts).view(np.uint32).reshape(len(texts), width)
    largest = letters.max(initial=0)
    narrow = np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32
    return letters.astype(narrow)


def _texts(codes: NDArray[Any]) -> Strings:
    """Return the texts (n,) of letters (n, width)."""
    letters = np.ascontiguousarray(codes, dtype=np.uint32)
    return letters.view(f"<U{letters.shape[1]}").reshape(-1)
