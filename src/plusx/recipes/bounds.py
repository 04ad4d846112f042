"""What every number of a recipe must be."""

from typing import Any


def require(ok: bool, name: str, value: Any, what: str) -> None:
    """Raises ValueError, which names the field, its value and what it must be, where `ok` is false."""
    if not ok:
        raise ValueError(f"{name} is {value!r}; it must be {what}")
