"""What a trained net loses with blocks taken away, or moved; Veit et al. (2016), arXiv:1605.06431, Sec. 4.

A residual net of n blocks is the sum of 2^n paths; taking one block away leaves half of them. In a plain net there is
one path, and every lesion breaks it.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations

import torch
from torch import nn

from plusx.analysis.blocks import blocks, without_branch
from plusx.data.batches import Batch
from plusx.report.figure import panels, svg
from plusx.report.palette import net_colours, net_widths
from plusx.runs.metrics import Measurement

DRAWS = 3
"""How many random choices of blocks to take away or swap are made for each number of blocks; their mean is reported."""


def probe(model: nn.Module, batches: Iterable[Batch]) -> Iterator[Measurement]:
    """The error of the whole net, and without each block in turn (Sec. 4.1, Fig. 3)."""
    seen = list(batches)
    yield Measurement("whole", error(model, seen), "1")
    for name, block in blocks(model).items():
        with without_branch(block):
            yield Measurement(name, error(model, seen), "1")


def removing(model: nn.Module, batches: Iterable[Batch]) -> Iterator[Measurement]:
    """The error without k blocks drawn at random, k growing; Sec. 4.2, Fig. 5 (a)."""
    seen, found = list(batches), list(blocks(model).values())
    draw = random.Random(0)
    for count in _spread(len(found)):
        errors = []
        for _ in range(DRAWS if count else 1):
            with without_branch(*draw.sample(found, count)):
                errors.append(error(model, seen))
        yield Measurement(str(count), sum(errors) / len(errors), "1")


def shuffling(model: nn.Module, batches: Iterable[Batch]) -> Iterator[Measurement]:
    """The error after k swaps of two blocks of equal shape; Sec. 4.2, Fig. 5 (b).

    The number is Kendall's tau of the new order, 1 for the old one, as in the paper. Blocks that change the shape stay.
    """
    seen, draw = list(batches), random.Random(0)
    rows = _rows(model)
    total = sum(len(row) for row in rows)
    for swaps in _spread(total):
        for _ in range(DRAWS if swaps else 1):
            orders = [list(range(len(row))) for row in rows]
            for _ in range(swaps):
                order = draw.choices(orders, weights=[len(order) for order in orders])[0]
                i, j = draw.sample(range(len(order)), 2)
                order[i], order[j] = order[j], order[i]
            with _reordered(rows, orders):
                yield Measurement(f"{kendall(orders):.4f}", error(model, seen), "1")


def passes(model: nn.Module) -> int:
    """Evaluations that `removing` and `shuffling` make together."""
    found, rows = blocks(model), _rows(model)
    counts = [*_spread(len(found)), *_spread(sum(len(row) for row in rows))]
    return sum(DRAWS if count else 1 for count in counts)


def draw(found: Mapping[str, Sequence[Measurement]]) -> str:
    """The error without each block in turn, as SVG; a curve for each net."""
    [panel] = panels("")
    nets = list(found)
    for (name, (whole, *each)), colour, width in zip(found.items(), net_colours(nets), net_widths(nets), strict=True):
        places = range(1, len(each) + 1)
        panel.line(places, [100 * m.value for m in each], colour, label=name, width=width, marker="o")
        panel.axis.axhline(100 * whole.value, color=colour, linewidth=1, linestyle=":")
    panel.axis.set(xlabel="block taken away", ylabel="error (%)", ylim=(0, 100))
    panel.axis.legend(frameon=False)
    return svg([panel])


def draw_many(removed: Mapping[str, Sequence[Measurement]], moved: Mapping[str, Sequence[Measurement]]) -> str:
    """The error without k blocks, and against Kendall's tau of their order, as SVG; a curve for each net."""
    left, right = panels("Taken away", "Moved")
    nets = list(removed)
    for name, colour, width in zip(nets, net_colours(nets), net_widths(nets), strict=True):
        away = [int(m.name) for m in removed[name]]
        left.line(away, [100 * m.value for m in removed[name]], colour, label=name, width=width)
        orders = moved.get(name, ())
        right.points([float(m.name) for m in orders], [100 * m.value for m in orders], colour, size=14)
    left.axis.set(xlabel="blocks taken away at random", ylabel="error (%)", ylim=(0, 100))
    right.axis.set(xlabel="Kendall's tau of the blocks' order", ylabel="error (%)", ylim=(0, 100))
    right.axis.invert_xaxis()
    left.axis.legend(frameon=False)
    return svg([left, right])


def error(model: nn.Module, batches: Sequence[Batch]) -> float:
    """The share of images that a net is wrong on."""
    was_training, wrong, images = model.training, 0, 0
    model.eval()
    with torch.no_grad():
        for x_BCHW, labels_B in batches:
            wrong += int((model(x_BCHW).argmax(1) != labels_B).sum())
            images += len(labels_B)
    model.train(was_training)
    return wrong / images


def kendall(orders: Sequence[Sequence[int]]) -> float:
    """Kendall's rank correlation of some orders with the ascending ones, over the pairs within each."""
    pairs = [order[i] < order[j] for order in orders for i, j in combinations(range(len(order)), 2)]
    return 2 * sum(pairs) / len(pairs) - 1


def _spread(most: int) -> list[int]:
    """0, 1, 2, ... up to ten, then about ten more up to most."""
    return sorted({*range(min(most, 10) + 1), *(round(most * tenth / 10) for tenth in range(1, 11))})


def _rows(model: nn.Module) -> list[list[tuple[nn.Module, str]]]:
    """Places of blocks that may be swapped: blocks of equal shape in one container. Each is (container, name)."""
    of_a_kind: dict[tuple[int, str], list[tuple[nn.Module, str]]] = {}
    for name, block in blocks(model).items():
        parent_name, _, child = name.rpartition(".")
        parent = model.get_submodule(parent_name)
        shape = str([(key, tuple(value.shape)) for key, value in block.state_dict().items()])
        strides = str([m.stride for m in block.modules() if isinstance(m, nn.Conv2d)])
        of_a_kind.setdefault((id(parent), shape + strides), []).append((parent, child))
    rows = [row for row in of_a_kind.values() if len(row) > 1]
    if not rows:
        raise ValueError("this net has no two blocks of equal shape to swap")
    return rows


@contextmanager
def _reordered(rows: Sequence[Sequence[tuple[nn.Module, str]]], orders: Sequence[Sequence[int]]) -> Iterator[None]:
    before = [[getattr(parent, child) for parent, child in row] for row in rows]

    def put(take: Callable[[int, int], nn.Module]) -> None:
        for r, row in enumerate(rows):
            for place, (parent, child) in enumerate(row):
                setattr(parent, child, take(r, place))

    put(lambda r, place: before[r][orders[r][place]])
    try:
        yield
    finally:
        put(lambda r, place: before[r][place])
