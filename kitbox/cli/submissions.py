"""Commands about written submissions: submission lint and mark, reproduce."""

from pathlib import Path
from typing import Annotated

import typer

from kitbox.cli.terminal import DeviceOption, JsonOption, WorkspaceOption

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
    from kitbox.competition import decision_file, lists
    from kitbox.submission import lint as linting
    from kitbox.submission import standing

    place, competition = opened(workspace)
    earlier = standing.sent(place)
    listed = lists.read(competition, decided=decision_file.read(place.decisions))
    findings = linting.lint_file(file, competition, listed, earlier)
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
    from kitbox.submission import marking

    place, competition = opened(workspace)
    scores = marking.mark(file, key, competition, collected(place, competition))
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
