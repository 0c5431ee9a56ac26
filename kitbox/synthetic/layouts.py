"""Layouts: the drawn competition in the files and lists of every known competition."""

from collections.abc import Callable
from dataclasses import astuple, fields
from pathlib import Path

from kitbox.errors import KitboxError, did_you_mean
from kitbox.synthetic import animal_layouts, catalogue, object_layouts
from kitbox.synthetic.catalogue import Catalogue, TruthRow

LAYOUTS: dict[str, Callable[[Catalogue], list[TruthRow]]] = {
    "humpback": animal_layouts.humpback,
    "gdsc2020": animal_layouts.gdsc2020,
    "folder": animal_layouts.folder,
    "csv": animal_layouts.csv,
    "whale-do": animal_layouts.whale_do,
    "happywhale": animal_layouts.happywhale,
    "hotel-id-2021": object_layouts.hotel_id_2021,
    "hotel-id-2022": object_layouts.hotel_id_2022,
    "landmark-retrieval": object_layouts.landmark_retrieval,
    "landmark-recognition": object_layouts.landmark_recognition,
    "shopee": object_layouts.shopee,
    "animalclef-2025": animal_layouts.animalclef_2025,
    "animalclef-2026": animal_layouts.animalclef_2026,
    "jaguar-2026": animal_layouts.jaguar_2026,
}
# Layouts with boxes, and with a label for unknown individuals in train; in all others such
# photographs would need an identity that is not theirs, so they are left out.
KEEP_UNKNOWN = ("humpback", "gdsc2020")


def arrange(data: Path, truth: Path, layout: str) -> None:
    """Change a competition from the humpback layout to another, in place, and rewrite its truth.

    `truth` has the columns Image, Id, individual before, and image, label, individual, group after:
    a row for each query, and for each gallery image whose label is hidden from competitors. Files
    keep their bytes and suffixes. A stopped run leaves a mixture of both layouts, so work on a
    copy.

    Raises KitboxError for an unknown layout, lists that are not in the humpback layout, and a
    folder that cannot be written.
    """
    if layout not in LAYOUTS:
        raise KitboxError(
            f"no layout named {layout}{did_you_mean(layout, LAYOUTS)}; "
            f"there are {', '.join(LAYOUTS)}"
        )
    drawn = catalogue.read_catalogue(data, truth)
    try:
        if layout != "humpback":
            _remove_lists(drawn)
        if layout not in KEEP_UNKNOWN:
            _remove_unknown(drawn)
        rows = LAYOUTS[layout](drawn)
        for part in (data / "train", data / "test"):
            if part.is_dir() and not any(part.iterdir()):
                part.rmdir()
        header = [field.name for field in fields(TruthRow)]
        catalogue.write_list(truth, header, [astuple(row) for row in rows])
    except OSError as error:
        raise KitboxError(
            f"cannot arrange {data} as {layout}: {error.strerror or error}; draw it again"
        ) from error


def _remove_lists(drawn: Catalogue) -> None:
    for name in ("train.csv", "sample_submission.csv"):
        (drawn.folder / name).unlink()


def _remove_unknown(drawn: Catalogue) -> None:
    (drawn.folder / "boxes.csv").unlink(missing_ok=True)
    for one in drawn.unknown:
        one.path.unlink()
