"""What is minimised."""

from __future__ import annotations

from dataclasses import dataclass

from plusx.recipes.bounds import require


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """Mean over the batch and the classes of -q log sigmoid(logit) - (1 - q) log(1 - sigmoid(logit)).

    Wightman et al. (2021), arXiv:2110.00476: every class is a question of its own. q is 1 for each class that an
    image shows, and MixUp and CutMix show two, whatever their shares. Evaluation takes the largest logit, and its
    probabilities are still a softmax.
    """

    aux_weight: float = 0.3
    """Weight of each auxiliary head's loss, for nets that have such heads; Szegedy et al. (2014), Sec. 5."""

    def __post_init__(self) -> None:
        require(self.aux_weight >= 0, "loss.aux_weight", self.aux_weight, "0 or more")

    @property
    def in_words(self) -> str:
        """What it does."""
        return "binary cross entropy of each class"


@dataclass(frozen=True)
class CrossEntropy:
    """Mean over the batch of -sum_k q_k log softmax(logits)_k."""

    label_smoothing: float = 0.0
    """q is (1 - label_smoothing) one-hot + label_smoothing / num_classes; Szegedy et al. (2015), Sec. 7."""
    aux_weight: float = 0.3
    """Weight of each auxiliary head's loss, for nets that have such heads; Szegedy et al. (2014), Sec. 5."""

    def __post_init__(self) -> None:
        require(0 <= self.label_smoothing < 1, "loss.label_smoothing", self.label_smoothing, "in [0, 1)")
        require(self.aux_weight >= 0, "loss.aux_weight", self.aux_weight, "0 or more")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return "cross entropy" + (f", label smoothing {self.label_smoothing:g}" if self.label_smoothing else "")


Loss = CrossEntropy | BinaryCrossEntropy
