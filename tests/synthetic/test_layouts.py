"""Layouts: every layout has the files and lists of its competition, and a truth that fits."""

import csv
import hashlib
import shutil
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitbox.competition import lists
from kitbox.competition.presets import init
from kitbox.errors import KitboxError
from kitbox.synthetic import animal_layouts, catalogue
from kitbox.synthetic.catalogue import Photograph
from kitbox.synthetic.layouts import KEEP_UNKNOWN, LAYOUTS, arrange
from kitbox.synthetic.whale_competition import WEB_PAGE
from kitbox.workspace import Workspace
from tests.photographs import picture

INDIVIDUALS, EACH = 14, 4
UNKNOWN = {  # the label of a query whose individual is not in train
    "humpback": "new_whale",
    "gdsc2020": "-1",
    "happywhale": "new_individual",
    "landmark-recognition": "",
    "animalclef-2025": "new_individual",
}
HEADERS = {
    "humpback": {
        "train.csv": "Image,Id",
        "sample_submission.csv": "Image,Id",
        "boxes.csv": "image,x0,y0,x1,y1",
    },
    "gdsc2020": {"boxes.csv": "image,x0,y0,x1,y1"},
    "folder": {},
    "csv": {"labels.csv": "file,who", "queries.csv": "file"},
    "whale-do": {
        "metadata.csv": (
            "image_id,path,height,width,viewpoint,date,timestamp,whale_id,encounter_id"
        ),
        "test_metadata.csv": "image_id,path,height,width,viewpoint,date,timestamp",
        "query_scenarios.csv": "scenario_id,queries_path,database_path",
        "queries/scenario01.csv": "query_id,query_image_id",
        "queries/scenario02.csv": "query_id,query_image_id",
        "databases/scenario01.csv": "database_image_id",
        "databases/scenario02.csv": "database_image_id",
    },
    "happywhale": {
        "train.csv": "image,species,individual_id",
        "sample_submission.csv": "image,predictions",
    },
    "hotel-id-2021": {
        "train.csv": "image,chain,hotel_id,timestamp",
        "sample_submission.csv": "image,hotel_id",
    },
    "hotel-id-2022": {"sample_submission.csv": "image_id,hotel_id"},
    "landmark-retrieval": {"train.csv": "id,landmark_id", "sample_submission.csv": "id,images"},
    "landmark-recognition": {
        "train.csv": "id,landmark_id",
        "sample_submission.csv": "id,landmarks",
    },
    "shopee": {
        "train.csv": "posting_id,image,image_phash,title,label_group",
        "test.csv": "posting_id,image,image_phash,title",
        "sample_submission.csv": "posting_id,matches",
    },
    "animalclef-2025": {
        "metadata.csv": "image_id,identity,path,date,orientation,species,split,dataset",
        "sample_submission.csv": "image_id,identity",
    },
    "animalclef-2026": {
        "metadata.csv": "image_id,identity,path,date,orientation,species,split,dataset",
        "sample_submission.csv": "image_id,cluster",
    },
    "jaguar-2026": {
        "train.csv": "filename,ground_truth",
        "test.csv": "row_id,query_image,gallery_image",
        "sample_submission.csv": "row_id,similarity",
    },
}


