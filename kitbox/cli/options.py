"""What commands about scores let a person choose: plugins, weights, whitening, the threshold."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from kitbox.competition.settings import Competition
    from kitbox.ensemble.fusion import Way
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.scoring.local_score import LocalScore
    from kitbox.workspace import Workspace


NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME...", help="Trained plugins.")]
WeightsOption = Annotated[
    str | None, typer.Option("--weights", help="A weight for each plugin, as 2,1.", metavar="W,W")
]
WhitenOption = Annotated[
    int | None,
    typer.Option("--whiten", help="PCA-whiten each plugin's block to DIM.", metavar="DIM", min=2),
]
ThresholdOption = Annotated[
    str | None,
    typer.Option(
        "--threshold",
        help="Where answers end: best, a similarity as 0.35, or a share unknown as 16.5%.",
        metavar="T",
    ),
]
CombineOption = Annotated[
    Literal["embeddings", "labels", "classifier"],
    typer.Option(
        "--combine",
        help="Join embeddings, average the members' similarities of labels, or fit a classifier.",
    ),
]
DimsOption = Annotated[
    int | None,
    typer.Option("--dims", help="Of the classifier's PCA; default: 2048.", metavar="DIM", min=2),
]
NewLabelOption = Annotated[
    Literal["threshold", "learned"],
    typer.Option("--new-label", help="What finds unknown individuals; learned: on the holdout."),
]


def way_of(combine: str, dims: int | None, new_label: str) -> "Way":
    """Return the way in which members answer together."""
    from kitbox.ensemble.fusion import Way

    return Way(combine, dims, new_label)  # type: ignore[arg-type]


def loaded(names: list[str], place: "Workspace") -> "list[NamedPlugin]":
    """Return the plugins of these names."""
    from kitbox.plugin import discovery

    return [discovery.load(name, place) for name in names]


def numbers(text: str | None) -> list[float] | None:
    """Return the weights that --weights names."""
    from kitbox.errors import KitboxError

    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise KitboxError(f"--weights {text} is not numbers with commas, as 2,1") from error


def with_threshold(competition: "Competition", text: str | None) -> "Competition":
    """Return the competition with the threshold that --threshold asks for."""
    from kitbox.errors import KitboxError

    if text is None:
        return competition
    if not competition.uses_threshold:
        raise KitboxError(
            f"the answers of {competition.name} have no threshold; leave --threshold out"
        )
    asked = competition.threshold.override(text, competition.task.similarity_range)
    return competition.model_copy(update={"threshold": asked})


def tell_threshold(found: "LocalScore") -> None:
    """Print the thresholds that a local score was taken with, and what they do."""
    from kitbox.cli.terminal import print_line
    from kitbox.scoring import local_score

    for sentence in local_score.threshold_sentences(found):
        print_line(sentence)


WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace", help="The workspace; default: the nearest kitbox.toml.", metavar="DIR"
    ),
]


JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where networks run.")
]


PrecisionOption = Annotated[
    Literal["auto", "32", "bf16", "16"],
    typer.Option("--precision", help="Of networks; auto: half where the device has it."),
]


WorkersOption = Annotated[
    int | None, typer.Option("--workers", help="Processes that read images.", min=0)
]


FoldOption = Annotated[
    str, typer.Option("--fold", help="One of holdout.folds, or all.", metavar="K")
]


CheckpointOption = Annotated[
    Literal["last", "best"], typer.Option("--checkpoint", help="best: on the holdout.")
]


def parse_folds(text: str, competition: "Competition") -> list[int]:
    """Return the folds of --fold."""
    from kitbox.errors import KitboxError

    folds = competition.holdout.folds
    if text == "all":
        return list(range(1, folds + 1))
    if not text.isdigit() or not 1 <= int(text) <= folds:
        raise KitboxError(
            f"--fold {text}: kitbox.toml has holdout.folds = {folds}; give 1 to {folds}, or all"
        )
    return [int(text)]
