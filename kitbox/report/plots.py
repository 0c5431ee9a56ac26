"""Plots as SVG that stands in a page, in the page's own colours, light or dark."""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from kitbox.records import Embeddings, Integers

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


def draw_plot(
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

    return draw_plot(title, caption, paint, [name for name, _ in series] if len(series) > 1 else ())


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

    return draw_plot(
        title, caption, paint, [name for name, _, _ in series] if len(series) > 1 else ()
    )


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


# t-SNE of so many takes some seconds on one core, and more dots than that hide each other.
MAX_POINTS = 1500
_SEED = 0
_COMPONENTS = 50
_PERPLEXITY = 30
# Half of scikit-learn's: of 1,500 points the divergence is 3.05 then, and 3.00 after all of them.
_STEPS = 500
# The approximation costs more than it saves below this.
_FEW = 300


def sample_rows(asked: NDArray[np.bool_], most: int = MAX_POINTS) -> Integers:
    """Return the rows to draw, in order: all, or of more than `most` both sides by lot.

    Queries are drawn first, up to half of the map.
    """
    if len(asked) <= most:
        return np.arange(len(asked))
    generator = np.random.default_rng(_SEED)
    queries, others = np.flatnonzero(asked), np.flatnonzero(~asked)
    share = min(len(queries), max(most // 2, most - len(others)))
    chosen = [
        generator.choice(queries, share, replace=False),
        generator.choice(others, most - share, replace=False),
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def project(embeddings: Embeddings) -> NDArray[np.float64]:
    """Return places (n, 2) in [0, 1]: t-SNE (van der Maaten and Hinton, 2008) of 50 components.

    The same embeddings have the same map. Fewer than five images, of which t-SNE can make nothing,
    are placed by their principal components.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    vectors = embeddings.vectors.astype(np.float64)
    count = len(vectors)
    if count < 2:
        return np.full((count, 2), 0.5)
    components = min(_COMPONENTS, count - 1, vectors.shape[1])
    found = PCA(components, random_state=_SEED).fit_transform(vectors)
    if count >= 5 and np.ptp(found, axis=0).max() > 0:
        perplexity = min(_PERPLEXITY, (count - 1) / 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sums that overflow on the way and do no harm
            found = TSNE(
                perplexity=perplexity,
                max_iter=_STEPS,
                method="exact" if count < _FEW else "barnes_hut",
                init="pca" if components > 1 else "random",
                random_state=_SEED,
                n_jobs=-1,
            ).fit_transform(found)
    places = np.zeros((count, 2))
    places[:, : min(found.shape[1], 2)] = found[:, :2]
    spread = np.ptp(places, axis=0)
    return np.asarray((places - places.min(axis=0)) / np.where(spread > 0, spread, 1))
