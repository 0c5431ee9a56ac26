"""A user's catalogue read: folders of individuals, or a list, with messy names and dates."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Literal

from kitbox import tables
from kitbox.catalogue import photograph_dates
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.catalogue.photograph_dates import DateOrder
from kitbox.competition import folder_scan
from kitbox.competition.image_files import ImageFolder, fold
from kitbox.competition.settings import ImageSettings
from kitbox.errors import KitboxError, counted, did_you_mean, more, one_line
from kitbox.files import digest_of_file
from kitbox.images.image_stats import exif_date
from kitbox.images.preprocessing import UnreadableImageError, open_image

DateSource = Literal["column", "EXIF", "name", "none"]
# fmt: off
FindingKind = Literal[
    "no-individual", "names-alike", "blank", "file", "repeated", "two-individuals",
    "unreadable", "dates", "column", "left-alone",
]
# fmt: on
# The usual names of columns, folded and without other characters; the first that is there counts.
USUAL_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "image": (
        *("image", "images", "imagename", "imagefile", "file", "filename", "filepath", "path"),
        *("photo", "photograph", "picture", "photoname", "photoid", "imageid"),
        *("encountermediaasset0", "mediaasset", "filepublic"),
    ),
    "individual": (
        *("individual", "individualid", "individualname", "markedindividualindividualid"),
        *("encounterindividualid", "whale", "whaleid", "animal", "animalid", "catalogueid"),
        *("catalogid", "identity", "identityname", "label", "name", "id"),
    ),
    "date": (
        *("date", "datetime", "datetaken", "datetimeoriginal", "taken", "timestamp", "observed"),
        *("observationdate", "eventdate", "encounterdate", "sightingdate", "eventstart", "day"),
    ),
    "place": (
        *("place", "site", "location", "locationid", "encounterlocationid", "area", "locality"),
        *("sitename", "region"),
    ),
    "side": ("side", "viewpoint", "flank", "bodyside", "view"),
    "encounter": (
        *("encounter", "encounterid", "encounternumber", "sighting", "sightingid"),
        *("occurrence", "occurrenceid", "event", "eventid"),
    ),
}
# Labels and folders of photographs whose individual nobody has named.
_NOBODY = frozenset(
    (
        *("", "?", "??", "-", "na", "n/a", "nan", "none", "null", "unknown", "unknowns", "unid"),
        *("unidentified", "unidentifiable", "unmatched", "unsorted", "not identified", "no match"),
        *("new_whale", "tbd", "to do", "todo", "misc", "other", "others"),
    )
)
# "(2)", "copy" and "copy 2" behind a name, as systems put them.
_LONGEST_COPY = 60  # characters at the end of a name that say so
_COPY = re.compile(r"(?:\s*\(\d+\)|[\s_-]+copy(?:[\s_-]*\d+)?)+$", re.IGNORECASE)
_SIDES = {"l": "left", "r": "right", "lhs": "left", "rhs": "right"}
_FOLDERS = "put the photographs of each individual into a folder of its own"
# Names in one sentence.
_SHOWN = 3


@dataclass(frozen=True)
class CatalogueFinding:
    """Something odd about a catalogue: what it is and what to do, in one sentence.

    `count` is the number of photographs or rows that it is about, `left_out` of those that are not
    in the catalogue because of it. `names` are individuals that may be one.
    """

    kind: FindingKind
    sentence: str
    count: int = 1
    _: KW_ONLY
    left_out: int = 0
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class CatalogueReading:
    """A user's catalogue as it was read.

    `rows` name images by their paths in `folder`; `photograph_folders.names_of` makes them names of
    a workspace. Their encounters are those of the list's column. `dates` counts the photographs by
    where their date is from.
    """

    folder: Path
    rows: tuple[CatalogueRow, ...]
    findings: tuple[CatalogueFinding, ...] = ()
    dates: Mapping[DateSource, int] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        """The files of the rows, in their order."""
        return [self.folder / row.image for row in self.rows]

    def renamed(self, names: Collection[str]) -> list[CatalogueRow]:
        """Return the rows with other names of their images, as those in a workspace."""
        pairs = zip(self.rows, names, strict=True)
        return [replace(row, image=name) for row, name in pairs]


@dataclass(frozen=True, kw_only=True)
class CatalogueOptions:
    """What a user says about a catalogue; without it, it is read as it looks.

    `individual_level` says how many folders deep those of individuals are. `columns` names columns
    of a list, by the names of `USUAL_COLUMNS`. `photographs` is the folder of a list's photographs,
    by default the list's own. `date_order` is the order of days like 3/7/2019. Photographs in the
    folders `apart` are no part of the catalogue.
    """

    individual_level: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    photographs: Path | None = None
    date_order: DateOrder | None = None
    apart: Collection[Path] = ()


def read(source: Path, options: CatalogueOptions | None = None) -> CatalogueReading:
    """Return the catalogue in a folder with a folder for each individual, or in a CSV or XLSX.

    Names, dates and files that are odd are findings: nothing is merged or left out in silence.
    Photographs whose individual is not named, that two individuals have, or that cannot be opened
    are left out. Raises KitboxError for a missing source, one without photographs of individuals,
    folders whose meaning is not clear, and a list without the columns that are needed.
    """
    options = options or CatalogueOptions()
    if source.is_dir():
        reader: _Reader = _FolderReader(source, options)
    elif source.is_file():
        reader = _ListReader(source, options)
    else:
        raise KitboxError(f"there is no catalogue {source}", fix="name a folder or a list")
    return reader.reading()


def read_photographs(source: Path, options: CatalogueOptions | None = None) -> CatalogueReading:
    """Return the photographs to identify of a CSV or XLSX: its rows have no individual.

    Date, place, side and encounter are read where the list has them. Files that cannot be opened
    stay, as answers tell them. Raises KitboxError for a list without a column of photographs, and
    for one without a photograph that is there.
    """
    return _PhotographReader(source, options or CatalogueOptions()).reading()


def row_of(file: Path, image: str, individual: str, given: Mapping[str, str]) -> CatalogueRow:
    """Return the row of a single photograph, with a date from its EXIF or its names.

    `given` may have a date, place, side and encounter, which come first. Raises
    UnreadableImageError for a file that is no image, and KitboxError for a date that is none.
    """
    taken = _exif_date(file)
    date = photograph_dates.parse(given.get("date", ""))
    if given.get("date") and not date:
        raise KitboxError(
            f"the date '{given['date']}' of '{image}' is none", fix="write it as 2019-07-03"
        )
    return CatalogueRow(
        image,
        individual,
        date=date or taken or photograph_dates.in_path(Path(image), without=individual),
        place=given.get("place", ""),
        side=side(given.get("side", "")) or side_in(Path(image).stem),
        encounter=given.get("encounter", ""),
    )


class _Reader(ABC):
    """What folders and lists have in common: checks of individuals, files and dates."""

    folder: Path
    whose = " of an individual"

    def __init__(self, source: Path, options: CatalogueOptions) -> None:
        self.source, self.options = source, options
        self.findings: list[CatalogueFinding] = []
        self.dates: Counter[DateSource] = Counter()

    @abstractmethod
    def rows(self) -> list[CatalogueRow]:
        """Return the rows as they are given, dates as in the column."""

    def reading(self) -> CatalogueReading:
        rows = self._named(self.rows())
        rows = self._once(rows)
        rows = self._openable(rows)
        if not rows:
            raise self._nothing()
        self._names_alike(rows)
        return CatalogueReading(self.folder, tuple(rows), tuple(self.findings), dict(self.dates))

    def find(
        self,
        kind: FindingKind,
        sentence: str,
        count: int = 1,
        *,
        left_out: int = 0,
        names: tuple[str, ...] = (),
    ) -> None:
        self.findings.append(
            CatalogueFinding(kind, one_line(sentence), count, left_out=left_out, names=names)
        )

    def _nothing(self) -> KitboxError:
        reasons = [finding for finding in self.findings if finding.left_out]
        why = f": {reasons[0].sentence}{more(len(reasons) - 1)}" if reasons else ""
        return KitboxError(
            f"{self.source} has no photograph{self.whose}{why}",
            fix="" if reasons or not self.whose else _FOLDERS,
        )

    def _named(self, rows: list[CatalogueRow]) -> list[CatalogueRow]:
        """Return the rows of named individuals, without blanks around a name."""
        stripped = [replace(row, individual=row.individual.strip()) for row in rows]
        changed = [
            (old.individual, new.individual)
            for old, new in zip(rows, stripped, strict=True)
            if old.individual != new.individual
        ]
        if changed:
            self.find(
                "blank",
                f"{_photographs(len(changed))} of '{changed[0][0]}' "
                f"{_are(len(changed))} read as of '{changed[0][1]}', without the blanks"
                f"{more(len(dict(changed)) - 1, 'more names', 'more name')}",
                len(changed),
            )
        nobody = Counter(row.individual for row in stripped if _is_nobody(row.individual))
        for name, count in nobody.items():
            what = f"of '{name}', which is no individual" if name else "of no individual"
            fix = "give it another name if it is one" if name else "name it to have them read"
            self.find(
                "no-individual",
                f"left out: {_photographs(count)} {what}; {fix}",
                count,
                left_out=count,
            )
        return [row for row in stripped if row.individual not in nobody]

    def _once(self, rows: list[CatalogueRow]) -> list[CatalogueRow]:
        """Return the rows without copies of a photograph, and without those of two individuals."""
        groups: dict[str, list[CatalogueRow]] = {}
        for row, key in zip(rows, self._contents(rows), strict=True):
            groups.setdefault(key, []).append(row)
        kept, repeated, torn = [], [], []
        for group in groups.values():
            individuals = {row.individual for row in group}
            if len(individuals) > 1:
                torn.append(group)
                continue
            kept.append(group[0])
            repeated += [(group[0], row) for row in group[1:]]
        if repeated:
            first, second = repeated[0]
            again = "again" if first.image == second.image else f"as '{first.image}'"
            self.find(
                "repeated",
                f"'{second.image}' is there {again}, and is read once{more(len(repeated) - 1)}",
                len(repeated),
                left_out=len(repeated),
            )
        for group in torn:
            first = group[0]
            other = next(row for row in group if row.individual != first.individual)
            copy = "" if other.image == first.image else f", there as '{other.image}'"
            self.find(
                "two-individuals",
                f"left out: '{first.image}' is under '{first.individual}' and under "
                f"'{other.individual}'{copy}; remove it from one of them",
                len(group),
                left_out=len(group),
            )
        return kept

    def _contents(self, rows: list[CatalogueRow]) -> list[str]:
        """Return a key of each row's bytes: only files of one length are read to compare them."""
        length: dict[str, int] = {}
        for row in rows:
            try:
                length[row.image] = (self.folder / row.image).stat().st_size
            except OSError:  # found unreadable below
                length[row.image] = -1
        alike = Counter(length.values())
        keys: dict[str, str] = {}
        for image, size in length.items():
            keys[image] = image
            if size > 0 and alike[size] > 1:
                try:
                    keys[image] = digest_of_file(self.folder / image)
                except OSError:
                    continue
        return [keys[row.image] for row in rows]

    def _openable(self, rows: list[CatalogueRow]) -> list[CatalogueRow]:
        """Return the rows of files that can be opened, with the dates that can be found."""
        columns = [row.date for row in rows]
        order = self.options.date_order or photograph_dates.order_of(columns)
        found, wrong, unreadable = [], [], []
        for row in rows:
            try:
                taken = _exif_date(self.folder / row.image)
            except UnreadableImageError as error:
                unreadable.append(error)
                continue
            given = photograph_dates.parse(row.date, order)
            if row.date and not given:
                wrong.append(row)
            named = photograph_dates.in_path(Path(row.image), without=row.individual)
            sources: tuple[tuple[DateSource, str], ...]
            sources = (("column", given), ("EXIF", taken), ("name", named), ("none", ""))
            source, date = next(pair for pair in sources if pair[1] or pair[0] == "none")
            self.dates[source] += 1
            found.append(replace(row, date=date))
        if unreadable:
            self.find(
                "unreadable",
                f"left out: {unreadable[0]}{more(len(unreadable) - 1)}",
                len(unreadable),
                left_out=len(unreadable),
            )
        if wrong:
            self.find("dates", self._wrong_dates(wrong, order), len(wrong))
        return found

    def _wrong_dates(self, wrong: list[CatalogueRow], order: DateOrder | None) -> str:
        first = wrong[0]
        count = counted(len(wrong), "date")
        if order is None and photograph_dates.needs_order(first.date):
            return (
                f"{count} like '{first.date}' {_are(len(wrong))} not read, as day and month may be "
                "in either order; say which is first with --date-order"
            )
        return (
            f"{count} {_are(len(wrong))} not read, as '{first.date}' of '{first.image}'; "
            "write them as 2019-07-03"
        )

    def _names_alike(self, rows: list[CatalogueRow]) -> None:
        """Add a finding for names that may be one individual's, with what to do if they are."""
        counts = Counter(row.individual for row in rows)
        for names in alike(counts):
            keep, *others = sorted(names, key=lambda name: (-counts[name], len(name), name))
            listed = [f"'{name}' ({_photographs(counts[name])})" for name in (keep, *others)]
            self.find(
                "names-alike",
                f"{', '.join(listed[:-1])} and {listed[-1]} may be one individual; if so, "
                f'\'kitbox catalogue merge "{others[0]}" "{keep}"\' makes them one',
                sum(counts[name] for name in names),
                names=(keep, *others),
            )


