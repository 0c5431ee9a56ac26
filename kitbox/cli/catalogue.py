"""Commands about the catalogue: known individuals, their photographs, and its history."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kitbox.cli.options import JsonOption, WorkspaceOption
from kitbox.cli.terminal import print_json, print_line, print_table
from kitbox.errors import KitboxError, counted, more
from kitbox.workspace import find_workspace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kitbox.catalogue.catalogue_changes import CatalogueChange, Rows
    from kitbox.catalogue.catalogue_list import CatalogueRow
    from kitbox.catalogue.confirmations import Confirmation, Confirmed
    from kitbox.workspace import Workspace

app = typer.Typer(
    help="Known individuals: their photographs, names and history.", no_args_is_help=True
)
ByOption = Annotated[
    str | None,
    typer.Option("--by", help="Who decides; default: the system's user.", metavar="NAME"),
]
IndividualArgument = Annotated[str, typer.Argument(metavar="INDIVIDUAL", show_default=False)]


@app.command("add")
def add(
    confirmed: Annotated[
        Path | None,
        typer.Argument(
            metavar="[LIST]",
            help="A list with columns image and confirmed; default: decisions.csv.",
            show_default=False,
        ),
    ] = None,
    *,
    images: Annotated[
        list[str] | None,
        typer.Option("--image", help="Add this photograph of --individual.", metavar="FILE"),
    ] = None,
    individual: Annotated[
        str | None, typer.Option("--individual", help="Whom --image shows.", metavar="NAME")
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="--image shows a new individual, named by the pattern.")
    ] = False,
    new_names: Annotated[
        bool, typer.Option("--new-names", help="Names that nobody has are new individuals.")
    ] = False,
    pattern: Annotated[
        str | None,
        typer.Option(
            "--pattern",
            help="Names of new individuals, as W-{number:04d}; kept in kitbox.toml.",
            metavar="P",
        ),
    ] = None,
    copy_to: Annotated[
        Path | None,
        typer.Option(
            "--copy-to", help="Copy the photographs to folders of individuals here.", metavar="DIR"
        ),
    ] = None,
    place: Annotated[
        str, typer.Option("--place", help="Where photographs without a place were taken.")
    ] = "",
    by: ByOption = None,
    folder: WorkspaceOption = None,
) -> None:
    """Add confirmed photographs to the catalogue.

    A cell of the column confirmed is the individual's name, yes for the one in the column
    individual, new (new 1, new 2 where several photographs show one new individual), or empty or no
    where nothing is confirmed. Without a list, the decisions same and new in decisions.csv count.
    No file is moved; --copy-to copies, and overwrites nothing.

    \b
    Examples:
      kitbox catalogue add identified.csv --pattern 'W-{number:04d}'
      kitbox catalogue add --image season/DSC_0012.jpg --individual W-0007
    """
    from kitbox.catalogue import catalogue_changes, catalogue_list

    workspace = _workspace(folder)
    rows = catalogue_list.load(workspace.catalogue)
    if images or individual or new:
        if confirmed is not None:
            raise KitboxError("a list and single photographs were given", fix="give one of them")
        found = _single(workspace, rows, images or [], individual, new)
    else:
        found = _confirmed(workspace, rows, confirmed, new_names)
    if found.open:
        print_line(f"not confirmed, and not added: {counted(found.open, 'photograph')}")
    if found.gone:
        print_line(
            f"left out: '{found.gone[0]}' of {(confirmed or workspace.decisions).name} is gone"
            f"{more(len(found.gone) - 1)}; put it back, and add again"
        )
    for sentence in found.left_out:
        print_line(sentence)
    if not found.rows and (found.gone or found.left_out):
        raise KitboxError("there is no other photograph to add")
    if not found.rows:
        raise KitboxError(
            "no photograph is confirmed",
            fix="fill in the column confirmed, or decide in 'kitbox look'",
        )
    named = _with_names(workspace, rows, found.rows, pattern)
    history = catalogue_changes.load(workspace)
    new_rows = [_row(workspace, history, one, place) for one in named]
    catalogue_changes.added(rows, new_rows)  # refuses what is there before anything is copied
    here = [row.image for row in new_rows]
    if copy_to is not None:
        new_rows = _copied(workspace, rows, new_rows, copy_to)
    change = catalogue_changes.change(
        workspace,
        "add",
        lambda rows: catalogue_changes.added(rows, new_rows),
        by or "",
        queries={row.image: name for row, name in zip(new_rows, here, strict=True)},
    )
    known = {row.individual for row in rows}
    names = list(dict.fromkeys(row.individual for row in new_rows if row.individual not in known))
    _tell(change)
    _tell_of_other_list(workspace, {*here, *(row.image for row in new_rows)})
    if names:
        print_line(f"new {'individual' if len(names) == 1 else 'individuals'}: {_listed(names)}")


@app.command("rename")
def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", show_default=False)],
    by: ByOption = None,
    folder: WorkspaceOption = None,
) -> None:
    """Give an individual another name, which nobody has yet."""
    from kitbox.catalogue import catalogue_changes

    _tell(
        catalogue_changes.change(
            _workspace(folder),
            "rename",
            lambda rows: catalogue_changes.renamed(rows, old, new),
            by or "",
        )
    )


@app.command("merge")
def merge(
    one: Annotated[str, typer.Argument(metavar="INDIVIDUAL", show_default=False)],
    other: Annotated[str, typer.Argument(metavar="STAYS", show_default=False)],
    by: ByOption = None,
    folder: WorkspaceOption = None,
) -> None:
    """Make two individuals one: the photographs of the first become the second's."""
    from kitbox.catalogue import catalogue_changes

    _tell(
        catalogue_changes.change(
            _workspace(folder),
            "merge",
            lambda rows: catalogue_changes.merged(rows, one, other),
            by or "",
        )
    )


