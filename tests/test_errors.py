import copy

import pytest

from kitbox.errors import KitboxError


@pytest.mark.parametrize(
    ("error", "sentence", "message"),
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
def test_an_error_is_one_sentence_of_place_fault_and_fix(
    error: KitboxError, sentence: str, message: str
) -> None:
    assert (str(error), error.message) == (sentence, message)


def test_a_copied_error_keeps_its_fields() -> None:
    error = KitboxError("no label", where="a.csv line 2", fix="add one")
    same = copy.copy(error)
    assert (same.what, same.where, same.fix) == (error.what, error.where, error.fix)
    assert str(same) == str(error)
