"""What makes a net's probabilities ones to trust: a temperature, and the probability below which no class is named.

Shapes: N images, K classes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FEW = 50
"""Fewer images than this tell too little of a temperature: of nets 1.5 times too sure, with 2 or 10 classes, it lowered
the cross entropy of other images in 84 to 98 % of trials with 50 images, and in 55 to 93 % with 20."""
COLDEST, WARMEST = 0.01, 100.0
"""Between these a temperature is looked for."""
ROUNDING = 1e-6
"""Of a probability: what the same image may differ by in fp32, computed with other images."""


@dataclass(frozen=True)
class Rejection:
    """When the answer is `unknown`: where the largest probability is below the threshold.

    The energy of Liu et al. (2020), arXiv:2010.03759, told some outsiders apart better and others far worse: digits
    from CIFAR-10 with an AUROC of 0.41, where the largest probability has 0.77.
    """

    keep: float
    """The share of the images that was to be kept."""
    threshold: float
    kept: int
    """How many of the images it was set on it keeps."""


@dataclass(frozen=True)
class Calibration:
    """What was fitted, after training, to images that the net was not trained on."""

    temperature: float
    """Logits are divided by it; Guo et al. (2017), arXiv:1706.04599, Sec. 4.2."""
    images: int
    """On how many images it was fitted."""
    data: str
    """Which they are: val, or a folder."""
    note: str = ""
    """Why the temperature is not simply that of the least cross entropy, if it is not."""
    rejection: Rejection | None = None

    @property
    def in_words(self) -> str:
        """What was fitted, on what, and what the threshold keeps."""
        said = f"temperature {self.temperature:.3f}, fitted on {self.images:,} images of {self.data}"
        if self.note:
            said = self.note if self.images < FEW else f"{said} ({self.note})"
        if self.rejection:
            said += (
                f"; unknown below a probability of {100 * self.rejection.threshold:.1f} %, which keeps "
                f"{self.rejection.kept:,} of them"
            )
        return said

    @staticmethod
    def from_dict(fields: Mapping[str, Any] | None) -> "Calibration | None":
        """The inverse of `dataclasses.asdict`; None for a run that was not calibrated."""
        if fields is None:
            return None
        rejection = fields["rejection"]
        return Calibration(**{**fields, "rejection": Rejection(**rejection) if rejection else None})


def calibrated(logs_NK: Tensor, calibration: Calibration | None) -> Tensor:
    """The logarithms of the calibrated probabilities; their order stays as it is.

    Args:
        logs_NK: Logits, or the logarithms of probabilities, which are logits as well.
        calibration: None leaves the probabilities as they are.

    Example:
        >>> warm = Calibration(temperature=2.0, images=100, data="val")
        >>> calibrated(torch.tensor([[4.0, 0.0]]).log_softmax(1), warm).exp()
        tensor([[0.8808, 0.1192]], dtype=torch.float64)
    """
    temperature = 1.0 if calibration is None else calibration.temperature
    return (logs_NK.double() / temperature).log_softmax(-1)


def fit_temperature(logs_NK: Tensor, labels_N: Tensor) -> tuple[float, str]:
    """The temperature of the least mean cross entropy, and a note where it is bounded or not fitted at all.

    Where every image is right, the cross entropy falls for ever as the temperature does. The mean probability of the
    predictions may therefore not rise above (N + 1) / (N + 2), what N images without a mistake make likely (Laplace's
    rule of succession).

    Args:
        logs_NK: Logits, or the logarithms of probabilities, of images that the net was not trained on.
        labels_N: Their classes.
    """
    logs_NK, count = logs_NK.double().log_softmax(1), len(labels_N)
    if count < FEW:
        return 1.0, f"no temperature is fitted: {count:,} images are too few, {FEW} are needed"
    true_N = logs_NK.gather(1, labels_N[:, None])[:, 0].mean().item()

    def slope(inverse: float) -> float:
        """Of the mean cross entropy, as a function of 1 / T, in which it is convex."""
        return ((inverse * logs_NK).softmax(1) * logs_NK).sum(1).mean().item() - true_N

    def surer(inverse: float) -> float:
        """By how much the mean probability of the predictions exceeds what so many images can show."""
        return (inverse * logs_NK).softmax(1).amax(1).mean().item() - (count + 1) / (count + 2)

    inverse = _root(slope, 1 / WARMEST, 1 / COLDEST)
    if inverse <= 1 / WARMEST:
        return WARMEST, "the net is no better than chance on these images: its probabilities are almost equal"
    if inverse > 1 and (surer(inverse) > 0 or inverse >= 1 / COLDEST):
        bounded = _root(surer, 1.0, inverse)
        return 1 / bounded, f"bounded, so that the net is not surer than {count:,} images can show it to be right"
    return 1 / inverse, ""


def fit_rejection(top_N: Tensor, keep: float) -> Rejection:
    """The threshold that keeps a share of the images, to one image.

    Args:
        top_N: The largest probability of each.
        keep: More than 0, at most 1.
    """
    count = math.ceil(round(keep * len(top_N), 9))  # 0.95 * 100 is not 95 in binary
    ranked = torch.sort(top_N.double(), descending=True).values.tolist()
    last = ranked[count - 1]
    following = ranked[count] if count < len(ranked) else last - 2 * ROUNDING
    between = (last + following) / 2  # so that rounding moves neither image across
    threshold = between if between > following else last  # equals and neighbours have no number between them
    return Rejection(keep, threshold, sum(top >= threshold for top in ranked))


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that rises crosses zero, by halving the interval of logarithms; a bound where it does not."""
    if rising(high) <= 0:
        return high
    if rising(low) >= 0:
        return low
    for _ in range(50):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return math.sqrt(low * high)
