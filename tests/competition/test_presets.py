"""Presets: settings filled in from a data folder, columns and folders recognised."""

from pathlib import Path

import pytest

from kitbox.competition import folder_scan, lists, presets, settings
from kitbox.errors import KitboxError
from kitbox.workspace import Workspace


def data(folder: Path, *folders: str, **lists: str) -> Path:
    for name in folders:
        (folder / name).mkdir(parents=True)
    for name, text in lists.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def sea(tmp_path: Path) -> Path:
    folder = tmp_path / "sea"
    folder.mkdir()
    return folder


@pytest.fixture
def new(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


def test_humpback_has_five_labels_for_each_query(sea: Path, new: Workspace) -> None:
    data(sea, "train", "test", train="Image,Id\na.jpg,new_whale\n", sample_submission="Image,Id\n")
    competition = presets.init(new, "humpback", sea)
    assert (competition.name, competition.metric, competition.task.gallery) == (
        "humpback",
        "label_map_at_5",
        "train",
    )
    assert (competition.submission.header, competition.submission.layout) == (
        ("Image", "Id"),
        "joined",
    )
    assert competition.images.root == sea.resolve()
    assert (
        competition.images.train_list,
        competition.images.image_column,
        competition.images.label_column,
    ) == (
        "train.csv",
        "Image",
        "Id",
    )
    assert competition.images.test_list == competition.submission.sample == "sample_submission.csv"
    assert (competition.images.unknown_label, competition.images.boxes) == ("new_whale", None)


def test_gdsc2020_has_twenty_images_for_each_query_and_no_header(sea: Path, new: Workspace) -> None:
    data(sea, "train", "test", boxes="image,x0,y0,x1,y1\n")
    competition = presets.init(new, "gdsc2020", sea)
    assert (competition.name, competition.metric, competition.task.gallery) == (
        "gdsc2020",
        "map_at_20",
        "train+test",
    )
    assert (competition.submission.header, competition.submission.layout) == ((), "columns")
    assert (competition.images.train_list, competition.images.boxes) == (None, "boxes.csv")
    assert competition.images.unknown_label == "-1"


@pytest.mark.parametrize(
    ("folders", "train_folder", "test_folder"),
    [
        (("train/Ahab", "test"), "train", "test"),
        (("train/Ahab",), "train", None),
        (("Ahab", "Boo"), ".", None),
    ],
)
def test_own_photographs_only_need_folders(
    sea: Path, new: Workspace, folders: tuple[str, ...], train_folder: str, test_folder: str | None
) -> None:
    competition = presets.init(new, "folder", data(sea, *folders))
    assert (competition.images.train_folder, competition.images.test_folder) == (
        train_folder,
        test_folder,
    )
    assert (competition.metric, competition.images.train_list) == ("map_at_20", None)


@pytest.mark.parametrize(
    ("photographs", "train_folder", "unlabelled"),
    [
        (("a.jpg",), ".", True),
        (("images/a.jpg",), "images", True),
        (("train/a.jpg",), "train", True),
        (("Ahab/a.jpg", "Boo/b.jpg"), ".", False),
        (("train/Ahab/a.jpg",), "train", False),
        (("2005/may/a.jpg",), ".", False),
        (("a.jpg", "test/t.jpg"), ".", True),
        (("images/a.jpg", "test/t.jpg"), "images", True),
        (("a.jpg", "Ahab/a.jpg"), ".", True),
        (("a.jpg", "Ahab/a.jpg", "Boo/b.jpg", "test/t.jpg"), ".", False),
    ],
)
def test_photographs_without_folders_of_individuals_are_unlabelled(
    sea: Path, new: Workspace, photographs: tuple[str, ...], train_folder: str, unlabelled: bool
) -> None:
    for name in photographs:
        (sea / name).parent.mkdir(parents=True, exist_ok=True)
        (sea / name).touch()
    competition = presets.init(new, "folder", sea).images
    assert (competition.train_folder, competition.unlabelled) == (train_folder, unlabelled)


@pytest.mark.parametrize(
    ("photographs", "question"),
    [
        (
            ("seal/A1/a.jpg", "seal/A2/b.jpg", "whale/B1/c.jpg"),
            "{sea}: the photographs are two folders deep, as in 'seal/A1'; give --individual-level "
            "2 if 'A1' is an individual, or --individual-level 1 if 'seal' is one",
        ),
        (
            ("train/seal/A1/a.jpg", "train/whale/B1/c.jpg", "test/a.jpg"),
            "{sea}/train: the photographs are two folders deep, as in 'seal/A1'; give "
            "--individual-level 2 if 'A1' is an individual, or --individual-level 1 if 'seal' is "
            "one",
        ),
        (
            ("known seals/A1/a.jpg", "known seals/A2/b.jpg", "season 24/c.jpg", "season 24/d.jpg"),
            "{sea}: 'known seals' has folders of photographs ('A1'; 1 more), and 'season 24' has "
            "photographs; give --train-folder 'known seals' --test-folder 'season 24' if 'known "
            "seals' is a catalogue of individuals, or --individual-level 1 if both are individuals",
        ),
    ],
)
def test_folders_that_may_be_species_or_a_catalogue_are_never_labels_in_silence(
    sea: Path, new: Workspace, photographs: tuple[str, ...], question: str
) -> None:
    touch(sea, *photographs)
    with pytest.raises(KitboxError) as caught:
        presets.init(new, "folder", sea)
    assert str(caught.value) == question.format(sea=sea)
    assert not new.root.exists()


@pytest.mark.parametrize(
    "photographs",
    [
        ("Ahab/2019/a.jpg", "Boo/2020-05/b.jpg"),
        ("Ahab/2019-05-31/a.jpg", "Boo/20200501/b.jpg", "Boo/May 2021/c.jpg"),
        ("Ahab/left/a.jpg", "Ahab/right/b.jpg", "Boo/left/c.jpg"),
        ("Ahab/encounter 1/a.jpg", "Boo/b.jpg"),
        ("Ahab/a.jpg", "Ahab/from Anna/b.jpg", "Boo/c.jpg"),
    ],
)
def test_folders_of_encounters_belong_to_their_individual(
    sea: Path, new: Workspace, photographs: tuple[str, ...]
) -> None:
    touch(sea, *photographs)
    images = presets.init(new, "folder", sea).images
    labels = {str(folder) for folder, _ in folder_scan.individuals(images)}
    assert labels == {"Ahab", "Boo"}
    [line] = [line for line in folder_scan.lines(images) if "Ahab" in line]
    assert line.endswith("show 'Ahab'") or "; " in line


def test_individuals_may_lie_in_folders_of_species(sea: Path, new: Workspace) -> None:
    touch(sea, "seal/01/a.jpg", "seal/02/b.jpg", "whale/01/2019/c.jpg", "whale/d.jpg", "e.jpg")
    given = {"individual_level": "2"}
    competition = presets.init(new, "folder", sea, columns=given)
    listed = lists.read(competition).labelled
    assert dict(zip(listed.image_ids.tolist(), listed.labels.tolist(), strict=True)) == {
        "seal/01/a.jpg": "seal/01",
        "seal/02/b.jpg": "seal/02",
        "whale/01/2019/c.jpg": "whale/01",
    }
    assert settings.load(new).images.individual_level == 2
    left = {one.path.name: one.reason for one in folder_scan.left_alone(competition.images)}
    assert left == {"d.jpg": "loose", "e.jpg": "loose"}


def test_a_catalogue_may_lie_beside_a_season(sea: Path, new: Workspace) -> None:
    touch(sea, "known seals/A1/a.jpg", "known seals/A2/b.jpg", "season/c.jpg", "season/d.jpg")
    given = {"train_folder": "known seals", "test_folder": "season"}
    listed = lists.read(presets.init(new, "folder", sea, columns=given))
    assert listed.labelled.labels.tolist() == ["A1", "A2"]
    assert listed.test is not None
    assert listed.test.image_ids.tolist() == ["c.jpg", "d.jpg"]


def test_the_only_folder_may_be_that_of_all_individuals(sea: Path, new: Workspace) -> None:
    touch(sea, "seals/A1/a.jpg", "seals/A2/b.jpg", "test/c.jpg")
    assert presets.init(new, "folder", sea).images.train_folder == "seals"


@pytest.mark.parametrize(
    ("header", "taken"), [("image,x0,y0,x1,y1", True), ("image,cx,cy,w,h", False), ("a;b", False)]
)
def test_boxes_are_used_if_their_columns_are_known(
    sea: Path, new: Workspace, header: str, taken: bool
) -> None:
    competition = presets.init(new, "folder", data(sea, "Ahab", "Boo", boxes=f"{header}\n")).images
    assert competition.boxes == ("boxes.csv" if taken else None)


@pytest.mark.parametrize("image", presets.IMAGE_COLUMNS)
@pytest.mark.parametrize("label", presets.LABEL_COLUMNS)
def test_usual_headers_of_lists_are_recognised(
    sea: Path, new: Workspace, image: str, label: str
) -> None:
    data(
        sea,
        "train",
        "test",
        train=f"\ufeff{label},{image},extra\r\nAhab,a.jpg,1\r\nAhab,b.jpg,2\r\n",
    )
    competition = presets.init(new, "gdsc2020", sea)
    assert (competition.images.image_column, competition.images.label_column) == (image, label)
    assert competition.images.train_list == "train.csv"


@pytest.mark.parametrize("better", ["whale", "name", "individual", "whale_id", "identity"])
@pytest.mark.parametrize("number", ["Id", "id"])
def test_a_column_of_row_numbers_is_not_one_of_individuals(
    sea: Path, new: Workspace, number: str, better: str
) -> None:
    data(sea, "train", "test", train=f"{number},Image,{better}\n1,a.jpg,Ahab\n2,b.jpg,Ahab\n")
    assert presets.init(new, "gdsc2020", sea).images.label_column == better


def test_a_given_column_may_have_each_individual_once(sea: Path, new: Workspace) -> None:
    data(sea, "train", "test", train="Image,Id\na.jpg,1\nb.jpg,2\n")
    competition = presets.init(new, "gdsc2020", sea, columns={"label_column": "Id"})
    assert competition.images.label_column == "Id"


@pytest.mark.parametrize(
    ("labels", "unknown"),
    [
        (("Ahab", "new_whale"), "new_whale"),
        (("new_individual", "Ahab"), "new_individual"),
        (("-1", "3"), "-1"),
        (("Ahab", "Boo"), "-1"),
    ],
)
def test_the_label_of_unknown_individuals_is_taken_from_the_list(
    sea: Path, new: Workspace, labels: tuple[str, ...], unknown: str
) -> None:
    rows = "".join(f"{i}.jpg,{label}\n" for i, label in enumerate([*labels, "Ahab", "Ahab"]))
    data(sea, "train", "test", train="Image,Id\n" + rows)
    assert presets.init(new, "gdsc2020", sea).images.unknown_label == unknown


@pytest.mark.parametrize(
    ("name", "folders", "lists", "message"),
    [
        (
            "humback",
            (),
            {},
            "no preset named humback; did you mean humpback?; there are animalclef-2025, ",
        ),
        ("humpback", ("train", "test"), {}, "{sea} has no train.csv, which the preset humpback "),
        ("humpback", ("test",), {"train": "Image,Id\n"}, "{sea} has no folder train, which the "),
        ("humpback", ("train",), {"train": "Image,Id\n"}, "{sea} has no folder test, which the "),
        ("gdsc2020", ("train",), {}, "{sea} has no folder test, which the preset gdsc2020 needs"),
        (
            "humpback",
            ("train", "test"),
            {"train": "photo,Id\n"},
            "{sea}/train.csv line 1: no image column among photo, Id; "
            "name it Image, or give --image-column NAME",
        ),
        (
            "humpback",
            ("train", "test"),
            {"train": "Image,animal\n"},
            "{sea}/train.csv line 1: no label column among Image, animal; "
            "name it individual_id, or give --label-column NAME",
        ),
        (
            "humpback",
            ("train", "test"),
            {"train": ""},
            "{sea}/train.csv line 1: no image column among nothing; "
            "name it Image, or give --image-column NAME",
        ),
        (
            "humpback",
            ("train", "test"),
            {"train": "Flukes of 2018,,\n\nid,filename,whale\n1,a.jpg,Ahab\n"},
            "{sea}/train.csv line 1: 'Flukes of 2018' stands alone above the 3 cells of line 3; "
            "remove a title above the header, or complete the header",
        ),
        (
            "humpback",
            ("train", "test"),
            {"train": "Flukes,2018\nfilename,whale\na.jpg,Ahab\n"},
            "{sea}/train.csv line 1: the header seems to be on line 2, below a title; "
            "remove what is above line 2",
        ),
        (
            "humpback",
            ("train", "test"),
            {"train": "filename,whale,whale\na.jpg,Ahab,Boo\n"},
            "{sea}/train.csv line 1: the column 'whale' is there 2 times, as columns 2 and 3; "
            "rename or remove all but one",
        ),
        (
            "humpback",
            ("train", "test"),
            {"train": "Image,Id\na.jpg,1\nb.jpg,2\n"},
            "{sea}/train.csv: in column 'Id' no individual has a second image; "
            "name the column of individuals with --label-column",
        ),
    ],
)
def test_missing_data_is_named_and_nothing_is_written(
    sea: Path,
    new: Workspace,
    name: str,
    folders: tuple[str, ...],
    lists: dict[str, str],
    message: str,
) -> None:
    data(sea, *folders, **lists)
    with pytest.raises(KitboxError) as caught:
        presets.init(new, name, sea)
    assert str(caught.value).startswith(message.format(sea=sea))
    assert not new.root.exists()


def test_a_list_that_is_not_utf_8_is_one_sentence(sea: Path, new: Workspace) -> None:
    data(sea, "train", "test")
    (sea / "train.csv").write_bytes(b"Image,Id\na.jpg,T\xe4ht\xe4in\n")
    with pytest.raises(KitboxError, match=r"train\.csv is not UTF-8 at byte 16"):
        presets.init(new, "humpback", sea)


def test_a_missing_data_folder_is_named(tmp_path: Path, new: Workspace) -> None:
    with pytest.raises(KitboxError) as caught:
        presets.init(new, "folder", tmp_path / "nowhere")
    assert str(caught.value) == f"the data folder {tmp_path / 'nowhere'} does not exist"


def test_a_workspace_is_never_overwritten(sea: Path, new: Workspace) -> None:
    data(sea, "Ahab")
    presets.init(new, "folder", sea)
    before = new.settings.read_text()
    with pytest.raises(KitboxError) as caught:
        presets.init(new, "gdsc2020", sea)
    assert str(caught.value) == f"{new.settings} exists already; edit it, or remove it first"
    assert new.settings.read_text() == before


def test_gitignore_leaves_receipts_in_and_built_files_out(sea: Path, new: Workspace) -> None:
    presets.init(new, "folder", data(sea, "Ahab"))
    ignored = (new.root / ".gitignore").read_text().splitlines()
    assert {".kitbox/", "submissions/*/*.csv"} <= set(ignored)
    assert not {"submissions/", "plugins/", "kitbox.toml"} & set(ignored)
    assert sorted(entry.name for entry in new.root.iterdir() if entry.is_dir()) == [
        "plugins",
        "submissions",
    ]


def test_an_existing_gitignore_stays(sea: Path, new: Workspace) -> None:
    new.root.mkdir()
    (new.root / ".gitignore").write_text("mine\n")
    presets.init(new, "folder", data(sea, "Ahab"))
    assert (new.root / ".gitignore").read_text() == "mine\n"


def test_data_inside_the_workspace_is_named_relative_to_it(new: Workspace) -> None:
    presets.init(new, "folder", data(new.root / "data", "Ahab"))
    assert 'root = "data"' in new.settings.read_text()


@pytest.mark.parametrize("name", ["it's", 'a "quoted" name', "back\\slash", "é", "a#b"])
def test_any_folder_name_survives_the_settings(tmp_path: Path, new: Workspace, name: str) -> None:
    folder = data(tmp_path / name, "Ahab")
    assert presets.init(new, "folder", folder).images.root == folder.resolve()
    assert settings.load(new).images.root == folder.resolve()


@pytest.mark.parametrize("broken", ["stop", "drop"])
def test_the_rule_for_broken_images_is_written_once(sea: Path, new: Workspace, broken: str) -> None:
    presets.init(new, "folder", data(sea, "Ahab"), broken=broken)
    assert settings.load(new).images.broken == broken


@pytest.mark.parametrize(
    ("name", "metric", "csv_format"),
    [
        ("humpback", "label_map_at_5", "Image,Id; joined"),
        ("gdsc2020", "map_at_20", "no header; columns"),
        ("folder", "map_at_20", "query,neighbours; joined"),
        ("whale-do", "map_at_20", "query_id,database_image_id,score; long"),
        ("happywhale", "label_map_at_5", "image,predictions; joined"),
        ("landmark-recognition", "gap", "id,landmarks; scored"),
        ("landmark-retrieval", "map_at_100", "id,images; joined"),
        ("shopee", "row_f1", "posting_id,matches; joined"),
        ("animalclef-2025", "baks_baus", "image_id,identity; joined"),
        ("animalclef-2026", "ari", "image_id,cluster; joined"),
        ("jaguar-2026", "identity_balanced_map", "row_id,similarity; pairs"),
    ],
)
def test_a_summary_has_metric_and_format(name: str, metric: str, csv_format: str) -> None:
    summary = presets.summary(name)
    assert (summary["preset"], summary["metric"], summary["format"]) == (name, metric, csv_format)


def test_every_file_of_the_presets_folder_is_a_preset() -> None:
    folder = Path(presets.__file__).parent / "presets"
    assert sorted(path.stem for path in folder.iterdir()) == presets.names()


OWN = {"train_list": "whales.csv"}


def own(sea: Path, text: str = "file,who\na.jpg,Ahab\n", folder: str = "photos") -> Path:
    (sea / folder).mkdir(parents=True, exist_ok=True)
    (sea / folder / "a.jpg").touch()
    return data(sea, whales=text)


@pytest.mark.parametrize("folder", ["photos", "."])
def test_the_folder_of_own_photographs_is_found(sea: Path, new: Workspace, folder: str) -> None:
    competition = presets.init(new, "csv", own(sea, folder=folder), columns=OWN).images
    assert (competition.train_folder, competition.test_folder, competition.test_list) == (
        ".",
        None,
        None,
    )
    assert lists.read(settings.load(new)).labelled.paths == (sea / folder / "a.jpg",)
    assert (competition.train_list, competition.image_column, competition.label_column) == (
        "whales.csv",
        "file",
        "who",
    )


def test_commented_lines_are_filled_in_too(sea: Path, new: Workspace) -> None:
    presets.init(new, "csv", own(sea), columns=OWN)
    lines = new.settings.read_text().splitlines()
    assert '# test_folder = "."' in lines
    assert any(line.startswith('# test_list = "test.csv" ') for line in lines)
    assert not any("<" in line for line in lines)


def test_a_missing_list_leaves_its_columns_open(sea: Path, new: Workspace) -> None:
    presets.init(new, "gdsc2020", data(sea, "train", "test"))
    assert '# label_column = "<label_column>"' in new.settings.read_text().splitlines()


def test_paths_in_a_list_may_name_folders_themselves(sea: Path, new: Workspace) -> None:
    own(sea, "path,who\nphotos/a.jpg,Ahab\n")
    assert presets.init(new, "csv", sea, columns=OWN).images.train_folder == "."


def test_a_missing_first_photograph_does_not_hide_the_folder(sea: Path, new: Workspace) -> None:
    own(sea, "file,who\ngone.jpg,Ahab\na.jpg,Ahab\n")
    assert presets.init(new, "csv", sea, columns=OWN).images.train_folder == "."


def days(sea: Path, list_text: str, *files: str) -> Path:
    for name in files or ("day0/1.jpg", "day0/2.jpg", "day1/1.jpg", "day1/2.jpg"):
        (sea / name).parent.mkdir(parents=True, exist_ok=True)
        (sea / name).touch()
    return data(sea, whales=list_text)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("file,who,n,day\n1.jpg,A,1,day0\n2.jpg,B,2,day0\n1.jpg,B,3,day1\n2.jpg,A,4,day1\n", "day"),
        ("file,who,day\n1.jpg,A,C:\\day0\n1.jpg,A,C:\\day1\\\n", "day"),
        ("file,who\n1.jpg,day0\n2.jpg,day0\n1.jpg,day1\n", "who"),
        ("file,who,a,b\n1.jpg,A,day0,day0\n1.jpg,A,day1,day1/\n", "a"),
    ],
)
def test_a_column_that_tells_files_of_one_name_apart_is_found(
    sea: Path, new: Workspace, text: str, column: str
) -> None:
    days(sea, text)
    assert presets.init(new, "csv", sea, columns=OWN).images.folder_column == column
    assert f'folder_column = "{column}"' in new.settings.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "file,who\n1.jpg,A\n2.jpg,A\n",
        "file,who,day\n1.jpg,A,day0\n1.jpg,A,day7\n",  # a folder that is not there
        "file,who,day\n1.jpg,A,day0\n1.jpg,A,\n",
        "file,who,a,b\n1.jpg,A,day0,day1\n1.jpg,A,day1,day0\n",  # two that contradict each other
    ],
)
def test_names_that_several_files_bear_are_refused(sea: Path, new: Workspace, text: str) -> None:
    days(sea, text)
    with pytest.raises(KitboxError) as caught:
        presets.init(new, "csv", sea, columns=OWN)
    assert str(caught.value) == (
        f"{sea}/whales.csv line 2: image '1.jpg' is day0/1.jpg and day1/1.jpg; write its folder "
        "before it, or name the column of folders in images.folder_column; 1 more like it; "
        "'kitbox init' takes such a column as --folder-column, and the folder of all images "
        "as --train-folder"
    )
    assert not new.root.exists()


