"""A net's forward as a graph (torch.fx), where it is one: the same in training and in evaluation, nothing drawn."""

import operator
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

_IN_PLACE = {
    vars(operator)[f"i{name}"] for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
}
_IN_PLACE |= {operator.iand, operator.ior, operator.ixor, operator.setitem}


class OwnTracer(fx.Tracer):
    """A tracer that records what its own thread calls.

    PyTorch traces by replacing what every module is called with, in the whole process. So a net that another thread
    uses meanwhile, such as one that answers requests, would be recorded too, and fail.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """What a module's call becomes."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """What an attribute of a module becomes."""
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def trace(net: nn.Module, method: str = "forward") -> fx.Graph | None:
    """A method of the net as a graph that holds in training and in evaluation, or None where there is no such graph."""
    graphs, was_training, tracer, before = [], net.training, OwnTracer(), PythonState(net)
    tracer.traced_func_name = method
    try:
        for training in (True, False):
            with _NothingComputed():  # type: ignore[no-untyped-call]
                graphs.append(tracer.trace(net.train(training)))
    except Exception:  # whatever stands in a forward, tracing may stumble over
        return None
    finally:
        net.train(was_training)
        was_changed = before.restore(net)
    if was_changed:
        return None
    modules = {
        str(node.target): net.get_submodule(str(node.target)) for node in graphs[0].nodes if node.op == "call_module"
    }
    opaque = any(not tracer.is_leaf_module(module, name) for name, module in modules.items())  # they draw in training
    return graphs[0] if str(graphs[0]) == str(graphs[1]) and not opaque else None


class PythonState:
    """What a forward may read or change that is no tensor, and that a graph would freeze: Python's and NumPy's random
    generators, and the numbers and texts that modules hold, such as a count of calls."""

    def __init__(self, net: nn.Module) -> None:
        self._generators = (random.getstate(), np.random.get_state(legacy=False))
        self._held = [
            {key: its for key, its in vars(module).items() if isinstance(its, int | float | str) and key != "training"}
            for module in net.modules()
        ]

    def restore(self, net: nn.Module) -> bool:
        """Put back what has changed since; whether anything has."""
        now = PythonState(net)
        changed = now._held != self._held or repr(now._generators) != repr(self._generators)
        if changed:
            random.setstate(self._generators[0])
            np.random.set_state(self._generators[1])
            for module, held in zip(net.modules(), self._held, strict=True):
                vars(module).update(held)
        return changed


@runtime_checkable
class Joined(Protocol):
    """A module that draws whether it computes all that it can, as a block with stochastic depth does."""

    def joined(self, x: Tensor) -> Tensor:
        """All of it."""
        ...


def trace_joined(net: nn.Module) -> Iterator[tuple[nn.Module, fx.Graph]]:
    """The modules of a net that draw, each with the graph of its `joined`, if there is one as for `trace`."""
    for module in net.modules():
        graph = trace(module, "joined") if isinstance(module, Joined) else None
        if graph is not None:
            yield module, graph


class _NothingComputed(TorchDispatchMode):
    """While tracing no operator runs on real numbers; one that does would be frozen into the graph as a constant."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} runs while the net is traced")


def erase(graph: fx.Graph, node: fx.Node) -> None:
    """The node, and those before it that nothing reads any more."""
    before = [x for x in node.all_input_nodes if x.op != "placeholder"]
    graph.erase_node(node)
    for x in before:
        if not x.users:
            erase(graph, x)


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody has hooked onto the module, as pruning and weight norm do: it is then more than its class."""
    return any(getattr(module, kind) for kind in ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks"))


def changes(node: fx.Node, x: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Whether the node may change x in place, as `relu_`, `ReLU(inplace=True)`, `F.relu(x, True)` and `x += y` do."""
    if x not in node.all_input_nodes:
        return False
    if node.op == "call_module":
        return bool(getattr(modules.get(str(node.target)), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    flags = (*node.args, *node.kwargs.values())
    return name.endswith("_") or node.target in _IN_PLACE or "out" in node.kwargs or any(f is True for f in flags)
