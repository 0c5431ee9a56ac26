"""The searches of a competition: which queries are searched in which gallery, and which pairs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from kitbox import tables
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, more
from kitbox.records import (
    ImageSet,
    Integers,
    LabelledImages,
    Search,
    Strings,
    concatenate,
    hash_strings,
    rows_of,
    rows_of_many,
    strings,
)

_SCENARIO_COLUMNS = ("scenario_id", "queries_path", "database_path")
# All pairs of this many have a file of some GB.
_MOST_PAIRS = 50_000_000


@dataclass(frozen=True)
class PairList:
    """Pairs of a query and a gallery image, in the order of a submission's rows.

    `search (p,)` counts the searches from 0, `query (p,)` the queries of that search and
    `gallery (p,)` its gallery images. `row_ids (p,)` name the rows, None where both images do.
    """

    searches: tuple[Search, ...]
    search: Integers
    query: Integers
    gallery: Integers
    row_ids: Strings | None = None

    def __len__(self) -> int:
        return len(self.query)

    @property
    def numbered_queries(self) -> Integers:
        """The query (p,) of each pair, counted from 0 over all searches."""
        starts = np.cumsum([0, *(len(one.query_ids) for one in self.searches)])
        return np.asarray(starts[self.search] + self.query, dtype=np.int64)

    @property
    def query_ids(self) -> Strings:
        """The query (p,) of each pair."""
        return _concatenated([one.query_ids for one in self.searches])[self.numbered_queries]

    @property
    def gallery_images(self) -> Strings:
        """The gallery image (p,) of each pair."""
        starts = np.cumsum([0, *(len(one.gallery_images) for one in self.searches)])
        return _concatenated([one.gallery_images for one in self.searches])[
            starts[self.search] + self.gallery
        ]

    @property
    def names(self) -> tuple[Strings, ...]:
        """The columns (p,) of a submission that name its rows."""
        if self.row_ids is not None:
            return (self.row_ids,)
        return self.query_ids, self.gallery_images


def searches(query: ImageSet, gallery: ImageSet, competition: Competition) -> tuple[Search, ...]:
    """Return the searches of query images in gallery images under the rules of a competition.

    There is one search in the whole gallery, or with `task.within_group` one for each group of
    the queries. Raises KitboxError for a group with queries and no gallery.
    """
    if not competition.task.within_group:
        return (Search("", query.image_ids, query.image_ids, gallery.image_ids),)
    if query.groups is None or gallery.groups is None:
        raise KitboxError("task.within_group needs images.group_column in every list")
    found = []
    for name in np.unique(query.groups):
        query_ids = query.image_ids[query.groups == name]
        gallery_ids = gallery.image_ids[gallery.groups == name]
        if not len(gallery_ids) and competition.task.answers != "label":
            raise KitboxError(
                f"group '{name}' has {len(query_ids)} queries and no gallery",
                fix="correct images.group_column, or fix its values with images.group_names",
            )
        found.append(Search(str(name), query_ids, query_ids, gallery_ids))
    return tuple(found)


def search_groups(images: ImageSet, competition: Competition) -> Strings | None:
    """Return the groups (n,) that limit searches, or None where searches have no such limit."""
    return images.groups if competition.task.within_group else None


def leaderboard_searches(
    test: ImageSet, labelled: LabelledImages, index: ImageSet | None, competition: Competition
) -> tuple[Search, ...]:
    """Return the searches of the leaderboard."""
    if competition.task.scenarios is not None:
        known = np.concatenate([test.image_ids, labelled.image_ids])
        return _read_scenarios(competition, known)
    return searches(test, leaderboard_gallery(test, labelled, index, competition), competition)


def leaderboard_gallery(
    test: ImageSet, labelled: LabelledImages, index: ImageSet | None, competition: Competition
) -> ImageSet:
    """Return the gallery that the leaderboard's queries are searched in."""
    match competition.task.gallery:
        case "train":
            return labelled
        case "test":
            return test
        case "train+test":
            return concatenate(labelled, test)
        case "index":
            assert index is not None  # noqa: S101  a competition with this gallery has a folder
            return index


