"""Receipts read back, and the comparison with what is made again."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.dataset.collection import collect
from kitbox.ensemble.ensemble import EnsembleOptions
from kitbox.errors import KitboxError
from kitbox.network import inference
from kitbox.submission import receipt, reproduction
from kitbox.submission.reproduction import Comparison, Reproduction
from kitbox.workspace import Workspace
from tests.circle import competition
from tests.photographs import competition_on_disk, finish

RECEIPT = Path(__file__).with_name("receipt.json")  # one that kitbox wrote
MISSING = object()
REQUIRED = ("plugins", "csv", "data", "scores", "competition", "whiten", "way", "top_k", "metric")


@pytest.mark.parametrize(
    ("text", "other", "count"),
    [("", "", 0), ("a\nb\n", "a\nb\n", 0), ("a\nb\n", "a\nc\n", 1), ("a\n", "b\nc\nd\n", 3)],
)
def test_different_and_additional_rows_are_counted(text: str, other: str, count: int) -> None:
    assert reproduction.rows_that_differ(text, other) == count
    assert reproduction.rows_that_differ(other, text) == count


@pytest.mark.parametrize(
    ("engine", "named", "expected"),
    [
        ("auto", "bf16", "auto"),
        ("auto", "32", "32"),
        ("torch", "bf16", "bf16"),
        (None, "bf16", "bf16"),
    ],
)
def test_the_engine_is_chosen_as_it_was_where_the_precision_is_the_usual_one(
    monkeypatch: pytest.MonkeyPatch, engine: str | None, named: str, expected: str
) -> None:
    """A processor with half precision may have chosen ONNX Runtime, which computes in float32."""
    monkeypatch.setattr(inference, "resolve_precision", lambda *_: "bf16")
    recorded = {"precision": named} | ({"engine": engine} if engine else {})
    assert reproduction._precision(recorded, "cpu") == expected


def test_the_csv_is_the_same_if_its_digest_is() -> None:
    score = Comparison("score map", "0.5", "0.4")
    assert not score.equal
    for again, same in (("12", True), ("34", False)):
        listed = Comparison("submission.csv", "12", again)
        assert Reproduction((score, listed), "").same_csv is same


def test_the_cache_of_a_reproduction_is_empty_and_removed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (workspace.engines / "graph").mkdir(parents=True)
    (workspace.engines / "choice.json").write_text("{}")
    workspace.embeddings.mkdir()
    with reproduction.empty_cache(workspace) as fresh:
        assert (fresh.root, fresh.boxes) == (workspace.root, workspace.boxes)
        assert {path.name for path in fresh.cache.rglob("*")} == {"engines", "choice.json"}
        cache = fresh.cache
    assert not cache.exists()


@pytest.mark.parametrize(
    ("threshold", "notes"),
    [
        ({"rule": "best"}, ()),
        (
            {"rule": "share", "share": 0.165},
            (
                "the receipt's threshold was applied (rule share, share 0.165); "
                "kitbox.toml has another (rule best)",
            ),
        ),
        (
            {"rule": "fixed", "similarity": 0.35, "by_group": True},
            (
                "the receipt's threshold was applied (rule fixed, similarity 0.35, by_group True); "
                "kitbox.toml has another (rule best)",
            ),
        ),
    ],
)
def test_the_threshold_of_the_receipt_is_applied_and_a_note_names_another(
    threshold: dict[str, Any], notes: tuple[str, ...]
) -> None:
    recorded = {"competition": receipt.competition_settings(competition(threshold=threshold))}
    # the toy competition has groups where a threshold is by group
    here = competition(images={"group_column": "species"} if "by_group" in threshold else None)
    applied = reproduction._with_threshold(here, recorded)
    assert (
        receipt.competition_settings(applied)["threshold"] == recorded["competition"]["threshold"]
    )
    assert reproduction._threshold_notes(here, applied) == notes


LEAVES = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "x"])
NESTED = st.recursive(
    LEAVES, lambda inner: st.dictionaries(st.sampled_from("abc"), inner), max_leaves=6
)


@given(NESTED, NESTED)
def test_two_values_are_equal_if_every_comparison_of_them_is(ours: Any, theirs: Any) -> None:
    found = reproduction._compare("x", ours, theirs)
    assert all(comparison.equal for comparison in found) == (shown(ours) == shown(theirs))
    assert all(comparison.equal for comparison in reproduction._compare("x", ours, ours))


def shown(value: Any) -> Any:
    """Return a value as its leaves are shown; what is missing is shown as None."""
    if isinstance(value, dict):
        return {key: shown(of) for key, of in value.items() if of is not None}
    return str(value)


def test_a_difference_is_named_by_its_keys() -> None:
    recorded = {"": {"b": 1}, "c": 2}
    found = reproduction._compare("score", recorded, {"": {"b": 3}, "c": 2})
    assert [(c.what, c.recorded, c.again, c.equal) for c in found] == [
        ("score b", "1", "3", False),
        ("score c", "2", "2", True),
    ]


def real_receipt() -> dict[str, Any]:
    """Return a receipt that kitbox wrote."""
    return cast(dict[str, Any], json.loads(RECEIPT.read_text("utf-8")))


def changed(value: Any, keys: str, new: Any) -> Any:
    """Return a JSON value with another one at keys, as "plugins.0.name"; MISSING removes it."""
    key, _, rest = keys.partition(".")
    place: Any = int(key) if isinstance(value, list) else key
    if rest:
        value[place] = changed(value[place], rest, new)
    elif new is MISSING:
        del value[place]
    else:
        value[place] = new
    return value


def test_a_receipt_can_be_read_from_its_folder() -> None:
    assert receipt.load(RECEIPT.parent) == receipt.load(RECEIPT) == real_receipt()


@pytest.mark.parametrize(
    ("keys", "new", "message"),
    [
        *((key, MISSING, f"{key} is missing") for key in REQUIRED),
        ("plugins", [], "plugins"),
        ("plugins", {}, "plugins should be a valid list"),
        ("plugins.0", None, "plugins.0 = None should be a table of keys and values"),
        ("plugins.0.weight", "2", "plugins.0.weight = '2' should be a valid number"),
        ("plugins.0.weight", 0, "plugins.0.weight = 0 should be greater than 0"),
        ("plugins.0.seed", -1, "seed = -1 should be greater than or equal to 0"),
        ("plugins.0.settings", MISSING, "settings is missing"),
        ("plugins.0.settings", [], "settings = [] should be a valid dictionary"),
        ("plugins.0.settings.epochs", "x", "epochs = 'x' should be a valid integer"),
        ("plugins.0.settings.weights", "file:..", "weights = 'file:..' is none of hub"),
        ("plugins.0.settings.code", {"../x.py": "00"}, "'../x.py', which is the name of no file"),
        ("plugins.0.checkpoint", "../../x", "checkpoint = '../../x' should match"),
        ("plugins.0.pseudo_labels", "../../x", "pseudo_labels = '../../x' should match"),
        ("plugins.0.views", ["upside-down"], "upside-down"),
        ("plugins.0.whiten", 1, "plugins.0.whiten = 1 should be greater than or equal to 2"),
        ("way.combine", "sum", "way.combine = 'sum' should be 'embeddings', 'labels' or"),
        ("way.rerank", ["nothing"], "there is no re-ranking step 'nothing'"),
        ("competition.threshold", {}, "competition.threshold.rule is missing"),
        ("competition.threshold.rule", 3, "rule = 3 should be a valid string"),
        ("competition.threshold.rule", "x", "rule = 'x' should be 'best'"),
        ("scores.map_at_20", 0.5, "scores.map_at_20 = 0.5 should be a table of keys and values"),
        ("scores.map_at_20.value", None, "value = None should be a valid number"),
        ("csv.sha256", 1, "csv.sha256 = 1 should be a valid string"),
        ("thresholds", {"": "x"}, "thresholds. = 'x' should be a valid number"),
        ("top_k", 0, "top_k = 0 should be greater than or equal to 1"),
        ("later", {"of a later release": 1}, None),
    ],
)
def test_a_receipt_of_another_form_is_one_sentence(
    tmp_path: Path, keys: str, new: Any, message: str | None
) -> None:
    (tmp_path / "receipt.json").write_text(json.dumps(changed(real_receipt(), keys, new)))
    if message is None:
        receipt.load(tmp_path)
        return
    with pytest.raises(KitboxError) as caught:
        receipt.load(tmp_path)
    assert str(caught.value).startswith(f"the receipt {tmp_path / 'receipt.json'}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "..", "a/b", "a\\b", "a\0b", ""])
def test_no_name_of_a_receipt_leads_out_of_the_workspace(tmp_path: Path, name: str) -> None:
    (tmp_path / "receipt.json").write_text(
        json.dumps(changed(real_receipt(), "plugins.0.name", name))
    )
    with pytest.raises(KitboxError, match="is no name"):
        receipt.load(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "3", "null", "[" * 9999, '{"top_k": 1e400}', "\0"])
def test_a_file_that_is_not_a_receipt_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "receipt.json").write_text(text)
    for path in (tmp_path, tmp_path / "receipt.json"):
        with pytest.raises(KitboxError) as caught:
            receipt.load(path)
        assert str(tmp_path / "receipt.json") in str(caught.value)


def test_a_receipt_of_an_older_release_has_the_options_that_it_had() -> None:
    """As of 0.1.0: without steps, whitening by member and the text of a recipe."""
    recorded = {
        "plugins": [
            {"name": "a", "weight": 2.0, "views": ["plain", "flip"]},
            {"name": "b", "weight": 1.0},
        ],
        "whiten": 128,
        "way": {"combine": "labels", "dims": None, "new_label": "threshold"},
        "top_k": 3,
        "competition": {"threshold": {"rule": "share", "share": 0.165}},
        "threshold_evidence": {"rule": "share"},
    }
    options = receipt.ensemble_options(recorded)
    assert options == EnsembleOptions(whiten=128, combine="labels", top_k=3)
    assert options.method_json() == recorded["way"]
    recipe = receipt.recipe_of(recorded)
    assert recipe.options(3) == options
    assert recipe.threshold == "16.5%"
    assert [(one.name, one.weight, one.views) for one in recipe.members] == [
        ("a", 2.0, ("plain", "flip")),
        ("b", 1.0, ()),
    ]


@pytest.mark.parametrize("name", ["../../x", "/x/y", ".."])
def test_a_strangers_receipt_creates_and_removes_nothing(
    workspace: Workspace, tmp_path: Path, name: str
) -> None:
    outside = tmp_path.parent / "x"
    outside.mkdir(exist_ok=True)
    (outside / "kept").write_text("")
    text = json.dumps(changed(real_receipt(), "plugins.0.name", name))
    (tmp_path / "receipt.json").write_text(text)
    before = sorted(tmp_path.parent.rglob("*"))
    _, collection = finish(collect(*(made := competition_on_disk(tmp_path / "w"))))
    stage = reproduction.reproduce(
        tmp_path / "receipt.json", collection, made[1], workspace, retrain=True
    )
    with pytest.raises(KitboxError, match="is no name"):
        finish(stage)
    after = [path for path in tmp_path.parent.rglob("*") if tmp_path / "w" not in path.parents]
    assert sorted(after) == sorted([*before, tmp_path / "w"])
