"""Figures as SVG, a panel at a time, in the palette's colours: they follow the page's scheme, or their viewer's."""

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from plusx.report.palette import INK, TOKENS

WIDTH = 5.0  # inches of a panel
SIZE = 10  # points of its text
GAP = 1.25 * SIZE  # points between the middles of labels that would touch
ROOM = 0.03  # of an axis' span, above and below, so that no curve lies on the edge
COLUMNS = 2  # panels side by side in a file of its own
FONT = "font-family: system-ui, 'Noto Sans', 'DejaVu Sans', sans-serif"


class _End(NamedTuple):
    x: float
    y: float
    name: str
    colour: str


@dataclass
class Panel:
    """An axis, and the names that its lines get when its limits are final."""

    axis: Any
    ends: list[_End] = field(default_factory=list)
    needs_room: bool = False

    def line(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        colour: str,
        *,
        name: str = "",
        label: str = "",
        width: float = 1.8,
        style: str = "-",
        marker: str = "",
    ) -> None:
        """A curve, with its name and last value at its right end.

        Args:
            xs: Where it is known.
            ys: Its values there.
            colour: One of the palette.
            name: Written there; nothing where it is empty.
            label: Its name in a legend, for curves whose ends have no room for names.
            width: In points.
            style: As matplotlib has it: -, -- or :.
            marker: As matplotlib has it, at each point.
        """
        self.needs_room = True
        if all(isinstance(x, int) for x in xs):
            self.axis.locator_params("x", integer=True)
        drawn_as = {"linewidth": width, "linestyle": style, "marker": marker, "markersize": 3}
        self.axis.plot(
            xs, ys, color=colour, label=label, zorder=4 - width / 10, **drawn_as
        )  # a thin line shows on a thick
        if name:
            self.ends.append(_End(xs[-1], ys[-1], name, colour))

    def points(self, xs: Sequence[float], ys: Sequence[float], colour: str, *, size: float = 20) -> None:
        """Values that no curve joins.

        Args:
            xs: Where they are known.
            ys: The values there.
            colour: One of the palette.
            size: Area of each in square points.
        """
        self.needs_room = True
        self.axis.scatter(xs, ys, color=colour, s=size)

    def finish(self) -> None:
        """Give curves and points room, then name the curves, beside their ends or as near as other names allow."""
        if self.axis.get_yscale() == "linear" and self.needs_room:
            low, high = self.axis.get_ylim()
            room = ROOM * (high - low)
            self.axis.set_ylim(low - room, high + room)
        if not self.ends:
            return
        from sklearn.isotonic import isotonic_regression  # a second: only figures need it

        self.axis.margins(x=0.02)
        self.axis.figure.draw_without_rendering()  # settles how high the axis is
        height = self.axis.get_window_extent().height * 72 / self.axis.figure.dpi
        to_shares = self.axis.transScale + self.axis.transLimits
        shares = {end: float(to_shares.transform((end.x, end.y))[1]) for end in self.ends}
        ends = sorted(self.ends, key=lambda end: shares[end])
        gap = min(GAP / height, 1 / max(1, len(ends) - 1))
        # The least squares shift that keeps the order, the gaps and the limits.
        apart = isotonic_regression(
            [shares[end] - gap * place for place, end in enumerate(ends)], y_min=0, y_max=1 - gap * (len(ends) - 1)
        )
        for place, end in enumerate(ends):
            self.axis.annotate(
                f"{end.name}  {end.y:.1f}",
                (end.x, apart[place] + gap * place),
                xycoords=("data", "axes fraction"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=end.colour,
                annotation_clip=False,
            )


def panels(*titles: str, height: float = 3.4) -> list[Panel]:
    """Empty panels, one for each title, which may be empty; each is a figure, so that a page can stack them.

    Args:
        titles: Written above the panels.
        height: In inches.
    """
    from matplotlib.figure import Figure  # half a second: only reports need it
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    made = []
    for title in titles:
        figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
        axis = figure.subplots()
        axis.set_facecolor("none")
        axis.spines[["top", "right"]].set_visible(False)
        for spine in axis.spines.values():
            spine.set_color(INK)
        axis.tick_params(which="both", color=INK)
        axis.grid(axis="y", color=INK, alpha=0.12)
        if title:
            axis.set_title(title, loc="left")
        made.append(Panel(axis))
    return made


def svg(drawn: Sequence[Panel]) -> str:
    """The panels as SVG, one element after the other, whose colours are the page's."""
    return "".join(_svg(panel) for panel in drawn)


def standalone(drawing: str, scheme: Literal["light", "dark"] | None = None) -> str:
    """A drawing as a file of its own: on its own ground, its panels side by side.

    Args:
        drawing: What `svg` returns.
        scheme: light or dark; without it the file is light, and dark where its viewer prefers that.
    """
    parts = re.findall(r'<svg[^>]*viewBox="0 0 (\S+) (\S+)"[^>]*>(.*?)</svg>', drawing, re.DOTALL)
    across, down = (max(float(part[side]) for part in parts) for side in (0, 1))
    columns = min(COLUMNS, len(parts))
    width, height = across * columns, down * -(-len(parts) // columns)
    placed = [
        f'<g transform="translate({across * (n % columns):g} {down * (n // columns):g})">{inside}</g>'
        for n, (_, _, inside) in enumerate(parts)
    ]
    form = int(scheme == "dark")
    inner = '<rect width="100%" height="100%" style="fill: var(--ground)"/>' + "".join(placed)
    inner = re.sub(r"var\(--(\w+)\)", lambda token: TOKENS[token[1]][form], inner)
    dark = "" if scheme else f"@media (prefers-color-scheme: dark) {{ {_dark_rules(inner)} }}"
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    size = f'width="{width:g}pt" height="{height:g}pt" viewBox="0 0 {width:g} {height:g}"'
    return f"<svg {names} {size}><style>svg {{ {FONT} }} {dark}</style>{inner}</svg>\n"


def _dark_rules(inner: str) -> str:
    """For each light colour that is used its dark one. Rules, so that a viewer that knows none shows the light form."""
    return " ".join(
        f'[style*="{what}: {light}"] {{ {what}: {dark} !important }}'
        for light, dark in TOKENS.values()
        for what in ("fill", "stroke")
        if f"{what}: {light}" in inner
    )


def _svg(panel: Panel) -> str:
    import matplotlib
    from matplotlib.text import Text

    panel.finish()
    figure = panel.axis.figure
    figure.patch.set_alpha(0)
    for text in figure.findobj(Text):
        if text.get_color() == "black":
            text.set_color(INK)
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the page has fonts that matplotlib has not
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "plusx", "font.family": "sans-serif"}):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
    drawn = buffer.getvalue()[buffer.getvalue().index("<svg") :].strip()
    drawn = re.sub(r"<metadata>.*?</metadata>\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'<g id="[^"]*"', "<g", drawn)  # a page has several figures, and an id is its only one
    drawn = re.sub(r"font-family: [^;]*; ", "", drawn)
    for name, (light, _) in TOKENS.items():
        drawn = drawn.replace(light, f"var(--{name})")
    return drawn
