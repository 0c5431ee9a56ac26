"""The server: a local port, a quiet end, and no decision lost in a crash."""

import json
import signal
import socket
import time
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from kitbox.cli.app import app
from kitbox.decisions import decision_file
from kitbox.errors import KitboxError
from kitbox.look import server
from kitbox.look.review_items import Review
from tests.look.sample_review import PageClient
from tests.look.server_process import running_server
from tests.photographs import competition_on_disk, write_plugin


def test_a_taken_port_is_refused() -> None:
    with server.listen(0) as one:
        port = one.getsockname()[1]
        assert one.getsockname()[0] == "127.0.0.1"
        with pytest.raises(KitboxError) as caught:
            server.listen(port)
    assert str(caught.value) == (
        f"port {port} is not available on 127.0.0.1; choose another one with --port N"
    )


def test_by_default_the_next_free_port_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with server.listen(0) as taken:
        monkeypatch.setattr(server, "PORT", taken.getsockname()[1])
        with server.listen(None) as found:
            assert server.PORT < found.getsockname()[1] < server.PORT + 20


def test_the_error_names_the_ports_if_none_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with server.listen(0) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(server, "PORT", port)
        monkeypatch.setattr(server, "_PORTS_TRIED", 1)
        with pytest.raises(KitboxError, match=f"ports {port} to {port} are not available"):
            server.listen(None)


class HttpUser:
    """A user who opened the address and sends decisions."""

    def __init__(self, address: str) -> None:
        self.origin = "{0.scheme}://{0.netloc}".format(urlsplit(address))
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        with self.opener.open(address, timeout=30) as answer:
            html = answer.read().decode()
        self.token = html.split('name="kitbox-token" content="')[1].split('"')[0]

    def decide(self, kind: str, subject: str, value: str = "") -> None:
        row = {"kind": kind, "subject": subject, "value": value}
        request = urllib.request.Request(  # noqa: S310  of this computer
            f"{self.origin}/api/decide",
            json.dumps({"decisions": [row]}).encode(),
            {
                "Content-Type": "application/json",
                "Origin": self.origin,
                "X-Kitbox-Token": self.token,
            },
        )
        with self.opener.open(request, timeout=30) as answer:
            assert answer.status == 200


def test_ctrl_c_ends_quietly_and_reports_the_decisions(tmp_path: Path) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    with running_server(workspace.root, "--port", "0", "--by", "Anna") as server:
        HttpUser(server.address).decide("drop", "0_0.png")
        status, output = server.stop(signal.SIGINT)
    assert status == 0
    assert output.splitlines() == [
        f"decisions go to {workspace.decisions}; Ctrl-C ends",
        f"done; 1 decisions in {workspace.decisions}",
    ]
    assert [row.by for row in decision_file.load(workspace.decisions).rows] == ["Anna"]


def test_a_killed_server_loses_no_decision(tmp_path: Path) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    for number in range(2):
        with running_server(workspace.root, "--port", "0") as server:
            user = HttpUser(server.address)
            user.decide("merge", f"w_{number + 1}", "w_0")
            user.decide("drop", f"5_{number}.png")
            assert server.stop(signal.SIGKILL)[0] == -signal.SIGKILL
        assert len(decision_file.load(workspace.decisions).rows) == 2 * (number + 1)
    result = CliRunner().invoke(
        app, ["data", "holdout", "--json", "--workspace", str(workspace.root)]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["training images"]["test"] == 24 - 2
    assert json.loads(result.stdout)["training individuals"]["test"] == 6 - 2


def test_other_computers_of_the_network_cannot_reach_the_server(tmp_path: Path) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    with running_server(workspace.root, "--port", "0") as server:
        port = urlsplit(server.address).port
        for own in {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), port)}:
            if own.startswith("127."):
                continue
            with pytest.raises(OSError), socket.create_connection((own, port), timeout=2):  # noqa: PT011
                pass
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)
        assert caught.value.code == 403
        caught.value.close()


@pytest.mark.parametrize("port", ["80", "1023"])
def test_a_reserved_port_is_refused(port: str, tmp_path: Path) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    arguments = ["look", "--port", port, "--workspace", str(workspace.root)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert str(result.exception) == (
        f"port {port} is reserved for the system; use one from 1024 on, or 0 for any free one"
    )


@pytest.mark.parametrize(
    "option", [("--whiten", "4"), ("--device", "cpu"), ("--precision", "32"), ("--workers", "0")]
)
def test_network_options_without_a_plugin_are_refused(
    option: tuple[str, str], tmp_path: Path
) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    result = CliRunner().invoke(app, ["look", *option, "--workspace", str(workspace.root)])
    assert str(result.exception) == (
        f"{option[0]} is for comparing by plugins; give one, as 'kitbox look NAME {option[0]} …'"
    )


def test_no_command_line_contains_the_key(tmp_path: Path) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    opened, script = tmp_path / "opened", tmp_path / "browser.sh"
    script.write_text(f'#!/bin/sh\necho "$@" > {opened}.part && mv {opened}.part {opened}\n')
    script.chmod(0o755)
    with running_server(workspace.root, "--port", "0", browser=script) as server:
        while not opened.exists():
            assert server.process.poll() is None, "it ended before it opened the browser"
            time.sleep(0.05)
        uri = opened.read_text().strip()
        assert uri.startswith("file://")
        redirect = Path(urlsplit(uri).path)
        assert redirect.stat().st_mode & 0o777 == 0o600
        assert f'url={server.address}"' in redirect.read_text()
        assert server.stop()[0] == 0
    assert not redirect.exists()


def test_the_command_reports_a_taken_port_with_the_fix(tmp_path: Path) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    with server.listen(0) as taken:
        port = str(taken.getsockname()[1])
        arguments = ["look", "--port", port, "--workspace", str(workspace.root)]
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert str(result.exception) == (
        f"port {port} is not available on 127.0.0.1; choose another one with --port N"
    )


def test_a_trained_plugin_still_compares_photographs_after_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    write_plugin(workspace, "plain", epochs=1)
    monkeypatch.chdir(workspace.root)
    run = ("--device", "cpu", "--precision", "32", "--workers", "0")
    trained = CliRunner().invoke(app, ["train", "plain", *run])
    assert trained.exit_code == 0, trained.output
    merged = iter(("w_1", "w_2"))

    class Server:
        """A server whose only user merges an individual and leaves."""

        def __init__(self, review: Review) -> None:
            self.page = PageClient(review)

        def serve_forever(self) -> None:
            assert self.page.get("/api/overview").json["by"] == ["plain"]
            near = self.page.get("/api/image", {"id": "0_0.png"}).json["nearest"]
            assert len(near) == 12
            assert near[0]["similarity"] <= 1
            assert self.page.decide("merge", next(merged), "w_0").status_code == 200

    monkeypatch.setattr(server, "create_server", lambda review, _: (Server(review), "http://here"))
    for number in (1, 2):
        shown = CliRunner().invoke(app, ["look", "plain", "--no-browser", "--port", "0", *run])
        assert shown.exit_code == 0, shown.output + repr(shown.exception)
        assert f"done; {number} decisions in " in shown.stderr
        assert ("trained before decisions.csv changed: plain" in shown.stderr) == (number == 2)


def test_the_error_for_an_untrained_plugin_names_the_train_command(tmp_path: Path) -> None:
    workspace, _ = competition_on_disk(tmp_path)
    write_plugin(workspace, "fine")
    arguments = ["look", "fine", "--port", "0", "--workspace", str(workspace.root)]
    result = CliRunner().invoke(app, arguments)
    assert str(result.exception) == "fine is not trained; run 'kitbox train fine'"
