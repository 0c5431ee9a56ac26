"""Duplicates: images that belong together form a group, which is decided or undecided."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.competition.settings import Competition
from kitbox.dataset import duplicates
from kitbox.dataset.collection import collect
from kitbox.dataset.duplicates import DuplicateGroup, ImagePool
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.images.file_index import Signatures
from kitbox.records import LabelledImages, strings
from kitbox.report.duplicates_page import group_suggestions
from kitbox.workspace import Workspace
from tests.dataset.test_collection import with_settings
from tests.photographs import competition_on_disk, finish

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8).map(
    lambda pairs: np.array([p for p in map(sorted, pairs) if p[0] < p[1]], dtype=np.int64)
)


def pooled(digests: str, labels: str | None = None, sides: str | None = None) -> ImagePool:
    """Return a pool of images 0, 1, … with digests and labels of a letter each.

    Sides are t(rain), q(uery), T(est), i(ndex) and - for what is left out.
    """
    count = len(digests)
    names = {"t": "train", "q": "query", "T": "test", "i": "index", "-": "left out"}
    images = LabelledImages(
        strings([str(i) for i in range(count)]),
        tuple(Path(str(i)) for i in range(count)),
        strings([letter.strip(".") for letter in labels or "A" * count]),
        digests=strings(list(digests)),
    )
    signatures = Signatures(np.zeros((count, 8), np.uint8), np.zeros((count, 256), np.uint8))
    return ImagePool(images, signatures, strings([names[s] for s in sides or "t" * count]), ())


def grouped(pool: ImagePool, **fine: object) -> list[DuplicateGroup]:
    return duplicates.group_images(pool, {"copies": duplicates.copy_pairs(pool)}, **fine)  # type: ignore[arg-type]


def test_files_of_equal_bytes_are_copies_of_the_first() -> None:
    assert duplicates.copy_pairs(pooled("xyxzyx")).tolist() == [[0, 2], [1, 4], [0, 5]]
    assert duplicates.copy_pairs(pooled("")).tolist() == []


def joined(pairs: list[list[int]]) -> list[list[int]]:
    """Return the groups of ten rows that pairs connect, by joining two sets at each pair."""
    sets = [{i} for i in range(10)]
    for one, two in pairs:
        [a], [b] = ([s for s in sets if row in s] for row in (one, two))
        sets = [s for s in sets if s not in (a, b)] + [a | b]
    return sorted(sorted(s) for s in sets if len(s) > 1)


@given(PAIRS, PAIRS, PAIRS)
def test_links_connect_groups_and_neighbours_form_groups_of_their_own(
    copies: np.ndarray, near: np.ndarray, neighbours: np.ndarray
) -> None:
    pairs = (each.reshape(-1, 2) for each in (copies, near, neighbours))
    links = dict(zip(duplicates.LINK_KINDS, pairs, strict=True))
    certain = {kind: links[kind] for kind in duplicates.LINK_KINDS[:2]}
    found = duplicates.group_images(pooled("abcdefghij"), links)
    assert [g for g in found if g.kind != "neighbours"] == duplicates.group_images(
        pooled("abcdefghij"), certain
    )
    same = joined(np.concatenate(list(certain.values())).tolist())
    new = [
        pair for pair in links["neighbours"].tolist() if not any(set(pair) <= set(s) for s in same)
    ]
    rows_of = {
        kind: [[int(i) for i in g.images] for g in found if g.kind == kind] for kind in links
    }
    assert sorted(rows_of["copies"] + rows_of["near-duplicates"]) == same
    assert rows_of["neighbours"] == joined(new)
    less_certain = set(links["near-duplicates"].ravel().tolist())
    assert all(set(rows) & less_certain for rows in rows_of["near-duplicates"])
    assert not any(set(rows) & less_certain for rows in rows_of["copies"])
    assert all(group.undecided for group in found)


def test_copies_that_are_also_neighbours_keep_their_suggestion() -> None:
    links = {"copies": np.array([[0, 1]]), "neighbours": np.array([[0, 1], [0, 2], [1, 2]])}
    same, alike = duplicates.group_images(pooled("xxy"), links)  # type: ignore[arg-type]
    assert (same.kind, same.images) == ("copies", ("0", "1"))
    assert (alike.kind, alike.images) == ("neighbours", ("0", "1", "2"))
    assert group_suggestions(same, None) == [Decision("drop", "1")]
    assert group_suggestions(alike, None) == []


def test_copies_with_two_labels_are_a_conflict() -> None:
    same, other, test = grouped(pooled("xxyyzz", "AABCA.", "ttttqT"))
    assert (same.conflict, other.conflict, test.conflict) == (False, True, False)
    assert (other.images, other.labels) == (("2", "3"), ("B", "C"))


@pytest.mark.parametrize(
    ("sides", "leaks"),
    [
        ("tt", ()),
        ("qq", ()),
        ("tT", ("train/test",)),
        ("qT", ("train/test",)),
        ("tq", ("holdout",)),
        ("tqT", ("train/test", "holdout")),
        ("TT", ()),
        ("iT", ()),
        ("-T", ()),
    ],
)
def test_leaks_depend_on_the_sides(sides: str, leaks: tuple[str, ...]) -> None:
    [group] = grouped(pooled("x" * len(sides), None, sides))
    assert group.leaks == leaks


def test_a_group_is_decided_when_only_one_of_its_images_is_in_use() -> None:
    [left] = grouped(pooled("xxx", None, "tt-"))
    [decided] = grouped(pooled("xx", None, "t-"))
    assert (left.undecided, decided.undecided) == (True, False)
    assert not grouped(pooled("xx", "AB", "t-"))[0].conflict


def test_a_pair_that_is_marked_as_fine_is_decided() -> None:
    [fine] = grouped(pooled("xx"), fine={frozenset({"0", "1"})})
    [other] = grouped(pooled("xx"), fine={frozenset({"0", "2"})})
    assert (fine.undecided, other.undecided) == (False, True)


def test_all_but_the_first_of_exact_copies_can_be_dropped() -> None:
    #               x x x y y z z u u
    pool = pooled("xxxyyzzuu", "AAABCDD..", "ttq" + "tt" + "t-" + "TT")
    assert duplicates.drop_decisions(pool) == [
        Decision("drop", "1", note="copy of 0"),
        Decision("drop", "2", note="copy of 0"),
    ]
    assert duplicates.drop_decisions(pool, {frozenset({"0", "1"})}) == [
        Decision("drop", "2", note="copy of 0")
    ]


@pytest.fixture
def place(tmp_path: Path) -> tuple[Workspace, Competition]:
    workspace, competition = competition_on_disk(tmp_path)
    root = competition.images.root
    for copy, original in (("train/0_1.png", "train/0_0.png"), ("test/t_0.png", "train/1_0.png")):
        (root / copy).write_bytes((root / original).read_bytes())
    return workspace, competition


def pool_of(workspace: Workspace, competition: Competition) -> ImagePool:
    _, collection = finish(collect(workspace, competition))
    pool: ImagePool = finish(duplicates.gather_pool(workspace, competition, collection))[1]
    return pool


def test_every_image_is_in_the_pool_whatever_the_decisions_are(
    place: tuple[Workspace, Competition],
) -> None:
    workspace, competition = place
    before = pool_of(workspace, competition)
    for row in (
        Decision("drop", "0_1.png"),
        Decision("merge", "w_0", "w_1"),
        Decision("box", "2_0.png", "1 1 9 9"),
    ):
        decision_file.add(workspace.decisions, row)
    after = pool_of(workspace, competition)
    assert after.images.image_ids.tolist() == before.images.image_ids.tolist()
    side = dict(zip(after.images.image_ids.tolist(), after.sides.tolist(), strict=True))
    assert (side["0_1.png"], side["t_0.png"]) == ("left out", "test")
    assert {side["0_0.png"], side["1_0.png"]} <= {"train", "query"}
    label = dict(zip(after.images.image_ids.tolist(), after.labels.tolist(), strict=True))
    assert (label["0_0.png"], label["0_1.png"], label["t_0.png"]) == ("w_1", "w_0", "")
    # decisions other than boxes do not change what is embedded
    assert [part.image_ids.tolist() for part in after.parts] == [
        part.image_ids.tolist() for part in before.parts
    ]
    assert after.parts[0].boxes is not None
    copies = [group.images for group in grouped(after)]
    assert copies == [("0_0.png", "0_1.png"), ("1_0.png", "t_0.png")]


def test_near_duplicates_are_not_copies(place: tuple[Workspace, Competition]) -> None:
    pool = pool_of(*place)
    rows = duplicates.near_duplicate_pairs(pool, 6)
    assert pool.images.digests is not None
    assert all(len(set(pool.images.digests[pair])) == 2 for pair in rows)


def test_unreadable_images_are_not_duplicates(place: tuple[Workspace, Competition]) -> None:
    workspace, competition = place
    root = competition.images.root
    for name in ("train/2_0.png", "train/2_1.png", "test/t_1.png", "test/t_2.png"):
        (root / name).write_bytes(b"")
    pool = pool_of(workspace, with_settings(competition, images={"broken": "drop"}))
    assert not {"2_0.png", "2_1.png", "t_1.png", "t_2.png"} & set(pool.images.image_ids.tolist())
    # an unreadable test image is embedded as a grey one
    assert [len(part) for part in pool.parts] == [22, 8]
