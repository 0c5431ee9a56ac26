"""identified.csv: what people filled in stays when it is written again."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from kitbox.catalogue import catalogue_list
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.embedding.embedder import EmbedOptions
from kitbox.errors import KitboxError
from kitbox.identification import identified_table
from kitbox.identification.catalogue_search import IdentifyOptions
from kitbox.identification.catalogue_workspace import open_catalogue
from kitbox.identification.photograph_answers import (
    Answer,
    CandidateIndividual,
    Identification,
    identify,
)
from tests.identification.photographed_catalogue import draw_card, draw_catalogue, with_eyes
from tests.photographs import finish

Table = list[dict[str, str]]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Identification:
    root = tmp_path_factory.mktemp("season")
    draw_catalogue(root, individuals=2, each=1)
    draw_card(root, known=1, new=0)
    with_eyes(root / "work")
    opened = open_catalogue(root / "whales", [root / "card"], root / "work")
    embed = EmbedOptions(device="cpu", precision="32", workers=0, engine="torch")
    return finish(identify(opened, IdentifyOptions(names=("eyes",), embed=embed)))[1]


def answered(drawn: Identification, **individual_of: str) -> Identification:
    """Return answers that name an individual each, or "new?", of card/a.jpg, card/b.jpg, …"""
    path = drawn.workspace.root / identified_table.FILE
    answers = [
        Answer(
            image=f"card/{name}.jpg",
            path=Path("x.jpg"),
            verdict=individual,
            new_probability=0.5,
            candidates=(
                CandidateIndividual(
                    individual="w_0" if individual == "new?" else individual,
                    similarity=0.5,
                    probability=0.5,
                    photographs=(),
                ),
            ),
        )
        for name, individual in individual_of.items()
    ]
    assert path.parent.is_dir()
    return replace(drawn, answers=tuple(answers))


def table(path: Path) -> Table:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fill_in(path: Path, rows: Table) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=";")  # as Excel does in much of Europe
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def path(drawn: Identification) -> Path:
    file = drawn.workspace.root / identified_table.FILE
    file.unlink(missing_ok=True)
    return file


def test_what_people_filled_in_is_carried_over_by_image(drawn: Identification, path: Path) -> None:
    identified_table.save(answered(drawn, a="w_0", b="w_1", c="w_1"))
    rows = table(path)
    assert {row["confirmed"] for row in rows} == {""}
    rows[0] |= {"confirmed": "yes", "place": "Bay, north"}
    rows[1] |= {"confirmed": "new 1", "place": ""}
    rows[2] |= {"confirmed": "", "place": ""}
    fill_in(path, rows[::-1])
    saved = identified_table.save(answered(drawn, a="w_0", b="w_0", c="w_1", d="w_1"))
    again = {row["image"]: row for row in table(path)}
    assert [row["confirmed"] for row in again.values()] == ["yes", "new 1", "", ""]
    assert [row["place"] for row in again.values()] == ["Bay, north", "", "", ""]
    assert again["card/b.jpg"]["individual"] == "w_0"
    assert saved.notes == ()


@pytest.mark.parametrize(("before", "confirmed"), [("w_1", "w_1"), ("new?", "new")])
def test_a_yes_to_another_individual_than_now_becomes_its_name(
    drawn: Identification, path: Path, before: str, confirmed: str
) -> None:
    identified_table.save(answered(drawn, a=before))
    fill_in(path, [row | {"confirmed": "yes"} for row in table(path)])
    identified_table.save(answered(drawn, a="w_0"))
    assert [(row["individual"], row["confirmed"]) for row in table(path)] == [("w_0", confirmed)]


def test_filled_rows_of_earlier_runs_stay_until_the_catalogue_has_them(
    drawn: Identification, path: Path
) -> None:
    identified_table.save(answered(drawn, a="w_0", b="w_1", c="w_1"))
    rows = table(path)
    rows[0]["confirmed"], rows[1]["confirmed"] = "w_0", "no"
    fill_in(path, rows)
    saved = identified_table.save(answered(drawn, d="w_0"))
    assert [(row["image"], row["confirmed"]) for row in table(path)] == [
        ("card/d.jpg", ""),
        ("card/a.jpg", "w_0"),
        ("card/b.jpg", "no"),
    ]
    assert saved.notes == (
        "kept in identified.csv: 2 filled-in rows of photographs that are not in this run, such as "
        "'card/a.jpg'",
    )
    rows_before = catalogue_list.load(drawn.workspace.catalogue)
    added = catalogue_list.CatalogueRow("card/a.jpg", "w_0")
    catalogue_list.save(drawn.workspace.catalogue, [*rows_before, added])
    saved = identified_table.save(answered(drawn, d="w_0"))
    catalogue_list.save(drawn.workspace.catalogue, rows_before)
    assert [row["image"] for row in table(path)] == ["card/d.jpg", "card/b.jpg"]
    assert saved.notes[1] == (
        "no longer in identified.csv: 1 filled-in row of photographs that the catalogue has now"
    )


def test_a_table_that_cannot_be_read_or_contradicts_itself_stays(
    drawn: Identification, path: Path
) -> None:
    twice = "image,confirmed\ncard/a.jpg,w_0\ncard/a.jpg,w_1\n"
    for text, message in (
        (twice, r"line 3: 'card/a.jpg' is confirmed as 'w_0' and as 'w_1'; correct one"),
        ("photo,confirmed\ncard/a.jpg,w_0\n", "no column 'image' among photo, confirmed"),
    ):
        path.write_text(text)
        with pytest.raises(KitboxError, match=message):
            identified_table.save(answered(drawn, a="w_0"))
        assert path.read_text() == text


def test_what_a_list_or_a_person_says_of_a_photograph_is_in_the_table(
    drawn: Identification, path: Path
) -> None:
    opened = drawn.catalogue.opened
    row = CatalogueRow("card/a.jpg", "", "2024-05-01", "Bay", "left")
    searched = replace(drawn.catalogue, opened=replace(opened, listed={"card/a.jpg": row}))
    found = replace(answered(drawn, a="w_0", b_right="w_0"), catalogue=searched)
    identified_table.save(found)
    rows = table(path)
    given = ("date", "place", "side", "encounter")
    assert [tuple(one[name] for name in given) for one in rows[:2]] == [
        *(("2024-05-01", "Bay", "left", ""), ("", "", "right", "")),
    ]
    rows[0] |= {"place": "Cape", "encounter": "E7"}
    fill_in(path, rows)
    identified_table.save(found)
    assert [tuple(one[name] for name in given) for one in table(path)[:2]] == [
        *(("2024-05-01", "Cape", "left", "E7"), ("", "", "right", "")),
    ]
    # what nobody confirmed does not stay of another run
    assert len(table(path)) == 2
