"""Collection: listed images are read, and split by units into saved folds."""

import csv
from pathlib import Path
from typing import Any

import pytest

from kitbox.competition.check_rules import CheckRules
from kitbox.competition.settings import Competition
from kitbox.dataset import data_check
from kitbox.dataset.collection import Collection, collect
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.errors import KitboxError
from kitbox.workspace import Workspace
from tests.photographs import competition_on_disk, finish


@pytest.fixture
def place(tmp_path: Path) -> tuple[Workspace, Competition]:
    return competition_on_disk(tmp_path)


def with_settings(competition: Competition, **parts: dict[str, Any]) -> Competition:
    settings = competition.model_dump()
    for part, values in parts.items():
        settings[part] |= values
    return Competition.model_validate(settings)


def collected(workspace: Workspace, competition: Competition, fold: int = 1) -> Collection:
    found: Collection = finish(collect(workspace, competition, fold))[1]
    return found


def test_listed_images_are_collected(place: tuple[Workspace, Competition]) -> None:
    found = collected(*place)
    assert found.test is not None
    assert found.test_signatures is not None
    assert (len(found.labelled), len(found.test), found.index) == (24, 8, None)
    assert len(found.units) == len(found.signatures.hashes) == 24
    assert len(found.test_signatures.hashes) == 8
    assert found.labelled.digests is not None
    [search] = found.searches
    assert search.query_ids.tolist() == found.test.image_ids.tolist()
    assert (found.unreadable, found.findings) == (frozenset(), ())


def test_copies_stay_on_one_side(place: tuple[Workspace, Competition]) -> None:
    workspace, competition = place
    train = competition.images.root / "train"
    for number in range(1, 4):  # the second individual has two photographs under four names
        (train / f"1_{number}.png").write_bytes((train / f"1_{number % 2}.png").read_bytes())
    for seed in range(5):
        settings = with_settings(
            competition, holdout={"share": 0.5, "unknown_share": 0, "seed": seed}
        )
        query = collected(workspace, settings).holdout.query.image_ids.tolist()
        for pair in ({"1_0.png", "1_2.png"}, {"1_1.png", "1_3.png"}):
            assert len(pair & set(query)) in (0, 2)


@pytest.mark.parametrize("fold", [1, 3])
def test_all_folds_are_saved_whatever_fold_is_used(
    place: tuple[Workspace, Competition], fold: int
) -> None:
    workspace, competition = place
    settings = with_settings(competition, holdout={"folds": 3, "unknown_share": 0})
    found = collected(workspace, settings, fold)
    rows = list(csv.DictReader(workspace.holdout.read_text().splitlines()))
    assert {row["fold"] for row in rows} == {"1", "2", "3"}
    assert sorted(found.holdout.query.image_ids.tolist()) == sorted(
        row["image"] for row in rows if row["fold"] == str(fold)
    )


def test_an_unreadable_image_stops_the_run(place: tuple[Workspace, Competition]) -> None:
    workspace, competition = place
    (competition.images.root / "train" / "0_0.png").write_bytes(b"")
    (competition.images.root / "test" / "t_0.png").write_text("no image")
    with pytest.raises(KitboxError) as caught:
        collected(workspace, competition)
    assert str(caught.value) == (
        f"image {competition.images.root / 'train' / '0_0.png'} is empty; replace or remove it; "
        '1 more like it; or set broken = "drop" in kitbox.toml to go on without'
    )


def test_broken_drop_leaves_out_unreadable_images_and_makes_queries_grey(
    place: tuple[Workspace, Competition],
) -> None:
    workspace, competition = place
    (competition.images.root / "train" / "0_0.png").write_bytes(b"")
    (competition.images.root / "test" / "t_0.png").write_text("no image")
    found = collected(workspace, with_settings(competition, images={"broken": "drop"}))
    assert found.test is not None
    assert len(found.labelled) == len(found.signatures.hashes) == 23
    assert "0_0.png" not in found.labelled.image_ids
    assert len(found.test) == 8
    assert found.unreadable == {"t_0.png"}
    assert [finding.image_id for finding in found.findings] == ["0_0.png", "t_0.png"]


