"""A small kaggle.com on loopback that answers the kaggle package, and fails on demand.

The real client is not patched: with KAGGLE_API_ENVIRONMENT=TEST it calls localhost:7777, and
`http_proxy` routes every call to this server, whatever its port.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

TOKEN = "KGAT_of_the_tests"  # noqa: S105  not a real token
USER, KEY = "ahab", "of_the_tests"
SLUG = "toy-whales"


@dataclass
class Fault:
    """A failure of one call in place of its answer; `Fault()` is none."""

    status: int = 0
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    silent: bool = False
    carried_out: bool = False


@dataclass
class Service:
    """The state of the server, the calls it got, and the faults to come."""

    submissions: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    competition: dict[str, Any] = field(default_factory=lambda: {"userHasEntered": True})
    limits: dict[str, Any] = field(
        default_factory=lambda: {"numAllowedNow": 4, "numToday": 1, "numTotal": 9}
    )
    polls_until_scored: int = 0
    score: dict[str, Any] = field(
        default_factory=lambda: {"status": "COMPLETE", "publicScore": "0.81234"}
    )
    hidden_for: int = 0  # listings that do not show the latest submission yet
    pages_of: int = 100
    port: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def fail(self, call: str, *faults: Fault) -> None:
        """Make the next calls of this name fail, with one fault each."""
        self.faults.setdefault(call, []).extend(faults)

    def attempts(self) -> int:
        """Return the number of submissions, answered or not."""
        return len(self.submissions)

    def add_submission(self, description: str) -> int:
        """Add a submission from outside of the workspace; return its number."""
        return self._add(description, b"")

    def _add(self, description: str, data: bytes) -> int:
        ref = 40_000_000 + len(self.submissions)
        self.submissions.insert(
            0,
            {
                "ref": ref,
                "description": description,
                "date": "2026-01-31T12:00:00.000Z",
                "fileName": "submission.csv",
                "totalBytes": len(data),
                "polls": 0,
                "data": data,
            },
        )
        return ref

    def answer(self, call: str, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of a call of the competition service."""
        match call:
            case "GetCompetition":
                return {"ref": request["competitionName"], **self.competition}
            case "GetSubmissionLimits":
                return self.limits
            case "StartSubmissionUpload":
                assert request["contentLength"] > 0
                token = f"blob-{len(self.calls)}"
                return {
                    "token": token,
                    "createUrl": f"http://localhost:7777/put/{token}?sig=secret",
                }
            case "CreateSubmission":
                data = self.stored[request["blobFileTokens"]]
                return {"ref": self._add(request.get("submissionDescription", ""), data)}
            case "ListSubmissions":
                return self._page(int(request.get("pageToken") or 0))
            case "GetSubmission":
                submissions = (each for each in self.submissions if each["ref"] == request["ref"])
                found = next(submissions)
                found["polls"] += 1
                return self._shown(found)
        raise AssertionError(f"unexpected call of the client: {call}")

    def _page(self, start: int) -> dict[str, Any]:
        shown = self.submissions
        if self.hidden_for and shown:
            self.hidden_for -= 1
            shown = shown[1:]
        end = start + self.pages_of
        page = [self._shown(submission) for submission in shown[start:end]]
        return {"submissions": page, "nextPageToken": str(end) if end < len(shown) else ""}

    def _shown(self, submission: dict[str, Any]) -> dict[str, Any]:
        fields = {name: submission[name] for name in submission if name not in ("polls", "data")}
        pending = submission["polls"] <= self.polls_until_scored
        return fields | ({"status": "PENDING"} if pending else self.score)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def do_POST(self) -> None:
        call = urlsplit(self.path).path.rsplit("/", 1)[-1]
        request = json.loads(self._body() or b"{}")
        self._serve(call, lambda: self.service.answer(call, request), signed=True)

    def do_PUT(self) -> None:
        token, data = urlsplit(self.path).path.rsplit("/", 1)[-1], self._body()

        def store() -> dict[str, Any]:
            self.service.stored[token] = data
            return {}

        self._serve("PUT", store, signed=False)

    def _serve(self, call: str, carry_out: Any, *, signed: bool) -> None:
        service = self.service
        service.calls.append(call)
        if signed and not self._signed_in():
            self._reply(401, {"code": 401, "message": "Unauthenticated"})
            return
        waiting = service.faults.get(call)
        fault = waiting.pop(0) if waiting else None
        if fault in (None, Fault()):
            self._reply(200, carry_out())
            return
        if fault.carried_out:
            carry_out()
        if fault.silent:
            service.stopped.wait(20)
        if fault.silent or fault.cut:
            self.close_connection = True
            return
        self._reply(fault.status, fault.body, fault.headers)

    def _signed_in(self) -> bool:
        basic = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        return self.headers.get("Authorization") in (f"Bearer {TOKEN}", f"Basic {basic}")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body or {}).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""


@contextmanager
def running() -> Iterator[Service]:
    """Yield a service that listens on a free loopback port."""
    service = Service()
    handler = type("Handler", (_Handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    service.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        service.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


def environment(port: int) -> dict[str, str]:
    """Return the environment variables that route the real client to a port."""
    proxy = f"http://127.0.0.1:{port}"
    return {
        "KAGGLE_API_ENVIRONMENT": "TEST",
        "http_proxy": proxy,
        "HTTP_PROXY": proxy,
        "https_proxy": proxy,
        "no_proxy": "",
        "NO_PROXY": "",
    }


def route_to(port: int, monkeypatch: pytest.MonkeyPatch, *, token: str = TOKEN) -> None:
    """Route the client in this process to the server on a port, signed in with a token."""
    for name, value in environment(port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KAGGLE_API_TOKEN", token)
