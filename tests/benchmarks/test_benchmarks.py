"""What the benchmarks make of what they measure."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks import depth, harness, inference, kernels, profile, training
from docs.build import results
from docs.build.performance import kernels_table
from plusx.benchmark import training as benchmark
from plusx.benchmark.training import WholeStep, plain_step
from plusx.nets import build, entry
from plusx.placement.place import Placement, plain_placement
from plusx.placement.turns import Spread, Turns, take_turns


@dataclass(frozen=True)
class Operator:
    """As the profiler has it, as far as `kind_of` reads it."""

    name: str
    cpu_parent: "Operator | None" = None


def nested(*names: str) -> Operator:
    found = None
    for name in names:
        found = Operator(name, found)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("operators", "part"),
    [
        (["aten::conv2d", "aten::convolution", "aten::mkldnn_convolution"], "convolution, forward"),
        (["aten::conv2d", "aten::to", "aten::_to_copy", "aten::copy_"], "casts"),
        (["aten::mkldnn_convolution", "aten::contiguous", "aten::copy_"], "convolution, forward"),
        (["ConvolutionBackward0", "aten::convolution_backward"], "convolution, backward"),
        (["autograd::engine::evaluate_function: ConvolutionBackward0"], "framework"),
        (["autograd::engine::evaluate_function: ConvolutionBackward0", "aten::add_"], "normalisation"),
        (["aten::native_batch_norm_backward"], "normalisation"),
        (["MeanBackward1", "aten::div"], "loss and head"),
        (["aten::linear", "aten::addmm"], "loss and head"),
        (["Optimizer.step#SGD.step", "aten::add_"], "optimizer"),
        (["steps", "data", "aten::index"], "data"),
        (["steps"], "framework"),
        (["steps", "aten::erfinv"], "other"),
        (["autograd::engine::evaluate_function: ViewBackward0", "aten::empty"], "framework"),
        (["aten::mkldnn_convolution", "aten::empty"], "convolution, forward"),
        (["plusx::convolution"], "convolution, forward"),
        (["plusx::convolution_backward"], "convolution, backward"),
        (["plusx::norm_apply"], "normalisation"),
        (["plusx::block_backward"], "whole blocks, backward"),
        (["plusx::norm_backward"], "normalisation"),
    ],
)
def test_an_operator_counts_where_it_belongs(operators: list[str], part: str) -> None:
    assert profile.kind_of(nested(*operators)) == part


def test_a_profile_adds_up_and_splits_the_gradients() -> None:
    step = WholeStep("resnet20", 4, plain_placement())
    parts, strange = profile.profiled(step)
    ours_alone = {"whole blocks, forward", "whole blocks, backward"}
    gradients = {"convolution, data gradient", "convolution, weight gradient"}
    assert set(parts) - {"other"} == set(profile.KINDS) - gradients - ours_alone
    assert all(seconds > 0 for seconds in parts.values())
    assert sum(strange.values()) <= parts.get("other", 0) * (1 + 1e-9)
    assert not any(work in name for name in strange for work in ("conv", "norm", "relu", "add", "sgd", "loss"))
    share = profile.data_gradient_share(step)
    assert share is not None and 0 < share < 1
    split = profile.split_backward(parts, share)
    assert sum(split.values()) == pytest.approx(sum(parts.values())) and "convolution, backward" not in split


def test_the_floor_is_the_greater_of_two() -> None:
    reached = {"matrix_bf16_tflops": 2.0, "matrix_fp32_tflops": 0.25, "copy_memory_gb_per_s": 20.0}
    found = profile.floor("resnet20", 128, reached)
    assert found["operations"] == 6 * 128 * entry("resnet20").macs
    values = 16 * 32 * 32 * 7 + 32 * 16 * 16 * 6 + 64 * 8 * 8 * 6 + 10  # what 19 convolutions and the last layer write
    assert found["bytes"] == 10 * 128 * values
    assert found["seconds"] == max(found["operations"] / 2e12, found["bytes"] / 20e9) == found["operations_seconds"]
    in_fp32 = profile.floor("resnet20", 128, reached, precision="fp32")
    assert in_fp32["seconds"] == found["operations"] / 0.25e12 and in_fp32["bytes"] == 2 * found["bytes"]


def test_bf16_is_a_contender_where_the_instructions_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    flags = frozenset({"avx2", "avx512f", "avx512_bf16"})
    monkeypatch.setattr(training, "cpu_flags", lambda: flags)
    assert [training.bf16_under(isa) for isa in ("all", "AVX512_CORE", "AVX2")] == [True, False, False]
    flags = frozenset({"avx2"})
    assert not training.bf16_under("all")


@pytest.mark.parametrize("benchmark", [training, profile, inference])
def test_each_case_is_written_when_it_is_measured(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[object] = []

    def measured(*case: object) -> object:
        log.append(("measured", case))
        return case

    monkeypatch.setattr(benchmark, "measure", measured)
    monkeypatch.setattr(benchmark, "in_words", str)
    monkeypatch.setattr(benchmark, "write_case", lambda file, case: log.append((file, case)))
    wanted = ":".join(map(str, benchmark.CASES[1]))
    benchmark.main([wanted])
    assert log[0] == ("measured", benchmark.CASES[1]) and len(log) == 2 and log[1][1] == benchmark.CASES[1]  # type: ignore[index]
    log.clear()
    benchmark.main()
    assert [each[1] for each in log[::2]] == [each[1] for each in log[1::2]] == list(benchmark.CASES)  # type: ignore[index]


def test_a_table_of_accuracies_says_how_many_runs_it_is_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (harness, results):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setenv("PLUSX_DATA", "x")
    monkeypatch.setattr(kernels, "multiplies_bf16", lambda flags: None)
    runs = iter([0.80, 0.79, 0.82, 0.81, 0.84])
    monkeypatch.setattr(kernels, "trained", lambda *arm: {"test_accuracy": next(runs), "test_loss": 0.5})
    with pytest.raises(StopIteration):  # it is cut short
        kernels.main()
    table = kernels_table()
    assert "| fp32 | 82.00 ± 2.00 % (n = 3) | 80.00 ± 1.41 % (n = 2) |" in table and "3 epochs" in table
    runs = iter([0.80])
    kernels.main()
    assert "| fp32 | 82.00 ± 2.00 % (n = 3) | 80.00 ± 1.00 % (n = 3) |" in kernels_table()


@pytest.mark.parametrize(
    ("isa", "eager", "rate"),
    [("all", "eager bf16", 2e12), ("AVX2", "eager fp32 channels last", 0.25e12)],
)
def test_a_profile_compares_within_a_precision(
    isa: str, eager: str, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []

    class Elsewhere:
        """A contender in a process apart, as far as `measure` looks."""

        def __init__(self, make: object, who: str, net: str, batch_size: int, **environ: str) -> None:
            limits.append(environ.get("ONEDNN_MAX_CPU_ISA", "all"))

        def __enter__(self) -> "Elsewhere":
            return self

        def __exit__(self, *fault: object) -> None: ...

        def ask(self, question: object) -> object:
            return ({"convolution, forward": 0.5, "other": 0.5}, {}) if question is profile.profiled else None

    @contextmanager
    def ceilings(isa: str) -> Iterator[dict[str, Spread]]:
        limits.append(isa)
        rates = {"matrix_bf16_tflops": 2.0, "matrix_fp32_tflops": 0.25, "copy_memory_gb_per_s": 20.0}
        yield {key: Spread(rate, rate, rate) for key, rate in rates.items()}

    monkeypatch.setattr(profile, "bf16_under", lambda isa: isa == "all")
    monkeypatch.setattr(profile, "Apart", Elsewhere)
    monkeypatch.setattr(profile, "between_ceilings", ceilings)
    monkeypatch.setattr(profile, "take_turns", lambda steps, **options: Turns({who: [1.0, 1.0] for who in steps}))
    case = profile.measure("resnet20", 128, isa)
    assert list(case["contenders"]) == [eager, "ours"] and limits == [isa] * 3
    least = 6 * 128 * entry("resnet20").macs / rate
    assert case["floor"]["seconds"] == least and case["contenders"]["ours"]["times_the_floor"] == 1 / least
    assert isa in profile.in_words(case) and eager in profile.in_words(case)


def test_every_contender_of_a_case_takes_steps() -> None:
    names = [*training.names("resnet18", has_bf16=True), "ours"]
    assert {who.split()[0] for who in names} == {"eager", "compile", "torchvision", "timm", "ours"}
    without = ["eager fp32", "eager fp32 channels last", "compile fp32"]
    assert training.names("resnet18", has_bf16=False) == training.names("resnet20", has_bf16=False) == without
    threads = torch.get_num_threads()
    for who in (*training.names("resnet20", has_bf16=True), "ours"):
        if not who.startswith("compile"):
            training.contender(who, "resnet20", 2)()
    torch.set_num_threads(threads)


def test_a_plain_step_trains() -> None:
    net = build("lenet5")
    x, labels = torch.randn(2, *entry("lenet5").input_shape), torch.tensor([1, 2])
    before = [p.detach().clone() for p in net.parameters()]
    plain_step(net, x, labels, channels_last=True, bf16=True)()
    assert not any(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_ours_is_compared_with_each_and_the_fastest_is_named() -> None:
    turns = Turns({"eager fp32": [4.0, 4.0], "eager bf16": [2.0, 3.0], "ours": [1.0, 1.0]})
    found = training.compared(turns, 8)
    assert found["contenders"]["ours"] == {"images_per_s": 8, "images_per_s_range": [8, 8]}
    assert found["ratios"]["eager bf16"] == {"ratio": 2.5, "ratio_range": [2, 3]}
    assert found["fastest_peer"] == "eager bf16"


def test_time_is_linear_when_layers_cost_the_same() -> None:
    assert depth.deviation([2.0, 2.0, 2.0]) == 0
    assert depth.deviation([2.0, 1.0, 2.2]) == 0.5
    assert depth.deviation([2.0, 2.0, 2.2]) == pytest.approx(0.1)


def test_what_a_depth_keeps_is_held_against_free_memory(tmp_path: Path) -> None:
    assert depth.kept_bytes("resnet110") > 5 * depth.kept_bytes("resnet20") > 0
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    7 kB\n")
    assert depth.free_bytes(tmp_path / "meminfo") == 7 * 1024
    assert depth.free_bytes(tmp_path / "absent") == math.inf


@pytest.mark.parametrize("bf16", [False, True])
def test_a_plain_step_runs_where_its_images_are(bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    autocast = torch.autocast

    def watched(device: str, *args: object, **kwargs: object) -> object:
        asked.append(device)
        return autocast("cpu", enabled=False)

    monkeypatch.setattr(torch, "autocast", watched)
    monkeypatch.setattr(torch.optim, "SGD", lambda parameters, **options: torch.optim.Adadelta(parameters))
    with torch.device("meta"):  # any device but the one that a script would name by habit
        net, x, labels = build("lenet5"), torch.zeros(2, 1, 32, 32), torch.zeros(2, dtype=torch.long)
    plain_step(net, x, labels, bf16=bf16)()
    assert asked == ["meta"]


def test_the_peer_of_a_benchmark_runs_where_ours_does(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        """Our step on another device, as far as `benchmark_training` looks."""

        placement = Placement("meta", "channels_last", "fp32", 1)
        batches = ((torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.long)),)
        data_seconds = (0.1,)

        def __call__(self) -> None: ...

    seen, waited = [], []

    def peer(net: torch.nn.Module, x: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
        seen.extend(tensor.device.type for tensor in (*net.parameters(), *net.buffers(), x, labels))
        return lambda: None

    def turns(contenders: object, *, wait: object, **options: object) -> Turns:
        waited.append(wait)
        return Turns({"ours": [1.0], "eager fp32": [2.0]})

    monkeypatch.setattr(benchmark, "ours", lambda net, batch_size: Elsewhere())
    monkeypatch.setattr(benchmark, "plain_step", peer)
    monkeypatch.setattr(benchmark, "take_turns", turns)
    threads = torch.get_num_threads()
    speed = benchmark.benchmark_training("resnet20", batch_size=2, rounds=1)
    torch.set_num_threads(threads)
    assert set(seen) == {"meta"} and speed.device == "meta" and speed.ratio_to_eager_fp32 == 2
    assert waited == [Elsewhere.placement.wait]


def test_a_clock_is_read_when_the_device_is_done() -> None:
    order = []
    take_turns(
        {"a": lambda: order.append("call")},
        rounds=1,
        at_least=0,
        clock=lambda: 0.5 * len(order),
        wait=lambda: order.append("wait"),
    )
    assert order[:4] == ["wait", "call", "call", "wait"] and order[-1] == "wait"
