"""Plots of the hardness that each curve requests, and of the hardness that negatives achieve.

    python benchmarks/hardness_curves.py [--out docs/recipes/hardness.svg]

Plots the curves over one cycle, and three trainings of ten epochs on random vectors: 300
individuals with two to six photographs each, in 64 dimensions. There is seldom a photograph at
exactly the requested distance, so the achieved hardness is a little lower. Prints the figures of
both plots.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from kitbox import Hardness, Plugin, Triplet
from kitbox.samplers.hardness_sequencing import HardnessPlanner, hardness_at

THRESHOLD, GROWTH, EPOCHS = 0.85, 3.0, 10
CURVES = {
    "logistic (as described)": ("logistic", "#1f77b4", "-"),
    "exponential (as coded)": ("exponential", "#d62728", "-"),
    "linear": ("linear", "#7f7f7f", "--"),
    "sine": ("sine", "#2ca02c", "--"),
    "tanh": ("tanh", "#9467bd", "--"),
    "logarithmic": ("logarithmic", "#ff7f0e", "--"),
}
TRAININGS = {
    "logistic": Hardness(curve="logistic"),
    "logistic, 2 cycles": Hardness(curve="logistic", cycles=2),
    "constant at 0.85": Hardness(curve="constant"),
}


def random_vectors() -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors around a centre for each individual, and their labels."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(300), generator.integers(2, 7, size=300))
    centres = generator.standard_normal((300, 64))
    vectors = centres[labels] + 0.7 * generator.standard_normal((len(labels), 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), labels


def achieved(sampler: Hardness) -> tuple[list[float], list[float]]:
    """Return the mean requested and achieved hardness of each epoch."""
    vectors, labels = random_vectors()
    plugin = Plugin(
        backbone="resnet10t",
        image_size=64,
        epochs=EPOCHS,
        batch_size=30,
        losses=(Triplet(mining="sequence"),),
        sampler=sampler,
    )
    planner, metrics = HardnessPlanner(labels, plugin, 0), []
    for epoch in range(1, EPOCHS + 1):
        planner.plan(epoch, vectors)
        metrics.append(planner.metrics())
    return [each["hardness"] for each in metrics], [each["achieved"] for each in metrics]


def draw(path: Path) -> None:
    style = {
        "svg.hashsalt": "hardness", "svg.fonttype": "none", "font.size": 9,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.color": "#e0e0e0", "grid.linewidth": 0.6, "axes.axisbelow": True,
    }  # fmt: skip
    with mpl.rc_context(style):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        FigureCanvasSVG(figure)
        left, right = figure.subplots(1, 2)
        for name, (curve, colour, dash) in CURVES.items():
            sampler = Hardness(curve=curve, threshold=THRESHOLD, growth=GROWTH)
            hardness = [hardness_at(step, 100, sampler) for step in range(100)]
            left.plot(np.arange(100) / 100, hardness, color=colour, linestyle=dash, label=name)
            quarters = "  ".join(f"{hardness[step]:.3f}" for step in (0, 25, 50, 75, 99))
            print(f"{name:24} u = 0, .25, .5, .75, .99: {quarters}")
        epochs = range(1, EPOCHS + 1)
        colours = ("#1f77b4", "#d62728", "#2ca02c")
        for (name, sampler), colour in zip(TRAININGS.items(), colours, strict=True):
            requested, reached = achieved(sampler)
            right.plot(epochs, requested, color=colour, linestyle="--", label=name)
            right.plot(epochs, reached, color=colour, marker="o", markersize=3, label="achieved")
            print(f"{name:24} requested {np.round(requested, 2)}, achieved {np.round(reached, 2)}")
        left.set(xlabel="share of a cycle, u", ylabel="hardness", title="Requested in one cycle")
        right.set(xlabel="epoch", title="Requested and achieved, mean of each epoch")
        for axes, columns in ((left, 2), (right, 3)):
            axes.set_ylim(-0.02, 1.25)  # room for the names above the curves
            axes.set_yticks(np.linspace(0, 1, 6))
            axes.legend(frameon=False, fontsize=8, ncols=columns, loc="upper left")
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(path, format="svg", facecolor="white", metadata=nothing)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/recipes/hardness.svg"))
    draw(parser.parse_args().out)
