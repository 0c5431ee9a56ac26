"""Labels that mean "nobody knows", and labels that differ only in how they are written."""

import re
import tomllib
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kitbox.competition.findings import DataFinding
from kitbox.competition.settings import ImageSettings
from kitbox.dataset import label_checks
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.records import LabelledImages, strings
from tests.circle import competition

NOBODY = """
    Unidentified | unknown | UNKNOWN | nan | NaN | None | NA | N/A | n/a | ? | ?? | #N/A |
    #N_A | <NA> | null | unidentified_12 | unknown 3 | Unknown_male | unk | UNK12 | unk_3 |
    unid. | Unid 4 | - | -- | _ | . | no id | No_ID | noID 3 | not identified | Not-Identified |
    TBD | tba | unnamed | unnamed seal | whale_unk | WhaleUnknown | seal unknown |
    undetermined | indet. | not known | no match | unassigned | unlabelled | unlabeled |
    unsorted | to be identified | to identify | new_whale | new_individual | -1 | -999 | #REF! |
    missing | other | n. a. | unbekannt | Unbekannt 2 | nicht identifiziert | inconnu |
    Inconnue | non identifié | desconocido | no identificado | sin identificar | sin nombre |
    desconhecido | não identificado | sem nome | sconosciuto | non identificata | onbekend |
    ukjent | niet geïdentificeerd | okänd | tuntematon | nieznany | неизвестный | 不明 | 未知 |
    seal/NA | seal/?
"""

NAMES = """
    Nana | Una | Nina | Nona | Noah | Nan2 | NA12 | None-3 | Unity | Unkas | Unka | Ahab |
    w_1287fbc | 7 | 007 | 0 | -12 | A- | x | X1 | No 7 | No. 12 | Not a wolf | Non | Notch |
    Other Sister | Emptiness | Missy | Nulla | Nullarbor | Sinbad | Sin | Naomi | Identity |
    Tabea | TBD7 | Novo | 🐋 | 王 | Nemo | new | seal/Una | N/Una |
    a/b/
"""


def labels_in(text: str) -> list[str]:
    return [label.strip() for label in re.split(r"\||\n", text) if label.strip()]


def of(counts: dict[str, int]) -> LabelledImages:
    labels = [label for label, count in counts.items() for _ in range(count)]
    ids = [f"{number}.jpg" for number in range(len(labels))]
    return LabelledImages(strings(ids), tuple(map(Path, ids)), strings(labels))


def findings(counts: dict[str, int], *fine: Decision, **settings: Any) -> list[DataFinding]:
    labelled = of(counts)
    places = {image: f"line {row}" for row, image in enumerate(labelled.image_ids.tolist(), 2)}
    given = competition(**{"unknown_label": None, **settings})
    return list(label_checks.label_findings(labelled, given, places, Decisions(fine)))


def line(counts: dict[str, int], **settings: Any) -> str:
    given = ImageSettings.model_validate({"root": ".", "train_folder": ".", **settings})
    nobody = [label for label in counts if label_checks.is_nobody(label)]
    return label_checks.setting_line(nobody, counts, given)


@pytest.mark.parametrize("label", labels_in(NOBODY))
def test_a_label_that_means_nobody_knows(label: str) -> None:
    assert label_checks.is_nobody(label)


@pytest.mark.parametrize("label", labels_in(NAMES))
def test_a_name_is_no_false_alarm(label: str) -> None:
    assert not label_checks.is_nobody(label)


def test_the_finding_names_the_line_with_every_such_label() -> None:
    found = findings({"Ahab": 2, "NA": 3, "unknown": 1, "?": 1})
    text = (
        "seems to mean that nobody knows the individual, and counts as one; "
        'set unknown_label = ["unknown", "NA", "?"] under [images] in kitbox.toml, or add '
    )
    assert [(each.kind, each.where, each.what, each.action) for each in found] == [
        (
            "unknown-label",
            f"line {row}",
            f"label '{label}' ({count}) {text}'fine,{label}' to decisions.csv if it is a name",
            "keep",
        )
        for row, label, count in (
            (4, "NA", "3 images"),
            (7, "unknown", "1 image"),
            (8, "?", "1 image"),
        )
    ]
    assert [each.image_id for each in found] == ["2.jpg", "5.jpg", "6.jpg"]


