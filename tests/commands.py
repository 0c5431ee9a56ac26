"""Commands as a person types them, in a workspace of a test: run, told as JSON, or refused."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from kitbox.cli.app import app
from kitbox.workspace import Workspace

RUN = ("--device", "cpu", "--precision", "32", "--workers", "0")


def invoke(place: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--workspace", str(place.root), *arguments])


def kitbox(place: Workspace, *arguments: str) -> Result:
    """Run a command, which has to succeed."""
    result = invoke(place, *arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


def told(place: Workspace, *arguments: str) -> Any:
    """Return the JSON document that a command prints."""
    return json.loads(kitbox(place, *arguments, *RUN, "--json").stdout)


def refused(place: Workspace, *arguments: str) -> str:
    """Return the sentence by which a command refuses."""
    result = invoke(place, *arguments)
    assert result.exit_code == 1
    return str(result.exception)
