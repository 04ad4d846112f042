"""A trained net as a frozen graph: everything is decided beforehand, and few passes over memory are made.

The net is traced and dropout is left out. Batch norms are folded into the convolutions before them; one that has none
before it, as in pre-activation, becomes a convolution of its own, which multiplies each channel by one number. What
follows a convolution is then done by the same operator while its result is still in the cache: a ReLU, or the addition
of the shortcut, in the shortcut's memory, and a ReLU.

These are oneDNN's operators under the names by which `torch.compile` calls them, so that no compiler is needed and
nothing has to be compiled. Weights are laid out once as oneDNN wants them. In bf16 the last layer with weights and all
that follows it stay in fp32, so that logits are not rounded to three digits; a net that ends with a shortcut around
that layer is all in bf16. Where these operators are missing, the
same graph runs on PyTorch's own, and a net that cannot be traced runs as it is, under autocast.

The logits of an image never depend on which images are beside it. In bf16 on AMX they do not depend on how many there
are either, nor on threads: they are equal to the bit. Otherwise oneDNN orders its sums by the size of the batch and the
threads: in fp32 logits then differ by some 1e-6 of their size.

Shapes: B images in a batch, C channels, H height, W width, F features, K classes.
"""

import copy
import operator
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from plusx.placement.graph import OwnTracer, PythonState
from plusx.placement.inference.eager import Eager

Precision = Literal["fp32", "bf16"]
_DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Frozen:
    """A graph that computes logits and nothing else: float32 images in, float32 logits out, on the CPU."""

    def __init__(self, net: nn.Module, dtype: torch.dtype) -> None:
        self.net, self.dtype = net, dtype

    @torch.inference_mode()
    def __call__(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.net(x_BCHW.to(self.dtype).contiguous(memory_format=torch.channels_last))
        return logits_BK.float()


class _Tracer(OwnTracer):
    """Traces into blocks that draw random numbers in training, since this graph will never train."""

    evaluation_only = True


@torch.no_grad()
def freeze(net: nn.Module, *, precision: Precision = "fp32") -> Frozen | Eager:
    """What computes the same as a net in evaluation mode, only faster, and cannot be trained any more.

    Args:
        net: On the CPU. It is put into evaluation mode; weights that nothing is folded into are not copied, so leave
            them as they are. If it cannot be traced, it is called as it is.
        precision: fp32, or bf16 for all but the last layer.

    Example:
        >>> from plusx.nets import build
        >>> net, x = build("resnet20").eval(), torch.rand(2, 3, 32, 32)
        >>> bool((freeze(net)(x) - net(x)).abs().max() < 1e-4)
        True
    """
    dtype, before = _DTYPES[precision], PythonState(net)
    try:
        graph = fx.GraphModule(net, _Tracer().trace(net.eval()))
    except Exception:  # tracing may fail on anything that a forward does
        return Eager(net, device="cpu", precision=precision)
    finally:
        was_changed = before.restore(net)
    if was_changed:
        return Eager(net, device="cpu", precision=precision)
    _drop_idle(graph)
    _fold_norms(graph)
    if dtype != torch.float32:
        _lower(graph, dtype)
    if _onednn_fuses(dtype):
        _fuse_shortcuts(graph)
        _fuse_layers(graph)
        _fuse_pools(graph)
    graph.delete_all_unused_submodules()
    graph.graph.lint()
    graph.recompile()
    return Frozen(graph, dtype)


# ---- oneDNN's operators ----------------------------------------------------------------------------------------------


class FusedConv(nn.Module):
    """relu(conv(x)); with a shortcut relu(shortcut + conv(x)), in the shortcut's memory; or either without the ReLU."""

    def __init__(self, conv: nn.Conv2d, *, relu: bool) -> None:
        super().__init__()
        self.weight, self.bias, self.relu = conv.weight, conv.bias, relu
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.packed: dict[int, Tensor] = {}

    def pack(self, x: Tensor) -> Tensor:
        """The weight as oneDNN wants it. In bf16 that is the same for every batch, in fp32 it is not."""
        batch = 0 if x.dtype == torch.bfloat16 else len(x)
        packed = self.packed.get(batch)
        if packed is None:
            packed = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *self.geometry, x.shape)
            self.packed = {**dict(list(self.packed.items())[-1:]), batch: packed}  # no more than two: they are large
        return packed

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        conv = (x, self.pack(x), self.bias, *self.geometry)
        if shortcut is None:
            return torch.ops.mkldnn._convolution_pointwise.default(*conv, "relu" if self.relu else "none", [], "")
        relu = "relu" if self.relu else None
        return torch.ops.mkldnn._convolution_pointwise_.binary(shortcut, *conv, "add", 1.0, relu, [], None)


