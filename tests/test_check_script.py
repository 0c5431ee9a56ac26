"""scripts/check: it runs every check, and fails where one of them does."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("ruff", "mypy", "lint-imports", "pytest")


def run_check(folder: Path, *arguments: str, failing: str = "") -> tuple[int, list[str]]:
    """Run a copy of the script with tools that do nothing; return its exit and what it printed."""
    for name in ("scripts", "bin"):
        (folder / name).mkdir()
    script = shutil.copy(ROOT / "scripts" / "check", folder / "scripts")
    for name in TOOLS:
        tool = folder / "bin" / name
        tool.write_text(f"#!/bin/sh\nexit {int(name == failing)}\n")
        tool.chmod(0o755)
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "VIRTUAL_ENV": "x"}
    done = subprocess.run(["bash", script, *arguments], env=environment, capture_output=True)
    return done.returncode, done.stdout.decode().splitlines()


@pytest.mark.parametrize(("arguments", "tested"), [((), True), (("--quick",), False)])
def test_every_check_is_run(tmp_path: Path, arguments: tuple[str, ...], tested: bool) -> None:
    code, lines = run_check(tmp_path, *arguments)
    assert (code, lines[-1]) == (0, "== all checks passed")
    named = {line.split()[1] for line in lines[:-1]}
    assert named == set(TOOLS) - (set() if tested else {"pytest"})


@pytest.mark.parametrize("tool", TOOLS)
def test_a_check_that_fails_fails_all(tmp_path: Path, tool: str) -> None:
    code, lines = run_check(tmp_path, failing=tool)
    assert code == 1
    assert "== all checks passed" not in lines
    assert any(tool in line for line in lines)
