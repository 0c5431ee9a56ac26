"""The demo of a catalogue: two seasons as a biologist meets them, and the truth beside them."""

import contextlib
import csv
import io
import json
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kitbox.cli.terminal import follow, print_json, print_line, print_table, print_whole
from kitbox.errors import KitboxError, counted, format_duration
from kitbox.workspace import Workspace

# Small and frozen, so that the demo is quick anywhere; a fluke is twice as wide as high.
NETWORK = "tf_efficientnet_lite0_224_frozen@image_size=128x256"
PATTERN = "W-{number:03d}"
# Scars and pigment are what people tell flukes apart by; keypoints find them again.
MATCHER = "sift"
PLACE = "North Bay"
EXPORTS: dict[str, tuple[str, ...]] = {
    "encounters.csv": (),
    "history.inp": (),
    "wildbook.csv": ("--format", "wildbook", "--species", "Megaptera novaeangliae"),
}
WORKSPACE = Path("whales-kitbox")
# What was drawn, and how good the answers were.
RECORD = "demo.json"
_DRAWING = ".drawing"


@dataclass(frozen=True)
class DrawnCounts:
    """How many individuals and photographs are drawn, and from which seed."""

    individuals: int
    photographs: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class SeasonFigures:
    """The answers to the photographs of a season, compared with the truth.

    `known` are photographs of individuals that the catalogue had: named `right` or `wrong`, called
    new (`missed`) or undecided; of `new` ones some are `found` and some `misnamed`. `first` counts
    the known ones whose likeliest individual is right, whatever the verdict, and `ranked` the new
    ones among as many photographs with the largest probability of a new individual.
    """

    known: int
    right: int
    wrong: int
    missed: int
    first: int
    new: int
    found: int
    misnamed: int
    ranked: int

    @property
    def sentence(self) -> str:
        """All of it, with what is undecided."""
        open_known = self.known - self.right - self.wrong - self.missed
        open_new = self.new - self.found - self.misnamed
        return (
            f"By the truth: of {counted(self.known, 'photograph')} of known whales {self.right} "
            f"are named rightly, {self.wrong} wrongly, {self.missed} are called new and "
            f"{open_known} are undecided; the likeliest whale is right in {self.first}. Of "
            f"{counted(self.new, 'photograph')} of new whales {self.found} are called new, "
            f"{self.misnamed} get a name and {open_new} are undecided; of the {self.new} with the "
            f"largest probability of a new whale {self.ranked} are new."
        )


def play(
    folder: Path,
    counts: DrawnCounts,
    *,
    draw_only: bool,
    device: str,
    precision: str,
    as_json: bool,
) -> None:
    """Draw a catalogue and two seasons, and run the commands on them that a biologist would.

    What an earlier run drew and what was confirmed stays, and the steps that are done are left out.
    Raises KitboxError for a folder with anything else in it, and for other counts than it has.
    """
    began = time.monotonic()
    if not draw_only:
        _require_weights(folder)
    _draw(folder, counts)
    if draw_only:
        print_line(f"next: cd {folder} && kitbox identify season-2025 --catalogue whales")
        return
    options = [
        word
        for name, value in (("--device", device), ("--precision", precision))
        if value != "auto"
        for word in (name, value)
    ]
    quiet = contextlib.redirect_stdout(io.StringIO()) if as_json else contextlib.nullcontext()
    with contextlib.chdir(folder), quiet:
        print_whole(f"\n$ cd {shlex.quote(str(folder))}")
        figures = _play(options)
    seconds = time.monotonic() - began
    if as_json:
        print_json({"folder": str(folder), "seasons": figures, "seconds": round(seconds, 1)})
        return
    _tell_what_is_next(folder, figures, seconds)


