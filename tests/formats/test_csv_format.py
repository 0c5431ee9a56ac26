"""Rankings as CSVs and back, and the rows of a CSV with their lines and columns."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.formats import csv_format
from kitbox.formats.csv_format import CsvField, CsvRow, read_rows, split_words
from kitbox.records import strings
from tests.circle import competition, ranking_of

ROWS = {
    "x.jpg": [("Ahab", 0.9), ("new_whale", 0.5), ("Boo", 0.4)],
    "y.jpg": [("Boo", 0.8), ("Ahab", 0.7)],
}
LONG = {"layout": "long", "header": ("query", "image", "score")}
FORMATS: dict[str, dict[str, Any]] = {
    "joined": {"layout": "joined"},
    "columns": {"layout": "columns", "header": ()},
    "long": LONG,
    "unit": LONG | {"scores": "unit"},
    "scored": {"layout": "scored"},
}


def competition_with(layout: str) -> Competition:
    """Return a competition whose submissions have this layout."""
    answers = "label" if layout == "scored" else "labels"
    return competition(answers=answers, form=FORMATS[layout])


def test_joined_answers_are_in_one_column() -> None:
    assert csv_format.write(ranking_of(ROWS), competition(form={"layout": "joined"})) == (
        "Image,Id\nx.jpg,Ahab new_whale Boo\ny.jpg,Boo Ahab\n"
    )


def test_each_answer_can_have_a_column_and_no_header() -> None:
    toy = competition(form={"layout": "columns", "header": ()})
    assert csv_format.write(ranking_of(ROWS), toy) == "x.jpg,Ahab,new_whale,Boo\ny.jpg,Boo,Ahab\n"


def test_a_header_of_two_names_numbers_the_columns_of_all_answers() -> None:
    toy = competition(k=4, form={"layout": "columns", "header": ("query", "match")})
    written = csv_format.write(ranking_of(ROWS), toy)  # the first row has three answers
    assert written.splitlines()[0] == "query,match_1,match_2,match_3,match_4"
    assert csv_format.read(written, toy).answers.tolist() == ranking_of(ROWS).answers.tolist()
    short = written.replace("match_1,match_2,match_3,match_4", "match")  # an older file is read
    assert csv_format.read(short, toy).query_ids.tolist() == ["x.jpg", "y.jpg"]


@pytest.mark.parametrize(
    ("header", "whole"),
    [
        (("query",), "query,answer_1,answer_2,answer_3"),
        (("query", "best", "second"), "query,best,second,answer_3"),
        (("query", "a", "b", "c"), "query,a,b,c"),
        ((), "x.jpg,Ahab,new_whale,Boo"),
    ],
)
def test_a_header_names_a_column_for_each_answer(header: tuple[str, ...], whole: str) -> None:
    toy = competition(k=3, form={"layout": "columns", "header": header})
    assert csv_format.write(ranking_of(ROWS), toy).splitlines()[0] == whole


def test_in_the_long_layout_each_answer_has_a_row_with_the_similarity_of_the_terminal() -> None:
    assert csv_format.write(ranking_of(ROWS), competition_with("long")) == (
        "query,image,score\n"
        "x.jpg,Ahab,0.9000000\nx.jpg,new_whale,0.5000000\nx.jpg,Boo,0.4000000\n"
        "y.jpg,Boo,0.8000000\ny.jpg,Ahab,0.7000000\n"
    )
    assert csv_format.scale_note(competition_with("long")) is None


def test_similarities_beyond_cosines_are_written_as_they_are() -> None:
    written = csv_format.write(
        ranking_of({"x": [("a", 2.5), ("b", -1.0)]}), competition_with("long")
    )
    assert written == "query,image,score\nx,a,2.5000000\nx,b,-1.0000000\n"


WHALE_DO = {"layout": "long", "header": ("query_id", "database_image_id", "score")}


def test_workspaces_of_whale_do_without_the_setting_keep_scores_from_0_to_1() -> None:
    written = csv_format.write(ranking_of({"x": [("a", 0.4592)]}), competition(form=WHALE_DO))
    assert written.splitlines()[1] == "x,a,0.7296000"


def test_where_scores_lie_within_0_and_1_a_sentence_tells_it() -> None:
    assert csv_format.write(ranking_of(ROWS), competition_with("unit")) == (
        "query,image,score\n"
        "x.jpg,Ahab,0.9500000\nx.jpg,new_whale,0.7500000\nx.jpg,Boo,0.7000000\n"
        "y.jpg,Boo,0.9000000\ny.jpg,Ahab,0.8500000\n"
    )
    assert csv_format.scale_note(competition_with("unit")) == (
        "the scores in the CSV are (1 + cosine) / 2, from 0 to 1, as this format demands; "
        "everywhere else similarities and thresholds are cosines"
    )


def test_a_scored_answer_is_followed_by_its_confidence() -> None:
    rows = {"x": [("7", 0.5)], "y": [("", -1.0)]}
    assert (
        csv_format.write(ranking_of(rows), competition_with("scored"))
        == "Image,Id\nx,7 0.50000000\ny,\n"
    )


@pytest.mark.parametrize("layout", ["joined", "columns", "scored"])
def test_a_query_without_answers_keeps_its_row(layout: str) -> None:
    rows = {"x.jpg": [("Ahab", 0.9)], "y.jpg": [("", -1.0)]}
    written = csv_format.write(
        ranking_of(rows), competition(answers="label", form={"layout": layout})
    )
    assert [row[0] for row in csv.reader(io.StringIO(written))] == ["Image", "x.jpg", "y.jpg"]


def test_names_with_commas_and_quotes_are_quoted() -> None:
    rows = {"x,1.jpg": [('the "old" one', 0.9)]}
    toy = competition(k=1, form={"layout": "columns"})
    assert csv_format.write(ranking_of(rows), toy) == 'Image,Id\n"x,1.jpg","the ""old"" one"\n'


@pytest.mark.parametrize("layout", ["joined", "scored"])
@pytest.mark.parametrize("blank", [" ", "\t", "\u00a0"], ids=["blank", "tab", "fixed blank"])
def test_a_blank_inside_a_joined_answer_is_an_error(layout: str, blank: str) -> None:
    rows = {"x.jpg": [("Ahab", 0.9), (f"Old{blank}Boo", 0.5)]}
    with pytest.raises(KitboxError) as caught:
        csv_format.write(ranking_of(rows), competition_with(layout))
    assert str(caught.value) == (
        f"answer 'Old{blank}Boo' has a blank, which separates answers where "
        f'submission.layout is "{layout}"; rename it, or set layout = "columns" in kitbox.toml if '
        "no leaderboard asks for this format"
    )


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=5)


@given(
    st.dictionaries(
        NAMES, st.lists(NAMES, min_size=1, max_size=4, unique=True), min_size=1, max_size=5
    )
)
def test_a_csv_with_any_names_reads_back(answers: dict[str, list[str]]) -> None:
    rows = {query: [(name, 0.5) for name in names] for query, names in answers.items()}
    written = csv_format.write(
        ranking_of(rows), competition(form={"layout": "columns", "header": ()})
    )
    assert list(csv.reader(io.StringIO(written, newline=""))) == [
        [query, *names] for query, names in answers.items()
    ]


def oracle(row: Sequence[float]) -> list[float]:
    """Return the nearest scores of seven decimals that fall, in tenths of a millionth."""
    steps = [round(10**7 * (1 + value) / 2) for value in row]
    for place in range(len(row)):
        most = 10**7 if place == 0 else steps[place - 1] - 1
        steps[place] = min(max(steps[place], len(row) - 1 - place), most)
    return [step / 10**7 for step in steps]


# Few values, so that many are equal; the extremes with their rounding errors among them.
VALUES = [1.0, 1.0000001, 0.5, 0.5000001, 0.1, 0.0, -0.3, -0.9999999, -1.0]
COSINES = st.sampled_from(np.float32(VALUES).tolist())
SIMILARITIES = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=COSINES
)


@given(SIMILARITIES)
def test_scores_fall_within_0_and_1_and_move_as_little_as_possible(found) -> None:
    similarity = -np.sort(-found, axis=1)
    scores = csv_format.falling_scores(similarity, unit=True)
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    assert (np.diff(scores, axis=1) < 0).all()
    clipped = np.clip(similarity.astype(np.float64), -1, 1)
    assert np.allclose(scores, [oracle(row) for row in clipped], rtol=0, atol=1.01e-7)


@given(SIMILARITIES)
def test_similarities_in_a_file_fall_and_move_by_no_more_than_their_ties(found) -> None:
    similarity = -np.sort(-found, axis=1)
    scores = csv_format.falling_scores(similarity, unit=False)
    assert (np.diff(scores, axis=1) < 0).all()
    assert np.allclose(scores, similarity, rtol=0, atol=1e-7 * similarity.shape[1])


@pytest.mark.parametrize("scale", ["long", "unit"])
@given(found=SIMILARITIES)
def test_no_two_scores_of_a_query_are_equal_in_the_file(scale: str, found) -> None:
    rows = {f"q{n}": [(f"g{i}", v) for i, v in enumerate(row)] for n, row in enumerate(found)}
    lines = csv_format.write(ranking_of(rows), competition_with(scale)).splitlines()[1:]
    assert len({tuple(line.split(",")[::2]) for line in lines}) == len(lines)


def test_a_row_of_cosines_of_minus_1_falls_to_0() -> None:
    scores = csv_format.falling_scores(np.full((1, 4), -1, dtype=np.float32), unit=True)
    assert scores.tolist() == [pytest.approx([3e-7, 2e-7, 1e-7, 0], abs=1e-12)]


def test_a_row_of_cosines_of_1_begins_at_1() -> None:
    scores = csv_format.falling_scores(np.full((1, 3), 1.0000001, dtype=np.float32), unit=True)
    assert scores.tolist() == [pytest.approx([1, 1 - 1e-7, 1 - 2e-7], abs=1e-12)]


@st.composite
def rankings(draw: st.DrawFn) -> Mapping[str, list[tuple[str, float]]]:
    queries = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    rows = {}
    for query in queries:
        names = draw(st.lists(WORDS, min_size=1, max_size=5, unique=True))
        rows[query] = [(name, 0.9 - 0.1 * rank) for rank, name in enumerate(names)]
    return rows


@pytest.mark.parametrize("layout", FORMATS)
@given(rows=rankings())
def test_a_written_csv_reads_back_as_the_same_ranking(layout: str, rows) -> None:
    if layout == "scored":
        rows = {query: answers[:1] for query, answers in rows.items()}
    made = ranking_of(rows)
    back = csv_format.read(
        csv_format.write(made, competition_with(layout)), competition_with(layout)
    )
    assert back.query_ids.tolist() == made.query_ids.tolist()
    assert back.answers.tolist() == made.answers.tolist()
    finite = np.isfinite(back.similarity)
    assert (finite == (made.answers != "")).all()
    assert (np.diff(np.where(finite, back.similarity, -99), axis=1)[finite[:, 1:]] < 0).all()


def test_scores_in_a_csv_become_similarities() -> None:
    back = csv_format.read("Image,Id\nx,7 0.25\ny,\nz,8 0.5\n", competition_with("scored"))
    assert back.answers.tolist() == [["7"], [""], ["8"]]
    assert back.similarity.tolist() == [[0.25], [-np.inf], [0.5]]


def test_rows_of_the_long_layout_are_ordered_by_score_and_equal_ones_by_line() -> None:
    text = "query,image,score\nx,a,0.1\nx,b,0.7\ny,c,0.2\nx,d,0.7\n"
    back = csv_format.read(text, competition_with("long"))
    assert back.query_ids.tolist() == ["x", "y"]
    assert back.answers.tolist() == [["b", "d", "a"], ["c", "", ""]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_several_blanks_and_any_line_end_read_as_one(end: str) -> None:
    text = "Image,Id\nx, Ahab  Boo \n\ny,Boo\n".replace("\n", end)
    back = csv_format.read(text, competition_with("joined"))
    assert back.answers.tolist() == [["Ahab", "Boo"], ["Boo", ""]]


@pytest.mark.parametrize(
    ("layout", "text", "message"),
    [
        ("joined", "", "the submission has no row"),
        (
            "joined",
            "x,Ahab\ny,Boo\n",
            "the header is x,Ahab, not Image,Id; write it on line 1",
        ),
        (
            "long",
            "query,score,image\nx,0.1,a\n",
            "the header is query,score,image, not query,image,score; write it on line 1",
        ),
        ("joined", "Image,Id\n", "the submission has no row"),
        ("joined", "Image,Id\nx,a a\n", "an answer to query 'x' is repeated"),
        ("long", "query,image,score\nx,a\n", "the row x,a has 2 columns, not 3"),
        ("long", "query,image,score\nx,a,high\n", "'high' is not a score; write a number"),
        ("long", "query,image,score\nx,a,nan\n", "'nan' is not a score; write a number"),
        ("scored", "Image,Id\nx,7\n", "the answers of query 'x' are not pairs 'label confidence'"),
        ("scored", "Image,Id\nx,7 8 9\n", "the answers of query 'x' are not pairs"),
        ("columns", "x,a\ny,b\nx,c\n", "query 'x' has two rows; remove one"),
    ],
)
def test_text_in_another_format_is_an_error(layout: str, text: str, message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        csv_format.read(text, competition_with(layout))
    assert str(caught.value).startswith(message)


def test_a_query_without_a_row_has_no_answer() -> None:
    found = csv_format.rows_for_queries(ranking_of(ROWS), strings(["y.jpg", "z.jpg"]))
    assert found.query_ids.tolist() == ["y.jpg", "z.jpg"]
    assert found.answers.tolist() == [["Boo", "Ahab", ""], ["", "", ""]]
    assert np.isneginf(found.similarity[1]).all()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("-2", -2.0),
        ("+.5", 0.5),
        ("3.E2", 300.0),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("x", None),
        ("", None),
        (".", None),
        # numbers to Python, text to a leaderboard
        ("5_0", None),
        (" 5", None),
        ("5\n", None),
        ("\u0665", None),
    ],
)
def test_a_number_is_finite_and_plain(text: str, value: float | None) -> None:
    assert csv_format.parse_number(text) == value


# Quotes, separators and line feeds, so that they meet often.
LETTERS = st.text('a"b, \n', max_size=8)


def found(text: str) -> list[CsvRow]:
    return list(read_rows(text))


def test_every_value_has_its_line_and_column() -> None:
    assert found("ab,c\n\nd,,ef") == [
        CsvRow(1, (CsvField("ab", 1), CsvField("c", 4))),
        CsvRow(3, (CsvField("d", 1), CsvField("", 3), CsvField("ef", 4))),
    ]


def test_a_quoted_value_begins_after_its_quote_and_the_next_after_the_comma() -> None:
    assert found('"a,""b""",c\n') == [CsvRow(1, (CsvField('a,"b"', 2), CsvField("c", 11)))]


