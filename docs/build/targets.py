"""What was asked of the speed: the least that is required, and the aim, in the form of a table's cells."""

Target = tuple[str, str]
"""What is required, and the aim; empty where nothing was asked."""

TRAINING: dict[str, dict[str, Target]] = {
    "AMX": {
        "resnet20": ("1.4", "2"),
        "resnet56": ("1.3", "1.8"),
        "densenet_bc_100_12": ("1.3", "1.8"),
        "resnet50": ("", "1.5"),
    },
    "AVX512-BF16": {"resnet20": ("1.25", "1.6"), "resnet56": ("1.25", "1.6")},
    "AVX2": {"resnet20": ("1.1", "1.4"), "resnet56": ("1.1", "1.4")},
}
"""Speedup of a training step over the fastest other, by instructions and net."""
EVERYWHERE: dict[str, Target] = {"resnet18": ("1.0", "")}
"""The same, whatever the instructions."""
BESIDE: dict[int, Target] = {1: ("0.5", "0.62"), 2: ("0.3", "")}
"""Share of the quiet speed beside so many busy programs."""


def training_target(net: str, instructions: str) -> Target:
    """What was asked of a training step."""
    return TRAINING.get(instructions, {}).get(net) or EVERYWHERE.get(net, ("", ""))
