"""How far something has come: a bar in a terminal or a notebook; on the command line, a few lines elsewhere.

A verb of the Python API opens `shown` around its work and calls what it yields. The command line opens `watching` and
passes the bar to the verb, so that nothing is shown twice. Everything goes to standard error, so that standard output
holds results only. Importing this module imports nothing else of plusx.
"""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from rich.text import Text

    from plusx.engine.events import Event, Progress
    from plusx.placement.choose import Choice

QUIET_SECONDS = 60.0
"""Off a terminal, the longest time without a line, where that is not too many."""
MOST = 100
"""Off a terminal, lines for the evaluations of a training: at most one for each hundredth of its steps."""
NOTEBOOK_SECONDS = 0.25
"""In a notebook, the shortest time between two updates."""
NOTEBOOK_WIDTH = 100
"""Characters of a line in a notebook, which does not say how wide it is."""
SHORTEST, LONGEST = 6, 40  # characters of a bar
KEPT = 8  # characters of a title that stay when details are shown


@contextmanager
def shown(
    progress: bool | Callable[..., None],
    title: str,
    *,
    unit: str = "",
    stopping: Callable[[], bool] | None = None,
) -> Iterator[Callable[..., None]]:
    """What a verb of the Python API reports its progress to.

    Yields a callable. Call it with whatever the user's own callback would receive: (done, total), or one `Reading`,
    `Choice`, `Event` or `Progress`.

    Args:
        progress: The verb's own argument. True shows a bar if standard error is a terminal or a notebook, and nothing
            elsewhere; False shows nothing; a callable is yielded as it is.
        title: What is being done.
        unit: What (done, total) counts, such as "images".
        stopping: Whether the user has asked to stop; it must be quick and may be called from another thread.

    Example:
        >>> heard = []
        >>> with shown(lambda done, total: heard.append((done, total)), "reading", unit="files") as report:
        ...     report(1, 2)
        >>> heard
        [(1, 2)]
    """
    if callable(progress):
        yield progress
    elif progress and sys.stderr.isatty():
        with Terminal(title, unit, stopping) as bar:
            yield bar
    elif progress and _in_notebook():
        with Notebook(title, unit, stopping) as bar:
            yield bar
    else:
        yield _nothing


@contextmanager
def watching(
    title: str, *, quiet: bool, unit: str = "", stopping: Callable[[], bool] | None = None
) -> Iterator[Callable[..., None]]:
    """What the command line shows: a bar on a terminal, lines elsewhere, nothing with --quiet.

    Args:
        title: What is being done.
        quiet: Show nothing.
        unit: What (done, total) counts, such as "images".
        stopping: Whether the user has asked to stop.
    """
    if quiet:
        yield _nothing
    elif sys.stderr.isatty():
        with Terminal(title, unit, stopping) as bar:
            yield bar
    else:
        yield Lines(title, unit)


def _nothing(*report: object) -> None:
    """Show nothing."""


def _in_notebook() -> bool:
    return type(sys.stderr).__module__.startswith("ipykernel")  # its stream understands a carriage return


class Pace:
    """The time left, by the mean pace since the first report; what came before it does not count.

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
        if total != self.total and self._first is not None:  # other work, such as training after reading
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


class Report(ABC):
    """What takes the progress of a verb, whichever it is: (done, total), or one object."""

    def __call__(self, *report: object) -> None:
        """Show what the verb's own callback would receive."""
        if len(report) == 2:
            done, total = report
            self._count(cast(int, done), cast(int, total))
            return
        from plusx.engine.events import Event, Progress, Reading  # the verb that reports them has imported them
        from plusx.placement.choose import Choice

        match report:
            case (Event() as event,):
                self._training(event)
            case (Progress() as progress,):
                self._series(progress)
            case (Reading() as reading,):
                self._count(reading.done, reading.total, "read")
            case (Choice() as choice,):
                if len(choice.tried) > 1:
                    self._print(_table(choice))
            case _:
                raise TypeError(f"progress takes (done, total), Reading, Choice, Event or Progress, not {report!r}")

    @abstractmethod
    def _count(self, done: int, total: int, unit: str | None = None) -> None:
        """Work done, and work in all."""

    @abstractmethod
    def _training(self, event: "Event") -> None:
        """How far a training has come."""

    @abstractmethod
    def _series(self, progress: "Progress") -> None:
        """How far several trainings have come."""

    @abstractmethod
    def _print(self, text: str) -> None:
        """Lines that stay."""


