"""Views: what of an image they read, averaged vectors, and a cache for each view."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kitbox.dataset.collection import Collection, collect
from kitbox.embedding import embedder
from kitbox.embedding.view_inputs import scale_network
from kitbox.errors import KitboxError
from kitbox.images import preprocessing
from kitbox.images.preprocessing import Crop
from kitbox.network.network import Network
from kitbox.plugin.plugin import Plugin
from kitbox.records import Checkpoint, Embeddings, Floats, ImageSet
from kitbox.training import transfer
from kitbox.training.context import TrainOptions
from tests.photographs import competition_on_disk, finish, named, tiny

OPTIONS = embedder.EmbedOptions(device="cpu", precision="32", workers=0)


class Place:
    """A frozen network and the images of a small competition."""

    def __init__(self, root: Path) -> None:
        self.workspace, competition = competition_on_disk(root, individuals=4, each=3, tests=4)
        self.collection: Collection = finish(collect(self.workspace, competition))[1]
        self.images: ImageSet = self.collection.labelled
        self.plugin = tiny(epochs=0, image_size=64)

    def checkpoint(self, plugin: Plugin) -> Checkpoint:
        return transfer.frozen_checkpoint(named(plugin), self.workspace, TrainOptions())

    def embed(
        self,
        *views: str,
        images: ImageSet | None = None,
        **settings: object,
    ) -> tuple[list[str], Embeddings]:
        plugin = tiny(**{"epochs": 0, "image_size": 64, **settings}, views=views)
        events, found = finish(
            embedder.embed(
                named(plugin),
                self.checkpoint(plugin),
                self.images if images is None else images,
                self.workspace,
                options=OPTIONS,
            )
        )
        return [event.notice for event in events if event.notice], found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("views"))


def mean(*vectors: Floats) -> Floats:
    total = np.sum(vectors, axis=0)
    unit: Floats = total / np.linalg.norm(total, axis=1, keepdims=True)
    return unit


def of_files(place: Place, images: ImageSet, change) -> Embeddings:  # type: ignore[no-untyped-def]
    """Return the plain embeddings of images that are changed on disk."""
    paths = []
    for path in images.paths:
        other = path.parent / f"changed_{path.name}"
        change(Image.open(path)).save(other)
        paths.append(other)
    digests = np.array([f"changed {path}" for path in paths])
    return place.embed(images=replace(images, paths=tuple(paths), digests=digests))[1]


def test_flip_is_the_mirrored_image(place: Place) -> None:
    flipped = place.embed("flip")[1]
    mirrored = of_files(place, place.images, lambda image: image.transpose(0))
    np.testing.assert_allclose(flipped.vectors, mirrored.vectors, atol=1e-5)
    assert not np.allclose(flipped.vectors, place.embed()[1].vectors, atol=1e-3)


def test_vectors_of_views_are_averaged_at_unit_length(place: Place) -> None:
    plain, flip = (place.embed(view)[1].vectors for view in ("plain", "flip"))
    np.testing.assert_allclose(
        place.embed("plain", "flip")[1].vectors, mean(plain, flip), atol=1e-6
    )
    assert (plain == place.embed()[1].vectors).all()


def test_a_further_view_computes_itself_alone(place: Place) -> None:
    place.embed("plain", "flip")
    told, _ = place.embed("flip", "plain", "scale:1.5")
    assert told == [
        "tiny: 3 views (flip, plain, scale:1.5): 1 × 12 images to embed, 2.2 × the time of a plain "
        "view; flip and plain are in the cache"
    ]
    assert place.embed("scale:1.5", "plain")[0] == []


def test_a_scaled_view_is_the_image_at_another_size(place: Place) -> None:
    scaled = place.embed("scale:1.5")[1]
    larger = place.embed(image_size=96)[1]
    np.testing.assert_allclose(scaled.vectors, larger.vectors, atol=1e-5)
    with pytest.raises(KitboxError, match=r"^the view scale:1\.1 of tiny has 64x64 pixels, as the"):
        place.embed("scale:1.1")


def test_five_crops_are_the_centre_and_the_corners(place: Place) -> None:
    crops = place.embed("five_crops")[1]
    boxes = [(6, 4, 90, 60), (0, 0, 84, 56), (12, 0, 96, 56), (0, 8, 84, 64), (12, 8, 96, 64)]
    parts = []
    for box in boxes:  # of images of 96 x 64
        boxed = np.tile(np.float32(box), (len(place.images), 1))
        images = replace(place.images, boxes=boxed)
        parts.append(place.embed(images=images, crop_margin=0)[1].vectors)
    np.testing.assert_allclose(crops.vectors, mean(*parts), atol=1e-5)


def test_boxes_are_the_whole_image_and_its_box(place: Place) -> None:
    boxes = np.full((len(place.images), 4), np.nan, dtype=np.float32)
    boxes[1:] = (10, 5, 80, 50)
    images = replace(place.images, boxes=boxes)
    whole = place.embed(images=images, crop=False)[1].vectors
    cropped = place.embed(images=images)[1].vectors
    for crop in (True, False):
        both = place.embed("boxes", images=images, crop=crop)[1].vectors
        np.testing.assert_allclose(both, mean(whole, cropped), atol=1e-5)
    np.testing.assert_allclose(both[0], whole[0], atol=1e-5)  # it has no box
    moved = replace(images, boxes=boxes + 2)
    assert place.embed("boxes", images=moved, crop=False)[0] != []


def test_boxes_of_images_without_boxes_are_refused(place: Place) -> None:
    told = "^the view boxes: none of the 12 images has a box; run 'kitbox data boxes import FILE'"
    with pytest.raises(KitboxError, match=told):
        place.embed("boxes")


def test_a_part_of_a_box_stays_inside_it(tmp_path: Path) -> None:
    pixels = np.arange(60 * 90 * 3, dtype=np.uint8).reshape(60, 90, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    box, part = (30.0, 20.0, 70.0, 60.0), (0.25, 0.5, 1.0, 1.0)
    [read] = preprocessing.read_crops(tmp_path / "a.png", [Crop((20, 30), box, part=part)])
    assert (read == pixels[40:60, 40:70]).all()


def test_a_network_of_one_size_alone_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(module: object, given: tuple[np.ndarray, ...]) -> None:
        if given[0].shape[1] != 64:
            raise ValueError("input height (96) does not match model (64)")

    load = embedder.load_network

    def load_fixed(*arguments):  # type: ignore[no-untyped-def]
        network = load(*arguments)
        network.register_forward_pre_hook(refuse)
        return network

    monkeypatch.setattr(embedder, "load_network", load_fixed)
    with pytest.raises(
        KitboxError, match="takes images of 64x64 pixels alone, not of 96x96; leave"
    ):
        place.embed("scale:1.5", seed=3)


@pytest.mark.filterwarnings("error")
def test_a_transformer_looks_at_a_scaled_image() -> None:
    plugin = tiny(backbone="test_vit.r160_in1k", image_size=160, epochs=0)
    network = Network(plugin).eval()
    assert scale_network(network, plugin.height_width, 1.25, "vit") == (192, 192)
