"""Pixel cache and its writer: pixels equal those of the files, also after kills and changes."""

import errno
import hashlib
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kitbox.errors import KitboxError
from kitbox.files import digest_of_file
from kitbox.images import pixel_cache, pixel_cache_writer, preprocessing
from kitbox.images.loader import ImageDataset, build_loader, worker_count
from kitbox.images.pixel_cache import CachedImages, PixelCache
from kitbox.images.preprocessing import InputSpec
from kitbox.records import ImageSet, strings
from kitbox.workspace import Workspace
from tests.photographs import finish, picture, tiny

SPEC = InputSpec((24, 40), "bicubic", None)
CROPPED = replace(SPEC, margin=0.1)


def images_of(*paths: Path, boxes: list | None = None) -> ImageSet:
    return ImageSet(
        strings([f"{number}" for number in range(len(paths))]),
        paths,
        boxes=None if boxes is None else np.array(boxes, dtype=np.float32),
        digests=strings([digest_of_file(path) for path in paths]),
    )


def pictures(folder: Path, count: int = 5) -> ImageSet:
    return images_of(*(picture(folder / f"{i}.png", i, 0) for i in range(count)))


def prepare(workspace: Workspace, images: ImageSet, *specs: InputSpec) -> int:
    """Fill the cache and return how many files were decoded."""
    planned = pixel_cache_writer.plan(workspace, [images], specs or [SPEC])
    _, problems = finish(pixel_cache_writer.fill(planned, workspace))
    assert problems == []
    return len(planned.jobs)


def pixels_of(workspace: Workspace | None, images: ImageSet, spec: InputSpec = SPEC) -> np.ndarray:
    return np.stack([pixels for pixels, _ in rows(dataset_of(workspace, images, spec))])


def rows(dataset: ImageDataset) -> list:
    return [dataset[row] for row in range(len(dataset))]


def dataset_of(
    workspace: Workspace | None, images: ImageSet, spec: InputSpec = SPEC
) -> ImageDataset:
    return ImageDataset(
        images,
        spec.height_width,
        interpolation=spec.interpolation,
        crop_margin=spec.margin,
        workspace=workspace,
    )


def shards(workspace: Workspace) -> list[Path]:
    return sorted(workspace.pixel_cache.glob("*/pixels-*"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def test_cached_images_are_read_without_their_files(workspace: Workspace, tmp_path: Path) -> None:
    images = pictures(tmp_path)
    direct = pixels_of(None, images)
    assert prepare(workspace, images) == 5
    for path in images.paths:
        path.unlink()
    assert (pixels_of(workspace, images) == direct).all()


FILES = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "L", "LA", "RGBA", "P", "1", "I;16")}
sides = st.integers(1, 700)
fractions = st.floats(-0.2, 1.2)


@st.composite
def files(draw: st.DrawFn) -> tuple[Image.Image, str, int]:
    kind = draw(st.sampled_from(sorted(FILES)))
    mode = draw(st.sampled_from(FILES[kind]))
    width, height = draw(sides), draw(sides)
    values = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    if mode == "I;16":
        image = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    return image if mode == "I;16" else image.convert(mode), kind, draw(st.integers(1, 8))


@st.composite
def specs(draw: st.DrawFn) -> InputSpec:
    size = (draw(st.integers(16, 90)), draw(st.integers(16, 90)))
    margin = draw(st.sampled_from([None, 0.0, 0.05, 0.5]))
    return InputSpec(size, draw(st.sampled_from(sorted(preprocessing.INTERPOLATIONS))), margin)


