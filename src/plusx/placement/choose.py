"""The fastest placement, found by timing a few steps under each; kept for the same net, batch and machine.

What is fast depends on the net, the batch and the processor in ways that no rule foresees: narrow nets gain little from
bf16, small ones nothing from a second thread. Plain PyTorch (fp32, contiguous, its own kernels) is always among the
candidates, so that a choice is never slower than it, as far as a measurement can tell.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from plusx.placement.place import Placement, plain_placement

BUDGET_SECONDS = 15.0
MARGIN = 0.05
"""The rules' placement stays unless another is faster by this share: below it, runs differ by chance."""


@dataclass(frozen=True)
class Tried:
    """A candidate, and the seconds of one step; none where there was no time left."""

    placement: Placement
    seconds: float | None


@dataclass(frozen=True)
class Choice:
    """What was chosen, and among what."""

    placement: Placement
    tried: tuple[Tried, ...]
    remembered: bool
    """Whether the times were measured before."""


def candidates(rules: Placement, *, precision: str, threads: int | None, kernels: str) -> list[Placement]:
    """The rules' placement, plain PyTorch, and what lies between; what the user has fixed stays fixed.

    Args:
        rules: The placement that is taken without measuring; on a CPU.
        precision: What the recipe asks for: auto, fp32 or bf16.
        threads: Likewise.
        kernels: Likewise: auto, fused or plain.
    """
    plain = replace(plain_placement(threads=rules.threads), recompute=rules.recompute)
    others = [
        replace(plain, precision=rules.precision),
        replace(rules, kernels="plain"),
        replace(rules, precision="fp32"),
        replace(rules, precision="fp32", kernels="plain"),
        replace(rules, threads=1),
    ]
    found = [rules]
    for placement in (plain, *others):
        asked = precision in ("auto", placement.precision) and kernels in ("auto", placement.kernels)
        new = all(_settings(placement) != _settings(before) for before in found)
        if asked and new and threads in (None, placement.threads):
            found.append(placement)
    return found


def choose(
    key: Mapping[str, Any],
    options: Sequence[Placement],
    seconds_of: Callable[[Placement, float], float],
    *,
    cache: Path | None = None,
    budget: float = BUDGET_SECONDS,
) -> Choice:
    """The fastest of some placements, measured now or, under the same key, before.

    Args:
        key: What the times depend on, in JSON types: net, batch, machine.
        options: The first is what the rules say.
        seconds_of: (placement, the best so far) to the seconds of one step under it.
        cache: Folder of earlier measurements; `cache_folder()` if not given.
        budget: Seconds after which no further candidate is begun; the first always is.
    """
    text = json.dumps({**key, "options": [_settings(p) for p in options]}, sort_keys=True)
    file = (cache or cache_folder()) / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    seconds = _read(file, text, len(options))
    remembered = seconds is not None
    if seconds is None:
        seconds, began = [], time.perf_counter()
        for placement in options:
            best = min((s for s in seconds if s is not None), default=float("inf"))
            late = len(seconds) > 0 and time.perf_counter() - began > budget
            seconds.append(None if late else seconds_of(placement, best))
        _write(file, text, seconds)
    tried = tuple(map(Tried, options, seconds))
    chosen = tried[fastest(seconds)]
    reason = f"fastest of {len(tried)} measured: {1e3 * (chosen.seconds or 0):.1f} ms a step"
    reasons = {**options[0].reasons, "measured": reason}
    return Choice(replace(chosen.placement, reasons=reasons), tried, remembered)


def fastest(seconds: Sequence[float | None]) -> int:
    """The place of the first, unless another is faster by more than chance; None was not measured.

    Example:
        >>> fastest([1.00, 0.97, None]), fastest([1.0, None, 0.8])
        (0, 2)
    """
    first, least = seconds[0], min(s for s in seconds if s is not None)
    assert first is not None
    return 0 if least > (1 - MARGIN) * first else seconds.index(least)


def cache_folder() -> Path:
    """Where measurements are kept: PLUSX_CACHE, or the user's cache folder."""
    if folder := os.environ.get("PLUSX_CACHE"):
        return Path(folder).expanduser() / "speed"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "plusx" / "speed"


def _settings(placement: Placement) -> dict[str, Any]:
    return {name: value for name, value in asdict(placement).items() if name != "reasons"}


def _read(file: Path, text: str, count: int) -> list[float | None] | None:
    """The seconds of each option; None where the file is not there, or is not what was written."""
    try:
        found = json.loads(file.read_text())
        seconds = found["seconds"]
        usable = found["key"] == text and len(seconds) == count and isinstance(seconds[0], float)
        return seconds if usable and all(s is None or isinstance(s, float) for s in seconds) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(file: Path, text: str, seconds: list[float | None]) -> None:
    """A cache that cannot be written costs time, no run."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps({"key": text, "seconds": seconds}))
        aside.replace(file)
    except OSError:
        pass
