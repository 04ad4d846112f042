"""Which pixels of the input a value of a map can depend on, followed through every operation of a forward pass.

Along one axis, value i of a map depends on the pixels low + jump * i to high + jump * i and on no other, borders left
aside. A window that slides (convolution, pooling) widens that interval and lengthens the jump; where branches meet, the
union of their intervals counts. Two 3x3 convolutions see 5 pixels, three see 7: Simonyan and Zisserman 2014,
arXiv:1409.1556, Sec. 2.3. An operation that is known to keep no positions, or not known, sees the whole input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves

MIXES_ALL_POSITIONS = {"mm", "addmm", "bmm", "baddbmm", "linear", "native_group_norm"}


@dataclass(frozen=True)
class Interval:
    """Value i depends on the pixels low + jump * i to high + jump * i of one axis."""

    jump: int = 1
    low: int = 0
    high: int = 0

    @property
    def pixels(self) -> int:
        """Its length.

        Example:
            >>> Interval().slide(3, padding=1).slide(3, padding=1).pixels
            5
        """
        return self.high - self.low + 1

    def slide(self, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> "Interval":
        """The interval of a window that slides over the map."""
        first = -padding * self.jump
        last = first + dilation * (kernel - 1) * self.jump
        return Interval(self.jump * stride, self.low + first, self.high + last)

    def join(self, other: "Interval") -> "Interval":
        """The interval of a sum, for maps of equal jump."""
        return Interval(self.jump, min(self.low, other.low), max(self.high, other.high))


Field = tuple[Interval, Interval] | None
"""Along height and width; None is the whole input."""


class ReceptiveFields:
    """The field of every tensor that was computed from `x`; `follow` is told each operation as it runs."""

    def __init__(self, x: Tensor) -> None:
        self._fields: dict[int, tuple[Tensor, Field]] = {}  # the tensor is held, so that its id stays its own
        self._enter(x, (Interval(), Interval()))

    def pixels(self, tensor: Tensor) -> int | None:
        """The longer side of a tensor's field in pixels; None is the whole input."""
        _, field = self._fields.get(id(tensor), (None, None))
        return None if field is None else max(interval.pixels for interval in field)

    def follow(self, op: OpOverload[Any, Any], args: Sequence[Any], out: Any) -> None:
        """Note what `out = op(*args)` depends on; weights and constants depend on no pixel."""
        sources = [self._fields[id(leaf)] for leaf in tree_leaves(args) if id(leaf) in self._fields]
        if sources:
            for tensor in tree_leaves(out):
                if isinstance(tensor, Tensor):
                    self._enter(tensor, _through(op.overloadpacket.__name__, args, tensor, sources))

    def _enter(self, tensor: Tensor, field: Field) -> None:
        self._fields[id(tensor)] = (tensor, field)


def _through(op: str, args: Sequence[Any], out: Tensor, sources: list[tuple[Tensor, Field]]) -> Field:
    x, field = sources[0]
    if field is None:
        return None
    match op:
        case "convolution" if not args[6]:
            kernel, stride, padding, dilation = args[1].shape[-2:], *(_pair(args, i, 1) for i in (3, 4, 5))
            return _slide(field, kernel, stride, padding, dilation)
        case "max_pool2d_with_indices" | "avg_pool2d":
            kernel, padding = _pair(args, 1, 1), _pair(args, 3, 0)
            stride = _pair(args, 2, 1) if len(args) > 2 and args[2] else kernel  # torch's default
            dilation = _pair(args, 4, 1) if op == "max_pool2d_with_indices" else (1, 1)
            return _slide(field, kernel, stride, padding, dilation)
        case "_adaptive_avg_pool2d" | "adaptive_max_pool2d":
            sizes, cells = x.shape[-2:], out.shape[-2:]
            if any(size % cell for size, cell in zip(sizes, cells, strict=True)) or (1 in cells and cells != sizes):
                return None  # all of the map, or windows of unequal size
            kernel = [size // cell for size, cell in zip(sizes, cells, strict=True)]
            return _slide(field, kernel, kernel, (0, 0), (1, 1))
        case "constant_pad_nd":
            left, top = args[1][0], args[1][2] if len(args[1]) > 2 else 0
            return _slide(field, (1, 1), (1, 1), (top, left), (1, 1))
        case "slice" if x.ndim == 4 and args[1] in (2, 3):
            start, step = args[2] or 0, args[4] if len(args) > 4 else 1
            starts, steps = ((start, 0), (step, 1)) if args[1] == 2 else ((0, start), (1, step))
            return _slide(field, (1, 1), steps, (-starts[0], -starts[1]), (1, 1))
    if op in MIXES_ALL_POSITIONS or not all(_keeps_positions(source, out) for source, _ in sources):
        return None
    for _, other in sources[1:]:
        if other is None or any(a.jump != b.jump for a, b in zip(field, other, strict=True)):
            return None
        field = (field[0].join(other[0]), field[1].join(other[1]))
    return field


def _slide(field: tuple[Interval, Interval], *window: Sequence[int]) -> tuple[Interval, Interval]:
    along_height, along_width = zip(*window, strict=True)
    return field[0].slide(*along_height), field[1].slide(*along_width)


def _pair(args: Sequence[Any], index: int, default: int) -> Sequence[int]:
    given = args[index] if len(args) > index else [default]
    return given if len(given) == 2 else (given[0], given[0])


def _keeps_positions(source: Tensor, out: Tensor) -> bool:
    """Whether a value of `out` comes from those of `source` at its own position: pointwise, joined or flattened."""
    flattened = out.ndim < 4 and out.numel() == source.numel()
    return flattened or out.shape[-2:] == source.shape[-2:] or source.shape[-2:] == (1, 1)
