"""Commands about written submissions: submission lint and mark, reproduce."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kitbox.cli.options import DeviceOption, JsonOption, WorkspaceOption
from kitbox.cli.terminal import (
    follow,
    load_collection,
    open_workspace,
    print_json,
    print_line,
    print_scores,
    print_table,
)
from kitbox.errors import KitboxError
from kitbox.workspace import find_workspace

if TYPE_CHECKING:
    from kitbox.submission.leaderboard import SubmissionStatus
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
    from kitbox.competition import decisions, lists
    from kitbox.submission import leaderboard
    from kitbox.submission.lint import lint_file

    place, competition = open_workspace(workspace)
    earlier = leaderboard.sent_digests(place)
    listed = lists.read(competition, decided=decisions.load(place.decisions))
    findings = lint_file(file, competition, listed, earlier)
    if as_json:
        print_json([vars(finding) for finding in findings])
    for finding in findings[:_SHOWN]:
        print_line(f"{file} {finding}")
    if len(findings) > _SHOWN:
        print_line(f"{file}: {len(findings) - _SHOWN} more; --json lists them all")
    if findings:
        raise typer.Exit(1)
    print_line(f"{file}: nothing to complain about")


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
    from kitbox.submission.mark import score_submission

    place, competition = open_workspace(workspace)
    scores = score_submission(file, key, competition, load_collection(place, competition))
    if as_json:
        print_json(scores.as_json())
    else:
        print_scores(scores)


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
    from kitbox.submission import reproduction

    place, competition = open_workspace(workspace)
    collection = load_collection(place, competition)
    found = follow(
        reproduction.reproduce(path, collection, competition, place, retrain=retrain, device=device)
    )
    if as_json:
        print_json([vars(c) | {"equal": c.equal} for c in found.comparisons])
    else:
        differing = [c for c in found.comparisons if not c.equal]
        equal = len(found.comparisons) - len(differing)
        print_line(f"equal: {equal} of {len(found.comparisons)} things compared")
        if differing:
            print_table(
                ("differs", "recorded", "again"),
                [(c.what, c.recorded[:60], c.again[:60]) for c in differing],
            )
    for line in found.told:
        print_line(line)
    if found.same_list:
        print_line("the list is the same, byte for byte")
        return
    folder = path if path.is_dir() else path.parent
    original = folder / "submission.csv"
    if original.exists():
        count = reproduction.rows_that_differ(found.text, original.read_text(encoding="utf-8"))
        print_line(f"the list differs in {count} rows of {found.text.count(chr(10))}")
    raise typer.Exit(1)


app = typer.Typer(invoke_without_command=True)

IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="A submission's folder, or how its name begins.")
]


@app.callback()
def show_leaderboard(
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
    from kitbox.submission import leaderboard, ledger

    place = _workspace(workspace)
    found = list(leaderboard.load(place).values())
    damaged = ledger.load(place).damaged
    metric = next((standing.metric for standing in reversed(found) if standing.metric), "")
    pairs = leaderboard.score_pairs(found, metric)
    measured = leaderboard.measure_agreement(pairs)
    if as_json:
        print_json(
            {
                "metric": metric,
                "submissions": [standing.as_json() for standing in found],
                "pairs": len(pairs),
                "agreement": None if measured is None else measured.as_json(),
                "damaged_lines": list(damaged),
            }
        )
    elif found:
        print_table(
            ("submission", "made of", f"local {metric}", "public", "private", "sent"),
            [_cells(standing, metric) for standing in found],
        )
    else:
        print_line("no submission yet; 'kitbox ensemble NAME... --submit' makes one")
    if found and not as_json:
        print_line(leaderboard.too_few_pairs(len(pairs)) if measured is None else str(measured))
    for line in damaged:
        print_line(
            f"{ledger.path_of(place)} line {line} is damaged and left out; correct or remove it"
        )


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

    from kitbox.submission import leaderboard, ledger

    place = _workspace(workspace)
    name = leaderboard.find(submission, leaderboard.load(place)).submission
    for given in (score, private):
        if given is not None and not math.isfinite(given):
            raise KitboxError(f"a score of {given} is no number; give what the leaderboard shows")
    ledger.append(place, "scored", name, public=score, private=private, source="by hand")
    if as_json:
        print_json(leaderboard.load(place)[name].as_json())
    print_line(f"{name}: {score:g}{'' if private is None else f', private {private:g}'}")


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
    from kitbox.submission.upload import Pace, upload_submission

    place, competition = open_workspace(workspace)
    standing = _told(
        upload_submission(
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
        print_json(standing.as_json())
    last = standing.last
    if last is None or last.outcome != "scored":
        print_line(
            f"{standing.submission} is sent; the same command without --no-wait fetches its score"
        )
        return
    hidden = "scored, but Kaggle does not show the score yet"
    shown = hidden if standing.public is None else f"public {standing.public:g}"
    print_line(
        f"{standing.submission}: {shown}"
        f"{'' if standing.private is None else f', private {standing.private:g}'}"
    )


def _told(stage: "Generator[str, None, SubmissionStatus]") -> "SubmissionStatus":
    """Run a stage to its end, print its lines, and return its result."""
    while True:
        try:
            print_line(next(stage))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _cells(standing: "SubmissionStatus", metric: str) -> tuple[str, ...]:
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

    return find_workspace(folder)
