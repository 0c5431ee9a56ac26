"""Scores a submission by true labels, as a leaderboard would."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kitbox import tables
from kitbox.competition import protocol
from kitbox.competition.protocol import PairList
from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.errors import KitboxError, more
from kitbox.files import read_text
from kitbox.formats import csv_format
from kitbox.formats.csv_format import SubmittedRow
from kitbox.records import (
    ImageSet,
    Integers,
    LabelledImages,
    Ranking,
    Scores,
    Search,
    Strings,
    rows_of,
    strings,
)
from kitbox.scoring import metrics
from kitbox.scoring.bootstrap import score, scores
from kitbox.scoring.ground_truth import (
    GroundTruth,
    metric_outcome,
    related_outcomes,
    relevance,
)
from kitbox.scoring.outcomes import BalancedAccuracy, Mean, MeanOverIndividuals, Outcome

TRUTH_COLUMNS = ("image", "label", "individual")
# The halves of a leaderboard, and the rows that it does not score, by their names at Kaggle.
HALVES = ("Public", "Private")
_IGNORED = "Ignored"
# In the landmark hosts' solutions the right images of a query that is not scored.
_NOTHING = "None"
# Before an answer that is no image of the query's gallery: no id begins so.
_OUTSIDE = "\0"


@dataclass(frozen=True, kw_only=True)
class SubmissionScores:
    """The scores of a submission over all queries, of each half of the key, and what was left out.

    `halves` are "Public" and "Private" where the key has these.
    """

    scores: Scores
    halves: Mapping[str, Scores]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return metric → score, then the name of each half → the same."""
        return self.scores.as_json() | {name: own.as_json() for name, own in self.halves.items()}


class _TrueAnswers(NamedTuple):
    """The labels of an image that a scorer takes, who it shows, and its half of the leaderboard."""

    labels: tuple[str, ...]
    individual: str
    usage: str


@dataclass(frozen=True)
class _Answers:
    """A submission's answers to all queries, one row each.

    A repeated answer is '' in the ranking; `first (q, w)` is the column where it is named first.
    """

    ranking: Ranking
    first: Integers

    def take(self, rows: Integers) -> "_Answers":
        ranking = self.ranking
        taken = Ranking(ranking.query_ids[rows], ranking.answers[rows], ranking.similarity[rows])
        return _Answers(taken, self.first[rows])


def score_submission(
    path: Path,
    truth: Path,
    competition: Competition,
    collection: Collection,
    *,
    lenient: bool = False,
) -> SubmissionScores:
    """Return the competition's metric of a submission, by the true labels of the test images.

    `truth` is a CSV of image, label, individual: the label that a scorer expects, and the
    individual, of every test image and every image of an index. Several labels of an image, in as
    many rows or with blanks between them, are all right. Instead it may be a solution file as the
    organisers have it: the first two columns of a submission, with all right answers to each query.
    A column Usage puts an image into the "Public" or the "Private" half, or leaves it out
    ("Ignored").

    Of pairs, a solution has the columns of a submission, with 1 for two images of one individual
    and 0 for others; individuals are then the groups that such pairs join. A half has its own
    pairs.

    A query without a row scores 0. With `lenient`, faults count as in the official scorer: a
    repeated answer takes its rank and is right once, but adds nothing to a set of matches; in the
    long layout each of its rows counts, and a query without a row is left out.

    Raises KitboxError for a submission in another format or with unknown queries, for one with
    repeated answers unless `lenient`, and for a truth with missing images.
    """
    test = collection.test
    if test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    for file in (path, truth):
        if not file.is_file():
            raise KitboxError(f"there is no file {file}")
    if competition.task.answers == "pairs":
        return _score_pairs(path, truth, competition, collection)
    ground_truth, usage = _read_truth(truth, test, collection, competition)
    answers = _read(path, competition, ground_truth.query_ids, lenient=lenient)
    if competition.task.finds_images:
        inside = _in_gallery(answers.ranking, collection.searches)
        answers = replace(answers, ranking=inside)
    rows, notes = np.flatnonzero(usage != _IGNORED), []
    if lenient and competition.submission.layout == "long":
        answered = np.asarray((answers.ranking.similarity > -np.inf).any(axis=1))
        silent = rows[~answered[rows]]
        rows = rows[answered[rows]]
        if len(silent):
            notes.append(
                f"{len(silent)} of {len(silent) + len(rows)} queries have no row; the official "
                "scorer leaves them out, and without --lenient they score 0"
            )
    halves = {name: rows[usage[rows] == name] for name in HALVES}
    return SubmissionScores(
        scores=_score(answers.take(rows), ground_truth.take(rows), competition),
        halves={
            name: _score(answers.take(half), ground_truth.take(half), competition)
            for name, half in halves.items()
            if len(half)
        },
        notes=tuple(notes),
    )


