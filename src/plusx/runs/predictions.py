"""What a net predicted for each image, as predictions.csv has it, and every number that follows from it.

Shapes: N images, K classes, T classes named for each image, the five likeliest or all of fewer.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from plusx.runs.files import replace_file

TOP = 5
BINS = 15
"""Bins of equal width for the calibration error, as Guo et al. (2017), arXiv:1706.04599, Sec. 5."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for labelled images."""

    class_names: tuple[str, ...]
    images: tuple[str, ...]
    """A file's path, or the place of an image in its split."""
    labels_N: Tensor
    """Class index of each image, int64."""
    top_NT: Tensor
    """Class indices, the likeliest first."""
    probabilities_NT: Tensor
    """Their probabilities, float64."""
    losses_N: Tensor
    """-log of the true class's probability, in nats, float64."""

    def __repr__(self) -> str:
        return f"<Predictions for {len(self.images):,} images of {len(self.class_names):,} classes>"

    @staticmethod
    def of(class_names: Sequence[str], images: Sequence[str], labels_N: Tensor, logs_NK: Tensor) -> "Predictions":
        """Predictions from the logarithms of probabilities.

        Args:
            class_names: K names.
            images: N names.
            labels_N: Class indices.
            logs_NK: Natural logarithms; rows of exp(logs) sum to 1.
        """
        assert len(images) == len(labels_N) == len(logs_NK)
        logs_NK = logs_NK.double()
        # Stable, so that classes of equal probability keep their order on every machine.
        order_NK = torch.sort(logs_NK, dim=1, descending=True, stable=True).indices
        top_NT = order_NK[:, : min(TOP, logs_NK.shape[1])]
        losses_N = -logs_NK.gather(1, labels_N[:, None])[:, 0]
        return Predictions(
            tuple(class_names), tuple(images), labels_N, top_NT, logs_NK.gather(1, top_NT).exp(), losses_N
        )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def correct_N(self) -> Tensor:
        """Whether the likeliest class is the true one."""
        return self.top_NT[:, 0] == self.labels_N

    def said(self, place: int) -> tuple[str, float]:
        """The likeliest class of an image by its position, and its probability."""
        return self.class_names[self.top_NT[place, 0]], self.probabilities_NT[place, 0].item()

    def write(self, file: Path) -> None:
        """As CSV: image, label, loss, then class1, probability1 to class5, probability5. Floats keep every bit."""
        text = io.StringIO(newline="")
        rows = csv.writer(text, lineterminator="\n")
        ranks = range(1, self.top_NT.shape[1] + 1)
        rows.writerow(
            ["image", "label", "loss", *(f"{what}{rank}" for rank in ranks for what in ("class", "probability"))]
        )
        names = self.class_names
        columns = (self.labels_N, self.losses_N, self.top_NT, self.probabilities_NT)
        for image, label, loss, top, shares in zip(self.images, *(column.tolist() for column in columns), strict=True):
            pairs = [cell for index, share in zip(top, shares, strict=True) for cell in (names[index], repr(share))]
            rows.writerow([image, names[label], repr(loss), *pairs])
        replace_file(file, text.getvalue().encode())

    @staticmethod
    def read(file: Path, class_names: Sequence[str]) -> "Predictions":
        """The inverse of `write`, to the last bit.

        Raises:
            ValueError: The file is none of ours, or of other classes.
        """
        places = {name: index for index, name in enumerate(class_names)}
        try:
            with file.open(encoding="utf-8", newline="") as lines:
                _, *rows = csv.reader(lines)
            images, labels, losses, *rest = zip(*rows, strict=True)
            top = [[places[name] for name in column] for column in rest[0::2]]
            shares = [[float(cell) for cell in column] for column in rest[1::2]]
            return Predictions(
                tuple(class_names),
                images,
                torch.tensor([places[name] for name in labels]),
                torch.tensor(top).T,
                torch.tensor(shares, dtype=torch.float64).T,
                torch.tensor([float(loss) for loss in losses], dtype=torch.float64),
            )
        except (ValueError, KeyError, IndexError) as fault:
            raise ValueError(f"{file} is not a table of predictions for these classes: {fault}") from None


