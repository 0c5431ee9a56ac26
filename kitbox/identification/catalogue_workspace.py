"""The workspace of a catalogue: made by the first command that needs it, and used again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kitbox.catalogue import (
    catalogue_changes,
    catalogue_list,
    catalogue_source,
    photograph_folders,
    query_list,
)
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.catalogue.catalogue_source import (
    CatalogueFinding,
    CatalogueOptions,
    CatalogueReading,
)
from kitbox.competition import boxes, folder_scan, settings
from kitbox.competition.image_files import photograph_of
from kitbox.competition.settings import ImageSettings
from kitbox.decisions import decision_file
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import KitboxError, counted, more, readable
from kitbox.files import write_text
from kitbox.records import ImageSet, Strings, strings
from kitbox.workspace import Workspace

_SETTINGS = """\
name = "catalogue"
about = "known individuals, and photographs to identify: 'kitbox identify'"

[images]
root = "photographs"            # links to the folders of photographs
train_list = "../catalogue.csv"  # the known individuals
train_folder = "."
train_file = "{image}"
image_column = "image"
label_column = "individual"
encounter_column = "encounter_or_day"  # those of one stay on one side of the holdout
unknown_label = "new?"
broken = "drop"
"""
_TEST = """\
test_list = "../photographs.csv"  # the photographs that were identified last
test_folder = "."
test_file = "{image}"
"""
_TASK = """\

[task]
gallery = "train"
answers = "labels"
k = 5

[submission]
header = ["photograph", "individual"]
layout = "columns"
accepts = ["fewer", "any-order"]

[holdout]
share = 0.2
unknown_share = 0.2
"""


# Lists of photographs to identify, as against single photographs.
_LISTS = (".csv", ".tsv", ".txt", ".xlsx")


@dataclass(frozen=True)
class _Found:
    """A folder of photographs to identify, its files, and sentences on what is left alone in it.

    `rows` are what a list says of the files, in their order.
    """

    folder: Path
    files: list[Path]
    sentences: list[str]
    rows: tuple[CatalogueRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OpenedCatalogue:
    """A catalogue in its workspace: `images` of `individuals (n,)` at `encounters (n,)`.

    `dates (n,)` are ISO 8601, as exact as they are known; `sides (n,)` of the animals are "left" or
    "right", '' where they are not known, as `places (n,)` are. `photographs` are those to
    identify, None where there are none. `notes` are sentences on what was read, and what
    was left out. `listed` maps whole photographs to what a list says of them.
    """

    workspace: Workspace
    images: ImageSet
    individuals: Strings
    encounters: Strings
    dates: Strings
    sides: Strings
    places: Strings
    photographs: ImageSet | None
    notes: tuple[str, ...]
    listed: Mapping[str, CatalogueRow] = field(default_factory=dict)

    @property
    def queries(self) -> ImageSet:
        """The photographs to identify; raises ValueError where there are none."""
        if self.photographs is None:
            raise ValueError("this catalogue was opened without photographs to identify")
        return self.photographs

    def known_of(self, query: str) -> CatalogueRow:
        """Return what a list says of a photograph to identify, and the side by the file's name."""
        row = _listed_row(self.listed, query)
        return row if row.side else replace(row, side=catalogue_source.side_in(Path(query).stem))


def default_folder(catalogue: Path) -> Path:
    """Return the folder of a catalogue's workspace: "whales-kitbox" in the current folder."""
    name = catalogue.absolute()
    return Path.cwd() / f"{(name.name if name.is_dir() else name.stem) or 'catalogue'}-kitbox"


