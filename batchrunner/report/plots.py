"""Plots as SVG, by pygal: no script, no style and no address in them, so that the page's own style says how they look
on a light and on a dark screen, and the page may forbid everything else."""

import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import pygal
from pygal.etree import etree
from pygal.style import Style

from batchrunner.report.axes import Tick
from batchrunner.report.safe import safe_text

# pygal leaves an import hook for maps, which are not drawn here; Python warns of it at every import that comes after.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != pygal.__name__]

FONT_PIXELS = 12
_LONG_NUMBER = re.compile(r"(-?\d+\.\d)\d+")


class Layer(NamedTuple):
    """A line through points, or what is below it. `look`: its class in the page's style."""

    look: str
    points: Sequence[tuple[float, float]]
    filled: bool = True


class Spot(NamedTuple):
    """What is told when the pointer is over this part of the x axis."""

    start: float
    end: float
    words: str


class Plot(NamedTuple):
    """What is drawn: layers from back to front, on axes that begin at the first and end at the last of their ticks, the
    x axis at `x_range`."""

    layers: Sequence[Layer]
    x_range: tuple[float, float]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    spots: Sequence[Spot] = ()


def draw(plot: Plot, *, width: int, height: int) -> str:
    """The plot as an SVG element of this size in pixels, which scales with the page."""
    chart = pygal.XY(
        width=width,
        height=height,
        margin=4,
        margin_right=14,
        style=Style(label_font_size=FONT_PIXELS, major_label_font_size=FONT_PIXELS),
        css=[],
        js=[],
        no_prefix=True,
        disable_xml_declaration=True,
        show_legend=False,
        show_dots=False,
        truncate_label=-1,
        xrange=plot.x_range,
        range=(plot.y_ticks[0].at, plot.y_ticks[-1].at),
        x_labels=[{"value": tick.at, "label": tick.words} for tick in plot.x_ticks],
        y_labels=[{"value": tick.at, "label": tick.words} for tick in plot.y_ticks],
    )
    for layer in plot.layers:
        chart.add(layer.look, list(layer.points), fill=layer.filled)
    chart.add_xml_filter(lambda root: _cleaned(root, plot, chart))
    return str(chart.render(is_unicode=True))


def steps(bins: Sequence[tuple[float, float, float]]) -> list[tuple[float, float]]:
    """The outline of bins (start, end, height), in order."""
    return [(x, height) for start, end, height in bins for x in (start, end)]


def _cleaned(root: Any, plot: Plot, chart: Any) -> Any:
    """Nothing but shapes, words and what they are of."""
    body = root.find("g")
    area = body.find("g[@class='plot']")
    for child in list(root):
        if child is not body:
            root.remove(child)
    for child in list(body):
        if child is not area:
            body.remove(child)
    del root.attrib["id"]
    root.set("aria-hidden", "true")
    for guides in area.iter("g"):
        for title in guides.findall("title"):
            guides.remove(title)
    for series in area.findall("g"):
        found = re.match(r"series serie-(\d+)", series.get("class", ""))
        if found:
            series.set("class", f"layer {plot.layers[int(found[1])].look}")
    for path in area.iter("path"):
        path.set("d", _LONG_NUMBER.sub(r"\1", path.get("d")))
    _add_spots(area, plot.spots, chart.view)
    return root


def _add_spots(area: Any, spots: Sequence[Spot], view: Any) -> None:
    group = etree.SubElement(area, "g", {"class": "spots"})
    for spot in spots:
        start, end = view.x(spot.start), view.x(spot.end)
        shape = {"x": f"{start:.1f}", "y": "0", "width": f"{end - start:.1f}", "height": f"{view.height:.0f}"}
        etree.SubElement(etree.SubElement(group, "rect", shape), "title").text = safe_text(spot.words)
