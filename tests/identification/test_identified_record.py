"""The record of answers: the numbers of identified.csv, and what makes it out of date."""

import csv
from pathlib import Path

import pytest

from kitbox.catalogue import catalogue_list
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.competition import settings
from kitbox.errors import KitboxError
from kitbox.identification import identified_record, identified_table
from kitbox.identification.catalogue_workspace import open_catalogue
from kitbox.identification.photograph_answers import Identification, IdentifyOptions, identify
from kitbox.look import photographs
from kitbox.workspace import Workspace
from tests.identification.photographed_catalogue import broken, draw_card, draw_catalogue, with_eyes
from tests.identification.test_photograph_answers import EMBED
from tests.photographs import finish, picture


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Identification:
    root = tmp_path_factory.mktemp("season")
    draw_catalogue(root)
    broken(root / "whales" / "w_0" / "broken.jpg")
    broken(draw_card(root) / "broken.jpg")
    with_eyes(root / "work")
    opened = open_catalogue(root / "whales", [root / "card"], root / "work")
    return finish(identify(opened, IdentifyOptions(names=("eyes",), embed=EMBED)))[1]


def digests_now(workspace: Workspace) -> dict[str, str]:
    listed = finish(photographs.load(workspace, settings.load(workspace)))[1]
    return dict(listed.readable_digests)


def test_a_record_has_the_numbers_of_the_table_and_ten_individuals(drawn: Identification) -> None:
    path = identified_table.save(drawn).path
    record = identified_record.load(drawn.workspace)
    assert record is not None
    assert record.networks == ("eyes",)
    assert record.is_calibrated
    with path.open(encoding="utf-8", newline="") as file:
        table = {row["image"]: row for row in csv.DictReader(file)}
    for answer in record.answers:
        row = table[answer.image]
        assert f"{answer.new_probability:.3f}" == row["new_probability"]
        assert f"{answer.candidates[0].probability:.3f}" == row["probability"]
        assert answer.verdict == row["verdict"]
        assert "; ".join(answer.candidates[0].photographs) == row["photographs_for_it"]
        assert len({one.individual for one in answer.candidates}) == 10
    assert record.changed_since(drawn.workspace, digests_now(drawn.workspace)) == ""


def test_what_changed_since_is_named(drawn: Identification) -> None:
    identified_table.save(drawn)
    workspace = drawn.workspace
    record = identified_record.load(workspace)
    assert record is not None
    rows = catalogue_list.load(workspace.catalogue)
    digests = digests_now(workspace)
    other = CatalogueRow(record.answers[0].image, "w_0")
    for changed in (rows[1:], [*rows[:-1], CatalogueRow(rows[-1].image, "w_0")], [*rows, other]):
        catalogue_list.save(workspace.catalogue, changed)
        assert record.changed_since(workspace, digests) == "catalogue.csv"
    catalogue_list.save(workspace.catalogue, rows)
    assert record.changed_since(workspace, digests) == ""
    workspace.boxes.write_text("image,x0,y0,x1,y1\n")
    assert record.changed_since(workspace, digests) == "boxes.csv"
    workspace.boxes.unlink()
    for row in ("drop,whales/w_0/0_0.png,", "box,whales/w_0/0_0.png,1 2 30 40"):
        workspace.decisions.write_text(f"decision,subject,value,note\n{row},\n")
        assert record.changed_since(workspace, digests) == "decisions.csv"
    workspace.decisions.write_text("decision,subject,value,note\nnew,card/k_0.png,,\n")
    assert record.changed_since(workspace, digests) == ""
    workspace.decisions.unlink()
    asked = record.answers[0]
    written = asked.path.read_bytes()
    picture(asked.path, 3, 3)
    assert record.changed_since(workspace, digests_now(workspace)) == "a photograph"
    asked.path.write_bytes(written)
    assert record.changed_since(workspace, digests_now(workspace)) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not readable JSON"),
        ("[]", "is damaged; run 'kitbox identify' again"),
        ('{"version": 1, "networks": ["eyes"], "causes": {}, "answers": [{}]}', "is damaged; run"),
        ('{"version": 0}', "is of another version of kitbox; run 'kitbox identify' again"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(tmp_path: Path, text: str, message: str) -> None:
    workspace = Workspace(tmp_path)
    assert identified_record.load(workspace) is None
    path = identified_record.path_of(workspace)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(KitboxError, match=message):
        identified_record.load(workspace)