def test_names_of_files_in_one_folder_need_no_column_of_folders(sea: Path, new: Workspace) -> None:
    days(sea, "file,who\n1,A\na,A\nb,A\n", "day0/1.jpg", "day0/1.png", "day0/a.jpg", "day0/b.jpg")
    with pytest.raises(KitboxError) as caught:
        presets.init(new, "csv", sea, columns=OWN)
    assert str(caught.value) == (
        f"{sea}/whales.csv line 2: image '1' is day0/1.jpg and day0/1.png; write the name of the "
        "file, or remove one of them"
    )


def test_ambiguous_names_are_left_out_where_faulty_rows_are(sea: Path, new: Workspace) -> None:
    days(sea, "file,who\n1.jpg,A\na.jpg,A\nb.jpg,A\n", "day0/1.jpg", "day1/1.jpg", "a.jpg", "b.jpg")
    presets.init(new, "csv", sea, broken="drop", columns=OWN)
    found = lists.read(settings.load(new))
    assert found.labelled.image_ids.tolist() == ["a.jpg", "b.jpg"]
    assert [finding.kind for finding in found.findings] == ["ambiguous"]


def test_a_folder_that_is_added_later_is_not_taken_for_another(sea: Path, new: Workspace) -> None:
    days(sea, "file,who\n1.jpg,A\n2.jpg,A\n", "day0/1.jpg", "day0/2.jpg")
    presets.init(new, "csv", sea, columns=OWN)
    days(sea, "file,who\n1.jpg,A\n2.jpg,A\n", "day1/1.jpg")
    with pytest.raises(KitboxError, match=r"^whales.csv line 2: image '1.jpg' is day0/1.jpg and"):
        lists.read(settings.load(new))


