"""The notebook of the documentation: its cells run in order, on drawn photographs."""

import ast
import csv
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pytest

from kitbox.plugin import discovery
from tests.commands import run

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "notebook.ipynb"
DOCUMENT: dict[str, Any] = json.loads(NOTEBOOK.read_text("utf-8"))
CELLS = [cell for cell in DOCUMENT["cells"] if cell["cell_type"] == "code"]


def as_python(cell: dict[str, Any]) -> str:
    """Return the code of a cell with lines of a shell as calls, as IPython makes them."""
    shell = re.compile(r"^(\s*)!(.*)$", re.MULTILINE)
    return shell.sub(
        lambda line: f"{line[1]}get_ipython().system({line[2]!r})", "".join(cell["source"])
    )


def run_cells(cells: list[dict[str, Any]]) -> list[Any]:
    """Run cells in order in this process; return what each of them shows at its end."""
    names: dict[str, Any] = {}

    def system(line: str) -> None:
        program, *arguments = shlex.split(line.format(**names))
        assert program == "kitbox"
        run(*arguments)

    names["get_ipython"] = lambda: SimpleNamespace(system=system)
    shown = []
    for number, cell in enumerate(cells):
        *body, last = ast.parse(as_python(cell)).body
        expression = isinstance(last, ast.Expr)
        first = ast.Module(body if expression else [*body, last], [])
        exec(compile(first, f"cell {number}", "exec"), names)  # noqa: S102
        value = eval(compile(ast.Expression(last.value), "", "eval"), names) if expression else None  # noqa: S307
        shown.append(value)
    return shown


def test_the_notebook_runs_to_a_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: plt.savefig("neighbours.png"))
    shown = run_cells(CELLS)
    plt.close("all")
    images, plain, whitened, near, both, made = (each for each in shown if each is not None)
    with Path("submission.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (images["part"] == "test").sum() == 9
    assert made.csv.read_bytes() == Path("submission.csv").read_bytes()
    assert made.score.score.scores == both
    assert plain.main.queries == whitened.main.queries
    assert {path.name for path in Path().iterdir()} == {
        "drawn", "neighbours.png", "submission.csv", "whales",
    }  # fmt: skip
    assert len(near) == 4 * len(images)
    lines = capsys.readouterr().out.splitlines()
    assert sum("left out: unreadable" in line for line in lines) == 3  # once, not in every cell


def test_it_is_stored_without_outputs_and_as_notebooks_are() -> None:
    assert (DOCUMENT["nbformat"], DOCUMENT["nbformat_minor"]) == (4, 5)
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CELLS)
    ids = [cell["id"] for cell in DOCUMENT["cells"]]
    assert len(set(ids)) == len(ids)
    text = json.dumps(DOCUMENT, indent=1, ensure_ascii=False) + "\n"
    assert NOTEBOOK.read_text("utf-8") == text


def test_the_networks_of_a_kernel_are_shipped() -> None:
    code = "".join(CELLS[1]["source"])
    names = ast.literal_eval(re.findall(r"NETWORKS = (\[.*\])\n", code)[0])
    assert all(discovery.load(name, None).plugin.frozen for name in names)
