"""The command identify: from photographs and a catalogue to answers, in one go."""

import csv
import json
from pathlib import Path

import pytest

from kitbox.catalogue import catalogue_list
from kitbox.cli.identify import parse_columns, parse_names
from kitbox.competition import lists, settings
from kitbox.errors import KitboxError
from tests.commands import RUN, run
from tests.identification.photographed_catalogue import draw_card, draw_catalogue, with_eyes
from tests.photographs import picture, write_plugin


def test_identify_makes_its_workspace_and_prints_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_catalogue(tmp_path)
    draw_card(tmp_path)
    monkeypatch.chdir(tmp_path)
    with_eyes(tmp_path / "whales-kitbox")
    result = run("identify", "card", "--catalogue", "whales", "--with", "eyes", *RUN)
    assert (
        f"catalogue: 40 photographs of 10 individuals; workspace: {tmp_path / 'whales-kitbox'}"
        in result.stderr
    )
    assert "card/day 1/k_0.png" in result.stdout
    assert "6 photographs: 4 identified, 2 new?, 0 undecided" in result.stderr
    assert "eyes: embeddings of 46 photographs, 0 from the cache and 46 computed" in result.stderr
    assert (
        "to confirm by eye: kitbox look --workspace whales-kitbox\n"
        "then: kitbox catalogue add --workspace whales-kitbox\n"
        "or fill in the column confirmed of the table, then: "
        "kitbox catalogue add whales-kitbox/identified.csv --workspace whales-kitbox\n"
    ) in result.stderr
    assert (tmp_path / "whales-kitbox" / "identified.csv").is_file()
    assert (tmp_path / "whales-kitbox" / "identified.html").is_file()
    again = run(
        "identify", "card", "--catalogue", "whales-kitbox", "--with", "eyes", *RUN, "--json"
    )
    document = json.loads(again.stdout)
    assert document["table"] == str(tmp_path / "whales-kitbox" / "identified.csv")
    assert len(document["photographs"]) == 6
    assert "eyes: embeddings of 46 photographs, 46 from the cache and 0 computed" in (again.stderr)
    # the undecided come first
    by_doubt = run(
        "identify", "card", "--catalogue", "whales", "--with", "eyes", *RUN, "--certain", "0.9999"
    )
    shown = [line for line in by_doubt.stdout.splitlines() if "card/" in line]
    verdicts = ["undecided" in line for line in shown]
    assert verdicts == sorted(verdicts, reverse=True)


def test_an_audit_asks_the_catalogue_about_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_catalogue(tmp_path)
    monkeypatch.chdir(tmp_path)
    with_eyes(tmp_path / "whales-kitbox")
    arguments = ("identify", "--catalogue", "whales", "--audit", "--with", "eyes", *RUN)
    result = run(*arguments)
    assert "the first individual is right in" in result.stderr
    assert "stated" in result.stdout
    document = json.loads(run(*arguments, "--json").stdout)
    assert document["individuals"] == 10
    assert document["network"] == "eyes"
    page = tmp_path / "whales-kitbox" / "audit.html"
    assert document["page"] == str(page)
    assert "How right probabilities are" in page.read_text(encoding="utf-8")
    assert f"page: {page}" in result.stderr.replace("\n", "")
    assert not (tmp_path / "whales-kitbox" / "identified.csv").exists()
    refused = run("identify", "whales", "--catalogue", "whales", "--audit", code=1)
    assert str(refused.exception) == (
        "--audit asks about the photographs of the catalogue; leave the others out"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("card",), "identify needs the known individuals; add --catalogue with their folder or"),
        (("--catalogue", "whales"), "there is nothing to identify; name photographs or their fol"),
        (("card", "--catalogue", "none"), "there is no catalogue none; name a folder or a list"),
        (("gone", "--catalogue", "whales"), "there is no file or folder gone; correct its name"),
        (("card", "--catalogue", "empty"), "empty has no photograph of an individual; put the pho"),
        (("empty", "--catalogue", "whales"), "there is no photograph in empty; name files or fol"),
        (
            ("card", "--catalogue", "whales", "--certain", "1.5"),
            "--certain 1.5 is no probability from 0.5 to below 1; 0.8 is usual",
        ),
        (
            ("card", "--catalogue", "whales", "--match", "shift"),
            "there is no matcher 'shift'; did you mean sift?",
        ),
    ],
)
def test_what_is_missing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    draw_catalogue(tmp_path, individuals=2, each=1)
    draw_card(tmp_path, known=1, new=0)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert str(run("identify", *arguments, code=1).exception).startswith(message)
    assert not (tmp_path / "whales-kitbox").exists()


def test_commands_in_errors_work_in_the_folder_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_catalogue(tmp_path, individuals=2, each=1)
    draw_card(tmp_path, known=1, new=0)
    work = with_eyes(tmp_path / "my whales")
    write_plugin(work, "learned")
    monkeypatch.chdir(tmp_path)
    arguments = ("card", "--catalogue", "whales", "--workspace", "my whales")
    refused = run("identify", *arguments, "--with", "learned", code=1)
    assert str(refused.exception) == (
        "learned is not trained; run 'kitbox --workspace \"my whales\" train learned'"
    )
    monkeypatch.chdir(work.root)
    arguments = ("../card", "--catalogue", "../whales", "--workspace", ".")
    refused = run("identify", *arguments, "--with", "learned", code=1)
    assert str(refused.exception) == "learned is not trained; run 'kitbox train learned'"


def test_columns_of_a_list_are_named_by_what_they_have() -> None:
    assert parse_columns(["individual=Nr = x", "date=Dato"]) == {
        "individual": "Nr = x",
        "date": "Dato",
    }
    for text in ("whale=Nr", "individual=", "individual"):
        with pytest.raises(KitboxError, match=f"--column: '{text}' names no column; write indiv"):
            parse_columns([text])


