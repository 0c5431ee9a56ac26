"""The page about results: an ensemble's answers on the holdout, query by query."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.dataset import label_errors
from kitbox.dataset.collection import Collection
from kitbox.dataset.label_errors import LabelSuspect
from kitbox.embedding import imported_embeddings
from kitbox.ensemble.answers import answer_holdout
from kitbox.ensemble.ensemble import Ensemble, EnsembleOptions
from kitbox.ensemble.members import Member, MemberSource
from kitbox.ensemble.recipe import Recipe
from kitbox.errors import KitboxError
from kitbox.files import read_text
from kitbox.formats import csv_format
from kitbox.plugin import discovery
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import (
    Embeddings,
    Integers,
    LabelledImages,
    Progress,
    Ranking,
    Strings,
    strings,
)
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
from kitbox.scoring import metrics, pair_similarity
from kitbox.scoring.local_score import LocalScore
from kitbox.submission import leaderboard, receipt
from kitbox.workspace import Workspace

# Confused pairs and suspects with pictures, and rows of the table of individuals.
_MAX_PAIRS = 60
_MAX_SUSPECTS = 40
_MAX_INDIVIDUALS = 2000
# Images of each query that are shown of pairs.
_SHOWN_PAIRS = 20
_MAX_SUBMITTED = 2000
# A file name may have 255 bytes; the names of many plugins are cut.
_MAX_NAME = 80
_COMBINE_NOTES: dict[str, list[str]] = {
    "embeddings": [],
    "labels": ["Labels are ranked by the mean of the members' similarities."],
    "classifier": ["Labels are ranked by a classifier of the meta-embeddings."],
}


# The test photographs of a page that is not about a submission.
NOT_SUBMITTED: dict[str, Any] = {"rows": [], "left": 0, "text": ""}


@dataclass(frozen=True, kw_only=True)
class ResultsRequest:
    """Plugins to report on and how to combine them, as named by the user or read from a receipt.

    `name` becomes part of the page's file name; `receipt` is that of a submission.
    """

    name: str
    sources: tuple[MemberSource, ...]
    recipe: Recipe
    receipt: dict[str, Any] | None = None

    def notes(self, members: Sequence[Member], fold: int) -> list[str]:
        """Return sentences about the origin of the results, for the head of the page."""
        notes = [] if fold == 1 else [f"Fold {fold} of the holdout."]
        options = self.recipe.options()
        if options.whiten is not None:
            most = f"{options.whiten} dimensions, or as many as it can have"
            notes.append(f"Each member is whitened to {most}.")
        notes += [f"{m.name} is whitened to {m.whiten} dimensions." for m in members if m.whiten]
        notes += _COMBINE_NOTES[options.combine]
        if options.unknown == "learned":
            notes.append("Unknown individuals are recognised by a model fitted to other queries.")
        if options.rerank:
            notes.append(f"Neighbours are re-ranked by {', then '.join(options.rerank)}.")
        if options.match:
            fused = f", joined with the similarity by {options.fusion}" if options.fusion else ""
            notes.append(f"Keypoints are matched by {' and '.join(options.match)}{fused}.")
        if options.balance:
            notes.append(f"Answers are balanced by {options.balance}.")
        if self.recipe.checkpoint == "best":
            notes.append(
                "The checkpoints are those that scored best on this holdout, so that the scores "
                "are too high."
            )
        if self.receipt is None:
            return notes
        notes.append(f"Submission {self.name}, answered on the local holdout.")
        entries = zip(self.receipt["plugins"], members, strict=True)
        others = [e["name"] for e, m in entries if e.get("scored_checkpoint", m.digest) != m.digest]
        if others:
            notes.append(f"Trained again since, so that scores may differ: {', '.join(others)}.")
        return notes


def resolve_names(recipe: Recipe, workspace: Workspace) -> ResultsRequest:
    """Return the request for the plugins of a recipe, or for the submission that one name means.

    Raises KitboxError for names that are neither.
    """
    names = recipe.names
    try:
        sources = tuple(recipe.sources(workspace))
    except KitboxError as error:
        submission = _find_submission(names, workspace)
        known = [*discovery.plugin_names(workspace), *imported_embeddings.names(workspace)]
        if submission is None and len(names) == 1 and names[0] not in known:
            raise KitboxError(
                f"{error}; nor is it a submission, 'kitbox leaderboard' lists submissions"
            ) from error
        if submission is None:
            raise
        return submission
    return ResultsRequest(
        name=file_name("_".join(_name_parts(recipe))), sources=sources, recipe=recipe
    )


def refuse_options(names: Sequence[str], given: Sequence[str], workspace: Workspace) -> None:
    """Raise KitboxError for `given` options beside a submission, whose receipt has them."""
    if not given:
        return
    try:
        Recipe.of(names).sources(workspace)
    except KitboxError:
        submission = _find_submission(names, workspace)
        if submission is not None:
            raise KitboxError(
                f"{submission.name} has its weights, views, whitening, combination, re-ranking and "
                "threshold in its receipt; leave the options out"
            ) from None


def _name_parts(recipe: Recipe) -> list[str]:
    """Return the names of a recipe's members, and what differs from the default."""
    options, weights, whitening = recipe.options(), recipe.weights, recipe.whitening
    parts = ["+".join(recipe.names)]
    parts += [f"w{':'.join(f'{w:g}' for w in weights)}"] if {*weights} != {1.0} else []
    views = list(dict.fromkeys(view for member in recipe.members for view in member.views))
    parts += ["+".join(views)] if views else []
    parts += [f"whiten{options.whiten}"] if options.whiten else []
    parts += [f"whiten{':'.join(str(dims or 0) for dims in whitening)}"] if whitening else []
    method = f"{options.combine}{options.dims or ''}"
    parts += [method] if options.combine != "embeddings" else []
    parts += [options.unknown] if options.unknown != "threshold" else []
    stages = (*options.rerank, *options.match, options.fusion, options.balance)
    parts += [stage for stage in stages if stage is not None]
    parts += [f"threshold{recipe.threshold}"] if recipe.threshold else []
    return parts + ([recipe.checkpoint] if recipe.checkpoint != "last" else [])


