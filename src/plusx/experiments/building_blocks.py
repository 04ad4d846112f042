"""The plain and the residual block as a drawing; He et al. (2015), Fig. 2."""

WIDTH, HEIGHT = 360, 272  # of a panel, in points
MIDDLE = 150  # where the branch runs down
SIDE = 292  # where the shortcut does
ROWS = {"x": 46, "first": 84, "relu": 126, "second": 150, "join": 206, "y": 252}


def building_blocks() -> str:
    """Two panels as SVG in the page's colours: y = F(x), and y = F(x) + x."""
    return _panel("Plain block: y = F(x)", "plain", shortcut=False) + _panel(
        "Residual block: y = F(x) + x", "residual", shortcut=True
    )


def _panel(title: str, colour: str, *, shortcut: bool) -> str:
    at = ROWS
    drawn = [
        _text(2, 16, title, size=12, anchor="start"),
        _text(MIDDLE, at["x"], "x"),
        _arrow(f"M {MIDDLE} {at['x'] + 6} V {at['first']}"),
        _box(at["first"], colour),
        _arrow(f"M {MIDDLE} {at['first'] + 30} V {at['second']}"),
        _text(MIDDLE + 8, at["relu"] + 10, "ReLU", anchor="start", colour="soft"),
        _box(at["second"], colour),
        _text(MIDDLE - 98, at["relu"] + 10, "F(x)", anchor="end", colour=colour),
    ]
    if shortcut:
        top, join = at["x"] + 16, at["join"]
        drawn += [
            _arrow(f"M {MIDDLE} {at['second'] + 30} V {join - 9}"),
            _arrow(
                f"M {MIDDLE} {top} H {SIDE - 14} Q {SIDE} {top} {SIDE} {top + 14} V {join - 14} "
                f"Q {SIDE} {join} {SIDE - 14} {join} H {MIDDLE + 9}",
                colour,
                width=2.4,
            ),
            _text(SIDE + 8, (top + join) / 2 + 4, "x", colour=colour, anchor="start"),
            _text(SIDE - 8, (top + join) / 2 + 4, "shortcut", colour=colour, anchor="end"),
            f'<circle cx="{MIDDLE}" cy="{join}" r="9" style="fill: none; stroke: var(--ink); stroke-width: 1.4"/>',
            _line(f"M {MIDDLE - 5} {join} H {MIDDLE + 5} M {MIDDLE} {join - 5} V {join + 5}", "ink", 1.4),
            _text(MIDDLE - 16, join + 4, "F(x) + x", anchor="end"),
        ]
    drawn += [
        _arrow(f"M {MIDDLE} {at['join'] + 9 if shortcut else at['second'] + 30} V {at['y'] - 12}"),
        _text(MIDDLE + 8, at["y"] - 20, "ReLU", anchor="start", colour="soft"),
        _text(MIDDLE, at["y"] + 4, "to the next block"),
    ]
    size = f'width="{WIDTH}pt" height="{HEIGHT}pt" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg {size} xmlns="http://www.w3.org/2000/svg">{"".join(drawn)}</svg>'


def _text(x: float, y: float, text: str, *, size: int = 11, anchor: str = "middle", colour: str = "ink") -> str:
    style = f"font-size: {size}px; text-anchor: {anchor}; fill: var(--{colour})"
    return f'<text x="{x:g}" y="{y:g}" style="{style}">{text}</text>'


def _box(y: float, colour: str) -> str:
    """Two layers of the branch."""
    frame = f'style="fill: none; stroke: var(--{colour}); stroke-width: 1.6"'
    return f'<rect x="{MIDDLE - 86}" y="{y}" width="172" height="30" rx="5" {frame}/>' + _text(
        MIDDLE, y + 19, "3x3 convolution, batch norm", size=10
    )


def _line(path: str, colour: str, width: float) -> str:
    return f'<path d="{path}" style="fill: none; stroke: var(--{colour}); stroke-width: {width:g}"/>'


def _arrow(path: str, colour: str = "ink", *, width: float = 1.4) -> str:
    """A line with a head at its end, which points down, or to the left where the line ends in a horizontal."""
    *_, last, end = path.split()
    column = MIDDLE if last == "V" else float(end)
    row = float(end) if last == "V" else float(ROWS["join"])
    corners = ((-4, -7), (4, -7)) if last == "V" else ((7, -4), (7, 4))
    points = " ".join(f"{column + dx:g},{row + dy:g}" for dx, dy in ((0, 0), *corners))
    return _line(path, colour, width) + f'<polygon points="{points}" style="fill: var(--{colour})"/>'