def _play(options: Sequence[str]) -> dict[str, Any]:
    """Run all steps in the current folder; return the figures of each season."""
    from kitbox.synthetic.whale_catalogue import CATALOGUE, SEASONS

    record = json.loads(Path(RECORD).read_text("utf-8"))
    identify = ("--catalogue", CATALOGUE, "--with", NETWORK, "--match", MATCHER, *options)
    truth = _truth()
    if _is_confirmed(SEASONS[0]):
        print_line(f"{SEASONS[0]} was confirmed and added by an earlier run; it stays as it is")
    else:
        record["seasons"][SEASONS[0]] = asdict(_first_season(identify, truth))
        _save(record)
    if set(_individuals()).issuperset(_readable(truth, SEASONS[1])):
        print_line(f"{SEASONS[1]} is in the catalogue already")
    else:
        _say(
            "A year later there is another card. Only its photographs are embedded, the others "
            "come from the cache; whales that were new last season have names now."
        )
        before = _individuals()
        _kitbox("identify", SEASONS[1], *identify)
        figures = _figures(truth, before)
        _say(figures.sentence)
        _tell_of_met_again(truth, before, SEASONS)
        record["seasons"][SEASONS[1]] = asdict(figures)
        _save(record)
    _say("How good is the catalogue, by itself? Each photograph is asked about without its day:")
    _kitbox("identify", *identify, "--audit")
    _say("For other programs:")
    at = ("--workspace", str(WORKSPACE))
    for file, of_format in EXPORTS.items():
        _kitbox("catalogue", "export", file, *of_format, *at)
    return dict(record["seasons"])


def _first_season(identify: Sequence[str], truth: "Mapping[str, _Animal]") -> SeasonFigures:
    """Identify the first card, merge what is one whale, read boxes, confirm and add."""
    from kitbox.synthetic.whale_catalogue import SEASONS, boxes_name

    season, at = SEASONS[0], ("--workspace", str(WORKSPACE))
    _say("Who is on the photographs of the first card? Nothing is trained.")
    _kitbox("identify", season, *identify)
    _say(
        "A verdict that is a name has a probability of 0.8 or more; 'new?' means that the whale is "
        "as probably not in the catalogue; 'undecided' wants a look. The page has each photograph "
        "beside those of its likeliest whales. Two folders of the catalogue are one whale:"
    )
    for one, other in dict(_two_names(truth)).items():
        _kitbox("catalogue", "merge", one, other, *at)
    several = sum(animal.of_several for animal in truth.values() if animal.season == season) // 2
    _say(
        f"{counted(several, 'photograph')} of the card show two whales. A detector found them (its "
        "file was drawn, too). Each whale becomes a query, and photographs are cropped to boxes:"
    )
    _kitbox("identify", season, *identify, "--boxes", boxes_name(season))
    before = _individuals()
    figures = _figures(truth, before)
    _say(figures.sentence)
    filled = _confirm(truth, before)
    _say(
        "Now a person looks at identified.html and fills in the column confirmed of "
        f"identified.csv. Here the demo does it, from the truth: {filled}."
    )
    table = str(WORKSPACE / "identified.csv")
    _kitbox("catalogue", "add", table, "--pattern", PATTERN, "--place", PLACE, *at)
    return figures


@dataclass(frozen=True)
class _Animal:
    """Whom an image shows by the truth; '' where nobody knows."""

    individual: str
    season: str
    is_broken: bool
    of_several: bool


def _truth() -> "dict[str, _Animal]":
    """Return image → the animal on it, an image for each of several animals."""
    from kitbox.synthetic.whale_catalogue import TRUTH

    with Path(TRUTH).open(encoding="utf-8", newline="") as file:
        return {
            row["image"]: _Animal(
                row["individual"], row["season"], row["file"] == "broken", "#" in row["image"]
            )
            for row in csv.DictReader(file)
        }


def _readable(truth: "Mapping[str, _Animal]", season: str) -> Iterator[str]:
    return (
        image for image, animal in truth.items() if animal.season == season and not animal.is_broken
    )


def _individuals() -> dict[str, str]:
    """Return image → individual in the catalogue as it is now."""
    from kitbox.catalogue import catalogue_list

    return {
        row.image: row.individual for row in catalogue_list.load(Workspace(WORKSPACE).catalogue)
    }


def _is_confirmed(season: str) -> bool:
    return any(image.startswith(f"{season}/") for image in _individuals())


