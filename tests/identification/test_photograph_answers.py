import csv
from dataclasses import replace
from pathlib import Path
from shutil import copy

import numpy as np
import pytest

import kitbox
from kitbox.embedding.embedder import EmbedOptions
from kitbox.ensemble.recipe import Recipe
from kitbox.errors import KitboxError
from kitbox.identification import identified_table
from kitbox.identification.catalogue_search import IdentifyOptions
from kitbox.identification.catalogue_workspace import open_catalogue
from kitbox.identification.photograph_answers import (
    Identification,
    identify,
    sentences,
)
from tests.commands import RUN
from tests.commands import kitbox as kitbox_run
from tests.identification.photographed_catalogue import broken, draw_card, draw_catalogue, with_eyes
from tests.photographs import finish, picture, write_plugin

EMBED = EmbedOptions(device="cpu", precision="32", workers=0, engine="torch")
OPTIONS = IdentifyOptions(names=("eyes",), embed=EMBED)


def identified(root: Path, options: IdentifyOptions = OPTIONS) -> tuple[list[str], Identification]:
    """Identify the card by the whales; return what was said, and the answers."""
    opened = open_catalogue(root / "whales", [root / "card"], root / "work")
    events, found = finish(identify(opened, options))
    texts = [event if isinstance(event, str) else event.notice for event in events]
    return [text for text in texts if text], found


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a catalogue of 40 photographs, and a card of 9 photographs and one broken file."""
    root = tmp_path_factory.mktemp("season")
    whales, card = draw_catalogue(root), draw_card(root)
    copy(whales / "w_5" / "5_1.png", card / "known.png")
    copy(card / "day 1" / "k_0.png", card / "z_again.png")
    broken(card / "broken.jpg")
    with_eyes(root / "work")
    return root


def test_photographs_are_named_by_probability_and_new_ones_are_found(season: Path) -> None:
    said, found = identified(season)
    of = {answer.image.rpartition("/")[2]: answer for answer in found.answers}
    for number in range(4):
        answer = of[f"k_{number}.png"]
        assert answer.candidates[0].individual == f"w_{number}"
        assert answer.candidates[0].photographs[0].startswith(f"whales/w_{number}/")
        assert answer.verdict == f"w_{number}"
        assert answer.new_probability < 0.1
    assert [of[f"n_{number}.png"].verdict for number in range(2)] == ["new?", "new?"]
    known = np.mean([of[f"k_{number}.png"].new_probability for number in range(4)])
    new = np.mean([of[f"n_{number}.png"].new_probability for number in range(2)])
    assert new > known + 0.5
    # who is already there, and what is there twice
    assert of["known.png"].verdict == "w_5"
    assert of["known.png"].notes == ("in the catalogue already, as whales/w_5/5_1.png",)
    assert of["z_again.png"].notes == ("the same file as card/day 1/k_0.png",)
    assert list(found.unreadable) == ["card/broken.jpg"]
    assert said[0].startswith(
        "left out: 1 photograph to identify cannot be read, 'card/broken.jpg': "
    )
    assert found.counts["unreadable"] == 1
    assert sum(found.counts.values()) == 9
    # the same bands with other noise are nearly the same picture, and one encounter
    assert (
        "encounters: 40 photographs without date, each on its own" in (found.catalogue.sentences[0])
    )
    [sentence] = sentences(found)
    assert sentence.startswith("calibrated on 40 photographs of individuals met at another")


def test_verdicts_need_the_probability_that_is_asked_for(season: Path) -> None:
    _, strict = identified(season, replace(OPTIONS, certain=0.9999))
    verdicts = {answer.verdict for answer in strict.answers if not answer.notes}
    assert verdicts == {"undecided"}
    _, lax = identified(season, replace(OPTIONS, certain=0.5, new_share=0.9))
    _, few = identified(season, replace(OPTIONS, certain=0.5, new_share=0.01))
    for often, seldom in zip(lax.answers, few.answers, strict=True):
        assert often.new_probability > seldom.new_probability
    assert lax.counts["new?"] >= few.counts["new?"] > 0
    assert lax.new_share == 0.9
    for answer in lax.answers:
        if answer.verdict == "new?":
            assert answer.new_probability >= 0.5


def test_the_table_has_a_row_for_each_photograph_and_no_formulas(season: Path) -> None:
    _, found = identified(season)
    odd = replace(found.answers[0], verdict="=1+1")
    path, _ = identified_table.save(replace(found, answers=(odd, *found.answers[1:])))
    assert path == season / "work" / "identified.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert rows[0]["verdict"] == "'=1+1"
    assert rows[0]["image"] == found.answers[0].image
    by_name = {row["image"]: row for row in rows}
    row = by_name["card/day 1/k_1.png"]
    assert row["individual"] == "w_1"
    assert 0 <= float(row["probability"]) <= 1
    assert row["photographs_for_it"].count("; ") == 2
    assert Path(row["file"]) == (season / "card" / "day 1" / "k_1.png").resolve()
    assert by_name["card/broken.jpg"]["verdict"] == "unreadable"
    assert by_name["card/broken.jpg"]["note"]
    # a probability of all three and of a new one is at most 1
    total = sum(
        float(row[name])
        for name in ("probability", "second_probability", "third_probability", "new_probability")
    )
    assert total < 1.01


def test_json_has_all_that_the_table_has(season: Path) -> None:
    _, found = identified(season)
    document = identified_table.as_json(found)
    assert document["counts"] == found.counts
    assert document["calibration"]["pairs"] == 40
    first = document["photographs"][0]
    assert first["photograph"] == found.answers[0].image
    assert [each["individual"] for each in first["individuals"]] == [
        candidate.individual for candidate in found.answers[0].candidates
    ]


def test_local_matches_are_fused_only_where_the_calibration_gains(season: Path) -> None:
    # the drawn colours have no corners, so that no keypoint helps
    said, found = identified(season, replace(OPTIONS, match=("orb",)))
    assert found.catalogue.calibration.matchers == ()
    assert found.catalogue.sentences[-1] == (
        "local matches of orb do not help on this catalogue, and are left out"
    )
    assert said


def test_everyone_photographed_once_gets_similarities_and_no_verdict(tmp_path: Path) -> None:
    draw_catalogue(tmp_path, each=1)
    draw_card(tmp_path)
    with_eyes(tmp_path / "work")
    _, found = identified(tmp_path, replace(OPTIONS, match=("orb",)))
    assert {answer.verdict for answer in found.answers} == {"undecided"}
    assert {answer.new_probability for answer in found.answers} == {None}
    assert found.answers[0].candidates[0].individual == "w_0"
    assert found.answers[0].candidates[0].probability is None
    assert sentences(found) == [
        "not calibrated, so that answers have a similarity and no verdict: no photograph shows an "
        "individual met at another encounter, and 30 are the least"
    ]
    assert found.catalogue.sentences[-1] == (
        "without local matches: there is no calibration to fuse them by"
    )
    with identified_table.save(found).path.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["probability"], row["new_probability"]) == ("", "")
    assert float(row["similarity"]) <= 1


def test_one_individual_is_answered_too(tmp_path: Path) -> None:
    draw_catalogue(tmp_path, individuals=1, each=3)
    draw_card(tmp_path, known=1, new=0)
    with_eyes(tmp_path / "work")
    _, found = identified(tmp_path)
    assert found.answers[0].candidates[0].individual == "w_0"
    assert sentences(found)[0].endswith("the catalogue has one individual, 'w_0'")


def test_a_card_without_any_readable_photograph_is_one_sentence(tmp_path: Path) -> None:
    draw_catalogue(tmp_path, individuals=2, each=1)
    broken(tmp_path / "card" / "one.jpg")
    with_eyes(tmp_path / "work")
    with pytest.raises(KitboxError, match="none of the 1 photographs to identify can be read"):
        identified(tmp_path)


def test_the_next_run_embeds_new_photographs_alone(tmp_path: Path) -> None:
    draw_catalogue(tmp_path)
    draw_card(tmp_path)
    with_eyes(tmp_path / "work")
    identified(tmp_path)
    picture(tmp_path / "card" / "later" / "k_7.png", 7, 60)
    opened = open_catalogue(tmp_path / "whales", [tmp_path / "card"], tmp_path / "work")
    events, _ = finish(identify(opened, OPTIONS))
    embedding = [event for event in events if getattr(event, "stage", "") == "embed eyes"]
    assert {event.total for event in embedding} == {1}


def test_python_has_the_same_answers(season: Path) -> None:
    said: list[object] = []
    found = kitbox.identify(
        season / "card",
        season / "whales",
        names="eyes",
        workspace=season / "work",
        device="cpu",
        progress=said.append,
    )
    _, same = identified(season)
    assert [answer.verdict for answer in found.answers] == [
        answer.verdict for answer in same.answers
    ]
    assert any("cannot be read" in str(each) for each in said)


def test_a_recipe_names_networks_and_their_whitening(season: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "best.toml"
    Recipe.of(["eyes"], whiten=8, rerank=("dba:k=2",)).write(recipe)
    said, found = identified(season, replace(OPTIONS, names=(str(recipe),)))
    assert "without effect here: rerank of the recipe" in said
    _, plain = identified(season)
    assert found.answers[0].candidates != plain.answers[0].candidates
    assert not any("whitened" in each for each in found.catalogue.sentences)


def test_a_plugin_that_was_trained_here_is_taken_and_calibrated_on_its_holdout(
    tmp_path: Path,
) -> None:
    draw_catalogue(tmp_path)
    draw_card(tmp_path)
    workspace = with_eyes(tmp_path / "work")
    write_plugin(workspace, "learned", epochs=1, warmup_epochs=0)
    identified(tmp_path)
    kitbox_run(workspace, "train", "learned", *RUN)
    said, found = identified(tmp_path, replace(OPTIONS, names=()))
    assert "network: learned, which was trained in this workspace" in said
    with workspace.holdout.open(encoding="utf-8", newline="") as file:
        asked = {row["image"] for row in csv.DictReader(file) if row["side"] == "query"}
    assert f"calibrated on the {len(asked)} photographs of the holdout, which no network" in (
        "; ".join(said)
    )
    rows = found.catalogue.calibration.rows
    assert set(found.catalogue.images.image_ids[rows].tolist()) == asked
    # once the catalogue has grown, nobody knows which photographs it learned from
    picture(tmp_path / "whales" / "w_11" / "11_0.png", 11, 0)
    said, found = identified(tmp_path, replace(OPTIONS, names=("learned",)))
    assert any(each.startswith("warning: learned may have learned from any") for each in said)
    assert len(found.catalogue.calibration.rows) == 41


def test_boxes_of_the_workspace_crop(tmp_path: Path) -> None:
    draw_catalogue(tmp_path, each=2)
    draw_card(tmp_path)
    with_eyes(tmp_path / "work")
    _, whole = identified(tmp_path)
    (tmp_path / "work" / "boxes.csv").write_text(
        "image,x0,y0,x1,y1\ncard/day 1/k_0.png,40,20,60,40\n"
    )
    _, boxed = identified(tmp_path)
    changed = [
        one.candidates[0].similarity != other.candidates[0].similarity
        for one, other in zip(whole.answers, boxed.answers, strict=True)
    ]
    assert changed == [True, False, False, False, False, False]
