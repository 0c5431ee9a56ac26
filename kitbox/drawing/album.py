"""Some photographs of one whale, drawn and written to files: the unit of parallel work."""

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np

from kitbox.drawing.camera import encoded, frame
from kitbox.drawing.photograph import Box, near_duplicate, photograph
from kitbox.drawing.roster import Sighting
from kitbox.drawing.whale import Whale, whale

PAGES = 12  # photographs in an album: its whale is drawn once for them all
WEB_PAGE = b"<!DOCTYPE html>\n<html><body><h1>404 Not Found</h1></body></html>\n"

# the first word after the seed keeps the random numbers of different things apart; 0 is the roster
WHALE, MOMENT, FILE = 1, 2, 3


def albums(sightings: list[Sighting]) -> Iterator[list[Sighting]]:
    """Group sightings by individual, at most `PAGES` in a group."""
    by_whale = attrgetter("individual")
    for _, group in groupby(sorted(sightings, key=by_whale), by_whale):
        whole = list(group)
        yield from (whole[at : at + PAGES] for at in range(0, len(whole), PAGES))


def draw_album(
    folder: Path, album: list[Sighting], seed: int, long_side: int
) -> list[tuple[Sighting, Box | None]]:
    """Write the files of one individual; a broken file has no box."""
    subject = whale(np.random.default_rng([seed, WHALE, album[0].individual]))
    return [(page, _draw(folder, subject, page, seed, long_side)) for page in album]


def _draw(folder: Path, subject: Whale, page: Sighting, seed: int, long_side: int) -> Box | None:
    moment = np.random.default_rng([seed, MOMENT, page.moment])
    own = np.random.default_rng([seed, FILE, int(Path(page.image_id).stem, 16)])
    picture = photograph(moment, subject, *frame(moment, long_side))
    if page.kind == "near-duplicate":
        picture = near_duplicate(own, picture)
    data = encoded(picture.pixels, int(own.integers(60, 96)))
    broken = {"truncated": data[: len(data) // 2], "empty": b"", "web page": WEB_PAGE}
    path = folder / ("test" if page.test else "train") / page.image_id
    path.write_bytes(broken.get(page.kind, data))
    return None if page.kind in broken else picture.box
