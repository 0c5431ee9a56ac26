"""Embeddings: computed once, and again when anything they depend on changes."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kitbox import files
from kitbox.dataset.collection import collect
from kitbox.embedding import cache, embedder
from kitbox.errors import KitboxError
from kitbox.images import file_index, pixel_cache_writer
from kitbox.images.preprocessing import InputSpec
from kitbox.network.backbone import data_config
from kitbox.records import ImageSet
from kitbox.training import trainer
from kitbox.training.context import TrainOptions, TrainSetup
from kitbox.workspace import Workspace
from tests.photographs import competition_on_disk, finish, named, picture, tiny

OPTIONS = embedder.EmbedOptions(device="cpu", precision="32", workers=0)


class Place:
    def __init__(self, root: Path) -> None:
        self.workspace, self.competition = competition_on_disk(root)
        _, self.collection = finish(collect(self.workspace, self.competition))
        self.images = self.collection.labelled
        self.plugin = tiny(epochs=0, losses=[])
        self.checkpoint = self.trained(self.plugin)

    def trained(self, plugin):
        options = TrainOptions(device="cpu", precision="32", workers=0)
        setup = TrainSetup(self.collection, self.competition, self.workspace, options)
        return finish(trainer.train(named(plugin), setup))[1]

    def stage(self, images: ImageSet | None = None, plugin=None, checkpoint=None, **options):
        return embedder.embed(
            named(plugin or self.plugin),
            checkpoint or self.checkpoint,
            self.images if images is None else images,
            self.workspace,
            options=replace(OPTIONS, **options),
        )

    def embed(self, *given, **options):
        events, embeddings = finish(self.stage(*given, **options))
        return bool(events), embeddings


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_second_run_computes_nothing_and_gives_the_same_vectors(place: Place) -> None:
    computed, first = place.embed()
    again, second = place.embed()
    assert (computed, again) == (True, False)
    assert (first.vectors == second.vectors).all()
    assert (second.image_ids == place.images.image_ids).all()
    names = {path.name for path in next(place.workspace.embeddings.iterdir()).iterdir()}
    assert names == {"vectors.npy", "image_ids.json", "manifest.json", "rows.json"}


def test_other_weights_images_boxes_or_sizes_are_computed_anew(place: Place) -> None:
    _, first = place.embed()
    other_seed = tiny(epochs=0, losses=[], seed=5)
    computed, vectors = place.embed(plugin=other_seed, checkpoint=place.trained(other_seed))
    assert computed
    assert not np.allclose(first.vectors, vectors.vectors)
    larger = tiny(epochs=0, losses=[], image_size=48)
    assert place.embed(plugin=larger, checkpoint=place.trained(larger))[0]
    assert place.embed(precision="bf16")[0]
    boxes = np.full((len(place.images), 4), np.nan, dtype=np.float32)
    boxes[3] = (5, 5, 60, 40)
    computed, cropped = place.embed(replace(place.images, boxes=boxes))
    assert computed
    changed = (cropped.vectors != first.vectors).any(axis=1)
    assert changed.tolist() == [row == 3 for row in range(len(changed))]
    picture(place.images.paths[0], 77, 77)
    _, seen = finish(file_index.inspect(place.images, place.workspace))
    assert place.embed(seen.images)[0]
    assert not place.embed()[0]  # the first ones are still there


def test_of_a_set_with_known_images_only_the_new_ones_are_computed(place: Place) -> None:
    _, whole = place.embed(reuse=False)
    place.embed(place.images.take(np.arange(10)))
    stage = embedder.embed(
        named(place.plugin), place.checkpoint, place.images, place.workspace, options=OPTIONS
    )
    events, joined = finish(stage)
    count = len(place.images)
    assert events[0].notice == f"tiny: 10 of {count} images are in the cache"
    assert {event.total for event in events} == {count - 10}
    assert (joined.image_ids == place.images.image_ids).all()
    np.testing.assert_allclose(joined.vectors, whole.vectors, atol=1e-5)
    computed, again = place.embed()
    assert not computed
    assert (again.vectors == joined.vectors).all()


def interrupt(place: Place, monkeypatch: pytest.MonkeyPatch, batches: int, **given: Any) -> Path:
    """Embed some batches of eight images, as before a kill; return the file that has them."""
    monkeypatch.setattr(embedder, "_BATCH", 8)
    stage = place.stage(**given)
    for _ in range(batches):
        next(stage)
    stage.close()
    [file] = place.workspace.embeddings.glob(".unfinished/*/*.batches")
    return file


@pytest.mark.parametrize(("view", "batches", "done"), [("plain", 2, 24), ("five_crops", 6, 56)])
def test_what_a_killed_process_has_embedded_is_not_embedded_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, view: str, batches: int, done: int
) -> None:
    plugin = named(place.plugin).with_views((view,)).plugin
    interrupt(place, monkeypatch, batches + 1, plugin=plugin)  # the first event is a notice
    events, again = finish(place.stage(plugin=plugin))
    assert f"tiny: about {8 * batches // (5 if view == 'five_crops' else 1)} of" in events[1].notice
    assert events[2].done == done
    assert (again.vectors == place.embed(plugin=plugin, reuse=False)[1].vectors).all()
    assert len(manifests(place)) == 1
    assert not (place.workspace.embeddings / ".unfinished").exists()


def test_batches_that_were_cut_off_or_changed_are_embedded_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    vectors = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    processes = [cache.UnfinishedSet(workspace, "key", [4]) for _ in range(2)]
    for place in range(3):
        processes[min(place, 1)].add(4 * place, vectors[place])
    kept = processes[0]
    first, second = sorted(kept.folder.iterdir(), key=lambda path: path.stat().st_size)
    whole = second.read_bytes()
    found = kept.load()
    assert sorted(found) == [0, 4, 8]
    assert all((found[4 * place] == vectors[place]).all() for place in range(3))
    assert cache.UnfinishedSet(workspace, "key", [8]).load() == {}  # dealt to other batches
    flips = np.random.default_rng(1)
    flip = [flipped(flips) for _ in range(40)]
    for damage in (lambda data: data[:-1], lambda data: data[: len(data) // 2 + 9], *flip):
        second.write_bytes(damage(whole))
        found = kept.load()
        assert 0 in found
        assert 8 not in found or 4 not in found
        assert all((rows == vectors[place // 4]).all() for place, rows in found.items())
    first.write_bytes(b"")
    second.write_bytes(whole + bytes(100))
    assert sorted(kept.load()) == [4, 8]


def test_the_rest_is_embedded_by_the_engine_of_what_is_finished(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(place, monkeypatch, 1, engine="onnx")
    _, again = place.embed(engine="auto")  # for so few images torch
    [manifest] = [json.loads(path.read_text()) for path in manifests(place)]
    assert manifest["causes"]["engine"] == "onnx"
    assert (again.vectors == place.embed(engine="onnx", reuse=False)[1].vectors).all()


def test_batches_that_nobody_asks_for_go_after_a_week(tmp_path: Path) -> None:
    workspace, vectors = Workspace(tmp_path), np.zeros((1, 2), np.float32)
    for key in ("old", "new"):
        cache.UnfinishedSet(workspace, key, []).add(0, vectors)
    for path in (workspace.embeddings / ".unfinished").glob("old/*"):
        os.utime(path, (0, 0))
        os.utime(path.parent, (0, 0))
    cache.UnfinishedSet(workspace, "other", []).add(0, vectors)
    left = sorted(path.name for path in (workspace.embeddings / ".unfinished").iterdir())
    assert left == ["new", "other"]


def test_what_is_left_of_a_whole_set_is_removed_by_the_next_command(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = interrupt(place, monkeypatch, 2)
    data = left.read_bytes()
    place.embed()
    left.parent.mkdir(parents=True)
    left.write_bytes(data)
    assert not place.embed()[0]
    assert not (place.workspace.embeddings / ".unfinished").exists()


def test_known_images_may_have_other_names_and_another_order(place: Place) -> None:
    _, first = place.embed()
    rows = np.arange(len(place.images))[::-1].copy()
    turned = place.images.take(rows)
    turned = replace(turned, image_ids=np.array([f"new/{name}" for name in turned.image_ids]))
    stage = embedder.embed(
        named(place.plugin), place.checkpoint, turned, place.workspace, options=OPTIONS
    )
    events, second = finish(stage)
    assert [event.total for event in events] == [0]
    assert (second.image_ids == turned.image_ids).all()
    assert (second.vectors == first.vectors[rows]).all()


def test_vectors_of_two_engines_are_not_kept_as_one_set(place: Place) -> None:
    few = place.images.take(np.arange(10))
    place.embed(few, engine="onnx")
    _, joined = place.embed(engine="auto")
    _, whole = place.embed(reuse=False, engine="torch")
    np.testing.assert_allclose(joined.vectors, whole.vectors, atol=1e-3)
    shapes = [json.loads(path.read_text())["shape"][0] for path in manifests(place)]
    assert sorted(shapes) == [10, len(place.images) - 10]
    computed, _ = place.embed(engine="torch")  # those of torch alone
    assert computed


def test_processes_that_found_vectors_of_different_engines_keep_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another program fills the cache while they look into it, one after the other."""
    place.embed(place.images.take(np.arange(10)))

    def gather(value: object) -> list[object]:
        return [value, {"onnx"}] if isinstance(value, set) else [value]

    monkeypatch.setattr(embedder.process_group, "gather_objects", gather)
    place.embed()
    shapes = [json.loads(path.read_text())["shape"][0] for path in manifests(place)]
    assert sorted(shapes) == [10, len(place.images) - 10]