@app.command("split")
def split(
    individual: IndividualArgument,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...", help="Names of photographs, or their ends.", show_default=False
        ),
    ],
    into: Annotated[
        str, typer.Option("--into", help="Whom they show.", metavar="NAME", show_default=False)
    ],
    known: Annotated[
        bool, typer.Option("--known", help="--into is in the catalogue already.")
    ] = False,
    by: ByOption = None,
    folder: WorkspaceOption = None,
) -> None:
    """Give some photographs of an individual to another one.

    \b
    Example:
      kitbox catalogue split W-0007 DSC_0012.jpg DSC_0013.jpg --into W-0031
    """
    from kitbox.catalogue import catalogue_changes

    def edit(rows: "Rows") -> "Rows":
        named = [catalogue_changes.image_named(rows, image) for image in images]
        return catalogue_changes.split(rows, individual, named, into, known=known)

    _tell(catalogue_changes.change(_workspace(folder), "split", edit, by or ""))


@app.command("undo")
def undo(by: ByOption = None, folder: WorkspaceOption = None) -> None:
    """Take back the last change of the catalogue that is not taken back yet."""
    from kitbox.catalogue import catalogue_changes

    done = catalogue_changes.undo(_workspace(folder), by or "")
    print_line(f"{done.change}")
    if done.unlisted:
        print_line(
            f"'{done.unlisted[0]}' is not to be identified now{more(len(done.unlisted) - 1)}, as "
            "other photographs were identified since; 'kitbox identify' with its folder asks again"
        )


@app.command("list")
def show(as_json: JsonOption = False, folder: WorkspaceOption = None) -> None:
    """List the individuals with their photographs, encounters and dates."""
    from kitbox.catalogue import catalogue_list

    rows = catalogue_list.load(_workspace(folder).catalogue)
    found = catalogue_list.summaries(rows)
    if as_json:
        print_json([one._asdict() for one in found])
        return
    print_table(
        ("individual", "photographs", "encounters", "first", "last"),
        [
            (one.individual, f"{one.photographs}", f"{one.encounters}", one.first, one.last)
            for one in found
        ],
        left=(0, 3, 4),
    )
    undated = sum(not row.encounter for row in catalogue_list.with_encounters(rows))
    print_line(
        f"{counted(len(found), 'individual')}, {counted(len(rows), 'photograph')}"
        + (f"; {undated} without a day count as no encounter" if undated else "")
    )


