"""Entries of lists and folders: images with their files, labels and lines."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kitbox import tables
from kitbox.competition import folder_scan, image_files
from kitbox.competition.check_rules import Side
from kitbox.competition.findings import DataFinding, FindingCollector
from kitbox.competition.folder_scan import display_path
from kitbox.competition.settings import ImageSettings
from kitbox.errors import KitboxError, more, readable
from kitbox.records import Corners, Floats, ImageSet, strings


@dataclass(slots=True, kw_only=True)
class ListEntry:
    """An image named on a line of a list, or by a folder (`line` is 0).

    `extra` holds its group, encounter and time as the row has them, by column.
    """

    image_id: str
    path: Path
    line: int = 0
    label: str = ""
    extra: dict[str, str] = field(default_factory=dict)


def extra_columns(images: ImageSettings) -> list[str]:
    """Return the columns for groups, encounters and times."""
    columns = (images.group_column, images.encounter_column, images.time_column)
    return [column for column in columns if column is not None]


def extra_values(row: dict[str, str], images: ImageSettings) -> dict[str, str]:
    """Return a row's group, encounter and time, by column."""
    return {column: row[column] for column in extra_columns(images) if column in row}


def to_image_set(
    entries: list[ListEntry],
    images: ImageSettings,
    corners: dict[str, Corners],
    *,
    labels: bool = False,
) -> ImageSet:
    """Return the images of entries, with the boxes, groups, encounters and times that lists give.

    Raises KitboxError for a column of times without a time.
    """
    groups = _values(entries, images.group_column)
    encounters = _values(entries, images.encounter_column)
    times = _values(entries, images.time_column)
    return ImageSet(
        strings([entry.image_id for entry in entries]),
        tuple(entry.path for entry in entries),
        strings([entry.label for entry in entries]) if labels else None,
        _corners(entries, corners),
        groups=None if groups is None else strings([images.group_names.get(g, g) for g in groups]),
        encounters=None if encounters is None else strings(encounters),
        times=None if times is None else _times(entries, times, images),
    )


def _corners(entries: list[ListEntry], corners: dict[str, Corners]) -> Floats | None:
    """Return the boxes (n, 4), NaN where there is none, or None where no entry has one."""
    if not any(entry.image_id in corners for entry in entries):
        return None
    no_box = (np.nan,) * 4
    return np.array([corners.get(entry.image_id, no_box) for entry in entries], dtype=np.float32)


def _values(entries: list[ListEntry], column: str | None) -> list[str] | None:
    """Return the values of a column, or None where this list has no such column."""
    if column is None or not any(column in entry.extra for entry in entries):
        return None
    return [entry.extra.get(column, "") for entry in entries]


def _times(
    entries: list[ListEntry], texts: list[str], images: ImageSettings
) -> NDArray[np.float64]:
    """Return dates or times as seconds since 1970, NaN where there is none.

    Raises KitboxError where there are values and none of them is a time.
    """
    moments = [_moment(text) for text in texts]
    given = [(entry, text) for entry, text in zip(entries, texts, strict=True) if text.strip()]
    if given and not any(moments):
        entry, text = given[0]
        listed = images.train_list if entry.label else test_list(images)
        raise KitboxError(
            f"{_time_problem(text)}{more(len(given) - 1)}",
            where=f"{listed} line {entry.line}",
            fix=f"or correct images.time_column = '{images.time_column}'",
        )
    return np.array([np.nan if one is None else one.timestamp() for one in moments])


# A date with the year first, as EXIF writes it too, and perhaps a time.
_YEAR_FIRST = re.compile(
    r"(\d{4})([-/.:])(\d{1,2})\2(\d{1,2})"
    r"(?:[ T_]+(\d{1,2}):(\d{2})([\d:.,]*) ?(Z|UTC|GMT|[-+][\d:]+)?)?"
)
# What is wrong with a time, by its form.
_TIME_PROBLEMS = {
    r"\d{1,2}([./-])\d{1,2}\1\d{2,4}\b.*": "the year does not come first",
    r"\d{1,2}:\d{2}.*": "the date is missing",
    r"\d{4}([-/.]\d{1,2})?": "the day is missing",
    r"\d{4}([-/.:]?)\d{1,2}\1\d{1,2}\b.*": "there is no such day or time",
    r"\d{5}(\.\d+)?": "it is the number by which Excel keeps a day",
    r"\d{10}(\d{3})?(\.\d+)?": "it counts from 1970",
}


# Characters in which a time of day ends with its zone.
_LONGEST_TIME = 60
_ZONE = re.compile(r":\d{2}\S* ?(Z|UTC|GMT|[-+]\d{2}:?(\d{2})?)$")


