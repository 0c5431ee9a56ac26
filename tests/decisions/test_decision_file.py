"""decisions.csv: what people and pages write stays, also where several write at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import KitboxError

HEADER = "decision,subject,value,note\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.csv"


def test_decisions_are_added_below_a_header(path: Path) -> None:
    first = Decision("drop", "émoji 🐋, <b>.jpg", note='a "copy"')
    decision_file.add(path, first)
    assert path.read_text() == HEADER + 'drop,"émoji 🐋, <b>.jpg",,"a ""copy"""\n'
    decision_file.add(path, Decision("merge", "A", "B"))
    assert decision_file.load(path).rows == (first, Decision("merge", "A", "B"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", HEADER + "drop,a,,why\n"),
        ("\n", HEADER + "drop,a,,why\n"),
        (HEADER, HEADER + "drop,a,,why\n"),
        (HEADER + "drop,b", HEADER + "drop,b\ndrop,a,,why\n"),
        ("decision,subject,value,note\r\ndrop,b\r\n", None),
        ("\ufeffdecision,subject,value\n", "\ufeffdecision,subject,value\ndrop,a,\n"),
        ("by,value,subject,decision\nme,,b,drop\n", None),
    ],
)
def test_rows_written_by_hand_stay(path: Path, before: str, after: str | None) -> None:
    path.write_bytes(before.encode())
    earlier = decision_file.load(path).rows
    decision_file.add(path, Decision("drop", "a", note="why"))
    text = path.read_bytes().decode()
    assert text.startswith(before.strip(" \n"))
    assert text == after or after is None
    assert [row.subject for row in decision_file.load(path).rows] == [
        *(row.subject for row in earlier),
        "a",
    ]


def test_nothing_is_added_to_another_list(path: Path) -> None:
    path.write_text("image,label\n")
    with pytest.raises(KitboxError, match="line 1: no column 'decision' among image, label"):
        decision_file.add(path, Decision("drop", "a"))
    assert path.read_text() == "image,label\n"


def test_rows_with_semicolons_are_read_but_none_is_added_to_them(path: Path) -> None:
    text = "decision;subject;value;note\ndrop;a;;\n"
    path.write_text(text)
    assert decision_file.load(path).dropped == {"a"}
    with pytest.raises(KitboxError, match="line 1: the separator is ';' and must be ',' to add"):
        decision_file.add(path, Decision("drop", "b"))
    assert path.read_text() == text


def test_the_last_equal_row_is_removed(path: Path) -> None:
    one, other = Decision("drop", "a", note="two\nlines"), Decision("drop", "a")
    for row in (one, other, one, other):
        decision_file.add(path, row)
    path.write_text(path.read_text() + "\nwrong,b")
    assert decision_file.remove(path, one)
    assert decision_file.load(path).rows == (one, other, other, Decision("wrong", "b"))
    assert not decision_file.remove(path, Decision("drop", "c"))
    for row in (Decision("wrong", "b"), other, one, other):
        assert decision_file.remove(path, row)
    assert path.read_text() == HEADER + "\n"


def test_a_row_with_an_extra_cell_is_removed_whole(path: Path) -> None:
    path.write_text('decision,subject,value,who\ndrop,a,,me\n\ndrop,b,,"two\nlines"\nwrong,c,,x\n')
    assert decision_file.remove(path, Decision("drop", "b"))
    assert path.read_text() == "decision,subject,value,who\ndrop,a,,me\n\nwrong,c,,x\n"
    assert decision_file.remove(path, Decision("wrong", "c"))
    assert path.read_text() == "decision,subject,value,who\ndrop,a,,me\n\n"


def test_several_decisions_are_added_together(path: Path) -> None:
    decision_file.add(path)
    assert not path.exists()
    rows = (Decision("drop", "a"), Decision("merge", "A", "B", "why"))
    decision_file.add(path, *rows)
    assert decision_file.load(path).rows == rows


