"""What a person sees while something runs: one line with the time left on a terminal, a few lines elsewhere.

Everything goes to standard error, so that standard output holds results only.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.text import Text

    from plusx.engine.events import Event
    from plusx.experiments.lab import Progress
    from plusx.placement.choose import Choice

QUIET_SECONDS = 60.0
"""Off a terminal, the longest that nothing is printed."""
SHORTEST, LONGEST = 6, 40  # characters of a bar
KEPT = 8  # of a title, before details are left out for it


class Watch(Protocol):
    """What `watching` hands out: call it with the work done and the work in all, or with an event of training."""

    def count(self, done: int, total: int) -> None: ...

    def event(self, event: "Event") -> None: ...

    def series(self, progress: "Progress") -> None: ...

    def choice(self, choice: "Choice") -> None: ...


class Silent:
    """Shows nothing."""

    def count(self, done: int, total: int) -> None: ...

    def event(self, event: "Event") -> None: ...

    def series(self, progress: "Progress") -> None: ...

    def choice(self, choice: "Choice") -> None: ...


class Pace:
    """The time left, from the mean pace since the first report; what came before, such as reading, says nothing of it.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.began = clock, clock()
        self._first: tuple[float, float] | None = None
        self._last = 0.0, self.began
        self.done, self.total = 0.0, 0.0

    def report(self, done: float, total: float) -> None:
        """Work done, and work in all, in any unit."""
        if total != self.total and self._first is not None:  # other work, such as reading files before training
            self._first = None
        now = self.clock()
        self._first = self._first or (done, now)
        self._last = done, now
        self.done, self.total = done, total

    @property
    def elapsed(self) -> float:
        return self.clock() - self.began

    @property
    def left(self) -> float | None:
        """Seconds; None before anything is known."""
        if self._first is None or self._last[0] <= self._first[0]:
            return None
        pace = (self._last[1] - self._first[1]) / (self._last[0] - self._first[0])
        return max(0.0, pace * (self.total - self._last[0]) - (self.clock() - self._last[1]))


class Lines:
    """A line for each evaluation, or for each training of several, and one a minute: for files and pipes."""

    def __init__(self, title: str, unit: str) -> None:
        self.title, self.unit, self.pace, self.speed, self.said = title, unit, Pace(), "", time.monotonic()

    def count(self, done: int, total: int) -> None:
        self.pace.report(done, total)
        if done == total:
            self._say(f"{self.title}: {total:,} {self.unit} done")
        elif self._due:
            self._say(f"{self.title}: {done:,} of {total:,} {self.unit}{self._left()}")

    def event(self, event: "Event") -> None:
        self.pace.report(event.step, event.total_steps)
        for note in event.notes:
            self._say(f"{self.title}: {note}")
        self._event(self.title, event, bool(event.measurements))

    def series(self, progress: "Progress") -> None:
        self.pace.report(progress.done, progress.total)
        where, event = f"training {progress.number} of {progress.trainings}", progress.event
        ended = bool(event.measurements) and event.step == event.total_steps
        self._event(f"{self.title}, {where}, {progress.training}", event, ended)

    def choice(self, choice: "Choice") -> None:
        self._say(_table(choice))

    def _event(self, title: str, event: "Event", worth_a_line: bool) -> None:
        if event.images_per_s:
            self.speed = f"  {event.images_per_s:,.0f} images/s"
        if worth_a_line or self._due:
            found = _errors(event) or (f"loss {event.loss:.3f}" if event.loss is not None else "")
            step = f"step {event.step:,} of {event.total_steps:,}"
            self._say(f"{title}: {step}  {found}{self.speed}{self._left()}")

    @property
    def _due(self) -> bool:
        return time.monotonic() - self.said > QUIET_SECONDS

    def _left(self) -> str:
        left = self.pace.left
        return "" if not left or self.pace.done >= self.pace.total else f"  {_in_words(left)} left"

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        self.said = time.monotonic()


