"""The benchmark of the server leaves nothing running."""

import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.serving import started

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_what_a_server_started_ends_with_it() -> None:
    with started([sys.executable, "-c", PARENT]) as process:
        assert process.stdout
        child = int(process.stdout.readline())
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        state = Path(f"/proc/{child}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return  # it has ended, and its parent has not asked yet
        time.sleep(0.1)
    pytest.fail("the child still runs")
