import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.errors import KitboxError
from kitbox.submission import leaderboard, ledger
from kitbox.submission.leaderboard import SubmissionStatus, replay
from kitbox.submission.ledger import LedgerEntry
from kitbox.submission.receipt import competition_settings
from kitbox.workspace import Workspace
from tests.circle import competition
from tests.submission.packaged import GOOD, package, receipt_of

A = "2026-01-31_a_11111111"


def sending(workspace: Workspace, name: str = A) -> None:
    ledger.append(workspace, "sending", name, sha256="11", description="a [kitbox 11]")


def test_without_a_ledger_nothing_was_made(workspace: Workspace) -> None:
    assert ledger.load(workspace) == ledger.Ledger()
    assert leaderboard.load(workspace) == {}


def test_what_is_appended_is_read_again(workspace: Workspace) -> None:
    ledger.record_submission(workspace, receipt_of(GOOD, local=0.25, note="two"), Path("x") / A)
    ledger.append(workspace, "scored", A, public=1450, private=None, source="by hand")
    found = ledger.load(workspace)
    assert found.damaged == ()
    assert [entry.what for entry in found.entries] == ["made", "scored"]
    assert found.entries[0].facts["scores"]["label_map_at_5"]["value"] == 0.25
    assert found.entries[1].facts == {"public": 1450, "private": None, "source": "by hand"}
    assert found.entries[0].at.endswith("+00:00")


def test_a_line_is_one_json_object(workspace: Workspace) -> None:
    sending(workspace, "two\nlines")
    (line,) = ledger.path_of(workspace).read_text().splitlines()
    assert json.loads(line)["submission"] == "two\nlines"


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_torn_by_a_crash_is_named_and_the_next_one_is_whole(
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
def test_a_line_that_is_no_entry_is_named(workspace: Workspace, line: str) -> None:
    sending(workspace)
    path = ledger.path_of(workspace)
    path.write_bytes(line.encode("latin-1") + b"\n\n" + path.read_bytes())
    found = ledger.load(workspace)
    assert found.damaged == (1,)
    assert [entry.submission for entry in found.entries] == [A]


def test_a_full_disk_leaves_the_ledger_as_it_was(workspace: Workspace, monkeypatch) -> None:
    sending(workspace)
    before = ledger.path_of(workspace).read_bytes()
    written = []

    def half(file: int, data: bytes) -> int:
        if written:
            raise OSError(28, "No space left on device")
        written.append(data)
        return real(file, data[:9])

    real = ledger.os.write
    monkeypatch.setattr(ledger.os, "write", half)
    with pytest.raises(KitboxError, match=r"cannot write .*ledger.jsonl: No space left on device"):
        sending(workspace)
    assert ledger.path_of(workspace).read_bytes() == before


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


def test_only_one_process_sends(workspace: Workspace) -> None:
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


def test_a_package_without_its_line_is_known_from_its_receipt(workspace: Workspace) -> None:
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


@pytest.mark.parametrize(
    ("told", "metric"),
    [
        ({"metric": "row_f1"}, "row_f1"),
        # older receipts do not name it, but the settings that it follows from
        ({"competition": competition_settings(competition(k=5))}, "label_map_at_5"),
        ({}, "a_score"),
    ],
    ids=["named", "of the settings", "the first"],
)
def test_the_metric_of_a_receipt_does_not_hang_on_the_order_of_its_scores(
    told: dict[str, Any], metric: str
) -> None:
    scores = {"a_score": {"value": 0.1}, "label_map_at_5": {"value": 0.5}, "row_f1": {"value": 0.2}}
    receipt = receipt_of(GOOD) | {"scores": scores} | told
    assert ledger.facts_of_receipt(receipt)["metric"] == metric


def entry(what: str, **facts: object) -> LedgerEntry:
    return LedgerEntry(what, "2026-01-31T12:00:00+00:00", A, facts)


SENDING = entry("sending", sha256="11", description="a")


@pytest.mark.parametrize(
    ("entries", "outcomes"),
    [
        ([SENDING], ["open"]),
        ([SENDING, entry("sent", ref=7)], ["sent"]),
        ([SENDING, entry("failed", why="cut")], ["failed"]),
        ([SENDING, entry("refused", why="no")], ["refused"]),
        ([SENDING, entry("sent", ref=7), entry("refused", why="bad", ref=7)], ["refused"]),
        (
            [SENDING, entry("sent", ref=7), entry("scored", public=1, private=None, ref=7)],
            ["scored"],
        ),
        ([SENDING, entry("failed", why="cut"), SENDING], ["failed", "open"]),
        # the score of the first comes while the second is on its way
        (
            [
                SENDING,
                entry("sent", ref=7),
                SENDING,
                entry("sent", ref=8),
                entry("scored", public=1, private=None, ref=7),
            ],
            ["scored", "sent"],
        ),
        ([entry("scored", public=1, private=None)], []),
        ([entry("sent", ref=7)], []),
    ],
)
def test_lines_fold_into_attempts(entries: list[LedgerEntry], outcomes: list[str]) -> None:
    found = replay(entries)[A]
    assert [sending.outcome for sending in found.sendings] == outcomes


def test_a_later_score_wins_and_what_it_does_not_say_stays() -> None:
    found = replay(
        [
            entry("scored", public=0.5, private=0.4, source="by hand"),
            entry("scored", public=1450, private=None, source="kaggle"),
        ]
    )[A]
    assert (found.public, found.private, found.source) == (1450.0, 0.4, "kaggle")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.1, 0.2, 0.3])), max_size=12))
def test_submissions_do_not_mix(scored: list[tuple[str, float]]) -> None:
    lines = [
        LedgerEntry("scored", "", name, {"public": value, "private": None})
        for name, value in scored
    ]
    slow = dict(scored)
    assert {name: found.public for name, found in replay(lines).items()} == slow
    assert list(replay(lines)) == list(dict.fromkeys(name for name, _ in scored))


KNOWN = {
    name: SubmissionStatus(name)
    for name in ("2026-01-31_a_1f", "2026-01-31_b_2e", "2026-02-01_a_3d")
}


@pytest.mark.parametrize(
    "text", ["2026-02-01_a_3d", "2026-02", "submissions/2026-02-01_a_3d", "/x/2026-02-01_a_3d/"]
)
def test_a_unique_beginning_is_enough(text: str) -> None:
    assert leaderboard.find(text, KNOWN).submission == "2026-02-01_a_3d"


def test_an_id_that_begins_another_is_itself() -> None:
    known = {name: SubmissionStatus(name) for name in ("a", "ab")}
    assert leaderboard.find("a", known).submission == "a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "2026-01",
            "2026-01 begins 2 submissions, 2026-01-31_a_1f and 2026-01-31_b_2e; type more of it",
        ),
        (
            "2026",
            "2026 begins 3 submissions, 2026-01-31_a_1f and 2026-01-31_b_2e; 1 more; "
            "type more of it",
        ),
        (
            "2026-01-31_a_1e",
            "no submission named 2026-01-31_a_1e; did you mean 2026-01-31_a_1f?",
        ),
        ("whale", "no submission named whale; 'kitbox leaderboard' lists them"),
    ],
)
def test_an_unknown_or_unclear_id_is_told(text: str, message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        leaderboard.find(text, KNOWN)
    assert str(caught.value) == message
