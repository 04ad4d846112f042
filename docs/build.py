"""The numbers in README.md and README.ko.md, written from results/: `python docs/build.py`.

    python docs/build.py                    rewrite what stands between the markers
    python docs/build.py collect DEMO...    first take over folders that `plusx demo` left, one a seed
    python docs/build.py collect-run RUN    first take over a run of CIFAR-10

A test holds the two files to what this writes.
"""

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
DEGRADATION, SPEED, CIFAR10, PEERS = (
    RESULTS / f"{name}.json" for name in ("degradation-digits", "training-speed", "cifar10-quick", "nets-speed")
)
NETS = ("plain20", "plain56", "resnet20", "resnet56")
WORDS = {
    "README.md": {
        "net": "net",
        "train": "training error",
        "test": "test error",
        "mean": "mean ± std of {n} seeds",
        "cifar10": "`plusx train cifar10` (ResNet-20, 45 epochs of 45,000 images) ended at {accuracy:.2f} % test "
        "accuracy after {minutes:.0f} minutes on {cpus} cores with AMX, {pace:,.0f} images/s, {memory:.2f} GiB at the "
        "peak (n = 1, seed 0, torch {torch}).",
        "nets": ("file", "nets", "parameters"),
        "span": "{low:.2f} to {high:.2f} times (median {median:.2f})",
        "peers": "{nets} nets that torchvision or timm also have, at equal weights, in fp32 and contiguous memory, "
        "reach {forward} their images/s forward, and {train} forward and backward ({cpu}, {cpus} cores, torch {torch}, "
        "commit {commit}, {date}).",
        "speed": ("net, batch", "processor", "PyTorch, fp32", "PyTorch, bf16", "torch.compile, bf16", "plusx")
        + ("over fp32 (range)", "over the fastest (range)"),
        "all": "all of it",
        "limited": "limited to {isa}",
        "evidence": "{cpu}, {cpus} cores, torch {torch}, commit {commit}, {date}. Images/s of whole training steps.",
    },
    "README.ko.md": {
        "net": "신경망",
        "train": "학습 오류율",
        "test": "시험 오류율",
        "mean": "시드 {n}개의 평균 ± 표준편차",
        "cifar10": "`plusx train cifar10`(ResNet-20, 45,000장을 45 에폭)은 AMX가 있는 코어 {cpus}개에서 "
        "{minutes:.0f}분 만에 시험 정확도 {accuracy:.2f} %에 이르렀습니다. 초당 {pace:,.0f}장, "
        "최대 메모리 {memory:.2f} GiB (n = 1, 시드 0, torch {torch}).",
        "nets": ("파일", "신경망", "파라미터"),
        "span": "{low:.2f}~{high:.2f}배(중앙값 {median:.2f})",
        "peers": "torchvision이나 timm에도 있는 신경망 {nets}개를 같은 가중치, fp32, 같은 메모리 배치로 재면 초당 "
        "이미지 수가 순전파에서 {forward}, 순전파와 역전파에서 {train}입니다("
        "{cpu}, 코어 {cpus}개, torch {torch}, 커밋 {commit}, {date}).",
        "speed": ("신경망, 배치", "프로세서", "PyTorch, fp32", "PyTorch, bf16", "torch.compile, bf16", "plusx")
        + ("fp32 대비 (범위)", "가장 빠른 것 대비 (범위)"),
        "all": "제한 없음",
        "limited": "{isa}까지만",
        "evidence": "{cpu}, 코어 {cpus}개, torch {torch}, 커밋 {commit}, {date}. 학습 단계 전체의 초당 이미지 수.",
    },
}


def collect(folders: list[Path]) -> None:
    """Take the numbers of finished demos into results/, and the first one's curves into docs/."""
    from plusx.runs.report import comparison_svg
    from plusx.runs.store import read_card

    seeds = []
    for folder in folders:
        results = {net: read_card(folder / net).results for net in NETS}
        errors = {net: {key: r[key] for key in ("train_error", "test_error", "seconds")} for net, r in results.items()}
        seeds.append({"seed": results["plain20"]["seed"], "nets": errors})
    card = read_card(folders[0] / "plain20")
    evidence = {"machine": card.results["machine"], "versions": dict(card.versions), "recipe": card.recipe.name}
    DEGRADATION.write_text(json.dumps({**evidence, "seeds": seeds}, indent=1) + "\n")
    for name, ink in (("light", "#1c1f24"), ("dark", "#e8eaed")):
        svg = comparison_svg([folders[0] / net for net in NETS]).replace("currentColor", ink)
        (ROOT / "docs" / f"degradation-{name}.svg").write_text(svg + "\n")


def collect_run(run: Path) -> None:
    """Take the numbers of one finished run into results/."""
    from plusx.runs.store import read_card

    card = read_card(run)
    evidence = {"recipe": card.recipe.name, "images": card.source["images"], "versions": dict(card.versions)}
    placement = {key: value for key, value in card.placement.items() if key != "reasons"}
    CIFAR10.write_text(json.dumps({**card.results, **evidence, "placement": placement}, indent=1) + "\n")


