"""What is read of a machine, with files that stand in for one."""

from pathlib import Path

import pytest
import torch

from plusx.placement.machine import cgroup_quota, cpu_flags, multiplies_bf16, peak_memory_bytes, usable_cpus
from plusx.placement.place import Placement, choose_placement
from plusx.recipes.placement import PlacementSpec


@pytest.mark.parametrize(
    ("cpu_max", "affinity", "cpus"),
    [
        ("max 100000", 8, 8),
        ("200000 100000", 8, 2),
        ("150000 100000", 8, 2),
        ("50000 100000", 8, 1),
        ("800000 100000", 2, 2),
    ],
)
def test_threads_follow_a_version_2_quota(tmp_path: Path, cpu_max: str, affinity: int, cpus: int) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max + "\n")
    assert usable_cpus(tmp_path, affinity) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("-1", 8), ("300000", 3), ("250000", 3), ("10000", 1)])
def test_threads_follow_a_version_1_quota(tmp_path: Path, quota: str, cpus: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert usable_cpus(tmp_path, 8) == cpus


def test_no_cgroup_is_no_limit(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path) is None and usable_cpus(tmp_path, 3) == 3
    (tmp_path / "cpu.max").write_text("nonsense")
    assert cgroup_quota(tmp_path) is None


AMX = frozenset({"avx512f", "avx512_bf16", "amx_bf16"})


@pytest.mark.parametrize(
    ("flags", "environ", "unit"),
    [
        (AMX, {}, "AMX"),
        (AMX, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, None),
        (AMX, {"ONEDNN_MAX_CPU_ISA": "avx512_core"}, None),
        (AMX, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "AVX512-BF16"),
        (AMX, {"DNNL_MAX_CPU_ISA": "AVX2"}, None),
        (frozenset({"avx512f", "avx512_bf16"}), {}, "AVX512-BF16"),
        (frozenset({"avx512f"}), {}, None),
        (frozenset({"asimd", "bf16"}), {}, "ARM BF16"),
        (frozenset(), {}, None),
    ],
)
def test_bf16_is_detected_and_never_assumed(flags: frozenset[str], environ: dict[str, str], unit: str | None) -> None:
    assert multiplies_bf16(flags, environ) == unit


def test_flags_are_read_from_either_kind_of_processor(tmp_path: Path) -> None:
    (tmp_path / "x86").write_text("processor : 0\nflags\t\t: fpu amx_bf16\n\nprocessor : 1\nflags : fpu\n")
    (tmp_path / "arm").write_text("processor : 0\nFeatures : fp bf16\n")
    assert cpu_flags(tmp_path / "x86") == {"fpu", "amx_bf16"}
    assert cpu_flags(tmp_path / "arm") == {"fp", "bf16"}
    assert cpu_flags(tmp_path / "absent") == frozenset()


def test_a_placement_gives_a_reason_for_each_decision() -> None:
    placement = choose_placement(PlacementSpec(device="cpu"))
    decided = {"device", "layout", "precision", "threads", "kernels", "capture"}
    assert set(placement.reasons) == decided and all(placement.reasons.values())
    assert Placement.from_dict(placement.to_dict()) == placement


def test_a_device_that_is_not_there_is_refused() -> None:
    absent = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(ValueError, match=f"placement.device is '{absent}'; this machine has"):
        choose_placement(PlacementSpec(device=absent))


def test_bf16_computes_in_bf16_and_keeps_weights_in_fp32() -> None:
    placement = choose_placement(PlacementSpec(device="cpu", precision="bf16", threads=1))
    net = placement.place(torch.nn.Conv2d(3, 4, 3))
    with placement.autocast():
        y = net(placement.place_images(torch.randn(1, 3, 8, 8)))
    assert y.dtype == torch.bfloat16 and net.weight.dtype == torch.float32
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_peak_memory_is_in_bytes() -> None:
    assert (peak_memory_bytes() or 2**28) > 2**26
