"""The real client against a kaggle.com on loopback: nothing is sent twice and nothing lost."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kitbox.competition import settings
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.submission import leaderboard, ledger
from kitbox.submission.kaggle import Kaggle
from kitbox.submission.leaderboard import SubmissionStatus
from kitbox.submission.upload import Pace, description_of, until_midnight, upload_submission
from kitbox.workspace import Workspace
from tests.kaggle_server import KEY, SLUG, TOKEN, USER, Fault, Service, route_to, running
from tests.photographs import finish
from tests.submission.packaged import GOOD, OTHER, competition_for_kaggle, package

# the age at which an attempt that Kaggle does not list counts as failed
LONG_ENOUGH = 600.0
TAG = f"[kitbox {sha256(GOOD.encode()).hexdigest()[:8]}]"
# the calls of a first upload without failures, up to the score
CALLS = [
    "GetCompetition",
    "ListSubmissions",
    "GetSubmissionLimits",
    "StartSubmissionUpload",
    "PUT",
    "CreateSubmission",
]


@dataclass
class Clock:
    """A clock that moves only by sleeping."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@dataclass
class Scene:
    """A packaged submission, the service it goes to, and a clock."""

    workspace: Workspace
    competition: Competition
    kaggle: Service
    name: str
    clock: Clock = field(default_factory=Clock)
    lines: list[str] = field(default_factory=list)

    def upload(self, name: str = "", *, timeout: float = 100.0, **options: Any) -> SubmissionStatus:
        pace = Pace(
            timeout=timeout,
            sleep=self.clock.sleep,
            clock=lambda: self.clock.now,
            now=lambda: datetime.now(UTC) + timedelta(seconds=self.clock.now),
        )
        self.lines, status = finish(
            upload_submission(
                self.workspace,
                self.competition,
                name or self.name,
                lambda slug: Kaggle(slug, timeout=0.4),
                pace=pace,
                **options,
            )
        )
        return status

    def refused(self, *arguments: Any, **options: Any) -> str:
        with pytest.raises(KitboxError) as caught:
            self.upload(*arguments, **options)
        return str(caught.value)

    def ledger(self) -> list[str]:
        """Return the ledger's events after packaging, in order."""
        return [e.what for e in ledger.load(self.workspace).entries if e.what != "made"]

    def last(self) -> dict[str, Any]:
        return dict(ledger.load(self.workspace).entries[-1].fields)


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    for name in ("TOKEN", "USERNAME", "KEY", "CONFIG_DIR"):
        monkeypatch.delenv(f"KAGGLE_{name}", raising=False)
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with running() as service:
        route_to(service.port, monkeypatch)
        yield service


@pytest.fixture
def scene(tmp_path: Path, kaggle: Service) -> Scene:
    workspace, competition = competition_for_kaggle(tmp_path)
    return Scene(workspace, competition, kaggle, package(workspace, note="two small networks"))


def test_a_submission_is_sent_scored_and_recorded(scene: Scene) -> None:
    scene.kaggle.polls_until_scored = 2
    status = scene.upload()
    (there,) = scene.kaggle.submissions
    assert there["data"] == GOOD.encode()
    assert there["description"] == f"two small networks {TAG}"
    assert scene.kaggle.calls == [*CALLS, "GetSubmission", "GetSubmission", "GetSubmission"]
    assert (status.public, status.private, status.source) == (0.81234, None, "kaggle")
    assert scene.ledger() == ["sending", "sent", "scored"]
    assert status.last is not None
    assert (status.last.outcome, status.last.ref) == ("scored", there["ref"])
    assert scene.lines[:2] == [
        "attempts left: 4",
        f"sent as {there['ref']}: two small networks {TAG}",
    ]
    assert scene.clock.pauses == [2.0, 3.0]


def test_an_attempt_is_recorded_before_the_first_byte_is_sent(scene: Scene, monkeypatch) -> None:
    recorded = []
    upload_bytes = Kaggle.upload

    def look(self: Kaggle, *arguments: Any) -> str:
        recorded.append(scene.ledger())
        return upload_bytes(self, *arguments)

    monkeypatch.setattr(Kaggle, "upload", look)
    scene.upload()
    assert recorded == [["sending"]]


