"""Pseudo-labels from two kinds of classifiers, by similarity, and imported."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

from kitbox.workspace import Workspace
from tests import commands
from tests.commands import RUN, kitbox
from tests.photographs import competition_on_disk, write_plugin


def labels_of(workspace: Workspace, *arguments: str) -> Any:
    return commands.json_of(workspace, "pseudo", *arguments)


def error_of(workspace: Workspace, *arguments: str) -> str:
    return commands.error_of(workspace, "pseudo", *arguments)


def rows_of(workspace: Workspace) -> list[dict[str, str]]:
    return list(csv.DictReader(workspace.pseudo_labels.read_text().splitlines()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace with a linear classifier, one of angles, and a network of no loss.

    The test photograph t_0.png is a copy of a labelled one.
    """
    root = tmp_path_factory.mktemp("pseudo")
    workspace, competition = competition_on_disk(root, individuals=8, tests=9)
    # photographs of an individual are alike here, too much to be two
    text = workspace.settings.read_text()
    workspace.settings.write_text(text.replace("seed = 0", "seed = 0\nnear_duplicate_bits = 0"))
    data = competition.images.root
    shutil.copy(data / "train" / "0_0.png", data / "test" / "t_0.png")
    learning = {"epochs": 8, "learning_rate": 1e-2, "score_every": 8}
    write_plugin(workspace, "angles", **learning)
    linear = write_plugin(workspace, "linear", **learning)
    text = linear.read_text().replace("Plugin\n", "CrossEntropy, Plugin\n", 1)
    losses = "Plugin(\n    losses=(CrossEntropy(),),"
    linear.write_text(text.replace("Plugin(", losses))
    write_plugin(workspace, "plain", epochs=0)
    kitbox(workspace, "train", "angles", "linear", "plain", *RUN)
    return workspace


@pytest.fixture
def workspace(trained: Workspace) -> Workspace:
    for path in trained.root.glob("pseudo*.csv"):
        path.unlink()
    return trained


def test_classifiers_label_test_images_with_a_measured_precision(workspace: Workspace) -> None:
    found = labels_of(workspace, "linear", "angles", "--threshold", "0.05", "--per-label", "0")
    rows = rows_of(workspace)
    assert (found["by"], found["on"], found["round"]) == ("classifier", "holdout", 1)
    assert (found["images"], found["labelled"]) == (8, len(rows))
    assert 0 < len(rows) <= 8
    assert "t_0.png" not in {row["image"] for row in rows}
    assert {row["from"] for row in rows} == {"linear+angles"}
    assert {row["on"] for row in rows} == {"holdout"}
    assert {len(row["holdout"]) for row in rows} == {12}
    assert found["labels"] == len({row["label"] for row in rows})
    sure = [float(row["confidence"]) for row in rows]
    assert found["expected"] == pytest.approx(sum(sure) / len(sure), abs=1e-6)
    assert min(sure) > 0.05
    assert found["precision"]["low"] <= found["precision"]["value"] <= found["precision"]["high"]
    assert found["file"] == str(workspace.pseudo_labels)


def test_a_trained_classifier_labels_most_images_rightly(
    workspace: Workspace,
) -> None:
    """Test image i shows individual i, and t_8.png an unknown one."""
    kitbox(workspace, "pseudo", "linear", "--threshold", "0.3", *RUN)
    own = {row["image"]: row["label"] for row in rows_of(workspace)}
    right = [label == f"w_{image[2]}" for image, label in own.items()]
    assert sum(right) >= 0.5 * len(right) > 0


def test_without_a_classifier_similarity_is_calibrated_on_the_holdout(workspace: Workspace) -> None:
    found = labels_of(workspace, "linear", "plain", "--threshold", "0.2", "--per-label", "1")
    assert found["by"] == "similarity"
    labels = [row["label"] for row in rows_of(workspace)]
    assert len(labels) == len(set(labels)) == found["labelled"] > 0
    none = labels_of(workspace, "linear", "--by", "similarity", "--threshold", "0.999")
    assert (none["labelled"], none["expected"], none["precision"]) == (0, None, None)
    assert (none["file"], none["kept"]) == (None, None)
    assert len(rows_of(workspace)) == len(labels)


def test_a_summary_is_printed(workspace: Workspace) -> None:
    result = kitbox(workspace, "pseudo", "linear", "angles", "--threshold", "0.05", *RUN)
    lines = result.stderr.splitlines()
    assert "round 1, by classifier, networks trained on holdout" in lines
    assert any(" of 8 test images get a label, " in line for line in lines)
    assert lines[-1].startswith(f"written to {workspace.pseudo_labels}: ")
    assert "precision" in result.stdout
    assert "coverage" in result.stdout


