from pathlib import Path
from typing import Any

import pytest

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import ImageSet
from kitbox.submission import form, lint
from tests.circle import competition, image_set, ranking

TRAIN = image_set({"a.jpg": "Ahab", "b.jpg": "Boo", "c.jpg": "Cleo", "d.jpg": "Ahab"})
TEST = image_set({"x.jpg": "", "y.jpg": "", "z.jpg": ""}).with_labels(None)

# Three labels of each query, with a header; or the two nearest images, without.
LABELS = competition(k=3)
IMAGES = competition(
    answers="images", k=2, gallery="train+test", form={"header": (), "layout": "columns"}
)
GOOD = "Image,Id\nx.jpg,Ahab Boo Cleo\ny.jpg,Boo new_whale Ahab\nz.jpg,Cleo Boo Ahab\n"
GOOD_IMAGES = "x.jpg,a.jpg,y.jpg\ny.jpg,x.jpg,b.jpg\nz.jpg,a.jpg,b.jpg\n"


def found(
    text: str | bytes, asked: Competition = LABELS, train: ImageSet = TRAIN, test: ImageSet = TEST
) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    return [str(finding) for finding in lint.lint(data, asked, train, test)]


@pytest.mark.parametrize(("text", "asked"), [(GOOD, LABELS), (GOOD_IMAGES, IMAGES)])
def test_a_good_list_has_no_findings(text: str, asked: Competition) -> None:
    assert found(text, asked) == []


@pytest.mark.parametrize(
    ("old", "new", "findings"),
    [
        ("Image,Id", "Image,Label", ["line 1: the header is Image,Label, not Image,Id"]),
        ("Image,Id\n", "", ["line 1: the header is x.jpg,Ahab Boo Cleo, not Image,Id"]),
        (
            "z.jpg,",
            "w.jpg,",
            [
                "line 4: 'w.jpg' is not a test image; did you mean z.jpg?",
                "line 4: query 'z.jpg' is missing",
            ],
        ),
        (
            "y.jpg,Boo new_whale Ahab\nz.jpg,Cleo Boo Ahab\n",
            "",
            ["line 2: query 'y.jpg' is missing; 1 more like it"],
        ),
        (
            "z.jpg,",
            "y.jpg,",
            [
                "line 4: query 'y.jpg' is on line 3 already; remove one row",
                "line 4: query 'z.jpg' is missing",
            ],
        ),
        ("Ahab Boo Cleo", "Ahab Boo", ["line 2: 2 answers, not 3"]),
        ("Ahab Boo Cleo", "Ahab Boo Cleo new_whale", ["line 2: 4 answers, not 3"]),
        ("new_whale Ahab", "Boo Ahab", ["line 3: answer 'Boo' is repeated"]),
        (
            "new_whale Ahab",
            "new_wale Ahab",
            ["line 3: answer 'new_wale' is not a label; did you mean new_whale?"],
        ),
        ("Cleo Boo Ahab", "Cleo  Ahab", ["line 4: an answer is empty"]),
        ("Cleo Boo Ahab", "Cleo,Boo,Ahab", ["line 4: 4 columns, not 2"]),
        ("z.jpg,Cleo Boo Ahab", "z.jpg", ["line 4: 1 columns, not 2"]),
        (
            "x.jpg,Ahab Boo Cleo",
            "x.jpg,",
            ["line 2: 1 answers, not 3", "line 2: an answer is empty"],
        ),
        ("y.jpg", "\ny.jpg", []),
    ],
    ids=[
        "another header",
        "no header",
        "no test image",
        "missing queries",
        "repeated query",
        "too few answers",
        "too many answers",
        "repeated answer",
        "unknown answer",
        "empty answer",
        "columns instead of blanks",
        "one column",
        "no answer",
        "blank line",
    ],
)
def test_a_faulty_list_of_labels_is_told_by_line(old: str, new: str, findings: list[str]) -> None:
    assert old in GOOD
    assert found(GOOD.replace(old, new, 1)) == findings


@pytest.mark.parametrize(
    ("old", "new", "findings"),
    [
        ("x.jpg,a.jpg,y.jpg", "x.jpg,a.jpg", ["line 1: 1 answers, not 2"]),
        ("x.jpg,a.jpg,y.jpg", "x.jpg,a.jpg,b.jpg,c.jpg", ["line 1: 3 answers, not 2"]),
        (
            "y.jpg,x.jpg,b.jpg",
            "y.jpg,y.jpg,b.jpg",
            ["line 2: query 'y.jpg' is among its own answers"],
        ),
        ("z.jpg,a.jpg,b.jpg", "z.jpg,a.jpg,a.jpg", ["line 3: answer 'a.jpg' is repeated"]),
        (
            "z.jpg,a.jpg,b.jpg",
            "z.jpg,a.jpg,whale",
            ["line 3: answer 'whale' is not an image of the gallery"],
        ),
        ("z.jpg,a.jpg,b.jpg", "z.jpg,a.jpg,", ["line 3: an answer is empty"]),
        (
            "x.jpg,a",
            "query,neighbours\nx.jpg,a",
            [
                "line 1: 'query' is not a test image",
                "line 1: 1 answers, not 2",
                "line 1: answer 'neighbours' is not an image of the gallery",
            ],
        ),
    ],
    ids=[
        "too few answers",
        "too many answers",
        "itself",
        "repeated answer",
        "unknown answer",
        "empty answer",
        "unwanted header",
    ],
)
def test_a_faulty_list_of_images_is_told_by_line(old: str, new: str, findings: list[str]) -> None:
    assert old in GOOD_IMAGES
    assert found(GOOD_IMAGES.replace(old, new, 1), IMAGES) == findings


