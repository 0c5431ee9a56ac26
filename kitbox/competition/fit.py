"""Says which settings of a competition contradict each other."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kitbox.competition.settings import Competition


def misfit(competition: "Competition") -> str | None:
    """Return the first contradiction between the parts of a competition as a sentence, or None."""
    parts = (_gallery, _answers, _groups, _form, _threshold)
    return next((sentence for part in parts for sentence in part(competition)), None)


def _gallery(competition: "Competition") -> Iterator[str]:
    images, task = competition.images, competition.task
    tested = images.test_folder or images.test_list or images.split_column or task.scenarios
    if task.gallery in ("test", "train+test") and not tested:
        yield f"gallery = '{task.gallery}' needs images.test_folder"
    if task.gallery == "index" and images.index_folder is None:
        yield "gallery = 'index' needs images.index_folder"


def _answers(competition: "Competition") -> Iterator[str]:
    images, task = competition.images, competition.task
    if task.answers in ("labels", "label"):
        if "train" not in task.gallery:
            yield f"answers = '{task.answers}' needs labelled images in the gallery"
        if competition.holdout.unknown_share == 1:
            yield f"answers = '{task.answers}' needs queries of known individuals"
    if images.unknown_label == "":
        yield "images.unknown_label is empty; name the label, or leave the line out"
    if task.scored_by == "baks_baus" and images.unknown_label is None:
        yield "metric = 'baks_baus' needs images.unknown_label"


def _groups(competition: "Competition") -> Iterator[str]:
    if competition.images.group_column is None:
        if competition.task.within_group:
            yield "task.within_group needs images.group_column"
        if competition.threshold.by_group:
            yield "threshold.by_group needs images.group_column"


def _form(competition: "Competition") -> Iterator[str]:
    form, task = competition.submission, competition.task
    if form.layout == "long" and len(form.header) != 3:
        yield "layout = 'long' needs a header of three columns"
    if form.layout in ("joined", "scored") and len(form.header) not in (0, 2):
        yield f"layout = '{form.layout}' needs a header of two columns, or none"
    if form.layout == "scored" and task.answers != "label":
        yield "layout = 'scored' needs answers = 'label'"
    if task.scored_by == "gap" and form.layout != "scored":
        yield "metric = 'gap' needs layout = 'scored', which has the confidences"


def _threshold(competition: "Competition") -> Iterator[str]:
    threshold, task = competition.threshold, competition.task
    if not competition.decides and threshold != type(threshold)():
        yield "[threshold] decides nothing about such answers; leave it out"
    similarity = threshold.similarity
    low, high = task.similarities
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
