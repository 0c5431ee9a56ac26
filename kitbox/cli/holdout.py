"""The command about the local test: how it is split off, and how far it resembles the real one."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.terminal import (
    DeviceOption,
    JsonOption,
    PrecisionOption,
    WorkersOption,
    WorkspaceOption,
)

if TYPE_CHECKING:
    from kitbox.competition.settings import Competition
    from kitbox.embedding.embedder import Options
    from kitbox.images.collection import Collection
    from kitbox.scoring.resemblance import Resemblance
    from kitbox.workspace import Workspace


def holdout(
    by: Annotated[
        str | None,
        typer.Option(
            "--by", help="A plugin trained on the holdout: do queries look like the test?"
        ),
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show the split that local scores use, and how far it resembles the real test.

    Writes it to holdout.csv. With --by a network that has seen neither judges queries and test
    images: whether a classifier can tell them apart, and how many of the test are unknown.

    \b
    Example:
      kitbox data holdout --by tf_efficientnet_lite0_96x192
    """
    from kitbox.cli.terminal import collected, emit, opened, say, table
    from kitbox.scoring import imitation

    place, competition = opened(workspace)
    collection = collected(place, competition)
    figures = imitation.counts(collection, competition)
    seen = None
    if by is not None:
        from kitbox.embedding import embedder

        options = embedder.Options(device=device, precision=precision, workers=workers)
        seen = _judged(by, collection, competition, place, options)
        figures += imitation.judgements(seen)
    if as_json:
        emitted: dict[str, Any] = {
            figure.name: {"holdout": figure.holdout, "test": figure.test} for figure in figures
        }
        if seen is not None:
            emitted["separability"] = seen.separability.as_json()
            if seen.unknown_share is not None:
                emitted["unknown share, estimated"] = seen.unknown_share.as_json()
        emit(emitted)
    else:
        rows = [(f.name, _shown(f.holdout), _shown(f.test)) for f in figures]
        table(("", "holdout", "test"), rows)
    if seen is not None:
        found = seen.separability
        interval = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
        say(f"area under the ROC curve {interval}: {seen.sentence}")
        for sentence in imitation.advice(seen, competition):
            say(sentence)
    elif collection.test is not None:
        say("'kitbox data holdout --by NAME' looks at the pictures, by a trained plugin")
    say(f"written to {place.holdout}")


def _judged(
    by: str,
    collection: "Collection",
    competition: "Competition",
    place: "Workspace",
    options: "Options",
) -> "Resemblance":
    import numpy as np

    from kitbox.cli.terminal import follow
    from kitbox.embedding import embedder
    from kitbox.ensemble import members
    from kitbox.errors import KitboxError
    from kitbox.plugin import discovery
    from kitbox.records import Embeddings
    from kitbox.scoring import resemblance

    if collection.test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    [member] = members.for_holdout(place, [discovery.load(by, place)], None, collection)
    parts = [
        follow(
            embedder.embed(
                member.named,
                member.checkpoint,
                images,
                place,
                blank=collection.blank,
                options=options,
            )
        )
        for images in (collection.labelled, collection.test)
    ]
    # scenarios may ask about labelled images; each is there once
    ids, rows = np.unique(np.concatenate([part.image_ids for part in parts]), return_index=True)
    both = Embeddings(ids, np.concatenate([part.vectors for part in parts])[rows])
    return resemblance.resemble(both, collection.holdout, collection.test, competition)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)
