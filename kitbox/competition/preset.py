"""Known competitions: a template of `kitbox.toml` for each, filled in from a data folder.

A template is a file in `presets/`: `<root>` and other names in angle brackets are filled in, and a
line that begins with `<?boxes.csv>` is commented out where the data has no such file or folder (of
boxes: none whose columns kitbox names so), one with `<?--test-list>` where no such list is named,
and one with `<?unlabelled>` where no folder tells individuals apart.
"""

import re
import tomllib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from kitbox.competition import boxes, layout
from kitbox.competition.settings import Competition
from kitbox.competition.settings import read as read_settings
from kitbox.errors import KitboxError, did_you_mean
from kitbox.files import write_text
from kitbox.workspace import SETTINGS, Workspace

_CONDITION = re.compile(r"^<\?([^>]+)>")
_GAP = re.compile(r"<((?!root>)[a-z_]+)>")


def names() -> list[str]:
    """Return the names of the presets."""
    presets = files("kitbox.competition") / "presets"
    found = [file.name for file in presets.iterdir()]
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def init(
    workspace: Workspace,
    name: str,
    data: Path,
    *,
    broken: str = "stop",
    columns: dict[str, str] | None = None,
) -> Competition:
    """Write a workspace for a known competition, and return the competition.

    `columns` names lists and columns that the data itself does not tell: train_list, test_list,
    image_column, label_column.

    Raises KitboxError for an unknown preset, a name that the preset has no place for, a folder
    that is a workspace already, and data that lacks what the preset needs.
    """
    if name not in names():
        known = ", ".join(names())
        raise KitboxError(f"no preset named {name}{did_you_mean(name, names())}; there are {known}")
    if workspace.settings.exists():
        raise KitboxError(f"{workspace.settings} exists already; edit it, or remove it first")
    if not data.is_dir():
        raise KitboxError(f"the data folder {data} does not exist")
    given = columns or {}
    _refuse_unplaced(given, name)
    text = _fill(_template(name), data, lambda key: _value(key, name, data, broken, given), given)
    _refuse_missing(name, data, tomllib.loads(text.replace("<root>", "")))
    text = text.replace("<root>", _toml_text(data, workspace))
    workspace.plugins.mkdir(parents=True, exist_ok=True)
    workspace.submissions.mkdir(exist_ok=True)
    ignored = workspace.root / ".gitignore"
    if not ignored.exists():
        write_text(
            ignored,
            "# what kitbox can make again\n.kitbox/\nholdout.csv\n"
            "submissions/*/*.csv\n!submissions/*/pseudo_*.csv\nweights/\n",
        )
    write_text(workspace.root / SETTINGS, text)
    return read_settings(workspace)


def summary(name: str) -> dict[str, str | int]:
    """Return what a preset asks, read from its template."""
    lines = [_CONDITION.sub("", line) for line in _template(name).splitlines()]
    text = "\n".join(lines).replace("<broken>", "stop")
    competition = Competition.model_validate(tomllib.loads(text))
    form = competition.submission
    header = ",".join(form.header) or "no header"
    return {
        "preset": name,
        "answers": competition.task.answers,
        "k": competition.task.k,
        "gallery": competition.task.gallery,
        "metric": competition.metric,
        "form": f"{header}; {form.layout}",
        "about": competition.about,
    }


def _template(name: str) -> str:
    return (files("kitbox.competition") / "presets" / f"{name}.toml").read_text("utf-8")


def _fill(template: str, data: Path, value: Callable[[str], str], given: dict[str, str]) -> str:
    """Return the template with every name but <root> filled in, absent lines commented out."""
    lines = []
    for line in template.splitlines():
        wanted = _CONDITION.match(line)
        text = _CONDITION.sub("", line)
        if wanted and not _there(wanted[1], data, given):
            lines.append("# " + _GAP.sub(lambda gap: _told(gap, value), text))
        else:
            lines.append(_GAP.sub(lambda gap: value(gap[1]), text))
    return "\n".join(lines) + "\n"


def _told(gap: re.Match[str], value: Callable[[str], str]) -> str:
    """Return what fills a gap in an absent line, or the gap where the data cannot tell."""
    try:
        return value(gap[1])
    except KitboxError:
        return gap[0]


def _there(condition: str, data: Path, given: dict[str, str]) -> bool:
    if condition.startswith("--"):
        return condition.removeprefix("--").replace("-", "_") in given
    if condition == "unlabelled":
        return layout.is_flat(data / layout.train_folder(data))
    if condition == "boxes.csv":
        return boxes.is_list(data / condition)
    return (data / condition).exists()


def _value(key: str, name: str, data: Path, broken: str, given: dict[str, str]) -> str:
    """Return what a name in a template stands for."""
    train = given.get("train_list", "train.csv")
    match key:
        case "broken":
            return broken
        case "train_folder":
            return layout.train_folder(data)
        case "train_list" if key not in given:
            raise KitboxError(f"preset {name} needs the name of your list; give --train-list FILE")
        case "train_list" | "test_list":
            return _escaped(given.get(key, "test.csv"))
        case "image_column" | "label_column":
            return _escaped(layout.column_of(data, train, key, given, name))
        case "images":
            column = layout.column_of(data, train, "image_column", given, name)
            return _escaped(layout.folder_of_images(data, train, column))
        case _:
            return layout.unknown_label(data, train, given, name)


def _refuse_unplaced(given: dict[str, str], name: str) -> None:
    """Raise KitboxError for a list or a column that a preset does not ask for."""
    template = _template(name)
    for key in given:
        if f"<{key}>" not in template:
            option = f"--{key.replace('_', '-')}"
            raise KitboxError(f"preset {name} knows its lists and takes no {option}; leave it out")


def _refuse_missing(name: str, data: Path, settings: dict[str, dict[str, str]]) -> None:
    """Raise KitboxError for the first file or folder that the filled-in settings miss."""
    images = settings["images"]
    for key, value in images.items():
        listed = key.endswith("_list") or key == "boxes"
        if listed and not (data / value).is_file():
            raise KitboxError(f"{data} has no {value}, which the preset {name} needs")
        if key.endswith("_folder") and not (data / value).is_dir():
            raise KitboxError(f"{data} has no folder {value}, which the preset {name} needs")
    scenarios = settings["task"].get("scenarios")
    if scenarios is not None and not (data / scenarios).is_file():
        raise KitboxError(f"{data} has no {scenarios}, which the preset {name} needs")


def _toml_text(data: Path, workspace: Workspace) -> str:
    """Return the data folder as TOML text: relative inside the workspace, else absolute."""
    root, inside = data.resolve(), workspace.root.resolve()
    return _escaped(
        root.relative_to(inside).as_posix() if root.is_relative_to(inside) else str(root)
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
