"""The command that opens a local page to look at photographs and to decide."""

from typing import TYPE_CHECKING, Annotated

import typer

from kitbox.cli.choices import WhitenOption
from kitbox.cli.terminal import DeviceOption, PrecisionOption, WorkersOption, WorkspaceOption

if TYPE_CHECKING:
    from kitbox.look.desk import Desk
    from kitbox.records import Embeddings
    from kitbox.workspace import Workspace


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

    from kitbox.cli.terminal import follow, opened, say
    from kitbox.look import opening, photographs, serving, table
    from kitbox.look.desk import Desk

    if not names:
        _refuse_idle(whiten, device, precision, workers)
    place, competition = opened(workspace)
    with serving.bound(port) as listening:
        desk = Desk(place, follow(photographs.gather(place, competition)))
        seen = None
        if names:
            seen = _embedded(names, desk, place, whiten, device, precision, workers)
            say(f"comparing {len(seen)} images")  # each with each: a minute for 30,000
        bits = competition.holdout.near_duplicate_bits
        laid = table.lay(competition.name, desk, bits, tuple(names or ()), seen)
        server, address = serving.server_of(laid, listening)
        say(f"looking at {len(desk.photographs.images)} images: {address}")
        say(f"decisions go to {place.decisions}; Ctrl-C ends")
        with opening.browser(address, place.made) if browser else nullcontext():
            server.serve_forever()  # until Ctrl-C
    say(f"done; {len(desk.standing.decided.rows)} decisions in {place.decisions}")


def _embedded(
    names: list[str],
    desk: "Desk",
    place: "Workspace",
    whiten: int | None,
    device: str,
    precision: str,
    workers: int | None,
) -> "Embeddings":
    from kitbox.cli.choices import loaded
    from kitbox.cli.terminal import follow, say
    from kitbox.embedding.embedder import Options
    from kitbox.look import networks

    options = Options(device=device, precision=precision, workers=workers)
    plugins = loaded(names, place)
    if older := networks.behind(plugins, place):
        say(f"trained before {place.decisions.name} changed: {', '.join(older)}")
    stage = networks.embed(plugins, desk.photographs, place, whiten=whiten, options=options)
    return follow(stage)


def _refuse_idle(whiten: int | None, device: str, precision: str, workers: int | None) -> None:
    """Raise KitboxError for an option that means nothing without a network."""
    from kitbox.errors import KitboxError

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
