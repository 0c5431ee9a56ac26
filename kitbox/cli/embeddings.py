"""Commands that exchange embeddings with other programs: embeddings, and neighbours."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from kitbox.cli.options import (
    CombineOptions,
    DeviceOptions,
    JsonOption,
    MemberOptions,
    NamesArgument,
    RerankOption,
    WhitenOption,
    WorkspaceOption,
    choose_recipe,
    load_sources,
    print_unused,
    with_records,
)
from kitbox.cli.terminal import (
    follow,
    load_collection,
    open_workspace,
    print_json,
    print_line,
    print_table,
)
from kitbox.errors import KitboxError, counted, more
from kitbox.workspace import find_workspace

if TYPE_CHECKING:
    from kitbox.embedding.imported_embeddings import ImportReport, LearnedFrom, NamedImages
    from kitbox.embedding.vector_rows import VectorFile
    from kitbox.ensemble.neighbour_table import AllImages
    from kitbox.ensemble.recipe import Recipe

app = typer.Typer(invoke_without_command=True)

OnOption = Annotated[
    Literal["holdout", "all"],
    typer.Option("--on", help="Networks that have not seen the holdout, or those of a submission."),
]
_LEARNED_WORDS = ("nothing", "labelled", "unknown")
_QUESTION = (
    "Which images of this competition did the network learn from: nothing, labelled (all labelled "
    "images), a list of images or individuals, or unknown?"
)


@app.callback()
def show_embeddings(
    context: typer.Context, as_json: JsonOption = False, folder: WorkspaceOption = None
) -> None:
    """Import or export embeddings, and list those imported.

    \b
    Example:
      kitbox embeddings
    """
    if context.invoked_subcommand is not None:
        if folder is not None:
            os.environ["KITBOX_WORKSPACE"] = str(folder)
        return
    from kitbox.embedding import imported_embeddings

    workspace = find_workspace(folder)
    found, mistakes = imported_embeddings.load_all(workspace)
    if as_json:
        print_json([{"name": each.name, **each.as_json()} for each in found])
    elif found:
        print_table(
            ("embeddings", "images", "dim", "learned from", "digest", "file"),
            [
                (each.name, str(each.shape[0]), str(each.dim), each.learned_from, each.digest[:8],
                 ", ".join(each.files))
                for each in found
            ],
            left=(0, 3, 5),
        )  # fmt: skip
    elif not mistakes:
        print_line(
            "no imported embeddings; 'kitbox embeddings import FILE --name NAME' imports some"
        )
    for mistake in mistakes:
        print_line(f"error: {mistake}")
    if mistakes:
        raise typer.Exit(1)


@app.command("import")
def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Files of one network: .npz, .npy, .parquet, .csv."),
    ],
    *,
    name: Annotated[
        str, typer.Option("--name", help="The name that commands take.", metavar="NAME")
    ],
    ids: Annotated[
        list[str] | None,
        typer.Option(
            "--ids",
            help="The list of image names beside a .npy, or the array or column of names.",
            metavar="FILE|KEY",
        ),
    ] = None,
    vectors: Annotated[
        str | None,
        typer.Option("--vectors", help="The array or column of vectors.", metavar="KEY"),
    ] = None,
    learned_from: Annotated[
        str | None,
        typer.Option(
            "--learned-from",
            help="What the network learned from: nothing, labelled, FILE or unknown.",
            metavar="WHAT",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the embeddings of this name.")
    ] = False,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Import embeddings of another program, as a member of ensembles.

    Names of rows are matched to images as those of lists: with or without folder and suffix. Every
    labelled image must have a row, and for submissions every test image. Rows are scaled to unit
    length. --learned-from says which images the network was trained on: nothing of this
    competition, every labelled image, or those that FILE lists, by image or individual, as
    holdout.csv does. A network that has seen the holdout is not scored on it.

    \b
    Examples:
      kitbox embeddings import features.npz --name dinov2 --learned-from nothing
      kitbox embeddings import train.npy test.npy --ids train.txt --ids test.txt --name mine
    """
    from kitbox.competition import lists
    from kitbox.decisions import decision_file
    from kitbox.embedding import imported_embeddings, vector_files
    from kitbox.embedding.imported_embeddings import NamedImages
    from kitbox.plugin import discovery

    workspace, competition = open_workspace(folder)
    imported_embeddings.check_name(
        name, discovery.plugin_names(workspace), workspace, replace=replace
    )
    if ids and len(ids) not in (1, len(files)):
        raise KitboxError(
            f"{len(files)} files, but --ids is given {len(ids)} times",
            fix="give it once for each file, in their order",
        )
    given = [None] * len(files) if not ids else ids * (len(files) if len(ids) == 1 else 1)
    opened = [vector_files.read(file, of, vectors) for file, of in zip(files, given, strict=True)]
    collection = load_collection(workspace, competition)
    lenient = competition.images.model_copy(update={"broken": "drop"})
    listed = lists.read(
        competition.model_copy(update={"images": lenient}),
        workspace.boxes,
        decision_file.load(workspace.decisions),
    )
    sides = {"labelled": collection.labelled, "test": collection.test, "index": collection.index}
    all_images = [part for part in (listed.labelled, listed.test, listed.index) if part is not None]
    known = NamedImages(all_images, competition.images.root)
    if learned_from is None and not as_json and sys.stdin.isatty() and sys.stderr.isatty():
        learned_from = typer.prompt(_QUESTION, default="unknown", err=True)
    kind, learned = _learned(learned_from or "unknown", known)
    report = follow(
        imported_embeddings.save(
            name,
            opened,
            known,
            {side: images.image_ids for side, images in sides.items() if images is not None},
            kind,
            learned,
            workspace,
        )
    )
    if as_json:
        print_json(
            {
                "name": name,
                **report.embeddings.as_json(),
                "rows": report.rows,
                "left_out": list(report.foreign),
                "missing": list(report.missing),
            }
        )
        return
    _print_report(report, opened)


