"""Where a net runs: device, memory layout, precision, threads, kernels, in that order, each with its reason."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from plusx.placement.capture import Captured, record_cuda_graph
from plusx.placement.graph import trace
from plusx.placement.kernels.fuse import fuse
from plusx.placement.kernels.native import vector_level
from plusx.placement.kernels.thread import OwnThread
from plusx.placement.machine import accelerator, cpu_flags, multiplies_bf16, tune_allocator, usable_cpus
from plusx.placement.recompute import recompute
from plusx.recipes.placement import PlacementSpec

_NOT_ALL_THREE = "torch.compile would enter a batch's moments twice where our kernels are recomputed"
_KNOWN = {
    "layout": ("channels_last", "contiguous"),
    "precision": ("fp32", "bf16"),
    "kernels": ("plain", "fused"),
}


@dataclass(frozen=True)
class Placement:
    """A decision, and why. Kept in the run, so that a resumed run repeats it to the bit."""

    device: str
    layout: str
    """channels_last or contiguous."""
    precision: str
    """fp32, or bf16: convolutions and matrix products in bf16, weights and their updates in fp32."""
    threads: int
    kernels: str = "plain"
    """fused, our native ones, or plain, PyTorch's."""
    compile: bool = False
    """Whether torch.compile makes the net's code."""
    recompute: bool = False
    """Whether the backward pass computes again what the forward pass did not keep."""
    capture: bool = False
    """Whether a training step is recorded once and replayed, as a CUDA graph."""
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in _KNOWN.items():
            if getattr(self, name) not in known:
                raise ValueError(f"placement.{name} is {getattr(self, name)!r}; choose one of {', '.join(known)}")
        if self.compile and self.recompute and self.kernels == "fused":
            raise ValueError(f"placement.kernels is 'fused'; {_NOT_ALL_THREE}")

    def place(self, net: nn.Module) -> nn.Module:
        """The net on its device, in its layout and on its kernels; also sets threads and cuDNN's kernels.

        Raises:
            ValueError: The placement recomputes, and the net's forward cannot be cut.
        """
        if not self.recompute:  # keeping freed memory costs some of what recomputing saves
            tune_allocator()
        torch.set_num_threads(self.threads)
        torch.backends.cudnn.deterministic = True  # a resumed run must repeat the sums in their order
        net = net.to(self.device).to(memory_format=self._memory_format)
        graph = trace(net) if self.kernels == "fused" or self.recompute else None
        if self.kernels == "fused":
            fuse(net, graph, dense=not (self.recompute or self.compile))
        if self.recompute:
            recompute(net, graph)
        if self.compile and self.capture:
            for region in _regions(net):  # Python between them costs nothing: a recording leaves it out
                region.compile(dynamic=False)
        elif self.compile:
            _compile(net)
        return net

    def place_images(self, x_BCHW: Tensor) -> Tensor:
        """A batch on the device and in the layout."""
        return x_BCHW.to(device=self.device, memory_format=self._memory_format, non_blocking=True)

    def captured(self, call: Callable[..., Tensor], changed: Callable[[], Iterable[Tensor]]) -> Captured:
        """A callable, recorded and replayed where the placement says so; the arguments are those of `Captured`."""
        return Captured(call, changed, record_cuda_graph if self.capture else None, self.device)

    def thread(self) -> OwnThread:
        """Calls what it is given where another busy program costs it least."""
        return OwnThread(wanted=self.kernels == "fused" and self.device == "cpu")

    def holds(self, size_bytes: int) -> bool:
        """Whether data of this size lives on the device all the run, next to what training needs there."""
        return self.device == "cuda" and size_bytes < torch.cuda.mem_get_info()[1] / 8

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision, for forward passes."""
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def evaluating(self) -> AbstractContextManager[Any]:
        """Around an evaluation: beside recorded steps, compiling for its mode and sizes takes longer than it saves."""
        return torch.compiler.set_stance("force_eager") if self.compile and self.capture else nullcontext()

    def wait(self) -> None:
        """Return when the device has done all that it was given, as a clock wants it."""
        if self.device != "cpu":
            torch.accelerator.synchronize()

    @property
    def reads_are_free(self) -> bool:
        """Whether reading a number back, `.item()`, costs no wait for the device."""
        return self.device == "cpu"

    def to_dict(self) -> dict[str, Any]:
        """JSON types; the inverse of `from_dict`."""
        return {**dataclasses.asdict(self), "reasons": dict(self.reasons)}

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> "Placement":
        """A placement from `to_dict`'s output, of version 0.1 too."""
        return Placement(**{"recompute" if name == "checkpoint" else name: value for name, value in fields.items()})

    @property
    def _memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.layout == "channels_last" else torch.contiguous_format


