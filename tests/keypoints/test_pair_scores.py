"""Counts of pairs: symmetric, cached, resumed, and the same for any number of workers."""

import sqlite3
import warnings
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from kitbox.errors import KitboxError
from kitbox.images.preprocessing import EXIF_ORIENTATION
from kitbox.keypoints import classical_matchers, match_cache
from kitbox.keypoints.classical_matchers import RootSift
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.keypoints.matcher import MatchCounts
from kitbox.keypoints.pair_scores import MatchOptions, PairMatches, measure
from kitbox.records import ImageSet, strings
from kitbox.workspace import Workspace
from tests.keypoints.flukes import draw_flukes, images_of
from tests.photographs import finish

SIFT = MatchSettings.parse("sift:size=256")
FOUR = MatchSettings.parse("sift:size=256,budget=4")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> ImageSet:
    return images_of(draw_flukes(tmp_path_factory.mktemp("flukes"), individuals=3, views=2))


@pytest.fixture
def work(monkeypatch) -> dict[str, int]:
    """Count what is computed."""
    done = {"extract": 0, "match": 0}
    for name in done:
        real = getattr(RootSift, name)

        def counting(self, *given, name=name, real=real):
            done[name] += 1
            return real(self, *given)

        monkeypatch.setattr(RootSift, name, counting)
    return done


def all_pairs(images: ImageSet):
    first, second = np.triu_indices(len(images), 1)
    return images.image_ids[first], images.image_ids[second]


def run(images, workspace, pairs=None, settings=SIFT, unreadable=frozenset(), **options):
    first, second = all_pairs(images) if pairs is None else pairs
    stage = measure(
        settings,
        images,
        first,
        second,
        workspace,
        MatchOptions(**options),
        unreadable=unreadable,
    )
    return finish(stage)


def counts_of(found: PairMatches) -> list[list[float]]:
    columns = (found.matches, found.inliers, found.confident, found.ratio)
    return np.stack(columns, axis=1).tolist()


def row_count(store, table: str) -> int:
    return store._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608


def notices(yielded) -> list[str]:
    return [event.notice for event in yielded if event.notice]


def test_one_and_two_workers_give_the_same_counts(images, tmp_path):
    _, one = run(images, Workspace(tmp_path / "one"), workers=1)
    _, two = run(images, Workspace(tmp_path / "two"), workers=2)
    assert counts_of(one) == counts_of(two)
    assert one.measured.all()
    same = np.char.partition(one.first, "_")[:, 0] == np.char.partition(one.second, "_")[:, 0]
    assert one.score[same].max() > 1.5 * one.score[~same].max()
    assert one.score[same].max() > 10


def test_a_pair_has_the_same_counts_in_both_orders_and_is_measured_once(images, tmp_path, work):
    first, second = all_pairs(images)
    both = np.concatenate([first, second]), np.concatenate([second, first])
    _, found = run(images, Workspace(tmp_path), both)
    assert work == {"extract": 6, "match": 15}
    assert counts_of(found)[:15] == counts_of(found)[15:]
    assert (found.computed, found.cached) == (15, 0)


def test_the_order_of_the_images_does_not_matter(images, tmp_path):
    pairs = all_pairs(images)
    _, one = run(images, Workspace(tmp_path / "one"), pairs)
    turned = images.take(np.arange(len(images))[::-1])
    _, two = run(turned, Workspace(tmp_path / "two"), pairs[::-1])
    assert counts_of(one) == counts_of(two)


def test_a_cached_run_computes_nothing_and_tells_nothing(images, tmp_path, work):
    yielded, one = run(images, Workspace(tmp_path))
    assert len(notices(yielded)) == 1
    assert "sift: 15 pairs, 0 cached; 15 to match, keypoints of 6 images to find, about" in str(
        yielded[next(i for i, event in enumerate(yielded) if event.notice)]
    )
    before = dict(work)
    yielded, two = run(images, Workspace(tmp_path))
    assert work == before
    assert counts_of(one) == counts_of(two)
    assert (two.computed, two.cached) == (0, 15)
    assert yielded == []


