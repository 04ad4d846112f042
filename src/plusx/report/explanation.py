"""What speaks for a class, drawn: a map over the image beside it, with its scale, and the contributions of blocks.

Shapes: C channels, H height, W width; a map may be smaller than its image, and covers it from edge to edge.
"""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from plusx.report.figure import panels, svg
from plusx.report.page import SIDE, heading, illustration, page, paragraph, table
from plusx.report.palette import INK, RESIDUAL, SOFT

COLOURS = "viridis"
"""Of matplotlib, perceptually uniform: equal steps look equal. Its hues can be told on bright and on dark places."""
COVER, CONTRAST = 0.6, 0.7
"""The share of the colour where the map is over the image, which is grey there, and what is left of its contrast."""
PANEL = 360  # units of a panel's width, about as many pixels as a phone has
EDGE = 6  # units around a panel, which may stand beside another
TITLE, TEXT = 15, 12  # units of letters
LETTERS = 44  # of a title, at most
LINE = 24  # units of a line of text
SHOWN = 336  # pixels of the longer side of an image whose pixels are enlarged, at least
BAR = 12  # units of the scale's height


class Shown(NamedTuple):
    """One image of the page."""

    name: str
    """Its file."""
    drawing: str
    """What `draw_map` or `draw_blocks` returns."""
    caption: str
    numbers: tuple[Sequence[str], Sequence[Sequence[str]]] | None
    """A head and rows, if there are any."""


