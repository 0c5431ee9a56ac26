"""The settings of a competition, read from `kitbox.toml`."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from math import inf
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import (
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from kitbox.competition.check_rules import CheckRules
from kitbox.errors import KitboxError, first_line
from kitbox.files import parse_toml, read_text, write_text
from kitbox.value import Value, check, explain
from kitbox.workspace import Workspace

Answers = Literal["images", "labels", "label", "matches", "clusters", "pairs"]
Metric = Literal["map", "label_map", "gap", "baks_baus", "row_f1", "ari", "identity_balanced_map"]

# The closeness of opposite points (d = 2), rounded down; see `retrieval.label_similarity`.
_LEAST_CLOSENESS = 0.574
# whale-do's, whose scores lie in [0, 1].
_UNIT_HEADER = ("query_id", "database_image_id", "score")

# The columns of a list of pairs, as Kaggle's jaguar competitions name them.
PAIR_COLUMNS = ("row_id", "query_image", "gallery_image")

# What a leaderboard's scorer may take beside k different answers in the order of the queries.
Accepted = Literal["fewer", "none", "any-order"]

# The usual metric of each kind of answers comes first.
METRICS: dict[str, tuple[Metric, ...]] = {
    "images": ("map",),
    "labels": ("label_map",),
    "label": ("baks_baus", "gap"),
    "matches": ("row_f1",),
    "clusters": ("ari",),
    "pairs": ("identity_balanced_map",),
}


class ImageSettings(Value):
    """The places of images and lists; all paths are relative to `root`.

    Labels come from the columns of `train_list` or, without a list, from the folders in
    `train_folder`: those in it, or with `individual_level` = 2 those one level below, whose labels
    are "species/individual", or "individual" in folders of dates. `unlabelled` images have none,
    and can be checked but not trained on. The file of a listed image is its id, which may leave out
    or add leading folders while one file fits, or is built from its row by `train_file` and
    `test_file`: "{chain}/{image}", "{id[0]}/{id[1]}/{id[2]}/{id}.*" (".*": any image suffix). The
    id of an image that no list names is its path in the folder, or with `bare_ids` its name without
    suffix. With a `folder_column` an id is the folder, a slash and the name. In one list of all
    images the `split_column` is `train_split` for labelled images. `index_folder` is a gallery that
    is neither train nor test. `group_column` is a species or a data set, whose misspelt values
    `group_names` corrects; `encounter_column` or `time_column` group images that were taken
    together. `several_boxes` chooses among several boxes of an image: the "best" (most confident,
    then first), the "largest" or the "union". `unknown_label` is the label of images whose
    individual nobody knows, or a list of such labels: "" for an empty one, "unidentified_*" for all
    that begin so; each is read as the first of them, which is the one in answers. `broken` decides
    about unreadable images and faulty rows: "stop", or "drop" them from the labelled images and
    answer for an unreadable test image as for a grey one.
    """

    title: ClassVar[str] = "[images]"
    later: ClassVar[frozenset[str]] = frozenset({"individual_level", "folder_column"})
    written_as: ClassVar[Mapping[str, str]] = {"unknown_labels": "unknown_label"}

    root: Path
    train_folder: str
    train_list: str | None = None
    train_file: str | None = None
    image_column: str = "Image"
    label_column: str = "Id"
    folder_column: str | None = None
    group_column: str | None = None
    group_names: dict[str, str] = Field(default_factory=dict)
    encounter_column: str | None = None
    time_column: str | None = None
    split_column: str | None = None
    train_split: str = "train"
    test_split: str = "test"
    test_folder: str | None = None
    test_list: str | None = None
    test_file: str | None = None
    index_folder: str | None = None
    bare_ids: bool = False
    unlabelled: bool = False
    individual_level: int = Field(default=1, ge=1, le=9)
    boxes: str | None = None
    several_boxes: Literal["best", "largest", "union"] = "best"
    unknown_labels: tuple[str, ...] = ()
    broken: Literal["stop", "drop"] = "stop"

    @field_validator("unknown_labels", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        if given is None:
            return ()
        labels = (given,) if isinstance(given, str) else given
        if not isinstance(labels, list | tuple) or not all(isinstance(one, str) for one in labels):
            raise ValueError(f"unknown_label = {given!r} is neither a label nor a list of labels")
        return tuple(label.strip() for label in labels)

    @field_serializer("unknown_labels")
    def _one_without_list(self, labels: tuple[str, ...]) -> str | list[str] | None:
        return list(labels) if len(labels) > 1 else self.unknown_label

    @property
    def unknown_label(self) -> str | None:
        """The label of unknown individuals in answers, or None where there is none."""
        return self.unknown_labels[0] if self.unknown_labels else None

    def read_label(self, label: str) -> str:
        """Return a label as it is read: each label of unknown individuals as the first of them."""
        unknown = label in self.unknown_labels or any(
            label.startswith(pattern[:-1])
            for pattern in self.unknown_labels
            if pattern.endswith("*") and pattern != "*"
        )
        return self.unknown_labels[0] if unknown else label


class TaskSettings(Value):
    """The answers to each query, and the gallery that they are searched in.

    `answers` are the `k` most similar "images" of the gallery; `k` distinct "labels", best first;
    one "label" or the unknown label; at most `k` "matches" above a threshold; "clusters" of the
    test images; or "pairs": the similarity of each pair of a query and a gallery image. `metric` is
    the leaderboard's: map (mAP@k over images), label_map (MAP@k over labels), gap, baks_baus,
    row_f1, ari, identity_balanced_map.

    `label_similarity` is how similar a label is to a query: as its "best" image; as the "mean" or
    "sum" of its `label_images` best images; as the "centre" of its images without outliers; or by
    "closeness", which falls with the mean distance to all its images. `within_group` searches only
    images of the query's group, `scenarios` names a list of query and gallery files. `with_itself`
    counts the query among its own matches. Clusters merge by `linkage`: the "average" similarity of
    their images, or "components" of images joined by their most similar pair. With `anchors`, test
    images that are similar enough to a known individual form its cluster, and only the others
    merge. `least` is the least number of answers to a query: by
    default all `k` images or labels, one match or cluster, and no label where answers have a
    confidence.

    `pairs` names the list of the pairs that are asked for, with the columns `pair_columns`: the
    row's id, the query and the gallery image, or the last two alone. Without it all pairs are: each
    query with each other image of its gallery.
    """

    title: ClassVar[str] = "[task]"
    later: ClassVar[frozenset[str]] = frozenset({"anchors", "linkage", "pair_columns", "pairs"})

    gallery: Literal["train", "test", "train+test", "index"]
    answers: Answers
    k: int = Field(default=1, ge=1, le=1000)
    metric: Metric | None = None
    label_similarity: Literal["best", "mean", "sum", "centre", "closeness"] = "best"
    label_images: int = Field(default=3, ge=1, le=1000)
    within_group: bool = False
    scenarios: str | None = None
    with_itself: bool = False
    linkage: Literal["average", "components"] = "average"
    anchors: bool = False
    least: int | None = Field(default=None, ge=0, le=1000)
    pairs: str | None = None
    pair_columns: tuple[str, ...] = Field(default=PAIR_COLUMNS, min_length=2, max_length=3)

    @model_validator(mode="after")
    def _pairs_are_answers(self) -> "TaskSettings":
        if self.answers == "pairs":
            if "k" in self.model_fields_set or self.least is not None:
                raise ValueError(
                    "answers = 'pairs' are all of the pairs; leave task.k and least out"
                )
            if len(set(self.pair_columns)) < len(self.pair_columns):
                raise ValueError("task.pair_columns names a column twice")
        elif self.pairs is not None or self.pair_columns != PAIR_COLUMNS:
            raise ValueError("task.pairs and task.pair_columns need answers = 'pairs'")
        return self

    @model_validator(mode="after")
    def _has_k(self) -> "TaskSettings":
        if self.answers in ("images", "labels", "matches") and "k" not in self.model_fields_set:
            raise ValueError("task.k is missing")
        if self.with_itself and self.k < 2:
            raise ValueError("with_itself needs k = 2 or more, itself and a match")
        if self.with_itself and self.answers != "matches":
            raise ValueError("with_itself needs answers = 'matches'")
        if self.least is not None and self.least > self.k:
            raise ValueError(f"task.least = {self.least} is more than task.k = {self.k}")
        if self.metric is not None and self.metric not in METRICS[self.answers]:
            known = " or ".join(METRICS[self.answers])
            raise ValueError(f"answers = '{self.answers}' are scored by {known}, not {self.metric}")
        return self

    @property
    def finds_images(self) -> bool:
        """Whether answers are images of the gallery, which an index can find."""
        return self.answers in ("images", "matches")

    @property
    def leaderboard_metric(self) -> Metric:
        """The metric of the leaderboard: `metric`, or the usual one for these answers."""
        return self.metric or METRICS[self.answers][0]

    @property
    def similarity_range(self) -> tuple[float, float]:
        """The least and the largest similarity of an answer; -1 and 1 unless labels change that."""
        if self.similarity_name == "closeness":
            return _LEAST_CLOSENESS, 1.0
        sums = self.answers in ("labels", "label") and self.label_similarity == "sum"
        return (-inf, inf) if sums else (-1.0, 1.0)

    @property
    def similarity_name(self) -> str:
        """The name of the similarities in messages."""
        close = self.answers in ("labels", "label") and self.label_similarity == "closeness"
        return "closeness" if close else "similarity"

    @property
    def min_answers(self) -> int:
        """The least number of answers to a query."""
        if self.least is not None:
            return self.least
        if self.answers in ("images", "labels"):
            return self.k
        return 0 if self.metric == "gap" else 1


class ThresholdSettings(Value):
    """The similarity below which an answer does not count: unknown, no match, another cluster.

    It is the "best" one on the holdout for the metric; the one of clusters that agree best by "ami"
    (adjusted mutual information) instead; the "balanced" one, with the least mean of
    the share of known individuals answered as unknown and that of unknown ones answered as known;
    "fixed" at `similarity`; or such that a `share` of the
    queries have the unknown label as first answer (or no match but themselves, or a cluster of
    their own). `by_group` sets one threshold for each group.
    """

    title: ClassVar[str] = "[threshold]"

    rule: Literal["best", "ami", "balanced", "fixed", "share"] = "best"
    similarity: float | None = None
    share: float | None = Field(default=None, ge=0, le=1)
    by_group: bool = False

    def override(
        self, text: str, between: tuple[float, float] = (-1.0, 1.0)
    ) -> "ThresholdSettings":
        """Return the threshold given on the command line: best, ami, balanced, 0.35, or 16.5%.

        Similarities lie in the range `between`.
        """
        low, high = between
        if text in ("best", "ami", "balanced"):
            given: dict[str, object] = {"rule": text}
        else:
            try:
                value = float(text.removesuffix("%"))
            except ValueError as error:
                raise KitboxError(
                    f"threshold {text} is not best, ami, balanced, a similarity as 0.35, or a "
                    "share as 16.5%"
                ) from error
            share = text.endswith("%")
            if not share and (value < low or value > high):
                advice = f"write {text}% for a share" if abs(value) > 1 else "correct it"
                raise KitboxError(
                    f"threshold {text} is no similarity, which lies between {low:g} and {high:g}; "
                    f"{advice}"
                )
            given = {"rule": "share" if share else "fixed"}
            given |= {"share": value / 100} if share else {"similarity": value}
        try:
            return ThresholdSettings.model_validate({**given, "by_group": self.by_group})
        except ValidationError as error:
            raise KitboxError(f"threshold {text}: {explain(error)}") from error

    @model_validator(mode="after")
    def _complete(self) -> "ThresholdSettings":
        if self.rule == "fixed" and self.similarity is None:
            raise ValueError("rule = 'fixed' needs a similarity")
        if self.rule == "share" and self.share is None:
            raise ValueError("rule = 'share' needs a share")
        return self


class SubmissionFormat(Value):
    """The CSV format: its header (empty: none) and the layout of a query's answers.

    Layouts are "joined": answers in one column with blanks between them; "columns": a column for
    each answer, whose names a header of two numbers (`match` to `match_1`, `match_2` …); "long": a
    row for each answer with its score; "scored": the answer and its score in one column; "pairs": a
    row for each pair, named by its row's id or by both images, with its score. The scores of "long"
    are the "similarity" that the terminal and the pages show, or (1 + cosine) / 2 where a format
    demands a "unit" range. Those of "pairs" are in the unit range unless "similarity" is set. A
    file above `largest_mb` is refused.

    `accepts` is what the leaderboard's own scorer takes: "fewer" than k answers to a query, "none"
    at all, rows in "any-order"; the lint warns of them, and refuses what is not listed. Clusters
    begin with `cluster_prefix`, where {group} is the query's group. `sent_as` is how answers reach
    the leaderboard: as a "file", or by a "notebook" or "code" that runs there.
    `kaggle` is the competition's name in its address on kaggle.com. Receipts leave these four out,
    as they do not affect the answers.
    """

    title: ClassVar[str] = "[submission]"

    header: tuple[str, ...] = ()
    layout: Literal["joined", "columns", "long", "scored", "pairs"]
    scores: Literal["similarity", "unit"] | None = None
    sample: str | None = None
    largest_mb: float = Field(default=100.0, gt=0)
    kaggle: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]+$", exclude=True)
    accepts: tuple[Accepted, ...] = Field(default=(), exclude=True)
    cluster_prefix: str | None = Field(
        default=None, pattern=r"^([^{}\s]|\{group\})+$", exclude=True
    )
    sent_as: Literal["file", "notebook", "code"] = Field(default="file", exclude=True)

    @property
    def unit_scores(self) -> bool:
        """Whether scores are between 0 and 1: in the layout "long" (1 + cosine) / 2.

        Workspaces of whale-do that are older than `scores` are recognised by their header.
        """
        if self.layout == "pairs":
            return self.scores != "similarity"
        if self.layout != "long":
            return False
        return self.scores == "unit" or (self.scores is None and self.header == _UNIT_HEADER)


class HoldoutSettings(Value):
    """The local holdout, which imitates the test.

    `share` of the images of known individuals are queries, or each of them once in one of `folds`.
    `unknown_share` of the queries show an individual who is held out whole: 0 is a closed set, with
    1 all queries are of unknown individuals. Queries are drawn from individuals in proportion to
    their photographs to the power `frequency_power`: 1 draws photographs, 0 individuals. With
    `distractors` the training side is searched too where the leaderboard's gallery is the test or
    an index: a gallery of queries alone is so small that every score looks good.

    Near-duplicates (perceptual hashes that differ in at most `near_duplicate_bits`), and images of
    one individual from one encounter or within `encounter_minutes`, stay on one side of the split.
    """

    title: ClassVar[str] = "[holdout]"

    share: float = Field(default=0.2, gt=0, lt=1)
    unknown_share: float = Field(default=0.0, ge=0, le=1)
    frequency_power: float = Field(default=1.0, ge=0, le=2)
    distractors: bool = False
    folds: int = Field(default=1, ge=1, le=20)
    near_duplicate_bits: int = Field(default=6, ge=0, le=11)
    encounter_minutes: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0)


class EnsembleSettings(Value):
    """The `recipe` of commands that are given no plugin: a file, relative to the workspace."""

    title: ClassVar[str] = "[ensemble]"

    recipe: str | None = Field(default=None, min_length=1)


class CatalogueSettings(Value):
    """The `pattern` of the names of new individuals, as "W-{number:04d}".

    `source` is the user's own catalogue, a folder or a list, that catalogue.csv is read from.
    """

    title: ClassVar[str] = "[catalogue]"

    pattern: str | None = Field(default=None, min_length=1)
    source: str | None = Field(default=None, min_length=1)


class Competition(Value):
    """A competition: its images, task, CSV format and holdout.

    `check` decides about odd images; receipts record the images that it leaves out, not its rules.
    They record the ensemble that answered, not the one that `ensemble` names.
    """

    title: ClassVar[str] = "kitbox.toml"

    name: str
    about: str = ""
    images: ImageSettings
    check: CheckRules = Field(default=CheckRules(), exclude=True)
    task: TaskSettings
    threshold: ThresholdSettings = ThresholdSettings()
    submission: SubmissionFormat
    holdout: HoldoutSettings
    ensemble: EnsembleSettings = Field(default=EnsembleSettings(), exclude=True)
    catalogue: CatalogueSettings = Field(default=CatalogueSettings(), exclude=True)

    @model_validator(mode="after")
    def _fit_together(self) -> "Competition":
        sentence = contradiction(self)
        if sentence is not None:
            raise ValueError(sentence)
        return self

    @property
    def metric(self) -> str:
        """The name of the competition's metric, with its k."""
        name = self.task.leaderboard_metric
        return f"{name}_at_{self.task.k}" if name in ("map", "label_map") else name

    @property
    def header(self) -> tuple[str, ...]:
        """The header of the CSV, with a name for each of k answers that have columns of their own.

        CSV readers drop or refuse values beyond the header.
        """
        given = self.submission.header
        missing = 1 + self.task.k - len(given)
        if self.submission.layout != "columns" or not given or missing <= 0:
            return given
        if len(given) == 2:
            return (given[0], *(f"{given[1]}_{number}" for number in range(1, self.task.k + 1)))
        numbers = range(len(given), self.task.k + 1)
        return (*given, *(f"answer_{number}" for number in numbers))

    @property
    def uses_threshold(self) -> bool:
        """Whether answers depend on a threshold."""
        task = self.task
        if task.answers in ("labels", "label"):
            return self.images.unknown_label is not None and task.metric != "gap"
        return task.answers in ("matches", "clusters")

    def with_threshold(self, text: str) -> "Competition":
        """Return the competition with the threshold that --threshold gives.

        Raises KitboxError where answers have none.
        """
        if not self.uses_threshold:
            raise KitboxError(
                f"the answers of {self.name} have no threshold; leave --threshold out"
            )
        rule = self.threshold.override(text, self.task.similarity_range)
        changed = self.model_copy(update={"threshold": rule})
        for sentence in _cluster_contradictions(changed):
            raise KitboxError(f"--threshold {text}: {sentence}")
        return changed


