"""A drawn catalogue of whales: folders of individuals, the cards of two seasons, and the truth.

What a biologist has: names written by several hands, dates in names of files, individuals met once,
a photograph with two whales, a file that is broken.
"""

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from kitbox.errors import KitboxError
from kitbox.records import Progress
from kitbox.synthetic.camera import draw_size, encode_jpeg
from kitbox.synthetic.catalogue import write_list
from kitbox.synthetic.fields import Pixels
from kitbox.synthetic.fluke import Whale, draw_whale
from kitbox.synthetic.scene import Box, DrawnPhotograph, draw_photograph

CATALOGUE = "whales"
SEASONS = ("season-2025", "season-2026")
TRUTH = "truth.csv"
UNKNOWN = "unknown"  # a folder of the catalogue, of individuals that nobody knows
STRANGERS, FIRST_STRANGER = 2, 10**6

ONCE_SHARE = 0.3  # of the individuals of a catalogue
NEW_SHARE = 0.25  # of the encounters of a season
AGAIN_SHARE = 0.5  # of the new individuals of the first season that are met in the second
UNDATED_SHARE = 0.05  # of the files of a catalogue
MIN_INDIVIDUALS = 8
MIN_PHOTOGRAPHS = 5  # per individual, of which three are in the catalogue
LONG_SIDE = 640  # pixels: the networks and matchers of the demo see fewer
VARIETY = 0.5  # of poses and cameras
# second words of seeds; the plan has 0, a competition 1 to 4
WHALE, PHOTOGRAPH = 11, 12


@dataclass(frozen=True, kw_only=True)
class PlannedPhotograph:
    """The plan of an image file: `path` below the folder of the demo, and whom it shows.

    `individuals` are numbers, from left to right; `season` is "" in the catalogue.
    """

    path: str
    individuals: tuple[int, ...]
    day: date
    season: str = ""
    broken: bool = False


@dataclass(frozen=True)
class DrawnSeasons:
    """A drawn catalogue of `individuals`, and the cards of two seasons.

    `new` counts the individuals of each season that were not met before.
    """

    folder: Path
    photographs: int
    individuals: int
    new: dict[str, int]

    @property
    def sentence(self) -> str:
        """What was drawn."""
        new = ", ".join(f"{count} new ones in {season}" for season, count in self.new.items())
        return f"{self.photographs} photographs of {self.individuals} known whales, {new}"


def boxes_name(season: str) -> str:
    """Return the file with the boxes of a season, as MegaDetector writes it."""
    return f"{season}-megadetector.json"


def folder_name(individual: int) -> str:
    """Return the name of an individual in the catalogue, and in the truth."""
    return f"W-{individual + 1:03d}"


def draw(
    folder: Path, *, individuals: int = 24, photographs: int = 240, seed: int = 0
) -> Generator[Progress, None, DrawnSeasons]:
    """Draw a catalogue and two seasons into an empty folder; yields Progress.

    `individuals` are those of the catalogue, `photographs` all image files: a fifth of them in each
    season, the others in the catalogue. The bytes depend on these numbers and the seed alone.
    truth.csv has a row for each animal: its image, individual and season.

    Raises KitboxError for a number too small and a folder that is not empty.
    """
    for name, value, least in (
        ("individuals", individuals, MIN_INDIVIDUALS),
        ("photographs", photographs, MIN_PHOTOGRAPHS * individuals),
        ("seed", seed, 0),
    ):
        if value < least:
            reason = f" for {individuals} individuals" if name == "photographs" else ""
            raise KitboxError(f"{name}={value} is too small{reason}; give {least} or more")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KitboxError(f"{folder} is not an empty folder; give one, or a name not yet used")
    planned = plan(seed, individuals, photographs)
    place = folder.absolute()
    jobs = (delayed(_draw)(place, one, number, seed) for number, one in enumerate(planned))
    boxes: list[list[Box]] = []
    try:
        for path in {place / Path(one.path).parent for one in planned}:
            path.mkdir(parents=True, exist_ok=True)
        for found in Parallel(n_jobs=-1, return_as="generator")(jobs):
            boxes.append(found)
            yield Progress("draw photographs", len(boxes), len(planned))
        _write_lists(place, planned, boxes)
    except OSError as error:
        raise KitboxError(
            f"cannot write to {folder}: {error.strerror or error}; give another folder"
        ) from error
    met, new = set(range(individuals)), {}
    for season in SEASONS:
        shown = {who for one in planned if one.season == season for who in one.individuals}
        new[season] = len(shown - met)
        met |= shown
    return DrawnSeasons(folder, len(planned), individuals, new)


