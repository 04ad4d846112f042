"""Ours beside peers, each pair in one interleaved run on one machine, as ratios; results go to results/."""

import datetime
import subprocess

import torch


def evidence() -> dict[str, str]:
    """Date, torch, and the commit that was measured, with a + when files differ from it."""
    called = [["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain", "--", "src"]]
    head, changed = (subprocess.run(c, capture_output=True, text=True).stdout.strip() for c in called)
    commit = head + ("+" if changed else "")
    return {"date": datetime.date.today().isoformat(), "torch": torch.__version__, "commit": commit}