def test_a_private_score_is_recorded_where_it_is_shown(scene: Scene) -> None:
    scene.kaggle.score |= {"publicScore": "1450", "privateScore": "1449.5"}
    status = scene.upload()
    assert (status.public, status.private) == (1450.0, 1449.5)


def test_a_score_that_kaggle_hides_is_none(scene: Scene) -> None:
    scene.kaggle.score |= {"publicScore": ""}
    status = scene.upload()
    assert status.public is None
    assert status.last is not None
    assert status.last.outcome == "scored"


def test_without_waiting_the_same_command_fetches_the_score_later(scene: Scene) -> None:
    assert scene.upload(wait=False).public is None
    assert scene.ledger() == ["sending", "sent"]
    before = list(scene.kaggle.calls)
    assert scene.upload().public == 0.81234
    assert scene.kaggle.calls[len(before) :] == ["GetSubmission"]
    assert scene.kaggle.attempts() == 1


def test_a_timeout_loses_nothing(scene: Scene) -> None:
    scene.kaggle.polls_until_scored = 10_000
    assert re.fullmatch(
        r"no score of 40000000 within 10 s; nothing is lost: "
        r"the same command continues to wait",
        scene.refused(timeout=10.0),
    )
    assert sum(scene.clock.pauses) == 10.0
    scene.kaggle.polls_until_scored = 0
    assert scene.upload().public == 0.81234
    assert scene.kaggle.attempts() == 1


