"""A net's forward as a graph (torch.fx), where it is one: the same in training and in evaluation, nothing drawn."""

from typing import Any

from torch import fx, nn
from torch.utils._python_dispatch import TorchDispatchMode


def trace(net: nn.Module) -> fx.Graph | None:
    """The net's forward as a graph that holds in training and in evaluation, or None where there is no such graph."""
    graphs, was_training = [], net.training
    try:
        for training in (True, False):
            with _NothingComputed():  # type: ignore[no-untyped-call]
                graphs.append(fx.Tracer().trace(net.train(training)))
    except Exception:  # whatever stands in a forward, tracing may stumble over
        return None
    finally:
        net.train(was_training)
    return graphs[0] if str(graphs[0]) == str(graphs[1]) else None


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
