"""The curve of a sweep, drawn with matplotlib: an optional part (`connwatch[plots]`).

Left the rates against the parameter, right recall against the false-positive rate, both of flows.
SVG holds its letters as outlines and refers to nothing outside; the same numbers draw the same
bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Final

from connwatch.errors import UsageError
from connwatch.render import safe

from .metrics import Rate
from .score import Scored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES: Final = (".png", ".svg")
#: colours that people who see few of them tell apart (Okabe and Ito), and marks that nobody needs
#: colours for
_CURVES: Final = (
    ("precision", "#0072b2", "o"),
    ("recall", "#d55e00", "s"),
    ("F1", "#009e73", "^"),
    ("false-positive rate", "#000000", "x"),
)

#: from this ratio of largest and smallest value on the axis is logarithmic
_WIDE: Final = 20


def check(path: Path) -> None:
    """UsageError unless a curve can be drawn into a file of this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError("is neither .png nor .svg", where=f"--plot {path}")
    if not available():
        raise UsageError(
            "curves need matplotlib, which is not installed",
            where=f"--plot {path}",
            hint="pip install 'connwatch[plots]'",
        )


def available() -> bool:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def draw(name: str, points: Sequence[tuple[str, Scored]], path: Path) -> None:
    """Write the curve as PNG or SVG. points: the parameter's values with what they gave."""
    if path.suffix.lower() == ".svg":
        path.write_text(svg(name, points), encoding="utf-8")
    else:
        _figure(name, points).savefig(path, dpi=150, metadata={"Software": None})


def svg(name: str, points: Sequence[tuple[str, Scored]]) -> str:
    """The curve as one <svg> element, without a document type."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "connwatch"}):
        _figure(name, points).savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _figure(name: str, points: Sequence[tuple[str, Scored]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(safe(name), parse_math=False)
    ordered, places, scale = placed(points)
    _against_value(left, ordered, places, scale)
    _against_each_other(right, ordered)
    return figure


def _against_value(
    axes: Axes, points: Sequence[tuple[str, Scored]], places: Sequence[float], scale: str
) -> None:
    axes.set_xscale(scale)
    for index, (label, colour, mark) in enumerate(_CURVES):
        rates = [_rates(one)[index] for _, one in points]
        drawn = [(x, rate) for x, rate in zip(places, rates, strict=True) if rate.value is not None]
        if not drawn:
            continue
        x = [place for place, _ in drawn]
        axes.plot(
            x, [rate.value or 0.0 for _, rate in drawn], color=colour, marker=mark, label=label
        )
        axes.fill_between(
            x,
            [rate.low or 0.0 for _, rate in drawn],
            [rate.high or 0.0 for _, rate in drawn],
            color=colour,
            alpha=0.12,
            linewidth=0,
        )
    axes.set_xticks(places, [safe(text) for text, _ in points], parse_math=False)
    axes.minorticks_off()
    axes.set(xlabel="value", ylabel="rate, of flows", ylim=(-0.03, 1.03))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(loc="best", fontsize="small")


def _against_each_other(axes: Axes, points: Sequence[tuple[str, Scored]]) -> None:
    drawn: dict[tuple[float, float], list[str]] = {}
    for text, one in points:
        _, recall, _, false = _rates(one)
        if false.value is not None and recall.value is not None:
            drawn.setdefault((false.value, recall.value), []).append(safe(text))
    if drawn:
        axes.plot(*zip(*drawn, strict=True), color="#0072b2", marker="o")
    for place, texts in drawn.items():
        axes.annotate(
            ", ".join(texts), place, xytext=(5, 5), textcoords="offset points",
            fontsize="small", parse_math=False,
        )  # fmt: skip
    axes.set(xlabel="false-positive rate, of flows", ylabel="recall, of flows", ylim=(-0.03, 1.03))
    axes.grid(alpha=0.3)


def _rates(one: Scored) -> tuple[Rate, Rate, Rate, Rate]:
    flows = one.flows
    return flows.precision, flows.recall, flows.f1, flows.false_positive_rate


def placed(
    points: Sequence[tuple[str, Scored]],
) -> tuple[list[tuple[str, Scored]], list[float], str]:
    """The points in the order in which they are drawn, where, and on what kind of axis.

    Numbers stand at themselves in their order, on a logarithmic axis when they span much; other
    values one beside the other."""
    with suppress(ValueError):
        numbers = [float(text) for text, _ in points]
        if all(map(isfinite, numbers)):
            order = sorted(range(len(points)), key=lambda n: numbers[n])
            places = [numbers[n] for n in order]
            wide = places[0] > 0 and places[-1] / places[0] >= _WIDE
            return [points[n] for n in order], places, "log" if wide else "linear"
    return list(points), [float(place) for place in range(len(points))], "linear"
