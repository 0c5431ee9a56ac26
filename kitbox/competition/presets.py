"""Presets: the settings of known competitions, filled in from a data folder.

A preset is a `kitbox.toml` in the folder `presets/`, in which `<root>` and other names in angle
brackets are filled in. A line that begins with a condition is commented out unless that holds:
`<?boxes.csv>` needs such a file or folder in the data (boxes also need kitbox's columns),
`<?--test-list|--test-folder>` needs one of these options, and `<?unlabelled>` needs a folder
without individuals' folders.
"""

import re
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from kitbox import tables
from kitbox.competition import boxes, folder_scan, list_entries, lists, protocol, settings
from kitbox.competition.findings import DataFinding
from kitbox.competition.lists import ListSurvey
from kitbox.competition.settings import Competition, ImageSettings
from kitbox.errors import KitboxError, did_you_mean, more, readable
from kitbox.files import create_folder, write_text
from kitbox.value import explain
from kitbox.workspace import SETTINGS, Workspace

# Headers of the published lists of such competitions. Specific ones come first: an "id" beside a
# name is only a row number.
IMAGE_COLUMNS = ("Image", "image", "filename", "file_name", "full_path", "path", "image_id", "file")
LABEL_COLUMNS = (
    *("individual_id", "individual", "identity", "whale_id", "whale"),
    *("name", "label", "who", "folder", "Id", "id"),
)
UNKNOWN_LABELS = ("new_whale", "new_individual", "-1")


def find_train_folder(data: Path) -> str:
    """Return the folder with the individuals' folders, or with unlabelled photographs."""
    if (data / "train").is_dir():
        return "train"
    first, *others = _individual_folders(data) or [data]
    if others or first == data or _has_photographs(data):
        return "."
    return first.name if is_flat(first) or _has_individuals(first) else "."


def _has_individuals(folder: Path) -> bool:
    """Return whether a folder has two folders or more with photographs, none of them a date."""
    inner = [path for path in _individual_folders(folder) if folder_scan.list_images(path)]
    return len(inner) > 1 and not any(folder_scan.is_part(path.name) for path in inner)


def _train_folder(data: Path, given: dict[str, str]) -> str:
    return given.get("train_folder") or find_train_folder(data)


def is_flat(folder: Path) -> bool:
    """Return whether a folder has photographs in it and no folders of individuals."""
    # a single folder is not an individual: there is no other one to distinguish
    return len(_individual_folders(folder)) < 2 and _has_photographs(folder)


def _has_photographs(folder: Path) -> bool:
    """Return whether photographs lie in a folder itself."""
    return any(
        path.suffix.lower() in folder_scan.IMAGE_SUFFIXES and path.is_file()
        for path in folder.iterdir()
        if not folder_scan.is_hidden(path.name)
    )


def _individual_folders(folder: Path) -> list[Path]:
    """Return the subfolders that may be of individuals: all but "test" and hidden ones."""
    return [path for path in folder_scan.subfolders(folder) if path.name != "test"]


def find_column(data: Path, train: str, key: str, given: dict[str, str], name: str) -> str:
    """Return the given column of images or labels, or the first usual one in the list."""
    path, kind = data / train, key.removesuffix("_column")
    if not path.is_file():
        raise KitboxError(f"{data} has no {train}, which the preset {name} needs")
    usual = IMAGE_COLUMNS if kind == "image" else LABEL_COLUMNS
    header = tables.read_header(path, (given[key],) if key in given else usual)
    guess = next((column for column in usual if column in header), None)
    columns = tables.join(header)
    if key in given and given[key] not in header:
        raise KitboxError(
            f"no column '{given[key]}' among {columns}{did_you_mean(given[key], header)}",
            where=f"{path} line 1",
            fix=f"correct --{kind}-column",
        )
    if key not in given and guess is None:
        raise KitboxError(
            f"no {kind} column among {columns}",
            where=f"{path} line 1",
            fix=f"name it {usual[0]}, or give --{kind}-column NAME",
        )
    column = given.get(key) or str(guess)
    tables.refuse_repeated(path, header, (column,))
    if kind == "label" and key not in given:
        _refuse_labels_of_one_image(path, column)
    return column


def _refuse_labels_of_one_image(path: Path, column: str) -> None:
    """Raise KitboxError if no value repeats in a guessed label column: it may be row numbers."""
    labels = [label for _, (label,) in tables.read_columns(path, (column,)) if label.strip()]
    if 1 < len(labels) == len(set(labels)):
        raise KitboxError(
            f"in column '{column}' no individual has a second image",
            where=str(path),
            fix="name the column of individuals with --label-column",
        )


