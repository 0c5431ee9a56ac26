"""Features of images, found once and then read from the cache."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from kitbox.devices import joblib_backend
from kitbox.images.preprocessing import Box, UnreadableImageError, box_of
from kitbox.keypoints import match_cache
from kitbox.keypoints.local_features import LocalFeatures, read_picture
from kitbox.keypoints.match_cache import FeatureStore
from kitbox.keypoints.matcher import Matcher
from kitbox.records import ImageSet, Progress

Given = TypeVar("Given")
Made = TypeVar("Made")

# Values that each thread has waiting for it.
_AHEAD = 4
# Features held in memory after they were used.
_HELD_BYTES = 256 << 20
NO_KEYPOINTS = "no keypoints were found in it"


def run_in_threads(
    function: Callable[[Given], Made], given: Iterable[Given], workers: int
) -> Generator[Made, None, None]:
    """Yield what a function makes of each of some values, in their order.

    It is computed in `workers` threads, a few values ahead; close it, and the rest is left out.
    Where processes or a cluster were chosen for such work, these compute it, unless `workers` is 0.
    """
    elsewhere = not joblib_backend.shares_memory()
    if workers == 0 or (workers == 1 and not elsewhere):
        yield from map(function, given)
        return
    if elsewhere:
        from joblib import delayed  # see joblib_backend

        yield from joblib_backend.run(delayed(function)(one) for one in given)
        return
    waiting: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="keypoints")
    try:
        for one in given:
            waiting.append(pool.submit(function, one))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass
class FeatureSource:
    """The features that a matcher finds in the images of a set, by their rows.

    `without` has the rows of images without keypoints, and why they have none.
    """

    matcher: Matcher
    images: ImageSet
    store: FeatureStore
    unreadable: frozenset[str]
    without: dict[int, str] = field(default_factory=dict)
    _held: "OrderedDict[int, LocalFeatures]" = field(default_factory=OrderedDict)
    _bytes: int = 0

    def missing(self, rows: Sequence[int]) -> list[int]:
        """Return the rows of images whose features are still to be found."""
        keys = {row: self._key(row) for row in rows}
        known = self.store.counts(list(keys.values()))
        missing = []
        for row, key in keys.items():
            if str(self.images.image_ids[row]) in self.unreadable:
                self.without[row] = "it cannot be read"
            elif key not in known:
                missing.append(row)
            elif not known[key]:
                self.without[row] = NO_KEYPOINTS
        return missing

    def find(
        self, rows: Sequence[int], workers: int, stage: str
    ) -> Generator[Progress, None, None]:
        """Find the features of images, and write them to the cache; yields Progress.

        An image that cannot be read has none, and is not written.
        """
        committed, extract = time.monotonic(), partial(_extract, self.matcher)
        try:
            with closing(run_in_threads(extract, map(self._image, rows), workers)) as found:
                for done, (row, features) in enumerate(zip(rows, found, strict=True), 1):
                    if isinstance(features, str):
                        self.without[row] = features
                    else:
                        self.store.save(self._key(row), len(features), features.to_bytes())
                        self._hold(row, features)
                        if not len(features):
                            self.without[row] = NO_KEYPOINTS
                    if time.monotonic() - committed > match_cache.COMMIT_SECONDS:
                        self.store.commit()
                        committed = time.monotonic()
                    yield Progress(stage, done, len(rows))
        finally:  # nothing is lost where the run is interrupted
            self.store.commit()

    def load(self, row: int) -> LocalFeatures:
        """Return the features of an image, which were found before."""
        if row in self._held:
            self._held.move_to_end(row)
            return self._held[row]
        features = self.store.load(self._key(row))
        self._hold(row, features)
        return features

    def _key(self, row: int) -> bytes:
        return match_cache.feature_key(
            self.matcher.extraction,
            match_cache.image_key(str(self.images.file_digests[row]), box_of(self.images, row)),
        )

    def _hold(self, row: int, features: LocalFeatures) -> None:
        self._held[row] = features
        self._bytes += features.descriptors.nbytes
        while self._bytes > _HELD_BYTES and len(self._held) > 1:
            _, dropped = self._held.popitem(last=False)
            self._bytes -= dropped.descriptors.nbytes

    def _image(self, row: int) -> tuple[Path, Box | None]:
        return self.images.paths[row], box_of(self.images, row)


def _extract(matcher: Matcher, image: tuple[Path, Box | None]) -> LocalFeatures | str:
    """Return the features of an image, a file and its box, or why it cannot be read."""
    path, box = image
    settings = matcher.settings
    try:
        picture = read_picture(path, box, size=settings.size, margin=settings.margin)
    except UnreadableImageError as error:
        return str(error)
    return matcher.extract(picture.pixels, picture.box)
