"""The page about results: what an ensemble answers on the holdout, query by query."""

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.embedding import embedder
from kitbox.ensemble.assembly import Member
from kitbox.images.collection import Collection
from kitbox.records import Embeddings, ImageSet, Integers, Progress, Strings, strings
from kitbox.report import (
    cards,
    confusion,
    curves,
    distributions,
    lookalikes,
    members,
    page,
    pictures,
    projection,
    queries,
)
from kitbox.report.members import Alone
from kitbox.report.page import Page, Written
from kitbox.report.queries import Queries
from kitbox.retrieval import suspects
from kitbox.scoring.local import LocalScore
from kitbox.submission import making
from kitbox.submission.making import Recipe
from kitbox.workspace import Workspace

# Confused pairs and suspects that are shown with pictures, and rows of the table of individuals.
_PAIRS = 60
_SUSPECTS = 40
_IDENTITIES = 2000


@dataclass(frozen=True)
class Results:
    """Everything that the page shows, before it is a page."""

    score: LocalScore
    queries: Queries
    alone: tuple[Alone, ...]
    embeddings: Embeddings
    scale: str


def evaluate(
    chosen: Sequence[Member],
    recipe: Recipe,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: embedder.Options,
) -> Generator[Progress, None, Results]:
    """Return what members that have not seen the holdout answer on it, together and alone."""

    def answers(
        of: Sequence[Member], recipe: Recipe
    ) -> Generator[Progress, None, tuple[Results, tuple[int, ...]]]:
        made = yield from making.answered(of, recipe, collection, competition, workspace, options)
        score = made.score()
        asked = queries.of(made.found, score, made.embeddings, made.competition)
        return Results(score, asked, (), made.embeddings, made.scale), made.dims

    together, dims = yield from answers(chosen, recipe)
    alone = []
    for number, member in enumerate(chosen if len(chosen) > 1 else ()):
        yield Progress("score members", number, len(chosen), "members")
        one, _ = yield from answers([member], _alone(recipe, dims[number]))
        alone.append(Alone(member.named.name, member.weight, one.score, one.queries.value))
    return replace(together, alone=tuple(alone))


def _alone(recipe: Recipe, dim: int) -> Recipe:
    """Return the recipe for one member, which may have fewer dimensions than a PCA is to leave."""
    way = recipe.way
    return replace(recipe, way=replace(way, dims=way.dims and min(way.dims, dim)))


def write(
    found: Results,
    chosen: Sequence[Member],
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    path: Path,
    *,
    about: Sequence[str] = (),
) -> Generator[Progress, None, Written]:
    """Write the page of results; yields Progress."""
    asked, doubtful = found.queries, _suspects(found, collection, competition)
    yield Progress("draw the map", 0, 1, "maps")
    rows, dots = _map(found, collection)
    shown = _shown(asked, found.embeddings.image_ids[rows], doubtful, collection)
    plugin = chosen[0].named.plugin
    margin = plugin.crop_margin if plugin.crop else None
    made = yield from pictures.of([shown], workspace, margin)
    number = {str(image_id): place for place, image_id in enumerate(shown.image_ids.tolist())}
    data = cards.packs(asked, shown, made.shapes, competition, found.alone)
    data["map"] = {"image": [number[image] for image in dots.pop("ids")], **dots}
    curve = curves.draw([curves.of(member) for member in chosen])
    values = _values(found, number, competition) | {
        "about": [*about, _made_of(chosen)],
        "curves": curve,
        "suspects": lookalikes.cards(doubtful, number, _photographs(collection)),
    }
    values["sections"] = list(
        page.sections(
            ("scores", "Scores", True),
            ("queries", "Queries", True),
            ("pairs", "Pairs", values["pairs"]),
            ("identities", "Individuals", True),
            ("similarities", found.scale.capitalize(), True),
            ("map", "Map", True),
            ("members", "Members", values["members"]),
            ("training", "Training", curve),
            ("suspects", "Suspects", values["suspects"]),
        )
    )
    yield Progress("write the page", 0, 1, "pages")
    content = Page("results.html", values, data, made, ("results.js", "map.js"))
    return page.write(content, path)


