"""loss_fn(model, x, labels) -> a scalar; chosen by the recipe, never by a net's name.

Shapes: B images in a batch, C channels, H height, W width, K classes.
"""

from collections.abc import Callable
from functools import partial
from typing import assert_never

from torch import Tensor, nn
from torch.nn import functional as F

from plusx.nets.net import AuxiliaryHeads, hides
from plusx.recipes.loss import CrossEntropy

LossFn = Callable[[nn.Module, Tensor, Tensor], Tensor]


def make_loss(spec: CrossEntropy, weights_K: Tensor | None = None) -> LossFn:
    """The loss that a recipe names.

    Args:
        spec: The recipe's.
        weights_K: How often an image of each class counts, on the device of the logits; None counts all once.
    """
    match spec:
        case CrossEntropy(label_smoothing, aux_weight):
            return partial(cross_entropy, label_smoothing=label_smoothing, aux_weight=aux_weight, weights_K=weights_K)
        case _:
            assert_never(spec)


def cross_entropy(
    model: nn.Module,
    x_BCHW: Tensor,
    labels_B: Tensor,
    *,
    label_smoothing: float,
    aux_weight: float,
    weights_K: Tensor | None = None,
) -> Tensor:
    """Mean cross entropy in nats, from logits in fp32 whatever the net's precision.

    Args:
        model: A net; where it declares `AuxiliaryHeads`, the loss is of the logits of all heads.
        x_BCHW: Normalised images.
        labels_B: Their classes, or the shares of them, B x K.
        label_smoothing: Share of the target that is spread over all classes.
        aux_weight: Weight of each auxiliary head's cross entropy; 0 leaves the heads out of the computation.
        weights_K: How often an image of each class counts; of a mixed one, its share of the class does.

    Raises:
        ValueError: A wrapper such as `DistributedDataParallel` hides the net's auxiliary heads.
    """

    def mean_nats(logits_BK: Tensor) -> Tensor:
        if weights_K is not None:
            return _weighted(logits_BK.float(), labels_B, label_smoothing, weights_K)
        return F.cross_entropy(logits_BK.float(), labels_B, label_smoothing=label_smoothing)

    if aux_weight == 0:
        return mean_nats(model(x_BCHW))
    if hides(model, AuxiliaryHeads):
        raise ValueError(
            f"{type(model).__name__} hides the auxiliary heads of its net, which would not be trained; give it a "
            "module whose forward is forward_with_aux and take the loss of its outputs, or set loss.aux_weight to 0"
        )
    if not isinstance(model, AuxiliaryHeads):
        return mean_nats(model(x_BCHW))
    outputs = model.forward_with_aux(x_BCHW)
    loss = mean_nats(outputs.main)
    for logits_BK in outputs.aux:
        loss = loss + aux_weight * mean_nats(logits_BK)
    return loss


def _weighted(logits_BK: Tensor, labels: Tensor, label_smoothing: float, weights_K: Tensor) -> Tensor:
    """The mean over the batch of sum_k share_k weight_k (cross entropy with class k, smoothed).

    PyTorch's own `weight` would also weigh what smoothing gives to each class, so that every image pulled at the rarest
    class, and would divide by the batch's weights, so that pieces of a batch would not add up to it.
    """
    if labels.is_floating_point():
        counted_BK = labels * weights_K
        weights_B = counted_BK.sum(1)
        labels = counted_BK / weights_B[:, None]
    else:
        weights_B = weights_K[labels]
    return (weights_B * F.cross_entropy(logits_BK, labels, label_smoothing=label_smoothing, reduction="none")).mean()
