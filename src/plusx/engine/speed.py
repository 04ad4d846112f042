"""The placement of a run, chosen by timing a few of its steps."""

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from plusx.engine.optim import make_optimizer
from plusx.engine.step import Step
from plusx.engine.task import task_of
from plusx.nets import build
from plusx.placement.choose import Choice, candidates, choose
from plusx.placement.machine import describe
from plusx.placement.place import Placement
from plusx.recipes import Recipe

LONG_STEPS, LONG_SECONDS = 200, 300
"""Measuring does not pay for runs shorter than either."""


def chosen_placement(
    recipe: Recipe,
    net_options: Mapping[str, Any],
    image: tuple[int, int, int],
    total_steps: int | None,
    rules: Placement,
) -> Choice:
    """The fastest placement for a run, where measuring pays; else that of the rules.

    Args:
        recipe: The run's; its `placement.choose` says when to measure.
        net_options: The net's.
        image: Channels, height and width of the net's input.
        total_steps: The run's; None where it has a time instead.
        rules: The placement that is taken without measuring.
    """
    spec, unmeasured = recipe.placement, Choice(rules, (), remembered=False)
    if spec.choose == "rules" or rules.device != "cpu":
        return unmeasured

    def seconds_of(placement: Placement, best: float) -> float:
        return step_seconds(recipe, net_options, image, placement, best)

    with torch.random.fork_rng(devices=[]):
        if spec.choose == "auto":
            if total_steps is None:
                assert recipe.max_time is not None
                is_long = recipe.max_time >= LONG_SECONDS
            else:
                is_long = total_steps >= LONG_STEPS and total_steps * seconds_of(rules, float("inf")) >= LONG_SECONDS
            if not is_long:
                return unmeasured
        key = {
            "net": recipe.net.name,
            "net_options": {name: repr(value) for name, value in sorted(net_options.items())},
            "batch_size": recipe.batch_size,
            **({"accumulate": recipe.accumulate} if recipe.accumulate > 1 else {}),
            "image": list(image),
            "optim": type(recipe.optim).__name__,
            "machine": describe(),
            "torch": torch.__version__,
        }
        ways = candidates(rules, precision=spec.precision, threads=spec.threads, kernels=spec.kernels)
        return choose(key, ways, seconds_of)


def step_seconds(
    recipe: Recipe, net_options: Mapping[str, Any], image: tuple[int, int, int], placement: Placement, best: float
) -> float:
    """Median seconds of a training step, the batch ready in memory.

    Args:
        recipe: The run's.
        net_options: The net's.
        image: Channels, height and width of the net's input.
        placement: What is measured.
        best: Seconds of the fastest so far; a placement whose first step takes three times as long is not timed again.
    """
    torch.manual_seed(0)
    net = placement.place(build(recipe.net.name, **net_options)).train()
    classes = net_options.get("num_classes") or _classes(net, image)
    optimizer = make_optimizer(recipe.optim, net, precision=placement.precision)
    step = Step.of(recipe, net, optimizer, task_of(recipe, torch.ones(classes), placement.device), placement)
    x_BCHW = torch.randn(recipe.batch_size, *image)
    labels_B = torch.arange(recipe.batch_size) % classes
    seconds: list[float] = []
    while len(seconds) < 2 or (sum(seconds[1:]) < 0.5 and len(seconds) < 10):
        began = time.perf_counter()
        step((x_BCHW, labels_B), 1.0).item()
        seconds.append(time.perf_counter() - began)
        if seconds[0] > 3 * best:
            return seconds[0]
    return median(seconds[1:])


def _classes(net: nn.Module, image: tuple[int, int, int]) -> int:
    """How many logits a net makes, which a net of one's own need not be told."""
    with torch.no_grad():
        logits_BK: Tensor = net.eval()(torch.zeros(2, *image))
    net.train()
    return logits_BK.shape[1]
