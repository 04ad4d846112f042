"""When a run is measured, on what, and which weights it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from plusx.recipes.bounds import require

EVALUATION_SHARE = 0.1
"""The part of a run's work that evaluations may cost where the recipe does not count them."""


@dataclass(frozen=True)
class Evaluation:
    """When a run is measured, on what, and which weights it keeps."""

    count: int | None = None
    """Evaluations, evenly spaced over the run; the last is at its end. None: at most one an epoch, and no more than
    cost a tenth of the run."""
    parts: tuple[Literal["train", "val", "test"], ...] = ("val",)
    """Parts of the data measured each time; a part that the data lacks is left out."""
    keep: Literal["best", "last"] = "best"
    """Which weights are the run's: those of the lowest validation error (earliest of equals), or the last."""
    batch_size: int = 256
    """Images at once; changes no number."""
    flip: bool = False
    """Average the softmax of each image and of its mirror image; for images whose classes have no left and right."""

    def __post_init__(self) -> None:
        require(self.count is None or self.count >= 1, "evaluation.count", self.count, "1 or more")
        require(self.batch_size >= 1, "evaluation.batch_size", self.batch_size, "1 or more")
