"""What `kitbox.toml` may say: the competition as a value."""

import os
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from kitbox.errors import KitboxError
from kitbox.value import Value, explain
from kitbox.workspace import Workspace


class Images(Value):
    """Where images and lists are; all paths are relative to `root`.

    With `train_list` labels come from its columns; without, from the folders in `train_folder`.
    `broken` says what to do with unreadable images and faulty rows: "stop", or "drop" them from
    the labelled images and answer for an unreadable test image as for a blank one.
    """

    root: Path
    train_folder: str
    train_list: str | None = None
    image_column: str = "Image"
    label_column: str = "Id"
    test_folder: str | None = None
    test_list: str | None = None
    boxes: str | None = None
    unknown_label: str | None = None
    broken: Literal["stop", "drop"] = "stop"


class Task(Value):
    """What is asked of each query: its `k` best `answers`, found in `gallery`.

    Answers are gallery images, or distinct labels of gallery images.
    """

    gallery: Literal["train", "test", "train+test"]
    answers: Literal["images", "labels"]
    k: int = Field(ge=1, le=1000)


class Form(Value):
    """The CSV: its header (empty: none), and answers joined by blanks or in a column each."""

    header: tuple[str, ...] = ()
    layout: Literal["joined", "columns"]
    sample: str | None = None


class HoldoutShape(Value):
    """How the local holdout imitates the test: shares of images, and the seed of the split."""

    share: float = Field(default=0.2, gt=0, lt=1)
    unknown_share: float = Field(default=0.0, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)


class Competition(Value):
    """One competition: its images, its task, its form and its holdout."""

    name: str
    images: Images
    task: Task
    submission: Form
    holdout: HoldoutShape

    @model_validator(mode="after")
    def _fit_together(self) -> "Competition":
        if self.task.gallery != "train" and self.images.test_folder is None:
            raise ValueError(f"gallery = '{self.task.gallery}' needs images.test_folder")
        if self.task.answers == "labels" and self.task.gallery == "test":
            raise ValueError("answers = 'labels' needs labelled images in the gallery")
        return self

    @property
    def metric(self) -> str:
        """The name of the competition's own score."""
        kind = "label_map" if self.task.answers == "labels" else "map"
        return f"{kind}_at_{self.task.k}"


def read(workspace: Workspace) -> Competition:
    """Return the competition of a workspace; KITBOX_DATA, where set, replaces `images.root`.

    Raises KitboxError that names the setting and what is wrong with it.
    """
    path = workspace.settings
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        competition = Competition.model_validate(given)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KitboxError(f"{path}: {error}") from error
    except ValidationError as error:
        raise KitboxError(f"{path}: {explain(error)}") from error
    root = Path(os.environ.get("KITBOX_DATA", competition.images.root))
    root = (workspace.root / root).resolve()
    if not root.is_dir():
        raise KitboxError(
            f"{path}: the data folder {root} does not exist; correct images.root or set KITBOX_DATA"
        )
    return competition.model_copy(
        update={"images": competition.images.model_copy(update={"root": root})}
    )
