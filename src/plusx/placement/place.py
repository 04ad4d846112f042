"""Where a net runs: device, memory layout, precision and threads, in that order, each with its reason."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from plusx.placement.machine import accelerator, cpu_flags, multiplies_bf16, usable_cpus


@dataclass(frozen=True)
class Placement:
    """A decision, and why. Kept in the run, so that a resumed run repeats it to the bit."""

    device: str
    layout: str
    """channels_last or contiguous."""
    precision: str
    """fp32, or bf16: convolutions and matrix products in bf16, weights and their updates in fp32."""
    threads: int
    reasons: Mapping[str, str]

    def place(self, net: nn.Module) -> nn.Module:
        """The net on its device and in its layout; also sets threads and cuDNN's kernels."""
        torch.set_num_threads(self.threads)
        torch.backends.cudnn.deterministic = True  # a resumed run must repeat the sums in their order
        return net.to(self.device).to(memory_format=self._memory_format)

    def place_images(self, x_BCHW: Tensor) -> Tensor:
        """A batch on the device and in the layout."""
        return x_BCHW.to(device=self.device, memory_format=self._memory_format, non_blocking=True)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision, for forward passes."""
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    @property
    def reads_are_free(self) -> bool:
        """Whether reading a number back, `.item()`, costs no wait for the device."""
        return self.device == "cpu"

    def to_dict(self) -> dict[str, Any]:
        """JSON types; the inverse of `from_dict`."""
        return {
            "device": self.device,
            "layout": self.layout,
            "precision": self.precision,
            "threads": self.threads,
            "reasons": dict(self.reasons),
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> "Placement":
        """A placement from `to_dict`'s output."""
        return Placement(**fields)

    @property
    def _memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.layout == "channels_last" else torch.contiguous_format


def choose_placement(*, device: str = "auto", precision: str = "auto", threads: int | None = None) -> Placement:
    """A placement for this machine.

    Args:
        device: auto, cpu, cuda or mps.
        precision: auto, fp32 or bf16.
        threads: CPU threads; None takes what quota and affinity allow.

    Raises:
        ValueError: The device is not on this machine.
    """
    reasons = {"device": "asked for", "precision": "asked for", "threads": "asked for"}
    found = accelerator()
    if device == "auto":
        device, reasons["device"] = found or "cpu", "found" if found else "no CUDA and no MPS on this machine"
    elif device != "cpu" and device != found:
        raise ValueError(f"placement.device is {device!r}; this machine has {found or 'no accelerator'}")
    if precision == "auto":
        precision, reasons["precision"] = _precision(device)
    if threads is None:
        threads, reasons["threads"] = usable_cpus(), "processors that affinity and cgroup quota allow"
    reasons["layout"] = "convolutions of every backend read channels last without reordering"
    return Placement(device, "channels_last", precision, threads, reasons)


def plain_placement(*, threads: int | None = None) -> Placement:
    """PyTorch as it comes: CPU, fp32, contiguous. What `benchmark` compares with."""
    return Placement("cpu", "contiguous", "fp32", threads or usable_cpus(), {})


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
