"""One small competition for all tests of the room, and an empty desk for each."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from kitbox.look import cases
from kitbox.look.cases import Table
from kitbox.look.server import bound, server_of
from kitbox.look.session import Desk
from kitbox.workspace import Workspace
from tests.look.tables import Browser, laid, seals
from tests.look.walking import Walk


@pytest.fixture(scope="session")
def _laid(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return laid(*seals(tmp_path_factory.mktemp("look")))


@pytest.fixture
def table(_laid: Table) -> Table:
    """Return a table on which nothing is decided yet."""
    _laid.desk.path.unlink(missing_ok=True)
    desk = Desk(Workspace(_laid.desk.path.parent), _laid.photographs)
    return replace(_laid, desk=desk)


@pytest.fixture
def desk(table: Table) -> Desk:
    """Return the desk of the table."""
    return table.desk


@pytest.fixture
def page(table: Table) -> Browser:
    """Return a browser that has opened the page of the table."""
    return Browser(table)


@pytest.fixture
def walk(tmp_path: Path, browser: Any) -> Iterator[Walk]:
    """Yield a person who opened the page: two suspects, and no error when they leave."""
    workspace, competition = seals(tmp_path)
    both = ("3_1.png", "4_1.png")
    suspect = cases.Case("mutual", both, ("w_3", "w_4"), 0.9, (both,))
    split = cases.Case("split", tuple(f"0_{n}.png" for n in range(4)), ("w_0",), 0.2, (), 2)
    table = replace(laid(workspace, competition), by=("tiny",), suspects=[suspect, split])
    with bound(0) as listening:
        server, address = server_of(table, listening)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        browser.get(address)
        walking = Walk(browser, table, address)
        walking.wait(lambda: walking.all(".cards .card"), "the first case")
        yield walking
        # chromium logs every refusal; the page told it in words
        told = ("status of 400", "status of 404")
        wrong = [
            line["message"]
            for line in browser.get_log("browser")
            if line["level"] == "SEVERE" and not any(status in line["message"] for status in told)
        ]
        browser.get("about:blank")
        server.shutdown()
        thread.join(10)
    assert wrong == []
