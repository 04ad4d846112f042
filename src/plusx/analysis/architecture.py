"""What a net is made of, block by block: kind, shortcut, shapes, and what each block costs.

A block is recognised by its parts, as in `analysis.blocks`, and by the shapes that go through them; no family is named.
What lies between blocks is divided at its convolutions, linear layers and poolings: norms and activations go with the
layer that they follow, or, where they open a stage or a head, with the one that they precede. A module that computes
something of its own between its layers is one layer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from plusx.analysis.cost import BYTES_FP32
from plusx.analysis.trace import Call, on_meta, trace_evaluation
from plusx.nets import build, entry
from plusx.nets.own import is_own
from plusx.runs.card import Card

Kind = Literal["plain", "residual", "dense", "dual-path", "highway", "inception", "layer", "auxiliary"]
Shortcut = Literal["identity", "projection", "concatenation", "gate"]


@dataclass(frozen=True)
class Block:
    """A block of a net, or a layer that is in none; shapes are of one image, without the batch dimension."""

    name: str
    """Of the module; of a layer with its norm and activation, the layer's."""
    stage: int | None
    """Counted from 0; None in the stem and the head."""
    kind: Kind
    """auxiliary: a part that only training runs."""
    shortcut: Shortcut | None
    """How the input comes around the branch; a shortcut without parameters is an identity, if zeros fill new channels
    too."""
    input: tuple[int, ...] | None
    output: tuple[int, ...] | None
    """Both None where evaluation does not run it."""
    params: int
    macs: int
    activation_bytes: int
    """Of what evaluation writes to new memory, in fp32."""
    growth: int | None
    """Channels that are new in a concatenation; None where there is none."""
    branches: tuple[tuple[str, ...], ...]
    """The layers of each branch, in words."""


@dataclass
class _Part:
    """A block while its calls are collected."""

    name: str
    module: nn.Module | None
    """None of layers outside of blocks."""
    calls: list[Call] = field(default_factory=list)
    input: tuple[int, ...] | None = None
    output: tuple[int, ...] | None = None
    branch_output: tuple[int, ...] | None = None
    """Channels of each tensor that the branch puts out."""


def blocks_of(net: nn.Module, input_shape: tuple[int, int, int]) -> list[Block]:
    """The blocks of a net in the order in which they run; nothing is computed.

    Args:
        net: On any device, in any mode; it is not touched.
        input_shape: Channels, height and width of one image.

    Raises:
        ValueError: The net does not take images of that shape.

    Example:
        >>> blocks = blocks_of(build("resnet20"), (3, 32, 32))
        >>> len(blocks), blocks[1].kind, blocks[1].shortcut, blocks[1].branches
        (12, 'residual', 'identity', (('3x3, 16', '3x3, 16'),))
    """
    ghost = on_meta(net)
    found = {name: _Part(name, module) for name, module in _block_modules(ghost)}
    handles = [hook for part in found.values() for hook in _watch(part)]
    try:
        calls = trace_evaluation(ghost, input_shape)
    except (RuntimeError, ValueError) as fault:
        reason = str(fault).splitlines()[0]
        raise ValueError(f"the net does not take images of {' x '.join(map(str, input_shape))}: {reason}") from None
    finally:
        for handle in handles:
            handle.remove()
    ran = {call.name for call in calls}
    parts = _collect(calls, found, _composites(calls, found))
    shape: tuple[int, ...] = input_shape
    for part in parts:
        if part.module is None:
            part.input, part.output = shape, _end(part.calls).shape
        shape = part.output or shape
    parts += _that_do_not_run([Call(name, m) for name, m in ghost.named_modules() if name not in ran], found)
    counted: set[nn.Parameter] = set()
    return [_block(part, ghost, counted) for part in parts]


def blocks_of_net(name: str, **options: Any) -> list[Block]:
    """The blocks of a net of the catalog, for images of the catalog's size.

    Args:
        name: Catalog name.
        options: As for `build`.

    Raises:
        ValueError: The name or an option is unknown.

    Example:
        >>> [block.kind for block in blocks_of_net("densenet121")[2:4]], blocks_of_net("densenet121")[2].growth
        (['dense', 'dense'], 32)
    """
    with torch.device("meta"):
        net = build(name, **options)
    channels, height, width = entry(name).input_shape
    return blocks_of(net, (options.get("in_channels", channels), height, width))


