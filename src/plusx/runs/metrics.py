"""Measurements, and the file of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

SPLITS = ("train", "val", "test")


class Measurement(NamedTuple):
    """One number that was measured."""

    name: str
    """What was measured, after the split that it was measured on, if it was one: val_error."""
    value: float
    unit: str
    """ "1" for shares such as errors."""


def name_of(split: str, quantity: str) -> str:
    """The name of what was measured on a split; the inverse of `split_of` and `quantity_of`.

    Example:
        >>> name_of("val", "error"), split_of("val_error"), quantity_of("val_error"), split_of("batch_loss")
        ('val_error', 'val', 'error', None)
    """
    return f"{split}_{quantity}"


def split_of(name: str) -> str | None:
    """The split that a measurement was made on; None for one of no split."""
    split = name.partition("_")[0]
    return split if split in SPLITS else None


def quantity_of(name: str) -> str:
    """What a measurement measures, on whatever split."""
    return name.partition("_")[2] if split_of(name) else name


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The records of metrics.jsonl: step, name, value, unit, seconds."""
    with (path / "metrics.jsonl").open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):  # the last line of a killed run may be cut
                yield json.loads(line)