def test_an_image_folder_keeps_the_others_out(sea: Path, new: Workspace) -> None:
    days(sea, "file,who\n1.jpg,A\n2.jpg,A\n")
    presets.init(new, "csv", sea, columns=OWN | {"train_folder": "day1"})
    found = lists.read(settings.load(new)).labelled
    assert found.paths == (sea / "day1/1.jpg", sea / "day1/2.jpg")


def test_queries_that_several_files_bear_are_refused(sea: Path, new: Workspace) -> None:
    days(sea, "file,who\na.jpg,A\nb.jpg,A\n", "a.jpg", "b.jpg", "day0/1.jpg", "day1/1.jpg")
    data(sea, queries="file\n1.jpg\n")
    with pytest.raises(KitboxError, match=r"sea/queries.csv line 2: image '1.jpg' is day0/1.jpg"):
        presets.init(new, "csv", sea, columns=OWN | {"test_list": "queries.csv"})


@pytest.mark.parametrize("preset", ["csv", "folder"])
def test_names_with_blanks_have_columns_of_their_own(
    sea: Path, new: Workspace, preset: str
) -> None:
    names = ("train/Big Ben/IMG 1 (2), a.jpg", "train/Big Ben/x.jpg", "train/Ann/3.jpg")
    days(sea, "file,who\n" + "".join(f'"{name}",A\n' for name in names), *names)
    prepared = presets.prepare(new, preset, sea, columns=OWN if preset == "csv" else {})
    assert prepared.notes == (
        f"names with blanks: 2, as '{names[0].removeprefix('train/' * (preset == 'folder'))}'; in "
        'submissions each answer has a column of its own (layout = "columns")',
    )
    prepared.save()
    csv_format = settings.load(new).submission
    assert (csv_format.header, csv_format.layout) == (("query", "neighbour"), "columns")


