"""Lists of pairs: which pairs a submission asks for, and lists with faults."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from kitbox import tables
from kitbox.competition import protocol
from kitbox.competition.protocol import PairList
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import Search, strings
from kitbox.value import explain
from tests.circle import competition

LISTED = {"header": ("row_id", "similarity")}
NAMED = {"header": ("query", "image", "similarity")}
SEARCH = Search("", strings(["a", "b", "c"]), strings(["a", "b", "c"]), strings(["a", "b", "c"]))


def asks_pairs(root: Path = Path(), pairs: str | None = "pairs.csv", **task: Any) -> Competition:
    task = {"pairs": pairs, **task}
    return competition(answers="pairs", gallery="test", unknown_label=None, root=root, task=task)


def read(root: Path, text: str, *searches: Search, **task: Any) -> PairList:
    (root / "pairs.csv").write_text(text, encoding="utf-8")
    return protocol.submitted_pairs(searches or (SEARCH,), asks_pairs(root, **task))


def named(pairs: PairList) -> list[tuple[str, str]]:
    return list(zip(pairs.query_ids.tolist(), pairs.gallery_images.tolist(), strict=True))


def test_listed_pairs_keep_the_order_of_the_list(tmp_path: Path) -> None:
    found = read(tmp_path, "row_id,query_image,gallery_image\n7,b,a\n3,a,c\n9,b,c\n")
    assert named(found) == [("b", "a"), ("a", "c"), ("b", "c")]
    assert [column.tolist() for column in found.names] == [["7", "3", "9"]]
    assert found.numbered_queries.tolist() == [1, 0, 1]


def test_a_list_may_have_other_columns_quotes_and_semicolons(tmp_path: Path) -> None:
    text = 'note;gallery_image;row_id;query_image\n"x;y";a;1;b\n;c;2;a\n'
    assert named(read(tmp_path, text)) == [("b", "a"), ("a", "c")]


def test_a_list_without_ids_names_rows_by_both_images(tmp_path: Path) -> None:
    found = read(tmp_path, "one,other\nb,a\na,c\n", pair_columns=("one", "other"))
    assert [column.tolist() for column in found.names] == [["b", "a"], ["a", "c"]]


def test_without_a_list_all_pairs_are_asked_for() -> None:
    second = Search("s", strings(["q"]), strings(["b"]), strings(["c", "b", "a"]))
    found = protocol.submitted_pairs((SEARCH, second), asks_pairs(pairs=None))
    wanted = [(q, g) for q in "abc" for g in "abc" if q != g] + [("q", "c"), ("q", "a")]
    assert named(found) == wanted
    assert found.search.tolist() == [0] * 6 + [1] * 2


def test_pairs_of_groups_stay_within_them(tmp_path: Path) -> None:
    lynx = Search("lynx", strings(["a", "b"]), strings(["a", "b"]), strings(["a", "b"]))
    newt = Search("newt", strings(["c", "d"]), strings(["c", "d"]), strings(["d", "c"]))
    head = "row_id,query_image,gallery_image\n"
    found = read(tmp_path, f"{head}1,c,d\n2,a,b\n", lynx, newt)
    assert (found.search.tolist(), found.query.tolist(), found.gallery.tolist()) == (
        [1, 0],
        [0, 0],
        [0, 1],
    )
    with pytest.raises(KitboxError, match=r"pairs.csv line 3: 'd' is no image of the gallery of"):
        read(tmp_path, f"{head}1,c,d\n2,a,d\n", lynx, newt)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "1,a,b\n2,x,b\n3,y,b\n",
            "pairs.csv line 3: 'x' is not a query; 1 more like it; get all images, or correct "
            "task.pairs and task.pair_columns in kitbox.toml",
        ),
        (
            "1,a,b\n\n2,a,z\n",
            "pairs.csv line 4: 'z' is no image of the gallery of 'a'; get all images, or correct "
            "task.pairs and task.pair_columns in kitbox.toml",
        ),
        (
            "1,a,b\n2,b,b\n3,c,c\n",
            "pairs.csv line 3: the pair names 'b' twice; an image is not compared with itself; "
            "1 more like it; remove the row",
        ),
        (
            "1,a,b\n2,a,c\n1,b,c\n",
            "pairs.csv line 4: the row's id '1' is that of an earlier row; correct the list",
        ),
        ("", "{root}/pairs.csv names no pair; get the whole file"),
        (
            "1,a,b,c\n",
            "{root}/pairs.csv line 2: 4 cells in 3 columns, 'c' is too many; put a value with a "
            'comma into quotes, as "Smith, John"',
        ),
    ],
)
def test_a_faulty_pair_is_named_with_its_line(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        read(tmp_path, f"row_id,query_image,gallery_image\n{rows}")
    assert str(caught.value) == message.format(root=tmp_path)


def test_a_list_of_other_columns_is_named(tmp_path: Path) -> None:
    with pytest.raises(KitboxError, match=r"no column 'query_image' among row_id, query, image"):
        read(tmp_path, "row_id,query,image\n1,a,b\n")


def test_too_many_pairs_for_a_file_are_refused() -> None:
    ids = strings([f"{number}" for number in range(8000)])
    with pytest.raises(KitboxError, match=r"all pairs are 64,000,000, more than a file of 50,000,"):
        protocol.submitted_pairs((Search("", ids, ids, ids),), asks_pairs(pairs=None))


@pytest.mark.parametrize(
    ("answers", "changed", "message"),
    [
        ("pairs", {"task": {"k": 3}}, "answers = 'pairs' are all of the pairs; leave task.k and"),
        ("images", {"task": {"pairs": "p.csv"}}, "task.pairs and task.pair_columns need answers"),
        ("pairs", {"form": LISTED}, "layout = 'pairs' needs a header of 3 columns: the query, the"),
        (
            "pairs",
            {"task": {"pairs": "p.csv"}, "form": NAMED},
            "layout = 'pairs' needs a header of 2 columns: the row's id, the similarity",
        ),
        ("pairs", {"form": {"layout": "joined"}}, "answers = 'pairs' need layout = 'pairs', and"),
        ("labels", {"form": {"layout": "pairs"}}, "answers = 'pairs' need layout = 'pairs', and"),
        ("pairs", {"task": {"metric": "map"}}, "answers = 'pairs' are scored by identity_balanced"),
        (
            "pairs",
            {"task": {"pairs": "p", "pair_columns": ("a", "a")}},
            "task.pair_columns names a column twice",
        ),
    ],
)
def test_contradicting_settings_are_refused(
    answers: str, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        competition(answers=answers, **changed)
    assert explain(caught.value).startswith(message)


def test_settings_of_other_competitions_are_written_as_before() -> None:
    assert not {"pairs", "pair_columns"} & set(competition().task.model_dump())


def test_a_long_list_is_read_in_blocks_and_as_the_slow_reader_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_BLOCK_ROWS", 10)
    for rows in (1, 9, 10, 11, 30, 31):
        path = tmp_path / f"{rows}.csv"
        path.write_text("a,b,c\r\n" + "".join(f"{n},é{n} ,{n * n}\r\n" for n in range(rows)))
        fast = list(tables.read_column_blocks(path, ("c", "b")))
        slow = [row for _, row in tables.read_columns(path, ("c", "b"))]
        assert [row for block in fast for row in np.stack(block, axis=1).tolist()] == slow
        assert len(slow) == rows
        assert [len(block[0]) for block in fast] == [10] * (rows // 10) + [rows % 10] * (
            rows % 10 > 0
        )


def test_rows_of_other_lengths_are_read_on_by_the_slow_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_BLOCK_ROWS", 2)
    path = tmp_path / "list.csv"
    path.write_text("a,b,c\n1,2,3\n4,5,6\n7,8\n9,10,11,\n")  # as many commas as a whole list
    found = [block[2].tolist() for block in tables.read_column_blocks(path, ("a", "b", "c"))]
    assert found == [["3", "6"], ["", "11"]]