def test_labels_of_another_program_are_imported(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "bootstrapped_data.csv"
    path.write_text("folder,full_path,proba\nw_1,x/t_1.png,0.95\nw_2,x/t_2.png,0.5\nw_0,t_0,0.99\n")
    found = labels_of(workspace, "--import", str(path))
    assert (found["by"], found["on"], found["images"], found["labelled"]) == ("import", "all", 3, 1)
    assert rows_of(workspace) == [
        {
            "image": "t_1.png",
            "label": "w_1",
            "confidence": "0.950000",
            "gap": "",
            "round": "1",
            "from": "import bootstrapped_data.csv",
            "on": "all",
            "holdout": "",
        }
    ]


def test_former_rows_are_kept_in_another_file(workspace: Workspace, tmp_path: Path) -> None:
    sure = tmp_path / "sure.csv"
    sure.write_text("folder,full_path,proba\nw_1,t_1,0.95\nw_2,t_2,0.92\n")
    found = ("pseudo", "--import", str(sure))
    assert "kept" not in kitbox(workspace, *found).stderr
    first = workspace.pseudo_labels.read_text()
    assert "kept" not in kitbox(workspace, *found).stderr  # the same again replaces nothing
    mine = first.replace("w_2", "w_3")
    workspace.pseudo_labels.write_text(mine)
    lines = kitbox(workspace, *found).stderr.splitlines()
    assert lines[-2:] == [
        f"the former file is kept as {workspace.root / 'pseudo.1.csv'}",
        f"written to {workspace.pseudo_labels}: 2 rows",
    ]
    assert (workspace.root / "pseudo.1.csv").read_text() == mine
    workspace.pseudo_labels.write_text("edited, and wrong\n")
    assert "the former file is kept as" in kitbox(workspace, *found).stderr
    assert (workspace.root / "pseudo.2.csv").read_text() == "edited, and wrong\n"
    assert workspace.pseudo_labels.read_text() == first
    nothing = kitbox(workspace, *found, "--threshold", "0.99").stderr.splitlines()[-1]
    assert nothing == f"no row to write; {workspace.pseudo_labels} stays as it is"
    workspace.pseudo_labels.unlink()
    nothing = kitbox(workspace, *found, "--threshold", "0.99").stderr.splitlines()[-1]
    assert nothing == "no row to write"
    assert not workspace.pseudo_labels.exists()


def test_options_about_networks_are_an_error_with_an_import(workspace: Workspace) -> None:
    for option, value in (("--by", "similarity"), ("--weights", "2"), ("--checkpoint", "best")):
        assert error_of(workspace, "--import", "a.csv", option, value) == (
            f"{option} is about networks, and --import uses none; leave it out"
        )


def test_a_missing_list_is_an_error(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "no.csv"
    assert (
        error_of(workspace, "--import", str(path)) == f"there is no list {path}; correct its name"
    )
    path.write_text("folder,full_path\nw_1,t_1\n")
    assert error_of(workspace, "--import", str(path)) == (
        f"{path} line 1: no column 'proba' among folder, full_path; correct the header"
    )


def test_options_that_exclude_each_other_are_an_error(workspace: Workspace) -> None:
    both = "name trained plugins, or a list with --import FILE"
    assert error_of(workspace) == both
    assert error_of(workspace, "linear", "--import", "a.csv") == both
    assert error_of(workspace, "plain", "--by", "classifier", *RUN) == (
        "plain has no classifier of the labels; use --by similarity"
    )
    assert error_of(workspace, "linear", "--fold", "all").startswith("--fold all: pseudo.csv holds")
    assert "no plugin named linnear" in error_of(workspace, "linnear")
    assert error_of(workspace, "linear", "plain", "--weights", "1,-1", *RUN).startswith(
        "the weight of plain is -1; "
    )
    assert not workspace.pseudo_labels.exists()


def test_labels_of_networks_that_know_the_holdout_are_marked(workspace: Workspace) -> None:
    result = kitbox(workspace, "pseudo", "linear", "--on", "all", "--threshold", "0.05", *RUN)
    assert "linear was trained without the holdout" in result.stderr
    assert {(row["on"], row["holdout"]) for row in rows_of(workspace)} == {("all", "")}