def test_ctrl_c_while_waiting_loses_nothing(scene: Scene, monkeypatch) -> None:
    scene.kaggle.polls_until_scored = 3

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(scene.clock, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            scene.upload()
    assert scene.upload().public == 0.81234
    assert scene.kaggle.attempts() == 1


@pytest.mark.parametrize("arrives", [False, True])
@pytest.mark.parametrize("step", ["upload", "create_submission"])
def test_ctrl_c_while_sending_sends_once(
    scene: Scene, monkeypatch, step: str, arrives: bool
) -> None:
    def interrupt(*arguments: Any) -> None:
        if arrives:
            original(*arguments)  # its answer does not arrive
        raise KeyboardInterrupt

    original = getattr(Kaggle, step)
    with monkeypatch.context() as patched:
        patched.setattr(Kaggle, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            scene.upload()
    assert scene.ledger() == ["sending"]
    scene.clock.now += LONG_ENOUGH
    assert scene.upload().public == 0.81234
    assert scene.kaggle.attempts() == 1


# -- checks before the upload


def test_a_competition_without_a_kaggle_address_is_an_error(scene: Scene) -> None:
    text = scene.workspace.settings.read_text()
    scene.workspace.settings.write_text(text.replace(f'kaggle = "{SLUG}"', "#"))
    scene.competition = settings.load(scene.workspace)
    assert scene.refused() == (
        f"{scene.workspace.settings} does not say where to send: add kaggle = "
        '"the last part of the competition\'s address on kaggle.com" under [submission]'
    )


def test_without_the_package_the_error_says_how_to_install_it(scene: Scene, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglesdk", None)
    assert scene.refused() == (
        "uploading needs the package kaggle; install it with pip install 'kitbox[upload]'"
    )


def test_without_credentials_the_error_says_where_they_go(scene: Scene, monkeypatch) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    message = scene.refused()
    assert message.startswith("no Kaggle credentials: make a token at https://www.kaggle.com/")
    for place in ("KAGGLE_API_TOKEN", "~/.kaggle/access_token", "kaggle.json"):
        assert place in message
    assert scene.kaggle.calls == []


@pytest.mark.parametrize("folder", [".kaggle", ".config/kaggle", "variables"])
def test_older_credentials_are_accepted(scene: Scene, monkeypatch, tmp_path, folder: str) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    if folder == "variables":
        monkeypatch.setenv("KAGGLE_USERNAME", USER)
        monkeypatch.setenv("KAGGLE_KEY", KEY)
    else:
        file = tmp_path / "home" / folder / "kaggle.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"username": USER, "key": KEY}))
    assert scene.upload().public == 0.81234


def test_a_token_in_its_file_is_accepted(scene: Scene, monkeypatch, tmp_path) -> None:
    token = tmp_path / "home" / ".kaggle" / "access_token"
    token.parent.mkdir(parents=True)
    token.write_text(TOKEN + "\n")
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    assert scene.upload().public == 0.81234


def test_the_login_of_the_kaggle_command_is_accepted(scene: Scene, monkeypatch, tmp_path) -> None:
    login = tmp_path / "home" / ".kaggle" / "credentials.json"
    login.parent.mkdir(parents=True)
    login.write_text(
        json.dumps(
            {
                "refresh_token": "r",
                "access_token": TOKEN,
                "access_token_expiration": datetime(2100, 1, 1, tzinfo=UTC).isoformat(),
                "username": USER,
                "scopes": [],
            }
        )
    )
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    assert scene.upload().public == 0.81234


def test_a_kaggle_json_without_its_key_is_named(scene: Scene, monkeypatch, tmp_path) -> None:
    file = tmp_path / "home" / ".kaggle" / "kaggle.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"username": "ahab"}')
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    assert scene.refused().startswith(f"{file} has no username and key; make a new one at ")


@pytest.mark.parametrize(
    ("competition", "message"),
    [
        (
            {"userHasEntered": False},
            f"this Kaggle account has not joined {SLUG}; accept its rules at "
            f"https://www.kaggle.com/competitions/{SLUG}/rules",
        ),
        (
            {"userHasEntered": True, "isKernelsSubmissionsOnly": True},
            f"{SLUG} takes notebooks and no files; submit one at "
            f"https://www.kaggle.com/competitions/{SLUG}, then note its score with "
            "'kitbox leaderboard record ID SCORE'",
        ),
        (
            {"userHasEntered": True, "submissionsDisabled": True},
            f"{SLUG} takes no submissions now; see https://www.kaggle.com/competitions/{SLUG}",
        ),
    ],
)
def test_a_competition_that_accepts_nothing_is_an_error(scene: Scene, competition, message) -> None:
    scene.kaggle.competition = competition
    assert scene.refused() == message
    assert scene.ledger() == []
    assert scene.kaggle.attempts() == 0


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"numToday": 5, "numTotal": 9},
            r"no attempt is left today, after 5; nothing was sent; run this again in "
            r"\d+ h \d+ min, when Kaggle's day ends",
        ),
        (
            {"numToday": 1, "numTotal": 30, "limitedByTotal": True},
            f"all 30 attempts of {SLUG} are used up; nothing was sent",
        ),
    ],
)
def test_without_an_attempt_left_nothing_is_sent(scene: Scene, limits, message: str) -> None:
    scene.kaggle.limits = limits
    assert re.fullmatch(message, scene.refused())
    assert scene.ledger() == []
    assert "StartSubmissionUpload" not in scene.kaggle.calls


def test_a_team_that_never_sent_anything_can_send(scene: Scene) -> None:
    scene.kaggle.limits = {}
    assert scene.upload().public == 0.81234
    assert "the first attempt" in scene.lines


@pytest.mark.parametrize(
    ("now", "left"),
    [
        (datetime(2026, 1, 31, 20, 40, tzinfo=UTC), "3 h 20 min"),
        (datetime(2026, 1, 31, 23, 59, 30, tzinfo=UTC), "0 h 1 min"),
        (datetime(2026, 12, 31, tzinfo=UTC), "24 h 0 min"),
    ],
)
def test_kaggles_day_ends_at_midnight_utc(now: datetime, left: str) -> None:
    assert until_midnight(now) == left


def csv_of(scene: Scene) -> Path:
    return scene.workspace.submissions / scene.name / "submission.csv"


def test_a_submission_with_a_lint_finding_is_not_sent(scene: Scene) -> None:
    bad = package(scene.workspace, GOOD.replace("w_0 w_1", "w_0 w_0"), day="2026-02-02")
    message = scene.refused(bad)
    assert message.endswith(
        "submission.csv line 2, column 13: answer 'w_0' is repeated; name another; fix the "
        "plugins or settings that made it and package it again"
    )
    assert scene.kaggle.calls == []


