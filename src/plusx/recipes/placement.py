"""Where a run runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from plusx.recipes.bounds import require


@dataclass(frozen=True)
class PlacementSpec:
    """Where it runs; `auto` asks the machine, and the answer is written into the run so that a resume repeats it."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto` takes CUDA, then MPS, then the CPU."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` takes bf16 where the device multiplies matrices of bf16 in hardware."""
    threads: int | None = None
    """CPU threads; none takes what the cgroup quota and the affinity mask allow."""
    kernels: Literal["auto", "fused", "plain"] = "auto"
    """`fused` runs batch norm, addition and ReLU as one operation and narrow convolutions in plusx's native code,
    `auto` does so where that code was built; `plain` is PyTorch alone."""
    compile: bool = False
    """Whether torch.compile generates the code of the net, which delays the first step."""
    choose: Literal["auto", "rules", "measure"] = "auto"
    """What decides where several ways are open: `measure` times a few steps of each, for 15 s at most and once for a
    net, batch and machine; `rules` does not; `auto` measures for runs that take longer than 5 minutes."""
    recompute: bool = False
    """Whether to keep few tensors for the backward pass and to recompute the rest (activation checkpointing): less
    memory, a third more work."""

    def __post_init__(self) -> None:
        require(self.threads is None or self.threads >= 1, "placement.threads", self.threads, "1 or more")
