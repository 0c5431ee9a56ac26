"""Reads the lists of a competition: labelled images, test images, a gallery."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from kitbox.competition import boxes, entries, placing, tables
from kitbox.competition.boxes import Corners
from kitbox.competition.entries import Entry
from kitbox.competition.settings import Competition, Images
from kitbox.errors import KitboxError, more
from kitbox.records import ImageSet, strings


@dataclass(frozen=True)
class Fault:
    """A faulty row or file: where it stands, what is wrong and what a person can do."""

    where: str
    what: str
    image_id: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Listed:
    """What the lists name: labelled images, test images, a gallery, and what was left out."""

    labelled: ImageSet
    test: ImageSet | None
    index: ImageSet | None
    faults: tuple[Fault, ...]


def read(competition: Competition) -> Listed:
    """Return the labelled, the test and the gallery's images.

    They stand in the order of the lists, test images in that of the sample submission. Raises
    KitboxError for the first faulty row where `images.broken` is "stop"; otherwise faulty rows are
    left out and returned as faults.
    """
    images = competition.images
    faults: list[Fault] = []
    labelled = _labelled(images, faults)
    if not labelled:
        raise KitboxError(_nothing(images, faults))
    test, shown = _test(images), images.index_folder
    # scenarios without test images are examples that the organisers made of labelled images
    examples = test is None and competition.task.scenarios is not None
    index = None if shown is None else _unlisted(images, shown, "index_folder")
    if faults and images.broken == "stop":
        raise KitboxError(stop_message(faults))
    corners = boxes.read(images)
    tested, searched = (
        None if part is None else entries.image_set(part, images, corners)
        for part in (labelled if examples else test, index)
    )
    labelled_set = entries.image_set(labelled, images, corners, labels=True)
    listed = Listed(labelled_set, tested, searched, tuple(faults))
    _refuse_shared(listed, examples)
    _refuse_strange_boxes(listed, images, corners)
    return replace(listed, test=_as_sample(listed.test, competition))


def stop_message(faults: list[Fault]) -> str:
    """Return the sentence that stops a run at faulty rows or files."""
    kept = 'set broken = "drop" in kitbox.toml to go on without'
    return f"{faults[0]}{more(len(faults) - 1)}; mend it, or {kept}"


def _labelled(images: Images, faults: list[Fault]) -> list[Entry]:
    if images.train_list is None:
        return _by_folder(images)
    folder = placing.Folder(images.root / images.train_folder, images.train_folder, "train_folder")
    template = images.train_file
    columns = (images.label_column, *placing.fields(template, "train_file"), *entries.told(images))
    found: dict[str, Entry] = {}
    conflicting: set[str] = set()
    for line, row in _rows(images, images.train_list, images.train_split, columns):
        image_id, label = row[images.image_column], row[images.label_column]
        where = f"{images.train_list} line {line}"
        if label != label.strip():
            what = f"label '{label}' has a blank at its end; read as '{label.strip()}'"
            faults.append(Fault(where, what))
            label = label.strip()
        file, fault = folder.file_of(template, image_id, row)
        if not image_id:
            fault = f"the column '{images.image_column}' is empty; fill it in or remove the row"
        elif not label:
            fault = fault or f"image '{image_id}' has an empty label; fill it in or remove the row"
        if fault or file is None:
            faults.append(Fault(where, fault, image_id))
        elif image_id in found:
            first = found[image_id]
            conflict = "" if first.label == label else f" as '{first.label}', here as '{label}'"
            what = f"image '{image_id}' is on line {first.line} already{conflict}; remove one row"
            faults.append(Fault(where, what, image_id if conflict else ""))
            if conflict:
                conflicting.add(image_id)
        else:
            found[image_id] = Entry(line, image_id, file, label, entries.told_by(row, images))
    return [image for image in found.values() if image.image_id not in conflicting]


def _by_folder(images: Images) -> list[Entry]:
    folder = images.root / images.train_folder
    placing.require(folder, "train_folder")
    # the folder of all folders may hold those of other images; they are no individuals
    others = {images.root / name for name in (images.test_folder, images.index_folder) if name}
    return [
        Entry(0, file.relative_to(folder).as_posix(), file, label.name)
        for label in sorted(folder.iterdir())
        if label.is_dir() and not label.name.startswith(".") and label not in others
        for file in placing.in_folder(label)
    ]


def _test(images: Images) -> list[Entry] | None:
    listed = images.test_list or (images.train_list if images.split_column else None)
    shown = images.test_folder or (images.train_folder if listed else None)
    if shown is None:
        return None
    if listed is None:
        return _unlisted(images, shown, "test_folder")
    folder = placing.Folder(images.root / shown, shown, "test_folder")
    template = images.test_file
    found: dict[str, Entry] = {}
    columns = tuple(placing.fields(template, "test_file"))
    for line, row in _rows(images, listed, images.test_split, columns):
        image_id = row[images.image_column]
        file, fault = folder.file_of(template, image_id, row)
        if not image_id:
            fault = f"the column '{images.image_column}' is empty; fill it in or remove the row"
        elif image_id in found:
            fault = f"image '{image_id}' is listed twice; remove one row"
        if fault or file is None:
            # A query that cannot be answered is never left out: the leaderboard would miss it.
            raise KitboxError(f"{listed} line {line}: {fault}")
        found[image_id] = Entry(line, image_id, file, told=entries.told_by(row, images))
    if not found and images.split_column is not None and listed == images.train_list:
        raise KitboxError(f"{images.root / listed} {_no_row(images, 'test_split')}")
    return list(found.values())


def _rows(
    images: Images, listed: str, split: str, columns: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a list; of the list of all images, those of one split."""
    parted = images.split_column if listed == images.train_list else None
    wanted = (images.image_column, *columns, *([parted] if parted else []))
    for line, row in tables.table(images.root / listed, wanted):
        if parted is None or row[parted] == split:
            yield line, row