@pytest.mark.parametrize(
    ("counts", "settings", "expected"),
    [
        ({"NA": 1}, {}, 'unknown_label = "NA"'),
        ({"NA": 1}, {"unknown_label": "new_whale"}, 'unknown_label = ["new_whale", "NA"]'),
        ({"NA": 9, "unidentified": 1}, {}, 'unknown_label = ["unidentified", "NA"]'),
        ({"unk_1": 1, "unk_2": 1}, {}, 'unknown_label = ["unk_1", "unk_2"]'),
        (
            {f"unidentified_{number}": 1 for number in range(40)},
            {},
            'unknown_label = ["unidentified", "unidentified_*"]',
        ),
        (
            {"unk1": 1, "unk2": 1, "unk3": 1, "unkas": 1},
            {},
            'unknown_label = ["unk1", "unk2", "unk3"]',
        ),
        ({'unknown "x"': 1}, {}, 'unknown_label = "unknown \\"x\\""'),
    ],
)
def test_the_line_is_what_kitbox_toml_needs(
    counts: dict[str, int], settings: dict[str, Any], expected: str
) -> None:
    written = line(counts, **settings)
    assert written == expected
    given = ImageSettings(root=Path(), train_folder=".", **tomllib.loads(written))  # type: ignore[arg-type]
    read = {given.read_label(label) for label in counts if label != "unkas"}
    assert read == {given.unknown_label}
    assert given.read_label("unkas") == "unkas"


def test_the_competitions_own_unknown_label_and_fine_labels_are_no_findings() -> None:
    assert findings({"new_whale": 3, "Ahab": 1}, unknown_label="new_whale") == []
    assert findings({"NA": 3, "Ahab": 1}, Decision("fine", "NA")) == []
    assert len(findings({"NA": 3, "Ahab": 1})) == 1


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        (unicodedata.normalize("NFC", "Zoë"), unicodedata.normalize("NFD", "Zoë"), "Unicode form"),
        ("１２", "12", "Unicode form"),
        ("Boo", "boo", "case"),
        ("Old Tom", "Old  Tom", "blanks"),
        ("Old Tom", "OldTom", "blanks"),
        ("Old Tom", "Old\u00a0Tom", "blanks"),
        ("Boo", "Boo\u200b", "blanks"),
        ("7", "007", "leading zeros"),
        ("W7", "W007", "leading zeros"),
        ("12", "12.0", "'.0'"),
        ("012", "12.0", "'.0' and leading zeros"),
        ("Old Tom", "old  tom", "blanks and case"),
    ],
)
def test_labels_that_differ_only_in_how_they_are_written(
    one: str, other: str, difference: str
) -> None:
    [found] = findings({one: 3, "Cleo": 2, other: 1})
    assert (found.kind, found.where, found.image_id) == ("labels-alike", "line 7", "5.jpg")
    assert found.what == (
        f"labels '{one}' (3 images) and '{other}' (1 image) differ only in {difference}; "
        f"if they are one individual, add 'merge,{other},{one}' to decisions.csv"
    )
    assert findings({one: 3, other: 1}, Decision("fine", one, other)) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("w_01a", "w_1a"),
        ("12.1", "12.10"),
        ("7", "70"),
        ("0", "00a"),
        ("Zoe", "Zoë"),
        ("a_1", "a1"),
    ],
)
def test_other_labels_are_not_alike(one: str, other: str) -> None:
    assert label_checks.labels_alike([one, other]) == []


def test_a_label_with_a_comma_is_quoted_in_its_decision() -> None:
    [found] = findings({"Smith, J": 2, "smith, J": 1})
    assert 'add \'merge,"smith, J","Smith, J"\' to decisions.csv' in found.what


def test_three_labels_are_one_finding() -> None:
    [found] = findings({"Boo": 2, "boo": 1, "BOO": 1})
    assert "labels 'Boo' (2 images) and 'BOO' (1 image) and 'boo' (1 image)" in found.what
    assert "add 'merge,BOO,Boo' and 'merge,boo,Boo' to decisions.csv" in found.what


def test_thousands_of_labels_of_one_form_are_not_alike() -> None:
    labels = [f"w_{number * 7919 % 16**7:07x}" for number in range(5000)]
    assert label_checks.labels_alike(Counter(labels)) == []


def test_a_folder_with_a_blank_at_its_end_is_renamed() -> None:
    [found] = findings({"Boo": 2, "Boo ": 1})
    assert found.what.endswith("differ only in blanks; if they are one individual, rename a folder")