@given(files(), st.lists(specs(), min_size=1, max_size=4), st.tuples(*[fractions] * 4))
@settings(max_examples=40)
def test_every_cached_pixel_equals_that_of_the_file(
    file: tuple[Image.Image, str, int], chosen: list[InputSpec], part: tuple[float, ...]
) -> None:
    image, kind, orientation = file
    exif = Image.Exif()
    exif[0x0112] = orientation
    with TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        image.save(path, format=kind, exif=exif)
        x0, y0, x1, y1 = part
        box = (x0 * image.width, y0 * image.height, x1 * image.width, y1 * image.height)
        images = images_of(path, path, boxes=[box, [np.nan] * 4])
        workspace = Workspace(Path(folder) / "workspace")
        prepare(workspace, images, *chosen)
        for spec in chosen:
            cached = pixel_cache.find(workspace, images, spec)
            assert cached is not None
            for row, corners in enumerate((tuple(map(float, images.boxes[0])), None)):
                pixels = np.empty((*spec.height_width, 3), dtype=np.uint8)
                assert cached.read_into(pixels, row)
                cropped = (corners, spec.margin) if spec.margin is not None else (None, 0.0)
                direct = preprocessing.read(path, spec.height_width, *cropped, spec.interpolation)
                assert (pixels == direct).all()


def test_a_large_jpeg_is_decoded_once_for_each_scale(tmp_path: Path, monkeypatch) -> None:
    picture(tmp_path / "large.jpg", 1, 1, size=(1600, 800))
    crops = [preprocessing.Crop((height, 2 * height)) for height in (40, 45, 180, 400)]
    direct = [preprocessing.read(tmp_path / "large.jpg", crop.height_width) for crop in crops]
    open_image, count = preprocessing.open_image, []
    monkeypatch.setattr(
        preprocessing, "open_image", lambda *arguments: count.append(1) or open_image(*arguments)
    )
    found = preprocessing.read_crops(tmp_path / "large.jpg", crops)
    assert all((a == b).all() for a, b in zip(found, direct, strict=True))
    assert len(count) == 3  # 1/8 for 40 and 45, 1/2 for 180, all of it for 400


def test_pixels_change_only_with_the_recipe_version(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 3, 1)
    digest = hashlib.sha256()
    for spec in (SPEC, InputSpec((90, 30), "bilinear", 0.2), InputSpec((64, 64), "lanczos", 0.0)):
        for box in (None, (10.0, 5.0, 60.5, 50.25), (500.0, 500.0, 600.0, 600.0)):
            crop = preprocessing.Crop(
                spec.height_width, box, spec.margin or 0.0, spec.interpolation
            )
            digest.update(preprocessing.read_crops(tmp_path / "a.png", [crop])[0].tobytes())
    # Another digest means other pixels, while older caches would still be read: increment
    # preprocessing.RECIPE_VERSION, and the recipe version of embedding.cache.
    assert (preprocessing.RECIPE_VERSION, digest.hexdigest()[:16]) == (2, "c69d7a09e7fee3a3")


def test_copies_of_a_file_are_one_row(workspace: Workspace, tmp_path: Path) -> None:
    images = pictures(tmp_path, 2)
    (tmp_path / "copy.png").write_bytes(images.paths[1].read_bytes())
    images = images_of(*images.paths, tmp_path / "copy.png")
    assert prepare(workspace, images) == 2
    assert len(PixelCache.for_spec(workspace, SPEC).keys()) == 2
    assert (pixels_of(workspace, images)[2] == pixels_of(None, images)[1]).all()


def test_a_changed_file_box_or_margin_is_another_row(workspace: Workspace, tmp_path: Path) -> None:
    images = pictures(tmp_path, 3)
    boxes = np.array([[10, 5, 60, 50], [np.nan] * 4, [0, 0, 40, 40]], dtype=np.float32)
    boxed = replace(images, boxes=boxes)
    assert prepare(workspace, images, SPEC, CROPPED) == 3
    # without boxes, a margin changes nothing
    assert len(PixelCache.for_spec(workspace, SPEC).keys()) == 3
    assert prepare(workspace, boxed, SPEC, CROPPED) == 2
    assert prepare(workspace, boxed, replace(SPEC, margin=0.2)) == 2
    moved = replace(images, boxes=boxes + 1)
    assert prepare(workspace, moved, CROPPED) == 2
    assert prepare(workspace, boxed, SPEC, CROPPED) == 0
    picture(images.paths[1], 9, 9)
    changed = replace(images_of(*images.paths), boxes=boxes)
    assert dataset_of(workspace, changed).source == "2 prepared"
    assert (pixels_of(workspace, changed) == pixels_of(None, changed)).all()
    for known, spec in ((boxed, CROPPED), (moved, CROPPED), (images, SPEC)):
        unchanged = known.take(np.array([0, 2]))
        assert dataset_of(workspace, unchanged, spec).source == "all prepared"
        assert (pixels_of(workspace, unchanged, spec) == pixels_of(None, unchanged, spec)).all()


