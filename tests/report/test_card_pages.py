"""The pages of duplicates and of the data check: images and suggested decisions."""

from pathlib import Path

import numpy as np
import pytest

from kitbox.competition.findings import DataFinding
from kitbox.dataset.duplicates import DuplicateGroup, ImagePool
from kitbox.dataset.label_errors import LabelSuspect
from kitbox.files import digest_of_file
from kitbox.images.file_index import Signatures
from kitbox.records import ImageSet, strings
from kitbox.report import check_page, duplicates_page
from kitbox.workspace import Workspace
from tests.photographs import finish, picture
from tests.report.parsed_page import ParsedPage, parse

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


def write_page(
    images: ImageSet,
    workspace: Workspace,
    groups: list[DuplicateGroup],
    suspects: list[LabelSuspect] | None,
) -> ParsedPage:
    sides = strings(["train"] * 8 + ["query"] * 2 + ["test"] * 2)
    nothing = np.zeros((len(images), 8), dtype=np.uint8)
    pool = ImagePool(images, Signatures(nothing, nothing), sides, (images,))
    path = workspace.reports / "duplicates.html"
    stage = duplicates_page.write(groups, suspects, pool, "new_whale", workspace, path)
    return parse(finish(stage)[1].path)


def group(kind: str, *rows: int, labels: tuple[str, ...], sides: tuple[str, ...]) -> DuplicateGroup:
    return DuplicateGroup(
        kind=kind,  # type: ignore[arg-type]
        images=tuple(f"{row}.png" for row in rows),
        labels=labels,
        sides=sides,
        undecided=True,
    )


def test_a_conflict_shows_both_images_and_the_suggested_row(
    images: ImageSet, workspace: Workspace
) -> None:
    parsed = write_page(
        images,
        workspace,
        [
            group("copies", 0, 6, labels=(HOSTILE, "Boo"), sides=("train", "train")),
            group("copies", 1, 10, labels=(HOSTILE, ""), sides=("train", "test")),
        ],
        None,
    )
    assert "two labels for one picture" in parsed.text
    assert "leaks across train/test" in parsed.text
    assert f"label,6.png,{HOSTILE}" in parsed.text
    assert [image["alt"] for image in parsed.of("img")] == [
        f"0.png, {HOSTILE}, train",
        "6.png, Boo, train",
        f"1.png, {HOSTILE}, train",
        "10.png, test",
    ]
    assert len(parsed.chunk("pictures-0")) == 4
    assert not parsed.of("i")
    assert "Suspect labels" not in parsed.words


def test_a_large_group_shows_every_side_before_more_of_one(
    images: ImageSet, workspace: Workspace
) -> None:
    rows = range(12)
    labels = (*[HOSTILE] * 6, *["Boo"] * 4, "", "")
    sides = (*["train"] * 8, *["query"] * 2, *["test"] * 2)
    parsed = write_page(
        images, workspace, [group("neighbours", *rows, labels=labels, sides=sides)], None
    )
    alts = [image["alt"] for image in parsed.of("img")]
    assert len(alts) == 8
    assert {alt.split(", ")[-1] for alt in alts[:4]} == {"train", "query", "test"}
    assert "4 more photographs." in parsed.text


def test_suspects_are_shown_with_suggested_decisions(
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
    parsed = write_page(images, workspace, [], [mutual, split])
    assert f"{HOSTILE} and Boo" in parsed.text
    assert "similarity 0.900: 0.200 more than their labels explain" in parsed.text
    assert "fine,0.png,6.png" in parsed.text
    assert f"label,4.png,{HOSTILE}_2" in parsed.text
    assert "4 and 2 photographs" in parsed.text
    assert [li["data-kind"] for li in parsed.of("li") if "data-kind" in li] == ["mutual", "split"]


def test_the_page_states_that_there_are_no_suspects(images: ImageSet, workspace: Workspace) -> None:
    assert (
        "these networks find no labels that are mixed up"
        in write_page(images, workspace, [], []).text
    )


def test_findings_are_counted_and_shown_with_their_images(
    images: ImageSet, workspace: Workspace
) -> None:
    broken = workspace.root / "broken.jpg"
    broken.write_bytes(b"<html>")
    unread = ImageSet(strings(["broken.jpg"]), (broken,), digests=strings(["0"]))
    given = [
        DataFinding("0.png", "is <b>soft</b>", image_id="0.png", kind="blurred", action="keep"),
        DataFinding("3.png", "is soft", image_id="3.png", kind="blurred", action="keep"),
        DataFinding(
            "train.csv line 3",
            "is a web page",
            image_id="broken.jpg",
            kind="a web page",
            action="drop",
        ),
        DataFinding("train.csv", "begins with a mark", kind="bom", action="repair"),
    ]
    path = workspace.reports / "check.html"
    stage = check_page.write(given, [images, unread], workspace, path, checked=13)
    parsed = parse(finish(stage)[1].path)
    assert "4 findings in 13 images and their lists" in parsed.text
    rows = parsed.chunk("findings")
    assert [row[5] for row in rows] == [0, 1, 2, -1]
    assert [bool(text) for text in parsed.chunk("pictures-0")] == [True, True, False]
    assert rows[0][4] == "is <b>soft</b>"
    kinds = [button["data-kind"] for button in parsed.of("button") if "data-kind" in button]
    assert kinds == ["blurred", "a web page", "bom"]
    assert all(text in parsed.text for text in ("keeps it", "leaves it out", "you can"))
    assert not parsed.of("b")


def test_the_page_states_that_there_are_no_findings(workspace: Workspace) -> None:
    stage = check_page.write([], [], workspace, workspace.reports / "check.html", checked=5)
    parsed = parse(finish(stage)[1].path)
    assert "No findings in 5 images and their lists." in parsed.text


def test_a_missing_or_damaged_table_has_no_findings(tmp_path: Path) -> None:
    table = tmp_path / "check.csv"
    assert check_page.load_summaries(table) == []
    table.write_bytes(b"\xff\xfe")
    assert check_page.load_summaries(table) == []
    table.write_text("colour\nred\n")
    assert check_page.load_summaries(table) == []