def _score_pairs(
    path: Path, truth: Path, competition: Competition, collection: Collection
) -> SubmissionScores:
    """Return the identity-balanced mAP of a submission of pairs, over all and over each half."""
    pairs = protocol.submitted_pairs(collection.searches, competition)
    try:
        scores = csv_format.read_pairs(read_text(path), pairs, competition)
    except KitboxError as error:
        raise KitboxError(
            f"{path}: {error}; 'kitbox submission lint {path}' lists all findings"
        ) from error
    header = tables.read_header(truth)
    if set(competition.header) <= set(header) and not set(TRUTH_COLUMNS) <= set(header):
        hits, individuals, usage = _read_pair_solution(truth, pairs, competition)
    else:
        ground_truth, of_query = _read_truth(truth, collection.test, collection, competition)  # type: ignore[arg-type]
        hits, individuals = _pair_hits(pairs, ground_truth), ground_truth.identity
        usage = of_query[pairs.numbered_queries]
    query_ids = np.concatenate([search.query_ids for search in collection.searches])

    def score_of(rows: Integers) -> Scores:
        values = metrics.pair_average_precision(
            pairs.numbered_queries[rows], scores[rows], hits[rows]
        )
        counted = np.flatnonzero(~np.isnan(values))
        outcome = MeanOverIndividuals(
            query_ids=query_ids[counted], values=values[counted], identity=individuals[counted]
        )
        of_query = dict(zip(query_ids.tolist(), individuals.tolist(), strict=True))
        return Scores({competition.metric: score(outcome, of_query)})

    halves = {name: np.flatnonzero(usage == name) for name in HALVES}
    return SubmissionScores(
        scores=score_of(np.flatnonzero(usage != _IGNORED)),
        halves={name: score_of(rows) for name, rows in halves.items() if len(rows)},
        notes=(),
    )


def _pair_hits(pairs: PairList, ground_truth: GroundTruth) -> metrics.Hits:
    """Return which pairs (p,) show one individual."""
    query = ground_truth.identity
    hits = np.zeros(len(pairs), dtype=np.bool_)
    for number, search in enumerate(pairs.searches):
        shown = strings([ground_truth.label_of[image] for image in search.gallery_images.tolist()])
        own = pairs.search == number
        individual = query[pairs.numbered_queries[own]]
        hits[own] = (individual == shown[pairs.gallery[own]]) & (individual != "")
    return hits


def _read_pair_solution(
    truth: Path, pairs: PairList, competition: Competition
) -> tuple[metrics.Hits, Strings, Strings]:
    """Return which pairs (p,) show one individual, that of each query, and the usage (p,)."""
    listed = list(_rows_with_usage(truth, competition.header))
    names = [strings([row[name] for _, _, row in listed]) for name in competition.header[:-1]]
    row, repeat = csv_format.pair_rows(pairs, names)
    wrong = np.flatnonzero((row < 0) | repeat)
    if len(wrong) or len(row) < len(pairs):
        what = "has not one row for each pair"
        where = f"{truth} line {listed[wrong[0]][0]}" if len(wrong) else str(truth)
        raise KitboxError(f"the solution {what}", where=where, fix="get the whole file")
    hits, usage = np.zeros(len(pairs), dtype=np.bool_), np.full(len(pairs), "", dtype="<U7")
    for place, (line, half, values) in zip(row.tolist(), listed, strict=True):
        same = csv_format.parse_number(values[competition.header[-1]])
        if same not in (0, 1):
            raise KitboxError(
                f"'{values[competition.header[-1]]}' is neither 0 nor 1",
                where=f"{truth} line {line}",
            )
        hits[place], usage[place] = same == 1, half
    return hits, _joined_individuals(pairs, hits), usage


def _joined_individuals(pairs: PairList, hits: metrics.Hits) -> Strings:
    """Return the individual (q,) of each query: a number for each group that hits join."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    images = np.concatenate([search.query_images for search in pairs.searches])
    names = np.unique(np.concatenate([images, *(s.gallery_images for s in pairs.searches)]))
    first = rows_of(images, names)[pairs.numbered_queries[hits]]
    second = rows_of(pairs.gallery_images[hits], names)
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(names), len(names)))
    _, group = connected_components(graph, directed=False)
    return strings([f"individual {number}" for number in group[rows_of(images, names)].tolist()])


def _score(answers: _Answers, ground_truth: GroundTruth, competition: Competition) -> Scores:
    """Return the scores of some queries, the competition's own metric first."""
    ranking = answers.ranking
    own = _official_outcome(answers, ground_truth, competition)
    outcomes: dict[str, Outcome] = {competition.metric: own}
    outcomes |= related_outcomes(ranking, ground_truth, competition)
    if competition.task.answers == "images":
        counted = np.flatnonzero(ground_truth.relevant > 0)
        hits = relevance(ranking, ground_truth)[counted]
        outcomes["recall_at_1"] = Mean(
            ground_truth.query_ids[counted], metrics.recall_at_k(hits, 1)
        )
    individuals = ground_truth.individual_of
    return Scores(scores(outcomes, individuals))


