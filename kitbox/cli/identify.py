"""The command identify: who is on new photographs, by a catalogue of known individuals."""

import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kitbox.cli.options import DeviceOptions, JsonOption, with_records
from kitbox.cli.terminal import (
    Result,
    exact_commands,
    follow,
    print_json,
    print_line,
    print_table,
    print_whole,
    shell_path,
)
from kitbox.errors import KitboxError, counted, format_duration

if TYPE_CHECKING:
    from kitbox.identification.catalogue_search import IdentifyOptions
    from kitbox.identification.catalogue_workspace import OpenedCatalogue
    from kitbox.identification.photograph_answers import Answer, Identification
    from kitbox.records import Progress
    from kitbox.workspace import Workspace

# Photographs in the terminal's table; all are in the file and on the page.
_SHOWN = 15


@with_records
def identify(
    photographs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PHOTOGRAPH...]",
            help="Files, folders, nested too, or lists: a CSV or XLSX.",
            show_default=False,
        ),
    ] = None,
    *,
    device: DeviceOptions,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            "--catalogue",
            help="A folder with a folder for each individual, a CSV or XLSX, or a workspace made "
            "of one.",
            metavar="FOLDER_OR_LIST",
            show_default=False,
        ),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="Plugins, or a recipe; default: the best network that is installed.",
            metavar="NAME,NAME",
        ),
    ] = None,
    match: Annotated[
        list[str] | None,
        typer.Option(
            "--match",
            help="Match keypoints too, as sift, where that helps on the catalogue.",
            metavar="MATCHER",
        ),
    ] = None,
    certain: Annotated[
        float, typer.Option("--certain", help="Least probability of a verdict.", metavar="P")
    ] = 0.8,
    new_share: Annotated[
        float | None,
        typer.Option(
            "--new-share",
            help="Share of the photographs that show new individuals; default: estimated.",
            metavar="P",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--workspace",
            help="Where answers and caches are kept; default: CATALOGUE-kitbox here.",
            metavar="DIR",
        ),
    ] = None,
    individual_level: Annotated[
        int | None,
        typer.Option(
            "--individual-level", min=1, help="How deep the catalogue's folders of individuals are."
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="A column of the catalogue's list, as individual=Name; default: by usual names.",
            metavar="WHAT=NAME",
        ),
    ] = None,
    images_in: Annotated[
        Path | None,
        typer.Option(
            "--images-in",
            help="The folder of a list's photographs; default: its own.",
            metavar="DIR",
        ),
    ] = None,
    date_order: Annotated[
        Literal["day-first", "month-first"] | None,
        typer.Option("--date-order", help="How dates like 3/7/2019 in a list are meant."),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            "--boxes",
            help="Boxes of animals, as MegaDetector's JSON or a CSV; each is a query of its own.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Ask the catalogue about itself: how good are the answers?"),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell who is on new photographs, by a catalogue.

    Nothing is trained. Probabilities are calibrated on the catalogue itself.

    \b
    Examples:
      kitbox identify season-2026 --catalogue whales
      kitbox identify card1 card2 --catalogue whales.csv --with megadescriptor_l_384
      kitbox identify --catalogue whales --audit
    """
    from kitbox.catalogue.catalogue_source import CatalogueOptions
    from kitbox.identification import (
        catalogue_boxes,
        catalogue_workspace,
        identified_table,
        photograph_answers,
    )
    from kitbox.identification.catalogue_search import IdentifyOptions
    from kitbox.report import identified_page

    began = time.monotonic()
    if catalogue is None:
        raise KitboxError(
            "identify needs the known individuals", fix="add --catalogue with their folder or list"
        )
    if audit and photographs:
        raise KitboxError(
            "--audit asks about the photographs of the catalogue", fix="leave the others out"
        )
    if not photographs and not audit:
        raise KitboxError("there is nothing to identify", fix="name photographs or their folders")
    options = IdentifyOptions(
        names=parse_names(names or ()),
        match=tuple(match or ()),
        certain=certain,
        new_share=new_share,
        embed=device.for_embedding(),
    )
    opened = catalogue_workspace.open_catalogue(
        catalogue,
        photographs or (),
        folder,
        CatalogueOptions(
            individual_level=individual_level,
            columns=parse_columns(columns or ()),
            photographs=images_in,
            date_order=date_order,
        ),
    )
    if boxes is not None:
        opened = follow(catalogue_boxes.with_boxes(opened, boxes))
    people = len(set(opened.individuals.tolist()))
    print_line(
        f"catalogue: {counted(len(opened.images), 'photograph')} of "
        f"{counted(people, 'individual')}; workspace: {opened.workspace.root}"
    )
    for note in opened.notes:
        print_line(exact_commands(note, opened.workspace))
    if audit:
        _audit(opened, options, as_json=as_json)
        return
    found = follow(_exact(photograph_answers.identify(opened, options), opened.workspace))
    path, notes = identified_table.save(found)
    for note in notes:
        print_line(note)
    written = follow(identified_page.write(found, path.with_suffix(".html")))
    if as_json:
        document = identified_table.as_json(found)
        print_json(document | {"table": str(path), "page": str(written.path)})
        return
    for sentence in (*found.catalogue.sentences, *photograph_answers.sentences(found)):
        print_line(sentence)
    _print_answers(found)
    print_line(f"page: {written.path}")
    print_line(f"table: {path}  ({format_duration(time.monotonic() - began)} in all)")
    _print_next(found, path)


def _audit(opened: "OpenedCatalogue", options: "IdentifyOptions", *, as_json: bool) -> None:
    """Print how good the answers of a catalogue are."""
    from kitbox.identification import catalogue_audit, catalogue_search
    from kitbox.report import identified_page

    stage = catalogue_search.search_catalogue(opened, options)
    searched, _ = follow(_exact(stage, opened.workspace))
    found = catalogue_audit.audit(searched.calibration, options.certain)
    path = opened.workspace.root / identified_page.AUDIT
    identified_page.write_audit(found, searched.network, searched.sentences, path)
    if as_json:
        place = {"workspace": str(opened.workspace.root), "network": searched.network}
        print_json(place | found.as_json() | {"page": str(path)})
        return
    for sentence in (*searched.sentences, *catalogue_audit.sentences(found)):
        print_line(exact_commands(sentence, opened.workspace))
    for what, bins in (("individual", found.reliability), ("new", found.new_reliability)):
        if bins:
            heads = (f"p {what}", *identified_page.BIN_HEADS[1:])
            print_table(heads, [identified_page.bin_row(part) for part in bins])
    print_line(f"page: {path}")


def _exact(
    stage: "Generator[Progress | str, None, Result]", workspace: "Workspace"
) -> "Generator[Progress | str, None, Result]":
    """Yield the events of a stage, with commands that work in the current folder."""
    while True:
        try:
            event = next(stage)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        except KitboxError as error:
            what, fix = (exact_commands(text, workspace) for text in (error.what, error.fix))
            raise KitboxError(what, where=error.where, fix=fix) from error
        yield exact_commands(event, workspace) if isinstance(event, str) else event


def parse_columns(texts: Sequence[str]) -> dict[str, str]:
    """Return what a list has → its column, of texts like "individual=Name"."""
    from kitbox.catalogue.catalogue_source import USUAL_COLUMNS

    found = {}
    for text in texts:
        what, _, column = text.partition("=")
        if what not in USUAL_COLUMNS or not column:
            raise KitboxError(
                f"'{text}' names no column",
                where="--column",
                fix=f"write individual=NAME; there are {', '.join(USUAL_COLUMNS)}",
            )
        found[what] = column
    return found


def parse_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the names in texts like "one,two@image_size=96,epochs=0": a comma ends a name.

    What has a setting and no plugin belongs to the name before it.
    """
    found: list[str] = []
    for part in (part.strip() for text in texts for part in text.split(",")):
        if found and "=" in part and "@" not in part:
            found[-1] += f",{part}"
        elif part:
            found.append(part)
    return tuple(found)


