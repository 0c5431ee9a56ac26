"""The command that says what is wrong with images and lists."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from kitbox.cli.terminal import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from kitbox.images.integrity import Checked, Finding

# What kitbox does, as a person reads it.


def check(
    kind: Annotated[
        str | None, typer.Option("--kind", help="List every finding of this kind.", metavar="K")
    ] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Say what is wrong with the images and lists, by file and line, and what kitbox does about it.

    Reads every list and every image, and changes none. The rules are [check] and images.broken in
    kitbox.toml: check.drop leaves images of some kinds out, check.stop refuses them, check.keep
    goes on.

    \b
    Example:
      kitbox data check --kind blurred
    """
    from kitbox.cli.terminal import emit, follow, opened, say
    from kitbox.images import integrity
    from kitbox.report import findings as pages

    _refuse_unknown(kind)
    place, competition = opened(workspace)
    found = follow(integrity.check(place, competition))
    path = place.reports / "check.csv"
    integrity.write(found.findings, path)
    stage = pages.write(
        found.findings, found.image_sets, place, path.with_suffix(".html"), checked=found.images
    )
    page = follow(stage).path
    shown = [finding for finding in found.findings if kind in (None, finding.kind)]
    if as_json:
        emit(
            {
                "images": found.images,
                "counts": Counter(finding.kind for finding in found.findings),
                "findings": [vars(finding) for finding in shown],
                "csv": str(path),
                "page": str(page),
            }
        )
        return
    if kind is None:
        _summary(found)
    else:
        _all(shown)
    say(f"{found.images} images read, {len(found.findings)} findings; written to {path}")
    say(f"with pictures: {page}")
    stopping = sum(finding.action == "stop" for finding in found.findings)
    if stopping:
        say(
            f'{stopping} of them stop every run; mend them, or set broken = "drop" in kitbox.toml '
            "where it helps"
        )


def _refuse_unknown(kind: str | None) -> None:
    """Raise KitboxError for a word that is no kind of finding, before anything is read."""
    from kitbox.competition.rules import KINDS
    from kitbox.errors import KitboxError, did_you_mean

    if kind is not None and kind not in KINDS:
        near = did_you_mean(kind, KINDS)
        raise KitboxError(f"--kind {kind}: no such kind{near}; there are {', '.join(KINDS)}")


def _summary(found: "Checked") -> None:
    """Print a row for each kind of finding."""
    from kitbox.cli.terminal import table
    from kitbox.competition.rules import KINDS
    from kitbox.report import findings

    rows = []
    for kind, part in found.of_kind().items():
        example = f"{part[0].where}: {part[0].what}"
        rows.append((kind, str(len(part)), example, findings.done(part), KINDS[kind].advice))
    if rows:
        table(("kind", "count", "first", "kitbox", "you can"), rows, left=(0, 2, 3, 4))


def _all(part: "list[Finding]") -> None:
    """Print a row for each finding of one kind."""
    from kitbox.cli.terminal import table
    from kitbox.report import findings

    rows = [(f.where, f.what, findings.does(f)) for f in part]
    table(("where", "what", "kitbox"), rows, left=(0, 1, 2))
