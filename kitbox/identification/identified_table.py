"""Answers as a table: identified.csv for spreadsheets, and JSON."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kitbox.identification.photograph_answers import NAMED, Answer, Identification
from kitbox.tables import write_rows

# The answers to the photographs that were identified last.
FILE = "identified.csv"
COLUMNS = (
    *("image", "verdict", "individual", "probability", "new_probability", "confirmed"),
    *("second_individual", "second_probability", "third_individual", "third_probability"),
    *("similarity", "photographs_for_it", "note", "file"),
)


def save(found: Identification) -> Path:
    """Write identified.csv into the workspace, a row for each photograph; return its path.

    The column `confirmed` is empty, for the person who checks them: see `catalogue.confirmations`.
    Probabilities are empty where nothing is calibrated. Several photographs in a cell are separated
    by semicolons. Photographs that cannot be read come last.
    """
    path = found.workspace.root / FILE
    write_rows(path, [COLUMNS, *map(_row, found.answers), *_unreadable(found)])
    return path


def as_json(found: Identification) -> dict[str, Any]:
    """Return the answers, what was left out, and how probabilities were calibrated."""
    calibration = found.catalogue.calibration
    return {
        "workspace": str(found.workspace.root),
        "network": found.catalogue.network,
        "counts": found.counts,
        "calibration": {
            "calibrated": calibration.model is not None,
            "why_not": calibration.too_small,
            "pairs": calibration.pairs,
            "encounters": calibration.encounters.count,
            "rule": calibration.encounters.sentence,
            "new_share": found.new_share,
            "matchers": [settings.full for settings in calibration.matchers],
        },
        "photographs": [
            {
                "photograph": answer.image,
                "file": str(answer.path),
                "verdict": answer.verdict,
                "new_probability": _rounded(answer.new_probability),
                "individuals": [
                    {
                        "individual": candidate.individual,
                        "probability": _rounded(candidate.probability),
                        "similarity": _rounded(candidate.similarity),
                        "photographs": list(candidate.photographs),
                    }
                    for candidate in answer.candidates
                ],
                "notes": list(answer.notes),
            }
            for answer in found.answers
        ],
        "unreadable": found.unreadable,
        "notes": [*found.catalogue.opened.notes, *found.catalogue.sentences],
    }


def _row(answer: Answer) -> list[object]:
    named: list[object] = []
    for place in range(NAMED):
        candidate = answer.candidates[place] if place < len(answer.candidates) else None
        probability = "" if candidate is None else _cell(candidate.probability)
        named += ["" if candidate is None else candidate.individual, probability]
    best = answer.candidates[0] if answer.candidates else None
    return [
        answer.image,
        answer.verdict,
        *named[:2],
        _cell(answer.new_probability),
        "",
        *named[2:],
        "" if best is None else _cell(best.similarity),
        "" if best is None else "; ".join(best.photographs),
        "; ".join(answer.notes),
        str(answer.path.resolve()),
    ]


def _unreadable(found: Identification) -> Iterator[list[object]]:
    paths = {
        str(image): path
        for image, path in zip(
            found.catalogue.opened.queries.image_ids,
            found.catalogue.opened.queries.paths,
            strict=True,
        )
    }
    for image, why in found.unreadable.items():
        empty = [""] * (len(COLUMNS) - 4)
        yield [image, "unreadable", *empty, why, str(paths[image].resolve())]


def _cell(value: float | None) -> object:
    return "" if value is None else f"{value:.3f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
