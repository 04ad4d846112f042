"""The table of docs/performance.md about inference on a CPU, processor by processor, and its rows among the targets."""

from collections.abc import Sequence

from docs.build.markdown import ratio, shown, span, table
from docs.build.processors import Case, by_processor, cases_of, folded, short_name


def inference_table() -> str:
    """Every contender of every inference case."""
    return folded(by_processor(cases_of("inference-speed")), _contenders)


def inference_bars() -> list[tuple[str, str, str, str, str]]:
    """What was asked of ResNet-50 in the best precision of each processor, and what was measured."""
    rows = []
    for case in cases_of("inference-speed"):
        machine, over = case["evidence"]["machine"], list(case["ratios"].values())[-1]  # bf16 where there is any
        name, peer = short_name(machine), over["fastest_peer"]
        what = f"ResNet-50 at 224, inference, batch {case['batch']}"
        if case["batch"] > 1:
            if machine["bf16"] == "AMX":
                rows.append((f"{what}, speedup over eager fp32", name, "8", "10", ratio(over["eager fp32"])))
            rows.append((f"{what}, over the best peer", name, "1.0", "1.2", f"{ratio(over[peer])}, {peer}"))
            continue
        rates = {who: case["contenders"][who]["images_per_s"] for who in over if who.startswith("openvino")}
        if rates:
            peer = max(rates, key=lambda who: rates[who])
            rows.append((f"{what}, over OpenVINO", name, "1.0", "", f"{ratio(over[peer])}, {peer}"))
    return rows


def _contenders(cases: Sequence[Case]) -> str:
    blocks = []
    for case in cases:
        name = f"{case['net']}, batch {case['batch']}"
        rows = [
            (name, shown(who), f"{numbers['images_per_s']:,.1f}", span(numbers["images_per_s_range"]))
            for who, numbers in case["contenders"].items()
        ]
        rows += [(name, shown(who), "left out", reason) for who, reason in case["left_out"].items()]
        blocks.append(table(("net", "implementation", "images/s", "range"), rows, words=2))
    return "\n\n".join(blocks)
