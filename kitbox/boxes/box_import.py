"""Import of boxes that other programs wrote, for the listed images."""

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Literal

from kitbox.boxes import box_formats, box_lists, orientation
from kitbox.boxes.box_formats import BoxFormat, BoxList, BoxRow, BoxSelection, CornerReader
from kitbox.boxes.orientation import Frame, PhotographSize, TurnedBoxes
from kitbox.competition.boxes import Box
from kitbox.competition.findings import DataFinding, stop_error
from kitbox.competition.folder_scan import IMAGE_SUFFIXES
from kitbox.competition.image_files import photograph_of
from kitbox.competition.lists import ListedImages
from kitbox.errors import KitboxError, counted, one_line
from kitbox.images import preprocessing
from kitbox.images.preprocessing import UnreadableImageError
from kitbox.records import Corners, ImageSet, Progress
from kitbox.workspace import Workspace

ImportFindingKind = Literal[
    "cut", "whole", "repeated", "refused", "unmatched", "unverified", "scaled", "without"
]

# A format is clear where so much more of the boxes lie inside their images than by any other one.
_CLEAR = 0.02
# How far boxes may reach over the edge, in image sides, before a whole list is refused as one for
# other images.
_ROUGHLY = 0.1
_LEAST_SIDE = 4  # pixels; a smaller box shows nothing
_WHOLE = 0.995  # share of its image from which a box crops nothing


@dataclass(frozen=True)
class ImportFinding:
    """A box that is not imported as it is, or a name that may be another image's.

    Boxes that are "cut", "scaled" or "whole" and those with an "unverified" name are imported,
    others are not. "without" is an image for which the list has no box.
    """

    kind: ImportFindingKind
    where: str
    image_id: str
    what: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "where", one_line(self.where))
        object.__setattr__(self, "what", one_line(self.what))

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, kw_only=True)
class BoxImport:
    """The boxes of a list, how the list was read, and findings on its rows.

    `fits` has for each possible format the number of boxes that lie inside their images; `reason`
    explains these formats. Numbers are `relative` if they are shares of the image's size. `turned`
    counts boxes on photographs that EXIF turns.
    """

    boxes: tuple[Box, ...]
    format: BoxFormat
    relative: bool
    reason: str
    fits: dict[BoxFormat, int]
    findings: tuple[ImportFinding, ...]
    selection: BoxSelection
    turned: TurnedBoxes

    @property
    def several(self) -> int:
        """The number of images with several boxes."""
        return sum(count > 1 for count in Counter(box.image_id for box in self.boxes).values())

    def notes(self, several_boxes: str, *, catalogue: bool = False) -> list[str]:
        """Return sentences on what was left out, turned or chosen; `several_boxes` is the rule.

        In the workspace of a `catalogue` each box of a photograph to identify is a query.
        """
        notes = self.selection.notes()
        if self.turned.total:
            notes.append(str(self.turned))
        if self.turned.unclear:
            notes.append(
                "unclear boxes fit both ways and are read as drawn on the upright photograph: look "
                "at them with --sheet, and give --raw if the program shows raw pixels, as labelImg "
                "and VoTT do, or --upright if it does not"
            )
        if self.several:
            chooses = f'several_boxes = "{several_boxes}" in kitbox.toml chooses'
            if catalogue:
                chooses = (
                    "each is an animal of its own to 'kitbox identify'; of a photograph that the "
                    f"catalogue has whole, {chooses}"
                )
            notes.append(
                f"images with several boxes: {self.several}; all are written, and {chooses}"
            )
        return notes

    def of_kind(self, kind: ImportFindingKind) -> list[ImportFinding]:
        """Return the findings of a kind."""
        return [finding for finding in self.findings if finding.kind == kind]


