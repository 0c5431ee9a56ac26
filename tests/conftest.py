"""How random cases are drawn, and the folders that tests of several rooms need."""

from pathlib import Path

import pytest
from hypothesis import settings

from kitbox.workspace import Workspace

# The same cases in every run, so that a red build means the change and not the draw.
# `pytest --hypothesis-profile=search` looks further.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("steady")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return an empty workspace with a folder for plugins."""
    (tmp_path / "plugins").mkdir()
    return Workspace(tmp_path)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KITBOX_WORKSPACE", "KITBOX_DATA", "KITBOX_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