class FusedLinear(nn.Module):
    """relu(W x + b), or without the ReLU."""

    def __init__(self, linear: nn.Linear, *, relu: bool) -> None:
        super().__init__()
        self.weight, self.bias, self.relu = linear.weight, linear.bias, relu
        self.packed = torch.ops.mkldnn._reorder_linear_weight(self.weight)

    def forward(self, x_BF: Tensor) -> Tensor:
        # A batch of one would be a product of matrix and vector, which sums in another order.
        pair_BF = x_BF.expand(2, -1) if len(x_BF) == 1 else x_BF
        y_BF: Tensor = torch.ops.mkldnn._linear_pointwise.default(
            pair_BF, self.packed, self.bias, "relu" if self.relu else "none", [], ""
        )
        return y_BF[: len(x_BF)]


class ReluPool(nn.Module):
    """Max pooling of a ReLU's output, in bf16.

    Numbers that are not negative are in the order of their bits, and PyTorch compares integers several times faster,
    all images, shifted, at once. Its own pooling also writes down where each maximum was.
    """

    def __init__(self, kernel_size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return self.along(self.along(x.view(torch.int16), 2), 3).view(torch.bfloat16)

    def along(self, x: Tensor, dim: int) -> Tensor:
        """Maxima along one side: the image shifted by each place in the region, where the region is inside."""
        length = x.shape[dim]
        out_length = (length + 2 * self.padding - self.kernel_size) // self.stride + 1
        shifted = []
        for offset in range(-self.padding, self.kernel_size - self.padding):
            begin = -(-max(0, -offset) // self.stride)
            end = min(out_length, (length - 1 - offset) // self.stride + 1)
            span = slice(begin * self.stride + offset, (end - 1) * self.stride + offset + 1, self.stride)
            shifted.append((end - begin, begin, x[:, :, span] if dim == 2 else x[..., span]))
        (_, _, most), *others = sorted(shifted, key=lambda each: -each[0])  # the first is never cut off
        most = most.clone() if others and others[0][0] < out_length else most
        for size, begin, values in others:
            if size == out_length:
                most = torch.maximum(most, values)
            else:
                there = most.narrow(dim, begin, size)
                torch.maximum(there, values, out=there)
        return most


class GlobalAverage(nn.Module):
    """Adaptive pooling to one pixel, which PyTorch does in a fifth of the time when the size is named."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, x.shape[2:])


def _onednn_fuses(dtype: torch.dtype) -> bool:
    names = ["_reorder_convolution_weight", "_convolution_pointwise", "_convolution_pointwise_"]
    names += ["_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported"]
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    return dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


# ---- the passes over the graph, in their order -----------------------------------------------------------------------


def _drop_idle(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        if _is(graph, node, nn.Identity, nn.Dropout):
            _put(graph, node, node.args[0])


def _fold_norms(graph: fx.GraphModule) -> None:
    """s (W x + b) + t is a convolution; s x + t is one of each channel by itself."""
    for node in list(graph.graph.nodes):
        if not _is(graph, node, nn.BatchNorm2d):
            continue
        norm, before = _module(graph, node), node.args[0]
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        shift = norm.bias.double() - norm.running_mean.double() * scale
        scale_K111 = scale.float()[:, None, None, None]
        if _is(graph, before, nn.Conv2d) and len(before.users) == 1:
            conv = _module(graph, before)
            if conv.bias is not None:
                shift = shift + conv.bias.double() * scale
            folded = _conv_like(conv, conv.weight * scale_K111, shift.float())
            before.target = _add(graph, before, folded)
            _put(graph, node, before)
        else:
            each = nn.Conv2d(len(scale), len(scale), 1, groups=len(scale), device="meta")
            node.target = _add(graph, node, _conv_like(each, scale_K111, shift.float()))


def _conv_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution of the same geometry with other numbers."""
    made = copy.deepcopy(conv, {id(conv.weight): nn.Parameter(weight, requires_grad=False)})
    made.bias = nn.Parameter(bias, requires_grad=False)
    return made


def _lower(graph: fx.GraphModule, dtype: torch.dtype) -> None:
    """Computes everything before the last layer with weights in `dtype`, and this too where others join its result."""
    nodes = list(graph.graph.nodes)
    last = max((i for i, node in enumerate(nodes) if _is(graph, node, nn.Conv2d, nn.Linear)), default=0)
    joined = any(nodes.index(x) < last for node in nodes[last + 1 :] for x in node.all_input_nodes)
    for node in nodes if joined else nodes[:last]:
        if node.op == "call_module" and any(True for _ in _module(graph, node).parameters()):
            module = _module(graph, node)
            lower = {id(p): nn.Parameter(p.to(dtype), requires_grad=False) for p in module.parameters()}
            node.target = _add(graph, node, copy.deepcopy(module, lower))
        elif node.op == "get_attr":
            value = operator.attrgetter(node.target)(graph)
            graph.register_buffer(node.name, value.to(dtype) if value.is_floating_point() else value)
            node.target = node.name
        if _is(graph, node, nn.LocalResponseNorm):  # PyTorch has none in bf16
            with graph.graph.inserting_before(node):
                node.update_arg(0, graph.graph.call_method("float", (node.args[0],)))
            with graph.graph.inserting_after(node):
                back = graph.graph.call_method("to", (node, dtype))
            node.replace_all_uses_with(back, lambda user, back=back: user is not back)
    if joined:
        return
    with graph.graph.inserting_before(nodes[last]):
        nodes[last].update_arg(0, graph.graph.call_method("float", (nodes[last].args[0],)))


def _fuse_shortcuts(graph: fx.GraphModule) -> None:
    """F(x) + S(x), whichever of them ends in a convolution that runs last, takes the other's memory."""
    nodes = list(graph.graph.nodes)
    place = {node: number for number, node in enumerate(nodes)}
    for add in nodes:
        if add.target is not operator.add or not all(isinstance(arg, fx.Node) for arg in add.args):
            continue
        shortcut, conv = sorted(add.args, key=lambda node: place[node])
        readers = [node for node in shortcut.users if node is not add]
        free = _is_fresh(graph, shortcut) and all(place[n] < place[conv] and _is_fresh(graph, n) for n in readers)
        if shortcut is conv or not free or not _fusable(graph, conv) or len(conv.users) > 1:
            continue
        relu = _relu_after(graph, add)
        fused = FusedConv(_module(graph, conv), relu=relu is not None)
        if relu is not None:
            _put(graph, relu, add)
        conv.target, conv.args = _add(graph, conv, fused), (conv.args[0], shortcut)
        _put(graph, add, conv)


def _fuse_layers(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        fused: type[FusedConv | FusedLinear]
        if _fusable(graph, node):
            fused = FusedConv
        elif _is(graph, node, nn.Linear):
            fused = FusedLinear
        else:
            continue
        relu = _relu_after(graph, node)
        node.target = _add(graph, node, fused(_module(graph, node), relu=relu is not None))
        if relu is not None:
            _put(graph, relu, node)


def _fuse_pools(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        if _is(graph, node, nn.AdaptiveAvgPool2d) and _module(graph, node).output_size in (1, (1, 1)):
            node.target = _add(graph, node, GlobalAverage())
        if _is(graph, node, nn.MaxPool2d) and _is(graph, node.args[0], FusedConv):
            pool, conv = _module(graph, node), _module(graph, node.args[0])
            sizes = (pool.kernel_size, pool.stride, pool.padding)
            plain = all(isinstance(size, int) for size in sizes) and pool.dilation == 1 and not pool.ceil_mode
            if conv.relu and conv.weight.dtype == torch.bfloat16 and plain and pool.kernel_size > 2 * pool.padding:
                node.target = _add(graph, node, ReluPool(*sizes))


# ---- questions to a graph and changes to it --------------------------------------------------------------------------


def _module(graph: fx.GraphModule, node: fx.Node) -> Any:
    """The module that a node calls."""
    assert node.op == "call_module" and isinstance(node.target, str)
    return graph.get_submodule(node.target)


def _is(graph: fx.GraphModule, node: Any, *kinds: type[nn.Module]) -> bool:
    """Whether a node calls a module of exactly one of these classes, not of a subclass."""
    return isinstance(node, fx.Node) and node.op == "call_module" and type(_module(graph, node)) in kinds


def _fusable(graph: fx.GraphModule, node: fx.Node) -> bool:
    if not _is(graph, node, nn.Conv2d):
        return False
    conv = _module(graph, node)
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _is_fresh(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node's result is a tensor of its own, neither the net's input nor a view of another node's."""
    pools = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
    functions = (operator.add, operator.mul, torch.cat, F.avg_pool2d)
    return _is(graph, node, nn.Conv2d, nn.Linear, FusedConv, *pools) or node.target in functions


def _relu_after(graph: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The ReLU that is the only reader of a node's result, if there is one."""
    users = list(node.users)
    return users[0] if len(users) == 1 and _is(graph, users[0], nn.ReLU) else None


def _add(graph: fx.GraphModule, node: fx.Node, module: nn.Module) -> str:
    """Enters a module under the node's name, which takes one step to find, not one for each level of the net."""
    name = f"{node.name}_{type(module).__name__.lower()}"
    graph.add_submodule(name, module)
    return name


def _put(graph: fx.GraphModule, node: fx.Node, result: fx.Node) -> None:
    """Replaces a node by another node's result."""
    node.replace_all_uses_with(result)
    graph.graph.erase_node(node)