def picture(pixels_CHW: Tensor) -> Image.Image:
    """What a net saw, as an image; pixels of small ones are enlarged by a whole factor.

    Args:
        pixels_CHW: uint8, one channel or three.
    """
    array = pixels_CHW.permute(1, 2, 0).numpy()
    image = Image.fromarray(array if array.shape[2] == 3 else array[..., 0])
    longer = max(image.size)
    if longer <= SIDE:
        factor = -(-SHOWN // longer)
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    return image


def overlay(pixels_CHW: Tensor, strength_HW: Tensor) -> Image.Image:
    """A map over its image, which is grey below it.

    Args:
        pixels_CHW: uint8, one channel or three.
        strength_HW: In [0, 1], of any height and width; bilinear between the middles of its places.
    """
    grey_HW = np.asarray(picture(pixels_CHW).convert("L"))
    smooth_1HW = F.interpolate(strength_HW[None, None], grey_HW.shape, mode="bilinear", align_corners=False)[0]
    return _coloured((smooth_1HW[0] * 255).round().long().clamp(0, 255).numpy(), grey_HW)


def draw_map(pixels_CHW: Tensor, strength_HW: Tensor, strongest: float, *, says: str, speaks_for: str) -> str:
    """An image, and a map over it with its scale, as SVG elements.

    Args:
        pixels_CHW: uint8, one channel or three.
        strength_HW: In [0, 1].
        strongest: What 1 stands for, in logits.
        says: Title of the image, such as the class that the net names.
        speaks_for: The class that the map is of.
    """
    height = _height(pixels_CHW)
    below = LINE + height + 8
    bar = _coloured(np.arange(256)[None], np.array(128))  # as over a grey between black and white
    scale = (
        _embedded(bar, (0, below, PANEL, BAR), stretched=True)
        + _text("0", 0, below + BAR + 15, TEXT)
        + _text(f"{strongest:.3g} logits", PANEL, below + BAR + 15, TEXT, "end")
    )
    covered = _embedded(overlay(pixels_CHW, strength_HW), (0, LINE, PANEL, height))
    return _seen(pixels_CHW, says) + _panel(below + BAR + 20, _titled(f"speaks for {speaks_for}") + covered + scale)


def draw_blocks(pixels_CHW: Tensor, blocks: Sequence[tuple[str, float]], *, says: str, speaks_for: str) -> str:
    """An image, and what each block contributes to a class, as SVG elements; bars to the left speak against it.

    Args:
        pixels_CHW: uint8, one channel or three.
        blocks: Names and contributions in logits.
        says: Title of the image.
        speaks_for: The class.
    """
    title = _shortened(f"blocks that speak for {speaks_for}").replace("$", r"\$")  # matplotlib would set a formula
    [panel] = panels(title, height=max(3.4, 0.17 * min(len(blocks), 60) + 1))
    values = [value for _, value in blocks]
    panel.axis.barh(range(len(values)), values, color=[RESIDUAL if value > 0 else SOFT for value in values])
    panel.axis.axvline(0, color=INK, linewidth=0.8)
    panel.axis.invert_yaxis()
    panel.axis.grid(axis="y", alpha=0)
    step = -(-len(blocks) // 60)  # names of hundreds of blocks would cover each other
    panel.axis.set_yticks(range(0, len(blocks), step), [name for name, _ in blocks[::step]], fontsize=8)
    panel.axis.set(xlabel="what the logit loses without the branch (logits)")
    return _seen(pixels_CHW, says) + svg([panel])


def explanations(title: str, sentences: Iterable[str], shown: Iterable[Shown]) -> bytes:
    """The whole page.

    Args:
        title: Its heading.
        sentences: Under the heading.
        shown: The images in order.
    """
    body = [paragraph(each) for each in sentences]
    for each in shown:
        body += [heading(each.name), illustration(each.drawing, each.caption)]
        if each.numbers is not None:
            body.append(f"<details><summary>Numbers</summary>{table(*each.numbers)}</details>")
    return page(title, body)


@cache
def _colours() -> np.ndarray:
    """256 colours, uint8 RGB, from the weakest to the strongest."""
    from matplotlib import colormaps  # a third of a second: only pictures need it

    return (np.array(colormaps[COLOURS](np.arange(256)))[:, :3] * 255).round().astype(np.uint8)


def _coloured(steps_HW: np.ndarray, grey_HW: np.ndarray) -> Image.Image:
    """The colours of a map's steps from 0 to 255, over grey from 0 to 255."""
    below = 128 + CONTRAST * (grey_HW.astype(np.float64) - 128)
    mixed = COVER * _colours()[steps_HW] + (1 - COVER) * below[..., None]
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def _height(pixels_CHW: Tensor) -> float:
    """Of an image as wide as a panel, in units."""
    return PANEL * pixels_CHW.shape[1] / pixels_CHW.shape[2]


def _seen(pixels_CHW: Tensor, title: str) -> str:
    """The panel of the image itself."""
    height = _height(pixels_CHW)
    return _panel(LINE + height, _titled(title) + _embedded(picture(pixels_CHW), (0, LINE, PANEL, height)))


def _panel(height: float, inside: str) -> str:
    box = f"0 0 {PANEL + 2 * EDGE} {height + EDGE:g}"
    placed = f'<g transform="translate({EDGE} 0)">{inside}</g>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{placed}</svg>'


def _titled(text: str) -> str:
    return _text(_shortened(text), 0, TITLE, TITLE)


def _shortened(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 3]}..."


def _text(text: str, x: float, y: float, size: int, anchor: str = "start") -> str:
    shown = html.escape(text)
    return (
        f'<text x="{x:g}" y="{y:g}" style="fill: var(--ink); font-size: {size}px" text-anchor="{anchor}">{shown}</text>'
    )


def _embedded(image: Image.Image, place: tuple[float, float, float, float], *, stretched: bool = False) -> str:
    """An image within SVG: JPEG, but of few colours or enlarged pixels PNG, which is smaller then."""
    buffers = {kind: io.BytesIO() for kind in ("png", "jpeg")}
    for kind, buffer in buffers.items():
        image.save(buffer, kind, quality=88)
    kind, raw = min(((kind, buffer.getvalue()) for kind, buffer in buffers.items()), key=lambda each: len(each[1]))
    x, y, width, height = place
    aspect = ' preserveAspectRatio="none"' if stretched else ""
    source = f"data:image/{kind};base64,{base64.b64encode(raw).decode()}"
    return f'<image x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{aspect} href="{source}"/>'
