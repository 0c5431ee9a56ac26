"""Errors: their sentence and fields, and the hints at their end."""

import copy

import pytest

from kitbox.boxes.box_import import ImportFinding
from kitbox.competition.findings import DataFinding
from kitbox.errors import KitboxError, counted, did_you_mean, more, one_line
from kitbox.formats.lint_findings import LintFinding


@pytest.mark.parametrize(
    ("error", "sentence", "explanation"),
    [
        (KitboxError("no label"), "no label", "no label"),
        (KitboxError("no label", fix="add one"), "no label; add one", "no label; add one"),
        (KitboxError("no label", where="a.csv line 2"), "a.csv line 2: no label", "no label"),
        (
            KitboxError("no label", where="a.csv line 2", fix="add one"),
            "a.csv line 2: no label; add one",
            "no label; add one",
        ),
    ],
)
def test_an_error_is_one_sentence_of_place_mistake_and_fix(
    error: KitboxError, sentence: str, explanation: str
) -> None:
    assert (str(error), error.explanation) == (sentence, explanation)


ODD_NAME = "a\nb\x1b[31m\u202egpj." + "x" * 5000


@pytest.mark.parametrize(
    "sentence",
    [
        str(KitboxError(f"no image '{ODD_NAME}'", where=ODD_NAME, fix="rename it")),
        str(DataFinding("train.csv line 2", f"no image '{ODD_NAME}'")),
        str(LintFinding(1, 1, f"no label '{ODD_NAME}'")),
        str(ImportFinding("refused", "a.csv line 2", "a.jpg", f"box {ODD_NAME}")),
    ],
)
def test_a_name_never_breaks_a_line_steers_the_terminal_or_fills_the_screen(sentence: str) -> None:
    assert r"a\nb\x1b[31m\u202egpj.xxx" in sentence
    assert "\n" not in sentence
    assert len(sentence) < 3000


def test_blanks_and_letters_of_any_language_are_shown_as_they_are() -> None:
    name = "Wal\u00a0№\u3000é\u200cک 🐋.jpg"
    assert one_line(name) == name


def test_a_copied_error_keeps_its_fields() -> None:
    error = KitboxError("no label", where="a.csv line 2", fix="add one")
    same = copy.copy(error)
    assert (same.what, same.where, same.fix) == (error.what, error.where, error.fix)
    assert str(same) == str(error)


def test_a_near_word_is_suggested_and_a_far_one_is_not() -> None:
    assert did_you_mean("margn", ["scale", "margin"]) == "; did you mean margin?"
    assert did_you_mean("xyz", ["scale", "margin"]) == ""


@pytest.mark.parametrize(("count", "text"), [(-1, ""), (0, ""), (3, "; 3 more like it")])
def test_findings_beyond_the_first_are_counted(count: int, text: str) -> None:
    assert more(count) == text


def test_counts_of_one_and_of_many_have_their_noun() -> None:
    assert (counted(1, "row"), counted(2, "row"), counted(0, "row")) == (
        "1 row",
        "2 rows",
        "0 rows",
    )
    assert (counted(1, "box", "boxes"), counted(3, "box", "boxes")) == ("1 box", "3 boxes")
    assert more(1, "more folders", "more folder") == "; 1 more folder"
