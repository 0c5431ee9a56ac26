"""The page about results: what an ensemble answers on the holdout, query by query."""

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.dataset import label_errors
from kitbox.dataset.collection import Collection
from kitbox.embedding import embedder
from kitbox.ensemble.answers import EnsembleOptions, answer_holdout
from kitbox.ensemble.members import Member
from kitbox.errors import KitboxError
from kitbox.plugin import discovery
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.plugin import Plugin
from kitbox.records import Embeddings, Integers, LabelledImages, Progress, Strings, strings
from kitbox.report import (
    duplicates_page,
    page,
    plots,
    query_results,
    result_tables,
    training_curves,
)
from kitbox.report.page import Page, WrittenPage
from kitbox.report.query_results import QueryResults
from kitbox.report.result_tables import MemberResult
from kitbox.scoring.local_score import LocalScore
from kitbox.submission import leaderboard, receipt
from kitbox.workspace import Workspace

# Confused pairs and suspects that are shown with pictures, and rows of the table of individuals.
_PAIRS = 60
_SUSPECTS = 40
_IDENTITIES = 2000


@dataclass(frozen=True)
class HoldoutResults:
    """Everything that the page shows, before it is a page."""

    score: LocalScore
    queries: QueryResults
    alone: tuple[MemberResult, ...]
    embeddings: Embeddings
    scale: str


def evaluate(
    chosen: Sequence[Member],
    recipe: EnsembleOptions,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: embedder.EmbedOptions,
) -> Generator[Progress, None, HoldoutResults]:
    """Return what members that have not seen the holdout answer on it, together and alone."""

    def answers(
        of: Sequence[Member], recipe: EnsembleOptions
    ) -> Generator[Progress, None, tuple[HoldoutResults, tuple[int, ...]]]:
        made = yield from answer_holdout(of, recipe, collection, competition, workspace, options)
        score = made.score()
        asked = query_results.collect_results(made.found, score, made.competition)
        return HoldoutResults(score, asked, (), made.embeddings, made.scale), made.dims

    together, dims = yield from answers(chosen, recipe)
    alone = []
    for number, member in enumerate(chosen if len(chosen) > 1 else ()):
        yield Progress("score members", number, len(chosen), "members")
        one, _ = yield from answers([member], _alone(recipe, dims[number]))
        alone.append(MemberResult(member.named.name, member.weight, one.score, one.queries.value))
    return replace(together, alone=tuple(alone))


def _alone(recipe: EnsembleOptions, dim: int) -> EnsembleOptions:
    """Return the recipe for one member, which may have fewer dimensions than a PCA is to leave."""
    way = recipe.way
    return replace(recipe, way=replace(way, dims=way.dims and min(way.dims, dim)))