@app.command("history")
def history(folder: WorkspaceOption = None) -> None:
    """List all changes of the catalogue, oldest first."""
    from kitbox.catalogue import catalogue_changes

    changes = catalogue_changes.load(_workspace(folder))
    if not changes:
        print_line("the catalogue has not been changed")
        return
    print_table(
        ("time", "by", "change"),
        [(change.time, change.by, str(change)) for change in changes],
        left=(0, 1, 2),
    )


@app.command("export")
def export(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="What to write.", show_default=False)
    ],
    kind: Annotated[
        Literal["encounters", "photographs", "capture-history", "wildbook", "camtrap-dp"] | None,
        typer.Option("--format", help="Default: encounters; capture-history for a .inp file."),
    ] = None,
    season_start: Annotated[
        int,
        typer.Option(
            "--season-start", help="Month in which seasons of a history begin.", min=1, max=12
        ),
    ] = 1,
    species: Annotated[
        str, typer.Option("--species", help="Genus and epithet.", metavar="NAME")
    ] = "",
    location_ids: Annotated[
        bool, typer.Option("--location-ids", help="Places are Wildbook's location IDs.")
    ] = False,
    places: Annotated[
        Path | None,
        typer.Option(
            "--places", help="Camtrap DP: a list of place, latitude, longitude.", metavar="LIST"
        ),
    ] = None,
    timezone: Annotated[
        str, typer.Option("--timezone", help="Camtrap DP: as Europe/Oslo.", metavar="ZONE")
    ] = "",
    folder: WorkspaceOption = None,
) -> None:
    """Write the catalogue for another program.

    encounters and photographs are CSVs with a row each; capture-history has 0 and 1 by season, and
    a .inp file is what MARK and RMark read; wildbook is the sheet of its bulk import, a
    workbook where FILE ends in .xlsx; camtrap-dp is
    a folder with a Camtrap DP 1.0.2 package. A file that is there is replaced only where it is what
    an earlier export wrote.

    \b
    Examples:
      kitbox catalogue export encounters.csv
      kitbox catalogue export history.inp --season-start 11
      kitbox catalogue export sheet.xlsx --format wildbook --species 'Megaptera novaeangliae'
    """
    from kitbox.catalogue import (
        camtrap_package,
        catalogue_exports,
        catalogue_list,
        export_files,
        wildbook_sheet,
    )

    workspace = _workspace(folder)
    rows = catalogue_list.load(workspace.catalogue)
    if not rows:
        raise KitboxError("the catalogue is empty", fix="add photographs of individuals")
    chosen = kind or ("capture-history" if path.suffix.lower() == ".inp" else "encounters")
    camtrap = chosen == "camtrap-dp"
    export_files.refuse_others(
        workspace,
        [path / name for name in camtrap_package.CAMTRAP_FILES] if camtrap else [path],
    )
    if path.suffix.lower() == ".xlsx" and chosen != "wildbook":
        raise KitboxError(f"{chosen} is no Excel workbook", fix="name a file that ends in .csv")
    match chosen:
        case "photographs":
            written = catalogue_exports.write_photographs(rows, path)
        case "capture-history":
            history = catalogue_exports.capture_history(rows, season_start)
            written = catalogue_exports.write_capture_history(history, path)
        case "wildbook":
            written = wildbook_sheet.write_wildbook(rows, path, species, location_ids=location_ids)
        case "camtrap-dp":
            located = None if places is None else camtrap_package.read_places(places)
            written = camtrap_package.write_camtrap(
                rows,
                path,
                species,
                places=located,
                timezone=timezone,
                relative=camtrap_package.relative_boxes(workspace, rows),
            )
        case _:
            written = catalogue_exports.write_encounters(rows, path)
    export_files.keep(workspace, written.files)
    for note in written.notes:
        print_line(note)
    print_line(f"{path}: {counted(written.rows, 'row')}")


