"""Rows of a catalogue to export, and the cells of what was written."""

import csv
from pathlib import Path

from kitbox.catalogue.catalogue_list import CatalogueRow

ROWS = (
    CatalogueRow("c/a1.jpg", "A", "2019-07-03T10:11:12", "Bay", "left"),
    CatalogueRow("c/a2.jpg", "A", "2019-07-03", "Bay", "right"),
    CatalogueRow("c/a3.jpg", "A", "2021-12-30", "Bay"),
    CatalogueRow("c/b1.jpg", "=B", "2021-02-01", "", "", "E7"),
    CatalogueRow("c/b2.png", "=B", "2021", "Fjord"),
    CatalogueRow("c/c1.jpg", "C"),
)


def cells(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))
