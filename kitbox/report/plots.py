"""Plots as inline SVG in the colours of the page, light or dark, and the layout of its map."""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from kitbox.records import Embeddings, Integers

# Colours that matplotlib draws with → the variables of the style sheet that replace them.
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
# Lines also differ by their dashes, as in the legends of the page.
DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 1, 1, 1)))
_STYLE = {
    "svg.fonttype": "none",  # text stays text, for screen readers and for search
    "text.parse_math": False,  # a name with two dollar signs is no formula
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

# Inches of a plot, and of each row of one with rows.
_SIZE = (5.4, 2.9)
_ROW = 0.24


@dataclass(frozen=True)
class Plot:
    """A plot with its title, a caption, and the names of its series."""

    title: str
    caption: str
    svg: Markup
    legend: tuple[str, ...] = ()


def draw_plot(
    title: str,
    caption: str,
    paint: Callable[[Any], None],
    legend: Sequence[str] = (),
    *,
    size: tuple[float, float] = _SIZE,
) -> Plot:
    """Return what `paint` draws on matplotlib axes, as SVG with the caption for screen readers.

    `size` is the width and height in inches at a font of 9 points.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # the title seeds the ids within the SVG, so that those of two plots in a page differ
    with mpl.rc_context(_STYLE | {"svg.hashsalt": title}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure.subplots())
        text = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=no_metadata)
    return Plot(title, caption, _inline(text.getvalue(), f"{title}. {caption}"), tuple(legend))


def histogram(
    title: str,
    caption: str,
    series: Sequence[tuple[str, NDArray[Any]]],
    *,
    label: str,
    bins: NDArray[np.float64],
    vertical: float | None = None,
    shares: bool = True,
    ticks: Sequence[float] | None = None,
) -> Plot:
    """Return overlaid histograms of (name, values): the first filled, the others as outlines.

    They show the share of each series, or counts without `shares`. `vertical` draws a vertical
    line. The axis is logarithmic if `bins` are not equally wide.
    """

    def paint(axes: Any) -> None:
        for number, (_, values) in enumerate(series):
            weights = np.full(len(values), 1 / max(len(values), 1)) if shares else None
            colour = SERIES[number % len(SERIES)]
            dash = DASHES[number % len(DASHES)]
            style = {"bins": bins, "weights": weights, "color": colour}
            if not number:
                axes.hist(values, **style, alpha=0.3)
            axes.hist(values, **style, histtype="step", linewidth=1.6, linestyle=dash)
        if vertical is not None:
            axes.axvline(vertical, color=INK, linewidth=1.2)
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
    verticals: Sequence[float] = (),
) -> Plot:
    """Return a line plot of (name, x, y) series, with vertical lines at the `verticals`.

    With `unit` the y axis runs from 0 to 1; with `steps` lines are step functions.
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
        for vertical in verticals:
            axes.axvline(vertical, color=INK, linewidth=1.2)
        if unit:
            axes.set_ylim(0, 1.02)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])

    return draw_plot(
        title, caption, paint, [name for name, _, _ in series] if len(series) > 1 else ()
    )


def intervals(
    title: str,
    caption: str,
    rows: Sequence[tuple[str, float, float, float]],
    *,
    label: str,
    notable: Sequence[bool] = (),
) -> Plot:
    """Return a dot with its interval for each (name, value, low, high), the first row on top.

    A line stands at 0; rows that are not `notable`, by default none, are quiet.
    """
    shown = list(notable) or [True] * len(rows)

    def paint(axes: Any) -> None:
        for place, (_, value, low, high) in enumerate(rows):
            colour = SERIES[0] if shown[place] else QUIET
            axes.plot([low, high], [place, place], color=colour, linewidth=1.6)
            axes.plot([value], [place], color=colour, marker="o", markersize=4.5)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.set_xlabel(label)

    return draw_plot(title, caption, paint, size=(7.2, 0.7 + _ROW * len(rows)))


def reliability(
    title: str,
    caption: str,
    series: Sequence[tuple[str, Sequence[tuple[float, float, int]]]],
    *,
    enough: int,
) -> Plot:
    """Return curves of (name, points) over the diagonal on which what is stated is right.

    A point is (stated, right, count). Those of `enough` or more are joined by a line and filled;
    of the others, which say little, only the rim is drawn.
    """

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=DASHES[2])
        for number, (_, points) in enumerate(series):
            colour, dash = SERIES[number % len(SERIES)], DASHES[number % len(DASHES)]
            marker = "os^D"[number % 4]  # not by colour alone
            many = [(stated, right) for stated, right, count in points if count >= enough]
            few = [(stated, right) for stated, right, count in points if count < enough]
            if many:
                axes.plot(
                    *zip(*many, strict=True),
                    color=colour,
                    linestyle=dash,
                    linewidth=1.8,
                    marker=marker,
                    markersize=5,
                )
            if few:
                axes.plot(
                    *zip(*few, strict=True),
                    color=colour,
                    linestyle="none",
                    marker=marker,
                    markersize=5,
                    fillstyle="none",
                )
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_aspect("equal")
        axes.grid(visible=True, axis="x")
        axes.set_xlabel("stated probability")
        axes.set_ylabel("share that is right")

    return draw_plot(title, caption, paint, [name for name, _ in series], size=(4.6, 4.4))


