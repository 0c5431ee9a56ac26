import numpy as np
import pytest

from kitbox.errors import KitboxError
from kitbox.identification import individual_evidence
from kitbox.identification.individual_evidence import Gallery, evidence_blocks
from tests.identification.drawn_catalogue import draw


def points(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_an_individual_is_as_similar_as_its_most_similar_photograph():
    gallery = Gallery.of(points(0, 60, 90), np.array(["b", "a", "b"]), np.array([0, 1, 2]))
    [block] = evidence_blocks(points(30), gallery)
    assert gallery.individuals.tolist() == ["a", "b"]
    np.testing.assert_allclose(block.similarity, [np.cos(np.radians([30, 30]))], atol=1e-6)
    assert block.photographs.tolist() == [[1, 2]]
    # the rows of the catalogue of the photographs of b, the more similar one first
    places = block.best_photographs(gallery, 0, 1, 5)
    assert gallery.rows[places].tolist() == [0, 2]


def test_a_photograph_of_the_catalogue_never_meets_those_of_its_own_encounter():
    vectors = points(0, 1, 50, 80)
    individuals, encounters = np.array(["a", "a", "a", "b"]), np.array([7, 7, 8, 9])
    gallery = Gallery.of(vectors, individuals, encounters)
    [block] = evidence_blocks(vectors, gallery, encounters)
    np.testing.assert_allclose(block.similarity[0], np.cos(np.radians([50, 80])), atol=1e-6)
    # those that are not compared count too, else the count would give the individual away
    assert block.photographs.tolist() == [[3, 1]] * 4
    assert block.similarity[3, 1] == -np.inf
    assert gallery.rows[block.best_photographs(gallery, 0, 0, 3)].tolist() == [2]


def test_blocks_of_any_size_are_as_one_loop_over_pairs(monkeypatch):
    catalogue = draw(8)
    gallery = catalogue.gallery
    expected = np.full((len(catalogue.vectors), len(gallery.individuals)), -np.inf)
    for query, vector in enumerate(catalogue.vectors):
        for other, name in enumerate(catalogue.individuals):
            if catalogue.encounters[other] == catalogue.encounters[query]:
                continue
            column = gallery.individuals.tolist().index(name)
            cosine = float(vector @ catalogue.vectors[other])
            expected[query, column] = max(expected[query, column], cosine)
    monkeypatch.setattr(individual_evidence, "_BLOCK_SIZE", 3 * len(gallery.rows))
    blocks = list(evidence_blocks(catalogue.vectors, gallery, catalogue.encounters))
    assert len(blocks) > 1
    found = np.concatenate([block.similarity for block in blocks])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_photographs_without_individual_are_no_gallery():
    gallery = Gallery.of(points(0, 10), np.array(["", "a"]), np.array([0, 1]))
    assert gallery.rows.tolist() == [1]
    with pytest.raises(KitboxError, match="no photograph of the catalogue has an individual"):
        Gallery.of(points(0), np.array([""]), np.array([0]))


def test_a_left_side_never_meets_a_right_one():
    vectors = points(0, 10, 20, 30)
    sides = np.array(["left", "right", "", "dorsal"])
    gallery = Gallery.of(vectors, np.array(["a", "a", "b", "b"]), np.arange(4), sides)
    [block] = evidence_blocks(points(0, 0, 0), gallery, sides=np.array(["left", "right", ""]))
    cosines = np.cos(np.radians([0, 10, 20]))
    np.testing.assert_allclose(block.similarity[:, 0], [cosines[0], cosines[1], cosines[0]])
    np.testing.assert_allclose(block.similarity[:, 1], cosines[[2, 2, 2]], atol=1e-6)
    assert block.photographs.tolist() == [[2, 2]] * 3
    assert gallery.rows[block.best_photographs(gallery, 1, 0, 5)].tolist() == [1]
    # photographs of the catalogue, each an encounter of its own: all count, none meets its own
    [block] = evidence_blocks(vectors, gallery, np.arange(4), sides)
    assert block.photographs.tolist() == [[2, 2]] * 4
    assert np.isneginf(block.similarity).tolist() == [[True, False]] * 2 + [[False, False]] * 2
