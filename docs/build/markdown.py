"""Tables of Markdown, and how a cell states a number."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from docs.build.results import evidence_of, read


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """A table whose first columns are words, aligned left, and the others numbers, aligned right."""
    lines = [head, ["---"] * words + ["---:"] * (len(head) - words), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def evidence(name: str) -> str:
    """The small line under a table: where, when and with what its numbers were measured."""
    line = "{cpu}, {cpus} cores, torch {torch}, commit {commit}, {date}.".format(**evidence_of(read(name)))
    return f"<sub>{line}</sub>"


def ratio(numbers: Mapping[str, Any]) -> str:
    """A ratio, with the range of its rounds."""
    low, high = numbers["ratio_range"]
    return f"{numbers['ratio']:.2f} ({low:.2f}–{high:.2f})"


def shown(who: str) -> str:
    """A contender's name."""
    return who.replace("ours", "plusx").replace("frozen streams", "plusx, frozen in streams")


def span(ends: Sequence[float]) -> str:
    """A range of images per second."""
    return f"{ends[0]:,.1f}–{ends[1]:,.1f}"


def mean_std(errors: Sequence[float]) -> str:
    """Mean and standard deviation of errors, in per cent."""
    return f"{100 * statistics.mean(errors):.1f} ± {100 * statistics.stdev(errors):.1f} %"


def units(numbers: Mapping[str, Any]) -> str:
    """The time to an accuracy, in epochs of the peer, with that accuracy."""
    accuracy, deviation = 100 * numbers["test_accuracy_mean"], 100 * numbers["test_accuracy_std"]
    return f"{numbers['units_mean']:.1f}, at {accuracy:.2f} ± {deviation:.2f} % (n = {numbers['n']})"