def test_a_warning_is_told_and_the_submission_sent(scene: Scene) -> None:
    fewer = package(scene.workspace, GOOD.replace("w_0 w_1 new_whale", "w_0"), day="2026-02-03")
    scene.upload(fewer)
    warning = "line 2, column 9: warning: 1 answer, not 3; name more"
    assert any(warning in line for line in scene.lines)
    assert scene.ledger() == ["sending", "sent", "scored"]


def test_an_edited_submission_is_not_sent(scene: Scene) -> None:
    csv_of(scene).write_text(OTHER)
    assert scene.refused() == (
        f"{csv_of(scene)} is not the CSV that its receipt describes; package it again with "
        "'kitbox ensemble --submit'"
    )
    assert scene.kaggle.calls == []


def test_a_missing_csv_is_an_error(scene: Scene) -> None:
    csv_of(scene).unlink()
    assert scene.refused() == (
        f"there is no {csv_of(scene)}; 'kitbox reproduce {csv_of(scene).parent}' makes it again"
    )


def test_the_same_csv_is_sent_once_unless_again_is_given(scene: Scene) -> None:
    at = scene.upload().sent_at[:16].replace("T", " ")
    assert scene.refused() == (
        f"{scene.name} was sent on {at} as 40000000 and scored 0.81234; --again sends the same "
        "bytes once more"
    )
    assert scene.kaggle.attempts() == 1
    scene.kaggle.score = {"status": "COMPLETE", "publicScore": "0.9"}
    assert scene.upload(again=True).public == 0.9
    assert scene.kaggle.attempts() == 2


def test_the_same_csv_under_another_name_is_sent_once(scene: Scene) -> None:
    copy = package(scene.workspace, day="2026-03-01")
    at = scene.upload().sent_at[:16].replace("T", " ")
    assert scene.refused(copy) == (
        f"the same CSV, as {scene.name}, was sent on {at} as 40000000 and scored 0.81234; "
        "--again sends the same bytes once more"
    )
    assert scene.kaggle.attempts() == 1


def test_a_csv_on_its_way_under_another_name_is_not_sent(scene: Scene) -> None:
    copy = package(scene.workspace, day="2026-03-01")
    digest = sha256(GOOD.encode()).hexdigest()
    ledger.append(scene.workspace, "sending", scene.name, sha256=digest, description=TAG)
    for again in (False, True):
        assert scene.refused(copy, again=again) == (
            f"the same CSV, as {scene.name}, may be at Kaggle already; "
            f"'kitbox submission upload {scene.name}' finds out"
        )
    assert scene.kaggle.attempts() == 0


def test_a_submission_scored_by_hand_is_not_sent(scene: Scene) -> None:
    ledger.append(scene.workspace, "scored", scene.name, public=0.7, private=None, source="by hand")
    assert scene.refused() == (
        f"{scene.name} has a leaderboard score that was recorded by hand; --again sends the same "
        "bytes once more"
    )


def test_a_submission_that_the_team_sent_from_elsewhere_is_adopted(scene: Scene) -> None:
    scene.kaggle.add_submission("another list [kitbox 00000000]")
    ref = scene.kaggle.add_submission(f"from the other machine {TAG}")
    scene.kaggle.add_submission(f"about {TAG}, not it")
    assert scene.upload().public == 0.81234
    assert "CreateSubmission" not in scene.kaggle.calls
    assert scene.ledger() == ["sending", "sent", "scored"]
    assert f"Kaggle has it, as {ref}; nothing is sent again" in scene.lines


def test_two_processes_cannot_send_at_the_same_time(scene: Scene) -> None:
    with ledger.sending_lock(scene.workspace):
        assert "another 'kitbox submission upload' is sending" in scene.refused()
    assert scene.kaggle.attempts() == 0


def test_the_message_stands_in_front_of_the_tag(scene: Scene) -> None:
    scene.upload(message="  the third\nattempt ")
    assert scene.kaggle.submissions[0]["description"] == f"the third attempt {TAG}"


