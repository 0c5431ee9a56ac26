"""Layouts of competitions about animals: folders, lists, Happywhale, AnimalCLEF and whale-do."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from kitbox import tables
from kitbox.synthetic.catalogue import (
    Catalogue,
    Photograph,
    TruthRow,
    group_by_individual,
    hash_words,
    move_photographs,
    number_names,
    pick,
    random_time,
    require_pairs,
    write_list,
)
from kitbox.synthetic.whale_competition import NEW_WHALE

UNKNOWN_FOLDER = "-1"  # photographs of unknown individuals
NEW_INDIVIDUAL = "new_individual"

# The real list of Happywhale misspells two species in some rows.
SPECIES = ("humpback_whale", "beluga", "bottlenose_dolphin", "killer_whale")
MISSPELT = {"bottlenose_dolphin": "bottlenose_dolpin", "killer_whale": "kiler_whale"}

# data set -> species
CLEF = {
    "LynxID2025": "lynx",
    "SalamanderID2025": "salamander",
    "SeaTurtleID2022": "loggerhead turtle",
    "TexasHornedLizards": "lizard",
}
LIZARDS = "TexasHornedLizards"
WITH_TRAIN = tuple(dataset for dataset in CLEF if dataset != LIZARDS)
CLEF_HEADER = (
    "image_id", "identity", "path", "date", "orientation", "species", "split", "dataset",
)  # fmt: skip


def humpback(drawn: Catalogue) -> list[TruthRow]:
    """Leave the files and lists as they are drawn."""
    return [TruthRow(one.name, _label(drawn, one, NEW_WHALE), one.individual) for one in drawn.test]


def gdsc2020(drawn: Catalogue) -> list[TruthRow]:
    """Put train into a folder per individual and rename its boxes; there are no lists."""
    train = drawn.folder / "train"
    names = {
        one.name: f"{one.individual or UNKNOWN_FOLDER}/{one.name}" for one in _all_train(drawn)
    }
    move_photographs(_all_train(drawn), lambda one: train / names[one.name])
    boxes = drawn.folder / "boxes.csv"
    if boxes.exists():
        header = ("image", "x0", "y0", "x1", "y1")
        # without a list, an image id is folder and file name
        rows = [
            (names.get(row[0], row[0]), *row[1:]) for _, row in tables.read_columns(boxes, header)
        ]
        write_list(boxes, header, rows)
    return [
        TruthRow(one.name, _label(drawn, one, UNKNOWN_FOLDER), one.individual) for one in drawn.test
    ]


def folder(drawn: Catalogue) -> list[TruthRow]:
    """Put a folder per individual beside the folder test."""
    move_photographs(drawn.train, lambda one: drawn.folder / one.individual / one.name)
    return [TruthRow(one.name, one.individual, one.individual) for one in drawn.test]


def csv(drawn: Catalogue) -> list[TruthRow]:
    """Put all photographs into one folder; list labels and queries."""
    move_photographs((*drawn.train, *drawn.test), lambda one: drawn.folder / "photos" / one.name)
    labels = [(one.name, one.individual) for one in drawn.train]
    write_list(drawn.folder / "labels.csv", ("file", "who"), labels)
    write_list(drawn.folder / "queries.csv", ("file",), [(one.name,) for one in drawn.test])
    return [TruthRow(one.name, one.individual, one.individual) for one in drawn.test]


def happywhale(drawn: Catalogue) -> list[TruthRow]:
    """Give each individual a species; train has no new_individual."""
    numbers = number_names(drawn.individuals)
    species = {who: SPECIES[number % len(SPECIES)] for who, number in numbers.items()}
    ids = {who: hash_words(who)[:12] for who in drawn.individuals}
    move_photographs(drawn.train, lambda one: drawn.folder / "train_images" / one.name)
    move_photographs(drawn.test, lambda one: drawn.folder / "test_images" / one.name)
    write_list(
        drawn.folder / "train.csv",
        ("image", "species", "individual_id"),
        [(one.name, _spell(species[one.individual], one), ids[one.individual])
         for one in drawn.train],
    )  # fmt: skip
    first = " ".join([*sorted(ids[who] for who in drawn.known)[:4], NEW_INDIVIDUAL])
    sample = [(one.name, first) for one in drawn.test]
    write_list(drawn.folder / "sample_submission.csv", ("image", "predictions"), sample)
    return [
        TruthRow(
            one.name,
            ids[one.individual] if one.individual in drawn.known else NEW_INDIVIDUAL,
            one.individual,
            species[one.individual],
        )
        for one in drawn.test
    ]


def jaguar_2026(drawn: Catalogue) -> list[TruthRow]:
    """List every ordered pair of test photographs; all of their individuals are in train."""
    queries = [one for one in drawn.test if one.individual in drawn.known]
    for one in set(drawn.test) - set(queries):
        one.path.unlink()
    labels = [(one.name, one.individual) for one in drawn.train]
    write_list(drawn.folder / "train.csv", ("filename", "ground_truth"), labels)
    pairs = [
        (first.name, second.name) for first in queries for second in queries if first != second
    ]
    header = ("row_id", "query_image", "gallery_image")
    rows = [(number, *names) for number, names in enumerate(pairs)]
    write_list(drawn.folder / "test.csv", header, rows)
    sample = [(number, 0.5) for number, _ in enumerate(pairs)]
    write_list(drawn.folder / "sample_submission.csv", ("row_id", "similarity"), sample)
    move_photographs(drawn.train, lambda one: drawn.folder / "train" / "train" / one.name)
    move_photographs(queries, lambda one: drawn.folder / "test" / "test" / one.name)
    return [TruthRow(one.name, one.individual, one.individual) for one in queries]


def animalclef_2025(drawn: Catalogue) -> list[TruthRow]:
    """Give each individual one of three data sets; answers are identities or new_individual."""
    numbers = number_names(drawn.individuals)
    dataset = {who: WITH_TRAIN[number % len(WITH_TRAIN)] for who, number in numbers.items()}
    queries = _write_clef(drawn.folder, dataset, {"database": drawn.train, "query": drawn.test})
    sample = [(image_id, NEW_INDIVIDUAL) for image_id in queries]
    write_list(drawn.folder / "sample_submission.csv", ("image_id", "identity"), sample)
    return _clef_rows(
        queries,
        dataset,
        lambda who: f"{dataset[who]}_{who}" if who in drawn.known else NEW_INDIVIDUAL,
    )


def animalclef_2026(drawn: Catalogue) -> list[TruthRow]:
    """Give each individual one of four data sets, one of them without train; answers are clusters.

    All photographs of lizards are queries. Broken photographs stay in train, so their individuals
    are no lizards.
    """
    dataset = {}
    photographs = group_by_individual((*drawn.train, *drawn.test))
    for who, number in number_names(drawn.individuals).items():
        lizard = number % len(CLEF) == 1 and all(one.is_complete for one in photographs[who])
        dataset[who] = LIZARDS if lizard else WITH_TRAIN[number % len(WITH_TRAIN)]
    train = tuple(one for one in drawn.train if dataset[one.individual] != LIZARDS)
    moved = tuple(one for one in drawn.train if dataset[one.individual] == LIZARDS)
    queries = _write_clef(drawn.folder, dataset, {"train": train, "test": (*drawn.test, *moved)})
    sample = [
        (image_id, f"cluster_{dataset[one.individual]}_0") for image_id, one in queries.items()
    ]
    write_list(drawn.folder / "sample_submission.csv", ("image_id", "cluster"), sample)
    return _clef_rows(queries, dataset, lambda who: who)


def _all_train(drawn: Catalogue) -> tuple[Photograph, ...]:
    return (*drawn.train, *drawn.unknown)


def _label(drawn: Catalogue, one: Photograph, unknown: str) -> str:
    return one.individual if one.individual in drawn.known else unknown


def _spell(species: str, one: Photograph) -> str:
    return MISSPELT.get(species, species) if pick(range(3), "spelling", one.name) == 0 else species


def _write_clef(
    root: Path, dataset: dict[str, str], splits: dict[str, tuple[Photograph, ...]]
) -> dict[int, Photograph]:
    """Write the list of all photographs; the second split has the queries, without identities.

    Return the queries by image id, in the order of the list.
    """
    split = {one: name for name, photographs in splits.items() for one in photographs}
    place = {one: f"images/{dataset[one.individual]}/{split[one]}/{one.name}" for one in split}
    ids = number_names(one.name for one in split)
    ordered = sorted(split, key=lambda one: ids[one.name])
    labelled, queries = splits
    rows = []
    for one in ordered:
        group = dataset[one.individual]
        identity = f"{group}_{one.individual}" if split[one] == labelled else ""
        orientation = pick(("left", "right", ""), "orientation", one.name)
        date = f"{random_time(one.name):%Y-%m-%d}"
        rows.append(
            (ids[one.name], identity, place[one], date, orientation, CLEF[group], split[one], group)
        )
    write_list(root / "metadata.csv", CLEF_HEADER, rows)
    move_photographs(ordered, lambda one: root / place[one])
    return {ids[one.name]: one for one in ordered if split[one] == queries}


def _clef_rows(
    queries: dict[int, Photograph], dataset: dict[str, str], label: Callable[[str], str]
) -> list[TruthRow]:
    return [
        TruthRow(str(image_id), label(one.individual), one.individual, dataset[one.individual])
        for image_id, one in queries.items()
    ]


WHALE_DO_HEADER = (
    "image_id", "path", "height", "width", "viewpoint", "date", "timestamp",
    "whale_id", "encounter_id",
)  # fmt: skip
TEST_HEADER = WHALE_DO_HEADER[:-2]
MAX_ENCOUNTER = 3  # photographs
SECONDS_APART = range(5, 60)  # between photographs of one encounter
MIN_LABELLED = 3  # photographs of a whale of which one becomes a query


def whale_do(drawn: Catalogue) -> list[TruthRow]:
    """List photographs by encounter, and two scenarios of the test photographs.

    One photograph of each whale with MIN_LABELLED or more moves to the test side, so that most
    queries have a match there.
    """
    moved = {
        complete[0]
        for group in group_by_individual(drawn.train).values()
        if len(complete := [one for one in group if one.is_complete]) >= MIN_LABELLED
    }
    sides = {
        "train": [one for one in drawn.train if one not in moved],
        "test": [*drawn.test, *(one for one in drawn.train if one in moved)],
    }
    pairs = {who for who, group in group_by_individual(sides["test"]).items() if len(group) > 1}
    require_pairs(pairs, drawn)
    whales = {who: f"whale{number:03d}" for who, number in number_names(drawn.individuals).items()}
    ids = {one: name for side in sides for one, name in _ids(side, sides[side]).items()}
    for side, photographs in sides.items():
        rows = _metadata(photographs, ids, whales)
        labelled = side == "train"
        path = drawn.folder / ("metadata.csv" if labelled else "test_metadata.csv")
        header = WHALE_DO_HEADER if labelled else TEST_HEADER
        write_list(path, header, [row[: len(header)] for row in sorted(rows)])
    _write_scenarios(drawn, sides["test"], ids)
    move_photographs(ids, lambda one: drawn.folder / _place(one, ids))
    return [
        TruthRow(ids[one], whales[one.individual], one.individual)
        for one in sorted(sides["test"], key=lambda one: ids[one])
    ]


def _ids(side: str, photographs: list[Photograph]) -> dict[Photograph, str]:
    numbers = number_names(one.name for one in photographs)
    return {one: f"{side}{numbers[one.name]:04d}" for one in photographs}


def _place(one: Photograph, ids: dict[Photograph, str]) -> str:
    return f"images/{ids[one]}{one.path.suffix}"


def _metadata(
    photographs: list[Photograph], ids: dict[Photograph, str], whales: dict[str, str]
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for who, group in group_by_individual(photographs).items():
        for one, (encounter, time) in zip(group, _encounters(who, group), strict=True):
            height, width = _size(one)
            viewpoint = pick(("top", "left", "right"), "viewpoint", one.name)
            names = whales[who], f"{whales[who]}-{encounter:03d}"
            place = _place(one, ids)
            rows.append((ids[one], place, height, width, viewpoint, time.date(), time, *names))
    return rows


def _encounters(who: str, group: list[Photograph]) -> list[tuple[int, datetime]]:
    """Return the encounter and the time of each photograph: one to three within two minutes."""
    encounters: list[tuple[int, datetime]] = []
    encounter = 0
    while len(encounters) < len(group):
        start = random_time(who, str(encounter), group[0].name)
        for position in range(pick(range(MAX_ENCOUNTER), who, str(encounter)) + 1):
            seconds = position * pick(SECONDS_APART, "seconds", who)
            encounters.append((encounter, start + timedelta(seconds=seconds)))
        encounter += 1
    return encounters[: len(group)]


def _size(one: Photograph) -> tuple[int, int]:
    """Return height and width in pixels, 0 for a file that is no picture."""
    try:
        with Image.open(one.path) as image:
            return image.height, image.width
    except UnidentifiedImageError:
        return 0, 0


def _write_scenarios(drawn: Catalogue, test: list[Photograph], ids: dict[Photograph, str]) -> None:
    """Write scenario 1, which searches all of test, and 2, which does not search its queries."""
    groups = group_by_individual(test).values()
    matched = [one for group in groups if len(group) > 1 for one in group]
    lone = sorted(set(test) - set(matched), key=lambda one: hash_words(one.name))
    first = [group[0] for group in groups if len(group) > 1]
    scenarios = {
        "scenario01": ([*matched, *lone[: len(matched) // 4]], test),
        "scenario02": (first, [one for one in test if one not in first]),
    }
    rows = [(name, f"queries/{name}.csv", f"databases/{name}.csv") for name in scenarios]
    header = ("scenario_id", "queries_path", "database_path")
    write_list(drawn.folder / "query_scenarios.csv", header, rows)
    for (name, queries_path, database_path), (queries, database) in zip(
        rows, scenarios.values(), strict=True
    ):
        rows_of_queries = sorted((f"{name}-{ids[one]}", ids[one]) for one in queries)
        write_list(drawn.folder / queries_path, ("query_id", "query_image_id"), rows_of_queries)
        gallery = sorted((ids[one],) for one in database)
        write_list(drawn.folder / database_path, ("database_image_id",), gallery)