def _print_answers(found: "Identification") -> None:
    """Print the counts of the answers, and those to look at first."""
    counts = ", ".join(
        f"{number} {name}"
        for name, number in found.counts.items()
        if number or name != "unreadable"
    )
    total = len(found.answers) + len(found.unreadable)
    ordered = [answer for group in found.groups.values() for answer in group]
    print_table(
        ("photograph", "verdict", "likeliest", "p", "p new", "second", "p "),
        [_row(answer) for answer in ordered[:_SHOWN]],
        left=(0, 1, 2, 5),
        spare=(5, 6),
    )
    print_line(f"{counted(total, 'photograph')}: {counts}")
    if len(ordered) > _SHOWN:
        others = len(ordered) - _SHOWN
        print_line(
            f"above are the {_SHOWN} to look at first; the other {others} are on the page in this "
            "order, and in the table in that of the photographs"
        )


def _print_next(found: "Identification", table: Path) -> None:
    """Print how to go on, in commands that work in the current folder."""
    root = shell_path(found.workspace.root)
    print_whole(f"to confirm by eye: kitbox look --workspace {root}")
    print_whole(f"then: kitbox catalogue add --workspace {root}")
    print_whole(
        "or fill in the column confirmed of the table, then: "
        f"kitbox catalogue add {shell_path(table)} --workspace {root}"
    )


def _row(answer: "Answer") -> tuple[str, ...]:
    first, second = (*answer.candidates[:2], None, None)[:2]
    return (
        answer.image,
        answer.verdict,
        first.individual if first else "",
        _number(first.probability if first else None),
        _number(answer.new_probability),
        second.individual if second else "",
        _number(second.probability if second else None),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
