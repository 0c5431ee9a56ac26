"""The architecture: rooms, module names and the map of them in docs/architecture.md."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kitbox"
MAP = ROOT / "docs" / "architecture.md"
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
PYTHON = [*MODULES, *sorted((ROOT / "tests").rglob("*.py")), *sorted(ROOT.glob("benchmarks/*.py"))]
# Terms of the field that are, or contain, a gerund.
TERMS = {
    "detector_training",
    "hardness_sequencing",
    "meta_embedding",
    "pooling",
    "preprocessing",
    "pseudo_labelling",
    "ranking",
    "training_curves",
    "training_set",
}
SOURCE_FILE = re.compile(r"`((?:kitbox|tests|plugins|benchmarks|scripts)/[\w./-]+)`")


def repeated(where: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: places for name, places in where.items() if len(places) > 1}


def in_room(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_source_file_that_a_page_names_exists(page: Path) -> None:
    named = SOURCE_FILE.findall(page.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists() and "NAME" not in name] == []


def test_the_map_is_short_and_names_every_room() -> None:
    text = MAP.read_text("utf-8")
    assert len(text.splitlines()) <= 120
    rooms = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    assert [room for room in rooms if f"`{room}/`" not in text] == []


def test_a_room_has_at_most_a_dozen_modules() -> None:
    sizes: dict[str, int] = defaultdict(int)
    for path in MODULES:
        sizes[path.parent.name] += 1
    most = {"cli": 99}
    assert {room: size for room, size in sizes.items() if size > most.get(room, 12)} == {}


def test_a_module_shares_its_name_with_no_other_but_a_command() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        if path.parent.name != "cli":
            places[path.stem].append(in_room(path))
    assert repeated(places) == {}


def test_modules_are_named_by_nouns_of_the_field() -> None:
    gerunds = {path.stem for path in MODULES if re.search(r"ing(_|$)", path.stem)}
    assert gerunds <= TERMS


def test_a_public_class_has_its_name_alone() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(in_room(path))
    assert repeated(places) == {}


def test_modules_of_kitbox_are_imported_under_their_own_names() -> None:
    aliases = [
        f"{path.relative_to(ROOT)}:{node.lineno} {name.name} as {name.asname}"
        for path in PYTHON
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kitbox")
        for name in node.names
        if name.asname
    ]
    assert aliases == []
