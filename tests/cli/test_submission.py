"""Submissions: linted, uploaded, listed with their scores; and a real Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kitbox.submission import ledger
from kitbox.workspace import Workspace
from tests.commands import run
from tests.kaggle_server import TOKEN, environment, route_to, running
from tests.submission.packaged import GOOD, OTHER, competition_for_kaggle, package, receipt_of

THIRD = GOOD.replace("new_whale w_1 w_0", "new_whale w_0 w_1")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace, _ = competition_for_kaggle(tmp_path)
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return workspace


def error(*arguments: str) -> str:
    """Return the error of a command, which has to exit with 1."""
    return str(run(*arguments, code=1).exception)


def test_an_empty_leaderboard_says_how_to_package_a_submission(workspace: Workspace) -> None:
    assert run("leaderboard").stderr == (
        "no submission yet; 'kitbox ensemble NAME... --submit' packages one\n"
    )
    assert json.loads(run("leaderboard", "--json").stdout)["submissions"] == []


def test_a_score_recorded_by_hand_is_in_the_table(workspace: Workspace) -> None:
    name = package(workspace, local=0.5, note="two small networks")
    assert run("leaderboard", "record", name[:12], "1450", "--private", "1449.5").stderr == (
        f"{name}: 1450, private 1449.5\n"
    )
    shown = run("leaderboard")
    (row,) = [line for line in shown.stdout.splitlines() if name in line]
    for cell in ("two small networks", "0.5000 (0.4000 – 0.6000)", "1450", "1449.5", "by hand"):
        assert cell in row
    assert "1 of at least 3 submissions have a local and a leaderboard score" in shown.stderr


def test_from_three_pairs_on_the_agreement_is_printed(workspace: Workspace) -> None:
    for day, (text, local, public) in enumerate(
        [(GOOD, 0.5, "0.4"), (OTHER, 0.6, "0.5"), (THIRD, 0.7, "0.6")], start=1
    ):
        name = package(workspace, text, day=f"2026-01-0{day}", local=local)
        run("leaderboard", "record", name, public)
    assert "3 submissions with both scores: Spearman 1.00" in run("leaderboard").stderr
    given = json.loads(run("leaderboard", "--json").stdout)
    assert given["metric"] == "label_map_at_5"
    assert given["pairs"] == 3
    assert given["agreement"]["spearman"] == pytest.approx(1.0)
    assert given["agreement"]["offset"] == pytest.approx(-0.1)
    assert [row["public"] for row in given["submissions"]] == [0.4, 0.5, 0.6]
    assert given["submissions"][0]["local"]["low"] == 0.4


def test_a_recorded_score_is_printed_as_one_json_document(workspace: Workspace) -> None:
    name = package(workspace)
    given = json.loads(run("leaderboard", "record", name, "-1.5", "--json").stdout)
    assert (given["submission"], given["public"], given["source"]) == (name, -1.5, "by hand")


def test_a_recorded_score_must_be_a_number(workspace: Workspace) -> None:
    name = package(workspace)
    assert error("leaderboard", "record", name, "nan") == (
        "nan is not a score; give what the leaderboard shows"
    )
    assert run("leaderboard", "record", name, "high", code=2)
    assert ledger.load(workspace).entries[-1].what == "made"


def test_an_unknown_submission_gets_a_suggestion(workspace: Workspace) -> None:
    name = package(workspace)
    wrong = name[:-1] + "x"
    for command in (["leaderboard", "record", wrong, "1"], ["submission", "upload", wrong]):
        assert error(*command) == f"no submission named {wrong}; did you mean {name}?"


def test_a_damaged_line_is_reported(workspace: Workspace) -> None:
    package(workspace)
    with ledger.path_of(workspace).open("a") as file:
        file.write('{"what": "se')
    shown = run("leaderboard")
    assert f"{ledger.path_of(workspace)} line 2 is damaged and left out" in shown.stderr
    assert json.loads(run("leaderboard", "--json").stdout)["damaged_lines"] == [2]


def test_an_upload_is_printed_and_recorded(workspace: Workspace, monkeypatch) -> None:
    name = package(workspace)
    with running() as service:
        route_to(service.port, monkeypatch)
        shown = run("submission", "upload", name[:10], "--message", "hello")
        given = run("submission", "upload", name, "--again", "--no-wait", "--json")
    assert service.submissions[1]["description"].startswith("hello [kitbox ")
    assert shown.stdout == ""
    assert shown.stderr.endswith(f"{name}: public 0.81234\n")
    assert json.loads(given.stdout)["sending"]["ref"] == 40_000_001
    assert "the same command without --no-wait fetches its score" in given.stderr
    assert "0.81234" in run("leaderboard").stdout


def test_an_upload_without_an_outcome_is_shown_as_unknown(workspace: Workspace) -> None:
    name = package(workspace)
    ledger.append(workspace, "sending", name, sha256="11", description="")
    (row,) = [line for line in run("leaderboard").stdout.splitlines() if name in line]
    assert row.endswith("unknown")


def test_ctrl_c_exits_with_130_and_the_next_run_continues(workspace: Workspace) -> None:
    name = package(workspace)
    command = [sys.executable, "-m", "kitbox", "submission", "upload", name]
    with running() as service:
        service.polls_until_scored = 10_000
        outside = os.environ | environment(service.port) | {"KAGGLE_API_TOKEN": TOKEN}
        process = subprocess.Popen(command, env=outside, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("waiting for the score"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        process.stderr.close()
        assert process.wait(timeout=30) == 130, rest
        assert "Traceback" not in rest
        service.polls_until_scored = 0
        done = subprocess.run(
            command, env=outside, capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 0, done.stderr
    assert f"{name}: public 0.81234" in done.stderr
    assert service.attempts() == 1


def test_lint_prints_the_first_findings_and_counts_the_others(workspace: Workspace) -> None:
    path = workspace.submissions / package(workspace) / "submission.csv"
    assert f"{path}: no findings" in run("submission", "lint", str(path)).stderr
    others = "".join(f"q{n},w_0 w_1 new_whale\n" for n in range(60))
    path.write_text(path.read_text() + others)
    findings = json.loads(run("submission", "lint", str(path), "--json", code=1).stdout)
    assert len(findings) == 60
    assert (findings[0]["line"], findings[0]["column"]) == (4, 1)
    assert findings[0]["what"].startswith("'q0' is not a query")
    lines = run("submission", "lint", str(path), code=1).stderr.splitlines()
    assert lines[0].startswith(f"{path} line 4, column 1: 'q0' is not a query")
    assert lines[-1] == f"{path}: 10 more; --json lists them all"


def test_lint_reports_a_submission_that_was_sent_before(workspace: Workspace) -> None:
    name = package(workspace)
    ledger.append(
        workspace, "sending", name, sha256=receipt_of(GOOD)["csv"]["sha256"], description=""
    )
    ledger.append(workspace, "sent", name, ref=7)
    path = workspace.submissions / name / "submission.csv"
    assert f"these bytes were sent before, as {name}, and would score the same" in (
        run("submission", "lint", str(path), code=1).stderr
    )


def test_lint_accepts_a_file_with_warnings(workspace: Workspace) -> None:
    path = workspace.root / "mine.csv"
    path.write_text(GOOD.replace("new_whale w_1 w_0", "new_whale w_1"))
    shown = run("submission", "lint", str(path)).stderr.splitlines()
    assert "warning: 2 answers, not 3; name more" in shown[0]
    assert shown[1] == f"{path}: 1 warning, no errors"
    [finding] = json.loads(run("submission", "lint", str(path), "--json").stdout)
    assert finding["level"] == "warning"
    workspace.settings.write_text(
        workspace.settings.read_text().replace("accepts =", "# accepts =")
    )
    assert "2 answers, not 3" in run("submission", "lint", str(path), code=1).stderr
