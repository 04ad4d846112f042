"""The numbers in README.md, README.ko.md and docs/, written from results/: `python docs/build.py`.

    python docs/build.py                            rewrite what stands between the markers
    python docs/build.py collect DEMO...            first take over folders that `plusx demo` left, one a seed
    python docs/build.py collect-run RUN            first take over a run of CIFAR-10
    python docs/build.py collect-reproduced FOLDER  first take over what `plusx reproduce` left, as reproduced/quick
    python docs/build.py figures                    first draw all figures again, from the numbers in results/

A test holds the files to what this writes.
"""

import json
import re
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from plusx.experiments.story import EXPERIMENTS

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
        "accuracy": "`plusx train cifar10 --recipe {recipe}`: {mean:.2f} ± {std:.2f} % test accuracy (n = {n}) after "
        "{minutes:.1f} minutes, from the start of the command to its end.",
        "machine": "{cpu}, {cpus} cores, torch {torch}, commit {commit}, {date}.",
        "experiments": ("`plusx reproduce`", "the claim", "trainings", "seen here"),
        "claims": {},
        "verdict": {},
        "table6": ("net", "paper, test error (%)", "ours (%)"),
        "steps": "He et al. (2015), Table 6; the paper's recipe in {steps:,} steps, not 64,000, with a rate that rises "
        "over the first 400; the weights are those of the last step.",
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
        "accuracy": "`plusx train cifar10 --recipe {recipe}`: 명령을 시작해 끝날 때까지 {minutes:.1f}분 만에 "
        "시험 정확도 {mean:.2f} ± {std:.2f} % (n = {n}).",
        "machine": "{cpu}, 코어 {cpus}개, torch {torch}, 커밋 {commit}, {date}.",
        "experiments": ("`plusx reproduce`", "논문의 주장", "학습 수", "여기서 보았는가"),
        "verdict": {"yes": "예", "in part": "일부", "no": "아니요"},
        "claims": {
            "accounting": "AlexNet에서 DPN까지, 오류율에 견준 파라미터와 연산과 메모리",
            "ingredients": "작은 신경망에서 한 부분씩 바꾸면 무엇이 달라지는가; 한 층짜리 블록은 이점이 없다",
            "worked-example": "시그모이드 세 개의 사슬에서 지름길은 주 경로의 40배인 기울기를 전한다",
            "gates": "깊은 일반 신경망은 학습되지 않고, 하이웨이와 잔차 신경망은 학습된다",
            "degradation": "일반 신경망은 깊을수록 학습 오류율이 높고, 잔차 신경망은 낮다",
            "gradients": "깊은 일반 신경망의 퇴화는 기울기 소실 때문이 아니다: 배치 정규화가 있으면 기울기는 건강하다",
            "cifar10-table": "잔차 신경망은 깊을수록 낫다: 시험 오류율이 20층에서 8.75 %, 110층에서 6.43 %",
            "shortcuts": "지름길 A, B, C는 모두 일반 신경망보다 훨씬 낫고 서로는 별 차이가 없다",
            "responses": "잔차 신경망의 층은 일반 신경망의 층보다 약하게 반응하고, 깊을수록 더 약하다",
            "lesions": "잔차 신경망은 블록 하나를 빼도 거의 그대로이고, 일반 신경망은 무너진다",
            "stochastic-depth": "학습하면서 블록을 무작위로 빼면 시험 오류율이 낮아진다",
            "ensemble": "깊이가 다른 신경망의 평균은 그중 가장 나은 것보다 덜 틀린다",
            "imagenet-table": "ImageNet에서 깊은 잔차 신경망이 얕은 것보다 낫다",
        },
        "table6": ("신경망", "논문의 시험 오류율 (%)", "우리 (%)"),
        "steps": "He et al. (2015), 표 6. 논문의 방법을 64,000 단계 대신 {steps:,} 단계로 줄이고 처음 400 단계 동안 "
        "학습률을 올렸으며, 가중치는 마지막 단계의 것입니다.",
        "all": "제한 없음",
        "limited": "{isa}까지만",
        "evidence": "{cpu}, 코어 {cpus}개, torch {torch}, 커밋 {commit}, {date}. 학습 단계 전체의 초당 이미지 수.",
    },
}


