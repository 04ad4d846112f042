"""The tables of the documentation, from results of two processors."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from docs.build import busy, inference, performance, processors, readme, results, training
from docs.build.pages import PAGES, built
from docs.build.words import WORDS

XEON = {"cpu": "Intel(R) Xeon(R) Processor", "cpus": 2, "bf16": "AMX", "device": "cpu"}
EPYC = {"cpu": "AMD EPYC", "cpus": 2, "bf16": "AVX512-BF16", "device": "cpu"}


def evidence(machine: dict[str, Any], **other: str) -> dict[str, Any]:
    return {"date": "2026-01-02", "torch": "9.0", "commit": "abc", "machine": machine, **other}


def speed(net: str, isa: str, machine: dict[str, Any]) -> dict[str, Any]:
    bf16 = isa == "all"
    rates = {"eager fp32": 100.0, "eager fp32 channels last": 120.0, "ours": 480.0}
    rates |= {"eager bf16": 240.0, "compile bf16": 200.0} if bf16 else {}
    over = {who: {"ratio": 480 / rate, "ratio_range": [1.0, 9.0]} for who, rate in rates.items() if who != "ours"}
    return {
        "net": net,
        "batch_size": 16 if net in ("resnet18", "resnet50") else 128,
        "onednn_max_cpu_isa": isa,
        "placement": {"precision": "bf16" if bf16 else "fp32"},
        "contenders": {who: {"images_per_s": rate, "peak_memory_bytes": 2**30} for who, rate in rates.items()},
        "ratios": over,
        "fastest_peer": "eager bf16" if bf16 else "eager fp32 channels last",
        "left_out": {"compile fp32": "no compiler"},
        "evidence": evidence(machine),
    }


def profile(net: str, isa: str, machine: dict[str, Any]) -> dict[str, Any]:
    precision, eager = ("bf16", "eager bf16") if isa == "all" else ("fp32", "eager fp32 channels last")
    spent = {"parts": {"normalisation": 0.2, "other": 0.00001}, "seconds": 0.3, "profiled_seconds": 0.3}
    return {
        "net": net,
        "batch_size": 128,
        "onednn_max_cpu_isa": isa,
        "precision": precision,
        "contenders": {who: {**spent, "times_the_floor": 3.0} for who in (eager, "ours")},
        "floor": {"operations": 5e9, "operations_seconds": 0.1, "bytes": 7e6, "bytes_seconds": 0.02, "seconds": 0.1},
        "evidence": evidence(machine),
    }


def inferring(batch: int, machine: dict[str, Any]) -> dict[str, Any]:
    rates = {"eager fp32": 10.0, "openvino latency bf16": 80.0, "openvino throughput bf16": 90.0, "ours bf16": 99.0}
    over = {who: {"ratio": 99 / rate, "ratio_range": [1.0, 2.0]} for who, rate in rates.items() if who != "ours bf16"}
    return {
        "net": "resnet50",
        "batch": batch,
        "contenders": {who: {"images_per_s": rate, "images_per_s_range": [1.0, 99.0]} for who, rate in rates.items()},
        "ratios": {"ours bf16": {**over, "fastest_peer": "openvino throughput bf16"}},
        "left_out": {},
        "evidence": evidence(machine),
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of results/ where two processors measured the speed."""
    folder = tmp_path / "results"
    shutil.copytree(results.RESULTS, folder)
    monkeypatch.setattr(results, "RESULTS", folder)
    trained = (
        ("resnet20", "all"),
        ("resnet56", "all"),
        ("resnet18", "AVX2"),
        ("resnet50", "all"),
        ("resnet20", "AVX2"),
    )
    profiled = (("resnet20", "all"), ("resnet56", "all"), ("resnet20", "AVX2"))
    both = (XEON, EPYC)
    measured = {
        "training-speed": [speed(net, isa, machine) for machine in both for net, isa in trained],
        "training-profile": [profile(net, isa, EPYC) for net, isa in profiled] + [profile("resnet20", "all", XEON)],
        "inference-speed": [inferring(batch, machine) for machine in both for batch in (16, 1)],
    }
    for name, cases in measured.items():
        (folder / f"{name}.json").write_text(json.dumps({"cases": cases}))
    return folder


