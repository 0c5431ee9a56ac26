"""Command lines, run in this process."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from kitbox.cli.app import app
from kitbox.workspace import Workspace

RUN = ("--device", "cpu", "--precision", "32", "--workers", "0")


def run(*arguments: str, code: int = 0) -> Result:
    """Run a command in the current folder, which has to exit with this code."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def invoke(workspace: Workspace, *arguments: str) -> Result:
    """Run a command in a workspace."""
    variables = {"KITBOX_WORKSPACE": str(workspace.root)}  # restored afterwards
    return CliRunner().invoke(app, list(arguments), env=variables)


def kitbox(workspace: Workspace, *arguments: str) -> Result:
    """Run a command in a workspace, which has to succeed."""
    result = invoke(workspace, *arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


def json_of(workspace: Workspace, *arguments: str) -> Any:
    """Return the JSON document that a command prints."""
    return json.loads(kitbox(workspace, *arguments, *RUN, "--json").stdout)


def error_of(workspace: Workspace, *arguments: str) -> str:
    """Return the error of a command, which has to exit with 1."""
    result = invoke(workspace, *arguments)
    assert result.exit_code == 1
    return str(result.exception)
