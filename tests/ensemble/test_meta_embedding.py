from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.ensemble import meta_embedding
from kitbox.ensemble.meta_embedding import concatenate, pca_whiten, whiten_block
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Floats, strings
from tests.circle import at_angles, cosine, placed
from tests.photographs import finish


def rows(images: int, dim: int, seed: int, prefix: str = "i") -> Embeddings:
    """Return random unit rows that share a direction, as those of photographs do."""
    vectors = np.random.default_rng(seed).normal(size=(images, dim))
    vectors[:, 0] += 1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = strings([f"{prefix}{i}" for i in range(images)])
    return Embeddings(ids, vectors.astype(np.float32))


def cosines(embeddings: Embeddings) -> np.ndarray:
    vectors = embeddings.vectors.astype(float)
    return np.asarray(vectors @ vectors.T)


@pytest.mark.parametrize(("weights", "share"), [((1, 1), 0.5), ((1, 3), 0.25), ((0.2, 0.6), 0.25)])
def test_two_networks_on_the_circle_are_averaged_by_hand(
    weights: tuple[float, float], share: float
) -> None:
    # the first sees a and b 60 degrees apart, the second 180
    first, second = placed({"a": 0, "b": 60}), placed({"a": 10, "b": 190})
    joined = concatenate([first, second], weights)
    assert joined.vectors.shape == (2, 4)
    wanted = share * cosine(0, 60) + (1 - share) * cosine(10, 190)
    assert cosines(joined)[0, 1] == pytest.approx(wanted, abs=1e-6)


@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.floats(0.01, 100), st.integers(0, 1000)),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 12),
)
def test_a_cosine_of_meta_embeddings_is_the_weighted_mean_of_cosines(
    members: list[tuple[int, float, int]], images: int
) -> None:
    blocks = [rows(images, dim, seed) for dim, _, seed in members]
    weights = [weight for _, weight, _ in members]
    joined = concatenate(blocks, weights)
    wanted = sum(
        weight / sum(weights) * cosines(block)
        for weight, block in zip(weights, blocks, strict=True)
    )
    np.testing.assert_allclose(cosines(joined), wanted, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(joined.vectors, axis=1), 1, atol=1e-5)
    assert joined.vectors.dtype == np.float32


def test_rows_are_matched_by_image_id() -> None:
    first, second = at_angles(0, 30, 90), placed({"90": 200, "0": 10, "30": 70})
    joined = concatenate([first, second], [1, 1])
    same = concatenate([first, second.of(first.image_ids)], [1, 1])
    assert joined.image_ids.tolist() == ["0", "30", "90"]
    np.testing.assert_array_equal(joined.vectors, same.vectors)


def test_the_meta_embedding_of_one_network_is_its_embedding() -> None:
    np.testing.assert_array_equal(
        concatenate([at_angles(0, 30)], [7]).vectors, at_angles(0, 30).vectors
    )


