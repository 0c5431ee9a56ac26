"""Queries as they are shown: the rankings, marks and outcomes are those of the score."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.competition.settings import Competition
from kitbox.records import Embeddings, Holdout, LabelledImages, strings
from kitbox.report import query_results, result_tables
from kitbox.report.query_results import RIGHT, UNSCORED, WRONG, QueryResults
from kitbox.retrieval.neighbour_graph import neighbour_graphs
from kitbox.scoring import local_score
from tests.circle import at_angles, competition, image_set, placed

UNKNOWN = "new_whale"
# Two queries of known individuals and one of an individual that nobody has seen.
TRAIN = {"0": "Ahab", "20": "Ahab", "90": "Boo", "120": "Cleo", "200": UNKNOWN}
QUERY = {"3": "Ahab", "110": "Boo", "260": "Dora"}
ANSWERS = ["Ahab", "Boo", UNKNOWN]


def answered(
    embeddings: Embeddings, split: Holdout, task: Competition
) -> local_score.HoldoutAnswers:
    graphs = neighbour_graphs(embeddings, local_score.holdout_searches(split, task))
    return local_score.answer_queries(graphs, split, task)


def asked(
    train: dict[str, str], query: dict[str, str], answers: list[str], task: Competition
) -> tuple[QueryResults, local_score.LocalScore]:
    """Return the queries of points on the circle, and their score."""
    searched = {"train": train, "train+test": train | query}[task.task.gallery]
    split = Holdout(*(image_set(part) for part in (train, query, searched)), strings(answers))
    embeddings = at_angles(*map(int, {**train, **query}))
    answers = answered(embeddings, split, task)
    score = local_score.score_answers(answers, task)
    return query_results.collect_results(answers, score, task), score


def test_the_nearest_images_are_marked_where_they_show_the_individual() -> None:
    found, _ = asked(TRAIN, QUERY, ANSWERS, competition())
    assert found.near.answers[0, :5].tolist() == ["0", "20", "90", "120", "200"]
    assert found.hits[0, :5].tolist() == [True, True, False, False, False]
    assert found.near_labels[0, :5].tolist() == ["Ahab", "Ahab", "Boo", "Cleo", ""]
    assert found.relevant.tolist() == [2, 1, 0]
    assert found.known.tolist() == [True, True, False]


def test_labels_are_right_where_the_first_answer_is_the_expected_one() -> None:
    found, _ = asked(TRAIN, QUERY, ANSWERS, competition())
    # 3 finds Ahab; 110 finds Cleo before Boo; 260 is far from all, so that it is unknown
    assert found.outcome.tolist() == [RIGHT, WRONG, RIGHT]
    assert found.value.tolist() == [1, 1 / 2, 1]
    assert found.metric == "label_map_at_5"
    assert found.answers is not None
    assert found.answers[2, 0] == UNKNOWN
    assert found.first_right.tolist() == [True, False, False]


def test_images_are_right_where_the_nearest_is_and_open_where_none_can_be() -> None:
    task = competition(answers="images", k=3)
    found, _ = asked(TRAIN, QUERY, ANSWERS, task)
    assert found.outcome.tolist() == [RIGHT, WRONG, UNSCORED]
    assert found.value[:2].tolist() == [1, 1 / 2]
    assert math.isnan(found.value[2])
    assert found.answers is None
    assert found.kept.tolist() == [3, 3, 3]


def test_matches_are_right_where_all_of_them_and_nothing_else_is_answered() -> None:
    task = competition(
        answers="matches",
        k=5,
        unknown_label=None,
        gallery="train+test",
        task={"with_itself": True},
        threshold={"rule": "fixed", "similarity": 0.9},
    )
    train = {"0": "Ahab", "10": "Ahab", "60": "Boo", "170": "Cleo"}
    found, score = asked(train, {"5": "Ahab", "63": "Ahab"}, ["Ahab", "Ahab"], task)
    # 5 finds 0 and 10, but 63 is Ahab too; 63 finds Boo alone
    assert found.kept.tolist() == [2, 1]
    assert found.outcome.tolist() == [WRONG, WRONG]
    assert found.value.mean() == pytest.approx(score.scores.main.value)
    assert found.relevant.tolist() == [3, 3]


def test_a_single_label_is_right_or_wrong() -> None:
    task = competition(answers="label", k=1, task={"metric": "baks_baus"})
    found, _ = asked(TRAIN, QUERY, ANSWERS, task)
    assert found.value.tolist() == (found.outcome == RIGHT).astype(float).tolist()
    assert found.metric == "accuracy"


def test_clusters_are_shown_by_their_nearest_images() -> None:
    task = competition(answers="clusters", k=1, gallery="test", task={"metric": "ari"})
    query = {"0": "Ahab", "4": "Ahab", "90": "Boo", "95": "Boo", "200": "Cleo"}
    split = Holdout(
        *(image_set(part) for part in ({"300": "Dora"}, query, query)),
        strings(list(query.values())),
    )
    embeddings = at_angles(*map(int, query))
    answers = answered(embeddings, split, task)
    score = local_score.score_answers(answers, task)
    found = query_results.collect_results(answers, score, task)
    assert found.outcome.tolist() == [RIGHT, RIGHT, RIGHT, RIGHT, UNSCORED]
    assert found.near.answers[0, 0] == "4"
    assert found.metric == "map_at_20"
    assert found.value[:4].mean() == pytest.approx(score.scores.by_metric["map_at_20"].value)
    assert (found.kept == query_results.NEAREST_SHOWN).all()
    assert "at the cut that is best for the same queries: it flatters." in (
        result_tables.threshold_text(score)
    )
    said = result_tables.queries_text(found, task)
    assert "1 have no match to find and are not ranked" in said
    pack = result_tables.query_chunks(found, split.query, [100] * 5, task, [])
    assert (pack["queries"]["queries"]["told"], pack["queries"]["queries"]["open"]) == (
        "map@20",
        "not ranked",
    )


def test_the_cluster_of_a_query_is_told() -> None:
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
    found = query_results.collect_results(answers, local_score.score_answers(answers, task), task)
    assert found.clusters is not None
    assert found.clusters.size.tolist() == [3, 3, 3, 1, 1]
    assert found.clusters.alike.tolist() == [2, 2, 1, 1, 1]
    assert found.clusters.together[0, :4].tolist() == [True, True, False, False]
    [first, *_] = result_tables.query_chunks(found, split.query, [100] * 5, task, [])["near-0"]
    assert first[2] == "3200"


@st.composite
def scenes(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Draw labelled points, some of unknown label, and queries, some of strangers."""
    angles = draw(st.lists(st.integers(0, 359), min_size=6, max_size=26, unique=True))
    names = st.sampled_from(["Ahab", "Boo", "Cleo", UNKNOWN])
    cut = draw(st.integers(3, len(angles) - 2))
    train = {str(angle): draw(names) for angle in angles[:cut]}
    train[str(angles[0])] = "Ahab"
    query = {str(angle): draw(st.sampled_from(["Ahab", "Boo", "Dora"])) for angle in angles[cut:]}
    query[str(angles[-1])] = "Ahab"
    there = set(train.values())
    return train, query, [who if who in there else UNKNOWN for who in query.values()]


