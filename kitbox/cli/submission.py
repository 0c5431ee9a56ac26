"""Commands about written submissions: submission lint and mark, reproduce."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kitbox.cli.options import DeviceOption, JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from kitbox.submission.leaderboard import Standing
    from kitbox.workspace import Workspace


# Findings that people are shown: who mends the first often mends all.
_SHOWN = 50


def lint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV for the leaderboard.")],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Say whether the leaderboard would take a file; exit 1 if not.

    \b
    Example:
      kitbox submission lint submissions/2026-01-31_a+b_1f2e3d4c/submission.csv
    """
    from kitbox.cli.terminal import emit, opened, say
    from kitbox.competition import decisions, lists
    from kitbox.submission import leaderboard
    from kitbox.submission.lint import lint_file

    place, competition = opened(workspace)
    earlier = leaderboard.sent(place)
    listed = lists.read(competition, decided=decisions.read(place.decisions))
    findings = lint_file(file, competition, listed, earlier)
    if as_json:
        emit([vars(finding) for finding in findings])
    for finding in findings[:_SHOWN]:
        say(f"{file} {finding}")
    if len(findings) > _SHOWN:
        say(f"{file}: {len(findings) - _SHOWN} more; --json lists them all")
    if findings:
        raise typer.Exit(1)
    say(f"{file}: nothing to complain about")


def mark(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV for the leaderboard.")],
    key: Annotated[Path, typer.Argument(metavar="TRUTH", help="A CSV of image,label,individual.")],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Score a written list by true labels of the test images, as a leaderboard would.

    \b
    Example:
      kitbox submission mark submissions/2026-01-31_a+b_1f2e3d4c/submission.csv truth.csv
    """
    from kitbox.cli.terminal import collected, emit, opened, score_table
    from kitbox.submission import mark as mark_module

    place, competition = opened(workspace)
    scores = mark_module.mark(file, key, competition, collected(place, competition))
    if as_json:
        emit(scores.as_json())
    else:
        score_table(scores)


def reproduce(
    path: Annotated[Path, typer.Argument(metavar="RECEIPT", help="receipt.json or its folder.")],
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train the networks again from the receipt.")
    ] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Make a submission again from its receipt, and say what is equal and what differs.

    Exit 1 if the list differs.

    \b
    Example:
      kitbox reproduce submissions/2026-01-31_a+b_1f2e3d4c
    """
    from kitbox.cli.terminal import collected, emit, follow, opened, say, table
    from kitbox.submission import reproduction

    place, competition = opened(workspace)
    collection = collected(place, competition)
    found = follow(
        reproduction.reproduce(path, collection, competition, place, retrain=retrain, device=device)
    )
    if as_json:
        emit([vars(c) | {"equal": c.equal} for c in found.comparisons])
    else:
        differing = [c for c in found.comparisons if not c.equal]
        equal = len(found.comparisons) - len(differing)
        say(f"equal: {equal} of {len(found.comparisons)} things compared")
        if differing:
            table(
                ("differs", "recorded", "again"),
                [(c.what, c.recorded[:60], c.again[:60]) for c in differing],
            )
    for line in found.told:
        say(line)
    if found.same_list:
        say("the list is the same, byte for byte")
        return
    folder = path if path.is_dir() else path.parent
    original = folder / "submission.csv"
    if original.exists():
        count = reproduction.rows_that_differ(found.text, original.read_text(encoding="utf-8"))
        say(f"the list differs in {count} rows of {found.text.count(chr(10))}")
    raise typer.Exit(1)


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
    from kitbox.submission import ledger
    from kitbox.submission.leaderboard import measure, pairs_of, standings, too_few

    place = _workspace(workspace)
    found = list(standings(place).values())
    damaged = ledger.read(place).damaged
    metric = next((standing.metric for standing in reversed(found) if standing.metric), "")
    pairs = pairs_of(found, metric)
    measured = measure(pairs)
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
        say(too_few(len(pairs)) if measured is None else str(measured))
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
    from kitbox.submission.leaderboard import resolve, standings

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
    from kitbox.submission.upload import Pace
    from kitbox.submission.upload import upload as sending

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
    from kitbox.workspace import find_workspace

    return find_workspace(folder)