def collect(folders: list[Path]) -> None:
    """Take the numbers of finished demos into results/, with the curves of the first, and draw these."""
    from plusx.report.run import comparison_curves
    from plusx.runs.store import read_card

    seeds = []
    for folder in folders:
        results = {net: read_card(folder / net).results for net in NETS}
        errors = {net: {key: r[key] for key in ("train_error", "test_error", "seconds")} for net, r in results.items()}
        seeds.append({"seed": results["plain20"]["seed"], "nets": errors})
    card = read_card(folders[0] / "plain20")
    evidence = {"machine": card.results["machine"], "versions": dict(card.versions), "recipe": card.recipe.name}
    curves = comparison_curves([folders[0] / net for net in NETS])
    DEGRADATION.write_text(json.dumps({**evidence, "seeds": seeds, "curves": curves}, indent=1) + "\n")
    draw_figures()


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
    """Images per second beside plain PyTorch and the fastest of all others; a dash where one was left out."""
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
            f"{_ratio(ratios[fastest])}, {fastest}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    evidence = {key: results[key] for key in ("torch", "commit", "date")}
    machine = {key: results["machine"][key] for key in ("cpu", "cpus")}
    return "\n".join(lines) + "\n\n" + words["evidence"].format(**machine, **evidence) + _measured_apart(results)


def accuracy_lines(words: dict[str, Any]) -> str:
    """What the fast recipes reach, and in which time."""
    found = _read("time-to-accuracy")
    lines = [
        "- "
        + words["accuracy"].format(
            recipe=recipe,
            mean=100 * numbers["test_accuracy_mean"],
            std=100 * numbers["test_accuracy_std"],
            n=numbers["n"],
            minutes=numbers["seconds_mean"] / 60,
        )
        for recipe, numbers in found["recipes"].items()
    ]
    evidence = {key: found[key] for key in ("torch", "commit", "date")}
    machine = {key: found["machine"][key] for key in ("cpu", "cpus")}
    return "\n".join(lines) + "\n\n" + words["machine"].format(**machine, **evidence)


def bars_table() -> str:
    """What was asked of the speed, and what was measured."""
    training = {(c["net"], c["onednn_max_cpu_isa"]): c for c in _read("training-speed")["cases"]}
    inference = {c["batch"]: c for c in _read("inference-speed")["cases"]}[16]
    accuracy, depth = _read("time-to-accuracy")["recipes"], _read("training-depth")
    best = {net: training[net, "all"]["ratios"] for net in ("resnet20", "resnet56", "densenet_bc_100_12", "resnet50")}

    def over_best(net: str) -> str:
        """Over the faster of eager and compiled bf16."""
        found = {who: best[net][who] for who in ("eager bf16", "compile bf16") if who in best[net]}
        who = min(found, key=lambda who: found[who]["ratio"])
        return f"{_ratio(found[who])}, {who}"

    answered = inference["ratios"]
    answering = next(who for who in answered if who.endswith("bf16"))
    peer = answered[answering]["fastest_peer"]
    limited = [
        (min(ratio["ratio"] for who, ratio in c["ratios"].items() if who == "eager fp32"), c["net"], isa)
        for (_, isa), c in training.items()
        if isa != "all"
    ]
    slowest, net, isa = min(limited)
    rows = [
        ("ResNet-20, training, over eager fp32", "3.0", "5", _ratio(best["resnet20"]["eager fp32"])),
        ("ResNet-20, over the best of eager and compiled bf16", "1.4", "2", over_best("resnet20")),
        ("ResNet-56, the same", "1.3", "1.8", over_best("resnet56")),
        ("DenseNet-BC-100-12, the same", "1.3", "1.8", over_best("densenet_bc_100_12")),
        ("ResNet-50 at 224, training, over eager fp32", "3", "5", _ratio(best["resnet50"]["eager fp32"])),
        ("ResNet-50 at 224, inference, over eager fp32", "8", "10", _ratio(answered[answering]["eager fp32"])),
        ("the same over the best of its peers in bf16", "1.0", "1.2", f"{_ratio(answered[answering][peer])}, {peer}"),
        *(
            (f"{recipe}: {100 * found['target']:.2f} % in units, at most", bar, aim, _units(found))
            for (recipe, found), (bar, aim) in zip(
                sorted(accuracy.items(), reverse=True), (("11", "5.5"), ("5.5", "3.4")), strict=True
            )
        ),
        ("time a layer from 20 to 1202 layers, apart by at most", "10 %", "", f"{100 * depth['deviation']:.0f} %"),
        (f"without bf16 in hardware, over eager fp32, the least ({net}, {isa})", "0.97", "", f"{slowest:.2f}"),
    ]
    return _table(("what", "at least", "aim", "measured (range of rounds)"), rows)


