"""How long a run is, where that follows from the number of training images, and how a time is written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from plusx.recipes.bounds import require


@dataclass(frozen=True)
class ByImages:
    """So many epochs that about `images` training images are seen, but at least `least` and at most `most` epochs."""

    images: int = 60_000
    """Total number of images seen in the run, counted with repetition."""
    least: float = 15.0
    """Smallest number of epochs, for large data sets."""
    most: float = 60.0
    """Largest number of epochs, for small data sets."""

    def __post_init__(self) -> None:
        require(self.images >= 1, "epochs.images", self.images, "1 or more")
        require(0 < self.least <= self.most, "epochs.least", self.least, "more than 0 and at most epochs.most")

    def epochs(self, num_train: int) -> float:
        """Epochs over `num_train` training images, a whole number between the two ends.

        Example:
            >>> [ByImages().epochs(n) for n in (100, 2_000, 100_000)]
            [60.0, 30.0, 15.0]
        """
        return min(self.most, max(self.least, float(round(self.images / max(num_train, 1)))))

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return f"{self.least:g} to {self.most:g} epochs, such that about {self.images:,} images are seen"


def seconds_of(text: str) -> float:
    """The seconds of a time that is written with its units.

    Raises:
        ValueError: It is not written so, or is no time.

    Example:
        >>> [seconds_of(text) for text in ("90s", "20m", "1h30m", "1.5h")]
        [90.0, 1200.0, 5400.0, 5400.0]
    """
    number = r"(\d+(?:\.\d+)?)"
    found = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}s)?", text.strip().lower().replace(" ", ""))
    if found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is not a time; write it with its units: 90s, 20m, 1h30m")
    hours, minutes, seconds = (float(each or 0) for each in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def duration(seconds: float) -> str:
    """A time as it is typed, whole seconds from 10 on and two digits below.

    Example:
        >>> [duration(seconds) for seconds in (5400, 1200, 90.4, 3.14159, 0.0312)]
        ['1h30m', '20m', '1m30s', '3.1s', '0.031s']
    """
    if seconds < 10:
        return f"{seconds:.2g}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count)
