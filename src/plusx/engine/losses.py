"""loss_fn(model, x, labels) -> a scalar; chosen by the recipe, never by a net's name.

Shapes: B images in a batch, C channels, H height, W width, K classes.
"""

from collections.abc import Callable
from functools import partial
from typing import assert_never

from torch import Tensor, nn
from torch.nn import functional as F

from plusx.nets.net import AuxiliaryHeads, hides
from plusx.recipes.loss import BinaryCrossEntropy, CrossEntropy, Loss

LossFn = Callable[[nn.Module, Tensor, Tensor], Tensor]
OfLogits = Callable[[Tensor, Tensor], Tensor]
"""(logits_BK, labels) of one head -> a scalar."""


def make_loss(spec: Loss, weights_K: Tensor | None = None) -> LossFn:
    """The loss that a recipe names.

    Args:
        spec: The recipe's.
        weights_K: How often an image of each class counts, on the device of the logits; None counts all once.
    """
    match spec:
        case CrossEntropy(label_smoothing, aux_weight):
            of_logits: OfLogits = partial(cross_entropy, label_smoothing=label_smoothing, weights_K=weights_K)
        case BinaryCrossEntropy(aux_weight):
            of_logits = partial(binary_cross_entropy, weights_K=weights_K)
        case _:
            assert_never(spec)
    return partial(of_all_heads, of_logits=of_logits, aux_weight=aux_weight)


def of_all_heads(
    model: nn.Module, x_BCHW: Tensor, labels_B: Tensor, *, of_logits: OfLogits, aux_weight: float
) -> Tensor:
    """The loss of a net's logits, and of those of its auxiliary heads.

    Args:
        model: A net; where it declares `AuxiliaryHeads`, the loss is of the logits of all heads.
        x_BCHW: Normalised images.
        labels_B: Their classes, or the share of each class, B x K.
        of_logits: The loss of one head, which is given logits in fp32 whatever the net's precision.
        aux_weight: Weight of each auxiliary head's loss; 0 leaves the heads out of the computation.

    Raises:
        ValueError: A wrapper such as `DistributedDataParallel` hides the net's auxiliary heads.
    """
    if aux_weight == 0:
        return of_logits(model(x_BCHW).float(), labels_B)
    if hides(model, AuxiliaryHeads):
        raise ValueError(
            f"{type(model).__name__} hides the auxiliary heads of its net, which would not be trained; give it a "
            "module whose forward is forward_with_aux and take the loss of its outputs, or set loss.aux_weight to 0"
        )
    if not isinstance(model, AuxiliaryHeads):
        return of_logits(model(x_BCHW).float(), labels_B)
    outputs = model.forward_with_aux(x_BCHW)
    loss = of_logits(outputs.main.float(), labels_B)
    for logits_BK in outputs.aux:
        loss = loss + aux_weight * of_logits(logits_BK.float(), labels_B)
    return loss


def cross_entropy(
    logits_BK: Tensor, labels: Tensor, *, label_smoothing: float, weights_K: Tensor | None = None
) -> Tensor:
    """Mean cross entropy in nats; with weights, the mean of sum_k share_k weight_k (cross entropy with class k).

    PyTorch's own `weight` would also weigh what smoothing gives to each class, so that every image pulled at the rarest
    class, and would divide by the batch's weights, so that pieces of a batch would not add up to it.

    Args:
        logits_BK: Of one head.
        labels: Classes, or the share of each class, B x K.
        label_smoothing: Share of the target that is spread over all classes.
        weights_K: How often an image of each class counts; of a mixed one, its share of the class does.
    """
    if weights_K is None:
        return F.cross_entropy(logits_BK, labels, label_smoothing=label_smoothing)
    weights_B = _weights(labels, weights_K)
    if labels.is_floating_point():
        labels = labels * weights_K / weights_B[:, None]
    return (weights_B * F.cross_entropy(logits_BK, labels, label_smoothing=label_smoothing, reduction="none")).mean()


def binary_cross_entropy(logits_BK: Tensor, labels: Tensor, *, weights_K: Tensor | None = None) -> Tensor:
    """Mean binary cross entropy in nats, over images and classes.

    Args:
        logits_BK: Of one head.
        labels: Classes, or the share of each class, B x K, of which every share above 0 is a class that is shown.
        weights_K: How often an image of each class counts; a mixed one counts as often as its classes do by their
            shares.

    Example:
        >>> import torch
        >>> round(float(binary_cross_entropy(torch.zeros(2, 3), torch.tensor([0, 2]))), 4)
        0.6931
    """
    shown_BK = labels > 0 if labels.is_floating_point() else F.one_hot(labels, logits_BK.shape[1])
    nats_BK = F.binary_cross_entropy_with_logits(logits_BK, shown_BK.to(logits_BK.dtype), reduction="none")
    if weights_K is not None:
        nats_BK = nats_BK * _weights(labels, weights_K)[:, None]
    return nats_BK.mean()


def _weights(labels: Tensor, weights_K: Tensor) -> Tensor:
    """How often each image counts."""
    return labels @ weights_K if labels.is_floating_point() else weights_K[labels]
