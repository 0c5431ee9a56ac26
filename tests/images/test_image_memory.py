"""Very large images wait for each other, and small ones for nothing."""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from PIL import Image

from kitbox import locks
from kitbox.errors import KitboxError
from kitbox.images import image_memory, image_stats, preprocessing
from kitbox.images.image_memory import SHARE_PIXELS, hold


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(image_memory, "_folder", lambda: tmp_path)
    monkeypatch.setattr(image_memory, "shares", lambda: 5)
    monkeypatch.setattr(image_memory, "_POLL_SECONDS", 0.001)
    return tmp_path


def taken(folder: Path) -> int:
    """Return how many shares somebody holds."""
    count = 0
    for number in range(5):
        try:
            with locks.lock(folder / f"share-{number}", "held"):
                pass
        except locks.HeldError:
            count += 1
    return count


@pytest.mark.parametrize(
    ("pixels", "count"),
    [(SHARE_PIXELS - 1, 0), (SHARE_PIXELS, 1), (4 * SHARE_PIXELS + 1, 4), (9 * SHARE_PIXELS, 5)],
)
def test_an_image_holds_a_share_for_fifty_megapixels(folder: Path, pixels: int, count: int) -> None:
    with hold(pixels):
        assert taken(folder) == count
    assert taken(folder) == 0


def test_an_image_waits_until_enough_is_free(folder: Path) -> None:
    order = []

    def decode() -> None:
        with hold(3 * SHARE_PIXELS):
            order.append("second")

    with ExitStack() as first:
        first.enter_context(hold(3 * SHARE_PIXELS))
        thread = threading.Thread(target=decode)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert taken(folder) == 0


def test_a_share_is_free_again_after_an_error(folder: Path) -> None:
    with pytest.raises(KitboxError), hold(SHARE_PIXELS):
        raise KitboxError("damaged")
    assert taken(folder) == 0


def test_without_a_folder_for_locks_nothing_waits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold(5 * SHARE_PIXELS):
        monkeypatch.setattr(image_memory, "_folder", lambda: None)
        with hold(5 * SHARE_PIXELS):
            pass


@pytest.mark.parametrize(
    ("name", "options", "read", "summarised"),
    [
        ("a.png", {}, 640 * 480, 640 * 480),
        ("a.jpg", {}, 80 * 60, 320 * 240),  # decoded at an eighth and a half
        ("a.jpg", {"progressive": True}, 640 * 480, 640 * 480),
    ],
)
def test_what_is_held_is_what_is_decoded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: dict[str, bool],
    read: int,
    summarised: int,
) -> None:
    asked: list[int] = []

    @contextmanager
    def noted(pixels: int) -> Iterator[None]:
        asked.append(pixels)
        yield

    Image.radial_gradient("L").resize((640, 480)).convert("RGB").save(tmp_path / name, **options)
    monkeypatch.setattr(image_memory, "hold", noted)
    preprocessing.read(tmp_path / name, (24, 32))
    assert sum(asked) == read
    asked.clear()
    image_stats.summarise(tmp_path / name)
    assert sum(asked) == summarised


def test_the_memory_of_the_machine_is_dealt_out() -> None:
    assert image_memory.shares() >= 5


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders have no owner's number here")
def test_the_locks_of_somebody_else_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    find = image_memory._folder.__wrapped__
    own = find()
    assert own is not None
    assert own.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: own.stat().st_uid + 1)
    assert find() is None
