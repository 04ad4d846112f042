"""README in both languages: its numbers are those of results/, its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.build.pages import PAGES, built
from docs.build.results import read
from plusx.cli.app import VERBS
from plusx.experiments.story import EXPERIMENTS
from plusx.report.palette import TOKENS

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.ko.md")


@pytest.mark.parametrize("name", PAGES)
def test_numbers_are_those_of_results(name: str) -> None:
    assert built(name) == (ROOT / name).read_text(encoding="utf-8")


def test_every_experiment_has_its_place_in_the_story() -> None:
    text = (ROOT / "docs" / "story.md").read_text(encoding="utf-8")
    assert [name for name in re.findall(r"^<!-- ([\w-]+) -->$", text, re.MULTILINE)] == list(EXPERIMENTS)


def test_figures_of_the_story_exist() -> None:
    for figure in re.findall(r"\]\((figures/[^)]+)\)", (ROOT / "docs" / "story.md").read_text(encoding="utf-8")):
        assert (ROOT / "docs" / figure).is_file(), figure


@pytest.mark.parametrize("file", sorted((ROOT / "docs" / "figures").glob("*.svg")), ids=lambda file: file.name)
def test_a_figure_can_be_read_on_any_ground(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text and f'style="fill: {TOKENS["ground"][0]}"' in text
    assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", text)) <= {
        form for pair in TOKENS.values() for form in pair
    }


@pytest.mark.parametrize("name", sorted({"degradation", "gates", "lesions", "responses"}))
def test_figures_are_drawn_from_the_numbers_of_results(name: str) -> None:
    results = read(name)
    drawn = EXPERIMENTS[name].figures(results["numbers"])
    assert [{"file": f"{figure.name}.svg", "caption": figure.caption} for figure in drawn] == results["figures"]


@pytest.mark.parametrize("name", READMES)
def test_commands_and_files_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    verbs = {verb.split()[0] for verb in VERBS}
    assert set(re.findall(r"^plusx (\w+)", text, re.MULTILINE)) <= verbs
    targets = set(re.findall(r"^(?:\w+=\S+ )?make ([\w-]+)", text, re.MULTILINE))
    assert targets and targets <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for link in re.findall(r'(?:\]\(|src="|srcset=")([^)"#]+)', text):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_python_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0.5
    assert example in (ROOT / "README.ko.md").read_text(encoding="utf-8")


def test_both_languages_have_the_same_commands() -> None:
    blocks = [re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL) for name in READMES]
    stripped = [[re.sub(r"\s+#.*", "", block) for block in language] for language in blocks]
    assert stripped[0] == stripped[1]