def training_table() -> str:
    """Every contender of every training case."""
    rows = []
    for case in _read("training-speed")["cases"]:
        isa = case["onednn_max_cpu_isa"]
        for who, found in case["contenders"].items():
            ratio = _ratio(case["ratios"][who]) if who in case["ratios"] else ""
            memory = f"{found['peak_memory_bytes'] / 2**30:.2f}" if found.get("peak_memory_bytes") else ""
            name = f"{case['net']}, {case['batch_size']}" + ("" if isa == "all" else f", {isa}")
            rows.append((name, who, f"{found['images_per_s']:,.1f}", ratio, memory))
    head = ("net, batch", "who", "images/s", "ours over it (range)", "peak GiB")
    return _table(head, rows) + "\n\n" + _evidence("training-speed")


def profile_table() -> str:
    """Where a step's time goes, before and after, and the floor."""
    blocks = []
    for case in _read("training-profile")["cases"]:
        contenders, least = case["contenders"], case["floor"]
        parts = list(dict.fromkeys(part for who in ("ours", *contenders) for part in contenders[who]["parts"]))
        rows = [
            (part, *(f"{1e3 * found['parts'].get(part, 0):.1f}" for found in contenders.values())) for part in parts
        ]
        rows += [
            (what, *(f"{1e3 * found[key]:.1f}" for found in contenders.values()))
            for what, key in (("all, under the profiler", "profiled_seconds"), ("all, without it", "seconds"))
        ]
        rows += [("times the floor", *(f"{found['times_the_floor']:.1f}" for found in contenders.values()))]
        title = f"{case['net']}, batch {case['batch_size']}: milliseconds of a step"
        floor = (
            f"Floor: {1e3 * least['operations_seconds']:.1f} ms for {least['operations'] / 1e9:,.1f} G operations, "
            f"{1e3 * least['bytes_seconds']:.1f} ms for {least['bytes'] / 1e6:,.0f} MB."
        )
        blocks.append(_table((title, *contenders), rows) + f"\n\n{floor}")
    return "\n\n".join(blocks) + "\n\n" + _evidence("training-profile")


def depth_table() -> str:
    """Time and memory by depth."""
    rows = [
        (
            case["net"] + (", checkpoints" if case["checkpoint"] else ""),
            f"{1e3 * case['seconds']:,.0f}",
            f"{1e3 * case['seconds_per_layer']:.2f}",
            f"{case['peak_memory_bytes'] / 2**30:.2f}",
        )
        for case in _read("training-depth")["cases"]
    ]
    return (
        _table(("net, batch 128", "ms a step", "ms a layer", "peak GiB"), rows) + "\n\n" + _evidence("training-depth")
    )


def inference_table() -> str:
    """Every contender of every inference case."""
    blocks = []
    for case in _read("inference-speed")["cases"]:
        rows = [
            (
                f"{case['net']}, batch {case['batch']}",
                who,
                f"{found['images_per_s']:,.1f}",
                _range(found["images_per_s_range"]),
            )
            for who, found in case["contenders"].items()
        ]
        rows += [
            (f"{case['net']}, batch {case['batch']}", who, "left out", reason)
            for who, reason in case["left_out"].items()
        ]
        blocks.append(_table(("net", "who", "images/s", "range"), rows))
    return "\n\n".join(blocks) + "\n\n" + _evidence("inference-speed")


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
        for run in sorted(_read("time-to-accuracy")["runs"], key=lambda run: run["recipe"])
    ]
    head = ("recipe", "seed", "test accuracy", "whole time", "units", "unit")
    return _table(head, rows) + "\n\n" + _evidence("time-to-accuracy")


