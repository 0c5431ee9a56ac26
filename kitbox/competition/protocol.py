"""Which queries are asked of which gallery: of all of it, of their group's, of a scenario's."""

from pathlib import Path, PurePosixPath

import numpy as np

from kitbox import tables
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, more
from kitbox.records import ImageSet, LabelledImages, Search, Strings, concatenate, rows_of, strings

_SCENARIO = ("scenario_id", "queries_path", "database_path")


def searches(query: ImageSet, gallery: ImageSet, competition: Competition) -> tuple[Search, ...]:
    """Return the searches that a competition asks for, of any query and gallery images.

    One search of the whole gallery, or with `task.within_group` one for each group of the
    queries. Raises KitboxError where a group has queries and no gallery.
    """
    if not competition.task.within_group:
        return (Search("", query.image_ids, query.image_ids, gallery.image_ids),)
    if query.groups is None or gallery.groups is None:
        raise KitboxError("task.within_group needs images.group_column in every list")
    found = []
    for name in np.unique(query.groups):
        asked = query.image_ids[query.groups == name]
        searched = gallery.image_ids[gallery.groups == name]
        if not len(searched) and competition.task.answers != "label":
            raise KitboxError(
                f"group '{name}' has {len(asked)} queries and no gallery; "
                "correct images.group_column, or mend its values with images.group_names"
            )
        found.append(Search(str(name), asked, asked, searched))
    return tuple(found)


def search_groups(images: ImageSet, competition: Competition) -> Strings | None:
    """Return the groups (n,) beyond which nobody is searched, None where there are no such."""
    return images.groups if competition.task.within_group else None


def test_searches(
    test: ImageSet, labelled: LabelledImages, index: ImageSet | None, competition: Competition
) -> tuple[Search, ...]:
    """Return the searches of the leaderboard."""
    if competition.task.scenarios is not None:
        known = np.concatenate([test.image_ids, labelled.image_ids])
        return _scenarios(competition, known)
    return searches(test, test_gallery(test, labelled, index, competition), competition)


def test_gallery(
    test: ImageSet, labelled: LabelledImages, index: ImageSet | None, competition: Competition
) -> ImageSet:
    """Return the images that the leaderboard's queries are searched in."""
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


def query_ids(found: tuple[Search, ...], test: ImageSet) -> Strings:
    """Return the ids of all queries as a submission lists them.

    Test images keep the order of their list; queries of scenarios follow one after another.
    """
    everyone = np.concatenate([search.query_ids for search in found])
    rows = rows_of(test.image_ids, everyone)
    return everyone[rows] if len(everyone) == len(test) and (rows >= 0).all() else everyone


def _scenarios(competition: Competition, known: Strings) -> tuple[Search, ...]:
    """Read the files of Where's Whale-do: scenarios, and the queries and database of each."""
    root, listed = competition.images.root, competition.task.scenarios
    assert listed is not None  # noqa: S101  narrowed by the caller
    found = []
    for line, (name, queries, database) in tables.read_columns(root / listed, _SCENARIO):
        where = f"{listed} line {line}"
        asked, images = _columns(root, queries, where, ("query_id", "query_image_id"))
        (searched,) = _columns(root, database, where, ("database_image_id",))
        for file, ids in ((queries, images), (database, searched)):
            missing = ids[rows_of(ids, known) < 0]
            if len(missing):
                raise KitboxError(
                    f"image '{missing[0]}' is in no list of images{more(len(missing) - 1)}",
                    where=file,
                    fix="correct images.train_list or images.test_list",
                )
        _refuse_repeated(searched, database)
        found.append(Search(name, asked, images, searched))
    if not found:
        raise KitboxError(f"{listed} names no scenario; get the whole file")
    _refuse_repeated(np.concatenate([search.query_ids for search in found]), listed)
    return tuple(found)


def _columns(root: Path, given: str, where: str, columns: tuple[str, ...]) -> list[Strings]:
    """Return columns of a file that a scenario names; the organisers' paths end in ours."""
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
