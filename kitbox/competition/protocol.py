"""The searches of a competition: which queries are searched in which gallery."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from kitbox import tables
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, more
from kitbox.records import ImageSet, LabelledImages, Search, Strings, concatenate, rows_of, strings

_SCENARIO_COLUMNS = ("scenario_id", "queries_path", "database_path")


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


def split_answers(answers: Iterable[str], competition: Competition) -> list[str]:
    """Return the answers that the blanks between the answers of a format would split."""
    if competition.submission.layout not in ("joined", "scored"):
        return []
    return [answer for answer in answers if answer.split() != [answer]]


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
        case "images" | "matches":
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
