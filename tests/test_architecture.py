"""The house: who may import whom, what no room may hold. Read from the source, nothing is imported."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "plusx"

MAY_IMPORT = {
    "recipes": {"recipes"},
    "nets": {"nets"},
    "data": {"data"},
    "placement": {"placement", "nets.layers"},
    "runs": {"runs", "recipes", "nets", "data"},
    "engine": {"engine", "recipes", "nets", "data", "runs", "placement"},
    "analysis": {"analysis", "nets", "data", "runs", "placement"},
    "experiments": {"experiments", "recipes", "nets", "data", "runs", "placement", "engine", "analysis"},
    "deploy": {"deploy", "nets", "runs", "data", "placement", "analysis.cost", "analysis.attention"},
    "cli": {"", "screen"},
    "screen": set(),
    "__main__": {"cli"},
}
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
    for node in ast.walk(tree):
        if when_run and id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write imports from the root"
            yield node.module or ""


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_follow_the_table(file: Path) -> None:
    if room(file) == "__init__":
        return  # the public verbs
    allowed = MAY_IMPORT[room(file)]
    for module in imports(file, when_run=room(file) in ("cli", "screen")):
        if module.split(".")[0] == "plusx":
            target = module.removeprefix("plusx").lstrip(".")
            assert any(target == a or (a and target.startswith(f"{a}.")) for a in allowed), f"{file} imports {module}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_recipes_and_the_command_line_do_without_torch(file: Path) -> None:
    if room(file) in ("recipes", "cli", "screen", "__main__", "__init__"):
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