def find_folder_column(competition: Competition) -> str | None:
    """Return the column of a list that tells apart files of one name, or None.

    With it before the name, every row has one file, which is that of the name alone where only one
    file bears it. There is none where two such columns name different files.
    """
    images = competition.images
    path = images.root / str(images.train_list)
    header = [name for name in tables.read_header(path) if name]
    rows = [row for _, row in tables.read_rows(path, (images.image_column,), lambda *_: None)]
    alone = list_entries.files_of(images, rows)
    fitting = {}
    for column in header:
        given = images.model_copy(update={"folder_column": column})
        files = [] if column == images.image_column else list_entries.files_of(given, rows)
        pairs = zip(alone, files, strict=False)
        if files and all(files) and all(one in (None, file) for one, file in pairs):
            fitting[column] = tuple(files)
    return next(iter(fitting)) if len(set(fitting.values())) == 1 else None


def find_unknown_label(data: Path, train: str, given: dict[str, str], name: str) -> str:
    """Return the label that this data uses for unknown individuals."""
    if (data / train).is_file():
        column = find_column(data, train, "label_column", given, name)
        labels = {label.strip() for _, (label,) in tables.read_columns(data / train, (column,))}
    else:
        labels = {path.name for path in (data / "train").glob("*/")}
    return next((label for label in UNKNOWN_LABELS if label in labels), "-1")


_CONDITION = re.compile(r"^<\?([^>]+)>")
_NAME = re.compile(r"<((?!root>)[a-z_]+)>")


def names() -> list[str]:
    """Return the names of the presets."""
    presets = files("kitbox.competition") / "presets"
    found = [file.name for file in presets.iterdir()]
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


@dataclass(frozen=True)
class NewWorkspace:
    """A workspace that is not written yet: its settings and their text, and what the lists name.

    `notes` say what was chosen because of the data.
    """

    workspace: Workspace
    text: str
    competition: Competition
    survey: ListSurvey
    notes: tuple[str, ...] = ()

    def save(self) -> None:
        """Write the settings and the folders."""
        for folder in (self.workspace.plugins, self.workspace.submissions):
            create_folder(folder)
        ignored = self.workspace.root / ".gitignore"
        if not ignored.exists():
            write_text(
                ignored,
                "# files that kitbox can build again\n.kitbox/\nholdout.csv\n"
                "submissions/*/*.csv\n!submissions/*/pseudo_*.csv\nweights/\n",
            )
        write_text(self.workspace.root / SETTINGS, self.text)


def init(
    workspace: Workspace,
    name: str,
    data: Path,
    *,
    broken: str = "stop",
    columns: dict[str, str] | None = None,
) -> Competition:
    """Write a workspace for a known competition, and return the competition; see `prepare`."""
    prepare(workspace, name, data, broken=broken, columns=columns).save()
    return settings.load(workspace)


def prepare(
    workspace: Workspace,
    name: str,
    data: Path,
    *,
    broken: str = "stop",
    columns: dict[str, str] | None = None,
) -> NewWorkspace:
    """Return the workspace of a known competition, with nothing written yet.

    `columns` names lists, columns and folders that cannot be guessed from the data: train_list,
    test_list, train_folder, test_folder, individual_level, image_column, label_column,
    folder_column.

    Raises KitboxError for an unknown preset, a name that the preset does not use, a folder that is
    a workspace already, data without a file that the preset needs, names in lists that several
    files bear, and names that the format of a submission cannot hold.
    """
    if name not in names():
        known = ", ".join(names())
        raise KitboxError(f"no preset named {name}{did_you_mean(name, names())}; there are {known}")
    if workspace.settings.exists():
        raise KitboxError(f"{workspace.settings} exists already", fix="edit it, or remove it first")
    if not data.is_dir():
        raise KitboxError(f"the data folder {data} does not exist")
    given = dict(columns or {})
    _refuse_unused(given, name)
    text, competition = _settings(name, data, broken, given)
    survey = lists.survey(competition)
    has_own_list = "<train_list>" in _preset_text(name)
    if has_own_list and "folder_column" not in given and _ambiguous(survey):
        column = find_folder_column(competition)
        if column is not None:
            given["folder_column"] = column
            text, competition = _settings(name, data, broken, given)
            survey = lists.survey(competition)
    _refuse_ambiguous(survey, competition)
    if has_own_list and not survey.named_files:
        _refuse_foreign_names(competition)
    notes = []
    sets = survey.labelled, survey.test, survey.index
    answers = protocol.possible_answers(*sets, competition)
    if "<layout>" not in _preset_text(name):
        protocol.refuse_split(answers, competition)
    elif split := protocol.split_answers(answers, competition):
        given["layout"] = "columns"  # its cells are quoted where they have to be
        text, competition = _settings(name, data, broken, given)
        notes.append(
            f"names with blanks: {len(split)}, as {split[0]!r}; in submissions each answer has a "
            'column of its own (layout = "columns")'
        )
    text = text.replace("<root>", _toml_text(data, workspace))
    if text != readable(text):
        raise KitboxError(
            f"the name of {data.resolve()} or of a folder of photographs in it is not UTF-8, which "
            "kitbox.toml cannot hold",
            fix="rename the folder; the names of photographs may stay",
        )
    return NewWorkspace(workspace, text, competition, survey, tuple(notes))