def submitted_answers(
    wanted: ResultsRequest,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
) -> dict[str, Any]:
    """Return the test photographs of a submission with their answers, as the page shows them."""
    if wanted.receipt is None:
        return NOT_SUBMITTED
    package = receipt.SubmissionFolder(workspace.submissions / wanted.name)
    if not package.csv.is_file():  # it is not under version control
        missing = f"{package.csv.name} is no longer beside its receipt"
        return NOT_SUBMITTED | {"text": f"{missing}, so that its answers are not shown."}
    try:
        ranking = _read_answers(read_text(package.csv), collection, competition)
    except KitboxError as error:  # changed by hand, or kitbox.toml has another format now
        return NOT_SUBMITTED | {"text": f"{package.csv.name} cannot be read: {error}."}
    image_of = {
        query: image
        for search in collection.searches
        for query, image in zip(
            search.query_ids.tolist(), search.query_images.tolist(), strict=True
        )
    }
    rows = []
    for query, answers in zip(ranking.query_ids.tolist(), ranking.answers.tolist(), strict=True):
        image = image_of.get(query, query)
        first, *others = [answer for answer in answers if answer] or ["no answer"]
        rest = f" and {len(others) - 4} more" if len(others) > 4 else ""
        name = query if image == query else f"{query}, {image}"
        rows.append((name, first, " · ".join(others[:4]) + rest))
    text = (
        f"{len(rows)} test photographs, and the answers of {package.csv.name} to them. Their right "
        "answers are not known here; the scores above are those of the holdout."
    )
    note = csv_format.scale_note(competition)
    return {
        "rows": rows[:_MAX_SUBMITTED],
        "left": max(len(rows) - _MAX_SUBMITTED, 0),
        "text": text if note is None else f"{text} {note[0].upper()}{note[1:]}.",
    }


def _read_answers(text: str, collection: Collection, competition: Competition) -> Ranking:
    """Return the answers of a submission; of pairs the most similar images of each query."""
    if competition.task.answers != "pairs":
        return csv_format.read(text, competition)
    pairs = protocol.submitted_pairs(collection.searches, competition)
    scores = csv_format.read_pairs(text, pairs, competition)
    return pair_similarity.best_pairs(pairs, scores, _SHOWN_PAIRS)


def file_name(name: str) -> str:
    """Return a name that is short enough for a file and has only safe characters."""
    safe = "".join(c if c.isalnum() or c in "+-_.=" else "-" for c in name)
    if len(safe) <= _MAX_NAME:
        return safe
    return f"{safe[:_MAX_NAME]}_{sha256(name.encode()).hexdigest()[:8]}"