@given(scenes(), st.sampled_from(["labels", "images"]))
def test_the_marks_give_the_score(scene: tuple[Any, Any, Any], answers: str) -> None:
    found, score = asked(*scene, competition(answers=answers, k=5))
    assert marked_map(found.hits, found.relevant) == pytest.approx(
        score.scores.by_metric["map_at_20"].value, abs=1e-9
    )
    counted = found.value[~np.isnan(found.value)]
    assert counted.mean() == pytest.approx(score.scores.main.value)


def marked_map(hits: np.ndarray, relevant: np.ndarray) -> float:
    """Return mAP@20 of marks, slowly."""
    found = []
    for marks, total in zip(hits.tolist(), relevant.tolist(), strict=True):
        ranks = [rank for rank, mark in enumerate(marks[:20], 1) if mark]
        if total:
            precision = [place / rank for place, rank in enumerate(ranks, 1)]
            found.append(sum(precision) / min(total, 20))
    return sum(found) / len(found)


def test_packs_say_the_same_by_numbers() -> None:
    task = competition()
    found, _ = asked(TRAIN, QUERY, ANSWERS, task)
    shown = image_set({**QUERY, **TRAIN})
    data = result_tables.query_chunks(found, shown, [150] * len(shown), task, [])
    pack = data["queries"]
    near = data["near-0"]
    labels, ids = pack["labels"], pack["images"]["id"]
    assert UNKNOWN in labels  # an answer, though no image bears it
    for row in range(3):
        numbers, similarities, marks = near[row]
        assert [ids[n] for n in numbers] == [i for i in found.near.answers[row].tolist() if i]
        assert marks == "".join(str(int(hit)) for hit in found.hits[row][: len(numbers)])
        assert similarities == sorted(similarities, reverse=True)
        assert ids[pack["queries"]["image"][row]] == str(found.images[row])
    assert [labels[n] for n in pack["queries"]["who"]] == ["Ahab", "Boo", "Dora"]
    assert [labels[n] for n in pack["queries"]["expected"]] == ANSWERS
    assert pack["queries"]["value"] == [10_000, 5_000, 10_000]