def test_names_without_blanks_are_joined(sea: Path, new: Workspace) -> None:
    days(sea, "", "train/Ann/1,2.jpg", "train/Bob/2.jpg")
    csv_format = presets.init(new, "folder", sea).submission
    assert (csv_format.header, csv_format.layout) == (("query", "neighbours"), "joined")


def test_a_fixed_format_that_cannot_hold_the_labels_is_refused(sea: Path, new: Workspace) -> None:
    data(sea, sample_submission="Image,Id\nq.jpg,\n")
    days(sea, "", "train/a.jpg", "train/b.jpg", "test/q.jpg")
    data(sea, train="Image,Id\na.jpg,Big Ben\nb.jpg,Queen of Hearts\nc.jpg,Big Ben\n")
    with pytest.raises(KitboxError) as caught:
        presets.init(new, "humpback", sea)
    assert str(caught.value) == (
        "answer 'Big Ben' has a blank, which separates answers where submission.layout is "
        '"joined"; 1 more like it; rename it, or set layout = "columns" in kitbox.toml if no '
        "leaderboard asks for this format"
    )
    assert not new.root.exists()


def test_own_columns_and_queries_can_be_given(sea: Path, new: Workspace) -> None:
    own(sea, 'year,"a ""q"" picture",whale\n2020,a.jpg,Ahab\n')
    data(sea, queries='"a ""q"" picture"\na.jpg\n')
    columns = {"image_column": 'a "q" picture', "label_column": "whale", "test_list": "queries.csv"}
    competition = presets.init(new, "csv", sea, columns=OWN | columns).images
    assert (competition.image_column, competition.label_column) == ('a "q" picture', "whale")
    assert (competition.test_list, competition.test_folder) == ("queries.csv", ".")


