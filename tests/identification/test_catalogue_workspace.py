import shutil
from pathlib import Path

import numpy as np
import pytest

from kitbox.catalogue import catalogue_changes, catalogue_list, catalogue_source
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.catalogue.catalogue_source import CatalogueOptions, CatalogueReading
from kitbox.catalogue.encounter_rule import encounters_of
from kitbox.competition import settings
from kitbox.dataset.collection import collect
from kitbox.errors import KitboxError
from kitbox.identification import catalogue_workspace
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
        "left out: 1 photograph to identify that the catalogue has, such as 'whales/w_0/0_0.png'",
    )
    with pytest.raises(KitboxError, match="all 8 photographs to identify are those of the catalog"):
        opened(tmp_path, whales)


def test_new_photographs_among_the_folders_of_individuals_are_no_individual(
    tmp_path: Path,
) -> None:
    whales = draw_catalogue(tmp_path, individuals=2)
    draw_card(whales, known=1, new=0)
    with pytest.raises(KitboxError) as error:
        opened(tmp_path, whales / "card")
    assert str(error.value) == (
        f"{whales / 'card'} lies in the catalogue, whose folders are those of known individuals; "
        f"move new photographs to a folder outside {whales}"
    )
    assert not (tmp_path / "work" / "catalogue.csv").exists()
    # a folder of unknown ones is none of an individual
    (whales / "card" / "day 1").rename(whales / "unknown")
    (whales / "card").rmdir()
    found = opened(tmp_path, whales / "unknown")
    assert found.queries.image_ids.tolist() == ["whales/unknown/k_0.png"]
    assert set(found.individuals.tolist()) == {"w_0", "w_1"}


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


@pytest.mark.parametrize("killed_at", ["write_text", "_write_queries"])
def test_a_workspace_that_a_killed_command_leaves_is_written_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    draw_catalogue(tmp_path, individuals=2)
    card = draw_card(tmp_path, known=1, new=0)

    def kill(*_: object) -> None:
        (tmp_path / "work" / ".kitbox.toml.12345678-1-1-abcdefgh.partial").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(catalogue_workspace, killed_at, kill)
        with pytest.raises(KeyboardInterrupt):
            opened(tmp_path, card)
    assert len(opened(tmp_path, card).queries) == 1


def test_what_is_added_while_the_catalogue_is_read_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_catalogue(tmp_path, individuals=2)
    card = draw_card(tmp_path, known=1, new=0)
    workspace = opened(tmp_path, card).workspace
    added = CatalogueRow("card/day 1/k_0.png", "w_0")
    read = catalogue_source.read

    def slow(source: Path, options: CatalogueOptions | None = None) -> CatalogueReading:
        catalogue_changes.change(
            workspace, "add", lambda rows: catalogue_changes.added(rows, [added])
        )
        return read(source, options)

    picture(tmp_path / "whales" / "w_1" / "late.png", 1, 9)
    monkeypatch.setattr(catalogue_source, "read", slow)
    found = opened(tmp_path)
    images = {row.image for row in catalogue_list.load(workspace.catalogue)}
    assert {added.image, "whales/w_1/late.png"} <= images
    assert added.image in found.images.image_ids


