"""The Python blocks of the documentation run."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "other-libraries.md"


def test_the_blocks_of_other_libraries_run_one_after_another(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 8
    done = subprocess.run([sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_blocks_that_do_not_run_here_say_so() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(re.findall(r"^```python not-run$", text, re.MULTILINE)) == len(
        re.findall(r"(?i)\*not run here:?\*:?\n", text)
    )
