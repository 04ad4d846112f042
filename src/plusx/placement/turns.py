"""Timing in turns: what disturbs the machine disturbs every contender."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """The median, the least and the largest value of a quantity over the rounds."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Iterable[float]) -> "Spread":
        """The spread of some values, in any order."""
        ordered = sorted(values)
        return Spread(median(ordered), ordered[0], ordered[-1])


@dataclass(frozen=True)
class Turns:
    """What `take_turns` measured."""

    seconds: Mapping[str, Sequence[float]]
    """Seconds of one call of each contender, round by round."""

    def rate(self, name: str, amount: float = 1.0) -> Spread:
        """How much a contender does in a second, when a call does `amount`."""
        return Spread.of(amount / seconds for seconds in self.seconds[name])

    def ratio(self, name: str, to: str) -> Spread:
        """How many times as fast `name` is as `to`, round by round: what disturbs both cancels."""
        return Spread.of(b / a for a, b in zip(self.seconds[name], self.seconds[to], strict=True))

    def fastest(self, names: Iterable[str]) -> str:
        """The contender with the least median."""
        return min(names, key=lambda name: median(self.seconds[name]))


def take_turns(
    contenders: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    at_least: float = 0.25,
    progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] | None = None,
    wait: Callable[[], object] | None = None,
) -> Turns:
    """Time contenders in turn, in rounds of alternating order, so that what disturbs the machine disturbs all.

    Args:
        contenders: By name; each is called three times before the first round, which leaves compiling out.
        rounds: Each contender is measured once in every round.
        at_least: Seconds of a measurement; faster calls are repeated within it.
        progress: Called with the rounds done and the rounds in all.
        clock: Returns seconds; `time.perf_counter` if not given.
        wait: Returns when the device has done what it was asked to do, such as `Placement.wait`; the calls themselves
            wait if not given.
    """
    now = clock or time.perf_counter

    def timed(name: str, repeats: int) -> float:
        if wait:
            wait()
        began = now()
        for _ in range(repeats):
            contenders[name]()
        if wait:
            wait()
        return (now() - began) / repeats

    names = list(contenders)
    for name in names:
        timed(name, 2)
    repeats = {name: max(1, round(at_least / timed(name, 1))) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            seconds[name].append(timed(name, repeats[name]))
        if progress:
            progress(number + 1, rounds)
    return Turns(seconds)
