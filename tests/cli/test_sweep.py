"""Sweeps: one table, one CSV, and nothing trained twice."""

import csv
import json
import re
from pathlib import Path

import pytest
from typer.testing import Result

from kitbox.cli.sweep import _giga
from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, invoke
from tests.photographs import competition_on_disk, write_plugin

STEM = "test_efficientnet.r160_in1k"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace, _ = competition_on_disk(tmp_path, individuals=4, tests=2)
    write_plugin(workspace, "tiny")
    return workspace


def sweep(workspace: Workspace, *arguments: str) -> Result:
    return invoke(workspace, "sweep", *arguments)


def test_a_sweep_ends_in_one_table_and_a_csv(workspace: Workspace) -> None:
    arguments = ("tiny", "--image-size", "base,48", "--loss", "base,Triplet", "--epochs", "1", *RUN)
    done = sweep(workspace, *arguments)
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert "Triplet needs the sampler PK(), not Shuffled()" in done.stderr
    table = done.stdout.splitlines()
    figures = ("label_map_at_5", "against the best", "parameters", "multiply-adds", "trained")
    headings = ["plugin", "what differs", *figures, "1,000 embedded"]
    assert re.split(r"  +", table[0].strip()) == headings
    assert sum("the best" in line for line in table) == 2  # the heading, and the first row
    assert f"written to {workspace.reports / 'sweep_tiny.csv'}" in done.stderr
    with (workspace.reports / "sweep_tiny.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {f"{STEM}_{n}_tiny{loss}_epochs_1" for n in (32, 48) for loss in ("", "_triplet")}
    assert {row["name"] for row in rows} == names
    scores = [float(row["label_map_at_5"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert rows[0]["beyond_noise"] == ""
    assert all(row["problem"] == "" and int(row["parameters"]) > 0 for row in rows)
    again = sweep(workspace, *arguments, "--json")
    assert "epoch 1" not in again.stderr
    printed = json.loads(again.stdout)
    assert (printed["base"], printed["epochs"], printed["fold"]) == ("tiny", 1, 1)
    assert [each["name"] for each in printed["plugins"]] == [row["name"] for row in rows]
    assert printed["plugins"][1]["against_best"]["names"][0] == rows[0]["name"]


def test_multiply_adds_have_two_significant_digits() -> None:
    given = (12_345_678, 376_000_000, 11_900_000_000, 123_000_000_000)
    assert [_giga(each) for each in given] == ["0.012 G", "0.38 G", "12 G", "120 G"]


def test_a_dry_run_writes_nothing(workspace: Workspace) -> None:
    arguments = ("tiny", "--image-size", "32,48", "--minutes", "10", "--dry-run")
    done = sweep(workspace, *arguments)
    assert done.exit_code == 0
    assert f"{STEM}_48_tiny_minutes_10" in done.stdout
    assert "as fit" in done.stdout
    [small, large] = json.loads(sweep(workspace, *arguments, "--json").stdout)
    assert small["parameters"] == large["parameters"]
    assert small["multiply_adds"] < large["multiply_adds"]
    assert [path.name for path in workspace.plugins.iterdir()] == ["tiny.py"]
    assert not workspace.cache.exists()
    wrong = sweep(workspace, "tiny", "--backbone", "base,resnet10tt", "--dry-run")
    assert wrong.exit_code == 1
    assert "error: resnet10tt_32_tiny: timm has no backbone resnet10tt" in wrong.stderr


def test_a_failed_variant_is_reported_and_the_command_exits_with_1(
    workspace: Workspace,
) -> None:
    done = sweep(
        workspace, "tiny", "--set", "weights=none,file", "--epochs", "1", "--seeds", "2", *RUN
    )
    assert done.exit_code == 1
    assert "error: " in done.stderr
    assert f"there is no file {STEM}.safetensors" in done.stderr
    assert "seeds alone move the score by up to" in done.stderr
    assert f"{STEM}_32_tiny_seed_1_epochs_1" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "a sweep varies something; give --image-size, --backbone, --loss or --set"),
        (
            ("--epochs", "2", "--minutes", "1"),
            "--epochs and --minutes are both budgets; give one of them",
        ),
        (("--set", "dropout"), "--set dropout has no value; write it as learning_rate=1e-3,3e-4"),
        (("--set", "dropot=1"), "'dropot' is not a setting of Plugin; did you mean dropout?"),
        (
            ("--image-size", "48", "--set", "image_size=96"),
            "image_size is given twice; give all its values in one option",
        ),
        (
            ("--epochs", "2", "--set", "epochs=1,2"),
            "epochs is given twice; give all its values in one option",
        ),
        (("--loss", "Tripel"), "'Tripel' is not a loss; did you mean Triplet?"),
    ],
)
def test_a_sweep_that_is_not_possible_is_an_error(
    workspace: Workspace, arguments: tuple[str, ...], message: str
) -> None:
    assert error_of(workspace, "sweep", "tiny", *arguments) == message
