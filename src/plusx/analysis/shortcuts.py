"""What each shortcut contributes: how much of a block's sum comes by it, and what is lost without it."""

from collections.abc import Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from plusx.analysis.blocks import hearing_outputs, residual_blocks, without_shortcut
from plusx.analysis.lesions import error
from plusx.data.batches import Batch
from plusx.report.figure import panels, svg
from plusx.report.palette import INK, RESIDUAL, SERIES
from plusx.runs.metrics import Measurement


def probe(model: nn.Module, batches: Iterable[Batch]) -> Iterator[Measurement]:
    """For each block of y = F(x) + S(x): the norm of S over that of F, and the net's error without S.

    Two measurements a block: "NAME ratio", |S(x)| / |F(x)| over all images, and "NAME error". First "whole", the error
    of the net as it is.

    Raises:
        ValueError: The net has no shortcut.
    """
    seen = list(batches)
    found = residual_blocks(model)
    squares: dict[nn.Module, float] = {}

    def add(part: nn.Module, y: Tensor) -> None:
        squares[part] = squares.get(part, 0.0) + y.float().square().sum().item()

    sides = {name: [block.get_submodule(side) for side in ("shortcut", "branch")] for name, block in found.items()}
    with hearing_outputs({part: partial(add, part) for both in sides.values() for part in both}):
        yield Measurement("whole", error(model, seen), "1")
    for name, block in found.items():
        s, f = (squares[part] for part in sides[name])
        yield Measurement(f"{name} ratio", (s / max(f, 1e-30)) ** 0.5, "1")
        with without_shortcut(block), torch.no_grad():
            yield Measurement(f"{name} error", error(model, seen), "1")


def draw(measurements: Iterable[Measurement]) -> str:
    """The two shares block by block, as SVG."""
    whole, *rest = measurements
    ratios = [m.value for m in rest if m.name.endswith(" ratio")]
    errors = [100 * m.value for m in rest if m.name.endswith(" error")]
    drawn = panels("What comes by the shortcut", f"Error without it; {100 * whole.value:.1f} % with all")
    left, right = (panel.axis for panel in drawn)
    for axis in (left, right):
        axis.locator_params("x", integer=True)
    left.bar(range(1, len(ratios) + 1), ratios, color=RESIDUAL)
    left.axhline(1, color=INK, linewidth=1, alpha=0.5)
    left.set(xlabel="block", ylabel="|S(x)| / |F(x)|")
    right.bar(range(1, len(errors) + 1), errors, color=SERIES[0])
    right.axhline(100 * whole.value, color=INK, linewidth=1, alpha=0.5)
    right.set(xlabel="block whose shortcut is cut", ylabel="error (%)", ylim=(0, 100))
    return svg(drawn)