def cifar10_sentence(words: dict[str, Any]) -> str:
    """What `plusx train cifar10` reached, and what it cost."""
    r = json.loads(CIFAR10.read_text())
    return words["cifar10"].format(
        accuracy=100 * r["test_accuracy"],
        minutes=r["seconds"] / 60,
        pace=r["images_per_s"],
        memory=r["peak_memory_bytes"] / 2**30,
        cpus=r["machine"]["cpus"],
        torch=r["versions"]["torch"],
    )


def nets_table(words: dict[str, Any]) -> str:
    """The catalog, a line for each family."""
    from plusx.nets import entry, names

    families: dict[str, list[str]] = {}
    for name in names():
        families.setdefault(entry(name).family, []).append(name)
    lines = ["| " + " | ".join(words["nets"]) + " |", "|---|---|---:|"]
    for family, members in families.items():
        low, *_, high = sorted(entry(name).params for name in members)
        span = f"{low:,}" if low == high else f"{low:,} – {high:,}"
        lines.append(f"| `{family}.py` | {', '.join(f'`{name}`' for name in members)} | {span} |")
    return "\n".join(lines)


def peers_sentence(words: dict[str, Any]) -> str:
    """Forward and backward beside torchvision and timm."""
    results = json.loads(PEERS.read_text())
    ratios = {work: sorted(c["ratio"] for c in results["cases"] if c["work"] == work) for work in ("forward", "train")}
    spans = {
        work: words["span"].format(low=r[0], median=statistics.median(r), high=r[-1]) for work, r in ratios.items()
    }
    evidence = {key: results[key] for key in ("torch", "commit", "date")}
    machine = {key: results["machine"][key] for key in ("cpu", "cpus")}
    return words["peers"].format(nets=len(ratios["train"]), **spans, **machine, **evidence)


def degradation_table(words: dict[str, Any]) -> str:
    """Training and test error of the four nets."""
    seeds = json.loads(DEGRADATION.read_text())["seeds"]
    lines = [f"| {words['net']} | {words['train']} | {words['test']} |", "|---|---:|---:|"]
    for net in NETS:
        cells = [_spread([seed["nets"][net][key] for seed in seeds]) for key in ("train_error", "test_error")]
        lines.append(f"| {net} | {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\n{words['mean'].format(n=len(seeds))}"


def speed_table(words: dict[str, Any]) -> str:
    """Images per second beside plain PyTorch and the fastest of all others; a dash where one was not measured."""
    results = json.loads(SPEED.read_text())
    lines = ["| " + " | ".join(words["speed"]) + " |", "|---|---|" + "---:|" * 6]
    for case in results["cases"]:
        isa, ratios, fastest = case["onednn_max_cpu_isa"], case["ratios"], case["fastest_peer"]
        rates = {who: f"{found['images_per_s']:,.0f}" for who, found in case["contenders"].items()}
        cells = [
            f"{case['net']}, {case['batch_size']}",
            words["all"] if isa == "all" else words["limited"].format(isa=isa),
            *(rates.get(who, "–") for who in ("eager fp32", "eager bf16", "compile bf16")),
            f"{rates['ours']} ({case['placement']['precision']})",
            _ratio(ratios["eager fp32"]),
            f"{_ratio(ratios[fastest])}, {fastest}" if fastest else "–",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    evidence = {key: results[key] for key in ("torch", "commit", "date")}
    machine = {key: results["machine"][key] for key in ("cpu", "cpus")}
    return "\n".join(lines) + "\n\n" + words["evidence"].format(**machine, **evidence)


def built(name: str) -> str:
    """A README with its tables as results/ has them."""
    text = (ROOT / name).read_text(encoding="utf-8")
    tables = {
        "degradation": degradation_table,
        "nets": nets_table,
        "peers": peers_sentence,
        "cifar10": cifar10_sentence,
        "speed": speed_table,
    }
    for marker, table in tables.items():
        between = re.compile(rf"(<!-- {marker} -->\n)(?:.*?\n)?(<!-- /{marker} -->)", re.DOTALL)
        text = between.sub(lambda match, t=table: f"{match[1]}{t(WORDS[name])}\n{match[2]}", text)
    return text


def _ratio(found: dict[str, Any]) -> str:
    low, high = found["ratio_range"]
    return f"{found['ratio']:.2f} ({low:.2f}–{high:.2f})"


def _spread(errors: list[float]) -> str:
    mean, deviation = statistics.mean(errors), statistics.stdev(errors)
    return f"{100 * mean:.1f} ± {100 * deviation:.1f} %"


if __name__ == "__main__":
    if sys.argv[1:2] == ["collect"]:
        collect([Path(folder) for folder in sys.argv[2:]])
    if sys.argv[1:2] == ["collect-run"]:
        collect_run(Path(sys.argv[2]))
    for readme in WORDS:
        (ROOT / readme).write_text(built(readme), encoding="utf-8")
