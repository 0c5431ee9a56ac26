import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from kitbox.submission.csv_format import CsvField, CsvRow, read_rows, split_words

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
    told = found('x,"a\nb"\ny,c')
    assert [(row.line, row.fields[1].text) for row in told] == [(1, "a\nb"), (3, "c")]


def test_a_quote_that_is_not_closed_is_a_letter() -> None:
    assert found('"a,b\n"c"d,e\n') == [
        CsvRow(1, (CsvField('"a', 1), CsvField("b", 4))),
        CsvRow(2, (CsvField('"c"d', 1), CsvField("e", 6))),
    ]


def test_an_empty_text_has_no_row_and_a_comma_two_values() -> None:
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
def test_what_a_csv_writer_quotes_is_read_as_csv_reads_it(table: list[list[str]]) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows(table)
    read = [[field.text for field in row.fields] for row in read_rows(written.getvalue())]
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
