"""Presets: each reads the files of its competition, from a tiny synthetic one."""

import csv
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kitbox.competition import lists, presets, protocol
from kitbox.competition.lists import ListedImages
from kitbox.competition.settings import Competition
from kitbox.records import ImageSet
from kitbox.synthetic.layouts import LAYOUTS, arrange
from kitbox.workspace import Workspace
from tests.photographs import competition_on_disk

INDIVIDUALS = 10
OWN = {"train_list": "labels.csv", "test_list": "queries.csv"}  # of the layout csv
Row = dict[str, str]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Competition]]:
    """Draw one competition, lay it out in every layout, and create a workspace for each preset."""
    root = tmp_path_factory.mktemp("drawn")
    competition_on_disk(root, individuals=INDIVIDUALS, tests=2 * INDIVIDUALS + 2)
    rows = ["Image,Id,individual"]
    for number in range(2 * INDIVIDUALS + 2):
        who = number % (INDIVIDUALS + 1)
        label = f"w_{who}" if who < INDIVIDUALS else "new_whale"
        rows.append(f"t_{number}.png,{label},w_{who}")
    (root / "truth.csv").write_text("\n".join(rows) + "\n")
    places = {}
    for layout in LAYOUTS:
        place = tmp_path_factory.mktemp(layout)
        shutil.copytree(root / "data", place / "data")
        shutil.copy(root / "truth.csv", place)
        arrange(place / "data", place / "truth.csv", layout)
        given = OWN if layout == "csv" else {}
        competition = presets.init(Workspace(place / "work"), layout, place / "data", columns=given)
        places[layout] = (place / "data", competition)
    return places