def _find_submission(names: Sequence[str], workspace: Workspace) -> ResultsRequest | None:
    if len(names) != 1:
        return None
    known = leaderboard.load(workspace)
    matches = [submission for submission in known if submission.endswith(f"_{names[0]}")]
    try:
        name = matches[0] if len(matches) == 1 else leaderboard.find(names[0], known).submission
    except KitboxError:
        return None
    recorded = receipt.load(workspace.submissions / name)
    entries = recorded["plugins"]
    plugins = tuple(receipt.source_of(entry, workspace) for entry in entries)
    networks = (one.plugin for one in plugins if isinstance(one, NamedPlugin))
    discovery.read_code(networks, workspace)
    return ResultsRequest(
        name=name,
        sources=plugins,
        recipe=receipt.recipe_of(recorded),
        receipt=recorded,
    )


@dataclass(frozen=True)
class HoldoutResults:
    """The results of an ensemble on the holdout, and of its members alone if it has several.

    `scale` names what answers are ranked by, such as similarity or probability.
    """

    score: LocalScore
    queries: QueryResults
    members: tuple[MemberResult, ...]
    embeddings: Embeddings
    scale: str


def evaluate(ensemble: Ensemble) -> Generator[Progress, None, HoldoutResults]:
    """Return the holdout results of an ensemble not trained on it, together and of each member."""

    def answer(
        part: Ensemble,
    ) -> Generator[Progress, None, tuple[HoldoutResults, tuple[int, ...]]]:
        found = yield from answer_holdout(part)
        score, meta = found.score(), found.meta_embedding
        queries = query_results.collect_results(found.answers, score, found.competition)
        return HoldoutResults(score, queries, (), meta.embeddings, found.scale), meta.dims

    together, dims = yield from answer(ensemble)
    members, alone = ensemble.members, []
    for number, member in enumerate(members if len(members) > 1 else ()):
        yield Progress("score members", number, len(members), "members")
        options = _limit_dims(ensemble.options, dims[number])
        one, _ = yield from answer(replace(ensemble, members=[member], options=options))
        alone.append(MemberResult(member.full_name, member.weight, one.score, one.queries.values))
    return replace(together, members=tuple(alone))


def _limit_dims(options: EnsembleOptions, dim: int) -> EnsembleOptions:
    """Return options for one member, which may have fewer dimensions than its PCA should keep."""
    return replace(options, dims=options.dims and min(options.dims, dim))


def write(
    results: HoldoutResults,
    members: Sequence[Member],
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    path: Path,
    *,
    about: Sequence[str] = (),
    submitted: Mapping[str, Any] = NOT_SUBMITTED,
) -> Generator[Progress, None, WrittenPage]:
    """Write the page of results; yields Progress."""
    suspects = _find_suspects(results, collection, competition)
    yield Progress("draw the map", 0, 1, "maps")
    map_rows, map_points = _lay_out_map(results, collection)
    map_ids = results.embeddings.image_ids[map_rows]
    images = _pictured_images(results.queries, map_ids, suspects, collection)
    pictures = yield from page.collect_pictures([images], workspace, members[0].crop_margin)
    numbers = {str(image_id): number for number, image_id in enumerate(images.image_ids.tolist())}
    data = result_tables.query_chunks(
        results.queries, images, pictures.aspects, competition, results.members
    )
    data["map"] = {"image": [numbers[image] for image in map_ids.tolist()], **map_points}
    curves = training_curves.draw_curves(training_curves.load_curves(members))
    values = _values(results, numbers, competition) | {
        "about": [*about, _members_text(members)],
        "curves": curves,
        "submitted": submitted,
        "suspects": duplicates_page.suspect_cards(suspects, numbers, _label_counts(collection)),
    }
    values["sections"] = list(
        page.non_empty_sections(
            ("scores", "Scores", True),
            ("queries", "Queries", True),
            ("pairs", "Pairs", values["pairs"]),
            ("individuals", "Individuals", True),
            ("similarities", results.scale.capitalize(), True),
            ("map", "Map", True),
            ("members", "Members", values["members"]),
            ("submitted", "Test photographs", submitted["text"]),
            ("training", "Training", curves),
            ("suspects", "Suspects", values["suspects"]),
        )
    )
    yield Progress("write the page", 0, 1, "pages")
    content = Page(
        template="results.html",
        values=values,
        data=data,
        pictures=pictures,
        scripts=("results.js", "map.js"),
    )
    return page.write(content, path)