def import_boxes(
    path: Path,
    listed: ListedImages,
    *,
    source: str,
    broken: str = "stop",
    box_format: BoxFormat | None = None,
    folder: Path | None = None,
    categories: Sequence[str] = (),
    threshold: float | None = None,
    frame: Frame | None = None,
) -> Generator[Progress, None, BoxImport]:
    """Return the boxes of a foreign list as boxes of the listed images; yields Progress.

    Without `box_format` the header decides, and where it allows several formats, the one by which
    most boxes lie inside their images. With `folder` only images in it can match. `categories` and
    `threshold` are of the boxes to take, `frame` is what they were drawn on where EXIF turns the
    image. Raises KitboxError if no name matches an image, if the format is unclear or does not fit,
    if no box is usable, and, where `broken` is "stop", for the first invalid box.
    """
    box_list = box_lists.read(path)
    names = ImageNames(listed, folder)
    if not len(names):
        raise KitboxError(f"no listed image lies in {folder}", fix="correct --images")
    images = names.match(dict.fromkeys(row.name for row in box_list.rows))
    if not images:
        raise KitboxError(
            f"{path} has no box for any image: it names '{box_list.rows[0].name}', "
            f"but image names look like '{listed.labelled.image_ids[0]}'",
            fix="correct its names",
        )
    matched = [row for row in box_list.rows if row.name in images]
    least = box_list.threshold if threshold is None else threshold
    selection = box_formats.select(path, matched, categories, least)
    sizes, problems = yield from _read_sizes(names.paths(images.values()))
    reader = CornerReader(box_list.relative, frame, box_list.frame)
    formats = _possible_formats(box_list, box_format)
    complete = [
        (row, sizes[images[row.name]])
        for row in selection.rows
        if images[row.name] in sizes
        and any(box_formats.is_complete(row.numbers, name) for name in formats)
    ]
    fits = {name: box_formats.count_fits(reader, complete, name) for name in formats}
    named = None if box_list.relative else box_list.named  # shares may be of the centre
    best = _clear_best(path, fits, len(complete), named)
    _refuse_other_images(path, reader, complete, best)
    turned = [
        (row, size)
        for row, size in complete
        if box_formats.is_complete(row.numbers, best) and reader.differs(row, size, best)
    ]
    frames, counts = orientation.decide(reader.evidence(row, size, best) for row, size in turned)
    importer = _RowImporter(
        box_format=best,
        reader=reader,
        source=source,
        sizes=sizes,
        problems=problems,
        suspicious_names=names.suspicious(images),
        handled={images[row.name] for row in selection.rows},
        frames={id(row): of_row for (row, _), of_row in zip(turned, frames, strict=True)},
    )
    taken = set(map(id, selection.rows))
    for row in box_list.rows:
        importer.add(row, images.get(row.name), taken=id(row) in taken)
    result = BoxImport(
        boxes=tuple(importer.boxes),
        format=best,
        relative=box_list.relative,
        reason=box_list.reason,
        fits=fits,
        findings=tuple(importer.findings),
        selection=selection,
        turned=counts,
    )
    refused = [
        DataFinding(where=f.where, what=f.what, image_id=f.image_id)
        for f in result.of_kind("refused")
    ]
    if refused and broken == "stop":
        raise stop_error(refused)
    if not result.boxes:
        raise KitboxError(f"{path} has no usable box: {refused[0]}")
    return result


def source_name(file: Path, workspace: Workspace) -> str:
    """Return the name of a list's boxes: its path in the workspace, or else its folder and name.

    The name alone is ambiguous: train/labels, test/labels.
    """
    root = workspace.root.resolve()
    inside = file.is_relative_to(root) and file != root
    return (file.relative_to(root) if inside else Path(*file.parts[1:][-2:])).as_posix()