def _unlisted(images: Images, shown: str, setting: str) -> list[Entry]:
    placing.require(images.root / shown, setting)
    found = []
    seen: dict[str, Path] = {}
    for file in placing.in_folder(images.root / shown):
        name = file.stem if images.bare_ids else file.name
        if name in seen:
            raise KitboxError(f"{file} and {seen[name]} have the same name; rename one of them")
        seen[name] = file
        found.append(Entry(0, name, file))
    return found


def _as_sample(test: ImageSet | None, competition: Competition) -> ImageSet | None:
    """Return the test images in the order of the sample submission, where there is one."""
    form = competition.submission
    if test is None or form.sample is None or form.layout == "long" or not form.header:
        return test
    path = competition.images.root / form.sample
    listed = dict.fromkeys(image_id for _, (image_id,) in tables.rows(path, form.header[:1]))
    for image_id in test.image_ids.tolist():
        if image_id not in listed:
            raise KitboxError(f"{path} has no row for test image '{image_id}'; get the whole file")
    known = set(test.image_ids.tolist())
    strangers = [image_id for image_id in listed if image_id not in known]
    if strangers:
        raise KitboxError(
            f"{path} asks for '{strangers[0]}', which is not a test image"
            f"{more(len(strangers) - 1)}; get all test images, or correct submission.sample"
        )
    return test.of(strings(list(listed)))


def _refuse_shared(listed: Listed, examples: bool) -> None:
    """Raise KitboxError for a name that two images have; examples are labelled images again."""
    named = {
        "training images": listed.labelled,
        "test images": None if examples else listed.test,
        "index": listed.index,
    }
    for (name, one), (other_name, other) in combinations(named.items(), 2):
        if one is None or other is None:
            continue
        both = np.intersect1d(one.image_ids, other.image_ids)
        if len(both):
            raise KitboxError(
                f"image '{both[0]}' is in the {name} and in the {other_name}"
                f"{more(len(both) - 1)}; rename it in one of them"
            )


def _refuse_strange_boxes(listed: Listed, images: Images, corners: dict[str, Corners]) -> None:
    sets = [part for part in (listed.labelled, listed.test, listed.index) if part is not None]
    if corners and not any(part.boxes is not None for part in sets):
        raise KitboxError(
            f"{images.boxes} has no box of any image: it names '{next(iter(corners))}', "
            f"where images are called as '{listed.labelled.image_ids[0]}'; correct its names"
        )


def _nothing(images: Images, faults: list[Fault]) -> str:
    where = images.root / (images.train_list or images.train_folder)
    if images.split_column is not None and images.train_list is not None and not faults:
        return f"{where} {_no_row(images, 'train_split')}"
    return f"{where} names no usable image" + (f": {faults[0]}" if faults else "")


def _no_row(images: Images, setting: str) -> str:
    return (
        f"has no row where {images.split_column} is '{getattr(images, setting)}'; "
        f"correct images.{setting}"
    )
