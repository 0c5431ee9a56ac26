"""Plots as SVG that stands in a page, in the page's own colours, light or dark."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

# What matplotlib draws in these colours takes the page's, whatever they are when it is read.
_COLOURS = {
    "#000001": "var(--ink)",
    "#000002": "var(--quiet)",
    "#000003": "var(--line)",
    "#000004": "var(--accent)",
    "#000005": "var(--second)",
    "#000006": "var(--third)",
    "#000007": "var(--fourth)",
}
INK, QUIET, LINE, *SERIES = _COLOURS
# Lines are told apart without colour too, as in the page's legends.
DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 1, 1, 1)))
_STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be read out and searched
    "text.parse_math": False,  # a name with two dollars is no formula
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": QUIET,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}


@dataclass(frozen=True)
class Plot:
    """A plot with its title, what it shows in a sentence, and the names of its series."""

    title: str
    caption: str
    svg: Markup
    legend: tuple[str, ...] = ()


def draw(
    title: str, caption: str, paint: Callable[[Any], None], legend: Sequence[str] = ()
) -> Plot:
    """Return what `paint` draws on a pair of axes, as SVG that says its caption when read out."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # ids within the SVG come from this, so that those of two plots in a page differ
    with mpl.rc_context(_STYLE | {"svg.hashsalt": title}):
        figure = Figure(figsize=(5.4, 2.9), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure.subplots())
        text = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return Plot(title, caption, _inline(text.getvalue(), f"{title}. {caption}"), tuple(legend))


def histogram(
    title: str,
    caption: str,
    series: Sequence[tuple[str, NDArray[Any]]],
    *,
    label: str,
    bins: NDArray[np.float64],
    mark: float | None = None,
    shares: bool = True,
    ticks: Sequence[float] | None = None,
) -> Plot:
    """Return histograms over one another: the first filled, the others as lines.

    `mark` draws a vertical line. Counts, or with `shares` the share of each series; a logarithmic
    axis where `bins` grow by a factor, with `ticks` where they are given.
    """

    def paint(axes: Any) -> None:
        for number, (_, values) in enumerate(series):
            weights = np.full(len(values), 1 / max(len(values), 1)) if shares else None
            colour = SERIES[number % len(SERIES)]
            dash = DASHES[number % len(DASHES)]
            given = {"bins": bins, "weights": weights, "color": colour}
            if not number:
                axes.hist(values, **given, alpha=0.3)
            axes.hist(values, **given, histtype="step", linewidth=1.6, linestyle=dash)
        if mark is not None:
            axes.axvline(mark, color=INK, linewidth=1.2)
        if len(bins) > 2 and not np.allclose(np.diff(bins), bins[1] - bins[0]):
            axes.set_xscale("log")
            axes.minorticks_off()
        if ticks is not None:
            axes.set_xticks(list(ticks), [f"{tick:g}" for tick in ticks])
        axes.set_xlabel(label)
        axes.set_ylabel("share" if shares else "count")

    return draw(title, caption, paint, [name for name, _ in series] if len(series) > 1 else ())


def lines(
    title: str,
    caption: str,
    series: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    *,
    labels: tuple[str, str],
    steps: bool = False,
    unit: bool = False,
    marks: Sequence[float] = (),
) -> Plot:
    """Return lines of (name, x, y); `unit` makes the vertical axis run from 0 to 1.

    `marks` draws a vertical line at each of these x.
    """

    def paint(axes: Any) -> None:
        for number, (_, x, y) in enumerate(series):
            axes.plot(
                x,
                y,
                color=SERIES[number % len(SERIES)],
                linestyle=DASHES[number % len(DASHES)],
                linewidth=1.8,
                drawstyle="steps-post" if steps else "default",
                marker="o" if len(x) < 40 and not steps else None,
                markersize=3,
            )
        for mark in marks:
            axes.axvline(mark, color=INK, linewidth=1.2)
        if unit:
            axes.set_ylim(0, 1.02)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])

    return draw(title, caption, paint, [name for name, _, _ in series] if len(series) > 1 else ())


def _inline(svg: str, told: str) -> Markup:
    """Return an SVG document as an element of a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="(figure|axes|patch|line2d|text|matplotlib|xtick|ytick)\S*"', "", svg)
    head, rest = svg.split(">", 1)  # the page says how wide a plot is
    svg = re.sub(r' (width|height)="[^"]*"', "", head) + ">" + rest
    svg = re.sub(r"\n\s*", "\n", svg)
    for drawn, ours in _COLOURS.items():
        svg = svg.replace(drawn, ours)
    named = Markup('<svg role="img" aria-label="{}"').format(told)
    return Markup(svg.replace("<svg", named, 1))  # noqa: S704  matplotlib escapes what it writes