def test_a_second_catalogue_of_one_name_is_not_mixed_with_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("a", "b"):
        draw_catalogue(tmp_path / place, individuals=2, each=1)
    monkeypatch.chdir(tmp_path)
    workspace = open_catalogue(Path("a/whales")).workspace
    before = workspace.catalogue.read_text()
    with pytest.raises(KitboxError) as caught:
        open_catalogue(Path("b/whales"))
    assert str(caught.value) == (
        f"{workspace.root} is the workspace of the catalogue {tmp_path.resolve() / 'a' / 'whales'},"
        " not of b/whales; name another folder with --workspace, or correct source in kitbox.toml "
        "if the catalogue was moved"
    )
    assert workspace.catalogue.read_text() == before
    (tmp_path / "a" / "link").symlink_to("whales", target_is_directory=True)
    assert open_catalogue(Path("a/link"), folder=workspace.root).notes == ()
    with pytest.raises(KitboxError, match="is a workspace already, and --workspace names another"):
        open_catalogue(workspace.root, folder=tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert open_catalogue(workspace.root, folder=Path("whales-kitbox")).images.image_ids.size == 2


@pytest.mark.parametrize("catalogue", ["whales.csv", "."])
def test_a_catalogue_in_the_current_folder_is_read_there_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalogue: str
) -> None:
    whales = draw_catalogue(tmp_path, individuals=2, each=2)
    picture(whales / "new.png", 5, 0)
    picture(tmp_path / "more" / "day" / "other.png", 6, 0)
    rows = ["image,individual", *(f"w_{one}/{one}_{n}.png,w_{one}" for one in "01" for n in "01")]
    (whales / "whales.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.chdir(whales)
    for _ in range(3):
        found = open_catalogue(Path(catalogue), [Path("new.png"), tmp_path / "more"])
        assert found.individuals.tolist() == ["w_0", "w_0", "w_1", "w_1"]
        assert found.images.image_ids.tolist() == [
            *("w_0/0_0.png", "w_0/0_1.png", "w_1/1_0.png", "w_1/1_1.png")
        ]
        assert found.queries.image_ids.tolist() == ["new.png", "more/day/other.png"]
    assert found.workspace.root.parent == whales


def test_the_workspace_among_the_photographs_has_none_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_catalogue(tmp_path, individuals=2, each=1)
    draw_card(tmp_path, known=1, new=0)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        found = open_catalogue(Path("whales"), [Path()])
        assert found.queries.image_ids.tolist() == ["card/day 1/k_0.png"]
        assert [note for note in found.notes if "twice" in note or "left alone" in note] == []


def test_a_card_that_is_unplugged_stops_no_later_season(tmp_path: Path) -> None:
    draw_catalogue(tmp_path, individuals=2, each=1)
    card = draw_card(tmp_path, known=2, new=0)
    workspace = opened(tmp_path, card).workspace
    shutil.move(card, tmp_path / "drawer")
    season = picture(tmp_path / "season" / "s.png", 1, 7).parent
    assert opened(tmp_path, season).notes == ()
    row = CatalogueRow("card/day 1/k_0.png", "w_0")
    catalogue_changes.change(workspace, "add", lambda rows: catalogue_changes.added(rows, [row]))
    found = opened(tmp_path, season)
    assert found.notes == (
        "left out: 'card/day 1/k_0.png' of catalogue.csv is gone; plug in the disk of "
        f"{card.resolve()}, or remove its row",
    )
    assert len(found.images) == 2


def test_a_catalogue_that_is_unplugged_is_one_sentence_and_comes_back(tmp_path: Path) -> None:
    whales = draw_catalogue(tmp_path, individuals=2, each=1)
    workspace = opened(tmp_path).workspace
    target = whales.resolve()
    shutil.move(whales, tmp_path / "drawer")
    with pytest.raises(KitboxError) as error:
        open_catalogue(workspace.root)
    assert str(error.value) == (
        f"none of the photographs of {workspace.catalogue} is there; plug in the disk of {target}"
    )
    shutil.move(tmp_path / "drawer", whales)
    assert len(open_catalogue(workspace.root).images) == 2


def test_a_row_removed_by_hand_comes_back_and_one_taken_back_is_told(tmp_path: Path) -> None:
    draw_catalogue(tmp_path, individuals=2, each=2)
    workspace = opened(tmp_path).workspace
    catalogue_changes.change(
        workspace, "rename", lambda rows: catalogue_changes.renamed(rows, "w_0", "Ann")
    )
    rows = catalogue_list.load(workspace.catalogue)
    catalogue_list.save(workspace.catalogue, rows[1:])
    found = opened(tmp_path)
    assert found.notes[0] == "new in the catalogue: 1 photograph"
    assert dict(zip(found.images.image_ids, found.individuals, strict=True))[rows[0].image] == "Ann"
    late = picture(tmp_path / "whales" / "w_1" / "late.png", 1, 9)
    row = CatalogueRow(f"whales/w_1/{late.name}", "w_1")
    catalogue_changes.change(workspace, "add", lambda rows: catalogue_changes.added(rows, [row]))
    catalogue_changes.undo(workspace)
    assert opened(tmp_path).notes == (
        "left out: 1 photograph that 'kitbox catalogue undo' took out, such as "
        "'whales/w_1/late.png'; 'kitbox catalogue add --image' adds it again",
    )


def test_the_holdout_keeps_photographs_of_one_day_together(tmp_path: Path) -> None:
    for number, day in enumerate(["2019-07-03", "2019-07-03", "2019-07-04", "2019", ""] * 2):
        picture(tmp_path / "whales" / f"w_{number // 5}" / f"{day}_{number}.png", number, 0)
    found = opened(tmp_path)
    _, collection = finish(collect(found.workspace, settings.load(found.workspace)))
    encounters = collection.labelled.encounters
    assert encounters is not None
    assert set(encounters.tolist()) == {"", "2019-07-03", "2019-07-04"}
    # as the calibration sees them
    rule = encounters_of(
        found.individuals, found.encounters, found.dates, np.empty((0, 2), dtype=np.int64)
    )
    keys = [
        (individual, encounter or image)
        for individual, encounter, image in zip(
            found.individuals, encounters.tolist(), found.images.image_ids, strict=True
        )
    ]
    assert found.images.image_ids.tolist() == collection.labelled.image_ids.tolist()
    pairs = set(zip(keys, rule.codes.tolist(), strict=True))
    assert len(pairs) == len(set(keys)) == rule.count


def test_names_that_were_merged_are_told_no_more(tmp_path: Path) -> None:
    for number, name in enumerate(("W-1", "w_1", "V-2", "V 2")):
        picture(tmp_path / "whales" / name / f"{number}.png", number, number)
    found = opened(tmp_path)
    (one, other) = (note for note in found.notes if "may be one individual" in note)
    assert "'W-1' (1 photograph) and 'w_1' (1 photograph)" in f"{one} {other}"
    catalogue_changes.change(
        found.workspace, "merge", lambda rows: catalogue_changes.merged(rows, "w_1", "W-1"), "Ann"
    )
    (left,) = (note for note in opened(tmp_path).notes if "may be one individual" in note)
    assert "V-2" in left
    catalogue_changes.undo(found.workspace, "Ann")
    assert len([note for note in opened(tmp_path).notes if "may be one individual" in note]) == 2


def test_a_list_of_photographs_to_identify_says_side_date_and_place(tmp_path: Path) -> None:
    for number in range(2):
        picture(tmp_path / "whales" / f"w_{number}" / "0_left.png", number, 0)
    for number in range(3):
        picture(tmp_path / "card" / "day 1" / f"k_{number}.png", number, number + 1)
    listed = tmp_path / "card" / "season.csv"
    listed.write_text(
        "\ufefffilename;flank;Date taken;site;who\r\n"
        "day 1/k_0.png;L;25/7/2024;Bay;Ann\r\nday 1/k_1.png;right side;3/7/2024;;\r\n"
        "day 1/gone.png;L;;;\r\n;;;;\r\n",
        newline="",
    )
    found = opened(tmp_path, listed)
    assert found.queries.image_ids.tolist() == ["card/day 1/k_0.png", "card/day 1/k_1.png"]
    assert [found.known_of(name).side for name in found.queries.image_ids.tolist()] == [
        *("left", "right")
    ]
    assert found.workspace.queries.read_text().splitlines() == [
        "image,date,place,side,encounter",
        *("card/day 1/k_0.png,2024-07-25,Bay,left,", "card/day 1/k_1.png,2024-07-03,,right,"),
    ]
    (note,) = [note for note in found.notes if "season.csv" in note]
    assert note.startswith("season.csv: left out: line 4: ")
    assert "gone.png" in note
    _, collection = finish(collect(found.workspace, settings.load(found.workspace)))
    assert collection.test.image_ids.tolist() == found.queries.image_ids.tolist()
    # without a list a name says the side
    card = opened(tmp_path, tmp_path / "card")
    assert len(card.queries) == 3
    assert card.workspace.queries.read_text().splitlines()[0] == "image"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("when,side\n1,left\n", "looks like an image"),
        ("image,side\nk.png,left\nk.png,right\n", "'k.png' is on two lines that differ"),
        ("image,side\n", "has no photograph"),
        ("image,side\nx.png,left\n", "has no photograph: left out: line 2"),
    ],
)
def test_a_faulty_list_of_photographs_is_one_sentence(
    tmp_path: Path, text: str, expected: str
) -> None:
    picture(tmp_path / "whales" / "w_0" / "0.png", 0, 0)
    picture(tmp_path / "card" / "k.png", 1, 1)
    (tmp_path / "card" / "list.csv").write_text(text)
    with pytest.raises(KitboxError) as caught:
        opened(tmp_path, tmp_path / "card" / "list.csv")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "work").exists()


