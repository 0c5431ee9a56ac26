"""The command identify: from photographs and a catalogue to answers, in one go."""

import json
from pathlib import Path

import pytest

from kitbox.cli.identify import parse_names
from tests.commands import RUN, run
from tests.identification.photographed_catalogue import draw_card, draw_catalogue, with_eyes


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
    assert "undecided" in result.stdout + result.stderr
    assert (tmp_path / "whales-kitbox" / "identified.csv").is_file()
    assert (tmp_path / "whales-kitbox" / "identified.html").is_file()
    again = run(
        "identify", "card", "--catalogue", "whales-kitbox", "--with", "eyes", *RUN, "--json"
    )
    document = json.loads(again.stdout)
    assert document["table"] == str(tmp_path / "whales-kitbox" / "identified.csv")
    assert len(document["photographs"]) == 6
    assert "embed" not in again.stderr


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
    ],
)
def test_what_is_missing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    draw_catalogue(tmp_path, individuals=2, each=1)
    draw_card(tmp_path, known=1, new=0)
    monkeypatch.chdir(tmp_path)
    assert str(run("identify", *arguments, code=1).exception).startswith(message)
    assert not (tmp_path / "whales-kitbox").exists()


def test_names_are_separated_by_commas_and_keep_their_settings() -> None:
    assert parse_names(["one,two@image_size=96,pooling=gem", "three, four"]) == (
        "one",
        "two@image_size=96,pooling=gem",
        "three",
        "four",
    )
