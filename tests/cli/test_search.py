"""kitbox search and kitbox explain, from the command line to the recipe and the page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kitbox
from kitbox.ensemble.recipe import Recipe
from kitbox.selection import nested_search
from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, invoke, json_of
from tests.commands import kitbox as run_kitbox
from tests.photographs import competition_on_disk
from tests.report.parsed_page import parse
from tests.selection.drawn import noisy

QUICK = ("--trials", "8", "--seed", "1")
NOISE = {"good": 0.9, "other": 0.9, "noise": 50.0}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with three imported members: two that complement each other, and noise."""
    folder = tmp_path_factory.mktemp("search")
    workspace, _ = competition_on_disk(folder, individuals=60, each=4)
    text = workspace.settings.read_text()
    workspace.settings.write_text(text.replace("seed = 0", "seed = 0\nnear_duplicate_bits = 0"))
    ids = [f"{i}_{j}.png" for i in range(60) for j in range(4)]
    for number, (name, noise) in enumerate(NOISE.items()):
        file = folder / f"{name}.npz"
        np.savez(file, ids=ids, vectors=noisy(ids, noise, number).vectors)
        run_kitbox(
            workspace, "embeddings", "import", str(file), "--name", name, "--learned-from",
            "nothing",
        )  # fmt: skip
    return workspace