def test_new_images_are_appended(workspace: Workspace, tmp_path: Path) -> None:
    images = pictures(tmp_path, 7)
    first = images.take(np.arange(4))
    assert prepare(workspace, first) == 4
    before = shards(workspace)[0].read_bytes()
    assert prepare(workspace, images) == 3
    assert shards(workspace)[0].read_bytes().startswith(before)
    assert (pixels_of(workspace, images) == pixels_of(None, images)).all()


def test_pixels_are_split_into_shards(workspace: Workspace, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pixel_cache, "SHARD_BYTES", 2 * 24 * 40 * 3 + 5)
    images = pictures(tmp_path, 5)
    prepare(workspace, images)
    assert [path.stat().st_size // (24 * 40 * 3) for path in shards(workspace)] == [2, 2, 1]
    assert (pixels_of(workspace, images) == pixels_of(None, images)).all()
    shards(workspace)[1].unlink()
    with pytest.raises(KitboxError, match=r"are damaged; remove that folder and run"):
        pixel_cache.find(workspace, images, SPEC)


def test_every_damage_of_the_cache_is_told(workspace: Workspace, tmp_path: Path) -> None:
    images = pictures(tmp_path, 5)
    prepare(workspace, images)
    direct, size = pixels_of(None, images), 24 * 40 * 3
    [shard], keys = shards(workspace), PixelCache.for_spec(workspace, SPEC).keys_file
    pixels, entries = shard.read_bytes(), keys.read_bytes()
    for at in np.random.default_rng(0).integers(len(pixels), size=12).tolist():
        shard.write_bytes(pixels[:at] + bytes([pixels[at] ^ 4]) + pixels[at + 1 :])
        with pytest.raises(KitboxError, match=r"are damaged; remove that folder and run"):
            pixels_of(workspace, images)
    exchanged = pixels[size : 2 * size] + pixels[:size] + pixels[2 * size :]
    for changed in (exchanged, pixels[:size] + bytes(4 * size)):
        shard.write_bytes(changed)
        with pytest.raises(KitboxError, match=r"are damaged; remove that folder and run"):
            pixels_of(workspace, images)
    shard.write_bytes(pixels)
    for at in range(40):  # another key is that of no image, which is read from its file
        keys.write_bytes(entries[:at] + bytes([entries[at] ^ 4]) + entries[at + 1 :])
        if at % 20 < pixel_cache.KEY_BYTES:
            assert (pixels_of(workspace, images) == direct).all()
            continue
        with pytest.raises(KitboxError, match=r"are damaged; remove that folder and run"):
            pixels_of(workspace, images)
    keys.write_bytes(entries[20:40] + entries[:20] + entries[40:])
    with pytest.raises(KitboxError, match=r"are damaged; remove that folder and run"):
        pixels_of(workspace, images)
    shutil.rmtree(shard.parent)
    assert prepare(workspace, images) == 5
    assert (pixels_of(workspace, images) == direct).all()


def test_another_decoder_has_another_cache(
    workspace: Workspace, tmp_path: Path, monkeypatch
) -> None:
    images = pictures(tmp_path)
    prepare(workspace, images)
    monkeypatch.setattr("PIL.__version__", "99.0")
    assert dataset_of(workspace, images).source == "from their files"
    assert prepare(workspace, images) == 5


KILLED = """
import sys, time
from pathlib import Path
from kitbox.images import pixel_cache_writer
from kitbox.workspace import Workspace
from tests.images.test_pixel_cache import SPEC, images_of
pixel_cache_writer._COMMIT = 3
workspace = Workspace(Path(sys.argv[1]))
planned = pixel_cache_writer.plan(workspace, [images_of(*map(Path, sys.argv[2:]))], [SPEC])
for step in pixel_cache_writer.fill(planned, workspace):
    print(step.done, flush=True)
    time.sleep(0.01)
"""


def test_rows_committed_before_a_kill_are_complete_and_reused(
    workspace: Workspace, tmp_path: Path
) -> None:
    images = pictures(tmp_path, 30)
    command = [sys.executable, "-c", KILLED, str(workspace.root), *map(str, images.paths)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 11:
            pass
        os.kill(process.pid, signal.SIGKILL)
    complete = len(PixelCache.for_spec(workspace, SPEC).keys())
    assert 9 <= complete < 30
    assert dataset_of(workspace, images).source == f"{complete} prepared"
    assert (pixels_of(workspace, images) == pixels_of(None, images)).all()
    assert prepare(workspace, images) == 30 - complete
    assert dataset_of(workspace, images).source == "all prepared"
    assert (pixels_of(workspace, images) == pixels_of(None, images)).all()


@pytest.mark.parametrize("cut", range(1, pixel_cache.ENTRY_BYTES))
def test_a_key_that_was_cut_off_is_ignored(workspace: Workspace, tmp_path: Path, cut: int) -> None:
    images = pictures(tmp_path, 3)
    prepare(workspace, images)
    with PixelCache.for_spec(workspace, SPEC).keys_file.open("r+b") as file:
        file.truncate(2 * pixel_cache.ENTRY_BYTES + cut)
    assert dataset_of(workspace, images).source == "2 prepared"
    assert prepare(workspace, images) == 1
    assert (
        PixelCache.for_spec(workspace, SPEC).keys_file.stat().st_size == 3 * pixel_cache.ENTRY_BYTES
    )
    assert (pixels_of(workspace, images) == pixels_of(None, images)).all()


def test_a_stopped_preparation_keeps_finished_rows_and_writes_nothing_more(
    workspace: Workspace, tmp_path: Path
) -> None:
    images = pictures(tmp_path, 40)
    stage = pixel_cache_writer.fill(pixel_cache_writer.plan(workspace, [images], [SPEC]), workspace)
    next(stage)
    stage.close()
    assert len(PixelCache.for_spec(workspace, SPEC).keys()) == 1
    sizes = [path.stat() for path in shards(workspace)]
    time.sleep(0.1)
    assert [path.stat() for path in shards(workspace)] == sizes
    assert prepare(workspace, images) == 39
    assert (pixels_of(workspace, images) == pixels_of(None, images)).all()


def test_what_another_process_has_prepared_since_the_plan_is_not_prepared_twice(
    workspace: Workspace, tmp_path: Path
) -> None:
    images = pictures(tmp_path, 3)
    planned = pixel_cache_writer.plan(workspace, [images], [SPEC])
    prepare(workspace, images.take(np.arange(2)))
    events, _ = finish(pixel_cache_writer.fill(planned, workspace))
    assert [event.total for event in events] == [1]
    assert len(PixelCache.for_spec(workspace, SPEC).keys()) == 3
    assert (pixels_of(workspace, images) == pixels_of(None, images)).all()


def test_a_second_process_is_refused_while_one_prepares(
    workspace: Workspace, tmp_path: Path
) -> None:
    images = pictures(tmp_path, 1)
    with (
        pixel_cache_writer.lock(workspace),
        pytest.raises(KitboxError, match=r"another process is preparing images in .*; wait for it"),
    ):
        prepare(workspace, images)
    assert prepare(workspace, images) == 1


def test_a_disk_that_is_too_small_is_refused_with_numbers(
    workspace: Workspace, tmp_path: Path, monkeypatch
) -> None:
    planned = pixel_cache_writer.plan(
        workspace, [pictures(tmp_path, 3)], [InputSpec((620, 620), "bicubic", None)]
    )
    assert planned.bytes == 3 * (620 * 620 * 3 + pixel_cache.ENTRY_BYTES)
    assert pixel_cache_writer.check_disk_space(workspace, planned) > 0
    usage = pixel_cache_writer.shutil.disk_usage(tmp_path)._replace(free=503 * 10**6)
    monkeypatch.setattr(pixel_cache_writer.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        KitboxError, match=r"takes 0.00 GB and 0.50 GB must stay free, but .* has 0.50 GB; name"
    ):
        pixel_cache_writer.check_disk_space(workspace, planned)
    assert pixel_cache_writer.check_disk_space(workspace, replace(planned, jobs=())) == 503 * 10**6


def test_a_disk_that_fills_up_is_told_and_the_next_run_goes_on(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, write = pictures(tmp_path, 6), pixel_cache_writer.files.write_at
    left = [3]

    def write_at(file: int, data: memoryview, start: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data, start)

    with monkeypatch.context() as patched:
        patched.setattr(pixel_cache_writer.files, "write_at", write_at)
        with pytest.raises(
            KitboxError, match=r"cannot write .*: No space left on device; make room on the disk of"
        ):
            prepare(workspace, images)
    assert prepare(workspace, images) > 0
    assert dataset_of(workspace, images).source == "all prepared"
    assert (pixels_of(workspace, images) == pixels_of(None, images)).all()


def test_a_file_that_changes_while_it_is_prepared_is_reported_and_tried_again(
    workspace: Workspace, tmp_path: Path
) -> None:
    images = pictures(tmp_path, 5)
    planned = pixel_cache_writer.plan(workspace, [images], [SPEC])
    whole = [images.paths[row].read_bytes() for row in (1, 3, 4)]
    picture(images.paths[1], 8, 8)
    images.paths[3].unlink()
    images.paths[4].write_bytes(b"")
    _, problems = finish(pixel_cache_writer.fill(planned, workspace))
    sentences = [str(problem).replace(f"{tmp_path}/", "") for problem in problems]
    assert sentences == [
        "image 1.png was changed while it was prepared",
        "there is no image 3.png",
        "image 4.png was changed while it was prepared",
    ]
    for row, data in zip((1, 3, 4), whole, strict=True):
        images.paths[row].write_bytes(data)
    assert dataset_of(workspace, images).source == "2 prepared"
    assert prepare(workspace, images) == 3
    assert (pixels_of(workspace, images) == pixels_of(None, images)).all()


def test_an_unreadable_file_is_left_out(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no image")
    images = images_of(picture(tmp_path / "0.png", 1, 1), tmp_path / "broken.jpg")
    _, problems = finish(
        pixel_cache_writer.fill(pixel_cache_writer.plan(workspace, [images], [SPEC]), workspace)
    )
    assert [str(problem).rpartition("/")[2] for problem in problems] == [
        "broken.jpg is not an image; replace or remove it"
    ]
    assert dataset_of(workspace, images).source == "1 prepared"


def test_caches_that_no_plugin_uses_are_removed(workspace: Workspace, tmp_path: Path) -> None:
    images = pictures(tmp_path, 2)
    large = InputSpec.from_plugin(tiny(image_size=48), "bicubic")
    prepare(workspace, images, SPEC, large)
    [(folder, size)] = pixel_cache_writer.remove_unused(workspace, [large])
    assert (folder.name.split("-")[0], size) == (
        "24x40",
        2 * (24 * 40 * 3 + pixel_cache.ENTRY_BYTES),
    )
    assert pixel_cache.find(workspace, images, SPEC) is None
    assert dataset_of(workspace, images, large).source == "all prepared"
    assert pixel_cache_writer.remove_unused(workspace, [large]) == []


def test_a_cache_that_is_removed_or_truncated_while_it_is_read_is_named(
    workspace: Workspace, tmp_path: Path
) -> None:
    images = pictures(tmp_path, 2)
    prepare(workspace, images)
    early, late = (pixel_cache.find(workspace, images, SPEC) for _ in range(2))
    pixels = np.empty((24, 40, 3), dtype=np.uint8)
    assert early is not None
    assert late is not None
    assert early.read_into(pixels, 0)
    with shards(workspace)[0].open("r+b") as file:
        file.truncate(24 * 40 * 3 + 7)
    with pytest.raises(KitboxError, match="are damaged"):
        early.read_into(pixels, 1)
    pixel_cache_writer.remove_unused(workspace, [])
    with pytest.raises(KitboxError, match="are damaged"):
        late.read_into(pixels, 0)


def test_images_without_digests_are_read_from_their_files(
    workspace: Workspace, tmp_path: Path
) -> None:
    images = pictures(tmp_path, 2)
    prepare(workspace, images)
    assert dataset_of(workspace, replace(images, digests=None)).source == "from their files"


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_forked_and_spawned_workers_read_the_cache(
    workspace: Workspace, tmp_path: Path, start: str
) -> None:
    images = pictures(tmp_path, 6)
    prepare(workspace, images)
    direct = pixels_of(None, images)
    dataset = dataset_of(workspace, images)
    assert (dataset[0][0] == direct[0]).all()  # its files are open when the workers start
    for path in images.paths:
        path.unlink()
    loader = build_loader(dataset, [[0, 1, 2], [5, 4, 3]], workers=2)
    loader.multiprocessing_context = multiprocessing.get_context(start)
    batches = [(pixels.numpy().copy(), rows.tolist()) for pixels, rows in loader]
    assert [order for _, order in batches] == [[0, 1, 2], [5, 4, 3]]
    for pixels, order in batches:
        assert (pixels == direct[order]).all()


def test_an_unpickled_reader_opens_its_files_itself(workspace: Workspace, tmp_path: Path) -> None:
    images = pictures(tmp_path, 1)
    prepare(workspace, images)
    cached = pixel_cache.find(workspace, images, SPEC)
    assert cached is not None
    pixels, again = np.zeros((2, 24, 40, 3), dtype=np.uint8)
    cached.read_into(pixels, 0)
    copy: CachedImages = pickle.loads(pickle.dumps(cached))  # noqa: S301  our own bytes
    assert copy._files == {}
    copy.read_into(again, 0)
    assert (pixels == again).all()


@pytest.mark.parametrize("augmentation", ["light", "gdsc2020"])
def test_an_augmentation_changes_a_batch_and_not_the_cache(
    workspace: Workspace, tmp_path: Path, augmentation: str
) -> None:
    images = pictures(tmp_path, 4)
    prepare(workspace, images)
    before = shards(workspace)[0].read_bytes()
    items = [(row, 10 * row + turn) for turn in range(4) for row in range(4)]
    found = []
    for where in (None, workspace):
        dataset = ImageDataset(
            images,
            SPEC.height_width,
            interpolation=SPEC.interpolation,
            crop_margin=None,
            augmentation=augmentation,
            workspace=where,
        )
        [(pixels, _)] = build_loader(dataset, [items], workers=0)
        found.append(pixels.numpy())
    assert (found[0] == found[1]).all()
    assert shards(workspace)[0].read_bytes() == before


def test_worker_processes_are_used_unless_reading_only_copies(
    workspace: Workspace, tmp_path: Path
) -> None:
    images = pictures(tmp_path, 2)
    direct = dataset_of(workspace, images)
    assert worker_count(direct, "cpu") == 1
    prepare(workspace, images.take(np.array([0])))
    assert worker_count(dataset_of(workspace, images), "cpu") == 1
    prepare(workspace, images)
    assert worker_count(dataset_of(workspace, images), "cpu") == 0
    assert worker_count(dataset_of(workspace, images), "cuda") >= 1
    assert worker_count(dataset_of(workspace, images), "cpu", 3) == 3
    unreadable = replace(images, digests=strings(["?", images.digests[1]]))
    dataset = ImageDataset(
        unreadable,
        SPEC.height_width,
        interpolation=SPEC.interpolation,
        crop_margin=None,
        unreadable=frozenset({"0"}),
        workspace=workspace,
    )
    assert dataset.source == "all prepared"
    assert (dataset[0][0] == 128).all()
