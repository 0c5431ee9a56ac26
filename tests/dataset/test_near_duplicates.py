"""Near-duplicates: every pair and every unit is found, and nothing else."""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from kitbox.competition.settings import HoldoutSettings
from kitbox.dataset import near_duplicates
from kitbox.images import image_stats
from kitbox.images.file_index import Signatures
from kitbox.records import ImageSet, LabelledImages, strings

UNKNOWN_TIME = np.nan


def signatures(hashes: np.ndarray, thumbnails: np.ndarray | None = None) -> Signatures:
    """Return signatures of hashes (n,) uint64; without thumbnails these are all equal."""
    if thumbnails is None:
        thumbnails = np.tile(np.arange(256, dtype=np.uint8), (len(hashes), 1))
    return Signatures(hashes.astype(">u8").view(np.uint8).reshape(-1, 8), thumbnails)


def apart(*bits: int) -> Signatures:
    """Return signatures whose hashes have these numbers of bits set, each bits of its own."""
    hashes, used = [], 0
    for count in bits:
        hashes.append(sum(1 << (used + i) for i in range(count)))
        used += count
    return signatures(np.array(hashes, dtype=np.uint64))


def different(count: int) -> Signatures:
    """Return signatures of images that have nothing in common."""
    generator = np.random.default_rng(0)
    return Signatures(
        generator.integers(0, 256, (count, 8), dtype=np.uint8),
        generator.integers(0, 256, (count, 256), dtype=np.uint8),
    )


def brute(found: Signatures, bits: int) -> list[list[int]]:
    """Return near-duplicates by comparing every two rows."""
    flags = np.unpackbits(found.hashes, axis=1).astype(int)
    pairs = [(i, j) for j in range(len(flags)) for i in range(j)]
    near = [pair for pair in pairs if 0 < bits >= abs(flags[pair[0]] - flags[pair[1]]).sum()]
    return sorted(
        [i, j]
        for i, j in near
        if np.ptp(found.thumbnails[i]) and np.ptp(found.thumbnails[j])
        if np.corrcoef(found.thumbnails[i], found.thumbnails[j])[0, 1] >= 0.97
    )