@pytest.mark.parametrize(
    ("blocks", "weights", "message"),
    [
        (
            [at_angles(0, 30), at_angles(0)],
            [1, 1],
            "embeddings of 2 and of 1 images cannot be joined; "
            "embed the same image set with each plugin",
        ),
        (
            [at_angles(0, 30), at_angles(0, 31)],
            [1, 1],
            "no embedding of image '30'; these embeddings belong to another image set",
        ),
        ([at_angles(0)], [1, 1], "1 plugins but 2 weights"),
    ],
)
def test_embeddings_of_other_images_are_not_joined(
    blocks: list[Embeddings], weights: list[float], message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        concatenate(blocks, weights)
    assert str(caught.value) == message


def slowly_whitened(embeddings: Embeddings, gallery: Embeddings, dim: int) -> np.ndarray:
    """The oracle: principal directions of the gallery's covariance, each over its deviation."""
    mean, covariance = gallery.vectors.mean(axis=0, dtype=float), np.cov(gallery.vectors.T)
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = variances[::-1][:dim], directions[:, ::-1][:, :dim]
    return np.asarray((embeddings.vectors - mean) @ directions / np.sqrt(variances))


@pytest.mark.parametrize("dim", [2, 5, 8])
def test_whitening_gives_each_direction_variance_one_over_the_gallery(dim: int) -> None:
    everything = rows(60, 8, seed=1)
    gallery = everything.of(everything.image_ids[:40])
    white = slowly_whitened(everything, gallery, dim)
    np.testing.assert_allclose(np.cov(white[:40].T), np.eye(dim), atol=1e-5)
    np.testing.assert_allclose(white[:40].mean(axis=0), 0, atol=1e-5)
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    found = pca_whiten(everything, gallery.image_ids, dim)
    # cosines, because a direction may have either sign
    np.testing.assert_allclose(cosines(found), white @ white.T, atol=1e-4)
    np.testing.assert_array_equal(found.image_ids, everything.image_ids)
    assert found.vectors.shape == (60, dim)


def test_whitening_is_fitted_on_the_gallery_only() -> None:
    gallery, queries, others = rows(40, 8, 1), rows(5, 8, 2, "q"), rows(9, 8, 3, "q")

    def whitened(wanted: Embeddings) -> Floats:
        ids = np.concatenate([wanted.image_ids, gallery.image_ids])
        both = Embeddings(ids, np.concatenate([wanted.vectors, gallery.vectors]))
        return pca_whiten(both, gallery.image_ids, 4).of(gallery.image_ids).vectors

    np.testing.assert_allclose(whitened(queries), whitened(others), atol=1e-6)


def test_whitening_does_not_depend_on_the_order_of_the_gallery() -> None:
    embeddings = rows(40, 8, 1)
    once = pca_whiten(embeddings, embeddings.image_ids, 4)
    again = pca_whiten(embeddings, embeddings.image_ids[::-1], 4)
    np.testing.assert_allclose(cosines(once), cosines(again), atol=1e-4)


@pytest.mark.parametrize(
    ("images", "dim", "wanted", "most"),
    [
        (40, 8, 9, 8),
        (40, 8, 1, 8),
        (40, 8, 0, 8),
        # centred on their mean, n images span n - 1 directions; the last would be noise
        (6, 8, 6, 5),
        (6, 8, 7, 5),
    ],
)
def test_dimensions_that_the_gallery_does_not_have_are_refused(
    images: int, dim: int, wanted: int, most: int
) -> None:
    embeddings = rows(images, dim, seed=0)
    with pytest.raises(KitboxError) as caught:
        pca_whiten(embeddings, embeddings.image_ids, wanted)
    assert str(caught.value) == (
        f"--whiten {wanted}: a gallery of {images} images in {dim} dimensions "
        f"can be whitened to 2 to {most} dimensions"
    )


def test_equal_embeddings_have_no_direction_to_whiten() -> None:
    same = placed({"a": 30, "b": 30, "c": 30, "d": 30})
    with pytest.raises(KitboxError) as caught:
        pca_whiten(same, same.image_ids, 2)
    assert str(caught.value) == (
        "--whiten 2: all 4 images of the gallery have the same embedding; leave the option out"
    )


def test_whitening_of_another_image_set_is_refused() -> None:
    with pytest.raises(KitboxError, match=r"^no embedding of image 'z'; "):
        pca_whiten(rows(10, 4, 0), strings(["z"]), 2)


@pytest.mark.parametrize(
    ("images", "dim", "used", "told"),
    [
        (40, 8, 8, None),
        (40, 100, 16, "a: whitened to 16 dimensions, not to 100: it has 16"),
        (
            12,
            100,
            6,
            "a: whitened to 6 dimensions, not to 100: half of the 12 images of the gallery",
        ),
        (12, 11, 11, None),
    ],
)
def test_whitening_goes_as_far_as_it_can_and_says_so(
    images: int, dim: int, used: int, told: str | None
) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(images, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    block = Embeddings(strings([f"i{row}" for row in range(images)]), vectors)
    events, whitened = finish(whiten_block(block, block.image_ids, dim, "a"))
    assert whitened.dim == used
    assert [event.notice for event in events] == ([] if told is None else [told])


def test_a_gallery_too_small_to_whiten_is_refused() -> None:
    block = Embeddings(strings(["a", "b"]), np.eye(2, 4, dtype=np.float32))
    with pytest.raises(KitboxError, match="is too small to whiten; leave the option out"):
        finish(whiten_block(block, block.image_ids, 256, "a"))


def test_a_large_meta_embedding_is_on_disk_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, weights = [rows(50, 4, 0), rows(50, 8, 1)], [1.0, 2.0]
    inside = concatenate(blocks, weights, tmp_path)
    monkeypatch.setattr(meta_embedding, "_IN_MEMORY", 1000)
    mapped = concatenate(blocks, weights, tmp_path)
    assert isinstance(mapped.vectors, np.memmap)
    np.testing.assert_array_equal(mapped.vectors, inside.vectors)
    assert not list(tmp_path.iterdir())
    in_memory = concatenate(blocks, weights, tmp_path / "nowhere")  # no file can be made there
    np.testing.assert_array_equal(in_memory.vectors, inside.vectors)
