"""Probable label errors: similar images under two labels, and labels of two dissimilar parts."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kitbox.clusters import cluster_tree
from kitbox.records import Embeddings, Floats, Integers, Strings

# Images compared with all others at a time: with 30,000 images, 60 MB of float32.
_ROWS = 512
# The most neighbours of one image that are linked.
_MOST_NEIGHBOURS = 50
# The quantile at which the upper tail is measured; a few wrong labels would move a higher one.
_TAIL = 0.9
# Least images of a part: a single one is just an odd photograph.
_LEAST_PART = 2
# All pairs of this many images take 32 MB. Individuals with more have more than two aspects anyway.
_MOST_IMAGES = 2000


@dataclass(frozen=True)
class NearestImages:
    """The nearest images of each image of a known individual.

    `rows (n,)` are the images' rows; `own (n,)` and `other (n,)` the similarity to the nearest
    image of the same and of another individual, -inf if there is none; `place (n,)` is the index of
    the latter among the n, -1 if there is none.
    """

    rows: Integers
    own: Floats
    other: Floats
    place: Integers

    @property
    def typical(self) -> float:
        """The median similarity to the nearest image of another individual."""
        found = self.other[np.isfinite(self.other)]
        return float(np.median(found)) if len(found) else 1.0

    @property
    def limit(self) -> float:
        """The similarity to another individual that one of these images is expected to exceed.

        It is the 1 − 1/n quantile of a normal distribution, whose mean is the median and whose
        deviation is that of the upper tail: wrong labels of less than a tenth do not move it.
        """
        found = self.other[np.isfinite(self.other)]
        if len(found) < 2:
            return 1.0
        normal = NormalDist()
        tail = float(np.quantile(found, _TAIL)) - self.typical
        deviation = tail / normal.inv_cdf(_TAIL)
        return self.typical + normal.inv_cdf(1 - 1 / len(found)) * deviation


@dataclass(frozen=True, kw_only=True)
class LabelSuspect:
    """Images whose labels may be wrong.

    "mutual": two images that are each other's nearest, with two `labels`; the first is the one that
    is less similar to its own individual. "split": the images of one label that fall into two
    parts, of which the first has `first_count` images. `similarity` is that of the two images, or
    the mean across the parts. `evidence` is a difference of cosines, by which the images contradict
    their labels: see `_mutual` and `_split`.
    """

    kind: Literal["mutual", "split"]
    images: tuple[str, ...]
    labels: tuple[str, ...]
    similarity: float
    evidence: float = 0.0
    first_count: int = 1

    @property
    def key(self) -> frozenset[str]:
        """The subjects of a decision "fine" about this suspect: two images, or one label."""
        return frozenset(self.images if self.kind == "mutual" else self.labels)


def find_suspects(
    embeddings: Embeddings,
    labels: Strings,
    unknown: str | None,
    *,
    fine: Collection[frozenset[str]] = (),
    near: NearestImages | None = None,
    groups: Strings | None = None,
) -> list[LabelSuspect]:
    """Return candidates for wrong labels, those with most evidence first.

    `labels (n,)` are those of the embeddings' rows; images of the label `unknown` or '' are left
    out, and so are suspects that people decided are `fine` (two images, or one label). With
    `groups (n,)` images of different groups are not compared. The search is exact and takes the
    time of `nearest`, unless its result is passed as `near`.
    """
    near = near or nearest(embeddings, labels, unknown, groups)
    found = [
        *_mutual(near, embeddings.image_ids, labels),
        *_split(near, embeddings, labels, groups),
    ]
    found = [suspect for suspect in found if suspect.key not in fine]
    return sorted(found, key=lambda suspect: (-suspect.evidence, suspect.images))


def nearest(
    embeddings: Embeddings, labels: Strings, unknown: str | None, groups: Strings | None = None
) -> NearestImages:
    """Return the nearest image of the same and of another individual, exactly.

    Images of the label `unknown` or '' are left out: they may show any individual. Other
    individuals are compared only within each of `groups (n,)`. Takes n² time, and memory for a few
    hundred rows of n similarities.
    """
    search = NearestSearch(embeddings, labels, unknown, groups)
    for start, cosines in search.blocks():
        search.add(start, cosines)
    return search.found


class NearestSearch:
    """The search of `nearest`, block by block, so that others can look at the same cosines.

    `rows (n,)` are the embeddings' rows of known individuals, sorted by label.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        labels: Strings,
        unknown: str | None,
        groups: Strings | None = None,
    ) -> None:
        """Sort the images; see `nearest`."""
        known = np.flatnonzero((labels != "") & (labels != (unknown or "")))
        # sorted by label, so that images of one individual are a square on the diagonal
        self.rows = known[np.argsort(labels[known], kind="stable")]
        self._begins, self._ends = _squares(labels[self.rows])
        self._code = _group_codes(groups, len(labels))[self.rows]
        self._vectors = np.ascontiguousarray(embeddings.vectors[self.rows])
        self._own = np.full(len(self.rows), -np.inf, dtype=np.float32)
        self._other = np.full(len(self.rows), -np.inf, dtype=np.float32)
        self._place = np.full(len(self.rows), -1, dtype=np.int64)

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """Yield the first of some rows and their cosines (b, n), -inf with themselves."""
        for start in range(0, len(self.rows), _ROWS):
            cosines = self._vectors[start : start + _ROWS] @ self._vectors.T
            here = np.arange(len(cosines))
            cosines[here, start + here] = -np.inf
            yield start, cosines

    def add(self, start: int, cosines: Floats) -> None:
        """Look at a block, and overwrite it."""
        here, stop = np.arange(len(cosines)), start + len(cosines)
        at = start
        while at < stop:
            end = min(self._ends[at], stop)
            square = cosines[at - start : end - start, self._begins[at] : self._ends[at]]
            self._own[at:end] = square.max(axis=1)
            square[:] = -np.inf
            at = end
        cosines[self._code[start:stop, None] != self._code] = -np.inf
        self._place[start:stop] = cosines.argmax(axis=1)
        self._other[start:stop] = cosines[here, self._place[start:stop]]

    @property
    def found(self) -> NearestImages:
        """The nearest images, once all blocks were looked at."""
        place = np.where(np.isneginf(self._other), -1, self._place)
        return NearestImages(self.rows, self._own, self._other, place)


