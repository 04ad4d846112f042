"""What a net costs before it is trained: output shape, parameters, multiply-adds and activation bytes of every layer.

A multiply-add (MAC) is one product and one sum of a convolution or a linear layer, counted for one image; batch norm,
activations, pooling, additions and biases are not counted, as in the papers' "FLOPs". FLOPs proper are twice that.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from plusx.nets import build, entry
from plusx.runs.store import read_card

BYTES_FP32 = 4


@dataclass(frozen=True)
class LayerCost:
    """One layer's share."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    """For one image, without the batch dimension."""
    params: int
    macs: int
    activation_bytes: int
    """Bytes of its output for one image in fp32; 0 where it writes into its input."""


@dataclass(frozen=True)
class Cost:
    """A net's layers and their sums, for one image."""

    layers: tuple[LayerCost, ...]
    params: int
    """All parameters; a parameter that two layers share counts once."""
    macs: int
    activation_bytes: int
    """Outputs of all layers that write new memory, which is about what training keeps for the backward pass."""


def cost(net: nn.Module, input_shape: tuple[int, int, int]) -> Cost:
    """Count a net; on `torch.device("meta")` nothing is computed or held.

    Args:
        net: On any device; its mode is kept.
        input_shape: Channels, height and width of one image.

    Raises:
        ValueError: The net does not take images of that shape.

    Example:
        >>> from plusx.nets import build
        >>> with torch.device("meta"):
        ...     net = build("resnet20")
        >>> cost(net, (3, 32, 32)).macs
        40551040
    """
    layers: list[LayerCost] = []
    handles = [module.register_forward_hook(_counter(name, layers)) for name, module in _leaves(net)]
    was_training = net.training
    device = next(net.parameters()).device
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, *input_shape, device=device))
    except RuntimeError as fault:
        raise ValueError(f"the net does not take images of {' x '.join(map(str, input_shape))}: {fault}") from None
    finally:
        net.train(was_training)
        for handle in handles:
            handle.remove()
    return Cost(
        tuple(layers),
        params=sum(p.numel() for p in net.parameters()),
        macs=sum(layer.macs for layer in layers),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
    )


def summarise(
    net_or_run: str, *, options: Mapping[str, str] | None = None, size: int | None = None
) -> tuple[str, Cost]:
    """The cost of a net of the catalog, or of the net of a run directory.

    Args:
        net_or_run: Catalog name or run directory.
        options: Builder options, as text: numbers are read as numbers.
        size: Side of the input in pixels; the catalog's or the run's if not given.

    Returns:
        The net's name and its cost.

    Raises:
        ValueError: The name, an option or the size is unknown or does not fit.

    Example:
        >>> name, total = summarise("resnet50", options={"stride_on": "1x1"})
        >>> total.macs
        3857973248
    """
    path, given = Path(net_or_run), {key: _number(value) for key, value in (options or {}).items()}
    if (path / "card.json").is_file() or path.is_dir():
        card = read_card(path)
        name, given = card.recipe.net.name, {**card.net_options, **given}
        shape = (card.preprocess.channels, *card.preprocess.size)
    else:
        name, shape = net_or_run, entry(net_or_run).input_shape
    with torch.device("meta"):
        net = build(name, **given)
    channels = given.get("in_channels", shape[0])
    return name, cost(net, (channels, size or shape[1], size or shape[2]))


def _number(text: str) -> Any:
    return int(text) if text.isdecimal() else text


def _leaves(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in net.named_modules() if not any(module.children()))


def _counter(name: str, layers: list[LayerCost]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        in_place = getattr(module, "inplace", False) or isinstance(module, nn.Identity | nn.Flatten)
        params = sum(p.numel() for p in module.parameters(recurse=False))
        size = 0 if in_place else output.numel() * BYTES_FP32
        layers.append(
            LayerCost(name, type(module).__name__, tuple(output.shape[1:]), params, _macs(module, output), size)
        )

    return count


def _macs(module: nn.Module, output: Tensor) -> int:
    match module:
        case nn.Conv2d():
            return output.numel() * module.weight[0].numel()
        case nn.Linear():
            return output.numel() * module.in_features
    return 0
