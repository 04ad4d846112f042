"""What happens in a net's forward pass, watched on the meta device, where nothing is computed or held.

One pass in evaluation mode yields shapes, multiply-adds, memory written and receptive fields; one in training mode
yields what autograd keeps for the backward pass. Operations are seen, not only layers: the addition of a residual
block and the concatenation of a dense one belong to the block that makes them.
"""

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from plusx.analysis.receptive_field import ReceptiveFields


def on_meta(net: nn.Module) -> nn.Module:
    """A copy in fp32 on the meta device; weights are not copied, and what is shared stays shared."""

    def twin(t: Tensor) -> Tensor:
        bare = torch.empty_like(t, device="meta", dtype=torch.float32 if t.is_floating_point() else t.dtype)
        return nn.Parameter(bare, t.requires_grad) if isinstance(t, nn.Parameter) else bare

    return copy.deepcopy(net, {id(t): twin(t) for t in (*net.parameters(), *net.buffers())})


@dataclass
class Call:
    """One run of one module, and what its own operations did."""

    name: str
    module: nn.Module
    began: int = 0
    """How many memories there were before it."""
    shape: tuple[int, ...] | None = None
    """Of its output for one image; None before it runs."""
    macs: int = 0
    values: int = 0
    """Numbers written to new memory."""
    field: int | None = None
    """Receptive field in pixels; None is the whole input."""
    ops: tuple[str, ...] = ()
    """What a block computes between its layers."""

    @property
    def is_layer(self) -> bool:
        return not any(self.module.children())

    @property
    def kind(self) -> str:
        """Its class; of a block, also what it does between its layers."""
        name = type(self.module).__name__
        return name if self.is_layer or not self.ops else f"{name}: {', '.join(dict.fromkeys(self.ops))}"


class _Trace(TorchDispatchMode):
    """Attributes each operation to the innermost module that runs, each new memory to the operation that fills it."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self.fields = ReceptiveFields(x)
        self._running: list[Call] = []
        self._memories: dict[int, tuple[int, Any]] = {}  # by address; held, so that no address serves twice
        self._age(x)

    def enter(self, name: str, module: nn.Module, inputs: Any) -> None:
        call = Call(name, module, began=len(self._memories))
        self._running.append(call)
        if call.is_layer:
            self.calls.append(call)

    def leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        call = self._running.pop()
        if call.is_layer:  # what it computed on the way to its output is its own affair
            outputs = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
            call.values = sum(t.numel() for t in outputs if self._age(t) >= call.began)
            call.shape, call.field = tuple(outputs[0].shape[1:]), self.fields.pixels(outputs[0])

    def __torch_dispatch__(
        self, func: OpOverload[Any, Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        before = len(self._memories)
        out = func(*args, **(kwargs or {}))
        self.fields.follow(func, args, out)
        call = self._running[-1]
        call.macs += _macs(func, args, out)
        first = out[0] if isinstance(out, tuple) else out  # pooling's indices and batch norm's moments come after it
        if not isinstance(first, Tensor):
            return out
        if _changes_nothing(func, args, first):
            self._memories[_address(first)] = (self._age(args[0]), first)
        elif self._age(first) >= before and not call.is_layer:
            if not call.ops:
                self.calls.append(call)
            call.ops = (*call.ops, func.overloadpacket.__name__)
            call.values += first.numel()
            call.shape, call.field = tuple(first.shape[1:]), self.fields.pixels(first)
        return out

    def _age(self, tensor: Tensor) -> int:
        return self._memories.setdefault(_address(tensor), (len(self._memories), tensor))[0]


def trace_evaluation(net: nn.Module, input_shape: tuple[int, int, int]) -> list[Call]:
    """The runs of all layers in order, among them those of blocks that compute between their layers.

    Args:
        net: On the meta device.
        input_shape: Channels, height and width of one image.
    """
    x = torch.zeros(1, *input_shape, device="meta")
    trace = _Trace(x)
    with torch.no_grad():
        _run(net.eval(), x, trace.enter, trace.leave, trace)
    return trace.calls


def trace_training(net: nn.Module, input_shape: tuple[int, int, int]) -> tuple[Counter[str], int]:
    """Bytes that autograd keeps for each image, by module, and those that it keeps once for a batch.

    Args:
        net: On the meta device.
        input_shape: Channels, height and width of one image.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        before = torch.get_rng_state()
        kept = _keep(net.train(), input_shape)
        if not torch.equal(before, torch.get_rng_state()):  # a block may have skipped its branch at random
            for block in net.modules():
                block.training = not any(block.children())
            kept = max(kept, _keep(net, input_shape), key=lambda kept: kept[0].total())
    return kept


def _keep(net: nn.Module, input_shape: tuple[int, int, int]) -> tuple[Counter[str], int]:
    batch = 127  # a prime, so that it divides what grows with the batch and nothing else
    running: list[str] = []
    known = {_address(t): t for t in (*net.parameters(), *net.buffers())}
    grows: Counter[str] = Counter()
    once = 0

    def enter(name: str, module: nn.Module, inputs: Any) -> None:
        running.append(name)

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        running.pop()

    def keep(tensor: Tensor) -> Tensor:
        nonlocal once
        if _address(tensor) not in known:
            known[_address(tensor)] = tensor  # held, so that no address serves twice
            size = tensor.untyped_storage().nbytes()
            if size % batch:
                once += size
            else:
                grows[running[-1]] += size // batch
        return tensor

    x = torch.zeros(batch, *input_shape, device="meta")
    _run(net, x, enter, leave, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor))
    return grows, once


def _run(net: nn.Module, x: Tensor, enter: Callable[..., None], leave: Callable[..., None], watched: Any) -> None:
    handles = [m.register_forward_pre_hook(partial(enter, name)) for name, m in net.named_modules()]
    handles += [m.register_forward_hook(leave) for m in net.modules()]
    try:
        with watched:
            net(x)
    finally:
        for handle in handles:
            handle.remove()


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _macs(op: OpOverload[Any, Any], args: Sequence[Any], out: Any) -> int:
    match op.overloadpacket.__name__:
        case "convolution":  # a transposed one spreads each value of its input over a window
            return (args[0] if args[6] else out).numel() * args[1][0].numel()
        case "addmm" | "baddbmm":
            return out.numel() * args[1].shape[-1]
        case "mm" | "bmm":
            return out.numel() * args[0].shape[-1]
    return 0


def _changes_nothing(op: OpOverload[Any, Any], args: Sequence[Any], out: Tensor) -> bool:
    """Pooling to the size that a map already has, as in the head of VGG at 224 pixels."""
    pools = op.overloadpacket.__name__ in ("_adaptive_avg_pool2d", "mean")
    return pools and out.shape == args[0].shape
