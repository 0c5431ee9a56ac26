"""Protocol: each query is searched in the gallery of its competition."""

from pathlib import Path
from typing import Any

import pytest

from kitbox.competition import protocol
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import ImageSet, Search, strings
from tests.circle import competition


def images(*names: str, groups: str | None = None) -> ImageSet:
    """Return images, each with a group of one letter."""
    return ImageSet(
        strings(names),
        tuple(Path(name) for name in names),
        groups=None if groups is None else strings(list(groups)),
    )


def configured(root: Path = Path(), gallery: str = "test", k: int = 5, **task: Any) -> Competition:
    given = competition(
        root=root, images={"index_folder": "index", "group_column": "species"}
    ).model_dump()
    given["task"] = {"gallery": gallery, "answers": "images", "k": k} | task
    return Competition.model_validate(given)


def shown(found: tuple[Search, ...]) -> list[tuple[str, list[str], list[str]]]:
    return [
        (search.name, search.query_ids.tolist(), search.gallery_images.tolist()) for search in found
    ]


TEST, LABELLED, INDEX = images("x", "y"), images("a", "b", "c"), images("i")


@pytest.mark.parametrize(
    ("gallery", "searched"),
    [("train", "abc"), ("test", "xy"), ("train+test", "abcxy"), ("index", "i")],
)
def test_one_search_covers_the_whole_gallery(gallery: str, searched: str) -> None:
    found = protocol.leaderboard_searches(TEST, LABELLED, INDEX, configured(gallery=gallery))
    assert shown(found) == [("", ["x", "y"], list(searched))]
    assert protocol.query_ids(found, TEST).tolist() == ["x", "y"]


def test_a_query_is_searched_in_its_group_only() -> None:
    test = images("x", "y", "z", groups="lsl")
    labelled = images("a", "b", "c", groups="sll")
    found = protocol.leaderboard_searches(
        test, labelled, None, configured(gallery="train", within_group=True)
    )
    assert shown(found) == [("l", ["x", "z"], ["b", "c"]), ("s", ["y"], ["a"])]
    assert protocol.query_ids(found, test).tolist() == ["x", "y", "z"]


def test_a_group_without_gallery_is_named() -> None:
    test, labelled = images("x", "y", groups="ls"), images("a", groups="l")
    with pytest.raises(KitboxError) as caught:
        protocol.searches(test, labelled, configured(gallery="train", within_group=True))
    assert str(caught.value) == (
        "group 's' has 1 queries and no gallery; "
        "correct images.group_column, or fix its values with images.group_names"
    )


def test_a_group_needs_no_gallery_if_unknown_is_an_answer() -> None:
    test, labelled = images("x", groups="s"), images("a", groups="l")
    given = configured(gallery="train", answers="label", within_group=True)
    assert shown(protocol.searches(test, labelled, given)) == [("s", ["x"], [])]


def test_groups_need_a_column_in_every_list() -> None:
    with pytest.raises(KitboxError) as caught:
        protocol.searches(TEST, images("a", groups="l"), configured(within_group=True))
    assert str(caught.value) == "task.within_group needs images.group_column in every list"


SCENARIOS = """\
scenario_id,queries_path,database_path
s1,queries/s1.csv,databases/s1.csv
s2,queries/s2.csv,databases/s2.csv
"""


def scenarios(root: Path, **files: str) -> Competition:
    """Write two scenarios by default: s1 searches x in a, b; s2 searches x and a in b, y."""
    texts = {
        "query_scenarios.csv": SCENARIOS,
        "queries/s1.csv": "query_id,query_image_id\ns1-x,x\n",
        "queries/s2.csv": "query_id,query_image_id\ns2-x,x\ns2-a,a\n",
        "databases/s1.csv": "database_image_id\na\nb\n",
        "databases/s2.csv": "database_image_id\nb\ny\n",
    }
    texts |= {name.replace("__", "/") + ".csv": text for name, text in files.items()}
    for name, text in texts.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return configured(root, scenarios="query_scenarios.csv")


