"""The harness: turns, ratios, ceilings, processes apart, and the command."""

import json
import operator
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import harness
from plusx.placement.turns import Spread, Turns, take_turns

ROOT = Path(__file__).parents[2]


class FakeTime:
    """A clock that only the contenders move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def contender(self, name: str, seconds: Callable[[], float]) -> Callable[[], None]:
        def call() -> None:
            self.calls.append(name)
            self.now += seconds()

        return call


def test_contenders_take_turns_in_alternating_order() -> None:
    clock = FakeTime()
    contenders = {name: clock.contender(name, lambda: 1.0) for name in "abc"}
    take_turns(contenders, rounds=3, clock=clock)
    warm_up = "aabbcc" + "abc"
    assert "".join(clock.calls) == warm_up + "abc" + "cba" + "abc"


def test_ratios_are_of_the_same_round() -> None:
    clock = FakeTime()
    slow_machine = iter([1, 1, 1, 1, 10, 100])  # the first three are the warm-up; then each round is slower
    slowness = 1.0

    def ours() -> float:
        nonlocal slowness
        slowness = next(slow_machine, slowness)
        return slowness

    contenders = {"ours": clock.contender("ours", ours), "theirs": clock.contender("theirs", lambda: 2 * slowness)}
    turns = take_turns({**contenders}, rounds=2, clock=clock)
    assert turns.seconds["ours"] == [1, 10]
    assert turns.seconds["theirs"] == [2, 2]  # in the second round theirs came first
    assert turns.ratio("ours", to="theirs") == Spread(median=1.1, low=0.2, high=2)


def test_rates_and_the_fastest_go_by_medians() -> None:
    turns = Turns({"a": [1.0, 2.0, 4.0], "b": [3.0, 3.0, 0.1]})
    assert turns.rate("a", 8) == Spread(median=4, low=2, high=8)
    assert turns.fastest(turns.seconds) == "a"


def test_a_fast_call_is_repeated_and_counted_once() -> None:
    clock = FakeTime()
    turns = take_turns({"a": clock.contender("a", lambda: 1 / 1024)}, rounds=1, at_least=1 / 4, clock=clock)
    assert turns.seconds == {"a": [1 / 1024]}
    assert len(clock.calls) == 3 + 256


def test_ceilings_are_measured_so_many_times() -> None:
    found = harness.Ceilings(side=64, uncached=2**16, cached=2**12).measure(rounds=2)
    always = {"matrix_fp32_tflops", "copy_memory_gb_per_s", "copy_cache_gb_per_s"}
    assert always <= set(found) <= always | {"matrix_bf16_tflops"}
    assert all(len(values) == 2 and min(values) > 0 for values in found.values())


@pytest.fixture(scope="module")
def apart() -> Iterator[harness.Apart]:
    with harness.Apart(partial, os.getenv, "PLUSX_APART", PLUSX_APART="there") as contender:
        yield contender


def test_a_process_apart_has_its_own_environment(apart: harness.Apart) -> None:
    assert apart.ask(operator.call) == "there" and os.getenv("PLUSX_APART") is None
    assert apart.ask(_pid) != os.getpid()


def test_what_fails_apart_fails_here_with_its_reason(apart: harness.Apart) -> None:
    with pytest.raises(RuntimeError, match="not callable"):
        apart.ask("no question")  # type: ignore[arg-type]
    assert apart.ask(operator.call) == "there"  # and it lives on


def test_a_process_that_ends_is_told_of() -> None:
    with harness.Apart(partial, os._exit, 7) as contender, pytest.raises(RuntimeError, match="ended, with code 7"):
        contender()


def _pid(made: object) -> int:
    return os.getpid()


def test_cases_are_chosen_by_net() -> None:
    cases = (("resnet20", 128), ("resnet56", 128), ("resnet20", 64))
    assert harness.only(cases, []) == cases
    assert harness.only(cases, ["resnet20"]) == [("resnet20", 128), ("resnet20", 64)]
    assert harness.only(cases, ["resnet56", "resnet20:64"]) == list(cases[1:])
    with pytest.raises(ValueError, match="unknown net 'resnet2O'"):
        harness.only(cases, ["resnet2O"])
    with pytest.raises(ValueError, match="vgg16 is not measured here; choose from resnet20, resnet56"):
        harness.only(cases, ["vgg16"])
    with pytest.raises(ValueError, match="resnet20:32 is not measured here; choose from resnet20:128, resnet20:64"):
        harness.only(cases, ["resnet56", "resnet20:32"])


def test_a_limit_holds_the_product_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Machine:
        def __init__(self, make: object, **environ: str) -> None:
            seen.append(environ)

        def __enter__(self) -> "Machine":
            return self

        def __exit__(self, *fault: object) -> None: ...

        def ask(self, question: object) -> dict[str, list[float]]:
            return {"matrix_fp32_tflops": [1.0, 3.0]}

    monkeypatch.setattr(harness, "Apart", Machine)
    with harness.between_ceilings("AVX2") as ceilings:
        assert not ceilings
    assert ceilings == {"matrix_fp32_tflops": Spread(2.0, 1.0, 3.0)}
    with harness.between_ceilings():
        pass
    assert seen == [{"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}, {}]


def test_results_carry_their_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    harness.write("x", {"cases": [{"rate": Spread(1 / 3, 0.1, 2.0), "rounds": 10**7}]})
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["cases"] == [{"rate": {"median": 0.33333, "low": 0.1, "high": 2.0}, "rounds": 10**7}]
    assert found["machine"]["cpus"] >= 1 and {"date", "torch", "commit"} < set(found)


XEON = {"cpu": "Intel(R) Xeon(R) Processor", "cpus": 2, "bf16": "AMX", "device": "cpu"}
EPYC = {**XEON, "cpu": "AMD EPYC", "bf16": "AVX512-BF16"}


def test_rows_of_several_processors_stand_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)

    def measured(machine: dict[str, object], rate: float, **case: object) -> None:
        monkeypatch.setattr(harness, "describe", lambda: machine)
        harness.write_case("x", {"net": "resnet20", "batch_size": 128, "rate": rate, **case})

    measured(XEON, 1.0, onednn_max_cpu_isa="all")
    measured(XEON, 2.0, onednn_max_cpu_isa="AVX2")
    before = json.loads((tmp_path / "x.json").read_text())["cases"]
    measured(EPYC, 3.0, onednn_max_cpu_isa="all")
    measured({**EPYC, "cpus": 4}, 4.0, onednn_max_cpu_isa="all")
    measured(EPYC, 5.0, onednn_max_cpu_isa="all", batch_size=64)
    measured(EPYC, 6.0, onednn_max_cpu_isa="all")
    measured(EPYC, 7.0, onednn_max_cpu_isa="all", beside={"kind": "loop", "count": 1})
    after = json.loads((tmp_path / "x.json").read_text())["cases"]
    assert after[:2] == before and [case["rate"] for case in after] == [1, 2, 6, 4, 5, 7]
    assert [case["evidence"]["machine"]["cpus"] for case in after] == [2, 2, 2, 4, 2, 2]
    assert all({"date", "torch", "commit", "machine"} == set(case["evidence"]) for case in after)


def test_what_was_measured_on_this_processor_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    arms = [{"recipe": "x", "precision": precision, "seed": seed} for precision in ("bf16", "fp32") for seed in (0, 1)]
    monkeypatch.setattr(harness, "describe", lambda: XEON)
    for arm in arms[:3]:
        assert not harness.has_case("x", arm)
        harness.write_case("x", {**arm, "test_accuracy": 0.8})
    assert [harness.has_case("x", arm) for arm in arms] == [True, True, True, False]
    monkeypatch.setattr(harness, "describe", lambda: EPYC)
    assert not any(harness.has_case("x", arm) for arm in arms)


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], capture_output=True, text=True, cwd=ROOT)


def test_without_a_name_the_names_are_listed() -> None:
    listed = [line.split()[0] for line in benchmarks().stdout.splitlines()]
    assert listed == [*command.NAMES, "all"]


@pytest.mark.parametrize("name", command.NAMES)
def test_every_name_is_a_module(name: str) -> None:
    assert find_spec(f"benchmarks.{name}") is not None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["trainin"], "unknown benchmark 'trainin'; did you mean 'training'?"),
        (["x"], "unknown benchmark 'x'; training, nets"),
        (["all", "resnet20"], "all takes no nets"),
        pytest.param(["depth", "resnet2O"], "unknown net 'resnet2O'", marks=pytest.mark.more),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], sentence: str) -> None:
    done = benchmarks(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and sentence in done.stderr
