"""The command that makes pages for people: report."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.options import (
    CheckpointOption,
    CombineOption,
    DeviceOption,
    DimsOption,
    FoldOption,
    JsonOption,
    NewLabelOption,
    PrecisionOption,
    ThresholdOption,
    WeightsOption,
    WhitenOption,
    WorkersOption,
    WorkspaceOption,
    loaded,
    numbers,
    parse_folds,
    way_of,
    with_threshold,
)
from kitbox.cli.terminal import follow, load_collection, open_workspace, print_json, print_line
from kitbox.errors import KitboxError

if TYPE_CHECKING:
    from kitbox.competition.settings import Competition
    from kitbox.embedding.embedder import EmbedOptions
    from kitbox.look.session import DecisionSession
    from kitbox.records import Embeddings
    from kitbox.report.page import Written
    from kitbox.report.results_page import Asked
    from kitbox.workspace import Workspace


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...|ID]", help="Trained plugins, or a submission; none: the data."
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Of the data: show it as this plugin sees it.", metavar="NAME"),
    ] = None,
    weights: WeightsOption = None,
    whiten: WhitenOption = None,
    combine: CombineOption = "embeddings",
    dims: DimsOption = None,
    new_label: NewLabelOption = "threshold",
    threshold: ThresholdOption = None,
    fold: FoldOption = "1",
    checkpoint: CheckpointOption = "last",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Make a page that opens from disk: of the data, or of what plugins answer on the holdout.

    Without a name the data: sizes, individuals, contact sheets, boxes. With plugins or a
    submission: every query with its nearest pictures, failures, confusable pairs, a map.

    \b
    Example:
      kitbox report resnet34_620 densenet121_480 --weights 2,1
    """
    from kitbox.embedding import embedder
    from kitbox.ensemble import answers
    from kitbox.report import results_page

    place, competition = open_workspace(workspace)
    options = embedder.EmbedOptions(device=device, precision=precision, workers=workers)
    if names:
        if by:
            raise KitboxError("--by shows the data; leave it out, or the names before it")

        recipe = answers.EnsembleOptions(whiten=whiten, way=way_of(combine, dims, new_label))
        wanted = results_page.of_names(
            names, place, numbers(weights), recipe, threshold, checkpoint
        )
        written, scores = _results(wanted, place, competition, fold, options)
    else:
        _refuse(
            {
                "--weights": weights,
                "--whiten": whiten,
                "--combine": None if combine == "embeddings" else combine,
                "--dims": dims,
                "--new-label": None if new_label == "threshold" else new_label,
                "--threshold": threshold,
                "--fold": None if fold == "1" else fold,
                "--checkpoint": None if checkpoint == "last" else checkpoint,
            }
        )
        written, scores = _data(by or [], place, competition), None
    if as_json:
        print_json(
            {
                "page": str(written.path),
                "bytes": written.bytes,
                "files_beside": written.beside,
                **({} if scores is None else {"scores": scores}),
            }
        )
    beside = f", with {written.beside} files beside it" if written.beside else ""
    print_line(f"written to {written.path}{beside}; open it in a browser")


def _results(
    wanted: "Asked",
    place: "Workspace",
    competition: "Competition",
    fold: str,
    options: "EmbedOptions",
) -> "tuple[Written, dict[str, Any]]":
    from kitbox.ensemble import members
    from kitbox.report import results_page

    folds = parse_folds(fold, competition)
    if len(folds) > 1:
        raise KitboxError("a page shows one fold; name it with --fold")
    competition = with_threshold(competition, wanted.threshold)
    collection = load_collection(place, competition, folds[0])
    chosen = members.for_holdout(
        place, wanted.plugins, wanted.weights, collection, wanted.checkpoint, fold=folds[0]
    )
    found = follow(
        results_page.evaluate(chosen, wanted.recipe, collection, competition, place, options)
    )
    part = "" if folds[0] == 1 else f"_fold{folds[0]}"
    path = place.reports / f"results_{wanted.name}{part}.html"
    stage = results_page.write(
        found, chosen, collection, competition, place, path, about=wanted.told(chosen, folds[0])
    )
    return follow(stage), found.score.scores.as_json()


def _refuse(options: dict[str, Any]) -> None:
    """Raise KitboxError for an option that says how named plugins are put together."""
    for name, value in options.items():
        if value is not None:
            raise KitboxError(f"{name} is about plugins; name them, or leave it out")


def _data(by: list[str], place: "Workspace", competition: "Competition") -> "Written":
    from kitbox.report import data_page

    collection = load_collection(place, competition)
    path = place.reports / "data.html"
    return follow(data_page.write(collection, competition, place, path, loaded(by, place)))


def look(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]", help="Trained plugins to compare by.", show_default=False
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", help="Default: 8017, or the next free one.", min=0, max=65535),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
    whiten: WhitenOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Open a local page to look at photographs, duplicates and suspect labels, and to decide.

    Decisions go to decisions.csv at once. Without plugins, pictures are compared by their
    perceptual hash, which finds copies but no individuals.

    \b
    Example:
      kitbox look tf_efficientnet_lite0_96x192 mobilenetv2_100_128x256
    """
    from contextlib import nullcontext

    from kitbox.look import photographs, review_items
    from kitbox.look.server import create_server, listen, open_browser
    from kitbox.look.session import DecisionSession

    if not names:
        _refuse_idle(whiten, device, precision, workers)
    place, competition = open_workspace(workspace)
    with listen(port) as listening:
        session = DecisionSession(place, follow(photographs.load(place, competition)))
        seen = None
        if names:
            seen = _embedded(names, session, place, whiten, device, precision, workers)
            print_line(f"comparing {len(seen)} images")  # each with each: a minute for 30,000
        bits = competition.holdout.near_duplicate_bits
        laid = review_items.prepare(competition.name, session, bits, tuple(names or ()), seen)
        server, address = create_server(laid, listening)
        print_line(f"looking at {len(session.photographs.images)} images: {address}")
        print_line(f"decisions go to {place.decisions}; Ctrl-C ends")
        with open_browser(address, place.cache) if browser else nullcontext():
            server.serve_forever()  # until Ctrl-C
    print_line(f"done; {len(session.state.decisions.rows)} decisions in {place.decisions}")


def _embedded(
    names: list[str],
    session: "DecisionSession",
    place: "Workspace",
    whiten: int | None,
    device: str,
    precision: str,
    workers: int | None,
) -> "Embeddings":
    from kitbox.embedding.embedder import EmbedOptions
    from kitbox.look import photographs

    options = EmbedOptions(device=device, precision=precision, workers=workers)
    plugins = loaded(names, place)
    if older := photographs.outdated(plugins, place):
        print_line(f"trained before {place.decisions.name} changed: {', '.join(older)}")
    stage = photographs.embed(plugins, session.photographs, place, whiten=whiten, options=options)
    return follow(stage)


def _refuse_idle(whiten: int | None, device: str, precision: str, workers: int | None) -> None:
    """Raise KitboxError for an option that means nothing without a network."""
    given = {
        "--whiten": whiten is not None,
        "--device": device != "auto",
        "--precision": precision != "auto",
        "--workers": workers is not None,
    }
    for option, is_given in given.items():
        if is_given:
            raise KitboxError(
                f"{option} is for comparing by plugins; give one, as 'kitbox look NAME {option} …'"
            )