def test_each_scenario_searches_its_queries_in_its_database(tmp_path: Path) -> None:
    found = protocol.leaderboard_searches(TEST, LABELLED, None, scenarios(tmp_path))
    assert shown(found) == [("s1", ["s1-x"], ["a", "b"]), ("s2", ["s2-x", "s2-a"], ["b", "y"])]
    assert [search.query_images.tolist() for search in found] == [["x"], ["x", "a"]]
    assert protocol.query_ids(found, TEST).tolist() == ["s1-x", "s2-x", "s2-a"]


def test_scenarios_may_use_labelled_images_only(tmp_path: Path) -> None:
    given = scenarios(
        tmp_path,
        query_scenarios="".join(SCENARIOS.splitlines(keepends=True)[:2]),
        queries__s1="query_id,query_image_id\ns1-a,a\n",
    )
    found = protocol.leaderboard_searches(LABELLED, LABELLED, None, given)
    assert shown(found) == [("s1", ["s1-a"], ["a", "b"])]


@pytest.mark.parametrize("prefix", ["/code_execution/data/", "data/", "./"])
def test_the_last_two_parts_of_an_organisers_path_name_the_file(
    tmp_path: Path, prefix: str
) -> None:
    given = scenarios(
        tmp_path,
        query_scenarios=SCENARIOS.replace(",queries/", f",{prefix}queries/").replace(
            ",databases/", f",{prefix}databases/"
        ),
    )
    assert len(protocol.leaderboard_searches(TEST, LABELLED, None, given)) == 2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"queries__s1": "query_id,query_image_id\nq,z\nr,w\n"},
            "queries/s1.csv: image 'z' is in no list of images; 1 more like it; "
            "correct images.train_list or images.test_list",
        ),
        (
            {"databases__s2": "database_image_id\nb\nz\n"},
            "databases/s2.csv: image 'z' is in no list of images; "
            "correct images.train_list or images.test_list",
        ),
        (
            {"databases__s2": "database_image_id\nb\nb\n"},
            "databases/s2.csv: 'b' is listed twice; remove one row",
        ),
        (
            {"queries__s2": "query_id,query_image_id\ns1-x,y\n"},
            "query_scenarios.csv: 's1-x' is listed twice; remove one row",
        ),
        (
            {"databases__s1": "database_image_id\n"},
            "query_scenarios.csv line 2: {root}/databases/s1.csv is empty; get the whole file",
        ),
        (
            {"queries__s1": "query,query_image_id\nq,x\n"},
            "{root}/queries/s1.csv line 1: no column 'query_id' among query, query_image_id; "
            "did you mean query?; correct the header, or the column's name in kitbox.toml",
        ),
        (
            {"query_scenarios": SCENARIOS.splitlines()[0]},
            "query_scenarios.csv names no scenario; get the whole file",
        ),
        (
            {"query_scenarios": SCENARIOS.replace("queries/s2", "queries/s3")},
            "query_scenarios.csv line 3: there is no file {root}/queries/s3.csv; correct the path",
        ),
        (
            {"query_scenarios": SCENARIOS.replace("queries/s1", "/s1")},
            "query_scenarios.csv line 2: there is no file {root}/s1.csv; correct the path",
        ),
        (
            {"query_scenarios": SCENARIOS.replace("queries/s1", "../s1")},
            "query_scenarios.csv line 2: '../s1.csv' leaves the data folder; correct the path",
        ),
        (
            {"query_scenarios": SCENARIOS.replace("queries/s1.csv", "")},
            "query_scenarios.csv line 2: '' leaves the data folder; correct the path",
        ),
    ],
)
def test_a_mistake_in_the_scenarios_is_one_sentence(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        protocol.leaderboard_searches(TEST, LABELLED, None, scenarios(tmp_path, **files))
    assert str(caught.value) == message.format(root=tmp_path)
