"""When a run is measured, on what, and which weights it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from plusx.recipes.bounds import require

EVALUATION_SHARE = 0.1
"""Share of a run's work that its evaluations may cost where the recipe does not say how many there are."""


@dataclass(frozen=True)
class Evaluation:
    """When a run is measured, on what, and which weights it keeps."""

    count: int | None = None
    """Evaluations, evenly spaced over the run; the last is at its end. With none there is at most one per epoch, and
    all of them together take at most a tenth of the run."""
    splits: tuple[Literal["train", "val", "test"], ...] = ("val",)
    """Splits that are measured each time; a split that the data lacks is left out."""
    keep: Literal["best", "last"] = "best"
    """Which weights the run keeps: those of the lowest validation error (earliest of equals), or the last."""
    patience: int | None = None
    """Evaluations without a lower validation error after which the run stops and keeps its best weights; none goes on
    to the last step."""
    batch_size: int = 256
    """Images at a time; it changes no result."""
    flip: bool = False
    """Average the softmax of each image and of its mirror image; for images whose classes have no left and right."""

    def __post_init__(self) -> None:
        require(self.count is None or self.count >= 1, "evaluation.count", self.count, "1 or more")
        require(self.patience is None or self.patience >= 1, "evaluation.patience", self.patience, "1 or more")
        require(self.batch_size >= 1, "evaluation.batch_size", self.batch_size, "1 or more")