def submitted_pairs(found: Sequence[Search], competition: Competition) -> PairList:
    """Return the pairs that the competition asks for: those of its list, or all pairs.

    All pairs are each query with each other image of its gallery, query by query. Raises
    KitboxError, with file and line, for a listed pair of images that are not a query and an image
    of its gallery, a pair that names one image twice, and a row's id that two rows have.
    """
    listed = competition.task.pairs
    if listed is not None:
        return _read_pairs(found, competition, listed)
    total = sum(len(search.query_ids) * len(search.gallery_images) for search in found)
    if total > _MOST_PAIRS:
        raise KitboxError(
            f"all pairs are {total:,}, more than a file of {_MOST_PAIRS:,} rows",
            fix="name the list of the pairs that are asked for in task.pairs",
        )
    parts = []
    for number, search in enumerate(found):
        size = len(search.gallery_images)
        query, gallery = np.divmod(np.arange(len(search.query_ids) * size), max(size, 1))
        own = rows_of(search.query_images, search.gallery_images)
        others = gallery != own[query]
        parts.append((np.full(int(others.sum()), number), query[others], gallery[others]))
    search_of, query, gallery = (np.concatenate(column) for column in zip(*parts, strict=True))
    return PairList(tuple(found), search_of, query, gallery)


def _read_pairs(found: Sequence[Search], competition: Competition, listed: str) -> PairList:
    path, columns = competition.images.root / listed, competition.task.pair_columns
    query_ids = _concatenated([search.query_ids for search in found])
    query_images = _concatenated([search.query_images for search in found])
    sizes = [len(search.query_ids) for search in found]
    starts, search_of = np.cumsum([0, *sizes]), np.repeat(np.arange(len(found)), sizes)
    row_ids: list[Strings] = []
    parts: list[tuple[Integers, ...]] = []
    done = 0
    for *ids, queries, images in tables.read_column_blocks(path, columns):
        query = rows_of_many(queries, query_ids)
        search = search_of[query] if len(query_ids) else query
        gallery = np.full(len(images), -1, dtype=np.int64)
        for number, one in enumerate(found):
            own = search == number
            gallery[own] = rows_of_many(images[own], one.gallery_images)
        itself = (query >= 0) & (query_images[query] == images)
        wrong = np.flatnonzero((query < 0) | (gallery < 0) | itself)
        if len(wrong):
            row = int(wrong[0])
            name, image = str(queries[row]), str(images[row])
            fix = "get all images, or correct task.pairs and task.pair_columns in kitbox.toml"
            if query[row] < 0:
                what = f"'{name}' is not a query"
            elif itself[row]:
                what = f"the pair names '{image}' twice; an image is not compared with itself"
                fix = "remove the row"
            else:
                what = f"'{image}' is no image of the gallery of '{name}'"
            place = _place_of(path, columns, done + row)
            raise KitboxError(what + more(len(wrong) - 1), where=f"{listed} {place}", fix=fix)
        narrow = (search, query - starts[search], gallery)
        parts.append(tuple(column.astype(np.int32) for column in narrow))
        row_ids += ids
        done += len(query)
    if not done:
        raise KitboxError(f"{path} names no pair", fix="get the whole file")
    named = np.concatenate(row_ids) if row_ids else None
    if named is not None and (repeat := _is_repeat(named)).any():
        row = int(np.flatnonzero(repeat)[0])
        raise KitboxError(
            f"the row's id '{named[row]}' is that of an earlier row{more(int(repeat.sum()) - 1)}",
            where=f"{listed} {_place_of(path, columns, row)}",
            fix="correct the list",
        )
    search, query, gallery = (np.concatenate(column) for column in zip(*parts, strict=True))
    return PairList(tuple(found), search, query, gallery, named)


def _place_of(path: Path, columns: tuple[str, ...], row: int) -> str:
    """Return the line of a row of a list, counted from 0."""
    line = next(line for line, _ in islice(tables.read_columns(path, columns), row, None))
    return f"line {line}"


def _is_repeat(values: Strings) -> np.ndarray[Any, Any]:
    """Return whether each value (n,) occurs earlier."""
    hashes = np.sort(hash_strings(values))
    repeat = np.zeros(len(values), dtype=np.bool_)
    if (hashes[1:] == hashes[:-1]).any():
        repeat[:] = True
        repeat[np.unique(values, return_index=True)[1]] = False
    return repeat


def _concatenated(parts: Sequence[Strings]) -> Strings:
    return np.concatenate([strings([]), *parts])


