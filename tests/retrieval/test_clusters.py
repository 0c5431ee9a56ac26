import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering

from kitbox.errors import KitboxError
from kitbox.records import Embeddings, strings
from kitbox.retrieval import clusters
from tests.circle import at_angles, cosine, placed


def random_embeddings(seed: int, count: int, dim: int = 4) -> Embeddings:
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(strings([f"i{i:03}" for i in range(count)]), vectors.astype(np.float32))


def by_first_image(numbers: list[int]) -> list[int]:
    """Number clusters from 0 by their first image."""
    order = list(dict.fromkeys(numbers))
    return [order.index(number) for number in numbers]


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(2, 40), st.floats(-0.9, 0.99))
def test_clusters_are_those_of_average_linkage(seed: int, count: int, threshold: float) -> None:
    embeddings = random_embeddings(seed, count)
    oracle = AgglomerativeClustering(
        n_clusters=None, metric="cosine", linkage="average", distance_threshold=1 - threshold
    ).fit_predict(embeddings.vectors.astype(np.float64))
    found = clusters.link(embeddings).cut(threshold)
    assert found.tolist() == by_first_image(oracle.tolist())


@pytest.mark.parametrize("rows", [1, 7, 256])
def test_clusters_do_not_depend_on_the_block_size(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = random_embeddings(3, 50)
    whole = clusters.link(embeddings)
    monkeypatch.setattr(clusters, "_ROWS", rows)
    found = clusters.link(embeddings).similarities
    np.testing.assert_allclose(found, whole.similarities, atol=1e-6)


def test_two_clusters_are_as_similar_as_their_pairs_are_on_average() -> None:
    found = clusters.link(at_angles(0, 10, 60))
    wanted = [cosine(0, 10), (cosine(0, 60) + cosine(10, 60)) / 2]
    np.testing.assert_allclose(found.similarities, wanted, atol=1e-6)
    assert found.cut(wanted[0] + 0.01).tolist() == [0, 1, 2]
    assert found.cut(wanted[0] - 0.01).tolist() == [0, 0, 1]
    assert found.cut(wanted[1] - 0.01).tolist() == [0, 0, 0]


def test_look_alikes_do_not_chain_two_individuals() -> None:
    # neighbours are 10 degrees apart; the mean over pairs falls as clusters grow
    found = clusters.link(at_angles(*range(0, 90, 10))).cut(cosine(0, 11))
    assert len(set(found.tolist())) > 1


def test_copies_join_at_a_similarity_of_one() -> None:
    found = clusters.link(placed({"a": 30, "b": 30, "c": 90}))
    assert found.similarities[0] == pytest.approx(1)
    assert found.similarities[0] <= 1
    assert found.cut(0.9999).tolist() == [0, 0, 1]


def test_clusters_are_numbered_by_their_first_image() -> None:
    found = clusters.link(placed({"a": 90, "b": 0, "c": 91, "d": 1, "e": 200})).cut(0.99)
    assert found.tolist() == [0, 1, 0, 1, 2]


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(0, 30), st.floats(-0.9, 0.99))
def test_an_image_is_alone_above_the_similarity_at_which_it_joins(
    seed: int, count: int, threshold: float
) -> None:
    found = clusters.link(random_embeddings(seed, count))
    number = found.cut(threshold)
    alone = [bool((number == own).sum() == 1) for own in number]
    assert (found.alone_above < threshold).tolist() == alone


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_are_a_tree_without_joins(count: int) -> None:
    found = clusters.link(random_embeddings(0, count))
    assert found.joins is None
    assert found.similarities.tolist() == []
    assert found.cut(0.5).tolist() == [0] * count
    assert np.isneginf(found.alone_above).all()


def test_too_many_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_MAX_IMAGES", 4)
    with pytest.raises(KitboxError) as caught:
        clusters.link(random_embeddings(0, 5))
    assert str(caught.value) == (
        "5 images are too many to cluster at once, at most 4; "
        "split them with images.group_column and task.within_group"
    )
