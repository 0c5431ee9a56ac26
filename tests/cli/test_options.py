"""Records of options in a command's signature, and how values of options are parsed."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from kitbox.cli.app import app
from kitbox.cli.options import (
    CombineOptions,
    DeviceOptions,
    given_options,
    parse_fold,
    parse_folds,
    parse_weights,
    parse_whitening,
    with_records,
)
from kitbox.errors import KitboxError
from kitbox.training.context import TrainOptions
from tests.circle import competition


@dataclass(frozen=True, kw_only=True)
class Size:
    """Two options."""

    height: Annotated[int, typer.Option("--height", help="Pixels.")] = 1
    full_width: Annotated[int, typer.Option("--full-width", help="Pixels.")] = 2


def app_of(received: list[object]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @with_records
    def draw(
        name: Annotated[str, typer.Argument(metavar="NAME")],
        *,
        fast: Annotated[bool, typer.Option("--fast")] = False,
        size: Size,
    ) -> None:
        """Draw something."""
        received.extend((name, fast, size))

    return app


def test_a_command_receives_its_options_as_a_record() -> None:
    received: list[object] = []
    arguments = ["fluke", "--full-width", "7", "--fast"]
    assert CliRunner().invoke(app_of(received), arguments).exit_code == 0
    assert received == ["fluke", True, Size(full_width=7)]


def test_the_help_shows_the_options_of_a_record_in_its_place() -> None:
    shown = CliRunner().invoke(app_of([]), ["--help"], env={"TERM": "dumb"}).stdout
    assert shown.index("--fast") < shown.index("--height") < shown.index("--full-width")
    assert "Draw something." in shown
    assert "--size" not in shown


def test_options_that_are_not_the_default_are_named() -> None:
    assert given_options(DeviceOptions(), CombineOptions()) == []
    given = (CombineOptions(new_label="learned", dims=8), DeviceOptions(workers=0))
    assert given_options(*given) == ["--dims", "--new-label", "--workers"]


def test_weights_are_numbers_with_commas() -> None:
    assert parse_weights(None) is None
    assert parse_weights("2,1.5") == [2.0, 1.5]
    with pytest.raises(KitboxError, match="--weights a is not numbers with commas, as 2,1"):
        parse_weights("a")


def test_dimensions_are_one_number_or_one_for_each_plugin() -> None:
    assert parse_whitening(None) is None
    assert parse_whitening("none") is None
    assert parse_whitening("256") == 256
    assert parse_whitening("256, none,8") == [256, None, 8]
    for text in ("few", "256,", "-2", "1.5", "²"):
        with pytest.raises(KitboxError, match=f"--whiten {text} is neither dimensions, as 256, "):
            parse_whitening(text)
    for text in ("0", "8,1"):
        with pytest.raises(KitboxError, match=f"--whiten {text}: give 2 dimensions or more"):
            parse_whitening(text)


def test_a_fold_is_one_or_all() -> None:
    three = competition(holdout={"folds": 3})
    assert parse_folds("all", three) == [1, 2, 3]
    assert parse_fold("2", three, "a page shows one fold") == 2
    with pytest.raises(KitboxError, match="a page shows one fold; name it with --fold"):
        parse_fold("all", three, "a page shows one fold")
    for wrong in ("0", "4", "-1", "x"):
        with pytest.raises(KitboxError, match=f"--fold {wrong}: kitbox.toml has holdout.folds = 3"):
            parse_folds(wrong, three)


@pytest.mark.parametrize("command", ["match", "score", "compare", "ensemble", "search", "explain"])
def test_workers_of_commands_that_match_keypoints_are_processes_and_threads(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"TERM": "dumb"}).stdout
    text = " ".join(shown.split())
    assert "Processes that read images, and threads that match keypoints." in text


@pytest.mark.parametrize("text", ["9" * 5000, "256," + "9" * 5000, "-1", "²"])
def test_whitening_takes_numbers_that_a_network_may_have(text: str) -> None:
    with pytest.raises(KitboxError, match="is neither dimensions"):
        parse_whitening(text)


@pytest.mark.parametrize("text", ["²", "9" * 5000, "-1", "0", ""])
def test_a_fold_is_one_of_those_of_the_settings(text: str) -> None:
    with pytest.raises(KitboxError, match=r"kitbox\.toml has holdout\.folds = 1"):
        parse_folds(text, competition())


@pytest.mark.parametrize("seed", ["-1", "-999999999999"])
def test_a_negative_seed_is_refused(seed: str) -> None:
    for command in (["train", "a"], ["search", "a"], ["demo"]):
        result = CliRunner().invoke(app, [*command, "--seed", seed])
        assert result.exit_code == 2
        assert "--seed" in result.output


@pytest.mark.parametrize("seed", [-1, 2**32, 10**400])
def test_a_seed_in_python_is_refused_as_well(seed: int) -> None:
    with pytest.raises(KitboxError, match="is not a number from 0 to 4294967295"):
        TrainOptions(seed=seed)
