"""Known competitions: a template of `kitbox.toml` for each, filled in from a data folder."""

import csv
import re
import tomllib
from importlib.resources import files
from pathlib import Path

from kitbox.competition.settings import Competition
from kitbox.competition.settings import read as read_settings
from kitbox.errors import KitboxError, did_you_mean
from kitbox.files import read_text, write_text
from kitbox.workspace import SETTINGS, Workspace

ABOUT = {
    "humpback": "Kaggle humpback whales (2018, 2019): five labels a photograph, MAP@5",
    "gdsc2020": "Global Data Science Challenge 2020: the 20 most similar photographs, no header",
    "folder": "your own photographs, a folder for each individual: the 20 most similar photographs",
}
# Headers that the published lists of such competitions use.
IMAGE_COLUMNS = ("Image", "image", "filename", "file_name", "full_path", "path", "image_id")
LABEL_COLUMNS = ("Id", "id", "identity", "individual_id", "folder", "label", "whale_id")


def init(workspace: Workspace, name: str, data: Path, *, broken: str = "stop") -> Competition:
    """Write a workspace for a known competition, and return the competition.

    Raises KitboxError for an unknown preset, a folder that is a workspace already, and data that
    lacks what the preset needs.
    """
    if name not in ABOUT:
        raise KitboxError(
            f"no preset named {name}{did_you_mean(name, ABOUT)}; there are {', '.join(ABOUT)}"
        )
    if workspace.settings.exists():
        raise KitboxError(f"{workspace.settings} exists already; edit it, or remove it first")
    if not data.is_dir():
        raise KitboxError(f"the data folder {data} does not exist")
    text = _fill(name, data, broken, workspace)
    workspace.plugins.mkdir(parents=True, exist_ok=True)
    workspace.submissions.mkdir(exist_ok=True)
    ignored = workspace.root / ".gitignore"
    if not ignored.exists():
        write_text(
            ignored,
            "# what kitbox can make again\n.kitbox/\nholdout.csv\nsubmissions/*/*.csv\nweights/\n",
        )
    write_text(workspace.root / SETTINGS, text)
    return read_settings(workspace)


def summary(name: str) -> dict[str, str | int]:
    """Return what a preset asks, read from its template."""
    template = (files("kitbox.competition") / "presets" / f"{name}.toml").read_text("utf-8")
    given = tomllib.loads(re.sub(r"\{[a-z]+\?\}", "", template).replace("{broken}", "stop"))
    competition = Competition.model_validate(given)
    form = competition.submission
    header = ",".join(form.header) or "no header"
    return {
        "preset": name,
        "answers": competition.task.answers,
        "k": competition.task.k,
        "gallery": competition.task.gallery,
        "metric": competition.metric,
        "form": f"{header}; {form.layout}",
        "about": ABOUT[name],
    }


def _fill(name: str, data: Path, broken: str, workspace: Workspace) -> str:
    listed = (data / "train.csv").is_file()
    if name == "humpback" and not listed:
        raise KitboxError(f"{data} has no train.csv, which the preset humpback needs")
    in_folders = name == "folder" and not (data / "train").is_dir()
    if not in_folders and not (data / "train").is_dir():
        raise KitboxError(f"{data} has no folder train, which the preset {name} needs")
    if name != "folder" and not (data / "test").is_dir():
        raise KitboxError(f"{data} has no folder test, which the preset {name} needs")
    image_column, label_column = _columns(data / "train.csv") if listed else ("", "")
    present = {
        "sample": (data / "sample_submission.csv").is_file(),
        "boxes": (data / "boxes.csv").is_file(),
        "test": (data / "test").is_dir() and not in_folders,
        "list": listed,
    }
    values = {
        "about": ABOUT[name],
        "root": _toml_text(data, workspace),
        "image_column": image_column,
        "label_column": label_column,
        "unknown_label": _unknown_label(data / "train.csv", label_column) if listed else "-1",
        "train_folder": "." if in_folders else "train",
        "broken": broken,
    }
    lines = []
    template = files("kitbox.competition") / "presets" / f"{name}.toml"
    for line in template.read_text(encoding="utf-8").splitlines():
        for key, there in present.items():
            line = line.replace("{" + key + "?}", "" if there else "# ")
        # one pass, so that a folder that is itself called {broken} stays as it is
        lines.append(re.sub(r"\{([a-z_]+)\}", lambda found: values[found[1]], line))
    return "\n".join(lines) + "\n"


def _toml_text(data: Path, workspace: Workspace) -> str:
    """Return the data folder as TOML text: relative inside the workspace, else absolute."""
    root, inside = data.resolve(), workspace.root.resolve()
    text = root.relative_to(inside).as_posix() if root.is_relative_to(inside) else str(root)
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _columns(path: Path) -> tuple[str, str]:
    header = next(csv.reader(read_text(path).splitlines()), [])
    image = next((name for name in IMAGE_COLUMNS if name in header), None)
    label = next((name for name in LABEL_COLUMNS if name in header), None)
    if image is None or label is None:
        missing = "image" if image is None else "label"
        raise KitboxError(
            f"{path} line 1: no {missing} column among {', '.join(header) or 'nothing'}; "
            f"name the columns {IMAGE_COLUMNS[0]},{LABEL_COLUMNS[0]}"
        )
    return image, label


def _unknown_label(path: Path, label_column: str) -> str:
    """Return the label by which this list says that it does not know the individual."""
    labels = {row.get(label_column) for row in csv.DictReader(read_text(path).splitlines())}
    return next((label for label in ("new_whale", "new_individual", "-1") if label in labels), "-1")
