"""Turns boxes that other programs wrote into boxes of the images that are here."""

from collections import defaultdict
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Literal

from kitbox.boxes import box_formats
from kitbox.boxes.box_formats import BoxFormat, BoxList, BoxRow
from kitbox.competition.boxes import Box, Corners
from kitbox.competition.findings import DataFinding, stop_message
from kitbox.competition.image_files import IMAGE_SUFFIXES
from kitbox.competition.lists import ListedImages
from kitbox.errors import KitboxError
from kitbox.images import preprocessing
from kitbox.images.preprocessing import UnreadableImageError
from kitbox.records import ImageSet, Progress


class ImageNames:
    """The images of a competition by every name that a list may call them."""

    def __init__(self, listed: ListedImages, inside: Path | None = None) -> None:
        """Take all images, or those whose files lie `inside` a folder."""
        self._paths: dict[str, Path] = {}
        self._by_file: defaultdict[str, list[str]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for images in (listed.labelled, listed.test, listed.index):
            self._add(images, inside)

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._paths)

    def found(self, names: Iterable[str]) -> dict[str, str]:
        """Return name → image id of the names that mean one image.

        Of several names of one image, as 'train/1.jpg' and 'test/1.jpg' where only one is here,
        those count that share most with its path.
        """
        meant = {name: image_id for name in names if (image_id := self._meant(name))}
        nearest: defaultdict[str, int] = defaultdict(int)
        for name, image_id in meant.items():
            nearest[image_id] = max(nearest[image_id], self._shared(name, image_id))
        return {
            name: image_id
            for name, image_id in meant.items()
            if self._shared(name, image_id) == nearest[image_id]
        }

    def guessed(self, found: dict[str, str]) -> dict[str, str]:
        """Return name → what is to be said of it, for names that may not mean what was `found`.

        Those of a file with another suffix, and those of an image that another name means too.
        """
        said: dict[str, str] = {}
        first: dict[str, str] = {}
        for name, image_id in found.items():
            path, suffix = self._paths[image_id], _suffix(name)
            other = first.setdefault(image_id, name)
            if other != name:
                said[name] = f"'{name}' is taken for image '{image_id}', as '{other}' is"
            elif name != image_id and suffix in IMAGE_SUFFIXES and suffix != _suffix(path.name):
                said[name] = f"'{name}' is taken for image '{image_id}', whose file is {path.name}"
        return said

    def paths(self, image_ids: Iterable[str]) -> dict[str, Path]:
        """Return image id → file, each once."""
        return {image_id: self._paths[image_id] for image_id in image_ids}

    def _add(self, images: ImageSet | None, inside: Path | None) -> None:
        if images is None:
            return
        for image_id, path in zip(images.image_ids.tolist(), images.paths, strict=True):
            if (inside is None or path.is_relative_to(inside)) and image_id not in self._paths:
                self._paths[image_id] = path
                self._by_file[path.name].append(image_id)
                self._by_stem[path.stem].append(image_id)

    def _meant(self, name: str) -> str | None:
        """Return the one image that a name means, or None where there is none or several."""
        if name in self._paths:
            return name
        last = _parts(name)[-1:]
        file = last[0] if last else ""
        # a dot in a bare name, as in that of a video's frame, parts no suffix from it
        stem = PurePosixPath(file).stem if _suffix(file) in IMAGE_SUFFIXES else file
        for known in (
            self._by_file.get(file),
            self._by_stem.get(file),
            self._by_stem.get(stem),
        ):
            if known:
                shared = [self._shared(name, image_id) for image_id in known]
                most = max(shared)
                return known[shared.index(most)] if shared.count(most) == 1 else None
        return None

    def _shared(self, name: str, image_id: str) -> int:
        """Count the folders above it that a name shares with an image's path; an id shares all."""
        own = self._paths[image_id].parts
        if name == image_id:
            return len(own)
        pairs = zip(reversed(_parts(name)[:-1]), reversed(own[:-1]), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _suffix(name: str) -> str:
    return PurePosixPath(name.strip()).suffix.lower()


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a path that may come from Windows."""
    return PurePosixPath(name.strip().replace("\\", "/")).parts


ImportFindingKind = Literal["cut", "whole", "repeated", "refused", "unmatched", "guessed"]
Size = tuple[int, int]

# A reading is taken where so much more of the boxes lie inside their images by it than by others.
_CLEAR = 0.02
# By how much of an image's side boxes may reach over its edge: where readings are compared, and
# before the whole list is taken for one of other images.
_NEARLY, _ROUGHLY = 0.01, 0.1
# Less than so many pixels a side show nothing.
_LEAST_SIDE = 4
# A box that has so much of its image crops nothing.
_WHOLE = 0.995
_ROUNDING = 1.0  # pixels; shares are written with few digits


@dataclass(frozen=True)
class ImportFinding:
    """What was done with a box that is not taken as it stands, or with a name that is no image's.

    What is "cut", "whole" or of a name that was "guessed" is taken; the others are not.
    """

    kind: ImportFindingKind
    where: str
    image_id: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class BoxImport:
    """The boxes of a list, how it was read, and what is to be said of its rows.

    `inside` are for each form that the list may have how many boxes lie inside their images; `by`
    is what told these forms. Numbers are `relative` where they are shares of the image's size.
    """

    boxes: tuple[Box, ...]
    form: BoxFormat
    relative: bool
    by: str
    inside: dict[BoxFormat, int]
    remarks: tuple[ImportFinding, ...]

    def of_kind(self, kind: ImportFindingKind) -> list[ImportFinding]:
        """Return the remarks of a kind."""
        return [remark for remark in self.remarks if remark.kind == kind]


def import_boxes(
    path: Path,
    listed: ListedImages,
    *,
    source: str,
    broken: str = "stop",
    form: BoxFormat | None = None,
    inside: Path | None = None,
) -> Generator[Progress, None, BoxImport]:
    """Return the boxes of a foreign list as boxes of the listed images; yields Progress.

    Without `form` it is told by the header, and where that allows several by which of them lies
    inside the images. `inside` is a folder whose images alone are meant. Raises KitboxError where
    no name is an image's, where the form stays open or does not fit, where no box can be used, and
    where `broken` is "stop" for the first box that is none.
    """
    read = box_formats.read(path)
    names = ImageNames(listed, inside)
    if not len(names):
        raise KitboxError(f"no listed image lies in {inside}; correct --images")
    images = names.found(dict.fromkeys(row.name for row in read.rows))
    if not images:
        raise KitboxError(
            f"{path} has no box for any image: it names '{read.rows[0].name}', "
            f"but image names look like '{listed.labelled.image_ids[0]}'; correct its names"
        )
    sizes, problems = yield from _measured(names.paths(images.values()))
    forms = _forms(read, form)
    known = [
        (row, sizes[images[row.name]])
        for row in read.rows
        if images.get(row.name) in sizes
        and any(box_formats.is_complete(row.numbers, name) for name in forms)
    ]
    counts = {name: _count(read, known, name, _NEARLY) for name in forms}
    taken = _clearest(path, counts, len(known))
    _refuse_other_images(path, read, known, taken)
    placing = _Placing(taken, read.relative, source, sizes, problems, names.guessed(images))
    for row in read.rows:
        placing.take(row, images.get(row.name))
    remarks = tuple(placing.remarks)
    found = BoxImport(tuple(placing.boxes), taken, read.relative, read.by, counts, remarks)
    refused = [DataFinding(r.where, r.what, image_id=r.image_id) for r in found.of_kind("refused")]
    if refused and broken == "stop":
        raise KitboxError(stop_message(refused))
    if not found.boxes:
        raise KitboxError(f"{path} has no box that can be used: {refused[0]}")
    return found


def _measured(
    paths: dict[str, Path],
) -> Generator[Progress, None, tuple[dict[str, Size], dict[str, str]]]:
    """Return the sizes of upright images, and what is wrong with those that cannot be read."""
    sizes: dict[str, Size] = {}
    problems: dict[str, str] = {}
    for done, (image_id, path) in enumerate(paths.items(), 1):
        try:
            sizes[image_id] = preprocessing.upright_size(path)
        except UnreadableImageError as error:
            problems[image_id] = str(error)
        yield Progress("read the sizes of images", done, len(paths))
    return sizes, problems


def _forms(read: BoxList, form: BoxFormat | None) -> tuple[BoxFormat, ...]:
    """Return the forms that a list may have, or the one that is given."""
    forms = read.forms if form is None else (form,)
    if len(forms) > 1 and not read.relative:  # nobody writes centres in pixels without saying so
        forms = tuple(name for name in forms if name != "yolo")
    return forms


def _count(
    read: BoxList, known: list[tuple[BoxRow, Size]], form: BoxFormat, tolerance: float
) -> int:
    return sum(
        _fits(
            box_formats.to_corners(row.numbers, form, _scale(size, read.relative)), size, tolerance
        )
        for row, size in known
        if box_formats.is_complete(row.numbers, form)
    )


def _fits(corners: Corners, size: Size, tolerance: float) -> bool:
    x0, y0, x1, y1 = corners
    over_x, over_y = (tolerance * side + _ROUNDING for side in size)
    across = -over_x <= x0 < x1 <= size[0] + over_x
    return across and -over_y <= y0 < y1 <= size[1] + over_y


def _clearest(path: Path, counts: dict[BoxFormat, int], rows: int) -> BoxFormat:
    """Return the form by which clearly more boxes lie inside their images than by any other."""
    best, *others = sorted(counts, key=lambda name: -counts[name])
    if others and rows and counts[best] - counts[others[0]] < max(1, _CLEAR * rows):
        told = " and ".join(f"{counts[name]} as {name}" for name in (best, others[0]))
        raise KitboxError(
            f"{path}: of {rows} boxes {told} lie inside their images; "
            f"say which it is with --form {best} or --form {others[0]}"
        )
    return best


def _refuse_other_images(
    path: Path, read: BoxList, known: list[tuple[BoxRow, Size]], form: BoxFormat
) -> None:
    """Raise KitboxError where most boxes lie over the edge, as of images of another size."""
    count = _count(read, known, form, _ROUGHLY)
    if 2 * count < len(known):
        raise KitboxError(
            f"{path}: read as {box_formats.DESCRIPTIONS[form]}, {count} of {len(known)} boxes lie "
            "inside their images; give another --form, or boxes drawn on images of this size"
        )


def _scale(size: Size, relative: bool) -> tuple[float, float]:
    return (float(size[0]), float(size[1])) if relative else (1.0, 1.0)


class _Placing:
    """Boxes as they are taken row by row, and remarks on those that are not taken as they stand."""

    def __init__(
        self,
        form: BoxFormat,
        relative: bool,
        source: str,
        sizes: dict[str, Size],
        problems: dict[str, str],
        guessed: dict[str, str],
    ) -> None:
        self.form, self.relative, self.source = form, relative, source
        self.sizes, self.problems = sizes, problems
        self.guessed = dict(guessed)  # each told once
        self.boxes: list[Box] = []
        self.remarks: list[ImportFinding] = []
        self._seen: dict[tuple[str, Corners], str] = {}  # → where it stands first

    def take(self, row: BoxRow, image_id: str | None) -> None:
        """Take the box of a row as far as it lies in its image."""
        if image_id is not None and (guess := self.guessed.pop(row.name, None)) is not None:
            self._remark("guessed", row, image_id, guess)
        if image_id is None:
            self._remark("unmatched", row, "", f"no image, or more than one, is '{row.name}'")
        elif image_id in self.problems:
            self._remark("refused", row, image_id, self.problems[image_id])
        elif (wrong := self._wrong(row)) is not None:
            self._remark("refused", row, image_id, f"box {row.text} {wrong}; correct the row")
        else:
            self._cut(row, image_id)

    def _wrong(self, row: BoxRow) -> str | None:
        if not box_formats.is_complete(row.numbers, self.form):
            return "is no outline" if self.form == "points" else "is not four numbers"
        if row.confidence is not None and not 0 <= row.confidence <= 1:
            return f"has confidence {row.confidence:g}, which is not between 0 and 1"
        x0, y0, x1, y1 = box_formats.to_corners(row.numbers, self.form, (1.0, 1.0))
        return None if x0 < x1 and y0 < y1 else f"is empty, read as {self.form}"

    def _cut(self, row: BoxRow, image_id: str) -> None:
        size = self.sizes[image_id]
        written = box_formats.to_corners(row.numbers, self.form, _scale(size, self.relative))
        x0, y0 = max(written[0], 0.0), max(written[1], 0.0)
        x1, y1 = min(written[2], float(size[0])), min(written[3], float(size[1]))
        wide, high = x1 - x0, y1 - y0
        of = f"of image '{image_id}', which has {size[0]}x{size[1]} pixels"
        if wide <= 0 or high <= 0:
            self._remark("refused", row, image_id, f"box {row.text} lies outside {of}; correct it")
            return
        if min(wide, high) < _LEAST_SIDE:
            what = f"box {row.text} {of}, has {wide:.3g}x{high:.3g} in it; correct or remove it"
            self._remark("refused", row, image_id, what)
            return
        corners = (round(x0, 2), round(y0, 2), round(x1, 2), round(y1, 2))
        first = self._seen.setdefault((image_id, corners), row.where)
        if first != row.where:
            self._remark("repeated", row, image_id, f"the box {row.text} is that of {first}")
            return
        over = max(abs(a - b) for a, b in zip(written, (x0, y0, x1, y1), strict=True))
        if over > _ROUNDING:
            self._remark("cut", row, image_id, f"box {row.text} reaches {over:.0f} pixels out {of}")
        if wide * high >= _WHOLE * size[0] * size[1]:
            self._remark("whole", row, image_id, f"box {row.text} is all {of}")
        self.boxes.append(Box(image_id, corners, row.confidence, self.source))

    def _remark(self, kind: ImportFindingKind, row: BoxRow, image_id: str, what: str) -> None:
        self.remarks.append(ImportFinding(kind, row.where, image_id, what))
