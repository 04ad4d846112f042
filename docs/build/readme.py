"""The tables and sentences of README, which two languages share: each takes the words of one."""

import itertools
import statistics

from docs.build.markdown import mean_std, ratio, table
from docs.build.processors import by_processor, cases_of, evidence_line, short_name
from docs.build.results import DEMO_NETS, evidence_of, exists, read
from docs.build.words import Words
from plusx.experiments.story import EXPERIMENTS


def degradation_table(words: Words) -> str:
    """Training and test error of the four nets of `plusx demo`."""
    seeds = read("degradation-digits")["seeds"]
    lines = [f"| {words['net']} | {words['train']} | {words['test']} |", "|---|---:|---:|"]
    for net in DEMO_NETS:
        cells = [mean_std([seed["nets"][net][key] for seed in seeds]) for key in ("train_error", "test_error")]
        lines.append(f"| {net} | {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\n{words['mean'].format(n=len(seeds))}"


def nets_table(words: Words) -> str:
    """The catalog, a line for each family."""
    from plusx.nets import entry, names

    families: dict[str, list[str]] = {}
    for name in names():
        families.setdefault(entry(name).family, []).append(name)
    lines = ["| " + " | ".join(words["nets"]) + " |", "|---|---|---:|"]
    for family, members in families.items():
        counts = [entry(name).params for name in members]
        low, high = min(counts), max(counts)
        params = f"{low:,}" if low == high else f"{low:,} – {high:,}"
        lines.append(f"| `{family}.py` | {', '.join(f'`{name}`' for name in members)} | {params} |")
    return "\n".join(lines)


def peers_sentence(words: Words) -> str:
    """Forward and backward beside torchvision and timm."""
    results = read("nets-speed")
    ratios = {work: sorted(c["ratio"] for c in results["cases"] if c["work"] == work) for work in ("forward", "train")}
    spans = {
        work: words["span"].format(low=r[0], median=statistics.median(r), high=r[-1]) for work, r in ratios.items()
    }
    sentence: str = words["peers"].format(nets=len(ratios["train"]), **spans, **evidence_of(results))
    return sentence


def cifar10_sentence(words: Words) -> str:
    """What `plusx train cifar10` reached, and what it cost."""
    r = read("cifar10-quick")
    sentence: str = words["cifar10"].format(
        accuracy=100 * r["test_accuracy"],
        minutes=r["seconds"] / 60,
        pace=r["images_per_s"],
        memory=r["peak_memory_bytes"] / 2**30,
        cpus=r["machine"]["cpus"],
        torch=r["versions"]["torch"],
    )
    return sentence


def finetune_table(words: Words) -> str:
    """Validation error and time of training from random weights, of fine-tuning, and of fitting the last layer."""
    cases = read("finetune")["cases"]
    rows = []
    for data, text in words["photographs"].items():
        for way, what in words["ways"].items():
            runs = [case for case in cases if (case["data"], case["way"]) == (data, way)]
            error = f"{mean_std([run['val_error'] for run in runs])} (n = {len(runs)})"
            rows.append((text, what, error, f"{statistics.mean(run['seconds'] for run in runs):.0f} s"))
    about = words["weights"].format(accuracy=100 * (1 - cases[0]["weights_val_error"]))
    return f"{table(words['finetune'], rows, words=2)}\n\n<sub>{about} {evidence_line(cases, words['machine'])}</sub>"


def speed_table(words: Words) -> str:
    """Images per second beside plain PyTorch and the fastest of all others; a dash where one was not measured."""
    lines = ["| " + " | ".join(words["speed"]) + " |", "|---|---|" + "---:|" * 6]
    groups = by_processor(cases_of("training-speed"))
    for case in itertools.chain(*groups.values()):
        isa, ratios, fastest = case["onednn_max_cpu_isa"], case["ratios"], case["fastest_peer"]
        name = short_name(case["evidence"]["machine"])
        rates = {who: f"{numbers['images_per_s']:,.0f}" for who, numbers in case["contenders"].items()}
        cells = [
            f"{case['net']}, {case['batch_size']}",
            name if isa == "all" else words["limited"].format(processor=name, isa=isa),
            *(rates.get(who, "–") for who in ("eager fp32", "eager bf16", "compile bf16")),
            f"{rates['ours']} ({case['placement']['precision']})",
            ratio(ratios["eager fp32"]),
            f"{ratio(ratios[fastest])}, {fastest}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    evidence = [evidence_line(cases, words["machine"]) for cases in groups.values()]
    return "\n\n".join(("\n".join(lines), words["unit"], *evidence))


def accuracy_lines(words: Words) -> str:
    """What the fast recipes reach, and in which time."""
    results = read("time-to-accuracy")
    lines = [
        "- "
        + words["accuracy"].format(
            recipe=recipe,
            mean=100 * numbers["test_accuracy_mean"],
            std=100 * numbers["test_accuracy_std"],
            n=numbers["n"],
            minutes=numbers["seconds_mean"] / 60,
        )
        for recipe, numbers in results["recipes"].items()
    ]
    machine: str = words["machine"].format(**evidence_of(results))
    return "\n".join(lines) + "\n\n" + machine


def experiments_table(words: Words) -> str:
    """A line for each experiment that was run."""
    from plusx.experiments.lab import verdict

    rows = []
    for name in filter(exists, EXPERIMENTS):
        results = read(name)
        claim, seen = words["claims"].get(name, results["claim"]), verdict(results["seen"])
        rows.append((f"`{name}`", claim, str(len(results["runs"])), words["verdict"].get(seen, seen)))
    return table(words["experiments"], rows, words=2)


def cifar10_table(words: Words) -> str:
    """Table 6 of He et al. (2015) beside ours, for the nets that were trained."""
    if not exists("cifar10-table"):
        return ""
    results = read("cifar10-table")
    rows = [
        (net, paper, ours)
        for net, _, paper, ours, _ in results["tables"][0]["rows"]
        if net in results["numbers"]["test"]
    ]
    steps: str = words["steps"].format(steps=results["runs"][0]["steps"])
    return table(words["table6"], rows) + "\n\n" + steps
