"""What every number of a recipe must be, and how a share is written."""

from typing import Any


def require(ok: bool, name: str, value: Any, what: str) -> None:
    """Raises ValueError, which names the field, its value and what it must be, where `ok` is false."""
    if not ok:
        raise ValueError(f"{name} is {value!r}; it must be {what}")


def percent(share: float) -> str:
    """A share in per cent, to three digits.

    Example:
        >>> percent(1 / 15)
        '6.67 %'
    """
    return f"{100 * share:.3g} %"
