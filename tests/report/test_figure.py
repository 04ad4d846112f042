"""Figures: every curve has its name, nothing lies on an edge, and they can be read on light and on dark ground."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from plusx.report.evaluation import STRONGEST
from plusx.report.figure import SIZE, panels, standalone, svg
from plusx.report.palette import PLAIN, RESIDUAL, SERIES, SPLITS, TOKENS, net_colours, net_widths

CURVES = st.lists(st.lists(st.floats(0, 100), min_size=2, max_size=5), min_size=1, max_size=9)
DRAWING = svg(panels("One", "Another"))


@settings(max_examples=10, deadline=None)
@given(CURVES, st.sampled_from(["linear", "log"]), st.sampled_from([None, (0, 100), (0, 40)]))
def test_every_curve_has_its_name_within_the_limits_and_apart(
    curves: list[list[float]], scale: str, limits: tuple[int, int] | None
) -> None:
    [panel] = panels("")
    for number, values in enumerate(curves):
        panel.line(range(len(values)), [v + 1e-3 for v in values], RESIDUAL, name=f"net{number}")
    panel.axis.set_yscale(scale)
    if limits and scale == "linear":
        panel.axis.set_ylim(*limits)  # after the lines, as every caller does
    panel.finish()
    boxes = sorted((text.get_window_extent() for text in panel.axis.texts), key=lambda box: box.y0)
    frame = panel.axis.get_window_extent()
    assert len(boxes) == len(curves)
    assert all(frame.y0 - 1 <= (box.y0 + box.y1) / 2 <= frame.y1 + 1 for box in boxes)
    assert all(low.y0 + SIZE * panel.axis.figure.dpi / 72 <= high.y0 + 1 for low, high in pairwise(boxes))


def test_names_keep_the_order_of_the_ends_and_stand_beside_those_that_are_far_apart() -> None:
    [panel] = panels("")
    for name, end in (("low", 0.0), ("lower", 0.0), ("high", 80.0)):
        panel.line([0, 1], [50, end], PLAIN, name=name)
    panel.axis.set_ylim(0, 100)
    panel.finish()
    heights = {text.get_text().split()[0]: text.xy[1] for text in panel.axis.texts}
    assert heights["high"] == pytest.approx((80 + 3) / 106, abs=1e-6) and heights["low"] != heights["lower"]


@pytest.mark.parametrize("limits", [(0, 100), (0, 5)])
def test_a_curve_at_the_limits_does_not_lie_on_the_edge(limits: tuple[float, float]) -> None:
    [panel] = panels("")
    panel.line([0, 1], limits, PLAIN)
    panel.axis.set_ylim(*limits)
    panel.finish()
    low, high = panel.axis.get_ylim()
    assert low < limits[0] and high > limits[1]


def luminance(colour: str) -> float:
    """WCAG 2, relative luminance."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("form", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("token", [name for name in TOKENS if name not in ("ground", "line")])
def test_a_colour_can_be_read_on_its_ground(token: str, form: int) -> None:
    assert contrast(TOKENS[token][form], TOKENS["ground"][form]) >= 4.5


@pytest.mark.parametrize("form", [0, 1], ids=["light", "dark"])
def test_a_number_can_be_read_on_the_strongest_cell_of_the_confusion_matrix(form: int) -> None:
    ink, wrong, ground = (to_rgb(TOKENS[name][form]) for name in ("ink", "wrong", "ground"))
    mixed = tuple(STRONGEST / 100 * w + (1 - STRONGEST / 100) * g for w, g in zip(wrong, ground, strict=True))
    assert contrast(ink, mixed) >= 4.5  # type: ignore[arg-type]


def test_every_colour_means_one_thing() -> None:
    assert len({light for light, _ in TOKENS.values()}) == len({dark for _, dark in TOKENS.values()}) == len(TOKENS)
    kinds = [PLAIN, RESIDUAL, TOKENS["paper"][0], *SPLITS.values()]
    assert len({*kinds, *SERIES}) == len(kinds) + len(SERIES)
    assert net_colours(["plain20", "resnet20", "plain56", "preact_resnet110", "residual_mlp"]) == [
        PLAIN, RESIDUAL, PLAIN, RESIDUAL, RESIDUAL,
    ]  # fmt: skip
    assert net_colours(["vgg11", "resnet18", "vgg16"])[::2] == [SERIES[0]] * 2
    assert net_widths(["plain56", "plain20", "resnet20"]) == [2.8, 1.2, 1.2]


def test_a_figure_in_a_page_has_the_pages_colours_alone() -> None:
    assert not re.findall(r"#[0-9a-f]{6}\b(?!\")", re.sub(r'(href|id)="[^"]*"|url\([^)]*\)', "", DRAWING))
    assert "var(--ink)" in DRAWING and not re.search(r'<g id="|<metadata|font-family', DRAWING)


def test_a_file_has_its_ground_and_both_forms() -> None:
    file = standalone(DRAWING)
    assert file.startswith("<svg ") and file.count("<svg") == 1 and "var(--" not in file
    assert f'<rect width="100%" height="100%" style="fill: {TOKENS["ground"][0]}"/>' in file
    [dark] = re.findall(r"@media \(prefers-color-scheme: dark\) { (.*?) }</style>", file)
    for colour in set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", file.split("</style>", 1)[1])):
        [form] = [dark_form for light, dark_form in TOKENS.values() if light == colour]
        assert f'{colour}"]' in dark and form in dark
    assert re.search(r'viewBox="0 0 720 \d', file)  # two panels side by side


@pytest.mark.parametrize(("scheme", "form"), [("light", 0), ("dark", 1)])
def test_a_file_of_one_scheme_has_that_alone(scheme: str, form: int) -> None:
    file = standalone(DRAWING, scheme)  # type: ignore[arg-type]
    assert TOKENS["ink"][form] in file and TOKENS["ink"][1 - form] not in file and "@media" not in file
