"""Forms of competitions about animals: folders, plain lists, Happywhale and AnimalCLEF."""

from collections.abc import Callable
from pathlib import Path

from kitbox.competition import tables
from kitbox.drawing.catalogue import (
    Answer,
    Catalogue,
    Photograph,
    grouped,
    hashed,
    moment,
    move,
    number,
    pick,
    write,
)
from kitbox.drawing.roster import NEW_WHALE

NOBODY = "-1"  # the folder of photographs that show no known individual
NEW_INDIVIDUAL = "new_individual"

# The list of Happywhale misspells two of its species in some rows.
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


def humpback(drawn: Catalogue) -> list[Answer]:
    """Leave everything as it is drawn."""
    return [Answer(one.name, _label(drawn, one, NEW_WHALE), one.individual) for one in drawn.test]


def gdsc2020(drawn: Catalogue) -> list[Answer]:
    """Put train into a folder for each individual and rename its boxes; there are no lists."""
    train = drawn.folder / "train"
    names = {one.name: f"{one.individual or NOBODY}/{one.name}" for one in _all_train(drawn)}
    move(_all_train(drawn), lambda one: train / names[one.name])
    boxes = drawn.folder / "boxes.csv"
    if boxes.exists():
        header = ("image", "x0", "y0", "x1", "y1")
        # a photograph in a folder is called by both, as photographs without a list are
        rows = [(names.get(row[0], row[0]), *row[1:]) for _, row in tables.rows(boxes, header)]
        write(boxes, header, rows)
    return [Answer(one.name, _label(drawn, one, NOBODY), one.individual) for one in drawn.test]


def folder(drawn: Catalogue) -> list[Answer]:
    """Put a folder for each individual at the top, beside the folder test."""
    move(drawn.train, lambda one: drawn.folder / one.individual / one.name)
    return [Answer(one.name, one.individual, one.individual) for one in drawn.test]


def csv(drawn: Catalogue) -> list[Answer]:
    """Put all photographs into one folder, and their labels and the queries into lists."""
    move((*drawn.train, *drawn.test), lambda one: drawn.folder / "photos" / one.name)
    labels = [(one.name, one.individual) for one in drawn.train]
    write(drawn.folder / "labels.csv", ("file", "who"), labels)
    write(drawn.folder / "queries.csv", ("file",), [(one.name,) for one in drawn.test])
    return [Answer(one.name, one.individual, one.individual) for one in drawn.test]


def happywhale(drawn: Catalogue) -> list[Answer]:
    """Give each individual a species; nobody is labelled new_individual in train."""
    at = number(drawn.individuals)
    species = {who: SPECIES[place % len(SPECIES)] for who, place in at.items()}
    ids = {who: hashed(who)[:12] for who in drawn.individuals}
    move(drawn.train, lambda one: drawn.folder / "train_images" / one.name)
    move(drawn.test, lambda one: drawn.folder / "test_images" / one.name)
    write(
        drawn.folder / "train.csv",
        ("image", "species", "individual_id"),
        [(one.name, _spelt(species[one.individual], one), ids[one.individual])
         for one in drawn.train],
    )  # fmt: skip
    first = " ".join([*sorted(ids[who] for who in drawn.known)[:4], NEW_INDIVIDUAL])
    sample = [(one.name, first) for one in drawn.test]
    write(drawn.folder / "sample_submission.csv", ("image", "predictions"), sample)
    return [
        Answer(
            one.name,
            ids[one.individual] if one.individual in drawn.known else NEW_INDIVIDUAL,
            one.individual,
            species[one.individual],
        )
        for one in drawn.test
    ]


def animalclef_2025(drawn: Catalogue) -> list[Answer]:
    """Give each individual one of three data sets; answers are identities or new_individual."""
    at = number(drawn.individuals)
    dataset = {who: WITH_TRAIN[place % len(WITH_TRAIN)] for who, place in at.items()}
    asked = _write_clef(drawn.folder, dataset, {"database": drawn.train, "query": drawn.test})
    sample = [(image_id, NEW_INDIVIDUAL) for image_id in asked]
    write(drawn.folder / "sample_submission.csv", ("image_id", "identity"), sample)
    return _clef_answers(
        asked,
        dataset,
        lambda who: f"{dataset[who]}_{who}" if who in drawn.known else NEW_INDIVIDUAL,
    )


def animalclef_2026(drawn: Catalogue) -> list[Answer]:
    """Give each individual one of four data sets, one of them without train; answers are clusters.

    The photographs of lizards are all asked about. Broken photographs are in train as drawn, so
    their individuals are no lizards.
    """
    dataset = {}
    photographs = grouped((*drawn.train, *drawn.test))
    for who, at in number(drawn.individuals).items():
        lizard = at % len(CLEF) == 1 and all(one.whole for one in photographs[who])
        dataset[who] = LIZARDS if lizard else WITH_TRAIN[at % len(WITH_TRAIN)]
    train = tuple(one for one in drawn.train if dataset[one.individual] != LIZARDS)
    moved = tuple(one for one in drawn.train if dataset[one.individual] == LIZARDS)
    asked = _write_clef(drawn.folder, dataset, {"train": train, "test": (*drawn.test, *moved)})
    sample = [(image_id, f"cluster_{dataset[one.individual]}_0") for image_id, one in asked.items()]
    write(drawn.folder / "sample_submission.csv", ("image_id", "cluster"), sample)
    return _clef_answers(asked, dataset, lambda who: who)


def _all_train(drawn: Catalogue) -> tuple[Photograph, ...]:
    return (*drawn.train, *drawn.strangers)


def _label(drawn: Catalogue, one: Photograph, unknown: str) -> str:
    return one.individual if one.individual in drawn.known else unknown


def _spelt(species: str, one: Photograph) -> str:
    return MISSPELT.get(species, species) if pick(range(3), "spelling", one.name) == 0 else species


def _write_clef(
    root: Path, dataset: dict[str, str], splits: dict[str, tuple[Photograph, ...]]
) -> dict[int, Photograph]:
    """Write the list of all photographs; the second split is asked about and has no identities.

    Returns the photographs asked about by image id, in the order of the list.
    """
    split = {one: name for name, photographs in splits.items() for one in photographs}
    place = {one: f"images/{dataset[one.individual]}/{split[one]}/{one.name}" for one in split}
    ids = number(one.name for one in split)
    ordered = sorted(split, key=lambda one: ids[one.name])
    told, asked = splits
    rows = []
    for one in ordered:
        group = dataset[one.individual]
        identity = f"{group}_{one.individual}" if split[one] == told else ""
        facing = pick(("left", "right", ""), "orientation", one.name)
        date = f"{moment(one.name):%Y-%m-%d}"
        rows.append(
            (ids[one.name], identity, place[one], date, facing, CLEF[group], split[one], group)
        )
    write(root / "metadata.csv", CLEF_HEADER, rows)
    move(ordered, lambda one: root / place[one])
    return {ids[one.name]: one for one in ordered if split[one] == asked}


def _clef_answers(
    asked: dict[int, Photograph], dataset: dict[str, str], label: Callable[[str], str]
) -> list[Answer]:
    return [
        Answer(str(image_id), label(one.individual), one.individual, dataset[one.individual])
        for image_id, one in asked.items()
    ]