def test_another_name_of_the_same_bytes_is_the_same_image(images, tmp_path, work):
    run(images, Workspace(tmp_path))
    before = dict(work)
    renamed = ImageSet(np.char.add("x", images.image_ids), images.paths, digests=images.digests)
    _, found = run(renamed, Workspace(tmp_path))
    assert work == before
    assert found.cached == 15


def test_a_longer_shortlist_matches_the_new_pairs_alone(images, tmp_path, work):
    first, second = all_pairs(images)
    run(images, Workspace(tmp_path), (first[:6], second[:6]))
    assert work["match"] == 6
    _, found = run(images, Workspace(tmp_path), settings=MatchSettings.parse(f"{SIFT},shortlist=9"))
    assert work == {"extract": 6, "match": 15}
    assert (found.computed, found.cached) == (9, 6)


@pytest.mark.parametrize(
    ("changed", "extracted", "matched"),
    [("box", 1, 5), ("bytes", 1, 5), ("points", 6, 15), ("ratio", 0, 15), ("OpenCV", 6, 15)],
)
def test_what_a_pair_depends_on_computes_it_anew(
    images, tmp_path, work, monkeypatch, changed, extracted, matched
):
    boxes = [(100.0, 40.0, 400.0, 250.0)] * 6
    workspace = Workspace(tmp_path)
    run(images_of(list(images.paths), boxes), workspace)
    before = dict(work)
    paths, settings = list(images.paths), str(SIFT)
    match changed:
        case "box":
            boxes[2] = (100.0, 40.0, 401.0, 250.0)
        case "bytes":
            paths[2] = draw_flukes(tmp_path / "new", individuals=4, views=1)[3]
        case "points":
            settings += ",points=400"
        case "ratio":
            settings += ",ratio=0.8"
        case "OpenCV":
            monkeypatch.setattr(classical_matchers.cv2, "__version__", "9.9.9")
    again = images_of(paths, boxes)
    pairs = all_pairs(images)
    # the id stays, whatever the file is called
    again = ImageSet(images.image_ids, again.paths, boxes=again.boxes, digests=again.digests)
    run(again, workspace, pairs, MatchSettings.parse(settings))
    assert work["extract"] - before["extract"] == extracted
    assert work["match"] - before["match"] == matched


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("stage", "after"), [("find keypoints sift", 4), ("match sift", 9)])
def test_an_interrupted_run_goes_on_where_it_was(images, tmp_path, stage, after, workers):
    workspace = Workspace(tmp_path)
    running = measure(SIFT, images, *all_pairs(images), workspace, MatchOptions(workers=workers))
    events = (event for event in running if event.stage == stage and not event.notice)
    for _ in range(after):
        next(events)
    running.close()
    with match_cache.open_features(workspace) as features, match_cache.open_pairs(workspace) as one:
        kept = [row_count(features, "features"), row_count(one, "pairs")]
    assert kept == ([4, 0] if stage.startswith("find") else [6, 9])
    _, found = run(images, workspace, workers=workers)
    assert (found.cached, found.computed) == (kept[1], 15 - kept[1])
    _, whole = run(images, Workspace(tmp_path / "other"), workers=1)
    assert counts_of(found) == counts_of(whole)


