"""Measurements by processor: what it is called, which rows are its own, and the evidence under them."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.harness import OF_A_RUN
from docs.build.results import read

Case = dict[str, Any]
"""One measurement of results/, with its evidence."""
INSTRUCTIONS = ("all", "AVX512_CORE", "AVX2")
"""What a processor may be held to, in the order of the tables; others follow."""


def cases_of(name: str) -> list[Case]:
    """The cases of a file, each with evidence of its own, by net in the order of the file and then by instructions."""
    content = read(name)
    shared = {key: content[key] for key in ("date", "torch", "commit", "machine") if key in content}
    cases = [{"evidence": shared, **case} for case in content["cases"]]
    order = list(dict.fromkeys(_subject(case) for case in cases))
    return sorted(cases, key=lambda case: (order.index(_subject(case)), _limit(case)))


def by_processor(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """Cases by the processor that measured them, in the order of their first."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(processor(case["evidence"]["machine"]), []).append(case)
    return groups


def processor(machine: Mapping[str, Any]) -> str:
    """What a heading calls a processor: Intel Xeon (AMX), 2 cores."""
    return f"{short_name(machine)}, {machine['cpus']} cores"


def short_name(machine: Mapping[str, Any]) -> str:
    """The processor's own name without trade marks and clocks, and how it multiplies bf16: AMD EPYC (AVX512-BF16)."""
    bare = re.sub(r"\((R|TM)\)|\b(CPU|Processor|\d+-Core)\b|@.*", " ", machine["cpu"], flags=re.IGNORECASE)
    bf16 = "no bf16" if machine["bf16"] == "no" else machine["bf16"]
    return f"{' '.join(bare.split())} ({bf16})"


def instructions(case: Case) -> str:
    """What matters most of the instructions that a case was measured with: AMX, AVX512-BF16, AVX512_CORE, AVX2, no."""
    isa: str = case["onednn_max_cpu_isa"]
    return case["evidence"]["machine"]["bf16"] if isa == "all" else isa


def evidence_line(
    cases: Sequence[Case], line: str = "{cpu}, {cpus} cores, torch {torch}, commit {commit}, {date}."
) -> str:
    """Where, when and with what the cases of one processor were measured: most of them, then the others.

    Args:
        cases: At least one.
        line: The sentence to fill, in the language of the page.
    """
    measured = [(case["evidence"]["torch"], case["evidence"]["commit"], case["evidence"]["date"]) for case in cases]
    ((usual, _),) = Counter(measured).most_common(1)
    torch, commit, date = usual
    machine = cases[0]["evidence"]["machine"]
    said = [line.format(cpu=machine["cpu"], cpus=machine["cpus"], torch=torch, commit=commit, date=date)]
    apart: dict[tuple[str, ...], list[str]] = {}
    for case, each in zip(cases, measured, strict=True):
        if each != usual:
            apart.setdefault(each, []).append(named(case))
    for (its_torch, its_commit, its_date), names in apart.items():
        version = "" if its_torch == torch else f"torch {its_torch}, "
        said.append(f"{'; '.join(names)}: {version}{its_commit}, {its_date}.")
    return " ".join(said)


def folded(groups: Mapping[str, Sequence[Case]], tables: Callable[[Sequence[Case]], str]) -> str:
    """Long tables of each processor, folded away under its name, with their evidence."""
    return "\n\n".join(
        f"<details>\n<summary>{name}</summary>\n\n{tables(cases)}\n\n<sub>{evidence_line(cases)}</sub>\n\n</details>"
        for name, cases in groups.items()
    )


def named(case: Case) -> str:
    """A case in a table: net, batch and limited instructions, where it has them; of a training, what tells it apart."""
    if "net" not in case:
        return ", ".join(f"seed {case[key]}" if key == "seed" else case[key] for key in OF_A_RUN if key in case)
    if not {"batch", "batch_size"} & case.keys():
        return ", ".join(case[key] for key in ("net", "way") if key in case)
    net, batch = _subject(case)
    isa = case.get("onednn_max_cpu_isa", "all")
    return f"{net}, {batch}" + ("" if isa == "all" else f", {isa}")


def _subject(case: Case) -> tuple[str, int]:
    return case["net"], case["batch_size" if "batch_size" in case else "batch"]


def _limit(case: Case) -> int:
    isa = case.get("onednn_max_cpu_isa", "all")
    return INSTRUCTIONS.index(isa) if isa in INSTRUCTIONS else len(INSTRUCTIONS)
