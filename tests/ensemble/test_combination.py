import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.ensemble import combination, meta_embedding
from kitbox.records import Search, strings
from kitbox.retrieval import ranking
from kitbox.retrieval.label_similarity import closeness
from kitbox.retrieval.neighbour_graph import neighbour_graphs
from tests.circle import competition, cosine, image_set, placed

# Two members that see the same four images at angles of their own.
LABELS = {"a": "Ahab", "b": "Ahab", "c": "Boo", "d": "Cleo"}
ONE = placed({"a": 0, "b": 40, "c": 60, "d": 180, "q": 10})
OTHER = placed({"a": 90, "b": 0, "c": 20, "d": 180, "q": 5})
SEARCH = Search("", strings(["q"]), strings(["q"]), strings(list(LABELS)))


def ranked(how: str, weights: tuple[float, ...] = (1, 1), images: int = 9):  # type: ignore[no-untyped-def]
    toy = competition(task={"label_similarity": how, "label_images": images})
    members = combination.measure_members([ONE, OTHER], SEARCH, image_set(LABELS), toy)
    return ranking.rank_labels([combination.mean_similarity(members, weights)], 3)


def test_each_member_measures_a_label_by_its_own_best_image() -> None:
    found = ranked("best")
    # one member is nearest to a, the other to b; no image is near to both
    assert found.answers[0].tolist() == ["Ahab", "Boo", "Cleo"]
    assert found.similarity[0, 0] == pytest.approx((cosine(10, 0) + cosine(5, 0)) / 2, abs=1e-6)


def test_closeness_is_averaged_and_not_the_distance() -> None:
    toy = competition(task={"label_similarity": "closeness"})
    alone = [
        ranking.rank(neighbour_graphs(member, [SEARCH]), image_set(LABELS), toy, 3)
        for member in (ONE, OTHER)
    ]
    similarities = [
        dict(zip(of.answers[0].tolist(), of.similarity[0].tolist(), strict=True)) for of in alone
    ]
    chord = 2 * np.sin(np.radians([50, 15]) / 2)  # Boo's one image, of either member
    assert [of["Boo"] for of in similarities] == pytest.approx(closeness(chord).tolist(), abs=1e-6)
    found = ranked("closeness", (3, 1))
    for label, similarity in zip(found.answers[0].tolist(), found.similarity[0], strict=True):
        assert similarity == pytest.approx(
            (3 * similarities[0][label] + similarities[1][label]) / 4, abs=1e-6
        )


@given(st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)))
def test_the_mean_of_all_cosines_is_that_of_the_meta_embedding(
    weights: tuple[float, float],
) -> None:
    toy = competition(task={"label_similarity": "mean", "label_images": 9})
    joined = meta_embedding.concatenate([ONE, OTHER], weights)
    early = ranking.rank(neighbour_graphs(joined, [SEARCH]), image_set(LABELS), toy, 3)
    late = ranked("mean", weights)
    np.testing.assert_allclose(late.similarity, early.similarity, atol=1e-6)


def test_one_member_alone_ranks_as_its_embedding_does() -> None:
    toy = competition()
    early = ranking.rank(neighbour_graphs(ONE, [SEARCH]), image_set(LABELS), toy, 3)
    members = combination.measure_members([ONE], SEARCH, image_set(LABELS), toy)
    late = ranking.rank_labels([combination.mean_similarity(members, [2.0])], 3)
    assert late.answers.tolist() == early.answers.tolist()
    assert late.similarity.tolist() == early.similarity.tolist()
