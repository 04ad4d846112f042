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


def make_loss(spec: CrossEntropy) -> LossFn:
    """The loss that a recipe names."""
    match spec:
        case CrossEntropy(label_smoothing, aux_weight):
            return partial(cross_entropy, label_smoothing=label_smoothing, aux_weight=aux_weight)
        case _:
            assert_never(spec)


def cross_entropy(
    model: nn.Module, x_BCHW: Tensor, labels_B: Tensor, *, label_smoothing: float, aux_weight: float
) -> Tensor:
    """Mean cross entropy in nats, from logits in fp32 whatever the net's precision.

    Args:
        model: A net; where it declares `AuxiliaryHeads`, the loss is of the logits of all heads.
        x_BCHW: Normalised images.
        labels_B: Their classes.
        label_smoothing: Share of the target that is spread over all classes.
        aux_weight: Weight of each auxiliary head's cross entropy; 0 leaves the heads out of the computation.

    Raises:
        ValueError: A wrapper such as `DistributedDataParallel` hides the net's auxiliary heads.
    """

    def mean_nats(logits_BK: Tensor) -> Tensor:
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
