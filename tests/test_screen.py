"""The line that moves while something runs: the time left is whole at any width, and the title gives way first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.engine.events import Event
from plusx.experiments.lab import Progress
from plusx.runs.metrics import Measurement
from plusx.screen import Lines, Pace, line

texts = st.text("abc123 ", min_size=1, max_size=40).map(str.strip).filter(bool)


@settings(deadline=None)
@given(st.integers(59, 200), texts, st.floats(0, 1), st.lists(texts, max_size=4))
def test_the_time_left_is_whole_at_any_width(width: int, title: str, share: float, details: list[str]) -> None:
    needed = ["64,000/64,000", "123:45:59 left"]
    shown = line(width, title, "training 10 of 12", share, needed, details)
    assert len(shown) <= width
    assert all(text in shown for text in ("training 10 of 12", *needed))
    assert sum(shown.count(part) for part in "━─") >= 6
    if not shown.startswith(title):
        assert shown.startswith("training") or "…" in shown


def test_where_there_is_room_everything_is_shown() -> None:
    details = ["loss 0.412", "epoch 20 of 40", "test error 3.21 %", "1,234 images/s"]
    shown = line(119, "digits", "", 0.5, ["480/960", "0:12 left"], details)
    assert shown == f"digits {'━' * 18}{'─' * 17} 480/960 0:12 left " + " ".join(details)
    narrow = line(59, "digits", "", 0.5, ["480/960", "0:12 left"], details)
    assert narrow == "digits ━━━━──── 480/960 0:12 left loss 0.412 epoch 20 of 40"


class Clock:
    """Seconds that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_follows_from_the_pace_since_the_first_report() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.left is None
    clock.now += 50  # of reading: it says nothing of the pace
    pace.report(10, 100)
    assert pace.left is None
    clock.now += 20
    pace.report(20, 100)
    assert pace.left == pytest.approx(160)
    clock.now += 5
    assert pace.left == pytest.approx(155)
    pace.report(0, 7)  # other work
    assert pace.left is None and pace.elapsed == pytest.approx(75)


def test_an_epoch_is_counted_from_one_to_the_recipes_number() -> None:
    def epochs(step: int, total: int, per_epoch: float) -> tuple[int, int]:
        event = Event(step, total, steps_per_epoch=per_epoch)
        return event.epoch, event.epochs

    assert [epochs(step, 8, 1.0) for step in (1, 8)] == [(2, 8), (8, 8)]
    assert [epochs(step, 180, 1437 / 64) for step in (1, 22, 23, 180)] == [(1, 8), (1, 8), (2, 8), (8, 8)]
    assert epochs(0, 0, 4.0) == (1, 1) and Event(3, 9).epoch == Event(3, 9).epochs == 0


def test_off_a_terminal_a_series_of_trainings_has_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines("shortcuts", "")
    for number in (1, 2):
        for step in range(1, 41):
            found = (Measurement("test_error", 0.1667, "1"),) if step % 10 == 0 else ()
            event = Event(step, 40, 0.5, 100.0, found)
            lines.series(Progress(f"net{number}", number, 2, event, (number - 1) * 40 + step, 80))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("shortcuts, training 1 of 2, net1: step 40 of 40  test error 16.67 %  100 images/s  ")
    assert said[0].endswith(" s left") and "left" not in said[1]
