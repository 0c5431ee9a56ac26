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
from kitbox.records import strings
from kitbox.submission import csv_format
from tests.circle import competition, ranking_of

ROWS = {
    "x.jpg": [("Ahab", 0.9), ("new_whale", 0.5), ("Boo", 0.4)],
    "y.jpg": [("Boo", 0.8), ("Ahab", 0.7)],
}
LONG = {"layout": "long", "header": ("query", "image", "score")}
FORMS: dict[str, dict[str, Any]] = {
    "joined": {"layout": "joined"},
    "columns": {"layout": "columns", "header": ()},
    "long": LONG,
    "scored": {"layout": "scored"},
}


def asked(layout: str) -> Competition:
    """Return a competition whose answers stand in this layout."""
    answers = "label" if layout == "scored" else "labels"
    return competition(answers=answers, form=FORMS[layout])


def test_joined_answers_stand_in_one_column() -> None:
    assert csv_format.write(ranking_of(ROWS), competition(form={"layout": "joined"})) == (
        "Image,Id\nx.jpg,Ahab new_whale Boo\ny.jpg,Boo Ahab\n"
    )


def test_answers_in_columns_stand_in_one_each_and_need_no_header() -> None:
    asked = competition(form={"layout": "columns", "header": ()})
    assert csv_format.write(ranking_of(ROWS), asked) == "x.jpg,Ahab,new_whale,Boo\ny.jpg,Boo,Ahab\n"


def test_long_answers_stand_in_a_row_each_with_a_score_from_0_to_1() -> None:
    assert csv_format.write(ranking_of(ROWS), asked("long")) == (
        "query,image,score\n"
        "x.jpg,Ahab,0.9500000\nx.jpg,new_whale,0.7500000\nx.jpg,Boo,0.7000000\n"
        "y.jpg,Boo,0.9000000\ny.jpg,Ahab,0.8500000\n"
    )


def test_a_scored_answer_stands_beside_its_confidence() -> None:
    rows = {"x": [("7", 0.5)], "y": [("", -1.0)]}
    assert csv_format.write(ranking_of(rows), asked("scored")) == "Image,Id\nx,7 0.50000000\ny,\n"


@pytest.mark.parametrize("layout", ["joined", "columns", "scored"])
def test_a_query_without_answers_keeps_its_row(layout: str) -> None:
    rows = {"x.jpg": [("Ahab", 0.9)], "y.jpg": [("", -1.0)]}
    written = csv_format.write(
        ranking_of(rows), competition(answers="label", form={"layout": layout})
    )
    assert [row[0] for row in csv.reader(io.StringIO(written))] == ["Image", "x.jpg", "y.jpg"]


def test_names_with_commas_and_quotes_are_quoted() -> None:
    rows = {"x,1.jpg": [('the "old" one', 0.9)]}
    asked = competition(form={"layout": "columns"})
    assert csv_format.write(ranking_of(rows), asked) == 'Image,Id\n"x,1.jpg","the ""old"" one"\n'


@pytest.mark.parametrize("layout", ["joined", "scored"])
@pytest.mark.parametrize("blank", [" ", "\t", "\u00a0"], ids=["blank", "tab", "fixed blank"])
def test_a_blank_inside_a_joined_answer_is_refused(layout: str, blank: str) -> None:
    rows = {"x.jpg": [("Ahab", 0.9), (f"Old{blank}Boo", 0.5)]}
    with pytest.raises(KitboxError) as caught:
        csv_format.write(ranking_of(rows), asked(layout))
    assert str(caught.value) == (
        f"answer 'Old{blank}Boo' has a blank, which separates answers in this form; "
        'rename it, or set layout = "columns" in kitbox.toml'
    )


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=5)


@given(
    st.dictionaries(
        NAMES, st.lists(NAMES, min_size=1, max_size=4, unique=True), min_size=1, max_size=5
    )
)
def test_whatever_the_names_a_list_reads_back(answers: dict[str, list[str]]) -> None:
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
COSINES = st.sampled_from([1.0, 1.0000001, 0.5, 0.5000001, 0.1, 0.0, -0.3, -0.9999999, -1.0])
SIMILARITIES = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=COSINES
)


