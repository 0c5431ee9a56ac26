"""Recipes: every command on their pages is run, on small networks and drawn whales."""

import csv
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joblib import parallel_config
from PIL import Image
from typer.testing import CliRunner

from kitbox.cli.app import app
from kitbox.ensemble import dense_classifier
from kitbox.plugin import discovery
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.samplers import Hardness
from kitbox.plugin.schedules import Multistep, Swa
from kitbox.synthetic import layouts, whale_competition
from tests.photographs import TINY, finish
from tests.test_docs import ROOT, blocks, find_command

RECIPES = ROOT / "docs" / "recipes"
HEREDOC = re.compile(r"<<'(\w+)'")
# A tiny backbone for each family; weights of one do not fit another, as for the real ones.
FAMILIES = {
    "resnet": "test_resnet",
    "densenet": TINY,
    "legacy_senet": "test_resnet",
    "mobilenetv2": TINY,
}
RUN = {"--device": "cpu", "--precision": "32", "--workers": "0"}
# Options of recipes that need a trained or a large network, or many photographs.
EASIER: dict[str, dict[str, str]] = {
    "kitbox demo": {"--individuals": "16", "--photographs": "100"},
    "kitbox pseudo": {"--threshold": "0"},
    "kitbox data boxes detect": {
        "--backbone": TINY, "--weights": "none", "--image-size": "64", "--epochs": "1",
        "--threshold": "0",
    },
}  # fmt: skip


def shrunk(plugin: Plugin) -> dict[str, Any]:
    """Return a plugin's settings with a network and epochs that take seconds, and its methods."""
    family = next(tiny for name, tiny in FAMILIES.items() if plugin.backbone.startswith(name))
    phases = tuple(
        phase.model_copy(update={"epochs": 1, "image_size": phase.image_size and 24})
        for phase in plugin.phases
    )
    epochs = len(phases) or 2
    settings: dict[str, Any] = {
        "backbone": family, "image_size": 32, "weights": "none", "augmentation": "none",
        "epochs": epochs, "batch_size": 36, "warmup_epochs": min(plugin.warmup_epochs, 1),
        "score_every": epochs, "phases": phases,
    }  # fmt: skip
    if plugin.embedding_dim:
        settings["embedding_dim"] = 16
    if isinstance(plugin.schedule, Multistep):
        settings["schedule"] = Multistep(milestones=(1,), factor=plugin.schedule.factor)
    if isinstance(plugin.sampler, Hardness):
        settings["batch_size"] = 12  # so many steps that they make two cycles
    if isinstance(plugin.averaging, Swa):
        settings["averaging"] = Swa(from_epoch=1)
    if plugin.divide:
        settings["divide"] = plugin.divide.model_copy(update={"learners": 2, "every": 1})
    return plugin.model_copy(update=settings).model_dump(mode="json")


@pytest.fixture(scope="module", autouse=True)
def _without_other_processes() -> Iterator[None]:
    """Draw in threads: worker processes would keep the folder that they were started in."""
    with parallel_config(backend="threading"):
        yield


@pytest.fixture(scope="module")
def small_plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the shipped plugins that recipes train, shrunk."""
    folder = tmp_path_factory.mktemp("plugins")
    typed = " ".join(block for page in RECIPES.glob("*.md") for block in blocks(page, "bash"))
    for path in discovery.shipped_folder().glob("*.py"):
        if path.stem not in typed.split():
            continue
        settings = shrunk(discovery.read_plugin_file(path))
        text = f"from kitbox import Plugin\n\nplugin = Plugin.read({settings!r})\n"
        (folder / path.name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the data of recipes: humpback/, gdsc/ and labels in flukes/."""
    root = tmp_path_factory.mktemp("recipes")
    _, competition = finish(
        whale_competition.draw(
            root / "humpback", individuals=26, photographs=170, seed=1, long_side=200
        )
    )
    # a competitor would remove these after 'kitbox data check'
    for name in competition.broken:
        next(competition.folder.glob(f"*/{name}")).unlink()
    lists = competition.folder / "train.csv"
    rows = lists.read_text("utf-8").splitlines(keepends=True)
    usable = [row for row in rows if row.split(",")[0] not in competition.broken]
    lists.write_text("".join(usable), encoding="utf-8")
    gdsc = shutil.copytree(competition.folder, root / "gdsc")
    layouts.arrange(gdsc, competition.truth, "gdsc2020")
    (root / "flukes").mkdir()
    with (gdsc / "boxes.csv").open(encoding="utf-8") as file:
        for row in list(csv.DictReader(file))[:60]:
            label_as_yolo(root / "flukes", gdsc, row)
    (gdsc / "boxes.csv").unlink()
    return root


def label_as_yolo(folder: Path, data: Path, row: dict[str, str]) -> None:
    """Write a box in the format of the GDSC solution's labelling program: shares of the image."""
    found = next(iter(data.glob(f"*/{row['image']}")), None)
    if found is None:
        return
    with Image.open(found) as image:
        width, height = image.size
    x0, y0, x1, y1 = (float(row[key]) for key in ("x0", "y0", "x1", "y1"))
    numbers = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    target = (folder / row["image"]).with_suffix(".txt")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("0 " + " ".join(f"{number:.6f}" for number in numbers) + "\n")


