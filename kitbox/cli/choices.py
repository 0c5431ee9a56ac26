"""What commands about scores let a person choose: plugins, weights, whitening, the threshold."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from kitbox.competition.settings import Competition
    from kitbox.ensemble.ways import Way
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.scoring.local import LocalScore
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
    from kitbox.ensemble.ways import Way

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
    if not competition.decides:
        raise KitboxError(
            f"the answers of {competition.name} have no threshold; leave --threshold out"
        )
    asked = competition.threshold.asked_for(text, competition.task.similarities)
    return competition.model_copy(update={"threshold": asked})


def tell_threshold(found: "LocalScore") -> None:
    """Print the thresholds that a local score was taken with, and what they do."""
    from kitbox.cli.terminal import say
    from kitbox.scoring import telling

    for sentence in telling.threshold(found):
        say(sentence)
