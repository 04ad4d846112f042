"""The learning rate as a pure function: (schedule, share of the run) to a multiplier of the peak rate.

`Plateau` also needs the validation errors so far, which are an argument like the others.
"""

import math
from collections.abc import Sequence
from typing import assert_never

from plusx.recipes.schedule import Constant, Cosine, Linear, OneCycle, Plateau, Schedule, Steps, Warmup


def multiplier(
    schedule: Schedule, t: float, *, warmup: Warmup | None = None, val_errors: Sequence[float] = ()
) -> float:
    """What the peak rate is multiplied by at a step.

    Args:
        schedule: Its shape.
        t: The share of the run that is done before the step, in [0, 1).
        warmup: Multiplied onto it.
        val_errors: Validation errors measured before this step, oldest first; only `Plateau` uses them.

    Example:
        >>> [multiplier(Steps(at=(0.5, 0.75)), step / 64_000) for step in (0, 31_999, 32_000, 48_000)]
        [1.0, 1.0, 0.1, 0.010000000000000002]
    """
    m = _shape(schedule, t, val_errors)
    if warmup is not None and t < warmup.fraction:
        m *= warmup.start + (1 - warmup.start) * _rise(warmup, t)
    return m


def _rise(warmup: Warmup, t: float) -> float:
    match warmup.shape:
        case "linear":
            return t / warmup.fraction
        case "constant":
            return 0.0
        case _:
            assert_never(warmup.shape)


def _shape(schedule: Schedule, t: float, val_errors: Sequence[float]) -> float:
    match schedule:
        case Constant():
            return 1.0
        case Steps(at, factor):
            return factor ** sum(t >= milestone for milestone in at) * 1.0
        case Cosine(final):
            return final + (1 - final) * (1 + math.cos(math.pi * t)) / 2
        case Linear(final):
            return 1 + (final - 1) * t
        case OneCycle(peak_at, start, final):
            if t < peak_at:
                return start + (1 - start) * t / peak_at
            return 1 + (final - 1) * (t - peak_at) / (1 - peak_at)
        case Plateau(patience, factor):
            return factor ** plateaus(val_errors, patience) * 1.0
        case _:
            assert_never(schedule)


def plateaus(val_errors: Sequence[float], patience: int) -> int:
    """How often the error went `patience` evaluations without a new best; the count restarts after each.

    Example:
        >>> plateaus([0.5, 0.4, 0.4, 0.41, 0.3, 0.3, 0.3], patience=2)
        2
    """
    best, waited, count = math.inf, 0, 0
    for error in val_errors:
        if error < best:
            best, waited = error, 0
        else:
            waited += 1
        if waited == patience:
            count, waited = count + 1, 0
    return count