def load(workspace: Workspace) -> Competition:
    """Return the competition of a workspace; KITBOX_DATA, if set, replaces `images.root`.

    Raises KitboxError for an invalid or misspelt setting and for a missing data folder.
    """
    path = workspace.settings
    try:
        given = parse_toml(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise KitboxError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise KitboxError(first_line(error), where=str(path)) from error
    competition = check(Competition, given, where=str(path))
    root = Path(os.environ.get("KITBOX_DATA", competition.images.root))
    try:
        root = (workspace.root / root).resolve()
        exists = root.is_dir()
    except OSError:  # a name that is too long
        exists = False
    if not exists:
        raise KitboxError(
            f"the data folder {root} does not exist",
            where=str(path),
            fix="correct images.root or set KITBOX_DATA",
        )
    return competition.model_copy(
        update={"images": competition.images.model_copy(update={"root": root})}
    )


def keep_catalogue_setting(
    workspace: Workspace, name: Literal["pattern", "source"], value: str
) -> None:
    """Write a setting of the table [catalogue] into kitbox.toml, which stays as it is else.

    Raises KitboxError where it has a table [catalogue] that cannot be added to.
    """
    text = read_text(workspace.settings)
    line = f"{name} = {json.dumps(value, ensure_ascii=False)}"  # a basic string of TOML as well
    rest = rf"(?:(?![ \t]*\[)[^\n]*\n)*?{name}\s*=[^\n]*$"
    old = re.search(rf"(?m)^\[catalogue\][^\n]*\n{rest}", text)
    table = re.search(r"(?m)^\[catalogue\][^\n]*$", text)
    if old:
        start = old[0].rindex("\n") + 1
        changed = text[: old.start()] + old[0][:start] + line + text[old.end() :]
    elif table:
        changed = f"{text[: table.end()]}\n{line}{text[table.end() :]}"
    else:
        changed = f"{text.rstrip()}\n\n[catalogue]\n{line}\n"
    if parse_toml(changed).get("catalogue", {}).get(name) != value:
        raise KitboxError(f"cannot write {line} into {workspace.settings}", fix="write it there")
    write_text(workspace.settings, changed)


def contradiction(competition: Competition) -> str | None:
    """Return the first contradiction between the parts of a competition as a sentence, or None."""
    checks = (
        _gallery_contradictions,
        _answer_contradictions,
        _group_contradictions,
        _format_contradictions,
        _cluster_contradictions,
        _threshold_contradictions,
    )
    return next((sentence for check in checks for sentence in check(competition)), None)


def _gallery_contradictions(competition: Competition) -> Iterator[str]:
    images, task = competition.images, competition.task
    has_test = images.test_folder or images.test_list or images.split_column or task.scenarios
    if task.gallery in ("test", "train+test") and not has_test:
        yield f"gallery = '{task.gallery}' needs images.test_folder"
    if task.gallery == "index" and images.index_folder is None:
        yield "gallery = 'index' needs images.index_folder"


def _answer_contradictions(competition: Competition) -> Iterator[str]:
    images, task = competition.images, competition.task
    if task.answers in ("labels", "label"):
        if "train" not in task.gallery:
            yield f"answers = '{task.answers}' needs labelled images in the gallery"
        if competition.holdout.unknown_share == 1:
            yield f"answers = '{task.answers}' needs queries of known individuals"
    if images.unknown_label == "":
        yield "images.unknown_label is empty; name the label, or leave the line out"
    if (images.unknown_label or "").endswith("*"):
        yield (
            f"images.unknown_label begins with '{images.unknown_label}'; begin with the label that "
            "answers have"
        )
    if task.leaderboard_metric == "baks_baus" and images.unknown_label is None:
        yield "metric = 'baks_baus' needs images.unknown_label"


def _group_contradictions(competition: Competition) -> Iterator[str]:
    minutes = competition.holdout.encounter_minutes
    if minutes is not None and competition.images.time_column is None:
        yield f"holdout.encounter_minutes = {minutes:g} needs images.time_column"
    if competition.images.group_column is None:
        if competition.task.within_group:
            yield "task.within_group needs images.group_column"
        if competition.threshold.by_group:
            yield "threshold.by_group needs images.group_column"


def _format_contradictions(competition: Competition) -> Iterator[str]:
    csv_format, task = competition.submission, competition.task
    if csv_format.layout == "long" and len(csv_format.header) != 3:
        yield "layout = 'long' needs a header of three columns"
    if csv_format.layout not in ("long", "pairs") and csv_format.scores is not None:
        yield "submission.scores is for layout = 'long' or 'pairs'; leave it out"
    if (csv_format.layout == "pairs") != (task.answers == "pairs"):
        yield "answers = 'pairs' need layout = 'pairs', and no others have it"
    if csv_format.layout == "pairs":
        named = 1 if task.pairs is not None and len(task.pair_columns) == 3 else 2
        if len(csv_format.header) != named + 1:
            names = "the row's id" if named == 1 else "the query, the gallery image"
            yield f"layout = 'pairs' needs a header of {named + 1} columns: {names}, the similarity"
    if csv_format.unit_scores and csv_format.layout == "long" and task.similarity_range[0] < -1:
        yield "scores = 'unit' needs similarities from -1 to 1, which sums are not"
    if csv_format.layout in ("joined", "scored") and len(csv_format.header) not in (0, 2):
        yield f"layout = '{csv_format.layout}' needs a header of two columns, or none"
    if csv_format.layout == "scored" and task.answers != "label":
        yield "layout = 'scored' needs answers = 'label'"
    if task.leaderboard_metric == "gap" and csv_format.layout != "scored":
        yield "metric = 'gap' needs layout = 'scored', which has the confidences"
    if csv_format.cluster_prefix is not None and task.answers != "clusters":
        yield "submission.cluster_prefix is for answers = 'clusters'; leave it out"
    if "{group}" in (csv_format.cluster_prefix or "") and not task.within_group:
        yield "submission.cluster_prefix with {group} needs task.within_group = true"


def _cluster_contradictions(competition: Competition) -> Iterator[str]:
    task, rule = competition.task, competition.threshold.rule
    if task.answers != "clusters":
        if task.linkage != "average":
            yield "task.linkage is for answers = 'clusters'; leave it out"
        if task.anchors:
            yield "task.anchors is for answers = 'clusters'; leave it out"
        if rule == "ami":
            yield "rule = 'ami' is for answers = 'clusters'; take 'best'"
    elif task.anchors:
        if "train" not in task.gallery:
            yield (
                "task.anchors needs labelled images in the gallery; set task.gallery = 'train+test'"
            )
        if rule not in ("best", "ami", "fixed"):
            yield (
                f"rule = '{rule}' fits no threshold of task.anchors; take 'best', 'ami' or 'fixed'"
            )


def _threshold_contradictions(competition: Competition) -> Iterator[str]:
    threshold, task = competition.threshold, competition.task
    if not competition.uses_threshold and threshold != type(threshold)():
        yield "[threshold] has no effect on these answers; leave it out"
    labels = task.answers in ("labels", "label")
    if threshold.rule == "balanced" and labels and competition.holdout.unknown_share == 0:
        yield (
            "rule = 'balanced' needs queries of unknown individuals; "
            "set holdout.unknown_share above 0"
        )
    similarity = threshold.similarity
    low, high = task.similarity_range
    if similarity is None or low <= similarity <= high:
        return
    if low > -1:
        yield (
            f"threshold.similarity = {similarity:g} is not between {low:g} and {high:g}, where "
            f"label_similarity = '{task.label_similarity}' lies; correct it"
        )
    else:
        yield (
            f"threshold.similarity = {similarity:g} is not between -1 and 1; "
            f"a share of {similarity:g}% is rule = 'share' with share = {similarity / 100:g}"
        )
