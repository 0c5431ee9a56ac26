"""Records: shapes are checked, and images are selected and joined by their ids."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox import records
from kitbox.errors import KitboxError
from kitbox.records import (
    Checkpoint,
    Embeddings,
    Holdout,
    ImageSet,
    LabelledImages,
    Neighbours,
    Ranking,
    Score,
    Scores,
    Search,
    concatenate,
    rows_of,
    rows_of_many,
    strings,
)
from tests.circle import at_angles, image_set, placed

THREE = ImageSet(
    strings(["a", "b", "c"]),
    (Path("a.jpg"), Path("b.jpg"), Path("c.jpg")),
    strings(["Ahab", "Boo", "Cleo"]),
    np.arange(12, dtype=np.float32).reshape(3, 4),
    strings(["0a", "0b", "0c"]),
    strings(["Lynx", "Lynx", "Turtle"]),
    strings(["north", "", "south"]),
    np.array([0.0, np.nan, 60.0]),
)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b", "a"], "image id 'a' occurs 2 times"),
        (["a", "b", "a", "b", "b"], "image id 'a' occurs 2 times; 1 more like it"),
    ],
)
def test_a_repeated_image_id_is_named_and_counted(ids: list[str], message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        ImageSet(strings(ids), tuple(map(Path, ids)))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"paths": (Path("a"),)}, "2 image ids but 1 paths"),
        ({"labels": strings(["x", "y", "z"])}, "2 image ids but 3 labels"),
        ({"boxes": np.zeros((1, 4), np.float32)}, "2 image ids but 1 boxes"),
        ({"digests": strings([])}, "2 image ids but 0 digests"),
        ({"groups": strings(["x"])}, "2 image ids but 1 groups"),
        ({"encounters": strings(["x"])}, "2 image ids but 1 encounters"),
        ({"times": np.zeros(3)}, "2 image ids but 3 times"),
    ],
)
def test_every_column_of_an_image_set_has_a_value_for_each_image(
    changed: dict[str, object], message: str
) -> None:
    fields = {"image_ids": strings(["a", "b"]), "paths": (Path("a"), Path("b")), **changed}
    with pytest.raises(KitboxError) as caught:
        ImageSet(**fields)  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.parametrize("rows", [np.array([2, 0]), np.array([True, False, True])])
def test_taken_images_keep_all_their_columns(rows: np.ndarray) -> None:
    taken = THREE.take(rows)
    order = [2, 0] if rows.dtype != np.bool_ else [0, 2]
    assert taken.image_ids.tolist() == [THREE.image_ids[i] for i in order]
    assert taken.paths == tuple(THREE.paths[i] for i in order)
    assert taken.labels is not None
    assert taken.labels.tolist() == [THREE.labels[i] for i in order]  # type: ignore[index]
    assert taken.boxes is not None
    assert taken.boxes[:, 0].tolist() == [4.0 * i for i in order]
    assert taken.digests is not None
    assert taken.digests.tolist() == [f"0{'abc'[i]}" for i in order]
    for name in ("groups", "encounters", "times"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(THREE, name)[order])


def test_taking_no_image_leaves_an_empty_image_set() -> None:
    assert len(THREE.take(np.zeros(3, dtype=np.bool_))) == 0


def test_images_without_labels_keep_their_boxes_and_digests() -> None:
    renamed = THREE.without_labels()
    assert renamed.labels is None
    for name in ("image_ids", "paths", "boxes", "digests", "groups", "encounters", "times"):
        assert getattr(renamed, name) is getattr(THREE, name)


def test_images_are_found_by_id_in_the_given_order() -> None:
    found = THREE.of(strings(["c", "a"]))
    assert found.image_ids.tolist() == ["c", "a"]
    assert found.labels is not None
    assert found.labels.tolist() == ["Cleo", "Ahab"]


def test_an_id_without_an_image_is_named_and_counted() -> None:
    with pytest.raises(KitboxError) as caught:
        THREE.of(strings(["c", "x", "y"]))
    assert str(caught.value) == "there is no image 'x'; 1 more like it"


def test_concatenated_images_have_the_columns_of_both_sides() -> None:
    bare = ImageSet(strings(["a_longer_name"]), (Path("d.jpg"),))
    for joined, known, gap in (
        (concatenate(THREE, bare), slice(0, 3), 3),
        (concatenate(bare, THREE), slice(1, 4), 0),
    ):
        assert sorted(joined.image_ids.tolist()) == ["a", "a_longer_name", "b", "c"]
        assert joined.paths[gap] == Path("d.jpg")
        for name in ("labels", "digests", "groups", "encounters"):
            column = getattr(joined, name)
            assert column[known].tolist() == getattr(THREE, name).tolist()
            assert column[gap] == ""
        assert joined.boxes is not None
        assert joined.boxes.dtype == np.float32
        np.testing.assert_array_equal(joined.boxes[known], THREE.boxes)
        assert np.isnan(joined.boxes[gap]).all()
        assert joined.times is not None
        np.testing.assert_array_equal(joined.times[known], THREE.times)
        assert np.isnan(joined.times[gap])


def test_a_column_that_neither_side_has_stays_absent() -> None:
    a, b = (ImageSet(strings([name]), (Path(name),)) for name in "ab")
    joined = concatenate(a, b)
    assert joined.image_ids.tolist() == ["a", "b"]
    assert [joined.labels, joined.boxes, joined.groups, joined.times] == [None] * 4


def test_images_that_share_an_id_are_not_concatenated() -> None:
    with pytest.raises(KitboxError, match=r"^image id 'b' occurs 2 times$"):
        concatenate(THREE, THREE.take(np.array([1])))


NAMES = st.text("abc", max_size=3)


@given(st.lists(NAMES, max_size=20), st.lists(NAMES, unique=True, max_size=20))
def test_rows_equal_a_linear_search(requested: list[str], ids: list[str]) -> None:
    found = rows_of(strings(requested), strings(ids))
    assert found.tolist() == [ids.index(name) if name in ids else -1 for name in requested]
    assert found.dtype == np.int64


def test_a_search_has_an_image_for_each_query() -> None:
    with pytest.raises(KitboxError, match=r"^2 query ids but 1 query images$"):
        Search("", strings(["q", "r"]), strings(["a"]), strings(["b", "c"]))


def test_an_image_on_both_sides_of_a_holdout_is_refused() -> None:
    train, query = image_set({"a": "Ahab", "b": "Boo"}), image_set({"b": "Boo"})
    with pytest.raises(KitboxError, match=r"^image 'b' is on both sides of the holdout$"):
        Holdout(train, query, train, strings(["Boo"]))


def test_a_holdout_has_an_answer_for_each_query() -> None:
    train, query = image_set({"a": "Ahab"}), image_set({"b": "Boo", "c": "Boo"})
    with pytest.raises(KitboxError, match=r"^2 queries but 1 answers$"):
        Holdout(train, query, train, strings(["Boo"]))


def test_the_error_of_a_missing_checkpoint_names_the_command_to_run(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    with pytest.raises(KitboxError) as caught:
        Checkpoint(
            path=path, plugin="resnet34_620", fingerprint="f", digest="d", epoch=3, on="holdout"
        )
    assert str(caught.value) == f"there is no checkpoint {path}; run 'kitbox train resnet34_620'"


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((1, 1), np.float32), "2 image ids but vectors of shape (1, 1)"),
        (np.ones(2, np.float32), "2 image ids but vectors of shape (2,)"),
        (np.ones((2, 1), np.float64), "embeddings are float32, not float64"),
        (
            np.array([[1], [2]], np.float32),
            "the embedding of image 'b' has length 2, not 1; did the training diverge?",
        ),
        (
            np.array([[np.nan], [0]], np.float32),
            "the embedding of image 'a' has length nan, not 1; 1 more like it; "
            "did the training diverge?",
        ),
        (
            np.array([[1], [np.inf]], np.float32),
            "the embedding of image 'b' has length inf, not 1; did the training diverge?",
        ),
    ],
)
def test_embeddings_are_finite_unit_rows_of_float32(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        Embeddings(strings(["a", "b"]), vectors)
    assert str(caught.value) == message


@given(st.lists(st.integers(0, 359), min_size=1, max_size=20, unique=True), st.randoms())
def test_embeddings_of_some_images_are_their_rows_in_their_order(
    angles: list[int], random: object
) -> None:
    some = random.sample(angles, random.randint(0, len(angles)))  # type: ignore[attr-defined]
    found = at_angles(*angles).of(strings([str(angle) for angle in some]))
    assert found.image_ids.tolist() == [str(angle) for angle in some]
    np.testing.assert_array_equal(found.vectors, at_angles(*some).vectors)


def test_embeddings_of_images_that_follow_each_other_stay_where_they_are(tmp_path: Path) -> None:
    whole = at_angles(*range(20))
    np.save(tmp_path / "vectors.npy", whole.vectors)
    mapped = Embeddings(whole.image_ids, np.load(tmp_path / "vectors.npy", mmap_mode="r"))
    part = mapped.of(whole.image_ids[3:9])
    assert np.shares_memory(part.vectors, mapped.vectors)
    np.testing.assert_array_equal(part.vectors, whole.vectors[3:9])
    other = mapped.of(whole.image_ids[[3, 5, 4]])
    np.testing.assert_array_equal(other.vectors, whole.vectors[[3, 5, 4]])


def test_nobody_writes_through_a_part_into_the_whole() -> None:
    whole = at_angles(*range(20))
    part = whole.of(whole.image_ids[3:9])
    with pytest.raises(ValueError, match="read-only"):
        part.vectors[0] = 0
    whole.of(whole.image_ids[[3, 5]]).vectors[0] = 0  # rows of their own
    np.testing.assert_array_equal(whole.vectors, at_angles(*range(20)).vectors)


@pytest.mark.parametrize("angle_of", [{}, {"a": 10.0}, {"a": 10.0, "whale": 20.0}])
def test_an_image_without_embedding_is_named(angle_of: dict[str, float]) -> None:
    embeddings = placed(angle_of)
    with pytest.raises(KitboxError) as caught:
        embeddings.of(strings(["orca", "zebra"]))
    assert str(caught.value) == (
        "no embedding of image 'orca'; 1 more like it; these embeddings belong to another image set"
    )


def test_a_neighbour_more_similar_than_the_one_before_it_is_refused() -> None:
    with pytest.raises(KitboxError, match=r"^similarity rises along a row of neighbours$"):
        Neighbours(strings(["q"]), np.array([["a", "b"]]), np.array([[0.1, 0.2]], np.float32))


def test_a_query_among_its_own_neighbours_is_refused() -> None:
    with pytest.raises(KitboxError, match=r"^query 'r' finds itself$"):
        Neighbours(
            strings(["q", "r"]),
            np.array([["a", "b"], ["a", "r"]]),
            np.array([[0.2, 0.1], [0.2, 0.1]], np.float32),
        )


def test_neighbours_may_end_in_empty_places() -> None:
    similarity = np.array([[0.5, -np.inf, -np.inf]], np.float32)
    neighbours = Neighbours(strings(["q"]), np.array([["a", "", ""]]), similarity)
    assert neighbours.gallery_ids.tolist() == [["a", "", ""]]


def test_a_repeated_answer_is_refused_and_repeated_empty_places_are_not() -> None:
    similarity = np.array([[0.3, 0.2, 0.1]], np.float32)
    assert Ranking(strings(["q"]), np.array([["a", "", ""]]), similarity).k == 3
    with pytest.raises(KitboxError, match=r"^an answer to query 'q' is repeated$"):
        Ranking(strings(["q"]), np.array([["a", "b", "a"]]), similarity)


def test_a_ranking_has_a_similarity_for_each_answer() -> None:
    with pytest.raises(KitboxError) as caught:
        Ranking(strings(["q"]), np.array([["a", "b"]]), np.zeros((1, 3), np.float32))
    assert str(caught.value) == "1 queries, answers (1, 2), similarities (1, 3)"


@pytest.mark.parametrize("value", [-1.1, 1.1, math.nan])
def test_a_score_outside_minus_1_to_1_is_refused(value: float) -> None:
    with pytest.raises(KitboxError, match=rf"^a score of {value} is not in \[-1, 1\]$"):
        Score(value, 0.0, 1.0, 3)


def test_scores_are_written_whole_or_rounded_and_the_main_one_first() -> None:
    scores = Scores({"map_at_5": Score(1 / 3, 0.25, 0.5, 9), "recall_at_1": Score(0.5, 0, 1, 9)})
    assert scores.main.value == 1 / 3
    assert list(scores.as_json()) == ["map_at_5", "recall_at_1"]
    assert scores.as_json()["map_at_5"]["value"] == 1 / 3
    assert scores.as_json(6)["map_at_5"] == {
        "value": 0.333333,
        "low": 0.25,
        "high": 0.5,
        "queries": 9,
    }


def test_only_images_with_labels_are_labelled_images() -> None:
    bare = THREE.without_labels()
    assert bare.labels is None
    with pytest.raises(ValueError, match=r"^these images have no labels$"):
        _ = bare.labelled
    assert isinstance(THREE.labelled, LabelledImages)
    assert THREE.labelled.take(np.array([2, 0])).labels.tolist() == ["Cleo", "Ahab"]


def test_files_that_were_not_read_have_no_digests() -> None:
    with pytest.raises(ValueError, match="have not been read"):
        _ = ImageSet(strings(["a"]), (Path("a.jpg"),)).file_digests
    assert THREE.file_digests is THREE.digests


def test_labelled_images_stay_labelled_when_others_are_added() -> None:
    both = concatenate(THREE.labelled, ImageSet(strings(["d"]), (Path("d.jpg"),)))
    assert isinstance(both, LabelledImages)
    assert both.labels.tolist() == [*THREE.labelled.labels.tolist(), ""]


@given(st.lists(st.text(max_size=4), unique=True), st.lists(st.text(max_size=6)))
def test_many_rows_are_found_by_hashes_as_by_names(ids: list[str], requested: list[str]) -> None:
    known, asked = strings(ids), strings([*requested, *ids])
    known = known[np.unique(known, return_index=True)[1]]  # numpy drops zeros behind a text
    assert rows_of_many(asked, known).tolist() == rows_of(asked, known).tolist()


def test_equal_hashes_of_two_names_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "hash_strings", lambda values: np.zeros(len(values), np.uint64))
    assert rows_of_many(strings(["b", "c", "a"]), strings(["a", "b"])).tolist() == [1, -1, 0]
    assert rows_of_many(strings(["b", "a"]), strings(["a"])).tolist() == [-1, 0]
