"""The work on many files, by threads, other processes, and a cluster of dask."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import LocalCluster
from joblib import delayed
from PIL import Image

from kitbox.devices import joblib_backend
from kitbox.devices.joblib_backend import open_backend
from kitbox.errors import KitboxError
from kitbox.images import file_index, pixel_cache_writer, thumbnails
from kitbox.images.preprocessing import InputSpec
from kitbox.keypoints import pair_scores
from kitbox.keypoints.feature_source import run_in_threads
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.keypoints.pair_scores import MatchOptions
from kitbox.records import ImageSet, strings
from kitbox.workspace import Workspace
from tests.photographs import finish


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address=None,
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Return twelve photographs, of which the second cannot be read."""
    folder = tmp_path_factory.mktemp("photographs")
    paths = [folder / f"{number}.png" for number in range(12)]
    for number, path in enumerate(paths):
        squares = np.random.default_rng(number // 3).integers(0, 200, (20, 24, 3), np.uint8)
        pixels = squares.repeat(10, axis=0).repeat(10, axis=1) + np.uint8(number)
        Image.fromarray(pixels).save(path)
    paths[1].write_bytes(b"no image")
    return ImageSet(strings([path.name for path in paths]), tuple(paths))


def done_by(root: Path, photographs: ImageSet) -> dict[str, object]:
    """Return what is found in photographs, and what is written into a workspace."""
    workspace = Workspace(root)
    _, inspected = finish(file_index.inspect(photographs, workspace))
    events, _ = finish(thumbnails.make(inspected.images, workspace, side=16))
    assert events[-1].done == len(photographs)  # the progress is that of threads
    spec = InputSpec((24, 24), "bilinear", None)
    planned = pixel_cache_writer.plan(workspace, [inspected.images], [spec])
    _, problems = finish(pixel_cache_writer.fill(planned, workspace))
    ids = photographs.image_ids
    _, matched = finish(
        pair_scores.measure(
            MatchSettings.parse("orb"),
            inspected.images,
            ids[2:-1],
            ids[3:],
            workspace,
            MatchOptions(workers=2, device="cpu"),
            unreadable=frozenset(inspected.problems),
        )
    )
    files = [*workspace.pixel_cache.rglob("*")]
    return {
        "problems": inspected.problems,
        "left out": [str(problem) for problem in problems],
        "matches": matched.matches.tolist(),
        "pixels": {path.name: path.read_bytes() for path in files if path.is_file()},
        "thumbnails": rows(workspace.thumbnails, "SELECT key, picture FROM thumbnails"),
        "index": rows(workspace.image_index, "SELECT * FROM looks"),
    }


def rows(path: Path, query: str) -> list[str]:
    with sqlite3.connect(path) as database:
        found = sorted(map(str, database.execute(query)))
    database.close()
    return found


@pytest.fixture(scope="module")
def by_threads(
    tmp_path_factory: pytest.TempPathFactory, photographs: ImageSet
) -> dict[str, object]:
    return done_by(tmp_path_factory.mktemp("threads"), photographs)


@pytest.mark.parametrize("backend", ["dask", "loky"])
def test_every_backend_finds_the_same(
    tmp_path: Path, photographs: ImageSet, by_threads: dict[str, object], scheduler: str,
    backend: str,
) -> None:  # fmt: skip
    assert len(by_threads["index"]) == len(photographs)
    assert len(by_threads["left out"]) == len(by_threads["problems"]) == 1
    assert np.isfinite(by_threads["matches"]).all()
    assert max(by_threads["matches"]) > 10
    with open_backend(backend, scheduler if backend == "dask" else None):
        assert done_by(tmp_path, photographs) == by_threads


def test_results_come_in_the_order_of_the_calls(scheduler: str) -> None:
    with open_backend("dask", scheduler):
        assert not joblib_backend.shares_memory()
        assert list(joblib_backend.run(delayed(pow)(n, 2) for n in range(50))) == [
            n**2 for n in range(50)
        ]
    assert joblib_backend.shares_memory()
    assert list(joblib_backend.run(delayed(abs)(n) for n in (-1, 2))) == [1, 2]


def thread(_: int) -> str:
    return threading.current_thread().name


def test_a_machine_of_one_core_leaves_matching_to_the_cluster(scheduler: str) -> None:
    with open_backend("dask", scheduler):
        assert joblib_backend.worker_count() == 2
        assert "MainThread" not in set(run_in_threads(thread, range(3), workers=1))
        assert set(run_in_threads(thread, range(3), workers=0)) == {"MainThread"}


def test_an_address_needs_a_cluster() -> None:
    with pytest.raises(KitboxError) as caught, open_backend("loky", "tcp://host:8786"):
        pass
    assert str(caught.value) == "--address is that of a cluster; add --backend dask or ray"


def test_workers_are_those_of_loky_and_not_of_a_cluster() -> None:
    with open_backend("loky", workers=3):
        assert joblib_backend.worker_count() == 3
    with pytest.raises(KitboxError) as caught, open_backend("dask", workers=3):
        pass
    assert str(caught.value) == (
        "--workers 3: a cluster of dask has workers of its own; leave the option out"
    )


def test_workers_that_are_gone_are_told_in_a_sentence() -> None:
    with open_backend("loky", workers=2), pytest.raises(KitboxError) as caught:
        list(joblib_backend.run(delayed(os._exit)(1) for _ in range(2)))
    assert str(caught.value).startswith("workers that read files for this command are gone (A ")
    assert str(caught.value).endswith("; run it again; it goes on with what is finished")
    with open_backend("loky", workers=2), pytest.raises(ZeroDivisionError):
        list(joblib_backend.run(delayed(divmod)(1, 0) for _ in range(2)))


def test_a_missing_package_is_named_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(KitboxError) as caught, open_backend("ray"):
        pass
    assert str(caught.value) == (
        "--backend ray needs a package that is not installed; install it with "
        "'pip install \"kitbox[ray]\"'"
    )