def plan(seed: int, individuals: int, photographs: int) -> list[PlannedPhotograph]:
    """Return the plan of every image file: the catalogue's, then those of each season."""
    rng = np.random.default_rng([seed, 0])
    of_season = photographs // 5
    known, met = list(range(individuals)), individuals
    planned = _plan_catalogue(rng, individuals, photographs - 2 * of_season)
    for season in SEASONS:
        card = _plan_card(rng, season, known, met, of_season)
        if season == SEASONS[0]:
            card = _with_several(rng, card, known)
            new = sorted({who for one in card for who in one.individuals} - set(known))
            met += len(new)
            # twice, so that some of these few are met again; the others are never
            known += 2 * new[: round(AGAIN_SHARE * len(new))]
        planned += card
    return planned


def _plan_catalogue(
    rng: np.random.Generator, individuals: int, photographs: int
) -> list[PlannedPhotograph]:
    """Plan the catalogue's files: some individuals have one, the others several days."""
    order = rng.permutation(individuals)
    many = order[round(ONCE_SHARE * individuals) :]
    # two files at least for those that are met again
    extra = rng.choice(many, max(photographs - STRANGERS - individuals - len(many), 0))
    counts = np.bincount(np.concatenate([order, many, extra]), minlength=individuals)
    numbers = count(int(rng.integers(20, 400)))  # a camera's, so that no name is there twice
    planned: list[PlannedPhotograph] = []
    for who, files in enumerate(counts.tolist()):
        name = folder_name(who)
        folder = f"{CATALOGUE}/{name}"
        for day in sorted(_day(rng, int(rng.integers(2021, 2025))) for _ in range(files)):
            number = next(numbers)
            file = _file_name(rng, name, day, number)
            if f"{folder}/{file}" in {one.path for one in planned[-files:]}:
                file = f"{Path(file).stem} ({number}).jpg"
            planned.append(PlannedPhotograph(path=f"{folder}/{file}", individuals=(who,), day=day))
    # the last file of one whale is in a second folder, which another hand named
    twice = int(many[0])
    place = max(place for place, one in enumerate(planned) if one.individuals == (twice,))
    other = folder_name(twice).lower().replace("-", "_")
    file = Path(planned[place].path).name
    planned[place] = replace(planned[place], path=f"{CATALOGUE}/{other}/{file}")
    return planned + [
        PlannedPhotograph(
            path=f"{CATALOGUE}/{UNKNOWN}/IMG_{next(numbers):04d}.jpg",
            individuals=(FIRST_STRANGER + stranger,),
            day=_day(rng, 2024),
        )
        for stranger in range(STRANGERS)
    ]


