"""What a run tells while it is made, and the errors that end one early."""

from dataclasses import dataclass

from plusx.runs.metrics import Measurement


@dataclass(frozen=True)
class Reading:
    """Files of a folder are being read, or CIFAR is being fetched."""

    done: int
    total: int


@dataclass(frozen=True)
class Event:
    """How far training has come: before the first step, after some steps, and after each evaluation."""

    step: int
    total_steps: int
    loss: float | None = None
    images_per_s: float | None = None
    measurements: tuple[Measurement, ...] = ()
    notes: tuple[str, ...] = ()
    """Before the first step: what a reader of the results must know, in sentences."""
    steps_per_epoch: float | None = None
    best: float | None = None
    """The best validation error, or whatever else selects the weights, of all evaluations so far."""

    @property
    def epochs(self) -> int:
        """Passes over the training images in all, begun ones counted; 0 where that is not known."""
        return int(max(0, self.total_steps - 1) / self.steps_per_epoch) + 1 if self.steps_per_epoch else 0

    @property
    def epoch(self) -> int:
        """The pass that the step is in, from 1."""
        return min(int(self.step / self.steps_per_epoch) + 1, self.epochs) if self.steps_per_epoch else 0


@dataclass(frozen=True)
class Progress:
    """How far a series of trainings has come."""

    training: str
    """The training that is under way."""
    number: int
    """Its number, counted from 1."""
    trainings: int
    """How many there are in all."""
    event: Event
    """How far this training has come."""
    done: float
    """Work of all trainings, in multiply-adds."""
    total: float


class StoppedError(ValueError):
    """A run ended before its last step.

    Args:
        where: At which step, and why.
        then: What to do.
    """

    def __init__(self, where: str, then: str) -> None:
        super().__init__(where, then)
        self.where = where

    def __str__(self) -> str:
        return "; ".join(self.args)


class DivergedError(StoppedError):
    """The loss is no longer a number."""
