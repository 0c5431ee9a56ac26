"""Findings of the lint about a submission of pairs."""

from pathlib import Path

import pytest

from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.formats import lint
from tests.circle import competition, image_set

TRAIN = image_set({"a.jpg": "Ahab"})
TEST = image_set({"x.jpg": "", "y.jpg": "", "z.jpg": ""}).without_labels()

PAIRS = competition(answers="pairs", gallery="test", form={"accepts": ["any-order"]})
PAIR_ROWS = [
    *("x.jpg,y.jpg,0.5", "x.jpg,z.jpg,0.25", "y.jpg,x.jpg,0.5"),
    *("y.jpg,z.jpg,1", "z.jpg,x.jpg,0", "z.jpg,y.jpg,1e-3"),
]


def pairs_found(rows: list[str], toy: Competition = PAIRS) -> list[str]:
    return found("\n".join([",".join(toy.header), *rows]) + "\n", toy)


def found(text: str, toy: Competition = PAIRS) -> list[str]:
    searches = protocol.leaderboard_searches(TEST, TRAIN, None, toy)
    findings = lint.lint(text.encode(), toy, TRAIN, TEST, searches)
    return [str(finding) for finding in findings]


def changed_row(number: int, row: str) -> list[str]:
    return pairs_found([*PAIR_ROWS[:number], row, *PAIR_ROWS[number + 1 :]])


def test_a_file_of_all_pairs_has_no_findings() -> None:
    assert pairs_found(PAIR_ROWS) == []


@pytest.mark.parametrize(
    ("number", "row", "message"),
    [
        (1, "x.jpg,z.jpg,1.25", "line 3, column 13: similarity 1.25 is out of range; similarities "
         "are from 0 to 1"),
        (1, "x.jpg,z.jpg,nan", "line 3, column 13: 'nan' is not a similarity; write a number from "
         "0 to 1"),
        (1, "x.jpg,z.jpg,", "line 3, column 13: '' is not a similarity; write a number from "
         "0 to 1"),
        (1, "x.jpg,z.jpg,5_0", "line 3, column 13: '5_0' is not a similarity; write a number from "
         "0 to 1"),
        (1, "x.jpg,z.jpg", "line 3, column 1: 2 columns, not 3; add what is missing"),
    ],
)  # fmt: skip
def test_a_similarity_is_checked(number: int, row: str, message: str) -> None:
    missing = "line 7, column 1: pair 'x.jpg,z.jpg' is missing; add its row"
    expected = [message, missing] if "columns" in message else [message]
    assert changed_row(number, row) == expected


def test_foreign_repeated_and_missing_pairs_are_found_with_their_lines() -> None:
    rows = [*PAIR_ROWS[:2], "x.jpg,x.jpg,0.5", PAIR_ROWS[0], "x.jpg,gone.jpg,1", *PAIR_ROWS[4:]]
    assert pairs_found(rows) == [
        "line 4, column 1: 'x.jpg,x.jpg' is no pair; remove its row",
        "line 5, column 1: pair 'x.jpg,y.jpg' is on line 2 already; remove one row",
        "line 6, column 1: 'x.jpg,gone.jpg' is no pair; remove its row",
        "line 8, column 1: pair 'y.jpg,x.jpg' is missing; add its row; 1 more like it",
    ]


def test_of_many_findings_of_a_kind_ten_are_named() -> None:
    foreign = [f"x.jpg,{number},0.5" for number in range(40)]
    listed = pairs_found([*PAIR_ROWS, *foreign])
    assert len(listed) == 10
    assert listed[-1] == "line 17, column 1: 'x.jpg,9' is no pair; remove its row; 30 more like it"


def test_pairs_in_another_order_are_an_error_unless_the_leaderboard_takes_them() -> None:
    turned = [PAIR_ROWS[1], PAIR_ROWS[0], *PAIR_ROWS[2:]]
    what = "pair 'x.jpg,y.jpg' should be row 1 of the pairs; sort the rows in their order"
    assert pairs_found(turned) == [f"line 3, column 1: warning: {what}"]
    strict = competition(answers="pairs", gallery="test")
    assert pairs_found(turned, strict) == [f"line 3, column 1: {what}"]


def test_equal_similarities_of_a_query_are_counted() -> None:
    assert changed_row(1, "x.jpg,z.jpg,0.5") == [
        "line 2, column 1: warning: 2 pairs of 6 have the similarity of another pair of their "
        "query; equal similarities have no order and count together"
    ]
    level = [row.rpartition(",")[0] + ",0.5" for row in PAIR_ROWS]
    assert pairs_found(level) == [
        "line 2, column 1: all pairs have the similarity 0.5, which gives no order; give likely "
        "pairs a higher one"
    ]


def test_pairs_without_their_header_are_still_read() -> None:
    text = "\n".join(PAIR_ROWS) + "\n"
    assert found(text, PAIRS) == [
        "line 1, column 1: the header is x.jpg,y.jpg,0.5, not query,image,similarity; write it on "
        "line 1"
    ]


def test_similarities_of_pairs_may_be_cosines_where_no_range_is_demanded() -> None:
    toy = competition(answers="pairs", gallery="test", form={"scores": "similarity"})
    assert pairs_found([*PAIR_ROWS[:4], "z.jpg,x.jpg,-0.5", PAIR_ROWS[5]], toy) == []


def test_an_empty_file_of_pairs_lacks_its_header_and_pairs() -> None:
    assert found("", PAIRS) == [
        "line 1, column 1: the header is missing, not query,image,similarity; write it on line 1",
        "line 1, column 1: pair 'x.jpg,y.jpg' is missing; add its row; 5 more like it",
    ]


def test_pairs_are_named_by_the_ids_of_their_list(tmp_path: Path) -> None:
    listed = "row_id,query_image,gallery_image\n7,x.jpg,z.jpg\n8,y.jpg,x.jpg\n"
    (tmp_path / "pairs.csv").write_text(listed)
    toy = competition(answers="pairs", gallery="test", root=tmp_path, task={"pairs": "pairs.csv"})
    assert pairs_found(["7,0.5", "8,0.25"], toy) == []
    assert pairs_found(["7,0.5", "9,2"], toy) == [
        "line 3, column 1: '9' is no pair; remove its row",
        "line 3, column 1: pair '8' is missing; add its row",
    ]
