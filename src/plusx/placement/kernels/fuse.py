"""A net's convolutions and batch norms in native code; the net's files know nothing of it.

Modules are replaced by ones that hold the same parameters under the same names. Then the net's forward is traced into a
graph (torch.fx), and where a batch norm is followed by ReLU, or by an addition and ReLU, and nothing else reads what
lies between, one call of the batch norm does it all. The net stays the object that it was; its `forward` now runs the
shorter graph.
"""

import operator
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from plusx.placement.graph import changes, erase, has_hooks, trace_joined
from plusx.placement.kernels.block import FusedBlock
from plusx.placement.kernels.convolution import NativeConv2d, fits_native
from plusx.placement.kernels.dense import DenseMaps
from plusx.placement.kernels.norm import FusedNorm, fits_fusion

_RELUS = (F.relu, torch.relu, F.relu_, torch.relu_)
_ADDS = (operator.add, torch.add, operator.iadd)


def fuse(net: nn.Module, graph: fx.Graph | None, *, dense: bool = True) -> int:
    """Change the net, and the graph, as above; returns how many batch norms now do more than normalise.

    Args:
        net: In place.
        graph: What `trace` returns. Without one, blocks that may not survive a step are changed, each by itself
            (`trace_joined`), and of the rest only modules are replaced.
        dense: Whether a dense block's maps are to lie in one tensor, which leaves no place to cut the graph within it,
            and which compilers, that write out changes in place, do not take.

    Example:
        >>> from plusx.placement.graph import trace
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        >>> fuse(net, trace(net)), list(net.state_dict())[:3]
        (1, ['0.weight', '0.bias', '1.weight'])
    """
    whole = [(net, "forward", graph)] if graph is not None else []
    parts = whole or [(module, "joined", part) for module, part in trace_joined(net)]
    own_norms(net, native=True)
    for name, module in list(net.named_modules()):
        if fits_native(module):
            _replace(net, name, NativeConv2d(module))
    count = 0
    for root, name, part in parts:
        count += _shorten(root, part, dense)
        setattr(root, name, MethodType(type(fx.GraphModule(root, part)).forward, root))
    return count


def _shorten(net: nn.Module, graph: fx.Graph, dense: bool) -> int:
    """Change the graph, which is of the net, as `fuse` says."""
    modules, count = dict(net.named_modules()), 0
    for node in list(graph.nodes):
        if (
            node.op == "call_module"
            and type(modules[node.target]) is nn.Identity
            and not has_hooks(modules[node.target])
        ):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    for node in list(graph.nodes):
        if node.op != "call_module" or not isinstance(modules[node.target], FusedNorm):
            continue
        relu, residual, stride = _pattern(node, modules)
        if relu is None:
            continue
        with graph.inserting_before(relu):
            fused = graph.call_module(node.target, (node.args[0], residual, stride, True))
        relu.replace_all_uses_with(fused)
        erase(graph, relu)
        count += 1
    _fuse_blocks(net, graph)
    if dense:
        _fuse_concatenations(net, graph)
    graph.lint()
    return count


def _fuse_blocks(net: nn.Module, graph: fx.Graph) -> None:
    """One call for every conv, norm and ReLU, conv, norm, addition of a shortcut as it is, and ReLU."""
    modules: dict[Any, Any] = dict(net.named_modules())
    for number, join in enumerate(list(graph.nodes)):
        chain = _chain(join, 4)
        norm2, conv2, norm1, conv1 = (modules.get(node.target) if node.op == "call_module" else None for node in chain)
        if not (isinstance(norm1, FusedNorm) and isinstance(norm2, FusedNorm)):
            continue
        if not (isinstance(conv1, NativeConv2d) and isinstance(conv2, NativeConv2d)):
            continue
        if (conv1.by, conv2.by) != ("convolution", "convolution"):
            continue
        x, inner = chain[3].args[0], chain[2].args[1:]
        shortcut, *rest = join.args[1:] or (None,)
        if inner != (None, 0, True) or rest != [0, True] or not isinstance(shortcut, fx.Node):
            continue
        if not all(map(_only_user, chain[1:])):
            continue
        name = f"block_{number}"  # beside the net's modules, not among them: it owns no parameter
        object.__setattr__(net, name, FusedBlock(conv1, norm1, conv2, norm2))
        with graph.inserting_before(join):
            join.replace_all_uses_with(graph.call_module(name, (x,) if shortcut is x else (x, shortcut)))
        erase(graph, join)


