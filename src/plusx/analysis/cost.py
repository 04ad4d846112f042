"""What a net costs before it is trained, layer by layer: parameters, multiply-adds, memory, receptive field.

`Cost.rule` says in words what is counted; `plusx summary` prints it under its tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from plusx.analysis.trace import Call, on_meta, trace_evaluation, trace_training
from plusx.nets import build, entry
from plusx.nets.own import is_own, short
from plusx.runs.code import admit
from plusx.runs.store import read_card

BYTES_FP32 = 4


@dataclass(frozen=True)
class LayerCost:
    """One layer's share, or what a block does between its layers."""

    name: str
    kind: str
    """Its class; a block's also names the operations."""
    output_shape: tuple[int, ...] | None
    """For one image, without the batch dimension; None if evaluation does not run it, such as an auxiliary head."""
    params: int
    """Its own; a parameter that two layers share counts at the first."""
    macs: int
    flops: int
    """2 MACs."""
    receptive_field: int | None
    """Side in pixels; None is the whole input."""
    activation_values: int
    """Numbers written to new memory; 0 where it writes into its input."""
    activation_bytes: int
    saved_bytes: int
    """Kept for the backward pass, for each image of a batch; what several layers need counts at the first."""


@dataclass(frozen=True)
class Cost:
    """A net's layers and their sums, for one image in fp32; `rule` says in words what is counted."""

    rule: ClassVar[str] = """\
All figures are for one image in fp32.
MACs: products, each with its sum, of convolutions and linear layers; 1 MAC = 2 FLOPs. Batch norm, activations, \
pooling, additions and biases are not counted.
Receptive field: side, in pixels of the input, of the square that one value can depend on, borders left aside; \
all is the whole input.
Activation values: the input and every output, of a layer or of a block between its layers, that evaluation writes to \
new memory; what is written in place, views, and pooling of each pixel alone are not counted.
Saved bytes: what autograd keeps of a forward pass of training until the backward pass, parameters not counted; what \
several layers need counts at the first. A batch of n keeps n times an image's, and batch norm's statistics once.
Bytes on disk: all parameters and buffers, without the file's header."""
    layers: tuple[LayerCost, ...]
    """As they run; last those that do not."""
    input_shape: tuple[int, int, int]
    params: int
    """All parameters; a parameter that two layers share counts once."""
    linear_params: int
    """Of these, in fully connected layers."""
    largest_matrix: int
    """Values of the largest single weight."""
    macs: int
    flops: int
    receptive_field: int | None
    """Of the last values computed that do not see the whole input; None if all do."""
    activation_values: int
    """The layers' and the input's."""
    activation_bytes: int
    saved_bytes: int
    """Kept for the backward pass, for each image of a batch."""
    saved_bytes_per_batch: int
    """Kept besides, whatever the batch size: batch norm's means and deviations."""
    disk_bytes: int

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.input_shape))
        return f"<Cost of {len(self.layers):,} layers at {shape}: {self.params:,} parameters, {self.macs:,} MACs>"


