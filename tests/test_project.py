"""kitbox in Python: every example runs, and methods answer as the commands do."""

import csv
import doctest
import io
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import kitbox
from kitbox import project
from kitbox.columns import Table
from kitbox.errors import KitboxError, KitboxWarning
from kitbox.project import Project
from kitbox.workspace import Workspace
from tests.commands import json_of
from tests.photographs import competition_on_disk, write_plugin

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs" / "python.md"
EXAMPLES = [
    *doctest.DocTestFinder(exclude_empty=True).find(project),
    doctest.DocTestParser().get_doctest(GUIDE.read_text("utf-8"), {}, GUIDE.name, None, 0),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace, _ = competition_on_disk(tmp_path_factory.mktemp("drawn"))
    write_plugin(workspace, "frozen_64", epochs=0, image_size=64)
    write_plugin(workspace, "small_32", epochs=1)
    return workspace


@pytest.fixture(scope="module")
def whales(place: Workspace) -> Project:
    return kitbox.open(place.root, device="cpu", precision="32", workers=0)


@pytest.mark.parametrize(
    "example", [one for one in EXAMPLES if one.examples], ids=lambda one: one.name
)
def test_every_example_runs(
    example: doctest.DocTest, whales: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # where examples write
    example.globs = {"kitbox": kitbox, "whales": whales, "folder": str(whales.workspace.root)}
    found = io.StringIO()
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=found.write)
    assert found.getvalue() == ""


def test_every_public_method_has_an_example_and_a_line_in_the_guide() -> None:
    with_example = {one.name.rpartition(".")[2] for one in EXAMPLES if one.examples}
    public = {name for name in vars(Project) if not name.startswith("_")} - {
        *Project.__dataclass_fields__
    }
    assert public - with_example == set()
    guide = GUIDE.read_text("utf-8")
    assert [name for name in public if f"`.{name}" not in guide] == []


def test_scores_and_submissions_are_those_of_the_commands(whales: Project) -> None:
    found = whales.score("frozen_64", whiten=8)
    options = ("frozen_64", "--whiten", "8")
    assert found.as_json() == json_of(whales.workspace, "score", *options)["scores"]
    made = whales.submit("frozen_64", whiten=8, note="in Python")
    again = json_of(whales.workspace, "ensemble", *options, "--submit", "--note", "in Python")
    assert str(made.csv) == again["csv"]
    assert made.csv.read_text().count("\n") == 9
    assert made.score is not None
    assert made.score.score.scores == found
    assert repr(made).startswith("Package(folder=")
    assert "Image" not in repr(made)  # not the whole of it


def test_embeddings_are_unit_rows_of_every_image_once(whales: Project) -> None:
    images, found = whales.images, whales.embeddings("frozen_64", whiten=4)
    assert found.image_ids.tolist() == images["image"].tolist()
    assert found.dim == 4


def test_neighbours_are_the_most_similar_images(whales: Project) -> None:
    vectors = whales.embeddings("frozen_64").vectors
    near = whales.neighbours("frozen_64", k=100)  # of 31 others
    assert len(near) == 32 * 31
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    first = near.take(near["rank"] == 1)
    assert np.allclose(first["similarity"], similarity.max(axis=1), atol=1e-6)
    assert not (near["image"] == near["neighbour"]).any()
    labels = dict(zip(whales.images["image"], whales.images["label"], strict=True))
    assert all(labels[row.neighbour] == row.neighbour_label for row in near)


def test_views_are_averaged_as_by_the_commands(whales: Project) -> None:
    found = whales.score("frozen_64", views=["plain", "flip"])
    told = json_of(whales.workspace, "score", "frozen_64", "--view", "plain", "--view", "flip")
    assert found.as_json() == told["scores"]
    plain = whales.embeddings("frozen_64").vectors
    both = whales.embeddings("frozen_64", views=["plain", "flip"]).vectors
    assert not np.allclose(plain, both, atol=1e-4)


def test_mistakes_are_one_sentence(whales: Project, tmp_path: Path) -> None:
    for mistake, message in (
        (lambda: kitbox.open(tmp_path), "is not a workspace: it has no kitbox.toml"),
        (lambda: whales.score("frozen"), "did you mean frozen_64?"),
        (lambda: whales.score(), "name a plugin, or a recipe with --recipe FILE"),
        (lambda: whales.score("frozen_64", fold=3), "fold 3: kitbox.toml has holdout.folds = 1"),
        (lambda: whales.score("frozen_64", weights=[1, 2]), "2 weights for 1 plugins"),
        (lambda: whales.score("frozen_64", views=["flop"]), "did you mean flip?"),
        (lambda: whales.score("frozen_64", views="flip"), r"give several, as \['flip'\]"),
        (lambda: whales.neighbours("frozen_64", k=0), "k = 0: give 1 or more"),
        (lambda: whales.images["labels"], "no column labels; did you mean label?"),
        (lambda: whales.submit("frozen_64", top_k=9), "--top-k 9"),
        (lambda: whales.train("small_32", weights="hub", init_from="x"), "give one of them"),
        (lambda: whales.train("small_32", on="all", fold=2), "every label; it has no fold"),
        (lambda: whales.search(), "name plugins to search among"),
        (lambda: whales.match("frozen_64", budget=0), "budget = 0 should be greater than or eq"),
    ):
        with pytest.raises(KitboxError, match=message):
            mistake()


def test_a_misspelt_keyword_is_refused_as_by_python(whales: Project) -> None:
    for call, message in (
        (lambda: whales.score("frozen_64", wieghts=[1]), "'wieghts'; did you mean weights?"),
        (lambda: whales.search("frozen_64", weights=[1]), "unexpected keyword argument 'weights'"),
        (lambda: whales.neighbours("frozen_64", fusion="logit"), "argument 'fusion'"),
    ):
        with pytest.raises(TypeError, match=re.escape(message)):
            call()


def test_a_mistake_in_the_settings_shows_when_they_are_opened(tmp_path: Path) -> None:
    (tmp_path / "kitbox.toml").write_text("nonsense = 1\n")
    with pytest.raises(KitboxError, match=r"kitbox\.toml"):
        kitbox.open(tmp_path)


def test_what_is_left_out_becomes_a_warning_or_a_line_of_progress(tmp_path: Path) -> None:
    workspace, competition = competition_on_disk(tmp_path)
    (competition.images.root / "train" / "0_0.png").write_bytes(b"nothing")
    settings = workspace.settings.read_text()
    workspace.settings.write_text(settings.replace('broken = "stop"', 'broken = "drop"'))
    with pytest.warns(KitboxWarning, match=r"left out: .*0_0\.png") as caught:
        assert len(kitbox.open(workspace.root).images) == 31
    assert caught[0].filename == __file__  # the user's line
    lines: list[object] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kitbox.open(workspace.root, progress=lines.append).collection()
    assert [str(line).partition(":")[0] for line in lines] == ["left out"]


def test_kitbox_is_imported_at_once_and_keeps_pythons_own_open() -> None:
    code = (
        "import sys, kitbox; assert 'kitbox.project' not in sys.modules; "
        "assert 'open' not in vars(kitbox) and 'open' in dir(kitbox)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


@pytest.mark.parametrize("module", ["kitbox.look.server", "kitbox.competition.lists"])
def test_what_needs_no_network_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


def test_a_table_is_columns_and_rows(tmp_path: Path) -> None:
    table = Table({"name": np.array(["=a", "b<c"]), "size": np.array([1, 2])})
    assert (len(table), table.columns, dict(table).keys()) == (2, ("name", "size"), table.keys())
    assert [(row.name, row.size) for row in table] == [("=a", 1), ("b<c", 2)]
    with pytest.raises(ValueError, match="read-only"):
        table["size"][0] = 3
    with pytest.raises(ValueError, match="different lengths"):
        Table({"a": np.zeros(2), "b": np.zeros(3)})
    table.to_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["name", "size"], ["'=a", "1"], ["b<c", "2"]]
    assert repr(table) == "name  size\n=a       1\nb<c      2"
    assert "<td>b&lt;c</td><td>2</td>" in table._repr_html_()


def test_a_long_table_shows_its_ends() -> None:
    table = Table({"n": np.arange(100), "text": np.array([f"{'x' * 60}{n}" for n in range(100)])})
    lines = repr(table).splitlines()
    assert len(lines) == 13
    assert lines[-1] == "100 rows × 2 columns"
    assert lines[1].endswith("x0")
    assert max(map(len, lines)) <= 44
    assert len(Table({})) == 0
    assert repr(Table({"a": np.array([])})) == "a"
