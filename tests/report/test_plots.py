"""Plots: in the colours of the page, with a description, and without shared ids."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from kitbox.report import plots
from kitbox.report.plots import Plot

HOSTILE = "</svg><script>$x$ & $y$"


def histogram(title: str = "Sizes", name: str = "a", **given: object) -> Plot:
    values = np.array([1.0, 2.0, 2.0, 5.0])
    bins = np.linspace(0, 6, 7)
    return plots.histogram(
        title, "What it shows.", [(name, values), ("b", values)], label="pixels", bins=bins, **given
    )


def test_a_plot_uses_the_colours_of_the_page() -> None:
    svg = histogram(vertical=3.0).svg
    assert "var(--accent)" in svg
    assert "var(--second)" in svg
    literal = {colour for colour in re.findall(r"#[0-9a-f]{6}", svg) if colour != "#000000"}
    assert not literal


def test_a_plot_has_its_caption_for_screen_readers() -> None:
    root = ElementTree.fromstring(histogram().svg)  # noqa: S314  our own
    assert root.get("role") == "img"
    assert root.get("aria-label") == "Sizes. What it shows."
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "pixels" in texts


def test_a_plot_has_no_size_and_no_style_of_its_own() -> None:
    svg = histogram().svg
    assert "<style" not in svg
    assert "<metadata" not in svg
    assert not re.search(r"<svg[^>]* (width|height)=", svg)
    assert "viewBox" in svg


def test_names_in_plots_stay_text() -> None:
    found = histogram(title=HOSTILE, name=HOSTILE)
    assert "<script" not in found.svg
    assert ElementTree.fromstring(found.svg).get("aria-label", "").startswith(HOSTILE)  # noqa: S314
    assert found.legend == (HOSTILE, "b")
    labels = (HOSTILE, "$y$")
    drawn = plots.lines("t", "c", [("one", [0, 1], [0, 1])], labels=labels)
    texts = [node.text for node in ElementTree.fromstring(drawn.svg).iter()]  # noqa: S314
    assert HOSTILE in texts
    assert "$y$" in texts


def test_two_plots_share_no_id() -> None:
    ids = [re.findall(r' id="([^"]+)"', histogram(title=title).svg) for title in ("one", "two")]
    assert not set(ids[0]) & set(ids[1])
    assert all(len(set(of)) == len(of) for of in ids)


def test_equal_plots_have_equal_bytes() -> None:
    assert histogram() == histogram()


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0], [0.1, 1e5]])
def test_extreme_values_are_drawn(values: list[float]) -> None:
    bins = np.geomspace(0.9 * min(values), 1.1 * max(values), 20)
    found = plots.histogram(
        "t", "c", [("a", np.array(values))], label="x", bins=bins, ticks=[1, 10], shares=False
    )
    assert found.legend == ()


def texts_of(plot: Plot) -> list[str | None]:
    root = ElementTree.fromstring(plot.svg)  # noqa: S314  our own
    return [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_intervals_have_a_row_each_and_quiet_ones_have_no_colour() -> None:
    rows = [("one", 0.1, 0.05, 0.2), (HOSTILE, -0.1, -0.3, 0.1)]
    found = plots.intervals("Effects", "c", rows, label="map", notable=[True, False])
    assert {"one", HOSTILE, "map"} <= {*texts_of(found)}
    quiet = plots.intervals("Effects", "c", rows, label="map", notable=[False, False])
    assert "var(--accent)" in found.svg
    assert "var(--accent)" not in quiet.svg
    more = plots.intervals("Effects", "c", rows * 10, label="map")
    height = [
        float(plot.svg.split('viewBox="')[1].split('"')[0].split()[3]) for plot in (found, more)
    ]
    assert height[1] > 4 * height[0]


def test_a_heat_map_has_the_number_of_each_cell() -> None:
    values = {(0, 0): 1.0, (0, 1): 0.25, (1, 0): 0.25, (1, 1): 1.0}
    found = texts_of(plots.heat_map("Agreement", "c", ["a", "b"], values))
    assert [found.count(text) for text in ("1.00", "0.25", "a (1)", "b (2)")] == [2, 2, 1, 1]


def test_a_reliability_curve_joins_the_points_that_have_enough_answers() -> None:
    points = [(0.1, 0.2, 300), (0.5, 0.4, 200), (0.9, 1.0, 199)]
    svg = plots.reliability("Right", "As stated.", [("individual", points)], enough=200).svg
    # the diagonal is dotted; one line joins two filled points, and the third has a rim alone
    assert len(re.findall(r"stroke-dasharray: 1,1.5; .*stroke: var\(--quiet\)", svg)) == 1
    assert svg.count("stroke: var(--accent); stroke-width: 1.8") == 1
    assert len(re.findall(r"<use .*fill: var\(--accent\)", svg)) == 2
    assert len(re.findall(r"<use .*fill-opacity: 0; stroke: var\(--accent\)", svg)) == 1