def open_catalogue(
    catalogue: Path,
    photographs: Sequence[Path] = (),
    folder: Path | None = None,
    options: CatalogueOptions | None = None,
) -> OpenedCatalogue:
    """Read a catalogue and photographs, and write or update the workspace of both.

    A catalogue is a folder with one for each individual, a CSV or an XLSX, or the workspace itself.
    Photographs are files, folders, which may be nested, and lists: a CSV or XLSX with a row for
    each. An individual that the workspace's
    catalogue.csv names for a photograph counts, whatever the user's own list says since; rows of it
    that the list does not have stay. Nothing is written before everything was read, and what
    others change in catalogue.csv meanwhile stays.

    Raises KitboxError for a catalogue or photographs that are missing or empty, and for a folder
    that is another workspace, or that of another catalogue.
    """
    own = Workspace(catalogue.absolute())
    is_workspace = own.catalogue.is_file() and own.settings.is_file()
    if is_workspace and folder is not None and folder.resolve() != own.root.resolve():
        raise KitboxError(
            f"the catalogue {catalogue} is a workspace already, and --workspace names another one",
            fix="leave --workspace out",
        )
    workspace = Workspace(
        (folder or (catalogue if is_workspace else default_folder(catalogue))).absolute()
    )
    found = [_expand(path, workspace, options) for path in photographs]
    if photographs and not any(each.files for each in found):
        raise KitboxError(
            f"there is no photograph in {photographs[0]}"
            f"{more(len(photographs) - 1, 'more places', 'more place')}",
            fix="name files or folders of photographs",
        )
    _refuse_other_workspace(workspace)
    reading = None
    if not is_workspace:
        _refuse_other_source(workspace, catalogue)
        options = options or CatalogueOptions()
        reading = catalogue_source.read(
            catalogue, replace(options, apart=(*options.apart, workspace.root))
        )
        _refuse_known(photographs, catalogue, reading)
    # reading takes long; from here on no other command changes catalogue.csv
    with catalogue_list.locked(workspace):
        opened = _opened(workspace, reading, found)
        if reading is not None and settings.load(workspace).catalogue.source is None:
            settings.keep_catalogue_setting(workspace, "source", _source(catalogue))
    return opened


def with_new_boxes(opened: OpenedCatalogue) -> OpenedCatalogue:
    """Return an opened catalogue whose photographs to identify are those of boxes.csv as it is now.

    Animals that are in the catalogue already are left out.
    """
    if opened.photographs is None:
        return opened
    workspace, root = opened.workspace, opened.workspace.photographs
    known = {*opened.images.image_ids.tolist(), *decision_file.load(workspace.decisions).left_out}
    photographs = dict.fromkeys(photograph_of(name) for name in opened.queries.image_ids.tolist())
    animals, notes = _animals(workspace, photographs)
    left = [name for name in animals if name not in known]
    queries = ImageSet(strings(left), tuple(_file(root, name) for name in left))
    with catalogue_list.locked(workspace):
        _write_queries(workspace, queries, opened.listed)
    before = [note for note in opened.notes if not note.startswith("several animals")]
    return replace(opened, photographs=queries, notes=(*before, *notes))


