"""What a stage's events look like in a pipe, and how durations are written."""

from collections.abc import Generator
from pathlib import Path
from typing import get_args

import pytest

from kitbox.cli import terminal
from kitbox.errors import format_duration
from kitbox.files import write_text
from kitbox.records import Progress, Score, Scores
from kitbox.training import events
from kitbox.training.events import SweepEvent
from kitbox.workspace import Workspace

SCORES = Scores({"map_at_5": Score(0.5, 0.25, 0.75, 8)})
STARTED = events.TrainingStarted(
    plugin="tiny",
    images=24,
    labels=6,
    device="cpu",
    precision="32",
    epoch=2,
    weights="/weights/tiny.pth",
    folder=Path("runs"),
    source="from their files",
    notes=("a note",),
)
STEP = events.StepDone(
    epoch=1,
    epochs=2,
    step=3,
    steps=6,
    loss=0.5,
    learning_rate=1e-3,
    images_per_second=40.0,
    seconds_left=100.0,
)
EPOCH = events.EpochDone(
    epoch=1,
    loss=0.5,
    losses={},
    learning_rate=1e-3,
    images_per_second=40.0,
    seconds=30.0,
    figures={"spread": 0.25},
)
LINES: list[tuple[SweepEvent | str, str]] = [
    ("a line", "a line"),
    (
        STARTED,
        "tiny: 24 images of 6 labels on cpu in 32, weights tiny.pth, resumed after epoch 2; "
        "images from their files\na note",
    ),
    (EPOCH, "epoch 1: loss 0.5000, 40 images/s, 30 s, spread 0.250"),
    (events.HoldoutScored(1, SCORES, best=True), "holdout: map_at_5 0.5000  (best)"),
    (
        events.HoldoutScored(0, SCORES, best=False),
        "before training (frozen backbone): map_at_5 0.5000",
    ),
    (
        events.TrainingWarning(3, "the embeddings have collapsed"),
        "warning: the embeddings have collapsed",
    ),
    (events.SweepMessage("1/2 tiny: as is"), "1/2 tiny: as is"),
]
BARS: list[tuple[SweepEvent, str]] = [
    (Progress("embed tiny", 3, 9, note="half"), "embed tiny 3/9 half"),
    (STEP, "epoch 1/2 3/6 loss 0.500  rate 1.00e-03  40 images/s  2 min left"),
]


def stage(*given: SweepEvent | str) -> Generator[SweepEvent | str, None, int]:
    yield from given
    return 7


def test_a_stage_is_run_to_its_end_and_its_result_returned() -> None:
    assert terminal.follow(stage()) == 7