class _FolderReader(_Reader):
    """A folder with a folder for each individual, perhaps inside folders of species or seasons."""

    def __init__(self, source: Path, options: CatalogueOptions) -> None:
        super().__init__(source, options)
        self.folder = source

    def rows(self) -> list[CatalogueRow]:
        top = self.folder.absolute()
        apart = {place for path in self.options.apart if (place := _place_in(top, path))}
        images = ImageSettings(root=top, train_folder=".")
        if apart:  # a folder of the test side is none of an individual
            own = min(apart, key=lambda path: len(path.parts)).relative_to(top).as_posix()
            images = images.model_copy(update={"test_folder": own})
        images = images.model_copy(update={"individual_level": self._level(images)})
        found = [
            (individual, file)
            for individual, file in folder_scan.individuals(images)
            if not apart & set(file.parents)
        ]
        self._left_alone(images, apart)
        rows = []
        for individual, file in found:
            if individual is not None:
                image = file.relative_to(images.root).as_posix()
                rows.append(
                    CatalogueRow(image, folder_scan.label_of(individual), side=side_in(file.stem))
                )
        return rows

    def _level(self, images: ImageSettings) -> int:
        """Return how deep the folders of individuals are; raise KitboxError where it is unclear."""
        if self.options.individual_level is not None:
            return self.options.individual_level
        doubt = folder_scan.doubt_about_individuals(images)
        if doubt is None:
            return 1
        two_deep = images.model_copy(update={"individual_level": 2})
        folders = [folder for folder, _ in folder_scan.individuals(two_deep)]
        inside = [folder.name for folder in folders if folder is not None]
        seasons = all(folder and folder_scan.is_date(folder.parts[0]) for folder in folders)
        if seasons and not all(map(folder_scan.is_part, inside)):
            return 2
        raise KitboxError(
            f"which folders of {self.folder} are individuals is not clear: {doubt[0]}",
            fix="say how deep they are with --individual-level 1 or 2, or name the catalogue's own "
            "folder",
        )

    def _left_alone(self, images: ImageSettings, apart: set[Path]) -> None:
        kept = [
            each
            for each in folder_scan.left_alone(images)
            if not apart & {each.path, *each.path.parents} and each.reason != "document"
        ]
        loose: Counter[str] = Counter(each.reason for each in kept)
        for each, sentence in folder_scan.sentences(kept, images.root):
            count = loose[each.reason]
            left_out = count if each.reason in ("loose", "raw") else 0
            self.find("left-alone", f"left alone: {sentence}", count, left_out=left_out)


