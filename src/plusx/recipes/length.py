"""How long a run is, where that follows from the number of training images."""

from __future__ import annotations

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