def _official_outcome(
    answers: _Answers, ground_truth: GroundTruth, competition: Competition
) -> Outcome:
    """Return the outcome of the competition's metric, as a leaderboard has it.

    The scores of the long layout are ranks, so equal ones are ties; and a group without known or
    without unknown queries scores 0.
    """
    own = metric_outcome(answers.ranking, ground_truth, competition)
    if isinstance(own, BalancedAccuracy):
        return replace(own, absent_is_zero=True)
    if competition.submission.layout != "long":
        return own
    counted = np.flatnonzero(ground_truth.relevant > 0)
    hits = np.take_along_axis(relevance(answers.ranking, ground_truth), answers.first, axis=1)
    precision = metrics.average_precision_at_k(
        hits[counted],
        ground_truth.relevant[counted],
        competition.task.k,
        answers.ranking.similarity[counted],
    )
    return Mean(ground_truth.query_ids[counted], precision)


def _in_gallery(ranking: Ranking, searches: tuple[Search, ...]) -> Ranking:
    """Return the ranking with the answers outside of the query's own gallery as names of no image.

    They match nothing, keep their ranks and count in the size of a set.
    """
    galleries = [frozenset(search.gallery_images.tolist()) for search in searches]
    gallery_of = {
        query: gallery
        for search, gallery in zip(searches, galleries, strict=True)
        for query in search.query_ids.tolist()
    }
    rows = zip(ranking.query_ids.tolist(), ranking.answers.tolist(), strict=True)
    answers = [
        [a if a in gallery_of[query] or not a else f"{_OUTSIDE}{a}" for a in answers]
        for query, answers in rows
    ]
    return replace(ranking, answers=np.array(answers, dtype=np.str_))


def _read(path: Path, competition: Competition, query_ids: Strings, *, lenient: bool) -> _Answers:
    """Return a submission's answers to the queries; raise KitboxError for unknown queries."""
    try:
        rows = csv_format.read_submission(read_text(path), competition)
        width = max(len(row.answers) for row in rows)
        first = np.tile(np.arange(width), (len(rows), 1))
        if lenient:
            rows = [_without_repeats(row, own) for row, own in zip(rows, first, strict=True)]
        ranking = csv_format.to_ranking(rows)
        others = ranking.query_ids[~np.isin(ranking.query_ids, query_ids)].tolist()
        if others:
            raise KitboxError(f"'{others[0]}' is not a query{more(len(others) - 1)}")
    except KitboxError as error:
        raise KitboxError(
            f"{path}: {error}; 'kitbox submission lint {path}' lists all findings"
        ) from error
    places = rows_of(query_ids, ranking.query_ids)
    return _Answers(csv_format.rows_for_queries(ranking, query_ids), first[places])


def _without_repeats(row: SubmittedRow, first: Integers) -> SubmittedRow:
    """Return a row with '' where an answer is repeated, and note in `first` where it was named."""
    if len(set(row.answers)) == len(row.answers):
        return row
    column: dict[str, int] = {}
    answers = []
    for place, answer in enumerate(row.answers):
        first[place] = column.setdefault(answer, place)
        answers.append(answer if first[place] == place else "")
    return row._replace(answers=answers)


def _read_truth(
    truth: Path, test: ImageSet, collection: Collection, competition: Competition
) -> tuple[GroundTruth, Strings]:
    """Return the right answers to all queries, and the usage (q,) of each."""
    header, own = set(tables.read_header(truth)), competition.submission.header[:2]
    columns = TRUTH_COLUMNS
    if len(own) == 2 and set(own) <= header and not set(TRUTH_COLUMNS) <= header:
        if competition.task.finds_images:
            return _read_solution(truth, collection.searches, competition)
        columns = (own[0], own[1], own[1])
    key = _read_key(truth, columns, competition)
    query, expected = _labelled(test, key, truth, competition)
    index = collection.index
    if index is not None:
        index, _ = _labelled(index, key, truth, competition)
    gallery = protocol.leaderboard_gallery(query, collection.labelled, index, competition).labelled
    ground_truth = GroundTruth.of_searches(
        collection.searches, query, expected, gallery, competition
    )
    usage = strings([key[image].usage for image in ground_truth.images.tolist()])
    return _with_alternatives(ground_truth, key), usage