@given(SIMILARITIES)
def test_scores_fall_stay_from_0_to_1_and_move_no_further_than_they_must(found) -> None:
    similarity = -np.sort(-found, axis=1)
    scores = csv_format.falling_scores(similarity)
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    assert (np.diff(scores, axis=1) < 0).all()
    clipped = np.clip(similarity.astype(np.float64), -1, 1)
    assert np.allclose(scores, [oracle(row) for row in clipped], rtol=0, atol=1.01e-7)


@given(SIMILARITIES)
def test_no_two_scores_of_a_query_look_the_same_in_the_file(found) -> None:
    rows = {f"q{n}": [(f"g{i}", v) for i, v in enumerate(row)] for n, row in enumerate(found)}
    lines = csv_format.write(ranking_of(rows), asked("long")).splitlines()[1:]
    assert len({tuple(line.split(",")[::2]) for line in lines}) == len(lines)


def test_a_row_of_opposites_falls_too_and_ends_at_0() -> None:
    scores = csv_format.falling_scores(np.full((1, 4), -1, dtype=np.float32))
    assert scores.tolist() == [pytest.approx([3e-7, 2e-7, 1e-7, 0], abs=1e-12)]


def test_a_row_of_copies_begins_at_1() -> None:
    scores = csv_format.falling_scores(np.full((1, 3), 1.0000001, dtype=np.float32))
    assert scores.tolist() == [pytest.approx([1, 1 - 1e-7, 1 - 2e-7], abs=1e-12)]


@st.composite
def rankings(draw: st.DrawFn) -> Mapping[str, list[tuple[str, float]]]:
    queries = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    rows = {}
    for query in queries:
        names = draw(st.lists(WORDS, min_size=1, max_size=5, unique=True))
        rows[query] = [(name, 0.9 - 0.1 * rank) for rank, name in enumerate(names)]
    return rows


@pytest.mark.parametrize("layout", FORMS)
@given(rows=rankings())
def test_a_written_list_reads_back_as_the_same_ranking(layout: str, rows) -> None:
    if layout == "scored":
        rows = {query: answers[:1] for query, answers in rows.items()}
    made = ranking_of(rows)
    back = csv_format.read(csv_format.write(made, asked(layout)), asked(layout))
    assert back.query_ids.tolist() == made.query_ids.tolist()
    assert back.answers.tolist() == made.answers.tolist()
    finite = np.isfinite(back.similarity)
    assert (finite == (made.answers != "")).all()
    assert (np.diff(np.where(finite, back.similarity, -99), axis=1)[finite[:, 1:]] < 0).all()


def test_scores_that_a_list_gives_are_its_similarities() -> None:
    back = csv_format.read("Image,Id\nx,7 0.25\ny,\nz,8 0.5\n", asked("scored"))
    assert back.answers.tolist() == [["7"], [""], ["8"]]
    assert back.similarity.tolist() == [[0.25], [-np.inf], [0.5]]


def test_rows_of_the_long_form_are_ordered_by_score_and_equals_by_line() -> None:
    text = "query,image,score\nx,a,0.1\nx,b,0.7\ny,c,0.2\nx,d,0.7\n"
    back = csv_format.read(text, asked("long"))
    assert back.query_ids.tolist() == ["x", "y"]
    assert back.answers.tolist() == [["b", "d", "a"], ["c", "", ""]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_several_blanks_and_any_line_end_read_as_one(end: str) -> None:
    text = "Image,Id\nx, Ahab  Boo \n\ny,Boo\n".replace("\n", end)
    back = csv_format.read(text, asked("joined"))
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
        ("columns", f"x,{'a' * 200_000}\n", "the submission is no CSV: field larger than"),
    ],
)
def test_text_of_another_form_is_refused(layout: str, text: str, message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        csv_format.read(text, asked(layout))
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
        # what Python takes for a number and a leaderboard for text
        ("5_0", None),
        (" 5", None),
        ("5\n", None),
        ("\u0665", None),
    ],
)
def test_a_number_is_finite_and_plain(text: str, value: float | None) -> None:
    assert csv_format.parse_number(text) == value
