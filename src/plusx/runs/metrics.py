"""Measurements, and the file of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Measurement(NamedTuple):
    """One number that was measured."""

    name: str
    value: float
    unit: str
    """ "1" for shares such as errors."""


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The records of metrics.jsonl: step, name, value, unit, seconds."""
    with (path / "metrics.jsonl").open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):  # the last line of a killed run may be cut
                yield json.loads(line)
