"""Parts of a net that stay as they begin, to the end of a run or for a share of it."""

import difflib
from collections.abc import Sequence

from torch import nn

from plusx.recipes.net import NetSpec


def parts(net: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """The parts of a net by name.

    Args:
        net: Any net.
        names: Of its modules, as in `state_dict`: stem, stages.0, head.

    Raises:
        ValueError: There is no such part, or it would leave nothing to train.

    Example:
        >>> from plusx.nets import build
        >>> [len(list(part.parameters())) for part in parts(build("resnet20"), ("stem", "head"))]
        [3, 2]
    """
    modules = {name: module for name, module in net.named_modules() if name}
    for name in names:
        if name not in modules:
            near = difflib.get_close_matches(name, modules, n=1)
            children = [*(n for n, _ in net.named_children() if n != "stages"), *_stages(net)]
            hint = f"did you mean {near[0]!r}?" if near else f"this net has {', '.join(children)}"
            raise ValueError(f"net.freeze names {name!r}, which is no part of the net; {hint}")
    chosen = [modules[name] for name in names]
    still = {id(p) for part in chosen for p in part.parameters()}
    if all(id(p) in still or not p.requires_grad for p in net.parameters()):
        raise ValueError(f"net.freeze is {','.join(names)}, which leaves nothing to train")
    return chosen


def _stages(net: nn.Module) -> list[str]:
    return [f"stages.{name}" for name, _ in dict(net.named_children()).get("stages", nn.Module()).named_children()]


class Frozen:
    """The frozen parts of a net in training.

    Args:
        net: Placed already.
        spec: Which parts.
    """

    def __init__(self, net: nn.Module, spec: NetSpec) -> None:
        self._parts = parts(net, spec.freeze) if spec.freeze else []
        self._trained = [p for part in self._parts for p in part.parameters() if p.requires_grad]
        self._held = False

    def hold(self, still: bool) -> bool:
        """Put the parts into the mode of a step, which evaluations change; whether other parameters are trained now.

        Args:
            still: Whether they are frozen at the next step.
        """
        held = bool(self._parts) and still
        changed, self._held = held != self._held, held
        for part in self._parts:
            if part.training == held:
                part.train(not held)
        if changed:
            for parameter in self._trained:
                parameter.requires_grad_(not held)
                if held:
                    parameter.grad = None
        return changed
