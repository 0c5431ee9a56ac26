"""Training curves, from the journal of a run to plots."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kitbox.report import training_curves
from kitbox.report.training_curves import TrainingCurve

SCORES = {"map_at_20": {"value": 0.25}}
WARNING = "the embeddings have collapsed"


def curve_of(folder: Path, *entries: dict[str, Any]) -> TrainingCurve:
    """Return the curve of a run 'flukes' with this journal."""
    lines = [json.dumps(entry) + "\n" for entry in entries]
    (folder / "journal.jsonl").write_text("".join(lines))
    checkpoint = SimpleNamespace(path=folder / "last.safetensors")
    return training_curves.load_curve("flukes", checkpoint)


def epoch(number: int, **values: Any) -> dict[str, Any]:
    pace = {"seconds": 2.0, "images_per_second": 9.5}
    return {"event": "epoch", "epoch": number, "loss": 0.5 / number, **pace, **values}


@pytest.fixture
def sequenced(tmp_path: Path) -> TrainingCurve:
    return curve_of(
        tmp_path,
        {"event": "score", "epoch": 0, "scores": SCORES},
        epoch(1, figures={"hardness": 0.1, "achieved": 0.09, "spread": 1.2}),
        epoch(2, figures={"hardness": 0.8, "achieved": 0.7, "spread": 0.02}),
        {"event": "warning", "epoch": 2, "text": WARNING},
        {"event": "score", "epoch": 2, "scores": SCORES},
        {"event": "finished", "epoch": 2},
    )


def test_a_curve_has_the_points_of_the_journal(sequenced: TrainingCurve) -> None:
    assert sequenced == TrainingCurve(
        name="flukes",
        losses=((1, 0.5), (2, 0.25)),
        scores=((0, 0.25), (2, 0.25)),
        metric="map_at_20",
        hardness=((1, 0.1), (2, 0.8)),
        achieved=((1, 0.09), (2, 0.7)),
        spread=((1, 1.2), (2, 0.02)),
        warnings=((2, WARNING),),
    )


def test_requested_and_achieved_hardness_are_in_one_plot(sequenced: TrainingCurve) -> None:
    plot = next(
        p for p in training_curves.draw_curves([sequenced]) if p.title == "Hardness, flukes"
    )
    assert plot.legend == ("requested", "achieved")
    assert "Requested: at most 0.80." in plot.caption


def test_warnings_are_marked_in_the_plots_of_loss_and_spread(sequenced: TrainingCurve) -> None:
    marked = {plot.title: plot for plot in training_curves.draw_curves([sequenced])}
    assert list(marked) == ["Loss", "Holdout score (mAP@20)", "Hardness, flukes", "Spread"]
    for title in ("Loss", "Spread"):
        assert f"Vertical line: flukes, epoch 2: {WARNING}." in marked[title].caption
    assert "flukes 1.2 → 0.02" in marked["Spread"].caption


def test_each_vertical_draws_a_line() -> None:
    series = [("one", [0.0, 1.0], [0.0, 1.0])]
    plain, marked = (
        training_curves.plots.lines("t", "c", series, labels=("x", "y"), verticals=verticals)
        for verticals in ([], [1])
    )
    assert marked.svg.count("var(--ink)") > plain.svg.count("var(--ink)")


def test_a_run_without_hard_negatives_has_fewer_plots(tmp_path: Path) -> None:
    curve = curve_of(tmp_path, epoch(1), {"event": "score", "epoch": 1, "scores": SCORES})
    assert [plot.title for plot in training_curves.draw_curves([curve])] == ["Loss"]
    assert (
        training_curves.draw_curves([curve_of(tmp_path, {"event": "finished", "epoch": 0})]) == []
    )
