"""The line that moves while something runs: the time left is whole at any width, and the title gives way first."""

import io
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.engine.events import Event, Progress, Reading
from plusx.placement.choose import Choice, Tried
from plusx.placement.place import plain_placement
from plusx.progress import Bar, Lines, Pace, line, shown
from plusx.runs.metrics import Measurement

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
            lines(Progress(f"net{number}", number, 2, event, (number - 1) * 40 + step, 80))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("shortcuts, training 1 of 2, net1: step 40 of 40  test error 16.67 %  100 images/s  ")
    assert said[0].endswith(" s left") and "left" not in said[1]


CHOICE = Choice(plain_placement(), (Tried(plain_placement(), 0.0123), Tried(plain_placement(threads=7), None)), False)


def test_off_a_terminal_whatever_a_verb_reports_becomes_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines("photos", "images")
    lines(Reading(1, 2))
    lines(Reading(2, 2))
    lines(CHOICE)
    shares = (Measurement("val_error", 0.25, "1"), Measurement("val_map", 0.5, "1"), Measurement("val_loss", 3, "nats"))
    lines(Event(3, 3, measurements=shares, notes=("images: 20 to train on",)))
    lines(5, 5)
    said = capsys.readouterr().err
    assert said.startswith("photos: 2 read\n\nprecision ")
    assert "12.3   <- taken\n" in said and "no time left\n(measured now)\n" in said
    assert said.splitlines()[-3:] == [
        "photos: images: 20 to train on",
        "photos: step 3 of 3  val error 25.00 %  val map 50.00 %",
        "photos: 5 images done",
    ]
    with pytest.raises(TypeError, match="progress takes"):
        lines("something else")


def test_a_callback_hears_what_a_verb_reports_and_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[tuple[object, ...]] = []
    for progress in (True, False, lambda *report: heard.append(report)):
        with shown(progress, "reading", unit="files") as report:
            report(1, 2)
            report(Reading(2, 2))
    said = capsys.readouterr()
    assert heard == [(1, 2), (Reading(2, 2),)]
    assert said.out == said.err == ""  # True shows a bar in a terminal or a notebook, and here is neither


class Stream(io.StringIO):
    """Standard error, as a terminal or a notebook has it."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize("where", ["terminal", "notebook"])
@pytest.mark.parametrize("progress", [True, False])
def test_a_verb_shows_a_bar_by_itself_in_a_terminal_and_in_a_notebook(
    where: str, progress: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = type("OutStream", (Stream,), {"terminal": where == "terminal", "__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    with shown(progress, "digits", unit="images") as report:
        report(Event(0, 4, notes=("images: 20 to train on",)))
        report(Event(4, 4, 0.5, 100.0, (Measurement("test_error", 0.25, "1"),)))
    said = stream.getvalue()
    if not progress:
        assert said == ""
        return
    assert "images: 20 to train on" in said and "digits ━━" in said
    assert "4/4 0:00 test error 25.00 % loss 0.500 100 images/s" in said
    assert said.rstrip(" ").endswith("\n") or where == "terminal"
    if where == "notebook":
        assert "\x1b" not in said and said.count("\n") == 2


def test_the_bar_says_that_it_is_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = type("OutStream", (Stream,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stderr", stream)
    with shown(True, "digits", stopping=lambda: True) as report:
        report(4, 4)
    assert "stopping ━" in stream.getvalue()


def test_off_a_terminal_ten_thousand_steps_are_fewer_than_200_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds in (0.001, 0.1, 4.0, 60.0):  # a step: from seconds to a week in all
        clock = Clock()
        monkeypatch.setattr("plusx.progress.time.monotonic", clock)
        lines = Lines("photos", "")
        lines.pace = Pace(clock)
        for step in range(1, 10_001):
            clock.now += seconds
            found = (Measurement("val_error", 1 / step, "1"),) if step % 20 == 0 else ()
            lines(Event(step, 10_000, 0.5, 100.0, found, best=1 / step))
        said = capsys.readouterr().err
        assert "\r" not in said and 50 < said.count("\n") < 200
        assert said.splitlines()[-1].startswith("photos: step 10,000 of 10,000  val error 0.01 %  best 0.01 %")


def test_the_bar_has_loss_error_epoch_and_best() -> None:
    class Silent(Bar):
        def _print(self, text: str) -> None:
            pass

    bar = Silent("digits", "")
    measured = (Measurement("val_error", 0.0321, "1"),)
    bar(Event(0, 960))
    bar(Event(480, 960, 0.412, 1234.0, measured, steps_per_epoch=24.0, best=0.0287))
    for text in ("480/960", "loss 0.412", "val error 3.21 %", "epoch 21/40", "best 2.87 %", "left"):
        assert text in bar.text(100)
    assert all(text in bar.text(60) for text in ("480/960", "epoch 21/40", "val error 3.21 %", "left"))
    assert len(bar.text(60)) <= 60 and len(bar.text(100)) <= 100
