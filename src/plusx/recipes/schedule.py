"""The learning rate over a run; every position in time is a fraction of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from plusx.recipes.bounds import percent, require


@dataclass(frozen=True)
class Constant:
    """The peak rate throughout."""

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return "constant rate"


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

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return f"rate times {self.factor:g} at {' and '.join(map(percent, self.at))} of the run"


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from the peak to `final`; Loshchilov and Hutter (2016) without restarts."""

    final: float = 0.0
    """Multiplier at the end."""

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return f"rate falls along a cosine to {_final(self.final)}"


@dataclass(frozen=True)
class Linear:
    """A straight line from the peak to `final`."""

    final: float = 0.0
    """Multiplier at the end."""

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return f"rate falls linearly to {_final(self.final)}"


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

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        peak = f"its peak, which it reaches at {percent(self.peak_at)} of the run"
        return f"rate rises linearly from {self.start:g} of {peak}, then falls linearly to {_final(self.final)}"


@dataclass(frozen=True)
class Plateau:
    """The rate is multiplied by `factor` whenever validation error has not improved for `patience` evaluations."""

    patience: int = 3
    """Evaluations without a new best."""
    factor: float = 0.1
    """Multiplier at each plateau."""

    def __post_init__(self) -> None:
        require(self.patience >= 1, "schedule.patience", self.patience, "1 or more")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return f"rate times {self.factor:g} when the validation error has not fallen for {self.patience} evaluations"


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

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        over = f"over the first {percent(self.fraction)} of the run"
        if self.shape == "linear":
            return f"linear warm-up from {self.start:g} of the rate {over}"
        return f"constant warm-up at {self.start:g} of the rate {over}"


def _final(multiplier: float) -> str:
    return f"{multiplier:g} of its peak" if multiplier else "0"