@pytest.mark.parametrize(
    ("name", "text", "columns", "message"),
    [
        ("csv", "", {}, "preset csv needs the name of your list; give --train-list FILE"),
        (
            "csv",
            "file,who\n",
            {"train_list": "whale.csv"},
            "{sea} has no whale.csv, which the preset csv needs",
        ),
        (
            "csv",
            "file,who\na.jpg,Ahab\n",
            OWN | {"test_list": "queries.csv"},
            "{sea} has no queries.csv, which the preset csv needs",
        ),
        (
            "csv",
            "file,who\na.jpg,Ahab\n",
            OWN | {"label_column": "whoo"},
            "{sea}/whales.csv line 1: no column 'whoo' among file, who; did you mean who?; "
            "correct --label-column",
        ),
        (
            "csv",
            "photo,who\na.jpg,Ahab\n",
            OWN,
            "{sea}/whales.csv line 1: no image column among photo, who; "
            "name it Image, or give --image-column NAME",
        ),
        (
            "csv",
            "file,who\nb.jpg,Ahab\n",
            OWN,
            "{sea}/whales.csv line 2: there is no 'b.jpg' in {sea} or a folder in it; "
            "files there are named as 'photos/a.jpg'; "
            "name the images' paths from the data folder, or their column with --image-column",
        ),
        (
            "csv",
            "file,who\n",
            OWN,
            "{sea}/whales.csv: no row has a name in column 'file'; complete the list, or name the "
            "column with --image-column",
        ),
        (
            "csv",
            "file,who\n,\ntrain/a.jpg,Ahab\n",
            OWN,
            "{sea}/whales.csv line 3: there is no 'train/a.jpg' in {sea} or a folder in it; "
            "files there are named as 'photos/a.jpg'; "
            "give --train-folder photos if these are the photographs; else name the images' paths "
            "from the data folder, or their column with --image-column",
        ),
        (
            "happywhale",
            "",
            {"image_column": "photo"},
            "preset happywhale has fixed lists and takes no --image-column; leave it out",
        ),
        (
            "folder",
            "",
            {"test_list": "queries.csv"},
            "preset folder has fixed lists and takes no --test-list; leave it out",
        ),
    ],
)
def test_a_wrong_option_is_one_sentence(
    sea: Path,
    new: Workspace,
    name: str,
    text: str,
    columns: dict[str, str],
    message: str,
) -> None:
    own(sea, text)
    with pytest.raises(KitboxError) as caught:
        presets.init(new, name, sea, columns=columns)
    assert str(caught.value).startswith(message.format(sea=sea))
    assert not new.root.exists()


