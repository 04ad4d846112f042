"""The table of docs/serving.md: the server under load."""

from collections.abc import Mapping
from typing import Any

from docs.build.markdown import table
from docs.build.processors import Case, by_processor, evidence_line, processor
from docs.build.results import exists, read

SERVERS = {"ours": "plusx", "litserve": "LitServe", "fastapi": "a plain handler of FastAPI"}


def serving_tables() -> str:
    """What was asked of each server and what it answered, for each processor."""
    if not exists("serving"):
        return "Not measured."
    return "\n\n".join(_tables(cases) for cases in by_processor(read("serving")["cases"]).values())


def _tables(cases: list[Case]) -> str:
    by_way = {case["way"]: case for case in cases}
    parts = [f"**{processor(cases[0]['evidence']['machine'])}**"]
    if "peers" in by_way:
        case = by_way["peers"]
        rows = [(name, *_speeds(case[who]), str(case[who]["errors"])) for who, name in SERVERS.items()]
        parts.append(table(("server", "answers a second", "p50, ms", "p99, ms", "errors"), rows))
    sentences = [sentence(by_way[way]) for way, sentence in SENTENCES.items() if way in by_way]
    parts.append("\n".join(f"- {each}" for each in sentences))
    if "overload" in by_way:
        case = by_way["overload"]
        rows = [
            (
                f"{times} of {case['capacity_per_s']:.0f} a second",
                f"{found['answered_per_s']:.1f}",
                f"{found['p50_ms']:,.0f}",
                f"{found['p99_ms']:,.0f}",
                f"{100 * found['statuses'].get('503', 0) / sum(found['statuses'].values()):.0f} %",
                str(found["lost"]),
            )
            for times, found in ((times, case[times]) for times in ("1x", "2x", "10x"))
        ]
        head = (f"{case['net']}, asked", "answers a second", "p50, ms", "p99, ms", "refused with 503", "lost")
        parts.append(table(head, rows))
    parts.append(f"<sub>{evidence_line(cases)}</sub>")
    return "\n\n".join(parts)


def _speeds(found: Mapping[str, Any]) -> list[str]:
    return [_spread(found[key]) for key in ("answered_per_s", "p50_ms", "p99_ms")]


def _spread(numbers: list[float]) -> str:
    return "{:.0f} ({:.0f}–{:.0f})".format(*numbers)


def _latency(case: Case) -> str:
    return (
        f"One client, one {case['image']}: {case['server_p50_ms'][0]:.1f} ms by the median; the predictor alone takes "
        f"{case['predictor_p50_ms'][0]:.1f} ms, and HTTP adds "
        "{:.1f} ms ({:.1f} to {:.1f} over the rounds).".format(*case["http_ms"])
    )


def _batching(case: Case) -> str:
    found = (
        "{:.2f} ({:.2f} to {:.2f}) times as many answers from {} clients".format(*its["ratio"], clients)
        for clients, its in case["by_clients"].items()
    )
    return f"Images of several requests together, beside each by itself: {' and '.join(found)}."


def _memory(case: Case) -> str:
    return (
        f"After {case['requests']:,} requests the process holds {case['resident_bytes'][-1] / 2**20:.0f} MB, "
        f"{case['growth_bytes'] / 2**20:.1f} MB more than after the first {case['requests'] // 5:,}."
    )


def _paint(case: Case) -> str:
    return "The page is first painted after {:.0f} ms ({:.0f} to {:.0f}) in headless Chromium.".format(
        *case["first_paint_ms"]
    )


SENTENCES = {"latency": _latency, "batching": _batching, "memory": _memory, "paint": _paint}
