"""Query results: rankings, hits and outcomes are those of the score."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.competition.settings import Competition
from kitbox.records import Embeddings, Holdout, LabelledImages, strings
from kitbox.report import plots, query_results, result_tables
from kitbox.report.query_results import RIGHT, UNSCORED, WRONG, QueryResults
from kitbox.retrieval.neighbour_graph import neighbour_graphs
from kitbox.scoring import local_score
from tests.circle import at_angles, competition, image_set, placed

UNKNOWN = "new_whale"
# Two queries of known individuals, and one of an individual that is not in the gallery.
TRAIN = {"0": "Ahab", "20": "Ahab", "90": "Boo", "120": "Cleo", "200": UNKNOWN}
QUERY = {"3": "Ahab", "110": "Boo", "260": "Dora"}
ANSWERS = ["Ahab", "Boo", UNKNOWN]


def answered(
    embeddings: Embeddings, split: Holdout, task: Competition
) -> local_score.HoldoutAnswers:
    graphs = neighbour_graphs(embeddings, local_score.holdout_searches(split, task))
    return local_score.answer_queries(graphs, split, task)


def results_of(
    train: dict[str, str], query: dict[str, str], answers: list[str], task: Competition
) -> tuple[QueryResults, local_score.LocalScore]:
    """Return the results of queries on the unit circle, and their score."""
    searched = {"train": train, "train+test": train | query}[task.task.gallery]
    split = Holdout(*(image_set(part) for part in (train, query, searched)), strings(answers))
    embeddings = at_angles(*map(int, {**train, **query}))
    answers = answered(embeddings, split, task)
    score = local_score.score_answers(answers, task)
    return query_results.collect_results(answers, score, task), score


def test_hits_are_the_nearest_images_of_the_same_individual() -> None:
    results, _ = results_of(TRAIN, QUERY, ANSWERS, competition())
    assert results.nearest.answers[0, :5].tolist() == ["0", "20", "90", "120", "200"]
    assert results.hits[0, :5].tolist() == [True, True, False, False, False]
    assert results.nearest_labels[0, :5].tolist() == ["Ahab", "Ahab", "Boo", "Cleo", ""]
    assert results.relevant.tolist() == [2, 1, 0]
    assert results.known.tolist() == [True, True, False]


def test_a_query_for_labels_is_right_if_the_first_answer_is_expected() -> None:
    results, _ = results_of(TRAIN, QUERY, ANSWERS, competition())
    # 3 finds Ahab; 110 finds Cleo before Boo; 260 is far from all, so that it is unknown
    assert results.outcomes.tolist() == [RIGHT, WRONG, RIGHT]
    assert results.values.tolist() == [1, 1 / 2, 1]
    assert results.metric == "label_map_at_5"
    assert results.answers is not None
    assert results.answers[2, 0] == UNKNOWN
    assert results.first_is_right.tolist() == [True, False, False]


def test_a_query_for_images_is_right_if_the_nearest_is_and_unscored_if_none_can_be() -> None:
    task = competition(answers="images", k=3)
    results, _ = results_of(TRAIN, QUERY, ANSWERS, task)
    assert results.outcomes.tolist() == [RIGHT, WRONG, UNSCORED]
    assert results.values[:2].tolist() == [1, 1 / 2]
    assert math.isnan(results.values[2])
    assert results.answers is None
    assert results.answer_counts.tolist() == [3, 3, 3]


def test_a_query_for_matches_is_right_if_exactly_all_matches_are_answered() -> None:
    task = competition(
        answers="matches",
        k=5,
        unknown_label=None,
        gallery="train+test",
        task={"with_itself": True},
        threshold={"rule": "fixed", "similarity": 0.9},
    )
    train = {"0": "Ahab", "10": "Ahab", "60": "Boo", "170": "Cleo"}
    results, score = results_of(train, {"5": "Ahab", "63": "Ahab"}, ["Ahab", "Ahab"], task)
    # 5 finds 0 and 10, but 63 is Ahab too; 63 finds Boo alone
    assert results.answer_counts.tolist() == [2, 1]
    assert results.outcomes.tolist() == [WRONG, WRONG]
    assert results.values.mean() == pytest.approx(score.scores.main.value)
    assert results.relevant.tolist() == [3, 3]


def test_a_single_label_is_right_or_wrong() -> None:
    task = competition(answers="label", k=1, task={"metric": "baks_baus"})
    results, _ = results_of(TRAIN, QUERY, ANSWERS, task)
    assert results.values.tolist() == (results.outcomes == RIGHT).astype(float).tolist()
    assert results.metric == "right_answer"


def test_queries_for_clusters_are_scored_by_their_nearest_images() -> None:
    task = competition(answers="clusters", k=1, gallery="test", task={"metric": "ari"})
    query = {"0": "Ahab", "4": "Ahab", "90": "Boo", "95": "Boo", "200": "Cleo"}
    split = Holdout(
        *(image_set(part) for part in ({"300": "Dora"}, query, query)),
        strings(list(query.values())),
    )
    embeddings = at_angles(*map(int, query))
    answers = answered(embeddings, split, task)
    score = local_score.score_answers(answers, task)
    results = query_results.collect_results(answers, score, task)
    assert results.outcomes.tolist() == [RIGHT, RIGHT, RIGHT, RIGHT, UNSCORED]
    assert results.nearest.answers[0, 0] == "4"
    assert results.metric == "map_at_20"
    assert results.values[:4].mean() == pytest.approx(score.scores.by_metric["map_at_20"].value)
    assert (results.answer_counts == query_results.NEAREST_SHOWN).all()
    assert "at the cut that is best for the same queries: it flatters." in (
        result_tables.threshold_text(score)
    )
    text = result_tables.queries_text(results, task)
    assert "1 have no match to find and are not ranked" in text
    chunk = result_tables.query_chunks(results, split.query, [100] * 5, task, [])
    assert (chunk["queries"]["queries"]["metric"], chunk["queries"]["queries"]["unscored"]) == (
        "mAP@20",
        "not ranked",
    )


def test_each_query_has_the_size_and_the_members_of_its_cluster() -> None:
    rule = {"rule": "fixed", "similarity": 0.9}
    task = competition(
        answers="clusters", k=1, gallery="test", task={"metric": "ari"}, threshold=rule
    )
    query = {"0": "Ahab", "4": "Ahab", "8": "Boo", "95": "Boo", "200": UNKNOWN}
    split = Holdout(
        *(image_set(part) for part in ({"300": "Dora"}, query, query)),
        strings(list(query.values())),
    )
    embeddings = at_angles(*map(int, query))
    answers = answered(embeddings, split, task)
    results = query_results.collect_results(answers, local_score.score_answers(answers, task), task)
    assert results.clusters is not None
    assert results.clusters.size.tolist() == [3, 3, 3, 1, 1]
    assert results.clusters.same_individual.tolist() == [2, 2, 1, 1, 1]
    assert results.clusters.has_nearest[0, :4].tolist() == [True, True, False, False]
    [first, *_] = result_tables.query_chunks(results, split.query, [100] * 5, task, [])["near-0"]
    assert first[2] == "3200"


@st.composite
def circles(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Draw labelled points, some of the unknown label, and queries, some of unknown individuals."""
    angles = draw(st.lists(st.integers(0, 359), min_size=6, max_size=26, unique=True))
    names = st.sampled_from(["Ahab", "Boo", "Cleo", UNKNOWN])
    cut = draw(st.integers(3, len(angles) - 2))
    train = {str(angle): draw(names) for angle in angles[:cut]}
    train[str(angles[0])] = "Ahab"
    query = {str(angle): draw(st.sampled_from(["Ahab", "Boo", "Dora"])) for angle in angles[cut:]}
    query[str(angles[-1])] = "Ahab"
    there = set(train.values())
    return train, query, [who if who in there else UNKNOWN for who in query.values()]


