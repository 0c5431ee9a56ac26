"""Findings of the lint, for each layout and each kind of answer."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kitbox.competition import protocol
from kitbox.competition.lists import ListedImages
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.formats import csv_format, lint, lint_findings
from kitbox.formats.lint_findings import LintFinding
from kitbox.records import ImageSet, Search, strings
from tests.circle import competition, image_set, ranking_of

TRAIN = image_set({"a.jpg": "Ahab", "b.jpg": "Boo", "c.jpg": "Cleo", "d.jpg": "Ahab"})
TEST = image_set({"x.jpg": "", "y.jpg": "", "z.jpg": ""}).without_labels()

# Three labels of each query, with a header; or the two nearest images, without.
LABELS = competition(k=3)
IMAGES = competition(
    answers="images", k=2, gallery="train+test", form={"header": (), "layout": "columns"}
)
# The two nearest images, a row each, scored.
LONG = competition(
    answers="images",
    k=2,
    form={"header": ("query", "image", "score"), "layout": "long", "scores": "unit"},
)
# Up to three matches among the test images, the query itself and one more at least.
MATCHES = competition(
    answers="matches", k=3, gallery="test", task={"with_itself": True, "least": 2}
)
CLUSTERS = competition(answers="clusters", gallery="test")
# One landmark and its confidence, or nothing.
SCORED = competition(
    answers="label", k=1, unknown_label=None, task={"metric": "gap"}, form={"layout": "scored"}
)
GOOD = "Image,Id\nx.jpg,Ahab Boo Cleo\ny.jpg,Boo new_whale Ahab\nz.jpg,Cleo Boo Ahab\n"
GOOD_IMAGES = "x.jpg,a.jpg,y.jpg\ny.jpg,x.jpg,b.jpg\nz.jpg,a.jpg,b.jpg\n"
GOOD_LONG = (
    "query,image,score\nx.jpg,a.jpg,0.9\nx.jpg,b.jpg,0.8\n"
    "y.jpg,b.jpg,1\ny.jpg,c.jpg,0\nz.jpg,d.jpg,0.4\nz.jpg,a.jpg,0.3\n"
)
GOOD_MATCHES = "Image,Id\nx.jpg,x.jpg y.jpg\ny.jpg,y.jpg x.jpg z.jpg\nz.jpg,y.jpg z.jpg\n"
GOOD_CLUSTERS = "Image,Id\nx.jpg,cluster_0\ny.jpg,cluster_1\nz.jpg,cluster_0\n"
GOOD_SCORED = "Image,Id\nx.jpg,Ahab 0.5\ny.jpg,\nz.jpg,Boo -1e-3\n"
GOODS = {
    "labels": (GOOD, LABELS),
    "images": (GOOD_IMAGES, IMAGES),
    "long": (GOOD_LONG, LONG),
    "matches": (GOOD_MATCHES, MATCHES),
    "clusters": (GOOD_CLUSTERS, CLUSTERS),
    "scored": (GOOD_SCORED, SCORED),
}


def found(
    text: str | bytes,
    toy: Competition = LABELS,
    train: ImageSet = TRAIN,
    test: ImageSet = TEST,
    searches: tuple[Search, ...] | None = None,
) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    if searches is None:
        searches = protocol.leaderboard_searches(test, train, None, toy)
    return [str(finding) for finding in lint.lint(data, toy, train, test, searches)]


def changed(kind: str, old: str, new: str) -> list[str]:
    """Return the findings of a valid submission after one replacement."""
    text, toy = GOODS[kind]
    assert old in text
    return found(text.replace(old, new, 1), toy)


def test_a_header_is_checked_to_its_last_column() -> None:
    form = {"header": ("query", "match"), "layout": "columns"}
    toy = competition(k=8, answers="images", gallery="train+test", task={"least": 2}, form=form)
    whole = ",".join(("query", *(f"match_{number}" for number in range(1, 9))))
    assert found(f"{whole}\n{GOOD_IMAGES}", toy) == []
    assert found(f"query,match\n{GOOD_IMAGES}", toy) == [
        "line 1, column 1: the header is query,match, not query,match_1,match_2,…,match_8 "
        "(2 columns of 9); write it on line 1"
    ]


def test_similarities_may_lie_outside_0_and_1_where_they_are_no_unit_scores() -> None:
    form = {"header": ("query", "image", "similarity_cosine"), "layout": "long"}
    toy = competition(answers="images", k=2, form=form)
    text = GOOD_LONG.replace("score", "similarity_cosine").replace("0.3", "-0.3")
    assert found(text, toy) == []
    assert found(text.replace("-0.3", "near"), toy) == [
        "line 7, column 13: 'near' is not a score; write a number"
    ]


@pytest.mark.parametrize("layout", ["columns", "long"])
def test_names_with_blanks_and_commas_are_written_read_and_accepted(layout: str) -> None:
    names = ("Big Ben/IMG 1 (2), a.jpg", 'the "old" one.jpg', " ,.jpg", "plain.jpg")
    header = ("query", "match") if layout == "columns" else ("query", "match", "score")
    toy = competition(answers="images", k=4, form={"header": header, "layout": layout})
    train = image_set(dict.fromkeys(names, "Ahab"))
    test = image_set({"a query, b.jpg": ""}).without_labels()
    rows = {"a query, b.jpg": [(name, 0.9 - n / 10) for n, name in enumerate(names)]}
    text = csv_format.write(ranking_of(rows), toy)
    assert csv_format.read(text, toy).answers.tolist() == [list(names)]
    assert found(text, toy, train=train, test=test) == []


@pytest.mark.parametrize("kind", GOODS)
def test_a_valid_submission_has_no_findings(kind: str) -> None:
    assert found(*GOODS[kind]) == []


@pytest.mark.parametrize(
    ("old", "new", "findings"),
    [
        (
            "Image,Id",
            "Image,Label",
            ["line 1, column 1: the header is Image,Label, not Image,Id; write it on line 1"],
        ),
        (
            "Image,Id\n",
            "",
            [
                "line 1, column 1: the header is x.jpg,Ahab Boo Cleo, not Image,Id; "
                "write it on line 1"
            ],
        ),
        (
            "z.jpg,",
            "w.jpg,",
            [
                "line 4, column 1: 'w.jpg' is not a query; did you mean z.jpg?",
                "line 4, column 1: query 'z.jpg' is missing; add its row",
            ],
        ),
        (
            "z.jpg,",
            "somebody,",
            [
                "line 4, column 1: 'somebody' is not a query; remove its row",
                "line 4, column 1: query 'z.jpg' is missing; add its row",
            ],
        ),
        (
            "z.jpg,",
            " z.jpg,",
            [
                "line 4, column 1: ' z.jpg' is not a query; remove the blanks around it",
                "line 4, column 1: query 'z.jpg' is missing; add its row",
            ],
        ),
        (
            "y.jpg,Boo new_whale Ahab\nz.jpg,Cleo Boo Ahab\n",
            "",
            ["line 2, column 1: query 'y.jpg' is missing; add its row; 1 more like it"],
        ),
        (
            "z.jpg,",
            "y.jpg,",
            [
                "line 4, column 1: query 'y.jpg' is on line 3 already; remove one row",
                "line 4, column 1: query 'z.jpg' is missing; add its row",
            ],
        ),
        ("Ahab Boo Cleo", "Ahab Boo", ["line 2, column 7: 2 answers, not 3; name more"]),
        (
            "Ahab Boo Cleo",
            "Ahab Boo Cleo new_whale",
            ["line 2, column 7: 4 answers, not 3; leave the last ones out"],
        ),
        (
            "new_whale Ahab",
            "Boo Ahab",
            ["line 3, column 11: answer 'Boo' is repeated; name another"],
        ),
        (
            "new_whale Ahab",
            "new_wale Ahab",
            ["line 3, column 11: answer 'new_wale' is not a label; did you mean new_whale?"],
        ),
        (
            "new_whale Ahab",
            "x.jpg Ahab",
            ["line 3, column 11: answer 'x.jpg' is not a label; name one that is"],
        ),
        (
            "Cleo Boo Ahab",
            "Cleo  Ahab",
            ["line 4, column 12: an answer is empty; name one, and put one blank between answers"],
        ),
        (
            "Cleo Boo Ahab",
            "Cleo Boo\tAhab",
            [
                "line 4, column 7: 2 answers, not 3; name more",
                "line 4, column 12: answer 'Boo\tAhab' is not a label; did you mean Ahab?",
            ],
        ),
        (
            "Cleo Boo Ahab",
            "Cleo,Boo,Ahab",
            ["line 4, column 1: 4 columns, not 2; put quotes around a name that has a comma"],
        ),
        (
            "z.jpg,Cleo Boo Ahab",
            "z.jpg",
            ["line 4, column 1: 1 column, not 2; add what is missing"],
        ),
        ("x.jpg,Ahab Boo Cleo", "x.jpg,", ["line 2, column 7: 0 answers, not 3; name more"]),
        ("y.jpg", "\ny.jpg", []),
        ("Boo new_whale Ahab", '"Boo new_whale Ahab"', []),
        (
            "Boo new_whale Ahab",
            '"Boo new_whale Ahab',
            ["line 3, column 7: answer '\"Boo' is not a label; did you mean Boo?"],
        ),
    ],
    ids=[
        "another header",
        "no header",
        "almost a query",
        "no query",
        "a query with a blank",
        "missing queries",
        "repeated query",
        "too few answers",
        "too many answers",
        "repeated answer",
        "almost an answer",
        "unknown answer",
        "empty answer",
        "a tab for a blank",
        "columns instead of blanks",
        "one column",
        "no answer",
        "blank line",
        "quoted answers",
        "an open quote",
    ],
)
def test_findings_about_labels_have_lines_and_columns(
    old: str, new: str, findings: list[str]
) -> None:
    assert changed("labels", old, new) == findings


@pytest.mark.parametrize(
    ("old", "new", "findings"),
    [
        (
            "x.jpg,a.jpg,y.jpg",
            "x.jpg,a.jpg",
            ["line 1, column 7: 1 answer, not 2; name more"],
        ),
        ("x.jpg,a.jpg,y.jpg", "x.jpg", ["line 1, column 1: 0 answers, not 2; name more"]),
        (
            "x.jpg,a.jpg,y.jpg",
            "x.jpg,a.jpg,b.jpg,c.jpg",
            ["line 1, column 7: 3 answers, not 2; leave the last ones out"],
        ),
        (
            "y.jpg,x.jpg,b.jpg",
            "y.jpg,b.jpg,y.jpg",
            ["line 2, column 13: query 'y.jpg' is among its own answers; leave it out"],
        ),
        (
            "z.jpg,a.jpg,b.jpg",
            "z.jpg,a.jpg,a.jpg",
            ["line 3, column 13: answer 'a.jpg' is repeated; name another"],
        ),
        (
            "z.jpg,a.jpg,b.jpg",
            "z.jpg,a.jpg,whale",
            ["line 3, column 13: answer 'whale' is not an image of the gallery; name one that is"],
        ),
        (
            "z.jpg,a.jpg,b.jpg",
            "z.jpg, a.jpg,b.jpg",
            ["line 3, column 7: answer ' a.jpg' has blanks around it; remove them"],
        ),
        (
            "z.jpg,a.jpg,b.jpg",
            "z.jpg,a.jpg,",
            ["line 3, column 13: an answer is empty; name one, and put one blank between answers"],
        ),
        (
            "x.jpg,a",
            "query,neighbours\nx.jpg,a",
            ["line 1, column 1: 'query' is not a query; remove its row"],
        ),
    ],
    ids=[
        "too few answers",
        "no answer",
        "too many answers",
        "itself",
        "repeated answer",
        "unknown answer",
        "an answer with a blank",
        "empty answer",
        "unwanted header",
    ],
)
def test_findings_about_images_have_lines_and_columns(
    old: str, new: str, findings: list[str]
) -> None:
    assert changed("images", old, new) == findings


@pytest.mark.parametrize(
    ("old", "new", "findings"),
    [
        (
            "a.jpg,0.9",
            "a.jpg,1.5",
            ["line 2, column 13: score 1.5 is out of range; scores are from 0 to 1"],
        ),
        (
            "a.jpg,0.9",
            "a.jpg,-0.1",
            ["line 2, column 13: score -0.1 is out of range; scores are from 0 to 1"],
        ),
        (
            "a.jpg,0.9",
            "a.jpg,nan",
            ["line 2, column 13: 'nan' is not a score; write a number from 0 to 1"],
        ),
        (
            "a.jpg,0.9",
            "a.jpg,0.80",
            [
                "line 2, column 13: all answers of 'x.jpg' have the score 0.80, which gives no "
                "order; let the scores fall along the answers"
            ],
        ),
        (
            "x.jpg,b.jpg,0.8\n",
            "",
            ["line 2, column 7: 1 answer, not 2; name more"],
        ),
        (
            "y.jpg,b.jpg,1\n",
            "x.jpg,c.jpg,0.7\ny.jpg,b.jpg,1\n",
            ["line 2, column 7: 3 answers, not 2; leave the last ones out"],
        ),
        (
            "x.jpg,b.jpg",
            "x.jpg,a.jpg",
            ["line 3, column 7: answer 'a.jpg' is on line 2 already; name another"],
        ),
        (
            "x.jpg,b.jpg",
            "x.jpg,e.jpg",
            [
                "line 3, column 7: answer 'e.jpg' is not an image of the gallery; "
                "did you mean d.jpg?"
            ],
        ),
        (
            "x.jpg,b.jpg",
            "x.jpg,x.jpg",
            ["line 3, column 7: query 'x.jpg' is among its own answers; leave it out"],
        ),
        (
            "x.jpg,b.jpg,0.8",
            "x.jpg,b.jpg",
            [
                "line 2, column 7: 1 answer, not 2; name more",
                "line 3, column 1: 2 columns, not 3; add what is missing",
            ],
        ),
        (
            "y.jpg,b.jpg,1\ny.jpg,c.jpg,0\n",
            "",
            ["line 5, column 1: query 'y.jpg' is missing; add its row"],
        ),
        (
            "y.jpg,b.jpg,1\n",
            "y.jpg,b.jpg,1\nwhale,b.jpg,1\n",
            ["line 5, column 1: 'whale' is not a query; remove its row"],
        ),
        (
            "y.jpg,b.jpg,1\ny.jpg,c.jpg,0\nz.jpg,d.jpg,0.4\n",
            "y.jpg,b.jpg,1\nz.jpg,d.jpg,0.4\ny.jpg,c.jpg,0\n",
            [
                "line 6, column 1: rows of query 'y.jpg' are apart; put them one after another",
                "line 7, column 1: rows of query 'z.jpg' are apart; put them one after another",
            ],
        ),
        (
            "y.jpg,b.jpg,1\ny.jpg,c.jpg,0\nz.jpg,d.jpg,0.4\nz.jpg,a.jpg,0.3\n",
            "z.jpg,d.jpg,0.4\nz.jpg,a.jpg,0.3\ny.jpg,b.jpg,1\ny.jpg,c.jpg,0\n",
            [
                "line 6, column 1: query 'y.jpg' should be number 2 of the queries; "
                "sort the rows in the order of the queries"
            ],
        ),
    ],
    ids=[
        "above 1",
        "below 0",
        "no number",
        "all tied",
        "too few answers",
        "too many answers",
        "repeated answer",
        "unknown answer",
        "itself",
        "two columns",
        "missing query",
        "no query",
        "rows apart",
        "another order",
    ],
)
def test_findings_about_the_long_layout_have_lines_and_columns(
    old: str, new: str, findings: list[str]
) -> None:
    assert changed("long", old, new) == findings


@pytest.mark.parametrize(
    ("kind", "old", "new", "findings"),
    [
        (
            "matches",
            "y.jpg z.jpg\n",
            "y.jpg x.jpg\n",
            ["line 4, column 7: query 'z.jpg' is not among its own matches; put it first"],
        ),
        (
            "matches",
            "x.jpg y.jpg\n",
            "\n",
            [
                "line 2, column 7: 0 answers, not 1 to 3; name more",
                "line 2, column 7: query 'x.jpg' is not among its own matches; put it first",
            ],
        ),
        (
            "matches",
            "x.jpg y.jpg\n",
            "x.jpg a.jpg\n",
            [
                "line 2, column 13: answer 'a.jpg' is not an image of the gallery; "
                "did you mean z.jpg?"
            ],
        ),
        (
            "clusters",
            "cluster_1",
            "cluster 1",
            ["line 3, column 7: 2 answers, not 1; leave the last ones out"],
        ),
        ("clusters", "cluster_1", "", ["line 3, column 7: 0 answers, not 1; name more"]),
        (
            "scored",
            "Ahab 0.5",
            "Ahab",
            ["line 2, column 7: a label has no confidence; write 'label confidence'"],
        ),
        (
            "scored",
            "Ahab 0.5",
            "Ahab high",
            ["line 2, column 12: 'high' is not a confidence; write a number"],
        ),
        (
            "scored",
            "Ahab 0.5",
            "Ahab 0.5 Boo 0.4",
            ["line 2, column 7: 2 answers, not 0 to 1; leave the last ones out"],
        ),
        (
            "scored",
            "Boo -1e-3",
            "Bo 0.1",
            ["line 4, column 7: answer 'Bo' is not a label; did you mean Boo?"],
        ),
    ],
)
def test_findings_about_other_kinds_of_answers_have_lines_and_columns(
    kind: str, old: str, new: str, findings: list[str]
) -> None:
    assert changed(kind, old, new) == findings


def test_a_query_out_of_order_is_reported_with_its_place() -> None:
    lines = GOOD.splitlines(keepends=True)
    assert found("".join([lines[0], lines[2], lines[1], lines[3]])) == [
        "line 3, column 1: query 'x.jpg' should be number 1 of the queries; "
        "sort the rows in the order of the queries"
    ]


def test_a_missing_row_does_not_put_others_out_of_order() -> None:
    assert changed("labels", "x.jpg,Ahab Boo Cleo\n", "") == [
        "line 3, column 1: query 'x.jpg' is missing; add its row"
    ]


def test_a_query_may_match_only_itself() -> None:
    assert changed("matches", "x.jpg y.jpg\n", "x.jpg\n") == []


def test_equal_confidences_are_reported() -> None:
    text = "Image,Id\nx.jpg,Ahab 0.5\ny.jpg,\nz.jpg,Boo 0.50\n"
    assert found(text, SCORED) == [
        "line 2, column 12: all answers have the confidence 0.5, which gives no order; "
        "give surer answers a higher confidence"
    ]


@pytest.mark.parametrize("z", ["", "Boo 0.4"])
def test_one_confidence_or_different_ones_are_valid(z: str) -> None:
    assert found(f"Image,Id\nx.jpg,Ahab 0.5\ny.jpg,\nz.jpg,{z}\n", SCORED) == []


@pytest.mark.parametrize("kind", ["labels", "clusters", "scored", "long"])
@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (
            lambda data: b"\xef\xbb\xbf" + data,
            "line 1, column 1: the file begins with a byte-order mark; "
            "save it as UTF-8 without one",
        ),
        (
            lambda data: data.replace(b"\n", b"\r\n"),
            "line 1, column {end}: lines end in CRLF; save it with bare line feeds",
        ),
        (
            lambda data: data.replace(b"\n", b"\r"),
            "line 1, column {end}: lines end in a carriage return alone; "
            "save it with bare line feeds",
        ),
    ],
    ids=["byte-order mark", "CRLF", "CR"],
)
def test_byte_order_marks_and_line_ends_are_reported(kind: str, damage, finding: str) -> None:
    text, toy = GOODS[kind]
    end = text.index("\n") + 1
    assert found(damage(text.encode()), toy) == [finding.format(end=end)]


def test_a_single_line_that_ends_in_crlf_is_reported_at_its_place() -> None:
    assert changed("labels", "Cleo\n", "Cleo\r\n") == [
        "line 2, column 20: lines end in CRLF; save it with bare line feeds"
    ]


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        (
            GOOD.replace("Boo new", "B\xf6 new").encode("latin-1"),
            "line 3, column 8: not UTF-8 at byte 36; save it as UTF-8",
        ),
        (
            GOOD.encode("utf-16"),
            "line 1, column 1: not UTF-8 at byte 0; save it as UTF-8",
        ),
    ],
    ids=["latin-1", "utf-16"],
)
def test_a_file_that_is_not_utf_8_is_reported_with_the_byte(data: bytes, finding: str) -> None:
    assert found(data)[-1] == finding


@pytest.mark.parametrize(("kind", "column"), [("labels", 10), ("clusters", 12)])
def test_a_null_byte_is_reported_even_where_any_name_is_valid(kind: str, column: int) -> None:
    text, toy = GOODS[kind]
    place = text.index("\n") + column  # of the second line
    findings = found(text[:place] + "\0" + text[place:], toy)
    assert f"line 2, column {column}: a null byte; save the file as plain text" in findings


def test_a_file_that_is_too_large_is_reported_with_the_setting() -> None:
    small = competition(k=3, form={"largest_mb": 0.00005})
    assert found(GOOD, small) == [
        "line 1, column 1: the file has 0.0 MB, more than submission.largest_mb = 5e-05; "
        "name fewer answers, or raise it if the leaderboard takes more"
    ]


def test_a_quoted_answer_over_two_lines_does_not_shift_later_lines() -> None:
    findings = found(
        GOOD.replace("Ahab Boo Cleo", '"Ahab Boo Cl\neo"').replace("Boo new_", "Boo Boo_")
    )
    assert findings[-1].startswith("line 4, column 11: answer 'Boo_whale' is not a label")


@pytest.mark.parametrize("data", [b"", b"\n\n"])
def test_an_empty_file_is_reported(data: bytes) -> None:
    assert found(data) == [
        "line 1, column 1: the header is missing, not Image,Id; write it on line 1",
        "line 1, column 1: query 'x.jpg' is missing; add its row; 2 more like it",
    ]


def test_a_file_with_only_a_header_is_reported() -> None:
    assert found("Image,Id\n") == [
        "line 1, column 1: query 'x.jpg' is missing; add its row; 2 more like it"
    ]


@pytest.mark.parametrize(
    ("toy", "row", "wanted"),
    [
        # three labels and the unknown
        (competition(k=5), "x.jpg,Ahab Boo", "4"),
        (competition(k=5, unknown_label=None), "x.jpg,Ahab Boo", "3"),
        (competition(answers="images", k=5), "x.jpg,a.jpg b.jpg", "4"),
        # the three test images but for the query itself
        (competition(answers="images", k=5, gallery="test"), "x.jpg,y.jpg", "2"),
        (competition(answers="images", k=9, gallery="train+test"), "x.jpg,y.jpg b.jpg", "6"),
        (
            competition(answers="matches", k=9, gallery="test", task={"least": 2}),
            "x.jpg,y.jpg",
            "2",
        ),
    ],
)
def test_in_a_gallery_with_fewer_answers_than_k_all_are_expected(
    toy: Competition, row: str, wanted: str
) -> None:
    count = row.count(" ") + 1
    noun = "answer" if count == 1 else "answers"
    assert f"line 2, column 7: {count} {noun}, not {wanted}; name more" in found(
        f"Image,Id\n{row}\n", toy
    )


def test_the_unknown_label_is_valid_only_where_the_competition_has_one() -> None:
    assert found(GOOD, competition(k=3, unknown_label=None)) == [
        "line 3, column 11: answer 'new_whale' is not a label; name one that is"
    ]


def test_a_label_with_a_blank_is_reported_where_blanks_separate_answers() -> None:
    named = image_set({"a.jpg": "Ahab", "b.jpg": "Old Boo", "c.jpg": "Cleo"})
    assert found(GOOD.replace("Ahab Boo", "Ahab Old Boo"), LABELS, named)[:2] == [
        "line 2, column 7: 4 answers, not 3; leave the last ones out",
        "line 2, column 12: answer 'Old' is not a label; "
        "'Old Boo' has a blank, which separates answers: rename it",
    ]


def test_a_label_with_a_comma_must_be_quoted() -> None:
    named = image_set({"a.jpg": "Ahab", "b.jpg": "Boo,Jr", "c.jpg": "Cleo"})
    quoted = GOOD.replace("Ahab Boo Cleo", '"Ahab Boo,Jr Cleo"').replace("y.jpg,Boo", "y.jpg,Cleo")
    quoted = quoted.replace("Cleo Boo Ahab", "Cleo new_whale Ahab")
    assert found(quoted, LABELS, named) == []
    assert found(quoted.replace('"', ""), LABELS, named) == [
        "line 2, column 1: 3 columns, not 2; put quotes around a name that has a comma"
    ]


def groups(images: ImageSet, of: Mapping[str, str]) -> ImageSet:
    """Return images with the group that the first letter of their id has."""
    return replace(images, groups=strings([of[str(name)[0]] for name in images.image_ids]))


GROUP_OF = {"a": "lynx", "b": "lynx", "c": "turtle", "d": "turtle", "x": "lynx"}


def test_answers_must_come_from_the_gallery_of_the_querys_group() -> None:
    train, test = groups(TRAIN, GROUP_OF), groups(TEST, GROUP_OF | {"y": "turtle", "z": "lynx"})
    toy = competition(answers="images", k=2, task={"within_group": True})
    good = "Image,Id\nx.jpg,a.jpg b.jpg\ny.jpg,c.jpg d.jpg\nz.jpg,b.jpg a.jpg\n"
    assert found(good, toy, train, test) == []
    assert found(good.replace("d.jpg", "a.jpg"), toy, train, test) == [
        "line 3, column 13: answer 'a.jpg' is not an image of the gallery; did you mean d.jpg?"
    ]


def test_in_a_group_without_labelled_images_only_the_unknown_label_is_valid() -> None:
    train, test = groups(TRAIN, GROUP_OF), groups(TEST, {"x": "lynx", "y": "frog", "z": "frog"})
    toy = competition(answers="label", k=1, task={"within_group": True})
    good = "Image,Id\nx.jpg,Ahab\ny.jpg,new_whale\nz.jpg,new_whale\n"
    assert found(good, toy, train, test) == []
    assert found(good.replace("y.jpg,new_whale", "y.jpg,Boo"), toy, train, test) == [
        "line 3, column 7: answer 'Boo' is not a label; name one that is"
    ]


def test_queries_of_scenarios_have_their_own_names_and_galleries() -> None:
    searches = (
        Search("s1", strings(["s1-x"]), strings(["x.jpg"]), strings(["a.jpg", "b.jpg", "x.jpg"])),
        Search(
            "s2",
            strings(["s2-x", "s2-y"]),
            strings(["x.jpg", "y.jpg"]),
            strings(["y.jpg", "z.jpg"]),
        ),
    )
    good = (
        "query,image,score\ns1-x,a.jpg,1\ns1-x,b.jpg,0\ns2-x,z.jpg,0.6\ns2-x,y.jpg,0.5\n"
        "s2-y,z.jpg,0.1\n"
    )
    assert found(good, LONG, searches=searches) == []
    assert found(good.replace("b.jpg", "x.jpg"), LONG, searches=searches) == [
        "line 3, column 6: query 's1-x' is among its own answers; leave it out"
    ]
    assert found(good.replace("s2-x,z.jpg", "s2-x,a.jpg"), LONG, searches=searches) == [
        "line 4, column 6: answer 'a.jpg' is not an image of the gallery; did you mean z.jpg?"
    ]


def test_findings_are_in_the_order_of_lines_and_columns() -> None:
    text = "Image,Label\nx.jpg,Ahab\ny.jpg,Ahab Bo Ahab\nz.jpg,Cleo\n"
    places = [(finding.line, finding.column) for finding in lint_of(text)]
    assert places == sorted(places)
    assert [line for line, _ in places] == [1, 2, 3, 3, 4]


def lint_of(text: str) -> list[LintFinding]:
    return lint.lint(
        text.encode(), LABELS, TRAIN, TEST, protocol.leaderboard_searches(TEST, TRAIN, None, LABELS)
    )


def test_suggestions_are_made_for_a_limited_number_of_unknown_queries() -> None:
    test = image_set({f"x{n:03}.jpg": "" for n in range(200)}).without_labels()
    findings = found(
        "Image,Id\n" + "".join(f"y{n:03}.jpg,a\n" for n in range(200)), LABELS, test=test
    )
    assert findings[0] == "line 2, column 1: 'y000.jpg' is not a query; did you mean x000.jpg?"
    # the last finding is of the queries that are missing
    assert findings[-2] == "line 201, column 1: 'y199.jpg' is not a query; remove its row"


def test_a_competition_without_test_images_has_no_submission() -> None:
    with pytest.raises(KitboxError) as caught:
        lint.lint(b"", LABELS, TRAIN, None, ())
    assert str(caught.value) == "this competition has no test images; set images.test_folder"


LISTED = ListedImages(TRAIN, test=TEST)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    with pytest.raises(KitboxError) as caught:
        lint.lint_file(path, LABELS, LISTED)
    assert str(caught.value) == f"cannot read {path}: No such file or directory"
    path.write_text(GOOD.replace("Ahab Boo Cleo", "Ahab"))
    assert [finding.line for finding in lint.lint_file(path, LABELS, LISTED)] == [2]


def test_the_bytes_of_an_earlier_submission_are_the_first_finding(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    for text, others in ((GOOD, 0), (GOOD.replace("Ahab Boo Cleo", "Ahab"), 1)):
        path.write_text(text)
        earlier = {sha256(text.encode()).hexdigest(): "2026-01-31_a_1234"}
        findings = [str(finding) for finding in lint.lint_file(path, LABELS, LISTED, earlier)]
        assert findings[0] == (
            "line 1, column 1: these bytes were sent before, as 2026-01-31_a_1234, and would "
            "score the same; send another submission, or upload with --again"
        )
        assert len(findings) == 1 + others
        path.write_text(text + "\n")
        assert len(lint.lint_file(path, LABELS, LISTED, earlier)) == others


@pytest.mark.parametrize(
    ("toy", "answers"),
    [
        (LABELS, ["Ahab", "new_whale", "Cleo"]),
        (IMAGES, ["a.jpg", "b.jpg"]),
        (LONG, ["a.jpg", "b.jpg"]),
        (CLUSTERS, ["cluster_lynx_0"]),
        (SCORED, ["Ahab"]),
        (competition(k=3, form={"layout": "columns"}), ["Ahab", "Boo", "Cleo"]),
        (competition(k=3, form={"header": ()}), ["Ahab", "Boo", "Cleo"]),
    ],
)
def test_a_csv_that_kitbox_writes_has_no_findings(toy: Any, answers: list[str]) -> None:
    sure = zip(TEST.image_ids.tolist(), (0.5, 0.6, 0.7), strict=True)
    rows = {query: [(answer, similarity) for answer in answers] for query, similarity in sure}
    assert found(csv_format.write(ranking_of(rows), toy), toy) == []


def test_a_competition_may_take_fewer_answers_than_k() -> None:
    toy = competition(answers="images", k=2, gallery="test", task={"least": 1})
    header = "Image,Id\n"
    assert found(header + "x.jpg,y.jpg\ny.jpg,x.jpg z.jpg\nz.jpg,x.jpg\n", toy) == []
    [finding] = found(header + "x.jpg,\ny.jpg,x.jpg z.jpg\nz.jpg,x.jpg\n", toy)
    assert finding == "line 2, column 7: 0 answers, not 1 to 2; name more"


@pytest.mark.parametrize(
    ("accepts", "row", "finding"),
    [
        ("fewer", "x.jpg,Ahab Boo", "line 2, column 7: {}2 answers, not 3; name more"),
        ("none", "x.jpg,", "line 2, column 7: {}0 answers, not 3; name more"),
    ],
)
def test_what_the_leaderboard_takes_is_a_warning(accepts: str, row: str, finding: str) -> None:
    text = GOOD.replace("x.jpg,Ahab Boo Cleo", row)
    assert found(text, competition(k=3, form={"accepts": (accepts,)})) == [
        finding.format("warning: ")
    ]
    others = {"fewer", "none", "any-order"} - {accepts}
    assert found(text, competition(k=3, form={"accepts": sorted(others)})) == [finding.format("")]


def test_rows_in_another_order_are_a_warning_where_the_leaderboard_takes_them() -> None:
    lines = GOOD.splitlines(keepends=True)
    text = "".join([lines[0], lines[2], lines[1], lines[3]])
    [finding] = found(text, competition(k=3, form={"accepts": ("any-order",)}))
    assert finding.startswith("line 3, column 1: warning: query 'x.jpg' should be number 1 ")
    apart = GOOD_LONG.replace("x.jpg,b.jpg,0.8\n", "") + "x.jpg,b.jpg,0.8\n"
    any_order = competition(
        answers="images",
        k=2,
        form={"header": LONG.submission.header, "layout": "long", "accepts": ("any-order",)},
    )
    [finding] = found(apart, any_order)
    assert finding == (
        "line 7, column 1: warning: rows of query 'x.jpg' are apart; put them one after another"
    )


def test_two_equal_scores_of_a_query_are_a_warning() -> None:
    toy = competition(
        answers="images", k=4, form={"header": ("query", "image", "score"), "layout": "long"}
    )
    rows = ["a.jpg,0.9", "b.jpg,0.5", "c.jpg,0.50", "d.jpg,5e-1"]
    sure = ["a.jpg,0.4", "b.jpg,0.3", "c.jpg,0.2", "d.jpg,0.1"]
    text = "query,image,score\n" + "".join(
        f"{query},{row}\n"
        for query, own in (("x.jpg", rows), ("y.jpg", sure), ("z.jpg", sure))
        for row in own
    )
    assert found(text, toy) == [
        "line 4, column 13: warning: score 0.50 of 'x.jpg' is on line 3 already; 1 more like it; "
        "equal scores have no order and count as one group; let the scores fall along the answers"
    ]


PREFIXED = competition(
    answers="clusters",
    gallery="test",
    task={"within_group": True},
    form={"cluster_prefix": "cluster_{group}_"},
)


def test_clusters_begin_as_the_organisers_demand() -> None:
    test = image_set(
        {"x.jpg": "", "y.jpg": "", "z.jpg": ""},
        {"x.jpg": "LynxID2025", "y.jpg": "LynxID2025", "z.jpg": "TexasHornedLizards"},
    ).without_labels()
    good = (
        "Image,Id\nx.jpg,cluster_LynxID2025_0\ny.jpg,cluster_LynxID2025_0\n"
        "z.jpg,cluster_TexasHornedLizards_4\n"
    )
    train = image_set({"a.jpg": "Ahab"}, {"a.jpg": "LynxID2025"})
    assert found(good, PREFIXED, train, test) == []
    assert found(good.replace("_TexasHornedLizards_4", "_4"), PREFIXED, train, test) == [
        "line 4, column 7: cluster 'cluster_4' does not begin with 'cluster_TexasHornedLizards_', "
        "which is demanded; rename it"
    ]
    assert found(good.replace("TexasHornedLizards", "LynxID2025"), PREFIXED, train, test) == [
        "line 4, column 7: warning: cluster 'cluster_LynxID2025_4' is of another group than query "
        "'z.jpg'; begin it with 'cluster_TexasHornedLizards_'"
    ]


def test_only_errors_keep_a_file_from_the_leaderboard() -> None:
    findings = [LintFinding(1, 1, "a tie", "warning"), LintFinding(2, 1, "no query")]
    assert lint_findings.errors(findings) == findings[1:]
