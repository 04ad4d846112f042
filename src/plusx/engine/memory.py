"""The batch size that a limit of memory has room for, found by real steps in a process of their own.

The recipe's own batch size is the largest that is taken: a larger one makes a run no better and its steps fewer. Where
it does not fit, the largest power of two does that fits. The learning rates then follow the linear rule, by which a
batch of half the size gets half the rate (Goyal et al., 2017, arXiv:1706.02677, Sec. 2.1), and steps that are counted
become as many more as batches are smaller.

A process takes steps of growing batches, the smallest first, and tells its peak after each, until one is beyond the
limit. The one that is taken is measured again in a fresh process. What counts is what the run's own process holds
already, and what a step, an evaluation, a resume point and the report add to it: on the CPU by the system's count, on
CUDA by the device's.
"""

import dataclasses
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import save

from plusx.engine.optim import make_optimizer, optimizer_tensors
from plusx.engine.step import Step
from plusx.engine.task import task_of
from plusx.nets import build, require_input
from plusx.placement.machine import memory_bytes, peak_memory_bytes
from plusx.placement.place import Placement
from plusx.recipes import Recipe
from plusx.recipes.augment import Mixing
from plusx.recipes.codec import from_dict, to_dict
from plusx.report.figure import panels, svg

UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
RATES = ("lr", "head_lr", "vector_lr")
Peaks = Callable[[Sequence[int]], Iterator[int]]
"""The peak in bytes after a step of each of these batch sizes, in turn, in one process that was started for them."""