def similar_pairs(
    embeddings: Embeddings, limit: float, groups: Strings | None = None
) -> NDArray[np.int64]:
    """Return pairs of rows (p, 2) with a similarity above the limit, the lesser row first, sorted.

    Images are compared only within each of `groups (n,)`. An image with more than 50 such
    neighbours in later rows is paired with the 50 nearest: these connect a burst of thousands of
    images, all pairs of which would be millions.
    """
    vectors = np.ascontiguousarray(embeddings.vectors)
    code = _group_codes(groups, len(vectors))
    found = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(vectors), _ROWS):
        cosines = vectors[start : start + _ROWS] @ vectors[start:].T
        cosines[np.tri(*cosines.shape, dtype=np.bool_)] = -np.inf  # itself and earlier rows
        cosines[code[start : start + _ROWS, None] != code[start:]] = -np.inf
        above = cosines > limit
        for row in np.flatnonzero(np.count_nonzero(above, axis=1) > _MOST_NEIGHBOURS):
            above[row] = False
            above[row, np.argpartition(-cosines[row], _MOST_NEIGHBOURS)[:_MOST_NEIGHBOURS]] = True
        one, two = np.divmod(np.flatnonzero(above), cosines.shape[1])
        found.append(np.stack([one, two], axis=1) + start)
    return np.concatenate(found)