def _read_key(
    truth: Path, columns: tuple[str, str, str], competition: Competition
) -> dict[str, _TrueAnswers]:
    """Return image → its true answers, from columns of images, labels and individuals."""
    labels_answer = competition.task.answers in ("labels", "label")
    words = competition.submission.layout in ("joined", "scored") and labels_answer
    key: dict[str, _TrueAnswers] = {}
    for line, half, row in _rows_with_usage(truth, columns):
        image, label, individual = (row[name] for name in columns)
        read = competition.images.read_label
        label = read(label.strip()) if words else read(label)
        several = words and label != competition.images.unknown_label
        labels = tuple(map(read, label.split())) if several else (label,)
        if columns[1] == columns[2]:
            individual = next(iter(labels), "")
        if image in key:
            before = key[image]
            if not labels_answer and (labels, individual) != (before.labels, before.individual):
                raise KitboxError(
                    f"'{image}' has a second row; {competition.task.answers} are scored by the "
                    "one individual that an image shows",
                    where=f"{truth} line {line}",
                    fix="remove one row",
                )
            labels, individual = before.labels + labels, before.individual
        key[image] = _TrueAnswers(tuple(dict.fromkeys(labels)), individual, half)
    return key


def _read_solution(
    truth: Path, searches: tuple[Search, ...], competition: Competition
) -> tuple[GroundTruth, Strings]:
    """Return the right answers that the organisers' solution lists, and the usage of each query.

    Raises KitboxError for a query that does not exist, and for one without a row, unless each row
    has one answer.
    """
    columns, layout = competition.submission.header[:2], competition.submission.layout
    query_ids = np.concatenate([search.query_ids for search in searches])
    known = set(query_ids.tolist())
    matches: dict[str, frozenset[str]] = {}
    usage: dict[str, str] = {}
    for line, half, row in _rows_with_usage(truth, columns):
        query, images = row[columns[0]], row[columns[1]]
        if query not in known:
            raise KitboxError(f"'{query}' is not a query", where=f"{truth} line {line}")
        own = images.split() if layout == "joined" else [images]
        usage[query] = _IGNORED if images == _NOTHING else half
        matches[query] = matches.get(query, frozenset()) | (frozenset(own) - {"", _NOTHING})
    missing = [query for query in query_ids.tolist() if query not in matches]
    if missing and layout == "joined":
        raise KitboxError(f"{truth} has no row of query '{missing[0]}'{more(len(missing) - 1)}")
    matches |= dict.fromkeys(missing, frozenset())
    none = np.full(len(query_ids), "")
    ground_truth = GroundTruth(
        query_ids=query_ids,
        images=np.concatenate([search.query_images for search in searches]),
        expected=none,
        identity=none,
        groups=none,
        relevant=np.array([len(matches[query]) for query in query_ids.tolist()], dtype=np.int64),
        label_of={},
        matches=matches,
    )
    return ground_truth, strings([usage.get(query, "") for query in query_ids.tolist()])


def _rows_with_usage(
    truth: Path, columns: tuple[str, ...]
) -> Iterator[tuple[int, str, dict[str, str]]]:
    """Yield line, usage and values of a CSV's rows; its usage is '' where it has none."""
    usage = next((name for name in tables.read_header(truth) if name.casefold() == "usage"), None)
    for line, row in tables.read_rows(truth, (*columns, *([usage] if usage else []))):
        half = row[usage].strip().capitalize() if usage else ""
        if half not in ("", *HALVES, _IGNORED):
            raise KitboxError(
                f"'{row[usage or '']}' is no usage",
                where=f"{truth} line {line}",
                fix="write Public, Private or Ignored",
            )
        yield line, half, row


def _labelled(
    images: ImageSet, key: Mapping[str, _TrueAnswers], truth: Path, competition: Competition
) -> tuple[LabelledImages, Strings]:
    """Return images with the labels of their individuals, and the label that a scorer expects."""
    missing = [image for image in images.image_ids.tolist() if image not in key]
    if missing:
        raise KitboxError(f"{truth} has no row of image '{missing[0]}'{more(len(missing) - 1)}")
    unknown = competition.images.unknown_label
    found = [key[image] for image in images.image_ids.tolist()]
    expected = [next(iter(one.labels), "") for one in found]
    # unknown individuals keep their own names, known ones have the labels of the lists
    names = [
        one.individual if label in ("", unknown) else label
        for one, label in zip(found, expected, strict=True)
    ]
    return images.with_labels(strings(names)), strings(expected)


def _with_alternatives(ground_truth: GroundTruth, key: Mapping[str, _TrueAnswers]) -> GroundTruth:
    """Return the ground truth with the labels after the first where a query has several."""
    further = [key[image].labels[1:] for image in ground_truth.images.tolist()]
    width = max(map(len, further))
    if not width:
        return ground_truth
    filled = [[*labels, *[""] * (width - len(labels))] for labels in further]
    return replace(ground_truth, alternatives=np.array(filled, dtype=np.str_))
