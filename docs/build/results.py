"""The files of results/: one measurement or one experiment each, as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
"""The checkout."""
RESULTS = ROOT / "results"
Results = dict[str, Any]
"""The content of one file."""
DEMO_NETS = ("plain20", "plain56", "resnet20", "resnet56")
"""The nets of `plusx demo`, whose results are in degradation-digits.json."""


def exists(name: str) -> bool:
    """Whether there are results of that name."""
    return (RESULTS / f"{name}.json").is_file()


def read(name: str) -> Results:
    """The results of that name."""
    content: Results = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def write(name: str, content: Mapping[str, Any]) -> None:
    """Replace the results of that name."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def evidence_of(results: Results) -> dict[str, Any]:
    """Machine, version of torch, commit and date of a measurement, for a text to be formatted with."""
    machine = {key: results["machine"][key] for key in ("cpu", "cpus")}
    return machine | {key: results[key] for key in ("torch", "commit", "date")}
