"""Records that packages exchange, with their shapes, dtypes and invariants."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from kitbox.columns import Table
from kitbox.errors import KitboxError, more

Strings = NDArray[np.str_]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
# x0, y0, x1, y1 in pixels of the upright image
Corners = tuple[float, float, float, float]
# Similarities are float32 where vectors give them, and float64 where a file does.
Similarities = NDArray[np.float32 | np.float64]

# float32 rows of a few thousand dimensions are of unit length to about 1e-6.
UNIT_TOLERANCE = 1e-3

# An odd number; its powers modulo 2^64 weight the letters of a text.
_HASH_BASE = 0x9E3779B97F4A7C15


def strings(values: Sequence[str] | Strings) -> Strings:
    """Return values as a one-dimensional numpy array of str, even if there are none."""
    return np.asarray(values, dtype=np.str_).reshape(-1)


@dataclass(frozen=True)
class ImageSet:
    """Images in a fixed order: `image_ids (n,)`, `paths (n,)`, `labels (n,)` or None.

    `boxes (n, 4)` are x0, y0, x1, y1 in pixels after EXIF rotation, NaN where an image has none,
    or None where no image has one. `digests (n,)` are the sha256 of the files, None until the
    files have been read. `groups (n,)` are species or data sets. `encounters (n,)` name the
    encounter at which an image was taken, '' where it is not known. `times (n,) float64` are
    seconds since 1970, NaN where not known.
    """

    image_ids: Strings
    paths: tuple[Path, ...]
    labels: Strings | None = None
    boxes: Floats | None = None
    digests: Strings | None = None
    groups: Strings | None = None
    encounters: Strings | None = None
    times: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        for name in ("paths", *_COLUMNS):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.image_ids):
                raise KitboxError(f"{len(self.image_ids)} image ids but {len(values)} {name}")
        unique, counts = np.unique(self.image_ids, return_counts=True)
        repeated = unique[counts > 1]
        if len(repeated):
            raise KitboxError(
                f"image id '{repeated[0]}' occurs {counts[counts > 1][0]} times"
                f"{more(len(repeated) - 1)}"
            )

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def file_digests(self) -> Strings:
        """The digests (n,) of images whose files have been read, such as those of a collection."""
        if self.digests is None:
            raise ValueError("these image files have not been read, so they have no digests")
        return self.digests

    def take(self, rows: Integers | NDArray[np.bool_]) -> Self:
        """Return the images of the given rows (indices or a mask), in that order."""
        indices = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return type(self)(
            self.image_ids[indices],
            tuple(self.paths[i] for i in indices),
            **{
                name: None if values is None else values[indices]
                for name, values in columns.items()
            },
        )

    def of(self, image_ids: Strings) -> Self:
        """Return the images of the given ids, in their order.

        Raises KitboxError for an id that no image has.
        """
        rows = rows_of(image_ids, self.image_ids)
        missing = image_ids[rows < 0]
        if len(missing):
            raise KitboxError(f"there is no image '{missing[0]}'{more(len(missing) - 1)}")
        return self.take(rows)

    def with_labels(self, labels: Strings) -> "LabelledImages":
        """Return the same images with the given labels (n,)."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return LabelledImages(self.image_ids, self.paths, **columns | {"labels": labels})

    @property
    def labelled(self) -> "LabelledImages":
        """The same images as LabelledImages; raises ValueError where they have no labels."""
        if self.labels is None:
            raise ValueError("these images have no labels")
        return self.with_labels(self.labels)

    def without_labels(self) -> "ImageSet":
        """Return the same images without labels."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return ImageSet(self.image_ids, self.paths, **columns | {"labels": None})


@dataclass(frozen=True)
class LabelledImages(ImageSet):
    """Images that all have a label: `labels (n,)`, '' where the individual is not known."""

    labels: Strings


@overload
def concatenate(first: LabelledImages, second: ImageSet) -> LabelledImages: ...
@overload
def concatenate(first: ImageSet, second: ImageSet) -> ImageSet: ...
def concatenate(first: ImageSet, second: ImageSet) -> ImageSet:
    """Return the images of both, in this order; a column that only one has is empty in the other.

    Empty is '' for text, NaN for boxes and times.
    """
    parts = (first, second)
    columns = {
        name: None
        if all(getattr(part, name) is None for part in parts)
        else np.concatenate([_filled(part, name) for part in parts])
        for name in _COLUMNS
    }
    ids = np.concatenate([first.image_ids, second.image_ids])
    return type(first)(ids, first.paths + second.paths, **columns)


# The optional columns of an image set.
_COLUMNS = ("labels", "boxes", "digests", "groups", "encounters", "times")


def _filled(images: ImageSet, name: str) -> NDArray[Any]:
    values = getattr(images, name)
    if values is not None:
        return values  # type: ignore[no-any-return]
    if name in ("boxes", "times"):
        shape = (len(images), 4) if name == "boxes" else (len(images),)
        return np.full(shape, np.nan, dtype=np.float32 if name == "boxes" else np.float64)
    return np.full(len(images), "", dtype=np.str_)


def rows_of(requested: Strings, image_ids: Strings) -> Integers:
    """Return the row (n,) of each of the `requested (n,)` ids in `image_ids`, -1 if it has none."""
    if not len(image_ids):
        return np.full(len(requested), -1, dtype=np.int64)
    order = np.argsort(image_ids, kind="stable")
    ordered = image_ids[order]
    places = np.minimum(np.searchsorted(ordered, requested), len(ordered) - 1)
    return np.where(ordered[places] == requested, order[places], -1).astype(np.int64)


def _following_rows(requested: Strings, image_ids: Strings) -> slice | None:
    """Return the rows of the requested ids where they stand one after the other, else None."""
    if not len(requested):
        return None
    (places,) = np.nonzero(image_ids == requested[0])
    if len(places) != 1:
        return None
    rows = slice(int(places[0]), int(places[0]) + len(requested))
    return rows if np.array_equal(image_ids[rows], requested) else None


def rows_of_many(requested: Strings, image_ids: Strings) -> Integers:
    """Return the same as `rows_of`, by hashes: faster for millions of requested ids (n,)."""
    hashes = hash_strings(image_ids)
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    if not len(ordered) or (ordered[1:] == ordered[:-1]).any():
        return rows_of(requested, image_ids)
    places = np.searchsorted(ordered, hash_strings(requested))
    rows = order[np.minimum(places, len(ordered) - 1)]
    return np.where(image_ids[rows] == requested, rows, -1).astype(np.int64)


def hash_strings(values: Strings) -> NDArray[np.uint64]:
    """Return a number (n,) of each text, equal for equal texts in arrays of any width."""
    width = values.dtype.itemsize // 4
    letters = np.ascontiguousarray(values).view(np.uint32).reshape(len(values), width)
    found = np.zeros(len(values), dtype=np.uint64)
    for column in range(width):  # zeros behind a shorter text add nothing
        key = np.uint64(pow(_HASH_BASE, column + 1, 2**64))
        found += letters[:, column] * key
    return found


@dataclass(frozen=True)
class Search:
    """Queries and the gallery that they are searched in.

    `query_ids (q,)` as a submission names them, `query_images (q,)` their image ids,
    `gallery_images (g,)`. A query is never its own neighbour. `name` is the scenario or group that
    the search is restricted to, '' if there is only one search.
    """

    name: str
    query_ids: Strings
    query_images: Strings
    gallery_images: Strings

    def __post_init__(self) -> None:
        if len(self.query_ids) != len(self.query_images):
            raise KitboxError(
                f"{len(self.query_ids)} query ids but {len(self.query_images)} query images"
            )


@dataclass(frozen=True)
class Holdout:
    """A split of the labelled images that imitates the real test.

    Networks train on `train`; `query` is searched in `gallery`. `query_answers (q,)` are the
    expected answers: the unknown label for individuals that `train` does not show, whose true
    label is in `query.labels`. Where there is no holdout, there are no queries.
    """

    train: LabelledImages
    query: LabelledImages
    gallery: LabelledImages
    query_answers: Strings

    def __post_init__(self) -> None:
        both = np.intersect1d(self.train.image_ids, self.query.image_ids)
        if len(both):
            raise KitboxError(f"image '{both[0]}' is on both sides of the holdout")
        if len(self.query_answers) != len(self.query):
            raise KitboxError(f"{len(self.query)} queries but {len(self.query_answers)} answers")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights on disk, with the plugin's name, its fingerprint and the digest of the file.

    `on` is what they were trained on: "holdout" (its training side), "all" (every labelled image)
    or "none" (the initial weights of a frozen plugin).
    """

    path: Path
    plugin: str
    fingerprint: str
    digest: str
    epoch: int
    on: str

    @property
    def trained_on(self) -> str:
        """What they were trained on, in words."""
        return "frozen" if self.on == "none" else f"trained on {self.on}"

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise KitboxError(
                f"there is no checkpoint {self.path}; run 'kitbox train {self.plugin}'"
            )