def heat_map(
    title: str, caption: str, names: Sequence[str], values: Mapping[tuple[int, int], float]
) -> Plot:
    """Return a square of cells for (row, column) → value in [0, 1], with the numbers in them.

    Rows and columns have the same names; the columns are numbered as the rows are.
    """
    numbered = [f"{name} ({place})" for place, name in enumerate(names, 1)]

    def paint(axes: Any) -> None:
        for (row, column), value in values.items():
            strength = min(max(value, 0.0), 1.0)
            axes.fill(
                [column - 0.48, column + 0.48, column + 0.48, column - 0.48],
                [row - 0.48, row - 0.48, row + 0.48, row + 0.48],
                color=SERIES[0],
                alpha=0.08 + 0.5 * strength,
                linewidth=0,
            )
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=INK)
        axes.set_xticks(range(len(names)), [str(place) for place in range(1, len(names) + 1)])
        axes.set_yticks(range(len(names)), numbered)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)

    side = 0.55 * len(names)
    return draw_plot(title, caption, paint, size=(2.4 + side, 0.6 + 0.36 * len(names)))


def _inline(svg: str, description: str) -> Markup:
    """Return an SVG document as an element of a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="(figure|axes|patch|line2d|text|matplotlib|xtick|ytick)\S*"', "", svg)
    head, rest = svg.split(">", 1)  # the page sets the width
    svg = re.sub(r' (width|height)="[^"]*"', "", head) + ">" + rest
    svg = re.sub(r"\n\s*", "\n", svg)
    for drawn, variable in _COLOURS.items():
        svg = svg.replace(drawn, variable)
    described = Markup('<svg role="img" aria-label="{}"').format(description)
    return Markup(svg.replace("<svg", described, 1))  # noqa: S704  matplotlib escapes its texts


# Images on a map: t-SNE of so many takes a few seconds on one core, and more dots would overlap.
MAX_POINTS = 1500
_SEED = 0
_COMPONENTS = 50
_PERPLEXITY = 30
# Half of scikit-learn's default: with 1,500 points the divergence is 3.05, against 3.00.
_STEPS = 500
# Below this count Barnes-Hut costs more than it saves.
_MAX_EXACT = 300


def sample_rows(is_query: NDArray[np.bool_], most: int = MAX_POINTS) -> Integers:
    """Return the rows of images on a map, in order: all, or a random sample of `most`.

    Up to half of the sample are queries, more if there are not enough others.
    """
    if len(is_query) <= most:
        return np.arange(len(is_query))
    generator = np.random.default_rng(_SEED)
    queries, others = np.flatnonzero(is_query), np.flatnonzero(~is_query)
    share = min(len(queries), max(most // 2, most - len(others)))
    chosen = [
        generator.choice(queries, share, replace=False),
        generator.choice(others, most - share, replace=False),
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def project(embeddings: Embeddings) -> NDArray[np.float64]:
    """Return map coordinates (n, 2) in [0, 1]: t-SNE of 50 principal components.

    van der Maaten and Hinton, 2008. The same embeddings give the same map. Fewer than five images
    are too few for t-SNE and are placed by their principal components.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    vectors = embeddings.vectors.astype(np.float64)
    count = len(vectors)
    if count < 2:
        return np.full((count, 2), 0.5)
    components = min(_COMPONENTS, count - 1, vectors.shape[1])
    points = PCA(components, random_state=_SEED).fit_transform(vectors)
    if count >= 5 and np.ptp(points, axis=0).max() > 0:
        perplexity = min(_PERPLEXITY, (count - 1) / 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # harmless overflows in intermediate sums
            points = TSNE(
                perplexity=perplexity,
                max_iter=_STEPS,
                method="exact" if count < _MAX_EXACT else "barnes_hut",
                init="pca" if components > 1 else "random",
                random_state=_SEED,
                n_jobs=-1,
            ).fit_transform(points)
    coordinates = np.zeros((count, 2))
    coordinates[:, : min(points.shape[1], 2)] = points[:, :2]
    extent = np.ptp(coordinates, axis=0)
    scale = np.where(extent > 0, extent, 1)
    return np.asarray((coordinates - coordinates.min(axis=0)) / scale)