def test_whale_do_needs_its_scenarios(sea: Path, new: Workspace) -> None:
    with pytest.raises(KitboxError) as caught:
        presets.init(new, "whale-do", data(sea, metadata="image_id,path,whale_id\n"))
    assert str(caught.value) == (
        f"{sea} has no query_scenarios.csv, which the preset whale-do needs"
    )


def test_the_unknown_label_is_searched_only_among_labels(sea: Path, new: Workspace) -> None:
    # -1 is in another column, and a row ends in empty cells
    data(
        sea,
        "train",
        "test",
        train="Image,Id,age\na.jpg,Ahab,-1\nb.jpg,new_whale ,3,,\nc.jpg,Ahab\n",
    )
    assert presets.init(new, "gdsc2020", sea).images.unknown_label == "new_whale"


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_describes_itself_in_one_line(name: str) -> None:
    summary = presets.summary(name)
    assert summary["preset"] == name
    assert 20 < len(str(summary["about"])) <= 100


@pytest.mark.parametrize(
    "names", [("20190501", "20200501"), ("May 2019", "day2"), ("2019", "2020")]
)
def test_folders_of_dates_are_no_individuals_unasked(
    sea: Path, new: Workspace, names: tuple[str, str]
) -> None:
    touch(sea, *(f"{name}/{n}.jpg" for name in names for n in range(2)))
    with pytest.raises(KitboxError, match="the folders of photographs are named like dates"):
        presets.init(new, "folder", sea)


