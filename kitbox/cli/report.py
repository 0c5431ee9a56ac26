"""Commands that show data and results in a browser: report, look."""

import getpass
import shlex
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.options import (
    BackendOptions,
    CombineOptions,
    DeviceOptions,
    FoldOption,
    JsonOption,
    MatchDeviceOptions,
    MemberOptions,
    ViewOption,
    WhitenOption,
    WorkspaceOption,
    build_frozen,
    choose_recipe,
    complete_members,
    given_options,
    load_members,
    load_plugins,
    parse_fold,
    parse_whitening,
    with_records,
)
from kitbox.cli.terminal import follow, load_collection, open_workspace, print_json, print_line
from kitbox.errors import KitboxError, counted

if TYPE_CHECKING:
    from kitbox.competition.settings import Competition
    from kitbox.embedding.embedder import EmbedOptions
    from kitbox.identification.identified_record import IdentifiedRecord
    from kitbox.identification.photograph_answers import Answer
    from kitbox.look.photographs import Photographs
    from kitbox.look.session import DecisionSession
    from kitbox.records import Embeddings, Holdout
    from kitbox.report.page import WrittenPage
    from kitbox.report.results_page import ResultsRequest
    from kitbox.workspace import Workspace


@with_records
def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...|ID]",
            help="Trained plugins, or a submission; none: the data.",
            autocompletion=complete_members,
        ),
    ] = None,
    *,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Show the data as this plugin reads it.", metavar="NAME"),
    ] = None,
    plugins: MemberOptions,
    combine: CombineOptions,
    fold: FoldOption = "1",
    device: MatchDeviceOptions,
    backend: BackendOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Write a page about the data, or about holdout results.

    The page opens from disk. Without a name it shows the data: sizes, individuals, contact sheets,
    boxes. With plugins, a recipe or a submission it shows every query with its nearest images,
    failures, confusable pairs and a map.

    \b
    Examples:
      kitbox report resnet34_620 densenet121_480 --weights 2,1
      kitbox report --recipe best.toml
    """
    from kitbox.report import results_page

    workspace, competition = open_workspace(folder)
    if names or plugins.recipe is not None:
        if by:
            raise KitboxError("--by shows the data; leave it out, or the names before it")
        own = {"--recipe", "--checkpoint"}
        given = [each for each in given_options(plugins, combine) if each not in own]
        results_page.refuse_options(names or (), given, workspace)
        recipe = choose_recipe(names, plugins, combine, workspace, competition)
        wanted = results_page.resolve_names(recipe, workspace)
        build_frozen(wanted.sources, workspace)
        with backend.open():
            written, scores = _write_results(
                wanted, workspace, competition, fold, device.for_embedding()
            )
    else:
        ignored = given_options(plugins, combine) + (["--fold"] if fold != "1" else [])
        if ignored:
            raise KitboxError(f"{ignored[0]} is about plugins; name them, or leave it out")
        with backend.open():
            written, scores = _write_data(by or [], workspace, competition), None
    if as_json:
        print_json(
            {
                "page": str(written.path),
                "bytes": written.bytes,
                "files_beside": written.files_beside,
                **({} if scores is None else {"scores": scores}),
            }
        )
    beside = f", with {written.files_beside} files beside it" if written.files_beside else ""
    print_line(f"written to {written.path}{beside}; open it in a browser")


def _write_results(
    wanted: "ResultsRequest",
    workspace: "Workspace",
    competition: "Competition",
    fold: str,
    options: "EmbedOptions",
) -> "tuple[WrittenPage, dict[str, Any]]":
    from kitbox.ensemble import members
    from kitbox.ensemble.ensemble import Ensemble
    from kitbox.report import results_page

    number = parse_fold(fold, competition, "a page shows one fold")
    recipe = wanted.recipe
    competition = recipe.set_threshold(competition)
    collection = load_collection(workspace, competition, number)
    chosen = members.for_holdout(
        workspace,
        wanted.sources,
        recipe.weights,
        collection,
        recipe.checkpoint,
        whitening=recipe.whitening,
        fold=number,
    )
    found = follow(
        results_page.evaluate(
            Ensemble(
                members=chosen,
                collection=collection,
                competition=competition,
                workspace=workspace,
                options=recipe.options(),
                embed_options=options,
            )
        )
    )
    part = "" if number == 1 else f"_fold{number}"
    path = workspace.reports / f"results_{wanted.name}{part}.html"
    about = wanted.notes(chosen, number)
    stage = results_page.write(
        found,
        chosen,
        collection,
        competition,
        workspace,
        path,
        about=about,
        submitted=results_page.submitted_answers(wanted, collection, competition, workspace),
    )
    return follow(stage), found.score.scores.as_json()


def _write_data(by: list[str], workspace: "Workspace", competition: "Competition") -> "WrittenPage":
    from kitbox.report import data_page

    collection = load_collection(workspace, competition)
    path = workspace.reports / "data.html"
    stage = data_page.write(collection, competition, workspace, path, load_plugins(by, workspace))
    return follow(stage)


@with_records
def look(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            help="Plugins to compare by; of a catalogue, default: those of 'kitbox identify'.",
            autocompletion=complete_members,
            show_default=False,
        ),
    ] = None,
    *,
    port: Annotated[
        int | None,
        typer.Option("--port", help="Port; default: 8017, or the next free one.", min=0, max=65535),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            help="Who decides, as decisions.csv names it; default: the login name.",
            metavar="NAME",
        ),
    ] = None,
    view: ViewOption = None,
    whiten: WhitenOption = None,
    device: DeviceOptions,
    backend: BackendOptions,
    folder: WorkspaceOption = None,
) -> None:
    """Open a local page to look at images and to decide.

    It shows duplicates, suspect labels and all images; decisions go to decisions.csv at once, with
    who decided and when. With plugins it has a matching desk: each test photograph, or else each
    labelled one, beside the individuals that it may show. Without plugins, images are compared by
    their perceptual hash, which finds copies but no individuals. In the workspace of a catalogue it
    takes the network and the probabilities of 'kitbox identify'.

    \b
    Examples:
      kitbox look --workspace whales-kitbox --by Anna
      kitbox look tf_efficientnet_lite0_96x192 mobilenetv2_100_128x256
    """
    from kitbox.look import photographs, review_items
    from kitbox.look.desk import has_test
    from kitbox.look.server import create_server, listen, open_browser
    from kitbox.look.session import DecisionSession

    workspace, competition = open_workspace(folder)
    is_catalogue = workspace.catalogue.is_file()
    record = _identified(workspace) if is_catalogue else None
    if not names and is_catalogue:
        names = _networks(record, workspace)
    if not names:
        whitens = ["--whiten"] if whiten is not None else []
        given = [*whitens, *(["--view"] if view else []), *given_options(device)]
        if given:
            raise KitboxError(
                f"{given[0]} is for comparing by plugins; "
                f"give one, as 'kitbox look NAME {given[0]} …'"
            )
    with listen(port) as listening:
        with backend.open():
            listed = follow(photographs.load(workspace, competition))
        session = DecisionSession(workspace, listed, _login_name() if by is None else by)
        embeddings = holdout = None
        threshold = competition.threshold.similarity  # None unless it is fixed
        answers, unused = _holding(record, listed, workspace)
        if names:
            embeddings = _embed(names, session, workspace, view, whiten, device.for_embedding())
            print_line(f"comparing {len(embeddings)} images")  # each with each: a minute for 30,000
            if threshold is None and not answers and has_test(listed):
                holdout = _unseen_holdout(names, workspace, competition, view)
        bits = competition.holdout.near_duplicate_bits
        items = review_items.prepare(
            competition.name,
            session,
            bits,
            tuple(names or ()),
            embeddings,
            threshold,
            holdout,
            answers,
        )
        then = _next_command(names or [], folder, asks_test=has_test(listed), add=is_catalogue)
        items = replace(
            items, desk=replace(items.desk, unused=unused, then=then, is_first=is_catalogue)
        )
        server, address = create_server(items, listening)
        print_line(f"looking at {len(session.photographs.images)} images: {address}")
        if names:
            print_line(f"to match: {counted(len(items.desk), 'photograph')}")
        print_line(f"decisions go to {workspace.decisions}; Ctrl-C ends")
        with open_browser(address, workspace.cache) if browser else nullcontext():
            server.serve_forever()  # until Ctrl-C
    print_line(f"done; {len(session.state.decisions.rows)} decisions in {workspace.decisions}")
    if then and session.can_undo:
        print_line(f"next: {then}")


def _identified(workspace: "Workspace") -> "IdentifiedRecord | None":
    """Return the record of identify, None, told, where it cannot be read."""
    from kitbox.identification import identified_record

    try:
        return identified_record.load(workspace)
    except KitboxError as error:
        print_line(f"without the answers of identify: {error}")
        return None


def _networks(record: "IdentifiedRecord | None", workspace: "Workspace") -> list[str]:
    """Return the plugins that identify used, else those that it would use."""
    if record is not None:
        print_line(f"network: {', '.join(record.networks)}, which identify used")
        return list(record.networks)
    from kitbox.identification import network_choice

    try:
        choice = network_choice.choose(workspace)
    except KitboxError as error:
        print_line(f"without the matching desk: {error}")
        return []
    for sentence in choice.sentences:
        print_line(sentence)
    return [choice.name]


def _holding(
    record: "IdentifiedRecord | None", listed: "Photographs", workspace: "Workspace"
) -> "tuple[Sequence[Answer], str]":
    """Return the answers of identify that still hold, and a sentence, told, where they do not."""
    if record is None:
        return (), ""
    changed = record.changed_since(workspace, listed.readable_digests)
    if not changed:
        return record.answers, ""
    unused = (
        f"the probabilities of identify are not shown: {changed} has changed since; "
        "run 'kitbox identify' again"
    )
    print_line(unused)
    return (), unused


def _next_command(names: list[str], folder: Path | None, *, asks_test: bool, add: bool) -> str:
    """Return the command that takes what was decided at the desk, '' where there is no desk."""
    if not names:
        return ""
    command = "catalogue add" if add else f"{'ensemble' if asks_test else 'train'} "
    words = [] if add else names if asks_test else names[:1]
    place = "" if folder is None else f" --workspace {shlex.quote(str(folder))}"
    return f"kitbox {command}{shlex.join(words)}{place}"


def _unseen_holdout(
    names: list[str], workspace: "Workspace", competition: "Competition", views: list[str] | None
) -> "Holdout | None":
    """Return the holdout that the desk's probabilities are fitted to, None, told, without one."""
    from kitbox.look import photographs

    members = load_members(names, workspace, views)
    try:
        return follow(photographs.unseen_holdout(members, workspace, competition))
    except KitboxError as error:
        print_line(f"sorted without probabilities: {error}")
        return None


def _login_name() -> str:
    """Return the user's login name, '' where the system knows none."""
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return ""


def _embed(
    names: list[str],
    session: "DecisionSession",
    workspace: "Workspace",
    views: list[str] | None,
    whiten: str | None,
    options: "EmbedOptions",
) -> "Embeddings":
    from kitbox.look import photographs

    members = load_members(names, workspace, views)
    if older := photographs.outdated(members, workspace):
        print_line(f"trained before {workspace.decisions.name} changed: {', '.join(older)}")
    dims = parse_whitening(whiten)
    stage = photographs.embed(
        members,
        session.photographs,
        workspace,
        whitening=dims if isinstance(dims, list) else [dims] * len(members),
        options=options,
    )
    return follow(stage)
