"""A small competition laid on the table, and a browser's own requests to its server."""

from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from kitbox.competition import settings
from kitbox.competition.settings import Competition
from kitbox.look import cases, photographs, routes
from kitbox.look.cases import Table
from kitbox.look.photographs import Photographs
from kitbox.look.routes import Guard
from kitbox.look.session import Desk
from kitbox.workspace import Workspace
from tests.photographs import competition_on_disk, finish, picture

PORT = 8017
# An image's file name and an individual's name that break out of whatever quotes them badly.
NASTY, EVIL = "a\" onload=alert(1) <b>&émoji 🐋'.png", "</script><img src=x onerror=alert(2)>"


def seals(root: Path) -> tuple[Workspace, Competition]:
    """Write a competition with a copy, a copy under two labels, a box, and nasty names."""
    workspace, _ = competition_on_disk(root)
    data = root / "data"
    train = data / "train"
    (train / "copy.png").write_bytes((train / "0_0.png").read_bytes())
    (train / "conflict.png").write_bytes((train / "1_0.png").read_bytes())
    (train / NASTY).write_bytes((train / "5_3.png").read_bytes())
    picture(train / "nobody.png", 77, 0)
    (train / "broken.png").write_bytes(b"no image at all")
    with (data / "train.csv").open("a", encoding="utf-8") as file:
        file.write("copy.png,w_0\nconflict.png,w_2\nbroken.png,w_3\nnobody.png,new_whale\n")
        quoted = NASTY.replace('"', '""')
        file.write(f'"{quoted}","{EVIL}"\n')
    (data / "boxes.csv").write_text("image,x0,y0,x1,y1\n0_1.png,10,12,80,60\n")
    text = workspace.settings.read_text()
    lines = [line for line in text.splitlines() if not line.lstrip("# ").startswith("boxes =")]
    lines.insert(lines.index("[images]") + 1, 'boxes = "boxes.csv"')
    workspace.settings.write_text("\n".join(lines) + "\n")
    return workspace, settings.load(workspace)


def gathered(workspace: Workspace, competition: Competition) -> Photographs:
    found: Photographs = finish(photographs.gather(workspace, competition))[1]
    return found


def laid(workspace: Workspace, competition: Competition) -> Table:
    """Return the table of a competition, compared by perceptual hashes."""
    return cases.lay(competition.name, Desk(workspace, gathered(workspace, competition)), 6)


class Browser:
    """A browser at the page: it sends the headers that a real one would."""

    def __init__(self, shown: Table) -> None:
        self.guard = Guard(PORT)
        self.app = routes.app(shown, self.guard)
        self.client: FlaskClient = self.app.test_client()
        self.own = {"Host": f"127.0.0.1:{PORT}", "Sec-Fetch-Site": "same-origin"}
        opened = self.client.get(
            f"/?key={self.guard.key}", headers=self.own | {"Sec-Fetch-Site": "none"}
        )
        assert opened.status_code == 200
        self.html = opened.get_data(as_text=True)

    def get(self, path: str, query: Any = None, **headers: str) -> TestResponse:
        found = self.client.get(path, query_string=query, headers=self.own | headers)
        found.get_data()
        found.close()  # of a file of the package
        return found

    def post(self, path: str, value: Any, **headers: str) -> TestResponse:
        given = {"Origin": f"http://127.0.0.1:{PORT}", "X-Kitbox-Token": self.guard.token}
        return self.client.post(path, json=value, headers=self.own | given | headers)

    def decide(self, kind: str, subject: str, value: str = "") -> TestResponse:
        row = {"kind": kind, "subject": subject, "value": value}
        return self.post("/api/decide", {"decisions": [row]})
