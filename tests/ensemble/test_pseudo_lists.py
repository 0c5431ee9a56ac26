"""Lists of other programs: the GDSC solution's own pseudo-labels."""

from dataclasses import replace
from pathlib import Path

import pytest

from kitbox.competition.decisions import Decision, Decisions
from kitbox.competition.pseudo_labels import holdout_digest
from kitbox.dataset.collection import Collection
from kitbox.ensemble import pseudo_labelling
from kitbox.ensemble.pseudo_labelling import PseudoLabelRule
from kitbox.errors import KitboxError
from tests.circle import competition, image_set
from tests.submission.collected import collection

RULE = PseudoLabelRule(threshold=0.9)


@pytest.fixture
def scene() -> Collection:
    labelled = image_set({"q.jpg": "Ahab", "a.jpg": "Ahab", "b.jpg": "Boo"})
    test = image_set(dict.fromkeys(["t1.jpg", "t2.jpg", "t3.jpg"], "")).without_labels()
    decisions = Decisions((Decision("merge", "Boo Jr", "Boo"),))
    return replace(collection(competition(), labelled, test), decisions=decisions)


def listed(path: Path, *rows: str) -> Path:
    path.write_text("folder,full_path,proba\n" + "".join(f"{row}\n" for row in rows))
    return path


def test_rows_are_taken_by_file_name_and_threshold(tmp_path: Path, scene: Collection) -> None:
    rows = (
        "Ahab,/data/test/t1.jpg,0.93",
        "Boo Jr,C:\\data\\t2,0.99",
        "Ahab,t3.jpg,0.9",
        "Zoe,t3.jpg,0.99",
        "Ahab,/data/test/t9.jpg,0.99",
    )
    path = listed(tmp_path / "bootstrapped_data.csv", *rows)
    taken = pseudo_labelling.import_gdsc(path, scene, competition(), RULE, "all")
    assert [(row.image_id, row.label, row.confidence) for row in taken.rows] == [
        ("t1.jpg", "Ahab", 0.93),
        ("t2.jpg", "Boo", 0.99),
    ]
    assert {(row.on, row.holdout, row.gap, row.round) for row in taken.rows} == {
        ("all", "", None, 1)
    }
    assert taken.rows[0].source == "import bootstrapped_data.csv"
    assert (taken.listed, taken.unknown_images, taken.unknown_labels) == (
        5,
        ("/data/test/t9.jpg",),
        ("Zoe",),
    )


def test_whoever_vouches_for_the_holdout_names_it(tmp_path: Path, scene: Collection) -> None:
    path = listed(tmp_path / "some.csv", "Ahab,t1.jpg,0.95")
    [row] = pseudo_labelling.import_gdsc(path, scene, competition(), RULE, "holdout").rows
    assert (row.on, row.holdout) == (
        "holdout",
        holdout_digest(scene.holdout.query.image_ids),
    )


@pytest.mark.parametrize(
    ("rows", "rule", "message"),
    [
        (("Ahab,x.jpg,0.95", "Ahab,y.jpg,0.95"), RULE, "'x.jpg' is no test image; 1 more like it"),
        (
            ("Ahab,t1.jpg,0.95", "Boo,t1.png,0.95"),
            RULE,
            "line 3: 't1.png' is in line 2",
        ),
        (
            ("Ahab,t1.jpg,0.95",),
            PseudoLabelRule(gap=0.1),
            "has no second probability; leave --gap out",
        ),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(
    tmp_path: Path, scene: Collection, rows: tuple[str, ...], rule: PseudoLabelRule, message: str
) -> None:
    with pytest.raises(KitboxError, match=message):
        pseudo_labelling.import_gdsc(
            listed(tmp_path / "l.csv", *rows), scene, competition(), rule, "all"
        )
