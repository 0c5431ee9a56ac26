"""Takes pseudo-labels over from a list that other programs made."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from kitbox.competition import pseudo_labels
from kitbox.competition.pseudo_labels import PseudoLabel, holdout_digest
from kitbox.competition.settings import Competition
from kitbox.ensemble.guesses import Guesses, Rule, chosen
from kitbox.errors import KitboxError, more
from kitbox.images.collection import Collection
from kitbox.records import Strings, strings
from kitbox.training.pseudo_labels import free_images


@dataclass(frozen=True)
class Taken:
    """Pseudo-labels of a list of `asked` rows, and the names in it that mean nothing here."""

    rows: tuple[PseudoLabel, ...]
    asked: int
    no_test_images: tuple[str, ...]
    no_labels: tuple[str, ...]


def take(
    path: Path, collection: Collection, competition: Competition, rule: Rule, on: str
) -> Taken:
    """Return the rows of a list as the GDSC 2020 solution keeps it, by the rule of our own.

    An image is found by the name of its file, with suffix or without. `on` says what the networks
    behind the list had learnt from. Raises KitboxError where no row names a test image, where an
    image is named twice, and for a `gap`, of which such a list knows nothing.
    """
    if rule.gap:
        raise KitboxError(f"{path} tells no second probability; leave --gap out")
    found: dict[str, tuple[str, float]] = {}
    line_of: dict[str, int] = {}
    strangers, unheard = [], []
    image_of = _names(collection)
    labels = set(np.unique(_labels(collection)).tolist())
    asked = 0
    for line, file, given, probability in pseudo_labels.read_gdsc(path):
        asked += 1
        name = PurePosixPath(file.replace("\\", "/"))
        image = image_of.get(name.name) or image_of.get(name.stem)
        label = collection.decided.merged.get(given, given)
        if image is None:
            strangers.append(file)
        elif label not in labels:
            unheard.append(given)
        elif image in found:
            raise KitboxError(f"{path} line {line}: '{file}' is in line {line_of[image]} already")
        else:
            found[image], line_of[image] = (label, probability), line
    if strangers and len(strangers) == asked:
        raise KitboxError(
            f"{path}: '{strangers[0]}' is no test image{more(asked - 1)}; "
            "names of files are compared, with suffix or without"
        )
    rows = _rows(found, path, collection, competition, rule, on)
    return Taken(rows, asked, tuple(strangers), tuple(unheard))


def _rows(
    found: dict[str, tuple[str, float]],
    path: Path,
    collection: Collection,
    competition: Competition,
    rule: Rule,
    on: str,
) -> tuple[PseudoLabel, ...]:
    assert collection.test is not None  # noqa: S101  images of it were found
    bits = competition.holdout.near_duplicate_bits
    free = set(collection.test.image_ids[free_images(collection, bits)].tolist())
    ids = sorted(free & set(found))
    guesses = Guesses(
        strings(ids),
        strings([found[image][0] for image in ids]),
        np.array([found[image][1] for image in ids], dtype=np.float64),
        np.zeros(len(ids)),
    )
    asked = collection.holdout.query.image_ids
    apart = holdout_digest(asked) if on == "holdout" else ""
    kept = np.flatnonzero(chosen(guesses, rule, competition.images.unknown_label))
    return tuple(
        PseudoLabel(ids[row], *found[ids[row]], None, 1, f"import {path.name}", on, apart)
        for row in kept.tolist()
    )


def _names(collection: Collection) -> dict[str, str]:
    """Return file name, and name without suffix → test image, where they mean one alone."""
    if collection.test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    pairs = {
        (name, image)
        for image, path in zip(
            collection.test.image_ids.tolist(), collection.test.paths, strict=True
        )
        for name in (image, path.name, path.stem)
    }
    meant = Counter(name for name, _ in pairs)
    return {name: image for name, image in pairs if meant[name] == 1}


def _labels(collection: Collection) -> Strings:
    assert collection.labelled.labels is not None  # noqa: S101  labelled images
    return collection.labelled.labels
