from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.competition.pseudo_labels import holdout_digest
from kitbox.dataset.collection import Collection
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.ensemble import pseudo_labelling
from kitbox.ensemble.class_probabilities import Predictions
from kitbox.ensemble.pseudo_labelling import PseudoLabelRule, select
from kitbox.errors import KitboxError
from kitbox.records import Holdout, strings
from tests.circle import competition, image_set
from tests.submission.collected import collection


def predictions(*rows: tuple[str, str, float, float]) -> Predictions:
    """Return predictions from (image, likeliest label, its probability, the next one's)."""
    ids, labels, first, second = zip(*rows, strict=True)
    return Predictions(strings(ids), strings(labels), np.array(first), np.array(second))


TABLE = predictions(
    ("t0", "Ahab", 0.95, 0.03),
    ("t1", "Ahab", 0.99, 0.01),
    ("t2", "Ahab", 0.90, 0.05),
    ("t3", "Boo", 0.92, 0.08),
    ("t4", "new_whale", 0.99, 0.01),
    ("t5", "", 0.0, 0.0),
)


@pytest.mark.parametrize(
    ("rule", "selected"),
    [
        (PseudoLabelRule(), "t0 t1 t3"),  # 0.9 is not above 0.9
        (PseudoLabelRule(threshold=0.89), "t0 t1 t2 t3"),
        (PseudoLabelRule(threshold=0.89, gap=0.9), "t0 t1"),
        (PseudoLabelRule(threshold=0.89, per_label=1), "t1 t3"),
        (PseudoLabelRule(threshold=0.89, per_label=2), "t0 t1 t3"),
        (PseudoLabelRule(threshold=0.0, per_label=None), "t0 t1 t2 t3"),
        (PseudoLabelRule(threshold=1.0), ""),
    ],
)
def test_threshold_gap_and_cap_by_hand(rule: PseudoLabelRule, selected: str) -> None:
    assert TABLE.image_ids[select(TABLE, rule, "new_whale")].tolist() == selected.split()


def test_of_equally_confident_images_the_first_by_id_is_selected() -> None:
    even = predictions(("t9", "Ahab", 0.95, 0.0), ("t1", "Ahab", 0.95, 0.0))
    assert select(even, PseudoLabelRule(per_label=1), None).tolist() == [False, True]


probabilities = st.integers(0, 10).map(lambda tenths: tenths / 10)


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "Ahab", "Boo", "?"]), probabilities, probabilities),
        min_size=1,
        max_size=12,
    ),
    probabilities,
    probabilities,
    st.integers(1, 3),
)
def test_the_selection_equals_that_of_a_loop(rows, threshold, gap, per_label) -> None:  # type: ignore[no-untyped-def]
    table = predictions(
        *((f"t{i:02}", label, max(p, q), min(p, q)) for i, (label, p, q) in enumerate(rows))
    )
    found = select(table, PseudoLabelRule(threshold, gap, per_label), "?")
    sure = [
        i
        for i, label in enumerate(table.labels)
        if label not in ("", "?") and table.confidence[i] > threshold and table.gap[i] >= gap
    ]
    ahead = {
        i: sum(
            table.labels[j] == table.labels[i]
            and (-table.confidence[j], j) < (-table.confidence[i], i)
            for j in sure
        )
        for i in sure
    }
    assert np.flatnonzero(found).tolist() == [i for i in sure if ahead[i] < per_label]


def holdout_of(*rows: tuple[str, str]) -> Holdout:
    """Return a holdout from (individual, expected answer) of each query."""
    query = image_set({f"q{number}": label for number, (label, _) in enumerate(rows)})
    nothing = query.take(np.zeros(len(query), dtype=np.bool_))
    return Holdout(nothing, query, nothing, strings([answer for _, answer in rows]))


def predicted(*rows: tuple[str, float]) -> Predictions:
    labels, confidence = zip(*rows, strict=True)
    ids = strings([f"q{number}" for number in range(len(rows))])
    return Predictions(ids, strings(labels), np.array(confidence), np.zeros(len(rows)))


