"""A net that keeps few tensors for its backward pass and recomputes the rest; Chen et al. (2016), arXiv:1604.06174.

The forward, as a graph, is cut where one tensor alone goes on; in a residual net that is between any two blocks. With L
such places about sqrt(L) evenly spaced ones are used, so that memory is O(sqrt(L)). A second pass over a batch must not
enter its mean and variance into the running ones again: see `recomputing`.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint

from plusx.placement.graph import changes
from plusx.placement.kernels.fuse import own_norms
from plusx.placement.kernels.norm import recomputing


def recompute(net: nn.Module, graph: fx.Graph | None) -> int:
    """Have the net's forward keep only what crosses its cuts, in training; returns the number of segments.

    Args:
        net: Changed in place.
        graph: What `plusx.placement.graph.trace` returns, perhaps after `fuse`.

    Raises:
        ValueError: The forward has no two places where it can be cut.

    Example:
        >>> from plusx.placement.graph import trace
        >>> block = lambda: nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        >>> net = nn.Sequential(*(block() for _ in range(8)))
        >>> recompute(net, trace(net))
        5
    """
    cuts = _cuts(net, graph) if graph else []
    count = math.isqrt(len(cuts)) + 1
    if graph is None or count < 3:
        raise ValueError("placement.recompute is true; this net's forward cannot be cut into segments")
    own_norms(net, native=False)  # those that `fuse` has not put there already
    chosen = [cuts[len(cuts) * i // count] for i in range(1, count)]
    segments = [fx.GraphModule(net, part) for part in _split(graph, chosen)]
    net.forward = _Segments(segments)
    return len(segments)


class _Segments:
    """The forward of a net in segments; an object, so that a copy of the net gets segments of its own modules."""

    def __init__(self, segments: Sequence[nn.Module]) -> None:
        self.segments = segments

    def __call__(self, x: Tensor) -> Tensor:
        *segments, last = self.segments
        for segment in segments:
            x = _recomputed(segment, x) if torch.is_grad_enabled() else segment(x)
        return last(x)  # its backward comes first: it would be computed again at once


def _recomputed(segment: nn.Module, x: Tensor) -> Tensor:
    if torch.compiler.is_compiling():  # a compiler changes the running moments once, whatever it computes twice
        return checkpoint(segment, x, use_reentrant=False)
    return checkpoint(segment, x, use_reentrant=False, context_fn=lambda: (nullcontext(), recomputing()))


def _cuts(net: nn.Module, graph: fx.Graph) -> list[fx.Node]:
    """The nodes after which nothing of what came before is read but their own output, and that not changed in place."""
    modules: dict[Any, Any] = dict(net.named_modules())
    nodes = [node for node in graph.nodes if node.op != "output"]
    place = {node: i for i, node in enumerate(graph.nodes)}
    last_read = [max((place[user] for user in node.users), default=place[node]) for node in nodes]
    cuts, reach = [], 0
    for node, read in zip(nodes[:-1], last_read[:-1], strict=True):
        changed = any(changes(user, node, modules) for user in node.users)
        if reach <= place[node] and node.op != "placeholder" and not changed:
            cuts.append(node)
        reach = max(reach, read)
    return cuts


def _split(graph: fx.Graph, cuts: Sequence[fx.Node]) -> list[fx.Graph]:
    """Graphs of one input and one output each, which one after another are the whole."""
    parts, part = list[fx.Graph](), fx.Graph()
    copies = dict[fx.Node, fx.Node]()
    for node in graph.nodes:
        copies[node] = part.node_copy(node, copies.__getitem__)
        if node in cuts:
            part.output(copies[node])
            parts.append(part)
            part = fx.Graph()
            copies[node] = part.placeholder("x")
    return [*parts, part]