def _workspace(folder: Path | None) -> "Workspace":
    """Return the workspace; raise KitboxError for one without a catalogue."""
    from kitbox.catalogue import catalogue_list

    workspace = find_workspace(folder)
    catalogue_list.finish(workspace)
    if not workspace.catalogue.exists():
        raise KitboxError(
            f"{workspace.root} has no catalogue",
            fix="'kitbox identify PHOTOGRAPHS --catalogue FOLDER' makes one",
        )
    return workspace


def _single(
    workspace: "Workspace",
    rows: "Rows",
    images: "Sequence[str]",
    individual: str | None,
    new: bool,
) -> "Confirmed":
    """Return what --image, --individual and --new say."""
    from kitbox.catalogue import catalogue_changes
    from kitbox.catalogue.confirmations import Confirmation, Confirmed

    if not images or not (individual or new):
        missing = "--individual names nobody" if images else "no --image is given"
        raise KitboxError(missing, fix="give --image FILE and --individual NAME, or --new")
    if individual and new:
        catalogue_changes.require_new(rows, individual, "leave --new out to add to it")
    elif individual and individual not in {row.individual for row in rows}:
        try:
            individual = catalogue_changes.require_individual(rows, individual)
        except KitboxError as error:
            raise KitboxError(error.explanation, fix="give --new to add a new individual") from None
    names = list(dict.fromkeys(_image_name(workspace, image) for image in images))
    return Confirmed(tuple(Confirmation(name, individual or "", "new") for name in names))


def _confirmed(
    workspace: "Workspace", rows: "Rows", path: Path | None, new_names: bool
) -> "Confirmed":
    """Return what a list or decisions.csv confirms, without what the catalogue has already."""
    from kitbox.catalogue import catalogue_changes, confirmations
    from kitbox.competition.image_files import photograph_of
    from kitbox.decisions import decision_file

    if path is None:
        return confirmations.decided(
            decision_file.load(workspace.decisions),
            rows,
            lambda image: any(
                (workspace.photographs / name).is_file() for name in (image, photograph_of(image))
            ),
        )
    history = catalogue_changes.load(workspace)
    current = catalogue_changes.current_names(rows, history)
    known = {row.individual for row in rows}
    found = confirmations.read(path, known, new_names=new_names, current=current)
    return _addable(workspace, found, rows, catalogue_changes.images_of_queries(history))


def _addable(
    workspace: "Workspace", found: "Confirmed", rows: "Rows", images_of_queries: "Mapping[str, str]"
) -> "Confirmed":
    """Return the confirmations without photographs that are gone, unreadable or there already."""
    from kitbox.catalogue.confirmations import Confirmed
    from kitbox.competition.image_files import photograph_of
    from kitbox.images.preprocessing import UnreadableImageError, open_image

    individual_of = {row.image: row.individual for row in rows}
    left, gone, unreadable = [], [], []
    there: list[tuple[Confirmation, str]] = []
    other: list[tuple[Confirmation, str]] = []
    for one in found.rows:
        try:
            name = _image_name(workspace, one.image)
        except KitboxError:
            gone.append(one.image)
            continue
        now = individual_of.get(name) or individual_of.get(images_of_queries.get(name, ""))
        if now is not None:
            (there if now == one.individual or not one.individual else other).append((one, now))
            continue
        try:
            with open_image(workspace.photographs / photograph_of(name)):
                left.append(one)
        except UnreadableImageError as error:
            unreadable.append(error)
    sentences = []
    if there:
        sentences.append(f"in the catalogue already: {counted(len(there), 'photograph')}")
    if other:
        one, now = other[0]
        sentences.append(
            f"left out: '{one.image}' is in the catalogue as '{now}', not '{one.individual}'"
            f"{more(len(other) - 1)}; 'kitbox catalogue split' gives it to another individual"
        )
    if unreadable:
        sentences.append(f"left out: {unreadable[0]}{more(len(unreadable) - 1)}")
    return Confirmed(tuple(left), found.open, tuple(gone), tuple(sentences))


