"""The contract of a net: what every net is, and the abilities that a net may declare.

Code elsewhere relies on the names of a net's children (`stem`, `stages`, `head`) and of a block's (`branch`, `shortcut`
and, in highway nets, `gate`). It asks for an ability with isinstance, which holds for copies of a net and for a net
whose forward has been compiled, fused or cut in place. A wrapper such as `DistributedDataParallel` is another module
and declares nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn


class Net(nn.Module):
    """logits = head(stages(stem(x))).

    Args:
        stem: From an image to the first block.
        stages: Blocks, from the finest maps to the coarsest.
        head: From the last maps to the logits.

    Example:
        >>> net = Net(nn.Flatten(), nn.Sequential(nn.Linear(12, 8), nn.ReLU()), nn.Linear(8, 3))
        >>> net(Tensor(2, 3, 2, 2)).shape
        torch.Size([2, 3])
    """

    last_maps: str | None = "stages"
    """Name of the module that puts out the last maps whose places are places of the image, after the addition, norm and
    activation that end them and before what pools or flattens them: where Grad-CAM looks. None for a net without."""

    def __init__(self, stem: nn.Module, stages: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.stem, self.stages, self.head = stem, stages, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)))


class Outputs(NamedTuple):
    """Logits of the net and of its auxiliary heads, the lower first."""

    main: Tensor
    aux: tuple[Tensor, ...]


class AuxiliaryHeads(ABC):
    """A net with further heads, which only training reads; `forward` leaves them out."""

    @abstractmethod
    def forward_with_aux(self, x: Tensor) -> Outputs:
        """Logits of all heads.

        Args:
            x: B x C x H x W.
        """


class DenseEvaluation(ABC):
    """A net of one size of input that can slide over a larger image."""

    @abstractmethod
    def forward_dense(self, x: Tensor) -> Tensor:
        """Logits averaged over every place of a larger image where the net fits.

        Args:
            x: B x C x H x W, sides at least those of the net's own input.
        """


class FittedStem(ABC):
    """A net whose stem gets its first weights from training images."""

    @abstractmethod
    def fit_stem(self, x_BCHW: Tensor) -> None:
        """Set the weights of the stem.

        Args:
            x_BCHW: Training images as the net will see them, a few thousand, without augmentation.
        """


def dense_form(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """The net as a function of images of any size, averaged over the places where it fits.

    A net whose head begins with global average pooling and has one linear layer is so already: the mean of a linear
    layer's outputs is its output of the mean. Others declare `DenseEvaluation`.

    Args:
        net: With a `head`.

    Raises:
        ValueError: The net has no dense form.
    """
    if isinstance(net, DenseEvaluation):
        return net.forward_dense
    head = dict(net.named_children()).get("head", nn.Module())  # a net of one's own may have none
    layers = list(head.modules())
    pools = [layer for layer in layers if isinstance(layer, nn.AdaptiveAvgPool2d)]
    linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
    if not (pools and pools[0].output_size in (1, (1, 1)) and len(linears) == 1):
        raise ValueError("this net's head is fixed to one size of input; it has no dense form")
    return net


def hides(module: nn.Module, ability: type) -> bool:
    """Whether a module lacks an ability that a net has which it wraps, alone or in further wrappers.

    Args:
        module: Such as `DistributedDataParallel` or what `torch.compile` returns, which hold one module.
        ability: One of those above.

    Example:
        >>> from plusx.nets import build
        >>> net = build("googlenet", num_classes=3)
        >>> hides(net, AuxiliaryHeads), hides(nn.DataParallel(net), AuxiliaryHeads)
        (False, True)
    """
    inner = module
    while not isinstance(inner, ability):
        children = list(inner.children())
        if len(children) != 1:
            return False
        inner = children[0]
    return inner is not module