@pytest.mark.parametrize(("event", "line"), LINES)
def test_an_event_leaves_a_line(
    event: SweepEvent | str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.follow(stage(event))
    assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize(("event", "line"), BARS)
def test_in_a_pipe_progress_is_a_line_every_few_seconds(
    event: SweepEvent,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal.follow(stage(event, event))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(terminal, "_LINE_INTERVAL", 0.0)
    terminal.follow(stage(event))
    assert capsys.readouterr().err == f"{line}\n"


def test_every_kind_of_event_is_shown() -> None:
    shown = {type(event) for event, _ in [*LINES, *BARS]} - {str}
    assert shown == set(get_args(SweepEvent))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")],
)
def test_a_duration_has_the_unit_that_fits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_only_the_first_of_several_processes_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    terminal.print_line("hello")
    terminal.print_json({})
    assert capsys.readouterr() == ("", "")


LONG = ("tf_efficientnet_lite0_96x192_demo", "tf_efficientnet_lite0_96x192+mobilenetv2_100_128x256")


def readable(shown: str, *words: str) -> None:
    """Assert that a text fits into 80 columns, and that no word of it is cut."""
    assert max(map(len, shown.splitlines())) <= 80, shown
    assert "…" not in shown
    for word in words:
        assert word in shown


@pytest.mark.parametrize("event", [event for event, _ in LINES])
def test_an_event_is_wrapped_between_words_in_a_terminal(
    event: SweepEvent | str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = terminal.follow(stage(event)), capsys.readouterr().err.split()
    monkeypatch.setenv("COLUMNS", "24")
    terminal.follow(stage(event))
    shown = capsys.readouterr().err
    assert shown.split() == whole[1]
    assert all(len(line) <= 24 or " " not in line for line in shown.splitlines())


def test_commands_in_messages_name_the_workspace_where_it_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KITBOX_WORKSPACE", raising=False)
    work = Workspace(tmp_path / "my work")
    write_text(work.settings, "")
    text = "run 'kitbox train one' or 'kitbox identify --audit'; it's 'kitbox --help'"
    monkeypatch.chdir(work.root)
    assert terminal.exact_commands(text, work) == text
    monkeypatch.chdir(tmp_path)
    assert terminal.exact_commands(text, work) == (
        "run 'kitbox --workspace \"my work\" train one' or 'kitbox identify --audit'; "
        "it's 'kitbox --help'"
    )
    assert terminal.shell_path(tmp_path / "work") == "work"
    assert terminal.shell_path(tmp_path.parent) == str(tmp_path.parent)


def test_figures_stay_with_their_names_and_commands_whole() -> None:
    scores = "holdout: label_map_at_5 0.1234  map_at_20 0.2345  recall_at_1 0.3456  (best)"
    assert terminal.wrap(scores, 40) == (
        "holdout: label_map_at_5 0.1234\nmap_at_20 0.2345  recall_at_1 0.3456\n(best)"
    )
    advice = "plain was trained without it; 'kitbox train plain --on all' refits it"
    assert terminal.wrap(advice, 40) == (
        "plain was trained without it;\n'kitbox train plain --on all' refits it"
    )
    assert terminal.wrap(advice, None) == advice


def test_a_table_is_wrapped_between_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    about = "five labels for each photograph, new_whale included, of the humpback competitions"
    rows = [("humpback", "5", about), ("landmark-recognition", "100", about)]
    monkeypatch.setenv("COLUMNS", "80")
    terminal.print_table(("preset", "k", "about"), rows, left=(0, 2))
    shown = capsys.readouterr().out
    readable(shown, "landmark-recognition", "competitions", "photograph,")
    monkeypatch.delenv("COLUMNS")
    terminal.print_table(("preset", "k", "about"), rows, left=(0, 2))
    assert about in capsys.readouterr().out  # in a pipe each row has one line


def test_a_table_of_long_words_becomes_lists_in_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    terminal.print_table(("gained most", *LONG), [("a.jpg", "0.000", "1.000")])
    shown = capsys.readouterr().out
    readable(shown, *LONG)
    assert shown.splitlines() == [
        "gained most", "a.jpg", f"  {LONG[0]}", "    0.000", f"  {LONG[1]}", "    1.000",
    ]  # fmt: skip


def test_spare_columns_are_left_out_and_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    terminal.print_table(("name", *LONG), [("a", "b", "c")], spare=(1, 2))
    shown = capsys.readouterr()
    assert shown.out.split()[::2] == ["name", "a"]
    assert "need a wider terminal; --json prints them too" in shown.err.replace("\n", " ")


def test_a_step_of_a_training_fits_into_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    class Screen(Console):
        """A terminal of 80 columns that writes where the test reads."""

        def __init__(self) -> None:
            super().__init__(
                stderr=True, highlight=False, soft_wrap=True, force_terminal=True, width=80,
                force_interactive=True, color_system=None, legacy_windows=False,
            )  # fmt: skip

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(terminal, "_console", Screen)
    step = events.StepDone(
        epoch=12, epochs=16, step=1200, steps=1300, loss=10.421, learning_rate=2.5e-4,
        images_per_second=1234.0, seconds_left=12_240.0,
    )  # fmt: skip
    terminal.follow(stage(STARTED, step, EPOCH))
    shown = capsys.readouterr().err
    assert "…" not in shown
    assert "1200/1300 loss 10.421  rate 2.50e-04  1234 images/s  3.4 h left" in shown
