"""The table of docs/performance.md about training beside other programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from docs.build.markdown import ratio, shown, table
from docs.build.processors import Case, by_processor, cases_of, evidence_line
from docs.build.results import exists
from docs.build.targets import BESIDE


def busy_table() -> str:
    """For each processor and net: plusx and plain PyTorch beside each kind of busy program."""
    if not exists("busy"):
        return "Not measured."
    blocks = []
    for name, cases in by_processor(cases_of("busy")).items():
        for net, batch in dict.fromkeys((case["net"], case["batch_size"]) for case in cases):
            of_net = [case for case in cases if (case["net"], case["batch_size"]) == (net, batch)]
            blocks.append(
                f"**{name}**: {net}, batch {batch}\n\n{_beside(of_net)}\n\n<sub>{evidence_line(of_net)}</sub>"
            )
    return "\n\n".join(blocks)


def _beside(cases: Sequence[Case]) -> str:
    whose = list(dict.fromkeys(who for case in cases for who in ("ours", *case["contenders"])))
    rows = []
    for case in cases:
        contenders, count = case["contenders"], case["beside"]["count"]
        required, aim = BESIDE.get(count, ("", ""))
        peers = {who: numbers for who, numbers in contenders.items() if "ratio" in numbers}
        fastest = max(peers, key=lambda who: peers[who]["images_per_s"])
        rows.append(
            (
                f"{count} × {case['beside']['kind']}" if count else "nothing",
                *(_rate(contenders[who]) if who in contenders else "" for who in whose),
                required + (f" (aim {aim})" if aim else ""),
                f"{ratio(peers[fastest])}, {fastest}",
            )
        )
    heads = (f"{shown(who)}, images/s" for who in whose)
    return table(("beside", *heads, "required share", "speedup over the fastest other (range)"), rows)


def _rate(numbers: Mapping[str, Any]) -> str:
    """Images per second, and their share of the quiet machine's."""
    share = numbers.get("share_of_quiet")
    return f"{numbers['images_per_s']:,.0f}" + (f" ({share:.2f} of quiet)" if share is not None else "")