class Lines(Report):
    """A line for an evaluation, or for each training of several, and one a minute, in all fewer than 200 a training."""

    def __init__(self, title: str, unit: str) -> None:
        self.title, self.unit, self.pace, self.speed, self.said = title, unit, Pace(), "", time.monotonic()
        self.said_at = 0

    def _count(self, done: int, total: int, unit: str | None = None) -> None:
        self.pace.report(done, total)
        if done == total:
            self._print(f"{self.title}: {total:,} {unit or f'{self.unit} done'}")
        elif self._due:
            self._print(f"{self.title}: {done:,} of {total:,} {unit or self.unit}{self._left()}")

    def _training(self, event: "Event") -> None:
        self.pace.report(event.step, event.total_steps)
        for note in event.notes:
            self._print(f"{self.title}: {note}")
        far = event.step - self.said_at >= event.total_steps / MOST or event.step == event.total_steps
        self._event(self.title, event, bool(event.measurements) and far)

    def _series(self, progress: "Progress") -> None:
        self.pace.report(progress.done, progress.total)
        where, event = f"training {progress.number} of {progress.trainings}", progress.event
        ended = bool(event.measurements) and event.step == event.total_steps
        self._event(f"{self.title}, {where}, {progress.training}", event, ended)

    def _event(self, title: str, event: "Event", worth_a_line: bool) -> None:
        if event.images_per_s:
            self.speed = f"  {event.images_per_s:,.0f} images/s"
        if worth_a_line or self._due:
            self.said_at = event.step
            measured = _shares(event) or (f"loss {event.loss:.3f}" if event.loss is not None else "")
            measured += f"  {_best(event)}" if event.measurements and event.best is not None else ""
            step = f"step {event.step:,} of {event.total_steps:,}"
            self._print(f"{title}: {step}  {measured}{self.speed}{self._left()}")

    @property
    def _due(self) -> bool:
        return time.monotonic() - self.said > max(QUIET_SECONDS, self.pace.elapsed / (MOST / 4))

    def _left(self) -> str:
        left = self.pace.left
        return "" if not left or self.pace.done >= self.pace.total else f"  {_in_words(left)} left"

    def _print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        self.said = time.monotonic()


class Bar(Report):
    """One live line. Where it is narrow, the title is cut and details are left out, but never the time left."""

    def __init__(self, title: str, unit: str, stopping: Callable[[], bool] | None = None) -> None:
        self.title, self.unit, self.stopping, self.pace = title, unit, stopping, Pace()
        self.place, self.step = "", ""
        self.details: dict[str, str] = {}

    def _count(self, done: int, total: int, unit: str | None = None) -> None:
        self.pace.report(done, total)
        self.step, self.details = f"{done:,}/{total:,} {unit or self.unit}".rstrip(), {}

    def _training(self, event: "Event") -> None:
        self.pace.report(event.step, event.total_steps)
        for note in event.notes:
            self._print(note)
        self._event(event)

    def _series(self, progress: "Progress") -> None:
        place = f"training {progress.number} of {progress.trainings}"
        if place != self.place:
            self.title, self.place, self.details = progress.training, place, {}
        self.pace.report(progress.done, progress.total)
        self._event(progress.event)

    def _event(self, event: "Event") -> None:
        self.step = f"{event.step:,}/{event.total_steps:,}"
        known = {
            "loss": "" if event.loss is None else f"loss {event.loss:.3f}",
            "best": _best(event),
            "epoch": f"epoch {event.epoch:,}/{event.epochs:,}" if event.epochs else "",
            "shares": _shares(event),
            "speed": f"{event.images_per_s:,.0f} images/s" if event.images_per_s else "",
        }
        self.details |= {name: text for name, text in known.items() if text}

    def text(self, width: int) -> str:
        """The line as it is now, in at most `width` characters."""
        title = "stopping" if self.stopping and self.stopping() else self.title
        order = ("shares", "epoch", "loss", "best", "speed")
        details = [self.details[name] for name in order if name in self.details]
        share = self.pace.done / self.pace.total if self.pace.total else 0.0
        if not self.pace.total:
            return line(width, title, "", None, [_clock(self.pace.elapsed)], [])
        if share >= 1:  # what is left, such as writing a report, has no measure
            needed = [self.step, _clock(self.pace.elapsed)]
        else:
            left = self.pace.left
            needed = [self.step, "-:-- left" if left is None else f"{_clock(left)} left"]
        return line(width, title, self.place, share, needed, details)


