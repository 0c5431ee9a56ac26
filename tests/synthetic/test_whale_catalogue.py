"""The drawn catalogue of whales: its plan, its files, and the truth beside them."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from joblib import parallel_config
from PIL import Image, UnidentifiedImageError

from kitbox.catalogue import catalogue_source, photograph_dates
from kitbox.errors import KitboxError
from kitbox.synthetic import whale_catalogue
from kitbox.synthetic.whale_catalogue import SEASONS, boxes_name, folder_name, plan
from tests.photographs import finish

SIZES = {"individuals": 8, "photographs": 60, "seed": 3}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "demo"
    with pytest.MonkeyPatch.context() as patch, parallel_config(backend="threading"):
        patch.setattr(whale_catalogue, "LONG_SIDE", 200)
        events, found = finish(whale_catalogue.draw(root, **SIZES))
    assert (events[-1].done, events[-1].total) == (60, 60)
    new = {
        season: len(
            {
                who
                for one in plan(3, 8, 60)
                if one.season == season
                for who in one.individuals
                if who >= 8
            }
        )
        for season in SEASONS[:1]
    }
    assert found.new["season-2025"] == new["season-2025"]
    assert found.sentence.startswith("60 photographs of 8 known whales, ")
    return root


def truth(root: Path) -> list[dict[str, str]]:
    with (root / "truth.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_three_fifths_are_the_catalogue_and_a_fifth_is_each_season() -> None:
    planned = plan(0, 24, 240)
    assert Counter(one.season for one in planned) == {"": 144, **dict.fromkeys(SEASONS, 48)}
    assert len({one.path for one in planned}) == 240


def test_a_third_of_the_individuals_was_met_once() -> None:
    counts = Counter(one.individuals[0] for one in plan(0, 24, 240) if not one.season)
    known = [counts[who] for who in range(24)]
    assert known.count(1) == 7
    assert max(known) > 6


@pytest.mark.parametrize("seed", range(5))
def test_new_individuals_of_a_season_are_met_first_in_it(seed: int) -> None:
    planned = plan(seed, 24, 240)
    met = {who for one in planned if not one.season for who in one.individuals}
    first, second = (
        {who for one in planned if one.season == season for who in one.individuals}
        for season in SEASONS
    )
    new = first - met
    assert 3 <= len(new) <= 16
    assert min(new) == 24  # whose name is the next one
    # some of them are met again, and the second season has new ones of its own
    assert second & new
    assert second - met - first
    of_new = sum(one.individuals[0] not in met for one in planned if one.season == SEASONS[0])
    assert 0.05 < of_new / 48 < 0.5


def test_each_season_has_a_broken_file_and_the_first_two_with_two_whales() -> None:
    planned = plan(1, 24, 240)
    assert Counter(one.season for one in planned if one.broken) == dict.fromkeys(SEASONS, 1)
    several = [one for one in planned if len(one.individuals) > 1]
    assert [(one.season, len(set(one.individuals)), one.broken) for one in several] == [
        ("season-2025", 2, False)
    ] * 2


def test_names_of_files_have_the_day_in_a_way_that_is_read() -> None:
    planned = plan(0, 24, 240)
    read = [photograph_dates.in_path(Path(one.path)) for one in planned]
    days = [one.day.isoformat() for one in planned]
    undated = [one.path for one, date in zip(planned, read, strict=True) if not date]
    assert all(date in ("", day) for date, day in zip(read, days, strict=True))
    assert 2 < len(undated) < 20  # two unknown ones, and a few of known whales
    assert not any(path.startswith("season") for path in undated)


def test_the_catalogue_is_read_with_one_whale_in_two_folders(drawn: Path) -> None:
    reading = catalogue_source.read(drawn / "whales")
    assert len(reading.rows) == 36 - 2
    kinds = [finding.kind for finding in reading.findings]
    assert kinds.count("names-alike") == 1
    names = {row.individual for row in reading.rows}
    assert names >= {folder_name(who) for who in range(8)}
    assert len(names) == 9


def test_the_truth_names_the_individual_of_each_animal(drawn: Path) -> None:
    rows = truth(drawn)
    files = {
        path.relative_to(drawn).as_posix()
        for path in drawn.rglob("*")
        if path.suffix.lower() == ".jpg"
    }
    assert len(files) == 60
    assert {row["image"].partition("#")[0] for row in rows} == files
    several = [row["image"] for row in rows if "#" in row["image"]]
    assert [name[-2:] for name in several] == ["#1", "#2"] * 2
    unknown = [row for row in rows if not row["individual"]]
    assert [Path(row["image"]).parent.name for row in unknown] == ["unknown"] * 2


def test_only_broken_files_cannot_be_read(drawn: Path) -> None:
    for row in truth(drawn):
        path = drawn / row["image"].partition("#")[0]
        if row["file"] == "broken":
            with pytest.raises((OSError, UnidentifiedImageError)), Image.open(path) as image:
                image.load()
        else:
            with Image.open(path) as image:
                image.load()


def test_megadetectors_file_has_a_box_for_each_whale_from_left_to_right(drawn: Path) -> None:
    document = json.loads((drawn / boxes_name(SEASONS[0])).read_text())
    images = {each["file"]: each["detections"] for each in document["images"]}
    assert len(images) == 12
    shown = Counter(
        row["image"].partition("#")[0].removeprefix("season-2025/")
        for row in truth(drawn)
        if row["season"] == "season-2025"
    )
    for file, detections in images.items():
        if detections is None:
            continue
        assert len(detections) == shown[file]
        left = [each["bbox"][0] for each in detections]
        assert left == sorted(left)
        assert all(x >= 0 and x + w <= 1.001 for x, _, w, _ in (d["bbox"] for d in detections))
    assert not (drawn / boxes_name(SEASONS[1])).exists()


def test_the_same_numbers_give_the_same_bytes(drawn: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(whale_catalogue, "LONG_SIDE", 200)
    planned = plan(3, 8, 60)
    number = next(number for number, one in enumerate(planned) if len(one.individuals) > 1)
    one = planned[number]
    (tmp_path / one.path).parent.mkdir(parents=True)
    whale_catalogue._draw(tmp_path, one, number, 3)
    assert (tmp_path / one.path).read_bytes() == (drawn / one.path).read_bytes()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"individuals": 7}, "individuals=7 is too small; give 8 or more"),
        ({"photographs": 39}, "photographs=39 is too small for 8 individuals; give 40 or more"),
        ({"seed": -1}, "seed=-1 is too small; give 0 or more"),
    ],
)
def test_numbers_too_small_are_refused(tmp_path: Path, sizes: dict[str, int], message) -> None:
    with pytest.raises(KitboxError) as refusal:
        finish(whale_catalogue.draw(tmp_path / "d", **(SIZES | sizes)))
    assert str(refusal.value) == message
    assert not (tmp_path / "d").exists()


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(KitboxError, match="is not an empty folder; give one, or a name not yet"):
        finish(whale_catalogue.draw(tmp_path, **SIZES))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
