"""Figures as SVG whose text has the colour of the page around them."""

import io
import warnings
from collections.abc import Sequence
from typing import Any

INK = "#010203"  # stands for the page's text colour until the figure is in the page
COLOURS = ("#dc5a1b", "#3b7df0", "#059669", "#9333ea", "#db2777", "#0891b2")


def canvas(columns: int, height: float) -> tuple[Any, Any]:
    """A figure and its axes side by side.

    Args:
        columns: Number of axes.
        height: In inches; the width is 10.5 for several axes, 6.5 for one.
    """
    from matplotlib.figure import Figure  # half a second: only reports need it

    figure = Figure(figsize=(10.5 if columns > 1 else 6.5, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.set_facecolor("none")
        axis.spines[["top", "right"]].set_visible(False)
        for spine in axis.spines.values():
            spine.set_color(INK)
        axis.tick_params(which="both", color=INK)
        axis.grid(axis="y", color=INK, alpha=0.12)
    return figure, axes


def label_ends(axis: Any, ends: Sequence[tuple[float, str, str, float]]) -> None:
    """Names at the lines' ends, moved apart where lines meet.

    Args:
        axis: Where the lines are; its limits are final.
        ends: Height, name, colour and place of each end.
    """
    from sklearn.isotonic import isotonic_regression  # a second: only figures need it

    low, high = axis.get_ylim()
    gap = (max(high, *(value for value, *_ in ends)) - low) * 0.055
    ends = sorted(ends)
    # The least squares shift that keeps the order and the gaps.
    apart = isotonic_regression([value - gap * place for place, (value, *_) in enumerate(ends)], y_min=low)
    for place, (value, name, colour, at) in enumerate(ends):
        axis.annotate(
            f"{name}  {value:.1f}",
            (at, apart[place] + gap * place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
        )
    axis.margins(x=0.02)


def svg(figure: Any) -> str:
    """A figure as SVG; whatever text was black has the page's colour."""
    import matplotlib
    from matplotlib.text import Text

    figure.patch.set_alpha(0)
    for text in figure.findobj(Text):
        if text.get_color() == "black":
            text.set_color(INK)
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the page has fonts that matplotlib has not
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "plusx", "font.family": "sans-serif"}):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :].replace(INK, "currentColor")


def standalone(svg: str) -> str:
    """A figure as a file of its own, whose text is dark on a light ground and light on a dark one."""
    head, tag, rest = svg.partition(">")
    style = "svg { color: #1c1f24 } @media (prefers-color-scheme: dark) { svg { color: #e8eaed } }"
    return f"{head}{tag}<style>{style}</style>{rest}\n"
