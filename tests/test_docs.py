"""Documentation: every command in it exists, and the command page equals --help."""

import functools
import re
import runpy
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from kitbox.cli.app import app
from kitbox.network.backbone import is_backbone
from kitbox.plugin import discovery

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
# docs/commands.md is compared whole
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "commands.md"),
]
MARKED = {
    "install and demo": "python3 -m venv .venv && . .venv/bin/activate "
    "&& pip install -e '.[demo]' && kitbox demo",
    "test": "python3 -m venv .venv && . .venv/bin/activate "
    "&& pip install -e '.[demo,test]' && scripts/check",
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`kitbox ([^`]+)`")
EXAMPLES = re.compile(r"Examples?:\n((?:\s+kitbox .*\n?)+)")


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the fenced blocks of a page in these languages."""
    return [body for name, body in FENCE.findall(page.read_text("utf-8")) if name in languages]


def commands_in(block: str) -> list[list[str]]:
    """Return the words after 'kitbox' of every command in a shell block, as a shell sees them."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*shlex.split(line.removeprefix("$ "), comments=True), "&&"]:
            if word in ("&&", "||", "|", ";", ">"):
                # in 'docker run ... IMAGE reproduce' the image is named kitbox, too
                if words[:1] == ["kitbox"] or (words[:2] == ["docker", "run"]):
                    found.append(words[words.index("kitbox") + 1 :])
                words = []
            else:
                words.append(word)
    return found


@functools.cache
def all_commands():
    """Return the group of all commands, each of which is built once for all words."""
    return get_command(app)


def find_command(words: list[str]):
    """Return the command of these words, its name, and its arguments."""
    command, path, left = all_commands(), ["kitbox"], list(words)
    while left and left[0] in getattr(command, "commands", {}):
        command = command.commands[left[0]]
        path.append(left.pop(0))
    return command, " ".join(path), left


def problem_of(words: list[str], *, complete: bool) -> str | None:
    """Return what is wrong with a command's words; an incomplete one may lack arguments."""
    command, name, left = find_command(words)
    group = hasattr(command, "commands")
    if group and left and not left[0].startswith("-"):
        return f"'{name}' has no command {left[0]}"
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    unknown = [word for word in left if word.startswith("--") and word.split("=")[0] not in known]
    if unknown:
        return f"'{name}' has no option {unknown[0]}"
    if complete and not group and "--help" not in left:
        try:
            command.make_context(name, left)
        except Exception as error:  # typer's own click cannot be imported
            text = getattr(error, "format_message", error.__str__)()
            return f"'kitbox {' '.join(words)}': {text}"
    return None


def test_the_command_page_equals_the_help():
    written = (ROOT / "docs" / "commands.md").read_text("utf-8")
    page = runpy.run_path(str(ROOT / "scripts" / "command-page"))["page"]()
    assert written == page, "docs/commands.md is out of date; run scripts/command-page"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_on_a_page_exists_with_its_options(page: Path):
    wrong = [
        problem
        for block in blocks(page, "bash", "sh", "console")
        for words in commands_in(block)
        if (problem := problem_of(words, complete=True))
    ]
    wrong += [
        problem
        for text in INLINE.findall(page.read_text("utf-8"))
        if (problem := problem_of(text.split(), complete=False))
    ]
    assert wrong == []


def test_every_example_in_a_help_text_is_valid():
    paths = runpy.run_path(str(ROOT / "scripts" / "command-page"))["paths"]
    found, wrong = 0, []
    for path in paths(all_commands()):
        for block in EXAMPLES.findall(find_command(list(path))[0].help or ""):
            for line in block.splitlines():
                found += 1
                problem = problem_of(shlex.split(line)[1:], complete=True)
                if problem:
                    wrong.append(problem)
    assert found > 40
    assert wrong == []


@pytest.mark.parametrize("mark", MARKED)
def test_the_readme_has_its_two_commands(mark: str):
    block = f"<!-- command: {mark} -->\n```bash\n{MARKED[mark]}\n```\n"
    assert README.read_text("utf-8").count(block) == 1


def test_every_plugin_that_the_readme_trains_is_shipped():
    shipped = {path.stem for path in discovery.shipped_folder().glob("*.py")}
    named = {
        word
        for block in blocks(README, "bash")
        for words in commands_in(block)
        if words[:1] in (["train"], ["score"], ["ensemble"])
        for word in words[1:]
        if re.fullmatch(r"[a-z]\w*_\d+(x\d+)?\w*", word)
    }
    assert named
    assert named - shipped == set()


def test_the_plugin_in_the_readme_loads_and_has_a_valid_name(tmp_path: Path):
    (text,) = blocks(README, "python")
    (name,) = re.findall(r"This one is `plugins/(\w+)\.py`", README.read_text("utf-8"))
    file = tmp_path / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    named = discovery.NamedPlugin(name, discovery.read_plugin_file(file), file, "workspace")
    assert discovery.name_problem(named, is_backbone) is None


def run_ci(folder: Path, readme: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of .ci/run beside another README."""
    (folder / ".ci").mkdir()
    script = shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    (folder / "README.md").write_text(readme, encoding="utf-8")
    return subprocess.run(["bash", script], capture_output=True, text=True, check=False)


def test_ci_runs_the_block_after_the_mark_in_the_readme(tmp_path: Path):
    readme = (
        "```bash\necho not this\n```\n<!-- command: test -->\n```bash\n"
        "echo 'one  line'\n```\n```bash\necho nor this\n```\n"
    )
    done = run_ci(tmp_path, readme)
    assert (done.returncode, done.stdout) == (0, "+ echo 'one  line'\none  line\n")


def test_ci_fails_when_the_command_of_the_readme_fails(tmp_path: Path):
    assert run_ci(tmp_path, "<!-- command: test -->\n```bash\nfalse | true\n```\n").returncode == 1


@pytest.mark.parametrize("before", ["no mark", "<!-- command: test -->\ntext between"])
def test_ci_fails_where_the_readme_has_no_block_after_the_mark(tmp_path: Path, before: str):
    done = run_ci(tmp_path, f"{before}\n```bash\necho x\n```\n")
    assert done.returncode == 1
    assert "README.md has no block of code after <!-- command: test -->" in done.stderr
