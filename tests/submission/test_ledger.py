"""The ledger: durable lines, damaged lines, and one sender at a time."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kitbox.errors import KitboxError
from kitbox.submission import leaderboard, ledger, receipt
from kitbox.workspace import Workspace
from tests.submission.packaged import GOOD, package, receipt_of

A = "2026-01-31_a_11111111"


def sending(workspace: Workspace, name: str = A) -> None:
    ledger.append(workspace, "sending", name, sha256="11", description="a [kitbox 11]")


def test_without_a_ledger_there_are_no_submissions(workspace: Workspace) -> None:
    assert ledger.load(workspace) == ledger.Ledger()
    assert leaderboard.load(workspace) == {}


def test_appended_lines_are_read_again(workspace: Workspace) -> None:
    ledger.record_submission(workspace, receipt_of(GOOD, local=0.25, note="two"), Path("x") / A)
    ledger.append(workspace, "scored", A, public=1450, private=None, source="by hand")
    found = ledger.load(workspace)
    assert found.damaged == ()
    assert [entry.what for entry in found.entries] == ["made", "scored"]
    assert found.entries[0].fields["scores"]["label_map_at_5"]["value"] == 0.25
    assert found.entries[1].fields == {"public": 1450, "private": None, "source": "by hand"}
    assert found.entries[0].at.endswith("+00:00")


def test_a_submission_that_is_made_again_after_a_kill_has_one_line(workspace: Workspace) -> None:
    receipt = receipt_of(GOOD, local=0.25, note="two")
    for _ in range(2):
        ledger.record_submission(workspace, receipt, Path("x") / A)
    ledger.record_submission(workspace, receipt_of(GOOD, local=0.25, note="three"), Path("x") / A)
    ledger.record_submission(workspace, receipt, Path("x") / f"{A}2")
    made = [(entry.submission, entry.fields["note"]) for entry in ledger.load(workspace).entries]
    assert made == [(A, "two"), (A, "three"), (f"{A}2", "two")]


def test_a_line_is_one_json_object(workspace: Workspace) -> None:
    sending(workspace, "two\nlines")
    (line,) = ledger.path_of(workspace).read_text().splitlines()
    assert json.loads(line)["submission"] == "two\nlines"


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_by_a_crash_is_reported_and_the_next_one_is_complete(
    workspace: Workspace, cut: int
) -> None:
    for name in ("first", "second"):
        sending(workspace, name)
    path = ledger.path_of(workspace)
    path.write_bytes(path.read_bytes()[:-cut])
    torn = ledger.load(workspace)
    sending(workspace, "third")
    found = ledger.load(workspace)
    # a line that lacks its end alone lacks nothing
    assert torn.damaged == found.damaged == (() if cut == 1 else (2,))
    whole = ["first", "second", "third"] if cut == 1 else ["first", "third"]
    assert [entry.submission for entry in found.entries] == whole


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "7",
        "{}",
        '{"what": "sent", "at": "now"}',
        '{"what": "sent", "at": "now", "submission": "a"}',
        '{"what": "sent", "at": "now", "submission": "a", "ref": "7"}',
        '{"what": "dreamt", "at": "now", "submission": "a"}',
        "\0\0\0",
        "\xff",
    ],
)
def test_a_line_that_is_not_an_entry_is_reported_as_damaged(
    workspace: Workspace, line: str
) -> None:
    sending(workspace)
    path = ledger.path_of(workspace)
    path.write_bytes(line.encode("latin-1") + b"\n\n" + path.read_bytes())
    found = ledger.load(workspace)
    assert found.damaged == (1,)
    assert [entry.submission for entry in found.entries] == [A]


def test_a_full_disk_leaves_the_ledger_as_it_was(workspace: Workspace, monkeypatch) -> None:
    sending(workspace)
    before = ledger.path_of(workspace).read_bytes()

    def half(path: Path, data: bytes) -> int:
        real(path, data[:9])
        raise OSError(28, "No space left on device")

    real = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(KitboxError, match=r"cannot write .*ledger.jsonl: No space left on device"):
        sending(workspace)
    assert ledger.path_of(workspace).read_bytes() == before


@pytest.mark.parametrize(("synced", "name"), [(0, "submission.csv"), (5, "receipt.json")])
def test_a_disk_that_fills_up_while_a_submission_is_written_is_told_and_it_is_made_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, synced: int, name: str
) -> None:
    fields, left = receipt_of(GOOD), [synced]

    def fsync(_: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(KitboxError, match=rf"cannot write .*{name}: No space left on device"):
            receipt.save(workspace, fields, GOOD)
    assert ledger.load(workspace).entries == ()
    made = receipt.save(workspace, fields, GOOD)
    assert made.csv.read_text() == GOOD
    assert [entry.what for entry in ledger.load(workspace).entries] == ["made"]
    assert not [*made.folder.glob("*.partial")]


def test_two_processes_at_once_lose_nothing(workspace: Workspace) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from kitbox.submission import ledger\nfrom kitbox.workspace import Workspace\n"
        "for i in range(60):\n"
        "    ledger.append(Workspace(Path(sys.argv[1])), 'failed', sys.argv[2] + str(i), "
        "why='x' * 5000)\n"
    )
    command = [sys.executable, "-c", code, str(workspace.root)]
    processes = [subprocess.Popen([*command, name]) for name in ("a", "b")]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    found = ledger.load(workspace)
    assert found.damaged == ()
    names = [entry.submission for entry in found.entries]
    for name in ("a", "b"):
        assert [n for n in names if n[0] == name] == [f"{name}{i}" for i in range(60)]


def test_only_one_process_can_send_at_a_time(workspace: Workspace) -> None:
    with (
        ledger.sending_lock(workspace),
        pytest.raises(KitboxError) as caught,
        ledger.sending_lock(workspace),
    ):
        pass
    assert "is sending from" in str(caught.value)
    assert str(caught.value).endswith("run this again when it is done")
    with ledger.sending_lock(workspace):
        pass


def test_a_submission_without_a_line_is_known_from_its_receipt(workspace: Workspace) -> None:
    name = package(workspace, local=0.75, note="old", written=False)
    (workspace.submissions / "broken").mkdir()
    (workspace.submissions / "broken" / "receipt.json").write_text("{")
    (workspace.submissions / "other").mkdir()
    (workspace.submissions / "other" / "receipt.json").write_text("[]")
    found = leaderboard.load(workspace)
    assert list(found) == [name]
    assert found[name].note == "old"
    assert found[name].scores["label_map_at_5"]["value"] == 0.75
    assert found[name].made_at == "2026-01-31T12:00:00+00:00"


def test_the_metric_of_a_receipt_does_not_depend_on_the_order_of_its_scores() -> None:
    scores = {"a_score": {"value": 0.1}, "row_f1": {"value": 0.2}}
    receipt = receipt_of(GOOD) | {"scores": scores, "metric": "row_f1"}
    assert ledger.receipt_fields(receipt)["metric"] == "row_f1"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 9999, '{"csv": 3}', '{"top_k": 1e400}', "\0" * 9]
)
def test_a_damaged_receipt_is_named_and_the_others_are_shown(
    workspace: Workspace, text: str
) -> None:
    good = package(workspace, GOOD, written=False)
    folder = workspace.submissions / "2026-01-31_a_00000000"
    folder.mkdir()
    (folder / "receipt.json").write_text(text)
    assert list(leaderboard.load(workspace)) == [good]
    entries, [mistake] = ledger.entries_from_receipts(workspace)
    assert [entry.submission for entry in entries] == [good]
    assert str(folder / "receipt.json") in str(mistake)


@pytest.mark.parametrize(
    "line",
    [
        *("[]", "null", "3", "[" * 9999, '{"what": 1e400}', "\0", '{"what": "made"}'),
        '{"what": "sent", "at": "2026-01-31T12:00:00+00:00", "submission": "a", "ref": "7"}',
        '{"what": "sent", "at": "2026-01-31T12:00:00", "submission": "a", "ref": 7}',
        '{"what": "sent", "at": "today", "submission": "a", "ref": 7}',
        '{"what": "sent", "at": "2026-01-31T12:00:00+00:00", "submission": "../../a", "ref": 7}',
        '{"what": "scored", "at": "2026-01-31T12:00:00+00:00", "submission": "a", "public": 1e309, '
        '"private": null}',
        '{"what": "made", "at": "2026-01-31T12:00:00+00:00", "submission": "a", "sha256": "1", '
        '"plugins": [], "metric": "map", "scores": {"map": 0.5}}',
    ],
)
def test_a_line_of_another_form_is_counted_and_the_others_are_shown(
    workspace: Workspace, line: str
) -> None:
    good = package(workspace)
    with ledger.path_of(workspace).open("a") as file:
        file.write(f"{line}\n")
    assert ledger.load(workspace).damaged == (2,)
    assert list(leaderboard.load(workspace)) == [good]