def _learned(text: str, known: "NamedImages") -> "tuple[LearnedFrom, frozenset[str]]":
    """Return what --learned-from says, and the images of its list."""
    from kitbox.embedding import imported_embeddings

    match text:
        case "nothing" | "labelled" | "unknown":
            return text, frozenset()
    path = Path(text)
    if not path.is_file():
        raise KitboxError(
            f"--learned-from {text} is neither a file nor one of {', '.join(_LEARNED_WORDS)}"
        )
    images, foreign = imported_embeddings.learned_images(path, known)
    if foreign:
        print_line(
            f"--learned-from: '{foreign[0]}' is no image or individual here{more(len(foreign) - 1)}"
        )
    return "images", images


def _print_report(report: "ImportReport", opened: "list[VectorFile]") -> None:
    found = report.embeddings
    for file in opened:
        for note in file.notes:
            print_line(note)
    if report.foreign:
        rows = counted(len(report.foreign), "row")
        print_line(
            f"left out: {rows} of images that are not in this competition, such as "
            f"'{report.foreign[0]}'"
        )
    print_line(f"{found.name}: {found.shape[0]} images × {found.dim}, rows scaled to unit length")
    for side in report.missing:
        print_line(
            f"it has no {side} image: it can be scored, but not submitted; to submit, import the "
            f"{side} images too"
        )
    learned = counted(len(found.learned_images), "image")
    words = {
        "nothing": "it learned from no image of this competition",
        "labelled": "it learned from every labelled image, so that it has no local score",
        "images": f"it learned from {learned} of this competition",
        "unknown": "nobody knows which images it learned from; if the holdout is among them, its "
        "local score is too good (--learned-from nothing, labelled or FILE says)",
    }
    print_line(words[found.learned_from])
    print_line(f"next: kitbox score {found.name}")


