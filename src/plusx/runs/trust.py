"""How far probabilities can be trusted: calibration, what is answered with `unknown`, and images of no class at all.

Shapes: N images.
"""

from dataclasses import dataclass

import torch

from plusx.runs.calibration import Calibration, Rejection
from plusx.runs.predictions import Predictions, calibration_error

SHOWN = 12
"""Outsiders that are named, those that the net is surest of."""


@dataclass(frozen=True)
class Trust:
    """How far the probabilities of labelled images can be trusted."""

    loss: float
    """Mean negative log-likelihood (NLL) of the true class, in nats."""
    calibration_error: float
    """Expected (ECE), over 15 bins of equal width."""

    @staticmethod
    def of(predictions: Predictions) -> "Trust":
        """That of predictions for labelled images."""
        return Trust(predictions.losses_N.mean().item(), calibration_error(predictions))


@dataclass(frozen=True)
class Answered:
    """The measured images that are not answered with `unknown`."""

    images: int
    error: float | None
    """On these images; None where there is none."""

    @staticmethod
    def of(predictions: Predictions, rejection: Rejection) -> "Answered":
        """Those whose largest probability reaches the threshold."""
        answered_N = predictions.probabilities_NT[:, 0] >= rejection.threshold
        right_N = predictions.correct_N[answered_N]
        return Answered(len(right_N), 1 - right_N.double().mean().item() if len(right_N) else None)


@dataclass(frozen=True)
class Surest:
    """An outsider for which the net names a class."""

    place: int
    image: str
    class_name: str
    probability: float


@dataclass(frozen=True)
class Outsiders:
    """Images of none of the classes, beside the measured ones."""

    images: int
    auroc: float
    """How often the net is surer of a measured image than of an outsider; 0.5 is chance."""
    unknown: int | None
    """How many are answered with `unknown`; None where the run sets no threshold."""
    surest: tuple["Surest", ...]
    """Those that the net is surest of, the worst first."""

    @staticmethod
    def of(inside: Predictions, outside: Predictions, rejection: Rejection | None) -> "Outsiders":
        """From the predictions for the measured images and for the outsiders, whose labels mean nothing."""
        from sklearn.metrics import roc_auc_score  # a second, needed here alone

        inside_N, outside_N = inside.probabilities_NT[:, 0], outside.probabilities_NT[:, 0]
        are_inside = [True] * len(inside_N) + [False] * len(outside_N)
        order = torch.sort(outside_N, descending=True, stable=True).indices.tolist()
        return Outsiders(
            len(outside),
            float(roc_auc_score(are_inside, torch.cat([inside_N, outside_N]).tolist())),
            None if rejection is None else int((outside_N < rejection.threshold).sum()),
            tuple(
                Surest(
                    place, outside.images[place], outside.class_names[outside.top_NT[place, 0]], outside_N[place].item()
                )
                for place in order[:SHOWN]
            ),
        )


@dataclass(frozen=True)
class Reliability:
    """What an evaluation says of probabilities beside the score; each None where the run or the question lacks it."""

    calibration: Calibration | None = None
    """The one run's; several runs together have none."""
    uncalibrated: Trust | None = None
    """Of the probabilities as the net gives them, where the score is of calibrated ones."""
    answered: Answered | None = None
    outsiders: Outsiders | None = None