class Terminal(Bar):
    """The bar of a terminal, which moves by itself while the context is open."""

    def __init__(self, title: str, unit: str, stopping: Callable[[], bool] | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(title, unit, stopping)
        self.console = Console(stderr=True)
        self.live = Live(
            get_renderable=self._renderable,
            console=self.console,
            refresh_per_second=8,
            redirect_stdout=False,  # rich would send it to the console, which is standard error
            redirect_stderr=False,
        )

    def __enter__(self) -> "Terminal":
        self.live.start(refresh=True)
        return self

    def __exit__(self, *fault: object) -> None:
        self.live.transient = not self.pace.total  # a clock alone is of no interest afterwards
        self.live.stop()

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False)

    def _renderable(self) -> "Text":
        from rich.text import Text

        return Text(self.text(self.console.width - 1))


class Notebook(Bar):
    """The bar of a notebook: one line of plain text, written over when something is reported."""

    def __init__(self, title: str, unit: str, stopping: Callable[[], bool] | None = None) -> None:
        super().__init__(title, unit, stopping)
        self.written = float("-inf")

    def __call__(self, *report: object) -> None:
        """Show what the verb's own callback would receive."""
        super().__call__(*report)
        if time.monotonic() - self.written >= NOTEBOOK_SECONDS or self.pace.done >= self.pace.total:
            self._write(self.text(NOTEBOOK_WIDTH))

    def __enter__(self) -> "Notebook":
        return self

    def __exit__(self, *fault: object) -> None:
        if self.pace.total:  # a clock alone is of no interest afterwards
            self._write(self.text(NOTEBOOK_WIDTH) + "\n")

    def _print(self, text: str) -> None:
        self._write(text + "\n")

    def _write(self, text: str) -> None:
        first, *others = text.split("\n")
        print("\r" + "\n".join([first.ljust(NOTEBOOK_WIDTH), *others]), end="", file=sys.stderr, flush=True)
        self.written = time.monotonic()


def line(width: int, title: str, place: str, share: float | None, needed: Sequence[str], details: Sequence[str]) -> str:
    """One line of at most `width` characters: the title, a bar, what is needed, and what details there is room for.

    Args:
        width: In characters.
        title: Cut where there is no room.
        place: Shown whole, before the bar; may be empty.
        share: How much of the bar is full; None draws none.
        needed: Shown whole, after the bar.
        details: Shown last, as many as there is room for, the first ones first.

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


def _shares(event: "Event") -> str:
    """Those measurements that are shares of something, such as the error, as per cents."""
    return "  ".join(f"{m.name.replace('_', ' ')} {100 * m.value:.2f} %" for m in event.measurements if m.unit == "1")


def _best(event: "Event") -> str:
    """The best evaluation so far."""
    return "" if event.best is None else f"best {100 * event.best:.2f} %"


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
