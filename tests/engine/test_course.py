"""The course of a run: its share rises to 1 whatever the machine does, and a time is kept, across kills too.

The clock of these tests is moved by hand.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from plusx.engine import course as engine_course
from plusx.engine import training
from plusx.engine.course import NEVER, WRITING_SECONDS, Course, Leg, Pace, TooShortError, legs_from, rows_of
from plusx.engine.events import StoppedError
from plusx.engine.state import Clock as Measured
from plusx.engine.state import TrainState
from plusx.engine.step import Step
from plusx.engine.training import resume, train
from plusx.recipes import digits
from plusx.runs.metrics import read_metrics
from plusx.runs.store import newest_point, read_card


class Machine:
    """A run without a net: `seconds_of(step)` is what a step takes, and the clock is advanced by it."""

    def __init__(self, max_time: float, seconds_of: Callable[[int], float], *, evaluation: float = 0.0) -> None:
        self.max_time, self.seconds_of, self.evaluation = max_time, seconds_of, evaluation
        self.step, self.now, self.evaluations = 0, 0.0, 0
        self.shares: list[float] = []
        self.legs: list[Leg] = []

    def planned(self, step_at: Callable[[float], int]) -> "Machine":
        return self

    def steps(self, start: int, stop: int, *, workers: int = 0) -> Iterator[tuple[Any, ...]]:
        for number in range(start, stop):
            yield (number,)

    def sit(self, *, until: float = math.inf, count: int = 5) -> bool:
        """A sitting, which is killed at a time; whether the run ended."""
        a_step = self.now / max(1, self.step)
        pace = Pace(self.max_time, lambda: self.now, a_step, self.evaluation / 10, 10, 10)
        course = Course(self.legs, lambda steps: count, pace)
        for (number,) in course.batches(lambda: self.step, self, workers=0):
            assert number == self.step == len(self.shares)
            self.shares.append(course.share(self.step))
            self.now += self.seconds_of(self.step)
            self.step += 1
            if course.evaluates(self.step):
                self.evaluations += 1
                self.now += self.evaluation
                course.evaluated(self.evaluation)
            if self.now >= until:
                return False
        self.now += self.evaluation + WRITING_SECONDS
        return True


@example(max_time=55.0, share_of_a_step=0.01171875, slower=4.0, at=0.5, evaluation=0.0)
@given(
    max_time=st.floats(20, 4000),
    share_of_a_step=st.floats(0.002, 0.02),
    slower=st.floats(0.25, 4.0),
    at=st.floats(0.0, 0.9),
    evaluation=st.floats(0.0, 0.01),
)
@settings(max_examples=50, deadline=None)
def test_a_time_is_kept_and_the_schedule_gone_through_on_a_machine_whose_speed_changes(
    max_time: float, share_of_a_step: float, slower: float, at: float, evaluation: float
) -> None:
    a_step = share_of_a_step * max_time
    assume(WRITING_SECONDS + 10 * a_step * max(1, slower) < 0.5 * max_time)
    machine = Machine(max_time, lambda step: a_step, evaluation=evaluation * max_time)
    machine.seconds_of = lambda step: a_step * (slower if machine.now > at * max_time else 1)
    assert machine.sit()
    one_step = a_step * max(1, slower)
    assert 0.95 * max_time - 2 * one_step <= machine.now <= 1.05 * max_time + one_step
    assert machine.shares == sorted(machine.shares) and machine.shares[0] == 0
    ends = machine.legs[-1]
    assert ends.total == machine.step and ends.at(machine.step) == 1  # what the next step would have had
    # None is left out but where one step does more than a fifth of the run, and two would fall on it.
    jumps = [after - share for share, after in pairwise([*machine.shares, 1.0])]
    assert 5 - sum(int(5 * jump) for jump in jumps) <= machine.evaluations <= 5


@given(kills=st.lists(st.floats(0.0, 1.2), max_size=3), a_step=st.floats(0.2, 2.0), overhead=st.floats(0.0, 3.0))
@settings(max_examples=50, deadline=None)
def test_a_time_is_kept_over_all_sittings(kills: list[float], a_step: float, overhead: float) -> None:
    """Each begins with what reading the images takes."""
    machine = Machine(100, lambda step: a_step)
    for kill in sorted(kills):
        if machine.sit(until=100 * kill):
            break
        machine.now += overhead
    else:
        assert machine.sit()
    over = machine.now - 100
    late = (max(kills, default=0) - 1) * 100 + overhead  # killed when its time was over, it takes one step more
    assert -5 - a_step <= over <= max(1.0, late + WRITING_SECONDS) + 2 * a_step
    assert machine.legs[-1].at(machine.step) == 1 and machine.shares == sorted(machine.shares)


@given(total=st.integers(1, 200), count=st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_a_run_of_so_many_steps_is_one_line(total: int, count: int) -> None:
    """Shares and evaluations to the last bit as they were before a run could have a time."""
    course = Course([Leg(0, 0.0, total)], lambda steps: count)
    for step in range(total):
        assert course.share(step) == step / total
        assert course.evaluates(step + 1) == ((step + 1) * count // total > step * count // total)
    for share in (0.1, 0.3, 0.5, 1.0):
        assert course.leg.step_at(share) == round(share * total)


def test_while_a_step_is_timed_nothing_that_has_a_share_begins() -> None:
    leg = Leg(0, 0.0, None)
    assert leg.at(7) == 0 and leg.step_at(0.1) == leg.step_at(1) == NEVER
    assert not Course([leg], lambda steps: 5).evaluates(7)


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 0.999), st.integers(1001, 5000) | st.none()), max_size=5))
def test_legs_are_kept_as_json_to_the_last_bit(rows: list[tuple[int, float, int | None]]) -> None:
    legs = [Leg(*row) for row in rows]
    assert legs_from(json.loads(json.dumps(rows_of(legs)))) == legs


def test_an_evaluation_on_the_border_of_two_legs_is_made_once() -> None:
    course = Course([Leg(0, 0.0, 3)], lambda steps: 3)
    assert course.evaluates(1)
    course.legs.append(Leg(1, engine_course._up(course.leg.at(1)), 7))
    assert not course.evaluates(2)


def test_a_time_in_which_no_step_fits_is_refused_with_one_that_does() -> None:
    with pytest.raises(
        TooShortError, match="max_time is 5s, in which this run cannot end: a step takes 4s, .* give it"
    ):
        Machine(5, lambda step: 4.0).sit()
    wanted = 12.0
    with pytest.raises(TooShortError, match="give it 12s or more"):
        Machine(5, lambda step: 4.0).sit()
    assert Machine(wanted, lambda step: 4.0).sit()


class Clock:
    """Stands still but where a step or a sitting moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of a run: a step takes 0.5 s, and nothing else takes time."""
    clock, step = Clock(), Step.__call__

    def slow(self: Step, batch: Any, rate: float) -> Any:
        clock.now += 0.5
        return step(self, batch, rate)

    monkeypatch.setattr(Step, "__call__", slow)
    monkeypatch.setattr(TrainState, "spent", property(lambda state: state.spent_before + clock.now - state.began))
    monkeypatch.setattr(training.time, "monotonic", clock)
    monkeypatch.setattr(training, "_seconds_an_image", lambda *_: 0.0)
    monkeypatch.setattr(Measured, "evaluated", lambda self: 0.0)
    return clock


CHANGES = {
    "batch_size": 8,
    "data.limit": 40,
    "evaluation.count": 3,
    "schedule": "Linear",
    "log_every": 1,
    "net.freeze": "stem",
    "net.freeze_until": 0.5,
    "progressive": "Progressive",
    "save_seconds": 0,
}


def rates(run: Path) -> dict[int, float]:
    return {r["step"]: r["value"] for r in read_metrics(run) if r["name"] == "lr"}


def test_a_run_with_a_time_ends_with_it_and_says_why(clock: Clock, tmp_path: Path) -> None:
    trained = train("digits", overrides=CHANGES, max_time="20s", out=tmp_path / "run")
    results = trained.card.results
    assert 34 <= results["steps"] <= 37  # of half a second each, and 1.5 s for the end
    assert results["stopped"] == f"after {results['steps']} steps: they fill the time of 20s"
    found = list(rates(trained.run).values())
    assert found == sorted(found, reverse=True) and found[0] == digits().optim.lr and found[-1] < 0.1 * found[0]
    assert results["legs"][0] == [0, 0.0, None] and results["legs"][-1][2] == results["steps"]
    assert sum(r["name"] == "test_error" for r in read_metrics(trained.run)) == 3
    assert "they fill the time of 20s" in (trained.run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("stop_at", [1, 9, 30])
def test_a_run_with_a_time_that_is_resumed_keeps_its_time_and_ends_its_schedule(
    stop_at: int, clock: Clock, tmp_path: Path
) -> None:
    steps, began = iter(range(1, 100)), clock.now
    with pytest.raises(StoppedError):
        train("digits", overrides=CHANGES, max_time=20, out=tmp_path, should_stop=lambda: next(steps) == stop_at)
    clock.now += 1000  # nobody sits there
    results = resume(tmp_path).card.results
    assert 0.9 * 20 <= clock.now - began - 1000 + WRITING_SECONDS <= 21
    found = list(rates(tmp_path).values())
    assert len(found) == results["steps"] == results["legs"][-1][2] and found == sorted(found, reverse=True)
    assert found[-1] < 0.1 * found[0]


def test_what_the_card_tells_makes_the_same_run_again_whatever_the_clock_says(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(range(1, 100))
    with pytest.raises(StoppedError):
        train("digits", overrides=CHANGES, max_time=20, out=tmp_path / "a", should_stop=lambda: next(steps) == 9)
    results = resume(tmp_path / "a").card.results
    legs = legs_from(results["legs"])

    def told(self: Course, step: int, pace: Pace) -> None:
        self.legs.append(legs[len(self.legs)])

    monkeypatch.setattr(Course, "_plan", told)
    monkeypatch.setattr(
        Pace, "is_over", lambda self, leg, step: len(follow) > 0 and step == follow[0] and follow.pop(0)
    )
    follow = [leg.step for leg in legs[1:]]
    clock.now = 5.0
    again = train("digits", overrides=CHANGES, max_time=20, out=tmp_path / "b")
    assert again.card.results["legs"] == results["legs"]
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]


def test_a_time_that_is_too_short_leaves_nothing_behind(clock: Clock, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_time is 1s, in which this run cannot end"):
        train("digits", overrides=CHANGES, max_time=1, out=tmp_path / "new" / "run")
    assert not list(tmp_path.iterdir())
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="give it .*s or more"):
        train("digits", overrides=CHANGES, max_time=1, out=tmp_path / "there")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


@pytest.mark.parametrize(
    ("max_time", "changes", "refusal"),
    [
        ("20", {}, "'20' is not a time; write it with its units: 90s, 20m, 1h30m"),
        ("soon", {}, "'soon' is not a time"),
        ("0m", {}, "max_time is 0.0; it must be more than 0"),
        (-3, {}, "max_time is -3.0; it must be more than 0"),
        ("20m", {"epochs": 3}, "max_time and epochs both say how long the run is; give one of them"),
    ],
)
def test_a_time_that_is_none_is_refused(
    max_time: str | float, changes: dict[str, object], refusal: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=refusal):
        train("digits", overrides=changes, max_time=max_time, out=tmp_path / "run")
    assert not list(tmp_path.iterdir())


PATIENT = {
    "steps": 24,
    "batch_size": 8,
    "data.limit": 60,
    "data.train": "train[:80%]",
    "data.val": "train[80%:]",
    "evaluation.count": 12,
    "evaluation.splits": "val",
    "evaluation.keep": "best",
    "evaluation.patience": 2,
    "optim.lr": 1e-6,  # too little for the error to fall
}


def test_a_run_whose_error_does_not_fall_stops_with_its_best_weights(tmp_path: Path) -> None:
    trained = train("digits", overrides=PATIENT, out=tmp_path / "run")
    results = trained.card.results
    errors = [r["value"] for r in read_metrics(trained.run) if r["name"] == "val_error"]
    best = errors.index(min(errors))
    assert len(errors) == best + 3 < 12 and results["steps"] == 2 * len(errors)
    assert results["kept_step"] == 2 * (best + 1) and results["val_error"] == errors[best]
    assert results["stopped"] == f"at step {results['steps']} of 24: no lower validation error in 2 evaluations"
    patient = train("digits", overrides=PATIENT | {"evaluation.patience": 12}, out=tmp_path / "patient")
    assert patient.card.results["stopped"] == "after all 24 steps"


def test_a_run_that_is_killed_stops_at_the_same_step(tmp_path: Path) -> None:
    straight = train("digits", overrides=PATIENT, out=tmp_path / "straight")
    stop = straight.card.results["steps"]
    for at in (1, stop - 1):
        run, steps = tmp_path / f"run{at}", iter(range(1, 100))
        with pytest.raises(StoppedError):
            train("digits", overrides=PATIENT, out=run, should_stop=lambda steps=steps, at=at: next(steps) == at)
        assert resume(run).card.results["stopped"] == straight.card.results["stopped"]
        assert (run / "weights.safetensors").read_bytes() == (straight.run / "weights.safetensors").read_bytes()


def test_a_run_that_is_killed_after_its_last_step_takes_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = train("digits", overrides=PATIENT, out=tmp_path / "straight")
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train("digits", overrides=PATIENT, out=run)
    point = newest_point(run)
    assert point is not None and point.step == straight.card.results["steps"]
    resume(run)
    assert (run / "weights.safetensors").read_bytes() == (straight.run / "weights.safetensors").read_bytes()
    assert read_card(run).results["stopped"] == straight.card.results["stopped"]
    shutil.rmtree(run)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"steps": 0}, "evaluation.patience is for runs that take steps; the recipe digits takes none"),
        ({"evaluation.patience": 0}, "evaluation.patience is 0; it must be 1 or more"),
        ({"data.val": "none"}, "evaluation.patience is 2, which watches the validation error; set data.val"),
        ({"evaluation.splits": "test"}, "evaluation.splits with val"),
        ({"evaluation.keep": "last"}, "evaluation.patience is 2, which ends after the best; set evaluation.keep=best"),
    ],
)
def test_patience_without_what_it_watches_is_refused(changes: dict[str, object], refusal: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=refusal):
        train("digits", overrides=PATIENT | changes, out=tmp_path / "run")
    assert not list(tmp_path.iterdir())