def _fuse_concatenations(net: nn.Module, graph: fx.Graph) -> None:
    """One tensor for the maps of every chain cat([cat([x, f1]), f2]) ... of which norms with ReLU read each link."""
    modules: dict[Any, Any] = dict(net.named_modules())
    for number, x in enumerate(list(graph.nodes)):
        steps: list[tuple[fx.Node, fx.Node]] = []
        maps = x
        while step := _dense_step(maps, modules):
            steps.append(step)
            maps = step[1]
        last = _only_user(maps)
        if not steps or last is None or not _is_normed(last, maps, modules):
            continue
        readers = [*(node for step in steps for node in step), last]  # norm, concatenation, norm, ..., norm
        name = f"dense_{number}"
        object.__setattr__(net, name, partial(DenseMaps, [modules[norm.target] for norm in readers[::2]]))
        with graph.inserting_before(readers[0]):
            maps = graph.call_module(name, (x,))
        for node in readers:
            with graph.inserting_before(node):
                if node.target is torch.cat:
                    maps = graph.call_method("add", (maps, _parts(node)[1]))
                else:
                    node.replace_all_uses_with(graph.call_method("normed", (maps,)))
        for node in reversed(readers):
            graph.erase_node(node)


def _dense_step(maps: fx.Node, modules: dict[Any, Any]) -> tuple[fx.Node, fx.Node] | None:
    """The norm and the concatenation that read the maps, if these two do and no others."""
    if len(maps.users) != 2:
        return None
    norm, joined = sorted(maps.users)  # in the graph's order
    return (norm, joined) if _is_normed(norm, maps, modules) and _is_joined(joined, maps) else None


def _is_normed(node: fx.Node, maps: fx.Node, modules: dict[Any, Any]) -> bool:
    fused = node.op == "call_module" and isinstance(modules.get(node.target), FusedNorm)
    return fused and node.args == (maps, None, 0, True)


def _is_joined(node: fx.Node, maps: fx.Node) -> bool:
    """Whether this is cat([maps, f], 1)."""
    parts = _parts(node) if node.target is torch.cat and node.args[1:] == (1,) else ()
    return len(parts) == 2 and parts[0] is maps and parts[1] is not maps


def _parts(node: fx.Node) -> tuple[Any, ...]:
    """What a concatenation joins."""
    parts = node.args[0]
    return tuple(parts) if isinstance(parts, list | tuple) else ()


def _chain(node: fx.Node, length: int) -> list[fx.Node]:
    """The node, the node that it reads first, and so on; the last is repeated where there are no more."""
    chain = [node]
    while len(chain) < length:
        first = next(iter(chain[-1].args), None)
        chain.append(first if isinstance(first, fx.Node) else chain[-1])
    return chain


def own_norms(net: nn.Module, *, native: bool) -> None:
    """Put a `FusedNorm` in the place of every batch norm that it can stand in for."""
    for name, module in list(net.named_modules()):
        if fits_fusion(module):
            _replace(net, name, FusedNorm(module, native=native))


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, module)


def _pattern(norm: fx.Node, modules: dict[str, nn.Module]) -> tuple[fx.Node | None, fx.Node | None, int]:
    """The ReLU that ends it, what is added before, its stride or 0; no ReLU where the pattern does not stand."""
    user = _only_user(norm)
    if user is None or _is_relu(user, modules):
        return _if_unchanged(norm, user, modules), None, 0
    if user.op != "call_function" or user.target not in _ADDS or len(user.args) != 2 or user.kwargs:
        return None, None, 0
    last = _only_user(user)
    other = user.args[1] if user.args[0] is norm else user.args[0]
    if last is None or not _is_relu(last, modules) or not isinstance(other, fx.Node) or other is norm:
        return None, None, 0
    return _if_unchanged(norm, last, modules), *(_zero_padding(other, modules[str(norm.target)]) or (other, 0))


def _if_unchanged(norm: fx.Node, last: fx.Node | None, modules: dict[str, nn.Module]) -> fx.Node | None:
    """The last, if what the norm reads is still the same there."""
    for x in norm.all_input_nodes:
        if any(last and norm < user < last and changes(user, x, modules) for user in x.users):
            return None
    return last


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        module = modules[str(node.target)]
        return type(module) is nn.ReLU and not has_hooks(module)
    return node.op == "call_function" and node.target in _RELUS


def _zero_padding(node: fx.Node, norm: Any) -> tuple[fx.Node, int] | None:
    """(x, stride) where the node is option A's shortcut of x: one pixel pooled, channels padded behind."""
    if node.op != "call_function" or node.target is not F.pad or _only_user(node) is None:
        return None
    if node.kwargs or len(node.args) != 2:
        return None
    pooled: Any = node.args[0]
    padding: Any = node.args[1]
    if not isinstance(pooled, fx.Node) or pooled.target is not F.avg_pool2d or pooled.kwargs or len(pooled.args) != 3:
        return None
    x, kernel_size, stride = pooled.args
    behind = isinstance(padding, tuple | list) and len(padding) == 6 and not any(padding[:5])
    fits = behind and kernel_size == 1 and 0 < padding[5] < norm.num_features
    return (x, stride) if fits and isinstance(x, fx.Node) and isinstance(stride, int) else None