def test_blanks_around_names_are_ignored(path: Path) -> None:
    path.write_text(HEADER + " label , a1 , Boo ,note \n")
    assert decision_file.load(path).rows == (Decision("label", "a1", "Boo", "note "),)


def test_nothing_is_removed_from_a_missing_file(path: Path) -> None:
    assert not decision_file.remove(path, Decision("drop", "a"))
    assert not path.exists()


def test_several_processes_may_add_and_remove_at_once(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from kitbox.decisions import decision_file as d\n"
        "from kitbox.decisions.decision import Decision\n"
        "for n in range(20):\n"
        "    row = Decision('drop', sys.argv[2] + str(n))\n"
        "    d.add(Path(sys.argv[1]), row)\n"
        "    if n % 2: assert d.remove(Path(sys.argv[1]), row)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(path), who]) for who in ("a", "b", "c")
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    rows = decision_file.load(path).rows
    expected = sorted(f"{who}{n}" for who in "abc" for n in range(0, 20, 2))
    assert sorted(row.subject for row in rows) == expected


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "decisions.csv").mkdir()
    with pytest.raises(KitboxError, match=r"cannot write .*decisions\.csv: Is a directory"):
        decision_file.add(tmp_path / "decisions.csv", Decision("drop", "a"))


def test_a_linked_file_stays_a_link_with_its_mode_when_a_row_is_removed(tmp_path: Path) -> None:
    shared, path = tmp_path / "shared.csv", tmp_path / "decisions.csv"
    decision_file.add(shared, Decision("drop", "a"), Decision("drop", "b"))
    shared.chmod(0o660)
    path.symlink_to(shared)
    assert decision_file.remove(path, Decision("drop", "a"))
    assert path.is_symlink()
    assert [row.subject for row in decision_file.load(shared).rows] == ["b"]
    assert shared.stat().st_mode & 0o777 == 0o660


def test_who_decided_and_when_is_kept_and_older_files_get_the_columns(path: Path) -> None:
    signed = Decision("new", "x", by="Anna", time="2026-11-30T12:00:00Z")
    decision_file.add(path, signed)
    assert path.read_text() == (
        "decision,subject,value,note,by,time\nnew,x,,,Anna,2026-11-30T12:00:00Z\n"
    )
    path.write_bytes(b"\xef\xbb\xbf\r\ndecision,subject,value,note\r\ndrop,b\r\ndrop,c,,why,,\r\n")
    earlier = decision_file.load(path).rows
    decision_file.add(path, signed)
    decision_file.add(path, Decision("drop", "d"))
    assert path.read_bytes().decode() == (
        "\ufeff\r\ndecision,subject,value,note,by,time\r\ndrop,b\r\ndrop,c,,why,,\r\n"
        "new,x,,,Anna,2026-11-30T12:00:00Z\ndrop,d,,,,\n"
    )
    assert decision_file.load(path).rows == (*earlier, signed, Decision("drop", "d"))
    path.write_text("decision,subject,value")
    decision_file.add(path, signed)
    assert path.read_text() == (
        "decision,subject,value,by,time\nnew,x,,Anna,2026-11-30T12:00:00Z\n"
    )


def test_of_two_equal_decisions_that_of_the_named_person_is_removed(path: Path) -> None:
    anna, ben = (Decision("same", "x", "y", by=name, time="t") for name in ("Anna", "Ben"))
    decision_file.add(path, anna, ben)
    assert decision_file.remove(path, anna)
    assert decision_file.load(path).rows == (ben,)


def test_decisions_of_a_person_add_rows_where_another_process_adds_too(path: Path) -> None:
    decision_file.add(path, Decision("drop", "a"))
    seen: list[int] = []

    def choose(decided: Decisions) -> list[Decision]:
        seen.append(len(decided.rows))
        return [Decision("drop", "b")] if len(decided.rows) < 2 else []

    assert decision_file.add_chosen(path, choose) == (Decision("drop", "b"),)
    assert decision_file.add_chosen(path, choose) == ()
    assert seen == [1, 2]
    assert [row.subject for row in decision_file.load(path).rows] == ["a", "b"]
