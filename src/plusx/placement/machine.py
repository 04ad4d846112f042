"""What machine this is: processors that may be used, instruction sets, devices.

Everything is read, nothing assumed; each function takes the files it reads as arguments, so that tests can stand in.
"""

import ctypes
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import torch

# Names of oneDNN's ONEDNN_MAX_CPU_ISA that keep bf16 matrix or dot-product instructions. Under any other, oneDNN
# computes bf16 by converting, which is slower than fp32.
_ISA_WITH_BF16 = ("AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX512_CORE_AMX_FP16", "ALL", "DEFAULT")


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup"), affinity: int | None = None) -> int:
    """Processors that this process may keep busy: the least of the affinity mask and the cgroup quota, at least 1.

    Args:
        cgroup: Root of the cgroup file system, version 2 or 1.
        affinity: Processors in the affinity mask; asked of the system if not given.
    """
    if affinity is None:
        affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(cgroup)
    return max(1, min(affinity, math.ceil(quota)) if quota is not None else affinity)


def cgroup_quota(cgroup: Path) -> float | None:
    """Processors' worth of time that the cgroup grants, or None without a limit."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()  # version 2
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()  # version 1
        period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError):
        return None


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction sets of the processor as Linux names them; empty where it cannot be asked."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
    return frozenset(flags.split(":", 1)[1].split())


def multiplies_bf16(flags: frozenset[str], environ: Mapping[str, str] = os.environ) -> str | None:
    """The instruction set with which the processor multiplies bf16 in hardware, or None.

    Args:
        flags: What `cpu_flags` returns.
        environ: ONEDNN_MAX_CPU_ISA is honoured, because oneDNN honours it.
    """
    limit = _onednn_limit(environ)
    if limit not in _ISA_WITH_BF16:
        return None
    amx_allowed = "AMX" in limit or limit in ("ALL", "DEFAULT")
    if "amx_bf16" in flags and amx_allowed:
        return "AMX"
    if "avx512_bf16" in flags:
        return "AVX512-BF16"
    return "ARM BF16" if "bf16" in flags else None


def vector_limit(environ: Mapping[str, str] = os.environ) -> int:
    """The vectors that our own kernels may use: 2 AVX-512, 1 AVX2, 0 none; what oneDNN is held to, they are held to."""
    limit = _onednn_limit(environ)
    return 0 if limit in ("SSE41", "AVX") else 1 if limit.startswith("AVX2") else 2


def tune_allocator() -> None:
    """Have memory that was freed kept for the next tensor, where the C library is glibc.

    A training step frees and asks for the same hundreds of megabytes every time. By default much of it goes back to the
    system and returns page by page: 2,885 times a step of ResNet-20 in plain PyTorch, and 239 times with this. It costs
    no more than the peak of memory, which stays held.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return
    trim_threshold, mmap_threshold = -1, -3  # their numbers in glibc's malloc.h
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, -1)  # never


def accelerator() -> str | None:
    """cuda, mps, or None."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else None


def _onednn_limit(environ: Mapping[str, str]) -> str:
    return environ.get("ONEDNN_MAX_CPU_ISA", environ.get("DNNL_MAX_CPU_ISA", "DEFAULT")).upper()


def require_one_process() -> None:
    """Raises ValueError under a launcher of several processes, each of which would train the same run."""
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes.strip() not in ("", "1"):
        raise ValueError(
            f"WORLD_SIZE is {processes}: each of these processes would train the whole run; training on several "
            f"processes is not there yet, so start it once, without torchrun"
        )


def describe() -> dict[str, str | int]:
    """The machine in one line of evidence for a measurement."""
    flags = cpu_flags()
    model = platform.processor() or platform.machine()
    try:
        names = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    except OSError:
        pass
    return {
        "cpu": model,
        "cpus": usable_cpus(),
        "bf16": multiplies_bf16(flags) or "no",
        "device": accelerator() or "cpu",
    }


def memory_bytes(statm: Path = Path("/proc/self/statm")) -> int:
    """The memory that this process holds now; where the system does not tell, the most that it has held.

    Args:
        statm: Where Linux tells it, in pages.
    """
    try:
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return peak_memory_bytes() or 0


def peak_memory_bytes() -> int | None:
    """The most memory that this process has held, or None where the system does not tell (Windows)."""
    try:  # what getrusage tells begins, on Linux, with the memory of the process that started this one
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