def cost(net: nn.Module, input_shape: tuple[int, int, int]) -> Cost:
    """Count a net without running it.

    Args:
        net: On any device, in any mode; it is not touched.
        input_shape: Channels, height and width of one image.

    Raises:
        ValueError: The net does not take images of that shape.

    Example:
        >>> from plusx.nets import build
        >>> total = cost(build("resnet20"), (3, 32, 32))
        >>> total.macs, total.layers[0].receptive_field
        (40551040, 3)
    """
    ghost = on_meta(net)
    try:
        calls = trace_evaluation(ghost, input_shape)
        saved, saved_per_batch = trace_training(ghost, input_shape)
    except (RuntimeError, ValueError) as fault:
        reason = str(fault).splitlines()[0]
        raise ValueError(f"the net does not take images of {' x '.join(map(str, input_shape))}: {reason}") from None
    ran = {call.name for call in calls}
    calls += [Call(name, module) for name, module in ghost.named_modules() if name not in ran]
    counted: set[nn.Parameter] = set()
    layers = []
    for call in calls:
        own = set(call.module.parameters(recurse=False)) - counted
        counted |= own
        layer = LayerCost(
            name=call.name or "net",
            kind=call.kind,
            output_shape=call.shape,
            params=sum(p.numel() for p in own),
            macs=call.macs,
            flops=2 * call.macs,
            receptive_field=call.field,
            activation_values=call.values,
            activation_bytes=call.values * BYTES_FP32,
            saved_bytes=saved.pop(call.name, 0),
        )
        if call.name in ran or layer.params or layer.saved_bytes:
            layers.append(layer)
    values = prod(input_shape) + sum(layer.activation_values for layer in layers)
    windows = [layer.receptive_field for layer in layers if layer.receptive_field and layer.activation_values]
    return Cost(
        layers=tuple(layers),
        input_shape=input_shape,
        params=sum(layer.params for layer in layers),
        linear_params=sum(p.numel() for m in net.modules() if isinstance(m, nn.Linear) for p in m.parameters()),
        largest_matrix=max((p.numel() for p in net.parameters() if p.ndim > 1), default=0),
        macs=sum(layer.macs for layer in layers),
        flops=sum(layer.flops for layer in layers),
        receptive_field=windows[-1] if windows else None,
        activation_values=values,
        activation_bytes=values * BYTES_FP32,
        saved_bytes=sum(layer.saved_bytes for layer in layers),
        saved_bytes_per_batch=saved_per_batch,
        disk_bytes=sum(t.nbytes for t in net.state_dict().values()),
    )


def summarise(
    net_or_run: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    size: int | None = None,
    trust_code: bool = False,
) -> tuple[str, Cost]:
    """The cost of a net of the catalog, or of the net of a run directory.

    Args:
        net_or_run: Catalog name or run directory.
        options: Builder options.
        size: Side of the input in pixels; the catalog's or the run's if not given.
        trust_code: As for `load`.

    Returns:
        The net's name and its cost.

    Raises:
        ValueError: The name, an option or the size is unknown or does not fit.

    Example:
        >>> name, total = summarise("resnet50", options={"stride_on": "1x1"})
        >>> total.macs
        3857973248
    """
    return compare([net_or_run], options=options, size=size, trust_code=trust_code)[0]


def compare(
    nets_or_runs: str | Path | Sequence[str | Path],
    *,
    options: Mapping[str, Any] | None = None,
    size: int | None = None,
    trust_code: bool = False,
) -> list[tuple[str, Cost]]:
    """The costs of several nets. An option goes to the nets that have it; one at least must.

    Args:
        nets_or_runs: Catalog names or run directories; a single one need not be in a list.
        options: Builder options.
        size: Side of the input in pixels; each net's own if not given.
        trust_code: As for `load`.

    Raises:
        ValueError: A name, an option or the size is unknown or does not fit.

    Example:
        >>> [(name, total.receptive_field) for name, total in compare(["resnet18", "resnet34"])]
        [('resnet18', 435), ('resnet34', 899)]
    """
    several = [nets_or_runs] if isinstance(nets_or_runs, str | Path) else nets_or_runs
    known = [_known(str(net_or_run), trust_code) for net_or_run in several]
    given = dict(options or {})
    strange = {option for option in given if not any(entry(name).takes(option) for name, _, _ in known)}
    results = []
    for name, own, (channels, height, width) in known:
        taken = {option: value for option, value in given.items() if option in strange or entry(name).takes(option)}
        wanted = {**own, **taken}
        with torch.device("cpu" if is_own(name) else "meta"):
            net = build(name, **wanted)
        shape = (wanted.get("in_channels", channels), size or height, size or width)
        try:
            results.append((short(name), cost(net, shape)))
        except Exception as fault:
            if not is_own(name):
                raise
            raise ValueError(f"{short(name)} cannot be counted without computing it: {fault}") from fault
    return results


def _known(net_or_run: str, trust_code: bool) -> tuple[str, dict[str, Any], tuple[int, int, int]]:
    """Name, options and input shape of a net or of a run's net."""
    if Path(net_or_run).is_dir():
        card = read_card(Path(net_or_run))
        admit(Path(net_or_run), card, trust_code=trust_code)
        return card.recipe.net.name, dict(card.net_options), (card.preprocess.channels, *card.preprocess.size)
    return net_or_run, {}, entry(net_or_run).input_shape
