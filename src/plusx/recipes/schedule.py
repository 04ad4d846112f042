"""The learning rate over a run; every position in time is a fraction of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from plusx.recipes.bounds import require


@dataclass(frozen=True)
class Constant:
    """The peak rate throughout."""


@dataclass(frozen=True)
class Steps:
    """The rate is multiplied by `factor` at each milestone."""

    at: tuple[float, ...] = (1 / 2, 3 / 4)
    """Milestones as fractions of the run."""
    factor: float = 0.1
    """Multiplier at each."""

    def __post_init__(self) -> None:
        ok = all(0 < t < 1 for t in self.at) and list(self.at) == sorted(self.at)
        require(ok, "schedule.at", self.at, "increasing fractions of the run in (0, 1)")


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from the peak to `final`; Loshchilov and Hutter (2016) without restarts."""

    final: float = 0.0
    """Multiplier at the end."""


@dataclass(frozen=True)
class Linear:
    """A straight line from the peak to `final`."""

    final: float = 0.0
    """Multiplier at the end."""


@dataclass(frozen=True)
class OneCycle:
    """A straight line up to the peak, then a straight line down to `final`; after Smith (2017)."""

    peak_at: float = 0.25
    """Fraction of the run at which the rate is highest."""
    start: float = 0.1
    """Multiplier at the start."""
    final: float = 0.0
    """Multiplier at the end."""

    def __post_init__(self) -> None:
        require(0 < self.peak_at < 1, "schedule.peak_at", self.peak_at, "in (0, 1)")


@dataclass(frozen=True)
class Plateau:
    """The rate is multiplied by `factor` whenever validation error has not improved for `patience` evaluations."""

    patience: int = 3
    """Evaluations without a new best."""
    factor: float = 0.1
    """Multiplier at each plateau."""

    def __post_init__(self) -> None:
        require(self.patience >= 1, "schedule.patience", self.patience, "1 or more")


Schedule = Constant | Steps | Cosine | Linear | OneCycle | Plateau


@dataclass(frozen=True)
class Warmup:
    """A gentle start, multiplied onto the schedule."""

    fraction: float = 0.05
    """Length, as a fraction of the run."""
    start: float = 0.1
    """Multiplier at the first step."""
    shape: Literal["linear", "constant"] = "linear"
    """`linear` rises from `start` to 1; `constant` stays at `start` and then jumps, as He et al. (2015) did for 110."""

    def __post_init__(self) -> None:
        require(0 < self.fraction < 1, "warmup.fraction", self.fraction, "in (0, 1)")