@dataclass(frozen=True)
class Embeddings:
    """Unit rows `vectors (n, d) float32` of the images `image_ids (n,)`."""

    image_ids: Strings
    vectors: Floats

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.image_ids):
            raise KitboxError(
                f"{len(self.image_ids)} image ids but vectors of shape {self.vectors.shape}"
            )
        if self.vectors.dtype != np.float32:
            raise KitboxError(f"embeddings are float32, not {self.vectors.dtype}")
        lengths = np.sqrt(np.einsum("nd,nd->n", self.vectors, self.vectors))  # no second array
        bad = np.flatnonzero(~(np.abs(lengths - 1) < UNIT_TOLERANCE))
        if len(bad):
            raise KitboxError(
                f"the embedding of image '{self.image_ids[bad[0]]}' has length "
                f"{lengths[bad[0]]:.4g}, not 1{more(len(bad) - 1)}; did the training diverge?"
            )

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def dim(self) -> int:
        """The number of dimensions d."""
        return int(self.vectors.shape[1])

    def of(self, image_ids: Strings) -> "Embeddings":
        """Return the rows of the given images, in their order.

        Rows that follow each other are not copied, so that vectors on disk stay there; they can be
        read alone. Raises KitboxError for an image that has no row.
        """
        following = _following_rows(image_ids, self.image_ids)
        if following is not None:
            shared = self.vectors[following]
            shared.flags.writeable = False
            return self._part(strings(image_ids), shared)
        rows = rows_of(image_ids, self.image_ids)
        missing = image_ids[rows < 0]
        if len(missing):
            raise KitboxError(
                f"no embedding of image '{missing[0]}'{more(len(missing) - 1)}; "
                "these embeddings belong to another image set"
            )
        return self._part(strings(image_ids), self.vectors[rows])

    @staticmethod
    def _part(image_ids: Strings, vectors: Floats) -> "Embeddings":
        """Return some rows of embeddings, whose lengths have been looked at."""
        part = object.__new__(Embeddings)
        object.__setattr__(part, "image_ids", image_ids)
        object.__setattr__(part, "vectors", vectors)
        return part


