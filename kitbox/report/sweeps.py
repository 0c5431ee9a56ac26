"""The table of a sweep, as a CSV and as plain values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kitbox.files import write_table
from kitbox.training.sweep import Tried


def figures(each: Tried) -> dict[str, Any]:
    """Return all that is known of a variant, as plain values."""
    price, score, difference = each.price, each.score, each.difference
    return {
        "name": each.name,
        "differs": list(each.differs),
        "problem": each.problem,
        "epochs": each.plugin.epochs,
        "fingerprint": each.plugin.fingerprint,
        "scores": None if score is None else score.scores.as_json(),
        "against_best": None if difference is None else difference.as_json(),
        "beyond_noise": None if difference is None else difference.shown,
        "parameters": None if price is None else price.parameters,
        "multiply_adds": None if price is None else price.multiply_adds,
        "training_seconds": _rounded(each.training_seconds),
        "images_per_second": _rounded(each.images_per_second),
        "embedding_seconds_per_1000": _rounded(each.embedding_seconds),
    }


def write(path: Path, tried: Sequence[Tried]) -> None:
    """Write a table with a row for each variant, and with every metric."""
    rows: list[dict[str, Any]] = []
    for each in tried:
        row = figures(each)
        scores, against = row.pop("scores") or {}, row.pop("against_best") or {}
        row["differs"] = ", ".join(row["differs"])
        for metric, score in scores.items():
            row |= {metric: score["value"], f"{metric}_low": score["low"]}
            row[f"{metric}_high"] = score["high"]
        row |= {f"{key}_to_best": against[key] for key in ("difference", "low", "high", "p")
                if key in against}  # fmt: skip
        rows.append(row)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = [["" if row.get(column) is None else row[column] for column in columns] for row in rows]
    write_table(path, [columns, *table])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
