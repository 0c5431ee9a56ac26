"""A small competition prepared for review, and a browser's requests to its server."""

from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from kitbox.competition import settings
from kitbox.competition.settings import Competition
from kitbox.look import photographs, review_items, routes
from kitbox.look.access import AccessControl
from kitbox.look.photographs import Photographs
from kitbox.look.review_items import Review
from kitbox.look.session import DecisionSession
from kitbox.workspace import Workspace
from tests.photographs import competition_on_disk, finish, picture

PORT = 8017
# An image id and a label that would break out of missing quotes.
HOSTILE_ID, HOSTILE_LABEL = (
    "a\" onload=alert(1) <b>&émoji 🐋'.png",
    "</script><img src=x onerror=alert(2)>",
)


def write_competition(root: Path) -> tuple[Workspace, Competition]:
    """Write a competition with a copy, a copy under two labels, a box, and nasty names."""
    workspace, _ = competition_on_disk(root)
    data = root / "data"
    train = data / "train"
    (train / "copy.png").write_bytes((train / "0_0.png").read_bytes())
    (train / "conflict.png").write_bytes((train / "1_0.png").read_bytes())
    (train / HOSTILE_ID).write_bytes((train / "5_3.png").read_bytes())
    picture(train / "unknown.png", 77, 0)
    (train / "broken.png").write_bytes(b"no image at all")
    with (data / "train.csv").open("a", encoding="utf-8") as file:
        file.write("copy.png,w_0\nconflict.png,w_2\nbroken.png,w_3\nunknown.png,new_whale\n")
        quoted = HOSTILE_ID.replace('"', '""')
        file.write(f'"{quoted}","{HOSTILE_LABEL}"\n')
    (data / "boxes.csv").write_text("image,x0,y0,x1,y1\n0_1.png,10,12,80,60\n")
    # an answer with blanks needs a column of its own
    text = workspace.settings.read_text().replace('layout = "joined"', 'layout = "columns"')
    lines = [line for line in text.splitlines() if not line.lstrip("# ").startswith("boxes =")]
    lines.insert(lines.index("[images]") + 1, 'boxes = "boxes.csv"')
    workspace.settings.write_text("\n".join(lines) + "\n")
    return workspace, settings.load(workspace)


def load_photographs(workspace: Workspace, competition: Competition) -> Photographs:
    listed: Photographs = finish(photographs.load(workspace, competition))[1]
    return listed


def prepare_review(workspace: Workspace, competition: Competition) -> Review:
    """Return the review of a competition, compared by perceptual hashes."""
    return review_items.prepare(
        competition.name, DecisionSession(workspace, load_photographs(workspace, competition)), 6
    )


class PageClient:
    """A client of the page that sends the headers of a real browser."""

    def __init__(self, shown: Review) -> None:
        self.access = AccessControl(PORT)
        self.app = routes.create_app(shown, self.access)
        self.client: FlaskClient = self.app.test_client()
        self.own = {"Host": f"127.0.0.1:{PORT}", "Sec-Fetch-Site": "same-origin"}
        opened = self.client.get(
            f"/?key={self.access.key}", headers=self.own | {"Sec-Fetch-Site": "none"}
        )
        assert opened.status_code == 200
        self.html = opened.get_data(as_text=True)

    def get(self, path: str, query: Any = None, **headers: str) -> TestResponse:
        response = self.client.get(path, query_string=query, headers=self.own | headers)
        response.get_data()
        response.close()  # a response from a static file keeps it open
        return response

    def post(self, path: str, value: Any, **headers: str) -> TestResponse:
        given = {"Origin": f"http://127.0.0.1:{PORT}", "X-Kitbox-Token": self.access.token}
        return self.client.post(path, json=value, headers=self.own | given | headers)

    def decide(self, kind: str, subject: str, value: str = "") -> TestResponse:
        row = {"kind": kind, "subject": subject, "value": value}
        return self.post("/api/decide", {"decisions": [row]})