@app.command("export")
@with_records
def export(
    names: NamesArgument = None,
    *,
    plugins: MemberOptions,
    whiten: WhitenOption = None,
    on: OnOption = "holdout",
    form: Annotated[
        Literal["npz", "npy", "parquet"] | None,
        typer.Option("--format", help="Format of the file; default: by its suffix, else npz."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file; default: NAME.npz here.", metavar="FILE"),
    ] = None,
    device: DeviceOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Write the embeddings of all images for other programs.

    They are those of the labelled, test and index images, in the order of the lists; several names
    are joined as an ensemble joins them. Networks are those that have not seen the holdout, or with
    --on all those of a submission. A .npz has the arrays ids, embeddings, label and side, Parquet
    the columns image, label, side and embedding. Beside a .npy the ids are in a .txt.

    \b
    Examples:
      kitbox embeddings export resnet34_620 --format parquet
      kitbox embeddings export resnet34_620 dinov2 --weights 2,1 --whiten 256 --out both.npz
    """
    import numpy as np

    from kitbox.embedding import vector_output
    from kitbox.embedding.vector_output import NamedVectors
    from kitbox.ensemble import meta_embedding, neighbour_table

    form = vector_output.resolve_format(out, form, get_args(vector_output.VectorFormat), "npz")
    found, recipe = _open_images(names, plugins, CombineOptions(whiten=whiten), on, device, folder)
    print_unused(recipe)
    sets = found.by_side
    ids = found.images.image_ids
    dim, rows = follow(
        meta_embedding.assemble_rows(found.ensemble, [*sets.values()], found.fitted_on)
    )
    vectors = NamedVectors(
        ids=ids,
        dim=dim,
        blocks=rows,
        beside={
            "label": np.concatenate(
                [neighbour_table.labels_of(images) for images in sets.values()]
            ),
            "side": np.repeat([*sets], [len(images) for images in sets.values()]),
        },
    )
    path = out or Path(f"{_stem(recipe, plugins)}.{form}")
    written = follow(vector_output.write_vectors(path, form, vectors))
    if as_json:
        sizes = {side: len(images) for side, images in sets.items()}
        print_json(
            {
                "files": [str(file) for file in written],
                "members": [member.name for member in found.ensemble.members],
                "images": len(ids),
                "left_out": found.left_out,
                "dim": dim,
                **sizes,
            }
        )
        return
    print_line(
        f"{len(ids)} images × {dim} written to {' and '.join(str(file) for file in written)}"
    )


@with_records
def neighbours(
    names: NamesArgument = None,
    *,
    k: Annotated[int, typer.Option("--k", help="Neighbours of each image.", min=1)] = 20,
    individuals: Annotated[
        bool, typer.Option("--individuals", help="Rank individuals in place of images.")
    ] = False,
    queries: Annotated[
        Literal["all", "labelled", "test", "index", "holdout"],
        typer.Option("--queries", help="The images whose neighbours are wanted."),
    ] = "all",
    gallery: Annotated[
        Literal["all", "labelled", "test", "index", "holdout"] | None,
        typer.Option(
            "--gallery",
            help="The images to search; default: all, for --individuals labelled.",
            show_default=False,
        ),
    ] = None,
    plugins: MemberOptions,
    whiten: WhitenOption = None,
    rerank: RerankOption = None,
    on: OnOption = "holdout",
    form: Annotated[
        Literal["csv", "parquet"] | None,
        typer.Option("--format", help="Format of the file; default: by its suffix, else csv."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file; default: neighbours_NAME.csv here.", metavar="FILE"),
    ] = None,
    device: DeviceOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Write the images or individuals most similar to each image.

    By default each image, labelled or not, is searched among all others. The columns are image,
    label, rank, neighbour, neighbour_label and similarity, or individual in place of the
    neighbour; a label is empty where no list gives one. An image is no neighbour of itself.
    --queries holdout --gallery holdout is the local test, and --queries test --gallery labelled is
    what most leaderboards ask for.

    \b
    Examples:
      kitbox neighbours resnet34_620 --k 20 --format parquet
      kitbox neighbours resnet34_620 dinov2 --individuals --queries test
    """
    from kitbox.embedding import vector_output
    from kitbox.ensemble import members, neighbour_table

    form = vector_output.resolve_format(out, form, get_args(vector_output.TableFormat), "csv")
    combine = CombineOptions(whiten=whiten, rerank=rerank)
    found, recipe = _open_images(names, plugins, combine, on, device, folder)
    print_unused(recipe, "rerank")
    ensemble, left = found.ensemble, found.left_out
    searched = gallery or ("labelled" if individuals else "all")
    query, known = (
        members.embedded(
            neighbour_table.images_of(side, ensemble.collection, gallery=place), ensemble.members
        )
        for side, place in ((queries, False), (searched, True))
    )
    find = neighbour_table.nearest_individuals if individuals else neighbour_table.nearest_images
    embeddings = follow(found.embeddings())
    table = follow(find(embeddings, query, known, ensemble.competition, k, found.reranker))
    path = out or Path(f"neighbours_{_stem(recipe, plugins)}.{form}")
    vector_output.write_table(path, form, table)
    rows = len(table["image"])
    if as_json:
        figures = {"queries": len(query), "gallery": len(known), "rows": rows, "left_out": left}
        print_json({"file": str(path), **figures, "columns": [*table]})
        return
    what = "individuals of" if individuals else "images among"
    print_line(
        f"the {k} most similar {what} {len(known)} images, for {len(query)} images: {rows} rows "
        f"written to {path}"
    )


def _open_images(
    names: list[str] | None,
    options: MemberOptions,
    combine: CombineOptions,
    on: Literal["holdout", "all"],
    device: DeviceOptions,
    folder: Path | None,
) -> "tuple[AllImages, Recipe]":
    """Return all images with an ensemble for looking at them, and its recipe."""
    from kitbox.ensemble import neighbour_table
    from kitbox.ensemble.ensemble import Ensemble

    workspace, competition = open_workspace(folder)
    recipe = choose_recipe(names, options, combine, workspace, competition)
    sources = load_sources(recipe, workspace)
    setup = Ensemble(
        collection=load_collection(workspace, competition),
        competition=competition,
        workspace=workspace,
        options=recipe.options(),
        embed_options=device.for_embedding(),
    )
    stage = neighbour_table.open_all(
        setup, sources, recipe.weights, recipe.checkpoint, whitening=recipe.whitening, on=on
    )
    return follow(stage), recipe


def _stem(recipe: "Recipe", options: MemberOptions) -> str:
    """Return the part of a file's name that tells its members: their names, or the recipe's."""
    return options.recipe.stem if options.recipe is not None else "+".join(recipe.names)


@app.command("remove")
def remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Imported embeddings.")],
    folder: WorkspaceOption = None,
) -> None:
    """Remove imported embeddings.

    \b
    Example:
      kitbox embeddings remove dinov2
    """
    from kitbox.embedding import imported_embeddings

    workspace = find_workspace(folder)
    # all, or none is removed
    found = [imported_embeddings.load_record(name, workspace) for name in names]
    for each in found:
        imported_embeddings.remove(each.name, workspace)
        print_line(f"removed {each.name}: {each.shape[0]} images × {each.dim}")