def _opened(
    workspace: Workspace, reading: CatalogueReading | None, found: Sequence[_Found]
) -> OpenedCatalogue:
    """Write or update a workspace by what was read; None where it is itself the catalogue."""
    root = workspace.photographs
    listed = catalogue_list.load(workspace.catalogue)
    notes: list[str] = []
    rows = list(listed)
    if reading is not None:
        photograph_folders.link_files(root, reading.folder, reading.files)
        names = photograph_folders.names_of(root, reading.folder, reading.files)
        rows, kept_notes = _merged(reading.renamed(names), listed, workspace)
        notes += [*map(str, _unsettled(reading, listed, workspace)), *kept_notes]
    elif not listed:
        raise KitboxError(f"{workspace.catalogue} has no row", fix="name a folder or a list")
    gone = [row for row in rows if not _file(root, row.image).is_file()]
    if gone:
        lost = photograph_folders.lost_target(root, gone[0].image)
        fix = "put it back" if lost is None else f"plug in the disk of {readable(str(lost))}"
        notes.append(
            f"left out: '{gone[0].image}' of catalogue.csv is gone{more(len(gone) - 1)}; "
            f"{fix}, or remove its row"
        )
        rows = [row for row in rows if _file(root, row.image).is_file()]
        if not rows:
            raise KitboxError(f"none of the photographs of {workspace.catalogue} is there", fix=fix)
    queries, of_lists, query_notes = _queries(workspace, found, {row.image for row in rows})
    notes += query_notes
    before = {row.image for row in listed}
    new = [row for row in rows if row.image not in before]
    if listed and new:
        catalogue_changes.keep_read(workspace, [*rows, *gone], new)
    _write(workspace, [*rows, *gone], queries, of_lists)
    rows, decided_notes = _in_use(rows, decision_file.load(workspace.decisions))
    notes += decided_notes
    return OpenedCatalogue(
        workspace=workspace,
        images=ImageSet(
            strings([row.image for row in rows]),
            tuple(_file(root, row.image) for row in rows),
        ),
        individuals=strings([row.individual for row in rows]),
        encounters=strings([row.encounter for row in rows]),
        dates=strings([row.date for row in rows]),
        sides=strings([row.side for row in rows]),
        places=strings([row.place for row in rows]),
        photographs=queries,
        notes=tuple(notes),
        listed=of_lists,
    )


def _in_use(
    rows: Sequence[CatalogueRow], decided: Decisions
) -> tuple[list[CatalogueRow], list[str]]:
    """Return the rows that decisions.csv leaves in use, and sentences on its other decisions.

    Names are those of catalogue.csv, whose history can take them back.
    """
    left = [row for row in rows if row.image not in decided.left_out]
    notes = []
    if len(left) < len(rows):
        first = next(row.image for row in rows if row.image in decided.left_out)
        notes.append(
            f"left out: {counted(len(rows) - len(left), 'photograph')} of the catalogue by 'drop' "
            f"and 'wrong' in decisions.csv, such as '{first}'"
        )
    if not left:
        raise KitboxError(
            "decisions.csv leaves no photograph of the catalogue",
            fix="take a decision back in 'kitbox look'",
        )
    names = {row.individual for row in left}
    commands = [
        f'merge "{one}" "{stays}"'
        for one, stays in decided.merged.items()
        if one in names and stays in names
    ]
    commands += [
        f'split "{row.individual}" "{row.image}" --into "{label}"' + " --known" * (label in names)
        for row in left
        if (label := decided.labels.get(row.image, row.individual)) != row.individual
    ]
    if commands:
        notes.append(
            f"decisions.csv has other names than catalogue.csv, which counts: 'kitbox catalogue "
            f"{commands[0]}' changes it there{more(len(commands) - 1)}"
        )
    return left, notes


def _merged(
    read: Sequence[CatalogueRow], listed: Sequence[CatalogueRow], workspace: Workspace
) -> tuple[list[CatalogueRow], list[str]]:
    """Return the rows of a workspace's list and the new ones, and sentences on differences.

    New photographs of an individual that was renamed or merged here are the one's that it is now.
    One that was in the list and was taken out of it by `kitbox catalogue undo` stays out.
    """
    if not listed:
        return list(read), []
    history = catalogue_changes.load(workspace)
    names = catalogue_changes.current_names(listed, history)
    read = [replace(row, individual=names.get(row.individual, row.individual)) for row in read]
    known = {row.image: row for row in listed}
    taken_out = catalogue_changes.taken_out(history)
    unknown = [row for row in read if row.image not in known]
    new = [row for row in unknown if row.image not in taken_out]
    out = [row for row in unknown if row.image in taken_out]
    other = [row for row in read if known.get(row.image, row).individual != row.individual]
    notes = []
    if new:
        notes.append(f"new in the catalogue: {counted(len(new), 'photograph')}")
    if out:
        notes.append(
            f"left out: {counted(len(out), 'photograph')} that 'kitbox catalogue undo' took out, "
            f"such as '{out[0].image}'; 'kitbox catalogue add --image' adds it again"
        )
    if other:
        first = other[0]
        notes.append(
            f"catalogue.csv counts, where '{first.image}' is '{known[first.image].individual}', "
            f"not '{first.individual}'{more(len(other) - 1)}; change it there, or remove its row "
            "to have it read again"
        )
    return [*listed, *new], notes