def test_a_long_note_does_not_cut_the_tag() -> None:
    status = SubmissionStatus("a", sha256="12345678" * 8, note="x" * 1000)
    assert description_of(status).endswith("x [kitbox 12345678]")
    assert len(description_of(status)) < 250


def test_without_a_note_the_plugins_are_the_description() -> None:
    status = SubmissionStatus("a", sha256="12345678" * 8, plugins=("lynx_96", "seal_128"))
    assert description_of(status) == "lynx_96+seal_128 [kitbox 12345678]"


# -- failures, at every step

UNAUTHENTICATED = Fault(401, {"code": 401, "message": "Unauthenticated"})
FORBIDDEN = Fault(403, {"code": 403, "message": "You must accept\nthe rules"})
NOT_FOUND = Fault(404, {"code": 404, "message": "Not found"})
OFTEN = Fault(429, {"code": 429, "message": "Slow down"}, {"Retry-After": "30"})
BROKEN = Fault(503, "<html>oops</html>", {"Content-Type": "text/html"})
SILENT = Fault(silent=True)
CUT = Fault(cut=True)
NONSENSE = Fault(200, "{not json")
NO_ADDRESS = Fault(200, {})

RULES = f"accept the rules at https://www.kaggle.com/competitions/{SLUG}/rules with this account"
FAILURES = [
    (
        UNAUTHENTICATED,
        "Kaggle does not accept the credentials (401 while {doing}: Unauthenticated)",
        "make a new token at https://www.kaggle.com/settings/api",
    ),
    (
        FORBIDDEN,
        "Kaggle forbids it (403 while {doing}: You must accept the rules)",
        RULES,
    ),
    (
        NOT_FOUND,
        f"Kaggle knows no competition {SLUG}, or it is closed (404 while {{doing}}: Not found)",
        "correct submission.kaggle in kitbox.toml, the last part of its address",
    ),
    (
        OFTEN,
        "Kaggle got too many requests (429 while {doing}: Slow down)",
        "try again in 30 s",
    ),
    (
        Fault(400, {"code": 400, "message": "No."}),
        "Kaggle refused (400 while {doing}: No.)",
        f"fix what it names, or see https://www.kaggle.com/competitions/{SLUG}",
    ),
    (
        BROKEN,
        "Kaggle failed (503 while {doing}: 503 Server Error: Service Unavailable)",
        "try again later",
    ),
    (
        SILENT,
        "Kaggle did not answer within 0.4 s while {doing}",
        "check the network, or try again later",
    ),
    (
        CUT,
        "the connection to Kaggle was cut while {doing}",
        "check the network, or try again later",
    ),
    (
        NONSENSE,
        "Kaggle's answer while {doing} is not understood (it is not JSON)",
        "try again later, or 'pip install -U kaggle' if it stays so",
    ),
]
NAMES = ["401", "403", "404", "429", "400", "503", "silence", "cut", "nonsense"]


@pytest.mark.parametrize(("fault", "what", "fix"), FAILURES, ids=NAMES)
def test_a_failure_before_the_upload_is_an_error(scene: Scene, fault, what: str, fix: str) -> None:
    scene.kaggle.fail("GetCompetition", fault)
    doing = "looking up the competition"
    assert scene.refused() == f"{what.format(doing=doing)}; nothing was sent; {fix}"
    assert scene.ledger() == []
    assert scene.upload().public == 0.81234
    assert scene.kaggle.attempts() == 1


@pytest.mark.parametrize(
    ("call", "doing"),
    [
        ("ListSubmissions", "listing the submissions"),
        ("GetSubmissionLimits", "asking for the attempts left"),
    ],
)
def test_an_error_names_the_step_before_the_upload(scene: Scene, call: str, doing: str) -> None:
    scene.kaggle.fail(call, BROKEN)
    assert f"503 while {doing}" in scene.refused()
    assert scene.ledger() == []
    assert scene.kaggle.attempts() == 0


