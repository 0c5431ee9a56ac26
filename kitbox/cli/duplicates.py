"""The command that finds duplicate images and suspect labels: data duplicates."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from kitbox.cli.options import (
    BackendOptions,
    DeviceOptions,
    JsonOption,
    WorkspaceOption,
    load_members,
    with_records,
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

    from kitbox.competition.settings import Competition
    from kitbox.dataset.collection import Collection
    from kitbox.dataset.duplicates import DuplicateGroup, ImagePool
    from kitbox.dataset.label_errors import LabelSuspect
    from kitbox.dataset.near_duplicates import Pairs
    from kitbox.embedding.embedder import EmbedOptions
    from kitbox.records import Embeddings
    from kitbox.workspace import Workspace


@with_records
def duplicates(
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="More plugins after --by.")
    ] = None,
    *,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Compare images by these trained plugins.", metavar="NAME..."),
    ] = None,
    drop_copies: Annotated[
        bool,
        typer.Option("--drop-copies", help="Add decisions that drop all copies but the first."),
    ] = False,
    show: Annotated[int, typer.Option("--show", help="Rows to show of each table.", min=0)] = 10,
    device: DeviceOptions,
    backend: BackendOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Find copies, near-duplicates, leaks and suspect labels.

    With --by, trained networks also find neighbours that are more similar than images of different
    individuals get, look-alikes of two labels, and labels in two clusters. Tables with rows for
    decisions.csv go to .kitbox/reports; --drop-copies adds such rows itself, for labelled images
    of equal bytes and one label.

    \b
    Example:
      kitbox data duplicates --by tf_efficientnet_lite0_96x192 mobilenetv2_100_128x256
    """
    from kitbox.competition import protocol
    from kitbox.dataset import label_errors
    from kitbox.dataset.duplicates import (
        LinkKind,
        copy_pairs,
        drop_decisions,
        gather_pool,
        group_images,
        near_duplicate_pairs,
    )
    from kitbox.decisions import decision_file
    from kitbox.report import duplicates_page

    workspace, competition = open_workspace(folder)
    with backend.open():
        collection = load_collection(workspace, competition)
        pool = follow(gather_pool(workspace, competition, collection))
    unknown, fine = competition.images.unknown_label, collection.decisions.fine
    links: dict[LinkKind, Pairs] = {
        "copies": copy_pairs(pool),
        "near-duplicates": near_duplicate_pairs(pool, competition.holdout.near_duplicate_bits),
    }
    names, suspects, limit = [*(by or []), *(more or [])], None, None
    if names:
        embeddings = _embed(names, pool, collection, competition, workspace, device.for_embedding())
        known = embeddings.of(collection.labelled.image_ids)
        labels = collection.labelled.labels
        groups = protocol.search_groups(collection.labelled, competition)
        near = label_errors.nearest(known, labels, unknown, groups)
        limit = near.limit
        links["neighbours"] = label_errors.similar_pairs(
            embeddings, limit, protocol.search_groups(pool.images, competition)
        )
        suspects = label_errors.find_suspects(
            known, labels, unknown, fine=fine, near=near, groups=groups
        )
    found = group_images(pool, links, fine)
    images_of = Counter(pool.labels[pool.sides != "left out"].tolist())
    paths = duplicates_page.save(workspace, found, suspects, images_of, unknown)
    stage = duplicates_page.write(
        found, suspects, pool, unknown, workspace, workspace.reports / "duplicates.html"
    )
    with backend.open():
        paths.append(follow(stage).path)
    dropped = drop_decisions(pool, fine) if drop_copies else []
    decision_file.add(workspace.decisions, *dropped)
    if as_json:
        figures = {"images": len(pool.images), "by": names, "limit": limit}
        written = {
            "dropped": [duplicates_page.format_decision(decision) for decision in dropped],
            "files": [str(p) for p in paths],
        }
        print_json(figures | duplicates_page.to_json(found, suspects, images_of, unknown) | written)
    else:
        _print_tables(found, suspects, images_of, unknown, show)
    if limit is not None:
        print_line(
            f"neighbours: above {limit:.3f}, which an image of another individual reaches by chance"
        )
    elif not as_json:
        print_line("'kitbox data duplicates --by NAME' compares the images, by a trained plugin")
    if drop_copies:
        print_line(f"added {len(dropped)} drop decisions to {workspace.decisions}")
    for path in paths:
        print_line(f"written to {path}")


def _embed(
    names: list[str],
    pool: "ImagePool",
    collection: "Collection",
    competition: "Competition",
    workspace: "Workspace",
    options: "EmbedOptions",
) -> "Embeddings":
    from kitbox.ensemble import members, meta_embedding
    from kitbox.ensemble.ensemble import Ensemble

    found, outdated = members.for_inspection(workspace, load_members(names, workspace), collection)
    if outdated:
        print_line(f"trained on images, labels or boxes as they were before: {', '.join(outdated)}")
    assembled = follow(
        meta_embedding.assemble(
            Ensemble(
                members=found,
                collection=collection,
                competition=competition,
                workspace=workspace,
                embed_options=options,
            ),
            pool.parts,
            collection.labelled.image_ids,
        )
    )
    return assembled.embeddings.of(pool.images.image_ids)


def _print_tables(
    groups: "Sequence[DuplicateGroup]",
    suspects: "Sequence[LabelSuspect] | None",
    images_of: Counter[str],
    unknown: str | None,
    most: int,
) -> None:
    """Print the counts, the most urgent groups and the most suspicious labels."""
    from kitbox.report import duplicates_page

    counted = duplicates_page.count_undecided(groups, suspects or ())
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
                        duplicates_page.format_decision(decision)
                        for decision in duplicates_page.group_suggestions(group, unknown)
                    ]
                ),
            )
            for group in urgent
        ]
        print_table(("most urgent", "images", "labels", "sides", "a decision might be"), rows)
    if suspects and most:
        rows_of_suspects = [
            (
                suspect.kind,
                _some(suspect.images),
                _some(suspect.labels),
                f"{suspect.similarity:.3f}",
                f"{suspect.evidence:.3f}",
                _rows(
                    [
                        duplicates_page.format_decision(of)
                        for of in duplicates_page.suspect_suggestions(suspect, images_of)
                    ]
                ),
            )
            for suspect in suspects[:most]
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
