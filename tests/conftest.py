"""Profiles of random cases, and fixtures that tests of several rooms use."""

import functools
import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from typer.main import get_command

from kitbox.workspace import Workspace

CHROMIUM = os.environ.get("KITBOX_CHROMIUM") or shutil.which("chromium")
CHROMEDRIVER = os.environ.get("KITBOX_CHROMEDRIVER") or shutil.which("chromedriver")

# The same cases in every run, so that a failure is due to a change and not to chance.
# `pytest --hypothesis-profile=search` tries more.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("steady")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that no core waits for the last of them at the end."""
    markers = ("slow", "real")
    slow = {item.path for item in items if any(map(item.get_closest_marker, markers))}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Spare the collector of garbage torch's modules and the tests, which stay until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _commands_are_built_once() -> Iterator[None]:
    """Keep the tree of all commands, which typer would build anew for every command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", functools.cache(get_command))
        yield


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return an empty workspace with a folder for plugins."""
    (tmp_path / "plugins").mkdir()
    return Workspace(tmp_path)


@pytest.fixture(scope="session")
def _cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _no_environment_variables(_cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(_cache_folder))
    for name in ("KITBOX_WORKSPACE", "KITBOX_DATA", "KITBOX_WEIGHTS", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if CHROMIUM is None or CHROMEDRIVER is None:
        pytest.skip("needs chromium and chromedriver, as Debian packages them")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new",
        "--no-sandbox",  # the sandbox does not work for a container's root
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--window-size=1280,900",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(CHROMEDRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def browser(_chromium: Any) -> Iterator[Any]:
    """Return a headless browser on an empty page, with nothing stored."""
    _chromium.get_log("browser")  # discard what earlier tests logged
    yield _chromium
    _chromium.get("about:blank")
    _chromium.delete_all_cookies()
