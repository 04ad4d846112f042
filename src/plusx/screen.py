"""What a person sees while something runs: a bar with the time left on a terminal, a few lines elsewhere.

Everything goes to standard error, so that standard output holds results only.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from plusx.engine.training import Event
    from plusx.placement.choose import Choice


class Watch(Protocol):
    """What `watching` hands out: call it with the work done and the work in all, or with an event of training."""

    def count(self, done: int, total: int) -> None: ...

    def event(self, event: "Event", title: str | None = None) -> None: ...

    def choice(self, choice: "Choice") -> None: ...


class Silent:
    """Shows nothing."""

    def count(self, done: int, total: int) -> None: ...

    def event(self, event: "Event", title: str | None = None) -> None: ...

    def choice(self, choice: "Choice") -> None: ...


class Lines:
    """One line for each evaluation: no control characters, few lines, for files and pipes."""

    def __init__(self, title: str) -> None:
        self.title, self.began, self.first, self.pace = title, time.monotonic(), -1, ""

    def count(self, done: int, total: int) -> None:
        if done == total:
            _print(f"{self.title}: {total:,} done")

    def event(self, event: "Event", title: str | None = None) -> None:
        for note in event.notes:
            _print(f"{title or self.title}: {note}")
        if self.first < 0:  # what came before, reading data or an earlier start, says nothing of the pace
            self.first, self.began = event.step, time.monotonic()
        if event.images_per_s:
            self.pace = f"  {event.images_per_s:,.0f} images/s"
        if event.measurements:
            left = ""
            if event.step > self.first:
                seconds = (time.monotonic() - self.began) / (event.step - self.first) * (event.total_steps - event.step)
                left = f"  {_clock(seconds)} left" if event.step < event.total_steps else ""
            where = f"step {event.step:,} of {event.total_steps:,}"
            _print(f"{title or self.title}: {where}  {_errors(event)}{self.pace}{left}")

    def choice(self, choice: "Choice") -> None:
        _print(_table(choice))


class Bar:
    """A live bar; its text holds what was measured last."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[pace]} {task.fields[errors]}"),
            console=Console(stderr=True),
        )
        self.task = self.progress.add_task(title, total=None, pace="", errors="")
        self.training = False

    def count(self, done: int, total: int) -> None:
        self.progress.update(self.task, completed=done, total=total)

    def event(self, event: "Event", title: str | None = None) -> None:
        for note in event.notes:
            self.progress.console.print(note, highlight=False)
        if not self.training:  # a resumed run begins far along, and files may have been counted before
            self.progress.reset(self.task, completed=event.step, total=event.total_steps)
            self.training = True
        fields: dict[str, Any] = {"errors": _errors(event)} if event.measurements else {}
        if title:
            fields["description"] = title
        if event.images_per_s:
            fields["pace"] = f"{event.images_per_s:,.0f} images/s"
        self.progress.update(self.task, completed=event.step, total=event.total_steps, **fields)

    def choice(self, choice: "Choice") -> None:
        self.progress.console.print(_table(choice), highlight=False)


@contextmanager
def watching(title: str, *, quiet: bool) -> Iterator[Watch]:
    """A bar on a terminal, lines elsewhere, nothing when quiet."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        bar = Bar(title)
        with bar.progress:
            yield bar
    else:
        yield Lines(title)


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
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