def _plan_card(
    rng: np.random.Generator, season: str, known: Sequence[int], first_new: int, photographs: int
) -> list[PlannedPhotograph]:
    """Plan a card: encounters of one to three files, a quarter with new individuals."""
    fresh = count(first_new)
    shown: list[int] = []
    while len(shown) < photographs:
        who = next(fresh) if rng.random() < NEW_SHARE else int(rng.choice(known))
        shown += [who] * int(rng.choice((1, 1, 2, 3)))
    days = sorted(_day(rng, int(season[-4:])) for _ in range(max(photographs // 8, 1)))
    numbers = count(int(rng.integers(100, 3000)))
    planned = []
    for place, who in enumerate(shown[:photographs]):
        day = days[place * len(days) // photographs]
        path = f"{season}/{day.isoformat()}/DSC_{next(numbers):04d}.JPG"
        planned.append(PlannedPhotograph(path=path, individuals=(who,), day=day, season=season))
    broken = int(rng.integers(photographs))
    planned[broken] = replace(planned[broken], broken=True)
    return planned


def _with_several(
    rng: np.random.Generator, card: Sequence[PlannedPhotograph], known: Sequence[int]
) -> list[PlannedPhotograph]:
    """Return a card with a second, known individual on two of its photographs."""
    found = list(card)
    whole = [place for place, one in enumerate(found) if not one.broken]
    for place in rng.choice(whole, 2, replace=False).tolist():
        (first,) = found[place].individuals
        other = int(rng.choice([who for who in known if who != first]))
        found[place] = replace(found[place], individuals=(first, other))
    return found


def _day(rng: np.random.Generator, year: int) -> date:
    """Draw a day of June to September, when boats go out."""
    return date(year, 6, 1) + timedelta(days=int(rng.integers(0, 110)))


def _file_name(rng: np.random.Generator, name: str, day: date, number: int) -> str:
    """Draw a file's name as one of several hands writes it; a few have no date."""
    if rng.random() < UNDATED_SHARE:
        return f"fluke {number}.jpg"
    styles = (
        f"{day:%Y-%m-%d} {name}.jpg",
        f"{name.replace('-', '')}_{day:%Y%m%d}.jpg",
        f"IMG_{day:%Y%m%d}_{number:04d}.jpg",
        f"{day:%Y_%m_%d}_{name.lower()}_fluke.jpg",
    )
    return styles[rng.integers(len(styles))]


def _draw(folder: Path, one: PlannedPhotograph, number: int, seed: int) -> list[Box]:
    """Write an image file; return the boxes of its whales, () of a broken one."""
    rng = np.random.default_rng([seed, PHOTOGRAPH, number])
    size, sea = draw_size(rng, LONG_SIDE), int(rng.integers(2**31))
    # several whales in one photograph are in one sea
    pixels, boxes = _side_by_side(
        [
            draw_photograph(np.random.default_rng(sea), _whale(seed, who), *size, VARIETY)
            for who in one.individuals
        ]
    )
    data = encode_jpeg(pixels, int(rng.integers(70, 93)))
    (folder / one.path).write_bytes(data[: len(data) // 2] if one.broken else data)
    return [] if one.broken else boxes


def _whale(seed: int, individual: int) -> Whale:
    return draw_whale(np.random.default_rng([seed, WHALE, individual]))


def _side_by_side(pictures: Sequence[DrawnPhotograph]) -> tuple[Pixels, list[Box]]:
    """Return one picture of several whales; the sea between them is blended, not cut."""
    pixels, boxes = pictures[0].pixels, [pictures[0].box]
    for picture in pictures[1:]:
        seam = picture.pixels.shape[1] // 6
        left = cv2.copyMakeBorder(pixels, 0, 0, 0, seam, cv2.BORDER_REFLECT)[:, -seam:]
        right = cv2.copyMakeBorder(picture.pixels, 0, 0, seam, 0, cv2.BORDER_REFLECT)[:, :seam]
        share = np.linspace(0, 1, seam, dtype=np.float32)[None, :, None]
        strip = np.rint(left * (1 - share) + right * share).astype(np.uint8)
        start = pixels.shape[1] + seam
        x0, y0, x1, y1 = picture.box
        boxes.append((x0 + start, y0, x1 + start, y1))
        pixels = np.concatenate([pixels, strip, picture.pixels], axis=1)
    return pixels, boxes


def _write_lists(
    folder: Path, planned: Sequence[PlannedPhotograph], boxes: Sequence[Sequence[Box]]
) -> None:
    rows = []
    for one in planned:
        for place, who in enumerate(one.individuals, 1):
            name = one.path if len(one.individuals) == 1 else f"{one.path}#{place}"
            unknown = Path(one.path).parent.name == UNKNOWN
            individual = "" if unknown else folder_name(who)
            rows.append((name, individual, one.season, "broken" if one.broken else ""))
    write_list(folder / TRUTH, ("image", "individual", "season", "file"), rows)
    for season in SEASONS:
        own = [
            (one, found) for one, found in zip(planned, boxes, strict=True) if one.season == season
        ]
        if any(len(one.individuals) > 1 for one, _ in own):
            text = json.dumps(_megadetector(folder, own), indent=1) + "\n"
            (folder / boxes_name(season)).write_text(text, encoding="utf-8")


def _megadetector(
    folder: Path, found: Sequence[tuple[PlannedPhotograph, Sequence[Box]]]
) -> dict[str, object]:
    """Return a document as MegaDetector writes it: boxes as shares of the photograph."""
    images: list[dict[str, object]] = []
    for one, boxes in found:
        file = Path(one.path).relative_to(one.season).as_posix()
        if one.broken:
            images.append({"file": file, "failure": "image access failure", "detections": None})
            continue
        with Image.open(folder / one.path) as image:
            width, height = image.size
        images.append(
            {
                "file": file,
                "detections": [
                    {
                        "category": "1",
                        "conf": 0.9,
                        "bbox": [
                            round(x0 / width, 4),
                            round(y0 / height, 4),
                            round((x1 - x0) / width, 4),
                            round((y1 - y0) / height, 4),
                        ],
                    }
                    for x0, y0, x1, y1 in boxes
                ],
            }
        )
    return {
        "info": {"format_version": "1.4", "detector": "drawn boxes"},
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "images": images,
    }