def blocks_of_card(card: Card) -> list[Block]:
    """The blocks of a run's net, for images of the size that it was trained on; its code, if it has any, is trusted.

    Args:
        card: The run's.
    """
    name = card.recipe.net.name
    with torch.device("cpu" if is_own(name) else "meta"):
        net = build(name, **card.net_options)
    return blocks_of(net, (card.preprocess.channels, *card.preprocess.size))


def _block_modules(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The outermost modules with a branch, or with several whose outputs are joined."""
    inside: list[str] = []
    for name, module in net.named_modules():
        if any(name.startswith(outer + ".") for outer in inside):
            continue
        if _branches(module):
            inside.append(name)
            yield name, module


def _branches(module: nn.Module) -> list[str]:
    children = [name for name, _ in module.named_children()]
    if "branch" in children:
        return ["branch"]
    several = [name for name in children if name.startswith("branch")]
    return several if several[1:] else []


def _watch(part: _Part) -> Iterator[Any]:
    """Hooks that note the shapes which go through a block."""
    assert part.module is not None

    def entered(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        part.input = tuple(inputs[0].shape[1:])

    def left(module: nn.Module, inputs: Any, output: Tensor) -> None:
        part.output = tuple(output.shape[1:])

    def branched(module: nn.Module, inputs: Any, output: Any) -> None:
        part.branch_output = tuple(t.shape[1] for t in tree_leaves(output))

    yield part.module.register_forward_pre_hook(entered)
    yield part.module.register_forward_hook(left)
    for name in _branches(part.module):
        yield part.module.get_submodule(name).register_forward_hook(branched)


def _composites(calls: Sequence[Call], found: dict[str, _Part]) -> dict[str, _Part]:
    """Modules outside of blocks that compute between their layers; the net itself and what holds blocks are none."""
    names = [call.name for call in calls if not call.is_layer and call.name and _owner(call.name, found) is None]
    return {name: _Part(name, None) for name in names if not any(block.startswith(f"{name}.") for block in found)}


def _collect(calls: Sequence[Call], found: dict[str, _Part], composites: dict[str, _Part]) -> list[_Part]:
    """The parts in the order in which they run, each with its calls."""
    parts: list[_Part] = []
    opening: list[Call] = []  # norms and activations before the layer that they belong to

    def closed() -> list[_Part]:
        return [_Part(opening[0].name, None, opening)] if any(call.values for call in opening) else []

    for call in calls:
        whole = _owner(call.name, found) or _owner(call.name, composites, innermost=True)
        if whole is not None:
            if whole not in parts:
                parts, opening = [*parts, *closed(), whole], []
            whole.calls.append(call)
        elif _in_words(call.module) or not call.is_layer:
            parts, opening = [*parts, _Part(call.name, None, [*opening, call])], []
        elif parts and parts[-1].module is None and not opening and _section(parts[-1].name) == _section(call.name):
            parts[-1].calls.append(call)
        else:
            opening.append(call)
    return [*parts, *closed()]


def _end(calls: Sequence[Call]) -> Call:
    """The call that makes the output: the last, or that of a module which computes with what the last one made."""
    last = calls[-1]
    return next((c for c in calls if not c.is_layer and last.name.startswith(f"{c.name}.")), last)


def _that_do_not_run(calls: Sequence[Call], found: dict[str, _Part]) -> list[_Part]:
    """Parts with parameters that evaluation does not run, such as auxiliary heads."""
    parts: dict[str, _Part] = {}
    for call in calls:
        if next(call.module.parameters(recurse=False), None) is not None:
            section = _section(call.name)
            parts.setdefault(section, _Part(section, None)).calls.append(call)
    return list(parts.values())


def _owner(name: str, found: dict[str, _Part], *, innermost: bool = False) -> _Part | None:
    """The part that a module is or is in."""
    pieces = name.split(".")
    lengths = range(len(pieces), 0, -1) if innermost else range(1, len(pieces) + 1)
    return next((part for n in lengths if (part := found.get(".".join(pieces[:n])))), None)


def _section(name: str) -> str:
    """The child of the net that a layer is in, and of stages or a list of heads, which of them."""
    first, _, rest = name.partition(".")
    second = rest.partition(".")[0]
    return f"{first}.{second}" if second.isdigit() else first


def _block(part: _Part, net: nn.Module, counted: set[nn.Parameter]) -> Block:
    own = {p for call in part.calls for p in call.module.parameters(recurse=False)} - counted
    if part.module is not None:
        own |= set(part.module.parameters()) - counted
    counted |= own
    kind, shortcut, growth = _kind(part)
    values = sum(call.values for call in part.calls)
    return Block(
        name=part.name or "net",
        stage=_stage(part.name, net),
        kind=kind,
        shortcut=shortcut,
        input=part.input,
        output=part.output,
        params=sum(p.numel() for p in own),
        macs=sum(call.macs for call in part.calls),
        activation_bytes=values * BYTES_FP32,
        growth=growth,
        branches=_words(part),
    )


def _kind(part: _Part) -> tuple[Kind, Shortcut | None, int | None]:
    """What joins the branch and the input, seen from the parts of the block and the shapes of their outputs."""
    if part.module is None:
        return ("layer" if part.output else "auxiliary"), None, None
    names = _branches(part.module)
    children = dict(part.module.named_children())
    if names != ["branch"]:
        return "inception", None, None
    if "gate" in children:
        return "highway", "gate", None
    assert part.input is not None and part.output is not None and part.branch_output is not None
    if "shortcut" in children:
        projects = next(children["shortcut"].parameters(), None) is not None
        way: Shortcut = "projection" if projects else "identity"
        if len(part.branch_output) > 1:
            return "dual-path", way, part.branch_output[1]
        return "residual", way, None
    if part.output[0] == part.input[0] + part.branch_output[0]:
        return "dense", "concatenation", part.branch_output[0]
    return "plain", None, None


def _stage(name: str, net: nn.Module) -> int | None:
    """The stage of a block; stages that are blocks themselves are all of one stage."""
    first, _, rest = name.partition(".")
    if first != "stages":
        return None
    stages = net.get_submodule("stages")
    position = rest.partition(".")[0]
    names = [child for child, module in stages.named_children() if any(module.children()) and not _branches(module)]
    return names.index(position) if position in names else 0


def _words(part: _Part) -> tuple[tuple[str, ...], ...]:
    def told(calls: Sequence[Call]) -> tuple[str, ...]:
        return tuple(text for call in calls if (text := _in_words(call.module)))

    if part.module is None:
        several = told(part.calls)
        own = [call for call in part.calls if not call.is_layer]
        if not own or len(several) == 1:
            return (several,)
        return ((type(own[0].module).__name__ if own[0].name else ", ".join(dict.fromkeys(own[0].ops)),),)
    inside = [f"{part.name}.{name}." if part.name else f"{name}." for name in _branches(part.module)]
    exact = [name.removesuffix(".") for name in inside]
    return tuple(
        told([call for call in part.calls if call.name.startswith(within) or call.name == itself])
        for within, itself in zip(inside, exact, strict=True)
    )


def _in_words(module: nn.Module) -> str:
    """A layer that has a line in the table of a paper; empty for those that go with another: norms, activations."""
    for kind, words in _WORDS:
        if isinstance(module, kind):
            return words(module)
    has_numbers = any(True for tensors in (module.parameters(False), module.buffers(False)) for _ in tensors)
    return type(module).__name__ if has_numbers and not any(module.children()) else ""


def _conv(m: Any) -> str:
    size = "x".join(map(str, m.kernel_size))
    stride = f", /{m.stride[0]}" if m.stride[0] > 1 else ""
    return f"{size}, {m.out_channels}{stride}{f', {m.groups} groups' if m.groups > 1 else ''}"


def _pool(which: str, m: Any) -> str:
    size, stride = (value if isinstance(value, int) else value[0] for value in (m.kernel_size, m.stride))
    return f"{which} pool {size}x{size}{f', /{stride}' if stride > 1 else ''}"


def _pool_to(which: str, m: Any) -> str:
    size = m.output_size if isinstance(m.output_size, int) else m.output_size[0]
    return f"global {which} pool" if size == 1 else f"{which} pool to {size}x{size}"


_WORDS: tuple[tuple[type[nn.Module] | tuple[type[nn.Module], ...], Callable[[Any], str]], ...] = (
    (nn.Conv2d, _conv),
    (nn.Linear, lambda m: f"linear, {m.out_features}"),
    (nn.MaxPool2d, partial(_pool, "max")),
    (nn.AvgPool2d, partial(_pool, "average")),
    (nn.AdaptiveAvgPool2d, partial(_pool_to, "average")),
    (nn.AdaptiveMaxPool2d, partial(_pool_to, "max")),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU), lambda m: ""),
)