def write_competition(root: Path) -> Path:
    """Write a tiny competition in the humpback layout: i_0.png to i_3.png show w_i, and so on.

    It has two test photographs of every whale and of two unknown ones, and one of a third unknown
    whale. Train also has two of unknown whales, one of w_single, and three broken files.
    """
    data = root / "data"
    train = {f"{i}_{n}.png": f"w_{i}" for i in range(INDIVIDUALS) for n in range(EACH)}
    train |= {"single.png": "w_single", "unknown_0.png": "new_whale", "unknown_1.png": "new_whale"}
    known = {f"t{i}_{n}.png": f"w_{i}" for i in range(INDIVIDUALS) for n in range(2)}
    unknown = {f"u{i}.png": f"u_{i // 2}" for i in range(5)}
    for at, name in enumerate(train):
        picture(data / "train" / name, at, 0, (12, 8))
    for at, name in enumerate(known | unknown):
        picture(data / "test" / name, at, 1, (12, 8))
    (data / "train" / "0_1.png").write_bytes((data / "train" / "0_1.png").read_bytes()[:60])
    (data / "train" / "1_1.png").write_bytes(b"")
    (data / "train" / "2_1.png").write_bytes(WEB_PAGE)
    catalogue.write_list(data / "train.csv", ("Image", "Id"), train.items())
    sample = [(name, "new_whale w_0 w_1 w_2 w_3") for name in known | unknown]
    catalogue.write_list(data / "sample_submission.csv", ("Image", "Id"), sample)
    boxes = [(name, 1, 1, 9, 7) for name in train | known | unknown]
    catalogue.write_list(data / "boxes.csv", ("image", "x0", "y0", "x1", "y1"), boxes)
    truth = [(name, who, who) for name, who in known.items()]
    truth += [(name, "new_whale", who) for name, who in unknown.items()]
    catalogue.write_list(root / "truth.csv", ("Image", "Id", "individual"), truth)
    return data


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_competition(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def arranged(original: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    places = {}
    for layout in LAYOUTS:
        root = tmp_path_factory.mktemp(layout)
        shutil.copytree(original.parent, root, dirs_exist_ok=True)
        arrange(root / "data", root / "truth.csv", layout)
        places[layout] = root / "data"
    return places


every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def truth(data: Path) -> list[dict[str, str]]:
    return rows(data.parent / "truth.csv")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pictures(data: Path) -> list[Path]:
    return sorted(data.rglob("*.png"))


def column(path: Path, name: str) -> list[str]:
    return [row[name] for row in rows(path)]


def in_three_folders(folder: Path, image_id: str) -> Path:
    return folder.joinpath(*image_id[:3], f"{image_id}.png")


def labelled(layout: str, data: Path) -> list[tuple[Path, str]]:
    """Return the file and the label of every labelled photograph of a layout."""
    if layout == "humpback":
        return [(data / "train" / row["Image"], row["Id"]) for row in rows(data / "train.csv")]
    if layout in ("gdsc2020", "folder", "hotel-id-2022"):
        folder = {"gdsc2020": "train", "folder": ".", "hotel-id-2022": "train_images"}[layout]
        found = [(path, path.parent.name) for path in pictures(data / folder)]
        return [(path, label) for path, label in found if label != "test"]
    if layout == "csv":
        return [(data / "photos" / row["file"], row["who"]) for row in rows(data / "labels.csv")]
    if layout == "whale-do":
        return [(data / row["path"], row["whale_id"]) for row in rows(data / "metadata.csv")]
    if layout.startswith("animalclef"):
        listed = rows(data / "metadata.csv")
        return [(data / row["path"], row["identity"]) for row in listed if row["identity"]]
    train = rows(data / "train.csv")
    if layout == "hotel-id-2021":
        images = data / "train_images"
        return [(images / row["chain"] / row["image"], row["hotel_id"]) for row in train]
    if layout.startswith("landmark"):
        folder = data / "train"
        return [(in_three_folders(folder, row["id"]), row["landmark_id"]) for row in train]
    if layout == "jaguar-2026":
        return [(data / "train/train" / row["filename"], row["ground_truth"]) for row in train]
    label = {"happywhale": "individual_id", "shopee": "label_group"}[layout]
    return [(data / "train_images" / row["image"], row[label]) for row in train]


def hidden(layout: str, data: Path) -> dict[str, Path]:
    """Return the files whose labels are hidden from competitors, by image id."""
    if layout in ("humpback", "gdsc2020", "folder"):
        return {path.name: path for path in pictures(data / "test")}
    if layout == "jaguar-2026":
        return {path.name: path for path in pictures(data / "test/test")}
    if layout == "csv":
        return {name: data / "photos" / name for name in column(data / "queries.csv", "file")}
    if layout == "whale-do":
        return {row["image_id"]: data / row["path"] for row in rows(data / "test_metadata.csv")}
    if layout.startswith("animalclef"):
        listed = rows(data / "metadata.csv")
        return {row["image_id"]: data / row["path"] for row in listed if not row["identity"]}
    if layout.startswith("landmark"):
        deep = [*pictures(data / "test"), *pictures(data / "index")]
        return {path.stem: in_three_folders(path.parents[3], path.stem) for path in deep}
    if layout == "shopee":
        return {
            row["posting_id"]: data / "test_images" / row["image"]
            for row in rows(data / "test.csv")
        }
    return {path.name: path for path in pictures(data / "test_images")}


def queries(layout: str, data: Path) -> list[str]:
    if layout in ("gdsc2020", "folder", "csv"):
        return sorted(hidden(layout, data))
    if layout == "whale-do":
        names = [row["queries_path"] for row in rows(data / "query_scenarios.csv")]
        return [image_id for name in names for image_id in column(data / name, "query_image_id")]
    if layout == "jaguar-2026":
        return sorted(set(column(data / "test.csv", "query_image")))
    return [next(iter(row.values())) for row in rows(data / "sample_submission.csv")]


@pytest.fixture(scope="module")
def shown(original: Path) -> dict[str, str]:
    """Return digest → individual of every picture."""
    individual_of = {row["Image"]: row["Id"] for row in rows(original / "train.csv")}
    individual_of |= {
        row["Image"]: row["individual"] for row in rows(original.parent / "truth.csv")
    }
    return {digest(path): individual_of[path.name] for path in pictures(original)}


def test_every_layout_is_tested():
    assert list(HEADERS) == list(LAYOUTS)


@every_layout
def test_the_lists_have_exactly_these_headers(arranged, layout):
    data = arranged[layout]
    found = {
        path.relative_to(data).as_posix(): path.read_text().splitlines()[0]
        for path in data.rglob("*.csv")
    }
    assert found == HEADERS[layout]


@every_layout
def test_the_lists_name_every_file_and_no_other(arranged, layout):
    data = arranged[layout]
    listed = [path for path, _ in labelled(layout, data)] + list(hidden(layout, data).values())
    assert sorted(path.resolve() for path in listed) == pictures(data.resolve())


@every_layout
def test_a_layout_loses_only_photographs_that_it_has_no_place_for(
    arranged, original, shown, layout
):
    lost = Counter(map(digest, pictures(original))) - Counter(
        map(digest, pictures(arranged[layout]))
    )
    expected = [] if layout in KEEP_UNKNOWN else ["new_whale"] * 2
    closed = layout.startswith("hotel") or layout == "jaguar-2026"
    expected += ["u_0", "u_0", "u_1", "u_1", "u_2"] if closed else []
    assert sorted(shown[one] for one in lost.elements()) == sorted(expected)
    assert not Counter(map(digest, pictures(arranged[layout]))) - Counter(
        map(digest, pictures(original))
    )


@every_layout
def test_the_truth_has_each_hidden_photograph_once_and_every_query(arranged, layout):
    images = [row["image"] for row in truth(arranged[layout])]
    assert sorted(images) == sorted(hidden(layout, arranged[layout]))
    query_ids = queries(layout, arranged[layout])
    assert query_ids
    assert set(query_ids) <= set(images)


@every_layout
def test_the_truth_names_the_individual_that_was_drawn(arranged, shown, layout):
    header = (arranged[layout].parent / "truth.csv").read_text().splitlines()[0]
    assert header == "image,label,individual,group"
    files = hidden(layout, arranged[layout])
    for row in truth(arranged[layout]):
        assert row["individual"] == shown[digest(files[row["image"]])]


@every_layout
def test_an_individual_has_one_label_and_one_group_in_train_and_truth(arranged, shown, layout):
    data = arranged[layout]
    label_of, group_of = {}, {}
    for path, label in labelled(layout, data):
        assert label_of.setdefault(shown[digest(path)], label) == label
    known = set(label_of)
    for row in truth(data):
        assert group_of.setdefault(row["individual"], row["group"]) == row["group"]
        expected = label_of.setdefault(row["individual"], row["label"])
        if layout == "animalclef-2026":  # clusters have no names, identities in train do
            assert expected in (row["label"], f"{row['group']}_{row['label']}")
        elif row["individual"] not in known and layout in UNKNOWN:
            assert row["label"] == UNKNOWN[layout]
        else:
            assert row["label"] == expected
            assert row["label"] not in ("", "-1", "new_whale", "new_individual")
    apart = [label for who, label in label_of.items() if who in known]
    assert len(set(apart)) == len(apart)


@every_layout
def test_broken_files_stay_broken_and_labelled(arranged, layout):
    broken = [
        path
        for path, _ in labelled(layout, arranged[layout])
        if not Photograph(path, "").is_complete
    ]
    assert sorted(path.stat().st_size for path in broken) == sorted([0, 60, len(WEB_PAGE)])


@every_layout
def test_the_same_drawing_gives_the_same_files_anywhere(arranged, original, tmp_path, layout):
    shutil.copytree(original.parent, tmp_path / "again")
    arrange(tmp_path / "again" / "data", tmp_path / "again" / "truth.csv", layout)

    def tree(root: Path) -> dict[str, str]:
        files = [path for path in root.rglob("*") if path.is_file()]
        return {path.relative_to(root).as_posix(): digest(path) for path in files}

    assert tree(tmp_path / "again") == tree(arranged[layout].parent)


@every_layout
def test_no_empty_folder_remains(arranged, layout):
    assert all(any(path.iterdir()) for path in arranged[layout].rglob("*") if path.is_dir())


def test_the_humpback_layout_changes_only_the_truth(arranged, original):
    files = [path.relative_to(original) for path in original.rglob("*") if path.is_file()]
    for path in files:
        assert digest(original / path) == digest(arranged["humpback"] / path)


def test_the_boxes_of_gdsc2020_are_found_by_the_preset(arranged, tmp_path):
    listed = lists.read(init(Workspace(tmp_path), "gdsc2020", arranged["gdsc2020"]))
    assert listed.test is not None
    for images in (listed.labelled, listed.test):
        assert images.boxes is not None
        assert images.boxes.tolist() == [[1, 1, 9, 7]] * len(images.image_ids)


def test_gdsc2020_has_a_folder_for_photographs_of_unknown_whales(arranged):
    assert len(pictures(arranged["gdsc2020"] / "train" / "-1")) == 2


def test_most_queries_of_whale_do_have_a_match_and_scenario_2_does_not_search_its_queries(arranged):
    data = arranged["whale-do"]
    whale = {row["image"]: row["individual"] for row in truth(data)}
    for row in rows(data / "query_scenarios.csv"):
        query_ids = column(data / row["queries_path"], "query_image_id")
        searched = column(data / row["database_path"], "database_image_id")
        matched = [
            query
            for query in query_ids
            if whale[query] in {whale[x] for x in searched if x != query}
        ]
        assert len(matched) > len(query_ids) / 2
        if row["scenario_id"] == "scenario01":
            assert sorted(searched) == sorted(whale)
        else:
            assert not set(query_ids) & set(searched)
        assert column(data / row["queries_path"], "query_id") == [
            f"{row['scenario_id']}-{query}" for query in query_ids
        ]


def test_whale_do_lists_size_and_time_and_a_web_page_has_no_size(arranged):
    listed = rows(arranged["whale-do"] / "metadata.csv")
    sizes = Counter((row["height"], row["width"]) for row in listed)
    assert sizes == {("8", "12"): len(listed) - 2, ("0", "0"): 2}
    for row in listed:
        assert datetime.fromisoformat(row["timestamp"]).date().isoformat() == row["date"]
        assert row["encounter_id"].startswith(f"{row['whale_id']}-")
        assert row["path"] == f"images/{row['image_id']}.png"


@settings(max_examples=50)
@given(st.integers(1, 30), st.text(min_size=1, max_size=5))
def test_an_encounter_has_one_to_three_photographs_within_minutes(count, who):
    met = animal_layouts._encounters(
        who, [Photograph(Path(f"{at}.jpg"), who) for at in range(count)]
    )
    assert len(met) == count
    sizes = Counter(encounter for encounter, _ in met)
    assert sorted(sizes) == list(range(len(sizes)))
    assert max(sizes.values()) <= 3
    for encounter in sizes:
        times = [time for at, time in met if at == encounter]
        assert times == sorted(set(times))
        assert (times[-1] - times[0]).total_seconds() < 120


@settings(max_examples=50)
@given(st.lists(st.text(min_size=1, max_size=5)))
def test_every_name_has_its_own_number_in_any_order(names):
    numbers = catalogue.number_names(names)
    assert sorted(numbers.values()) == list(range(1, len(set(names)) + 1))
    assert catalogue.number_names(reversed(names)) == numbers


def test_happywhale_misspells_some_species_in_train_and_none_in_the_truth(arranged):
    data = arranged["happywhale"]
    found = set(column(data / "train.csv", "species"))
    right = {row["group"] for row in truth(data)}
    assert len(right) == 4
    assert found - right == {"bottlenose_dolpin", "kiler_whale"}
    assert right <= found
    for answer in column(data / "sample_submission.csv", "predictions"):
        assert len(set(answer.split())) == 5
        assert answer.endswith("new_individual")


@pytest.mark.parametrize("layout", ["hotel-id-2021", "hotel-id-2022"])
def test_every_queried_hotel_is_in_train_and_labels_are_whole_numbers(arranged, layout):
    known = {int(label) for _, label in labelled(layout, arranged[layout])}
    assert {int(row["label"]) for row in truth(arranged[layout])} <= known
    for answer in column(arranged[layout] / "sample_submission.csv", "hotel_id"):
        assert {int(label) for label in answer.split()} <= known


def test_the_landmark_index_has_queried_and_unqueried_landmarks(arranged):
    data = arranged["landmark-retrieval"]
    who = {row["image"]: row["individual"] for row in truth(data)}
    query_ids = {who[path.stem] for path in pictures(data / "test")}
    index = {who[path.stem] for path in pictures(data / "index")}
    train = {label for _, label in labelled("landmark-retrieval", data)}
    labels = {row["label"] for row in truth(data)}
    assert index & query_ids
    assert index - query_ids
    assert labels & train
    assert labels - train
    assert all(len(path.stem) == 16 and int(path.stem, 16) for path in pictures(data))
    for answer in column(data / "sample_submission.csv", "images"):
        assert {who[image_id] for image_id in answer.split()} <= index


def test_shopee_moves_whole_groups_of_two_or_more_to_test(arranged):
    data = arranged["shopee"]
    sizes = Counter(row["label"] for row in truth(data))
    assert min(sizes.values()) >= 2
    assert not set(sizes) & set(column(data / "train.csv", "label_group"))
    assert {"u_0", "u_1"} < {row["individual"] for row in truth(data)}
    for row in rows(data / "sample_submission.csv"):
        assert row["matches"] == row["posting_id"]


@pytest.mark.parametrize(("count", "is_queried"), [(44, True), (45, False)])
def test_shopee_has_queries_of_groups_of_up_to_fifty(original, tmp_path, count, is_queried):
    shutil.copytree(original.parent, tmp_path, dirs_exist_ok=True)
    data = tmp_path / "data"
    more = [f"more{at}.png" for at in range(count)]  # besides 4 + 2 of w_3
    for name in more:
        (data / "test" / name).write_bytes(catalogue.LAST_BYTES[0])
    with (data / "sample_submission.csv").open("a") as file:
        file.writelines(f"{name},new_whale\n" for name in more)
    with (tmp_path / "truth.csv").open("a") as file:
        file.writelines(f"{name},w_3,w_3\n" for name in more)
    arrange(data, tmp_path / "truth.csv", "shopee")
    assert ("w_3" in {row["individual"] for row in truth(data)}) == is_queried


def test_rows_of_shopee_are_not_in_the_order_of_groups(arranged):
    labels = column(arranged["shopee"] / "train.csv", "label_group")
    changes = sum(one != other for one, other in pairwise(labels))
    assert changes > 2 * len(set(labels))


@pytest.mark.parametrize(
    ("layout", "labelled_split", "query_split"),
    [("animalclef-2025", "database", "query"), ("animalclef-2026", "train", "test")],
)
def test_animalclef_has_identities_in_one_split_and_queries_in_the_other(
    arranged, layout, labelled_split, query_split
):
    listed = rows(arranged[layout] / "metadata.csv")
    for row in listed:
        assert bool(row["identity"]) == (row["split"] == labelled_split)
        assert row["identity"].startswith(row["dataset"] if row["identity"] else "")
        assert row["path"].startswith(f"images/{row['dataset']}/{row['split']}/")
    ids = [row["image_id"] for row in listed if row["split"] == query_split]
    assert column(arranged[layout] / "sample_submission.csv", "image_id") == ids
    assert [row["image"] for row in truth(arranged[layout])] == ids


def test_lizards_are_only_queries_and_all_other_data_sets_have_both_splits(arranged):
    splits = Counter(
        (row["dataset"], row["split"]) for row in rows(arranged["animalclef-2026"] / "metadata.csv")
    )
    both = {
        (name, split)
        for name in ("LynxID2025", "SalamanderID2025", "SeaTurtleID2022")
        for split in ("train", "test")
    }
    assert set(splits) == {("TexasHornedLizards", "test")} | both
    for row in rows(arranged["animalclef-2026"] / "sample_submission.csv"):
        assert row["cluster"].startswith("cluster_")
        assert row["cluster"].endswith("_0")


def test_an_unknown_layout_gets_a_suggestion(tmp_path):
    with pytest.raises(KitboxError) as refusal:
        arrange(tmp_path, tmp_path / "truth.csv", "whaledo")
    assert str(refusal.value) == (
        "no layout named whaledo; did you mean whale-do?; there are " + ", ".join(LAYOUTS)
    )


def test_the_error_names_a_test_image_without_truth_before_anything_moves(tmp_path):
    data = write_competition(tmp_path)
    path = tmp_path / "truth.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(KitboxError) as refusal:
        arrange(data, path, "csv")
    assert str(refusal.value) == f"{path} names no individual for test image 'u4.png'; add its row"
    assert (data / "train" / "0_0.png").exists()


def test_the_error_names_an_image_that_is_listed_twice(tmp_path):
    data = write_competition(tmp_path)
    with (data / "train.csv").open("a") as file:
        file.write("u0.png,w_0\n")
    with pytest.raises(KitboxError) as refusal:
        arrange(data, tmp_path / "truth.csv", "csv")
    assert str(refusal.value) == f"image 'u0.png' is twice in the lists of {data}; remove one row"


@pytest.mark.parametrize("layout", ["whale-do", "shopee"])
def test_a_drawing_without_two_photographs_of_one_whale_is_too_small(tmp_path, layout):
    data = write_competition(tmp_path)
    catalogue.write_list(data / "train.csv", ("Image", "Id"), [("single.png", "w_single")])
    catalogue.write_list(data / "sample_submission.csv", ("Image",), [("t0_0.png",), ("u4.png",)])
    with pytest.raises(KitboxError) as refusal:
        arrange(data, tmp_path / "truth.csv", layout)
    assert str(refusal.value) == (
        f"{data} has no two photographs of one individual, for a query and its match; "
        "draw more photographs"
    )


def test_gdsc2020_needs_no_boxes(tmp_path):
    data = write_competition(tmp_path)
    (data / "boxes.csv").unlink()
    arrange(data, tmp_path / "truth.csv", "gdsc2020")
    assert not list(data.rglob("*.csv"))


def test_the_error_for_a_missing_file_names_the_fix(tmp_path):
    data = write_competition(tmp_path)
    (data / "train" / "3_0.png").unlink()
    with pytest.raises(KitboxError) as refusal:
        arrange(data, tmp_path / "truth.csv", "csv")
    assert str(refusal.value) == (
        f"cannot arrange {data} as csv: No such file or directory; draw it again"
    )


def test_an_arranged_competition_cannot_be_arranged_again(arranged):
    data = arranged["folder"]
    with pytest.raises(KitboxError, match=r"there is no list .*train\.csv"):
        arrange(data, data.parent / "truth.csv", "csv")
