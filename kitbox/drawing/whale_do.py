"""The form of Where's Whale-do: encounters, and scenarios that search galleries of their own."""

from datetime import datetime, timedelta

from PIL import Image, UnidentifiedImageError

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
    require_pairs,
    write,
)

HEADER = (
    "image_id", "path", "height", "width", "viewpoint", "date", "timestamp",
    "whale_id", "encounter_id",
)  # fmt: skip
TOLD_OF_TEST = HEADER[:-2]
LONGEST_ENCOUNTER = 3  # photographs
SECONDS_APART = range(5, 60)  # of one encounter's photographs
ENOUGH = 3  # labelled photographs of a whale that may give one of them to the queries


def whale_do(drawn: Catalogue) -> list[Answer]:
    """List photographs by encounter, and two scenarios over the test photographs.

    A whale with enough labelled photographs gives one to the test side, so that most queries have
    a match there.
    """
    given = {
        whole[0]
        for group in grouped(drawn.train).values()
        if len(whole := [one for one in group if one.whole]) >= ENOUGH
    }
    sides = {
        "train": [one for one in drawn.train if one not in given],
        "test": [*drawn.test, *(one for one in drawn.train if one in given)],
    }
    pairs = {who for who, group in grouped(sides["test"]).items() if len(group) > 1}
    require_pairs(pairs, drawn)
    whales = {who: f"whale{at:03d}" for who, at in number(drawn.individuals).items()}
    ids = {one: name for side in sides for one, name in _ids(side, sides[side]).items()}
    for side, photographs in sides.items():
        rows = _metadata(photographs, ids, whales)
        labelled = side == "train"
        path = drawn.folder / ("metadata.csv" if labelled else "test_metadata.csv")
        header = HEADER if labelled else TOLD_OF_TEST
        write(path, header, [row[: len(header)] for row in sorted(rows)])
    _write_scenarios(drawn, sides["test"], ids)
    move(ids, lambda one: drawn.folder / _place(one, ids))
    return [
        Answer(ids[one], whales[one.individual], one.individual)
        for one in sorted(sides["test"], key=lambda one: ids[one])
    ]


def _ids(side: str, photographs: list[Photograph]) -> dict[Photograph, str]:
    at = number(one.name for one in photographs)
    return {one: f"{side}{at[one.name]:04d}" for one in photographs}


def _place(one: Photograph, ids: dict[Photograph, str]) -> str:
    return f"images/{ids[one]}{one.path.suffix}"


def _metadata(
    photographs: list[Photograph], ids: dict[Photograph, str], whales: dict[str, str]
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for who, group in grouped(photographs).items():
        for one, (encounter, time) in zip(group, _encounters(who, group), strict=True):
            height, width = _size(one)
            viewpoint = pick(("top", "left", "right"), "viewpoint", one.name)
            names = whales[who], f"{whales[who]}-{encounter:03d}"
            place = _place(one, ids)
            rows.append((ids[one], place, height, width, viewpoint, time.date(), time, *names))
    return rows


def _encounters(who: str, group: list[Photograph]) -> list[tuple[int, datetime]]:
    """Part a whale's photographs into encounters of one to three, minutes long at most."""
    met: list[tuple[int, datetime]] = []
    encounter = 0
    while len(met) < len(group):
        start = moment(who, str(encounter), group[0].name)
        for at in range(pick(range(LONGEST_ENCOUNTER), who, str(encounter)) + 1):
            seconds = at * pick(SECONDS_APART, "seconds", who)
            met.append((encounter, start + timedelta(seconds=seconds)))
        encounter += 1
    return met[: len(group)]


def _size(one: Photograph) -> tuple[int, int]:
    """Return height and width in pixels; a file that is no picture has none."""
    try:
        with Image.open(one.path) as image:
            return image.height, image.width
    except UnidentifiedImageError:
        return 0, 0


def _write_scenarios(drawn: Catalogue, test: list[Photograph], ids: dict[Photograph, str]) -> None:
    """Write scenario 1, which searches all of test, and 2, whose queries are not searched."""
    groups = grouped(test).values()
    matched = [one for group in groups if len(group) > 1 for one in group]
    lone = sorted(set(test) - set(matched), key=lambda one: hashed(one.name))
    first = [group[0] for group in groups if len(group) > 1]
    scenarios = {
        "scenario01": ([*matched, *lone[: len(matched) // 4]], test),
        "scenario02": (first, [one for one in test if one not in first]),
    }
    rows = [(name, f"queries/{name}.csv", f"databases/{name}.csv") for name in scenarios]
    header = ("scenario_id", "queries_path", "database_path")
    write(drawn.folder / "query_scenarios.csv", header, rows)
    for (name, queries_path, database_path), (queries, database) in zip(
        rows, scenarios.values(), strict=True
    ):
        asked = sorted((f"{name}-{ids[one]}", ids[one]) for one in queries)
        write(drawn.folder / queries_path, ("query_id", "query_image_id"), asked)
        searched = sorted((ids[one],) for one in database)
        write(drawn.folder / database_path, ("database_image_id",), searched)