def gpu_tables() -> str:
    """What one GPU makes of training: steps, several runs at once, time to an accuracy, the paper's budget."""
    speed = _read("gpu-speed")["rows"]
    cases = list(dict.fromkeys((row["net"], row["batch"]) for row in speed))
    pace = {(row["net"], row["batch"], row["who"]): row["images_per_s"] for row in speed}
    rows = [
        (who, *(f"{pace[*case, who]:,.0f}" if (*case, who) in pace else "" for case in cases))
        for who in dict.fromkeys(row["who"] for row in speed)
    ]
    bars = [
        ("ResNet-20 at 128, over a CUDA graph of eager bf16", "0.9", cases[0], "plusx", "graph bf16"),
        ("the same compiled, over compiled + graph (the aim)", "", cases[0], "plusx, compiled", "compiled graph bf16"),
        ("res_airbench94 at 1000, over compiled + graph", "0.9", cases[2], "plusx, compiled", "compiled graph bf16"),
        ("ResNet-50 at 224, 256, over eager bf16", "1.3", cases[3], "plusx, compiled", "eager bf16"),
    ]
    ratios = [(what, bar, f"{pace[*case, who] / pace[*case, peer]:.3f}") for what, bar, case, who, peer in bars]
    runs = _read("gpu-accuracy")["rows"]
    seconds = statistics.median(run["training_seconds"] for run in runs)
    ratios.append(("cifar10-94, seconds of training, at most (median)", "3.0", f"{seconds:.2f}"))
    accuracies = [100 * run["test_accuracy"] for run in runs]
    ended = [row for row in _read("cifar10-paper")["rows"] if "test_error" in row]
    errors = ", ".join(f"{row['net']}, seed {row['seed']}: {100 * row['test_error']:.2f} %" for row in ended)
    side = [
        (", ".join(row["side"]), "yes" if row["compiled"] else "no", f"{row['images_per_s']:,.0f}")
        for row in _read("gpu-side")["rows"]
    ]
    found = _read("gpu-speed")
    return "\n\n".join(
        (
            _table(("images/s of whole steps", *(f"{net}, {batch}" for net, batch in cases)), rows),
            _table(("what", "at least", "measured"), ratios),
            f"`cifar10-94`, compiled: {statistics.mean(accuracies):.2f} ± {statistics.stdev(accuracies):.2f} % test "
            f"accuracy (n = {len(runs)}), {statistics.median(run['steps_seconds'] for run in runs):.2f} s of it in "
            f"steps. The first run of the process took {runs[0]['training_seconds']:.1f} s, with compiling.",
            f"64,000 steps of `cifar10-paper`, four nets side by side, test error after the last step: {errors}.",
            _table(("runs at once, each of batch 128", "compiled", "images/s of all"), side, words=2),
            f"<sub>{found['gpu']}, torch {found['torch']}, cuDNN {found['cudnn']}, commit {found['commit']}, "
            f"{found['date']}.</sub>",
        )
    )


def experiment_section(name: str) -> str:
    """What an experiment found: tables, findings, figures, evidence."""
    from plusx.experiments.lab import evidence_in_words, verdict

    file = RESULTS / f"{name}.json"
    if not file.is_file():
        return f"*Not measured yet: `plusx reproduce {name}`.*"
    told = json.loads(file.read_text(encoding="utf-8"))
    each = ", ".join(f"{part} ({'seen' if was else 'not seen'})" for part, was in told["seen"].items())
    words = {"–": "", "yes": "**Seen.** ", "in part": f"**Seen in part**: {each}. ", "no": f"**Not seen**: {each}. "}
    seen = words[verdict(told["seen"])]
    parts = [f"`plusx reproduce {name}`: {told['claim']}", seen + " ".join(told["findings"])]
    parts += [f"{each['title']}:\n\n" + _table(each["head"], each["rows"]) for each in told["tables"]]
    parts += [f"![{each['caption']}](figures/{each['file']})\n\n{each['caption']}" for each in told["figures"]]
    return "\n\n".join([*parts, f"<sub>{evidence_in_words(told)}</sub>"])


def experiments_table(words: dict[str, Any]) -> str:
    """A line for each experiment that was run."""
    from plusx.experiments.lab import verdict

    rows = []
    for name in (name for name in EXPERIMENTS if (RESULTS / f"{name}.json").is_file()):
        told = _read(name)
        claim = words["claims"].get(name, told["claim"])
        rows.append(
            (f"`{name}`", claim, str(len(told["runs"])), words["verdict"].get(said := verdict(told["seen"]), said))
        )
    return _table(words["experiments"], rows, words=2)


