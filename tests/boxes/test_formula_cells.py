"""No CSV that people open begins a cell with a formula, and each is read back as it was."""

import csv
from pathlib import Path

import numpy as np
import pytest

from kitbox.boxes import detections
from kitbox.competition import boxes, pseudo_labels
from kitbox.competition.boxes import Box
from kitbox.competition.pseudo_labels import PseudoLabel
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.errors import KitboxError

NAMES = ("=1+1.jpg", "@x.jpg", "+1.jpg", "-1.jpg", "'=x.jpg")


def first_cells(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [cell for row in csv.reader(file) for cell in row]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_formula_in_boxes_decisions_and_pseudo_labels(
    tmp_path: Path, name: str
) -> None:
    box = Box(name, (1.0, 2.0, 30.0, 40.0), 0.5, name)
    decision = Decision("drop", name, note="=1")
    label = PseudoLabel(
        image_id=name, label="=w", confidence=0.9, gap=0.1, round=1, source="=a", on="all"
    )
    boxes.replace(tmp_path / "boxes.csv", name, [box])
    decision_file.add(tmp_path / "decisions.csv", decision)
    pseudo_labels.save(tmp_path / "pseudo.csv", [label])
    none = np.zeros(0, dtype=np.float32)
    finding = detections.DetectionFinding(
        image_id=name, reason="small", confidence=0.5, box=none, other_box=none
    )
    detections.save_findings(tmp_path / "suspicious.csv", [finding])
    for path in sorted(tmp_path.glob("*.csv")):
        assert not [cell for cell in first_cells(path) if cell[:1] in ("=", "@", "+", "-", "\t")]
    assert boxes.read_file(tmp_path / "boxes.csv", "") == [box]
    assert decision_file.load(tmp_path / "decisions.csv").rows == (decision,)
    assert decision_file.remove(tmp_path / "decisions.csv", decision)
    assert pseudo_labels.load(tmp_path / "pseudo.csv") == (label,)


@pytest.mark.parametrize("name", ["\tx.jpg", "\t=x.jpg", " x.jpg", "x.jpg ", "x\ry.jpg"])
def test_lists_that_people_type_into_refuse_a_name_that_they_would_change(
    tmp_path: Path, name: str
) -> None:
    label = PseudoLabel(
        image_id=name, label="w", confidence=0.9, gap=0.1, round=1, source="a", on="all"
    )
    for write in (
        lambda: decision_file.add(tmp_path / "decisions.csv", Decision("drop", name)),
        lambda: decision_file.add(tmp_path / "decisions.csv", Decision("same", "a.jpg", name)),
        lambda: pseudo_labels.save(tmp_path / "pseudo.csv", [label]),
    ):
        with pytest.raises(KitboxError, match=r"rename the file") as caught:
            write()
        assert repr(name) in str(caught.value)
    assert not [*tmp_path.glob("*.csv")]


def test_boxes_keep_a_name_that_begins_with_a_tab(tmp_path: Path) -> None:
    box = Box("\tx.jpg", (1.0, 2.0, 30.0, 40.0), 0.5, "\ta")
    boxes.replace(tmp_path / "boxes.csv", box.source, [box])
    assert not [cell for cell in first_cells(tmp_path / "boxes.csv") if cell[:1] == "\t"]
    assert boxes.read_file(tmp_path / "boxes.csv", "") == [box]