@pytest.mark.parametrize(
    ("cpu", "bf16", "name"),
    [
        ("Intel(R) Xeon(R) Processor", "AMX", "Intel Xeon (AMX)"),
        ("AMD EPYC", "AVX512-BF16", "AMD EPYC (AVX512-BF16)"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "AMX", "Intel Xeon Platinum 8481C (AMX)"),
        ("AMD Ryzen 7 5800X 8-Core Processor", "no", "AMD Ryzen 7 5800X (no bf16)"),
        ("12th Gen Intel(R) Core(TM) i7-1260P", "no", "12th Gen Intel Core i7-1260P (no bf16)"),
    ],
)
def test_a_processor_has_a_short_name(cpu: str, bf16: str, name: str) -> None:
    assert processors.short_name({"cpu": cpu, "bf16": bf16}) == name


@pytest.mark.parametrize("page", PAGES)
def test_every_page_builds(page: str, folder: Path) -> None:
    assert "AMD EPYC" in built(page) or page == "docs/story.md"


def test_each_processor_has_its_block_and_its_targets(folder: Path) -> None:
    xeon, epyc = training.summary_table().split("**AMD EPYC (AVX512-BF16), 2 cores**")

    def row(block: str, name: str) -> list[str]:
        (line,) = [line for line in block.splitlines() if line.startswith(f"| {name} |")]
        return [cell.strip() for cell in line.strip("|").split("|")]

    assert xeon.startswith("**Intel Xeon (AMX), 2 cores**")
    assert "Intel(R) Xeon(R) Processor, 2 cores" in xeon and "AMD EPYC, 2 cores, torch 9.0, commit abc" in epyc
    asked = {"resnet20, 128, AVX2": ["1.1", "1.4"], "resnet18, 16, AVX2": ["1.0", ""]}
    for block, of_its_own in (
        (xeon, {"resnet20, 128": ["1.4", "2"], "resnet50, 16": ["", "1.5"]}),
        (epyc, {"resnet20, 128": ["1.25", "1.6"], "resnet50, 16": ["", ""]}),
    ):
        for name, target in {**asked, **of_its_own}.items():
            assert row(block, name)[4:6] == target
    assert row(epyc, "resnet20, 128")[1:4] == ["480 (bf16)", "240 (eager bf16)", "2.00 (1.00–9.00)"]
    assert row(epyc, "resnet56, 128")[6:] == ["100", "3.0"]
    assert row(xeon, "resnet56, 128")[6:] == ["", ""]  # its profile was not measured


def test_rows_go_by_net_and_then_from_most_to_fewest_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    measured = [("resnet20", "AVX2"), ("resnet56", "all"), ("resnet20", "all"), ("resnet20", "AVX512_CORE")]
    cases = [
        {"net": net, "batch_size": 8, "onednn_max_cpu_isa": isa, "evidence": evidence(XEON)} for net, isa in measured
    ]
    (tmp_path / "x.json").write_text(json.dumps({"cases": cases}))
    assert [processors.named(case) for case in processors.cases_of("x")] == [
        "resnet20, 8",
        "resnet20, 8, AVX512_CORE",
        "resnet20, 8, AVX2",
        "resnet56, 8",
    ]


def test_evidence_names_what_was_measured_apart() -> None:
    usual = [{"net": "resnet20", "batch_size": n, "evidence": evidence(XEON)} for n in (1, 2)]
    later = {"net": "resnet56", "batch": 16, "onednn_max_cpu_isa": "AVX2", "evidence": evidence(XEON, commit="def")}
    newer = {"net": "resnet56", "batch": 8, "evidence": evidence(XEON, commit="def", torch="9.1")}
    assert processors.evidence_line([*usual, later, newer]) == (
        "Intel(R) Xeon(R) Processor, 2 cores, torch 9.0, commit abc, 2026-01-02. "
        "resnet56, 16, AVX2: def, 2026-01-02. resnet56, 8: torch 9.1, def, 2026-01-02."
    )


def test_evidence_names_trainings_that_were_measured_apart() -> None:
    usual = [{"data": "ants-bees", "way": way, "seed": 0, "evidence": evidence(XEON)} for way in ("quick", "scratch")]
    later = {"data": "ants-bees", "way": "quick", "seed": 2, "evidence": evidence(XEON, commit="def")}
    assert processors.evidence_line([*usual, later]).endswith(" ants-bees, quick, seed 2: def, 2026-01-02.")


