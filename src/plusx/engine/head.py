"""The last layer, fitted to what the rest of a net says of the training images: no step of training is taken.

Multinomial logistic regression on the inputs of the last layer, F numbers an image, each scaled to a mean of 0 and a
deviation of 1; the strength of its L2 penalty is chosen by cross-validation. Kumar et al. (2022), arXiv:2202.10054,
find that fine-tuning from there harms what the weights know less than from a random last layer.

Shapes: N images, B images in a batch, F features, K classes.
"""

import copy
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn

from plusx.data.batches import EvalBatches
from plusx.data.images import ImageSet
from plusx.data.preprocess import Preprocess
from plusx.placement.inference.backend import BATCH, Forward
from plusx.placement.inference.eager import Eager
from plusx.placement.inference.frozen import freeze
from plusx.placement.inference.streams import Streams
from plusx.placement.place import Placement

STRENGTHS = tuple(10.0**exponent for exponent in range(-4, 3))
"""Of C, the inverse of the penalty, from which cross-validation chooses."""
FOLDS = 5
CHOSEN_ON = 5_000
"""Images, evenly spaced, that cross-validation uses at most: it fits 35 layers."""


@dataclass(frozen=True)
class FittedHead:
    """What the last layer was fitted with."""

    inverse_penalty: float
    """scikit-learn's C."""
    cv_error: float | None
    """The error of cross-validation; None where a class has too few images for it."""
    folds: int


def fit_head(
    net: nn.Module, images: ImageSet, preprocess: Preprocess, placement: Placement, *, balanced: bool = False
) -> FittedHead:
    """Set the last layer of a net, and leave the rest as it is.

    Args:
        net: On the CPU, not yet placed.
        images: The training images; of every class at least one.
        preprocess: The net's.
        placement: Where the net will run.
        balanced: Whether classes count the same, each image N / (K n_k) times; `cv_error` counts images all the same.

    Raises:
        ValueError: The net does not end with a linear layer.
    """
    name, last = last_linear(net)
    features_NF = features(net, name, images, preprocess, placement).double().numpy()
    labels_N = images.labels_N.numpy()
    mean_F, std_F = features_NF.mean(0), features_NF.std(0)
    scale_F = np.where(std_F > 0, 1 / np.maximum(std_F, 1e-12), 0.0)
    scaled_NF = (features_NF - mean_F) * scale_F
    fitted = _chosen(scaled_NF, labels_N, balanced)
    model = _fit(scaled_NF, labels_N, fitted.inverse_penalty, balanced)
    weight_KF, bias_K = _of_every_class(model, last.out_features)
    weight_KF = weight_KF * scale_F
    with torch.no_grad():
        last.weight.copy_(torch.from_numpy(weight_KF))
        assert last.bias is not None
        last.bias.copy_(torch.from_numpy(bias_K - weight_KF @ mean_F))
    return fitted


def last_linear(net: nn.Module) -> tuple[str, nn.Linear]:
    """The layer that gives the logits, and its name.

    Args:
        net: Any net.

    Raises:
        ValueError: The net does not end with a linear layer that has a bias.

    Example:
        >>> from plusx.nets import build
        >>> last_linear(build("resnet20"))[0]
        'head.linear'
    """
    head = [(name, module) for name, module in net.named_modules() if name.startswith("head.") or name == "head"]
    leaves = [(name, module) for name, module in head if not list(module.children())]
    name, last = leaves[-1] if leaves else ("", net)
    if not isinstance(last, nn.Linear) or last.bias is None:
        raise ValueError(
            f"net.fit_head fits a last layer that is linear with a bias; this net ends with {type(last).__name__}"
        )
    return name, last


def features(net: nn.Module, last: str, images: ImageSet, preprocess: Preprocess, placement: Placement) -> Tensor:
    """The inputs of the last layer, N x F, of images as evaluation sees them.

    Args:
        net: On the CPU, not yet placed.
        last: The name of the last layer.
        images: Any.
        preprocess: The net's.
        placement: Where it is computed.
    """
    body = copy.deepcopy(net).eval().requires_grad_(False)
    parent, _, child = last.rpartition(".")
    setattr(body.get_submodule(parent), child, nn.Identity())
    if placement.device != "cpu":
        forward: Forward = Eager(placement.place(body), device=placement.device, precision=placement.precision)
        batches = EvalBatches(images, preprocess, 256, readers=placement.threads)
        return torch.cat([forward(x_BCHW) for x_BCHW, _ in batches])
    forward = freeze(body, precision="bf16" if placement.precision == "bf16" else "fp32")
    batches = EvalBatches(images, preprocess, BATCH)
    with Streams(placement.threads) as streams:
        return torch.cat(list(streams.apart(lambda number: forward(batches[number][0]), range(len(batches)))))


def _chosen(scaled_NF: np.ndarray, labels_N: np.ndarray, balanced: bool) -> FittedHead:
    """The penalty of the least cross entropy on images that were left out; a strong one where none can be."""
    some = np.linspace(0, len(labels_N) - 1, min(len(labels_N), CHOSEN_ON)).round().astype(int)
    x_NF, y_N = scaled_NF[some], labels_N[some]
    folds = min(FOLDS, int(np.bincount(y_N)[np.unique(y_N)].min()))
    if folds < 2 or len(np.unique(y_N)) < 2:
        return FittedHead(STRENGTHS[2], None, 0)
    nats, wrong = np.zeros(len(STRENGTHS)), np.zeros(len(STRENGTHS))
    for inside, outside in StratifiedKFold(folds, shuffle=True, random_state=0).split(x_NF, y_N):
        for place, strength in enumerate(STRENGTHS):
            model = _fit(x_NF[inside], y_N[inside], strength, balanced)
            logs_NK = model.predict_log_proba(x_NF[outside])
            columns = np.searchsorted(model.classes_, y_N[outside])
            counted_N = 1 / np.bincount(y_N)[y_N[outside]] if balanced else np.ones(len(outside))
            nats[place] -= (counted_N * logs_NK[np.arange(len(outside)), columns]).sum()
            wrong[place] += (model.predict(x_NF[outside]) != y_N[outside]).sum()
    best = int(nats.argmin())
    return FittedHead(STRENGTHS[best], float(wrong[best]) / len(y_N), folds)


def _fit(x_NF: np.ndarray, y_N: np.ndarray, strength: float, balanced: bool) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 iterations are near enough
        weights = "balanced" if balanced else None
        return LogisticRegression(C=strength, max_iter=200, class_weight=weights).fit(x_NF, y_N)


def _of_every_class(model: LogisticRegression, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights K x F and biases K. Of two classes scikit-learn has one row, which tells the second from the first."""
    weight_KF, bias_K = model.coef_, model.intercept_
    if len(model.classes_) == 2 and len(weight_KF) == 1:
        weight_KF, bias_K = np.vstack([-weight_KF / 2, weight_KF / 2]), np.concatenate([-bias_K / 2, bias_K / 2])
    assert list(model.classes_) == list(range(classes)), "every class has an image"
    return weight_KF, bias_K