def manifests(place: Place) -> list[Path]:
    return sorted(place.workspace.embeddings.glob("*/manifest.json"))


def test_a_crop_that_the_plugin_ignores_changes_nothing(place: Place) -> None:
    whole = tiny(epochs=0, losses=[], crop=False)
    checkpoint = place.trained(whole)
    assert place.embed(plugin=whole, checkpoint=checkpoint)[0]
    boxes = np.tile(np.float32([1, 1, 50, 40]), (len(place.images), 1))
    boxed = replace(place.images, boxes=boxes)
    assert not place.embed(boxed, plugin=whole, checkpoint=checkpoint)[0]


def test_another_plugins_checkpoint_is_refused(place: Place) -> None:
    with pytest.raises(KitboxError, match="with other settings than tiny has now"):
        place.embed(plugin=tiny(epochs=0, losses=[], dropout=0.4))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device without room")
def test_a_full_disk_is_told_and_leaves_no_folder(place: Place, monkeypatch) -> None:
    usual = Path.open

    def full(self: Path, mode: str = "r", *given: Any, **named: Any) -> Any:
        if self.name == "vectors.npy" and "w" in mode:
            return usual(Path("/dev/full"), mode, *given, **named)
        return usual(self, mode, *given, **named)

    monkeypatch.setattr(Path, "open", full)
    folder = place.workspace.embeddings
    with pytest.raises(KitboxError) as caught:
        place.embed()
    assert "No space left on device" in str(caught.value)
    assert caught.value.fix == f"make room on the disk of {folder}, and run it again"
    assert [path.name for path in folder.iterdir()] == [".unfinished"]  # for the next run
    monkeypatch.undo()
    embeddings = place.embed()[1]
    written = np.load(next(folder.glob("*/vectors.npy")), allow_pickle=False)
    np.testing.assert_array_equal(written, embeddings.vectors)