@given(circles(), st.sampled_from(["labels", "images"]))
def test_the_hits_reproduce_the_score(circle: tuple[Any, Any, Any], answers: str) -> None:
    results, score = results_of(*circle, competition(answers=answers, k=5))
    assert map_of_hits(results.hits, results.relevant) == pytest.approx(
        score.scores.by_metric["map_at_20"].value, abs=1e-9
    )
    counted = results.values[~np.isnan(results.values)]
    assert counted.mean() == pytest.approx(score.scores.main.value)


def map_of_hits(hits: np.ndarray, relevant: np.ndarray) -> float:
    """Return mAP@20 of hits, slowly."""
    results = []
    for row_hits, total in zip(hits.tolist(), relevant.tolist(), strict=True):
        ranks = [rank for rank, hit in enumerate(row_hits[:20], 1) if hit]
        if total:
            precision = [place / rank for place, rank in enumerate(ranks, 1)]
            results.append(sum(precision) / min(total, 20))
    return sum(results) / len(results)


def test_chunks_refer_to_images_and_labels_of_the_results_by_number() -> None:
    task = competition()
    results, _ = results_of(TRAIN, QUERY, ANSWERS, task)
    shown = image_set({**QUERY, **TRAIN})
    data = result_tables.query_chunks(results, shown, [150] * len(shown), task, [])
    chunk = data["queries"]
    near = data["near-0"]
    labels, ids = chunk["labels"], chunk["images"]["id"]
    assert UNKNOWN in labels  # an answer, although no image has this label
    for row in range(3):
        numbers, similarities, marks = near[row]
        assert [ids[n] for n in numbers] == [i for i in results.nearest.answers[row].tolist() if i]
        assert marks == "".join(str(int(hit)) for hit in results.hits[row][: len(numbers)])
        assert similarities == sorted(similarities, reverse=True)
        assert ids[chunk["queries"]["image"][row]] == str(results.images[row])
    assert [labels[n] for n in chunk["queries"]["label"]] == ["Ahab", "Boo", "Dora"]
    assert [labels[n] for n in chunk["queries"]["expected"]] == ANSWERS
    assert chunk["queries"]["value"] == [10_000, 5_000, 10_000]