@st.composite
def crowds(draw: st.DrawFn) -> Signatures:
    """Draw variants of a few images: hashes with bits flipped, thumbnails with noise."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    bases = draw(st.integers(1, 4))
    hashes = generator.integers(0, 2**64, bases, dtype=np.uint64)
    thumbnails = generator.integers(60, 190, (bases, 256))
    rows, pictures = [], []
    for _ in range(draw(st.integers(0, 30))):
        base, flips = draw(st.integers(0, bases - 1)), draw(st.integers(0, 14))
        places = generator.choice(64, flips, replace=False)
        rows.append(int(hashes[base]) ^ sum(1 << int(place) for place in places))
        noise = generator.normal(0, draw(st.sampled_from([0, 4, 9, 12])), 256)
        pictures.append(np.clip(thumbnails[base] + noise, 0, 255))
    if draw(st.booleans()):
        rows, pictures = [*rows, 0, 0], [*pictures, np.zeros(256), np.full(256, 90)]
    drawn = np.array(pictures, dtype=np.uint8).reshape(-1, 256)
    return signatures(np.array(rows, dtype=np.uint64), drawn)


@given(crowds(), st.integers(0, 11))
def test_every_near_duplicate_is_found_and_nothing_else(found: Signatures, bits: int) -> None:
    assert near_duplicates.find_pairs(found, bits).tolist() == brute(found, bits)


def test_many_pairs_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = apart(0, 1, 2, 3, 0, 1)
    monkeypatch.setattr(near_duplicates, "_CHUNK", 4)
    assert near_duplicates.find_pairs(found, 4).tolist() == brute(found, 4)


def scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return an image like a photograph: large soft shapes with detail."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=float)
    detail = generator.normal(0, 8, (size[1], size[0], 1))
    return Image.fromarray(np.clip(40 + 0.7 * soft + detail, 0, 255).astype(np.uint8))


def signatures_of(*paths: Path) -> Signatures:
    summaries = [image_stats.summarise(path) for path in paths]
    return Signatures(
        np.array([list(summary.hash) for summary in summaries], dtype=np.uint8),
        np.array([list(summary.thumbnail) for summary in summaries], dtype=np.uint8),
    )


COPIES: dict[str, Any] = {
    "half the size": lambda image, path: image.resize((160, 120)).save(path, quality=90),
    "twice the size": lambda image, path: image.resize((640, 480)).save(path, quality=90),
    "compressed hard": lambda image, path: image.save(path, quality=20),
    "brighter": lambda image, path: ImageEnhance.Brightness(image).enhance(1.25).save(path),
    "darker": lambda image, path: ImageEnhance.Brightness(image).enhance(0.7).save(path),
    "grey": lambda image, path: image.convert("L").save(path),
    "squashed": lambda image, path: image.resize((320, 200)).save(path),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("seed", range(3))
def test_a_changed_copy_is_a_near_duplicate(tmp_path: Path, copy: Any, seed: int) -> None:
    scene(seed).save(tmp_path / "a.jpg", quality=95)
    copy(scene(seed), tmp_path / "b.jpg")
    found = signatures_of(tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert near_duplicates.find_pairs(found, HoldoutSettings().near_duplicate_bits).tolist() == [
        [0, 1]
    ]


def test_different_images_are_not_near_duplicates(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.png" for seed in range(40)]
    for seed, path in enumerate(paths):
        scene(seed, (64, 48)).save(path)
    assert near_duplicates.find_pairs(signatures_of(*paths), 11).tolist() == []


def test_images_of_one_colour_have_no_near_duplicates(tmp_path: Path) -> None:
    paths = [tmp_path / f"{grey}.png" for grey in (0, 90, 255)]
    for path in paths:
        Image.new("RGB", (40, 40), (int(path.stem),) * 3).save(path)
    assert near_duplicates.find_pairs(signatures_of(*paths), 11).tolist() == []


def images(labels: str, digests: str | None = None, **columns: Any) -> ImageSet:
    """Return images of one-letter labels, with files of one-letter digests."""
    count = len(labels)
    names = [str(i) for i in range(count)]
    bytes_of = list(digests) if digests else [f"digest {i}" for i in range(count)]
    return LabelledImages(
        strings(names),
        tuple(Path(name) for name in names),
        strings(list(labels)),
        digests=strings(bytes_of),
        **columns,
    )


def together(given: ImageSet, found: Signatures | None = None, **shape: Any) -> list[list[int]]:
    """Return the units of two or more images, each as its rows."""
    units = near_duplicates.split_units(
        given, found or different(len(given)), HoldoutSettings(**shape)
    )
    rows = [np.flatnonzero(units == unit).tolist() for unit in np.unique(units)]
    return sorted(unit for unit in rows if len(unit) > 1)


def test_equal_bytes_belong_together_whatever_their_labels() -> None:
    assert together(images("abcab", "xyxzx")) == [[0, 2, 4]]


def test_without_bits_only_equal_bytes_belong_together() -> None:
    given = images("aaa", "xyx")
    assert together(given, apart(0, 0, 0), near_duplicate_bits=0) == [[0, 2]]
    assert together(given, apart(0, 0, 0), near_duplicate_bits=1) == [[0, 1, 2]]


def test_near_duplicates_of_near_duplicates_belong_together() -> None:
    # 0 and 2 differ in 12 bits, each of them from 1 in 6
    found = signatures(np.array([0b111111, 0, 0b111111 << 6], dtype=np.uint64))
    assert together(images("abc"), found, near_duplicate_bits=6) == [[0, 1, 2]]
    assert together(images("abc"), found, near_duplicate_bits=5) == []


def test_a_near_duplicate_of_a_copy_belongs_to_all_copies() -> None:
    found = signatures(np.array([0, 0, 0, 1], dtype=np.uint64))
    assert together(images("abcd", "xxxy"), found) == [[0, 1, 2, 3]]


def test_an_encounter_of_one_individual_belongs_together() -> None:
    given = images("aaabb", encounters=strings(["e", "f", "e", "", ""]))
    assert together(given) == [[0, 2]]


def test_two_individuals_of_one_encounter_are_two_units() -> None:
    given = images("abab", encounters=strings(["e", "e", "e", "e"]))
    assert together(given) == [[0, 2], [1, 3]]


MINUTE = 60.0


def test_images_of_an_individual_within_minutes_belong_together() -> None:
    times = np.array([0, 9, 18, 29, 9, UNKNOWN_TIME, UNKNOWN_TIME]) * MINUTE
    given = images("aaaabaa", times=times)
    assert together(given, encounter_minutes=10) == [[0, 1, 2]]
    assert together(given, encounter_minutes=11) == [[0, 1, 2, 3]]
    assert together(given) == []


def test_without_times_nothing_is_close_in_time() -> None:
    assert together(images("aaa"), encounter_minutes=10) == []


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60)), max_size=12),
    st.integers(1, 20),
)
@settings(max_examples=40)
def test_a_chain_of_images_close_in_time_is_one_unit(
    taken: list[tuple[str, int]], minutes: int
) -> None:
    times = np.array([time for _, time in taken]) * MINUTE
    given = images("".join(label for label, _ in taken), times=times)
    unit = near_duplicates.split_units(
        given, different(len(taken)), HoldoutSettings(encounter_minutes=minutes)
    )
    order = sorted(range(len(taken)), key=lambda row: taken[row])
    for one, following in pairwise(order):
        (label, time), (other, at) = taken[one], taken[following]
        close = label == other and at - time <= minutes
        assert (unit[one] == unit[following]) == close


def test_images_that_stand_alone_are_numbered_in_order_and_load_no_scipy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse.csgraph", None)
    given = images("abca", "wxyz")
    assert near_duplicates.split_units(given, different(4), HoldoutSettings()).tolist() == [
        *range(4)
    ]


def test_an_empty_image_set_has_no_units() -> None:
    assert near_duplicates.split_units(images(""), different(0), HoldoutSettings()).tolist() == []


def mask(*rows: int, of: int) -> np.ndarray:
    return np.isin(np.arange(of), rows)


def test_queries_with_a_copy_among_the_others_are_counted_once_each() -> None:
    given, found = images("aaaaa", "xxxyz"), different(5)
    assert near_duplicates.count_leaks(given, found, mask(0, 1, 3, of=5), 6) == 2
    assert near_duplicates.count_leaks(given, found, mask(0, 1, 2, of=5), 6) == 0
    assert near_duplicates.count_leaks(given, found, mask(2, of=5), 6) == 1


def test_queries_with_a_near_duplicate_among_the_others_are_counted() -> None:
    # 0 and 1 are copies, 2 is near to both, 3 is near to 2 only
    found = signatures(np.array([0, 0, 0b111, 0b111111], dtype=np.uint64))
    given = images("aaaa", "xxyz")
    assert near_duplicates.count_leaks(given, found, mask(0, 1, of=4), 3) == 2
    assert near_duplicates.count_leaks(given, found, mask(3, of=4), 3) == 1
    assert near_duplicates.count_leaks(given, found, mask(0, 3, of=4), 3) == 2
    assert near_duplicates.count_leaks(given, found, mask(0, 1, of=4), 2) == 0


@given(crowds(), st.data())
@settings(max_examples=30)
def test_leaks_agree_with_comparing_every_pair(found: Signatures, data: st.DataObject) -> None:
    count = len(found.hashes)
    queries = np.array(
        data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=bool
    )
    given = images("a" * count)
    pairs = brute(found, 6)
    leaks = {i for pair in pairs for i in pair if queries[i] and not queries[pair].all()}
    assert near_duplicates.count_leaks(given, found, queries, 6) == len(leaks)


def test_images_of_one_set_that_repeat_another_set_are_found() -> None:
    labelled, test = images("aab", "xyx"), images("cc", "xw")
    every = different(5)
    found = near_duplicates.repeated_images(
        labelled, every.take(mask(0, 1, 2, of=5)), test, every.take(mask(3, 4, of=5)), 6
    )
    assert found.tolist() == [True, False]


def test_an_image_set_repeats_all_of_itself() -> None:
    # the same images on both sides, under the same names
    given, found = images("abc"), different(3)
    assert near_duplicates.repeated_images(given, found, given, found, 6).all()
