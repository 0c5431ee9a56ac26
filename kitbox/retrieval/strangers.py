"""Says how similar photographs of different individuals get, and which pairs are beyond that."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from kitbox.records import Embeddings, Floats, Integers, Strings

# Images compared with all others at a time: of 30,000 images, 60 MB of float32.
_ROWS = 512
# Neighbours of one image that count.
_MOST = 50
# The upper tail is measured here: higher, and a few wrong labels would move it.
_TAIL = 0.9


@dataclass(frozen=True)
class Nearest:
    """What is nearest to each image of a known individual.

    `rows (n,)` are the images' rows; `own (n,)` and `other (n,)` the similarity to the nearest
    image of the own and of another individual, -inf where there is none; `place (n,)` says which
    of the n the latter is.
    """

    rows: Integers
    own: Floats
    other: Floats
    place: Integers

    @property
    def level(self) -> float:
        """How similar the nearest image of another individual usually is: the median."""
        found = self.other[np.isfinite(self.other)]
        return float(np.median(found)) if len(found) else 1.0

    @property
    def limit(self) -> float:
        """The similarity that one stranger's image in all of these is expected to reach.

        The median, and as many deviations above it as the greatest of n normal values is; the
        deviation is that of the upper tail, which wrong labels below a tenth do not move.
        """
        found = self.other[np.isfinite(self.other)]
        if len(found) < 2:
            return 1.0
        normal = NormalDist()
        tail = float(np.quantile(found, _TAIL)) - self.level
        deviation = tail / normal.inv_cdf(_TAIL)
        return self.level + normal.inv_cdf(1 - 1 / len(found)) * deviation


def nearest(
    embeddings: Embeddings, labels: Strings, unknown: str | None, groups: Strings | None = None
) -> Nearest:
    """Return the nearest images of the own and of another individual, exactly.

    Images of the label `unknown`, or of none, are left out: they may show anybody. Of other
    individuals only images of the same one of `groups (n,)` count. Takes n² time, and memory for a
    few hundred rows of it.
    """
    known = np.flatnonzero((labels != "") & (labels != (unknown or "")))
    rows = known[np.argsort(labels[known], kind="stable")]
    # in the order of labels, so that images of one individual are one square on the diagonal
    begins, ends = _squares(labels[rows])
    code = _code(groups, len(labels))[rows]
    vectors = np.ascontiguousarray(embeddings.vectors[rows])
    own = np.full(len(rows), -np.inf, dtype=np.float32)
    other = np.full(len(rows), -np.inf, dtype=np.float32)
    place = np.full(len(rows), -1, dtype=np.int64)
    for start in range(0, len(rows), _ROWS):
        cosines = vectors[start : start + _ROWS] @ vectors.T
        stop = start + len(cosines)
        here = np.arange(len(cosines))
        cosines[here, start + here] = -np.inf
        at = start
        while at < stop:
            end = min(ends[at], stop)
            square = cosines[at - start : end - start, begins[at] : ends[at]]
            own[at:end] = square.max(axis=1)
            square[:] = -np.inf
            at = end
        cosines[code[start:stop, None] != code] = -np.inf
        place[start:stop] = cosines.argmax(axis=1)
        other[start:stop] = cosines[here, place[start:stop]]
    place[np.isneginf(other)] = -1
    return Nearest(rows, own, other, place)


def pairs_above(
    embeddings: Embeddings, limit: float, groups: Strings | None = None
) -> NDArray[np.int64]:
    """Return pairs of rows (p, 2) more similar than a limit, the lesser first, in order.

    Only images of the same one of `groups (n,)` are compared.
    Of an image with more than 50 such neighbours after it the 50 nearest count: a burst of
    thousands hangs together by these, and would make millions of pairs.
    """
    vectors = np.ascontiguousarray(embeddings.vectors)
    code = _code(groups, len(vectors))
    found = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(vectors), _ROWS):
        cosines = vectors[start : start + _ROWS] @ vectors[start:].T
        cosines[np.tri(*cosines.shape, dtype=np.bool_)] = -np.inf  # itself, and what came before
        cosines[code[start : start + _ROWS, None] != code[start:]] = -np.inf
        above = cosines > limit
        for row in np.flatnonzero(np.count_nonzero(above, axis=1) > _MOST):
            above[row] = False
            above[row, np.argpartition(-cosines[row], _MOST)[:_MOST]] = True
        one, two = np.divmod(np.flatnonzero(above), cosines.shape[1])
        found.append(np.stack([one, two], axis=1) + start)
    return np.concatenate(found)


def _code(groups: Strings | None, count: int) -> Integers:
    """Return the number of each image's group, (n,); all are of one where nobody says."""
    if groups is None:
        return np.zeros(count, dtype=np.int64)
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def _squares(labels: Strings) -> tuple[list[int], list[int]]:
    """Return for each row of sorted labels where the rows of its label begin and end."""
    _, first, code, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    return first[code].tolist(), (first + counts)[code].tolist()
