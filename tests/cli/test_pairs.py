"""A competition of pairs on the command line: submission, page, faults, and made again."""

import csv
import json
from pathlib import Path

import pytest

from kitbox.synthetic import layouts
from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, invoke, json_of, kitbox, run
from tests.photographs import competition_on_disk, write_plugin
from tests.report.parsed_page import parse

INDIVIDUALS, TESTS = 6, 14


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("pairs")
    competition_on_disk(root, individuals=INDIVIDUALS, tests=TESTS)
    with (root / "truth.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Image", "Id", "individual"])
        for number in range(TESTS):
            label = f"w_{number % INDIVIDUALS}"
            writer.writerow([f"t_{number}.png", label, label])
    layouts.arrange(root / "data", root / "truth.csv", "jaguar-2026")
    run("init", str(root / "jaguars"), "--preset", "jaguar-2026", "--data", str(root / "data"))
    workspace = Workspace(root / "jaguars")
    write_plugin(workspace, "plain", epochs=0)
    write_plugin(workspace, "large", epochs=0, image_size=48)
    return workspace


def read(path: Path) -> dict[str, float]:
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == ["row_id", "similarity"]
    return {row: float(similarity) for row, similarity in rows[1:]}


def test_a_submission_of_pairs_is_made_again_byte_for_byte(place: Workspace) -> None:
    do = ("ensemble", "plain", "large", "--whiten", "4")
    made = json_of(place, *do, "--submit")
    folder = Path(made["submission"])
    receipt = json.loads((folder / "receipt.json").read_text())
    rows = TESTS * (TESTS - 1)
    ties = receipt["pairs"]["ties"]
    assert receipt["pairs"] == {
        "rows": rows, "scale": "cosine", "low": -1.0, "high": 1.0, "ties": ties,
    }  # fmt: skip
    assert receipt["metric"] == "identity_balanced_map"
    similarity = read(folder / "submission.csv")
    assert list(similarity) == [str(number) for number in range(rows)]
    assert all(0 <= value <= 1 for value in similarity.values())
    shown = kitbox(place, *do, "--submit", *RUN).stderr
    assert "the similarities in the CSV are (1 + cosine) / 2, from 0 to 1" in shown
    again = invoke(place, "reproduce", str(folder), "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr
    page = json_of(place, "report", folder.name)
    text = parse(Path(page["page"])).text
    assert f"{TESTS} test photographs, and the answers of submission.csv to them" in text


def test_a_fused_probability_is_the_similarity_of_a_pair(place: Workspace) -> None:
    made = json_of(place, "ensemble", "plain", "large", "--fusion", "mean", "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert receipt["pairs"]["scale"] == "probability"
    again = invoke(place, "reproduce", made["submission"], "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr


def test_re_ranking_moves_pairs_and_is_made_again(place: Workspace) -> None:
    made = json_of(place, "ensemble", "plain", "--rerank", "local_scaling:k=2", "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert receipt["way"]["rerank"] == ["local_scaling:k=2"]
    similarity = read(Path(made["csv"]))
    assert all(0 <= value <= 1 for value in similarity.values())
    assert similarity != read(Path(json_of(place, "ensemble", "plain", "--submit")["csv"]))
    again = invoke(place, "reproduce", made["submission"], "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr


def test_both_directions_of_a_pair_are_equal(place: Workspace) -> None:
    made = json_of(place, "ensemble", "plain", "--submit")
    similarity = read(Path(made["csv"]))
    with (place.root.parent / "data/test.csv").open() as file:
        names = {row["row_id"]: (row["query_image"], row["gallery_image"])
                 for row in csv.DictReader(file)}  # fmt: skip
    by_names = {names[row]: value for row, value in similarity.items()}
    for (query, image), value in by_names.items():
        assert by_names[image, query] == pytest.approx(value, abs=1e-6)


def test_a_faulty_list_of_pairs_stops_before_anything_is_embedded(place: Workspace) -> None:
    listed = place.root.parent / "data/test.csv"
    text = listed.read_text()
    try:
        listed.write_text(text + "999,t_0.png,t_0.png\n")
        told = error_of(place, "ensemble", "plain", "--submit")
        checked = invoke(place, "data", "check")
    finally:
        listed.write_text(text)
    line = TESTS * (TESTS - 1) + 2
    what = "the pair names 't_0.png' twice; an image is not compared with itself; remove the row"
    assert told == f"test.csv line {line}: {what}"
    assert f"test.csv line {line}" in checked.output
    assert "names 't_0.png' twice" in checked.output


def test_queries_that_no_pair_names_are_counted(place: Workspace) -> None:
    listed = place.root.parent / "data/test.csv"
    text = listed.read_text()
    try:
        listed.write_text("\n".join(text.splitlines()[: 2 * TESTS - 1]) + "\n")
        shown = kitbox(place, "ensemble", "plain", "--submit", *RUN).stderr
    finally:
        listed.write_text(text)
    assert f"{TESTS - 2} queries of {TESTS} are in no pair as a query, and have no row" in shown


def test_pairs_have_no_number_of_answers_and_no_threshold(place: Workspace) -> None:
    assert error_of(place, "ensemble", "plain", "--submit", "--top-k", "3") == (
        "--top-k 3: a submission has all of its pairs; leave it out"
    )
    assert error_of(place, "score", "plain", "--threshold", "0.5") == (
        "the answers of jaguar-2026 have no threshold; leave --threshold out"
    )


def test_a_comparison_is_over_individuals(place: Workspace) -> None:
    found = json_of(place, "compare", "plain", "large")
    scores = [
        json_of(place, "score", name)["scores"]["identity_balanced_map"]["value"]
        for name in ("plain", "large")
    ]
    assert found["difference"] == pytest.approx(scores[1] - scores[0], abs=2e-6)
    assert "p" in found