def _with_names(
    workspace: "Workspace",
    rows: "Rows",
    confirmed: "Sequence[Confirmation]",
    pattern: str | None,
) -> "list[Confirmation]":
    """Return the confirmations with names for new individuals; a given pattern is kept."""
    from kitbox.catalogue import catalogue_changes, confirmations
    from kitbox.competition import settings

    count = len(confirmations.new_groups(confirmed))
    kept = settings.load(workspace).catalogue.pattern
    chosen = pattern or kept
    if chosen is None and count:
        raise KitboxError(
            f"{counted(count, 'new individual')} {'needs a name' if count == 1 else 'need names'}",
            fix="give --pattern 'W-{number:04d}', or one like your names",
        )
    given = {one.individual for one in confirmed} - {""}
    taken = catalogue_changes.names_ever(rows, catalogue_changes.load(workspace)) | given
    # also where there is nothing to name: this refuses a pattern that is none
    names = [] if chosen is None else catalogue_changes.next_names(chosen, taken, count)
    for name in names:
        catalogue_changes.require_other_signs(name, {row.individual for row in rows} | given)
    if pattern is not None and pattern != kept:
        settings.keep_catalogue_setting(workspace, "pattern", pattern)
    return confirmations.named(confirmed, names)


def _row(
    workspace: "Workspace",
    history: "Sequence[CatalogueChange]",
    one: "Confirmation",
    place: str,
) -> "CatalogueRow":
    """Return the row of a photograph, with what any list said of it; the one given now is first."""
    from kitbox.catalogue import catalogue_changes, catalogue_source, query_list
    from kitbox.competition.image_files import photograph_of

    name = _image_name(workspace, one.image)
    listed = {row.image: row for row in query_list.load(workspace.queries) or ()}.get(name)
    of_list = {} if listed is None else catalogue_changes.known_of(listed)
    typed = catalogue_changes.last_known(history).get(name, {})
    given = {"place": place} | of_list | typed | dict(one.given)
    file = workspace.photographs / photograph_of(name)
    return catalogue_source.row_of(file, name, one.individual, given)


def _image_name(workspace: "Workspace", text: str) -> str:
    """Return the name of an image in the workspace, given as such or as a file anywhere."""
    from kitbox.catalogue import photograph_folders
    from kitbox.competition.image_files import photograph_of

    photograph = photograph_of(text)
    animal = "" if (workspace.photographs / text).is_file() else text[len(photograph) :]
    plain = text.removesuffix(animal)
    if (workspace.photographs / plain).is_file() and not Path(plain).is_absolute():
        return f"{Path(plain).as_posix()}{animal}"
    file = Path(plain)
    if not file.is_file():
        raise KitboxError(f"there is no photograph {text}", fix="correct its name")
    photograph_folders.link_files(workspace.photographs, file.parent, [file])
    names = photograph_folders.names_of(workspace.photographs, file.parent, [file])
    return f"{names[0]}{animal}"


def _copied(
    workspace: "Workspace", known: "Rows", rows: "Sequence[CatalogueRow]", folder: Path
) -> "list[CatalogueRow]":
    """Return the rows of copies of the photographs, in folders of individuals."""
    from kitbox.catalogue import photograph_folders

    individuals = {row.individual for row in known}
    found = photograph_folders.copy(workspace.photographs, rows, folder, individuals)
    print_line(
        f"copied {counted(len(rows) - found.there, 'photograph')} to {folder}"
        + more(found.there, "were there already", "was there already")
    )
    return found.rows


def _tell_of_other_list(workspace: "Workspace", images: set[str]) -> None:
    """Tell of images in the catalogue that a user's own list of the test still has.

    kitbox takes them out of its own list of photographs to identify, and changes no other.
    """
    from kitbox import tables
    from kitbox.competition import settings

    given = settings.load(workspace).images
    path = given.root / (given.test_list or "")
    if not path.is_file() or given.image_column not in tables.read_header(path):
        return
    left = [row for _, (row,) in tables.read_columns(path, (given.image_column,)) if row in images]
    if left:
        print_line(
            f"{path.name} still has '{left[0]}', which is in the catalogue now"
            f"{more(len(left) - 1)}; take it out there, as it would be a query and its own match"
        )


def _tell(change: "CatalogueChange") -> None:
    print_line(f"{change}; 'kitbox catalogue undo' takes it back")


def _listed(names: "Sequence[str]", shown: int = 5) -> str:
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")