@pytest.fixture
def place(
    drawn: Path, small_plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Change to a folder with the data of recipes, and return it."""
    for path in drawn.iterdir():
        if path.is_dir():
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.setattr(discovery, "shipped_folder", lambda: small_plugins)
    monkeypatch.setattr(dense_classifier, "STEPS", 30)
    monkeypatch.setitem(whale_competition.draw.__kwdefaults__, "long_side", 200)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def statements(block: str) -> list[str]:
    """Return the statements of a shell block: lines with their continuations and heredocs."""
    found: list[str] = []
    end = None
    for line in block.splitlines():
        if end is not None or (found and found[-1].endswith("\\\n")):
            found[-1] += f"{line}\n"
            end = None if line == end else end
        else:
            found.append(f"{line}\n")
            heredoc = HEREDOC.search(line)
            end = heredoc[1] if heredoc else None
    return found


def words_of(statement: str) -> list[str]:
    """Return the words of a command with file patterns expanded, as by a shell."""
    words = []
    for word in shlex.split(statement.replace("\\\n", " "), comments=True):
        files = sorted(str(path) for path in Path().glob(word)) if "*" in word else []
        words += files or [word]
    return words


def smaller(words: list[str]) -> list[str]:
    """Return a kitbox command with the options that make it fast."""
    command, name, _ = find_command(words)
    known = {option for parameter in command.params for option in parameter.opts}
    added = {option: value for option, value in RUN.items() if option in known}
    added |= EASIER.get(name, {})
    return [*words, *(text for pair in added.items() for text in pair)]


def raise_unknown_share(settings: Path) -> None:
    """Give a small holdout the ten unknown queries that a learned new label needs."""
    text = settings.read_text("utf-8").replace("unknown_share = 0.27", "unknown_share = 0.5")
    settings.write_text(text.replace("\nshare = 0.2 ", "\nshare = 0.35 "), encoding="utf-8")


def run_block(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a shell block here, its kitbox commands in this process."""
    for statement in statements(block):
        words = words_of(statement)
        if words[:1] == ["cd"]:
            monkeypatch.chdir(words[1])
        elif words[:1] == ["kitbox"]:
            done = CliRunner().invoke(app, smaller(words[1:]))
            assert done.exit_code == 0, f"{statement}{done.output[-2000:]}{done.exception!r}"
            if words[1] == "init":
                raise_unknown_share(Path(words[2]) / "kitbox.toml")
        else:
            subprocess.run(["bash", "-ec", statement], check=True, capture_output=True)


def run_page(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks(RECIPES / f"{name}.md", "bash"):
        run_block(block, monkeypatch)


def receipt(place: Path) -> dict[str, Any]:
    """Return the only receipt of a workspace."""
    (path,) = place.glob("submissions/*/receipt.json")
    return json.loads(path.read_text("utf-8"))


@pytest.mark.slow
def test_the_gdsc_2020_recipe_ends_in_a_submission_of_two_transferred_networks(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_page("gdsc2020", monkeypatch)
    written = receipt(place / "whales")
    assert [plugin["name"] for plugin in written["plugins"]] == ["resnet34_620", "densenet121_480"]
    assert {plugin["trained_on"] for plugin in written["plugins"]} == {"all"}
    first = ["resnet34_224_triplet", "densenet121_224_triplet"]
    assert [plugin["init_from"] for plugin in written["plugins"]] == first
    assert [plugin.get("pseudo_round") for plugin in written["plugins"]] == [1, None]
    rows = next(place.glob("whales/submissions/*/submission.csv")).read_text("utf-8").splitlines()
    assert {len(row.split(",")) for row in rows} == {21}


@pytest.mark.slow
def test_the_humpback_2019_recipe_ends_in_a_submission_with_the_tests_share_of_new_whales(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_page("humpback2019", monkeypatch)
    assert len(receipt(place / "whales")["plugins"]) == 3
    path = next(place.glob("whales/submissions/*/submission.csv"))
    with path.open(encoding="utf-8") as file:
        first = [row["Id"].split()[0] for row in csv.DictReader(file)]
    assert first.count("new_whale") == pytest.approx(0.276 * len(first), abs=1)


@pytest.mark.slow
def test_the_hardness_recipe_trains_four_networks_and_writes_a_report(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_page("hardness", monkeypatch)
    assert list(place.glob("hardness/.kitbox/reports/*.html"))


def test_a_recipe_with_a_wrong_command_fails(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = "kitbox init whales --preset gdsc2020 --data gdsc\ncd whales\n"
    with pytest.raises(AssertionError, match="did you mean resnet34_620"):
        run_block(
            setup + "kitbox train resnet34_62 --init-from ../kaggle/resnet34_620\n", monkeypatch
        )


def test_every_recipe_is_tested() -> None:
    pages = {path.stem for path in RECIPES.glob("*.md")}
    assert pages == {"gdsc2020", "humpback2019", "hardness"}


def test_a_statement_has_its_continuation_and_its_heredoc() -> None:
    block = "cat > a <<'END'\nb \\\nEND\nkitbox train c \\\n    d\ncd e\n"
    assert statements(block) == [
        "cat > a <<'END'\nb \\\nEND\n",
        "kitbox train c \\\n    d\n",
        "cd e\n",
    ]