def cifar10_table(words: dict[str, Any]) -> str:
    """Table 6, paper beside ours, of the nets that were trained."""
    if not (RESULTS / "cifar10-table.json").is_file():
        return ""
    told = _read("cifar10-table")
    rows = [
        (net, paper, ours) for net, _, paper, ours, _ in told["tables"][0]["rows"] if net in told["numbers"]["test"]
    ]
    return _table(words["table6"], rows) + "\n\n" + words["steps"].format(steps=told["runs"][0]["steps"])


def collect_reproduced(folder: Path) -> None:
    """Take the results of experiments into results/, and draw their figures."""
    for file in sorted(folder.glob("*/result.json")):
        shutil.copyfile(file, RESULTS / f"{json.loads(file.read_text(encoding='utf-8'))['experiment']}.json")
    draw_figures()


def draw_figures() -> None:
    """Draw the figures of docs/ from the numbers in results/, and write the captions there."""
    from plusx.report.figure import standalone
    from plusx.report.run import comparison_svg

    demo = json.loads(DEGRADATION.read_text())
    drawing = comparison_svg(demo["curves"], [demo["seeds"][0]["seed"]])
    for scheme in ("light", "dark"):
        (ROOT / "docs" / f"degradation-{scheme}.svg").write_text(standalone(drawing, scheme), encoding="utf-8")
    for name in (name for name in EXPERIMENTS if (RESULTS / f"{name}.json").is_file()):
        told = _read(name)
        figures = EXPERIMENTS[name].figures(told["numbers"])
        told["figures"] = [{"file": f"{figure.name}.svg", "caption": figure.caption} for figure in figures]
        (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for figure in figures:
            (ROOT / "docs" / "figures" / f"{figure.name}.svg").write_text(standalone(figure.svg), encoding="utf-8")


def built(name: str) -> str:
    """A file with its tables as results/ has them."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for marker, write in MARKERS[name].items():
        between = re.compile(rf"(<!-- {marker} -->\n)(?:.*?\n)?(<!-- /{marker} -->)", re.DOTALL)
        text = between.sub(lambda match, write=write: f"{match[1]}{write()}\n{match[2]}", text)
    return text


def _readme(name: str) -> dict[str, Callable[[], str]]:
    tables = {
        "degradation": degradation_table,
        "nets": nets_table,
        "peers": peers_sentence,
        "cifar10": cifar10_sentence,
        "speed": speed_table,
        "accuracy": accuracy_lines,
        "experiments": experiments_table,
        "table6": cifar10_table,
    }
    return {marker: lambda write=write: write(WORDS[name]) for marker, write in tables.items()}


MARKERS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": _readme("README.md"),
    "README.ko.md": _readme("README.ko.md"),
    "docs/performance.md": {
        "bars": bars_table,
        "training": training_table,
        "profile": profile_table,
        "depth": depth_table,
        "inference": inference_table,
        "accuracy": accuracy_table,
        "gpu": gpu_tables,
    },
    "docs/story.md": {name: lambda name=name: experiment_section(name) for name in EXPERIMENTS},
}
"""What stands between the markers of each file."""


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """A table whose first columns are words, and the others numbers."""
    lines = [head, ["---"] * words + ["---:"] * (len(head) - words), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _evidence(name: str) -> str:
    found = _read(name)
    machine = found["machine"]
    return (
        f"<sub>{machine['cpu']}, {machine['cpus']} cores, torch {found['torch']}, commit {found['commit']}, "
        f"{found['date']}.{_measured_apart(found) if 'cases' in found else ''}</sub>"
    )


def _measured_apart(found: Mapping[str, Any]) -> str:
    """The cases that were measured at another commit than the rest."""
    return "".join(
        f" {case['net']}, {case.get('batch_size', case.get('batch'))}: {each['commit']}, {each['date']}."
        for case in found["cases"]
        if (each := case.get("evidence"))
    )


def _units(found: Mapping[str, Any]) -> str:
    accuracy, deviation = 100 * found["test_accuracy_mean"], 100 * found["test_accuracy_std"]
    return f"{found['units_mean']:.1f}, at {accuracy:.2f} ± {deviation:.2f} % (n = {found['n']})"


def _range(ends: Sequence[float]) -> str:
    return f"{ends[0]:,.1f}–{ends[1]:,.1f}"


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
    if sys.argv[1:2] == ["collect-reproduced"]:
        collect_reproduced(Path(sys.argv[2]))
    if sys.argv[1:2] == ["figures"]:
        draw_figures()
    for file in MARKERS:
        (ROOT / file).write_text(built(file), encoding="utf-8")