def test_a_changed_byte_of_the_cache_changes_no_count(images, tmp_path):
    workspace = Workspace(tmp_path)
    _, whole = run(images, workspace, workers=1)
    kept = {path: path.read_bytes() for path in (workspace.local_features, workspace.local_matches)}
    outcomes = set()
    for number in range(30):
        changed = workspace.local_features if number % 2 else workspace.local_matches
        for path, data in kept.items():
            path.write_bytes(data)
        if number % 2:  # features are read where counts are not there
            workspace.local_matches.unlink()
        data, drawn = bytearray(kept[changed]), np.random.default_rng(number)
        used = np.flatnonzero(np.frombuffer(kept[changed], dtype=np.uint8))
        data[int(drawn.choice(used))] ^= 1 << int(drawn.integers(8))
        changed.write_bytes(data)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                _, found = run(images, workspace, workers=1)
            except KitboxError as error:
                assert str(error).startswith(f"{changed} is damaged (")  # noqa: PT017
                assert str(error).endswith("; remove it; it is made again")  # noqa: PT017
                outcomes.add("refused")
                continue
        outcomes |= {"matched again" for each in told if "matched again" in str(each.message)}
        assert counts_of(found) == counts_of(whole)
    assert outcomes == {"refused", "matched again"}


def test_a_cache_of_an_earlier_release_is_read(images, tmp_path, work):
    workspace = Workspace(tmp_path)
    _, whole = run(images, workspace)
    for path, table in (
        (workspace.local_features, "features"),
        (workspace.local_matches, "pairs"),
    ):
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
    before = dict(work)
    _, found = run(images, workspace)
    assert counts_of(found) == counts_of(whole)
    assert work == before
    with match_cache.open_pairs(workspace) as store:
        store.save(b"1" * 16, MatchCounts(1, 2, 3, 4))
        store.commit()
        assert store.load([b"1" * 16]) == {b"1" * 16: MatchCounts(1, 2, 3, 4)}


def test_results_are_written_every_few_seconds(images, tmp_path, monkeypatch):
    """Another process sees them, and is never locked out for long."""
    monkeypatch.setattr(match_cache, "COMMIT_SECONDS", 0.0)
    running = measure(SIFT, images, *all_pairs(images), Workspace(tmp_path))
    for event in running:
        if event.stage == "match sift" and event.done == 7 and not event.notice:
            break
    with match_cache.open_pairs(Workspace(tmp_path)) as other:
        assert row_count(other, "pairs") >= 7
        other.save(b"1" * 16, MatchCounts(1, 1, 1, 1))
        other.commit()
    running.close()


def test_an_error_on_the_way_loses_nothing(images, tmp_path, work, monkeypatch):
    real = classical_matchers.count_inliers
    calls = []

    def failing(*given):
        calls.append(1)
        if len(calls) > 2:
            raise MemoryError
        return real(*given)

    monkeypatch.setattr(classical_matchers, "count_inliers", failing)
    with pytest.raises(MemoryError):
        run(images, Workspace(tmp_path), workers=1)
    before = work["match"]
    assert 2 < before <= 15
    monkeypatch.setattr(classical_matchers, "count_inliers", real)
    run(images, Workspace(tmp_path), workers=1)
    assert work["match"] - before <= 15 - (before - 1)
    assert work["extract"] == 6


def test_the_budget_takes_the_pairs_that_were_asked_for_first(images, tmp_path):
    yielded, found = run(images, Workspace(tmp_path), settings=FOUR)
    assert found.measured.tolist() == [True] * 4 + [False] * 11
    assert np.isnan(found.score[4:]).all()
    assert (found.computed, found.cached, found.over_budget) == (4, 0, 11)
    assert (
        "sift: the budget of 4 pairs leaves out 11 of 15; they keep their global similarity"
        in notices(yielded)
    )
    _, again = run(images, Workspace(tmp_path), settings=FOUR)  # cached pairs count too
    assert again.measured.tolist() == found.measured.tolist()
    assert again.computed == 0


