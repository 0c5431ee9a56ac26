"""Views and frozen plugins from the command line: cost, pairs, names, receipts, mistakes."""

import json
from pathlib import Path

import pytest

from kitbox.cli.options import split_names
from kitbox.submission import bundle
from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, json_of, kitbox
from tests.photographs import competition_on_disk, write_plugin

VIEWS = ("--view", "plain", "--view", "flip")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace, _ = competition_on_disk(tmp_path_factory.mktemp("views"), individuals=8, tests=5)
    write_plugin(workspace, "plain", epochs=0, image_size=64)
    return workspace


def test_score_says_what_it_builds_and_pays_and_pairs_views_with_plain(place: Workspace) -> None:
    told = kitbox(place, "score", "plain", *VIEWS, *RUN).stderr
    assert "plain is frozen (epochs = 0), so nothing is trained: built test_efficientnet" in told
    assert "plain: 2 views (plain, flip): 2 × 32 images to embed\n" in told
    assert "views plain + flip against plain alone: label_map_at_5 " in told
    again = kitbox(place, "score", "plain", "--view", "flip,plain", *RUN).stderr
    assert "built" not in again
    assert "to embed" not in again
    found = json_of(place, "score", "plain", *VIEWS, "--metric", "map_at_20")
    assert found["plugins"][0]["views"] == ["plain", "flip"]
    assert found["views"].keys() == {"views", "metric", "value", "difference", "low", "high"}
    assert found["views"]["value"] == found["scores"]["map_at_20"]["value"]
    assert "views" not in json_of(place, "score", "plain")


def test_a_plugin_is_compared_with_its_own_views(place: Workspace) -> None:
    found = json_of(place, "compare", "plain", "plain@views=plain+flip")
    assert found["names"] == ["plain", "plain@views=plain+flip"]
    ensemble = json_of(place, "ensemble", "plain", "plain@views=flip")
    assert [member.get("views") for member in ensemble["plugins"]] == [None, ["flip"]]
    assert len({member["checkpoint"] for member in ensemble["plugins"]}) == 1


def test_views_in_names_stay_together() -> None:
    assert split_names("a+b") == ["a", "b"]
    assert split_names("a@views=plain+flip+scale:1.25+b") == ["a@views=plain+flip+scale:1.25", "b"]
    assert split_names("a@views=flip+plain,epochs=2+b") == ["a@views=flip+plain,epochs=2", "b"]


def test_a_submission_with_views_is_reproduced_and_packed_with_them(place: Workspace) -> None:
    made = json_of(place, "ensemble", "plain", *VIEWS, "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert receipt["plugins"][0]["views"] == ["plain", "flip"]
    assert "views" not in receipt["plugins"][0]["settings"]
    told = kitbox(place, "reproduce", made["submission"], "--device", "cpu").stderr
    assert "the submission is the same, byte for byte" in told
    assert bundle.ensemble_arguments(receipt)[0] == "plain@views=plain+flip"
    name = Path(made["submission"]).name
    assert "views" in error_of(place, "report", name, "--view", "flip")


def test_other_commands_take_views(place: Workspace) -> None:
    shown = kitbox(place, "report", "plain", "--view", "flip", *RUN).stderr
    assert "results_plain_flip.html" in shown
    [page] = place.reports.glob("results_plain_flip.html")
    assert "plain@views=flip" in page.read_text()
    kitbox(place, "embed", "plain", "--view", "scale:1.5", *RUN)
    kitbox(place, "pseudo", "plain", "--view", "flip", "--threshold", "0.1", *RUN)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("plain", "--view", "flop"), "--view: there is no view 'flop'; did you mean flip?"),
        (("plain", "--view", "flip,flip"), "--view: the view 'flip' is named twice"),
        (("plain@views=scale:0",), "plain: the view 'scale:0' needs a factor from 0.25 to 4"),
        (("plain", "--view", "boxes"), "the view boxes: none of the 32 images has a box; run"),
    ],
)
def test_a_view_that_cannot_be_is_one_sentence(
    place: Workspace, given: tuple[str, ...], told: str
) -> None:
    assert error_of(place, "score", *given, *RUN).startswith(told)


def test_a_frozen_plugin_without_its_weights_names_the_fix(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KITBOX_WEIGHTS", raising=False)
    write_plugin(place, "absent", epochs=0, weights="file")
    told = error_of(place, "score", "absent", *RUN)
    assert told.startswith("absent is frozen, and its network cannot be built: there is no file ")
    assert told.endswith("--weights belongs to 'kitbox train absent', which builds the network too")
    assert not (place.runs / "absent").exists()
    (place.plugins / "absent.py").unlink()


def test_whitening_beyond_the_dimensions_is_told(place: Workspace) -> None:
    told = kitbox(place, "score", "plain", "--whiten", "256", *RUN).stderr
    assert "plain: whitened to " in told
    assert " dimensions, not to 256: " in told
