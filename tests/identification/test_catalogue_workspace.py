from pathlib import Path

import pytest

from kitbox.catalogue import catalogue_list
from kitbox.competition import settings
from kitbox.dataset.collection import collect
from kitbox.errors import KitboxError
from kitbox.identification.catalogue_workspace import OpenedCatalogue, open_catalogue
from kitbox.workspace import Workspace
from tests.identification.photographed_catalogue import draw_card, draw_catalogue
from tests.photographs import finish, picture


def opened(root: Path, *photographs: Path, **given: object) -> OpenedCatalogue:
    return open_catalogue(root / "whales", photographs, root / "work", **given)  # type: ignore[arg-type]


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_a_catalogue_and_nested_photographs_become_an_ordinary_workspace(tmp_path: Path) -> None:
    draw_catalogue(tmp_path, individuals=6)
    card = draw_card(tmp_path)
    found = opened(tmp_path, card)
    assert found.individuals[:5].tolist() == ["w_0"] * 4 + ["w_1"]
    assert found.images.image_ids[0] == "whales/w_0/0_0.png"
    assert found.queries.image_ids.tolist() == [
        *(f"card/day 1/k_{number}.png" for number in range(4)),
        *(f"card/day 2/n_{number}.png" for number in range(2)),
    ]
    assert all(path.is_file() for path in (*found.images.paths, *found.queries.paths))
    workspace = found.workspace
    assert workspace == Workspace(tmp_path / "work")
    _, collection = finish(collect(workspace, settings.load(workspace)))
    assert len(collection.labelled) == 24
    assert collection.test.image_ids.tolist() == found.queries.image_ids.tolist()


def test_the_default_workspace_is_beside_the_place_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_catalogue(tmp_path / "far", individuals=2)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    found = open_catalogue(tmp_path / "far" / "whales")
    assert found.workspace.root == tmp_path / "here" / "whales-kitbox"
    assert found.photographs is None
    # the workspace itself is a catalogue too
    again = open_catalogue(Path("whales-kitbox"))
    assert again.workspace.root == found.workspace.root
    assert again.images.image_ids.tolist() == found.images.image_ids.tolist()


def test_a_second_season_adds_photographs_and_keeps_what_the_workspace_says(
    tmp_path: Path,
) -> None:
    whales = draw_catalogue(tmp_path, individuals=2)
    first = opened(tmp_path)
    rows = list(catalogue_list.load(first.workspace.root / "catalogue.csv"))
    rows[0] = rows[0].__class__(rows[0].image, "Anna")
    catalogue_list.save(first.workspace.root / "catalogue.csv", rows)
    picture(whales / "w_9" / "9_0.png", 9, 0)
    (whales / "w_1" / "1_3.png").unlink()
    found = opened(tmp_path)
    assert sorted(set(found.individuals.tolist())) == ["Anna", "w_0", "w_1", "w_9"]
    assert len(found.images) == 8
    assert found.notes == (
        "new in the catalogue: 1 photograph",
        "catalogue.csv counts, where 'whales/w_0/0_0.png' is 'Anna', not 'w_0'; change it there, "
        "or remove its row to have it read again",
        "left out: 'whales/w_1/1_3.png' of catalogue.csv is gone; put it back, or remove its row",
    )
    # its row stays, for the day when the photograph is back
    assert len(catalogue_list.load(first.workspace.root / "catalogue.csv")) == 9


def test_photographs_named_twice_or_of_the_catalogue_itself_are_told(tmp_path: Path) -> None:
    whales, card = draw_catalogue(tmp_path, individuals=2), draw_card(tmp_path, known=1, new=0)
    file = card / "day 1" / "k_0.png"
    found = opened(tmp_path, card, file, whales / "w_0" / "0_0.png")
    assert found.queries.image_ids.tolist() == ["card/day 1/k_0.png"]
    assert found.notes == (
        "named twice, and read once: 1 photograph",
        "left out: 1 photograph to identify of the catalogue itself, such as 'whales/w_0/0_0.png'",
    )
    with pytest.raises(KitboxError, match="all 8 photographs to identify are those of the catalog"):
        opened(tmp_path, whales)


def test_raw_files_and_empty_folders_among_the_photographs_are_told(tmp_path: Path) -> None:
    draw_catalogue(tmp_path, individuals=2)
    card = draw_card(tmp_path, known=1, new=0)
    (card / "IMG_1.CR2").write_bytes(b"raw")
    (tmp_path / "empty").mkdir()
    notes = opened(tmp_path, card, tmp_path / "empty").notes
    assert "1 raw camera file (.cr2 1)" in notes[0]
    assert notes[1] == f"there is no photograph in {tmp_path / 'empty'}"


@pytest.mark.parametrize(
    ("photographs", "message"),
    [
        (["nowhere"], "there is no file or folder .*nowhere; correct its name"),
        (["empty"], "there is no photograph in .*empty; name files or folders of photographs"),
    ],
)
def test_without_photographs_nothing_is_written(
    tmp_path: Path, photographs: list[str], message: str
) -> None:
    draw_catalogue(tmp_path, individuals=2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(KitboxError, match=message):
        opened(tmp_path, *(tmp_path / name for name in photographs))
    assert not (tmp_path / "work").exists()


def test_a_missing_or_empty_catalogue_is_one_sentence_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(KitboxError, match=r"there is no catalogue .*whales; name a folder"):
        opened(tmp_path)
    (tmp_path / "whales").mkdir()
    with pytest.raises(KitboxError, match="has no photograph of an individual"):
        opened(tmp_path)
    assert not (tmp_path / "work").exists()


def test_folders_of_folders_need_a_word(tmp_path: Path) -> None:
    for place in ("north", "south"):
        for individual in range(2):
            picture(tmp_path / "whales" / place / f"{place}{individual}" / "1.png", individual, 0)
    with pytest.raises(KitboxError, match="--individual-level 1 or 2"):
        opened(tmp_path)
    assert not (tmp_path / "work").exists()


def test_another_workspace_and_a_used_folder_are_left_alone(tmp_path: Path) -> None:
    draw_catalogue(tmp_path, individuals=2)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("mine")
    with pytest.raises(KitboxError, match="work is not empty and no workspace"):
        opened(tmp_path)
    assert files_in(tmp_path / "work") == {"thesis.txt"}
