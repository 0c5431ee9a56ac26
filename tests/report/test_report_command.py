"""kitbox report, from the command line to the pages: they show what was scored."""

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
from tests.report.parsed_page import ParsedPage, parse
from tests.report.sample_workspace import IMAGE, LABEL, RUN, kitbox, train_sample


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with pytest.MonkeyPatch.context() as outside:
        outside.setenv("KITBOX_WORKSPACE", "")  # --workspace sets it; restored afterwards
        yield train_sample(tmp_path_factory.mktemp("report"))


@pytest.fixture
def place(scene: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("KITBOX_WORKSPACE", str(scene.root))
    return scene


def report(place: Workspace, *arguments: str) -> tuple[dict[str, Any], ParsedPage]:
    """Return the JSON that a report prints, and the page."""
    printed = json.loads(kitbox(place, "report", *arguments, "--json").stdout)
    return printed, parse(Path(printed["page"]))


def refused(place: Workspace, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["--workspace", str(place.root), "report", *arguments])
    assert isinstance(result.exception, KitboxError)
    return str(result.exception)


def map_of(parsed: ParsedPage) -> float:
    """Return mAP@20 of the hits in a page, slowly."""
    data = parsed.chunk("queries")["queries"]
    values = []
    for row, relevant in enumerate(data["relevant"]):
        _, _, marks = parsed.chunk(f"near-{row // 500}")[row % 500]
        ranks = [rank for rank, mark in enumerate(marks, 1) if mark == "1"]
        precision = [place / rank for place, rank in enumerate(ranks, 1)]
        if relevant:
            values.append(sum(precision) / min(relevant, 20))
    return sum(values) / len(values)


@pytest.mark.parametrize(
    "arguments",
    [("plain",), ("plain", "large", "--weights", "1,2"), ("large", "--threshold", "0.9")],
)
def test_the_page_agrees_with_the_score(place: Workspace, arguments: tuple[str, ...]) -> None:
    scored = json.loads(kitbox(place, "score", *arguments, *RUN, "--json").stdout)["scores"]
    printed, parsed = report(place, *arguments, *RUN)
    assert printed["scores"] == scored
    assert map_of(parsed) == pytest.approx(scored["map_at_20"]["value"], abs=1e-6)
    data = parsed.chunk("queries")["queries"]
    assert len(data["id"]) == scored["label_map_at_5"]["queries"]
    mean = sum(data["value"]) / len(data["value"]) / 10_000
    assert mean == pytest.approx(scored["label_map_at_5"]["value"], abs=1e-4)
    assert f"{scored['label_map_at_5']['value']:.4f}" in parsed.text


def test_the_results_page_has_every_section(place: Workspace) -> None:
    _, parsed = report(place, "plain", "large", *RUN)
    anchors = [a["href"][1:] for a in parsed.of("a") if "class" not in a]
    expected = [
        "scores",
        "queries",
        "pairs",
        "individuals",
        "similarities",
        "map",
        "members",
        "training",
    ]
    assert [anchor for anchor in anchors if anchor in expected] == expected
    ids = {attributes.get("id") for attributes in parsed.of("section")}
    assert set(anchors) == ids
    plots = [svg for svg in parsed.of("svg") if svg.get("role") == "img"]
    assert len(plots) >= 3
    assert all(len(svg["aria-label"]) > 40 for svg in plots)
    assert len(parsed.chunk("map")["x"]) == 55
    images = parsed.chunk("queries")["images"]
    pictures = [text for n in range(1) for text in parsed.chunk(f"pictures-{n}")]
    assert len(pictures) == len(images["id"]) == len(images["aspect"]) == 55
    assert all(pictures)


def test_hostile_names_are_shown_and_not_executed(place: Workspace) -> None:
    _, results = report(place, "plain", *RUN)
    assert LABEL in results.chunk("queries")["labels"]
    assert IMAGE in results.chunk("queries")["images"]["id"]
    _, data = report(place)
    assert IMAGE in data.chunk("sheets")["id"]
    for parsed in (results, data):
        assert all("style" in bold for bold in parsed.of("b"))  # the bars of intervals
        assert not any(text.startswith("document.title") for text in parsed.scripts.values())


def test_a_submission_is_reported_by_its_receipt(place: Workspace) -> None:
    result = kitbox(
        place, "ensemble", "plain", "large", "--weights", "3,1", *RUN, "--submit", "--json"
    )
    submission = json.loads(result.stdout)
    name = Path(submission["submission"]).name
    printed, parsed = report(place, name[:-2], *RUN)
    assert printed["scores"] == submission["scores"]
    assert report(place, name.rsplit("_", 1)[-1], *RUN)[0]["page"] == printed["page"]
    assert f"Submission {name}, answered on the local holdout." in parsed.text
    assert "plain (75%), large (25%)" in parsed.text
    assert "Trained again" not in parsed.text
    csv = Path(submission["csv"])
    lines = [line.split(",") for line in csv.read_text().splitlines()[1:]]
    assert f"{len(lines)} test photographs, and the answers of submission.csv" in parsed.text
    for photograph, answers in lines:
        assert f"{photograph}{answers.split()[0]}{' · '.join(answers.split()[1:])}" in parsed.text
    text = csv.read_text()
    csv.unlink()  # it is not under version control
    try:
        assert "submission.csv is no longer beside its receipt" in report(place, name, *RUN)[1].text
    finally:
        csv.write_text(text)
    message = refused(place, name, "--weights", "1,1")
    assert message.endswith("and threshold in its receipt; leave the options out")


def test_unknown_names_are_refused(place: Workspace) -> None:
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


def test_the_data_page_counts_and_shows_all_images(place: Workspace) -> None:
    printed, parsed = report(place, "--by", "plain")
    assert printed["page"] == str(place.reports / "data.html")
    sheets = parsed.chunk("sheets")
    assert (sheets["sides"], len(sheets["id"])) == (["labelled", "test"], 61)
    assert sum(sheets["query"]) > 0
    box = sheets["box"][sheets["id"].index("3_0.png")]
    assert box == [round(1000 * part) for part in (10 / 96, 10 / 64, 70 / 96, 40 / 64)]
    assert sheets["box"][sheets["id"].index("3_1.png")] is None
    assert sheets["size"][0] == [96, 64]
    samples = [image for image in parsed.of("img") if image.get("src", "").startswith("data:")]
    assert len(samples) == 36
    assert {image["alt"].split(", ")[-1] for image in samples} == {
        "unchanged",
        *(f"as in epoch {n}" for n in range(1, 6)),
    }
    assert "32 × 32 pixels" in parsed.text
    for words in ("labelled photographs", "queries of unknown individuals", "Long side"):
        assert words in parsed.text


def test_the_data_page_has_the_findings_of_the_last_check(place: Workspace) -> None:
    table = place.reports / "check.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text(
        "kind,where,image,what,action\nblurred,train/a.png,a.png,is <soft>,keep\n"
        "blurred,train/b.png,b.png,is soft,drop\ntiny,train/c.png,c.png,is tiny,keep\n"
    )
    _, parsed = report(place)
    assert "train/a.png: is <soft>" in parsed.text
    assert "keep, drop" in parsed.text
    table.write_bytes(b"\xff\xfe\x00")
    assert "Findings" not in report(place)[1].text
    table.unlink()