def test_precision_and_coverage_by_hand() -> None:
    holdout = holdout_of(("Ahab", "Ahab"), ("Boo", "Boo"), ("Zoe", "new_whale"), ("Ahab", "Ahab"))
    found = predicted(("Ahab", 0.95), ("Cid", 0.8), ("Boo", 0.97), ("Ahab", 0.92))
    precision, coverage = pseudo_labelling.measure_precision(
        found, holdout, PseudoLabelRule(), "new_whale"
    )
    assert precision is not None
    assert (precision.value, precision.queries) == (pytest.approx(2 / 3), 3)
    assert (coverage.value, coverage.queries) == (3 / 4, 4)
    # a resample may hold Ahab alone, who is right twice, or Zoe alone, who is never right
    assert (precision.low, precision.high) == (0, 1)


def test_a_rule_that_labels_nothing_has_no_precision() -> None:
    precision, coverage = pseudo_labelling.measure_precision(
        predicted(("Ahab", 0.5)), holdout_of(("Ahab", "Ahab")), PseudoLabelRule(), None
    )
    assert (precision, coverage.value) == (None, 0)


def test_a_precision_of_one_has_an_interval_by_the_number_of_individuals() -> None:
    """Of 3 individuals all right: a share of .292 right gives that in 2.5 % of cases."""
    names = ("Ahab", "Boo", "Cid", "Cid")
    precision, _ = pseudo_labelling.measure_precision(
        predicted(*((name, 0.95) for name in names)),
        holdout_of(*((n, n) for n in names)),
        PseudoLabelRule(),
        None,
    )
    assert precision is not None
    assert precision.low**3 == pytest.approx(0.025)
    assert (precision.value, precision.high) == (1, 1)


labels = st.sampled_from(["Ahab", "Boo", "new_whale"])


@given(st.lists(st.tuples(labels, labels, st.integers(0, 10)), min_size=1, max_size=20))
def test_precision_equals_that_of_a_loop(rows: list[tuple[str, str, int]]) -> None:
    rule = PseudoLabelRule(threshold=0.5, per_label=2)
    found = predicted(*((label, tenths / 10) for _, label, tenths in rows))
    precision, coverage = pseudo_labelling.measure_precision(
        found, holdout_of(*((true, true) for true, _, _ in rows)), rule, "new_whale"
    )
    found = []
    for label in ("Ahab", "Boo"):
        sure = [(-n, f"q{i}", true) for i, (true, mine, n) in enumerate(rows) if mine == label]
        found += [true == label for n, _, true in sorted(sure)[:2] if -n > 5]
    assert coverage.value == pytest.approx(len(found) / len(rows))
    if found:
        assert precision is not None
        assert precision.value == pytest.approx(sum(found) / len(found))


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


def test_rows_are_imported_by_file_name_and_threshold(tmp_path: Path, scene: Collection) -> None:
    rows = (
        "Ahab,/data/test/t1.jpg,0.93",
        "Boo Jr,C:\\data\\t2,0.99",
        "Ahab,t3.jpg,0.9",
        "Zoe,t3.jpg,0.99",
        "Ahab,/data/test/t9.jpg,0.99",
    )
    path = listed(tmp_path / "bootstrapped_data.csv", *rows)
    found = pseudo_labelling.import_gdsc(path, scene, competition(), RULE, "all")
    assert [(row.image_id, row.label, row.confidence) for row in found.rows] == [
        ("t1.jpg", "Ahab", 0.93),
        ("t2.jpg", "Boo", 0.99),
    ]
    assert {(row.on, row.holdout, row.gap, row.round) for row in found.rows} == {
        ("all", "", None, 1)
    }
    assert found.rows[0].source == "import bootstrapped_data.csv"
    assert (found.listed, found.unknown_images, found.unknown_labels) == (
        5,
        ("/data/test/t9.jpg",),
        ("Zoe",),
    )


def test_imported_labels_of_networks_without_the_holdout_have_its_digest(
    tmp_path: Path, scene: Collection
) -> None:
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
def test_a_list_of_other_images_or_with_repeats_is_refused(
    tmp_path: Path, scene: Collection, rows: tuple[str, ...], rule: PseudoLabelRule, message: str
) -> None:
    with pytest.raises(KitboxError, match=message):
        pseudo_labelling.import_gdsc(
            listed(tmp_path / "l.csv", *rows), scene, competition(), rule, "all"
        )