@pytest.fixture(scope="module")
def searched(place: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Return what a search printed, and the recipe that it wrote."""
    out = tmp_path_factory.mktemp("searched") / "best.toml"
    return json_of(place, "search", *NOISE, *QUICK, "--out", str(out)), out


def test_the_recipe_scores_what_the_search_says(
    place: Workspace, searched: tuple[Any, Path]
) -> None:
    found, out = searched
    assert found["recipe"] == str(out)
    [chosen] = [level for level in found["levels"] if level["level"] == found["chosen"]]
    scored = json_of(place, "score", "--recipe", str(out))["scores"]
    assert scored[found["metric"]]["value"] == pytest.approx(chosen["in_sample"], abs=1e-9)
    assert found["metric"] == next(iter(scored))
    assert found["choice"]["level"] == found["chosen"]
    assert len(found["choice"]["apart"]) == found["parts"]
    recipe = Recipe.read(out)
    assert list(recipe.names) == [member["name"] for member in chosen["members"]]
    assert "noise" not in recipe.names
    text = out.read_text()
    assert "# Out of sample: " in text
    assert "seed 1" in text
    assert f"# Made by: kitbox search good other noise --trials 8 --seed 1 --out {out}" in text


def test_the_same_seed_writes_the_same_recipe(place: Workspace, searched: tuple[Any, Path]) -> None:
    _, out = searched
    before = out.read_bytes()
    out.unlink()
    run_kitbox(place, "search", *NOISE, *QUICK, "--out", str(out), *RUN)
    assert out.read_bytes() == before


def test_an_interrupted_search_writes_nothing(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "best.toml"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(nested_search, "_result", interrupt)
    result = invoke(place, "search", *NOISE, *QUICK, "--out", str(out), *RUN)
    assert result.exit_code == 130
    assert list(tmp_path.iterdir()) == []


def test_the_table_says_what_pays(place: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "x.toml"
    given = ("good", "noise", "--trials", "0", "--out", str(out))
    result = run_kitbox(place, "search", *given, *RUN)
    assert "the best plugin alone *" in result.stdout
    assert "over it whitened" in result.stdout
    assert "with the choice out of sample too" in result.stdout
    assert "nothing pays: nothing is shown to be better than the best plugin" in result.stderr
    assert "about " in result.stderr
    assert "candidates of " in result.stderr
    assert Recipe.read(out).names == ("good",)


def test_effects_are_shown_as_table_json_and_page(place: Workspace, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    found = json_of(place, "explain", *NOISE, "--out", str(page))
    by_name = {(e["kind"], e["name"], e["place"]): e for e in found["effects"]}
    noise = by_name["member", "noise", ""]
    metric = next(iter(found["scores"]))
    whole = json_of(place, "score", *NOISE)["scores"][metric]["value"]
    without = json_of(place, "score", "good", "other")["scores"][metric]["value"]
    assert noise["differences"][metric]["value"] == pytest.approx(whole - without, abs=1e-9)
    assert noise["verdict"] == "harms"
    parsed = parse(page)
    assert "What each part adds" in parsed.text
    assert len(parsed.of("figure")) == 3
    told = run_kitbox(place, "explain", *NOISE, *RUN)
    assert "harms" in told.stdout
    assert "member noise harms: leave it out" in told.stderr
    assert (place.reports / "explain_good+other+noise.html").is_file()


def test_plugins_beside_a_recipe_are_those_to_add(place: Workspace, tmp_path: Path) -> None:
    recipe = tmp_path / "one.toml"
    recipe.write_text('[[members]]\nname = "good"\n')
    found = json_of(
        place, "explain", "other", "--recipe", str(recipe), "--out", str(tmp_path / "p.html")
    )
    [other] = [e for e in found["effects"] if e["kind"] == "member"]
    assert (other["name"], other["present"]) == ("other", False)
    assert [member["name"] for member in found["members"]] == ["good"]
    whales = kitbox.open(place.root, device="cpu", precision="32", workers=0)
    again = whales.explain("other", recipe=recipe).as_json()
    assert again == {key: found[key] for key in again}


def test_without_a_name_the_recipe_of_the_settings_is_explained(
    place: Workspace, tmp_path: Path
) -> None:
    settings = place.settings.read_text()
    (place.root / "pair.toml").write_text(
        '[[members]]\nname = "good"\n\n[[members]]\nname = "other"\n'
    )
    place.settings.write_text(f'{settings}\n[ensemble]\nrecipe = "pair.toml"\n')
    try:
        found = json_of(place, "explain", "--out", str(tmp_path / "page.html"))
    finally:
        place.settings.write_text(settings)
    assert [member["name"] for member in found["members"]] == ["good", "other"]


def test_a_view_beside_a_recipe_alone_is_refused(place: Workspace, tmp_path: Path) -> None:
    recipe = tmp_path / "one.toml"
    recipe.write_text('[[members]]\nname = "good"\n')
    assert error_of(place, "explain", "--recipe", str(recipe), "--view", "flip") == (
        "--view is beside the recipe one.toml, which decides it; change it there, or name plugins "
        "in place of the recipe"
    )


def test_mistakes_are_one_sentence_and_write_nothing(place: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "best.toml"
    assert error_of(place, "search", "good", "--out", str(out)) == (
        "a search combines plugins, and good is the only one; name more of them; "
        "'kitbox explain good' tells what steps do for it"
    )
    assert error_of(place, "search").startswith("name plugins to search among; ")
    assert "no metric map_at_3" in error_of(
        place, "search", *NOISE, "--metric", "map_at_3", "--out", str(out), *RUN
    )
    assert error_of(place, "search", *NOISE, "--out", str(tmp_path)) == (
        f"cannot write {tmp_path}: it is a folder"
    )
    (tmp_path / "file").write_text("")
    for command in ("search", "explain"):
        assert error_of(place, command, *NOISE, "--out", str(tmp_path / "file" / "x")) == (
            f"cannot write {tmp_path / 'file' / 'x'}: {tmp_path / 'file'} is no folder"
        )
    assert "no plugin or imported embeddings named godo" in error_of(
        place, "search", "godo", "other", "--out", str(out)
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_python_does_what_the_commands_do(place: Workspace, tmp_path: Path) -> None:
    whales = kitbox.open(place.root, device="cpu", precision="32", workers=0)
    out = tmp_path / "best.toml"
    found = whales.search(*NOISE, trials=8, seed=1, out=out)
    told = json_of(place, "search", *NOISE, *QUICK, "--out", str(tmp_path / "again.toml"))
    assert found.as_json() == {key: told[key] for key in found.as_json()}
    assert Recipe.read(out).names == Recipe.read(tmp_path / "again.toml").names
    effects = whales.explain(recipe=out)
    assert set(effects.alone) == set(Recipe.read(out).names)


def test_the_page_of_effects_opens_and_is_narrow_enough(
    browser: Any, place: Workspace, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    run_kitbox(place, "explain", *NOISE, "--out", str(page), *RUN)
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get(page.as_uri())
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        plots = browser.execute_script(
            "return [...document.querySelectorAll('.plot svg')].map((n) => n.clientWidth)"
        )
        rows = browser.execute_script(
            "return document.querySelectorAll('#effects tbody tr').length"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= 390
    assert len(plots) == 3
    assert all(250 < width <= 390 for width in plots)
    assert rows >= 8
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