def test_names_are_separated_by_commas_and_keep_their_settings() -> None:
    assert parse_names(["one,two@image_size=96,pooling=gem", "three, four"]) == (
        "one",
        "two@image_size=96,pooling=gem",
        "three",
        "four",
    )


def test_what_is_confirmed_is_known_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_catalogue(tmp_path)
    draw_card(tmp_path)
    monkeypatch.chdir(tmp_path)
    workspace = with_eyes(tmp_path / "whales-kitbox")
    arguments = ("identify", "card", "--catalogue", "whales", "--with", "eyes", *RUN)
    run(*arguments)
    table = workspace.root / "identified.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["confirmed"] for row in rows} == {""}
    answers = {"card/day 1/k_0.png": "w_0", "card/day 2/n_0.png": "new"}
    for row in rows:
        row["confirmed"] = answers.get(row["image"], "")
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    at = ("--workspace", str(workspace.root))
    run("catalogue", "add", str(table), "--pattern", "w_{number}", *at)
    individual_of = {row.image: row.individual for row in catalogue_list.load(workspace.catalogue)}
    assert individual_of["card/day 1/k_0.png"] == "w_0"
    assert individual_of["card/day 2/n_0.png"] == "w_10"
    # an image in both lists would be refused
    listed = lists.read(settings.load(workspace))
    assert (len(listed.labelled), len(listed.test or ())) == (42, 4)
    run("catalogue", "merge", "w_1", "w_0", *at)
    picture(tmp_path / "whales" / "w_1" / "late.png", 1, 77)
    document = json.loads(run(*arguments, "--json").stdout)
    assert len(document["photographs"]) == 4
    individual_of = {row.image: row.individual for row in catalogue_list.load(workspace.catalogue)}
    assert individual_of["whales/w_1/late.png"] == "w_0"
    assert settings.load(workspace).catalogue.pattern == "w_{number}"


def test_boxes_of_another_program_make_each_animal_a_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_catalogue(tmp_path)
    draw_card(tmp_path, known=2, new=0)
    monkeypatch.chdir(tmp_path)
    with_eyes(tmp_path / "whales-kitbox")
    animal = {"category": "1", "conf": 0.9}
    boxes = [animal | {"bbox": [x, 0.1, 0.4, 0.8]} for x in (0.55, 0.02)]
    found = [
        {"file": "day 1/k_0.png", "detections": [*boxes, boxes[0] | {"category": "2"}]},
        {"file": "day 1/k_1.png", "detections": [boxes[1]]},
        {"file": "elsewhere.png", "detections": []},
    ]
    document = {"images": found, "detection_categories": {"1": "animal", "2": "person"}}
    Path("md.json").write_text(json.dumps(document))
    arguments = ("identify", "card", "--catalogue", "whales", "--with", "eyes", *RUN, "--json")
    result = run(*arguments, "--boxes", "md.json")
    photograph = "card/day 1/k_0.png"
    images = [one["photograph"] for one in json.loads(result.stdout)["photographs"]]
    assert images == [f"{photograph}#1", f"{photograph}#2", "card/day 1/k_1.png"]
    assert "boxes of md.json: " in result.stderr
    assert (
        "with a box: 0% of the catalogue and 100% of the photographs to identify; whole"
        in result.stderr
    )
    # a season without boxes goes on with those of the last one beside it
    picture(Path("later") / "one.png", 1, 70)
    run("identify", "later", *arguments[2:])
    workspace = ("--workspace", "whales-kitbox")
    rows = ["later/one.png,0.1,0.1,0.4,0.8,1"]
    Path("own.csv").write_text("\n".join(["image,x,y,w,h,category", *rows]) + "\n")
    imported = run("data", "boxes", "import", "own.csv", "--form", "xywh", *workspace)
    assert ": 1 box of '" in imported.stderr
    # they are kept for the next run, and given again they replace themselves
    again = run(*arguments, "--boxes", "md.json")
    for later in (again, run(*arguments)):
        images = [one["photograph"] for one in json.loads(later.stdout)["photographs"]]
        assert images == [f"{photograph}#1", f"{photograph}#2", "card/day 1/k_1.png"]


def test_each_animal_of_a_photograph_is_a_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_catalogue(tmp_path)
    draw_card(tmp_path, known=2, new=0)
    monkeypatch.chdir(tmp_path)
    workspace = with_eyes(tmp_path / "whales-kitbox")
    arguments = ("identify", "card", "--catalogue", "whales", "--with", "eyes", *RUN)
    run(*arguments)
    photograph = "card/day 1/k_0.png"
    rows = [f"{photograph},0,0,40,60,,", f"{photograph},50,0,90,60,,"]
    workspace.boxes.write_text("\n".join(["image,x0,y0,x1,y1,confidence,source", *rows]) + "\n")
    result = run(*arguments, "--json")
    found = {one["photograph"]: one for one in json.loads(result.stdout)["photographs"]}
    assert set(found) == {f"{photograph}#1", f"{photograph}#2", "card/day 1/k_1.png"}
    assert found[f"{photograph}#2"]["file"].endswith("k_0.png")
    assert "several animals, each a query of its own: 1 photograph, by boxes.csv" in result.stderr
    at = ("--workspace", str(workspace.root))
    run("catalogue", "add", "--image", f"{photograph}#1", "--individual", "w_0", *at)
    document = json.loads(run(*arguments, "--json").stdout)
    again = {one["photograph"]: one for one in document["photographs"]}
    assert set(again) == {f"{photograph}#2", "card/day 1/k_1.png"}
    assert again[f"{photograph}#2"]["notes"] == []
