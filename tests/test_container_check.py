"""scripts/container-check: how it reads a Dockerfile. The installation itself is no test."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = str(ROOT / "scripts" / "container-check")
    loader = importlib.machinery.SourceFileLoader("container_check", path)
    spec = importlib.util.spec_from_loader("container_check", loader)
    module = sys.modules["container_check"] = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def container(script: ModuleType, tmp_path: Path, **arguments: str):
    (tmp_path / "context" / "package").mkdir(parents=True)
    (tmp_path / "context" / "package" / "module.py").write_text("ONE = 1\n")
    (tmp_path / "context" / "notes.md").write_text("notes\n")
    made = script.Container(tmp_path / "root", tmp_path / "context", {"package"}, arguments)
    made.variables["PATH"] = "/usr/bin:/bin"
    return made


def carry_out(script: ModuleType, made, dockerfile: str) -> None:
    for step in script.instructions(dockerfile):
        made.carry_out(step)


def test_continued_lines_are_one_instruction_and_comments_are_none(script) -> None:
    text = "# a comment\nFROM python:3.11\n\nRUN one \\\n# between\n    && two\nCMD []\n"
    found = [(step.name, step.text.split(), step.line) for step in script.instructions(text)]
    assert found == [
        ("FROM", ["python:3.11"], 2),
        ("RUN", ["one", "&&", "two"], 4),
        ("CMD", ["[]"], 7),
    ]


def test_an_unknown_instruction_is_named_with_its_line(script) -> None:
    with pytest.raises(SystemExit, match="Dockerfile:2: ONBUILD is not known here"):
        script.instructions("FROM python:3.11\nONBUILD RUN true\n")


def test_kitboxs_own_dockerfile_is_read_whole(script) -> None:
    steps = script.instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    named = {step.name: step.text for step in steps}
    assert script.python_version(named["FROM"]).startswith("3.11.")
    assert script.words(named["ENTRYPOINT"]) == ["kitbox"]
    assert script.assignments(named["ENV"])["XDG_CACHE_HOME"] == "/workspace/.kitbox/cache"
    assert sum(step.name == "RUN" for step in steps) == 4


def test_another_base_image_is_refused(script) -> None:
    with pytest.raises(SystemExit, match="FROM debian:12: only the official images of Python"):
        script.python_version("debian:12")


def test_steps_write_below_the_root_with_arguments_as_variables(script, tmp_path) -> None:
    made = container(script, tmp_path, WORD="given")
    carry_out(
        script,
        made,
        "ARG WORD=default\nARG OTHER=kept\nWORKDIR /build\nCOPY package ./package\n"
        'RUN echo "$WORD $OTHER" > words && ls package >> words\n',
    )
    words = (tmp_path / "root" / "build" / "words").read_text()
    assert words == "given kept\nmodule.py\n"


def test_variables_of_the_caller_are_not_seen(script, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("KITBOX_DATA", "/somewhere")
    made = container(script, tmp_path)
    carry_out(script, made, 'RUN echo "[$KITBOX_DATA]" > seen\n')
    assert (tmp_path / "root" / "seen").read_text() == "[]\n"


def test_a_file_that_dockerignore_hides_cannot_be_copied(script, tmp_path) -> None:
    with pytest.raises(SystemExit, match=r"Dockerfile:1: \.dockerignore hides notes\.md"):
        carry_out(script, container(script, tmp_path), "COPY notes.md ./\n")


def test_a_step_that_fails_stops_the_check(script, tmp_path) -> None:
    with pytest.raises(SystemExit, match="exits with 3"):
        carry_out(script, container(script, tmp_path), "RUN exit 3\n")


def test_what_needs_the_image_is_left_out_and_named(script, tmp_path) -> None:
    made = container(script, tmp_path)
    carry_out(script, made, "RUN apt-get update\nUSER 1000\nRUN useradd kitbox\n")
    assert made.left_out == [
        "Dockerfile:1: RUN apt-get update",
        "Dockerfile:2: USER 1000",
        "Dockerfile:3: RUN useradd kitbox",
    ]


def test_constraints_name_every_version_but_those_that_came_with_torch(script) -> None:
    named = script.pins("# the set\nPillow_heif==1.8.1\nnumpy==2.4.6\n")
    assert named == {"pillow-heif": "1.8.1", "numpy": "2.4.6"}
    installed = {
        "numpy": "2.4.6",
        "pillow-heif": "1.8.1",
        "nvidia-nvtx": "13.0",
        "tzdata": "2026.6",
    }
    of_torch = {"numpy", "nvidia-nvtx"}
    assert script.unpinned(installed, of_torch, named) == ["tzdata==2026.6"]
    assert script.unpinned(installed | {"numpy": "2.5.0"}, of_torch, named) == [
        "numpy==2.5.0",
        "tzdata==2026.6",
    ]


def test_packages_are_those_of_the_container(script, tmp_path) -> None:
    made = container(script, tmp_path)
    tool = tmp_path / "bin" / "python"
    tool.parent.mkdir()
    tool.write_text("""#!/bin/sh\necho '[{"name": "Ab_c", "version": "1"}]'\n""")
    tool.chmod(0o755)
    made.variables["PATH"] = f"{tool.parent}:/usr/bin:/bin"
    assert made.packages() == {"ab-c": "1"}