@dataclass(frozen=True)
class Neighbours:
    """The k nearest gallery images of each query, best first.

    `query_ids (q,)`, `gallery_ids (q, k)`, `similarity (q, k) float32`. A row with fewer than k
    neighbours ends in empty ids of similarity -inf.
    """

    query_ids: Strings
    gallery_ids: Strings
    similarity: Floats

    def __post_init__(self) -> None:
        if self.gallery_ids.shape != self.similarity.shape:
            raise KitboxError(
                f"{self.gallery_ids.shape} neighbours but {self.similarity.shape} similarities"
            )
        if (self.similarity[:, 1:] > self.similarity[:, :-1]).any():
            raise KitboxError("similarity rises along a row of neighbours")
        own = (self.gallery_ids == self.query_ids[:, None]).any(axis=1)
        if own.any():
            raise KitboxError(f"query '{self.query_ids[own][0]}' finds itself")


@dataclass(frozen=True)
class Ranking:
    """The answers of each query, best first: image ids or labels.

    `query_ids (q,)`, `answers (q, k)`, `similarity (q, k)`: float32, or float64 where they are
    the confidences of a file. A row with fewer than k answers ends in empty strings.
    """

    query_ids: Strings
    answers: Strings
    similarity: Similarities

    def __post_init__(self) -> None:
        if self.answers.shape != self.similarity.shape or len(self.answers) != len(self.query_ids):
            raise KitboxError(
                f"{len(self.query_ids)} queries, answers {self.answers.shape}, "
                f"similarities {self.similarity.shape}"
            )
        ordered = np.sort(self.answers, axis=1)
        repeated = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != "")).any(axis=1)
        if repeated.any():
            raise KitboxError(f"an answer to query '{self.query_ids[repeated][0]}' is repeated")

    @property
    def k(self) -> int:
        """The number of answers in a row."""
        return int(self.answers.shape[1])


@dataclass(frozen=True)
class Score:
    """The value of a metric with its 95 % interval over individuals.

    In [0, 1], except for the adjusted Rand index, which is negative below chance.
    """

    value: float
    low: float
    high: float
    queries: int

    def __post_init__(self) -> None:
        if not -1.0 <= self.value <= 1.0:
            raise KitboxError(f"a score of {self.value} is not in [-1, 1]")

    def as_json(self, digits: int | None = None) -> dict[str, float | int]:
        """Return the fields, the numbers rounded to `digits`."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        if digits is not None:
            numbers = {name: round(value, digits) for name, value in numbers.items()}
        return {**numbers, "queries": self.queries}


@dataclass(frozen=True, repr=False)
class Scores:
    """Metric name → Score, the competition's metric first."""

    by_metric: dict[str, Score] = field(default_factory=dict)

    @property
    def main(self) -> Score:
        """The score of the competition's metric."""
        return next(iter(self.by_metric.values()))

    @property
    def table(self) -> Table:
        """The scores with their 95 % intervals as a table, a metric in each row."""
        scores = list(self.by_metric.values())
        return Table(
            {
                "metric": strings(list(self.by_metric)),
                "score": np.array([score.value for score in scores], dtype=np.float64),
                "low": np.array([score.low for score in scores], dtype=np.float64),
                "high": np.array([score.high for score in scores], dtype=np.float64),
                "queries": np.array([score.queries for score in scores], dtype=np.int64),
            }
        )

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

    def as_json(self, digits: int | None = None) -> dict[str, Any]:
        """Return metric → {value, low, high, queries}, the numbers rounded to `digits`."""
        return {name: score.as_json(digits) for name, score in self.by_metric.items()}


@dataclass(frozen=True)
class Progress:
    """Progress of the stage of this name: `done` of `total` units, such as images.

    `notice` is a sentence that the user should still see after the stage.
    """

    stage: str
    done: int
    total: int
    unit: str = "images"
    note: str = ""
    notice: str = ""

    def __str__(self) -> str:
        return self.notice or f"{self.stage} {self.done}/{self.total} {self.note}".rstrip()
