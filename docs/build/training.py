"""The tables of docs/performance.md about training steps on a CPU, processor by processor."""

from collections.abc import Sequence

from docs.build.markdown import ratio, shown, table
from docs.build.processors import Case, by_processor, cases_of, evidence_line, folded, instructions, named
from docs.build.targets import training_target


def summary_table() -> str:
    """For each processor: plusx beside the fastest other, what was asked, and how far the floor is."""
    profiles = {
        name: {named(case): case for case in cases}
        for name, cases in by_processor(cases_of("training-profile")).items()
    }
    ours_and_theirs = ("net, batch", "plusx, images/s", "fastest other, images/s", "speedup (range)")
    head = (*ours_and_theirs, "required", "aim", "floor, ms", "step / floor")
    blocks = []
    for name, cases in by_processor(cases_of("training-speed")).items():
        rows = []
        for case in cases:
            ours, who = case["contenders"]["ours"], case["fastest_peer"]
            profile = profiles.get(name, {}).get(named(case))
            rows.append(
                (
                    named(case),
                    f"{_rate(ours['images_per_s'])} ({case['placement']['precision']})",
                    f"{_rate(case['contenders'][who]['images_per_s'])} ({who})",
                    ratio(case["ratios"][who]),
                    *training_target(case["net"], instructions(case)),
                    f"{1e3 * profile['floor']['seconds']:.0f}" if profile else "",
                    f"{profile['contenders']['ours']['times_the_floor']:.1f}" if profile else "",
                )
            )
        blocks.append(f"**{name}**\n\n{table(head, rows)}\n\n<sub>{evidence_line(cases)}</sub>")
    return "\n\n".join(blocks)


def training_table() -> str:
    """Every contender of every training case."""
    return folded(by_processor(cases_of("training-speed")), _contenders)


def profile_table() -> str:
    """Where a step's time goes, before and after, and the floor."""
    return folded(by_processor(cases_of("training-profile")), _profiles)


def _contenders(cases: Sequence[Case]) -> str:
    rows = []
    for case in cases:
        for who, numbers in case["contenders"].items():
            over = ratio(case["ratios"][who]) if who in case["ratios"] else ""
            memory = f"{numbers['peak_memory_bytes'] / 2**30:.2f}" if numbers.get("peak_memory_bytes") else ""
            rows.append((named(case), shown(who), f"{numbers['images_per_s']:,.1f}", over, memory))
        rows += [(named(case), shown(who), "left out", "", "") for who in case["left_out"]]
    head = ("net, batch", "implementation", "images/s", "speedup of plusx (range)", "peak memory (GiB)")
    return table(head, rows, words=2)


def _profiles(cases: Sequence[Case]) -> str:
    """A table for each net; its columns are eager and ours under each instruction set."""
    subjects = dict.fromkeys((case["net"], case["batch_size"]) for case in cases)
    return "\n\n".join(
        _profile([case for case in cases if (case["net"], case["batch_size"]) == subject]) for subject in subjects
    )


def _profile(cases: Sequence[Case]) -> str:
    heads, columns = [], []
    for case in cases:
        limit = "" if case["onednn_max_cpu_isa"] == "all" else f", {case['onednn_max_cpu_isa']}"
        for who, numbers in case["contenders"].items():
            heads.append(shown(who) + limit)
            columns.append((case["floor"], numbers))
    kinds = dict.fromkeys(
        kind for case in cases for who in ("ours", *case["contenders"]) for kind in case["contenders"][who]["parts"]
    )
    rows = [(kind, *(f"{1e3 * numbers['parts'].get(kind, 0):.1f}" for _, numbers in columns)) for kind in kinds]
    rows = [row for row in rows if {*row[1:]} != {"0.0"}]
    rows += [
        (what, *(f"{1e3 * numbers[key]:.1f}" for _, numbers in columns))
        for what, key in (("total with the profiler", "profiled_seconds"), ("total without it", "seconds"))
    ]
    rows += [
        (what, *(f"{1e3 * floor[key]:.1f}" for floor, _ in columns))
        for what, key in (("floor by operations", "operations_seconds"), ("floor by bytes", "bytes_seconds"))
    ]
    rows.append(("multiple of the floor", *(f"{numbers['times_the_floor']:.1f}" for _, numbers in columns)))
    title = f"{cases[0]['net']}, batch {cases[0]['batch_size']}: milliseconds per step"
    operations = f"{cases[0]['floor']['operations'] / 1e9:,.1f} G operations in a step; it moves at least "
    moved = dict.fromkeys(f"{case['floor']['bytes'] / 1e6:,.0f} MB in {case['precision']}" for case in cases)
    return f"{table((title, *heads), rows)}\n\n{operations}{' or '.join(moved)}."


def _rate(images_per_s: float) -> str:
    """Images per second with three digits at least."""
    return f"{images_per_s:,.0f}" if images_per_s >= 100 else f"{images_per_s:.1f}"