def _group_codes(groups: Strings | None, count: int) -> Integers:
    """Return the number (n,) of each image's group; without groups all are in one."""
    if groups is None:
        return np.zeros(count, dtype=np.int64)
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def _squares(labels: Strings) -> tuple[list[int], list[int]]:
    """Return, for each row of sorted labels, where the rows of its label begin and end."""
    _, first, code, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    return first[code].tolist(), (first + counts)[code].tolist()


def _mutual(near: NearestImages, image_ids: Strings, labels: Strings) -> Iterator[LabelSuspect]:
    """Yield pairs of images of two individuals that are each other's nearest of all images.

    The evidence is how much nearer they are than either is to its own individual, and than images
    of two individuals typically are. An individual's only image is compared with the median
    similarity of images to their own individual.
    """
    finite = near.own[np.isfinite(near.own)]
    typical_own = max(float(np.median(finite)), near.typical) if len(finite) else near.typical
    expected = np.maximum(np.where(np.isfinite(near.own), near.own, typical_own), near.typical)
    nearer = near.other > near.own  # the nearest of all images is of another individual
    for one in np.flatnonzero(nearer & (near.place >= 0)).tolist():
        two = int(near.place[one])
        if one < two and nearer[two] and near.place[two] == one:
            odd_first = [one, two] if near.own[one] <= near.own[two] else [two, one]
            rows = near.rows[odd_first]
            similarity = float(near.other[one])
            yield LabelSuspect(
                kind="mutual",
                images=tuple(image_ids[rows].tolist()),
                labels=tuple(labels[rows].tolist()),
                similarity=similarity,
                evidence=similarity - float(max(expected[one], expected[two])),
            )


def _split(
    near: NearestImages, embeddings: Embeddings, labels: Strings, groups: Strings | None
) -> Iterator[LabelSuspect]:
    """Yield individuals whose images fall into two parts, further apart than either part is wide.

    The parts are the last two clusters under average linkage. The evidence is the gap between the
    mean similarity at which the looser part joins and the most similar pair across. Individuals
    with more than 2,000 images are skipped.
    """
    for label, rows in _individuals(near, labels, groups):
        if not 2 * _LEAST_PART <= len(rows) <= _MOST_IMAGES:
            continue
        own = Embeddings(embeddings.image_ids[rows], embeddings.vectors[rows])
        parts = _last_parts(cluster_tree.link(own))
        if min(map(len, parts)) < _LEAST_PART:
            continue
        across = own.vectors[parts[0]] @ own.vectors[parts[1]].T
        looser = min(_join_similarity(own, part) for part in parts)
        gap = looser - float(across.max())
        if gap > 0:
            yield LabelSuspect(
                kind="split",
                images=tuple(own.image_ids[np.concatenate(parts)].tolist()),
                labels=(label,),
                similarity=float(across.mean()),
                evidence=gap,
                first_count=len(parts[0]),
            )


def _individuals(
    near: NearestImages, labels: Strings, groups: Strings | None
) -> Iterator[tuple[str, Integers]]:
    """Yield each label with its rows, or with its rows of each group."""
    names, starts = np.unique(labels[near.rows], return_index=True)  # the rows are sorted by label
    for name, rows in zip(names.tolist(), np.split(near.rows, starts[1:]), strict=True):
        if groups is None:
            yield name, rows
        else:
            yield from ((name, rows[groups[rows] == group]) for group in np.unique(groups[rows]))


def _last_parts(tree: cluster_tree.ClusterTree) -> tuple[Integers, Integers]:
    """Return the rows of the two clusters that join last, the larger one's first."""
    assert tree.joins is not None  # noqa: S101  of four images or more
    number = tree.after(len(tree.joins) - 1)
    parts = [np.flatnonzero(number == part) for part in (0, 1)]
    one, two = sorted(parts, key=lambda part: (-len(part), part.tolist()))
    return one, two


def _join_similarity(own: Embeddings, part: Integers) -> float:
    """Return the mean similarity at which the last two clusters of a part join."""
    embeddings = Embeddings(own.image_ids[part], own.vectors[part])
    return float(cluster_tree.link(embeddings).similarities[-1])