@pytest.mark.parametrize(("fault", "what", "fix"), FAILURES, ids=NAMES)
def test_a_failure_to_get_an_address_sends_nothing(scene: Scene, fault, what: str, fix) -> None:
    scene.kaggle.fail("StartSubmissionUpload", fault)
    doing = "asking for an upload address"
    assert scene.refused() == f"{what.format(doing=doing)}; nothing was sent; {fix}"
    assert scene.ledger() == ["sending", "refused" if 400 <= fault.status < 500 else "failed"]
    assert scene.upload().public == 0.81234
    assert scene.kaggle.attempts() == 1


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (Fault(403), "Kaggle's storage did not take the file (403)"),
        (Fault(503), "Kaggle's storage did not take the file (503)"),
        (Fault(308), "Kaggle's storage did not take the file (308)"),
        (CUT, "the connection to Kaggle was cut while uploading the file"),
        (SILENT, "Kaggle did not answer within 0.4 s while uploading the file"),
    ],
    ids=["403", "503", "308", "cut", "silence"],
)
def test_a_failure_of_the_storage_sends_nothing(scene: Scene, fault: Fault, what: str) -> None:
    scene.kaggle.fail("PUT", fault)
    message = scene.refused()
    assert message.startswith(f"{what}; nothing was sent; ")
    assert "secret" not in message
    assert scene.ledger() == ["sending", "failed"]
    assert "CreateSubmission" not in scene.kaggle.calls
    assert scene.upload().public == 0.81234
    assert scene.kaggle.attempts() == 1


def test_an_answer_without_an_address_sends_nothing(scene: Scene) -> None:
    scene.kaggle.fail("StartSubmissionUpload", NO_ADDRESS)
    assert "is not understood (it has no upload address); nothing was sent" in scene.refused()
    assert scene.ledger() == ["sending", "failed"]


REFUSALS, SILENCES = FAILURES[:5], FAILURES[5:]


@pytest.mark.parametrize(("fault", "what", "fix"), REFUSALS, ids=NAMES[:5])
def test_a_refused_submission_is_not_looked_for(scene: Scene, fault, what: str, fix: str) -> None:
    scene.kaggle.fail("CreateSubmission", fault)
    doing = "submitting the file"
    assert scene.refused() == f"{what.format(doing=doing)}; nothing was sent; {fix}"
    assert scene.ledger() == ["sending", "refused"]
    assert scene.kaggle.attempts() == 0


@pytest.mark.parametrize(("fault", "what", "fix"), SILENCES, ids=NAMES[5:])
def test_a_submission_that_arrived_unanswered_is_found_and_not_sent_twice(
    scene: Scene, fault: Fault, what: str, fix: str
) -> None:
    after = Fault(**{**vars(fault), "carried_out": True})
    scene.kaggle.fail("CreateSubmission", after)
    scene.kaggle.hidden_for = 1
    assert scene.upload().public == 0.81234
    assert scene.kaggle.attempts() == 1
    assert scene.kaggle.calls.count("CreateSubmission") == 1
    assert f"{what.format(doing='submitting the file')}; checking whether it arrived" in scene.lines
    assert scene.ledger() == ["sending", "sent", "scored"]
    assert scene.clock.pauses[:2] == [0.0, 5.0]


@pytest.mark.parametrize("fault", [fault for fault, _, _ in SILENCES], ids=NAMES[5:])
def test_a_submission_that_did_not_arrive_is_sent_by_the_next_run(
    scene: Scene, fault: Fault
) -> None:
    scene.kaggle.fail("CreateSubmission", fault)
    message = scene.refused()
    assert "while submitting the file" in message
    assert message.endswith(
        "; whether the submission arrived is not known yet; run the same command again later: "
        "it asks Kaggle first, and sends only what is not there"
    )
    assert scene.ledger() == ["sending"]
    assert scene.kaggle.attempts() == 0
    scene.clock.now += LONG_ENOUGH
    assert scene.upload().public == 0.81234
    assert scene.ledger() == ["sending", "failed", "sending", "sent", "scored"]
    assert "it never arrived" in scene.lines
    assert scene.kaggle.attempts() == 1


