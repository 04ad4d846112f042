"""The tables of docs/performance.md on targets, depth, accuracy with two kernels, and time to an accuracy."""

from collections.abc import Sequence
from statistics import mean, stdev

from docs.build.inference import inference_bars
from docs.build.markdown import evidence, ratio, table, units
from docs.build.processors import by_processor, cases_of, evidence_line, short_name
from docs.build.results import exists, read


def bars_table() -> str:
    """What was asked of the speed beyond the fastest other's, and what was measured."""
    rows = []
    for cases in by_processor(cases_of("training-speed")).values():
        machine = cases[0]["evidence"]["machine"]
        over_fp32 = {(case["net"], case["onednn_max_cpu_isa"]): case["ratios"]["eager fp32"] for case in cases}
        if machine["bf16"] == "AMX":
            rows += [
                (
                    f"{title}, training, speedup over eager fp32",
                    short_name(machine),
                    bar,
                    "5",
                    ratio(over_fp32[net, "all"]),
                )
                for net, title, bar in (("resnet20", "ResNet-20", "3.0"), ("resnet50", "ResNet-50 at 224", "3"))
                if (net, "all") in over_fp32
            ]
        limited = [(found["ratio"], net, isa) for (net, isa), found in over_fp32.items() if isa != "all"]
        if limited:
            slowest, net, isa = min(limited)
            what = f"slowest training without bf16 in hardware, speedup over eager fp32 ({net}, {isa})"
            rows.append((what, short_name(machine), "0.97", "", f"{slowest:.2f}"))
    rows += inference_bars()
    accuracy, depth = read("time-to-accuracy"), read("training-depth")
    rows += [
        (
            f"{recipe}: units to {100 * numbers['target']:.2f} %, at most",
            short_name(accuracy["machine"]),
            bar,
            aim,
            units(numbers),
        )
        for (recipe, numbers), (bar, aim) in zip(
            sorted(accuracy["recipes"].items(), reverse=True), (("11", "5.5"), ("5.5", "3.4")), strict=True
        )
    ]
    what = "time per layer, spread between 20 and 1202 layers, at most"
    rows.append((what, short_name(depth["machine"]), "10 %", "", f"{100 * depth['deviation']:.0f} %"))
    return table(("measure", "processor", "required", "aim", "measured (range over rounds)"), rows, words=2)


def depth_table() -> str:
    """Time and memory by depth."""
    rows = [
        (
            case["net"] + (", recomputed" if case["checkpoint"] else ""),
            f"{1e3 * case['seconds']:,.0f}",
            f"{1e3 * case['seconds_per_layer']:.2f}",
            f"{case['peak_memory_bytes'] / 2**30:.2f}",
        )
        for case in read("training-depth")["cases"]
    ]
    return (
        table(("net, batch 128", "ms per step", "ms per layer", "peak memory (GiB)"), rows)
        + "\n\n"
        + evidence("training-depth")
    )


def kernels_table() -> str:
    """Test accuracy of one recipe with our kernels and with PyTorch's, by precision."""
    if not exists("kernels-accuracy"):
        return "Not measured."
    blocks = []
    for name, cases in by_processor(cases_of("kernels-accuracy")).items():
        rows = []
        for precision in dict.fromkeys(case["precision"] for case in cases):
            arms = [
                [100 * c["test_accuracy"] for c in cases if (c["precision"], c["kernels"]) == (precision, kernels)]
                for kernels in ("fused", "plain")
            ]
            rows.append((precision, *(_spread(accuracies) for accuracies in arms)))
        what = f"**{name}**: {cases[0]['recipe']}, {cases[0]['epochs']} epochs"
        made = table(("precision", "plusx, test accuracy", "PyTorch, test accuracy"), rows)
        blocks.append(f"{what}\n\n{made}\n\n<sub>{evidence_line(cases)}</sub>")
    return "\n\n".join(blocks)


def _spread(accuracies: Sequence[float]) -> str:
    """Mean, deviation and number of accuracies in per cent."""
    if len(accuracies) < 2:
        return f"{accuracies[0]:.2f} % (n = 1)" if accuracies else "not measured"
    return f"{mean(accuracies):.2f} ± {stdev(accuracies):.2f} % (n = {len(accuracies)})"


def accuracy_table() -> str:
    """Each run to an accuracy."""
    rows = [
        (
            run["recipe"],
            str(run["seed"]),
            f"{100 * run['test_accuracy']:.2f} %",
            f"{run['seconds']:.0f} s",
            f"{run['units']:.2f}",
            f"{sum(run['unit_seconds']) / 2:.0f} s",
        )
        for run in sorted(read("time-to-accuracy")["runs"], key=lambda run: run["recipe"])
    ]
    head = ("recipe", "seed", "test accuracy", "total time", "units", "length of a unit")
    return table(head, rows) + "\n\n" + evidence("time-to-accuracy")