def _unsettled(
    reading: CatalogueReading, listed: Sequence[CatalogueRow], workspace: Workspace
) -> list[CatalogueFinding]:
    """Return what was odd about a catalogue, without names of one individual that were merged."""
    now = catalogue_changes.current_names(listed, catalogue_changes.load(workspace))
    return [
        finding
        for finding in reading.findings
        if not finding.names or len({now.get(name, name) for name in finding.names}) > 1
    ]


def _expand(path: Path, workspace: Workspace, options: CatalogueOptions | None) -> _Found:
    """Return the folder of photographs, its files and sentences on what is left alone.

    The workspace may lie in the folder: its links are no photographs more.
    """
    if path.is_file() and path.suffix.lower() in _LISTS:
        reading = catalogue_source.read_photographs(path, options)
        sentences = [f"{path.name}: {finding}" for finding in reading.findings]
        return _Found(reading.folder, reading.files, sentences, reading.rows)
    if path.is_file():
        return _Found(path.parent, [path], [])
    if not path.is_dir():
        raise KitboxError(f"there is no file or folder {path}", fix="correct its name")
    scan = folder_scan.FolderScan(path)
    real, inside = path.resolve(), workspace.root.resolve()
    own = path / inside.relative_to(real) if real in inside.parents else None
    images = [file for file in scan.images if own not in file.parents]
    alone = [
        each
        for each in scan.left_alone
        if each.reason not in ("document", "system") and own not in each.path.parents
    ]
    sentences = [f"left alone: {text}" for _, text in folder_scan.sentences(alone, path)]
    return _Found(path, images, sentences)


def _file(root: Path, image: str) -> Path:
    """Return the file of an image, which may be one of several animals in a photograph."""
    whole = root / image
    return whole if whole.is_file() else root / photograph_of(image)


def _queries(
    workspace: Workspace, found: Sequence[_Found], known: set[str]
) -> tuple[ImageSet | None, dict[str, CatalogueRow], list[str]]:
    """Return the photographs to identify, each once, what lists say of them, and sentences.

    Each animal of a photograph with several boxes in boxes.csv is one of its own.
    """
    root = workspace.photographs
    names: dict[str, None] = {}
    listed: dict[str, CatalogueRow] = {}
    notes: list[str] = []
    twice = 0
    for each in found:
        notes += each.sentences
        if not each.files:
            notes.append(f"there is no photograph in {readable(str(each.folder))}")
            continue
        photograph_folders.link_files(root, each.folder, each.files)
        own = photograph_folders.names_of(root, each.folder, each.files)
        for name in own:
            twice += name in names
            names[name] = None
        listed |= {
            name: replace(row, image=name)
            for name, row in zip(own, each.rows, strict=bool(each.rows))
        }
    if twice:
        notes.append(f"named twice, and read once: {counted(twice, 'photograph')}")
    names, animal_notes = _animals(workspace, names)
    notes += animal_notes
    inside = [name for name in names if name in known]
    if inside:
        notes.append(
            f"left out: {counted(len(inside), 'photograph')} to identify that the catalogue has, "
            f"such as '{inside[0]}'"
        )
    left = [name for name in names if name not in known]
    if names and not left:
        raise KitboxError(
            f"all {len(names)} photographs to identify are those of the catalogue",
            fix="name new photographs, or ask how good the catalogue is with --audit",
        )
    if not left:
        return None, listed, notes
    return ImageSet(strings(left), tuple(_file(root, name) for name in left)), listed, notes


def _listed_row(listed: Mapping[str, CatalogueRow], query: str) -> CatalogueRow:
    """Return what a list says of a photograph, or of the one that an animal is in."""
    row = listed.get(photograph_of(query))
    return CatalogueRow(query, "") if row is None else replace(row, image=query)


