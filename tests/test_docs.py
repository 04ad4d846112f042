"""The Python blocks of the documentation run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("nets.md", "other-libraries.md", "explain.md")


@pytest.mark.parametrize(("page", "least"), list(zip(PAGES, (5, 8, 2), strict=True)))
def test_the_blocks_of_a_page_run_one_after_another(page: str, least: int, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= least
    done = subprocess.run([sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_blocks_that_do_not_run_here_say_so(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert len(re.findall(r"^```python not-run$", text, re.MULTILINE)) == len(
        re.findall(r"(?i)\*not run here:?\*:?\n", text)
    )
