"""How far a run is at a step, and where it ends: after so many steps, or after a time.

All that has a place in time (the learning rate, frozen parts, smaller images, evaluations) follows from the share of
the run that is done, and the share follows from the step by `Leg`s, each a straight line to 1 at the run's last step. A
run of so many steps has one leg. The rule for a run that has a time, `max_time`:

1. The first leg finds out how long a step takes. It lasts one step at least, and then to 2 % of the time or 10 s. The
   share stays 0.
2. Every other leg begins with a plan: of the time that is left, what the remaining evaluations, the last measurement
   and the report will take is set aside, and the rest is filled with steps as long as those of the leg before. The
   share rises evenly over them, from where it is to 1. So the rate always ends where its schedule ends.
3. A leg is over when half of its steps are done, or half of the time that was left at its beginning is gone: a machine
   that becomes busy, or free, is noticed while there is time. The last 4 % of the time are not planned again, and
   the plans leave 2 % of it free.
4. The time is that of all sittings, each from its call to its end; reading the images and measuring them count. What a
   killed sitting did after its last resume point is lost and does not count. A resumed run begins a new leg at once. It
   takes one more step at least, so that one whose time is over ends, too.

The clock decides the legs and nothing else. Resume points and the card have them (`legs`): with the same ones, a run
computes the same bits.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol, Self

from plusx.recipes.length import duration

PILOT_SHARE, PILOT_SECONDS = 0.02, 10.0
"""Of the time, for the first leg after its first step; the lesser counts."""
AIM, FINEST = 0.98, 0.04
"""Share of the time that is filled, and the share at its end that is not planned again: so the last steps, too, go
through the schedule evenly, though the machine may be somewhat slower than it was."""
WRITING_SECONDS = 1.5
"""For the weights, the card and the report at the end."""
NEVER = 1 << 40
"""A step that no run reaches."""


class TooShortError(ValueError):
    """The time of a run is over before it can end."""


@dataclass(frozen=True)
class Leg:
    """A part of a run over which its share rises evenly."""

    step: int
    """Its first, from 0."""
    share: float
    """Of the run that is done before it."""
    total: int | None
    """Steps of the run, if no other leg follows; None where nobody knows: the share then stays."""

    def at(self, step: int) -> Fraction:
        """The share that is done before a step, exactly.

        Example:
            >>> Leg(0, 0.0, 3).at(1), Leg(10, 0.5, 20).at(15)
            (Fraction(1, 3), Fraction(3, 4))
        """
        began = Fraction(self.share)
        if self.total is None:
            return began
        return began + (1 - began) * Fraction(step - self.step, self.total - self.step)

    def step_at(self, share: float) -> int:
        """The step nearest to where a share is done.

        Example:
            >>> Leg(0, 0.0, 64_000).step_at(0.5), Leg(10, 0.5, 20).step_at(1)
            (32000, 20)
        """
        if self.total is None:
            return NEVER
        return self.step + round((share - self.share) / (1 - self.share) * (self.total - self.step))


@dataclass
class Pace:
    """How long what a run does takes, and so which leg comes next. See the rule above."""

    max_time: float
    """Seconds that the run may take."""
    spent: Callable[[], float]
    """Seconds of it that are gone, in all sittings."""
    a_step: float
    """Seconds of a step, as far as they are known; resume points and records are counted in."""
    an_image: float
    """Seconds of measuring an image, reading included."""
    on_the_way: int
    """Images of an evaluation on the way."""
    at_the_end: int
    """Images that are measured after the last step."""
    wait: Callable[[], None] = lambda: None
    """Returns when the device has done all that it was given."""

    def __post_init__(self) -> None:
        self._began = self._measured_since = (0, self.spent())
        self._evaluating = 0.0

    def begin(self, step: int) -> None:
        """A leg begins."""
        self._began = self._measured_since = (step, self.spent())
        self._evaluating = 0.0

    def evaluated(self, seconds: float) -> None:
        """An evaluation took so long."""
        self._evaluating += seconds
        self.an_image = seconds / max(1, self.on_the_way)

    def is_over(self, leg: Leg, step: int) -> bool:
        """Whether a leg ends now, before a step that is not its first."""
        now, (first, then) = self.spent(), self._began
        if leg.total is None:
            over = now - then >= min(PILOT_SHARE * self.max_time, PILOT_SECONDS)
            if step == first + 1 and not over:  # the first step makes buffers, chooses kernels, compiles
                self._measured_since = (step, now)
            return over
        left = self.max_time - then
        if left < FINEST * self.max_time:
            return False
        return step - leg.step >= (leg.total - leg.step) / 2 or now - then >= left / 2

    def measure(self, step: int) -> None:
        """Note how long the steps of a leg that is over took."""
        self.wait()
        since, then = self._measured_since
        self.a_step = max(1e-9, (self.spent() - then - self._evaluating) / (step - since))

    def steps_left(self, done: Fraction, evaluations: Callable[[int], int]) -> int:
        """Steps that fit into the time that is left; 0 where none does.

        Args:
            done: Share of the run.
            evaluations: How many the whole run would have with so many more steps.
        """
        left = AIM * self.max_time - self.spent() - self._the_end
        steps = max(0, int(left / self.a_step))
        remaining = math.ceil((1 - done) * evaluations(steps)) if steps else 0
        return max(0, int((left - remaining * self.on_the_way * self.an_image) / self.a_step))

    @property
    def _the_end(self) -> float:
        """Seconds from the last step to the end."""
        return self.at_the_end * self.an_image + WRITING_SECONDS

    @property
    def too_short(self) -> TooShortError:
        """The sentence for a time in which no step fits but those that were timed."""
        around = self.spent() + self.on_the_way * self.an_image + self._the_end
        return TooShortError(
            f"max_time is {duration(self.max_time)}, in which this run cannot end: a step takes "
            f"{duration(self.a_step)}, and what comes before and after the steps {duration(around)}; give it "
            f"{duration(math.ceil(1.2 * (around + self.a_step)))} or more"
        )


class Planned(Protocol):
    """Batches by step, made for a run in which shares are done at known steps."""

    def planned(self, step_at: Callable[[float], int]) -> Self:
        """The same batches by another plan."""

    def steps(self, start: int, stop: int, *, workers: int = 0) -> Iterator[tuple[Any, ...]]:
        """The batches of steps start .. stop - 1."""


@dataclass
class Course:
    """The legs of a run, the one that it is on last."""

    legs: list[Leg]
    """Without any, the first one is begun."""
    evaluations: Callable[[int], int]
    """How many a run of so many steps has."""
    pace: Pace | None = None
    """Plans the legs; None leaves it at one."""
    _resumed: bool = field(init=False)

    def __post_init__(self) -> None:
        self._resumed = bool(self.legs)
        if not self.legs:
            self.legs.append(Leg(0, 0.0, None))

    @property
    def leg(self) -> Leg:
        """The one that the run is on."""
        return self.legs[-1]

    @property
    def total(self) -> int | None:
        """Steps of the run, as far as it is planned."""
        return self.leg.total

    def share(self, step: int) -> float:
        """How much of the run is done before a step."""
        return float(self.leg.at(step))

    def evaluates(self, step: int) -> bool:
        """Whether an evaluation is due before a step."""
        if self.total is None:
            return False
        count = self.evaluations(self.total)
        return math.floor(self.leg.at(step) * count) > math.floor(self.leg.at(step - 1) * count)

    def evaluated(self, seconds: float) -> None:
        """An evaluation took so long."""
        if self.pace is not None:
            self.pace.evaluated(seconds)

    def batches(self, next_step: Callable[[], int], batches: Planned, *, workers: int) -> Iterator[tuple[Any, ...]]:
        """The batches to the run's last step, leg after leg.

        Args:
            next_step: Asked again after each batch.
            batches: The run's.
            workers: Loader processes.
        """
        if self.pace is None:
            assert self.total is not None
            yield from batches.planned(self.leg.step_at).steps(next_step(), self.total, workers=workers)
            return
        if self._resumed and self.total is not None:
            self._plan(next_step(), self.pace)
        while (step := next_step()) != self.total:
            self.pace.begin(step)
            for batch in batches.planned(self.leg.step_at).steps(step, self.total or NEVER, workers=workers):
                yield batch
                if self.pace.is_over(self.leg, next_step()):
                    self.pace.measure(next_step())
                    self._plan(next_step(), self.pace)
                    break

    def _plan(self, step: int, pace: Pace) -> None:
        """Turn to another leg, unless the run is at its end."""
        done = self.leg.at(step)
        if done == 1:
            return
        steps = pace.steps_left(done, lambda more: self.evaluations(step + more))
        if steps == 0 and self.total is None:
            raise pace.too_short
        self.legs.append(Leg(step, _up(done), step + max(1, steps)))


def rows_of(legs: Sequence[Leg]) -> list[list[Any]]:
    """Legs in JSON types; the inverse of `legs_from`."""
    return [[leg.step, leg.share, leg.total] for leg in legs]


def legs_from(rows: Sequence[Sequence[Any]]) -> list[Leg]:
    """Legs from what a resume point or a card has of them."""
    return [Leg(step, share, total) for step, share, total in rows]


def _up(share: Fraction) -> float:
    """The nearest number that is not less: an evaluation that was due at a share is not due again after it."""
    nearest = float(share)
    return nearest if nearest >= share else math.nextafter(nearest, 2.0)