def _animals(workspace: Workspace, names: Iterable[str]) -> tuple[dict[str, None], list[str]]:
    """Return the images to identify by the boxes of photographs, and a sentence on several."""
    images = ImageSettings(root=workspace.photographs, train_folder=".")
    by_name = boxes.read_all(images, workspace.boxes)
    found: dict[str, None] = {}
    several = 0
    for name in names:
        animals = boxes.animals(name, by_name[name]) if name in by_name else {name: None}
        several += len(animals) > 1
        found |= dict.fromkeys(animals)
    if not several:
        return found, []
    sentence = f"several animals, each a query of its own: {counted(several, 'photograph')}, by "
    return found, [f"{sentence}{workspace.boxes.name}"]


def _refuse_known(photographs: Sequence[Path], catalogue: Path, reading: CatalogueReading) -> None:
    """Raise KitboxError for a folder to identify that the catalogue has as an individual's."""
    top = catalogue.absolute()
    for path in photographs:
        folder = path.absolute()
        if not path.is_dir() or top not in folder.parents:
            continue
        if any(folder in file.absolute().parents for file in reading.files):
            raise KitboxError(
                f"{path} lies in the catalogue, whose folders are those of known individuals",
                fix=f"move new photographs to a folder outside {catalogue}",
            )


def _refuse_other_workspace(workspace: Workspace) -> None:
    """Raise KitboxError for a folder that is no workspace of a catalogue and not empty."""
    if workspace.root.is_file():
        raise KitboxError(f"{workspace.root} is a file", fix="name another folder with --workspace")
    if workspace.settings.is_file():
        if workspace.catalogue.is_file() or settings.load(workspace).name == "catalogue":
            return
        raise KitboxError(
            f"{workspace.root} is the workspace of {settings.load(workspace).name}",
            fix="name another folder with --workspace",
        )
    if workspace.root.is_dir() and any(
        path.name not in (".kitbox", "weights", "photographs", "plugins")
        and path.suffix != ".partial"  # of a kitbox.toml that was being written
        for path in workspace.root.iterdir()
    ):
        raise KitboxError(
            f"{workspace.root} is not empty and no workspace",
            fix="name another folder with --workspace",
        )


def _source(catalogue: Path) -> str:
    return readable(str(catalogue.resolve()))


def _refuse_other_source(workspace: Workspace, catalogue: Path) -> None:
    """Raise KitboxError where a workspace is that of another catalogue of the user."""
    if not workspace.settings.is_file():
        return
    source = settings.load(workspace).catalogue.source
    if source is not None and source != _source(catalogue):
        raise KitboxError(
            f"{workspace.root} is the workspace of the catalogue {source}, not of {catalogue}",
            fix="name another folder with --workspace, or correct source in kitbox.toml if the "
            "catalogue was moved",
        )


def _write(
    workspace: Workspace,
    rows: Sequence[CatalogueRow],
    queries: ImageSet | None,
    listed: Mapping[str, CatalogueRow],
) -> None:
    without, with_queries = _SETTINGS + _TASK, _SETTINGS + _TEST + _TASK
    path = workspace.settings
    current = path.read_text(encoding="utf-8") if path.is_file() else ""
    # before the others: by it a folder that a killed command leaves is known as a workspace
    if not current or (current.startswith(without) and queries is not None):
        # what people or commands added below stays
        write_text(path, (without if queries is None else with_queries) + current[len(without) :])
    catalogue_list.update(workspace.catalogue, rows)
    if queries is not None:
        _write_queries(workspace, queries, listed)


def _write_queries(
    workspace: Workspace, queries: ImageSet, listed: Mapping[str, CatalogueRow]
) -> None:
    names = queries.image_ids.tolist()
    query_list.save(workspace.queries, [_listed_row(listed, name) for name in names])