def test_confusions_of_a_pair_are_counted_in_both_directions() -> None:
    train = {"0": "Ahab", "10": "Boo", "90": "Cleo", "180": UNKNOWN}
    query = {"2": "Boo", "8": "Ahab", "3": "Boo", "91": "Cleo", "178": "Ahab"}
    results, _ = results_of(train, query, list(query.values()), competition())
    [pair] = query_results.confused_pairs(results)
    assert pair.labels == ("Ahab", "Boo")
    assert results.query_ids[list(pair.rows)].tolist() == ["2", "8", "3"]
    assert pair.similarity == pytest.approx(math.cos(math.radians(2)), abs=1e-6)
    each = {one.label: one for one in query_results.individual_results(results)}
    assert (each["Boo"].queries, each["Boo"].right, each["Boo"].confused_with) == (2, 0, "Ahab")
    assert (each["Cleo"].right, each["Cleo"].score, each["Cleo"].confused_with) == (1, 1.0, "")
    assert list(each)[-1] == "Cleo"  # the best comes last


@given(circles())
def test_precision_and_recall_equal_those_at_every_threshold(circle: tuple[Any, Any, Any]) -> None:
    results, _ = results_of(*circle, competition())
    curve = result_tables.precision_recall(results)
    if curve is None:
        assert not results.known.any()
        return
    slow = []
    for limit in sorted(set(results.first_similarity.tolist()), reverse=True):
        given_ = results.first_similarity >= limit
        right = (results.first_is_right & given_).sum()
        slow.append((right / given_.sum(), right / results.known.sum()))
    assert np.allclose(np.stack(curve, axis=1), slow)
    assert 0 <= result_tables.average_precision(*curve) <= 1


def test_images_of_unknown_individuals_have_no_label_in_the_chunk(tmp_path: Path) -> None:
    results, _ = results_of(TRAIN, QUERY, ANSWERS, competition())
    shown = LabelledImages(
        strings([*QUERY, *TRAIN]),
        tuple(tmp_path / name for name in [*QUERY, *TRAIN]),
        strings([*QUERY.values(), *TRAIN.values()]),
    )
    chunk = result_tables.query_chunks(results, shown, [150] * len(shown), competition(), [])[
        "queries"
    ]
    assert chunk["images"]["label"][-1] == -1


def test_the_map_has_the_same_coordinates_every_time() -> None:
    embeddings = placed({str(angle): angle for angle in range(0, 360, 15)})
    first, again = plots.project(embeddings), plots.project(embeddings)
    assert np.array_equal(first, again)
    assert (first.min(axis=0).tolist(), first.max(axis=0).tolist()) == ([0, 0], [1, 1])
    for count in (0, 1, 4, 5):
        few = embeddings.of(embeddings.image_ids[:count])
        assert plots.project(few).shape == (count, 2)


@given(st.lists(st.booleans(), max_size=80), st.integers(4, 40))
def test_a_sampled_map_has_queries_and_others(is_query: list[bool], most: int) -> None:
    mask = np.array(is_query, dtype=bool)
    rows = plots.sample_rows(mask, most)
    assert len(rows) == len(set(rows.tolist())) == min(len(mask), most)
    assert rows.tolist() == sorted(rows.tolist())
    if len(mask) > most:
        least = min(int(mask.sum()), most // 2)
        assert mask[rows].sum() >= least
