"""Settings of kitbox.toml: valid ones are loaded, mistakes are one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from kitbox.competition import settings
from kitbox.competition.settings import (
    Competition,
    HoldoutSettings,
    ImageSettings,
    ThresholdSettings,
)
from kitbox.errors import KitboxError
from kitbox.retrieval.label_similarity import closeness
from kitbox.value import explain
from kitbox.workspace import Workspace
from tests.circle import competition

TEXT = """\
name = "whales"
[images]
root = "data"
train_folder = "train"
test_folder = "test"
[task]
gallery = "train"
answers = "labels"
k = 5
[submission]
header = ["Image", "Id"]
layout = "joined"
[holdout]
"""


def write(workspace: Workspace, text: str = TEXT, *, folder: str = "data") -> Path:
    (workspace.root / folder).mkdir(exist_ok=True)
    workspace.settings.write_text(text, encoding="utf-8")
    return workspace.settings


def test_a_data_folder_is_relative_to_the_workspace(workspace: Workspace) -> None:
    write(workspace)
    assert settings.load(workspace).images.root == workspace.root.resolve() / "data"


def test_an_environment_variable_replaces_the_data_folder(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace, folder="elsewhere")
    monkeypatch.setenv("KITBOX_DATA", str(workspace.root / "elsewhere"))
    assert settings.load(workspace).images.root == workspace.root.resolve() / "elsewhere"


def test_a_missing_data_folder_is_named_with_the_setting(workspace: Workspace) -> None:
    path = write(workspace, folder="elsewhere")
    with pytest.raises(KitboxError) as caught:
        settings.load(workspace)
    assert str(caught.value) == (
        f"{path}: the data folder {workspace.root.resolve() / 'data'} does not exist; "
        "correct images.root or set KITBOX_DATA"
    )


def test_a_byte_order_mark_is_ignored(workspace: Workspace) -> None:
    path = write(workspace)
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert settings.load(workspace).name == "whales"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("k = 5", "k = five", "Invalid value (at line 9, column 5)"),
        ("k = 5", "k = 0", "task.k = 0 should be greater than or equal to 1"),
        ("k = 5", "k = 1001", "task.k = 1001 should be less than or equal to 1000"),
        ("k = 5\n", "", "task.k is missing"),
        ("k = 5", "K = 5", "'K' is not a setting of [task]"),
        (
            '"joined"',
            '"join"',
            "submission.layout = 'join' should be 'joined', 'columns', 'long', 'scored' or 'pairs'",
        ),
        (
            "test_folder",
            "test_foldr",
            "'test_foldr' is not a setting of [images]; did you mean test_folder?",
        ),
        (
            'gallery = "train"',
            'gallery = "test"',
            "answers = 'labels' needs labelled images in the gallery",
        ),
        (
            'test_folder = "test"\n[task]\ngallery = "train"',
            '[task]\ngallery = "train+test"',
            "gallery = 'train+test' needs images.test_folder",
        ),
        (
            "[holdout]",
            "[holdout]\nshare = 1.0",
            "holdout.share = 1.0 should be less than 1",
        ),
        (
            "[holdout]",
            "[holdout]\nunknown_share = -0.1",
            "holdout.unknown_share = -0.1 should be greater than or equal to 0",
        ),
        ("[holdout]\n", "", "holdout is missing"),
        (
            'train_folder = "train"',
            'train_folder = "train"\nbroken = "ignore"',
            "images.broken = 'ignore' should be 'stop' or 'drop'",
        ),
    ],
)
def test_a_mistake_in_kitbox_toml_is_one_sentence(
    workspace: Workspace, old: str, new: str, message: str
) -> None:
    assert old in TEXT
    path = write(workspace, TEXT.replace(old, new))
    with pytest.raises(KitboxError) as caught:
        settings.load(workspace)
    assert str(caught.value) == f"{path}: {message}"


def test_settings_that_are_not_utf_8_are_named(workspace: Workspace) -> None:
    path = write(workspace)
    path.write_bytes(b'name = "\xff"\n')
    with pytest.raises(KitboxError) as caught:
        settings.load(workspace)
    assert str(caught.value).startswith(f"{path}: 'utf-8' codec can't decode byte 0xff")


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ({"answers": "labels", "k": 5}, "label_map_at_5"),
        ({"answers": "images", "k": 20}, "map_at_20"),
        ({"answers": "label"}, "baks_baus"),
        ({"answers": "matches"}, "row_f1"),
        ({"answers": "clusters"}, "ari"),
    ],
)
def test_the_name_of_the_metric_has_its_k(task: dict[str, Any], metric: str) -> None:
    assert competition(**task).metric == metric


def test_a_competition_without_test_images_can_search_train_only() -> None:
    given = competition().model_dump()
    given["images"]["test_folder"] = None
    assert Competition.model_validate(given).images.test_folder is None
    given["task"] = {"gallery": "test", "answers": "images", "k": 1}
    with pytest.raises(ValidationError) as caught:
        Competition.model_validate(given)
    assert explain(caught.value) == "gallery = 'test' needs images.test_folder"


def changed(**parts: dict[str, Any]) -> Competition:
    """Return a competition with settings of some parts replaced."""
    given = competition().model_dump()
    for part, values in parts.items():
        given[part] = given.get(part, {}) | values
    return Competition.model_validate(given)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"task": {"gallery": "index", "answers": "images"}},
            "gallery = 'index' needs images.index_folder",
        ),
        (
            {"task": {"gallery": "test", "answers": "label"}},
            "answers = 'label' needs labelled images in the gallery",
        ),
        (
            {"holdout": {"unknown_share": 1.0}},
            "answers = 'labels' needs queries of known individuals",
        ),
        (
            {"task": {"metric": "map"}},
            "answers = 'labels' are scored by label_map, not map",
        ),
        (
            {"task": {"answers": "label", "metric": "ari"}},
            "answers = 'label' are scored by baks_baus or gap, not ari",
        ),
        ({"submission": {"layout": "long"}}, "layout = 'long' needs a header of three columns"),
        (
            {"task": {"answers": "images", "with_itself": True}},
            "with_itself needs answers = 'matches'",
        ),
        ({"task": {"least": 6}}, "task.least = 6 is more than task.k = 5"),
        (
            {"submission": {"header": ["Image", "Id", "score"]}},
            "layout = 'joined' needs a header of two columns, or none",
        ),
        (
            {"task": {"answers": "label"}, "submission": {"layout": "scored", "header": ["Id"]}},
            "layout = 'scored' needs a header of two columns, or none",
        ),
        ({"submission": {"layout": "scored"}}, "layout = 'scored' needs answers = 'label'"),
        (
            {"submission": {"scores": "unit"}},
            "submission.scores is for layout = 'long' or 'pairs'; leave it out",
        ),
        (
            {
                "task": {"label_similarity": "sum"},
                "submission": {"layout": "long", "header": ["q", "a", "s"], "scores": "unit"},
            },
            "scores = 'unit' needs similarities from -1 to 1, which sums are not",
        ),
        (
            {"task": {"answers": "label", "metric": "gap"}},
            "metric = 'gap' needs layout = 'scored', which has the confidences",
        ),
        (
            {"task": {"answers": "label"}, "images": {"unknown_label": None}},
            "metric = 'baks_baus' needs images.unknown_label",
        ),
        (
            {"images": {"unknown_label": ""}},
            "images.unknown_label is empty; name the label, or leave the line out",
        ),
        (
            {"images": {"unknown_label": ["", "NA"]}},
            "images.unknown_label is empty; name the label, or leave the line out",
        ),
        (
            {"images": {"unknown_label": ["unidentified_*", "NA"]}},
            "images.unknown_label begins with 'unidentified_*'; begin with the label that "
            "answers have",
        ),
        (
            {"images": {"unknown_label": 3}},
            "unknown_label = 3 is neither a label nor a list of labels",
        ),
        (
            {"images": {"unknown_label": ["NA", 3]}},
            "unknown_label = ['NA', 3] is neither a label nor a list of labels",
        ),
        ({"task": {"within_group": True}}, "task.within_group needs images.group_column"),
        (
            {"holdout": {"encounter_minutes": 30}},
            "holdout.encounter_minutes = 30 needs images.time_column",
        ),
        ({"threshold": {"by_group": True}}, "threshold.by_group needs images.group_column"),
        (
            {"task": {"answers": "images"}, "threshold": {"rule": "share", "share": 0.2}},
            "[threshold] has no effect on these answers; leave it out",
        ),
        (
            {"images": {"unknown_label": None}, "threshold": {"rule": "fixed", "similarity": 0.2}},
            "[threshold] has no effect on these answers; leave it out",
        ),
        (
            {"threshold": {"rule": "fixed", "similarity": 16.5}},
            "threshold.similarity = 16.5 is not between -1 and 1; "
            "a share of 16.5% is rule = 'share' with share = 0.165",
        ),
        (
            {
                "task": {"label_similarity": "closeness"},
                "threshold": {"rule": "fixed", "similarity": 0.35},
            },
            "threshold.similarity = 0.35 is not between 0.574 and 1, where "
            "label_similarity = 'closeness' lies; correct it",
        ),
        (
            {"task": {"linkage": "components"}},
            "task.linkage is for answers = 'clusters'; leave it out",
        ),
        ({"task": {"anchors": True}}, "task.anchors is for answers = 'clusters'; leave it out"),
        ({"threshold": {"rule": "ami"}}, "rule = 'ami' is for answers = 'clusters'; take 'best'"),
        (
            {
                "images": {"test_folder": "t"},
                "task": {"answers": "clusters", "gallery": "test", "anchors": True},
            },
            "task.anchors needs labelled images in the gallery; set task.gallery = 'train+test'",
        ),
        (
            {
                "task": {"answers": "clusters", "gallery": "train", "anchors": True},
                "threshold": {"rule": "balanced"},
            },
            "rule = 'balanced' fits no threshold of task.anchors; take 'best', 'ami' or 'fixed'",
        ),
        ({"threshold": {"rule": "fixed"}}, "rule = 'fixed' needs a similarity"),
        ({"threshold": {"rule": "share"}}, "rule = 'share' needs a share"),
        (
            {"threshold": {"rule": "balanced"}, "holdout": {"unknown_share": 0}},
            "rule = 'balanced' needs queries of unknown individuals; "
            "set holdout.unknown_share above 0",
        ),
        (
            {"threshold": {"rule": "share", "share": 1.1}},
            "threshold.share = 1.1 should be less than or equal to 1",
        ),
        (
            {"holdout": {"near_duplicate_bits": 12}},
            "holdout.near_duplicate_bits = 12 should be less than or equal to 11",
        ),
        (
            {"holdout": {"folds": 0}},
            "holdout.folds = 0 should be greater than or equal to 1",
        ),
        (
            {"submission": {"kaggle": "https://kaggle.com/c/x"}},
            "submission.kaggle = 'https://kaggle.com/c/x' should match pattern '^[A-Za-z0-9-]+$'",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(
    parts: dict[str, dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        changed(**parts)
    assert explain(caught.value) == message


@pytest.mark.parametrize(
    ("parts", "decides"),
    [
        ({}, True),
        ({"images": {"unknown_label": None}}, False),
        ({"task": {"answers": "label"}}, True),
        (
            {
                "task": {"answers": "label", "metric": "gap"},
                "submission": {"layout": "scored"},
            },
            False,
        ),
        ({"task": {"answers": "images"}}, False),
        ({"task": {"answers": "matches"}, "images": {"unknown_label": None}}, True),
        ({"task": {"answers": "clusters"}, "images": {"unknown_label": None}}, True),
    ],
)
def test_there_is_a_threshold_if_a_query_may_have_no_answer(
    parts: dict[str, dict[str, Any]], decides: bool
) -> None:
    assert changed(**parts).uses_threshold == decides


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("best", {"rule": "best"}),
        ("balanced", {"rule": "balanced"}),
        ("0.35", {"rule": "fixed", "similarity": 0.35}),
        ("-0.1", {"rule": "fixed", "similarity": -0.1}),
        ("16.5%", {"rule": "share", "share": 0.165}),
        ("100%", {"rule": "share", "share": 1.0}),
    ],
)
@pytest.mark.parametrize("by_group", [True, False])
def test_a_threshold_is_read_from_its_text(
    text: str, expected: dict[str, Any], by_group: bool
) -> None:
    given = ThresholdSettings(rule="fixed", similarity=0.9, by_group=by_group)
    assert given.override(text) == ThresholdSettings(**expected, by_group=by_group)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "high",
            "threshold high is not best, ami, balanced, a similarity as 0.35, or a share as 16.5%",
        ),
        ("%", "threshold % is not best, ami, balanced, a similarity as 0.35, or a share as 16.5%"),
        ("120%", "threshold 120%: share = 1.2 should be less than or equal to 1"),
        ("nan", "threshold nan: similarity = nan should be a finite number"),
        (
            "16.5",
            "threshold 16.5 is no similarity, which lies between -1 and 1; write 16.5% for a share",
        ),
    ],
)
def test_an_invalid_threshold_is_refused(text: str, message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        ThresholdSettings().override(text)
    assert str(caught.value) == message


def test_a_sum_of_similarities_may_be_any_number() -> None:
    sums, best = {"label_similarity": "sum"}, {"label_similarity": "best"}
    fixed = ThresholdSettings(rule="fixed", similarity=2.5)
    assert ThresholdSettings().override("2.5", changed(task=sums).task.similarity_range) == fixed
    assert changed(task=sums, threshold=fixed.model_dump()).threshold == fixed
    assert changed(task=best).task.similarity_range == (-1, 1)


def test_a_threshold_of_clusters_is_refused_for_other_answers() -> None:
    with pytest.raises(KitboxError) as caught:
        competition().with_threshold("ami")
    assert str(caught.value) == (
        "--threshold ami: rule = 'ami' is for answers = 'clusters'; take 'best'"
    )
    clusters = competition(answers="clusters", gallery="test")
    assert clusters.with_threshold("ami").threshold.rule == "ami"


def test_settings_of_clusters_are_written_only_where_they_are_set() -> None:
    plain = competition(answers="clusters", gallery="test").model_dump()["task"]
    assert not {"linkage", "anchors"} & set(plain)
    changed_ = competition(answers="clusters", gallery="test", task={"linkage": "components"})
    assert changed_.model_dump()["task"]["linkage"] == "components"


def test_closeness_has_its_own_range() -> None:
    task = changed(task={"label_similarity": "closeness"}).task
    low = float(closeness(np.array(2.0)))  # of opposite points
    assert task.similarity_range == (pytest.approx(low, abs=5e-4), 1)
    assert task.similarity_range[0] <= low
    assert ThresholdSettings().override("0.7", task.similarity_range).similarity == 0.7
    with pytest.raises(KitboxError) as caught:
        ThresholdSettings().override("0.35", task.similarity_range)
    assert str(caught.value) == (
        "threshold 0.35 is no similarity, which lies between 0.574 and 1; correct it"
    )


def test_a_default_threshold_is_allowed_without_an_effect() -> None:
    assert changed(task={"answers": "images"}, threshold={"rule": "best"}).uses_threshold is False


def test_the_name_on_kaggle_is_not_part_of_the_settings_in_receipts() -> None:
    assert "kaggle" not in changed(submission={"kaggle": "x"}).submission.model_dump()


def test_a_run_stops_at_broken_images_by_default() -> None:
    assert ImageSettings(root=Path(), train_folder="train").broken == "stop"
    assert HoldoutSettings() == HoldoutSettings(share=0.2, unknown_share=0.0, seed=0)


@pytest.mark.parametrize(
    ("given", "first", "written"),
    [
        (None, None, None),
        ("new_whale", "new_whale", "new_whale"),
        (["new_whale"], "new_whale", "new_whale"),
        (["unknown", "NA", ""], "unknown", ["unknown", "NA", ""]),
    ],
)
def test_the_first_unknown_label_is_the_one_in_answers(
    given: Any, first: str | None, written: Any
) -> None:
    images = competition(unknown_label=given).images
    assert images.unknown_label == first
    # in receipts one label is a text, as it was before there could be several
    assert images.model_dump(mode="json")["unknown_label"] == written
    assert "unknown_labels" not in images.model_dump(mode="json")
    assert ImageSettings.model_validate(images.model_dump()) == images


def test_labels_are_read_by_the_unknown_ones() -> None:
    images = competition(unknown_label=["unknown", "NA", "", "unk_*", "*"]).images
    read = {label: images.read_label(label) for label in ("NA", "", "unk_1", "unk", "na", "*", "a")}
    assert read == {
        "NA": "unknown", "": "unknown", "unk_1": "unknown", "*": "unknown",
        "unk": "unk", "na": "na", "a": "a",
    }  # fmt: skip
    assert competition(unknown_label=None).images.read_label("NA") == "NA"


@pytest.mark.parametrize(
    "before",
    [
        TEXT,
        f'{TEXT}\n[catalogue]\npattern = "A{{number}}"\n[check]\n',
        f"{TEXT}\n[catalogue]  # names\n[check]\n",
        f'{TEXT}\n[catalogue]\n# as "x"\npattern="B"  # old',
    ],
)
def test_a_pattern_of_names_is_kept_and_everything_else_stays(tmp_path: Path, before: str) -> None:
    workspace = Workspace(tmp_path)
    write(workspace, before)
    settings.keep_catalogue_setting(workspace, "pattern", 'W"-{number:04d}')
    assert settings.load(workspace).catalogue.pattern == 'W"-{number:04d}'
    assert settings.load(workspace).name == "whales"
    text = workspace.settings.read_text("utf-8")
    assert text.count("[catalogue]") == text.count("pattern") == 1
    assert text.count("#") == before.count("#") - ("# old" in before)