def _settings(name: str, data: Path, broken: str, given: dict[str, str]) -> tuple[str, Competition]:
    """Return the text of the settings, in which only <root> is left to fill in, and their value."""
    text = _fill(
        _preset_text(name), data, lambda key: _value(key, name, data, broken, given), given
    )
    values = tomllib.loads(text.replace("<root>", ""))
    _refuse_missing(name, data, values)
    if "<individual_level>" in _preset_text(name) and "individual_level" not in given:
        _refuse_doubtful_folders(data, values["images"])
    values["images"]["root"] = str(data.resolve())
    try:
        return text, Competition.model_validate(values)
    except ValidationError as error:
        raise KitboxError(explain(error), where=f"preset {name}") from error


def _ambiguous(survey: ListSurvey) -> list[DataFinding]:
    return [finding for finding in survey.findings if finding.kind == "ambiguous"]


def _refuse_ambiguous(survey: ListSurvey, competition: Competition) -> None:
    """Raise KitboxError for names that several files bear, unless such rows are to be dropped."""
    found = _ambiguous(survey)
    if survey.named_files:
        found = [finding for finding in found if finding.action == "stop"]
    if found:
        options = (
            "'kitbox init' takes such a column as --folder-column, and the folder of all images "
            "as --train-folder"
        )
        raise KitboxError(
            f"{found[0].what}{more(len(found) - 1)}",
            where=str(competition.images.root / found[0].where),
            fix=options if "images.folder_column" in found[0].what else "",
        )


def _refuse_foreign_names(competition: Competition) -> None:
    """Raise KitboxError where no name of the list has a file."""
    images = competition.images
    path = images.root / str(images.train_list)
    rows = [row for row in tables.read_columns(path, (images.image_column,)) if row[1][0].strip()]
    if not rows:
        raise KitboxError(
            f"no row has a name in column '{images.image_column}'",
            where=str(path),
            fix="complete the list, or name the column with --image-column",
        )
    line, (first,) = rows[0]
    listed = {_last_part(name) for _, (name,) in rows}
    files = folder_scan.list_images(images.root)
    alike = [file for file in files if file.name in listed]
    there = (
        f"; files there are named as '{folder_scan.display_path([*alike, *files][0], images.root)}'"
        if files
        else ""
    )
    fix = "name the images' paths from the data folder, or their column with --image-column"
    if {file.name for file in alike} == listed and len({file.parent for file in alike}) == 1:
        folder = shlex.quote(folder_scan.display_path(alike[0].parent, images.root))
        fix = f"give --train-folder {folder} if these are the photographs; else {fix}"
    raise KitboxError(
        f"there is no '{first}' in {images.root / images.train_folder} or a folder in it{there}",
        where=f"{path} line {line}",
        fix=fix,
    )


def refuse_folder_without_images(images: ImageSettings) -> None:
    """Raise KitboxError where the folder of labelled images has no photograph."""
    folder = images.root / images.train_folder
    if not folder_scan.list_images(folder):
        found = folder_scan.left_alone(images)
        left = [sentence for _, sentence in folder_scan.sentences(found, images.root)]
        raise KitboxError(
            f"{folder} has no photograph that kitbox reads{''.join(f'; {one}' for one in left)}",
            fix="name the folder of photographs with --data or --train-folder",
        )


def _last_part(name: str) -> str:
    """Return the name of a file in a path of any system."""
    return re.split(r"[/\\]", name.strip())[-1]


def summary(name: str) -> dict[str, str | int]:
    """Return a preset's name, task and format."""
    lines = [_CONDITION.sub("", line) for line in _preset_text(name).splitlines()]
    text = "\n".join(lines).replace("<broken>", "stop").replace("<individual_level>", "1")
    text = text.replace("<layout>", "joined").replace("<neighbours>", "neighbours")
    competition = Competition.model_validate(tomllib.loads(text))
    csv_format = competition.submission
    header = ",".join(csv_format.header) or "no header"
    return {
        "preset": name,
        "answers": competition.task.answers,
        "k": competition.task.k,
        "gallery": competition.task.gallery,
        "metric": competition.metric,
        "format": f"{header}; {csv_format.layout}",
        "sent_as": csv_format.sent_as,
        "about": competition.about,
    }