class Bar:
    """One live line. Where it is narrow, the title is cut and details are left out, but never the time left."""

    def __init__(self, title: str, unit: str, stopping: Callable[[], bool]) -> None:
        from rich.console import Console
        from rich.live import Live

        self.title, self.unit, self.stopping, self.pace = title, unit, stopping, Pace()
        self.place, self.step = "", ""
        self.details: dict[str, str] = {}
        self.console = Console(stderr=True)
        self.live = Live(
            get_renderable=self._text,
            console=self.console,
            refresh_per_second=8,
            redirect_stdout=False,  # rich would send it to the console, which is standard error
            redirect_stderr=False,
        )

    def count(self, done: int, total: int) -> None:
        self.pace.report(done, total)
        self.step, self.details = f"{done:,}/{total:,} {self.unit}".rstrip(), {}

    def event(self, event: "Event") -> None:
        self.pace.report(event.step, event.total_steps)
        for note in event.notes:
            self.console.print(note, highlight=False)
        self._event(event)

    def series(self, progress: "Progress") -> None:
        place = f"training {progress.number} of {progress.trainings}"
        if place != self.place:
            self.title, self.place, self.details = progress.training, place, {}
        self.pace.report(progress.done, progress.total)
        self._event(progress.event)

    def choice(self, choice: "Choice") -> None:
        self.console.print(_table(choice), highlight=False)

    def _event(self, event: "Event") -> None:
        self.step = f"{event.step:,}/{event.total_steps:,}"
        known = {
            "loss": "" if event.loss is None else f"loss {event.loss:.3f}",
            "epoch": f"epoch {event.epoch:,} of {event.epochs:,}" if event.epochs else "",
            "errors": _errors(event),
            "speed": f"{event.images_per_s:,.0f} images/s" if event.images_per_s else "",
        }
        self.details |= {name: text for name, text in known.items() if text}

    def _text(self) -> "Text":
        from rich.text import Text

        title = "stopping" if self.stopping() else self.title
        details = [self.details[name] for name in ("loss", "epoch", "errors", "speed") if name in self.details]
        share = self.pace.done / self.pace.total if self.pace.total else 0.0
        if not self.pace.total:
            return Text(line(self.console.width - 1, title, "", None, [_clock(self.pace.elapsed)], []))
        if share >= 1:  # what is left, such as writing a report, has no measure
            needed = [self.step, _clock(self.pace.elapsed)]
        else:
            left = self.pace.left
            needed = [self.step, "-:-- left" if left is None else f"{_clock(left)} left"]
        return Text(line(self.console.width - 1, title, self.place, share, needed, details))


def line(width: int, title: str, place: str, share: float | None, needed: Sequence[str], details: Sequence[str]) -> str:
    """One line of at most `width` characters: the title, a bar, what is needed, and what details there is room for.

    Args:
        width: In characters.
        title: Cut where there is no room.
        place: Before the bar, in whole; may be empty.
        share: How much of the bar is full; None draws none.
        needed: After it, in whole.
        details: After that, the first before all.

    Example:
        >>> line(50, "digits", "", 0.5, ["480/960", "0:12 left"], ["loss 0.412", "epoch 20 of 40"])
        'digits ━━━━━━━─────── 480/960 0:12 left loss 0.412'
    """
    fixed = [text for text in (place, *needed) if text]
    room = width - sum(len(text) + 1 for text in fixed) + 1 - (0 if share is None else SHORTEST + 1)
    chosen = []
    for text in details:
        if len(text) + 1 <= room - min(len(title), KEPT) - 1:
            chosen.append(text)
            room -= len(text) + 1
    if len(title) + 1 > room:
        title = f"{title[: room - 2]}…" if room > 3 else ""
    room -= len(title) + 1 if title else 0
    bar = ""
    if share is not None:
        length = min(LONGEST, SHORTEST + max(0, room))
        full = round(length * min(share, 1.0))
        bar = "━" * full + "─" * (length - full)
    return " ".join(text for text in (title, place, bar, *needed, *chosen) if text)


@contextmanager
def watching(title: str, *, quiet: bool, unit: str = "", stopping: Callable[[], bool] | None = None) -> Iterator[Watch]:
    """A line that moves on a terminal, lines elsewhere, nothing when quiet.

    Args:
        title: What runs.
        quiet: Show nothing.
        unit: Of what is counted, such as images.
        stopping: Whether the user has asked it to stop.
    """
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        bar = Bar(title, unit, stopping or (lambda: False))
        with bar.live:
            try:
                yield bar
            finally:
                bar.live.transient = not bar.pace.total  # a clock alone is of no interest afterwards
    else:
        yield Lines(title, unit)


def _errors(event: "Event") -> str:
    return "  ".join(
        f"{m.name.replace('_', ' ')} {100 * m.value:.2f} %" for m in event.measurements if m.name.endswith("_error")
    )


def _table(choice: "Choice") -> str:
    """What was measured, the fastest marked."""
    rows = [("precision", "layout", "kernels", "threads", "ms a step", "")]
    for tried in choice.tried:
        placement = tried.placement
        time_ = "no time left" if tried.seconds is None else f"{1e3 * tried.seconds:.1f}"
        same = replace(placement, reasons={}) == replace(choice.placement, reasons={})
        mark = "<- taken" if same else ""
        rows.append((placement.precision, placement.layout, placement.kernels, str(placement.threads), time_, mark))
    lines = ["  ".join(f"{cell:<14}" if i < 3 else f"{cell:>9}" for i, cell in enumerate(row)) for row in rows]
    source = "measured before, for this net, batch and machine" if choice.remembered else "measured now"
    return "\n".join(["", *(line.rstrip() for line in lines), f"({source})", ""])


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    Example:
        >>> _clock(12), _clock(754), _clock(7384)
        ('0:12', '12:34', '2:03:04')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _in_words(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
