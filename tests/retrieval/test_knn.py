import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.errors import KitboxError
from kitbox.records import Embeddings, strings
from kitbox.retrieval import knn
from kitbox.retrieval.knn import nearest
from tests.circle import at_angles, cosine, placed

# float32 cosines on the circle are right to about 1e-7
CLOSE = {"rtol": 0, "atol": 1e-6}


def slow(query: Embeddings, gallery: Embeddings, k: int) -> list[list[str]]:
    rows = zip(gallery.image_ids.tolist(), gallery.vectors.astype(float), strict=True)
    found = [(name, vector) for name, vector in rows]
    return [
        [n for _, n in sorted((-float(v @ q), n) for n, v in found if n != own)[:k]]
        for own, q in zip(query.image_ids.tolist(), query.vectors.astype(float), strict=True)
    ]


def test_the_nearest_angles_come_first() -> None:
    found = nearest(at_angles(10, prefix="q"), at_angles(0, 31, 90, 350), 3)
    assert found.query_ids.tolist() == ["q10"]
    assert found.gallery_ids.tolist() == [["0", "350", "31"]]  # 10, 20 and 21 degrees away
    expected = [[cosine(10, 0), cosine(10, 350), cosine(10, 31)]]
    np.testing.assert_allclose(found.similarity, expected, **CLOSE)
    assert found.similarity.dtype == np.float32


# Queries lie 0.3 degrees beside the grid, so that no two gallery angles are equally far away.
@given(
    st.lists(st.integers(0, 359), min_size=1, max_size=60, unique=True),
    st.lists(st.integers(0, 359), min_size=1, max_size=30, unique=True),
    st.integers(1, 12),
)
def test_neighbours_equal_those_of_sorting_everything(
    gallery_angles: list[int], query_angles: list[int], k: int
) -> None:
    gallery = at_angles(*gallery_angles)
    query = at_angles(*(angle + 0.3 for angle in query_angles))
    found = nearest(query, gallery, k)
    assert found.gallery_ids.shape == (len(query), k)
    for row, wanted in zip(found.gallery_ids.tolist(), slow(query, gallery, k), strict=True):
        assert row == wanted + [""] * (k - len(wanted))


