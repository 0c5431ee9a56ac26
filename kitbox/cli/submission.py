"""Commands about submissions: submission lint, mark and upload; leaderboard; reproduce."""

import math
import os
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


app = typer.Typer(help="Check, score and upload submissions.", no_args_is_help=True)
leaderboard_app = typer.Typer(invoke_without_command=True)

IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="A submission's folder, or the beginning of its name.")
]
# Findings to print: fixing the first often fixes all.
_SHOWN = 50


@app.command("lint")
def lint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV for the leaderboard.")],
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Check whether the leaderboard would accept a file.

    Exits with 1 if not, and lists the findings by line and column. A warning is about what the
    leaderboard takes, but scores lower than need be.

    \b
    Example:
      kitbox submission lint submissions/2026-01-31_a+b_1f2e3d4c/submission.csv
    """
    from kitbox.competition import lists
    from kitbox.decisions import decision_file
    from kitbox.formats.lint import lint_file
    from kitbox.formats.lint_findings import errors
    from kitbox.submission import leaderboard

    workspace, competition = open_workspace(folder)
    earlier = leaderboard.sent_digests(workspace)
    listed = lists.read(competition, decisions=decision_file.load(workspace.decisions))
    findings = lint_file(file, competition, listed, earlier)
    if as_json:
        print_json([vars(finding) for finding in findings])
    for finding in findings[:_SHOWN]:
        print_line(f"{file} {finding}")
    if len(findings) > _SHOWN:
        print_line(f"{file}: {len(findings) - _SHOWN} more; --json lists them all")
    if errors(findings):
        raise typer.Exit(1)
    warnings = f"{len(findings)} warning{'s' if len(findings) > 1 else ''}, no errors"
    print_line(f"{file}: {warnings if findings else 'no findings'}")


@app.command("mark")
def mark(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV for the leaderboard.")],
    truth: Annotated[
        Path,
        typer.Argument(
            metavar="TRUTH", help="A CSV of image,label,individual, or a solution file."
        ),
    ],
    lenient: Annotated[
        bool,
        typer.Option("--lenient", help="Count repeated answers as the official scorer does."),
    ] = False,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Score a submission by the true labels, as a leaderboard would.

    Images with several true labels have several rows. A column Usage (Public, Private, Ignored)
    gives the score of each half too. The organisers' own solution file is taken as it is.

    \b
    Example:
      kitbox submission mark submissions/2026-01-31_a+b_1f2e3d4c/submission.csv truth.csv
    """
    from kitbox.submission.mark import score_submission

    workspace, competition = open_workspace(folder)
    collection = load_collection(workspace, competition)
    found = score_submission(file, truth, competition, collection, lenient=lenient)
    if as_json:
        print_json(found.as_json())
        return
    print_scores(found.scores)
    for half, scores in found.halves.items():
        print_line(f"{half} half:")
        print_scores(scores)
    for note in found.notes:
        print_line(note)


