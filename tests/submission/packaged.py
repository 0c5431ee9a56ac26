"""A workspace of packaged submissions that go to Kaggle."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from kitbox.competition import settings
from kitbox.competition.settings import Competition
from kitbox.submission import ledger
from kitbox.workspace import Workspace
from tests.kaggle_server import SLUG
from tests.photographs import competition_on_disk

GOOD = "Image,Id\nt_0.png,w_0 w_1 new_whale\nt_1.png,new_whale w_1 w_0\n"
OTHER = "Image,Id\nt_0.png,w_1 w_0 new_whale\nt_1.png,new_whale w_1 w_0\n"


def competition_for_kaggle(root: Path) -> tuple[Workspace, Competition]:
    """Write a workspace of two individuals and two test images whose submissions go to Kaggle."""
    workspace, _ = competition_on_disk(root, individuals=2, each=2, tests=2)
    text = workspace.settings.read_text()
    workspace.settings.write_text(text.replace("humpback-whale-identification", SLUG))
    return workspace, settings.load(workspace)


def receipt_of(text: str, *, local: float = 0.5, note: str = "") -> dict[str, Any]:
    """Return the part of a receipt that the ledger keeps."""
    score = {"value": local, "low": local - 0.1, "high": local + 0.1, "queries": 40}
    return {
        "created": "2026-01-31T12:00:00+00:00",
        "note": note,
        "plugins": [{"name": "lynx_96"}, {"name": "seal_128"}],
        "metric": "label_map_at_5",
        "scores": {"label_map_at_5": score, "recall_at_1": score},
        "csv": {"file": "submission.csv", "sha256": sha256(text.encode()).hexdigest()},
        "competition": {},
        "data": {},
    }


def package(
    workspace: Workspace,
    text: str = GOOD,
    *,
    day: str = "2026-01-31",
    local: float = 0.5,
    note: str = "",
    written: bool = True,
) -> str:
    """Write CSV, receipt and the ledger's line; return the submission's id."""
    receipt = receipt_of(text, local=local, note=note)
    folder = workspace.submissions / f"{day}_lynx_96+seal_128_{receipt['csv']['sha256'][:8]}"
    folder.mkdir(parents=True)
    (folder / "submission.csv").write_text(text)
    (folder / "receipt.json").write_text(json.dumps(receipt))
    if written:
        ledger.record_submission(workspace, receipt, folder)
    return folder.name
