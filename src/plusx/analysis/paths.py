"""Through which paths gradient comes; Veit et al. (2016), arXiv:1605.06431, Sec. 5.

Each of n blocks is passed by its branch or by its shortcut: 2^n paths, C(n, k) of them through k branches. The gradient
that a path carries falls with its length, so that nearly all of it comes by paths that are short beside the net.
"""

import copy
import math
import random
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn import functional as F

from plusx.analysis.blocks import gradients_through, residual_blocks
from plusx.data.batches import Batch
from plusx.report.figure import panels, svg
from plusx.report.palette import RESIDUAL, SERIES
from plusx.runs.metrics import Measurement

DRAWS = 4
"""How many choices of the k blocks whose branch is taken are drawn for each k and each batch."""


def probe(model: nn.Module, batches: Iterable[Batch]) -> Iterator[Measurement]:
    """For k from 0 to n: the norm of the input's gradient by a path through k branches, and the share of all gradient.

    Two measurements for each k: "k path", the mean norm over drawn paths (Fig. 6 (b)), and "k share", that norm times
    the number of such paths, C(n, k), over the sum of all (Fig. 6 (c)). The forward pass is the whole net's, in
    training mode, on a copy.

    Raises:
        ValueError: The net has no shortcut.
    """
    twin = copy.deepcopy(model).train()
    passed = list(residual_blocks(twin).values())
    n, draw = len(passed), random.Random(0)
    norms = [0.0] * (n + 1)
    count = 0
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        for x_BCHW, labels_B in batches:
            x_BCHW = x_BCHW.clone().requires_grad_()
            for k in range(n + 1):
                for _ in range(DRAWS):
                    chosen = {id(block) for block in draw.sample(passed, k)}
                    with gradients_through({block: id(block) in chosen for block in passed}):
                        loss = F.cross_entropy(twin(x_BCHW), labels_B)
                    [gradient] = torch.autograd.grad(loss, x_BCHW)
                    norms[k] += gradient.norm().item()
            count += DRAWS
    # In logarithms: C(54, 27) norms of 1e-6 each would still fit, C(600, 300) would not.
    logs = [math.log(max(norm / max(count, 1), 1e-300)) + _log_choose(n, k) for k, norm in enumerate(norms)]
    total = math.log(sum(math.exp(each - max(logs)) for each in logs)) + max(logs)
    for k, norm in enumerate(norms):
        yield Measurement(f"{k} path", norm / max(count, 1), "1")
        yield Measurement(f"{k} share", math.exp(logs[k] - total), "1")


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def draw(measurements: Iterable[Measurement]) -> str:
    """What a path of each length carries, and how much of the gradient comes by paths of that length, as SVG."""
    by_kind: dict[str, list[float]] = {"path": [], "share": []}
    for m in measurements:
        by_kind[m.name.split()[1]].append(m.value)
    n = len(by_kind["path"]) - 1
    paths = [math.exp(_log_choose(n, k) - n * math.log(2)) for k in range(n + 1)]
    one, of_a_length = panels("One path", "All paths of a length")
    one.line(range(n + 1), by_kind["path"], RESIDUAL, width=2)
    one.axis.set(yscale="log", xlabel="blocks passed by their branch", ylabel="norm of the input's gradient")
    for name, values, colour in (("paths", paths, SERIES[0]), ("gradient", by_kind["share"], RESIDUAL)):
        of_a_length.line(range(n + 1), [100 * value for value in values], colour, label=name, width=2)
    of_a_length.axis.set(xlabel="blocks passed by their branch", ylabel="share (%)")
    of_a_length.axis.set_ylim(bottom=0)
    of_a_length.axis.legend(frameon=False)
    return svg([one, of_a_length])
