"""Answers of re-ranked ensembles, and pooling of the scores of several folds."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kitbox.ensemble import answers
from kitbox.ensemble.answers import EnsembleScore
from kitbox.ensemble.ensemble import Ensemble, EnsembleOptions
from kitbox.ensemble.meta_embedding import MetaEmbedding
from kitbox.records import Holdout, ImageSet, Scores, Strings, strings
from kitbox.scoring import bootstrap
from kitbox.scoring.local_score import LocalScore
from kitbox.scoring.outcomes import Mean
from kitbox.workspace import Workspace
from tests.circle import competition, image_set, placed, reverse_nearest
from tests.photographs import finish
from tests.submission.collected import collection, unlabelled


def fold_score(values: dict[str, list[float]], threshold: float | None = None) -> EnsembleScore:
    """Return the score of a fold with these values of the queries by each metric."""
    outcomes = {
        name: Mean(strings([f"{name}{i}" for i in range(len(given))]), np.array(given))
        for name, given in values.items()
    }
    scores = Scores({name: bootstrap.score(o, {}) for name, o in outcomes.items()})
    fitted = {} if threshold is None else {"": threshold}
    evidence = {} if threshold is None else {"rule": "best", "queries": 2}
    return EnsembleScore(
        LocalScore(
            scores=scores, outcomes=outcomes, thresholds=fitted, evidence=evidence, individuals={}
        ),
        (2,),
    )


def test_folds_are_pooled_query_by_query() -> None:
    folds = [fold_score({"map": [1.0], "own": [0.5]}), fold_score({"map": [0.0, 0.5]})]
    pooled = answers.pool_folds(folds)
    assert list(pooled.score.scores.by_metric) == ["map"]  # the other has no query in one fold
    assert pooled.score.scores.main.value == pytest.approx(0.5)
    assert pooled.score.scores.main.queries == 3
    assert (pooled.score.thresholds, pooled.score.evidence, pooled.dims) == ({}, {}, (2,))


def test_thresholds_of_folds_are_averaged_and_their_evidence_kept() -> None:
    folds = [fold_score({"map": [1.0]}, 0.2), fold_score({"map": [0.0]}, 0.4)]
    pooled = answers.pool_folds(folds).score
    assert pooled.thresholds == {"": pytest.approx(0.3)}
    assert pooled.evidence == {"rule": "best", "folds": [{"rule": "best", "queries": 2}] * 2}


def test_the_interval_of_pooled_folds_draws_the_individuals_of_all() -> None:
    folds = [fold_score({"map": [1.0, 0.0]}), fold_score({"map": [0.5, 0.0]})]
    for fold, name in zip(folds, ("Ahab", "Boo"), strict=True):
        ids = fold.score.outcomes["map"].query_ids
        fold.score.outcomes["map"] = Mean(
            strings([f"{name}{i}" for i in ids]), np.array([1.0, 0.0])
        )
        fold.score.individuals.update({f"{name}{i}": "Cleo" for i in ids})
    pooled = answers.pool_folds(folds).score
    assert set(pooled.individuals.values()) == {"Cleo"}
    # one individual in both folds leaves nothing to draw; four queries would give [0, 1]
    assert (pooled.scores.main.low, pooled.scores.main.high) == (0.5, 0.5)


def test_a_single_fold_is_not_changed() -> None:
    fold = fold_score({"map": [1.0]}, 0.2)
    assert answers.pool_folds([fold]) is fold


# A query near Ahab's image, and Boo's two images further away.
POINTS = placed({"q": 1, "a": 0, "b": 20, "c": 30, "d": 90})
LABELS = {"q": "Ahab", "a": "Ahab", "b": "Boo", "c": "Boo", "d": "Cleo"}


@pytest.mark.parametrize(
    ("settings", "options", "plain", "reranked"),
    [
        ({"answers": "images"}, {}, "a", "c"),
        ({"answers": "labels"}, {}, "Ahab", "Boo"),
        ({"answers": "labels"}, {"combine": "labels"}, "Ahab", "Boo"),
    ],
)
def test_a_reranking_step_moves_the_answers_of_an_ensemble(
    monkeypatch: pytest.MonkeyPatch,
    workspace: Workspace,
    settings: dict[str, str],
    options: dict[str, Any],
    plain: str,
    reranked: str,
) -> None:
    def assemble(_ensemble: Ensemble, sets: list[ImageSet], _gallery_ids: Strings):  # type: ignore[no-untyped-def]
        yield from ()
        block = POINTS.of(np.concatenate([images.image_ids for images in sets]))
        return MetaEmbedding(block, (2, 2), (block, block), (1.0, 2.0))

    monkeypatch.setattr(answers, "assemble", assemble)
    toy = competition(
        k=3,
        unknown_label=None,
        **settings,  # type: ignore[arg-type]
    )
    ensemble = Ensemble(
        members=[],
        collection=collection(toy, LABELS, unlabelled("x")),
        competition=toy,
        workspace=workspace,
    )
    for rerank, first in ((None, plain), (reverse_nearest, reranked)):
        monkeypatch.setattr(EnsembleOptions, "reranker", lambda *_, given=rerank: given)
        changed = replace(ensemble, options=EnsembleOptions(**options))
        _, found = finish(answers.answer_holdout(changed))
        assert found.answers.ranking.answers[0, 0] == first


@pytest.mark.parametrize("combine", ["embeddings", "labels"])
def test_balance_answers_the_queries_of_a_search_together(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace, combine: Any
) -> None:
    # both queries are nearest to Ahab, the second by less
    points = placed({"q": 0, "r": 30, "a": 10, "b": 60, "c": 300})
    labels = {"q": "Ahab", "r": "Boo", "a": "Ahab", "b": "Boo", "c": "Cleo"}

    def assemble(_ensemble: Ensemble, sets: list[ImageSet], _gallery_ids: Strings):  # type: ignore[no-untyped-def]
        yield from ()
        block = points.of(np.concatenate([images.image_ids for images in sets]))
        return MetaEmbedding(block, (2,), (block,), (1.0,))

    monkeypatch.setattr(answers, "assemble", assemble)
    toy = competition(k=3, unknown_label=None)
    known = image_set(labels)
    query, train = (known.take(np.array(rows)) for rows in ([0, 1], [2, 3, 4]))
    split = Holdout(train, query, train, query.labels)
    images = replace(collection(toy, labels, unlabelled("x")), holdout=split)
    found = {}
    for text in (None, "each_label:within=0.2", "assignment"):
        ensemble = Ensemble(
            collection=images,
            competition=toy,
            workspace=workspace,
            options=EnsembleOptions(combine=combine, balance=text),
        )
        progress, answered = finish(answers.answer_holdout(ensemble))
        notices = [one.notice for one in progress if one.notice]
        found[text] = answered.answers.ranking.answers.tolist(), notices
    assert found[None] == ([["Ahab", "Boo", "Cleo"], ["Ahab", "Boo", "Cleo"]], [])
    told = (
        "on the holdout 2 of 3 labels have a query, and 0 of 2 queries show an unknown individual; "
        "if the test differs in this, the score says little about the balance"
    )
    ranked, notices = found["each_label:within=0.2"]
    assert ranked == [["Ahab", "Boo", "Cleo"], ["Boo", "Ahab", "Cleo"]]
    assert notices == [
        "balance each_label:within=0.2: 1 of 2 queries have another label",
        told,
    ]
    ranked, notices = found["assignment"]
    assert [row[0] for row in ranked] == ["Ahab", "Boo"]
    assert notices[1] == told


def test_others_on_the_holdout_are_its_training_side(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    def assemble(_ensemble: Ensemble, sets: list[ImageSet], _gallery_ids: Strings):  # type: ignore[no-untyped-def]
        yield from ()
        block = POINTS.of(np.concatenate([images.image_ids for images in sets]))
        return MetaEmbedding(block, (2,), (block,), (1.0,))

    monkeypatch.setattr(answers, "assemble", assemble)
    # all individuals of the test are new: the holdout holds Ahab and Boo out whole
    toy = competition(
        gallery="index",
        answers="images",
        images={"index_folder": "index"},
        holdout={"unknown_share": 1},
    )
    whole = collection(toy, LABELS, unlabelled("x"), unlabelled("y"))
    held_out = np.isin(whole.labelled.labels, ["Ahab", "Boo"])
    query, train = whole.labelled.take(held_out), whole.labelled.take(~held_out)
    split = Holdout(train, query, query, strings(["new_whale"] * 4))
    steps = ("subtraction:beta=0.5,k=9,rounds=1", "score_normalisation:beta=2,k=1")
    ensemble = Ensemble(
        members=[],
        collection=replace(whole, holdout=split),
        competition=toy,
        workspace=workspace,
        options=EnsembleOptions(rerank=steps),
    )
    _, found = finish(answers.answer_holdout(ensemble))
    cleo = POINTS.of(train.image_ids).vectors[0]
    moved = POINTS.of(query.image_ids).vectors - 0.5 * cleo
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    wanted = moved @ moved.T - 2 * (moved @ cleo)[:, None]
    np.fill_diagonal(wanted, -np.inf)
    assert found.answers.uncut.answers[0, 0] == query.image_ids[wanted[0].argmax()]
    np.testing.assert_allclose(
        found.answers.uncut.similarity[:, :3], -np.sort(-wanted, axis=1)[:, :3], atol=1e-5
    )