def _map(found: Results, collection: Collection) -> tuple[Integers, dict[str, list[Any]]]:
    """Return the rows of the embeddings on the map, and their ids, places and sides."""
    ids = found.embeddings.image_ids
    asked = np.isin(ids, collection.holdout.query.image_ids)
    rows = projection.sample(asked)
    places = projection.flat(found.embeddings.of(ids[rows]))
    x, y = np.round(1000 * places).astype(int).T.tolist()
    return rows, {
        "ids": ids[rows].tolist(),
        "x": x,
        "y": y,
        "query": asked[rows].astype(int).tolist(),
    }


def _suspects(
    found: Results, collection: Collection, competition: Competition
) -> list[suspects.Suspect]:
    labelled = collection.labelled
    assert labelled.labels is not None  # noqa: S101  labelled images
    known, unknown = found.embeddings.of(labelled.image_ids), competition.images.unknown_label
    fine, groups = collection.decided.fine, protocol.groups_of(labelled, competition)
    return suspects.find(known, labelled.labels, unknown, fine, groups=groups)[:_SUSPECTS]


def _photographs(collection: Collection) -> Counter[str]:
    assert collection.labelled.labels is not None  # noqa: S101  labelled images
    return Counter(collection.labelled.labels.tolist())


def _shown(
    asked: Queries, on_map: Strings, doubtful: Sequence[suspects.Suspect], collection: Collection
) -> ImageSet:
    """Return the images that the page has pictures of: queries, then what they are near to."""
    near = np.unique(asked.near.answers)
    parts = [asked.images, near[near != ""], on_map, strings([*lookalikes.pictured(doubtful)])]
    ids = list(dict.fromkeys(str(image) for part in parts for image in part.tolist()))
    return collection.labelled.of(np.array(ids, dtype=np.str_))


def _values(found: Results, number: dict[str, int], competition: Competition) -> dict[str, Any]:
    asked, score = found.queries, found.score
    each = confusion.identities(asked)
    metric = competition.metric
    on_map = min(len(found.embeddings), projection.MOST)
    return {
        "title": f"{competition.name}: {score.scores.main.value:.4f} {metric}",
        "kind": "results on the local holdout",
        "heading": f"{competition.name}: {metric} {score.scores.main.value:.4f}",
        "scores": distributions.score_rows(score.scores),
        "scores_told": "On labelled photographs that no member has seen. The interval draws "
        "individuals, not photographs; the competition's own metric comes first.",
        "threshold_told": distributions.threshold_told(score),
        "queries_told": cards.told(asked, competition),
        "pairs": [cards.pair(pair, asked, number) for pair in confusion.pairs(asked)[:_PAIRS]],
        "identities": each[:_IDENTITIES],
        "identities_left": max(len(each) - _IDENTITIES, 0),
        "open": cards.left_open(asked),
        "metric": metric,
        "identities_told": f"{len(each)} individuals were asked about. 'score' is the mean "
        f"{asked.metric} of an individual's queries; 'taken for' is who most often came first "
        "instead.",
        "identity_heads": ("individual", "in gallery", "queries", "right", "score", "taken for"),
        "similarity_plots": distributions.plots_of(asked, score, found.scale),
        "scale": found.scale,
        "map_told": f"{on_map:,} of {len(found.embeddings):,} labelled photographs, laid out by "
        "t-SNE so that what the ensemble finds alike lies together; queries have a coloured edge.",
        "members": [one.name for one in found.alone],
        **members.values(found.alone, score, asked, metric),
    }


def _made_of(chosen: Sequence[Member]) -> str:
    if len(chosen) == 1:
        return f"Made of {chosen[0].named.name}."
    total = sum(member.weight for member in chosen)
    shares = [f"{member.named.name} ({member.weight / total:.0%})" for member in chosen]
    return f"Made of {', '.join(shares)}."