@pytest.mark.parametrize(
    ("later", "when"), [(0.0, "10 min"), (300.0, "5 min"), (LONG_ENOUGH - 65.0, "1 min")]
)
def test_a_submission_that_is_not_listed_yet_is_not_given_up_for_ten_minutes(
    scene: Scene, later: float, when: str
) -> None:
    scene.kaggle.fail("CreateSubmission", Fault(cut=True, carried_out=True))
    scene.kaggle.hidden_for = 6  # three looks of this run, and three of the next
    assert "whether the submission arrived is not known yet" in scene.refused()
    scene.clock.now += later
    assert scene.refused() == (
        "Kaggle's list does not show it yet; whether the submission arrived is not known yet; "
        f"nothing is sent meanwhile; run the same command again in {when}"
    )
    assert scene.ledger() == ["sending"]
    assert scene.upload().public == 0.81234
    assert scene.ledger() == ["sending", "sent", "scored"]
    assert scene.kaggle.attempts() == 1


def test_a_submission_that_is_listed_late_is_adopted_by_the_next_run(scene: Scene) -> None:
    scene.kaggle.fail("CreateSubmission", Fault(cut=True, carried_out=True))
    scene.kaggle.hidden_for = 4  # three looks of this run, and one of the next
    assert "whether the submission arrived is not known yet" in scene.refused()
    csv_of(scene).unlink()  # what is there needs no file
    assert scene.upload().public == 0.81234
    assert scene.kaggle.attempts() == 1
    assert scene.ledger() == ["sending", "sent", "scored"]


def test_an_outcome_stays_open_while_kaggles_list_cannot_be_read(scene: Scene) -> None:
    scene.kaggle.fail("CreateSubmission", Fault(cut=True, carried_out=True))
    scene.kaggle.hidden_for = 3
    assert "whether the submission arrived is not known yet" in scene.refused()
    scene.kaggle.fail("ListSubmissions", BROKEN)
    assert scene.refused() == (
        "Kaggle failed (503 while listing the submissions: 503 Server Error: Service "
        "Unavailable); whether the submission arrived is not known yet; try again later"
    )
    assert scene.ledger() == ["sending"]
    assert scene.upload().public == 0.81234
    assert scene.kaggle.attempts() == 1


def test_a_submission_that_cannot_be_looked_for_is_left_to_the_next_run(scene: Scene) -> None:
    scene.kaggle.fail("CreateSubmission", Fault(cut=True, carried_out=True))
    scene.kaggle.fail("ListSubmissions", Fault(), BROKEN)
    assert "cut while submitting the file; whether the submission arrived" in scene.refused()
    assert scene.ledger() == ["sending"]
    assert scene.upload().public == 0.81234
    assert scene.kaggle.attempts() == 1


def test_an_attempt_with_again_is_not_mistaken_for_the_first(scene: Scene) -> None:
    scene.upload()
    scene.kaggle.fail("CreateSubmission", CUT)
    assert "whether the submission arrived is not known yet" in scene.refused(again=True)
    assert scene.ledger()[-1] == "sending"
    scene.clock.now += LONG_ENOUGH
    scene.upload(again=True)
    assert scene.kaggle.attempts() == 2


def test_an_open_attempt_is_adopted_by_again_too(scene: Scene) -> None:
    scene.kaggle.fail("CreateSubmission", Fault(cut=True, carried_out=True))
    scene.kaggle.hidden_for = 3
    scene.refused()
    scene.upload(again=True)
    assert scene.kaggle.attempts() == 1


def test_kaggles_list_is_read_page_by_page(scene: Scene) -> None:
    ref = scene.kaggle.add_submission(TAG)
    for number in range(7):
        scene.kaggle.add_submission(f"list {number}")
    scene.kaggle.pages_of = 3
    status = scene.upload()
    assert scene.kaggle.calls.count("ListSubmissions") == 3
    assert status.last is not None
    assert status.last.ref == ref


@pytest.mark.parametrize("fault", [OFTEN, BROKEN, SILENT, CUT, NONSENSE, NOT_FOUND])
def test_a_failure_while_waiting_is_waited_out(scene: Scene, fault: Fault) -> None:
    scene.kaggle.fail("GetSubmission", fault)
    assert scene.upload().public == 0.81234
    assert scene.clock.pauses == [30.0 if fault is OFTEN else 2.0]
    assert scene.kaggle.attempts() == 1