def test_a_damaged_folder_is_named(place: Place) -> None:
    place.embed()
    entry = next(place.workspace.embeddings.iterdir())
    (entry / "vectors.npy").write_bytes(b"short")
    with pytest.raises(KitboxError, match="are damaged; remove that folder"):
        place.embed()


def swapped_ids(data: bytes) -> bytes:
    first, second, *rest = json.loads(data)
    return json.dumps([second, first, *rest]).encode()


def test_every_damage_of_the_cache_is_told_and_what_is_computed_again_is_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = place.images.take(np.arange(6))
    _, first = place.embed(few)
    entry = next(place.workspace.embeddings.iterdir())
    whole = {path: path.read_bytes() for path in entry.iterdir()}
    flips = np.random.default_rng(0)
    damages = [
        (entry / name, change)
        for name, changes in {
            "vectors.npy": [*(flipped(flips) for _ in range(8)), zeros, half, empty],
            "image_ids.json": [swapped_ids, half, empty],
            "rows.json": [swapped_ids, half, empty],
            "manifest.json": [
                lambda data: data.replace(b'"precision": "32"', b'"precision": "16"'),
                lambda data: data.replace(b"sha256", b"sha255"),
                *(half, empty),
            ],
        }.items()
        for change in changes
    ]
    told = f"the embeddings {entry} are damaged; remove that folder; they are computed again"
    for path, change in damages:
        path.write_bytes(change(whole[path]))
        for images in (few, few.take(np.arange(3))):  # the same set, and one that is part of it
            if images is not few and path.name == "manifest.json":
                continue  # it says whether the set is one to look into
            monkeypatch.setattr(files, "_KNOWN_DIGESTS", {})  # as in another process
            with pytest.raises(KitboxError) as caught:
                place.embed(images)
            assert str(caught.value) == told
        path.write_bytes(whole[path])
    shutil.rmtree(entry)
    computed, again = place.embed(few)
    assert computed
    assert (again.vectors == first.vectors).all()


