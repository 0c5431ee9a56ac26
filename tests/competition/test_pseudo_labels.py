"""pseudo.csv: saved whole, edited by users, faulty rows refused by line."""

from pathlib import Path

import pytest

from kitbox.competition import pseudo_labels
from kitbox.competition.pseudo_labels import PseudoLabel
from kitbox.errors import KitboxError
from kitbox.records import strings
from tests.circle import competition

HEADER = "image,label,confidence,gap,round,from,on,holdout\n"


def row(image: str = "t1", label: str = "Ahab", **given: object) -> PseudoLabel:
    values = {"confidence": 0.95, "gap": 0.5, "round": 1, "source": "a+b", "on": "all"} | given
    return PseudoLabel(image_id=image, label=label, **values)  # type: ignore[arg-type]


def written(path: Path, *lines: str) -> Path:
    path.write_text(HEADER + "".join(f"{line}\n" for line in lines))
    return path


def test_saved_rows_are_loaded_sorted_by_image(tmp_path: Path) -> None:
    rows = (row("t2", "Boo, Jr"), row("t1", gap=None, on="holdout", holdout="1f2e3d4c5b6a"))
    path = tmp_path / "pseudo.csv"
    pseudo_labels.save(path, rows)
    found = pseudo_labels.load(path)
    assert found == (rows[1], rows[0])
    assert [each.line for each in found] == [2, 3]


@pytest.mark.parametrize("content", [None, "", "\n \n", HEADER])
def test_a_missing_or_empty_file_has_no_rows(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "pseudo.csv"
    if content is not None:
        path.write_text(content)
    assert pseudo_labels.load(path) == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("t1,,0.9,0,1,a,all,", "line 2: a pseudo-label needs an image and a label"),
        ("t1,Ahab,sure,0,1,a,all,", "line 2: confidence = 'sure' is no number; correct it"),
        ("t1,Ahab,1.5,0,1,a,all,", "line 2: confidence = 1.5 is not between 0 and 1"),
        ("t1,Ahab,nan,0,1,a,all,", "line 2: confidence = nan is not between 0 and 1"),
        ("t1,Ahab,0.9,-1,1,a,all,", "line 2: gap = -1.0 is not between 0 and 1"),
        ("t1,Ahab,0.9,0,first,a,all,", "line 2: round = 'first' is no whole number"),
        ("t1,Ahab,0.9,0,²,a,all,", "line 2: round = '²' is no whole number"),
        (f"t1,Ahab,0.9,0,{'9' * 5000},a,all,", "line 2: round = '99999"),
        ("t1,Ahab,0.9,0,0,a,all,", "line 2: round = 0 is below 1"),
        ("t1,Ahab,0.9,0,1,a,test,", "line 2: on = 'test' is neither holdout nor all"),
        ("t1,new_whale,0.9,0,1,a,all,", "line 2: 'new_whale' is no individual; name one"),
        ("t1,NA,0.9,0,1,a,all,", "line 2: 'NA' is no individual; name one"),
    ],
)
def test_a_faulty_row_is_named_by_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path / "pseudo.csv", line)
    with pytest.raises(KitboxError) as caught:
        pseudo_labels.load(path, competition(unknown_label=["new_whale", "NA"]).images)
    assert str(caught.value).startswith(f"{path} {message}")


def test_the_error_for_a_missing_column_does_not_name_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "pseudo.csv"
    path.write_text("image,label,confidence,gap,rond,from,on,holdout\n")
    with pytest.raises(KitboxError) as caught:
        pseudo_labels.load(path)
    assert str(caught.value).endswith("; did you mean rond?")


def test_an_image_with_two_rows_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "pseudo.csv", "t1,Ahab,0.9,0,1,a,all,", "", "t1,Boo,0.9,0,1,a,all,")
    with pytest.raises(KitboxError, match="line 4: image 't1' is on line 2 already"):
        pseudo_labels.load(path)


def test_the_digest_covers_images_and_labels_only() -> None:
    rows = [row("t1"), row("t2", "Boo")]
    same = [row("t2", "Boo", confidence=0.99, round=2), row("t1", gap=None, line=7)]
    assert pseudo_labels.digest(rows) == pseudo_labels.digest(same)
    assert pseudo_labels.digest(rows) != pseudo_labels.digest([row("t1"), row("t2", "Cid")])
    assert pseudo_labels.digest(rows) != pseudo_labels.digest(rows[:1])


def test_a_holdout_is_named_by_its_queries_in_any_order() -> None:
    one, other = strings(["a", "b"]), strings(["b", "a"])
    assert pseudo_labels.holdout_digest(one) == pseudo_labels.holdout_digest(other)
    assert pseudo_labels.holdout_digest(one) != pseudo_labels.holdout_digest(strings(["a"]))


def test_the_list_of_the_gdsc_solution_is_read_by_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "bootstrapped_data.csv"
    path.write_text("full_path,extra,folder,proba\n/d/test/1.jpg,x,w_1,0.93\n")
    assert list(pseudo_labels.read_gdsc(path)) == [(2, "/d/test/1.jpg", "w_1", 0.93)]
    path.write_text("full_path,folder,proba\n/d/test/1.jpg,w_1,93\n")
    with pytest.raises(KitboxError, match="line 2: proba = 93 is not between 0 and 1"):
        list(pseudo_labels.read_gdsc(path))