def write(
    found: HoldoutResults,
    chosen: Sequence[Member],
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    path: Path,
    *,
    about: Sequence[str] = (),
) -> Generator[Progress, None, WrittenPage]:
    """Write the page of results; yields Progress."""
    asked, doubtful = found.queries, _suspects(found, collection, competition)
    yield Progress("draw the map", 0, 1, "maps")
    rows, dots = _map(found, collection)
    shown = _shown(asked, found.embeddings.image_ids[rows], doubtful, collection)
    plugin = chosen[0].named.plugin
    margin = plugin.crop_margin if plugin.crop else None
    made = yield from page.collect_pictures([shown], workspace, margin)
    number = {str(image_id): place for place, image_id in enumerate(shown.image_ids.tolist())}
    data = result_tables.query_chunks(asked, shown, made.shapes, competition, found.alone)
    data["map"] = {"image": [number[image] for image in dots.pop("ids")], **dots}
    curve = training_curves.draw_curves([training_curves.load_curve(member) for member in chosen])
    values = _values(found, number, competition) | {
        "about": [*about, _made_of(chosen)],
        "curves": curve,
        "suspects": duplicates_page.suspect_cards(doubtful, number, _photographs(collection)),
    }
    values["sections"] = list(
        page.non_empty_sections(
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


def _map(found: HoldoutResults, collection: Collection) -> tuple[Integers, dict[str, list[Any]]]:
    """Return the rows of the embeddings on the map, and their ids, places and sides."""
    ids = found.embeddings.image_ids
    asked = np.isin(ids, collection.holdout.query.image_ids)
    rows = plots.sample_rows(asked)
    places = plots.project(found.embeddings.of(ids[rows]))
    x, y = np.round(1000 * places).astype(int).T.tolist()
    return rows, {
        "ids": ids[rows].tolist(),
        "x": x,
        "y": y,
        "query": asked[rows].astype(int).tolist(),
    }


def _suspects(
    found: HoldoutResults, collection: Collection, competition: Competition
) -> list[label_errors.LabelSuspect]:
    labelled = collection.labelled
    known, unknown = found.embeddings.of(labelled.image_ids), competition.images.unknown_label
    fine, groups = collection.decisions.fine, protocol.search_groups(labelled, competition)
    return label_errors.find_suspects(known, labelled.labels, unknown, fine=fine, groups=groups)[
        :_SUSPECTS
    ]


def _photographs(collection: Collection) -> Counter[str]:
    return Counter(collection.labelled.labels.tolist())


def _shown(
    asked: QueryResults,
    on_map: Strings,
    doubtful: Sequence[label_errors.LabelSuspect],
    collection: Collection,
) -> LabelledImages:
    """Return the images that the page has pictures of: queries, then what they are near to."""
    near = np.unique(asked.near.answers)
    parts = [
        asked.images,
        near[near != ""],
        on_map,
        strings([*duplicates_page.suspect_images(doubtful)]),
    ]
    ids = list(dict.fromkeys(str(image) for part in parts for image in part.tolist()))
    return collection.labelled.of(np.array(ids, dtype=np.str_))


def _values(
    found: HoldoutResults, number: dict[str, int], competition: Competition
) -> dict[str, Any]:
    asked, score = found.queries, found.score
    each = query_results.individual_results(asked)
    metric = competition.metric
    on_map = min(len(found.embeddings), plots.MAX_POINTS)
    return {
        "title": f"{competition.name}: {score.scores.main.value:.4f} {metric}",
        "kind": "results on the local holdout",
        "heading": f"{competition.name}: {metric} {score.scores.main.value:.4f}",
        "scores": result_tables.score_rows(score.scores),
        "scores_told": "On labelled photographs that no member has seen. The interval draws "
        "individuals, not photographs; the competition's own metric comes first.",
        "threshold_told": result_tables.threshold_text(score),
        "queries_told": result_tables.queries_text(asked, competition),
        "pairs": [
            result_tables.pair_card(pair, asked, number)
            for pair in query_results.confused_pairs(asked)[:_PAIRS]
        ],
        "identities": each[:_IDENTITIES],
        "identities_left": max(len(each) - _IDENTITIES, 0),
        "open": result_tables.unscored_name(asked),
        "metric": metric,
        "identities_told": f"{len(each)} individuals were asked about. 'score' is the mean "
        f"{asked.metric} of an individual's queries; 'taken for' is who most often came first "
        "instead.",
        "identity_heads": ("individual", "in gallery", "queries", "right", "score", "taken for"),
        "similarity_plots": result_tables.similarity_plots(asked, score, found.scale),
        "scale": found.scale,
        "map_told": f"{on_map:,} of {len(found.embeddings):,} labelled photographs, laid out by "
        "t-SNE so that what the ensemble finds alike lies together; queries have a coloured edge.",
        "members": [one.name for one in found.alone],
        **result_tables.member_tables(found.alone, score, asked, metric),
    }


def _made_of(chosen: Sequence[Member]) -> str:
    if len(chosen) == 1:
        return f"Made of {chosen[0].named.name}."
    total = sum(member.weight for member in chosen)
    shares = [f"{member.named.name} ({member.weight / total:.0%})" for member in chosen]
    return f"Made of {', '.join(shares)}."


# A file's name may have 255 bytes; names of many plugins are cut.
_LONGEST = 80
_WAYS: dict[str, list[str]] = {
    "embeddings": [],
    "labels": ["Labels are ranked by the mean of the members' similarities."],
    "classifier": ["Labels are ranked by a classifier of the joined embeddings."],
}


@dataclass(frozen=True)
class ResultsRequest:
    """Plugins, and how they are put together; `name` is the page's, `recorded` the receipt's."""

    name: str
    plugins: tuple[NamedPlugin, ...]
    weights: tuple[float, ...] | None
    recipe: EnsembleOptions
    threshold: str | None
    checkpoint: str
    recorded: dict[str, Any] | None = None

    def told(self, members: Sequence[Member], fold: int) -> list[str]:
        """Return what a reader should know of where the page comes from."""
        told = [] if fold == 1 else [f"Fold {fold} of the holdout."]
        if self.recipe.whiten is not None:
            told.append(f"Each member is whitened to {self.recipe.whiten} dimensions.")
        told += _WAYS[self.recipe.way.combine]
        if self.recipe.way.new_label == "learned":
            told.append("Unknown individuals are told by a judge fitted to other queries.")
        if self.checkpoint == "best":
            told.append("By the checkpoints that were best on this very holdout, which flatters.")
        if self.recorded is None:
            return told
        told.append(f"Submission {self.name}, asked of the local holdout.")
        entries = zip(self.recorded["plugins"], members, strict=True)
        others = [e["name"] for e, m in entries if e["scored_checkpoint"] != m.checkpoint.digest]
        if others:
            told.append(f"Trained again since, so that scores may differ: {', '.join(others)}.")
        return told


def resolve_names(
    names: Sequence[str],
    workspace: Workspace,
    weights: Sequence[float] | None,
    recipe: EnsembleOptions,
    threshold: str | None,
    checkpoint: str,
) -> ResultsRequest:
    """Return what is asked for: plugins of these names, or the submission that one word names.

    Raises KitboxError for names that are neither, and for what a submission's
    receipt says already.
    """
    try:
        plugins = tuple(discovery.load(name, workspace) for name in names)
    except KitboxError as error:
        found = _submission(names, workspace)
        if found is None and len(names) == 1 and names[0] not in discovery.plugin_names(workspace):
            raise KitboxError(
                f"{error}; nor is it a submission, 'kitbox leaderboard' lists submissions"
            ) from error
        if found is None:
            raise
        if weights is not None or recipe != EnsembleOptions() or threshold is not None:
            raise KitboxError(
                f"{found.name} has its weights, whitening, way and threshold in its receipt; "
                "leave the options out"
            ) from None
        return found
    name, way = "+".join(names), recipe.way
    marked = [f"w{':'.join(f'{w:g}' for w in weights)}"] if weights else []
    marked += [f"whiten{recipe.whiten}"] if recipe.whiten else []
    marked += [f"{way.combine}{way.dims or ''}"] if way.combine != "embeddings" else []
    marked += [way.new_label] if way.new_label != "threshold" else []
    marked += [f"threshold{threshold}"] if threshold else []
    marked += [checkpoint] if checkpoint != "last" else []
    given = None if weights is None else tuple(weights)
    shown = file_name("_".join([name, *marked]))
    return ResultsRequest(shown, plugins, given, recipe, threshold, checkpoint)


def file_name(name: str) -> str:
    """Return a name as part of a file's: short, and without what a file system minds."""
    plain = "".join(c if c.isalnum() or c in "+-_.=" else "-" for c in name)
    if len(plain) <= _LONGEST:
        return plain
    return f"{plain[:_LONGEST]}_{sha256(name.encode()).hexdigest()[:8]}"


def _submission(names: Sequence[str], workspace: Workspace) -> ResultsRequest | None:
    if len(names) != 1:
        return None
    known = leaderboard.load(workspace)
    ended = [submission for submission in known if submission.endswith(f"_{names[0]}")]
    try:
        name = ended[0] if len(ended) == 1 else leaderboard.find(names[0], known).submission
    except KitboxError:
        return None
    recorded = receipt.load(workspace.submissions / name)
    entries = recorded["plugins"]
    return ResultsRequest(
        name,
        tuple(
            NamedPlugin(e["name"], Plugin.model_validate(e["settings"]), None, "receipt")
            for e in entries
        ),
        tuple(float(entry["weight"]) for entry in entries),
        receipt.recipe_of(recorded),
        _threshold(recorded),
        "best" if any(entry["which"] == "best" for entry in entries) else "last",
        recorded,
    )


def _threshold(recorded: dict[str, Any]) -> str | None:
    """Return the receipt's rule as --threshold says it; None where there is none to say."""
    if not recorded.get("threshold_evidence"):
        return None
    rule = recorded["competition"].get("threshold", {})
    match rule.get("rule"):
        case "fixed":
            return str(rule["similarity"])
        case "share":
            return f"{100 * rule['share']:.10g}%"
        case _:
            return "best"
