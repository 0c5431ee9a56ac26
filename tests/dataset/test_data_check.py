"""Data check: every mistake is found with kind and place, and runs act on it as reported."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kitbox.competition import lists
from kitbox.competition.check_rules import KINDS
from kitbox.competition.findings import DataFinding
from kitbox.competition.settings import Competition
from kitbox.dataset import data_check, inventory
from kitbox.dataset.collection import collect
from kitbox.dataset.data_check import DataCheck
from kitbox.errors import KitboxError
from kitbox.workspace import Workspace
from tests import circle, dirty
from tests.photographs import finish


@pytest.fixture(scope="module")
def dirty_place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Workspace, dict[str, str]]:
    root = tmp_path_factory.mktemp("dirty")
    workspace, _, odd = dirty.write_everything(root)
    return root, workspace, odd


def checked(workspace: Workspace, competition: Competition) -> DataCheck:
    found: DataCheck = finish(data_check.check(workspace, competition))[1]
    return found


def test_every_mistake_is_found_once_and_nothing_else(
    dirty_place: tuple[Path, Workspace, dict[str, str]],
) -> None:
    root, workspace, odd = dirty_place
    found = checked(workspace, dirty.competition_in(root))
    expected = Counter((kind, image) for image, kind in odd.items())
    expected += Counter(dirty.ROWS.values())
    expected += Counter(
        {
            ("unlisted", "loose.png"): 1,
            ("names-alike", "clean_3.PNG"): 1,
            ("odd-name", "<b>.png"): 1,
            ("tiny", "tiny_query.png"): 1,
            ("empty", "broken_query.png"): 1,
            ("leak", "leak.png"): 1,
        }
    )
    assert Counter((f.kind, f.image_id) for f in found.findings) == expected
    assert set(KINDS) - {f.kind for f in found.findings} == {
        # each has a test of its own
        *(
            "list",
            "ambiguous",
            "path",
            "repeated-query",
            "near-conflict",
            "box",
            "byte-order-mark",
            "crlf",
            "left-alone",
            "individual-level",
        ),
        *("elsewhere", "unknown-label", "gone", "labels-alike", "time", "encounter"),
    }


def test_each_finding_names_its_list_and_line_or_its_file(
    dirty_place: tuple[Path, Workspace, dict[str, str]],
) -> None:
    root, workspace, _ = dirty_place
    rows = ["", *(root / "data" / "train.csv").read_text().splitlines()]
    for found in checked(workspace, dirty.competition_in(root)).findings:
        listed, _, line = found.where.partition(" line ")
        if line:
            assert listed == "train.csv"
            assert found.image_id in rows[int(line)]
        else:
            assert (root / "data" / found.where).is_file()
        assert str(root) not in found.what


RULES = sorted(kind for kind, known in KINDS.items() if known.choices)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, object]:
    given: dict[str, object] = {"broken": draw(st.sampled_from(["drop", "drop", "stop"]))}
    ruled: dict[str, list[str]] = {}
    for kind in draw(st.lists(st.sampled_from(RULES), unique=True, max_size=8)):
        choices = [one for one in KINDS[kind].choices if one != "stop"] or ["stop"]
        ruled.setdefault(draw(st.sampled_from(choices)), []).append(kind)
    for kind in draw(st.lists(st.sampled_from(RULES), max_size=1)):
        if not any(kind in part for part in ruled.values()):
            ruled.setdefault("stop", []).append(kind)
    return {**given, **ruled}


@given(rules())
def test_a_collection_acts_on_findings_as_the_check_reports(
    dirty_place: tuple[Path, Workspace, dict[str, str]], rules_: dict[str, object]
) -> None:
    root, workspace, _ = dirty_place
    competition = dirty.competition_in(root, **rules_)
    found = checked(workspace, competition).findings
    if any(finding.action == "stop" for finding in found):
        with pytest.raises(KitboxError):
            finish(collect(workspace, competition))
        return
    collection = finish(collect(workspace, competition))[1]
    dropped = {finding.image_id for finding in found if finding.action == "drop"}
    listed = {
        row["Image"].strip()
        for row in csv.DictReader((root / "data" / "train.csv").read_text().splitlines())
    }
    assert listed - set(collection.labelled.image_ids.tolist()) == dropped & listed
    tests = {"query.png", "tiny_query.png", "broken_query.png", "leak.png"}
    assert set(collection.test.image_ids.tolist()) == tests
    assert collection.unreadable == {"broken_query.png"}


def test_a_kind_that_stops_a_run_is_named_with_the_way_to_continue(
    dirty_place: tuple[Path, Workspace, dict[str, str]],
) -> None:
    root, workspace, _ = dirty_place
    competition = dirty.competition_in(root, stop=["blurred"])
    with pytest.raises(KitboxError) as caught:
        finish(collect(workspace, competition))
    assert str(caught.value).startswith("image blurred.png is blurred: sharpness 0.")
    assert str(caught.value).endswith("; or take 'blurred' out of check.stop in kitbox.toml")


def test_a_check_changes_no_file(tmp_path: Path) -> None:
    workspace, competition, _ = dirty.write_everything(tmp_path)
    data = tmp_path / "data"
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in data.rglob("*")}
    checked(workspace, competition)
    assert before == {
        path: (path.stat().st_mtime_ns, path.stat().st_size) for path in data.rglob("*")
    }


def test_a_file_is_read_by_the_first_check_only(tmp_path: Path) -> None:
    workspace, competition, _ = dirty.write_everything(tmp_path)
    steps, first = finish(data_check.check(workspace, competition))
    assert len(steps) == first.image_count
    again, second = finish(data_check.check(workspace, competition))
    assert (again, second) == ([], first)


def test_a_list_that_cannot_be_read_is_a_finding_and_its_images_are_read(tmp_path: Path) -> None:
    workspace, competition, odd = dirty.write_everything(tmp_path)
    (tmp_path / "data" / "train.csv").write_text("Picture,Id\na.png,Ahab\n")
    found = checked(workspace, competition).findings
    [listed] = [finding for finding in found if finding.kind == "list"]
    assert (listed.where, listed.action) == ("train.csv line 1", "stop")
    assert listed.what.startswith("no column 'Image' among Picture, Id")
    pairs = {(finding.kind, Path(finding.image_id).name) for finding in found}
    assert {(kind, image) for image, kind in odd.items() if kind in ("blank", "bomb")} <= pairs
    assert "unlisted" not in {finding.kind for finding in found}


def test_every_row_with_too_many_cells_is_a_finding_and_the_rest_is_read(tmp_path: Path) -> None:
    dirty.save(tmp_path / "data" / "train" / "a.png", dirty.scene(1))
    (tmp_path / "data" / "test").mkdir()
    rows = ["a.png,Ahab", "b.png,Smith, John", "c.png,Doe, Jane"]
    found = checked(*dirty.write_list(tmp_path, rows)).findings
    assert [(f.kind, f.where, f.action) for f in found] == [
        ("list", "train.csv line 3", "stop"),
        ("list", "train.csv line 4", "stop"),
    ]


def test_a_box_beyond_the_upright_image_is_found(tmp_path: Path) -> None:
    train = tmp_path / "data" / "train"
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        dirty.save(train / name, dirty.scene(ord(name[0])), exif=dirty.rotated_exif(), quality=95)
    (tmp_path / "data" / "test").mkdir()
    corners = "a.jpg,0,0,100,160\nb.jpg,0,0,160,100\n"
    (tmp_path / "data" / "boxes.csv").write_text("image,x0,y0,x1,y1\n" + corners)
    workspace, competition = dirty.write_list(tmp_path, ["a.jpg,Ahab", "b.jpg,Ahab", "c.jpg,Ahab"])
    images = competition.images.model_copy(update={"boxes": "boxes.csv"})
    found = checked(workspace, competition.model_copy(update={"images": images})).findings
    [box] = [finding for finding in found if finding.kind == "box"]
    assert box == DataFinding(
        "train.csv line 3",
        "the box 0 0 160 100 of image 'b.jpg' reaches beyond its 100 x 160 pixels; cut there; it "
        "fits the raw pixels, which EXIF turns: if it was drawn on them, import its list by "
        "'kitbox data boxes import FILE --raw'",
        image_id="b.jpg",
        kind="box",
        action="repair",
    )


def test_a_row_of_boxes_that_names_no_image_is_found_in_either_list(tmp_path: Path) -> None:
    dirty.save(tmp_path / "data" / "train" / "a.jpg", dirty.scene(1), quality=95)
    (tmp_path / "data" / "test").mkdir()
    header = "image,x0,y0,x1,y1\n"
    rows = "a.jpg,0,0,9,9\nabsent.jpg,0,0,9,9\ngone.jpg,0,0,9,9\n"
    (tmp_path / "data" / "boxes.csv").write_text(header + rows)
    workspace, competition = dirty.write_list(tmp_path, ["a.jpg,Ahab", "gone.jpg,Ahab"])
    rows = "a.jpg,1,1,9,9\r\nA.jpg,1,1,9,9\r\n"
    workspace.boxes.write_bytes(("\ufeff" + header + rows).encode())
    images = competition.images.model_copy(update={"boxes": "boxes.csv"})
    found = checked(workspace, competition.model_copy(update={"images": images})).findings
    advice = "belongs to no image; correct the name or remove the row"
    assert [(f.kind, f.where, f.image_id, f.what) for f in found] == [
        ("missing", "train.csv line 3", "gone.jpg", found[0].what),
        ("box", "boxes.csv line 3", "absent.jpg", f"the box of 'absent.jpg' {advice}"),
        ("box", f"{workspace.boxes} line 3", "A.jpg", f"the box of 'A.jpg' {advice}"),
        *(
            (kind, f"{workspace.boxes} line 1", "", f"the list {what}")
            for kind, what in (
                ("byte-order-mark", "begins with a byte-order mark"),
                ("crlf", "ends its lines in CRLF"),
            )
        ),
    ]


def emptied(root: Path, index: tuple[str, ...]) -> tuple[Workspace, Competition]:
    """Return a competition of one labelled image, one query and an index of blank pictures."""
    dirty.save(root / "data" / "train" / "a.png", dirty.scene(1))
    dirty.save(root / "data" / "train" / "b.png", dirty.scene(2))
    dirty.save(root / "data" / "test" / "t.png", dirty.scene(90))
    (root / "data" / "index").mkdir()
    for number, name in enumerate(index):
        grey = Image.new("RGB", (160, 100), (90 + number, 90, 90))
        dirty.save(root / "data" / "index" / name, grey)
    workspace, found = dirty.write_list(root, ["a.png,Ahab", "b.png,Ahab"], drop=["blank", "cmyk"])
    images = found.images.model_copy(update={"index_folder": "index"})
    return workspace, found.model_copy(update={"images": images})


@pytest.mark.parametrize(
    ("index", "what"),
    [
        ((), "no image is in the index; add some, or take decisions back that drop them"),
        (
            ("i.png", "j.png", "k.png"),
            "no usable image is left in the index: image i.png shows nothing but one colour; "
            "2 more like it",
        ),
    ],
)
def test_an_index_without_usable_images_stops_a_run_and_is_found(
    tmp_path: Path, index: tuple[str, ...], what: str
) -> None:
    workspace, competition = emptied(tmp_path, index)
    # images left out on another side are not named
    dirty.save(tmp_path / "data" / "train" / "b.png", Image.new("RGB", (160, 100)))
    with pytest.raises(KitboxError) as caught:
        finish(collect(workspace, competition))
    assert str(caught.value) == what
    [found] = [f for f in checked(workspace, competition).findings if f.kind == "list"]
    assert found == DataFinding("kitbox.toml", what, kind="list", action="stop")


def test_an_index_emptied_by_decisions_stops_a_run_and_is_found(tmp_path: Path) -> None:
    workspace, competition = emptied(tmp_path, ("i.png",))
    workspace.decisions.write_text("decision,subject,value,note\ndrop,i.png,,\n")
    with pytest.raises(KitboxError, match="no image is in the index; add some, or take decisions"):
        finish(collect(workspace, competition))
    assert [f.action for f in checked(workspace, competition).findings] == ["stop"]


def test_labelled_images_that_are_all_unusable_stop_a_run_and_are_found(tmp_path: Path) -> None:
    dirty.save(tmp_path / "data" / "train" / "a.png", Image.new("RGB", (160, 100)))
    dirty.save(tmp_path / "data" / "test" / "t.png", dirty.scene(90))
    workspace, competition = dirty.write_list(tmp_path, ["a.png,Ahab"], drop=["blank"])
    what = "no usable image is left among the labelled images: image a.png shows nothing but black"
    with pytest.raises(KitboxError) as caught:
        finish(collect(workspace, competition))
    assert str(caught.value) == what
    assert [f.what for f in checked(workspace, competition).findings if f.kind == "list"] == [what]


def test_a_file_that_the_system_cannot_read_is_found_and_left_out(tmp_path: Path) -> None:
    train = tmp_path / "data" / "train"
    for number, name in enumerate(dirty.CLEAN):
        dirty.save(train / name, dirty.scene(number))
    (train / "b.png").symlink_to("/proc/self/mem")  # as a file on a bad sector
    dirty.save(tmp_path / "data" / "test" / "t.png", dirty.scene(90))
    long = "c" * 300
    names = [*dirty.CLEAN, "b.png", long]
    place = dirty.write_list(tmp_path, [f"{name},Ahab" for name in names])
    assert [(f.kind, f.what, f.action) for f in checked(*place).findings] == [
        (
            "unreadable",
            "image train/b.png cannot be read (Input/output error); replace or remove it",
            "drop",
        ),
        (
            "missing",
            f"image '{long}' is not in train (File name too long); correct the row or remove it",
            "drop",
        ),
    ]
    assert finish(collect(*place))[1].labelled.image_ids.tolist() == dirty.CLEAN


def test_near_duplicates_of_two_labels_are_a_conflict(tmp_path: Path) -> None:
    train = tmp_path / "data" / "train"
    dirty.save(train / "a.png", dirty.scene(1))
    dirty.save(train / "b.jpg", dirty.scene(1), quality=90)
    (tmp_path / "data" / "test").mkdir()
    [found] = checked(*dirty.write_list(tmp_path, ["a.png,Ahab", "b.jpg,Boo"])).findings
    assert found == DataFinding(
        "train.csv line 3",
        "image 'b.jpg' of 'Boo' looks like image 'a.png' of 'Ahab' (train.csv line 2)",
        image_id="b.jpg",
        kind="near-conflict",
        action="keep",
    )


def test_decisions_are_applied_first(tmp_path: Path) -> None:
    train = tmp_path / "data" / "train"
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        dirty.save(train / name, dirty.scene(seed))
    (tmp_path / "data" / "test").mkdir()
    place = dirty.write_list(tmp_path, ["a.png,Ahab", "b.png,Boo", "c.png,Cleo"])
    assert [found.kind for found in checked(*place).findings] == ["copy-conflict"] * 2
    place[0].decisions.write_text("decision,subject,value,note\nmerge,Boo,Ahab,\n")
    assert [found.kind for found in checked(*place).findings] == ["copy"]
    place[0].decisions.write_text("decision,subject,value,note\ndrop,b.png,,\n")
    assert checked(*place).findings == ()
    place[0].decisions.write_text("decision,subject,value,note\ndrop,z.png,,\n")
    [wrong, *_] = checked(*place).findings
    assert (wrong.kind, wrong.where) == ("list", f"{place[0].decisions} line 2")
    assert wrong.what.startswith("'z.png' is no labelled image")


def test_a_name_that_begins_like_a_formula_is_written_as_text(tmp_path: Path) -> None:
    names = ["=1+1.jpg", "+1.jpg", "-1.jpg", "@a.jpg", "plain, 'quoted'.jpg"]
    findings = tuple(
        DataFinding(name, f"image {name}", image_id=name, kind="odd-name", action="keep")
        for name in names
    )
    data_check.save(findings, tmp_path / "reports" / "check.csv")
    rows = list(csv.DictReader((tmp_path / "reports" / "check.csv").read_text().splitlines()))
    assert [row["image"] for row in rows] == [*(f"'{name}" for name in names[:4]), names[4]]
    assert [row["where"] for row in rows] == [row["image"] for row in rows]


def test_clean_data_has_no_findings(tmp_path: Path) -> None:
    train = tmp_path / "data" / "train"
    for number, name in enumerate(dirty.CLEAN):
        dirty.save(train / name, dirty.scene(number))
    dirty.save(tmp_path / "data" / "test" / "t.png", dirty.scene(90))
    found = checked(*dirty.write_list(tmp_path, [f"{name},Ahab" for name in dirty.CLEAN]))
    assert found == DataCheck((), len(dirty.CLEAN) + 1)


@pytest.mark.parametrize("level", [None, 1, 2])
def test_folders_that_may_be_species_are_found_unless_their_level_is_set(
    tmp_path: Path, level: int | None
) -> None:
    data = tmp_path / "data"
    for number, name in enumerate(("seal/A1/a.png", "seal/A2/b.png", "whale/B1/c.png")):
        dirty.save(data / name, dirty.scene(number))
    images = {"train_folder": ".", "train_list": None, "test_folder": None}
    given = images if level is None else images | {"individual_level": level}
    found = checked(Workspace(tmp_path), circle.competition(root=data, images=given))
    expected = [] if level else ["the photographs are two folders deep, as in 'seal/A1'"]
    assert [finding.what for finding in found.findings] == expected


def test_files_left_alone_are_found_by_reason_and_folder(tmp_path: Path) -> None:
    train = tmp_path / "data" / "train"
    for name in (*dirty.CLEAN, "@eaDir/thumbnail.png"):
        dirty.save(train / name, dirty.scene(len(list(train.rglob("*.png")))))
    dirty.save(tmp_path / "data" / "test" / "t.png", dirty.scene(90))
    for name in ("a.nef", "b.cr2", "notes.txt", "old/c.nef"):
        (train / name).parent.mkdir(exist_ok=True)
        (train / name).touch()
    (train / "gone.png").symlink_to("nowhere.png")
    found = checked(*dirty.write_list(tmp_path, [f"{name},Ahab" for name in dirty.CLEAN]))
    assert [(f.kind, f.where, f.what, f.action) for f in found.findings] == [
        ("left-alone", where, what, "drop")
        for where, what in (
            ("train/gone.png", "1 link to nothing: train/gone.png; mend or remove it"),
            (
                "train/a.nef",
                "2 raw camera files (.nef 1, .cr2 1) in train; "
                "save as JPEG or TIFF to have them read",
            ),
            (
                "train/old/c.nef",
                "1 raw camera file (.nef 1) in train/old; save as JPEG or TIFF to have them read",
            ),
            (
                "train/@eaDir/thumbnail.png",
                "1 hidden picture or thumbnail of the system (.png 1) in train/@eaDir; "
                "nothing to do, unless you hid photographs there",
            ),
        )
    ]


def test_the_kind_that_stops_a_run_is_shown_first() -> None:
    def finding(kind: str, action: str) -> DataFinding:
        return DataFinding("", "", kind=kind, action=action)  # type: ignore[arg-type]

    found = DataCheck(
        (finding("tiny", "keep"), finding("missing", "drop"), finding("no-label", "stop")), 3
    )
    assert list(found.by_kind()) == ["no-label", "missing", "tiny"]


def test_conflicts_agree_with_a_slow_count(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    train = tmp_path / "data" / "train"
    contents = [dirty.scene(number) for number in range(5)]
    rows, contents_of = [], {}
    for number in range(24):
        name, content = f"{number}.png", int(generator.integers(5))
        dirty.save(train / name, contents[content])
        label = "AB"[int(generator.integers(4) == 0)]
        rows.append(f"{name},{label}")
        contents_of[name] = (content, label)
    (tmp_path / "data" / "test").mkdir()
    found = checked(*dirty.write_list(tmp_path, rows)).findings
    slow = {
        name
        for name, (content, label) in contents_of.items()
        if any(other == content and its != label for other, its in contents_of.values())
    }
    assert {f.image_id for f in found if f.kind == "copy-conflict"} == slow


def odd_names(*names: str, **settings: object) -> list[str]:
    images = circle.image_set(dict.fromkeys(names, "Ahab"))
    rules = circle.competition(**settings)  # type: ignore[arg-type]
    places = dict.fromkeys(names, "train.csv line 2")
    return [finding.what for finding in data_check.name_findings([images], rules, places)]


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("whale (3).JPG", None),
        ("Täht-07_b.jpg", None),
        ("a b.jpg", None),
        ("a,b.jpg", "','"),
        ("<b>.jpg", "'<', '>'"),
        ("a\tb.jpg", "'U+0009'"),
        ("a\u200bb.jpg", "'U+200B'"),
        ("🐋.jpg", "'🐋'"),
        ('a"b.jpg', "'\"'"),
        ("a.jpg ", "a blank at its end"),
    ],
)
def test_names_with_odd_characters_are_found(name: str, odd: str | None) -> None:
    expected = [] if odd is None else [f"the name of image '{name}' has {odd}"]
    assert odd_names(name) == expected


def test_a_blank_in_a_name_is_odd_where_blanks_separate_answers() -> None:
    what = "the name of image 'a b.jpg' has a blank, which separates answers"
    assert odd_names("a b.jpg", answers="images") == [what]


def test_names_that_differ_only_in_case_or_accents_are_found() -> None:
    assert odd_names("a.jpg", "A.jpg", "b.jpg") == [
        "the names of images 'A.jpg' and 'a.jpg' differ only in case or accents"
    ]
    assert len(odd_names("e\u0301.jpg", "é.jpg")) == 1


def test_byte_order_marks_and_crlf_of_every_list_are_found(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbfImage,Id\r\n")
    (tmp_path / "sample.csv").write_bytes(b"Image,Id\r\n")
    (tmp_path / "boxes.csv").write_bytes(b"image,x0,y0,x1,y1\n")
    given = circle.competition(
        root=tmp_path,
        images={"train_list": "train.csv", "test_list": "sample.csv", "boxes": "boxes.csv"},
        form={"sample": "sample.csv"},
    )
    assert [(f.kind, f.where, f.action) for f in data_check.list_format_findings(given)] == [
        ("byte-order-mark", "train.csv line 1", "repair"),
        ("crlf", "train.csv line 1", "repair"),
        ("crlf", "sample.csv line 1", "repair"),
    ]


def test_an_image_of_a_faulty_row_counts_as_listed_and_is_excluded(tmp_path: Path) -> None:
    for name in ("train/a.jpg", "train/b.jpg", "train/c.jpg", "test/x.jpg", "test/y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "train.csv").write_text("Image,Id\na.jpg,Ahab\nb.jpg,\n")
    (tmp_path / "test.csv").write_text("Image\nx.jpg\n")
    given = circle.competition(
        root=tmp_path, images={"train_list": "train.csv", "test_list": "test.csv"}
    )
    survey = lists.survey(given)
    assert inventory.unlisted_files(survey, given) == [
        tmp_path / "train/c.jpg",
        tmp_path / "test/y.jpg",
    ]
    assert inventory.excluded_files(survey, given) == [tmp_path / "train/b.jpg"]
    assert survey.places == {"a.jpg": "train.csv line 2", "x.jpg": "test.csv line 2"}


def test_labels_are_checked_after_decisions(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for number in range(4):
        dirty.save(tmp_path / "data" / "train" / f"{number}.png", dirty.scene(number))
    rows = "Image,Id\n0.png,NA\n1.png,Boo\n2.png,Boo\n3.png,boo\n"
    (tmp_path / "data" / "list.csv").write_text(rows)
    given = circle.competition(
        root=tmp_path / "data",
        unknown_label=None,
        images={"train_list": "list.csv", "test_folder": None},
    )
    found = checked(workspace, given).findings
    assert [(each.kind, each.where) for each in found] == [
        ("unknown-label", "list.csv line 2"),
        ("labels-alike", "list.csv line 5"),
    ]
    lines = list(inventory.inventory_lines(lists.survey(given), given))
    assert [line.split(": label")[0] for line in lines[1:]] == [
        "unknown-label: 1, as list.csv line 2",
        "labels-alike: 1, as list.csv line 5",
    ]
    workspace.decisions.write_text("decision,subject,value,note\nfine,NA\nmerge,boo,Boo\n")
    assert checked(workspace, given).findings == ()


def test_decisions_of_a_page_about_photographs_that_are_gone_are_found(tmp_path: Path) -> None:
    for number, name in enumerate(dirty.CLEAN):
        dirty.save(tmp_path / "data" / "train" / name, dirty.scene(number))
    dirty.save(tmp_path / "data" / "test" / "t.png", dirty.scene(90))
    workspace, competition = dirty.write_list(tmp_path, [f"{name},Ahab" for name in dirty.CLEAN])
    workspace.decisions.write_text(
        "decision,subject,value,note,by\nnew,gone.png,,,Anna\nsame,t.png,lost.png,,Anna\n"
    )
    [found] = [f for f in checked(workspace, competition).findings if f.kind == "gone"]
    assert (found.where, found.action) == (str(workspace.decisions), "keep")
    assert found.what == (
        "decisions about 2 photographs or labels that no list names do not count, such as "
        "'gone.png'; they stay in decisions.csv"
    )
