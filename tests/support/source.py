"""Reading our own source: what a file imports, compares and prints."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECRET_WORDS = ("secret", "token", "signature", "digest", "claimed")


def files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def shown(file: Path) -> str:
    return str(file.relative_to(ROOT))


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each import of ours as its first two names: ("shared", "store")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            top, _, rest = module.partition(".")
            yield top, rest.partition(".")[0]


def secret_comparisons(tree: ast.Module) -> list[int]:
    """Lines where == or != meets something named like a secret."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(
            isinstance(op, ast.Eq | ast.NotEq) for op in node.ops
        ):
            names = [
                name.lower()
                for operand in (node.left, *node.comparators)
                for part in ast.walk(operand)
                for name in (getattr(part, "id", ""), getattr(part, "attr", ""))
            ]
            if any(word in name for name in names for word in SECRET_WORDS):
                lines.append(node.lineno)
    return lines


def prints(tree: ast.Module) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