def test_a_profile_has_its_instruction_sets_as_columns(folder: Path) -> None:
    epyc, xeon = training.profile_table().split("<details>")[1:]
    assert "<summary>Intel Xeon (AMX), 2 cores</summary>" in xeon and "AMD EPYC (AVX512-BF16), 2 cores" in epyc
    title = "| resnet20, batch 128: milliseconds per step | eager bf16 | plusx |"
    assert f"{title}\n" in xeon and f"{title} eager fp32 channels last, AVX2 | plusx, AVX2 |\n" in epyc
    assert "| floor by operations | 100.0 | 100.0 | 100.0 | 100.0 |" in epyc
    assert "| multiple of the floor | 3.0 | 3.0 | 3.0 | 3.0 |" in epyc
    assert "5.0 G operations in a step; it moves at least 7 MB in bf16 or 7 MB in fp32." in epyc
    assert "| other |" not in epyc  # it rounds to nothing


def test_contenders_and_targets_stand_under_their_processor(folder: Path) -> None:
    table = training.training_table()
    assert table.count("| resnet20, 128, AVX2 | plusx | 480.0 |") == table.count("<summary>") == 2
    assert table.count("| resnet20, 128 | compile fp32 | left out |") == 2
    assert inference.inference_table().count("<summary>") == 2
    bars = performance.bars_table()
    assert "batch 1, over OpenVINO | AMD EPYC (AVX512-BF16) | 1.0 |  | 1.10 (1.00–2.00), openvino throughput" in bars
    assert "speedup over eager fp32 | Intel Xeon (AMX) | 3.0 | 5 | 4.80" in bars
    assert "speedup over eager fp32 | AMD EPYC" not in bars  # asked of AMX alone
    assert "(resnet18, AVX2) | AMD EPYC (AVX512-BF16) | 0.97 |" in bars


@pytest.mark.parametrize("language", WORDS)
def test_readme_names_the_processor_of_each_row(language: str, folder: Path) -> None:
    table = readme.speed_table(WORDS[language])
    assert table.count("| resnet20, 128 | Intel Xeon (AMX) |") == 1
    assert table.count("| resnet20, 128 | AMD EPYC (AVX512-BF16) |") == 1
    assert table.count("| AMD EPYC (AVX512-BF16), AVX2") == 2  # of resnet18 and resnet20
    assert "torch 9.0" in table


def test_busy_programs_have_their_table(folder: Path) -> None:
    (folder / "busy.json").unlink(missing_ok=True)
    assert busy.busy_table() == "Not measured."

    def case(kind: str, count: int, ours: float, theirs: float) -> dict[str, Any]:
        over = {"ratio": ours / theirs, "ratio_range": [0.9, 3.0]}
        return {
            "net": "resnet20",
            "batch_size": 128,
            "beside": {"kind": kind, "count": count},
            "contenders": {
                "ours": {"images_per_s": ours, "images_per_s_range": [1, 9], "share_of_quiet": ours / 1000},
                "eager fp32": {"images_per_s": theirs / 2, "share_of_quiet": 0.5, "ratio": 9.0, "ratio_range": [1, 9]},
                "eager bf16": {"images_per_s": theirs, "share_of_quiet": 0.6, **over},
            },
        }

    cases = [case("nothing", 0, 1000, 500), case("loop", 1, 640, 320), case("loop", 2, 300, 200)]
    (folder / "busy.json").write_text(json.dumps({**evidence(EPYC), "cases": cases}))
    table = busy.busy_table()
    assert "**AMD EPYC (AVX512-BF16), 2 cores**: resnet20, batch 128" in table
    assert "| nothing | 1,000 (1.00 of quiet) | 250 (0.50 of quiet) | 500 (0.60 of quiet) |  | 2.00" in table
    assert "| 1 × loop | 640 (0.64 of quiet) |" in table and "| 0.5 (aim 0.62) | 2.00" in table
    assert "| 2 × loop | 300 (0.30 of quiet) |" in table and "| 0.3 | 1.50" in table
