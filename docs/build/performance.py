"""The tables of docs/performance.md: training and inference on a CPU, depth, and time to an accuracy."""

from docs.build.markdown import evidence, ratio, span, table, units
from docs.build.results import read


def bars_table() -> str:
    """What was asked of the speed, and what was measured."""
    training = {(c["net"], c["onednn_max_cpu_isa"]): c for c in read("training-speed")["cases"]}
    inference = {c["batch"]: c for c in read("inference-speed")["cases"]}[16]
    accuracy, depth = read("time-to-accuracy")["recipes"], read("training-depth")
    best = {net: training[net, "all"]["ratios"] for net in ("resnet20", "resnet56", "densenet_bc_100_12", "resnet50")}

    def over_best(net: str) -> str:
        """The ratio to the faster of eager and compiled bf16."""
        ratios = {who: best[net][who] for who in ("eager bf16", "compile bf16") if who in best[net]}
        who = min(ratios, key=lambda who: ratios[who]["ratio"])
        return f"{ratio(ratios[who])}, {who}"

    ours = next(ratios for who, ratios in inference["ratios"].items() if who.endswith("bf16"))
    peer = ours["fastest_peer"]
    limited = [(c["ratios"]["eager fp32"]["ratio"], c["net"], isa) for (_, isa), c in training.items() if isa != "all"]
    slowest, net, isa = min(limited)
    rows = [
        ("ResNet-20, training, speedup over eager fp32", "3.0", "5", ratio(best["resnet20"]["eager fp32"])),
        ("ResNet-20, speedup over the better of eager and compiled bf16", "1.4", "2", over_best("resnet20")),
        ("ResNet-56, same comparison", "1.3", "1.8", over_best("resnet56")),
        ("DenseNet-BC-100-12, same comparison", "1.3", "1.8", over_best("densenet_bc_100_12")),
        ("ResNet-50 at 224, training, speedup over eager fp32", "3", "5", ratio(best["resnet50"]["eager fp32"])),
        ("ResNet-50 at 224, inference, speedup over eager fp32", "8", "10", ratio(ours["eager fp32"])),
        ("the same, speedup over the best of its peers in bf16", "1.0", "1.2", f"{ratio(ours[peer])}, {peer}"),
        *(
            (f"{recipe}: units to {100 * numbers['target']:.2f} %, at most", bar, aim, units(numbers))
            for (recipe, numbers), (bar, aim) in zip(
                sorted(accuracy.items(), reverse=True), (("11", "5.5"), ("5.5", "3.4")), strict=True
            )
        ),
        ("time per layer, spread between 20 and 1202 layers, at most", "10 %", "", f"{100 * depth['deviation']:.0f} %"),
        (
            f"slowest case without bf16 in hardware, speedup over eager fp32 ({net}, {isa})",
            "0.97",
            "",
            f"{slowest:.2f}",
        ),
    ]
    return table(("measure", "required", "aim", "measured (range over rounds)"), rows)


def training_table() -> str:
    """Every contender of every training case."""
    rows = []
    for case in read("training-speed")["cases"]:
        isa = case["onednn_max_cpu_isa"]
        for who, numbers in case["contenders"].items():
            over = ratio(case["ratios"][who]) if who in case["ratios"] else ""
            memory = f"{numbers['peak_memory_bytes'] / 2**30:.2f}" if numbers.get("peak_memory_bytes") else ""
            name = f"{case['net']}, {case['batch_size']}" + ("" if isa == "all" else f", {isa}")
            rows.append((name, _shown(who), f"{numbers['images_per_s']:,.1f}", over, memory))
    head = ("net, batch", "implementation", "images/s", "speedup of plusx (range)", "peak memory (GiB)")
    return table(head, rows) + "\n\n" + evidence("training-speed")


def profile_table() -> str:
    """Where a step's time goes, before and after, and the floor."""
    blocks = []
    for case in read("training-profile")["cases"]:
        contenders, least = case["contenders"], case["floor"]
        kinds = list(dict.fromkeys(kind for who in ("ours", *contenders) for kind in contenders[who]["parts"]))
        rows = [
            (kind, *(f"{1e3 * numbers['parts'].get(kind, 0):.1f}" for numbers in contenders.values())) for kind in kinds
        ]
        rows += [
            (what, *(f"{1e3 * numbers[key]:.1f}" for numbers in contenders.values()))
            for what, key in (("total with the profiler", "profiled_seconds"), ("total without it", "seconds"))
        ]
        rows += [("multiple of the floor", *(f"{numbers['times_the_floor']:.1f}" for numbers in contenders.values()))]
        title = f"{case['net']}, batch {case['batch_size']}: milliseconds per step"
        floor = (
            f"Floor: {1e3 * least['operations_seconds']:.1f} ms for {least['operations'] / 1e9:,.1f} G operations, "
            f"{1e3 * least['bytes_seconds']:.1f} ms for {least['bytes'] / 1e6:,.0f} MB."
        )
        blocks.append(table((title, *map(_shown, contenders)), rows) + f"\n\n{floor}")
    return "\n\n".join(blocks) + "\n\n" + evidence("training-profile")


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


def inference_table() -> str:
    """Every contender of every inference case."""
    blocks = []
    for case in read("inference-speed")["cases"]:
        name = f"{case['net']}, batch {case['batch']}"
        rows = [
            (name, _shown(who), f"{numbers['images_per_s']:,.1f}", span(numbers["images_per_s_range"]))
            for who, numbers in case["contenders"].items()
        ]
        rows += [(name, _shown(who), "left out", reason) for who, reason in case["left_out"].items()]
        blocks.append(table(("net", "implementation", "images/s", "range"), rows))
    return "\n\n".join(blocks) + "\n\n" + evidence("inference-speed")


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


def _shown(who: str) -> str:
    """A contender's name in a table."""
    return who.replace("ours", "plusx").replace("frozen streams", "plusx, frozen in streams")