def split_answers(answers: Iterable[str], competition: Competition) -> list[str]:
    """Return the answers that the blanks between the answers of a format would split."""
    if competition.submission.layout not in ("joined", "scored"):
        return []
    answers = list(answers)
    split = {answer for answer in set(answers) if answer.split() != [answer]}
    return [answer for answer in answers if answer in split] if split else []


def refuse_split(answers: Iterable[str], competition: Competition) -> None:
    """Raise KitboxError for answers that the blanks between the answers of a format would split."""
    if split := split_answers(answers, competition):
        raise KitboxError(
            f"answer '{split[0]}' has a blank, which separates answers where "
            f'submission.layout is "{competition.submission.layout}"{more(len(split) - 1)}',
            fix='rename it, or set layout = "columns" in kitbox.toml if no leaderboard asks for '
            "this format",
        )


def possible_answers(
    labelled: LabelledImages | None,
    test: ImageSet | None,
    index: ImageSet | None,
    competition: Competition,
) -> Iterable[str]:
    """Return all answers that a submission may have: images, labels, or clusters by their group.

    Without test images there may be some later, with images of this gallery.
    """
    if labelled is None:  # a list that cannot be read
        return ()
    match competition.task.answers:
        case "images" | "matches" | "pairs":
            gallery: ImageSet = labelled
            if test is not None:
                gallery = leaderboard_gallery(test, labelled, index, competition)
            return map(str, gallery.image_ids)
        case "clusters":
            groups = None if test is None else search_groups(test, competition)
            return () if groups is None else (f"cluster_{name}" for name in np.unique(groups))
        case _:
            unknown = competition.images.unknown_label or ""
            return sorted({*labelled.labels.tolist(), unknown} - {""})


def query_ids(found: tuple[Search, ...], test: ImageSet) -> Strings:
    """Return the ids of all queries in the order of a submission's rows.

    Test images keep the order of their list; queries of scenarios follow scenario by scenario.
    """
    ids = np.concatenate([search.query_ids for search in found])
    rows = rows_of(test.image_ids, ids)
    return ids[rows] if len(ids) == len(test) and (rows >= 0).all() else ids


def _read_scenarios(competition: Competition, known: Strings) -> tuple[Search, ...]:
    """Read the scenarios of Where's Whale-do: a list, and a query and a database file for each."""
    root, listed = competition.images.root, competition.task.scenarios
    assert listed is not None  # noqa: S101  narrowed by the caller
    found = []
    for line, (name, queries, database) in tables.read_columns(root / listed, _SCENARIO_COLUMNS):
        where = f"{listed} line {line}"
        query_ids, image_ids = _read_columns(root, queries, where, ("query_id", "query_image_id"))
        (gallery_ids,) = _read_columns(root, database, where, ("database_image_id",))
        for file, ids in ((queries, image_ids), (database, gallery_ids)):
            missing = ids[rows_of(ids, known) < 0]
            if len(missing):
                raise KitboxError(
                    f"image '{missing[0]}' is in no list of images{more(len(missing) - 1)}",
                    where=file,
                    fix="correct images.train_list or images.test_list",
                )
        _refuse_repeated(gallery_ids, database)
        found.append(Search(name, query_ids, image_ids, gallery_ids))
    if not found:
        raise KitboxError(f"{listed} names no scenario", fix="get the whole file")
    _refuse_repeated(np.concatenate([search.query_ids for search in found]), listed)
    return tuple(found)


def _read_columns(root: Path, given: str, where: str, columns: tuple[str, ...]) -> list[Strings]:
    """Return columns of a scenario's file, named by the last two parts of the given path."""
    parts = [part for part in PurePosixPath(given).parts if part != "/"][-2:]
    if ".." in parts or not parts:
        raise KitboxError(f"'{given}' leaves the data folder", where=where, fix="correct the path")
    path = root.joinpath(*parts)
    if not path.is_file():
        raise KitboxError(f"there is no file {path}", where=where, fix="correct the path")
    values = [row for _, row in tables.read_columns(path, columns)]
    if not values:
        raise KitboxError(f"{path} is empty", where=where, fix="get the whole file")
    return [strings([row[place] for row in values]) for place in range(len(columns))]


def _refuse_repeated(ids: Strings, file: str) -> None:
    unique, counts = np.unique(ids, return_counts=True)
    repeated = unique[counts > 1]
    if len(repeated):
        raise KitboxError(
            f"'{repeated[0]}' is listed twice{more(len(repeated) - 1)}",
            where=file,
            fix="remove one row",
        )