class _ListReader(_Reader):
    """A CSV or an Excel workbook with a row for each photograph."""

    needed: tuple[str, ...] = ("image", "individual")

    def __init__(self, source: Path, options: CatalogueOptions) -> None:
        super().__init__(source, options)
        self.folder = options.photographs or source.parent
        if not self.folder.is_dir():
            raise KitboxError(f"there is no folder {self.folder}", fix="correct its name")

    def rows(self) -> list[CatalogueRow]:
        columns = self._columns()
        named = list(tables.read_rows(self.source, tuple(columns.values()), self._bad_row))
        names = [row[columns["image"]].strip() for _, row in named]
        names = [self._inside(name) for name in names]
        folder = ImageFolder(self.folder, ".", "root", names)
        rows, faulty, read_as = [], [], []
        for (line, row), name in zip(named, names, strict=True):
            match = folder.file_of(None, name, {})
            if not name or match.file is None:
                what = match.what if name else "the row names no image; fill it in or remove it"
                faulty.append(f"line {line}: {what}")
                continue
            if match.kind:
                read_as.append(f"line {line}: {match.what}")
            values = {
                key: row[column].strip() if key != "individual" else row[column]
                for key, column in columns.items()
            }
            values["image"] = match.file.relative_to(self.folder).as_posix()
            values["side"] = side(values.get("side", ""))
            rows.append(CatalogueRow(**{"individual": "", **values}))
        if faulty:
            self.find(
                "file",
                f"left out: {faulty[0]}{more(len(faulty) - 1)}",
                len(faulty),
                left_out=len(faulty),
            )
        if read_as:
            self.find("file", f"{read_as[0]}{more(len(read_as) - 1)}", len(read_as))
        return rows

    def _bad_row(self, line: int, what: str) -> None:
        self.find("file", f"left out: line {line}: {what}", left_out=1)

    def _inside(self, name: str) -> str:
        """Return a whole path that lies in the folder of photographs as a path in it."""
        path, folder = Path(name), self.folder.absolute()
        if path.is_absolute() and path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
        return name

    def _columns(self) -> dict[str, str]:
        """Return what the list has → the name of its column."""
        usual = {name for names in USUAL_COLUMNS.values() for name in names}
        header = tables.read_header(self.source)
        if not any(_plain(name) in usual for name in header) and not self.options.columns:
            raise KitboxError(
                f"no column of {tables.join(header)} looks like an image or an individual",
                where=f"{self.source} line 1",
                fix="name them with --column image=NAME and --column individual=NAME",
            )
        for name in self.options.columns.values():
            if name not in header:
                raise KitboxError(
                    f"no column '{name}' among {tables.join(header)}{did_you_mean(name, header)}",
                    where=f"{self.source} line 1",
                    fix="correct its name",
                )
        columns = dict(self.options.columns)
        for key, names in USUAL_COLUMNS.items():
            if key in columns:
                continue
            free = [name for name in header if name not in columns.values()]
            fitting = [name for plain in names for name in free if _plain(name) == plain]
            if fitting:
                columns[key] = fitting[0]
            if len(fitting) > 1:
                self.find(
                    "column",
                    f"the {key} is read from the column '{fitting[0]}', not '{fitting[1]}'; "
                    f"--column {key}=NAME names another",
                )
        for key in self.needed:
            if key not in columns:
                raise KitboxError(
                    f"no column of {tables.join(header)} looks like an {key}",
                    where=f"{self.source} line 1",
                    fix=f"name it with --column {key}=NAME",
                )
        return columns


