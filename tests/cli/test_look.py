"""kitbox look: identify's network and answers in a catalogue, and reading on a cluster."""

import csv
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from kitbox.catalogue import catalogue_list
from kitbox.cli import report
from kitbox.devices import joblib_backend
from kitbox.errors import KitboxError
from kitbox.identification import identified_record, network_choice
from kitbox.identification.network_choice import NetworkChoice
from kitbox.look import server
from kitbox.look.review_items import Review
from kitbox.workspace import Workspace
from tests.commands import RUN, run
from tests.identification.photographed_catalogue import draw_card, draw_catalogue, with_eyes
from tests.photographs import competition_on_disk


class StoppedServer:
    """A server that Ctrl-C ends at once."""

    def serve_forever(self) -> None:
        """Serve nobody."""


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Review]:
    """Return the reviews that are served; their servers stop at once."""
    found: list[Review] = []

    def create(review: Review, _: Any) -> tuple[StoppedServer, str]:
        found.append(review)
        return StoppedServer(), "http://127.0.0.1/"

    monkeypatch.setattr(server, "create_server", create)
    return found


def look(*arguments: str) -> str:
    result = run("look", "--no-browser", "--workspace", "whales-kitbox", "--by", "Anna", *arguments)
    return result.stderr


def test_the_desk_of_a_catalogue_has_the_answers_of_identify_while_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: list[Review]
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_catalogue(tmp_path)
    draw_card(tmp_path)
    workspace = with_eyes(tmp_path / "whales-kitbox")
    told = run("identify", "card", "--catalogue", "whales", "--with", "eyes", *RUN).stderr
    assert "to confirm by eye: kitbox look --workspace whales-kitbox" in told

    told = look(*RUN)
    assert "network: eyes, which identify used" in told
    assert "to match: 6 photographs" in told
    desk = shown[-1].desk
    assert (desk.order, desk.is_first, desk.unused) == ("identified", True, "")
    assert desk.then == "kitbox catalogue add --workspace whales-kitbox"
    with (workspace.root / "identified.csv").open(encoding="utf-8", newline="") as file:
        table = {row["image"]: row for row in csv.DictReader(file)}
    assert {query.image for query in desk.queries} == set(table)
    for query in desk.queries:
        row = table[query.image]
        assert query.candidates[0].label == row["individual"]
        assert f"{query.candidates[0].probability:.3f}" == row["probability"]
        assert f"{query.new_probability:.3f}" == row["new_probability"]

    rows = catalogue_list.load(workspace.catalogue)
    catalogue_list.save(workspace.catalogue, rows[1:])
    told = look(*RUN)
    unused = (
        "the probabilities of identify are not shown: catalogue.csv has changed since; run "
        "'kitbox identify' again"
    )
    assert unused in told
    assert (shown[-1].desk.order, shown[-1].desk.unused) == ("gap", unused)


def test_without_a_record_the_network_is_the_one_that_identify_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace(tmp_path)
    assert report._identified(workspace) is None
    assert capsys.readouterr().err == ""
    identified_record.path_of(workspace).parent.mkdir()
    identified_record.path_of(workspace).write_text("{")
    assert report._identified(workspace) is None
    assert capsys.readouterr().err.startswith("without the answers of identify: ")
    choice = NetworkChoice(name="eyes", reason="the first choice")
    monkeypatch.setattr(network_choice, "choose", lambda _: choice)
    assert report._networks(None, workspace) == ["eyes"]
    assert capsys.readouterr().err == "network: eyes, the first choice\n"

    def no_weights(_: Workspace) -> NetworkChoice:
        raise KitboxError("there are no weights", fix="get some")

    monkeypatch.setattr(network_choice, "choose", no_weights)
    assert report._networks(None, workspace) == []
    told = "without the matching desk: there are no weights; get some\n"
    assert capsys.readouterr().err == told


def test_photographs_are_read_on_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: list[Review]
) -> None:
    in_this_process: list[bool] = []
    run_calls = joblib_backend.run

    def recorded(calls: Iterable[Any]) -> Iterable[Any]:
        in_this_process.append(joblib_backend.shares_memory())
        return run_calls(calls)

    monkeypatch.setattr(joblib_backend, "run", recorded)
    workspace, _ = competition_on_disk(tmp_path)
    indexes = []
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", host="127.0.0.1",
        dashboard_address=None,
    ) as cluster:  # fmt: skip
        elsewhere = ["--backend", "dask", "--address", cluster.scheduler_address]
        for given in ([], elsewhere):
            run("look", "--no-browser", "--workspace", str(workspace.root), *given)
            with closing(sqlite3.connect(workspace.image_index)) as database:
                indexes.append(set(database.execute("SELECT * FROM looks")))
            workspace.image_index.unlink()  # so that all are read again
    assert in_this_process == [True, True, False, False]  # labelled and test photographs
    assert len(indexes[0]) == 24 + 8
    assert indexes[0] == indexes[1]
    assert len(shown[0].photographs.images) == len(shown[1].photographs.images)


def test_the_next_command_takes_what_was_decided() -> None:
    assert report._next_command([], None, asks_test=True, add=False) == ""
    assert (
        report._next_command(["a", "b"], None, asks_test=True, add=False) == "kitbox ensemble a b"
    )
    assert report._next_command(["a", "b"], None, asks_test=False, add=False) == "kitbox train a"
    assert (
        report._next_command(["a"], Path("my whales"), asks_test=True, add=True)
        == "kitbox catalogue add --workspace 'my whales'"
    )