def _values(
    results: HoldoutResults, numbers: dict[str, int], competition: Competition
) -> dict[str, Any]:
    queries, score, metric = results.queries, results.score, competition.metric
    individuals = query_results.individual_results(queries)
    pairs = query_results.confused_pairs(queries)[:_MAX_PAIRS]
    on_map = min(len(results.embeddings), plots.MAX_POINTS)
    return {
        "title": f"{competition.name}: {score.scores.main.value:.4f} {metrics.title(metric)}",
        "kind": "results on the local holdout",
        "heading": f"{competition.name}: {metrics.title(metric)} {score.scores.main.value:.4f}",
        "scores": result_tables.score_rows(score.scores),
        "scores_text": "On labelled photographs that no member was trained on. The interval "
        "resamples individuals, not photographs; the competition's own metric comes first.",
        "threshold_text": result_tables.threshold_text(score),
        "queries_text": result_tables.queries_text(queries, competition),
        "pairs": [result_tables.pair_card(pair, queries, numbers) for pair in pairs],
        "individuals": individuals[:_MAX_INDIVIDUALS],
        "individuals_left": max(len(individuals) - _MAX_INDIVIDUALS, 0),
        "individuals_text": f"{len(individuals)} individuals have queries. 'score' is the mean "
        f"{metrics.title(queries.metric)} of an individual's queries; 'confused with' is the "
        "label that most often came first instead.",
        "individual_heads": (
            "individual", "in gallery", "queries", "right", "score", "confused with",
        ),
        "unscored": result_tables.unscored_name(queries),
        "metric": metrics.title(metric),
        "similarity_plots": result_tables.similarity_plots(queries, score, results.scale),
        "scale": results.scale,
        "map_text": f"{on_map:,} of {len(results.embeddings):,} labelled photographs, laid out by "
        "t-SNE so that similar embeddings lie together; queries have a coloured edge.",
        "members": [one.name for one in results.members],
        **result_tables.member_tables(results.members, score, queries, metric),
    }  # fmt: skip


def _members_text(members: Sequence[Member]) -> str:
    if len(members) == 1:
        return f"Plugin: {members[0].full_name}."
    total = sum(member.weight for member in members)
    shares = [f"{member.full_name} ({member.weight / total:.0%})" for member in members]
    return f"Plugins: {', '.join(shares)}."


def _lay_out_map(
    results: HoldoutResults, collection: Collection
) -> tuple[Integers, dict[str, list[Any]]]:
    """Return the rows of the embeddings on the map, their coordinates, and whether each is a query.

    Coordinates are whole thousandths.
    """
    ids = results.embeddings.image_ids
    is_query = np.isin(ids, collection.holdout.query.image_ids)
    rows = plots.sample_rows(is_query)
    coordinates = plots.project(results.embeddings.of(ids[rows]))
    x, y = np.round(1000 * coordinates).astype(int).T.tolist()
    return rows, {"x": x, "y": y, "query": is_query[rows].astype(int).tolist()}


def _find_suspects(
    results: HoldoutResults, collection: Collection, competition: Competition
) -> list[LabelSuspect]:
    labelled = collection.labelled
    suspects = label_errors.find_suspects(
        results.embeddings.of(labelled.image_ids),
        labelled.labels,
        competition.images.unknown_label,
        fine=collection.decisions.fine,
        groups=protocol.search_groups(labelled, competition),
    )
    return suspects[:_MAX_SUSPECTS]


def _label_counts(collection: Collection) -> Counter[str]:
    return Counter(collection.labelled.labels.tolist())


def _pictured_images(
    queries: QueryResults,
    on_map: Strings,
    suspects: Sequence[LabelSuspect],
    collection: Collection,
) -> LabelledImages:
    """Return the images that the page has pictures of: queries first, then their neighbours."""
    near = np.unique(queries.nearest.answers)
    suspect_ids = strings([*duplicates_page.suspect_images(suspects)])
    parts = [queries.images, near[near != ""], on_map, suspect_ids]
    ids = list(dict.fromkeys(str(image) for part in parts for image in part.tolist()))
    return collection.labelled.of(np.array(ids, dtype=np.str_))