def test_who_is_taken_for_whom_is_counted_both_ways() -> None:
    train = {"0": "Ahab", "10": "Boo", "90": "Cleo", "180": UNKNOWN}
    query = {"2": "Boo", "8": "Ahab", "3": "Boo", "91": "Cleo", "178": "Ahab"}
    found, _ = asked(train, query, list(query.values()), competition())
    [pair] = query_results.confused_pairs(found)
    assert pair.labels == ("Ahab", "Boo")
    assert found.query_ids[list(pair.rows)].tolist() == ["2", "8", "3"]
    assert pair.similarity == pytest.approx(math.cos(math.radians(2)), abs=1e-6)
    each = {one.name: one for one in query_results.individual_results(found)}
    assert (each["Boo"].queries, each["Boo"].right, each["Boo"].confused) == (2, 0, "Ahab")
    assert (each["Cleo"].right, each["Cleo"].value, each["Cleo"].confused) == (1, 1.0, "")
    assert [one.name for one in query_results.individual_results(found)][
        -1
    ] == "Cleo"  # the best comes last


@given(scenes())
def test_precision_and_recall_are_those_of_every_threshold(scene: tuple[Any, Any, Any]) -> None:
    found, _ = asked(*scene, competition())
    curve = result_tables.precision_recall(found)
    if curve is None:
        assert not found.known.any()
        return
    slow = []
    for limit in sorted(set(found.first.tolist()), reverse=True):
        given_ = found.first >= limit
        right = (found.first_right & given_).sum()
        slow.append((right / given_.sum(), right / found.known.sum()))
    assert np.allclose(np.stack(curve, axis=1), slow)
    assert 0 <= result_tables.average_precision(*curve) <= 1


def test_a_page_may_show_images_of_nobody(tmp_path: Path) -> None:
    found, _ = asked(TRAIN, QUERY, ANSWERS, competition())
    shown = LabelledImages(
        strings([*QUERY, *TRAIN]),
        tuple(tmp_path / name for name in [*QUERY, *TRAIN]),
        strings([*QUERY.values(), *TRAIN.values()]),
    )
    pack = result_tables.query_chunks(found, shown, [150] * len(shown), competition(), [])[
        "queries"
    ]
    assert pack["images"]["label"][-1] == -1


def test_places_of_the_map_are_the_same_every_time() -> None:
    from kitbox.report import plots

    embeddings = placed({str(angle): angle for angle in range(0, 360, 15)})
    first, again = plots.project(embeddings), plots.project(embeddings)
    assert np.array_equal(first, again)
    assert (first.min(axis=0).tolist(), first.max(axis=0).tolist()) == ([0, 0], [1, 1])
    for count in (0, 1, 4, 5):
        few = embeddings.of(embeddings.image_ids[:count])
        assert plots.project(few).shape == (count, 2)


@given(st.lists(st.booleans(), max_size=80), st.integers(4, 40))
def test_a_map_draws_both_sides_by_lot(asked_: list[bool], most: int) -> None:
    from kitbox.report import plots

    mask = np.array(asked_, dtype=bool)
    rows = plots.sample_rows(mask, most)
    assert len(rows) == len(set(rows.tolist())) == min(len(mask), most)
    assert rows.tolist() == sorted(rows.tolist())
    if len(mask) > most:
        least = min(int(mask.sum()), most // 2)
        assert mask[rows].sum() >= least
