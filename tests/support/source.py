"""Read our own source: what a file imports, defines, compares and prints."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECRET_WORDS = ("secret", "token", "signature", "digest", "claimed")
#: A subscript of one of these is a type alias: `Lane = Literal["fast", "slow"]`.
_TYPING_FORMS = frozenset(
    "Annotated AsyncIterable AsyncIterator Awaitable Callable Collection Coroutine Iterable"
    " Iterator Literal Mapping MutableMapping Optional Sequence Union dict frozenset list set"
    " tuple type".split()
)
_BUILTIN_TYPES = frozenset("bool bytes float int object str".split())


def files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def relative_path(file: Path) -> str:
    return str(file.relative_to(ROOT))


def syntax_tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def secret_comparisons(tree: ast.Module) -> list[int]:
    """Return the lines where == or != has an operand whose name sounds like a secret."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(
            isinstance(op, ast.Eq | ast.NotEq) for op in node.ops
        ):
            operand_names = [
                name.lower()
                for operand in (node.left, *node.comparators)
                for part in ast.walk(operand)
                for name in (getattr(part, "id", ""), getattr(part, "attr", ""))
            ]
            if any(word in name for name in operand_names for word in SECRET_WORDS):
                lines.append(node.lineno)
    return lines


def print_calls(tree: ast.Module) -> list[int]:
    """Return the lines that call print()."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]


def class_names(tree: ast.Module) -> list[str]:
    """Return the name of every class, nested ones included."""
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def type_aliases(tree: ast.Module) -> list[str]:
    """Return the names that module-level code binds to a type expression."""
    names = []
    for node in _module_level(tree.body):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _is_type(value):
                names.append(name)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                if "TypeAlias" in ast.unparse(annotation):
                    names.append(name)
    return names


def defined_twice(definitions: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return each name that is defined more than once, with the places that define it.

    `definitions` are pairs of a name and its place.
    """
    places = defaultdict(list)
    for name, place in definitions:
        places[name].append(place)
    return {name: places[name] for name in sorted(places) if len(places[name]) > 1}


def _module_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, and those inside its `if` and `try` blocks."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _module_level(
                child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)
            )


def _is_type(value: ast.expr | None) -> bool:
    """Return whether an expression is a subscripted typing form, or a union of types."""
    match value:
        case ast.Subscript(value=form):
            return _last_name(form) in _TYPING_FORMS
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _is_union_member(left) and _is_union_member(right)
    return False


def _is_union_member(value: ast.expr) -> bool:
    """Return whether an operand of `|` is a type: None, a class by its name, or a type expression.

    A class starts with a capital letter; `FOUNDATION | {"crypto"}` joins two sets.
    """
    if isinstance(value, ast.Constant):
        return value.value is None
    name = _last_name(value)
    is_class = name in _BUILTIN_TYPES or (name[:1].isupper() and not name.isupper())
    return is_class or _is_type(value)


def _last_name(value: ast.expr) -> str:
    """Return `Literal` for both `Literal` and `typing.Literal`; "" for other expressions."""
    match value:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def logged_keys(tree: ast.Module) -> set[str]:
    """Return the keys of all calls such as `log.info("event", key=value)` and `Answer(...)`."""
    return {
        keyword.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _logs(node.func)
        for keyword in node.keywords
        if keyword.arg is not None
    }


def _logs(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return function.value.id == "log"
    return isinstance(function, ast.Name) and function.id in ("Answer", "answer_fault")
