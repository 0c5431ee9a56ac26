"""Finds labels that are probably wrong: look-alikes of two names, and names of two looks."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kitbox.records import Embeddings, Floats, Integers, Strings
from kitbox.retrieval import clusters

# Images compared with all others at a time: of 30,000 images, 60 MB of float32.
_ROWS = 512
# Neighbours of one image that count.
_MOST = 50
# The upper tail is measured here: higher, and a few wrong labels would move it.
_TAIL = 0.9


@dataclass(frozen=True)
class NearestImages:
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
) -> NearestImages:
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
    return NearestImages(rows, own, other, place)


def similar_pairs(
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


# A side of one image is an odd photograph; it takes two to hang together.
_LEAST_SIDE = 2
# All pairs of so many images take 32 MB; who is more often photographed has more than two looks.
_MOST_OF_ONE = 2000


@dataclass(frozen=True)
class LabelSuspect:
    """Images that may bear wrong labels.

    "mutual": two images that are each other's nearest, under two `labels`; the first of them is
    the one that is less near to its own individual. "split": the images of
    one label that fall into two sides, of which the first has the `first` images. `similarity` is
    that of the two images, or the mean across the sides. `evidence` is how much the likeness goes
    beyond what else would explain it, a difference of cosines.
    """

    kind: Literal["mutual", "split"]
    images: tuple[str, ...]
    labels: tuple[str, ...]
    similarity: float
    evidence: float = 0.0
    first_count: int = 1

    @property
    def key(self) -> frozenset[str]:
        """What a decision "fine" of this suspect names: two images, or one label."""
        return frozenset(self.images if self.kind == "mutual" else self.labels)


def find_suspects(
    embeddings: Embeddings,
    labels: Strings,
    unknown: str | None,
    fine: Collection[frozenset[str]] = (),
    near: NearestImages | None = None,
    groups: Strings | None = None,
) -> list[LabelSuspect]:
    """Return candidates for wrong labels, most suspicious first.

    `labels (n,)` are those of the embeddings' rows; images of the label `unknown` and of none are
    left out. What people found `fine` (two images, or one label) is not listed. With `groups (n,)`
    images of different groups are not compared. Exact; takes the time of `strangers.nearest`,
    unless `near` is what that returned.
    """
    near = near or nearest(embeddings, labels, unknown, groups)
    found = [
        *_mutual(near, embeddings.image_ids, labels),
        *_split(near, embeddings, labels, groups),
    ]
    found = [suspect for suspect in found if suspect.key not in fine]
    return sorted(found, key=lambda suspect: (-suspect.evidence, suspect.images))


def _mutual(near: NearestImages, image_ids: Strings, labels: Strings) -> Iterator[LabelSuspect]:
    """Yield pairs of two individuals that are each other's nearest of all images.

    The evidence is by how much they are nearer than either is to its own individual, or to a
    stranger as a rule. Where an image is the only one of its individual, the usual similarity to
    one's own stands for it.
    """
    usual = near.own[np.isfinite(near.own)]
    typical = max(float(np.median(usual)), near.level) if len(usual) else near.level
    expected = np.maximum(np.where(np.isfinite(near.own), near.own, typical), near.level)
    nearer = near.other > near.own  # of all images, a stranger's is the nearest
    for one in np.flatnonzero(nearer & (near.place >= 0)).tolist():
        two = int(near.place[one])
        if one < two and nearer[two] and near.place[two] == one:
            odd_first = [one, two] if near.own[one] <= near.own[two] else [two, one]
            rows = near.rows[odd_first]
            similarity = float(near.other[one])
            yield LabelSuspect(
                "mutual",
                tuple(image_ids[rows].tolist()),
                tuple(labels[rows].tolist()),
                similarity,
                similarity - float(max(expected[one], expected[two])),
            )


def _split(
    near: NearestImages, embeddings: Embeddings, labels: Strings, groups: Strings | None
) -> Iterator[LabelSuspect]:
    """Yield individuals of two sides that are further apart than either is wide.

    The sides are the last two clusters under average linkage. The evidence is the gap between the
    mean similarity at which the looser side hangs together and the nearest pair across.
    Individuals of more than 2,000 images are not looked at.
    """
    for name, rows in _individuals(near, labels, groups):
        if not 2 * _LEAST_SIDE <= len(rows) <= _MOST_OF_ONE:
            continue
        own = Embeddings(embeddings.image_ids[rows], embeddings.vectors[rows])
        tree = clusters.link(own)
        sides = _sides(tree)
        if min(map(len, sides)) < _LEAST_SIDE:
            continue
        across = own.vectors[sides[0]] @ own.vectors[sides[1]].T
        looser = min(_join(own, side) for side in sides)
        gap = looser - float(across.max())
        if gap > 0:
            yield LabelSuspect(
                "split",
                tuple(own.image_ids[np.concatenate(sides)].tolist()),
                (name,),
                float(across.mean()),
                gap,
                len(sides[0]),
            )


def _individuals(
    near: NearestImages, labels: Strings, groups: Strings | None
) -> Iterator[tuple[str, Integers]]:
    """Yield each individual and its rows, those of each group apart."""
    names, starts = np.unique(labels[near.rows], return_index=True)  # they are in order
    for name, rows in zip(names.tolist(), np.split(near.rows, starts[1:]), strict=True):
        if groups is None:
            yield name, rows
        else:
            yield from ((name, rows[groups[rows] == group]) for group in np.unique(groups[rows]))


def _sides(tree: clusters.ClusterTree) -> tuple[Integers, Integers]:
    """Return the rows of the two clusters that join last, the larger one's first."""
    assert tree.joins is not None  # noqa: S101  of four images or more
    from scipy.cluster.hierarchy import fcluster

    number = fcluster(tree.joins, 2, criterion="maxclust")
    sides = [np.flatnonzero(number == side) for side in (1, 2)]
    one, two = sorted(sides, key=lambda side: (-len(side), side.tolist()))
    return one, two


def _join(own: Embeddings, side: Integers) -> float:
    """Return the mean similarity at which the last two parts of a side join."""
    part = Embeddings(own.image_ids[side], own.vectors[side])
    return float(clusters.link(part).similarities[-1])
