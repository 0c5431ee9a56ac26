"""A drawn competition: its plan, files, lists and truth, the same for the same numbers."""

import csv
import hashlib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import joblib
import numpy as np
import pytest
from PIL import Image

from kitbox.errors import KitboxError
from kitbox.records import Progress
from kitbox.synthetic.whale_competition import DrawnCompetition, Sighting, draw, plan_sightings

SIZES = {"individuals": 8, "photographs": 40, "long_side": 400}


def run_drawing(folder: Path, **sizes: int) -> tuple[list[Progress], DrawnCompetition]:
    """Draw a competition; return the progress and the result."""
    drawing, progress = draw(folder, **sizes), []
    while True:
        try:
            progress.append(next(drawing))
        except StopIteration as end:
            return progress, end.value


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digests(competition: DrawnCompetition) -> dict[str, str]:
    files = [competition.truth, *competition.folder.rglob("*.*")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def train_counts(sightings: list[Sighting]) -> Counter[str]:
    return Counter(one.label for one in sightings if not one.test and one.kind == "photograph")


@pytest.fixture(scope="module")
def competition(tmp_path_factory: pytest.TempPathFactory) -> DrawnCompetition:
    return run_drawing(tmp_path_factory.mktemp("whales") / "data", seed=3, **SIZES)[1]


def test_the_same_numbers_draw_the_same_bytes_in_one_process_or_many(competition, tmp_path):
    with joblib.parallel_config(backend="sequential"):
        _, again = run_drawing(tmp_path / "data", seed=3, **SIZES)
    assert digests(again) == digests(competition)


def test_a_relative_folder_is_that_of_the_current_folder_of_now(competition, tmp_path, monkeypatch):
    """Worker processes that drew before are in another folder."""
    monkeypatch.chdir(tmp_path)
    _, again = run_drawing(Path("data"), seed=3, **SIZES)
    assert digests(again) == digests(competition)


def test_another_seed_draws_other_photographs_and_other_lists(competition, tmp_path):
    _, other = run_drawing(tmp_path / "data", seed=4, **SIZES)
    same = set(digests(competition).values()) & set(digests(other).values())
    assert len(same) == 2  # the empty file and the web page


def test_progress_counts_up_to_all_photographs(tmp_path):
    progress, result = run_drawing(tmp_path / "data", individuals=4, photographs=12, long_side=200)
    done = [one.done for one in progress]
    assert done == sorted(set(done))
    assert progress[-1] == Progress("draw photographs", 12, 12)
    assert result.photographs == 12


def test_every_row_has_a_file_and_every_file_a_row(competition):
    train = [row["Image"] for row in rows(competition.folder / "train.csv")]
    test = [row["Image"] for row in rows(competition.folder / "sample_submission.csv")]
    assert sorted(train) == sorted(path.name for path in (competition.folder / "train").iterdir())
    assert sorted(test) == sorted(path.name for path in (competition.folder / "test").iterdir())
    assert len(set(train + test)) == competition.photographs == 40
    assert all(len(Path(name).stem) == 9 and int(Path(name).stem, 16) for name in train + test)


def test_the_truth_has_exactly_the_test_photographs_and_is_outside_the_folder(competition):
    truth = rows(competition.truth)
    queries = [row["Image"] for row in rows(competition.folder / "sample_submission.csv")]
    assert sorted(row["Image"] for row in truth) == sorted(queries)
    assert competition.folder not in competition.truth.parents
    assert not list(competition.folder.rglob("truth*"))


def test_the_truth_also_names_individuals_labelled_new_whale(competition):
    known = {row["Id"] for row in rows(competition.folder / "train.csv")}
    for row in rows(competition.truth):
        assert row["individual"].startswith("w_")
        assert (row["individual"] in known) == (row["Id"] == row["individual"])
        assert row["Id"] in known


def test_the_sample_submission_has_new_whale_and_four_labels(competition):
    known = {row["Id"] for row in rows(competition.folder / "train.csv")}
    for row in rows(competition.folder / "sample_submission.csv"):
        answers = row["Id"].split()
        assert answers[0] == "new_whale"
        assert len(set(answers)) == 5
        assert set(answers) <= known


def test_boxes_are_inside_their_photographs_and_as_wide_as_a_fluke(competition):
    boxes = rows(competition.folder / "boxes.csv")
    assert len({row["image"] for row in boxes} | set(competition.broken)) == 40
    for row in boxes:
        path = next(competition.folder.glob(f"t*/{row['image']}"))
        with Image.open(path) as image:
            width, height = image.size
        x0, y0, x1, y1 = (int(row[key]) for key in ("x0", "y0", "x1", "y1"))
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert 0.3 < (x1 - x0) / width < 0.99


def test_three_train_files_are_broken_with_a_label_and_without_a_box(competition):
    labels = {row["Image"]: row["Id"] for row in rows(competition.folder / "train.csv")}
    boxed = {row["image"] for row in rows(competition.folder / "boxes.csv")}
    assert len(competition.broken) == 3
    for name in competition.broken:
        assert labels[name].startswith("w_")
        assert name not in boxed
        with (
            pytest.raises(OSError, match=r"cannot identify image file|truncated"),
            Image.open(competition.folder / "train" / name) as image,
        ):
            image.load()


def test_all_other_files_are_readable_and_none_is_wider_than_the_long_side(competition):
    for path in competition.folder.rglob("*.jpg"):
        if path.name not in competition.broken:
            with Image.open(path) as image:
                image.load()
                assert image.width <= 400
                assert image.height <= 160


def test_near_duplicates_share_a_label_and_look_alike(competition):
    plan = plan_sightings(3, 8, 40)
    copies = [one for one in plan if one.kind == "near-duplicate"]
    assert copies
    for copy in copies:
        (original,) = [o for o in plan if o.moment == copy.moment and o.kind == "photograph"]
        assert original.label == copy.label != "new_whale"
        assert not original.test
        assert not copy.test
        pixels = []
        for name in (original.image_id, copy.image_id):
            with Image.open(competition.folder / "train" / name) as image:
                pixels.append(np.asarray(image.convert("L").resize((48, 24)), np.float64).ravel())
        assert np.corrcoef(pixels)[0, 1] > 0.8


def test_rows_are_not_in_the_order_of_whales(competition):
    labels = [row["Id"] for row in rows(competition.folder / "train.csv")]
    changes = sum(one != next_one for one, next_one in pairwise(labels))
    assert changes > 2 * len(set(labels))


def test_the_default_plan_has_singletons_a_long_tail_and_unknown_whales():
    plan = plan_sightings(0, 60, 600)
    counts = train_counts(plan)
    unknown_in_train = counts.pop("new_whale")
    test = [one for one in plan if one.test]
    unknown = Counter(one.individual for one in test if one.label == "new_whale")
    assert len(plan) == 600
    assert len(test) == 132  # 22 %
    assert len(counts) == 60
    assert sum(count == 1 for count in counts.values()) == 18  # 30 %
    assert max(counts.values()) >= 20
    assert unknown_in_train == 37  # 8 % of 468
    assert unknown.total() == 36  # 27 % of 132
    assert 1 in unknown.values()
    assert max(unknown.values()) > 1
    assert sum(one.kind == "near-duplicate" for one in plan) == 9  # 2 % of 468


def test_known_test_whales_are_in_train_and_unknown_ones_are_not():
    plan = plan_sightings(0, 60, 600)
    readable = {one.individual for one in plan if not one.test and one.kind == "photograph"}
    for one in plan:
        if one.test:
            assert (one.individual in readable) == (one.label != "new_whale")


@pytest.mark.parametrize("photographs", [12, 13, 20])
def test_the_smallest_plan_still_has_every_individual(photographs):
    counts = train_counts(plan_sightings(0, 4, photographs))
    assert len(set(counts) - {"new_whale"}) == 4


def test_broken_files_belong_to_individuals_with_other_photographs():
    plan = plan_sightings(5, 60, 600)
    counts = train_counts(plan)
    broken = [one for one in plan if one.kind not in ("photograph", "near-duplicate")]
    assert [one.kind for one in broken] == ["truncated", "empty", "web page"]
    assert all(counts[one.label] > 1 for one in broken)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"individuals": 3}, "individuals=3 is too small; give 4 or more"),
        (
            {"individuals": 10, "photographs": 29},
            "photographs=29 is too small for 10 individuals; give 30 or more",
        ),
        ({"seed": -1}, "seed=-1 is too small; give 0 or more"),
        ({"long_side": 100}, "long_side=100 is too small; give 200 or more"),
    ],
)
def test_numbers_too_small_are_refused_before_anything_is_written(tmp_path, sizes, message):
    with pytest.raises(KitboxError) as refusal:
        run_drawing(tmp_path / "data", **sizes)
    assert str(refusal.value) == message
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(KitboxError) as refusal:
        run_drawing(tmp_path, **SIZES)
    assert str(refusal.value) == (
        f"{tmp_path} is not an empty folder; give one, or a name not yet used"
    )


def test_an_existing_truth_is_not_overwritten(tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text("precious")
    with pytest.raises(KitboxError) as refusal:
        run_drawing(tmp_path / "data", **SIZES)
    assert str(refusal.value) == (
        f"{truth} is already there; move it away, or give a folder elsewhere"
    )
    assert truth.read_text() == "precious"


def test_the_error_names_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(KitboxError, match=r"cannot write to .*data: Not a directory"):
        run_drawing(tmp_path / "file" / "data", **SIZES)
