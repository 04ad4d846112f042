"""The tables of docs/performance.md that one GPU filled."""

import statistics

from docs.build.markdown import table
from docs.build.results import read


def gpu_tables() -> str:
    """What one GPU makes of training: steps, several runs at once, time to an accuracy, the paper's budget."""
    speed, runs = read("gpu-speed"), read("gpu-accuracy")["rows"]
    cases = list(dict.fromkeys((row["net"], row["batch"]) for row in speed["rows"]))
    pace = {(row["net"], row["batch"], row["who"]): row["images_per_s"] for row in speed["rows"]}
    rows = [
        (who, *(f"{pace[*case, who]:,.0f}" if (*case, who) in pace else "" for case in cases))
        for who in dict.fromkeys(row["who"] for row in speed["rows"])
    ]
    bars = [
        ("ResNet-20, batch 128, relative to eager bf16 in a CUDA graph", "0.9", cases[0], "plusx", "graph bf16"),
        (
            "ResNet-20 compiled, relative to compiled bf16 in a CUDA graph (aim)",
            *("", cases[0], "plusx, compiled", "compiled graph bf16"),
        ),
        (
            "res_airbench94, batch 1000, relative to compiled bf16 in a CUDA graph",
            *("0.9", cases[2], "plusx, compiled", "compiled graph bf16"),
        ),
        ("ResNet-50 at 224, batch 256, relative to eager bf16", "1.3", cases[3], "plusx, compiled", "eager bf16"),
    ]
    ratios = [(what, bar, f"{pace[*case, who] / pace[*case, peer]:.3f}") for what, bar, case, who, peer in bars]
    seconds = statistics.median(run["training_seconds"] for run in runs)
    ratios.append(("cifar10-94, seconds of training, at most (median)", "3.0", f"{seconds:.2f}"))
    accuracies = [100 * run["test_accuracy"] for run in runs]
    ended = [row for row in read("cifar10-paper")["rows"] if "test_error" in row]
    errors = ", ".join(f"{row['net']}, seed {row['seed']}: {100 * row['test_error']:.2f} %" for row in ended)
    side = [
        (", ".join(row["side"]), "yes" if row["compiled"] else "no", f"{row['images_per_s']:,.0f}")
        for row in read("gpu-side")["rows"]
    ]
    return "\n\n".join(
        (
            table(("images/s, whole steps", *(f"{net}, {batch}" for net, batch in cases)), rows),
            table(("measure", "required", "measured"), ratios),
            f"`cifar10-94`, compiled: {statistics.mean(accuracies):.2f} ± {statistics.stdev(accuracies):.2f} % test "
            f"accuracy (n = {len(runs)}); the steps take {statistics.median(run['steps_seconds'] for run in runs):.2f} "
            f"s of the training time. The first run of the process took {runs[0]['training_seconds']:.1f} s, including "
            "compilation.",
            f"Test error after 64,000 steps of `cifar10-paper`, with four nets trained at once: {errors}.",
            table(("runs at once, batch 128 each", "compiled", "total images/s"), side, words=2),
            f"<sub>{speed['gpu']}, torch {speed['torch']}, cuDNN {speed['cudnn']}, commit {speed['commit']}, "
            f"{speed['date']}.</sub>",
        )
    )
