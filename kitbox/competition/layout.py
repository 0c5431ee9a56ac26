"""Reads off a data folder what a template leaves open: its folders, its columns, its labels."""

from itertools import islice, product
from pathlib import Path

from kitbox.competition import placing, tables
from kitbox.errors import KitboxError, did_you_mean

# Headers that the published lists of such competitions use; the telling ones come first, for an
# "id" beside a name is a row's number.
IMAGE_COLUMNS = ("Image", "image", "filename", "file_name", "full_path", "path", "image_id", "file")
LABEL_COLUMNS = (
    *("individual_id", "individual", "identity", "whale_id", "whale"),
    *("name", "label", "who", "folder", "Id", "id"),
)
UNKNOWN_LABELS = ("new_whale", "new_individual", "-1")


def train_folder(data: Path) -> str:
    """Return the folder of the individuals' folders, or of photographs that nobody has labelled."""
    if (data / "train").is_dir():
        return "train"
    only, *others = _folders(data) or [data]
    alone = not others and not _has_photographs(data) and is_flat(only)
    return only.name if alone else "."


def is_flat(folder: Path) -> bool:
    """Return whether a folder has photographs in it, and no folders that tell individuals apart."""
    # one folder alone is no individual whom others could be told from
    return len(_folders(folder)) < 2 and _has_photographs(folder)


def _has_photographs(folder: Path) -> bool:
    """Return whether photographs lie in a folder itself."""
    return any(file.parent == folder for file in placing.in_folder(folder))


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that may be of individuals: those to identify are not."""
    return [
        path
        for path in sorted(folder.glob("*/"))
        if not path.name.startswith(".") and path.name != "test"
    ]


def column_of(data: Path, train: str, key: str, given: dict[str, str], name: str) -> str:
    """Return the column of images or of labels that is given, or the first of the usual ones."""
    path, kind = data / train, key.removesuffix("_column")
    if not path.is_file():
        raise KitboxError(f"{data} has no {train}, which the preset {name} needs")
    header = tables.header(path)
    usual = IMAGE_COLUMNS if kind == "image" else LABEL_COLUMNS
    found = next((column for column in usual if column in header), None)
    shown = ", ".join(header) or "nothing"
    if key in given and given[key] not in header:
        raise KitboxError(
            f"{path} line 1: no column '{given[key]}' among {shown}"
            f"{did_you_mean(given[key], header)}; correct --{kind}-column"
        )
    if key not in given and found is None:
        raise KitboxError(
            f"{path} line 1: no {kind} column among {shown}; "
            f"name it {usual[0]}, or give --{kind}-column NAME"
        )
    column = given.get(key) or str(found)
    if kind == "label" and key not in given:
        _refuse_labels_of_one_image(path, column)
    return column


def _refuse_labels_of_one_image(path: Path, column: str) -> None:
    """Raise KitboxError for a guessed column in which no value repeats: it numbers the rows."""
    labels = [label for _, (label,) in tables.rows(path, (column,)) if label.strip()]
    if 1 < len(labels) == len(set(labels)):
        raise KitboxError(
            f"{path}: in column '{column}' no individual has a second image; "
            "name the column of individuals with --label-column"
        )


def folder_of_images(data: Path, train: str, column: str) -> str:
    """Return the folder, "." or one below the data's, in which the list's first images are."""
    folders = (data, *sorted(data.glob("*/")))
    # some of the first may be missing; where all are, the names are not understood
    first = [name for _, (name,) in islice(tables.rows(data / train, (column,)), 20) if name]
    for name, folder in product(first, folders):
        if _is_file(folder / name):
            return folder.relative_to(data).as_posix()
    raise KitboxError(
        f"{data / train} line 2: there is no '{''.join(first[:1])}' in {data} or a folder in it; "
        "name the images' paths from the data folder, or their column with --image-column"
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a cell of another column may be too long for a name
        return False


def unknown_label(data: Path, train: str, given: dict[str, str], name: str) -> str:
    """Return the label by which this data says that it does not know the individual."""
    if (data / train).is_file():
        column = column_of(data, train, "label_column", given, name)
        labels = {label.strip() for _, (label,) in tables.rows(data / train, (column,))}
    else:
        labels = {path.name for path in (data / "train").glob("*/")}
    return next((label for label in UNKNOWN_LABELS if label in labels), "-1")