def _has_zone(text: str) -> bool:
    return bool(_ZONE.search(text.strip()[-_LONGEST_TIME:]))


def _has_time_of_day(text: str) -> bool:
    match = _YEAR_FIRST.fullmatch(text.strip())
    return bool(match[5]) if match else len(text.strip()) > len("2022-05-31")


def _moment(text: str) -> datetime | None:
    """Return the date or time of a text, in UTC where it names no zone, or None."""
    text = text.strip()
    match = _YEAR_FIRST.fullmatch(text)
    if match:
        year, _, month, day, hour, minute, rest, zone = match.groups()
        text = f"{year}-{month:0>2}-{day:0>2}"
        if hour:
            zone = "Z" if zone in ("UTC", "GMT") else zone or ""
            text += f" {hour:0>2}:{minute}{rest}{zone}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _time_problem(text: str) -> str:
    known = (why for form, why in _TIME_PROBLEMS.items() if re.fullmatch(form, text.strip()))
    why = next(known, "")
    return (
        f"time '{text}' is not understood{f': {why}' if why else ''}; "
        "write it as 2022-05-31 or 2022-05-31 14:05"
    )


def add_time_findings(
    entries: list[ListEntry], images: ImageSettings, side: Side, collector: FindingCollector
) -> None:
    """Add a finding for each time that is not understood, and for a column of two kinds of times.

    For labelled images also one on those that the holdout cannot keep with their encounter.
    """
    listed = images.train_list if side == "labelled" else test_list(images)
    add = partial(collector.add, side=side)
    texts = _values(entries, images.time_column) or [""] * len(entries)
    moments = [_moment(text) for text in texts]
    rows = [row for row in zip(entries, texts, moments, strict=True) if row[1].strip()]
    if any(moments):  # else `to_image_set` refuses the column
        for entry, text, moment in rows:
            if moment is None:
                add(
                    "time",
                    where=f"{listed} line {entry.line}",
                    what=_time_problem(text),
                    image_id=entry.image_id,
                )
        read = [(entry, text) for entry, text, moment in rows if moment is not None]
        kinds: list[tuple[str, str, Callable[[str], bool]]] = [("zone", "UTC", _has_zone)]
        if collector.competition.holdout.encounter_minutes is not None:
            kinds.append(("time of day", "midnight", _has_time_of_day))
        for lacking, read_as, has in kinds:
            without = [(entry, text) for entry, text in read if not has(text)]
            if without and len(without) < len(read):
                entry, text = without[0]
                what = (
                    f"time '{text}' has no {lacking} and is read as {read_as}"
                    f"{more(len(without) - 1)}, while {len(read) - len(without)} times have one; "
                    "write all of them alike"
                )
                add("time", where=f"{listed} line {entry.line}", what=what, image_id=entry.image_id)
    if side == "labelled":
        _add_encounter_finding(entries, moments, images, collector)


def _add_encounter_finding(
    entries: list[ListEntry],
    moments: list[datetime | None],
    images: ImageSettings,
    collector: FindingCollector,
) -> None:
    """Add a finding where the holdout is split by encounters and images have none."""
    minutes = collector.competition.holdout.encounter_minutes
    encounters = _values(entries, images.encounter_column)
    if minutes is None and encounters is None:
        return
    counts = Counter(entry.label for entry in entries)
    loose = [
        entry
        for entry, moment, encounter in zip(
            entries, moments, encounters or [""] * len(entries), strict=True
        )
        if not encounter
        and (moment is None or minutes is None)
        and counts[entry.label] > 1
        and entry.label not in ("", images.unknown_label)
    ]
    if loose:
        lacking = [] if encounters is None else [f"value in '{images.encounter_column}'"]
        if minutes is not None:
            lacking.append(f"time in '{images.time_column}' that is understood")
        what = (
            f"{len(loose)} of {len(entries)} labelled images have no "
            f"{' and no '.join(lacking)}; each is an encounter of its own, so that the "
            "holdout may have photographs of one encounter on both sides; fill it in"
        )
        place = f"{images.train_list} line {loose[0].line}" if loose[0].line else ""
        collector.add(
            "encounter",
            "labelled",
            where=place or images.train_folder,
            what=what,
            image_id=loose[0].image_id,
        )


def read_labelled(images: ImageSettings, collector: FindingCollector) -> list[ListEntry]:
    """Return the labelled images; raises KitboxError if there are none."""
    if images.train_list is None:
        entries = _labelled_from_folders(images)
    else:
        entries = _labelled_from_list(images, images.train_list, collector)
    if not entries:
        raise KitboxError(_no_image_message(images, collector.findings))
    return entries


