"""Odd photographs, names and places: each is answered or told, and the next run goes on."""

import csv
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kitbox.competition import lists, settings
from kitbox.identification import identified_table
from kitbox.identification.catalogue_workspace import open_catalogue
from kitbox.identification.photograph_answers import Identification, identify
from tests.dirty import save, scene
from tests.identification.photographed_catalogue import broken, draw_catalogue, with_eyes
from tests.identification.test_photograph_answers import OPTIONS
from tests.photographs import finish, picture

# A name as macOS writes it, and letters that a CSV or a shell takes for something else.
NAMES = (
    unicodedata.normalize("NFD", "Süden é.png"),
    "a, b; c.png",
    "🐋 \"quoted\" 'x'.png",
    "#1 & 100%.png",
    " =SUM(A1).png",
)
FORMATS = ("grey.jpg", "cmyk.jpg", "deep.png", "alpha.png", "phone.heic", "bilevel.tif")


def write_formats(folder: Path) -> None:
    """Write a photograph in each of the formats."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    deep = np.asarray(scene(3).convert("L")).astype(np.uint16) * 257
    save(folder / "grey.jpg", scene(1).convert("L"))
    save(folder / "cmyk.jpg", scene(2).convert("CMYK"))
    save(folder / "deep.png", Image.fromarray(deep))
    save(folder / "alpha.png", scene(4).convert("RGBA"))
    scene(5).save(folder / "phone.heic")
    save(folder / "bilevel.tif", scene(6).convert("1"))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Identification]:
    root = tmp_path_factory.mktemp("odd")
    draw_catalogue(root, individuals=3, each=1)
    card = root / "card"
    for number, name in enumerate(NAMES):
        picture(card / "deep" / "down" / name, 0, 90 + number)
    write_formats(card)
    broken(card / "broken.jpg")
    (card / "empty.jpg").touch()
    with_eyes(root / "work")
    return root, identified(root)


def identified(root: Path) -> Identification:
    opened = open_catalogue(root / "whales", [root / "card"], root / "work")
    return finish(identify(opened, OPTIONS))[1]


def test_every_format_and_name_is_answered(odd: tuple[Path, Identification]) -> None:
    _, found = odd
    names = {answer.path.name: answer for answer in found.answers}
    assert set(names) == {*NAMES, *FORMATS}
    for name in NAMES:
        assert names[name].candidates[0].individual == "w_0"
    assert sorted(found.unreadable) == ["card/broken.jpg", "card/empty.jpg"]


def test_odd_names_come_through_the_table_and_the_list(odd: tuple[Path, Identification]) -> None:
    root, found = odd
    with identified_table.save(found).path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(NAMES) + len(FORMATS) + 2
    assert {Path(row["file"]).name for row in rows} == {
        *(*NAMES, *FORMATS),
        *("broken.jpg", "empty.jpg"),
    }
    listed = lists.read(settings.load(found.workspace))
    assert listed.test is not None
    assert {path.name for path in listed.test.paths} >= {*NAMES, *FORMATS}
    assert root in found.workspace.root.parents


def test_a_catalogue_of_one_photograph_each_and_of_one_individual_are_looked_through(
    odd: tuple[Path, Identification],
) -> None:
    _, found = odd
    assert found.catalogue.calibration.model is None
    similarity = [answer.candidates[0].similarity for answer in found.groups["undecided"]]
    assert similarity == sorted(similarity, reverse=True)
    assert len(similarity) == len(NAMES) + len(FORMATS)
