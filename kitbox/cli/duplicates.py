"""The command about pictures that are there twice, and labels that are probably wrong."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from kitbox.cli.options import (
    DeviceOption,
    JsonOption,
    PrecisionOption,
    WorkersOption,
    WorkspaceOption,
    loaded,
)
from kitbox.cli.terminal import (
    follow,
    load_collection,
    open_workspace,
    print_json,
    print_line,
    print_table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kitbox.dataset.collection import Collection
    from kitbox.dataset.duplicates import DuplicateGroup, ImagePool
    from kitbox.dataset.label_errors import LabelSuspect
    from kitbox.dataset.near_duplicates import Pairs
    from kitbox.embedding.embedder import EmbedOptions
    from kitbox.records import Embeddings
    from kitbox.workspace import Workspace


def duplicates(
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="More plugins after --by.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Trained plugins that judge likeness.", metavar="NAME..."),
    ] = None,
    drop_copies: Annotated[
        bool, typer.Option("--drop-copies", help="Decide to drop all but the first of copies.")
    ] = False,
    show: Annotated[int, typer.Option("--show", help="Rows of each print_table.", min=0)] = 10,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Find copies, near-duplicates, leaks, and labels that are probably wrong.

    With --by trained networks find neighbours that are more alike than strangers get, look-alikes
    of two labels, and labels in two clusters. Tables with rows for decisions.csv go to
    .kitbox/reports; --drop-copies writes such rows itself, for labelled images of equal bytes and
    one label.

    \b
    Example:
      kitbox data duplicates --by tf_efficientnet_lite0_96x192 mobilenetv2_100_128x256
    """
    from kitbox.competition import decisions, protocol
    from kitbox.dataset import label_errors
    from kitbox.dataset.duplicates import (
        LinkKind,
        copy_pairs,
        drop_decisions,
        gather_pool,
        group_images,
        near_duplicate_pairs,
    )
    from kitbox.embedding import embedder
    from kitbox.report import duplicates_page

    place, competition = open_workspace(workspace)
    collection = load_collection(place, competition)
    pool = follow(gather_pool(place, competition, collection))
    unknown, fine = competition.images.unknown_label, collection.decisions.fine
    links: dict[LinkKind, Pairs] = {
        "copies": copy_pairs(pool),
        "near-duplicates": near_duplicate_pairs(pool, competition.holdout.near_duplicate_bits),
    }
    names, judged, limit = [*(by or []), *(more or [])], None, None
    if names:
        options = embedder.EmbedOptions(device=device, precision=precision, workers=workers)
        embeddings = _embedded(names, pool, collection, place, options)
        known = embeddings.of(collection.labelled.image_ids)
        labels = collection.labelled.labels
        groups = protocol.search_groups(collection.labelled, competition)
        near = label_errors.nearest(known, labels, unknown, groups)
        limit = near.limit
        links["neighbours"] = label_errors.similar_pairs(
            embeddings, limit, protocol.search_groups(pool.images, competition)
        )
        judged = label_errors.find_suspects(known, labels, unknown, fine, near, groups)
    found = group_images(pool, links, fine)
    images_of = Counter(pool.labels[pool.sides != "left out"].tolist())
    paths = duplicates_page.save(place, found, judged, images_of, unknown)
    stage = duplicates_page.write(
        found, judged, pool, unknown, place, place.reports / "duplicates.html"
    )
    paths.append(follow(stage).path)
    dropped = drop_decisions(pool, fine) if drop_copies else []
    decisions.add(place.decisions, *dropped)
    if as_json:
        figures = {"images": len(pool.images), "by": names, "limit": limit}
        written = {
            "dropped": [duplicates_page.decision_row(of) for of in dropped],
            "files": [str(p) for p in paths],
        }
        print_json(figures | duplicates_page.as_json(found, judged, images_of, unknown) | written)
    else:
        _show(found, judged, images_of, unknown, show)
    if limit is not None:
        print_line(f"neighbours: above {limit:.3f}, which one stranger's image in all would reach")
    elif not as_json:
        print_line("'kitbox data duplicates --by NAME' looks at the pictures, by a trained plugin")
    if drop_copies:
        print_line(f"added {len(dropped)} drop decisions to {place.decisions}")
    for path in paths:
        print_line(f"written to {path}")


def _embedded(
    names: list[str],
    pool: "ImagePool",
    collection: "Collection",
    place: "Workspace",
    options: "EmbedOptions",
) -> "Embeddings":
    from kitbox.ensemble import members, meta_embedding

    found, behind = members.for_inspection(place, loaded(names, place), collection)
    if behind:
        print_line(f"trained on images, labels or boxes as they were before: {', '.join(behind)}")
    assembled = follow(
        meta_embedding.assemble(
            found,
            pool.parts,
            collection.labelled.image_ids,
            collection,
            place,
            whiten=None,
            options=options,
        )
    )
    return assembled.embeddings.of(pool.images.image_ids)


def _show(
    groups: "Sequence[DuplicateGroup]",
    judged: "Sequence[LabelSuspect] | None",
    images_of: Counter[str],
    unknown: str | None,
    most: int,
) -> None:
    """Print what was counted, the most urgent groups, and the most suspicious labels."""
    from kitbox.report import duplicates_page

    counted = duplicates_page.counts(groups, judged or ())
    print_table(("found", "groups"), [(name, str(count)) for name, count in counted.items()])
    urgent = duplicates_page.by_urgency(groups)[:most]
    if urgent:
        rows = [
            (
                group.kind,
                _some(group.images),
                _some(tuple(dict.fromkeys(filter(None, group.labels)))),
                _some(tuple(dict.fromkeys(group.sides))),
                _rows(
                    [
                        duplicates_page.decision_row(decision)
                        for decision in duplicates_page.advice(group, unknown)
                    ]
                ),
            )
            for group in urgent
        ]
        print_table(("most urgent", "images", "labels", "sides", "a decision might be"), rows)
    if judged and most:
        rows_of_suspects = [
            (
                suspect.kind,
                _some(suspect.images),
                _some(suspect.labels),
                f"{suspect.similarity:.3f}",
                f"{suspect.evidence:.3f}",
                _rows(
                    [
                        duplicates_page.decision_row(of)
                        for of in duplicates_page.advice_of(suspect, images_of)
                    ]
                ),
            )
            for suspect in judged[:most]
        ]
        print_table(
            (
                "most suspicious",
                "images",
                "labels",
                "similarity",
                "evidence",
                "a decision might be",
            ),
            rows_of_suspects,
        )


def _some(names: tuple[str, ...]) -> str:
    """Return names for a cell: the first three, and how many more."""
    return " ".join(names[:3]) + (f" +{len(names) - 3}" if len(names) > 3 else "")


def _rows(rows: list[str]) -> str:
    return "" if not rows else rows[0] + (f" +{len(rows) - 1}" if len(rows) > 1 else "")