def test_images_without_keypoints_are_counted_and_named(images, tmp_path):
    Image.new("RGB", (300, 200)).save(tmp_path / "blank.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    (tmp_path / "page.jpg").write_bytes(b"<html>no</html>")
    others = [tmp_path / name for name in ("blank.png", "dot.png", "page.jpg")]
    every = images_of([*images.paths[:2], *others])
    workspace = Workspace(tmp_path)
    yielded, found = run(every, workspace)
    assert found.measured.sum() == 1
    assert found.without_keypoints == {
        "blank.png": "no keypoints were found in it",
        "dot.png": "no keypoints were found in it",
        "page.jpg": f"image {tmp_path / 'page.jpg'} is not an image but a web page; replace or "
        "remove it",
    }
    sentence = (
        "sift: 3 images have no keypoints, such as 'blank.png' (no keypoints were found in it); "
        "their pairs keep their global similarity"
    )
    assert notices(yielded)[-1] == sentence
    yielded, again = run(every, workspace)
    assert again.without_keypoints == found.without_keypoints
    assert notices(yielded)[-1] == sentence


def test_an_image_that_is_answered_as_grey_has_no_keypoints(images, tmp_path, work):
    _, found = run(images, Workspace(tmp_path), unreadable=frozenset({"0_0.png"}))
    assert found.without_keypoints == {"0_0.png": "it cannot be read"}
    assert (~found.measured == ((found.first == "0_0.png") | (found.second == "0_0.png"))).all()
    assert work["extract"] == 5


def test_a_turned_photograph_has_the_keypoints_of_the_upright_one(images, tmp_path):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    with Image.open(images.paths[0]) as upright:
        sideways = upright.transpose(Image.Transpose.ROTATE_90)
        sideways.save(tmp_path / "sideways.png", exif=exif)
    both = images_of([images.paths[0], tmp_path / "sideways.png", images.paths[1]])
    _, found = run(both, Workspace(tmp_path), workers=1)
    by_pair = dict(zip(zip(found.first, found.second, strict=True), found.inliers, strict=True))
    assert by_pair["0_0.png", "0_1.png"] == by_pair["sideways.png", "0_1.png"] > 8
    assert by_pair["0_0.png", "sideways.png"] > 100


def test_both_orders_of_an_asymmetric_matcher_are_measured_and_averaged(
    images, tmp_path, monkeypatch
):
    monkeypatch.setattr(RootSift, "symmetric", False)
    told = []

    def match(self, a, b):
        told.append((a.points.tolist(), b.points.tolist()))
        return MatchCounts(matches=len(told), inliers=2 * len(told), confident=0, ratio=0)

    monkeypatch.setattr(RootSift, "match", match)
    _, found = run(images, Workspace(tmp_path), (images.image_ids[:1], images.image_ids[1:2]))
    assert len(told) == 2
    assert told[0] == told[1][::-1]
    assert counts_of(found) == [[1.5, 3, 0, 0]]


def test_no_pairs_are_no_work(images, tmp_path):
    yielded, found = run(images, Workspace(tmp_path), (strings([]), strings([])))
    assert (len(found), found.computed, yielded) == (0, 0, [])


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (["0_0.png", "1_0.png"], ["0_1.png", "1_0.png"],
         "a pair names the image '1_0.png' twice; match an image with others only"),
        (["0_0.png"], ["x.png"], "there is no image 'x.png'"),
        (["0_0.png"], [], "1 first images of pairs but 0 second ones"),
    ],
)  # fmt: skip
def test_pairs_that_cannot_be_matched_are_one_sentence(images, tmp_path, first, second, sentence):
    with pytest.raises(KitboxError) as error:
        run(images, Workspace(tmp_path), (strings(first), strings(second)))
    assert str(error.value) == sentence
    assert not Workspace(tmp_path).local_matches.exists()


def test_fewer_workers_than_none_are_refused():
    with pytest.raises(KitboxError, match="workers = -1: give 0 or more"):
        MatchOptions(workers=-1)


def test_no_workers_are_one(images, tmp_path):
    _, none = run(images, Workspace(tmp_path / "none"), workers=0)
    _, one = run(images, Workspace(tmp_path / "one"), workers=1)
    np.testing.assert_array_equal(none.inliers, one.inliers)
    assert none.computed == one.computed > 0