def test_the_check_writes_a_page_and_the_data_page_mentions_its_findings(place: Workspace) -> None:
    printed = json.loads(kitbox(place, "data", "check", "--json").stdout)
    check = parse(Path(printed["page"]))
    rows = check.chunk("findings")
    assert len(rows) == sum(printed["counts"].values()) > 0
    odd = next(row for row in rows if row[0] == "odd-name")
    assert odd[3] == IMAGE
    assert check.chunk(f"pictures-{odd[5] // 64}")[odd[5] % 64]
    _, parsed = report(place)
    assert "odd-name" in parsed.text
    (place.reports / "check.csv").unlink()


def test_a_large_page_is_split(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MAX_BYTES", 110_000)
    printed, parsed = report(place, "plain", *RUN)
    assert printed["files_beside"] >= 1
    assert printed["bytes"] == Path(printed["page"]).stat().st_size < 110_000
    folder = Path(printed["page"]).with_name(Path(printed["page"]).stem + "_files")
    assert len(list(folder.iterdir())) == printed["files_beside"]
    assert "chunk-pictures-0" not in parsed.scripts


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a+b", "a+b"),
        ("a/../b", "a-..-b"),
        ("x" * 100, "x" * 80 + "_98fd5a0e"),
    ],
)
def test_file_names_are_short_and_safe(name: str, file: str) -> None:
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
    place = train_sample(tmp_path, preset)
    scored = json.loads(kitbox(place, "score", "plain", *RUN, "--json").stdout)["scores"]
    printed, parsed = report(place, "plain", *RUN)
    assert printed["scores"] == scored
    assert map_of(parsed) == pytest.approx(scored["map_at_20"]["value"], abs=1e-6)
    assert parsed.chunk("queries")["queries"]["answers"] is None
