"""Commands about the leaderboard: submission upload, leaderboard, leaderboard record."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kitbox.cli.terminal import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from kitbox.submission.standing import Standing
    from kitbox.workspace import Workspace

app = typer.Typer(invoke_without_command=True)

IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="A submission's folder, or how its name begins.")
]


@app.callback()
def leaderboard(
    context: typer.Context, as_json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """Show every submission: local score, leaderboard score, what it was made of.

    From three submissions with both scores on: how far the local score foretells the other.

    \b
    Example:
      kitbox leaderboard
    """
    if context.invoked_subcommand is not None:
        if workspace is not None:
            os.environ["KITBOX_WORKSPACE"] = str(workspace)
        return
    from kitbox.cli.terminal import emit, say, table
    from kitbox.submission import agreement, ledger
    from kitbox.submission.standing import standings

    place = _workspace(workspace)
    found = list(standings(place).values())
    damaged = ledger.read(place).damaged
    metric = next((standing.metric for standing in reversed(found) if standing.metric), "")
    pairs = agreement.pairs_of(found, metric)
    measured = agreement.measure(pairs)
    if as_json:
        emit(
            {
                "metric": metric,
                "submissions": [standing.as_json() for standing in found],
                "pairs": len(pairs),
                "agreement": None if measured is None else measured.as_json(),
                "damaged_lines": list(damaged),
            }
        )
    elif found:
        table(
            ("submission", "made of", f"local {metric}", "public", "private", "sent"),
            [_cells(standing, metric) for standing in found],
        )
    else:
        say("no submission yet; 'kitbox ensemble NAME... --submit' makes one")
    if found and not as_json:
        say(agreement.too_few(len(pairs)) if measured is None else str(measured))
    for line in damaged:
        say(f"{ledger.path_of(place)} line {line} is damaged and left out; correct or remove it")


@app.command("record", context_settings={"ignore_unknown_options": True})
def record(
    submission: IdArgument,
    score: Annotated[float, typer.Argument(metavar="SCORE", help="What the leaderboard shows.")],
    private: Annotated[
        float | None, typer.Option("--private", help="The private score.", metavar="S")
    ] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Add a leaderboard score by hand; higher is better, in the leaderboard's own unit.

    \b
    Example:
      kitbox leaderboard record 2026-01-31_a+b_1f2e3d4c 0.8125 --private 0.8034
    """
    import math

    from kitbox.cli.terminal import emit, say
    from kitbox.errors import KitboxError
    from kitbox.submission import ledger
    from kitbox.submission.standing import resolve, standings

    place = _workspace(workspace)
    name = resolve(submission, standings(place)).submission
    for given in (score, private):
        if given is not None and not math.isfinite(given):
            raise KitboxError(f"a score of {given} is no number; give what the leaderboard shows")
    ledger.append(place, "scored", name, public=score, private=private, source="by hand")
    if as_json:
        emit(standings(place)[name].as_json())
    say(f"{name}: {score:g}{'' if private is None else f', private {private:g}'}")


def upload(
    submission: IdArgument,
    message: Annotated[
        str, typer.Option("--message", help="Shown at Kaggle; default: note or plugins.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the score.")] = True,
    timeout: Annotated[
        float, typer.Option("--timeout", help="How long to wait.", metavar="SECONDS", min=0)
    ] = 900.0,
    again: Annotated[bool, typer.Option("--again", help="Send the same list once more.")] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Send a submission to Kaggle, wait for its score, and write it into the ledger.

    Stopped anywhere, the same command goes on; nothing is sent twice.

    \b
    Example:
      kitbox submission upload 2026-01-31_a+b_1f2e3d4c --message "two small networks"
    """
    from kitbox.cli.terminal import emit, opened, say
    from kitbox.submission.upload import upload as sending
    from kitbox.submission.waiting import Pace

    place, competition = opened(workspace)
    standing = _told(
        sending(
            place,
            competition,
            submission,
            message=message,
            again=again,
            wait=wait,
            pace=Pace(timeout=timeout),
        )
    )
    if as_json:
        emit(standing.as_json())
    last = standing.last
    if last is None or last.outcome != "scored":
        say(f"{standing.submission} is sent; the same command without --no-wait fetches its score")
        return
    hidden = "scored, but Kaggle does not show the score yet"
    shown = hidden if standing.public is None else f"public {standing.public:g}"
    say(
        f"{standing.submission}: {shown}"
        f"{'' if standing.private is None else f', private {standing.private:g}'}"
    )


def _told(stage: "Generator[str, None, Standing]") -> "Standing":
    """Run a stage to its end, print its lines, and return its result."""
    from kitbox.cli.terminal import say

    while True:
        try:
            say(next(stage))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _cells(standing: "Standing", metric: str) -> tuple[str, ...]:
    local = standing.scores.get(metric)
    last = standing.last
    sent = standing.sent_at[:16].replace("T", " ")
    if last is not None and last.outcome in ("open", "refused", "failed"):
        sent = {"open": "unknown", "refused": "refused", "failed": "failed"}[last.outcome]
    elif not sent and standing.source:
        sent = standing.source
    return (
        standing.submission,
        standing.note or "+".join(standing.plugins),
        "" if local is None else f"{local['value']:.4f} ({local['low']:.4f} – {local['high']:.4f})",
        "" if standing.public is None else f"{standing.public:g}",
        "" if standing.private is None else f"{standing.private:g}",
        sent,
    )


def _workspace(folder: Path | None) -> "Workspace":
    from kitbox import workspace

    return workspace.find(folder)
