import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.errors import KitboxError
from kitbox.submission import form
from tests.circle import competition, ranking

ROWS = {
    "x.jpg": [("Ahab", 0.9), ("new_whale", 0.5), ("Boo", 0.4)],
    "y.jpg": [("Boo", 0.8), ("Ahab", 0.7)],
}


def test_joined_answers_stand_in_one_column() -> None:
    assert form.text(ranking(ROWS), competition(form={"layout": "joined"})) == (
        "Image,Id\nx.jpg,Ahab new_whale Boo\ny.jpg,Boo Ahab\n"
    )


def test_answers_in_columns_stand_in_one_each_and_need_no_header() -> None:
    asked = competition(form={"layout": "columns", "header": ()})
    assert form.text(ranking(ROWS), asked) == "x.jpg,Ahab,new_whale,Boo\ny.jpg,Boo,Ahab\n"


@pytest.mark.parametrize("layout", ["joined", "columns"])
def test_a_query_without_answers_keeps_its_row(layout: str) -> None:
    rows = {"x.jpg": [("Ahab", 0.9)], "y.jpg": [("", -1.0)]}
    written = form.text(ranking(rows), competition(form={"layout": layout}))
    assert [row[0] for row in csv.reader(io.StringIO(written))] == ["Image", "x.jpg", "y.jpg"]


def test_names_with_commas_and_quotes_are_quoted() -> None:
    rows = {"x,1.jpg": [('the "old" one', 0.9)]}
    asked = competition(form={"layout": "columns"})
    assert form.text(ranking(rows), asked) == 'Image,Id\n"x,1.jpg","the ""old"" one"\n'


def test_a_blank_inside_a_joined_answer_is_refused() -> None:
    with pytest.raises(KitboxError) as caught:
        form.text(ranking({"x.jpg": [("Ahab", 0.9), ("Old Boo", 0.5)]}), competition())
    assert str(caught.value) == (
        "answer 'Old Boo' has a blank, which separates answers in this form; "
        'rename it, or set layout = "columns" in kitbox.toml'
    )


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@given(
    st.dictionaries(
        NAMES, st.lists(NAMES, min_size=1, max_size=4, unique=True), min_size=1, max_size=5
    )
)
def test_whatever_the_names_a_list_reads_back(answers: dict[str, list[str]]) -> None:
    rows = {query: [(name, 0.5) for name in names] for query, names in answers.items()}
    written = form.text(ranking(rows), competition(form={"layout": "columns", "header": ()}))
    assert list(csv.reader(io.StringIO(written, newline=""))) == [
        [query, *names] for query, names in answers.items()
    ]
