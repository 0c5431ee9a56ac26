"""Loader: the same batches for any number of workers, and grey for unreadable images."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from kitbox.errors import KitboxError
from kitbox.images import preprocessing
from kitbox.images.augmentation import Augmentation
from kitbox.images.loader import BatchItem, ImageDataset, build_loader, killed_worker, read_ahead
from kitbox.records import ImageSet, strings
from tests.photographs import picture


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_for_any_number_of_workers(tmp_path: Path, workers: int) -> None:
    paths = tuple(picture(tmp_path / f"{i}.png", i, 0) for i in range(4))
    images = ImageSet(strings([path.name for path in paths]), paths)
    dataset = ImageDataset(
        images, (32, 32), interpolation="bicubic", crop_margin=None, augmentation="light"
    )
    batches = [[(0, 7), (1, 8)], [(2, 9), (3, 10)]]
    augmentation = Augmentation("light", (32, 32))
    for batch, (pixels, rows) in zip(
        batches, build_loader(dataset, batches, workers=workers), strict=True
    ):
        assert rows.tolist() == [row for row, _ in batch]
        for (row, seed), found in zip(batch, pixels.numpy(), strict=True):
            expected = augmentation(preprocessing.read(paths[row], (32, 32)), seed)
            assert (found == expected).all()


def test_an_unreadable_image_is_grey(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_text("no image")
    images = ImageSet(strings(["broken.jpg"]), (path,))
    dataset = ImageDataset(
        images,
        (16, 16),
        interpolation="bicubic",
        crop_margin=None,
        unreadable=frozenset({"broken.jpg"}),
    )
    assert (dataset[0][0] == 128).all()


def test_an_error_in_a_worker_process_is_still_an_error_that_a_user_can_fix(tmp_path: Path) -> None:
    images = ImageSet(strings(["gone.jpg"]), (tmp_path / "gone.jpg",))
    dataset = ImageDataset(images, (16, 16), interpolation="bicubic", crop_margin=None)
    # torch raises it again, from its type and a message
    with pytest.raises(KitboxError, match=r"there is no image .*gone\.jpg"):
        next(iter(build_loader(dataset, [[0]], workers=1)))


def test_a_killed_worker_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = ImageSet(strings(["a.png"]), (picture(tmp_path / "a.png", 0, 0),))
    dataset = ImageDataset(images, (16, 16), interpolation="bicubic", crop_margin=None)
    monkeypatch.setattr(ImageDataset, "__getitems__", lambda *_: os.kill(os.getpid(), 9))
    told = r"a process that reads images was killed, .*; give fewer --workers"
    with pytest.raises(KitboxError, match=told):
        next(iter(build_loader(dataset, [[0]], workers=1)))
    # torch also raises it from a signal, wherever the main thread is
    raised = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    assert re.match(told, str(killed_worker(raised)))
    assert killed_worker(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


def test_a_worker_leaves_an_interruption_to_the_main_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ImageSet(strings(["a.png"]), (picture(tmp_path / "a.png", 0, 0),))
    dataset = ImageDataset(images, (16, 16), interpolation="bicubic", crop_margin=None)
    read = ImageDataset.__getitems__

    def interrupted(*given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return read(*given)

    monkeypatch.setattr(ImageDataset, "__getitems__", interrupted)
    [(_, rows)] = build_loader(dataset, [[0]], workers=1)
    assert rows.tolist() == [0]


def test_threads_read_what_the_loader_reads_in_its_order(tmp_path: Path) -> None:
    paths = tuple(picture(tmp_path / f"{i}.png", i, 0) for i in range(7))
    images = ImageSet(strings([path.name for path in paths]), paths)
    dataset = ImageDataset(images, (32, 32), interpolation="bicubic", crop_margin=None)
    batches = [[1, 0], [3], [2, 4], [BatchItem(5, flipped=True)], [6]]
    for threads in (1, 3):
        for (pixels, rows), (expected, expected_rows) in zip(
            read_ahead(dataset, batches, threads),
            build_loader(dataset, batches, workers=0),
            strict=True,
        ):
            assert (pixels == expected).all()
            assert (rows == expected_rows).all()


def test_an_error_in_a_reading_thread_ends_the_reading(tmp_path: Path) -> None:
    images = ImageSet(strings(["gone.jpg"]), (tmp_path / "gone.jpg",))
    dataset = ImageDataset(images, (16, 16), interpolation="bicubic", crop_margin=None)
    with pytest.raises(KitboxError, match=r"there is no image .*gone\.jpg"):
        next(read_ahead(dataset, [[0]] * 50, 2))
