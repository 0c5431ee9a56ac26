import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from kitbox.submission.csv_format import Field, Row, rows, words

# Quotes, separators and line feeds, so that they meet often.
LETTERS = st.text('a"b, \n', max_size=8)


def found(text: str) -> list[Row]:
    return list(rows(text))


def test_every_value_has_its_line_and_column() -> None:
    assert found("ab,c\n\nd,,ef") == [
        Row(1, (Field("ab", 1), Field("c", 4))),
        Row(3, (Field("d", 1), Field("", 3), Field("ef", 4))),
    ]


def test_a_quoted_value_begins_after_its_quote_and_the_next_after_the_comma() -> None:
    assert found('"a,""b""",c\n') == [Row(1, (Field('a,"b"', 2), Field("c", 11)))]


def test_a_quoted_value_over_lines_does_not_shift_the_lines_after_it() -> None:
    told = found('x,"a\nb"\ny,c')
    assert [(row.line, row.fields[1].text) for row in told] == [(1, "a\nb"), (3, "c")]


def test_a_quote_that_is_not_closed_is_a_letter() -> None:
    assert found('"a,b\n"c"d,e\n') == [
        Row(1, (Field('"a', 1), Field("b", 4))),
        Row(2, (Field('"c"d', 1), Field("e", 6))),
    ]


def test_an_empty_text_has_no_row_and_a_comma_two_values() -> None:
    assert found("") == found("\n\r\n") == []
    assert found(",") == [Row(1, (Field("", 1), Field("", 2)))]


def test_words_have_columns_and_two_blanks_an_empty_word() -> None:
    assert words(Field("ab  c", 4)) == (Field("ab", 4), Field("", 7), Field("c", 8))
    assert words(Field("", 4)) == ()


@given(st.lists(st.lists(LETTERS, min_size=1, max_size=3), max_size=4))
def test_what_a_csv_writer_quotes_is_read_as_csv_reads_it(table: list[list[str]]) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows(table)
    read = [[field.text for field in row.fields] for row in rows(written.getvalue())]
    assert read == list(csv.reader(io.StringIO(written.getvalue(), newline="")))


@given(st.text("ab, \n\r", max_size=30))
def test_text_without_quotes_is_read_alike_beside_text_with_some(text: str) -> None:
    # a quoted value at the end sends the same text the way of quoted text
    plain, quoted = found(text), found(text + '\n""')
    assert quoted[:-1] == plain
    for line, fields in plain:
        of_line = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[line - 1]
        for value, column in fields:
            assert of_line[column - 1 :].startswith(value)


def test_many_opened_quotes_take_no_longer_than_other_text() -> None:
    text = '"a,b\n' * 20_000
    assert len(found(text)) == 20_000
