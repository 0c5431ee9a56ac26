import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitbox.records import Embeddings, Ranking, strings
from kitbox.retrieval import label_similarity, neighbour_graph
from kitbox.retrieval.ranking import rank_labels
from tests.circle import at_angles, cosine, graph_of, image_set, placed


def labels(
    query: Embeddings, gallery: Embeddings, label_of: Mapping[str, str], k: int, *how: object
) -> Ranking:
    known = image_set({name: label_of[name] for name in gallery.image_ids.tolist()})
    measured = label_similarity.measure(graph_of(query, gallery), known, *how)  # type: ignore[arg-type]
    return rank_labels([measured], k)


def rows(found: Ranking) -> list[list[str]]:
    return [[str(answer) for answer in row if answer] for row in found.answers]


def slow_centre(vectors: list[np.ndarray]) -> np.ndarray:
    middle = np.mean(vectors, axis=0) / np.linalg.norm(np.mean(vectors, axis=0))
    near = sorted(vectors, key=lambda vector: -float(vector @ middle))
    near_mean = np.mean(near[: len(near) - len(near) // 4], axis=0)
    return np.asarray(near_mean / np.linalg.norm(near_mean))


def slow_similarity(query: np.ndarray, images: list[np.ndarray], how: str, n: int) -> float:
    if how == "centre":
        return float(query @ slow_centre(images))
    if how == "closeness":
        distances = [float(np.linalg.norm(query - image)) for image in images]
        return 1 / (1 + math.log(1 + math.log(1 + sum(distances) / len(distances))))
    nearest_first = sorted((float(query @ image) for image in images), reverse=True)[:n]
    of = {"best": nearest_first[0], "sum": sum(nearest_first)}
    return (of | {"mean": sum(nearest_first) / len(nearest_first)})[how]


def distinct(
    query: Embeddings, gallery: Embeddings, label_of: Mapping[str, str], k: int, how: str, n: int
) -> list[list[tuple[str, float]]]:
    """The slow oracle: collect the images of each label, and sort the labels."""
    found = []
    for own, vector in zip(query.image_ids.tolist(), query.vectors.astype(float), strict=True):
        images: dict[str, list[np.ndarray]] = {}
        for name, other in zip(gallery.image_ids.tolist(), gallery.vectors, strict=True):
            if name != own:
                images.setdefault(label_of[name], []).append(other.astype(float))
        near = {
            label: slow_similarity(vector, of_label, how, n) for label, of_label in images.items()
        }
        found.append(sorted(near.items(), key=lambda item: (-item[1], item[0]))[:k])
    return found


KNOWN = {"0": "Ahab", "5": "Ahab", "30": "Boo", "60": "Ahab", "90": "Cleo"}


@pytest.mark.parametrize(
    ("how", "images", "similarity"),
    [
        ("best", 3, [("Ahab", cosine(4, 5)), ("Boo", cosine(4, 30)), ("Cleo", cosine(4, 90))]),
        (
            "mean",
            2,
            [
                ("Ahab", (cosine(4, 5) + cosine(4, 0)) / 2),
                ("Boo", cosine(4, 30)),
                ("Cleo", cosine(4, 90)),
            ],
        ),
        (
            "mean",
            9,
            [
                ("Boo", cosine(4, 30)),
                ("Ahab", (cosine(4, 5) + cosine(4, 0) + cosine(4, 60)) / 3),
                ("Cleo", cosine(4, 90)),
            ],
        ),
        (
            "sum",
            9,
            [
                ("Ahab", cosine(4, 5) + cosine(4, 0) + cosine(4, 60)),
                ("Boo", cosine(4, 30)),
                ("Cleo", cosine(4, 90)),
            ],
        ),
    ],
)
def test_each_label_is_ranked_once_by_the_similarity_of_its_images(
    how: str, images: int, similarity: list[tuple[str, float]]
) -> None:
    found = labels(at_angles(4, prefix="q"), at_angles(0, 5, 30, 60, 90), KNOWN, 3, how, images)
    assert found.answers.tolist() == [[label for label, _ in similarity]]
    np.testing.assert_allclose(found.similarity, [[s for _, s in similarity]], atol=1e-6)
    assert found.similarity.dtype == np.float32


@pytest.mark.parametrize("sizes", [[2] * 17, [1] * 16 + [3] * 16 + [2, 4], [1, 2, 3]])
def test_many_labels_of_one_size_are_ranked_as_few_are(sizes: list[int]) -> None:
    generator = np.random.default_rng(len(sizes))
    names = [f"{label % 7}-{label}" for label, size in enumerate(sizes) for _ in range(size)]
    images = [f"g{place}" for place in generator.permutation(len(names)).tolist()]
    angles = generator.uniform(0, 180, len(names)).tolist()
    gallery = placed(dict(zip(images, angles, strict=True)))
    label_of, query = dict(zip(images, names, strict=True)), gallery.of(gallery.image_ids[:5])
    found = labels(query, gallery, label_of, 4, "best")
    expected = distinct(query, gallery, label_of, 4, "best", 1)
    assert rows(found) == [[label for label, _ in row][:4] for row in expected]


@pytest.mark.parametrize("crowd", [0, 90, 130])
def test_the_nearest_images_give_the_labels_that_all_images_give(crowd: int) -> None:
    generator = np.random.default_rng(crowd)
    vectors = generator.integers(-3, 4, (400, 3)).astype(np.float32)  # with many equals
    vectors[(vectors == 0).all(axis=1)] = 1
    vectors[:crowd] = [[1, 2, 3]]  # as near to others as one another, more than are looked at
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = strings([f"{name:03d}" for name in generator.permutation(400).tolist()])
    gallery, query = Embeddings(ids, vectors), Embeddings(ids[85:145], vectors[85:145])
    names = [f"l{label}" for label in generator.integers(0, 150, 330).tolist()]
    known = image_set(dict(zip(ids.tolist(), names, strict=False)))
    measured = label_similarity.measure(graph_of(query, gallery), known)
    assert measured.best is not None
    found, similarity = measured.best_labels(4)
    slow, expected = replace(measured, best=None).best_labels(4)
    np.testing.assert_allclose(similarity, expected, atol=1e-6)
    apart = np.diff(-expected.astype(np.float64), axis=1, append=1) > 1e-5
    clear = apart & np.append(np.ones((60, 1), dtype=np.bool_), apart[:, :-1], axis=1)
    assert clear[:, :3].any()
    np.testing.assert_array_equal(found[:, :3][clear[:, :3]], slow[:, :3][clear[:, :3]])


def test_one_outlier_of_four_does_not_move_a_centre() -> None:
    # 10, 20 and 30 degrees remain, their centre is at 20; a mean of all would be at 36
    query, gallery = at_angles(20, 36, prefix="q"), at_angles(10, 20, 30, 100)
    found = labels(query, gallery, dict.fromkeys(["10", "20", "30", "100"], "Ahab"), 1, "centre")
    np.testing.assert_allclose(found.similarity[:, 0], [1, cosine(20, 36)], atol=1e-6)


def test_of_three_images_none_is_an_outlier() -> None:
    found = labels(
        at_angles(40, prefix="q"),
        at_angles(10, 40, 70),
        dict.fromkeys(["10", "40", "70"], "Ahab"),
        1,
        "centre",
    )
    np.testing.assert_allclose(found.similarity, [[1]], atol=1e-6)


@pytest.mark.parametrize("crowd", [63, 64, 65, 127, 128, 129, 300])
def test_other_labels_are_found_behind_many_images_of_one(crowd: int) -> None:
    # one label fills the first places; four others stand behind it
    angle_of = {f"a{i:03}": i / 100 for i in range(crowd)} | {f"z{i}": 90 + i for i in range(4)}
    label_of = {name: name[0] if name[0] == "a" else name for name in angle_of}
    found = labels(placed({"q": 0}), placed(angle_of), label_of, 5)
    assert rows(found) == [["a", "z0", "z1", "z2", "z3"]]


def test_many_images_near_one_query_do_not_change_the_labels_of_another() -> None:
    angle_of = {f"a{i:03}": i / 100 for i in range(100)} | {f"z{i}": 90 + i for i in range(4)}
    label_of = {name: name[0] if name[0] == "a" else name for name in angle_of}
    found = labels(placed({"q": 0, "r": 80}), placed(angle_of), label_of, 3)
    assert rows(found) == [["a", "z0", "z1"], ["z0", "z1", "z2"]]


# Points of a grid, moved so that no two labels are equally near; some queries are in the gallery.
def moved(angle: int) -> float:
    return angle + angle**2 / 1e4


@pytest.mark.parametrize("how", ["best", "mean", "sum", "centre", "closeness"])
@settings(max_examples=60)
@given(
    label_at=st.dictionaries(st.integers(0, 179), st.sampled_from("ABCD"), min_size=1, max_size=40),
    angles=st.lists(st.integers(0, 179), min_size=1, max_size=20, unique=True),
    k=st.integers(1, 6),
    images=st.integers(1, 12),
)
def test_labels_equal_those_of_a_loop_over_all_images(
    how: str, label_at: dict[int, str], angles: list[int], k: int, images: int
) -> None:
    label_of = {f"{moved(angle):g}": label for angle, label in label_at.items()}
    gallery = placed({f"{moved(angle):g}": moved(angle) for angle in label_at})
    query = placed({f"{moved(angle):g}": moved(angle) for angle in angles})
    found = labels(query, gallery, label_of, k, how, images)
    wanted = distinct(query, gallery, label_of, k, how, images)
    # a distance is the root of what float32 leaves of 1 − cos
    close = 2e-5 if how == "closeness" else 3e-6
    assert found.answers.shape == (len(query), k)
    for row, wanted_row in enumerate(wanted):
        padded = [value for _, value in wanted_row] + [-math.inf] * (k - len(wanted_row))
        np.testing.assert_allclose(found.similarity[row], padded, atol=close)
        # labels that are equally near but for rounding may change places
        near = dict(distinct(query, gallery, label_of, 9, how, images)[row])
        own = [near[label] for label in rows(found)[row]]
        np.testing.assert_allclose(own, [value for _, value in wanted_row], atol=close)


@pytest.mark.parametrize("how", ["best", "mean", "sum", "centre", "closeness"])
@settings(max_examples=30)
@given(shuffle=st.permutations(range(12)), held=st.sampled_from([1, 30, 12 * 5]))
def test_labels_do_not_depend_on_the_order_of_the_gallery_or_on_the_block_size(
    how: str, shuffle: list[int], held: int
) -> None:
    gallery, query = at_angles(*range(0, 360, 30)), at_angles(*range(3, 360, 45), prefix="q")
    label_of = {name: "ABC"[i % 3] for i, name in enumerate(gallery.image_ids.tolist())}
    wanted = labels(query, gallery, label_of, 2, how, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbour_graph, "_BLOCK_SIZE", held)
        found = labels(query, gallery.of(gallery.image_ids[shuffle]), label_of, 2, how, 2)
    np.testing.assert_allclose(found.similarity, wanted.similarity, atol=1e-6)


@pytest.mark.parametrize("how", ["best", "mean", "sum", "centre", "closeness"])
def test_a_query_in_the_gallery_does_not_count_for_its_own_label(how: str) -> None:
    label_of = {"0": "Ahab", "20": "Boo", "60": "Ahab"}
    everything = at_angles(0, 20, 60)
    found = labels(everything, everything, label_of, 2, how, 2)
    assert rows(found) == [["Boo", "Ahab"], ["Ahab"], ["Boo", "Ahab"]]
    # Ahab at 0 is known to it by the one photograph at 60 degrees, whose mean and sum it is
    wanted = np.array([cosine(0, 20), cosine(0, 60)])
    if how == "closeness":
        wanted = label_similarity.closeness(np.sqrt(2 - 2 * wanted))
    np.testing.assert_allclose(found.similarity[0], wanted, atol=1e-6)
    assert found.similarity[1, 1] == -math.inf


def test_closeness_falls_from_one_with_the_distance() -> None:
    found = label_similarity.closeness(np.array([0, math.e - 1, 2]))
    # log(1 + d) is 0, 1 and log 3
    by_hand = [1, 1 / (1 + math.log(2)), 1 / (1 + math.log(1 + math.log(3)))]
    np.testing.assert_allclose(found, by_hand)


def test_equally_similar_labels_are_ordered_by_name() -> None:
    label_of = {"b": "Ahab", "a": "Zoe", "c": "Boo"}
    for order in (["a", "b", "c"], ["c", "b", "a"]):
        gallery = placed(dict.fromkeys(order, 30.0))
        for how in ("best", "mean", "sum", "centre", "closeness"):
            for k in (1, 2, 3):
                found = labels(placed({"q": 0}), gallery, label_of, k, how, 2)
                assert rows(found) == [["Ahab", "Boo", "Zoe"][:k]]


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([0, 60, 90, 180]), min_size=1, max_size=30),
    st.integers(1, 8),
)
def test_many_equally_similar_labels_are_ordered_by_name(angles: list[int], k: int) -> None:
    # every image is a label of its own; its cosine is one of four numbers
    gallery = placed({f"{i:02}": angle for i, angle in enumerate(angles)})
    found = labels(placed({"q": 0}), gallery, {f"{i:02}": f"w{i:02}" for i in range(30)}, k)
    order = sorted(range(len(angles)), key=lambda i: (angles[i], i))
    assert rows(found) == [[f"w{i:02}" for i in order[:k]]]


@pytest.mark.parametrize("how", ["best", "mean", "sum", "centre", "closeness"])
@pytest.mark.parametrize("gallery", [0, 2, 100])
def test_without_queries_there_are_no_rows_and_without_a_gallery_no_answers(
    how: str, gallery: int
) -> None:
    label_of = {str(angle): f"w{angle % 3}" for angle in range(gallery)}
    searched = at_angles(*range(gallery))
    assert labels(at_angles(), searched, label_of, 5, how).answers.shape == (0, 5)
    found = labels(at_angles(7, prefix="q"), searched, label_of, 5, how)
    assert len(rows(found)[0]) == min(gallery, 3)
    assert np.isneginf(found.similarity[0, min(gallery, 3) :]).all()