def test_photographs_that_are_read_later_have_a_row_of_the_history(tmp_path: Path) -> None:
    draw_catalogue(tmp_path, individuals=2, each=2)
    workspace = opened(tmp_path).workspace
    assert not workspace.catalogue_history.exists()
    picture(tmp_path / "whales" / "w_1" / "late.png", 1, 9)
    opened(tmp_path)
    opened(tmp_path)
    assert [str(one) for one in catalogue_changes.load(workspace)] == [
        "change 1, read 'w_1': 1 photograph"
    ]


def test_decisions_leave_photographs_out_and_names_to_the_catalogue(tmp_path: Path) -> None:
    draw_catalogue(tmp_path, individuals=3)
    card = draw_card(tmp_path)
    before = opened(tmp_path, card)
    header, decided = "decision,subject,value,note\n", before.workspace.decisions
    dropped = ("whales/w_0/0_0.png", "whales/w_1/1_1.png")
    decided.write_text(f"{header}drop,{dropped[0]},,\nwrong,{dropped[1]},,\n")
    # what is left out is still of the catalogue, and no photograph to identify
    found = opened(tmp_path, card, tmp_path / "whales" / "w_2" / "2_0.png")
    left = [image for image in before.images.image_ids.tolist() if image not in dropped]
    assert found.images.image_ids.tolist() == left
    assert found.queries.image_ids.tolist() == before.queries.image_ids.tolist()
    [note] = [note for note in found.notes if "decisions.csv" in note]
    assert note == (
        "left out: 2 photographs of the catalogue by 'drop' and 'wrong' in decisions.csv, such as "
        "'whales/w_0/0_0.png'"
    )
    assert len(catalogue_list.load(found.workspace.catalogue)) == len(before.images)
    decided.write_text(f"{header}merge,w_1,w_2,\nlabel,whales/w_0/0_0.png,w_2,\n")
    found = opened(tmp_path, card)
    assert found.individuals.tolist() == before.individuals.tolist()
    [note] = [note for note in found.notes if "decisions.csv" in note]
    assert note == (
        "decisions.csv has other names than catalogue.csv, which counts: 'kitbox catalogue merge "
        '"w_1" "w_2"\' changes it there; 1 more like it'
    )
    decided.write_text(header + "".join(f"drop,{image},,\n" for image in before.images.image_ids))
    with pytest.raises(KitboxError, match=r"decisions.csv leaves no photograph of the catalogue"):
        opened(tmp_path, card)