def read_test(images: ImageSettings, collector: FindingCollector) -> list[ListEntry] | None:
    """Return the test images, or None where kitbox.toml names none."""
    list_name = test_list(images)
    folder_name = images.test_folder or (images.train_folder if list_name else None)
    if folder_name is None:
        return None
    if list_name is None:
        return _entries_of_folder(images, folder_name, "test_folder")
    template = images.test_file
    entries: dict[str, ListEntry] = {}
    named: dict[Path, ListEntry] = {}
    columns = tuple(image_files.template_columns(template, "test_file"))
    rows = list(_rows(images, list_name, images.test_split, columns, collector))
    folder = _folder(images, folder_name, "test_folder", rows)
    for line, row in rows:
        image_id = _image_id(row, images)
        add = partial(collector.add, side="test", where=f"{list_name} line {line}")
        match = folder.file_of(template, image_id, row)
        if not image_id.strip():
            add("no-name", what=_no_name_message(images))
        elif image_id in entries:
            what = f"image '{image_id}' is listed twice; remove one row"
            add("repeated-query", what=what, image_id=image_id)
        elif match.file in named and template is None:
            add("repeated-query", what=_same_file(image_id, named[match.file]), image_id=image_id)
        elif match.kind:
            add(match.kind, what=match.what, image_id=image_id)
        if match.file is not None and image_id not in entries:
            collector.add_file(match.file)
            extra = extra_values(row, images)
            entries[image_id] = named[match.file] = ListEntry(
                image_id=image_id, path=match.file, line=line, extra=extra
            )
    if not entries and images.split_column is not None and list_name == images.train_list:
        raise KitboxError(f"{images.root / list_name} {_no_row_message(images, 'test_split')}")
    return list(entries.values())


def read_index(images: ImageSettings) -> list[ListEntry] | None:
    """Return the images of a gallery that is neither train nor test, or None."""
    folder = images.index_folder
    return None if folder is None else _entries_of_folder(images, folder, "index_folder")


def test_list(images: ImageSettings) -> str | None:
    """Return the name of the list of test images, or None where there is only a folder."""
    return images.test_list or (images.train_list if images.split_column else None)


def _labelled_from_list(
    images: ImageSettings, list_name: str, collector: FindingCollector
) -> list[ListEntry]:
    """Return the images of a list whose rows are usable or settled by a decision."""
    template = images.train_file
    columns = (
        images.label_column,
        *image_files.template_columns(template, "train_file"),
        *extra_columns(images),
        *([images.folder_column] if images.folder_column else []),
    )
    rows = list(_rows(images, list_name, images.train_split, columns, collector))
    folder = _folder(images, images.train_folder, "train_folder", rows)
    entries: dict[str, ListEntry] = {}
    named: dict[Path, ListEntry] = {}
    conflicting: set[str] = set()
    decisions = collector.decisions
    left_out, settled, decided_labels = decisions.left_out, decisions.settled, decisions.labels
    for line, row in rows:
        image_id, label = _image_id(row, images), row[images.label_column]
        add = partial(collector.add, side="labelled", where=f"{list_name} line {line}")
        match = folder.file_of(template, image_id, row)
        if not image_id.strip():
            add("no-name", what=_no_name_message(images))
            continue
        if match.file is None and image_id.strip() in left_out:
            collector.settled.add(image_id.strip())
            continue
        if match.file is None:
            add(match.kind, what=match.what, image_id=image_id)
            continue
        collector.add_file(match.file)
        if match.kind:
            image_id = image_id.strip()
            add(match.kind, what=match.what, image_id=image_id)
        if label != label.strip() != "":
            what = f"label '{label}' has blanks around it; read as '{label.strip()}'"
            add("blank-in-label", what=what, image_id=image_id)
        label = images.read_label(label.strip())
        if not label and image_id not in settled:
            what = f"image '{image_id}' has an empty label; {_empty_label_advice(images)}"
            add("no-label", what=what, image_id=image_id)
        elif image_id in entries and image_id in settled:
            # of several rows the one with the decided label counts: that label is not a new one
            if label == images.read_label(decided_labels.get(image_id, "")):
                entries[image_id].label = label
        elif image_id in entries or (match.file in named and template is None):
            first = entries.get(image_id) or named[match.file]
            conflict = "" if first.label == label else f" as '{first.label}', here as '{label}'"
            what = f"image '{image_id}' is on line {first.line} already{conflict}; remove one row"
            if first.image_id != image_id:
                what = _same_file(image_id, first, conflict)
            add("two-labels" if conflict else "repeated", what=what, image_id=image_id)
            if conflict:
                conflicting.add(first.image_id)
        else:
            extra = extra_values(row, images)
            entries[image_id] = named[match.file] = ListEntry(
                image_id=image_id, path=match.file, line=line, label=label, extra=extra
            )
    return [entry for entry in entries.values() if entry.image_id not in conflicting]


