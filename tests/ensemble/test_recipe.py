"""Recipes: written, read back, edited, and chosen among names and files."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.ensemble.ensemble import EnsembleOptions
from kitbox.ensemble.recipe import Recipe, RecipeMember
from kitbox.errors import KitboxError
from kitbox.workspace import Workspace
from tests.circle import competition

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
DIMS = st.none() | st.integers(2, 4096)
MEMBERS = st.builds(
    RecipeMember,
    name=NAMES.filter(lambda name: "views=" not in name),
    weight=st.floats(1e-3, 1e3),
    views=st.lists(st.sampled_from(["plain", "flip", "scale:1.25"]), unique=True).map(tuple),
    whiten=DIMS | st.just(False),
)
RECIPES = st.builds(
    Recipe,
    members=st.lists(MEMBERS, min_size=1, max_size=3).map(tuple),
    whiten=DIMS,
    combine=st.sampled_from(["embeddings", "labels"]),
    new_label=st.sampled_from(["threshold", "learned"]),
    threshold=st.sampled_from([None, "best", "0.35", "16.5%"]),
    checkpoint=st.sampled_from(["last", "best"]),
)


@given(RECIPES, NAMES)
def test_a_recipe_that_is_written_is_read_back(recipe: Recipe, comment: str) -> None:
    assert Recipe.parse(recipe.text()) == recipe
    assert Recipe.parse(recipe.text(comment)) == recipe


def test_a_recipe_is_a_file_that_people_read(tmp_path: Path) -> None:
    recipe = Recipe.of(
        ["lite0_96", "mobile_128"], weights=[2, 1], views=["plain", "flip"], whiten=[None, 256],
        threshold="balanced",
    )  # fmt: skip
    path = tmp_path / "best.toml"
    recipe.write(path, comment="Searched on fold 1.")
    assert path.read_text() == (
        "# A recipe of kitbox: the members of an ensemble, and how they answer together.\n"
        "# Searched on fold 1.\n"
        'threshold = "balanced"\n'
        "\n"
        "[[members]]\n"
        'name = "lite0_96"\n'
        "weight = 2.0\n"
        'views = ["plain", "flip"]\n'
        "whiten = false\n"
        "\n"
        "[[members]]\n"
        'name = "mobile_128"\n'
        "weight = 1.0\n"
        'views = ["plain", "flip"]\n'
        "whiten = 256\n"
    )
    assert Recipe.read(path) == recipe


@pytest.mark.parametrize(
    ("shared", "own", "together", "each"),
    [
        (None, [None, None], None, None),
        (64, [None, None], 64, None),
        (None, [64, 64], 64, None),
        (64, [None, False], None, (64, None)),
        (64, [32, None], None, (32, 64)),
        (64, [False, False], None, None),
    ],
)
def test_whitening_is_of_all_members_or_of_each(
    shared: int | None, own: list[Any], together: int | None, each: Any
) -> None:
    pairs = zip("ab", own, strict=True)
    members = tuple(RecipeMember(name=name, whiten=whiten) for name, whiten in pairs)
    recipe = Recipe(members=members, whiten=shared)
    assert (recipe.options().whiten, recipe.whitening) == (together, each)


MEMBER = '[[members]]\nname = "a"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"reranks = []\n{MEMBER}", "'reranks' is not a setting of a recipe; did you mean rerank?"),
        (f"{MEMBER}weigth = 2\n", "'weigth' is not a setting of [[members]]; did you mean weight?"),
        (f"{MEMBER}weight = 0\n", "the weight of a is 0; give it a finite number above 0"),
        (f"{MEMBER}weight = inf\n", "the weight of a is inf; give it a finite number above 0"),
        (f"{MEMBER}whiten = 1\n", "whiten = 1 is neither 2 dimensions or more nor false"),
        (f"{MEMBER}whiten = true\n", "whiten = True is neither 2 dimensions or more nor false"),
        (f"whiten = 1\n{MEMBER}", "whiten = 1 should be greater than or equal to 2"),
        (f'{MEMBER}views = ["flop"]\n', "there is no view 'flop'; did you mean flip?"),
        (f'{MEMBER}views = "flip"\n', 'views = "flip": give a list, as ["flip"]'),
        (
            '[[members]]\nname = "a@views=flip"\nviews = ["flip"]\n',
            "a@views=flip has views in its name; leave the setting views out",
        ),
        (f'rerank = "dba"\n{MEMBER}', 'rerank = "dba": give a list, as ["dba"]'),
        (
            f'combine = "lables"\n{MEMBER}',
            "combine = 'lables' should be 'embeddings', 'labels' or 'classifier'",
        ),
        (
            f'threshold = "high"\n{MEMBER}',
            "threshold high is not best, ami, balanced, a similarity as 0.35, or a share as 16.5%",
        ),
        ("members = []\n", "a recipe needs a plugin; add [[members]] with its name"),
        (
            '[members]\nname = "a"\n',
            "members are tables; write [[members]] before the name of each",
        ),
        ("[[members]]\n", "members.0.name is missing"),
        ("[[members\n", "Expected ']]' at the end of an array declaration (at line 1, column 10)"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_sentence_with_the_file(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "best.toml"
    path.write_text(text)
    with pytest.raises(KitboxError) as caught:
        Recipe.read(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_file_that_is_no_text_or_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "best.toml"
    with pytest.raises(KitboxError, match=r"cannot read the recipe .*best\.toml: No such file"):
        Recipe.read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KitboxError, match=r"best\.toml: is no text: "):
        Recipe.read(path)


def test_a_number_may_be_a_threshold() -> None:
    assert Recipe.parse(f"threshold = 0.35\n{MEMBER}").threshold == "0.35"
    assert Recipe.parse(f"threshold = 0.123456789\n{MEMBER}").threshold == "0.123456789"


def test_options_of_commands_are_those_of_the_ensemble() -> None:
    recipe = Recipe.of(["a"], combine="classifier", dims=8, new_label="learned", whiten=16)
    assert recipe.options(3) == EnsembleOptions(
        combine="classifier", dims=8, unknown="learned", whiten=16, top_k=3
    )
    assert recipe.settings_of_answers() == ["combine", "dims", "new_label"]
    assert recipe.summary == "1 member: a"
    assert Recipe.of(["a", "b"], weights=[2, 0.5]).summary == "2 members: 2 a, 0.5 b"


def test_stages_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    short = Recipe.of(["a"], rerank=["dba"], match=["sift:points=500,shortlist=30"], fusion="logit")
    assert short.rerank == ("dba:k=3,alpha=3",)
    assert short.match == ("sift:shortlist=30",)  # 500 points are the default
    assert short.options().match == short.match
    whole = Recipe.of(["a"], rerank=short.rerank, match=short.match, fusion=short.fusion)
    assert whole == short
    short.write(tmp_path / "best.toml")
    assert Recipe.read(tmp_path / "best.toml") == short
    for stage, message in (
        ({"rerank": ("dbx",)}, "no re-ranking step 'dbx'; did you mean dba?"),
        ({"match": ("sitf",)}, "sitf"),
        ({"match": ("sift",), "fusion": "logits"}, "logits"),
    ):
        with pytest.raises(KitboxError, match=message):
            Recipe.of(["a"], **stage)


def test_views_of_a_name_stay() -> None:
    recipe = Recipe.of(["a@views=flip", "b"], views=["plain", "flip"])
    assert [member.views for member in recipe.members] == [(), ("plain", "flip")]


def test_the_threshold_of_a_recipe_is_that_of_the_competition() -> None:
    task = competition(threshold={"rule": "fixed", "similarity": 0.2})
    assert Recipe.of(["a"]).set_threshold(task) == task
    assert Recipe.of(["a"], threshold="0.4").set_threshold(task).threshold.similarity == 0.4


def test_a_file_is_chosen_where_no_plugin_is_named(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = competition()
    with_default = task.model_copy(
        update={"ensemble": type(task.ensemble)(recipe="recipes/best.toml")}
    )
    (workspace.root / "recipes").mkdir()
    best, mine = workspace.root / "recipes" / "best.toml", tmp_path / "mine.toml"
    Recipe.of(["a"]).write(best)
    Recipe.of(["b"]).write(mine)
    monkeypatch.chdir(tmp_path)

    def find(path: str | None, names: tuple[str, ...] = (), toml: Any = task) -> Any:
        return Recipe.find(path and Path(path), names, [], workspace, toml)

    assert find(None, ("a",), with_default) is None
    assert find(None, (), with_default) == (best, Recipe.of(["a"]))
    assert find("mine.toml", (), with_default)[1] == Recipe.of(["b"])
    assert find("recipes/best.toml")[1] == Recipe.of(["a"])  # as the workspace has it
    with pytest.raises(KitboxError) as caught:
        find("mine.toml", ("a",))
    assert str(caught.value) == "a is named beside --recipe mine.toml; leave one of them out"
    with pytest.raises(KitboxError, match="name a plugin, or a recipe with --recipe FILE; "):
        find(None)
    with pytest.raises(KitboxError) as caught:
        Recipe.find(None, (), ["--whiten", "--dims"], workspace, with_default)
    assert str(caught.value) == (
        "--whiten is beside the recipe best.toml, which decides it; change it there, or name "
        "plugins in place of the recipe"
    )
