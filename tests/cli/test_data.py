"""The data commands: check, holdout and prepare."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from kitbox.workspace import Workspace
from tests.commands import RUN, invoke, kitbox, run
from tests.photographs import competition_on_disk, picture, write_plugin


@pytest.fixture
def broken_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    found, competition = competition_on_disk(tmp_path)
    data = competition.images.root
    (data / "train" / "0_0.png").write_bytes(b"")
    (data / "test" / "t_0.png").write_text("<html>404</html>")
    with (data / "train.csv").open("a") as file:
        file.write("=1+1.png,w_0\n")
    monkeypatch.chdir(found.root)
    return found


def test_findings_are_shown_by_kind_with_their_action_and_advice(
    broken_data: Workspace,
) -> None:
    shown = run("data", "check")
    lines = {line.split()[0]: line for line in shown.stdout.splitlines() if line.strip()}
    assert "train.csv line 2: image train/0_0.png is empty" in lines["empty"]
    assert "stops" in lines["empty"]
    assert "get the file again, or remove it" in lines["empty"]
    web = "sample_submission.csv line 2: image test/t_0.png is not an image but a web page"
    assert web in lines["unreadable"]
    assert "train.csv line 26: image '=1+1.png' is not in train" in lines["missing"]
    assert "32 images read" in shown.stderr
    assert f"written to {broken_data.reports / 'check.csv'}" in shown.stderr
    assert "3 of them stop every run" in shown.stderr


def test_with_drop_a_row_is_left_out_and_a_test_image_answered_as_grey(
    broken_data: Workspace,
) -> None:
    text = broken_data.settings.read_text().replace('broken = "stop"', 'broken = "drop"')
    broken_data.settings.write_text(text)
    report = json.loads(run("data", "check", "--json").stdout)
    actions = {finding["image_id"]: finding["action"] for finding in report["findings"]}
    assert (actions["0_0.png"], actions["=1+1.png"], actions["t_0.png"]) == (
        *("drop", "drop"),
        "repair",
    )
    assert report["counts"]["empty"] == 1
    assert report["images"] == 32
    assert "uses a grey picture instead" in run("data", "check").stdout
    shown = run("data", "holdout").stderr
    assert "left out: unreadable: image" in shown
    assert "answered as grey: unreadable: image" in shown


def test_all_findings_of_a_kind_are_listed_and_the_csv_has_all_kinds(
    broken_data: Workspace,
) -> None:
    shown = run("data", "check", "--kind", "missing")
    assert "image '=1+1.png' is not in train" in shown.stdout
    assert "is empty" not in shown.stdout
    with (broken_data.reports / "check.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"missing", "empty", "unreadable"} <= {row["kind"] for row in rows}
    assert [row["image"] for row in rows if row["kind"] == "missing"] == ["'=1+1.png"]


def test_an_unknown_kind_gets_a_suggestion(broken_data: Workspace) -> None:
    result = run("data", "check", "--kind", "blured", code=1)
    assert "--kind blured: no such kind; did you mean blurred?" in str(result.exception)
    assert not broken_data.image_index.exists()  # before any image is read


def test_the_rules_in_the_settings_apply(broken_data: Workspace) -> None:
    with broken_data.settings.open("a") as file:
        file.write('\n[check]\ntiny_below = 65\ndrop = ["empty", "missing", "tiny"]\n')
    text = broken_data.settings.read_text().replace('broken = "stop"', 'broken = "drop"')
    broken_data.settings.write_text(text)
    report = json.loads(run("data", "check", "--json", "--kind", "tiny").stdout)
    # pictures are 64 pixels high
    assert {finding["action"] for finding in report["findings"]} == {"drop", "keep"}
    assert "no usable image is left" in str(run("data", "holdout", code=1).exception)


@pytest.fixture
def many_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    found, _ = competition_on_disk(tmp_path, individuals=20, tests=24)
    write_plugin(found, "plain", epochs=1)
    monkeypatch.chdir(found.root)
    return found


def test_the_holdout_is_counted_beside_the_test(many_images: Workspace) -> None:
    figures = json.loads(run("data", "holdout", "--json").stdout)
    queries = figures["queries"]["holdout"]
    assert figures["training images"] == {"holdout": 80 - queries, "test": 80}
    assert figures["queries"]["test"] == 24
    assert figures["gallery images"] == {"holdout": 80 - queries, "test": 80}
    assert figures["training individuals"]["test"] == 20
    with many_images.holdout.open() as file:
        assert sum(row["side"] == "query" for row in csv.DictReader(file)) == queries
    shown = run("data", "holdout")
    assert "training photographs of a queried individual" in shown.stdout
    assert "'kitbox data holdout --by NAME' compares the images" in shown.stderr
    assert f"the split is in {many_images.holdout}" in shown.stderr


def test_a_network_estimates_whether_queries_look_like_the_test(many_images: Workspace) -> None:
    run("train", "plain", *RUN)
    figures = json.loads(run("data", "holdout", "--by", "plain", *RUN, "--json").stdout)
    assert 0 <= figures["separability"]["value"] <= 1
    assert "unknown individuals, estimated" in figures
    shown = run("data", "holdout", "--by", "plain", *RUN)
    assert "area under the ROC curve" in shown.stderr


def test_an_untrained_network_is_an_error(many_images: Workspace) -> None:
    result = run("data", "holdout", "--by", "plain", *RUN, code=1)
    assert "plain is not trained on holdout; run 'kitbox train plain'" in str(result.exception)


def test_without_a_test_the_holdout_has_no_comparison(many_images: Workspace) -> None:
    text = many_images.settings.read_text().replace("test_folder =", "# test_folder =")
    lines = [line for line in text.splitlines() if not line.startswith(("test_list", "sample"))]
    many_images.settings.write_text("\n".join(lines))
    assert json.loads(run("data", "holdout", "--json").stdout)["queries"]["test"] is None
    result = run("data", "holdout", "--by", "plain", *RUN, code=1)
    assert "has no test images; set images.test_folder" in str(result.exception)


def prepared(workspace: Workspace, *arguments: str) -> Any:
    """Return the JSON document of 'kitbox data prepare'."""
    return json.loads(kitbox(workspace, "data", "prepare", *arguments, "--json").stdout)


@pytest.fixture
def two_plugins(tmp_path: Path) -> Workspace:
    workspace, _ = competition_on_disk(tmp_path)
    write_plugin(workspace, "test_efficientnet_32")
    write_plugin(workspace, "test_efficientnet_48", image_size=48, epochs=1)
    return workspace


def test_every_image_is_prepared_for_the_plugins_of_the_workspace(two_plugins: Workspace) -> None:
    done = prepared(two_plugins)
    assert done["plugins"] == ["test_efficientnet_32", "test_efficientnet_48"]
    assert (done["files"], done["prepared"], done["left_out"]) == (32, 32, [])
    sizes = [(Path(store["folder"]).name[:5], store["images"]) for store in done["stores"]]
    assert sizes == [("32x32", 32), ("48x48", 32)]
    assert done["stores"][1]["bytes"] == 32 * (48 * 48 * 3 + 20)
    again = invoke(two_plugins, "data", "prepare", "test_efficientnet_48")
    assert "0 of 32 files to decode for 1 plugin; takes 0.00 GB of" in again.stderr


def test_training_prints_that_it_reads_prepared_images(two_plugins: Workspace) -> None:
    prepared(two_plugins, "test_efficientnet_48")
    assert (
        "; images all prepared" in invoke(two_plugins, "train", "test_efficientnet_48", *RUN).stderr
    )
    direct = invoke(two_plugins, "train", "test_efficientnet_32", *RUN)
    assert "; images from their files" in direct.stderr


def test_a_grey_test_image_is_not_prepared_and_a_new_image_is_added(two_plugins: Workspace) -> None:
    data = two_plugins.root.parent / "data"
    (data / "test" / "t_0.png").write_text("no image")
    two_plugins.settings.write_text(two_plugins.settings.read_text().replace('"stop"', '"drop"'))
    assert prepared(two_plugins, "test_efficientnet_32")["prepared"] == 31
    picture(data / "train" / "new.png", 1, 77)
    with (data / "train.csv").open("a") as file:
        file.write("new.png,w_1\n")
    done = prepared(two_plugins, "test_efficientnet_32")
    assert (done["files"], done["prepared"]) == (32, 1)
    trained = invoke(two_plugins, "train", "test_efficientnet_32", *RUN)
    assert "; images all prepared" in trained.stderr
    assert invoke(two_plugins, "embed", "test_efficientnet_32", *RUN).exit_code == 0


def test_drop_removes_what_the_named_plugins_do_not_read(two_plugins: Workspace) -> None:
    prepared(two_plugins)
    [dropped] = prepared(two_plugins, "--drop", "test_efficientnet_32")
    assert Path(dropped["folder"]).name.startswith("48x48-")
    assert dropped["bytes"] == 32 * (48 * 48 * 3 + 20)
    assert "nothing to remove" in invoke(two_plugins, "data", "prepare", "--drop").stderr


def test_prepare_without_plugins_is_an_error(tmp_path: Path) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    result = invoke(workspace, "data", "prepare")
    assert "has no plugin and none was trained here; name the plugins" in str(result.exception)
