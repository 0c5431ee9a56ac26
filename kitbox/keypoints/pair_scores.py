"""Counts of local matches for pairs of images, through the cache."""

import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import numpy as np
from numpy.typing import NDArray

from kitbox.devices import joblib_backend
from kitbox.errors import KitboxError, counted, format_duration, more
from kitbox.images.preprocessing import box_of
from kitbox.keypoints import match_cache
from kitbox.keypoints.feature_source import FeatureSource, run_in_threads
from kitbox.keypoints.local_features import LocalFeatures
from kitbox.keypoints.match_cache import PairStore
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.keypoints.matcher import MatchCounts, Matcher, matcher_of
from kitbox.records import Floats, ImageSet, Integers, Progress, Strings, rows_of
from kitbox.workspace import Workspace

# Pairs whose features are held at a time.
_BLOCK = 512
# Pairs that are timed before the rest.
_PROBED = 6

Counts = dict[bytes, MatchCounts]


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """How pairs are measured: in `workers` threads, None for one a core; networks on `device`.

    0 workers are one, as it is for reading images.
    """

    workers: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise KitboxError(f"workers = {self.workers}: give 0 or more")


@dataclass(frozen=True, kw_only=True)
class PairMatches:
    """The counts of pairs (p,) of images; see `MatchCounts`.

    They are NaN where a pair was not measured: where one of its images has no keypoints or cannot
    be read (`without_keypoints`, image id → why), or where the budget had ended. Of the `distinct`
    pairs, whatever their order, `computed` were measured now, `cached` before; `over_budget` were
    left out.
    """

    settings: MatchSettings
    first: Strings
    second: Strings
    matches: Floats
    inliers: Floats
    confident: Floats
    ratio: Floats
    ranked_by: str = "inliers"
    without_keypoints: dict[str, str] = field(default_factory=dict)
    distinct: int = 0
    computed: int = 0
    cached: int = 0
    over_budget: int = 0

    def __len__(self) -> int:
        return len(self.first)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which pairs (p,) have counts."""
        return ~np.isnan(self.inliers)

    @property
    def score(self) -> Floats:
        """The count (p,) by which the matcher ranks pairs, NaN where there is none."""
        found: Floats = getattr(self, self.ranked_by)
        return found


def measure(
    settings: MatchSettings,
    images: ImageSet,
    first: Strings,
    second: Strings,
    workspace: Workspace,
    options: MatchOptions = MatchOptions(),
    *,
    unreadable: frozenset[str] = frozenset(),
) -> Generator[Progress, None, PairMatches]:
    """Return how many keypoints the pairs of images `first (p,)` and `second (p,)` share.

    A pair has the same counts in both orders, and they do not depend on the number of workers.
    What is cached is not computed, and what was computed before an interruption is cached. The
    settings' budget takes the pairs that are asked for first, whether they are cached or not.
    `unreadable` images have no keypoints. Yields Progress, with notices on the work ahead and on
    what is left out. Raises KitboxError for an image that is not in `images`, and for a pair that
    names an image twice.
    """
    matcher, stage = matcher_of(settings, options.device), f"match {settings.kind}"
    pairs, of_pair = _distinct(images, first, second)
    distinct = len(pairs)
    budget = settings.budget
    if budget is not None and budget < len(pairs):
        notice = (
            f"{settings.kind}: the budget of {budget:,} pair{'s' if budget > 1 else ''} leaves out "
            f"{len(pairs) - budget:,} of {len(pairs):,}; they keep their global similarity"
        )
        yield Progress(stage, 0, budget, "pairs", notice=notice)
        pairs = pairs[:budget]
        of_pair = np.where(of_pair < len(pairs), of_pair, -1)
    pairs, keys = _keyed(images, pairs, matcher)
    without: dict[int, str] = {}
    with match_cache.open_pairs(workspace) as store:
        counts = store.load(keys)
        missing = [place for place, key in enumerate(keys) if key not in counts]
        cached = len(keys) - len(missing)
        if missing:
            with ExitStack() as stack:
                features = stack.enter_context(match_cache.open_features(workspace))
                stack.enter_context(_one_thread_each(matcher))
                work = _Work(
                    matcher=matcher,
                    source=FeatureSource(matcher, images, features, unreadable),
                    store=store,
                    pairs=pairs,
                    keys=keys,
                    counts=counts,
                    workers=_worker_count(matcher, options.workers),
                )
                yield from work.run(missing, cached)
            without = work.source.without
    of_key = [counts.get(key) for key in keys]
    rows = [None if place < 0 else of_key[place] for place in of_pair.tolist()]
    columns = np.array(
        [
            [np.nan] * 4 if one is None else [one.matches, one.inliers, one.confident, one.ratio]
            for one in rows
        ],
        dtype=np.float32,
    ).reshape(-1, 4)
    ids = {str(images.image_ids[row]): without[row] for row in sorted(without)}
    if ids:
        notice = _without_notice(settings, ids)
        yield Progress(stage, len(keys), len(keys), "pairs", notice=notice)
    return PairMatches(
        settings=settings,
        first=first,
        second=second,
        matches=columns[:, 0],
        inliers=columns[:, 1],
        confident=columns[:, 2],
        ratio=columns[:, 3],
        ranked_by=matcher.ranked_by,
        without_keypoints=ids,
        distinct=distinct,
        computed=sum(key in counts for key in keys) - cached,
        cached=cached,
        over_budget=distinct - len(pairs),
    )


def _distinct(images: ImageSet, first: Strings, second: Strings) -> tuple[Integers, Integers]:
    """Return the rows (u, 2) of distinct pairs, the first asked for first, and that of each (p,).

    Raises KitboxError for an id that no image has, and for a pair of one image.
    """
    if len(first) != len(second):
        raise KitboxError(f"{len(first)} first images of pairs but {len(second)} second ones")
    rows = np.stack([rows_of(first, images.image_ids), rows_of(second, images.image_ids)], axis=1)
    missing = np.concatenate([first[rows[:, 0] < 0], second[rows[:, 1] < 0]])
    if len(missing):
        raise KitboxError(f"there is no image '{missing[0]}'{more(len(missing) - 1)}")
    same = first[rows[:, 0] == rows[:, 1]]
    if len(same):
        raise KitboxError(
            f"a pair names the image '{same[0]}' twice{more(len(same) - 1)}",
            fix="match an image with others only",
        )
    low, high = rows.min(axis=1, initial=len(images)), rows.max(axis=1, initial=-1)
    found, begin, inverse = np.unique(
        low * len(images) + high, return_index=True, return_inverse=True
    )
    order = np.argsort(begin)
    place = np.empty(len(found), dtype=np.int64)
    place[order] = np.arange(len(found))
    pairs = np.stack(np.divmod(found[order], max(len(images), 1)), axis=1)
    return pairs, place[inverse]


def _keyed(images: ImageSet, pairs: Integers, matcher: Matcher) -> tuple[Integers, list[bytes]]:
    """Return pairs (u, 2) in the order in which they are matched, and the keys of their counts.

    The image whose bytes and box have the lower digest comes first, whatever it is called.
    """
    rows = np.unique(pairs)
    key_of = {
        row: match_cache.image_key(str(images.file_digests[row]), box_of(images, row))
        for row in rows.tolist()
    }
    ordered = [(a, b) if (key_of[a], a) <= (key_of[b], b) else (b, a) for a, b in pairs.tolist()]
    keys = match_cache.pair_keys(matcher.causes, [(key_of[a], key_of[b]) for a, b in ordered])
    return np.array(ordered, dtype=np.int64).reshape(-1, 2), keys


@dataclass(kw_only=True)
class _Work:
    """The pairs (u, 2) to measure, by rows of the images, and the `counts` found so far."""

    matcher: Matcher
    source: FeatureSource
    store: PairStore
    pairs: Integers
    keys: list[bytes]
    counts: Counts
    workers: int

    def run(self, missing: Sequence[int], cached: int) -> Generator[Progress, None, None]:
        """Measure the pairs at these places, and write them to the cache; yields Progress."""
        name = self.matcher.settings.kind
        absent = self.source.missing(np.unique(self.pairs[missing]).tolist())
        probed, seconds = yield from self._probe(missing, absent)
        left = [place for place in missing if self.keys[place] not in self.counts]
        images = [row for row in absent if row not in probed]
        expected = ""
        if left and seconds is not None:
            each, pair = seconds
            cores = max(self.workers, 1)
            total = (each * len(images) + pair * len(left)) / cores
            expected = f", about {format_duration(total)} on {counted(cores, 'core')}"
        notice = (
            f"{name}: {len(self.keys):,} pairs, {cached:,} cached; {len(missing):,} to match, "
            f"keypoints of {counted(len(absent), 'image')} to find{expected}"
        )
        yield Progress(f"match {name}", 0, len(missing), "pairs", notice=notice)
        yield from self.source.find(images, self.workers, f"find keypoints {name}")
        yield from self._match(left, self.workers, f"match {name}")

    def _probe(
        self, missing: Sequence[int], absent: Sequence[int]
    ) -> Generator[Progress, None, tuple[set[int], tuple[float, float] | None]]:
        """Measure some pairs, of which one is not timed; return their images and the seconds.

        These are of an image and of a pair; None where nothing could be timed.
        """
        chosen = np.linspace(0, len(missing) - 1, _PROBED + 1).astype(int)
        places = [missing[each] for each in np.unique(chosen)]
        rows = [row for row in absent if row in self.pairs[places]]
        of_images, of_pairs = [], []
        for row in rows:
            begin = time.perf_counter()
            yield from self.source.find([row], 0, f"find keypoints {self.matcher.settings.kind}")
            of_images.append(time.perf_counter() - begin)
        for place in places:
            begin = time.perf_counter()
            yield from self._match([place], 0, f"match {self.matcher.settings.kind}")
            if self.keys[place] in self.counts:
                of_pairs.append(time.perf_counter() - begin)
        if len(of_pairs) < 2:
            return set(rows), None
        each = median(of_images[1:]) if len(of_images) > 1 else 0.0
        return set(rows), (each, median(of_pairs[1:]))

    def _match(
        self, places: Sequence[int], workers: int, stage: str
    ) -> Generator[Progress, None, None]:
        """Measure the pairs at these places, unless an image has no keypoints."""
        without = self.source.without
        able = [place for place in places if not without.keys() & {*self.pairs[place].tolist()}]
        # neighbours in this order share images, whose features are read once
        able.sort(key=lambda place: (*self.pairs[place].tolist(), place))
        count = partial(_count, self.matcher)
        done, committed = 0, time.monotonic()
        try:
            for start in range(0, len(able), _BLOCK):
                block = able[start : start + _BLOCK]
                given = [
                    (self.source.load(int(a)), self.source.load(int(b)))
                    for a, b in self.pairs[block]
                ]
                with closing(run_in_threads(count, given, workers)) as found:
                    for place, counts in zip(block, found, strict=True):
                        self.counts[self.keys[place]] = counts
                        self.store.save(self.keys[place], counts)
                        done += 1
                        if time.monotonic() - committed > match_cache.COMMIT_SECONDS:
                            self.store.commit()
                            committed = time.monotonic()
                        yield Progress(stage, done, len(able), "pairs")
        finally:  # nothing is lost where the run is interrupted
            self.store.commit()


def _count(matcher: Matcher, pair: tuple[LocalFeatures, LocalFeatures]) -> MatchCounts:
    """Return the counts of a pair: where the order of its images matters, the mean of both."""
    a, b = pair
    one = matcher.match(a, b)
    if matcher.symmetric:
        return one
    other = matcher.match(b, a)
    return MatchCounts(
        matches=(one.matches + other.matches) / 2,
        inliers=(one.inliers + other.inliers) / 2,
        confident=(one.confident + other.confident) / 2,
        ratio=(one.ratio + other.ratio) / 2,
    )


def _without_notice(settings: MatchSettings, ids: dict[str, str]) -> str:
    name, why = next(iter(ids.items()))
    subject = "an image has" if len(ids) == 1 else f"{len(ids)} images have"
    return (
        f"{settings.kind}: {subject} no keypoints, such as '{name}' ({why}); "
        "their pairs keep their global similarity"
    )


def _worker_count(matcher: Matcher, requested: int | None) -> int:
    """Return the number of threads, or of workers elsewhere, that measure pairs; 0 for none."""
    if not matcher.single_threaded:
        return 0
    if not joblib_backend.shares_memory():
        return joblib_backend.worker_count()
    if requested is not None:
        return max(requested, 1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1


@contextmanager
def _one_thread_each(matcher: Matcher) -> Iterator[None]:
    """Let libraries use one thread for each worker, unless the matcher runs in one."""
    if not matcher.single_threaded:
        yield
        return
    import cv2
    from threadpoolctl import threadpool_limits  # a part of scikit-learn

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1, user_api="blas"), matcher.one_thread_each():
            yield
    finally:
        cv2.setNumThreads(before)
