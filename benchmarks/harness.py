"""What every benchmark stands on: the machine's ceilings, contenders in processes of their own, evidence, JSON.

Contenders are timed by `plusx.benchmark.training.take_turns`, which `plusx benchmark` shares: named calls, in rounds of
alternating order; of each the median, the lowest and the highest, and of each pair the ratios of the rounds.
"""

import datetime
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import torch

import plusx
from plusx.nets import entry
from plusx.placement.machine import cpu_flags, describe, multiplies_bf16, peak_memory_bytes, usable_cpus
from plusx.placement.turns import Spread, take_turns
from plusx.runs.card import checkout

Case = TypeVar("Case", bound=tuple[Any, ...])
RESULTS = Path(__file__).parents[1] / "results"


def evidence() -> dict[str, Any]:
    """Date, torch, the commit that was measured, with a + when files differ from it, and the machine."""
    return {
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "commit": checkout(Path(plusx.__file__).parent, Path(__file__).parent),
        "machine": describe(),
    }


@dataclass(frozen=True)
class Ceilings:
    """What the machine reaches at its best: a matrix product in TFLOP/s, a copy in GB/s, read and written both.

    In bf16 only where the processor multiplies it in hardware, and is allowed to.
    """

    side: int = 2048
    """Of the square matrices; of smaller ones AMX multiplies fewer a second."""
    uncached: int = 2**28
    """Bytes copied, more than one machine's share of a cache."""
    cached: int = 2**20
    """Bytes copied, half of two cores' second-level caches with the copy."""

    def measure(self, rounds: int = 5) -> dict[str, list[float]]:
        """Each of them, now, so many times."""
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


class Apart:
    """A contender in a process of its own: with its own memory, its own allocator's settings, its own compiled code.

    Calling it has the process call what it made, and waits: a tenth of a millisecond more.

    Args:
        make: Makes what is to be called, in the process; of a module's top level.
        arguments: Its.
        environ: Set before the process begins, such as ONEDNN_MAX_CPU_ISA, which oneDNN reads once.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any, **environ: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_answer, args=(there, make, arguments), daemon=True)
        before = dict(os.environ)
        os.environ.update(environ)
        try:
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        there.close()

    def __call__(self) -> None:
        self.ask(_call)

    def ask(self, question: Callable[[Any], Any]) -> Any:
        """What a function, of a module's top level, says of what was made; asked in the process.

        Raises:
            RuntimeError: Something failed there; the message is the failure's. Code -9 is most often want of memory.
        """
        try:
            self._pipe.send(question)
            answer, fault = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise RuntimeError(f"its process ended, with code {self._process.exitcode}") from None
        if fault is not None:
            raise RuntimeError(fault)
        return answer

    def __enter__(self) -> "Apart":
        return self

    def __exit__(self, *fault: object) -> None:
        self._pipe.close()
        self._process.join()


def _answer(pipe: Connection, make: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """The life of the process: make the thing when first asked, answer until nobody asks."""
    made: list[Any] = []
    with suppress(EOFError, BrokenPipeError):
        while True:
            question = pipe.recv()
            try:
                made = made or [make(*arguments)]
                pipe.send((question(made[0]), None))
            except Exception as fault:  # whatever it is, the asking process has to know
                pipe.send((None, (str(fault).strip() or repr(fault)).splitlines()[0]))


def _call(made: Callable[[], object]) -> None:
    made()  # what it returns stays there


def peak(made: object) -> int | None:
    """A question for `Apart.ask`: the most memory that its process has held."""
    return peak_memory_bytes()


@contextmanager
def between_ceilings(**environ: str) -> Iterator[dict[str, Spread]]:
    """Measures the ceilings, in a process apart, before and after what happens within; the mapping is filled then."""
    found: dict[str, Spread] = {}
    with Apart(Ceilings, **environ) as machine:
        before = machine.ask(Ceilings.measure)
        yield found
        after = machine.ask(Ceilings.measure)
    found.update({key: Spread.of(before[key] + after[key]) for key in before})


def only(cases: Sequence[Case], nets: Sequence[str]) -> Sequence[Case]:
    """The cases of the named nets; all, if none is named. A case's first item is its net."""
    for net in nets:
        entry(net)  # so that a misspelt one is found
    chosen = [case for case in cases if case[0] in nets]
    if nets and not chosen:
        raise ValueError(
            f"{' and '.join(nets)} not measured here; choose of {', '.join({case[0]: 0 for case in cases})}"
        )
    return chosen or cases


def write(name: str, content: Mapping[str, Any]) -> None:
    """Put what was measured, with its evidence, into results/."""
    text = json.dumps(_plain({**evidence(), **content}), indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def write_cases(name: str, measured: Sequence[dict[str, Any]], *, all_of_them: bool) -> None:
    """Cases into results/: all of them make the file anew, some take their places in it, with evidence of their own."""
    if all_of_them:
        return write(name, {"cases": measured})
    file = RESULTS / f"{name}.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    cases = {_identity(case): case for case in content["cases"]}
    cases |= {_identity(case): _plain({**case, "evidence": evidence()}) for case in measured}
    content["cases"] = list(cases.values())
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _identity(case: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(case.get(key) for key in ("net", "batch_size", "batch", "onednn_max_cpu_isa"))


def as_range(spread: Spread) -> list[float]:
    """Lowest and highest, as results/ has them."""
    return [spread.low, spread.high]


def _plain(value: Any) -> Any:
    """JSON types; floats with the five digits that a timing can have."""
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