class _PhotographReader(_ListReader):
    """A list of photographs to identify, of which nobody says yet whom they show."""

    needed = ("image",)
    whose = ""

    def __init__(self, source: Path, options: CatalogueOptions) -> None:
        # the columns and the folder that are named are those of the catalogue's list
        header = tables.read_header(source)
        columns = {key: name for key, name in options.columns.items() if name in header}
        super().__init__(source, replace(options, columns=columns, photographs=None))

    def reading(self) -> CatalogueReading:
        rows: dict[str, CatalogueRow] = {}
        listed = [replace(row, individual="") for row in self.rows()]
        repeated = [row.image for row in listed if rows.setdefault(row.image, row) != row]
        if repeated:
            raise KitboxError(
                f"'{repeated[0]}' is on two lines that differ{more(len(repeated) - 1)}",
                where=str(self.source),
                fix="correct or remove one of them",
            )
        if not rows:
            raise self._nothing()
        found = self._dated(list(rows.values()))
        return CatalogueReading(self.folder, tuple(found), tuple(self.findings))

    def _dated(self, rows: list[CatalogueRow]) -> list[CatalogueRow]:
        """Return the rows with ISO dates of their column, '' for those that cannot be read."""
        order = self.options.date_order or photograph_dates.order_of(row.date for row in rows)
        found = [replace(row, date=photograph_dates.parse(row.date, order)) for row in rows]
        wrong = [old for old, new in zip(rows, found, strict=True) if old.date and not new.date]
        if wrong:
            self.find("dates", self._wrong_dates(wrong, order), len(wrong))
        return found