def flipped(flips: np.random.Generator) -> Callable[[bytes], bytes]:
    """Return a damage that flips one bit of some byte."""

    def change(data: bytes) -> bytes:
        at, bit = int(flips.integers(len(data))), int(flips.integers(8))
        return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]

    return change


def zeros(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes(len(data) - len(data) // 2)


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def empty(_: bytes) -> bytes:
    return b""


def test_a_folder_under_another_key_is_damaged(place: Place) -> None:
    place.embed()
    entry = next(place.workspace.embeddings.iterdir())
    other = tiny(epochs=0, losses=[], seed=5)
    checkpoint = place.trained(other)
    place.embed(plugin=other, checkpoint=checkpoint)
    [theirs] = {*place.workspace.embeddings.iterdir()} - {entry}
    shutil.rmtree(theirs)
    shutil.copytree(entry, theirs)
    with pytest.raises(KitboxError, match="are damaged; remove that folder"):
        place.embed(plugin=other, checkpoint=checkpoint)


def test_embeddings_of_an_earlier_release_are_read_where_their_images_are_the_same(
    place: Place,
) -> None:
    _, first = place.embed()
    [path] = manifests(place)
    manifest = json.loads(path.read_text())
    del manifest["lists_sha256"]
    path.write_text(json.dumps(manifest))
    computed, second = place.embed()
    assert not computed
    assert (first.vectors == second.vectors).all()
    listed = path.with_name("image_ids.json")
    listed.write_bytes(swapped_ids(listed.read_bytes()))
    with pytest.raises(KitboxError, match="are damaged; remove that folder"):
        place.embed()
    assert place.embed(place.images.take(np.arange(3)))[0]  # its rows are not trusted


def test_without_reuse_the_cache_is_neither_read_nor_written(place: Place) -> None:
    place.embed()
    computed, _ = place.embed(reuse=False)
    assert computed
    assert len(list(place.workspace.embeddings.iterdir())) == 1


def test_prepared_images_give_the_same_embeddings_and_key(place: Place) -> None:
    _, direct = place.embed()
    [key] = [folder.name for folder in place.workspace.embeddings.iterdir()]
    spec = InputSpec.from_plugin(place.plugin, data_config(place.plugin.backbone).interpolation)
    finish(
        pixel_cache_writer.fill(
            pixel_cache_writer.plan(place.workspace, [place.images], [spec]), place.workspace
        )
    )
    assert not place.embed()[0]
    shutil.rmtree(place.workspace.embeddings / key)
    for path in place.images.paths:
        path.unlink()  # only prepared images are left
    computed, prepared = place.embed()
    assert computed
    assert (prepared.vectors == direct.vectors).all()
    assert [folder.name for folder in place.workspace.embeddings.iterdir()] == [key]


def test_homogeneous_embeddings_keep_their_length(place: Place) -> None:
    """(x, 1) at unit length gives x back, and has a cache key of its own."""
    _, plain = place.embed()
    stage = embedder.embed(
        named(place.plugin),
        place.checkpoint,
        place.images,
        place.workspace,
        options=OPTIONS,
        homogeneous=True,
    )
    events, homogeneous = finish(stage)
    assert events
    assert homogeneous.dim == plain.dim + 1
    whole = homogeneous.vectors[:, :-1] / homogeneous.vectors[:, -1:]
    lengths = np.linalg.norm(whole, axis=1)
    assert not np.allclose(lengths, 1, atol=0.1)
    np.testing.assert_allclose(whole / lengths[:, None], plain.vectors, atol=1e-5)
    assert not place.embed()[0]


def test_the_views_in_the_cache_are_found(place: Place) -> None:
    def cached(images: ImageSet | None = None, plugin=None, **options: object) -> tuple[str, ...]:
        return embedder.cached_views(
            named(plugin or place.plugin),
            place.checkpoint,
            place.images if images is None else images,
            place.workspace,
            options=replace(OPTIONS, **options),  # type: ignore[arg-type]
        )

    assert cached() == ()
    place.embed(plugin=named(place.plugin).with_views(("scale:1.5", "flip")).plugin)
    assert cached() == ("flip", "scale:1.5")
    place.embed()
    assert cached() == ("plain", "flip", "scale:1.5")
    assert cached(place.images.take(np.arange(3))) == ()
    assert cached(plugin=tiny(epochs=0, losses=[], embedding_dim=8)) == ()
    assert cached(reuse=False) == ()
    (next(place.workspace.embeddings.iterdir()) / "manifest.json").write_text("{")
    assert len(cached()) == 2  # one that cannot be read is not offered
