"""The console script: exit codes, errors in one sentence, and a light --help."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from kitbox.cli.app import app, main
from tests.photographs import competition_on_disk, write_plugin

HEAVY = (
    *("torch", "timm", "faiss", "albumentations", "pandas", "matplotlib", "sklearn", "cv2"),
    *("pillow_heif", "openpyxl"),
)


def run(arguments: list[str], capsys, monkeypatch) -> tuple[int, str, str]:
    """Run kitbox in this process as the console script would; return code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["kitbox", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['kitbox', *sys.argv[1:]]\n"
        "import atexit\n"
        f"atexit.register(lambda: print('HEAVY', sorted(set({HEAVY}) & set(sys.modules))))\n"
        "from kitbox.cli.app import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("kitbox --workspace {} train fi", ["fine", "fine@epochs=1"]),
        ("kitbox score --workspace {} fine@", ["fine@epochs=1"]),
        ("kitbox train resnet34_6", ["resnet34_620"]),
        ("kitbox plugins check bninc", ["bninception_224_multisimilarity"]),
        ("kitbox init --preset animal", ["animalclef-2025", "animalclef-2026"]),
        ("kitbox tra", ["train"]),
    ],
)
def test_a_shell_completes_plugins_and_presets_without_heavy_imports(
    tmp_path: Path, words: str, expected: list[str]
) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    write_plugin(workspace, "fine")
    (workspace.runs / "fine@epochs=1").mkdir(parents=True)
    words = words.format(workspace.root)
    code = (
        "import atexit, sys; sys.argv = ['kitbox']\n"
        f"atexit.register(lambda: print('HEAVY', sorted(set({HEAVY}) & set(sys.modules))))\n"
        "from kitbox.cli.app import main; main()"
    )
    asked = {
        "_KITBOX_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=60, env={**os.environ, **asked},
    )  # fmt: skip
    assert done.stdout.splitlines() == [*expected, "HEAVY []"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell_is_shown(shell: str) -> None:
    off = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    code = "import sys; sys.argv[0] = 'kitbox'; from kitbox.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--show-completion", shell],
        capture_output=True, text=True, timeout=60, env={**os.environ, **off},
    )  # fmt: skip
    assert f"_KITBOX_COMPLETE=complete_{shell}" in done.stdout


def test_the_help_lists_every_command_under_its_step_in_one_line() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"TERM": "dumb", "COLUMNS": "80"}).stdout
    sections = re.findall(r"^(\w+):\n((?:  .*\n?)+)", shown, re.MULTILINE)
    steps = {
        title: [line.split()[0] for line in lines.splitlines()]
        for title, lines in sections
        if title != "Options"
    }
    assert list(steps) == ["Workspace", "Data", "Train", "Answer", "Catalogue", "Submit"]
    named = [name for names in steps.values() for name in names]
    assert sorted(named) == sorted(get_command(app).commands)
    assert "..." not in shown.split("Workspace:")[1]


def test_the_help_builds_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, place: str) -> None:
        pytest.fail(f"{place} was built to list {name}")

    monkeypatch.setattr("kitbox.cli.app._build", fail)
    assert "Train plugins, or resume" in CliRunner().invoke(app, ["--help"]).stdout


def test_the_option_workspace_names_the_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("KITBOX_WORKSPACE", "")  # the option sets it
    workspace, _ = competition_on_disk(tmp_path)
    for arguments in (["--workspace", str(workspace.root), "leaderboard"],
                      ["leaderboard", "--workspace", str(workspace.root)]):  # fmt: skip
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert "no submission yet" in result.stderr


def test_importing_kitbox_imports_nothing_heavy() -> None:
    code = f"import sys, kitbox; print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_what_runs_no_network_is_read_without_torch() -> None:
    rooms = ("report.data_page", "submission.bundle", "submission.reproduction")
    rooms += ("submission.receipt", "ensemble.answers", "identification.catalogue_search")
    imported = ", ".join(f"kitbox.{name}" for name in rooms)
    code = f"import sys, {imported}; print({{'torch', 'timm'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_command_outside_a_workspace_says_how_to_make_one(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "kitbox.training.trainer", None)  # torch is not asked for
    code, out, err = run(["train", "resnet34_620"], capsys, monkeypatch)
    assert (code, out) == (1, "")
    assert err.startswith("error: no workspace: neither")
    assert "kitbox init --preset NAME --data DIR" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "resnet34_62"], "no plugin named resnet34_62; did you mean resnet34_620?"),
        (["train", "mine"], "mine.py: 'epoch' is not a setting of Plugin; did you mean epochs?"),
        (["score", "fine"], "fine is not trained on holdout; run 'kitbox train fine'"),
        (["ensemble", "fine", "fine"], "fine is not trained on holdout"),
        (["train", "fine", "--weights", "nowhere.pth"], "there is no file of weights nowhere.pth"),
        (["submission", "lint", "none.csv"], "cannot read none.csv: No such file or directory"),
        (["reproduce", "none.json"], "there is no file none.json"),
        (["init", "there", "--preset", "humpbak", "--data", "."], "did you mean humpback?"),
        (["plugins", "new", "fine", "--from", "resnet34_620"], "fine.py exists already"),
    ],
)
def test_an_error_is_one_sentence_with_its_fix(
    tmp_path: Path, capsys, monkeypatch, arguments: list[str], message: str
) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    write_plugin(workspace, "fine")
    (workspace.plugins / "mine.py").write_text(
        "from kitbox import Plugin\nplugin = Plugin(backbone='resnet18', image_size=32, epoch=3)\n"
    )
    monkeypatch.chdir(workspace.root)
    code, out, err = run(arguments, capsys, monkeypatch)
    assert code == 1
    assert out == ""
    assert message in err
    assert len([line for line in err.splitlines() if line.startswith("error:")]) == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "Missing argument"),
        (["train", "fine", "--device", "tpu"], "'tpu' is not one of"),
        (["train", "fine", "--on", "test"], "'test' is not one of"),
        (["score", "fine", "--checkpoint", "first"], "'first' is not one of"),
    ],
)
def test_wrong_usage_exits_with_2(capsys, monkeypatch, arguments, message: str) -> None:
    code, _, err = run(arguments, capsys, monkeypatch)
    assert code == 2
    assert message in err


def test_debug_lets_the_traceback_through(tmp_path, monkeypatch) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kitbox", "--debug", "leaderboard"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_broken_image_stops_a_run_and_can_be_dropped(tmp_path, capsys, monkeypatch) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    write_plugin(workspace, "fine", epochs=1)
    (tmp_path / "data" / "train" / "2_1.png").write_bytes(b"")
    monkeypatch.chdir(workspace.root)
    code, _, err = run(["train", "fine", "--device", "cpu"], capsys, monkeypatch)
    assert code == 1
    assert "2_1.png is empty; replace or remove it" in err
    assert not workspace.runs.exists()
    text = workspace.settings.read_text()
    workspace.settings.write_text(text.replace('broken = "stop"', 'broken = "drop"'))
    result = CliRunner().invoke(app, ["data", "holdout", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["training images"]["test"] == 23
    assert "left out: unreadable: image" in result.stderr


def test_ctrl_c_keeps_what_is_finished_and_exits_with_130(tmp_path) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    write_plugin(workspace, "fine", epochs=500)
    process = subprocess.Popen(
        [sys.executable, "-m", "kitbox", "train", "fine", "--device", "cpu", "--workers", "1"],
        cwd=workspace.root,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("epoch 2"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 130, "".join(lines) + rest
    assert "Traceback" not in rest
    assert list(workspace.runs.glob("fine/*/state.pt"))
