"""Embeddings of other programs: imported, and used as any plugin is."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kitbox.competition import settings
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.embedding import imported_embeddings
from kitbox.embedding.embedder import EmbedOptions
from kitbox.errors import KitboxError
from kitbox.look import photographs
from kitbox.plugin import discovery
from kitbox.project import open_project
from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, invoke, json_of, kitbox
from tests.photographs import competition_on_disk, finish, write_plugin

LABELLED = [f"{identity}_{number}.png" for identity in range(6) for number in range(4)]
TEST = [f"t_{number}.png" for number in range(8)]


def vectors_of(names: Sequence[str], seed: int = 0) -> NDArray[np.float32]:
    """Return vectors that tell individuals apart: a test image t_n shows individual n of seven."""
    generator = np.random.default_rng(seed)
    individuals = [int(n[2]) % 7 if n.startswith("t_") else int(n[0]) for n in names]
    return (np.eye(8)[individuals] + generator.normal(0, 0.05, (len(names), 8))).astype(np.float32)


def save_npz(path: Path, names: Sequence[str], seed: int = 0) -> str:
    np.savez(path, ids=np.array(names), embeddings=3 * vectors_of(names, seed))
    return str(path)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    workspace, _ = competition_on_disk(root)
    write_plugin(workspace, "plain", epochs=0)
    kitbox(workspace, "data", "check")
    return root


@pytest.fixture
def place(drawn: Path, tmp_path: Path) -> Workspace:
    """Return a workspace of its own on the photographs of all tests."""
    shutil.copytree(drawn / "workspace", tmp_path / "workspace")
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def imported(place: Workspace) -> Workspace:
    file = save_npz(place.root / "features.npz", [*LABELLED, *TEST])
    kitbox(place, "embeddings", "import", file, "--name", "other", "--learned-from", "nothing")
    return place


def do_import(place: Workspace, file: str | Path, *more: str) -> str:
    return kitbox(place, "embeddings", "import", str(file), "--name", "other", *more).stderr


def import_error(place: Workspace, *more: str | Path) -> str:
    """Return the error of an import, which must leave nothing behind."""
    told = error_of(place, "embeddings", "import", *map(str, more), "--name", "other")
    folder = place.imported
    assert not folder.exists() or [path.name for path in folder.iterdir()] == [".gitignore"]
    return told


def test_imported_rows_are_of_unit_length_under_the_ids_of_the_lists(imported: Workspace) -> None:
    found = imported_embeddings.load("other", imported)
    assert found.image_ids.tolist() == [*LABELLED, *TEST]
    stored = np.load(found.folder / "vectors.npy")
    expected = vectors_of([*LABELLED, *TEST])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(stored, expected, atol=1e-6)
    assert stored.dtype == np.float32


def test_every_command_takes_imported_embeddings(
    imported: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "shipped_folder", lambda: tmp_path / "none")
    scored = json_of(imported, "score", "other")
    assert scored["scores"]["map_at_20"]["value"] == pytest.approx(1.0)
    assert scored["plugins"][0]["imported"]["learned_from"] == "nothing"
    for command in (
        ("compare", "plain", "other"),
        ("ensemble", "other", "plain", "--weights", "2,1", "--whiten", "4"),
        ("embed", "other"),
        ("data", "duplicates", "--by", "other"),
        ("pseudo", "other", "--threshold", "0.1"),
        ("report", "other", "plain"),
    ):
        shown = kitbox(imported, *command, *RUN).stderr
        assert "nobody knows" not in shown
    assert "other (imported): 24 images × 8" in kitbox(imported, "embed", "other", *RUN).stderr
    assert "imported embeddings: other" in kitbox(imported, "plugins").stderr
    [listed] = json.loads(kitbox(imported, "embeddings", "--json").stdout)
    assert (listed["name"], listed["images"], listed["dim"]) == ("other", 32, 8)
    assert "features.npz" in kitbox(imported, "embeddings").stdout
    assert error_of(imported, "pseudo", "other", "--by", "classifier") == (
        "other has no classifier of the labels; use --by similarity"
    )


def test_a_submission_is_reproduced_from_the_same_embeddings_alone(imported: Workspace) -> None:
    made = json_of(imported, "ensemble", "other", "plain", "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    entry = receipt["plugins"][0]
    digest = imported_embeddings.load("other", imported).digest
    assert (entry["checkpoint"], entry["trained_on"]) == (digest, "elsewhere")
    assert list(entry["imported"]["files"]) == ["features.npz"]
    answers = Path(made["csv"]).read_text().splitlines()
    assert answers[1].startswith("t_0.png,w_0")
    again = invoke(imported, "reproduce", made["submission"], "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr
    kitbox(imported, "report", Path(made["submission"]).name, *RUN)
    told = error_of(imported, "bundle", "--out", str(imported.root / "bundle"))
    assert told == (
        "other is imported embeddings, which have no network for the images of a kernel; "
        "pack a submission of plugins alone"
    )
    file = save_npz(imported.root / "later.npz", [*LABELLED, *TEST], seed=1)
    do_import(imported, file, "--replace")
    told = error_of(imported, "reproduce", made["submission"], "--device", "cpu")
    assert told == (
        f"other is embeddings {digest[:12]} imported from features.npz, and those here are "
        "others; run 'kitbox embeddings import features.npz --name other --replace'"
    )
    kitbox(imported, "embeddings", "remove", "other")
    told = error_of(imported, "reproduce", made["submission"], "--device", "cpu")
    assert "and nothing of that name is here; run 'kitbox embeddings import" in told


@pytest.mark.parametrize("name", ["vectors.npy", "image_ids.json"])
def test_damaged_imported_embeddings_are_told(imported: Workspace, name: str) -> None:
    path = imported.imported / "other" / name
    data = path.read_bytes()
    changed = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
    if name == "image_ids.json":
        first, second, *rest = json.loads(data)
        changed = json.dumps([second, first, *rest]).encode()
    for content in (changed, data[:99], b""):
        path.write_bytes(content)
        assert error_of(imported, "score", "other") == (
            f"the imported embeddings {path.parent} are damaged; import them again with --name "
            "other --replace"
        )


def test_vectors_that_do_not_begin_as_such_are_refused_at_once_and_can_be_removed(
    imported: Workspace,
) -> None:
    path = imported.imported / "other" / "vectors.npy"
    whole = path.read_bytes()
    path.write_bytes(b"<html>" + whole[6:])
    with pytest.raises(KitboxError, match=r"other are damaged; import them again"):
        imported_embeddings.load("other", imported)
    shutil.copytree(path.parent, path.parent.with_name("sound"))
    (path.parent.with_name("sound") / "vectors.npy").write_bytes(whole)
    told = invoke(imported, "embeddings", "--json")
    assert told.exit_code == 1
    assert [each["name"] for each in json.loads(told.stdout)] == ["sound"]
    assert f"error: the imported embeddings {path.parent} are damaged" in told.stderr
    kitbox(imported, "embeddings", "remove", "sound")
    kitbox(imported, "embeddings", "remove", "other")
    assert imported_embeddings.names(imported) == []


@pytest.mark.parametrize("form", ["bare", "folder", "elsewhere", "upper"])
def test_names_are_matched_as_in_lists(place: Workspace, form: str) -> None:
    def name(image: str) -> str:
        folder = "test" if image.startswith("t_") else "train"
        return {
            "bare": image.removesuffix(".png"),
            "folder": f"{folder}/{image}",
            "elsewhere": f"/kaggle/input/flukes/{folder}/{image}",
            "upper": f".\\{folder.upper()}\\{image.upper()}",
        }[form]

    given = [name(image) for image in reversed([*LABELLED, *TEST])]
    np.savez(
        place.root / "f.npz",
        image_names=np.array(given),
        feats=vectors_of([*reversed([*LABELLED, *TEST])]).astype(np.float16),
    )
    do_import(place, place.root / "f.npz", "--learned-from", "nothing")
    ids = imported_embeddings.load("other", place).image_ids.tolist()
    assert ids == [*reversed([*LABELLED, *TEST])]
    assert json_of(place, "score", "other")["scores"]["map_at_20"]["value"] == pytest.approx(1.0)


def test_rows_of_other_images_are_counted_and_left_out(place: Workspace) -> None:
    file = save_npz(place.root / "f.npz", ["1_9.png", "3_7.png", *LABELLED, *TEST])
    shown = do_import(place, file)
    assert "left out: 2 rows of images that are not in this competition, such as '1_9.png'" in shown
    assert imported_embeddings.load("other", place).shape == (32, 8)


def test_labelled_images_alone_are_scored_but_not_submitted(place: Workspace) -> None:
    shown = do_import(place, save_npz(place.root / "f.npz", LABELLED))
    assert "it has no test image: it can be scored, but not submitted" in shown
    json_of(place, "score", "other")
    assert error_of(place, "ensemble", "other", "--submit", *RUN) == (
        "other has no embedding of 8 of 8 images, such as 't_0.png'; import a file that has them: "
        "'kitbox embeddings import FILE --name other --replace'"
    )
    kitbox(place, "embeddings", "remove", "other")
    train, test = place.root / "train.npy", place.root / "test.npy"
    for path, names in ((train, LABELLED), (test, TEST)):
        np.save(path, vectors_of(names))
        path.with_name(f"{path.stem}_ids.txt").write_text("\n".join(names) + "\n")
    both = kitbox(place, "embeddings", "import", str(train), str(test), "--name", "other").stderr
    assert "train.npy: names of rows are those of train_ids.txt" in both
    json_of(place, "ensemble", "other", "--submit")


def test_what_it_learned_from_decides_about_its_score(place: Workspace) -> None:
    file = save_npz(place.root / "f.npz", [*LABELLED, *TEST])
    assert "nobody knows which images it learned from" in do_import(place, file)
    shown = kitbox(place, "score", "other", *RUN).stderr
    assert "warning: nobody knows which images other learned from" in shown
    made = json_of(place, "ensemble", "other", "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert receipt["plugins"][0]["may_have_seen_holdout"] is True

    # the split that kitbox wrote: rows of the side "train"
    split = ("--replace", "--learned-from", str(place.holdout))
    queries = [line for line in place.holdout.read_text().splitlines() if ",query," in line]
    assert "it learned from" in do_import(place, file, *split)
    assert "warning" not in kitbox(place, "score", "other", *RUN).stderr

    seen = place.root / "seen.txt"
    seen.write_text("\n".join([*(f"w_{n}" for n in range(6)), "a stranger"]))
    shown = do_import(place, file, "--replace", "--learned-from", str(seen))
    assert "'a stranger' is no image or individual here" in shown
    assert "it learned from 24 images of this competition" in shown
    told = error_of(place, "score", "other")
    count, first = len(queries), queries[0].split(",")[0]
    assert told.startswith(f"other learned from {count} of the {count} images that the holdout")
    assert "so that the local score would be too good; score embeddings of a network" in told
    assert first in told or "such as" in told

    do_import(place, file, "--replace", "--learned-from", "labelled")
    assert "so that the local score would be too good" in error_of(place, "ensemble", "other")
    told = error_of(place, "ensemble", "other", "--submit", *RUN)
    assert told.startswith("the threshold 'best' is fitted on a holdout, and there is none: other")
    made = json_of(place, "ensemble", "other", "--submit", "--threshold", "0.5")
    assert made["scores"] == {}
    assert made["no_local_score"].startswith(f"other learned from {count} of the {count} images")
    again = invoke(place, "reproduce", made["submission"], "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr


def test_a_list_of_what_it_learned_from_must_name_something(place: Workspace) -> None:
    file = save_npz(place.root / "f.npz", [*LABELLED, *TEST])
    seen = place.root / "seen.txt"
    seen.write_text("lynx\nox\n")
    assert import_error(place, file, "--learned-from", seen) == (
        f"--learned-from {seen}: 'lynx' is no image or individual of this competition; 1 more like "
        "it; correct the list, or give --learned-from nothing"
    )
    assert import_error(place, file, "--learned-from", "nowhere.txt") == (
        "--learned-from nowhere.txt is neither a file nor one of nothing, labelled, unknown"
    )


def test_bad_rows_are_refused_by_name(place: Workspace) -> None:
    names = [*LABELLED, *TEST]
    good = vectors_of(names)
    file = place.root / "f.npz"

    def told(names: Sequence[str], vectors: NDArray[np.float32]) -> str:
        np.savez(file, ids=np.array(names), embeddings=vectors)
        return import_error(place, file)

    nan = good.copy()
    nan[3, 2], nan[5, 0] = np.nan, np.inf
    assert told(names, nan) == (
        "f.npz row 4: image '0_3.png' has NaN or infinite numbers; 1 more like it; "
        "embed these images again"
    )
    zero = good.copy()
    zero[30] = 0
    assert told(names, zero) == (
        "f.npz row 31: image 't_6.png' has a row of zeros; embed these images again; "
        "zeros have no direction"
    )
    assert told([*names, "train/0_0.png"], np.vstack([good, good[:1]])) == (
        "image '0_0.png' is in f.npz row 1 and in f.npz row 33; keep one of the rows"
    )
    assert told(names[1:], good[1:]) == (
        "1 of 24 labelled images have no row in f.npz, such as '0_0.png'; "
        "embed them too; several files are imported together"
    )
    assert told(names[:-2], good[:-2]) == (
        "2 of 8 test images have no row in f.npz, such as 't_6.png'; embed them too; several files "
        "are imported together, or leave out all test images"
    )
    assert told(names[:-1], good) == (
        f"{file} has 32 rows, but ids has 31 names; give the list that was written with it"
    )
    assert told(names, good.T) == (
        f"{file} has 8 rows, but ids has 32 names; "
        "save the array transposed: one row for each image"
    )
    assert told([f"x{n}" for n in range(32)], good) == (
        f"{file} has no image of this competition: it names 'x0', but images are named as "
        "'0_0.png'; name the array or column of image names with --ids"
    )
    other = place.root / "g.npz"
    np.savez(file, ids=np.array(LABELLED), embeddings=good[:24])
    np.savez(other, ids=np.array(TEST), embeddings=good[24:, :5])
    assert import_error(place, file, other) == (
        f"{other} has 5 dimensions and {file} 8; import files of one network under one name"
    )


def test_a_name_that_is_two_images_is_refused(tmp_path: Path) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    data = tmp_path / "data"
    for folder in ("a", "b"):
        (data / "train" / folder).mkdir()
        shutil.copy(data / "train" / f"{ord(folder) - 97}_0.png", data / "train" / folder / "x.png")
    with (data / "train.csv").open("a") as file:
        file.write("a/x.png,w_0\nb/x.png,w_1\n")
    names = [*LABELLED, *TEST, "x.png"]
    vectors = vectors_of([*LABELLED, *TEST, "0_0.png"])
    np.savez(tmp_path / "f.npz", ids=np.array(names), embeddings=vectors)
    assert import_error(workspace, tmp_path / "f.npz") == (
        "f.npz row 33: 'x.png' may be image 'a/x.png' or 'b/x.png'; write its folder before it, or "
        "the id that the lists give it"
    )


def test_names_do_not_collide(imported: Workspace) -> None:
    file = str(imported.root / "features.npz")
    do = ("embeddings", "import", file, "--name")
    assert error_of(imported, *do, "other") == (
        "there are imported embeddings named other; choose another --name, or put these in their "
        "place with --replace"
    )
    assert error_of(imported, *do, "plain") == (
        "--name plain is the name of a plugin; choose another"
    )
    assert "letters, digits" in error_of(imported, *do, "../x")
    assert "letters, digits" in error_of(imported, *do, "a+b")
    assert error_of(imported, "score", "othr") == (
        "no plugin or imported embeddings named othr; did you mean other?"
    )
    assert error_of(imported, "train", "other") == (
        "other is imported embeddings, which have no network; name a plugin"
    )
    write_plugin(imported, "other", epochs=0, image_size=48)
    assert error_of(imported, "score", "other") == (
        "other is a plugin, and imported embeddings too; rename the plugin's file, or import the "
        "embeddings under another name"
    )
    assert error_of(imported, "embeddings", "remove", "nothing") == (
        "no imported embeddings named nothing; there are other"
    )


def test_decisions_after_the_import_need_no_second_one(imported: Workspace) -> None:
    decision_file.add(imported.decisions, Decision("drop", "0_0.png", note="blurred"))
    json_of(imported, "score", "other")
    decision_file.add(imported.decisions, Decision("fine", "0_0.png"))
    json_of(imported, "ensemble", "other", "--submit")


def test_a_failed_replacement_keeps_the_old_ones(imported: Workspace) -> None:
    before = imported_embeddings.load("other", imported).digest
    file = save_npz(imported.root / "g.npz", LABELLED[1:])
    error_of(imported, "embeddings", "import", file, "--name", "other", "--replace")
    assert imported_embeddings.load("other", imported).digest == before
    assert {path.name for path in imported.imported.iterdir()} == {".gitignore", "other"}


def test_an_interrupted_replacement_is_finished(imported: Workspace) -> None:
    folder = imported.imported
    do_import(imported, str(imported.root / "features.npz"), "--name", "second")
    wanted = (folder / "second" / "manifest.json").read_bytes()
    (folder / "other").rename(folder / ".other.old")  # here power was lost
    (folder / "second").rename(folder / ".other.new")
    assert imported_embeddings.names(imported) == ["other"]
    assert (folder / "other" / "manifest.json").read_bytes() == wanted
    assert {path.name for path in folder.iterdir()} == {".gitignore", "other"}


@pytest.mark.parametrize("form", ["npz", "npy", "parquet"])
def test_what_is_exported_is_imported_to_the_same_vectors(imported: Workspace, form: str) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    file = imported.root / f"out.{form}"
    shown = kitbox(imported, "embeddings", "export", "other", "--out", str(file), *RUN).stderr
    beside = f" and {imported.root / 'out_ids.txt'}" if form == "npy" else ""
    assert f"32 images × 8 written to {file}{beside}" in shown
    kitbox(imported, "embeddings", "import", str(file), "--name", "again")
    first, second = (imported_embeddings.load(name, imported) for name in ("other", "again"))
    assert second.image_ids.tolist() == [*LABELLED, *TEST]
    one, other = (np.load(each.folder / "vectors.npy") for each in (first, second))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_an_ensemble_is_exported_with_labels_and_sides(imported: Workspace) -> None:
    file = imported.root / "both.npz"
    do = ("embeddings", "export", "plain", "other", "--weights", "1,3", "--out", str(file))
    made = json_of(imported, *do)
    assert (made["members"], made["images"], made["dim"]) == (["plain", "other"], 32, 24)
    with np.load(file) as found:
        assert found["ids"].tolist() == [*LABELLED, *TEST]
        assert found["label"].tolist() == [f"w_{name[0]}" for name in LABELLED] + [""] * 8
        assert found["side"].tolist() == ["labelled"] * 24 + ["test"] * 8
        vectors = found["embeddings"]
    own = np.load(imported.imported / "other" / "vectors.npy")
    np.testing.assert_allclose(vectors[:, 16:], own * np.sqrt(0.75), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :16], axis=1), 0.5, atol=1e-5)
    assert json_of(imported, *do[:4], "--whiten", "4", "--out", str(file))["dim"] == 8


def test_export_says_where_a_format_is_not_clear(imported: Workspace) -> None:
    do = ("embeddings", "export", "other", "--out", str(imported.root / "x"))
    assert error_of(imported, *do[:-1], f"{do[-1]}.zip") == (
        f"--out {do[-1]}.zip: a file ends in .npz or .npy or .parquet; correct its suffix, or name "
        "the format with --format"
    )
    assert "has another suffix than --format npy" in error_of(
        imported, *do[:-1], f"{do[-1]}.npz", "--format", "npy"
    )


def test_images_without_embedding_are_counted_by_the_command_and_in_python(
    place: Workspace,
) -> None:
    file = save_npz(place.root / "features.npz", LABELLED)
    do_import(place, file, "--learned-from", "labelled")  # which has no score, but neighbours
    out = place.root / "near.csv"
    shown = kitbox(place, "neighbours", "other", "--k", "2", "--out", str(out)).stderr
    assert "left out: 8 images without imported embedding" in shown
    lines: list[object] = []
    near = open_project(place.root, progress=lines.append).neighbours("other", k=2)
    assert len(near) == 2 * len(LABELLED) == len(out.read_text().splitlines()) - 1
    assert "left out: 8 images without imported embedding" in lines


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_neighbours_are_each_images_most_similar_others(imported: Workspace, form: str) -> None:
    file = imported.root / f"near.{form}"
    do = ("neighbours", "other", "--k", "4", "--out", str(file))
    shown = kitbox(imported, *do, *RUN).stderr
    assert "the 4 most similar images among 32 images, for 32 images: 128 rows written to" in shown
    if form == "parquet":
        table = pytest.importorskip("pyarrow.parquet").read_table(file).to_pylist()
    else:
        table = [*csv.DictReader(file.read_text().splitlines())]
    columns = ["image", "label", "rank", "neighbour", "neighbour_label", "similarity"]
    assert list(table[0]) == columns
    vectors = np.load(imported.imported / "other" / "vectors.npy")
    names = [*LABELLED, *TEST]
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    for place in (0, 31):
        rows = table[4 * place : 4 * place + 4]
        best = np.argsort(-cosines[place])[:4]
        assert [row["neighbour"] for row in rows] == [names[each] for each in best]
        assert [float(row["similarity"]) for row in rows] == pytest.approx(
            cosines[place][best], abs=2e-6
        )
        assert [int(row["rank"]) for row in rows] == [1, 2, 3, 4]
        assert {row["image"] for row in rows} == {names[place]}
    label_of = {name: f"w_{name[0]}" for name in LABELLED}
    for row in table:
        assert row["label"] == label_of.get(row["image"], "")
        assert row["neighbour_label"] == label_of.get(row["neighbour"], "")


def test_individuals_are_ranked_for_test_images(imported: Workspace) -> None:
    file = imported.root / "who.csv"
    do = ("neighbours", "other", "--individuals", "--queries", "test", "--k", "2")
    kitbox(imported, *do, "--out", str(file), *RUN)
    rows = [*csv.DictReader(file.read_text().splitlines())]
    assert list(rows[0]) == ["image", "label", "rank", "individual", "similarity"]
    assert len(rows) == 16
    firsts = {row["image"]: row["individual"] for row in rows if row["rank"] == "1"}
    assert firsts | {"t_6.png": ""} == {  # t_6 shows a stranger
        **{f"t_{number}.png": f"w_{number}" for number in range(6)},
        "t_6.png": "",
        "t_7.png": "w_0",
    }
    holdout = json_of(
        imported,
        "neighbours",
        "other",
        "--queries",
        "holdout",
        "--gallery",
        "holdout",
        "--out",
        str(file),
    )
    assert holdout["queries"] + holdout["gallery"] == 24
    assert error_of(imported, "neighbours", "other", "--gallery", "index") == (
        "--gallery index: this competition has no index images"
    )


def test_the_review_page_compares_by_imported_embeddings(imported: Workspace) -> None:
    found = imported_embeddings.load("other", imported)
    stage = photographs.load(imported, settings.load(imported))
    everything = finish(stage)[1]
    embeddings = finish(
        photographs.embed([found], everything, imported, whitening=None, options=EmbedOptions())
    )[1]
    nearest = photographs.nearest(embeddings, "0_0.png", 3)
    same = {"0_1.png", "0_2.png", "0_3.png", "t_0.png", "t_7.png"}
    assert {image for image, _ in nearest} <= same
    assert photographs.outdated([found], imported) == []
    file = save_npz(imported.root / "f.npz", LABELLED)
    do_import(imported, file, "--replace")
    found = imported_embeddings.load("other", imported)
    embeddings = finish(
        photographs.embed([found], everything, imported, whitening=None, options=EmbedOptions())
    )[1]
    assert embeddings.image_ids.tolist() == LABELLED