def _two_names(truth: "Mapping[str, _Animal]") -> Iterator[tuple[str, str]]:
    """Yield (name, other name) of each whale that has two in the catalogue."""
    for image, name in _individuals().items():
        if image in truth and name != truth[image].individual:
            yield name, truth[image].individual


def _names(truth: "Mapping[str, _Animal]", individuals: Mapping[str, str]) -> dict[str, str]:
    """Return whale by the truth → its name in the catalogue."""
    return {truth[image].individual: name for image, name in individuals.items() if image in truth}


def _answers() -> list[dict[str, str]]:
    with (WORKSPACE / "identified.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _figures(truth: "Mapping[str, _Animal]", before: Mapping[str, str]) -> SeasonFigures:
    """Compare identified.csv with the truth; a photograph of two whales counts with its boxes."""
    names = _names(truth, before)
    counts: Counter[str] = Counter()
    is_new: list[tuple[float, bool]] = []
    for row in _answers():
        animal = truth.get(row["image"])
        if animal is None or row["verdict"] == "unreadable":
            continue
        name, verdict = names.get(animal.individual), row["verdict"]
        is_new.append((-float(row["new_probability"] or 0), name is None))
        named = verdict not in ("new?", "undecided")
        if name is None:
            counts.update(new=1, found=verdict == "new?", misnamed=named)
        else:
            right = named and verdict == name
            counts.update(known=1, right=right, wrong=named and not right)
            counts.update(missed=verdict == "new?", first=row["individual"] == name)
    is_new.sort()
    parts = ("known", "right", "wrong", "missed", "first", "new", "found", "misnamed")
    return SeasonFigures(
        **{part: int(counts[part]) for part in parts},
        ranked=sum(new for _, new in is_new[: counts["new"]]),
    )


def _tell_of_met_again(
    truth: "Mapping[str, _Animal]", before: Mapping[str, str], seasons: Sequence[str]
) -> None:
    """Print how whales are answered that the first season added."""
    drawn = {animal.individual for animal in truth.values() if animal.season == ""}
    names = _names(truth, before)
    again = [
        row["individual"] == names[truth[row["image"]].individual]
        for row in _answers()
        if row["image"] in truth
        and truth[row["image"]].individual in set(names) - drawn
        and row["verdict"] != "unreadable"
    ]
    if again:
        _say(
            f"{counted(len(again), 'photograph')} show whales that were new in {seasons[0]}: the "
            f"likeliest whale is right in {sum(again)}."
        )


def _confirm(truth: "Mapping[str, _Animal]", before: Mapping[str, str]) -> str:
    """Fill in the column confirmed of identified.csv from the truth; return what was filled in."""
    from kitbox.tables import write_rows

    names = _names(truth, before)
    groups: dict[str, str] = {}
    counts: Counter[str] = Counter()
    rows = _answers()
    for row in rows:
        animal = truth.get(row["image"])
        if animal is None or row["verdict"] == "unreadable":
            counts["left open"] += 1
            continue
        name = names.get(animal.individual)
        if name is None:
            cell = groups.setdefault(animal.individual, f"new {len(groups) + 1}")
            counts["new"] += 1
        else:
            cell = "yes" if row["individual"] == name and row["verdict"] != "new?" else name
            counts["yes" if cell == "yes" else "another name"] += 1
        row["confirmed"] = cell
    write_rows(WORKSPACE / "identified.csv", [list(rows[0]), *(list(row.values()) for row in rows)])
    return (
        f"{counts['yes']} × yes, {counts['another name']} × another name, {counts['new']} × new "
        f"(of {counted(len(groups), 'whale')}), and {counts['left open']} left open"
    )


def _require_weights(folder: Path) -> None:
    """Raise KitboxError where the network of the demo has no weights, before anything is drawn."""
    from kitbox.plugin import discovery
    from kitbox.weights import weight_source

    named = discovery.load(NETWORK, None)
    weights = Workspace((folder / WORKSPACE).absolute()).weights
    if not weight_source.installed_source(named.plugin.weights, named.plugin.backbone, weights):
        raise KitboxError(
            f"the weights of {named.plugin.backbone} are not here", fix="install kitbox[demo]"
        )


def _draw(folder: Path, counts: DrawnCounts) -> None:
    """Draw the photographs and move them in when they are complete; keep what was drawn earlier."""
    from kitbox.synthetic import whale_catalogue

    record = folder / RECORD
    if record.is_file():
        drawn = DrawnCounts(**json.loads(record.read_text("utf-8"))["drawn"])
        if drawn != counts:
            raise KitboxError(
                f"{folder} has {drawn.photographs} photographs of {drawn.individuals} whales, "
                f"drawn from seed {drawn.seed}",
                fix="give the same numbers to continue, or choose another --folder",
            )
        print_line(f"{folder} was drawn by an earlier run; nothing in it is deleted")
        return
    if folder.exists() and (
        not folder.is_dir() or any(path.name != _DRAWING for path in folder.iterdir())
    ):
        raise KitboxError(f"{folder} is not empty and no demo", fix="choose another --folder")
    aside = folder / _DRAWING
    shutil.rmtree(aside, ignore_errors=True)  # of an interrupted drawing
    print_line(
        f"drawing {counts.photographs} photographs of {counts.individuals} known whales and of new "
        f"ones in {folder}"
    )
    drawn_seasons = follow(whale_catalogue.draw(aside, **asdict(counts)))
    print_line(f"{drawn_seasons.sentence}; the truth is in {folder / whale_catalogue.TRUTH}")
    for path in sorted(aside.iterdir()):
        path.rename(folder / path.name)
    aside.rmdir()
    with contextlib.chdir(folder):
        _save({"drawn": asdict(counts), "seasons": {}})


def _save(record: dict[str, Any]) -> None:
    from kitbox.files import write_json

    write_json(Path(RECORD), record)


def _kitbox(*words: str) -> None:
    """Print a command line and run it, in this process."""
    from kitbox.cli.app import app  # which imports this module

    print_whole(f"\n$ kitbox {shlex.join(words)}")
    app(words, standalone_mode=False)


def _say(text: str) -> None:
    print_line(f"\n{text}")


def _tell_what_is_next(folder: Path, figures: Mapping[str, Any], seconds: float) -> None:
    """Print the figures of both seasons, where everything lies, and commands for own folders."""
    print_line("")
    print_table(
        ("season", "of known", "right", "wrong", "undecided", "of new", "found", "got a name"),
        [
            (
                season,
                *(
                    str(number)
                    for number in (
                        *(of["known"], of["right"], of["wrong"]),
                        of["known"] - of["right"] - of["wrong"] - of["missed"],
                        *(of["new"], of["found"], of["misnamed"]),
                    )
                ),
            )
            for season, of in figures.items()
        ],
    )
    root = folder / WORKSPACE
    print_line(f"\nthe demo took {format_duration(seconds)}. What there is now:")
    for line in (
        f"{folder / 'whales'}, {folder / 'season-2025'}, {folder / 'season-2026'}: photographs",
        f"{root / 'identified.html'}: the answers to the second season, to look at",
        f"{root / 'identified.csv'}: the same, with the column confirmed to fill in",
        f"{root / 'catalogue.csv'}, {root / 'catalogue-history.csv'}: the catalogue, its changes",
        f"{', '.join(str(folder / name) for name in EXPORTS)}: exports",
    ):
        print_whole(f"  {line}")
    print_line("what to try next here:")
    print_whole(f"  cd {shlex.quote(str(folder))}")
    print_whole(f"  kitbox look --workspace {WORKSPACE}")
    print_whole(f"  kitbox catalogue add --workspace {WORKSPACE}")
    print_line("or, with the column confirmed of the table filled in:")
    print_whole(f"  kitbox catalogue add {WORKSPACE}/identified.csv --workspace {WORKSPACE}")
    print_line("on your own photographs, with a folder for each individual in KNOWN:")
    print_whole("  kitbox identify NEW --catalogue KNOWN")
    print_whole("  kitbox identify --catalogue KNOWN --audit")
    print_whole(
        f"  kitbox catalogue add KNOWN-kitbox/identified.csv --pattern '{PATTERN}' "
        "--workspace KNOWN-kitbox"
    )
    print_line(
        "Without --with the best network that is installed is taken; docs/catalogue.md is the guide"
    )
