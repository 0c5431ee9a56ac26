"""kitbox report, from the command line to the pages: what they say is what was scored."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kitbox.cli.app import app
from kitbox.errors import KitboxError
from kitbox.report import page, results_page
from kitbox.workspace import Workspace
from tests.report.pages import Parsed, parsed
from tests.report.scene import IMAGE, LABEL, RUN, build, kitbox


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with pytest.MonkeyPatch.context() as outside:
        outside.setenv("KITBOX_WORKSPACE", "")  # --workspace sets it: undone after this
        yield build(tmp_path_factory.mktemp("report"))


@pytest.fixture
def place(scene: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("KITBOX_WORKSPACE", str(scene.root))
    return scene


def reported(place: Workspace, *arguments: str) -> tuple[dict[str, Any], Parsed]:
    """Return what a report prints as JSON, and the page."""
    told = json.loads(kitbox(place, "report", *arguments, "--json").stdout)
    return told, parsed(Path(told["page"]))


def refused(place: Workspace, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["--workspace", str(place.root), "report", *arguments])
    assert isinstance(result.exception, KitboxError)
    return str(result.exception)


def map_of(found: Parsed) -> float:
    """Return mAP@20 of the hits that a page marks, slowly."""
    data = found.pack("queries")["queries"]
    values = []
    for row, relevant in enumerate(data["relevant"]):
        _, _, marks = found.pack(f"near-{row // 500}")[row % 500]
        ranks = [rank for rank, mark in enumerate(marks, 1) if mark == "1"]
        precision = [place / rank for place, rank in enumerate(ranks, 1)]
        if relevant:
            values.append(sum(precision) / min(relevant, 20))
    return sum(values) / len(values)


@pytest.mark.parametrize(
    "arguments",
    [("plain",), ("plain", "large", "--weights", "1,2"), ("large", "--threshold", "0.9")],
)
def test_the_pictures_agree_with_the_score(place: Workspace, arguments: tuple[str, ...]) -> None:
    scored = json.loads(kitbox(place, "score", *arguments, *RUN, "--json").stdout)["scores"]
    told, found = reported(place, *arguments, *RUN)
    assert told["scores"] == scored
    assert map_of(found) == pytest.approx(scored["map_at_20"]["value"], abs=1e-6)
    data = found.pack("queries")["queries"]
    assert len(data["id"]) == scored["label_map_at_5"]["queries"]
    mean = sum(data["value"]) / len(data["value"]) / 10_000
    assert mean == pytest.approx(scored["label_map_at_5"]["value"], abs=1e-4)
    assert f"{scored['label_map_at_5']['value']:.4f}" in found.text


def test_every_section_of_results_is_there(place: Workspace) -> None:
    _, found = reported(place, "plain", "large", *RUN)
    anchors = [a["href"][1:] for a in found.of("a") if "class" not in a]
    wanted = [
        "scores",
        "queries",
        "pairs",
        "identities",
        "similarities",
        "map",
        "members",
        "training",
    ]
    assert [anchor for anchor in anchors if anchor in wanted] == wanted
    ids = {attributes.get("id") for attributes in found.of("section")}
    assert set(anchors) == ids
    plots = [svg for svg in found.of("svg") if svg.get("role") == "img"]
    assert len(plots) >= 3
    assert all(len(svg["aria-label"]) > 40 for svg in plots)
    assert len(found.pack("map")["x"]) == 55
    images = found.pack("queries")["images"]
    pictures = [text for n in range(1) for text in found.pack(f"pictures-{n}")]
    assert len(pictures) == len(images["id"]) == len(images["shape"]) == 55
    assert all(pictures)


def test_hostile_names_are_shown_and_do_nothing(place: Workspace) -> None:
    _, results = reported(place, "plain", *RUN)
    assert LABEL in results.pack("queries")["labels"]
    assert IMAGE in results.pack("queries")["images"]["id"]
    _, data = reported(place)
    assert IMAGE in data.pack("sheets")["id"]
    for found in (results, data):
        assert all("style" in bold for bold in found.of("b"))  # the marks of intervals
        assert not any(text.startswith("document.title") for text in found.scripts.values())


def test_a_submission_is_shown_by_its_receipt(place: Workspace) -> None:
    made = kitbox(
        place, "ensemble", "plain", "large", "--weights", "3,1", *RUN, "--submit", "--json"
    )
    made = json.loads(made.stdout)
    name = Path(made["submission"]).name
    told, found = reported(place, name[:-2], *RUN)
    assert told["scores"] == made["scores"]
    assert reported(place, name.rsplit("_", 1)[-1], *RUN)[0]["page"] == told["page"]
    assert f"Submission {name}, asked of the local holdout." in found.text
    assert "plain (75%), large (25%)" in found.text
    assert "Trained again" not in found.text
    message = refused(place, name, "--weights", "1,1")
    assert message.endswith("threshold in its receipt; leave the options out")


def test_names_that_are_nothing_are_refused(place: Workspace) -> None:
    assert refused(place, "plane") == (
        "no plugin named plane; did you mean plain?; nor is it a submission, 'kitbox leaderboard' "
        "lists submissions"
    )
    assert refused(place, "plane", "plain") == "no plugin named plane; did you mean plain?"
    assert refused(place, "plain", "--fold", "2").startswith("--fold 2: kitbox.toml has")
    for option, value in (
        ("--whiten", "8"),
        ("--combine", "labels"),
        ("--dims", "8"),
        ("--new-label", "learned"),
        ("--fold", "2"),
        ("--checkpoint", "best"),
    ):
        assert refused(place, option, value) == (
            f"{option} is about plugins; name them, or leave it out"
        )
    assert refused(place, "plain", "--by", "plain").startswith("--by shows the data; leave it out")


def test_the_page_of_the_data_counts_and_shows_all_of_it(place: Workspace) -> None:
    told, found = reported(place, "--by", "plain")
    assert told["page"] == str(place.reports / "data.html")
    sheets = found.pack("sheets")
    assert (sheets["sides"], len(sheets["id"])) == (["labelled", "test"], 61)
    assert sum(sheets["asked"]) > 0
    box = sheets["box"][sheets["id"].index("3_0.png")]
    assert box == [round(1000 * part) for part in (10 / 96, 10 / 64, 70 / 96, 40 / 64)]
    assert sheets["box"][sheets["id"].index("3_1.png")] is None
    assert sheets["size"][0] == [96, 64]
    samples = [image for image in found.of("img") if image.get("src", "").startswith("data:")]
    assert len(samples) == 36
    assert {image["alt"].split(", ")[-1] for image in samples} == {
        "unchanged",
        *(f"as in epoch {n}" for n in range(1, 6)),
    }
    assert "32 × 32 pixels" in found.text
    for words in ("labelled photographs", "queries of unknown individuals", "Long side"):
        assert words in found.text


def test_findings_of_the_last_check_are_told(place: Workspace) -> None:
    table = place.reports / "check.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text(
        "kind,where,image,what,action\nblurred,train/a.png,a.png,is <soft>,keep\n"
        "blurred,train/b.png,b.png,is soft,drop\ntiny,train/c.png,c.png,is tiny,keep\n"
    )
    _, found = reported(place)
    assert "train/a.png: is <soft>" in found.text
    assert "keep, drop" in found.text
    table.write_bytes(b"\xff\xfe\x00")
    assert "Findings" not in reported(place)[1].text
    table.unlink()


def test_the_check_has_a_page_that_the_data_tells_of(place: Workspace) -> None:
    told = json.loads(kitbox(place, "data", "check", "--json").stdout)
    check = parsed(Path(told["page"]))
    rows = check.pack("findings")
    assert len(rows) == sum(told["counts"].values()) > 0
    odd = next(row for row in rows if row[0] == "odd-name")
    assert odd[3] == IMAGE
    assert check.pack(f"pictures-{odd[5] // 64}")[odd[5] % 64]
    _, found = reported(place)
    assert "odd-name" in found.text
    (place.reports / "check.csv").unlink()


def test_a_large_page_is_split(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MAX_BYTES", 100_000)
    told, found = reported(place, "plain", *RUN)
    assert told["files_beside"] >= 1
    assert told["bytes"] == Path(told["page"]).stat().st_size < 100_000
    folder = Path(told["page"]).with_name(Path(told["page"]).stem + "_files")
    assert len(list(folder.iterdir())) == told["files_beside"]
    assert "pack-pictures-0" not in found.scripts


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a+b", "a+b"),
        ("a/../b", "a-..-b"),
        ("x" * 100, "x" * 80 + "_98fd5a0e"),
    ],
)
def test_pages_are_named_after_what_they_show(name: str, file: str) -> None:
    found = results_page.file_name(name)
    assert found[:80] == file[:80]
    assert len(found) <= 89
    assert "/" not in found


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["gdsc2020"])
def test_other_competitions_have_pages_too(
    tmp_path: Path, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITBOX_WORKSPACE", "")
    place = build(tmp_path, preset)
    scored = json.loads(kitbox(place, "score", "plain", *RUN, "--json").stdout)["scores"]
    told, found = reported(place, "plain", *RUN)
    assert told["scores"] == scored
    assert map_of(found) == pytest.approx(scored["map_at_20"]["value"], abs=1e-6)
    assert found.pack("queries")["queries"]["answers"] is None
