"""What a net's first filters look like, and what its stages make of an image; Krizhevsky et al. (2012),
Fig. 3, and LeCun et al. (1998), Fig. 2.
"""

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

GAP = 2  # pixels between tiles
TILE = 48  # pixels of a tile's side, at least
MAPS = 16
LINE = 18  # pixels of a line of text


def filters(model: nn.Module) -> Image.Image:
    """The filters of the first convolution, each stretched to the full range of its own values; RGB where it takes RGB.

    Raises:
        ValueError: The net has no convolution.
    """
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        raise ValueError("this net has no convolution to show the filters of")
    weight_NCHW = first.weight.detach().float()
    if weight_NCHW.shape[1] != 3:
        weight_NCHW = weight_NCHW.mean(1, keepdim=True)
    return _tiles([[_stretched(f_CHW) for f_CHW in row] for row in weight_NCHW.split(8)])


def features(model: nn.Module, x_CHW: Tensor) -> Image.Image:
    """What the stem and each stage put out for one image: a row each, under its name, of the maps that vary most.

    Args:
        model: A net of stem, stages and head.
        x_CHW: A normalised image.

    Raises:
        ValueError: The net puts out no maps.
    """
    if missing := {"stem", "stages"} - {name for name, _ in model.named_children()}:
        raise ValueError(f"this net has no {min(missing)}, whose maps could be shown")
    rows: dict[str, list[Tensor]] = {}
    stages = model.get_submodule("stages").children()
    parts = {"stem": model.get_submodule("stem"), **{f"stage {n}": stage for n, stage in enumerate(stages, start=1)}}

    def show(name: str, y: Tensor) -> None:
        if y.dim() == 4 and min(y.shape[2:]) > 1:
            maps_CHW = y[0].float()
            most = maps_CHW.flatten(1).std(1).argsort(descending=True)[:MAPS].sort().values
            text = f"{name}: {len(most)} of {len(maps_CHW)} maps of {maps_CHW.shape[2]} x {maps_CHW.shape[1]}"
            rows[text] = [_stretched(maps_CHW[channel][None]) for channel in most]

    was_training = model.training
    model.eval()
    handles = [
        part.register_forward_hook(lambda module, inputs, y, name=name: show(name, y)) for name, part in parts.items()
    ]
    try:
        with torch.no_grad():
            model(x_CHW[None])
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    if not rows:
        raise ValueError("this net puts out no maps to show")
    return _tiles(list(rows.values()), list(rows))


def _stretched(values_CHW: Tensor) -> Tensor:
    """To 0 .. 255 between its least and its greatest value."""
    low, high = values_CHW.min(), values_CHW.max()
    return ((values_CHW - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)


def _tiles(rows: Sequence[Sequence[Tensor]], names: Sequence[str] = ()) -> Image.Image:
    """Rows of images on white, each under its name and enlarged in whole pixels until its tiles can be seen."""
    shown = []
    for row in rows:
        factor = -(-TILE // max(row[0].shape[1:]))
        shown.append([tile.repeat_interleave(factor, 1).repeat_interleave(factor, 2) for tile in row])
    above = LINE if names else 0
    width = max(sum(tile.shape[2] + GAP for tile in row) for row in shown) + GAP
    height = sum(row[0].shape[1] + GAP + above for row in shown) + GAP
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(LINE * 2 / 3)
    top = GAP
    for number, row in enumerate(shown):
        if names:
            pen.text((GAP, top), names[number], fill="black", font=font)
            top += above
        left = GAP
        for tile in row:
            sheet.paste(Image.fromarray(tile.expand(3, -1, -1).permute(1, 2, 0).numpy()), (left, top))
            left += tile.shape[2] + GAP
        top += row[0].shape[1] + GAP
    return sheet
