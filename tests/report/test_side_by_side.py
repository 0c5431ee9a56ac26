"""The pages of duplicates and of findings: what is shown, and what would decide it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kitbox.dataset.duplicates import DuplicateGroup, ImagePool
from kitbox.dataset.label_errors import LabelSuspect
from kitbox.files import digest_of_file
from kitbox.images.file_index import Signatures
from kitbox.records import ImageSet, strings
from kitbox.report import check_page, duplicates_page
from kitbox.workspace import Workspace
from tests.photographs import finish, picture
from tests.report.pages import Parsed, parsed

HOSTILE = "<i>Ahab</i>"


@pytest.fixture
def images(workspace: Workspace) -> ImageSet:
    paths = tuple(picture(workspace.root / f"{n}.png", n, 0) for n in range(12))
    return ImageSet(
        strings([path.name for path in paths]),
        paths,
        strings([HOSTILE] * 6 + ["Boo"] * 4 + ["", ""]),
        digests=strings([digest_of_file(path) for path in paths]),
    )


def shown(
    images: ImageSet,
    workspace: Workspace,
    groups: list[DuplicateGroup],
    suspects: list[LabelSuspect] | None,
) -> Parsed:
    sides = strings(["train"] * 8 + ["query"] * 2 + ["test"] * 2)
    nothing = np.zeros((len(images), 8), dtype=np.uint8)
    pool = ImagePool(images, Signatures(nothing, nothing), sides, (images,))
    path = workspace.reports / "duplicates.html"
    stage = duplicates_page.write(groups, suspects, pool, "new_whale", workspace, path)
    return parsed(finish(stage)[1].path)


def group(kind: str, *rows: int, labels: tuple[str, ...], sides: tuple[str, ...]) -> DuplicateGroup:
    return DuplicateGroup(
        kind=kind,  # type: ignore[arg-type]
        images=tuple(f"{row}.png" for row in rows),
        labels=labels,
        sides=sides,
        undecided=True,
    )


def test_a_conflict_shows_both_pictures_and_the_row_that_would_mend_it(
    images: ImageSet, workspace: Workspace
) -> None:
    found = shown(
        images,
        workspace,
        [
            group("copies", 0, 6, labels=(HOSTILE, "Boo"), sides=("train", "train")),
            group("copies", 1, 10, labels=(HOSTILE, ""), sides=("train", "test")),
        ],
        None,
    )
    assert "two labels for one picture" in found.text
    assert "leaks across train/test" in found.text
    assert f"label,6.png,{HOSTILE}" in found.text
    assert [image["alt"] for image in found.of("img")] == [
        f"0.png, {HOSTILE}, train",
        "6.png, Boo, train",
        f"1.png, {HOSTILE}, train",
        "10.png, test",
    ]
    assert len(found.pack("pictures-0")) == 4
    assert not found.of("i")
    assert "Suspect labels" not in found.words


def test_a_group_of_many_shows_every_side_before_more_of_one(
    images: ImageSet, workspace: Workspace
) -> None:
    rows = range(12)
    labels = (*[HOSTILE] * 6, *["Boo"] * 4, "", "")
    sides = (*["train"] * 8, *["query"] * 2, *["test"] * 2)
    found = shown(images, workspace, [group("neighbours", *rows, labels=labels, sides=sides)], None)
    alts = [image["alt"] for image in found.of("img")]
    assert len(alts) == 8
    assert {alt.split(", ")[-1] for alt in alts[:4]} == {"train", "query", "test"}
    assert "4 more photographs." in found.text


def test_suspects_stand_side_by_side_with_what_would_decide_them(
    images: ImageSet, workspace: Workspace
) -> None:
    mutual = LabelSuspect(
        kind="mutual",
        images=("0.png", "6.png"),
        labels=(HOSTILE, "Boo"),
        similarity=0.9,
        evidence=0.2,
    )
    split = LabelSuspect(
        kind="split",
        images=tuple(f"{n}.png" for n in range(6)),
        labels=(HOSTILE,),
        similarity=0.1,
        evidence=0.1,
        first_count=4,
    )
    found = shown(images, workspace, [], [mutual, split])
    assert f"{HOSTILE} and Boo" in found.text
    assert "similarity 0.900: 0.200 more than their labels explain" in found.text
    assert "fine,0.png,6.png" in found.text
    assert f"label,4.png,{HOSTILE}_2" in found.text
    assert "4 and 2 photographs" in found.text
    assert [li["data-kind"] for li in found.of("li") if "data-kind" in li] == ["mutual", "split"]


def test_no_suspects_are_told_as_such(images: ImageSet, workspace: Workspace) -> None:
    assert "no two labels are mixed up" in shown(images, workspace, [], []).text


@dataclass(frozen=True)
class Found:
    kind: str
    where: str
    image_id: str
    what: str
    action: str


def test_findings_are_counted_and_shown_with_their_pictures(
    images: ImageSet, workspace: Workspace
) -> None:
    broken = workspace.root / "broken.jpg"
    broken.write_bytes(b"<html>")
    unread = ImageSet(strings(["broken.jpg"]), (broken,), digests=strings(["0"]))
    given = [
        Found("blurred", "0.png", "0.png", "is <b>soft</b>", "keep"),
        Found("blurred", "3.png", "3.png", "is soft", "keep"),
        Found("a web page", "train.csv line 3", "broken.jpg", "is a web page", "drop"),
        Found("bom", "train.csv", "", "begins with a mark", "repair"),
    ]
    path = workspace.reports / "check.html"
    stage = check_page.write(given, [images, unread], workspace, path, checked=13)
    found = parsed(finish(stage)[1].path)
    assert "4 findings in 13 images and their lists" in found.text
    rows = found.pack("findings")
    assert [row[5] for row in rows] == [0, 1, 2, -1]
    assert [bool(text) for text in found.pack("pictures-0")] == [True, True, False]
    assert rows[0][4] == "is <b>soft</b>"
    kinds = [button["data-kind"] for button in found.of("button") if "data-kind" in button]
    assert kinds == ["blurred", "a web page", "bom"]
    assert all(text in found.text for text in ("keeps it", "leaves it out", "you can"))
    assert not found.of("b")


def test_nothing_wrong_is_told_as_such(workspace: Workspace) -> None:
    stage = check_page.write([], [], workspace, workspace.reports / "check.html", checked=5)
    found = parsed(finish(stage)[1].path)
    assert "Nothing is wrong in 5 images and their lists." in found.text


def test_a_table_that_is_not_there_or_is_damaged_tells_no_findings(tmp_path: Path) -> None:
    table = tmp_path / "check.csv"
    assert check_page.load_summaries(table) == []
    table.write_bytes(b"\xff\xfe")
    assert check_page.load_summaries(table) == []
    table.write_text("colour\nred\n")
    assert check_page.load_summaries(table) == []