def alike(names: Collection[str]) -> Iterator[list[str]]:
    """Yield groups of names that differ in case, blanks, signs and the number of a copy only.

    "W-12", "W12", "w_012" and "W 12 (2)" are alike; "W1-2" and "W12" are not.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        groups.setdefault(_words(name), []).append(name)
    yield from (group for key, group in groups.items() if key and len(group) > 1)


def side(text: str) -> str:
    """Return a side of an animal as it is written here: left for L, LHS and "Left flank".

    Any text that says neither left nor right stays, in lower case.
    """
    plain = text.strip().lower()
    words = re.findall(r"[a-z]+", plain)
    found = {_SIDES.get(word, word) for word in words} & {"left", "right"}
    return found.pop() if len(found) == 1 else plain


def side_in(stem: str) -> str:
    """Return the side that a file's name says in whole words, else ''."""
    found = {"left", "right"} & set(re.findall(r"[a-z]+", stem.lower()))
    return found.pop() if len(found) == 1 else ""


def _place_in(top: Path, folder: Path) -> Path | None:
    """Return a folder as one below `top`, whatever links lead to either, or None outside it."""
    real, inside = top.resolve(), folder.resolve()
    return top / inside.relative_to(real) if real in inside.parents else None


def _words(name: str) -> tuple[str, ...]:
    """Return the letters and numbers of a name, without zeros before a number."""
    whole = name.strip()
    plain = fold(whole[:-_LONGEST_COPY] + _COPY.sub("", whole[-_LONGEST_COPY:]))
    return tuple(word.lstrip("0") or "0" for word in re.findall(r"[^\W\d_]+|\d+", plain))


def _is_nobody(name: str) -> bool:
    last = name.rpartition("/")[2] or name
    return fold(name) in _NOBODY or fold(last) in _NOBODY


def _plain(column: str) -> str:
    return re.sub(r"[\W_]+", "", column.lower())


def _exif_date(file: Path) -> str:
    """Return the time a photograph was taken by its EXIF, or ''.

    Raises UnreadableImageError for a file that is no image.
    """
    with open_image(file) as image:
        return photograph_dates.from_exif(exif_date(image))


def _photographs(count: int) -> str:
    return counted(count, "photograph")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