@dataclass(frozen=True)
class OneClass:
    """How well a net does on one class."""

    name: str
    images: int
    precision: float
    """Precision: the share of the images predicted as this class that are of it; 0 where none was predicted."""
    recall: float
    """Recall: the share of the images of this class that are predicted as it; 0 where there is none."""
    f1: float
    """2 precision recall / (precision + recall); 0 where both are."""


@dataclass(frozen=True)
class Score:
    """What is reported about a net on labelled images. Errors are shares of the images."""

    images: int
    error: float
    """The likeliest class is not the true one."""
    top5_error: float | None
    """The true class is not among the five likeliest; None where so few classes leave nothing to be wrong about."""
    loss: float
    """Mean negative log-likelihood of the true class in nats."""
    calibration_error: float
    """Expected: sum over bins of confidence of n_b / N |accuracy - confidence|; Guo et al. (2017), Eqn. (3)."""
    balanced_accuracy: float
    """Mean recall of the classes that have images."""
    classes: tuple[OneClass, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Images by true class (row) and likeliest class (column)."""

    def __repr__(self) -> str:
        return f"<Score error {100 * self.error:.2f} % on {self.images:,} images of {len(self.classes):,} classes>"


def score(predictions: Predictions) -> Score:
    """Every number of a report, from predictions.csv's columns alone.

    Raises:
        ValueError: There is no image.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support  # a second, needed here alone

    if len(predictions) == 0:
        raise ValueError("no image to measure on")
    indices = range(len(predictions.class_names))
    truth, said = predictions.labels_N.numpy(), predictions.top_NT[:, 0].numpy()
    precision, recall, f1, images = precision_recall_fscore_support(truth, said, labels=indices, zero_division=0)
    hits_N = predictions.correct_N.double()
    return Score(
        images=len(predictions),
        error=1 - hits_N.mean().item(),
        top5_error=1 - (predictions.top_NT == predictions.labels_N[:, None]).any(1).double().mean().item()
        if len(predictions.class_names) > TOP
        else None,
        loss=predictions.losses_N.mean().item(),
        calibration_error=calibration_error(predictions),
        balanced_accuracy=float(np.mean(recall[images > 0])),
        classes=tuple(
            OneClass(name, int(n), float(p), float(r), float(f))
            for name, n, p, r, f in zip(predictions.class_names, images, precision, recall, f1, strict=True)
        ),
        confusion=tuple(tuple(map(int, row)) for row in confusion_matrix(truth, said, labels=indices)),
    )


def calibration_error(predictions: Predictions) -> float:
    """Expected calibration error: by how much confidence and accuracy differ in a bin, averaged over the images."""
    return sum(
        count / len(predictions) * abs(accuracy - confidence)
        for count, confidence, accuracy in calibration(predictions)
    )


def calibration(predictions: Predictions) -> list[tuple[int, float, float]]:
    """For each bin of confidence that has images: their number, mean confidence and accuracy.

    Bin b of 15 holds confidences in (b / 15, (b + 1) / 15].
    """
    confidences_N = predictions.probabilities_NT[:, 0]
    bins_N = (confidences_N * BINS).ceil().long().clamp(1, BINS)
    found = []
    for number in range(1, BINS + 1):
        inside_N = bins_N == number
        if count := int(inside_N.sum()):
            accuracy = predictions.correct_N[inside_N].double().mean().item()
            found.append((count, confidences_N[inside_N].mean().item(), accuracy))
    return found


def worst(predictions: Predictions, count: int) -> list[int]:
    """The positions of the wrong predictions of greatest loss, the worst first."""
    order = torch.sort(predictions.losses_N, descending=True, stable=True).indices
    return [position for position in order.tolist() if not predictions.correct_N[position]][:count]
