"""The page of what helps: what each part of an ensemble adds, and how far its members agree."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kitbox.competition.settings import Competition
from kitbox.errors import counted
from kitbox.report import page, plots, results_page
from kitbox.report.page import Page, WrittenPage
from kitbox.report.plots import Plot
from kitbox.scoring import metrics
from kitbox.scoring.comparison import Difference
from kitbox.selection.effects import Effect, Explanation

# Rows of a plot: more would be too small to read on a page.
_MOST_ROWS = 60


def file_name(names: Sequence[str], recipe: Path | None) -> str:
    """Return the name of the page of some plugins, or of a recipe."""
    parts = [*([recipe.stem] if recipe is not None else []), *names]
    return f"explain_{results_page.file_name('+'.join(parts))}.html"


def write(found: Explanation, competition: Competition, path: Path) -> WrittenPage:
    """Write the page of what helps."""
    figures = [
        _intervals(found, metric)
        for metric in found.metrics
        if any(metric in effect.differences for effect in found.effects)
    ]
    values = _values(found, competition) | {"figures": figures, "agreement": _agreement(found)}
    values["sections"] = list(
        page.non_empty_sections(
            ("scores", "Scores", True),
            ("effects", "What each part adds", found.effects),
            ("agreement", "Agreement", found.agreements),
        )
    )
    return page.write(Page(template="effects.html", values=values), path)


def _values(found: Explanation, competition: Competition) -> dict[str, Any]:
    first = found.metrics[0]
    titles = [metrics.title(metric) for metric in found.metrics]
    advice = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in found.advice]
    nothing = "No part harms that is there, and none helps that is not."
    return {
        "title": f"{competition.name}: what helps",
        "kind": "what each part adds, on the local holdout",
        "heading": f"{competition.name}: {titles[0]} {found.scores[first]:.4f}",
        "about": [
            f"{counted(len(found.base.members), 'member')}: {found.base.summary}.",
            " ".join(advice) or nothing,
        ],
        "score_heads": ("", *titles),
        "score_rows": [
            ("the ensemble", *(f"{value:.4f}" for value in found.scores.values())),
            *(
                (f"{name} alone", *(f"{values[metric]:.4f}" for metric in found.metrics))
                for name, values in found.alone.items()
            ),
        ],
        "effects_text": f"The score with a part minus that without it, on the same "
        f"{counted(found.queries, 'query', 'queries')}, with its 95 % interval over individuals. A "
        "part that is there was left out for it, one that is not was added. The verdict is by "
        f"{titles[0]}: it is empty where the interval contains 0. With so many rows, one in twenty "
        "is outside of its interval by chance.",
        "effect_heads": ("part", "", "there", *titles, "verdict"),
        "effect_rows": [_row(effect) for effect in found.effects],
        "left_out": [f"{text[0].upper()}{text[1:]}." for text in found.left_out],
        "agreement_text": "How many queries have a right first image by both of two members, by one"
        " alone, or by neither. Q is 1 where members are right on the same queries, 0 where they "
        "are independent, and below where they complement each other; the correlation is that of "
        f"{titles[0]} query by query. At least one member is right on {found.any_right:.1%}.",
        "agreement_heads": (
            "members", "both", "first alone", "second alone", "neither", "Q", "correlation",
        ),
        "agreement_rows": [
            (
                f"{pair.first}, {pair.second}",
                str(pair.both),
                str(pair.first_alone),
                str(pair.second_alone),
                str(pair.neither),
                "" if pair.q is None else f"{pair.q:.2f}",
                "" if pair.correlation is None else f"{pair.correlation:.2f}",
            )
            for pair in found.agreements
        ],
    }  # fmt: skip


def _row(effect: Effect) -> tuple[str, ...]:
    return (
        effect.kind,
        f"{effect.name} {effect.place}".rstrip(),
        "yes" if effect.present else "no",
        *(_interval(difference) for difference in effect.differences.values()),
        effect.verdict,
    )


def _interval(difference: Difference) -> str:
    return f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def _intervals(found: Explanation, metric: str) -> Plot:
    """Return the plot of all effects by one metric."""
    shown = found.effects[:_MOST_ROWS]
    rows = []
    for effect in shown:
        change = effect.differences[metric]
        sign = "" if effect.present else "+ "
        name = f"{sign}{effect.kind} {effect.name} {effect.place}".rstrip()
        rows.append((name, change.value, change.low, change.high))
    left = len(found.effects) - len(shown)
    caption = (
        "A dot is the difference, a line its interval; rows with + are not there and would be added"
        f"{f'; {left} more rows are in the table' if left else ''}."
    )
    title = f"What each part adds to {metrics.title(metric)}"
    notable = [not low <= 0 <= high for _, _, low, high in rows]
    return plots.intervals(title, caption, rows, label=metrics.title(metric), notable=notable)


def _agreement(found: Explanation) -> Plot | None:
    """Return the shares of queries on which pairs of members are both right or both wrong."""
    if not found.agreements:
        return None
    names = list(found.alone)
    values = {(place, place): 1.0 for place in range(len(names))}
    for pair in found.agreements:
        row, column = names.index(pair.first), names.index(pair.second)
        share = (pair.both + pair.neither) / pair.queries
        values |= {(row, column): share, (column, row): share}
    caption = "The share of queries on which two members are both right, or both wrong."
    return plots.heat_map("Agreement of members", caption, names, values)