@app.command("upload")
def upload(
    submission: IdArgument,
    message: Annotated[
        str, typer.Option("--message", help="Text to show at Kaggle; default: note or plugins.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the score.")] = True,
    timeout: Annotated[
        float,
        typer.Option("--timeout", help="Longest wait for the score.", metavar="SECONDS", min=0),
    ] = 900.0,
    again: Annotated[
        bool, typer.Option("--again", help="Send the same submission once more.")
    ] = False,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Send a submission to Kaggle and record its score.

    If it is interrupted, the same command continues; nothing is sent twice.

    \b
    Example:
      kitbox submission upload 2026-01-31_a+b_1f2e3d4c --message "two small networks"
    """
    from kitbox.submission.upload import Pace, upload_submission

    workspace, competition = open_workspace(folder)
    status = follow(
        upload_submission(
            workspace,
            competition,
            submission,
            message=message,
            again=again,
            wait=wait,
            pace=Pace(timeout=timeout),
        )
    )
    if as_json:
        print_json(status.as_json())
    last = status.last
    if last is None or last.outcome != "scored":
        print_line(
            f"{status.submission} is sent; the same command without --no-wait fetches its score"
        )
        return
    hidden = "scored, but Kaggle does not show the score yet"
    shown = hidden if status.public is None else f"public {status.public:g}"
    print_line(
        f"{status.submission}: {shown}"
        f"{'' if status.private is None else f', private {status.private:g}'}"
    )


def bundle(
    submission: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="A submission's folder, or the beginning of its name; default: the newest.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The new folder; default: bundle.", show_default=False),
    ] = None,
    as_zip: Annotated[bool, typer.Option("--zip", help="Write a zip beside the folder.")] = False,
    wheels: Annotated[
        bool, typer.Option("--wheels", help="Get the wheels of all packages with pip.")
    ] = False,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Pack cached embeddings, which save time there.")
    ] = False,
    images: Annotated[
        bool, typer.Option("--images", help="Pack the labelled images, where the kernel has none.")
    ] = False,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Pack a submission for a notebook without internet.

    The same goes for code that runs at the organisers'. The bundle's run.py answers hidden test
    images: it runs 'kitbox ensemble --submit' with the packed networks on the data folder that it
    is given. README.md in it says how to use it.

    \b
    Example:
      kitbox bundle 2026-01-31_a+b_1f2e3d4c --out hotels --zip
    """
    import shutil

    from kitbox.submission import leaderboard
    from kitbox.submission.bundle import BundleOptions, pack
    from kitbox.submission.receipt import SubmissionFolder

    workspace, competition = open_workspace(folder)
    found = leaderboard.load(workspace)
    if not found:
        raise KitboxError("no submission yet; 'kitbox ensemble NAME... --submit' packages one")
    newest = list(found.values())[-1].submission
    name = newest if submission is None else leaderboard.find(submission, found).submission
    packed = follow(
        pack(
            SubmissionFolder(workspace.submissions / name),
            workspace,
            competition,
            out or Path("bundle"),
            BundleOptions(wheels=wheels, embeddings=embeddings, images=images),
        )
    )
    archive = shutil.make_archive(str(packed.folder), "zip", packed.folder) if as_zip else None
    if as_json:
        print_json(
            {
                "folder": str(packed.folder),
                "zip": archive,
                "submission": name,
                "ensemble": list(packed.arguments),
                "megabytes": round(packed.megabytes, 3),
                "notes": list(packed.notes),
            }
        )
        return
    print_line(f"packed {name}: {packed.folder} ({packed.megabytes:.1f} MB)")
    if archive is not None:
        print_line(f"zip: {archive}")
    for note in packed.notes:
        print_line(note)
    print_line("in the kernel: python run.py --data DATA --out submission.csv")


@leaderboard_app.callback()
def show_leaderboard(
    context: typer.Context, as_json: JsonOption = False, folder: WorkspaceOption = None
) -> None:
    """List submissions with their local and leaderboard scores.

    From three submissions with both scores on, it also shows how well local scores predict the
    leaderboard.

    \b
    Example:
      kitbox leaderboard
    """
    if context.invoked_subcommand is not None:
        if folder is not None:
            os.environ["KITBOX_WORKSPACE"] = str(folder)
        return
    from kitbox.submission import leaderboard, ledger

    workspace = find_workspace(folder)
    found = list(leaderboard.load(workspace).values())
    damaged = ledger.load(workspace).damaged
    _, mistakes = ledger.entries_from_receipts(workspace)
    metric = next((status.metric for status in reversed(found) if status.metric), "")
    pairs = leaderboard.score_pairs(found, metric)
    measured = leaderboard.measure_agreement(pairs)
    if as_json:
        print_json(
            {
                "metric": metric,
                "submissions": [status.as_json() for status in found],
                "pairs": len(pairs),
                "agreement": None if measured is None else measured.as_json(),
                "damaged_lines": list(damaged),
                "damaged_receipts": [str(mistake) for mistake in mistakes],
            }
        )
    elif found:
        print_table(
            ("submission", "made from", f"local {metric}", "public", "private", "sent"),
            [_cells(status, metric) for status in found],
        )
    else:
        print_line("no submission yet; 'kitbox ensemble NAME... --submit' packages one")
    if found and not as_json:
        print_line(leaderboard.too_few_pairs(len(pairs)) if measured is None else str(measured))
    for line in damaged:
        print_line(
            f"{ledger.path_of(workspace)} line {line} is damaged and left out; correct or remove it"
        )
    for mistake in mistakes:
        print_line(f"a damaged receipt: {mistake}")


@leaderboard_app.command("record", context_settings={"ignore_unknown_options": True})
def record(
    submission: IdArgument,
    score: Annotated[
        float, typer.Argument(metavar="SCORE", help="The public score of the leaderboard.")
    ],
    private: Annotated[
        float | None,
        typer.Option("--private", help="The private score of the leaderboard.", metavar="S"),
    ] = None,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Record a leaderboard score by hand.

    Higher is better, in the leaderboard's own unit.

    \b
    Example:
      kitbox leaderboard record 2026-01-31_a+b_1f2e3d4c 0.8125 --private 0.8034
    """
    from kitbox.submission import leaderboard, ledger

    workspace = find_workspace(folder)
    name = leaderboard.find(submission, leaderboard.load(workspace)).submission
    for given in (score, private):
        if given is not None and not math.isfinite(given):
            raise KitboxError(f"{given} is not a score; give what the leaderboard shows")
    ledger.append(workspace, "scored", name, public=score, private=private, source="by hand")
    if as_json:
        print_json(leaderboard.load(workspace)[name].as_json())
    print_line(f"{name}: {score:g}{'' if private is None else f', private {private:g}'}")


def reproduce(
    receipt: Annotated[Path, typer.Argument(metavar="RECEIPT", help="receipt.json or its folder.")],
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train the networks again from the receipt.")
    ] = False,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Write and run code of the receipt. Read it first."),
    ] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Make a submission again from its receipt, and compare.

    Shows what is equal and what differs. Exits with 1 if the submission differs. A receipt holds
    settings, which run nothing; code of others that it needs is run with --trust only.

    \b
    Example:
      kitbox reproduce submissions/2026-01-31_a+b_1f2e3d4c
    """
    from kitbox.submission import reproduction

    workspace, competition = open_workspace(folder)
    with reproduction.empty_cache(workspace) as fresh:
        collection = load_collection(fresh, competition)
    found = follow(
        reproduction.reproduce(
            receipt,
            collection,
            competition,
            workspace,
            retrain=retrain,
            trust=trust,
            device=device,
        )
    )
    if as_json:
        print_json([vars(c) | {"equal": c.equal} for c in found.comparisons])
    else:
        differing = [c for c in found.comparisons if not c.equal]
        equal = len(found.comparisons) - len(differing)
        print_line(f"equal: {equal} of {len(found.comparisons)} values compared")
        if differing:
            print_table(
                ("differs", "recorded", "again"),
                [(c.what, c.recorded[:60], c.again[:60]) for c in differing],
            )
    for line in found.notes:
        print_line(line)
    if found.same_csv:
        print_line("the submission is the same, byte for byte")
        return
    original = (receipt if receipt.is_dir() else receipt.parent) / "submission.csv"
    if original.exists():
        count = reproduction.rows_that_differ(found.text, original.read_text(encoding="utf-8"))
        print_line(f"the submission differs in {count} rows of {found.text.count(chr(10))}")
    raise typer.Exit(1)


def _cells(status: "SubmissionStatus", metric: str) -> tuple[str, ...]:
    local = status.scores.get(metric)
    if local is None:
        shown = "" if status.scores else "no holdout"
    else:
        shown = f"{local['value']:.4f} ({local['low']:.4f} – {local['high']:.4f})"
    last = status.last
    sent = status.sent_at[:16].replace("T", " ")
    if last is not None and last.outcome in ("open", "refused", "failed"):
        sent = {"open": "unknown", "refused": "refused", "failed": "failed"}[last.outcome]
    elif not sent and status.source:
        sent = status.source
    return (
        status.submission,
        status.note or "+".join(status.plugins),
        shown,
        "" if status.public is None else f"{status.public:g}",
        "" if status.private is None else f"{status.private:g}",
        sent,
    )
