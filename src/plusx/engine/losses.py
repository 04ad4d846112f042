"""loss_fn(model, x, labels) -> a scalar; chosen by the recipe, never by a net's name."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from plusx.recipes.recipe import CrossEntropy

LossFn = Callable[[nn.Module, Tensor, Tensor], Tensor]


def make_loss(spec: CrossEntropy) -> LossFn:
    """The loss that a recipe names."""
    return partial(cross_entropy, label_smoothing=spec.label_smoothing)


def cross_entropy(model: nn.Module, x_BCHW: Tensor, labels_B: Tensor, *, label_smoothing: float) -> Tensor:
    """Mean cross entropy in nats, from logits in fp32 whatever the net's precision."""
    return F.cross_entropy(model(x_BCHW).float(), labels_B, label_smoothing=label_smoothing)