def test_retry_after_is_respected(scene: Scene) -> None:
    scene.kaggle.fail("GetSubmission", OFTEN)
    assert scene.refused(timeout=20.0) == (
        "no score of 40000000 within 20 s (Kaggle got too many requests (429 while asking for the "
        "score: Slow down)); nothing is lost: the same command continues to wait"
    )
    assert scene.clock.pauses == []
    assert scene.upload().public == 0.81234


def test_pauses_grow_to_a_minute(scene: Scene) -> None:
    scene.kaggle.polls_until_scored = 12
    scene.upload(timeout=10_000.0)
    assert scene.clock.pauses[:4] == [2.0, 3.0, 4.5, 6.75]
    assert scene.clock.pauses[-1] == 60.0
    assert len([line for line in scene.lines if line.startswith("waiting for the score")]) == 1


def test_an_account_that_is_not_accepted_while_waiting_is_an_error(scene: Scene) -> None:
    scene.kaggle.fail("GetSubmission", UNAUTHENTICATED)
    assert scene.refused() == (
        "Kaggle does not accept the credentials (401 while asking for the score: "
        "Unauthenticated); the submission is sent, as 40000000, only its score is not here; make a "
        "new token at https://www.kaggle.com/settings/api, then run the same command again"
    )
    assert scene.upload().public == 0.81234
    assert scene.kaggle.attempts() == 1


def test_a_submission_that_kaggle_cannot_score_is_an_error_and_not_sent_again(scene: Scene) -> None:
    scene.kaggle.score = {"status": "ERROR", "errorDescription": "Row 3\nis wrong"}
    assert scene.refused() == (
        "Kaggle could not score 40000000: Row 3 is wrong; see "
        f"https://www.kaggle.com/competitions/{SLUG}/submissions"
    )
    assert scene.last() == {"ref": 40_000_000, "why": "Row 3 is wrong"}
    assert "as 40000000 and could not be scored (Row 3 is wrong); --again" in scene.refused()
    assert scene.kaggle.attempts() == 1


@pytest.mark.parametrize("answer", [{"status": "DREAMT"}, {"publicScore": "high"}, {"ref": 0}])
def test_a_malformed_score_is_waited_out(scene: Scene, answer: dict[str, Any]) -> None:
    scene.upload(wait=False)
    scene.kaggle.score = {"status": "COMPLETE", "publicScore": "0.5"} | answer
    message = scene.refused(timeout=1.0)
    assert message.startswith("no score of 40000000 within 1 s (Kaggle's answer while asking for ")
    assert scene.ledger() == ["sending", "sent"]


def test_a_refused_connection_is_an_error(scene: Scene, monkeypatch) -> None:
    with running() as gone:
        port = gone.port
    route_to(port, monkeypatch)
    assert scene.refused() == (
        "Kaggle cannot be reached (connection refused) while looking up the competition; nothing "
        "was sent; check the network, or try again later"
    )


def test_retry_after_may_be_a_date_or_malformed(scene: Scene) -> None:
    for header, advice in (
        ("Wed, 21 Oct 2015 07:28:00 GMT", "try again in 0 s"),
        ("soon", "try again in a while"),
    ):
        scene.kaggle.fail("GetCompetition", Fault(429, {}, {"Retry-After": header}))
        assert scene.refused().endswith(advice)


def test_a_wrong_token_is_an_error_that_does_not_show_it(scene: Scene, monkeypatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_wrong")
    message = scene.refused()
    assert message.startswith("Kaggle does not accept the credentials (401 while looking up the ")
    assert "KGAT_wrong" not in message


def test_the_kaggle_address_is_not_part_of_a_receipt(scene: Scene) -> None:
    assert "kaggle" not in scene.competition.model_dump(mode="json")["submission"]


def test_each_submission_has_its_own_score(scene: Scene) -> None:
    other = package(scene.workspace, OTHER, day="2026-02-01")
    scene.upload()
    scene.kaggle.score = {"status": "COMPLETE", "publicScore": "0.9"}
    scene.upload(other)
    found = leaderboard.load(scene.workspace)
    assert [found[name].public for name in (scene.name, other)] == [0.81234, 0.9]