def _preset_text(name: str) -> str:
    return (files("kitbox.competition") / "presets" / f"{name}.toml").read_text("utf-8")


def _fill(preset: str, data: Path, value: Callable[[str], str], given: dict[str, str]) -> str:
    """Return a preset with every name but <root> filled in and unused lines commented out."""
    lines = []
    for line in preset.splitlines():
        condition = _CONDITION.match(line)
        text = _CONDITION.sub("", line)
        if condition and not _holds(condition[1], data, given):
            lines.append("# " + _NAME.sub(lambda name: _value_or_name(name, value), text))
        else:
            lines.append(_NAME.sub(lambda name: value(name[1]), text))
    return "\n".join(lines) + "\n"


def _value_or_name(name: re.Match[str], value: Callable[[str], str]) -> str:
    """Return the value of a name in an unused line, or the name where the data has no value."""
    try:
        return value(name[1])
    except KitboxError:
        return name[0]


def _holds(condition: str, data: Path, given: dict[str, str]) -> bool:
    if condition.startswith("--"):
        options = [option.replace("-", "_") for option in condition.removeprefix("--").split("|--")]
        return any(option in given for option in options)
    if condition == "unlabelled":
        return "individual_level" not in given and is_flat(data / _train_folder(data, given))
    if condition == "test" and "test_folder" in given:
        return True
    if condition == "boxes.csv":
        return boxes.is_box_list(data / condition)
    return (data / condition).exists()


def _value(key: str, name: str, data: Path, broken: str, given: dict[str, str]) -> str:
    """Return the value of a name in angle brackets."""
    train = given.get("train_list", "train.csv")
    match key:
        case "broken":
            return broken
        case "train_folder" | "test_folder" if "<train_list>" in _preset_text(name):
            return _escaped(given.get(key) or given.get("train_folder", "."))
        case "train_folder":
            return _escaped(_train_folder(data, given))
        case "test_folder":
            return _escaped(given.get(key, "test"))
        case "individual_level":
            return given.get(key, "2")
        case "train_list" if key not in given:
            raise KitboxError(
                f"preset {name} needs the name of your list", fix="give --train-list FILE"
            )
        case "train_list" | "test_list":
            return _escaped(given.get(key, "test.csv"))
        case "folder_column" if key not in given:
            return "folder"
        case "image_column" | "label_column" | "folder_column":
            return _escaped(find_column(data, train, key, given, name))
        case "layout":
            return given.get(key, "joined")
        case "neighbours":
            return "neighbour" if given.get("layout") == "columns" else "neighbours"
        case _:
            return find_unknown_label(data, train, given, name)


def _refuse_unused(given: dict[str, str], name: str) -> None:
    """Raise KitboxError for a given list or column that a preset does not use."""
    text = _preset_text(name)
    for key in given:
        if f"<{key}>" not in text:
            option = f"--{key.replace('_', '-')}"
            raise KitboxError(
                f"preset {name} has fixed lists and takes no {option}",
                fix="leave it out",
            )


def _refuse_missing(name: str, data: Path, values: dict[str, dict[str, str]]) -> None:
    """Raise KitboxError for the first missing file or folder of the filled-in settings."""
    images = values["images"]
    for key, value in images.items():
        listed = key.endswith("_list") or key == "boxes"
        if listed and not (data / value).is_file():
            raise KitboxError(f"{data} has no {value}, which the preset {name} needs")
        if key.endswith("_folder") and not (data / value).is_dir():
            raise KitboxError(f"{data} has no folder {value}, which the preset {name} needs")
    for asked in (values["task"].get("scenarios"), values["task"].get("pairs")):
        if asked is not None and not (data / asked).is_file():
            raise KitboxError(f"{data} has no {asked}, which the preset {name} needs")


def _refuse_doubtful_folders(data: Path, values: dict[str, object]) -> None:
    """Raise KitboxError where the folders of photographs may not be those of individuals."""
    images = ImageSettings.model_validate({**values, "root": data})
    doubt = None if images.unlabelled else folder_scan.doubt_about_individuals(images)
    if doubt is not None:
        raise KitboxError(doubt[0], where=str(data / images.train_folder), fix=doubt[1])


def _toml_text(data: Path, workspace: Workspace) -> str:
    """Return the data folder as TOML text: relative inside the workspace, else absolute."""
    root, inside = data.resolve(), workspace.root.resolve()
    return _escaped(
        root.relative_to(inside).as_posix() if root.is_relative_to(inside) else str(root)
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