def bytes_of(text: str) -> int:
    """The bytes of a size that is written with its unit.

    Raises:
        ValueError: It is not written so.

    Example:
        >>> bytes_of("4GB"), bytes_of("1.5 GiB")
        (4000000000, 1610612736)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]i?b)", text.strip().lower())
    if found is None or float(found[1]) == 0:
        raise ValueError(f"memory is {text!r}; write a size with its unit, such as 4GB or 800MB")
    return int(float(found[1]) * UNITS[found[2]])


def size(bytes_: float) -> str:
    """Bytes as they are typed.

    Example:
        >>> size(4e9), size(812_345_678), size(1_234_000_000)
        ('4GB', '812MB', '1.23GB')
    """
    return f"{bytes_ / 1e9:.3g}GB" if bytes_ >= 1e9 else f"{bytes_ / 1e6:.0f}MB"


def fitted_to(
    recipe: Recipe, limit: int, net_options: Mapping[str, Any], image: tuple[int, int, int], placement: Placement
) -> tuple[Recipe, str]:
    """A recipe whose batches fit into a limit of memory, and what was decided, in a sentence.

    Args:
        recipe: The run's.
        limit: Bytes that the run may hold.
        net_options: The net's.
        image: Channels, height and width of its input.
        placement: Where it runs.

    Raises:
        ValueError: The smallest batch that the net can be trained on does not fit.
    """

    def peaks(batches: Sequence[int]) -> Iterator[int]:
        return _measured(recipe, net_options, image, placement, batches)

    sizes = batch_sizes(recipe.batch_size, _least(recipe, net_options, image))
    batch, peak = largest_fitting(sizes, limit, peaks)
    if peak > limit:
        raise ValueError(
            f"memory is {size(limit)}; {recipe.net.name} needs {size(1e6 * math.ceil(peak / 1e6))} for batches of "
            f"{batch}, the smallest: give it more, or a smaller net or preprocess.size"
        )
    measured = f"peak {size(peak)} of {size(limit)}"
    if batch == recipe.batch_size:
        return recipe, f"memory: the recipe's batches of {batch} images fit, {measured}"
    smaller = with_batch(recipe, batch)
    steps = f", and steps are {smaller.steps:,}, not {recipe.steps:,}" if recipe.steps != smaller.steps else ""
    return smaller, (
        f"memory: batches of {batch} images, {measured}; the recipe's {recipe.batch_size} need more. Learning rates "
        f"are smaller in proportion, {smaller.optim.lr:g} instead of {recipe.optim.lr:g}{steps}"
    )


def batch_sizes(largest: int, least: int) -> list[int]:
    """The sizes that are tried, ascending: powers of two, and the largest one whatever it is.

    Example:
        >>> batch_sizes(48, 2)
        [2, 4, 8, 16, 32, 48]
    """
    powers = [1 << power for power in range(largest.bit_length()) if least <= 1 << power < largest]
    return [*powers, largest]


def largest_fitting(sizes: Sequence[int], limit: int, peaks: Peaks) -> tuple[int, int]:
    """The largest batch whose peak is within the limit, and that peak; else the smallest batch and its peak.

    Args:
        sizes: Ascending.
        limit: Bytes.
        peaks: Measures. None of more than one size beyond the limit is asked for.
    """
    fitting, smallest = [], 0
    for batch, peak in zip(sizes, peaks(sizes), strict=False):  # ends early where the system ended the process
        smallest = smallest or peak
        if peak > limit:
            break
        fitting.append(batch)
    for batch in reversed(fitting):
        if (peak := next(peaks([batch]), limit + 1)) <= limit:
            return batch, peak
    return sizes[0], max(smallest, limit + 1)


def with_batch(recipe: Recipe, batch: int) -> Recipe:
    """A recipe for smaller batches, its rates and steps in proportion.

    Example:
        >>> from plusx.recipes import digits
        >>> digits().optim.lr, digits().batch_size, with_batch(digits(), 32).optim.lr
        (0.1, 64, 0.05)
    """
    share = batch / recipe.batch_size
    rates = {name: rate * share for name in RATES if (rate := getattr(recipe.optim, name, None)) is not None}
    steps = None if recipe.steps is None else math.ceil(recipe.steps / share)
    return dataclasses.replace(recipe, batch_size=batch, steps=steps, optim=dataclasses.replace(recipe.optim, **rates))


def _least(recipe: Recipe, net_options: Mapping[str, Any], image: tuple[int, int, int]) -> int:
    """The fewest images that a batch may have."""
    least = 2 if any(isinstance(item, Mixing) for item in recipe.augment) else 1
    try:
        require_input(recipe.net.name, net_options, image, batch_size=1)
    except ValueError:  # of one image, a batch norm learns nothing
        least = 2
    return least * recipe.accumulate


def _measured(
    recipe: Recipe,
    net_options: Mapping[str, Any],
    image: tuple[int, int, int],
    placement: Placement,
    batches: Sequence[int],
) -> Iterator[int]:
    """What this process would hold at most in a step of each batch size."""
    question = {
        "recipe": to_dict(recipe),
        "net_options": dict(net_options),
        "image": image,
        "placement": placement.to_dict(),
        "batches": list(batches),
    }
    held = memory_bytes()  # not the most it has held: what a notebook did before is over
    command = [sys.executable, "-m", "plusx.engine.memory"]
    with (
        tempfile.TemporaryFile() as complaint,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaint) as child,
    ):
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(json.dumps(question).encode())
            child.stdin.close()
            for line in child.stdout:
                added = int(line)
                yield added if placement.device != "cpu" else held + added
            if child.wait() not in (0, -9):  # SIGKILL, which Linux sends for want of memory
                complaint.seek(0)
                said = complaint.read().decode(errors="replace").strip()
                if "out of memory" not in said and "allocate memory" not in said:  # CUDA's words, and the CPU's
                    raise ValueError(f"memory could not be measured: {said.splitlines()[-1] if said else 'no answer'}")
        finally:
            child.kill()


def _answer(question: Mapping[str, Any]) -> Iterator[int]:
    """In the process of its own: what a step of each batch size and all around it add to the memory."""
    recipe, placement = from_dict(question["recipe"]), Placement.from_dict(question["placement"])
    options, image, began = question["net_options"], question["image"], memory_bytes()
    net = placement.place(build(recipe.net.name, **options)).train()
    optimizer = make_optimizer(recipe.optim, net, precision=placement.precision)
    task = task_of(recipe, torch.ones(options["num_classes"]), placement.device)
    step = Step.of(recipe, net, optimizer, task, placement)

    def batch_of(images: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(images, *image), torch.arange(images) % options["num_classes"]

    for number, images in enumerate(question["batches"]):
        for _ in range(2):
            step(batch_of(images), 1.0).item()
        if number == 0:
            copies = [{name: t.detach().clone() for name, t in net.state_dict().items()} for _ in range(2)]
            tensors = {**net.state_dict(), **optimizer_tensors(optimizer, net)}
            save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
            list(task.measure(net, [batch_of(recipe.evaluation.batch_size)], placement, split="val"))
            svg(panels("Error"))
        placement.wait()
        if placement.device == "cuda":
            yield torch.cuda.max_memory_reserved()
        else:
            yield (peak_memory_bytes() or 0) - began
    del copies


if __name__ == "__main__":
    for added in _answer(json.load(sys.stdin)):
        print(added, flush=True)