def test_folders_named_like_dates_are_doubted(sea: Path, new: Workspace) -> None:
    touch(sea, "2019-05-01/a.jpg", "2019-05-02/b.jpg")
    with pytest.raises(KitboxError) as caught:
        presets.init(new, "folder", sea)
    assert str(caught.value) == (
        f"{sea}: the folders of photographs are named like dates, as '2019-05-01' and "
        "'2019-05-02'; sort the photographs into folders of individuals, or move all into one "
        "folder to have them read without; give --individual-level 1 if '2019-05-01' is an "
        "individual"
    )
    assert presets.init(new, "folder", sea, columns={"individual_level": "1"}).images


@pytest.mark.parametrize(
    "names",
    [
        ("2019-05-01", "Ann"),
        ("10020034", "20229134"),  # numbers of eight digits
        ("fin1", "fin2"),
        ("7", "007"),
        ("May", "June"),
        ("MAR001", "MAR002"),
    ],
)
def test_other_names_are_those_of_individuals(
    sea: Path, new: Workspace, names: tuple[str, str]
) -> None:
    touch(sea, *(f"{name}/{n}.jpg" for name in names for n in range(2)))
    presets.init(new, "folder", sea)


def test_a_folder_around_everything_may_be_the_data_folder(sea: Path, new: Workspace) -> None:
    touch(sea, *(f"seals/{part}/Ann/1.jpg" for part in ("train", "test")))
    with pytest.raises(KitboxError) as caught:
        presets.init(new, "folder", sea)
    assert str(caught.value).endswith(f", or --data {sea}/seals if it holds everything")
    assert presets.init(new, "folder", sea / "seals").images.train_folder == "train"
