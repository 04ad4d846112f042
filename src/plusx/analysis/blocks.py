"""The blocks of a net, which are recognised by their parts, and what they do when a part is taken away.

A block is a module with a `branch`, and a `shortcut` or `gate` where it has one; no family is named. Changes are hooks
that end with their context, so that the net is as it was.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Blocks by their name in the net, in order.

    Raises:
        ValueError: The net has none.
    """
    found = {name: module for name, module in model.named_modules() if isinstance(_part(module, "branch"), nn.Module)}
    if not found:
        raise ValueError("this net has no blocks of branch and shortcut")
    return found


def residual_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Blocks that have a shortcut.

    Raises:
        ValueError: The net has none.
    """
    found = {name: block for name, block in blocks(model).items() if _part(block, "shortcut") is not None}
    if not found:
        raise ValueError("this net has no shortcuts")
    return found


def has_shortcut(block: nn.Module) -> bool:
    """Whether x comes around the branch, by a shortcut or by a gate that carries it."""
    return _part(block, "shortcut") is not None or _part(block, "gate") is not None


@contextmanager
def without_branch(*removed: nn.Module) -> Iterator[None]:
    """Takes F away from blocks: y = relu(S(x)), y = x behind a gate; Veit et al. (2016), Sec. 4.1.

    A block without a shortcut then passes x on, at every stride-th pixel and with zeros for new channels where its
    output has another shape, as option A does: the same layers are gone, and nothing is random.
    """
    handles = []
    for block in removed:
        if (gate := _part(block, "gate")) is not None:
            handles.append(gate.register_forward_hook(lambda module, x, y: torch.full_like(y, -torch.inf)))
        elif has_shortcut(block):
            handles.append(
                _part(block, "branch").register_forward_hook(lambda module, x, y: _each(torch.zeros_like, y))
            )
        else:
            handles.append(block.register_forward_hook(lambda module, x, y: passed_on(x[0], y)))
    with _until_the_end(handles):
        yield


@contextmanager
def without_shortcut(block: nn.Module) -> Iterator[None]:
    """Takes S away from a block: y = relu(F(x))."""
    with _until_the_end(
        [_part(block, "shortcut").register_forward_hook(lambda module, x, y: _each(torch.zeros_like, y))]
    ):
        yield


@contextmanager
def gradients_through(through_branch: dict[nn.Module, bool]) -> Iterator[None]:
    """Lets gradients pass each block by one way alone, its branch or its shortcut; the forward pass stays whole."""
    handles = []
    for block, by_branch in through_branch.items():
        closed = _part(block, "shortcut" if by_branch else "branch")
        handles.append(closed.register_forward_hook(lambda module, x, y: _each(Tensor.detach, y)))
    with _until_the_end(handles):
        yield


@contextmanager
def hearing_outputs(parts: dict[nn.Module, Callable[[Tensor], object]]) -> Iterator[None]:
    """Calls each function with every tensor that its module puts out."""

    def hook(hear: Callable[[Tensor], object]) -> Callable[..., None]:
        def after(module: nn.Module, x: Any, y: Any) -> None:
            for tensor in y if isinstance(y, tuple) else (y,):
                hear(tensor)

        return after

    with _until_the_end([part.register_forward_hook(hook(hear)) for part, hear in parts.items()]):
        yield


def passed_on(x: Tensor, y: Tensor) -> Tensor:
    """x in the shape of y."""
    stride, more = x.shape[-1] // y.shape[-1], y.shape[1] - x.shape[1]
    return F.pad(F.avg_pool2d(x, 1, stride), (0, 0, 0, 0, 0, more)) if x.dim() == 4 else F.pad(x, (0, more))


def _each(change: Callable[[Tensor], Tensor], y: Any) -> Any:
    """Changes a module's output, which is two tensors in a dual path block."""
    return tuple(map(change, y)) if isinstance(y, tuple) else change(y)


def _part(module: nn.Module, name: str) -> Any:
    return dict(module.named_children()).get(name)


@contextmanager
def _until_the_end(handles: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
