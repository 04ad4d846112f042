"""What every benchmark uses: the machine's ceilings, contenders in processes of their own, evidence, JSON.

`plusx.placement.turns.take_turns` times the contenders, as in `plusx benchmark`: named calls in rounds of alternating
order, with the median, the lowest and the highest of each, and for each pair the ratios within the rounds.
"""

import datetime
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

import plusx
from plusx.benchmark.apart import Apart
from plusx.nets import entry
from plusx.placement.machine import cpu_flags, describe, multiplies_bf16, peak_memory_bytes, usable_cpus
from plusx.placement.turns import Spread, take_turns
from plusx.runs.card import checkout

Case = TypeVar("Case", bound=tuple[Any, ...])
RESULTS = Path(__file__).parents[1] / "results"
OF_A_RUN = ("recipe", "precision", "kernels", "data", "way", "seed")
"""What tells one training from another."""


def evidence() -> dict[str, Any]:
    """Date, version of torch, machine, and the commit that was measured, with a + when files differ from it."""
    return {
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "commit": checkout(Path(plusx.__file__).parent, Path(__file__).parent),
        "machine": describe(),
    }


@dataclass(frozen=True)
class Ceilings:
    """What the machine reaches at its best: a matrix product in TFLOP/s, a copy in GB/s, counting both read and write.

    The product is measured in bf16 only where the processor multiplies it in hardware, and is allowed to.
    """

    side: int = 2048
    """Rows of the square matrices; AMX is slower on smaller ones."""
    uncached: int = 2**28
    """Bytes of a copy that exceeds every cache."""
    cached: int = 2**20
    """Bytes of a copy that fills, with its source, half of two cores' second-level caches."""

    def measure(self, rounds: int = 5) -> dict[str, list[float]]:
        """Measure each of them `rounds` times."""
        torch.set_num_threads(usable_cpus())
        calls: dict[str, Callable[[], object]] = {}
        amounts: dict[str, float] = {}
        dtypes = {"matrix_fp32_tflops": torch.float32}
        if multiplies_bf16(cpu_flags()):  # elsewhere a single product takes minutes
            dtypes["matrix_bf16_tflops"] = torch.bfloat16
        for key, dtype in dtypes.items():
            a, b, out = (torch.ones(self.side, self.side, dtype=dtype) for _ in range(3))
            calls[key], amounts[key] = partial(torch.mm, a, b, out=out), 2 * self.side**3 / 1e12
        for key, size in (("copy_memory_gb_per_s", self.uncached), ("copy_cache_gb_per_s", self.cached)):
            there, here = (torch.ones(size, dtype=torch.uint8) for _ in range(2))
            calls[key], amounts[key] = partial(there.copy_, here), 2 * size / 1e9
        turns = take_turns(calls, rounds=rounds, at_least=0.05)
        return {key: [amount / seconds for seconds in turns.seconds[key]] for key, amount in amounts.items()}


def peak(made: object) -> int | None:
    """A question for `Apart.ask`: the peak memory of its process."""
    return peak_memory_bytes()


def held_to(isa: str) -> dict[str, str]:
    """Variables that hold oneDNN, and our kernels with it, to an instruction set; "all" holds them to none."""
    return {} if isa == "all" else {"ONEDNN_MAX_CPU_ISA": isa}


@contextmanager
def between_ceilings(isa: str = "all") -> Iterator[dict[str, Spread]]:
    """Measure the ceilings before and after the block, in a process apart; the mapping is filled at the end.

    The matrix product in fp32 is MKL's, which does not heed oneDNN's variable, so it is held by one of its own.
    """
    ceilings: dict[str, Spread] = {}
    of_mkl = {"AVX2": "AVX2", "AVX512_CORE": "AVX512"}
    environ = {"MKL_ENABLE_INSTRUCTIONS": of_mkl[isa]} if isa in of_mkl else {}
    with Apart(Ceilings, **held_to(isa), **environ) as machine:
        before = machine.ask(Ceilings.measure)
        yield ceilings
        after = machine.ask(Ceilings.measure)
    ceilings.update({key: Spread.of(before[key] + after[key]) for key in before})


def only(cases: Sequence[Case], wanted: Sequence[str]) -> Sequence[Case]:
    """The cases that are named; all of them if none is.

    Args:
        cases: Each begins with its net.
        wanted: A net alone, which names all its cases, or with other items of the case behind it: resnet20:AVX2.

    Raises:
        ValueError: No case has this name.
    """
    selected: list[Case] = []
    for name in wanted:
        net, *items = name.split(":")
        entry(net)  # raises on a misspelt name
        of_net = [case for case in cases if case[0] == net]
        named = [case for case in of_net if {*items} <= {*map(str, case[1:])}]
        if not named:
            there = [":".join(map(str, case)) for case in of_net] or dict.fromkeys(case[0] for case in cases)
            raise ValueError(f"{name} is not measured here; choose from {', '.join(there)}")
        selected += named
    return [case for case in cases if case in selected] if wanted else cases


def data_folder(holds: str) -> Path:
    """PLUSX_DATA.

    Args:
        holds: What it must contain, in words.

    Raises:
        ValueError: It is not set.
    """
    if "PLUSX_DATA" not in os.environ:
        raise ValueError(f"set PLUSX_DATA to the folder that contains {holds}")
    return Path(os.environ["PLUSX_DATA"])


def write(name: str, content: Mapping[str, Any]) -> None:
    """Write measurements, with their evidence, to results/."""
    text = json.dumps(_plain({**evidence(), **content}), indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def write_case(name: str, case: Mapping[str, Any]) -> None:
    """Write one case to results/, with its evidence.

    It takes the place of the same case on the same processor. The other cases stay, those of other processors among
    them, so that a file may hold several processors, and a case that was measured remains if a later one fails.
    """
    file = RESULTS / f"{name}.json"
    before = json.loads(file.read_text(encoding="utf-8"))["cases"] if file.exists() else []
    cases = {_identity(each): each for each in (*before, _plain({**case, "evidence": evidence()}))}
    file.write_text(json.dumps({"cases": list(cases.values())}, indent=1) + "\n", encoding="utf-8")


def has_case(name: str, case: Mapping[str, Any]) -> bool:
    """Whether results/ has this case of this processor already, so that what was cut short goes on.

    Args:
        name: Of the file.
        case: What `write_case` would be given; only what makes two cases the same is read.
    """
    file = RESULTS / f"{name}.json"
    before = json.loads(file.read_text(encoding="utf-8"))["cases"] if file.exists() else []
    return _identity({**case, "evidence": {"machine": describe()}}) in map(_identity, before)


def _identity(case: Mapping[str, Any]) -> str:
    """What makes two cases the same: what was measured, and the processor; not the date, the commit or the torch."""
    machine = case["evidence"]["machine"]
    what = [case.get(key) for key in ("net", "batch_size", "batch", "onednn_max_cpu_isa", "beside", *OF_A_RUN)]
    return json.dumps([*what, *(machine[key] for key in ("cpu", "cpus", "bf16"))])


def as_range(spread: Spread) -> list[float]:
    """Lowest and highest, as results/ stores them."""
    return [spread.low, spread.high]


def _plain(value: Any) -> Any:
    """Plain JSON types; floats with five digits, which is what a timing supports."""
    match value:
        case Spread():
            return _plain(asdict(value))
        case float():
            return float(f"{value:.5g}")
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
    return value