def test_truncated_images_can_be_kept_also_in_the_test(
    place: tuple[Workspace, Competition],
) -> None:
    workspace, competition = place
    for name in ("train/0_0.png", "test/t_0.png"):
        file = competition.images.root / name
        file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(KitboxError) as caught:
        collected(workspace, competition)
    assert str(caught.value).endswith(
        '0_0.png is truncated; replace or remove it; 1 more like it; or set broken = "drop" in '
        'kitbox.toml to go on without, or [check] keep = ["truncated"] to use what there is of them'
    )
    kept = competition.model_copy(update={"check": CheckRules(keep=("truncated",))})
    found = collected(workspace, kept)
    assert "0_0.png" in found.labelled.image_ids
    assert found.unreadable == frozenset()
    assert [(f.image_id, f.action) for f in found.findings] == [
        ("0_0.png", "keep"),
        ("t_0.png", "keep"),
    ]
    assert found.findings[0].what.endswith("0_0.png is truncated; what there is of it is used")
    assert found.signatures.hashes.any(axis=1).all()
    dropped = collected(workspace, with_settings(competition, images={"broken": "drop"}))
    assert dropped.unreadable == {"t_0.png"}
    # embeddings of the grey image and of the photograph have other keys: `unreadable` is in them
    assert dropped.test is not None
    assert found.test is not None
    assert (dropped.test.file_digests == found.test.file_digests).all()


def test_decisions_are_applied(place: tuple[Workspace, Competition]) -> None:
    workspace, competition = place
    settings = with_settings(competition, holdout={"share": 0.9, "unknown_share": 0})
    queries = collected(workspace, settings).holdout.query.image_ids.tolist()
    for row in (
        Decision("merge", "w_1", "w_0"),
        Decision("drop", "2_0.png"),
        Decision("label", "2_1.png", "w_9"),
        Decision("train", queries[0]),
        Decision("box", "t_0.png", "1 2 30 40"),
    ):
        decision_file.add(workspace.decisions, row)
    found = collected(workspace, settings)
    assert found.labelled.labels is not None
    assert found.test is not None
    assert found.test.boxes is not None
    assert len(found.labelled) == len(found.units) == 23
    assert (found.labelled.labels == "w_0").sum() == 8
    assert set(found.labelled.labels) == {"w_0", "w_2", "w_3", "w_4", "w_5", "w_9"}
    assert queries[0] in found.holdout.train.image_ids
    assert found.test.boxes[0].tolist() == [1, 2, 30, 40]
    assert [row.kind for row in found.decisions.rows] == ["merge", "drop", "label", "train", "box"]
    assert found.new_labels == {"w_9"}
    assert found.answerable.labels is not None
    assert set(found.answerable.labels) == set(found.labelled.labels) - {"w_9"} | {""}
    rows = {row["image"]: row for row in csv.DictReader(workspace.holdout.read_text().splitlines())}
    assert rows["1_0.png"]["label"] == "w_0"
    assert rows[queries[0]]["side"] == "train"


def test_a_dropped_image_need_not_be_readable(place: tuple[Workspace, Competition]) -> None:
    workspace, competition = place
    (competition.images.root / "train" / "0_0.png").write_bytes(b"")
    decision_file.add(workspace.decisions, Decision("drop", "0_0.png"))
    assert len(collected(workspace, competition).labelled) == 23


def test_a_decision_about_an_image_that_no_list_names_is_an_error(
    place: tuple[Workspace, Competition],
) -> None:
    workspace, competition = place
    decision_file.add(workspace.decisions, Decision("drop", "t_0.png"))
    with pytest.raises(KitboxError) as caught:
        collected(workspace, competition)
    assert str(caught.value) == (
        f"{workspace.decisions} line 2: 't_0.png' is no labelled image but a test image; "
        "correct or remove the row"
    )


def test_labels_that_the_format_cannot_hold_are_refused_before_a_training(
    place: tuple[Workspace, Competition],
) -> None:
    workspace, competition = place
    path = competition.images.root / "train.csv"
    path.write_text(path.read_text().replace(",w_0", ",Big Ben").replace(",id_0", ",Big Ben"))
    assert "Big Ben" in path.read_text()
    message = (
        "answer 'Big Ben' has a blank, which separates answers where submission.layout is "
        '"joined"; rename it, or set layout = "columns" in kitbox.toml if no leaderboard asks for '
        "this format"
    )
    with pytest.raises(KitboxError) as caught:
        collected(workspace, competition)
    assert str(caught.value) == message
    found = finish(data_check.check(workspace, competition))[1].findings
    assert [str(each) for each in found if each.kind == "list"] == [f"kitbox.toml: {message}"]
    other = with_settings(competition, submission={"layout": "columns"})
    assert "Big Ben" in collected(workspace, other).labelled.labels


def test_a_decision_of_a_page_about_a_photograph_that_is_gone_is_told(
    place: tuple[Workspace, Competition],
) -> None:
    workspace, _ = place
    signed = [Decision("new", f"t_{name}.png", by="Anna") for name in ("0", "gone", "lost")]
    decision_file.add(workspace.decisions, *signed)
    found = collected(*place)
    assert found.links.new == {found.links.individual_of["t_0.png"]}
    assert found.notes[-1] == (
        "decisions about 2 photographs or labels that no list names do not count, such as "
        "'t_gone.png'; they stay in decisions.csv"
    )
    assert len(decision_file.load(workspace.decisions).rows) == 3