@given(
    st.lists(st.integers(0, 359), min_size=1, max_size=60, unique=True),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_a_query_in_the_gallery_never_finds_itself(
    angles: list[int], k: int, shuffle: object
) -> None:
    everything = at_angles(*(angle + angle**2 / 1e4 for angle in angles))  # no equal distances
    order = list(range(len(angles)))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    gallery = everything.of(everything.image_ids[order])
    found = nearest(everything, gallery, k)
    for own, row in zip(everything.image_ids.tolist(), found.gallery_ids.tolist(), strict=True):
        assert own not in row
        assert sum(name != "" for name in row) == min(k, len(angles) - 1)


def test_a_copy_of_the_query_under_another_id_is_found() -> None:
    found = nearest(placed({"q": 10}), placed({"q": 10, "copy": 10, "far": 200}), 2)
    assert found.gallery_ids.tolist() == [["copy", "far"]]


@given(
    st.lists(st.sampled_from([0, 40, 90, 200]), min_size=1, max_size=50),
    st.integers(1, 8),
    st.randoms(use_true_random=False),
)
def test_equally_similar_images_are_ordered_by_id_in_any_gallery_order(
    angles: list[int], k: int, shuffle: object
) -> None:
    gallery = placed({f"{i:02}": angle for i, angle in enumerate(angles)})
    query = at_angles(1, 45, 93, 210, prefix="q")
    order = list(range(len(angles)))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    found = nearest(query, gallery.of(gallery.image_ids[order]), k)
    for row, wanted in zip(found.gallery_ids.tolist(), slow(query, gallery, k), strict=True):
        assert row == wanted + [""] * (k - len(wanted))


@pytest.mark.parametrize("queries", [1, 40])  # faiss computes differently from 20 queries on
@pytest.mark.parametrize("dim", [2, 64, 257])
def test_more_than_k_copies_are_ordered_by_id(queries: int, dim: int) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(queries + 1, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"{i:03}" for i in generator.permutation(200)]
    gallery = Embeddings(strings(ids), np.repeat(vectors[:1], 200, axis=0))
    query = Embeddings(strings([f"q{i}" for i in range(queries)]), vectors[1:])
    found = nearest(query, gallery, 5)
    assert found.gallery_ids.tolist() == [["000", "001", "002", "003", "004"]] * queries
    one_value = found.similarity == found.similarity[:, :1]
    assert one_value.all()


def test_a_gallery_smaller_than_k_leaves_empty_places() -> None:
    found = nearest(placed({"q": 10, "a": 0}), placed({"a": 0, "b": 20}), 4)
    assert found.gallery_ids.tolist() == [["a", "b", "", ""], ["b", "", "", ""]]
    assert found.similarity[0, 2:].tolist() == [-math.inf] * 2
    assert found.similarity[1, 1:].tolist() == [-math.inf] * 3


def test_a_query_alone_in_the_gallery_has_no_neighbour() -> None:
    found = nearest(placed({"a": 0}), placed({"a": 0}), 2)
    assert found.gallery_ids.tolist() == [["", ""]]


def test_opposite_images_are_neighbours() -> None:
    found = nearest(placed({"q": 0}), placed({"far": 180}), 1)
    assert found.gallery_ids.tolist() == [["far"]]
    np.testing.assert_allclose(found.similarity, [[-1]], **CLOSE)


def test_without_queries_there_are_no_neighbours() -> None:
    found = nearest(at_angles(), at_angles(0, 10), 3)
    assert found.gallery_ids.shape == found.similarity.shape == (0, 3)


def test_queries_of_several_blocks_keep_their_order_and_do_not_find_themselves() -> None:
    # more than one block of 4096, and the last query is in the gallery
    vectors = np.resize(at_angles(0, 90, 180).vectors, (5000, 2))
    query = Embeddings(strings([f"q{i}" for i in range(5000)]), vectors)
    images = [at_angles(1, 91, 181), query.of(strings(["q4999"]))]
    gallery = Embeddings(
        np.concatenate([image.image_ids for image in images]),
        np.concatenate([image.vectors for image in images]),
    )
    found = nearest(query, gallery, 1)
    # the queries at 90 degrees have a double in q4999, which finds another image itself
    wanted = np.resize(["1", "q4999", "181"], 5000)
    wanted[4999] = "91"
    assert found.gallery_ids[:, 0].tolist() == wanted.tolist()


def test_embeddings_of_different_dimensions_are_refused() -> None:
    other = Embeddings(strings(["a"]), np.array([[1, 0, 0]], np.float32))
    with pytest.raises(KitboxError, match=r"^queries have 2 dimensions, the gallery 3$"):
        nearest(at_angles(0), other, 1)


def test_an_empty_gallery_is_refused() -> None:
    with pytest.raises(KitboxError, match=r"^the gallery is empty$"):
        nearest(at_angles(0), at_angles(), 1)


@pytest.mark.parametrize("pairs", [1, 40, 300])
def test_of_many_equals_few_queries_are_compared_at_a_time(
    pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = placed({f"g{i:02}": 90 if i % 3 else i for i in range(40)})
    query = placed({f"q{i:02}": 80 + i for i in range(21)})
    whole = nearest(query, gallery, 5)
    monkeypatch.setattr(knn, "_PAIRS", pairs)
    found = nearest(query, gallery, 5)
    assert found.gallery_ids.tolist() == whole.gallery_ids.tolist()
    np.testing.assert_allclose(found.similarity, whole.similarity, **CLOSE)


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_gallery_that_is_searched_in_blocks_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, shuffled: bool
) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.integers(-2, 3, (5000, 6)).astype(np.float32)  # many are equal
    vectors[:, 0] += 0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = generator.permutation(5000) if shuffled else np.arange(5000)
    ids = strings([f"{number:04}" for number in order])
    images = Embeddings(ids, vectors)
    query = images.of(ids[:300])
    whole = knn.nearest_rows(query, images, 25)
    monkeypatch.setattr(knn, "_GALLERY_BLOCK", 6 * 1024)
    parts = knn.nearest_rows(query, images, 25)
    np.testing.assert_array_equal(parts[0], whole[0])
    np.testing.assert_array_equal(parts[1], whole[1])