def rows(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def suffixed(data: Path, folder: str, image_id: str) -> Path:
    """Return the file of a landmark: in folders of its first three digits."""
    [found] = (data / folder / image_id[0] / image_id[1] / image_id[2]).glob(f"{image_id}.*")
    return found


def folders(data: Path) -> list[tuple[str, str, Path]]:
    """Return images whose folder is their label."""
    files = sorted(file for file in data.glob("*/*.png") if file.parent.name != "test")
    return [(f"{file.parent.name}/{file.name}", file.parent.name, file) for file in files]


def listed_in(
    name: str, image: str, label: str, file: Callable[[Path, Row], Path]
) -> Callable[[Path], list[tuple[str, str, Path]]]:
    return lambda data: [(row[image], row[label], file(data, row)) for row in rows(data / name)]


def clef(split: str) -> Callable[[Path], list[tuple[str, str, Path]]]:
    return lambda data: [
        (row["image_id"], row["identity"], data / row["path"])
        for row in rows(data / "metadata.csv")
        if row["split"] == split
    ]


def landmarks(data: Path) -> list[tuple[str, str, Path]]:
    return [
        (row["id"], row["landmark_id"], suffixed(data, "train", row["id"]))
        for row in rows(data / "train.csv")
    ]


# preset → (image id, label, file) of every labelled image, in the order of its list
LABELLED: dict[str, Callable[[Path], list[tuple[str, str, Path]]]] = {
    "humpback": listed_in("train.csv", "Image", "Id", lambda d, r: d / "train" / r["Image"]),
    "gdsc2020": lambda data: folders(data / "train"),
    "folder": folders,
    "csv": listed_in("labels.csv", "file", "who", lambda d, r: d / "photos" / r["file"]),
    "whale-do": listed_in("metadata.csv", "image_id", "whale_id", lambda d, r: d / r["path"]),
    "happywhale": listed_in(
        "train.csv", "image", "individual_id", lambda d, r: d / "train_images" / r["image"]
    ),
    "hotel-id-2021": listed_in(
        "train.csv",
        "image",
        "hotel_id",
        lambda d, r: d / "train_images" / r["chain"] / r["image"],
    ),
    "hotel-id-2022": lambda data: folders(data / "train_images"),
    "landmark-retrieval": landmarks,
    "landmark-recognition": landmarks,
    "shopee": listed_in(
        "train.csv", "posting_id", "label_group", lambda d, r: d / "train_images" / r["image"]
    ),
    "animalclef-2025": clef("database"),
    "animalclef-2026": clef("train"),
    "jaguar-2026": listed_in(
        "train.csv", "filename", "ground_truth", lambda d, r: d / "train/train" / r["filename"]
    ),
}


def sampled(column: str, file: Callable[[Path, str], Path]) -> Callable[[Path], list[Path]]:
    return lambda data: [file(data, row[column]) for row in rows(data / "sample_submission.csv")]


# preset → the files of the queries, in the order that the submission has them
QUERIES: dict[str, Callable[[Path], list[Path]]] = {
    "humpback": sampled("Image", lambda data, name: data / "test" / name),
    "gdsc2020": lambda data: sorted((data / "test").iterdir()),
    "folder": lambda data: sorted((data / "test").iterdir()),
    "csv": lambda data: [data / "photos" / row["file"] for row in rows(data / "queries.csv")],
    "whale-do": lambda data: [data / row["path"] for row in rows(data / "test_metadata.csv")],
    "happywhale": sampled("image", lambda data, name: data / "test_images" / name),
    "hotel-id-2021": sampled("image", lambda data, name: data / "test_images" / name),
    "hotel-id-2022": sampled("image_id", lambda data, name: data / "test_images" / name),
    "landmark-retrieval": sampled("id", lambda data, name: suffixed(data, "test", name)),
    "landmark-recognition": sampled("id", lambda data, name: suffixed(data, "test", name)),
    "shopee": lambda data: [
        data
        / "test_images"
        / {row["posting_id"]: row for row in rows(data / "test.csv")}[name]["image"]
        for name in [row["posting_id"] for row in rows(data / "sample_submission.csv")]
    ],
    "animalclef-2025": sampled("image_id", lambda data, name: by_id(data, name)),
    "animalclef-2026": sampled("image_id", lambda data, name: by_id(data, name)),
    "jaguar-2026": lambda data: sorted((data / "test/test").iterdir()),
}


def by_id(data: Path, image_id: str) -> Path:
    return {row["image_id"]: data / row["path"] for row in rows(data / "metadata.csv")}[image_id]


def read(
    prepared: dict[str, tuple[Path, Competition]], name: str
) -> tuple[Path, Competition, ListedImages]:
    data, competition = prepared[name]
    return data, competition, lists.read(competition)


every_preset = pytest.mark.parametrize("name", presets.names())


def test_every_preset_has_a_layout() -> None:
    assert presets.names() == sorted(LAYOUTS) == sorted(LABELLED) == sorted(QUERIES)


@every_preset
def test_a_preset_reads_the_labelled_images(
    prepared: dict[str, tuple[Path, Competition]], name: str
) -> None:
    data, _, listed = read(prepared, name)
    found = listed.labelled
    assert found.labels is not None
    triples = list(zip(found.image_ids.tolist(), found.labels.tolist(), found.paths, strict=True))
    assert triples == LABELLED[name](data.resolve())
    assert len(triples) > INDIVIDUALS
    assert listed.findings == ()


@every_preset
def test_the_queries_of_a_preset_keep_the_order_of_the_submission(
    prepared: dict[str, tuple[Path, Competition]], name: str
) -> None:
    data, competition, listed = read(prepared, name)
    assert listed.test is not None
    assert list(listed.test.paths) == QUERIES[name](data.resolve())
    found = protocol.leaderboard_searches(listed.test, listed.labelled, listed.index, competition)
    if competition.submission.sample is not None and competition.task.answers != "pairs":
        first = [next(iter(row.values())) for row in rows(data / "sample_submission.csv")]
        assert protocol.query_ids(found, listed.test).tolist() == first


@every_preset
def test_every_query_of_a_preset_has_a_gallery(
    prepared: dict[str, tuple[Path, Competition]], name: str
) -> None:
    _, competition, listed = read(prepared, name)
    assert listed.test is not None
    found = protocol.leaderboard_searches(listed.test, listed.labelled, listed.index, competition)
    assert all(len(search.gallery_images) > 1 for search in found)
    sets = {"train": listed.labelled, "test": listed.test, "index": listed.index}
    if competition.task.scenarios is None and not competition.task.within_group:
        searched = [sets[part] for part in competition.task.gallery.split("+")]
        ids = [image for part in searched if part is not None for image in part.image_ids.tolist()]
        assert found[0].gallery_images.tolist() == ids


@every_preset
def test_a_summary_describes_the_task_of_a_preset(
    prepared: dict[str, tuple[Path, Competition]], name: str
) -> None:
    summary, competition = presets.summary(name), prepared[name][1]
    assert summary["metric"] == competition.metric
    assert (summary["answers"], summary["k"]) == (competition.task.answers, competition.task.k)
    assert summary["gallery"] == competition.task.gallery
    assert summary["about"] == competition.about


def groups(images: ImageSet | None) -> list[str]:
    assert images is not None
    assert images.groups is not None
    return [str(group) for group in images.groups]


def test_misspelt_species_of_happywhale_are_corrected(
    prepared: dict[str, tuple[Path, Competition]],
) -> None:
    data, _, listed = read(prepared, "happywhale")
    slips = {"kiler_whale": "killer_whale", "bottlenose_dolpin": "bottlenose_dolphin"}
    written = [row["species"] for row in rows(data / "train.csv")]
    assert set(written) & set(slips)
    assert groups(listed.labelled) == [slips.get(species, species) for species in written]
    assert listed.test is not None
    assert listed.test.groups is None


@pytest.mark.parametrize("name", ["animalclef-2025", "animalclef-2026"])
def test_animalclef_searches_each_data_set_separately(
    prepared: dict[str, tuple[Path, Competition]], name: str
) -> None:
    data, competition, listed = read(prepared, name)
    dataset = {row["image_id"]: row["dataset"] for row in rows(data / "metadata.csv")}
    assert listed.test is not None
    for images in (listed.labelled, listed.test):
        assert groups(images) == [dataset[image] for image in images.image_ids.tolist()]
    for search in protocol.leaderboard_searches(listed.test, listed.labelled, None, competition):
        both = [*search.query_ids.tolist(), *search.gallery_images.tolist()]
        assert {dataset[image] for image in both} == {search.name}


@pytest.mark.parametrize(
    ("name", "column"), [("animalclef-2025", "date"), ("whale-do", "timestamp")]
)
def test_times_are_read(
    prepared: dict[str, tuple[Path, Competition]], name: str, column: str
) -> None:
    data, _, listed = read(prepared, name)
    seconds = {
        row["image_id"]: datetime.fromisoformat(row[column]).replace(tzinfo=UTC).timestamp()
        for row in rows(data / "metadata.csv")
    }
    assert listed.labelled.times is not None
    assert listed.labelled.times.tolist() == [
        seconds[i] for i in listed.labelled.image_ids.tolist()
    ]


def test_whale_do_has_encounters_of_labelled_images_only(
    prepared: dict[str, tuple[Path, Competition]],
) -> None:
    data, _, listed = read(prepared, "whale-do")
    assert listed.labelled.encounters is not None
    assert listed.labelled.encounters.tolist() == [
        row["encounter_id"] for row in rows(data / "metadata.csv")
    ]
    assert listed.test is not None
    assert listed.test.encounters is None


def test_whale_do_searches_each_scenario_in_its_database(
    prepared: dict[str, tuple[Path, Competition]],
) -> None:
    data, competition, listed = read(prepared, "whale-do")
    assert listed.test is not None
    found = protocol.leaderboard_searches(listed.test, listed.labelled, None, competition)
    for search, row in zip(found, rows(data / "query_scenarios.csv"), strict=True):
        queries, database = rows(data / row["queries_path"]), rows(data / row["database_path"])
        assert search.name == row["scenario_id"]
        assert search.query_ids.tolist() == [query["query_id"] for query in queries]
        assert search.query_images.tolist() == [query["query_image_id"] for query in queries]
        assert search.gallery_images.tolist() == [one["database_image_id"] for one in database]


def test_whale_do_without_test_images_uses_labelled_ones(
    prepared: dict[str, tuple[Path, Competition]], tmp_path: Path
) -> None:
    source, _ = prepared["whale-do"]
    data = tmp_path / "data"
    shutil.copytree(source, data)
    ids = [row["image_id"] for row in rows(data / "metadata.csv")]
    for name, text in {
        "test_metadata.csv": "",
        "query_scenarios.csv": "scenario_id,queries_path,database_path\n"
        "one,/organisers/data/queries/one.csv,/organisers/data/databases/one.csv\n",
        "queries/one.csv": f"query_id,query_image_id\none-q,{ids[0]}\n",
        "databases/one.csv": "\n".join(["database_image_id", *ids]) + "\n",
    }.items():
        (data / name).write_text(text)
    (data / "test_metadata.csv").unlink()
    competition = presets.init(Workspace(tmp_path / "work"), "whale-do", data)
    listed = lists.read(competition)
    assert listed.test is not None
    assert listed.test.image_ids.tolist() == ids
    [search] = protocol.leaderboard_searches(listed.test, listed.labelled, None, competition)
    assert (search.query_ids.tolist(), search.gallery_images.tolist()) == (["one-q"], ids)


def test_images_of_a_landmark_index_have_names_without_suffix(
    prepared: dict[str, tuple[Path, Competition]],
) -> None:
    data, _, listed = read(prepared, "landmark-retrieval")
    assert listed.index is not None
    files = sorted(path for path in (data / "index").rglob("*.png"))
    assert listed.index.image_ids.tolist() == [file.stem for file in files]
    assert listed.index.labels is None


def test_boxes_are_read_if_present(
    prepared: dict[str, tuple[Path, Competition]], tmp_path: Path
) -> None:
    source, _ = prepared["happywhale"]
    shutil.copytree(source, tmp_path / "data")
    image = rows(source / "train.csv")[0]["image"]
    (tmp_path / "data/boxes.csv").write_text(f"image,x0,y0,x1,y1\n{image},1,2,30,40\n")
    listed = lists.read(presets.init(Workspace(tmp_path / "w"), "happywhale", tmp_path / "data"))
    assert listed.labelled.boxes is not None
    assert listed.labelled.boxes[0].tolist() == [1, 2, 30, 40]
    assert listed.test is not None
    assert listed.test.boxes is None