def test_queries_in_another_order_are_told_with_their_place() -> None:
    lines = GOOD.splitlines(keepends=True)
    assert found("".join([lines[0], lines[2], lines[1], lines[3]])) == [
        "line 2: query 'y.jpg' should be row 2 of the queries",
        "line 3: query 'x.jpg' should be row 1 of the queries",
    ]


@pytest.mark.parametrize(
    ("data", "findings"),
    [
        (
            b"\xef\xbb\xbf" + GOOD.encode(),
            ["line 1: the file begins with a byte-order mark; save it as UTF-8 without one"],
        ),
        (
            GOOD.replace("\n", "\r\n").encode(),
            ["line 1: lines end in CRLF; save it with bare line feeds"],
        ),
        (
            GOOD.replace("Cleo\n", "Cleo\r\n").encode(),
            ["line 2: lines end in CRLF; save it with bare line feeds"],
        ),
        (
            GOOD.replace("Boo new", "B\xf6 new").encode("latin-1"),
            ["line 3: not UTF-8 at byte 36; save it as UTF-8"],
        ),
    ],
    ids=["byte-order mark", "CRLF", "one CRLF", "not UTF-8"],
)
def test_how_a_list_was_saved_matters_to_a_leaderboard(data: bytes, findings: list[str]) -> None:
    assert found(data) == findings


def test_a_list_with_the_line_ends_of_old_macs_is_told() -> None:
    assert "line 1: " in found(GOOD.replace("\n", "\r"))[0]


def test_a_null_byte_is_told() -> None:
    assert found(GOOD.replace("Ahab Boo Cleo", "Ahab Boo Cl\0o"))[0].startswith("line 2: ")


def test_an_answer_over_several_lines_does_not_shift_what_follows() -> None:
    told = found(GOOD.replace("Ahab Boo Cleo", '"Ahab Boo Cl\neo"').replace("Boo new_", "Boo Boo_"))
    assert told[-1].startswith("line 4: answer 'Boo_whale' is not a label")


@pytest.mark.parametrize("data", [b"", b"\n\n"])
def test_an_empty_file_is_told(data: bytes) -> None:
    assert found(data) == [
        "line 1: the header is , not Image,Id",
        "line 1: query 'x.jpg' is missing; 2 more like it",
    ]


def test_a_header_only_is_told() -> None:
    assert found("Image,Id\n") == ["line 1: query 'x.jpg' is missing; 2 more like it"]


@pytest.mark.parametrize(
    ("asked", "row", "wanted"),
    [
        # three labels and the unknown
        (competition(k=5), "x.jpg,Ahab Boo", 4),
        (competition(k=5, unknown_label=None), "x.jpg,Ahab Boo", 3),
        (competition(answers="images", k=5), "x.jpg,a.jpg b.jpg", 4),
        # the three test images but for the query itself
        (competition(answers="images", k=5, gallery="test"), "x.jpg,y.jpg", 2),
        (competition(answers="images", k=9, gallery="train+test"), "x.jpg,y.jpg b.jpg", 6),
    ],
)
def test_where_the_gallery_has_fewer_answers_than_k_all_are_asked_for(
    asked: Competition, row: str, wanted: int
) -> None:
    assert f"line 2: {row.count(' ') + 1} answers, not {wanted}" in found(
        f"Image,Id\n{row}\n", asked
    )


def test_the_unknown_is_an_answer_only_where_the_competition_has_one() -> None:
    assert found(GOOD, competition(k=3, unknown_label=None)) == [
        "line 3: answer 'new_whale' is not a label"
    ]


def test_findings_stand_in_the_order_of_lines() -> None:
    told = found("Image,Label\nx.jpg,Ahab\ny.jpg,Boo\nz.jpg,Cleo\n")
    lines = [int(line.split(":")[0].removeprefix("line ")) for line in told]
    assert lines == sorted(lines) == [1, 2, 3, 4]


def test_without_test_images_there_is_nothing_to_hand_in() -> None:
    with pytest.raises(KitboxError) as caught:
        lint.lint(b"", LABELS, TRAIN, None)
    assert str(caught.value) == "this competition has no test images; set images.test_folder"


def test_a_file_is_read_and_a_missing_one_named(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    with pytest.raises(KitboxError) as caught:
        lint.lint_file(path, LABELS, TRAIN, TEST)
    assert str(caught.value) == f"cannot read {path}: No such file or directory"
    path.write_text(GOOD.replace("Ahab Boo Cleo", "Ahab"))
    assert [finding.line for finding in lint.lint_file(path, LABELS, TRAIN, TEST)] == [2]


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        (LABELS, ["Ahab", "new_whale", "Cleo"]),
        (IMAGES, ["a.jpg", "b.jpg"]),
        (competition(k=3, form={"layout": "columns"}), ["Ahab", "Boo", "Cleo"]),
        (competition(k=3, form={"header": ()}), ["Ahab", "Boo", "Cleo"]),
    ],
)
def test_what_kitbox_writes_it_accepts(asked: Any, answers: list[str]) -> None:
    rows = {query: [(answer, 0.5) for answer in answers] for query in TEST.image_ids.tolist()}
    assert found(form.text(ranking(rows), asked), asked) == []