class ImageNames:
    """Matches the names in a list of boxes with the images of a competition."""

    def __init__(self, listed: ListedImages, folder: Path | None = None) -> None:
        """Index all images, or those whose files lie in `folder`."""
        self._paths: dict[str, Path] = {}
        self._by_file: defaultdict[str, list[str]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for images in (listed.labelled, listed.test, listed.index):
            self._add(images, folder)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._paths)

    def match(self, names: Iterable[str]) -> dict[str, str]:
        """Return name → image id for the names that match one image.

        Where several names match one image, as 'train/1.jpg' and 'test/1.jpg' do where only one
        file exists, only those are kept that share the most folders with its path.
        """
        matches = {name: image_id for name in names if (image_id := self._match(name))}
        most_shared: defaultdict[str, int] = defaultdict(int)
        for name, image_id in matches.items():
            most_shared[image_id] = max(most_shared[image_id], self._shared(name, image_id))
        return {
            name: image_id
            for name, image_id in matches.items()
            if self._shared(name, image_id) == most_shared[image_id]
        }

    def suspicious(self, matches: dict[str, str]) -> dict[str, str]:
        """Return name → message for names whose match may be wrong.

        These are names with the suffix of another file, and names of an image that another name
        matches too.
        """
        messages: dict[str, str] = {}
        first: dict[str, str] = {}
        for name, image_id in matches.items():
            path, suffix = self._paths[image_id], _suffix(name)
            other = first.setdefault(image_id, name)
            if other != name:
                messages[name] = f"'{name}' is read as image '{image_id}', like '{other}'"
            elif name != image_id and suffix in IMAGE_SUFFIXES and suffix != _suffix(path.name):
                messages[name] = (
                    f"'{name}' is read as image '{image_id}', whose file is {path.name}"
                )
        return messages

    def paths(self, image_ids: Iterable[str]) -> dict[str, Path]:
        """Return image id → file, each once."""
        return {image_id: self._paths[image_id] for image_id in image_ids}

    def _add(self, images: ImageSet | None, folder: Path | None) -> None:
        if images is None:
            return
        for image_id, path in zip(images.image_ids.tolist(), images.paths, strict=True):
            # boxes are those of a photograph, also where each of its animals is an image
            name = photograph_of(image_id) if image_id[-len(path.name) :] != path.name else image_id
            if (folder is None or path.is_relative_to(folder)) and name not in self._paths:
                self._paths[name] = path
                self._by_file[path.name].append(name)
                self._by_stem[path.stem].append(name)

    def _match(self, name: str) -> str | None:
        """Return the image that a name matches, or None if it matches none or several."""
        if name in self._paths:
            return name
        last = _parts(name)[-1:]
        file = last[0] if last else ""
        # a dot in a bare name, as in that of a video's frame, begins no suffix
        stem = PurePosixPath(file).stem if _suffix(file) in IMAGE_SUFFIXES else file
        for candidates in (
            self._by_file.get(file),
            self._by_stem.get(file),
            self._by_stem.get(stem),
        ):
            if candidates:
                shared = [self._shared(name, image_id) for image_id in candidates]
                most = max(shared)
                return candidates[shared.index(most)] if shared.count(most) == 1 else None
        return None

    def _shared(self, name: str, image_id: str) -> int:
        """Count the parent folders that a name shares with an image's path; an id shares all."""
        own = self._paths[image_id].parts
        if name == image_id:
            return len(own)
        pairs = zip(reversed(_parts(name)[:-1]), reversed(own[:-1]), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _suffix(name: str) -> str:
    return PurePosixPath(name.strip()).suffix.lower()


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a path, which may be one of Windows."""
    return PurePosixPath(name.strip().replace("\\", "/")).parts


def _read_sizes(
    paths: dict[str, Path],
) -> Generator[Progress, None, tuple[dict[str, PhotographSize], dict[str, str]]]:
    """Return image id → the size of the photograph, and id → message if it is unreadable."""
    sizes: dict[str, PhotographSize] = {}
    problems: dict[str, str] = {}
    for done, (image_id, path) in enumerate(paths.items(), 1):
        try:
            sizes[image_id] = PhotographSize(*preprocessing.raw_size(path))
        except UnreadableImageError as error:
            problems[image_id] = str(error)
        yield Progress("read the sizes of images", done, len(paths))
    return sizes, problems


def _possible_formats(box_list: BoxList, box_format: BoxFormat | None) -> tuple[BoxFormat, ...]:
    """Return the formats that a list may have, or the given one."""
    formats = box_list.formats if box_format is None else (box_format,)
    if len(formats) > 1 and not box_list.relative:  # centres in pixels have column names
        formats = tuple(name for name in formats if name != "yolo")
    return formats


def _clear_best(
    path: Path, fits: dict[BoxFormat, int], rows: int, named: BoxFormat | None
) -> BoxFormat:
    """Return the format by which clearly more boxes lie inside their images than by any other.

    The format that is `named` by the columns is taken unless another one is clearly better.
    """
    best, *others = sorted(fits, key=lambda name: -fits[name])
    margin = max(1, _CLEAR * rows)
    if named in fits and fits[best] - fits[named] < margin:
        return named
    if others and rows and fits[best] - fits[others[0]] < margin:
        counts = " and ".join(f"{fits[name]} as {name}" for name in (best, others[0]))
        raise KitboxError(
            f"of {rows} boxes {counts} lie inside their images",
            where=str(path),
            fix=f"choose one with --form {best} or --form {others[0]}",
        )
    return best


def _refuse_other_images(
    path: Path,
    reader: CornerReader,
    rows: list[tuple[BoxRow, PhotographSize]],
    box_format: BoxFormat,
) -> None:
    """Raise KitboxError where most boxes reach out of their images: those have another size."""
    count = box_formats.count_fits(reader, rows, box_format, _ROUGHLY)
    if 2 * count < len(rows):
        raise KitboxError(
            f"read as {box_formats.DESCRIPTIONS[box_format]}, {count} of {len(rows)} boxes lie "
            "inside their images",
            where=str(path),
            fix="give another --form, or boxes drawn on images of this size",
        )


@dataclass(kw_only=True)
class _RowImporter:
    """Imports boxes row by row, with findings on those that are not imported as they are."""

    box_format: BoxFormat
    reader: CornerReader
    source: str
    sizes: dict[str, PhotographSize]
    problems: dict[str, str]
    suspicious_names: dict[str, str]  # each is reported once
    handled: set[str]  # images with a box or a finding, and reported names without an image
    frames: dict[int, Frame]  # of the rows whose images EXIF turns, by the identity of the row
    boxes: list[Box] = field(default_factory=list)
    findings: list[ImportFinding] = field(default_factory=list)
    _first: dict[tuple[str, Corners], str] = field(default_factory=dict)  # the first such box

    def add(self, row: BoxRow, image_id: str | None, *, taken: bool) -> None:
        """Add the part of a row's box that lies in its image, or a finding."""
        if image_id is None:
            if row.name not in self.handled:
                self.handled.add(row.name)
                self._report("unmatched", row, "", f"no image, or more than one, is '{row.name}'")
        elif not taken:
            if image_id not in self.handled:
                self.handled.add(image_id)
                why = row.absent or "its boxes are of another category or of less confidence"
                self._report("without", row, image_id, f"image '{image_id}' has no box: {why}")
        else:
            self._add_taken(row, image_id)

    def _add_taken(self, row: BoxRow, image_id: str) -> None:
        if (what := self.suspicious_names.pop(row.name, None)) is not None:
            self._report("unverified", row, image_id, what)
        if image_id in self.problems:
            self._report("refused", row, image_id, self.problems[image_id])
        elif (problem := self._problem(row)) is not None:
            self._report("refused", row, image_id, f"box {row.text} {problem}; correct the row")
        else:
            self._report_size(row, image_id)
            self._add_cut(row, image_id)

    def _problem(self, row: BoxRow) -> str | None:
        if not box_formats.is_complete(row.numbers, self.box_format):
            return "is no outline" if self.box_format == "points" else "is not four numbers"
        if row.confidence is not None and not 0 <= row.confidence <= 1:
            return f"has confidence {row.confidence:g}, which is not between 0 and 1"
        x0, y0, x1, y1 = box_formats.to_corners(row.numbers, self.box_format, (1.0, 1.0))
        return None if x0 < x1 and y0 < y1 else f"is empty, read as {self.box_format}"

    def _add_cut(self, row: BoxRow, image_id: str) -> None:
        """Add a box, cut at the edges of its image."""
        photograph = self.sizes[image_id]
        size, frame = photograph.upright, self.frames.get(id(row), "upright")
        corners = self.reader.corners(row, photograph, self.box_format, frame)
        x0, y0 = max(corners[0], 0.0), max(corners[1], 0.0)
        x1, y1 = min(corners[2], float(size[0])), min(corners[3], float(size[1]))
        width, height = x1 - x0, y1 - y0
        image = f"image '{image_id}', which has {size[0]}x{size[1]} pixels"
        if width <= 0 or height <= 0:
            what = f"box {row.text} lies outside {image}; correct it"
            self._report("refused", row, image_id, what)
            return
        if min(width, height) < _LEAST_SIDE:
            what = (
                f"box {row.text} has only {width:.3g}x{height:.3g} pixels in {image}; "
                "correct or remove it"
            )
            self._report("refused", row, image_id, what)
            return
        cut = (round(x0, 2), round(y0, 2), round(x1, 2), round(y1, 2))
        first = self._first.setdefault((image_id, cut), row.where)
        if first != row.where:
            self._report("repeated", row, image_id, f"box {row.text} is the same as in {first}")
            return
        over = max(abs(a - b) for a, b in zip(corners, (x0, y0, x1, y1), strict=True))
        if over > box_formats.ROUNDING:
            what = f"box {row.text} reaches {counted(round(over), 'pixel')} out of {image}"
            self._report("cut", row, image_id, what)
        if width * height >= _WHOLE * size[0] * size[1]:
            self._report("whole", row, image_id, f"box {row.text} covers all of {image}")
        self.boxes.append(Box(image_id, cut, row.confidence, self.source))

    def _report_size(self, row: BoxRow, image_id: str) -> None:
        """Report a box that was drawn on a copy of another size, or on another image."""
        image = self.sizes[image_id]
        if row.size is None or row.size in (image.raw, image.upright):
            return
        has = f"image '{image_id}' has {image.upright[0]}x{image.upright[1]} pixels"
        list_has = f"the list has {row.size[0]}x{row.size[1]}"
        if not image.frames_of_size(row.size):
            self._report("unverified", row, image_id, f"{has}, but {list_has}")
        elif not self.reader.relative:
            what = f"box {row.text}: {has}, {list_has}, a copy of another size"
            self._report("scaled", row, image_id, what)

    def _report(self, kind: ImportFindingKind, row: BoxRow, image_id: str, what: str) -> None:
        self.findings.append(ImportFinding(kind, row.where, image_id, what))