def _regions(net: nn.Module) -> list[nn.Module]:
    """What is compiled by itself: stem and blocks, where all blocks are of one kind, so that the code of one serves the
    others and a deep net compiles as soon as a shallow one; else the whole net."""
    stages = dict(net.named_children()).get("stages")
    blocks = [block for stage in stages for block in stage.children()] if isinstance(stages, nn.Sequential) else []
    alike = len({type(block) for block in blocks}) == 1
    return [net.get_submodule("stem"), *blocks] if alike else [net]


_DEFAULT = PlacementSpec()


def choose_placement(spec: PlacementSpec = _DEFAULT) -> Placement:
    """A placement for this machine, by rules.

    Args:
        spec: The recipe's. Its `choose` decides nothing here, where nothing is measured.

    Raises:
        ValueError: The device, or the kernels, are not on this machine.
    """
    device: str = spec.device
    precision: str = spec.precision
    threads, kernels = spec.threads, spec.kernels
    reasons = dict.fromkeys(("device", "precision", "threads", "kernels"), "asked for")
    found = accelerator()
    if device == "auto":
        device, reasons["device"] = found or "cpu", "found" if found else "no CUDA and no MPS on this machine"
    elif device != "cpu" and device != found:
        raise ValueError(f"placement.device is {device!r}; this machine has {found or 'no accelerator'}")
    if precision == "auto":
        precision, reasons["precision"] = _precision(device)
    if threads is None:
        threads, reasons["threads"] = usable_cpus(), "processors that affinity and cgroup quota allow"
    can_fuse = device == "cpu" and vector_level() > 0
    if kernels == "auto":
        both = spec.compile and spec.recompute
        kernels = "fused" if can_fuse and not both else "plain"
        reasons["kernels"] = _NOT_ALL_THREE if can_fuse and both else _why_kernels(device)
    elif kernels == "fused" and not can_fuse:
        raise ValueError(f"placement.kernels is 'fused'; {_why_kernels(device)}")
    reasons["layout"] = "convolutions of every backend read channels last without reordering"
    capture = device == "cuda" and not spec.recompute
    reasons["capture"] = (
        "launching kernels one by one takes longer than running them"
        if capture
        else ("only CUDA records steps" if device != "cuda" else "what is computed again restores random generators")
    )
    return Placement(
        device, "channels_last", precision, threads, kernels, spec.compile, spec.recompute, capture, reasons
    )


def placement_after(spec: PlacementSpec, device: str) -> Placement:
    """Where a net runs after its training: this machine decides, which may not be the one that it was trained on.

    Args:
        spec: The recipe's; its precision and threads are kept.
        device: auto, cpu, cuda or mps.

    Raises:
        ValueError: The device is unknown or not on this machine.
    """
    kernels = "plain" if spec.kernels == "plain" else "auto"
    return choose_placement(PlacementSpec(device, spec.precision, spec.threads, kernels))  # type: ignore[arg-type]


def plain_placement(*, threads: int | None = None) -> Placement:
    """PyTorch as it comes: CPU, fp32, contiguous. What `benchmark` compares with."""
    return Placement("cpu", "contiguous", "fp32", threads or usable_cpus())


def _compile(net: nn.Module) -> None:
    """Have torch.compile make the net's code at its first call, or say in one sentence why it cannot."""
    from torch._dynamo.exc import TorchDynamoException  # imports a compiler, which takes seconds

    net.compile()
    compiled = net._compiled_call_impl
    assert compiled is not None

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return compiled(*args, **kwargs)
        except TorchDynamoException as fault:
            reason = str(fault).strip().partition("\n")[0]
            raise ValueError(
                f"placement.compile is true, and torch.compile fails on this net or machine: {reason}; set it to false"
            ) from fault

    net._compiled_call_impl = call


def _why_kernels(device: str) -> str:
    if device != "cpu":
        return f"our kernels are for the CPU, not for {device}"
    level = vector_level()
    return (
        f"built, and the processor has {'AVX-512' if level == 2 else 'AVX2'}"
        if level
        else ("they were not built when plusx was installed (it takes a C compiler), or the processor has no AVX2")
    )


def _precision(device: str) -> tuple[str, str]:
    if device == "cuda":
        native = torch.cuda.get_device_capability() >= (8, 0)
        return (
            ("bf16", "bf16 tensor cores") if native else ("fp32", "no bf16 tensor cores before compute capability 8.0")
        )
    if device == "mps":
        return "fp32", "bf16 on MPS has not been measured"
    unit = multiplies_bf16(cpu_flags())
    return ("bf16", f"the processor multiplies bf16 in hardware ({unit})") if unit else ("fp32", "no bf16 in hardware")
