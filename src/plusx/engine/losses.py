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


def make_loss(spec: Loss) -> LossFn:
    """The loss that a recipe names."""
    match spec:
        case CrossEntropy(label_smoothing, aux_weight):
            of_logits: OfLogits = partial(cross_entropy, label_smoothing=label_smoothing)
        case BinaryCrossEntropy(aux_weight):
            of_logits = binary_cross_entropy
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


def cross_entropy(logits_BK: Tensor, labels_B: Tensor, *, label_smoothing: float) -> Tensor:
    """Mean cross entropy in nats.

    Args:
        logits_BK: Of one head.
        labels_B: Classes, or the share of each class, B x K.
        label_smoothing: Share of the target that is spread over all classes.
    """
    return F.cross_entropy(logits_BK, labels_B, label_smoothing=label_smoothing)


def binary_cross_entropy(logits_BK: Tensor, labels_B: Tensor) -> Tensor:
    """Mean binary cross entropy in nats, over images and classes.

    Args:
        logits_BK: Of one head.
        labels_B: Classes, or the share of each class, B x K, of which every share above 0 is a class that is shown.

    Example:
        >>> round(float(binary_cross_entropy(torch.zeros(2, 3), torch.tensor([0, 2]))), 4)
        0.6931
    """
    shown_BK = labels_B > 0 if labels_B.ndim == 2 else F.one_hot(labels_B, logits_BK.shape[1])
    return F.binary_cross_entropy_with_logits(logits_BK, shown_BK.to(logits_BK.dtype))