def _folder(
    images: ImageSettings, name: str, setting: str, rows: list[tuple[int, dict[str, str]]]
) -> image_files.ImageFolder:
    """Return the folder of a list's images."""
    listed = {_image_id(row, images) for _, row in rows}
    folder = images.root / name
    others = (images.test_folder, images.index_folder) if setting == "train_folder" else ()
    paths = [images.root / other for other in others if other]
    apart = [path for path in paths if folder in path.parents]
    return image_files.ImageFolder(folder, name, setting, listed, apart)


def files_of(images: ImageSettings, rows: list[dict[str, str]]) -> list[Path | None]:
    """Return the file of each row of the list of labelled images, None where it is not clear."""
    folder = _folder(images, images.train_folder, "train_folder", list(enumerate(rows)))
    named = [(_image_id(row, images), row) for row in rows]
    return [folder.file_of(images.train_file, image_id, row).file for image_id, row in named]


def _image_id(row: dict[str, str], images: ImageSettings) -> str:
    """Return the id of a row's image: its name, after its folder if the list has such a column."""
    name = row[images.image_column]
    folder = row.get(images.folder_column, "") if images.folder_column else ""
    folder = folder.strip().rstrip("/\\")
    return f"{folder}/{name}" if folder and name.strip() else name


def _same_file(image_id: str, first: ListEntry, conflict: str = "") -> str:
    return (
        f"image '{image_id}' is the file of '{first.image_id}' on line {first.line}{conflict}; "
        "remove one row"
    )


def _empty_label_advice(images: ImageSettings) -> str:
    unknown = images.unknown_labels or ("unknown",)
    labels = ", ".join(f'"{label}"' for label in (*unknown, ""))
    return (
        "fill it in or remove the row, or where nobody knows the individual set "
        f"unknown_label = [{labels}] in kitbox.toml"
    )


def _no_name_message(images: ImageSettings) -> str:
    return f"the column '{images.image_column}' is empty; fill it in or remove the row"


def _labelled_from_folders(images: ImageSettings) -> list[ListEntry]:
    """Return the images of a folder per individual, or of one folder of unlabelled images."""
    folder = images.root / images.train_folder
    image_files.require_folder(folder, "train_folder")
    entries = []
    for individual, file in folder_scan.individuals(images):
        if images.unlabelled:
            label = images.unknown_label or ""
        elif individual is None:
            continue  # `folder_scan.left_alone` counts these
        else:
            label = images.read_label(folder_scan.label_of(individual))
        entries.append(ListEntry(image_id=display_path(file, folder), path=file, label=label))
    return entries


def _rows(
    images: ImageSettings,
    list_name: str,
    split: str,
    columns: tuple[str, ...],
    collector: FindingCollector,
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a list; from a list of all images, those of one split."""
    split_column = images.split_column if list_name == images.train_list else None
    needed = (images.image_column, *columns, *([split_column] if split_column else []))
    for line, row in tables.read_rows(
        images.root / list_name,
        needed,
        collector.on_bad_row(list_name),
        tuple(extra_columns(images)),
    ):
        if split_column is None or row[split_column] == split:
            collector.rows[list_name] += 1
            yield line, row


def _entries_of_folder(images: ImageSettings, folder_name: str, setting: str) -> list[ListEntry]:
    """Return all images of a folder, with their paths in it as ids, or their names without suffix.

    Raises KitboxError for two files of one such name, which is all that a published format has.
    """
    folder = images.root / folder_name
    image_files.require_folder(folder, setting)
    files: dict[str, Path] = {}
    for file in folder_scan.list_images(folder):
        name = readable(file.stem if images.bare_ids else file.relative_to(folder).as_posix())
        if name in files:
            raise KitboxError(
                f"{file} and {files[name]} have the same name, '{name}'", fix="rename one of them"
            )
        files[name] = file
    return [ListEntry(image_id=name, path=file) for name, file in files.items()]


def _no_image_message(images: ImageSettings, findings: list[DataFinding]) -> str:
    where = images.root / (images.train_list or images.train_folder)
    if images.split_column is not None and images.train_list is not None and not findings:
        return f"{where} {_no_row_message(images, 'train_split')}"
    return f"{where} names no usable image" + (f": {findings[0]}" if findings else "")


def _no_row_message(images: ImageSettings, setting: str) -> str:
    return (
        f"has no row where {images.split_column} is '{getattr(images, setting)}'; "
        f"correct images.{setting}"
    )
