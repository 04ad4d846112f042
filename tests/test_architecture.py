"""The house: who may import whom, what no room may hold. Read from the source, nothing is imported."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "plusx"

MAY_IMPORT = {
    "recipes": set(),
    "nets": set(),
    "data": {"progress", "recipes"},
    "placement": {"recipes"},
    "runs": {"recipes", "nets", "data"},
    "weights": {"recipes", "nets", "data", "runs"},
    "report": {"data", "runs"},
    "engine": {"progress", "recipes", "nets", "data", "placement", "runs", "weights", "report", "analysis"},
    "benchmark": {"progress", "recipes", "nets", "data", "placement", "engine", "deploy"},
    "analysis": {"progress", "nets", "data", "runs", "report"},
    "comparison": {"progress", "recipes", "data", "engine", "analysis", "report", "runs"},
    "deploy": {"progress", "nets", "data", "runs", "placement", "weights", "report", "analysis"},
    "experiments": {
        *(
            "progress",
            "recipes",
            "nets",
            "data",
            "placement",
            "runs",
            "weights",
            "report",
            "engine",
            "benchmark",
            "analysis",
        ),
    },
    "cli": {"", "progress"},
    "progress": set(),
    "__main__": {"cli"},
}
"""Package -> what it may import besides itself; section 2 of the design, both ways."""
FILES = sorted(SOURCE.rglob("*.py"))


def room(file: Path) -> str:
    return file.relative_to(SOURCE).with_suffix("").parts[0]


def imports(file: Path, *, when_run: bool) -> Iterator[str]:
    """Modules that a file imports, dotted; with when_run, not those that only a type checker sees."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    inside = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if when_run and id(node) in unseen | inside:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write imports from the root"
            yield node.module or ""


def imported(file: Path) -> set[str]:
    """The packages of plusx that a file imports; "" is the public API.

    Of the command line and its bar only what is imported when they are: they name types, and ask for them later.
    """
    modules = [m for m in imports(file, when_run=room(file) in ("cli", "progress")) if m.split(".")[0] == "plusx"]
    return {module.removeprefix("plusx").lstrip(".").partition(".")[0] for module in modules}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_follow_the_table(file: Path) -> None:
    if room(file) == "__init__":
        return  # the public verbs
    allowed = MAY_IMPORT[room(file)] | {room(file)}
    assert not (used := imported(file)) - allowed, f"{file} imports {sorted(used - allowed)}"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_table_allows_nothing_that_nobody_uses(package: str) -> None:
    used = set().union(*(imported(file) for file in FILES if room(file) == package))
    assert MAY_IMPORT[package] <= used


def test_the_engine_uses_no_analysis_but_the_maps_beside_mistakes() -> None:
    files = [file for file in FILES if room(file) == "engine"]
    used = {module for file in files for module in imports(file, when_run=False) if module.startswith("plusx.analysis")}
    assert used == {"plusx.analysis.attention"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_recipes_and_the_command_line_do_without_torch(file: Path) -> None:
    if room(file) in ("recipes", "cli", "progress", "__main__", "__init__"):
        heavy = {m for m in imports(file, when_run=True) if m.split(".")[0] in ("torch", "torchvision", "matplotlib")}
        assert not heavy


def test_there_is_no_drawer_for_everything() -> None:
    names = {file.stem for file in FILES} | {file.parent.name for file in FILES}
    assert not names & {"utils", "util", "common", "helpers", "misc", "tools"}


def test_nets_and_data_name_no_device() -> None:
    for file in FILES:
        if room(file) in ("nets", "data"):
            texts = {n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Constant)}
            assert not texts & {"cuda", "mps", "cpu"}, file


def test_every_module_and_public_function_says_what_it_is() -> None:
    for file in FILES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{file} has no docstring"
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{file}: {node.name} has no docstring"