def test_a_quoted_value_over_lines_does_not_shift_the_lines_after_it() -> None:
    rows = found('x,"a\nb"\ny,c')
    assert [(row.line, row.fields[1].text) for row in rows] == [(1, "a\nb"), (3, "c")]


def test_a_quote_that_is_not_closed_is_a_letter() -> None:
    assert found('"a,b\n"c"d,e\n') == [
        CsvRow(1, (CsvField('"a', 1), CsvField("b", 4))),
        CsvRow(2, (CsvField('"c"d', 1), CsvField("e", 6))),
    ]


def test_an_empty_text_has_no_row_and_a_comma_has_two_values() -> None:
    assert found("") == found("\n\r\n") == []
    assert found(",") == [CsvRow(1, (CsvField("", 1), CsvField("", 2)))]


def test_words_have_columns_and_two_blanks_an_empty_word() -> None:
    assert split_words(CsvField("ab  c", 4)) == (
        CsvField("ab", 4),
        CsvField("", 7),
        CsvField("c", 8),
    )
    assert split_words(CsvField("", 4)) == ()


@given(st.lists(st.lists(LETTERS, min_size=1, max_size=3), max_size=4))
def test_quoted_text_is_read_as_by_the_csv_module(table: list[list[str]]) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows(table)
    read = [[field.text for field in row.fields] for row in read_rows(written.getvalue())]
    assert read == list(csv.reader(io.StringIO(written.getvalue(), newline="")))


@given(st.text("ab, \n\r", max_size=30))
def test_text_without_quotes_is_read_the_same_by_both_readers(text: str) -> None:
    # a quoted value at the end makes the reader of quoted text read it
    plain, quoted = found(text), found(text + '\n""')
    assert quoted[:-1] == plain
    for line, fields in plain:
        of_line = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[line - 1]
        for value, column in fields:
            assert of_line[column - 1 :].startswith(value)


def test_many_open_quotes_are_read_in_linear_time() -> None:
    text = '"a,b\n' * 20_000
    assert len(found(text)) == 20_000


def test_a_cell_may_be_longer_than_pythons_limit() -> None:
    given = competition(answers="labels", k=1, form={"layout": "columns", "header": ()})
    assert csv_format.read(f"x,{'a' * 200_000}\n", given).answers.tolist() == [["a" * 200_000]]
