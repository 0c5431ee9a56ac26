"""The drawn competition in the files and lists of every competition that kitbox knows."""

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
}
# These have boxes, and a place for labelled photographs of nobody known; in all others such
# photographs would have to be given an identity that is not theirs, so they are left out.
KEEP_UNKNOWN = ("humpback", "gdsc2020")


def arrange(data: Path, truth: Path, form: str) -> None:
    """Turn a competition in the humpback form into another form in place, and rewrite its truth.

    `truth` comes with the columns Image, Id, individual and goes with image, label, individual,
    group: a row for each query, and for each searched image whose label a competitor is not told.
    The files keep their bytes and suffixes. A stopped run leaves a mixture: arrange a copy, or
    aside.

    Raises KitboxError for an unknown form, lists that are not in the humpback form, and a folder
    that cannot be written.
    """
    if form not in LAYOUTS:
        raise KitboxError(
            f"no form named {form}{did_you_mean(form, LAYOUTS)}; there are {', '.join(LAYOUTS)}"
        )
    drawn = catalogue.read_catalogue(data, truth)
    try:
        if form != "humpback":
            _clear(drawn)
        if form not in KEEP_UNKNOWN:
            _leave_out_strangers(drawn)
        answers = LAYOUTS[form](drawn)
        for part in (data / "train", data / "test"):
            if part.is_dir() and not any(part.iterdir()):
                part.rmdir()
        header = [field.name for field in fields(TruthRow)]
        catalogue.write_list(truth, header, [astuple(answer) for answer in answers])
    except OSError as error:
        raise KitboxError(
            f"cannot arrange {data} as {form}: {error.strerror or error}; draw it anew"
        ) from error


def _clear(drawn: Catalogue) -> None:
    for name in ("train.csv", "sample_submission.csv"):
        (drawn.folder / name).unlink()


def _leave_out_strangers(drawn: Catalogue) -> None:
    (drawn.folder / "boxes.csv").unlink(missing_ok=True)
    for one in drawn.strangers:
        one.path.unlink()
